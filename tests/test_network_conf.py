"""The network, its losses and its gradients against a plain float64 reference; the noise; the file of a model."""
import argparse
import io
import json
import pickle
import tarfile
from collections import Counter

import infer
import network_conf
import reader
import train
from conftest import SMALL_DICT, log_text
from network_conf import RELU_GAIN, DNNmodel, ModelConfig
from reader import Reader
from utils import (
    CATEGORIES,
    CLICK_FEATURES,
    ITEMS,
    PROFILE_FEATURES,
    TAGS,
    InputError,
    dictionary_fingerprint,
    read_archive,
)

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st

FREQ = [0.1, 0.4, 0.2, 0.2, 0.1]
DIMS = {"user_id": 3, "province": 2, "city": 2, "phone": 2, ITEMS: 4, CATEGORIES: 2, TAGS: 3}
CONFIG = ModelConfig({name: len(SMALL_DICT[name]) for name in DIMS}, DIMS, dictionary_fingerprint(SMALL_DICT),
                     window_size=4, dnn_layer_dims=(6, 5), lstm_dim=4)
TIED = CONFIG._replace(tie_embeddings=True, dnn_layer_dims=(6, 4))
BEST = TIED._replace(network="DirectModel", content=True)
LINES = [("u1", "p1", "c1", ["v1:a:s_t", "v2:b:t", "v1:a:s_t", "v3:z:q_s_t", "v4:a:s", "v2:b:t", "v3:b:t"], "m1"),
         ("u9", "p9", "c2", ["v4:NULL:NULL", "new:a:s", "v2:b:t"], "m9"),
         ("u2", "p1", "", [], "m1"),
         ("u2", "p1", "c1", ["v3:a:s_t_t"], "m1")]
# attributes of <unk>, v1 to v4: tags s 1, t 2 (of three), categories a 3 + 1, b 3 + 2; v3:a:s_t_t is the first by text
ATTRIBUTES = [[], [1, 2, 4], [2, 5], [1, 2, 2, 4], [1, 4]]
CUTS = [reader.sliding_windows, reader.sequence_stretches]


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log.txt").write_text(log_text(LINES), encoding="utf-8")
    [log] = Reader(SMALL_DICT).encode(str(tmp_path / "log.txt"))
    return log


def random_network(config, **options):
    """Parameters large enough for every part of the network to matter, some of the ReLUs to be closed."""
    network, rng = network_conf.network_class(config.network)(config, **options), np.random.default_rng(0)
    for parameter in network.parameters():
        parameter.set_value(rng.normal(0, 0.7, parameter.shape).astype(np.float32))
    network.attributes = reader.Content(np.concatenate(ATTRIBUTES).astype(int),
                                        np.cumsum([0, *map(len, ATTRIBUTES)]))
    return network


def shapes_of(config):
    """{name: shape} of the arrays of a model, as the README has them."""
    dims, (hidden, user) = config.embedding_dims, config.dnn_layer_dims
    joined = config.lstm_dim + sum(dims[name] for name in dims if name != ITEMS)
    videos = config.dictionary_sizes[ITEMS]
    return {
        **{f"_proj_{name}": (config.dictionary_sizes[name], width) for name, width in dims.items()},
        "lstm_weight_ih": (4 * config.lstm_dim, dims[ITEMS]), "lstm_weight_hh": (4 * config.lstm_dim, config.lstm_dim),
        "lstm_bias_ih": (4 * config.lstm_dim,), "lstm_bias_hh": (4 * config.lstm_dim,),
        "relu1_w": (joined, hidden), "relu1_b": (hidden,), "relu2_w": (hidden, user), "relu2_b": (user,),
        "nce_w": (videos, user), "nce_b": (1, videos)}


# ---------------------------------------------------------------- the reference
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_instance(line, start, end):
    """(profile ids, [(item, category, tags)] of positions start..end - 1 of [<unk>, c1, ...], item after those)."""
    user, province, city, infos, phone = LINES[line]
    profile = [SMALL_DICT[name].get(value, 0) for name, value in zip(PROFILE_FEATURES, (user, province, city, phone))]
    clicks = [(0, 0, [0])]
    for video, category, tags in (info.split(":") for info in infos):
        item, *others = (SMALL_DICT[name].get(value, 0) for name, value in zip(CLICK_FEATURES, (video, category)))
        if item:
            clicks.append((item, *others, [SMALL_DICT[TAGS].get(tag, 0) for tag in tags.split("_")]))
    return profile, clicks[start:end], clicks[end][0] if end < len(clicks) else None


