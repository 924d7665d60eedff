"""candgen.serving.topn"""

import numpy as np

USER_BLOCK = 128  # users in every forward pass, whatever the batch: so a user's result never depends on others
VIDEO_BLOCK, GROUP = (
    1024,
    32,
)  # videos scored at once (half a MB of scores stays in the cache), and in a group of them
TOLERATED = 1e-3  # error of a score, and so of a probability, in single precision


class TopN:
    """Top-N of the softmax over the videos that may be recommended, for many users; equal scores by id.

    `allowed` is a bool [V]; all if None; `<unk>` never is.

    Scores are computed in single precision, in blocks that stay in the cache; of each GROUP of videos only the best
    score is kept, and the sum of the softmax. A video of the N best lies in a group whose best score is among the N
    highest: the videos of those groups are scored again in double precision, as are those of groups that rounding
    could hide. In double precision the order is that of the exported vectors too.
    """

    def __init__(self, nce_w, nce_b, allowed=None):
        rows = np.hstack([nce_w, nce_b.T]).astype(np.float64)  # [V, u + 1], against users [u, 1]
        rows = np.concatenate([rows, np.zeros((-len(rows) % GROUP, rows.shape[1]))])
        shown = np.zeros(len(rows), bool)
        shown[1 : len(nce_w)] = True if allowed is None else allowed[1:]
        rows[~shown, :-1], rows[~shown, -1] = (
            0,
            -np.inf,
        )  # filling, <unk>, and what must not be shown
        self.videos = int(shown.sum())
        self._rows, self._table = rows.reshape(-1, GROUP, rows.shape[1]), rows.astype(np.float32)
        finite = rows[np.isfinite(rows[:, -1])]
        # |error| <= (terms + 1) 2^-24 |user| |video| (Higham 2002, section 3.1, and Cauchy-Schwarz)
        self._error = (rows.shape[1] + 1) * 2.0**-24 * np.sqrt((finite**2).sum(1).max())

    def __call__(self, users, n, removed=None):
        """Best videos of each user, with their scores and probabilities.

        Parameters
        ----------
        users : float32 [B, u].    n : int, at most as many as may be recommended are given.
        removed : list of B arrays of ids that are not to be given; they keep their share of the probability.

        Returns
        -------
        ids : int64 [B, n], best first, 0 where a removal left too few videos.
        scores, probabilities : float64 [B, n]; -inf and 0 there.
        """
        n = min(n, self.videos)
        ids, scores = np.zeros((len(users), n), np.int64), np.full((len(users), n), -np.inf)
        log_total = np.zeros((len(users), 1))
        with_one = np.hstack([users, np.ones((len(users), 1))])  # float64
        for start in range(0, len(users), USER_BLOCK):
            block, table = with_one[start : start + USER_BLOCK], self._table
            if (
                self._error * np.linalg.norm(block, axis=1).max() > TOLERATED
            ):  # too large for single precision
                table = self._rows.reshape(table.shape)
            best, log_total[start : start + USER_BLOCK, 0] = self._scan(
                table, block.astype(table.dtype)
            )
            for row, (user, of_groups) in enumerate(zip(block, best), start):
                gone = np.unique(removed[row]) if removed else np.zeros(0, np.int64)
                found, exact = self._best_of(user, of_groups, n, gone)
                ids[row, : len(found)], scores[row, : len(found)] = found, exact
        return ids, scores, np.exp(np.minimum(scores - log_total, 0))

    def _scan(self, table, users):
        """Best score of each group [B, groups], and log of the softmax's sum [B], of users [u, 1]."""
        best = np.empty((len(table) // GROUP, len(users)), users.dtype)
        top, total = np.full(len(users), -np.inf, users.dtype), np.zeros(len(users))
        for start in range(0, len(table), VIDEO_BLOCK):
            scores = table[start : start + VIDEO_BLOCK] @ users.T  # [videos, B]
            of_groups = scores.reshape(-1, GROUP, len(users)).max(1)
            best[start // GROUP : start // GROUP + len(of_groups)] = of_groups
            higher = np.maximum(
                top, of_groups.max(0)
            )  # the sum is kept relative to the best score so far
            scores -= higher
            total = total * np.exp(top - higher) + np.exp(scores, out=scores).sum(0)
            top = higher
        return np.ascontiguousarray(best.T), top + np.log(total)

    def _best_of(self, user, of_groups, n, removed):
        """Ids and exact scores of a user's n best, from the best score of each group."""
        wanted = n + len(removed)
        limit = -np.inf
        if wanted < len(of_groups):
            limit = np.partition(of_groups, -wanted)[-wanted] - 2 * self._error * np.linalg.norm(
                user
            )
        groups = np.flatnonzero(of_groups >= limit)
        ids = (groups[:, None] * GROUP + np.arange(GROUP)).ravel()
        exact = (self._rows[groups] @ user).ravel()
        if len(removed):
            exact[np.isin(ids, removed)] = -np.inf
        kept = np.flatnonzero(exact >= max(limit, np.finfo(float).min))
        order = kept[np.lexsort((ids[kept], -exact[kept]))[:n]]
        return ids[order], exact[order]
