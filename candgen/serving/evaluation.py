"""candgen.serving.evaluation"""

from candgen.serving.metrics import RANKED, ranking_metrics, target_ranks
from candgen.serving.topn import USER_BLOCK
from candgen.serving.user_vectors import user_vectors

import numpy as np


def evaluate_ranking(ranked, log, videos, run):
    """Metrics of predicting each line's last click from what precedes it, by the very lists that are served.

    Parameters
    ----------
    ranked : function of lines int64 [B] and n that gives the n best ids, int64 [B, n], 0 where there are fewer, and
        their scores, float [B, n], nothing removed.
    log : EncodedLog; lines without any click do not count.    videos : as in `ranking_metrics`.
    run : `map`, or that of an executor whose threads share the work.

    Returns
    -------
    dict : `ranking_metrics` with the user's earlier clicks taken out of the lists, the target too if it is one of
    them, and with the prefix `seen_kept_` with nothing taken out.
    ids : int64 [lines with a click, 10], the ten best of each with earlier clicks taken out.
    """
    before, longest = (
        log.before_last(),
        RANKED + 1,
    )  # one more than metrics look at: whether the last ties with it

    def of_block(lines):
        """(ten best, rank of the target) of some lines, without what was seen, then with it."""
        seen = [np.unique(log.items(line, before[line])) for line in lines]
        ids, scores = ranked(lines, longest + max(map(len, seen)))
        gone = np.array([np.isin(row, items) for row, items in zip(ids, seen)])
        left = np.argsort(gone, axis=1, kind="stable")[
            :, :longest
        ]  # what is not gone, in the same order
        ids_left, scores_left = (
            np.take_along_axis(np.where(gone, nothing, values), left, 1)
            for values, nothing in ((ids, 0), (scores, -np.inf))
        )
        target = log.last_item[lines]
        return (
            ids_left[:, :10],
            target_ranks(ids_left, scores_left, target),
            ids[:, :10],
            target_ranks(ids[:, :longest], scores[:, :longest], target),
        )

    lines = np.flatnonzero(log.last_item >= 0)
    order = np.argsort(
        before[lines], kind="stable"
    )  # like lengths together: no list is longer than it need be
    blocks = np.split(lines[order], range(USER_BLOCK, len(lines), USER_BLOCK))
    back = np.argsort(order)
    ids, ranks, ids_kept, ranks_kept = (
        np.concatenate(each)[back] for each in zip(*run(of_block, blocks))
    )
    kept = ranking_metrics(ranks_kept, ids_kept, videos)
    return {
        **ranking_metrics(ranks, ids, videos),
        **{"seen_kept_" + name: value for name, value in kept.items()},
    }, ids


def evaluate_model(network, top_n, log, run=map):
    """What a network does on the last clicks of a log.

    Parameters
    ----------
    network : DNNmodel.    top_n : TopN of its parameters.
    log : EncodedLog.    run : as in `evaluate_ranking`.

    Returns
    -------
    metrics : those of `evaluate_ranking`, distinct_users and live_units, signs of a network that has collapsed.
    ids : int64 [lines with a click, 10], the ten best of each, earlier clicks removed.
    """
    users = user_vectors(network, log, log.before_last(), run)
    metrics, ids = evaluate_ranking(
        lambda lines, n: top_n(users[lines], n)[:2], log, top_n.videos, run
    )
    return {
        **metrics,
        "distinct_users": len(np.unique(users, axis=0)),
        "live_units": int((users != 0).any(0).sum()),
    }, ids
