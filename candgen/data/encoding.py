"""candgen.data.encoding"""

from itertools import chain
from typing import NamedTuple

from candgen.archives import fingerprint

import numpy as np


class EncodedLog(NamedTuple):
    """L lines with C clicks on known videos, as arrays.

    users : list of L raw user ids.     profile : int64 [L, P], in the order of PROFILE_FEATURES
    clicks : int32 [C], rows of `videos`, line after line.   offsets : int64 [L + 1] into clicks
    last_item : int64 [L], the line's last click: item id, 0 for an unknown video, -1 for no click at all.
    context : int64 [L], how many of the line's known clicks are those of an earlier log (`Reader.look_back`).
    videos : columns of a `VideoTable`.
    """

    users: list
    profile: np.ndarray
    clicks: np.ndarray
    offsets: np.ndarray
    last_item: np.ndarray
    context: np.ndarray
    videos: tuple

    @property
    def lengths(self):
        """Known clicks per line, int64 [L]."""
        return np.diff(self.offsets)

    @property
    def new_clicks(self):
        """How many known clicks are the log's own."""
        return len(self.clicks) - int(self.context.sum())

    def before_last(self):
        """Known clicks per line that precede the line's last click, int64 [L]."""
        return self.lengths - (self.last_item > 0)

    def items(self, line, count=None):
        """Item ids of the first `count` (all) clicks of a line, int64 [count]."""
        start, end = self.offsets[line], self.offsets[line + 1]
        return self.videos[0][self.clicks[start : end if count is None else start + count]]

    def own_clicks(self):
        """Rows of the known clicks that are the log's own, those of `context` left out; int32 [new_clicks]."""
        if not self.context.any():
            return self.clicks
        place = np.arange(len(self.clicks)) - np.repeat(
            self.offsets[:-1] + self.context, self.lengths
        )
        return self.clicks[place >= 0]

    def fingerprint(self):
        """SHA-256 of all of it: users, profiles, clicks and what is known of the videos."""
        return fingerprint("\n".join(self.users), *self[1:6], *self.videos)


def joined(logs, videos):
    """Some `EncodedLog`s of one reader, as one, with the columns of its videos."""
    lengths = np.concatenate([log.lengths for log in logs])
    users = list(chain.from_iterable(log.users for log in logs))
    profile, clicks, last, context = (
        np.concatenate(columns)
        for columns in zip(*((log.profile, log.clicks, log.last_item, log.context) for log in logs))
    )
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return EncodedLog(users, profile, clicks, offsets, last, context, videos)
