"""Which click of the history each listed video is owed to, by leaving out one click at a time."""

from __future__ import annotations

import dataclasses

from candgen.data.dictionary import USER_COLUMN
from candgen.data.encoding import EncodedLog, offsets_of
from candgen.data.ragged import positions_within
from candgen.serving.user_vectors import user_vectors

import numpy as np

CLICKS_AT_ONCE = 1 << 20  # of the histories with one click less: 40 MB with their arrays


class Explainer:
    """Finds the click without which the score of a listed video would be lowest.

    The user vector is computed again without each click of the window in turn, as if the click had
    never happened: in a history that is longer than the window, an earlier click moves in. The
    score is ``nce_w . u + nce_b``, by which videos are ranked, and whose bias cancels out. This
    says what the network computes, not why a user acts. If a video was clicked several times, one
    of these clicks is left out at a time.

    Parameters
    ----------
    network : EmbeddingNetwork
    nce_w : float32 [V, u]
        Vectors of the videos.
    """

    def __init__(self, network, nce_w: np.ndarray):
        self._network = network
        self._nce_w = nce_w
        window_size = network.config.window_size
        self._lines_at_once = max(1, CLICKS_AT_ONCE // (window_size * window_size))

    def __call__(
        self, log: EncodedLog, users: np.ndarray, ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Causes of the lists of the L lines of a log.

        Parameters
        ----------
        log : EncodedLog
        users : float32 [L, u], their vectors.
        ids : int64 [L, n], listed videos; 0 for none.

        Returns
        -------
        causes : int64 [L, n]
            Video of the click; of several with an equal effect the latest. 0 if leaving out a click
            never lowers the score.
        drops : float64 [L, n]
            By how much the score is lower without the click; 0 if there is none.
        """
        causes = np.zeros(ids.shape, np.int64)
        drops = np.zeros(ids.shape)
        for start in range(0, len(users), self._lines_at_once):
            lines = np.arange(start, min(start + self._lines_at_once, len(users)))
            shorter, line_of, removed = without_each_click(
                log, lines, self._network.config.window_size
            )
            if self._network.remembers_users:  # one without a click would have all of them back
                shorter.profile[:, USER_COLUMN] = 0
            others = user_vectors(self._network, shorter)
            begins, ends = np.searchsorted(line_of, [lines, lines + 1])
            for line, begin, end in zip(lines, begins, ends):
                if begin < end:
                    causes[line], drops[line] = self._largest_drops(
                        users[line] - others[begin:end].astype(np.float64),
                        removed[begin:end],
                        ids[line],
                    )
        return causes, drops

    def _largest_drops(self, differences, removed, ids):
        """Cause and drop of each listed video of one user.

        float64 [clicks, u], int64 [clicks], int64 [n] -> int64 [n], float64 [n].
        """
        drops = differences @ self._nce_w[ids].T  # [clicks, n]
        largest = drops.max(0)
        has_cause = (largest > 0) & (ids > 0)
        causes = removed[drops.argmax(0)]
        return np.where(has_cause, causes, 0), np.where(has_cause, largest, 0)


def without_each_click(
    log: EncodedLog, lines: np.ndarray, window_size: int
) -> tuple[EncodedLog, np.ndarray, np.ndarray]:
    """Lines of a log, once for each click in the window of the next click, without this click.

    Parameters
    ----------
    log : EncodedLog
    lines : int64 [B], in ascending order.
    window_size : positions of the window.

    Returns
    -------
    shorter : EncodedLog of N lines
        The lines in the order of `lines`, latest click first. They have no more clicks than the
        window needs.
    line : int64 [N]
        The line of `log` that each of them is made from.
    removed : int64 [N]
        Item id of the click that it lacks.
    """
    lengths = log.lengths[lines]
    clicks_in_window = np.minimum(lengths, window_size)
    line = np.repeat(lines, clicks_in_window)
    end = log.offsets[line + 1]
    removed = end - 1 - positions_within(clicks_in_window)  # index into log.clicks
    # Of a longer history, the window and the click that moves into it
    kept = np.repeat(np.minimum(lengths, window_size + 1), clicks_in_window)
    index = np.repeat(end - kept, kept) + positions_within(kept)
    index = index[index != np.repeat(removed, kept)]
    shorter = dataclasses.replace(
        log,
        users=[log.users[number] for number in line],
        profile=log.profile[line],
        clicks=log.clicks[index],
        offsets=offsets_of(kept - 1),
        last_item=log.last_item[line],
        context=np.zeros_like(line),
    )
    return shorter, line, log.videos.item[log.clicks[removed]]
