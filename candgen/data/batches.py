"""Histories cut into segments, and segments gathered into batches of arrays.

The sequence of a line with n known clicks is [<unk>, c1, ..., cn]: position 0 is `<unk>`, position
p is click p. A *segment* is a run of consecutive positions of one line; each of its last `targets`
positions predicts the click that follows it, from itself and the positions of the segment before
it. Training windows that begin at position 0 are prefixes of one another, so that one segment with
several targets covers them all; every other window is a segment with a single target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from candgen.data.dictionary import CATEGORIES, ITEMS, PROFILE_FEATURES, TAGS
from candgen.data.encoding import EncodedLog
from candgen.data.ragged import positions_within, ragged_indices

import numpy as np


@dataclass(frozen=True)
class Segments:
    """S segments of the lines of a log.

    Attributes
    ----------
    line : int64 array [S]
        Line of the log.
    start : int64 array [S]
        First position.
    length : int64 array [S]
        Number of positions: start .. start + length - 1.
    targets : int64 array [S]
        How many of the last positions predict the click that follows.
    """

    line: np.ndarray
    start: np.ndarray
    length: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.line)

    def take(self, indices: np.ndarray) -> Segments:
        """The segments at `indices` (int, or a bool mask), in that order."""
        return Segments(
            self.line[indices], self.start[indices], self.length[indices], self.targets[indices]
        )


def cut_segments(lengths: np.ndarray, window_size: int, stride: int) -> Segments:
    """Cut histories into overlapping segments in which every click is a target exactly once.

    The first segment of a line has a target after each of its positions; each later one begins
    `stride` positions further and has targets after its last `stride` positions (the last segment
    of a line: after those that remain), so that a target sees at least window_size - stride + 1
    positions, or all.

    Parameters
    ----------
    lengths : int array [L]
        Known clicks of each line.
    window_size : int
        Largest number of positions of a segment.
    stride : int
        At most `window_size`.

    Returns
    -------
    Segments
        Ordered by line, then by target; sum(targets) == sum(lengths).

    Examples
    --------
    7 clicks, window_size 4, stride 2; the positions that predict are in brackets, position p
    predicts click p + 1:

        start 0, length 4, targets 4:  [0 1 2 3]
        start 2, length 4, targets 2:       2 3 [4 5]
        start 4, length 3, targets 1:           4 5 [6]
    """
    beyond_first = np.maximum(lengths - window_size, 0)
    further_segments = np.ceil(beyond_first / stride).astype(np.int64)
    segments_per_line = np.where(lengths > 0, 1 + further_segments, 0)
    line = np.repeat(np.arange(len(lengths)), segments_per_line)
    number = positions_within(segments_per_line)  # of the segment in its line: 0, 1, 2, ...
    start = number * stride
    # A segment ends at position start + window_size - 1, the one before it `stride` earlier.
    first_target = np.where(number > 0, start + window_size - stride, 0)
    length = np.minimum(lengths[line] - start, window_size)
    targets = start + length - first_target
    return Segments(line, start, length, targets)


def sliding_windows(lengths: np.ndarray, window_size: int) -> Segments:
    """Every training window of every line: each target sees window_size positions, or all."""
    return cut_segments(lengths, window_size, stride=1)


def sequence_segments(lengths: np.ndarray, window_size: int) -> Segments:
    """Overlapping segments: one pass of the LSTM serves the targets of half a window."""
    return cut_segments(lengths, window_size, stride=max(1, window_size // 2))


# The choices of --instances
INSTANCES = {"window": sliding_windows, "sequence": sequence_segments}


def without_context_targets(segments: Segments, context: np.ndarray) -> Segments:
    """Segments without the targets that are among the first `context` clicks of their line.

    Parameters
    ----------
    segments : Segments
    context : int array [L]
        Clicks of each line that are from an earlier log.
    """
    # Position p predicts click p + 1: targets of positions from `context` on are new clicks.
    end = segments.start + segments.length
    targets = np.minimum(segments.targets, end - context[segments.line])
    return replace(segments, targets=targets).take(targets > 0)


def next_click_windows(lengths: np.ndarray, window_size: int) -> Segments:
    """One window a line: the one of the click that would follow the first `lengths` clicks."""
    positions = lengths + 1  # with <unk>
    length = np.minimum(positions, window_size)
    return Segments(np.arange(len(lengths)), positions - length, length, np.ones_like(length))


def make_batch(
    log: EncodedLog,
    segments: Segments,
    with_targets: bool = True,
    history_mask: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Gather the arrays of S segments with N targets together, padded with `<unk>` at the end.

    Parameters
    ----------
    log : EncodedLog
    segments : Segments
        S of them, of at most T positions.
    with_targets : bool
        Whether to look up the clicks that follow; False to infer.
    history_mask : bool array [S], optional
        Segments of which everything but the user id is hidden: their targets see `<unk>` alone, as
        if they were first clicks, of unknown province, city and phone (as `Reader.encode_users`).

    Returns
    -------
    dict of str to int64 array
        each of PROFILE_FEATURES : [S]
            Ids of the line's profile.
        ITEMS, CATEGORIES : [T, S]
            Ids at each position. Time is the first axis, as the LSTM needs it.
        "video" : [T, S]
            Which of the U distinct video-infos of the batch is at each position.
        TAGS : [K]
            Tag ids of the distinct video-infos, one after the other.
        "tag_video" : [K]
            The distinct video-info of each of them.
        "segment" : [N]
            The segment of each target.
        "context_index" : [N]
            The last position that each target sees, as an index into [T, S] flattened.
        "clicks", "tag_counts" : [N, 1]
            Number of positions that each target sees, and of their tags.
        "target" : [N]
            Item ids to predict; only with `with_targets`.
    """
    if history_mask is None:
        history_mask = np.zeros(len(segments), bool)
    videos = log.videos
    rows = _video_rows(log, segments, history_mask)
    distinct, video = np.unique(rows, return_inverse=True)
    video = video.reshape(rows.shape)  # flat in numpy 2.0
    tag_indices, tag_video = ragged_indices(videos.tag_offsets, distinct)

    segment = np.repeat(np.arange(len(segments)), segments.targets)  # of each target
    # The last `targets` positions of a segment, counted from its start.
    first = (segments.length - segments.targets)[segment]
    position = first + positions_within(segments.targets)
    context_position = np.where(history_mask[segment], 0, position)
    tag_counts = videos.tag_offsets[distinct + 1] - videos.tag_offsets[distinct]
    tags_so_far = np.cumsum(tag_counts[video], axis=0)  # [T, S]

    batch = {
        feature: log.profile[segments.line, column]
        for column, feature in enumerate(PROFILE_FEATURES)
    }
    for feature in PROFILE_FEATURES:
        if feature != "user_id":
            batch[feature] = np.where(history_mask, 0, batch[feature])
    batch[ITEMS] = videos.item[rows]
    batch[CATEGORIES] = videos.category[rows]
    batch["video"] = video
    batch[TAGS] = videos.tags[tag_indices]
    batch["tag_video"] = tag_video
    batch["segment"] = segment
    batch["context_index"] = context_position * len(segments) + segment
    batch["clicks"] = context_position[:, None] + 1
    batch["tag_counts"] = tags_so_far[context_position, segment][:, None]
    if with_targets:
        # Position p is followed by click p + 1, which is element p of the line's clicks.
        first_click = log.offsets[segments.line] + segments.start
        batch["target"] = videos.item[log.clicks[first_click[segment] + position]]
    return batch


