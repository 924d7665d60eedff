"""Loss and metrics of a network on last clicks."""

from candgen.data.batches import next_click_windows, sliding_windows
from candgen.serving.metrics import METRICS
from candgen.serving.user_vectors import user_vectors
from candgen.training import evaluate as evaluate_module
from candgen.training.evaluate import evaluate, last_click_loss
from conftest import SMALL_DICT, log_text
from reader import Reader
from reference import (
    BEST,
    CONFIG,
    FREQ,
    plain_instances,
    plain_losses,
    plain_user_vector,
    random_network,
    reference_log,
    trainer_of,
)

import numpy as np
import pytest


@pytest.fixture
def log(tmp_path):
    return reference_log(tmp_path)


@pytest.mark.parametrize("block", [1, 2, 100])
def test_last_click_loss(log, block, monkeypatch):
    """Mean loss of the last clicks, by the reference, with noise that is always video 2."""
    monkeypatch.setattr(evaluate_module, "LOSS_BLOCK", block)
    network = random_network(CONFIG)
    trainer = trainer_of(network, threads=2)
    trainer._preparation._sampler.draw = lambda shape, rng: np.full(shape, 2)
    lines = np.flatnonzero(log.last_item > 0)
    assert lines.tolist() == [0, 1, 3]  # line 2 has no click
    windows = next_click_windows(log.before_last(), CONFIG.window_size).take(lines)
    instances = plain_instances(windows)
    targets = [target for _, _, target in instances]
    assert targets == log.last_item[lines].tolist()
    p = {name: value.astype(float) for name, value in network.arrays().items()}
    users = [plain_user_vector(p, instance) for instance in instances]
    noise = np.full((3, 3), 2)
    losses = plain_losses("nce", users, targets, noise, p["nce_w"], p["nce_b"][0], FREQ)
    vectors = user_vectors(network, log, log.before_last())
    loss = last_click_loss(trainer, vectors, log, seed=0)
    assert loss == pytest.approx(np.mean(losses))
    assert loss == pytest.approx(last_click_loss(trainer, vectors, log, 0, trainer.pool.map))


def test_no_known_last_click(tmp_path):
    """There is no loss then."""
    (tmp_path / "log.txt").write_text(log_text([("u1", "", "", ["v1:a:s", "new:a:s"], "")]))
    [log] = Reader(SMALL_DICT).encode([str(tmp_path / "log.txt")])
    trainer = trainer_of(random_network(CONFIG), threads=1)
    assert evaluate(trainer, log, seed=0)["test_cost"] is None


@pytest.mark.parametrize("config", [CONFIG, BEST], ids=["classic", "best"])
def test_evaluate(log, config):
    """Loss and metrics, the same each time, by a network in evaluation mode."""
    trainer = trainer_of(random_network(config, dropout=0.5), threads=2)
    segments = sliding_windows(log.lengths, 4)
    trainer.step(trainer.prepare(log, segments, np.random.default_rng(0)))
    assert len(trainer._replicas) == 2 and all(each.training for each in all_layers(trainer))
    values = evaluate(trainer, log, seed=0)
    assert not any(each.training for each in trainer.network.sublayers(include_self=True))
    assert next(iter(values)) == "test_cost" and set(METRICS) < values.keys()
    assert all(0 <= values[name] <= 1 for name in METRICS)
    assert values == evaluate(trainer, log, seed=0)


def all_layers(trainer):
    """Layers of the network and of its replicas."""
    return [layer for each in trainer._replicas for layer in each.sublayers(include_self=True)]
