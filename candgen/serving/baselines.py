"""candgen.serving.baselines"""

from candgen.data.items import ragged_indices

import numpy as np

RULES_WITHIN, RULES_LAST, RULES_CLICKS = 10, 20, 500_000  # see `Rules`


def popularity(item_freq):
    """The ranking, as `evaluate_ranking` wants it, that serves everybody the most clicked videos."""
    freq = np.asarray(item_freq[1:])
    best = np.argsort(-freq, kind="stable")

    def ranked(lines, n):
        """The same for all lines."""
        ids = best[:n]
        return np.tile(ids + 1, (len(lines), 1)), np.tile(freq[ids], (len(lines), 1))

    return ranked


class CooccurrenceBaseline:
    """Co-occurrence: the videos that others clicked near a user's last clicks. Nothing is trained.

    score(v) = sum over the user's last RULES_LAST clicks c, the a-th from the end, of
    0.8^a sum over pairs of clicks on c and v, at most RULES_WITHIN places apart, of 1 / distance, over the root of
    the clicks on c. Only the log's first RULES_CLICKS clicks are counted, which bounds memory: under 700 MB.

    Parameters
    ----------
    log : EncodedLog to count in.    item_freq : frequencies of V videos.
    """

    def __init__(self, log, item_freq):
        freq = np.asarray(item_freq)
        freq = np.maximum(
            freq, freq[freq > 0].min()
        )  # an earlier log may have clicks that the dictionary's had not
        videos, items = len(freq), log.videos.item[log.clicks[:RULES_CLICKS]]
        line = np.repeat(np.arange(len(log.users)), log.lengths)[: len(items)]
        keys, weights = [], []  # pairs (first, second) as first * videos + second
        for distance in range(1, RULES_WITHIN + 1):
            near = np.flatnonzero(line[distance:] == line[:-distance])
            keys.append(items[near] * videos + items[near + distance])
            weights.append(np.full(len(near), 1 / distance))
        pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
        weight = np.bincount(place, np.concatenate(weights), len(pairs))
        one, other = np.divmod(pairs, videos)
        first, second = np.concatenate([one, other]), np.concatenate([other, one])
        order = np.argsort(first, kind="stable")
        self._near, self._offsets = (
            second[order],
            np.searchsorted(first[order], np.arange(videos + 1)),
        )
        self._weights = (np.concatenate([weight, weight]) / np.sqrt(freq[first]))[order]

    def ranking_of(self, log):
        """The ranking of the videos for the next click after each line's earlier ones, as `evaluate_ranking` wants."""
        before = log.before_last()

        def ranked(lines, n):
            """Those that others clicked near each line's last clicks; 0 where there are fewer than n."""
            ids, scores = np.zeros((len(lines), n), np.int64), np.full((len(lines), n), -np.inf)
            for row, line in enumerate(lines):
                clicks = log.items(line, before[line])[: -RULES_LAST - 1 : -1]
                places, age = ragged_indices(self._offsets, clicks)
                found, place = np.unique(self._near[places], return_inverse=True)
                score = np.bincount(place, self._weights[places] * 0.8**age, len(found))
                best = np.argsort(-score, kind="stable")[:n]
                ids[row, : len(best)], scores[row, : len(best)] = found[best], score[best]
            return ids, scores

        return ranked
