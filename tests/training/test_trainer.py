"""Training steps: threads, micro-batches, hidden ids and histories, optimizers, learning rate."""

import dataclasses
import itertools

import network_conf
from candgen.console import InputError
from candgen.data.batches import (
    INSTANCES,
    balanced_parts,
    sequence_segments,
    shuffled_batches,
    sliding_windows,
)
from candgen.data.dictionary import FEATURES, TAGS, load_feature_dict, load_item_freq
from candgen.data.encoding import EncodedLog
from candgen.model.initialization import build_network, embedding_dims
from candgen.model.layers import to_tensors
from candgen.serving.user_vectors import user_vectors
from candgen.training import preparation
from candgen.training.preparation import MICRO_BATCH_SEGMENTS
from candgen.training.settings import TrainerSettings
from candgen.training.trainer import Trainer
from reader import Reader

import numpy as np
import paddle
import pytest


@dataclasses.dataclass(frozen=True)
class Inputs:
    """A random log whose clicks depend on the clicks before them, and its dictionary."""

    feature_dict: dict
    item_freq: list
    log: EncodedLog


@pytest.fixture(scope="module")
def inputs(small):
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    item_freq = load_item_freq(str(small / "output" / "item_freq.pkl"), feature_dict)
    [log] = Reader(feature_dict).encode([str(small / "log.txt")])
    return Inputs(feature_dict, item_freq, log)


def trainer_of(
    inputs,
    steps=10,
    freq=None,
    loss="nce",
    dropout=0.2,
    tie_embeddings=False,
    kind=network_conf.DNNmodel,
    **settings,
):
    """A `Trainer` of a fresh network, always with the same initial values."""
    dims = embedding_dims(kind, 31, tie_embeddings)
    sizes = {name: len(inputs.feature_dict[name]) for name in FEATURES}
    config = network_conf.ModelConfig(sizes, dims, tie_embeddings=tie_embeddings)
    network = build_network(kind, config, dropout, inputs.item_freq, "popularity", seed=0)
    settings = {"learning_rate": 0.01, "history_dropout": 0.0, **settings}
    sampler = network_conf.NoiseSampler(freq or inputs.item_freq)
    settings = TrainerSettings(loss=network_conf.loss_function(loss), **settings)
    return Trainer(network, sampler, settings, steps)


def train_steps(trainer, log, steps=10, cut=sliding_windows):
    """Parameters after some steps, and the loss of each."""
    rng = np.random.default_rng(0)
    batches = shuffled_batches(cut(log.lengths, 20), len(log.clicks) // 64, rng)
    losses = [
        trainer.step(trainer.prepare(log, segments, rng))
        for segments in itertools.islice(batches, steps)
    ]
    assert len(losses) == steps
    return trainer.network.arrays(), losses


def prepared(trainer, inputs, cut=sliding_windows, count=None):
    """The `PreparedBatch` of the first segments of the log, always with the same randomness."""
    segments = cut(inputs.log.lengths, 20).take(slice(0, count))
    return trainer.prepare(inputs.log, segments, np.random.default_rng(0))


def ids_of(batch, table, name):
    """Ids of an array of all micro-batches."""
    return np.concatenate([batch.distinct[table][each[name]] for each in batch.micro_batches])


class Sequential:
    """In place of a pool: does the work of threads in order, or in reverse order."""

    def __init__(self, backwards):
        self._backwards = backwards

    def map(self, work, *items):
        tasks = list(enumerate(zip(*items)))
        if self._backwards:
            tasks.reverse()
        results = {number: work(*task) for number, task in tasks}
        return [results[number] for number in sorted(results)]


class IgnoresTags(network_conf.DNNmodel):
    """Looks up the city and the tags, and does nothing with them."""

    def hidden_layer(self, embeddings, batch, rng=None):
        unused = {name: paddle.zeros_like(embeddings[name]) for name in ("city", TAGS)}
        return super().hidden_layer({**embeddings, **unused}, batch, rng)


@pytest.mark.parametrize("threads", [1, 3])
def test_features_that_a_network_does_not_use(inputs, capsys, threads):
    """Named in a warning at the first step, and only then."""
    for kind, warnings in ((network_conf.DNNmodel, 0), (IgnoresTags, 1)):
        trainer = trainer_of(inputs, kind=kind, threads=threads)
        train_steps(trainer, inputs.log, steps=2)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == warnings
    assert f"IgnoresTags looks up the embeddings of city, {TAGS} and does not use them" in lines[0]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "loss": "ranking_nce",
            "shared_negatives": True,
            "num_negatives": 50,
            "tie_embeddings": True,
        },
        {"optimizer": "adagrad", "l2_rate": 0.001},
    ],
    ids=["defaults", "ranking", "adagrad"],
)
def test_the_order_of_threads_does_not_matter(inputs, settings):
    """Micro-batches computed in order, in reverse, or by threads: equal parameters, bit for bit."""
    results = []
    for pool in (Sequential(False), Sequential(True), None):
        trainer = trainer_of(inputs, threads=3, **settings)
        trainer.pool = pool or trainer.pool
        results.append(train_steps(trainer, inputs.log, 4))
    arrays, losses = results[0]
    for other_arrays, other_losses in results[1:]:
        assert losses == other_losses
        for name, value in arrays.items():
            np.testing.assert_array_equal(value, other_arrays[name], err_msg=name)
    initial = trainer_of(inputs, **settings).network.arrays()
    assert np.abs(arrays["relu1_w"] - initial["relu1_w"]).max() > 1e-3


