"""User vectors: independent of the other users, and equal to those of a plain computation."""

from concurrent.futures import ThreadPoolExecutor

from candgen.console import InputError
from candgen.data.dictionary import CATEGORIES, ITEMS, TAGS
from candgen.serving.topn import TopN
from candgen.serving.user_vectors import user_vectors
from conftest import SMALL_DICT
from network_conf import DirectModel, DNNmodel

import numpy as np
import pytest
from serving_helpers import encode_lines, random_network


@pytest.mark.parametrize(
    "kind, lstm_dim, window_size",
    [
        (DNNmodel, 64, 20),
        (DNNmodel, 33, 6),
        (DNNmodel, 20, 9),
        (DNNmodel, 7, 6),
        (DirectModel, 64, 20),
        (DirectModel, 33, 9),
        (DirectModel, 16, 50),
    ],
)
def test_a_vector_does_not_depend_on_other_users(tmp_path, kind, lstm_dim, window_size):
    """Bit for bit, whatever the batch, the position in it, and the number of threads.

    To 1e-6 with an LSTM narrower than 16: some kernels (AVX2) round the last rows of such a product
    differently.
    """
    rng, network = np.random.default_rng(0), random_network(lstm_dim, window_size, kind=kind)
    user_dim = network.config.dnn_layer_dims[1]
    top_n = TopN(
        rng.normal(size=(400, user_dim)).astype(np.float32),
        rng.normal(size=(1, 400)).astype(np.float32),
    )
    lines = [
        (
            f"u{i % 4}",
            "p1",
            "c1",
            [f"v{v}:a:s_t" for v in rng.integers(1, 5, rng.integers(0, 2 * window_size))],
            "m1",
        )
        for i in range(300)
    ]
    together = user_vectors(network, encode_lines(tmp_path, lines))
    lists = top_n(together, 30)[0]
    assert together.shape == (300, user_dim) and len(np.unique(together, axis=0)) > 200
    tolerance = 1e-6 if lstm_dim < 16 else 0

    def same(rows, lines, **options):
        found = user_vectors(network, encode_lines(tmp_path, lines), **options)
        np.testing.assert_allclose(found, together[rows], rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(top_n(found, 30)[0], lists[rows])

    for row in (0, 127, 255, 256, 299):
        same([row], [lines[row]])
    same(slice(None, None, -1), lines[::-1])
    same(slice(100, 231), lines[100:231])
    for shortest, longest in (
        (0, 2),
        (3, 4),
        (5, 5),
        (6, window_size - 1),
    ):  # blocks whose longest windows differ
        rows = [row for row in range(300) if shortest <= len(lines[row][3]) <= longest]
        same(rows, [lines[row] for row in rows])
    same(
        slice(None),
        [(*line[:3], [*line[3], "v3:b:t"], line[4]) for line in lines],
        clicks=np.array([len(line[3]) for line in lines]),
    )
    with ThreadPoolExecutor(3) as pool:
        same(slice(None), lines, run=pool.map)
    assert user_vectors(network, encode_lines(tmp_path, [])).shape == (0, user_dim)


def plain_user_vector(parameters, line, window_size):
    """The vector of a user from the raw line, in float64."""

    def row(feature, value):
        return parameters["_proj_" + feature][SMALL_DICT[feature].get(value, 0)]

    def sigmoid(values):
        return 1 / (1 + np.exp(-values))

    user, province, city, infos, phone = line
    parts = [info.rsplit(":", 2) for info in infos]
    known = [
        (video, category, tags.split("_"))
        for video, category, tags in parts
        if SMALL_DICT[ITEMS].get(video)
    ]
    window = [("<unk>", "<unk>", ["<unk>"]), *known][-window_size:]
    hidden = cell = np.zeros(parameters["lstm_weight_hh"].shape[1])
    states = []
    for video, _, _ in window:
        gates = (
            parameters["lstm_weight_ih"] @ row(ITEMS, video)
            + parameters["lstm_bias_ih"]
            + parameters["lstm_weight_hh"] @ hidden
            + parameters["lstm_bias_hh"]
        )
        entry, forget, change, output = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(entry) * np.tanh(change)
        hidden = sigmoid(output) * np.tanh(cell)
        states.append(hidden)
    joined = np.concatenate(
        [
            np.max(states, axis=0),
            np.mean([row(CATEGORIES, category) for _, category, _ in window], axis=0),
            np.mean([row(TAGS, tag) for _, _, tags in window for tag in tags], axis=0),
            row("user_id", user),
            row("province", province),
            row("city", city),
            row("phone", phone),
        ]
    )
    first = np.maximum(joined @ parameters["relu1_w"] + parameters["relu1_b"], 0)
    return np.maximum(first @ parameters["relu2_w"] + parameters["relu2_b"], 0)


@pytest.mark.parametrize("window_size", [1, 3, 20])
def test_user_vectors_against_a_plain_computation(tmp_path, window_size):
    """From the window that the next click would have."""
    network = random_network(9, window_size)
    parameters = {
        name: parameter.numpy().astype(float) for name, parameter in network.named().items()
    }
    rng = np.random.default_rng(1)

    def random_info():
        video = rng.choice(["v1", "v2", "v3", "new"])
        return f"{video}:{rng.choice(['a', 'b', 'z'])}:{rng.choice(['s', 's_t', 'q'])}"

    lines = [
        (
            f"u{i % 4}",
            f"p{i % 2}",
            f"c{i % 3}",
            [random_info() for _ in range(rng.integers(0, 9))],
            "m1",
        )
        for i in range(40)
    ]
    found = user_vectors(network, encode_lines(tmp_path, lines))
    np.testing.assert_allclose(
        found,
        [plain_user_vector(parameters, line, window_size) for line in lines],
        rtol=1e-4,
        atol=1e-5,
    )


def test_vectors_that_are_not_finite(tmp_path):
    """Finite weights can be too large: sums of 1e30 in the first layer, of 1e45 in the second."""
    log = encode_lines(tmp_path, [("u1", "p1", "c1", ["v1:a:s"], "m1")])
    with pytest.raises(InputError, match="not finite"):
        user_vectors(random_network(scale=1e15), log)