def plain_instances(stretches):
    """The instances of some stretches: for each target all that precedes it there."""
    return [plain_instance(line, start, start + end)
            for line, start, length, targets in zip(*(column.tolist() for column in stretches))
            for end in range(length - targets + 1, length + 1)]


def plain_user_vector(p, instance):
    """u of one instance, step by step in float64, from {name: array}."""
    profile, clicks, _ = instance
    h = c = np.zeros(p["lstm_weight_hh"].shape[1])
    states = []
    for item, _, _ in clicks:
        gates = (p["lstm_weight_ih"] @ p[f"_proj_{ITEMS}"][item] + p["lstm_bias_ih"]
                 + p["lstm_weight_hh"] @ h + p["lstm_bias_hh"])
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    joined = [np.max(states, axis=0),
              np.mean([p[f"_proj_{CATEGORIES}"][category] for _, category, _ in clicks], axis=0),
              np.mean([p[f"_proj_{TAGS}"][tag] for _, _, tags in clicks for tag in tags], axis=0),
              *(p[f"_proj_{name}"][id_] for name, id_ in zip(PROFILE_FEATURES, profile))]
    hidden = np.maximum(0, np.concatenate(joined) @ p["relu1_w"] + p["relu1_b"])
    u = np.maximum(0, hidden @ p["relu2_w"] + p["relu2_b"])
    if "direct_last_w" in p:
        videos = np.array([p[f"_proj_{ITEMS}"][item] for item, _, _ in clicks])
        weights = 0.7 ** np.arange(len(videos))[::-1]
        u = u + videos[-1] @ p["direct_last_w"] + weights @ videos / weights.sum() @ p["direct_mean_w"]
    return u


def whole_videos(p):
    """The parameters, the table of videos being their own rows + the mean of their attributes' rows."""
    if "content" not in p:
        return p
    means = [np.mean([p["content"][id_] for id_ in ids], axis=0) if ids else 0 for ids in ATTRIBUTES]
    return {**p, f"_proj_{ITEMS}": np.array([own + mean for own, mean in zip(p[f"_proj_{ITEMS}"], means)])}


def plain_costs(kind, users, targets, negatives, w, b, freq):
    """Costs, instance by instance, straight from the formulas."""
    q = np.array(freq, np.float64)
    q[0] = 0
    q /= q.sum()
    costs = []
    for n, (u, target) in enumerate(zip(users, targets)):
        noise = negatives[n] if np.ndim(negatives) == 2 else negatives
        k = len(noise)
        if kind == "nce":
            def is_data(v, u=u, k=k):
                return np.exp(w[v] @ u + b[v]) / (np.exp(w[v] @ u + b[v]) + k * q[v])
            costs.append(-np.log(is_data(target)) - sum(np.log(1 - is_data(v)) for v in noise))
        else:
            weight = {v: np.exp(w[v] @ u + b[v]) / q[v] for v in range(1, len(q))}
            total = weight[target] + sum(weight[v] for v in noise if v != target)
            costs.append(-np.log(weight[target] / total))
    return costs


# ---------------------------------------------------------------- forward
def forward(network, log, stretches, rng=None):
    batch = reader.make_batch(log, stretches)
    distinct = reader.share_rows([batch], network.table_ids(training=False))
    return network(network.look_up(distinct), network_conf.tensors(batch), rng).numpy()


@pytest.mark.parametrize("window_size", [3, 5, 20])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("config", [CONFIG, BEST], ids=["classic", "best"])
def test_forward_pass(log, config, cut, window_size):
    """LSTM, max and averages over windows of different lengths, padded or not, and both ReLU layers."""
    network, stretches = random_network(config), cut(log.lengths, window_size)
    parameters = whole_videos({name: value.astype(np.float64) for name, value in network.arrays().items()})
    instances = plain_instances(stretches)
    expected = np.array([plain_user_vector(parameters, instance) for instance in instances])
    assert len({len(clicks) for _, clicks, _ in instances}) > 2
    np.testing.assert_allclose(forward(network, log, stretches), expected, rtol=1e-4, atol=1e-5)
    assert config.network == "DirectModel" or 0.1 < np.mean(expected == 0) < 0.9


