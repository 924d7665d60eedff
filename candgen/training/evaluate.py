"""Metrics of a network on the last clicks of a log."""

from __future__ import annotations

from collections.abc import Callable

from candgen.data.encoding import EncodedLog
from candgen.serving.evaluation import evaluate_vectors
from candgen.serving.topn import TopN
from candgen.serving.user_vectors import user_vectors
from candgen.training.trainer import Trainer

import numpy as np

LOSS_BLOCK = 512  # targets whose losses are computed together


def evaluate(trainer: Trainer, log: EncodedLog, seed: int) -> dict:
    """Loss, ranking metrics, and signs of a collapsed network.

    Parameters
    ----------
    trainer : whose network is evaluated.
    log : test or validation log.
    seed : of the noise, which is the same in each pass, so that their losses can be compared.

    Returns
    -------
    {metric: value}, ``test_cost`` first; it is None if no last click is on a known video.
    """
    arrays = trainer.network.folded()
    trainer.network.eval()
    run = trainer.ranks.distributed_map(trainer.pool)
    vectors = user_vectors(trainer.network, log, log.before_last(), run)
    metrics, _ = evaluate_vectors(vectors, TopN(arrays["nce_w"], arrays["nce_b"]), log, run)
    return {"test_cost": last_click_loss(trainer, vectors, log, seed, run), **metrics}


def last_click_loss(
    trainer: Trainer, vectors: np.ndarray, log: EncodedLog, seed: int, run: Callable = map
) -> float | None:
    """Mean loss of the last clicks on known videos; None if there is none.

    Parameters
    ----------
    vectors : float32 [L, u], of the users before their last clicks.
    trainer, log, seed : as in `evaluate`.
    run : as in `evaluate_vectors`.
    """
    lines = np.flatnonzero(log.last_item > 0)
    if not len(lines):
        return None
    blocks = np.split(lines, range(LOSS_BLOCK, len(lines), LOSS_BLOCK))
    rngs = np.random.default_rng(seed).spawn(len(blocks))

    def loss_of_block(block_and_rng):
        block, rng = block_and_rng
        return trainer.evaluate_loss(vectors[block], log.last_item[block], rng)

    return sum(run(loss_of_block, zip(blocks, rngs))) / len(lines)