@pytest.mark.parametrize(
    "cut, settings",
    [
        (sliding_windows, {}),
        (sequence_segments, {"tie_embeddings": True, "loss": "ranking_nce"}),
        (sequence_segments, {"optimizer": "adagrad"}),
    ],
)
def test_the_number_of_threads_changes_rounding_alone(inputs, cut, settings):
    """One thread or three; nothing is random: all noise is one video, and nothing is hidden."""
    freq = [0.0, 1.0] + [0.0] * (len(inputs.item_freq) - 2)
    trainers = [
        trainer_of(inputs, freq=freq, threads=threads, dropout=0.0, user_dropout=0.0, **settings)
        for threads in (1, 3)
    ]
    start = trainers[0].network.arrays()
    (arrays, losses), (other_arrays, other_losses) = (
        train_steps(trainer, inputs.log, 6, cut) for trainer in trainers
    )
    np.testing.assert_allclose(losses, other_losses, rtol=1e-3)
    for name, value in arrays.items():
        change = np.abs(value - start[name]).mean()
        assert change > 1e-5, name
        assert np.abs(value - other_arrays[name]).mean() < 0.01 * change, name


def test_a_large_batch_has_more_micro_batches(inputs, monkeypatch):
    """Of MICRO_BATCH_SEGMENTS segments on average, as many for each thread: the same loss."""
    losses, counts = [], []
    for largest in (MICRO_BATCH_SEGMENTS, 40):
        monkeypatch.setattr(preparation, "MICRO_BATCH_SEGMENTS", largest)
        trainer = trainer_of(inputs, dropout=0.0, shared_negatives=True, user_dropout=0.0)
        batch = prepared(trainer, inputs, count=200)
        counts.append(len(batch.micro_batches))
        losses.append(trainer.step(batch))
    assert counts == [2, 6] and losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_hidden_users(inputs, share):
    """user_dropout hides that share of the user ids and nothing else."""
    trainer = trainer_of(inputs, user_dropout=share)
    batch = prepared(trainer, inputs)
    assert abs((ids_of(batch, "_proj_user_id", "user_id") == 0).mean() - share) < 0.05
    assert ids_of(batch, "_proj_phone", "phone").all()