def test_parameters(log):
    """Names and shapes; a network that only infers needs no output layer."""
    for config in (CONFIG, TIED):
        assert {name: value.shape for name, value in DNNmodel(config).arrays().items()} == shapes_of(config)
    assert DNNmodel(CONFIG, is_infer=True).named().keys() == shapes_of(CONFIG).keys() - {"nce_w", "nce_b"}


def test_content_of_a_log(tmp_path):
    """Tags and category of each video, by hand; what the dictionary does not know says nothing."""
    (tmp_path / "log.txt").write_text(log_text(LINES), encoding="utf-8")
    source = Reader(SMALL_DICT)
    [log] = source.encode(str(tmp_path / "log.txt"))
    source.count(log)
    ids, offsets = source.content(len(SMALL_DICT[ITEMS]), len(SMALL_DICT[TAGS]))
    assert [ids[start:end].tolist() for start, end in zip(offsets, offsets[1:])] == ATTRIBUTES


def test_videos_without_tags_and_category(log):
    """Their vectors are their own rows; a step with such alone leaves state that one with others goes on from."""
    nothing = reader.Content(np.zeros(0, np.int64), np.zeros(len(FREQ) + 1, np.int64))
    stretches, rng = reader.sequence_stretches(log.lengths, 4), np.random.default_rng(0)
    network = random_network(BEST)
    everything, network.attributes = network.attributes, nothing
    own, table = network.arrays(), f"_proj_{ITEMS}"
    rows = network.look_up({table: np.array([0, 2, 4])})[table].numpy()
    np.testing.assert_array_equal(rows, own[table][[0, 2, 4]])
    np.testing.assert_array_equal(network.folded()[table], own[table])
    with paddle.utils.unique_name.guard():  # an optimiser's state is named as in a process of its own
        trainer = trainer_of(network, 2, loss="ranking_nce")
        trainer.step(*trainer.prepare(log, stretches, rng))
    arrays, rate = trainer.state()
    arrays = {name: np.array(value) for name, value in arrays.items()}  # as a checkpoint has them
    np.testing.assert_array_equal(arrays["content"], own["content"])
    with paddle.utils.unique_name.guard():
        resumed = trainer_of(random_network(BEST), 2, loss="ranking_nce")
        resumed.restore(arrays, rate)
        resumed.network.attributes = everything
        resumed.step(*resumed.prepare(log, stretches, rng))
    changed = (resumed.network.arrays()["content"] != own["content"]).any(1)
    assert changed.nonzero()[0].tolist() == [1, 2, 4, 5]


def test_a_model_is_written_folded(log, tmp_path, monkeypatch):
    """One vector a video in the archive: user vectors and scores are those of tables and content, to 1e-5."""
    monkeypatch.setattr(network_conf, "FOLDED", 2)
    network = random_network(BEST)
    network_conf.save_model(str(tmp_path / "model.tar.gz"), network, FREQ)
    told, arrays = read_archive(str(tmp_path / "model.tar.gz"), "")
    videos = whole_videos({name: value.astype(float) for name, value in network.arrays().items()})[f"_proj_{ITEMS}"]
    assert "content" not in arrays and told["network"] == "DirectModel"
    np.testing.assert_allclose(arrays["nce_w"], videos, rtol=0, atol=1e-5)
    assert np.abs(arrays["nce_w"] - network.arrays()["nce_w"]).max() > 0.1
    told.pop("format_version")
    loaded, windows = network_conf.load_network("", told, arrays), reader.next_click_windows(log.lengths, 4)
    batch = reader.make_batch(log, windows, with_targets=False)
    distinct = reader.share_rows([batch], loaded.table_ids(training=False))
    users = loaded(loaded.look_up(distinct), network_conf.tensors(batch)).numpy()
    np.testing.assert_allclose(users, infer.user_vectors(network, log), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(users @ arrays["nce_w"].T, infer.user_vectors(network, log) @ videos.T, atol=1e-4)


def test_running_max():
    """Values against numpy; a gradient goes to where the max was found, of equal ones to one of them."""
    rng = np.random.default_rng(0)
    for values in (rng.permutation(7 * 3 * 4).reshape(7, 3, 4), rng.integers(0, 3, (7, 3, 4))):
        values = values.astype(np.float32)
        weights = rng.normal(size=values.shape).astype(np.float32)
        states = paddle.to_tensor(values, stop_gradient=False)
        best = network_conf.running_max(states)
        np.testing.assert_array_equal(best.numpy(), np.maximum.accumulate(values))
        (best * paddle.to_tensor(weights)).sum().backward()
        found, expected = states.grad.numpy(), np.zeros_like(values)
        for time, row, column in np.ndindex(values.shape):
            expected[values[:time + 1, row, column].argmax(), row, column] += weights[time, row, column]
        if len(np.unique(values)) == values.size:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.sum(0), expected.sum(0), rtol=1e-4, atol=1e-5)
        assert not found[values < np.maximum.accumulate(values)].any()


