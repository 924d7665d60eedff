"""candgen.serving.metrics"""

import numpy as np

RANKED = 50  # the longest list that a metric looks at


def target_ranks(ids, scores, target):
    """Rank of each row's target from 1, ties against it; inf if it is not in the list, for 0 (`<unk>`) and for a list
    that ends in a tie with it. int64 [B, n], float [B, n], int64 [B] -> float [B]."""
    there = (ids == target[:, None]) & (target[:, None] > 0)
    own = np.where(there, scores, 0).sum(1, keepdims=True)
    ranks = np.where(there.any(1), (scores >= own).sum(1), np.inf)
    return np.where(ranks > RANKED, np.inf, ranks)


def ranking_metrics(ranks, ids, videos):
    """Mean metrics of L users with one target each.

    Parameters
    ----------
    ranks : float [L], from `target_ranks`.
    ids : int64 [L, n], what each user would be shown; 0 for nothing.
    videos : how many videos there are to recommend, without `<unk>`.

    Returns
    -------
    dict. recall@k: share of ranks <= k. ndcg@10: mean of 1 / log2(1 + rank) for ranks <= 10 (one relevant
    video, so the ideal is 1; Jarvelin & Kekalainen 2002). mrr@10: mean of 1 / rank for ranks <= 10.
    coverage@10: share of all videos that stand in anyone's top 10.
    """
    within, shown = ranks <= 10, np.unique(ids[:, :10])
    return {
        "recall@10": float(within.mean()),
        "recall@50": float((ranks <= 50).mean()),
        "ndcg@10": float(np.where(within, 1 / np.log2(1 + ranks), 0).mean()),
        "mrr@10": float(np.where(within, 1 / ranks, 0).mean()),
        "coverage@10": float((shown > 0).sum() / videos),
    }


METRICS = [
    prefix + name
    for prefix in ("", "seen_kept_")
    for name in ("recall@10", "recall@50", "ndcg@10", "mrr@10")
]
