"""Top-N of the softmax over the videos. Imports no paddle."""

from __future__ import annotations

import math
from collections.abc import Sequence

from candgen.serving.blocks import USER_BLOCK

import numpy as np

VIDEO_BLOCK = 1024  # videos whose scores for USER_BLOCK users, a MB, stay in the cache
SMALL_GROUP = 8  # videos of which only the best score is kept
LARGE_GROUP = 16  # where there are MANY_VIDEOS, fewer groups to choose from are faster
MANY_VIDEOS = 1 << 15
CANDIDATE_GROUPS = 1024  # groups, of all users together, that are scored again at a time
TOLERATED_ERROR = 1e-3  # of a score, and so of the logarithm of a probability


class TopN:
    """Top-N of the softmax over the videos that may be recommended; equal scores are ordered by id.

    All scores are computed in single precision, block by block. Of each group of 8 or 16 videos the
    best score is kept. A video of the N best is in a group whose best score is among the N highest:
    the videos of these groups are scored again in double precision, and so are those of further
    groups that the rounding of single precision may have ranked too low. The exported vectors, in
    double precision, give the same order.

    Parameters
    ----------
    nce_w : float32 [V, u]
        Vectors of the videos; row 0 is ``<unk>``, which is never recommended.
    nce_b : float32 [1, V]
        Biases of the videos.
    allowed : bool [V], optional
        Which videos may be recommended; all if None.

    Attributes
    ----------
    videos : int
        Number of videos that may be recommended.
    """

    def __init__(self, nce_w: np.ndarray, nce_b: np.ndarray, allowed: np.ndarray | None = None):
        videos = np.hstack([nce_w, nce_b.T])  # [V, u + 1], for users [u, 1]
        is_allowed = np.ones(len(videos), bool) if allowed is None else allowed.copy()
        is_allowed[0] = False
        self._group = LARGE_GROUP if len(videos) >= MANY_VIDEOS else SMALL_GROUP
        padded = math.ceil(len(videos) / self._group) * self._group
        rows = np.zeros((padded, videos.shape[1]))
        rows[:, -1] = -np.inf  # the score of what may not be recommended, and of padding
        rows[: len(videos)][is_allowed] = videos[is_allowed]
        self.videos = int(is_allowed.sum())
        self._rows = rows  # float64 [V + padding, u + 1], whole groups
        self._single_rows = rows.astype(np.float32)
        # |error| <= (terms + 1) 2^-24 |user| |video| (Higham 2002, section 3.1, and Cauchy-Schwarz)
        longest = np.linalg.norm(rows[: len(videos)][is_allowed], axis=1).max()
        self._error_per_norm = (videos.shape[1] + 1) * 2.0**-24 * longest

    def __call__(
        self, users: np.ndarray, n: int, removed: list[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Best videos of each user, with their scores and probabilities.

        Parameters
        ----------
        users : float32 [B, u]
        n : int
            Length of the lists; at most `videos` are returned.
        removed : list of B arrays of ids, optional
            Videos that are left out of the list of each user. They keep their share of the
            probability.

        Returns
        -------
        ids : int64 [B, n]
            Best first; 0 where `removed` leaves fewer than n.
        scores, probabilities : float64 [B, n]
            -inf and 0 where the id is 0.
        """
        n = min(n, self.videos)
        ids = np.zeros((len(users), n), np.int64)
        scores = np.full((len(users), n), -np.inf)
        log_sums = np.zeros((len(users), 1))
        users = np.hstack([users, np.ones((len(users), 1))])  # float64 [B, u + 1]
        for start in range(0, len(users), USER_BLOCK):
            block = slice(start, start + USER_BLOCK)
            group_best, log_sums[block, 0] = self._scan(users[block])
            left_out = removed and removed[block]
            ids[block], scores[block] = self._best_of(users[block], group_best, n, left_out)
        return ids, scores, np.exp(np.minimum(scores - log_sums, 0))

    def _scan(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Best score of each group, and log of the sum of the softmax.

        float64 [B, u + 1] -> [B, groups], [B].
        """
        rows = self._single_rows
        if self._error(users).max() > TOLERATED_ERROR:
            rows = self._rows
        users = users.astype(rows.dtype)
        group = self._group
        group_best = np.empty((len(rows) // group, len(users)), users.dtype)
        highest = np.full(len(users), -np.inf, users.dtype)  # of the scores so far
        total = np.zeros(len(users))  # sum of exp(score - highest)
        for start in range(0, len(rows), VIDEO_BLOCK):
            scores = rows[start : start + VIDEO_BLOCK] @ users.T  # [videos, B]
            best = scores.reshape(-1, group, len(users)).max(1)  # [groups, B]
            group_best[start // group : start // group + len(best)] = best
            higher = np.maximum(highest, best.max(0))
            scores -= higher
            total = total * np.exp(highest - higher) + np.exp(scores, out=scores).sum(0)
            highest = higher
        return np.ascontiguousarray(group_best.T), highest + np.log(total)

    def _best_of(
        self,
        users: np.ndarray,
        group_best: np.ndarray,
        n: int,
        removed: list[np.ndarray] | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids and exact scores of the n best videos of each user, 0 and -inf where there are fewer.

        float64 [B, u + 1], [B, groups], int, B arrays -> int64 [B, n], float64 [B, n].
        """
        ids = np.zeros((len(users), n), np.int64)
        scores = np.full((len(users), n), -np.inf)
        # The n best are among the n + len(removed) best of all, each of which lies in a group whose
        # best score is at least the `wanted`-th highest, less the errors of both.
        wanted = np.full(len(users), n)
        if removed:
            wanted += [len(each) for each in removed]
        wanted = np.minimum(wanted, group_best.shape[1])
        most_first = np.argsort(-wanted, kind="stable")
        start = 0
        while start < len(users):
            most_wanted = wanted[most_first[start]]
            end = start + max(1, CANDIDATE_GROUPS // most_wanted)
            rows = most_first[start:end]
            limits = np.partition(group_best[rows], -most_wanted, axis=1)[:, -most_wanted]
            limits -= 2 * self._error(users[rows])
            groups = columns_from(group_best[rows], limits)  # [rows, groups]
            left_out = removed and [removed[row] for row in rows]
            ids[rows], scores[rows] = self._best_of_groups(users[rows], groups, n, left_out)
            start = end
        return ids, scores

    def _best_of_groups(self, users, groups, n, removed):
        """Ids and exact scores of the n best videos of some groups, for each user.

        float64 [B, u + 1], int64 [B, groups], int, B arrays -> int64 [B, n], float64 [B, n].
        """
        group = self._group
        shape = len(users), groups.shape[1] * group
        ids = (groups[:, :, None] * group + np.arange(group)).reshape(shape)
        vectors = self._rows.reshape(-1, group, users.shape[1])[groups]
        vectors = vectors.reshape(*shape, users.shape[1])
        scores = (vectors @ users[:, :, None])[:, :, 0]
        if removed:
            scores[listed(ids, removed)] = -np.inf
        candidates = columns_from(scores, np.partition(scores, -n, axis=1)[:, -n])  # with ties
        ids = np.take_along_axis(ids, candidates, 1)
        scores = np.take_along_axis(scores, candidates, 1)
        order = np.lexsort((ids, -scores))[:, :n]  # by score, then by id
        ids = np.take_along_axis(ids, order, 1)
        scores = np.take_along_axis(scores, order, 1)
        return np.where(scores > -np.inf, ids, 0), scores

    def _error(self, users: np.ndarray) -> np.ndarray:
        """Bound of the error of single-precision scores: [..., u + 1] -> [...]."""
        return self._error_per_norm * np.linalg.norm(users, axis=-1)


def columns_from(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Columns of the values that are at least a limit, and of as many others as fill up the rows.

    float [B, C], float [B] -> int64 [B, columns], in any order.
    """
    count = int((values >= limits[:, None]).sum(1).max(initial=1))
    return np.argpartition(values, -count, axis=1)[:, -count:]


def listed(ids: np.ndarray, lists: Sequence[np.ndarray]) -> np.ndarray:
    """Which ids are in the list of their row: int64 [B, n], B arrays of ids -> bool [B, n]."""
    row = np.repeat(np.arange(len(ids)), [len(each) for each in lists])
    members = np.concatenate([*lists, np.zeros(0, np.int64)])
    size = max(ids.max(initial=0), members.max(initial=0)) + 1
    is_member = np.zeros((len(ids), size), bool)
    is_member[row, members] = True
    return np.take_along_axis(is_member, ids, 1)