# ---------------------------------------------------------------- losses
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", sorted(network_conf.LOSSES))
def test_loss_and_its_gradient(kind, shared):
    """The costs against the formulas, their gradient against finite differences, all in float64."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 5)), rng.normal(size=(5, 5)), rng.normal(size=(5, 1))
    targets, negatives = rng.integers(1, 5, 8), rng.integers(1, 5, 6 if shared else (8, 6))
    log_noise = np.log(np.array(FREQ) / (1 - FREQ[0]))[:, None]
    users, w, b = (paddle.to_tensor(value, stop_gradient=False) for value in values)
    costs = network_conf.LOSSES[kind](users, paddle.to_tensor(targets), paddle.to_tensor(negatives), w, b,
                                      paddle.to_tensor(log_noise))
    expected = plain_costs(kind, values[0], targets, negatives, values[1], values[2][:, 0], FREQ)
    np.testing.assert_allclose(costs.numpy(), expected, rtol=0, atol=1e-9)

    def mean_cost(u, w, b):
        return np.mean(plain_costs(kind, u, targets, negatives, w, b[:, 0], FREQ))
    costs.mean().backward()
    for number, gradient in enumerate(tensor.grad.numpy() for tensor in (users, w, b)):
        for index in np.ndindex(gradient.shape):
            around = [[value.copy() for value in values] for _ in range(2)]
            around[0][number][index] += 1e-5
            around[1][number][index] -= 1e-5
            slope = (mean_cost(*around[0]) - mean_cost(*around[1])) / 2e-5
            assert gradient[index] == pytest.approx(slope, abs=1e-7)


def test_a_cost_worked_out_by_hand():
    """u = 0 and nce_b = log q: every video's odds are 1 : k, so NCE costs log(1 + k) + k log(1 + 1 / k)."""
    q = np.array([[0.5], [0.5], [0.25], [0.25]], np.float32)
    arrays = np.zeros((1, 2), np.float32), np.array([1]), np.array([[2, 3, 3]]), np.ones((4, 2), np.float32)
    users, target, negatives, w = map(paddle.to_tensor, arrays)
    log_q = paddle.to_tensor(np.log(q))
    cost = network_conf.nce_loss(users, target, negatives, w, log_q, log_q)
    assert cost.item() == pytest.approx(np.log(4) + 3 * np.log(4 / 3), rel=1e-6)
    ranking = network_conf.ranking_nce_loss(users, target, negatives, w, log_q, log_q)
    assert ranking.item() == pytest.approx(np.log(4), rel=1e-6)  # one in four
    hit = network_conf.ranking_nce_loss(users, target, paddle.to_tensor(np.array([1, 2])), w, log_q, log_q)
    assert hit.item() == pytest.approx(np.log(2), rel=1e-6)  # noise that hits the target does not count


# ---------------------------------------------------------------- gradients of the whole network
def trainer_of(network, threads, freq=FREQ, **settings):
    args = {"threads": threads, "loss": "nce", "learning_rate": 0.01, "optimizer": "adam", "l2_rate": 0.0,
            "num_negatives": 3, "shared_negatives": False, "table_rate": 1.0, **settings}
    return train.Trainer(argparse.Namespace(**args), network, freq, 10)