def _video_rows(log: EncodedLog, segments: Segments, history_mask: np.ndarray) -> np.ndarray:
    """Rows of `log.videos` at each position, int32 [T, S]; 0: `<unk>`, in front or as padding."""
    step = np.arange(segments.length.max())[:, None]  # [T, 1], from the start of the segment
    position = segments.start + step  # [T, S]
    is_click = (position > 0) & (step < segments.length) & ~history_mask
    rows = np.zeros(position.shape, log.clicks.dtype)
    # Position p is click p of its line, element p - 1 of the line's clicks.
    click = log.offsets[segments.line] + position - 1
    rows[is_click] = log.clicks[click[is_click]]
    return rows


def share_rows(
    parts: Sequence[dict[str, np.ndarray]], tables: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Look up each row of a table once: replace ids by indices into the distinct ids of all parts.

    Parameters
    ----------
    parts : sequence of dict of str to int array
        Parts of a batch; their arrays of ids are replaced.
    tables : dict of str to sequence of str
        Names of the arrays that hold ids of each table.

    Returns
    -------
    dict of str to int64 array
        The distinct ids of each table, in ascending order.
    """
    distinct_ids = {}
    for table, names in tables.items():
        arrays = [part[name].ravel() for part in parts for name in names]
        arrays.append(np.zeros(0, np.int64))  # there may be no part
        distinct, indices = np.unique(np.concatenate(arrays), return_inverse=True)
        distinct_ids[table] = distinct
        begin = 0
        for part in parts:
            for name in names:
                shape = part[name].shape
                end = begin + part[name].size
                part[name] = indices[begin:end].reshape(shape)
                begin = end
    return distinct_ids


def balanced_parts(segments: Segments, count: int) -> list[np.ndarray]:
    """Indices of segments in parts of about the same work, segments of similar length together.

    A part is padded to its longest segment: sorted by length, few positions are padding.

    Parameters
    ----------
    segments : Segments
        S of them.
    count : int
        At most S.

    Returns
    -------
    list of `count` int64 arrays, none of them empty, of [S] indices in all
    """
    order = np.argsort(segments.length, kind="stable")
    work = np.cumsum((segments.length + segments.targets)[order])
    number = np.arange(1, count)  # of each boundary
    ends = np.searchsorted(work, work[-1] * number / count, side="right")
    # One segment at least before, between and behind the boundaries.
    ends = np.maximum.accumulate(np.maximum(ends - number, 0)) + number
    ends = np.minimum(ends, len(segments) - count + number)
    return np.split(order, ends)


def shuffled_batches(
    segments: Segments, steps: int, rng: np.random.Generator
) -> Iterator[Segments]:
    """Yield the segments in random order, in `steps` batches whose sizes differ by one at most."""
    for indices in np.array_split(rng.permutation(len(segments)), steps):
        yield segments.take(indices)
