"""Rankings that a network has to beat. Imports no paddle.

`BASELINES` declares them; metrics.jsonl has their metrics as ``<baseline>_<metric>``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from candgen.data.encoding import EncodedLog
from candgen.data.ragged import ragged_indices

import numpy as np

# Function of the indices of B lines of a log, and n. Returns the n best ids for the next click of
# each line, int64 [B, n], and their scores, float [B, n], in falling order; 0 and -inf where there
# are fewer.
Ranking = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]

MAX_DISTANCE = 10  # of two clicks that co-occur
LAST_CLICKS = 20  # of a user, that have an influence
CLICK_DECAY = 0.8  # weight of a click relative to the one after it
COUNTED_CLICKS = 500_000  # the first ones of the log: less than 700 MB of memory


def popularity(item_freq: Sequence[float]) -> Ranking:
    """The most clicked videos, the same for all users; of equal ones the smaller id first.

    Parameters
    ----------
    item_freq : [V], index 0 for ``<unk>``.
    """
    freq = np.asarray(item_freq[1:])
    best_first = np.argsort(-freq, kind="stable")

    def ranked(lines, n):
        best = best_first[:n]
        return np.tile(best + 1, (len(lines), 1)), np.tile(freq[best], (len(lines), 1))

    return ranked


class CooccurrenceBaseline:
    """The videos that others clicked shortly before or after a user's last clicks.

    The score of a video v is the sum over the user's last `LAST_CLICKS` clicks of::

        CLICK_DECAY^age / sqrt(frequency of c) * sum of 1 / distance

    where c is the clicked video, and the last click has age 0. The inner sum is over all pairs of
    clicks on c and v in one line, at most `MAX_DISTANCE` positions apart.

    Parameters
    ----------
    log : EncodedLog
        Whose first `COUNTED_CLICKS` clicks are counted.
    item_freq : [V]
    """

    def __init__(self, log: EncodedLog, item_freq: Sequence[float]):
        freq = np.asarray(item_freq)
        # An earlier log may have clicks on videos of frequency 0.
        freq = np.maximum(freq, freq[freq > 0].min())
        one, other, weights = _weighted_pairs(log, len(freq))
        first = np.concatenate([one, other])
        second = np.concatenate([other, one])
        scores = np.concatenate([weights, weights]) / np.sqrt(freq[first])
        order = np.argsort(first, kind="stable")
        # Neighbors of video v are at _offsets[v] .. _offsets[v + 1] - 1 of both arrays.
        self._neighbors = second[order]
        self._scores = scores[order]
        self._offsets = np.searchsorted(first[order], np.arange(len(freq) + 1))

    def ranking_of(self, log: EncodedLog) -> Ranking:
        """The ranking for the last click of each line of a log, from the clicks before it."""
        num_clicks = log.before_last()

        def ranked(lines, n):
            ids = np.zeros((len(lines), n), np.int64)
            scores = np.full((len(lines), n), -np.inf)
            for row, line in enumerate(lines):
                clicks = log.items(line, num_clicks[line])[-LAST_CLICKS:]
                best, best_scores = self._best_after(clicks, n)
                ids[row, : len(best)] = best
                scores[row, : len(best)] = best_scores
            return ids, scores

        return ranked

    def _best_after(self, clicks, n):
        """Ids and scores of the best videos, at most n, after some clicks, oldest first."""
        indices, age = ragged_indices(self._offsets, clicks[::-1])
        weights = self._scores[indices] * CLICK_DECAY**age
        videos, video_of = np.unique(self._neighbors[indices], return_inverse=True)
        scores = np.bincount(video_of, weights, len(videos))
        best = np.argsort(-scores, kind="stable")[:n]
        return videos[best], scores[best]


def _weighted_pairs(log, num_videos):
    """Pairs of videos of one line with the sum of 1 / distance: int64 [P], int64 [P], float [P]."""
    items = log.videos.item[log.clicks[:COUNTED_CLICKS]]
    line = np.repeat(np.arange(len(log.users)), log.lengths)[: len(items)]
    keys = []  # of pairs: first * num_videos + second
    weights = []
    for distance in range(1, MAX_DISTANCE + 1):
        first = np.flatnonzero(line[distance:] == line[:-distance])
        keys.append(items[first] * num_videos + items[first + distance])
        weights.append(np.full(len(first), 1 / distance))
    pairs, pair_of = np.unique(np.concatenate(keys), return_inverse=True)
    sums = np.bincount(pair_of, np.concatenate(weights), len(pairs))
    first, second = np.divmod(pairs, num_videos)
    return first, second, sums


def _popularity(training, test, item_freq):
    return popularity(item_freq)


def _rules(training, test, item_freq):
    return CooccurrenceBaseline(training, item_freq).ranking_of(test)


# name -> function of (training log, test log, item_freq) that returns the Ranking of the test log
BASELINES: dict[str, Callable[[EncodedLog, EncodedLog, Sequence[float]], Ranking]] = {
    "popularity": _popularity,
    "rules": _rules,
}