def dense_gradient(parameter):
    """A gradient as an array: that of a table is the ids of some rows and their numbers."""
    if not parameter.grad.is_selected_rows():
        return parameter.grad.numpy()
    rows, found = parameter.grad.get_selected_rows(), np.zeros(parameter.shape, np.float32)
    np.add.at(found, rows.rows(), np.array(rows.get_tensor()))
    return found


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("cut, config, settings", [
    (reader.sliding_windows, CONFIG, {}),
    (reader.sequence_stretches, CONFIG, {"loss": "ranking_nce", "shared_negatives": True, "num_negatives": 4}),
    (reader.sliding_windows, TIED, {"loss": "ranking_nce"}),
    (reader.sequence_stretches, TIED, {"shared_negatives": True}),
    (reader.sliding_windows, BEST, {"loss": "ranking_nce"}),
    (reader.sequence_stretches, BEST, {"loss": "ranking_nce", "shared_negatives": True}),
], ids=["windows", "sequences", "tied windows", "tied sequences", "best windows", "best sequences"])
def test_gradients(log, cut, config, settings, threads):
    """Cost and slopes along random directions, parameter by parameter, against the reference in float64."""
    network = random_network(config)
    trainer, stretches = trainer_of(network, threads, **settings), cut(log.lengths, 4)
    targets, distinct, parts, _ = batch = trainer.prepare(log, stretches, np.random.default_rng(1))
    assert len(parts) == threads and targets == 10
    videos = distinct[network.output_table()]
    cases = []  # what the reference has to look at: each part's instances with the noise drawn for them
    for chosen, part in zip(np.array_split(np.arange(len(stretches.line)), threads), parts):
        instances = plain_instances(stretches.take(chosen))
        assert videos[part["target"]].tolist() == [target for _, _, target in instances]
        cases.append((instances, videos[part["negatives"]]))
    assert settings.get("shared_negatives", False) == (cases[0][1].ndim == 1)

    def plain_cost(p):
        p = whole_videos(p)
        w = p[f"_proj_{ITEMS}"] if config.tie_embeddings else p["nce_w"]
        return np.sum(np.concatenate([plain_costs(
            settings.get("loss", "nce"), [plain_user_vector(p, instance) for instance in instances],
            [target for _, _, target in instances], negatives, w, p["nce_b"][:, 0], FREQ)
            for instances, negatives in cases])) / 10
    start = {name: parameter.numpy().astype(np.float64) for name, parameter in network.named().items()}
    assert trainer.cost(*batch, train=True) == pytest.approx(plain_cost(start), rel=1e-5)
    rng, sparse = np.random.default_rng(2), set()
    for name, parameter in network.named().items():
        gradient = dense_gradient(parameter)
        sparse |= {name} if parameter.grad.is_selected_rows() else set()
        assert np.abs(gradient).sum() > 0, name
        for _ in range(3):
            way = rng.normal(size=gradient.shape)
            ahead, behind = ({**start, name: start[name] + by * way} for by in (1e-6, -1e-6))
            slope = (plain_cost(ahead) - plain_cost(behind)) / 2e-6
            assert (gradient * way).sum() == pytest.approx(slope, rel=1e-3, abs=1e-4), name
    assert sparse == network.tables().keys()  # only of tables, since those can be large
    before = [dense_gradient(parameter) for parameter in network.parameters()]
    assert trainer.cost(*batch) == pytest.approx(plain_cost(start), rel=1e-5)
    for parameter, gradient in zip(network.parameters(), before):  # a cost that is only looked at adds none
        np.testing.assert_array_equal(dense_gradient(parameter), gradient)


@given(st.lists(st.lists(st.integers(0, 20), max_size=12), min_size=1, max_size=4), st.integers(0, 9))
def test_share_rows(ids, seed):
    """Every id of every part is found where its place points to; each stands there once, in order."""
    rng = np.random.default_rng(seed)
    parts = [{"a": np.array(part, np.int64), "b": rng.integers(0, 20, (2, len(part))), "other": np.arange(3)}
             for part in ids]
    before = [dict(part) for part in parts]
    distinct = reader.share_rows(parts, {"table": ["a", "b"], "alone": ["other"]})
    assert distinct["alone"].tolist() == [0, 1, 2] and distinct.keys() == {"table", "alone"}
    wanted = {int(id_) for part in before for name in "ab" for id_ in part[name].ravel()}
    assert distinct["table"].tolist() == sorted(wanted)
    for part, old in zip(parts, before):
        for name in "ab":
            assert part[name].shape == old[name].shape
            np.testing.assert_array_equal(distinct["table"][part[name]] if old[name].size else old[name], old[name])


# ---------------------------------------------------------------- initial values, dropout
def fresh(config, freq, kind="popularity"):
    paddle.seed(0)
    network = DNNmodel(config)
    network_conf.initialize(network, freq, kind)
    return network.arrays()


