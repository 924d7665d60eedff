"""The networks, losses and gradients against a reference in float64; the noise sampler."""

import dataclasses
import re
from collections import Counter

import network_conf
from candgen.console import InputError
from candgen.data.batches import (
    INSTANCES,
    balanced_parts,
    sequence_segments,
    sliding_windows,
)
from candgen.data.dictionary import ITEMS
from candgen.model.layers import product_of_parts
from network_conf import DNNmodel
from reference import (
    BEST,
    CONFIG,
    FREQ,
    TIED,
    forward,
    plain_instances,
    plain_losses,
    plain_user_vector,
    random_network,
    reference_log,
    trainer_of,
    whole_videos,
)

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def log(tmp_path):
    return reference_log(tmp_path)


@pytest.mark.parametrize("window_size", [3, 5, 20])
@pytest.mark.parametrize("cut", INSTANCES.values(), ids=INSTANCES)
@pytest.mark.parametrize("config", [CONFIG, BEST], ids=["classic", "best"])
def test_forward_pass(log, config, cut, window_size):
    """LSTM, max and averages over windows of all lengths, padded or not, and both ReLU layers."""
    network = random_network(config)
    segments = cut(log.lengths, window_size)
    arrays = {name: value.astype(np.float64) for name, value in network.arrays().items()}
    parameters = whole_videos(arrays)
    instances = plain_instances(segments)
    expected = np.array([plain_user_vector(parameters, instance) for instance in instances])
    assert len({len(clicks) for _, clicks, _ in instances}) > 2
    np.testing.assert_allclose(forward(network, log, segments), expected, rtol=1e-4, atol=1e-5)
    assert config.network == "DirectModel" or 0.1 < np.mean(expected == 0) < 0.9


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", sorted(network_conf.LOSSES))
def test_loss_and_its_gradient(kind, shared):
    """Losses against the formulas, gradients against finite differences, all in float64."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 5)), rng.normal(size=(5, 5)), rng.normal(size=(5, 1))
    targets, negatives = rng.integers(1, 5, 8), rng.integers(1, 5, 6 if shared else (8, 6))
    log_noise = np.log(np.array(FREQ) / (1 - FREQ[0]))[:, None]
    users, w, b = (paddle.to_tensor(value, stop_gradient=False) for value in values)
    odds = network_conf.log_odds(
        users,
        paddle.to_tensor(targets),
        paddle.to_tensor(negatives),
        w,
        b,
        paddle.to_tensor(log_noise),
    )
    losses = network_conf.LOSSES[kind](*odds, paddle.to_tensor(negatives == targets[:, None]))
    expected = plain_losses(kind, values[0], targets, negatives, values[1], values[2][:, 0], FREQ)
    np.testing.assert_allclose(losses.numpy(), expected, rtol=0, atol=1e-9)

    def mean_loss(u, w, b):
        return np.mean(plain_losses(kind, u, targets, negatives, w, b[:, 0], FREQ))

    losses.mean().backward()
    for number, gradient in enumerate(tensor.grad.numpy() for tensor in (users, w, b)):
        for index in np.ndindex(gradient.shape):
            around = [[value.copy() for value in values] for _ in range(2)]
            around[0][number][index] += 1e-5
            around[1][number][index] -= 1e-5
            slope = (mean_loss(*around[0]) - mean_loss(*around[1])) / 2e-5
            assert gradient[index] == pytest.approx(slope, abs=1e-7)


def test_a_loss_worked_out_by_hand():
    """With u = 0 and nce_b = log q all odds are 1 : k; NCE is log(1 + k) + k log(1 + 1 / k)."""
    q = np.array([[0.5], [0.5], [0.25], [0.25]], np.float32)
    users = paddle.zeros([1, 2])
    target = paddle.to_tensor([1])
    negatives = paddle.to_tensor([[2, 3, 3]])
    w = paddle.ones([4, 2])
    log_q = paddle.to_tensor(np.log(q))
    no_hits = paddle.zeros([1, 3], "bool")
    odds = network_conf.log_odds(users, target, negatives, w, log_q, log_q)
    nce = network_conf.nce_loss(*odds, no_hits)
    assert nce.item() == pytest.approx(np.log(4) + 3 * np.log(4 / 3), rel=1e-6)
    ranking = network_conf.ranking_nce_loss(*odds, no_hits)
    assert ranking.item() == pytest.approx(np.log(4), rel=1e-6)  # one in four
    # noise that hits the target does not count
    negatives, hits = paddle.to_tensor([1, 2]), paddle.to_tensor([[True, False]])
    odds = network_conf.log_odds(users, target, negatives, w, log_q, log_q)
    hit = network_conf.ranking_nce_loss(*odds, hits)
    assert hit.item() == pytest.approx(np.log(2), rel=1e-6)


def dense_gradient(parameter):
    """A gradient as an array: that of a table consists of ids and their rows."""
    if not parameter.grad.is_selected_rows():
        return parameter.grad.numpy()
    rows = parameter.grad.get_selected_rows()
    gradient = np.zeros(parameter.shape, np.float32)
    np.add.at(gradient, rows.rows(), np.array(rows.get_tensor()))
    return gradient


@pytest.mark.parametrize(
    "threads, cut, config, settings",
    [
        (1, sliding_windows, CONFIG, {}),
        (3, sliding_windows, CONFIG, {}),
        (2, sequence_segments, CONFIG, {"loss": "ranking_nce", "shared_negatives": True}),
        (2, sliding_windows, TIED, {"loss": "ranking_nce"}),
        (2, sequence_segments, TIED, {"shared_negatives": True}),
        (1, sliding_windows, BEST, {"loss": "ranking_nce"}),
        (3, sequence_segments, BEST, {"loss": "ranking_nce", "shared_negatives": True}),
    ],
    ids=[
        "windows, one thread",
        "windows",
        "sequences",
        "tied windows",
        "tied sequences",
        "best windows, one thread",
        "best sequences",
    ],
)
def test_gradients(log, threads, cut, config, settings):
    """Loss, and slopes along random directions of each parameter, against the reference."""
    network = random_network(config)
    trained = set(network.named())
    if network.remembers_users:
        nothing = np.zeros((3, 4), np.float32)  # yet
        network.tables()["_proj_user_id"].weight.set_value(nothing)
        trained.remove("_proj_user_id")
    trainer = trainer_of(network, threads, **settings)
    trainer._optimizers = []  # gradients stay in the parameters
    segments = cut(log.lengths, 4)
    batch = trainer.prepare(log, segments, np.random.default_rng(1))
    assert len(batch.micro_batches) == threads and batch.num_targets == 10
    videos = batch.distinct[network.output_table()]
    cases = []  # of each micro-batch: its instances, and the noise drawn for them
    for chosen, micro_batch in zip(balanced_parts(segments, threads), batch.micro_batches):
        instances = plain_instances(segments.take(chosen))
        targets = [target for _, _, target in instances]
        assert videos[micro_batch["target"]].tolist() == targets
        cases.append((instances, targets, videos[micro_batch["negatives"]]))

    def plain_loss(parameters):
        p = whole_videos(parameters)
        w = p[f"_proj_{ITEMS}"] if config.tie_embeddings else p["nce_w"]
        losses = []
        for instances, targets, negatives in cases:
            users = [plain_user_vector(p, instance) for instance in instances]
            kind = settings.get("loss", "nce")
            parts = getattr(network, "parts", 1)
            vectors = np.split(np.array(users) * parts, parts, axis=1)
            of_parts = [
                plain_losses(kind, part, targets, negatives, w_part, p["nce_b"][:, 0], FREQ)
                for part, w_part in zip(vectors, np.split(w, parts, axis=1))
            ]
            losses += np.mean(of_parts, axis=0).tolist()
        return np.sum(losses) / 10

    start = {name: value.numpy().astype(np.float64) for name, value in network.named().items()}
    assert trainer.step(batch) == pytest.approx(plain_loss(start), rel=1e-5)
    rng = np.random.default_rng(2)
    for name in sorted(trained):
        gradient = dense_gradient(network.named()[name])
        assert np.abs(gradient).sum() > 0, name
        for _ in range(3):
            way = rng.normal(size=gradient.shape)
            ahead, behind = ({**start, name: start[name] + by * way} for by in (1e-6, -1e-6))
            slope = (plain_loss(ahead) - plain_loss(behind)) / 2e-6
            assert (gradient * way).sum() == pytest.approx(slope, rel=1e-3, abs=1e-4), name
    # sparse are those of the tables, which can be large
    sparse = {name for name in trained if network.named()[name].grad.is_selected_rows()}
    assert sparse == network.tables().keys() & trained


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=9).filter(lambda counts: any(counts[1:])),
    st.integers(0, 99),
)
def test_noise_is_drawn_from_clicked_videos(counts, seed):
    """Never `<unk>` or a video without clicks; log_probability is the log of a video's share."""
    sampler = network_conf.NoiseSampler([count / sum(counts) for count in counts])
    draws = sampler.draw((4, 50), np.random.default_rng(seed))
    assert draws.shape == (4, 50) and draws.dtype == np.int64
    clicked = {video for video, count in enumerate(counts) if video and count}
    assert set(draws.ravel().tolist()) <= clicked
    for video in clicked:
        assert np.exp(sampler.log_probability[video]) == pytest.approx(
            counts[video] / sum(counts[1:]), rel=1e-5
        )


