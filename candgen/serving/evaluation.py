"""Evaluation on the last clicks of a log, by the lists that are served."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from candgen.data.encoding import EncodedLog
from candgen.serving.baselines import BASELINES, Ranking
from candgen.serving.blocks import USER_BLOCK
from candgen.serving.collapse import collapse_metrics
from candgen.serving.metrics import (
    LIST_LENGTH,
    MAX_RANK,
    SEEN_KEPT,
    ranking_metrics,
    target_ranks,
)
from candgen.serving.topn import TopN, listed
from candgen.serving.user_vectors import user_vectors

import numpy as np

# Length of the lists. One more than a rank may be: the last one may be tied with it.
RANKED = max(MAX_RANK + 1, LIST_LENGTH)
TOP = 10  # length of the lists that are returned


@dataclasses.dataclass(frozen=True)
class RankedBlock:
    """Result for B lines.

    Attributes
    ----------
    ids : int64 [B, LIST_LENGTH], the best videos; 0 for none.
    ranks : float [B], of the targets, from `target_ranks`.
    """

    ids: np.ndarray
    ranks: np.ndarray

    @classmethod
    def of_lists(cls, ids: np.ndarray, scores: np.ndarray, targets: np.ndarray) -> RankedBlock:
        """From int64 [B, n], float [B, n], int64 [B]; n may exceed `RANKED`."""
        ranks = target_ranks(ids[:, :RANKED], scores[:, :RANKED], targets)
        return cls(ids[:, :LIST_LENGTH], ranks)


def evaluate_ranking(
    ranked: Ranking, log: EncodedLog, videos: int, run: Callable = map
) -> tuple[dict[str, float], np.ndarray]:
    """Metrics of predicting the last click of each line from the clicks before it.

    Parameters
    ----------
    ranked : Ranking
        Function of the indices of lines, int64 [B], and n: ids, int64 [B, n], 0 where there are
        fewer than n, and scores, float [B, n]. Nothing is removed from the lists.
    log : EncodedLog
        Lines without a click are ignored.
    videos : int
        Number of videos that may be recommended.
    run : map, or that of an executor whose threads share the blocks.

    Returns
    -------
    metrics : {metric: float}
        `ranking_metrics` with the user's earlier clicks removed from the lists (a target that is
        one of them is a miss), and with the prefix ``seen_kept_`` with nothing removed.
    ids : int64 [lines with a click, TOP]
        The best videos of each line, earlier clicks removed.
    """
    num_clicks = log.before_last()

    def evaluate_block(lines: np.ndarray) -> tuple[RankedBlock, RankedBlock]:
        seen = [log.items(line, num_clicks[line]) for line in lines]
        ids, scores = ranked(lines, RANKED + max(len(items) for items in seen))
        targets = log.last_item[lines]
        left_ids, left_scores = _without(listed(ids, seen), ids, scores)
        return (
            RankedBlock.of_lists(left_ids, left_scores, targets),
            RankedBlock.of_lists(ids, scores, targets),
        )

    lines = np.flatnonzero(log.last_item >= 0)
    # Histories of similar length together: the longest one of a block decides how long lists are.
    order = np.argsort(num_clicks[lines], kind="stable")
    blocks = np.split(lines[order], range(USER_BLOCK, len(lines), USER_BLOCK))
    removed, kept = zip(*run(evaluate_block, blocks))
    removed = _in_original_order(removed, order)
    kept = _in_original_order(kept, order)
    metrics = ranking_metrics(removed.ranks, removed.ids, videos)
    for name, value in ranking_metrics(kept.ranks, kept.ids, videos).items():
        metrics[SEEN_KEPT + name] = value
    return metrics, removed.ids[:, :TOP]


def _without(is_seen, ids, scores):
    """Lists [B, n] without the places of a mask; 0 and -inf fill them up at the end."""
    ids = np.where(is_seen, 0, ids)
    scores = np.where(is_seen, -np.inf, scores)
    # A stable sort of booleans puts False first and leaves the order otherwise as it is.
    order = np.argsort(is_seen, axis=1, kind="stable")
    return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)


def _in_original_order(blocks, order):
    """The results of blocks of lines that were sorted by `order`, as one block."""
    position = np.argsort(order)  # of each line among the sorted ones
    return RankedBlock(
        np.concatenate([block.ids for block in blocks])[position],
        np.concatenate([block.ranks for block in blocks])[position],
    )


def evaluate_model(
    network, top_n: TopN, log: EncodedLog, run: Callable = map
) -> tuple[dict[str, float], np.ndarray]:
    """`evaluate_vectors` of the vectors that a network, an EmbeddingNetwork, gives the users."""
    vectors = user_vectors(network, log, log.before_last(), run)
    return evaluate_vectors(vectors, top_n, log, run)


def evaluate_vectors(
    vectors: np.ndarray, top_n: TopN, log: EncodedLog, run: Callable = map
) -> tuple[dict[str, float], np.ndarray]:
    """Metrics of user vectors on the last clicks of a log.

    Parameters
    ----------
    vectors : float32 [L, u], of the users before their last clicks.
    top_n : TopN of the videos.
    log, run : as in `evaluate_ranking`.

    Returns
    -------
    metrics : {metric: float}
        Those of `evaluate_ranking` and `collapse_metrics`.
    ids : int64 [lines with a click, TOP]
        The best videos of each line, earlier clicks removed.
    """

    def ranked(lines, n):
        ids, scores, _ = top_n(vectors[lines], n)
        return ids, scores

    metrics, ids = evaluate_ranking(ranked, log, top_n.videos, run)
    return {**metrics, **collapse_metrics(vectors)}, ids


def evaluate_baselines(
    names: Iterable[str],
    training: EncodedLog,
    test: EncodedLog,
    item_freq: Sequence[float],
    run: Callable = map,
) -> dict[str, float]:
    """``{"<baseline>_<metric>": value}`` on the last clicks of a test log.

    Parameters
    ----------
    names : keys of `BASELINES`.
    training : log that they are counted in.
    test, run : as in `evaluate_ranking`.
    item_freq : [V]
    """
    metrics = {}
    for baseline in names:
        ranking = BASELINES[baseline](training, test, item_freq)
        for name, value in evaluate_ranking(ranking, test, len(item_freq) - 1, run)[0].items():
            metrics[f"{baseline}_{name}"] = value
    return metrics
