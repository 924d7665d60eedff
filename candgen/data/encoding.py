"""Logs as arrays of ids: lines -> EncodedLog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from candgen.archives import fingerprint
from candgen.data.earlier_clicks import EarlierClicks
from candgen.data.items import VideoColumns
from candgen.data.logs import PROFILE_COLUMNS
from candgen.data.ragged import positions_within

import numpy as np


@dataclass(frozen=True)
class EncodedLog:
    """L lines of a log with C clicks on known videos.

    Attributes
    ----------
    users : list of str [L]
        User ids as they are in the log.
    profile : int64 array [L, P]
        Ids of the profile, in the order of PROFILE_FEATURES.
    clicks : int32 array [C]
        Rows of `videos`, line after line.
    offsets : int64 array [L + 1]
        Line l has the clicks offsets[l] .. offsets[l + 1] - 1.
    last_item : int64 array [L]
        Item id of the line's last click, which may be an earlier one; 0 for an unknown video, -1
        for a line without clicks.
    context : int64 array [L]
        How many of the line's first clicks are from an earlier log (`Reader.prepend_context`).
    videos : VideoColumns or None
        The distinct video-infos that `clicks` refers to; None while a log is being read.
    """

    users: list[str]
    profile: np.ndarray
    clicks: np.ndarray
    offsets: np.ndarray
    last_item: np.ndarray
    context: np.ndarray
    videos: VideoColumns | None

    @property
    def lengths(self) -> np.ndarray:
        """Known clicks of each line, int64 [L]."""
        return np.diff(self.offsets)

    @property
    def new_clicks(self) -> int:
        """Number of known clicks that are not from an earlier log."""
        return len(self.clicks) - int(self.context.sum())

    def before_last(self) -> np.ndarray:
        """Known clicks of each line that precede the line's last click, int64 [L]."""
        return self.lengths - (self.last_item > 0)

    def items(self, line: int, count: int | None = None) -> np.ndarray:
        """Item ids of the first `count` clicks of a line, int64 [count]; of all clicks if None."""
        start = self.offsets[line]
        end = self.offsets[line + 1] if count is None else start + count
        return self.videos.item[self.clicks[start:end]]

    def own_clicks(self) -> np.ndarray:
        """Rows of the clicks that are not from an earlier log, int32 [new_clicks]."""
        if not self.context.any():
            return self.clicks
        position = positions_within(self.lengths)
        return self.clicks[position >= np.repeat(self.context, self.lengths)]

    def lines_fingerprint(self) -> str:
        """SHA-256 of users, profiles and clicks."""
        return fingerprint("\n".join(self.users), *self._arrays())

    def fingerprint(self) -> str:
        """SHA-256 of users, profiles, clicks and what is known of the videos."""
        return fingerprint("\n".join(self.users), *self._arrays(), *self.videos.arrays())

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.profile, self.clicks, self.offsets, self.last_item, self.context


@dataclass(frozen=True)
class UserLine:
    """One line, its history as rows of the reader's `VideoTable`.

    Attributes
    ----------
    columns : list of str
        In the order of LOG_COLUMNS.
    rows : list of int
        A row for each click; 0 for unknown videos.
    """

    columns: list[str]
    rows: list[int]

    @property
    def user(self) -> str:
        """The user id, the first column."""
        return self.columns[0]


def encode_lines(
    lines: Sequence[UserLine],
    profile_ids: Sequence[Mapping[str, int]],
    item: Sequence[int],
    context: EarlierClicks,
) -> EncodedLog:
    """Arrays of some lines, the earlier clicks of their users in front of their own.

    Parameters
    ----------
    lines : sequence of UserLine
    profile_ids : sequence of dict of str to int
        {value: id} of each of PROFILE_FEATURES.
    item : sequence of int
        Item id of each row of the `VideoTable`.
    context : EarlierClicks

    Returns
    -------
    EncodedLog
        Without `videos`, which `concatenate_logs` adds: the table grows from chunk to chunk.
    """
    earlier = [context.known(line.user) for line in lines]
    # filter(None, rows): without row 0, the unknown videos
    known = [[*before, *filter(None, line.rows)] for before, line in zip(earlier, lines)]
    offsets = offsets_of([len(rows) for rows in known])
    last_row = [line.rows[-1] if line.rows else context.last(line.user) for line in lines]
    last_item = [item[row] if row >= 0 else -1 for row in last_row]
    return EncodedLog(
        users=[line.user for line in lines],
        profile=_profiles(lines, profile_ids),
        clicks=np.fromiter(chain.from_iterable(known), np.int32, offsets[-1]),
        offsets=offsets,
        last_item=np.array(last_item, np.int64),
        context=np.array([len(rows) for rows in earlier], np.int64),
        videos=None,
    )


def _profiles(lines: Sequence[UserLine], profile_ids: Sequence[Mapping[str, int]]) -> np.ndarray:
    """Ids of the profiles, int64 [L, P]; 0 for unknown values."""
    profiles = np.empty((len(lines), len(profile_ids)), np.int64)
    for feature, (ids, column) in enumerate(zip(profile_ids, PROFILE_COLUMNS)):
        profiles[:, feature] = [ids.get(line.columns[column], 0) for line in lines]
    return profiles


def concatenate_logs(logs: Sequence[EncodedLog], videos: VideoColumns) -> EncodedLog:
    """Several logs of one reader as one, with the video-infos that the reader knows by now."""
    lengths = np.concatenate([log.lengths for log in logs])
    return EncodedLog(
        users=list(chain.from_iterable(log.users for log in logs)),
        profile=np.concatenate([log.profile for log in logs]),
        clicks=np.concatenate([log.clicks for log in logs]),
        offsets=offsets_of(lengths),
        last_item=np.concatenate([log.last_item for log in logs]),
        context=np.concatenate([log.context for log in logs]),
        videos=videos,
    )


def offsets_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Offsets of rows of these lengths, one after the other, int64 [len(lengths) + 1]."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
