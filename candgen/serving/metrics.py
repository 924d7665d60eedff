"""Ranking metrics. Imports no paddle.

Each metric is declared once, in `RANK_METRICS` or `LIST_METRICS`: evaluation, metrics.jsonl and the
choices of --select_metric follow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

MIN_USERS = 50  # in a test log; fewer are too few to judge a network by


def recall(ranks: np.ndarray, k: int) -> float:
    """Share of the users whose target is among the k best: float [L] -> float."""
    return float((ranks <= k).mean())


def ndcg(ranks: np.ndarray, k: int) -> float:
    """Mean of 1 / log2(1 + rank) for ranks <= k: float [L] -> float.

    With one relevant video a user the ideal is 1 (Jarvelin & Kekalainen 2002).
    """
    return float(np.where(ranks <= k, 1 / np.log2(1 + ranks), 0).mean())


def mrr(ranks: np.ndarray, k: int) -> float:
    """Mean reciprocal rank, 0 for ranks > k: float [L] -> float."""
    return float(np.where(ranks <= k, 1 / ranks, 0).mean())


def coverage(ids: np.ndarray, k: int, num_videos: int) -> float:
    """Share of all videos that are in the k best of any user: int64 [L, n], 0 for none -> float."""
    return float((np.unique(ids[:, :k]) > 0).sum() / num_videos)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A function of the k best places of each list: one of those above, and k."""

    function: Callable[..., float]
    k: int


RANK_METRICS = {  # of the ranks of the targets
    "recall@10": Metric(recall, 10),
    "recall@50": Metric(recall, 50),
    "ndcg@10": Metric(ndcg, 10),
    "mrr@10": Metric(mrr, 10),
}
LIST_METRICS = {"coverage@10": Metric(coverage, 10)}  # of the lists alone
SEEN_KEPT = "seen_kept_"  # prefix of the metrics of lists that may contain earlier clicks
METRICS = [prefix + name for prefix in ("", SEEN_KEPT) for name in RANK_METRICS]  # to choose by
MAX_RANK = max(metric.k for metric in RANK_METRICS.values())  # a larger rank counts as a miss
LIST_LENGTH = max(metric.k for metric in LIST_METRICS.values())


def target_ranks(ids: np.ndarray, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank of the target of each user, ties counted against it.

    Parameters
    ----------
    ids : int64 [L, n]
        Lists, best first, 0 for none; n > MAX_RANK, or all videos.
    scores : float [L, n]
    targets : int64 [L]

    Returns
    -------
    float [L]
        From 1; inf for a target that is not in the list, for 0 (``<unk>``), and beyond MAX_RANK.
    """
    is_target = (ids == targets[:, None]) & (targets[:, None] > 0)
    target_scores = np.where(is_target, scores, 0).sum(1, keepdims=True)
    ranks = (scores >= target_scores).sum(1)
    return np.where(is_target.any(1) & (ranks <= MAX_RANK), ranks, np.inf)


def ranking_metrics(ranks: np.ndarray, ids: np.ndarray, num_videos: int) -> dict[str, float]:
    """All metrics of L users with one target each.

    Parameters
    ----------
    ranks : float [L]
        From `target_ranks`.
    ids : int64 [L, n]
        The list of each user; 0 for none.
    num_videos : int
        Videos that may be recommended, without ``<unk>``.
    """
    of_ranks = {name: each.function(ranks, each.k) for name, each in RANK_METRICS.items()}
    of_lists = {name: each.function(ids, each.k, num_videos) for name, each in LIST_METRICS.items()}
    return {**of_ranks, **of_lists}