def test_noise_follows_the_frequencies():
    """200,000 draws: every share within five standard errors."""
    draws = network_conf.NoiseSampler(FREQ).draw((400, 500), np.random.default_rng(0))
    counts = Counter(draws.ravel().tolist())
    for video, share in enumerate(np.array(FREQ[1:]) / sum(FREQ[1:]), 1):
        assert abs(counts[video] / 200_000 - share) < 5 * np.sqrt(share * (1 - share) / 200_000)


def test_networks_by_name():
    """DNNmodel, its subclasses, and theirs."""

    class One(DNNmodel):
        pass

    class Two(One):
        pass

    assert [network_conf.network_class(name) for name in ("DNNmodel", "One", "Two")] == [
        DNNmodel,
        One,
        Two,
    ]
    with pytest.raises(ValueError, match="no network is called 'Three': ") as caught:
        network_conf.network_class("Three")
    assert {"DNNmodel", "DirectModel", "One", "Two"} <= set(re.findall(r"\w+", str(caught.value)))


def test_losses_by_name():
    assert network_conf.loss_function("nce") is network_conf.nce_loss
    with pytest.raises(ValueError, match=r"no loss is called 'hinge': .* has nce, ranking_nce"):
        network_conf.loss_function("hinge")


def test_parts_divide_vectors():
    """A width that is no multiple of the parts is refused, with the flag that sets it."""
    config = dataclasses.replace(BEST, dnn_layer_dims=(6, 5))
    with pytest.raises(InputError, match="--dnn_layer_dims: DirectModel divides vectors into 2"):
        network_conf.DirectModel(config)


def test_parts_do_not_see_each_other():
    """Each part of the direct path is computed from its own part of the videos' vectors."""
    network = random_network(BEST)
    values = paddle.to_tensor(np.arange(8, dtype=np.float32).reshape(2, 4))
    found = product_of_parts(values, network.direct_last_w).numpy()
    first, second = network.direct_last_w.numpy()
    expected = np.hstack([values.numpy()[:, :2] @ first, values.numpy()[:, 2:] @ second])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_network_of_its_own_may_remember_users(log):
    """A subclass of DNNmodel that says so: its ids are not trained, and no input."""
    kind = type("Remembering", (DNNmodel,), {"remembers_users": True})
    dims = {**CONFIG.embedding_dims, "user_id": 5}
    network = random_network(
        dataclasses.replace(CONFIG, network="Remembering", embedding_dims=dims)
    )
    trainer = trainer_of(network, threads=1)
    segments = sliding_windows(log.lengths, 4)
    trainer.step(trainer.prepare(log, segments, np.random.default_rng(0)))
    assert isinstance(network, kind) and "user_id" not in network.profile_features()