def test_an_untrained_network_ranks_by_popularity():
    freq = np.random.default_rng(0).dirichlet(np.ones(50) * 0.3) + 1e-4
    freq = list(freq / freq.sum())
    p = fresh(ModelConfig(dict.fromkeys(DIMS, 50), DNNmodel.embedding_dims), freq)
    user = plain_user_vector(p, ([3, 2, 1, 1], [(0, 0, [0]), (4, 2, [1, 2]), (5, 3, [1])], None))
    assert user.any()
    scores = p["nce_w"] @ user + p["nce_b"][0]
    softmax = np.exp(scores[1:]) / np.exp(scores[1:]).sum()
    popularity = np.array(freq[1:]) / sum(freq[1:])
    # random weights of a hundredth shift a probability by some percent: videos of like frequency may change places
    assert np.abs(np.log(softmax / popularity)).max() < 0.3
    for low, high in zip(*np.nonzero(popularity[:, None] * 1.8 < popularity)):
        assert softmax[low] < softmax[high]


def test_initial_values():
    """As documented: spread of tables and weights, biases, the forget gate; and those of the v0.10 example."""
    config, freq = ModelConfig(dict.fromkeys(DIMS, 900), DNNmodel.embedding_dims), [1 / 900] * 900
    p, old = fresh(config, freq), fresh(config, freq, "v0.10")
    for name in p:
        if name.startswith("_proj_") or name == "nce_w":
            small = name in ("_proj_user_id", "nce_w")
            assert np.std(p[name]) == pytest.approx(0.01 if small else 0.1, rel=0.05), name
            assert np.std(old[name]) == pytest.approx(0.001, rel=0.05), name
        elif p[name].ndim == 2 and name != "nce_b":
            fan_in = p[name].shape[name.startswith("lstm")]
            limit = np.sqrt(6 / (fan_in + 64)) if name.startswith("lstm") else RELU_GAIN * np.sqrt(6 / fan_in)
            assert 0.98 * limit < np.abs(p[name]).max() <= limit * (1 + 1e-6), name
            assert np.std(old[name]) == pytest.approx(fan_in ** -0.5, rel=0.05), name
    assert p["lstm_bias_ih"].tolist() == [0] * 64 + [1] * 64 + [0] * 128  # gates i, f, c, o
    assert not any(p[name].any() for name in ("lstm_bias_hh", "relu1_b", "relu2_b"))
    assert not any(old[name].any() for name in old if "bias" in name or name.endswith("_b"))


def test_dropout_is_for_training_only(log):
    stretches = reader.sliding_windows(log.lengths, 4)
    network, plain = random_network(CONFIG, dropout=0.5), random_network(CONFIG)
    expected = forward(plain, log, stretches)
    np.testing.assert_array_equal(forward(network, log, stretches), expected)
    np.testing.assert_array_equal(forward(plain, log, stretches, np.random.default_rng(0)), expected)
    first, again, other = (forward(network, log, stretches, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first, expected)
    dropped = DNNmodel(CONFIG, dropout=0.25).drop(paddle.ones([400, 500]), np.random.default_rng(0)).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0, 4 / 3], rtol=1e-6)
    assert abs(dropped.mean() - 1) < 0.01

    def costs(network):
        trainer = trainer_of(network, 2)
        batches = [trainer.prepare(log, stretches, np.random.default_rng(0)) for _ in range(2)]
        return trainer.cost(*batches[0]), trainer.cost(*batches[1], train=True)
    assert costs(network)[0] == costs(plain)[0] == pytest.approx(costs(plain)[1])
    assert abs(costs(network)[1] - costs(plain)[1]) > 1e-3


# ---------------------------------------------------------------- sampling
@given(st.lists(st.integers(0, 5), min_size=2, max_size=9).filter(lambda counts: any(counts[1:])), st.integers(0, 99))
def test_noise_is_what_can_be_clicked(counts, seed):
    """Never `<unk>`, never a video without clicks; log_probability is the log of the share of each of the others."""
    sampler = network_conf.NoiseSampler([count / sum(counts) for count in counts])
    draws = sampler.draw((4, 50), np.random.default_rng(seed))
    assert draws.shape == (4, 50) and draws.dtype == np.int64
    clicked = {video for video, count in enumerate(counts) if video and count}
    assert set(draws.ravel().tolist()) <= clicked
    for video in clicked:
        assert np.exp(sampler.log_probability[video]) == pytest.approx(counts[video] / sum(counts[1:]), rel=1e-5)