@pytest.mark.parametrize("cut", INSTANCES.values(), ids=INSTANCES)
def test_hidden_histories(inputs, cut):
    """history_dropout: such targets are predicted as infer_user.py serves, from the id alone."""
    log = inputs.log
    segments = cut(log.lengths, 20)
    trainer = trainer_of(inputs, user_dropout=1.0, history_dropout=1.0)
    network = trainer.network
    batch = prepared(trainer, inputs, cut)
    rows = network.look_up(batch.distinct)
    users = [network(rows, to_tensors(each)).numpy() for each in batch.micro_batches]
    ids_alone = user_vectors(network, Reader(inputs.feature_dict).encode_users(log.users))
    parts = np.concatenate(balanced_parts(segments, 2))  # as the micro-batches have them
    expected = ids_alone[np.repeat(segments.line[parts], segments.targets[parts])]
    np.testing.assert_allclose(np.concatenate(users), expected, rtol=1e-5, atol=1e-6)

    # targets are the same, and the user id stays in spite of user_dropout
    plain = prepared(trainer_of(inputs, user_dropout=0.0), inputs, cut)
    for table, name in (("nce_w", "target"), ("_proj_user_id", "user_id")):
        np.testing.assert_array_equal(ids_of(batch, table, name), ids_of(plain, table, name))

    few = prepared(trainer_of(inputs, history_dropout=0.1), inputs, cut)
    table = few.distinct["_proj_history_clicked_items"]
    is_hidden = np.concatenate(
        [(table[each["history_clicked_items"]] == 0).all(0) for each in few.micro_batches]
    )
    is_first_click = (segments.start + segments.length == 1)[parts]
    assert abs(is_hidden[~is_first_click].mean() - 0.1) < 0.02


@pytest.mark.parametrize("name", ["adam", "adagrad"])
def test_optimizers(inputs, name):
    """One step against the formulas; rows of tables that no instance needs stay as they were."""
    trainer = trainer_of(inputs, optimizer=name, l2_rate=0.1 * (name == "adagrad"))
    before = trainer.network.arrays()
    batch = prepared(trainer, inputs, count=5)
    optimizers, trainer._optimizers = trainer._optimizers, []
    trainer.step(batch)  # gradients alone
    gradients = {
        parameter: value.grad.numpy()
        for parameter, value in trainer.network.named().items()
        if not value.grad.is_selected_rows()
    }
    learning_rate = optimizers[0].get_lr()
    for optimizer in optimizers:
        optimizer.step()
    after = trainer.network.arrays()
    assert len(gradients) == 8
    for parameter, gradient in gradients.items():
        if name == "adam":  # in the first step both moments are those of the gradient itself
            step = gradient / (np.abs(gradient) + 1e-8)
        else:
            gradient = gradient + 0.1 * before[parameter]
            step = gradient / (np.abs(gradient) + 1e-6)
        expected = before[parameter] - learning_rate * step
        if name == "adam":
            expected = np.where(np.abs(gradient) < 1e-6, after[parameter], expected)
        np.testing.assert_allclose(
            after[parameter], expected, rtol=1e-3, atol=2e-5, err_msg=parameter
        )
    for table, ids in batch.distinct.items():
        rows = np.nonzero(after[table] != before[table])[1 if table == "nce_b" else 0]
        changed = set(rows.tolist())
        assert changed, table
        assert changed <= set(ids.tolist()) or name == "adagrad", table  # L2 is for all rows
    assert len(batch.distinct["_proj_user_id"]) < 10 < len(before["_proj_user_id"])


def test_cosine_rate(inputs):
    """From the learning rate along half a cosine to a tenth of it, in both optimizers."""
    trainer = trainer_of(inputs, steps=8, learning_rate=2.0)
    batch = prepared(trainer, inputs, count=3)
    rates = []
    for _ in range(9):
        rates.append([optimizer.get_lr() for optimizer in trainer._optimizers])
        trainer.step(batch)
    expected = 2.0 * (0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(9) / 8)) / 2)
    assert expected[[0, 4, 8]] == pytest.approx([2.0, 1.1, 0.2])
    for rate in zip(*rates):
        np.testing.assert_allclose(rate, expected)


def test_table_rate(inputs):
    """The first step of tables is that many times as large, and that of other layers as before."""
    changes = []
    for rate in (1.0, 3.0):
        trainer = trainer_of(inputs, table_rate=rate)
        before = trainer.network.arrays()
        trainer.step(prepared(trainer, inputs, count=5))
        after = trainer.network.arrays()
        changes.append({name: np.abs(after[name] - before[name]).max() for name in after})
    for name, change in changes[0].items():
        factor = 3 if name.startswith(("_proj_", "nce_")) else 1
        assert changes[1][name] == pytest.approx(factor * change, rel=1e-3), name


def test_a_parameter_that_is_not_finite(inputs):
    trainer = trainer_of(inputs)
    trainer.check_parameters()
    values = trainer.network.relu2_b.numpy()
    values[3] = np.inf
    trainer.network.relu2_b.set_value(values)
    with pytest.raises(InputError, match="became infinite; lower --learning_rate"):
        trainer.check_parameters()
