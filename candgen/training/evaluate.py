"""Metrics of a network on the last clicks of a log."""

from __future__ import annotations

from candgen.data.batches import next_click_windows
from candgen.data.encoding import EncodedLog
from candgen.serving.evaluation import evaluate_model
from candgen.serving.topn import TopN
from candgen.training.trainer import Trainer

import numpy as np


def evaluate(trainer: Trainer, log: EncodedLog, batch_size: int, seed: int) -> dict:
    """Loss, ranking metrics, and signs of a collapsed network.

    Parameters
    ----------
    trainer : whose network is evaluated.
    log : test or validation log.
    batch_size : targets whose losses are computed together.
    seed : of the noise, which is the same in each pass, so that their losses can be compared.

    Returns
    -------
    {metric: value}, ``test_cost`` first; it is None if no last click is on a known video.
    """
    arrays = trainer.network.folded()
    trainer.network.eval()
    top_n = TopN(arrays["nce_w"], arrays["nce_b"])
    run = trainer.ranks.distributed_map(trainer.pool)
    metrics, _ = evaluate_model(trainer.network, top_n, log, run)
    return {"test_cost": last_click_loss(trainer, log, batch_size, seed), **metrics}


def last_click_loss(trainer: Trainer, log: EncodedLog, batch_size: int, seed: int) -> float | None:
    """Mean loss of the last clicks on known videos; None if there is none."""
    lines = np.flatnonzero(log.last_item > 0)
    if not len(lines):
        return None
    rng = np.random.default_rng(seed)
    windows = next_click_windows(log.before_last(), trainer.network.config.window_size)
    total = 0.0
    for start in range(0, len(lines), batch_size):
        segments = windows.take(lines[start : start + batch_size])
        batch = trainer.prepare(log, segments, rng, training=False)
        total += trainer.evaluate_loss(batch) * batch.num_targets
    return total / len(lines)