def test_noise_follows_the_frequencies():
    """200,000 draws: every share within five standard errors."""
    draws = network_conf.NoiseSampler(FREQ).draw((400, 500), np.random.default_rng(0))
    counts = Counter(draws.ravel().tolist())
    for video, share in enumerate(np.array(FREQ[1:]) / sum(FREQ[1:]), 1):
        assert abs(counts[video] / 200_000 - share) < 5 * np.sqrt(share * (1 - share) / 200_000)


# ---------------------------------------------------------------- the file of a model
@pytest.fixture(params=[CONFIG, TIED], ids=["", "tied"])
def model(request, tmp_path):
    """(folder with model.tar.gz and its dictionary, the network in it)."""
    network = random_network(request.param)
    network_conf.save_model(tmp_path / "model.tar.gz", network, FREQ)
    (tmp_path / "feature_dict.pkl").write_bytes(pickle.dumps(SMALL_DICT))
    return tmp_path, network


def load(folder, name="model.tar.gz"):
    """(network, parameters, item_freq) as the scripts that infer have them."""
    args = argparse.Namespace(model_path=str(folder / name), feature_dict=str(folder / "feature_dict.pkl"),
                              device="cpu")
    told, parameters, item_freq, _ = infer.load_model(args)
    return infer.start_network(args, told, parameters), parameters, item_freq


def members_of(path):
    """{name: bytes} of what is in an archive, by nothing but the standard library."""
    with tarfile.open(path, "r:gz") as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def pack(path, members, kind=tarfile.GNU_FORMAT):
    with tarfile.open(path, "w:gz", format=kind) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), 1e9 + 0.5  # pax has a remark on the half second
            tar.addfile(entry, io.BytesIO(content))


def test_round_trip(model, log):
    """Equal parameters, equal user vectors; the same network gives the same bytes."""
    folder, network = model
    loaded, parameters, item_freq = load(folder)
    assert loaded.config == network.config and not loaded.training
    assert parameters.keys() == network.arrays().keys()
    for name, value in network.arrays().items():
        np.testing.assert_array_equal(parameters[name], value)
    np.testing.assert_allclose(item_freq, FREQ, rtol=1e-6)
    stretches = reader.sliding_windows(log.lengths, 4)
    np.testing.assert_array_equal(forward(loaded, log, stretches), forward(network, log, stretches))
    again = DNNmodel(network.config)
    again.set_arrays(parameters)
    network_conf.save_model(folder / "again.tar.gz", again, item_freq)
    assert (folder / "again.tar.gz").read_bytes() == (folder / "model.tar.gz").read_bytes()


def test_tied_embeddings_are_one_table(tmp_path):
    network_conf.save_model(tmp_path / "tied.tar.gz", random_network(TIED), FREQ)
    members = members_of(tmp_path / "tied.tar.gz")
    assert members["nce_w.npy"] == members[f"_proj_{ITEMS}.npy"]
    assert DNNmodel(TIED).named().keys() == shapes_of(TIED).keys() - {"nce_w"}


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_anybody_can_pack_it_again(model, kind):
    folder, network = model
    pack(folder / "again.tar.gz", members_of(folder / "model.tar.gz"), kind)
    assert load(folder, "again.tar.gz")[0].config == network.config


def test_anybody_can_read_it(model):
    folder, network = model
    members = members_of(folder / "model.tar.gz")
    told = json.loads(members.pop("model.json"))
    assert told["window_size"] == 4 and told["dictionary_sizes"][ITEMS] == 5 and told["network"] == "DNNmodel"
    arrays = {name: np.load(io.BytesIO(content), allow_pickle=False) for name, content in members.items()}
    assert {name: value.shape for name, value in arrays.items()} == {
        **{f"{name}.npy": shape for name, shape in shapes_of(network.config).items()}, "item_freq.npy": (5,)}
    np.testing.assert_array_equal(arrays["nce_b.npy"][0], network.nce_b.weight.numpy()[:, 0])


def old_archive(path, config, **told):
    """A model as it was written when a network could have further inputs; returns {name: array}."""
    rng = np.random.default_rng(7)
    arrays = {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes_of(config).items()}
    if config.tie_embeddings:
        arrays["nce_w"] = arrays[f"_proj_{ITEMS}"]
    told = {"format_version": 1, "dictionary_sizes": config.dictionary_sizes,
            "dictionary_fingerprint": config.dictionary_fingerprint, "window_size": config.window_size,
            "dnn_layer_dims": config.dnn_layer_dims, "lstm_dim": config.lstm_dim,
            "embedding_dims": config.embedding_dims, "last_click": False, "last_state": False,
            "tie_embeddings": config.tie_embeddings, **told}
    members = {"model.json": json.dumps(told, indent=1).encode()}
    for name, value in {**arrays, "item_freq": np.array(FREQ, np.float32)}.items():
        content = io.BytesIO()
        np.save(content, value)
        members[name + ".npy"] = content.getvalue()
    pack(path, members, tarfile.USTAR_FORMAT)
    return arrays


@pytest.mark.parametrize("model", [CONFIG, TIED], indirect=True, ids=["", "tied"])
def test_models_of_before_load(model, log):
    folder, network = model
    arrays = old_archive(folder / "old.tar.gz", network.config)
    loaded, parameters, _ = load(folder, "old.tar.gz")
    assert loaded.config == network.config and type(loaded) is DNNmodel
    np.testing.assert_array_equal(parameters["nce_w"], arrays["nce_w"])
    stretches = reader.next_click_windows(log.lengths, 4)
    exact = {name: value.astype(np.float64) for name, value in arrays.items()}
    expected = [plain_user_vector(exact, instance) for instance in plain_instances(stretches)]
    np.testing.assert_allclose(infer.user_vectors(loaded, log), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [CONFIG], indirect=True, ids=[""])
@pytest.mark.parametrize("told, what", [
    ({"last_click": True}, "trained with --last_click, which is gone"),
    ({"last_state": True}, "trained with --last_state, which is gone"),
    ({"network": "Mine"}, "no network is called 'Mine': network_conf.py has DNNmodel"),
    ({"window_size": 0}, "a size that no network has"), ({"lstm_dim": 8}, "in place of"),
    ({"lstm_dim": 1 << 40}, "a size that no network has"), ({"surprise": 1}, "surprise"),
    ({"dnn_layer_dims": [6, 5, 4]}, "do not fit"), ({"embedding_dims": {}}, "do not fit"),
    ({"dictionary_fingerprint": "another"}, "trained with another dictionary"), ({"format_version": 2}, "version 1"),
])
def test_models_that_cannot_be_served(model, told, what):
    """One line that names the file and says what is wrong."""
    folder, network = model
    old_archive(folder / "bad.tar.gz", network.config, **told)
    with pytest.raises(InputError) as caught:
        load(folder, "bad.tar.gz")
    assert str(caught.value).startswith(str(folder / "bad.tar.gz")) and what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_networks_by_name():
    """Those of network_conf.py: the class itself, its subclasses and theirs."""
    class One(DNNmodel):
        pass

    class Two(One):
        pass
    assert [network_conf.network_class(name) for name in ("DNNmodel", "One", "Two")] == [DNNmodel, One, Two]
    with pytest.raises(ValueError, match=r"no network is called 'Three': network_conf\.py has DNNmodel, .*One.*Two"):
        network_conf.network_class("Three")


def test_parameters_of_another_shape_are_refused():
    network = random_network(CONFIG)
    for name, value in network.arrays().items():
        for bad in ({name: value[:, :-1] if value.ndim == 2 else value[:-1]}, {name: value.astype(np.float64)}):
            with pytest.raises(ValueError, match=f"{name} is float"):
                network.set_arrays({**network.arrays(), **bad})
    with pytest.raises(ValueError, match="relu1_w"):
        network.set_arrays({name: value for name, value in network.arrays().items() if name != "relu1_w"})


def test_replicas_share_the_tables():
    """Another thread's network: one set of tables, its own copy of the rest, and the same answers."""
    network = random_network(CONFIG)
    copy = network.replica()
    assert network.named().keys() == copy.named().keys()
    for name, parameter in network.named().items():
        np.testing.assert_array_equal(parameter.numpy(), copy.named()[name].numpy())
        assert (parameter is copy.named()[name]) == (name in network.tables())
    assert [each.shape for each in network.dense_parameters()] == [each.shape for each in copy.dense_parameters()]


def test_a_norm_keeps_its_scale():
    """Layers that a subclass adds: weights and biases are initialised, the scale of a norm stays 1."""
    class Normed(DNNmodel):
        def __init__(self, config):
            super().__init__(config)
            self.norm = paddle.nn.LayerNorm(5)

    network = Normed(CONFIG)
    network_conf.initialize(network, FREQ)
    assert network.norm.weight.numpy().tolist() == [1] * 5 and not network.norm.bias.numpy().any()
