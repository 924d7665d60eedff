"""candgen.data.batches"""

from typing import NamedTuple

from candgen.data.dictionary import CATEGORIES, ITEMS, PROFILE_FEATURES, TAGS
from candgen.data.items import ragged_indices

import numpy as np


class Segments(NamedTuple):
    """S stretches: positions start .. start + length - 1 of a line; the last `targets` of them predict."""

    line: np.ndarray
    start: np.ndarray
    length: np.ndarray
    targets: np.ndarray

    def take(self, index):
        """The stretches at `index`, in that order."""
        return Segments(*(column[index] for column in self))


def cut_segments(lengths, window_size, stride):
    """Histories as stretches in which every click is a target once; a target sees window_size - hop positions or more.

    The first stretch of a line predicts from all its positions, each later one from its last `hop` (the last one
    from what is left).

    Parameters
    ----------
    lengths : int [L], known clicks per line.
    window_size : int, positions in a stretch at most.
    hop : int, at most window_size.

    Returns
    -------
    Stretches, ordered by line, then by target; sum(targets) == sum(lengths).
    """
    prefix = np.minimum(lengths, window_size)
    rows = (lengths > 0) + -(-(lengths - prefix) // stride)
    line = np.repeat(np.arange(len(lengths)), rows)
    number = np.arange(rows.sum()) - np.repeat(
        np.cumsum(rows) - rows, rows
    )  # 0, 1, 2, ... in each line
    first_target = np.where(number > 0, window_size + (number - 1) * stride, 0)
    start = np.where(number > 0, first_target + stride - window_size, 0)
    length = np.minimum(lengths[line] - start, window_size)
    return Segments(line, start, length, length - (first_target - start))


def sliding_windows(lengths, window_size):
    """Every training window of every line; those from position 0 of a line share one stretch."""
    return cut_segments(lengths, window_size, 1)


def sequence_segments(lengths, window_size):
    """Overlapping stretches, so that one LSTM pass does for all the targets of half a window."""
    return cut_segments(lengths, window_size, max(1, window_size // 2))


def without_context_targets(segments, context):
    """Stretches without the targets that are among the first `context` clicks of their line, int [L]."""
    targets = np.minimum(
        segments.targets, segments.start + segments.length - context[segments.line]
    )
    return segments._replace(targets=targets).take(targets > 0)


def next_click_windows(lengths, window_size):
    """One window a line: the one that the click after the first `lengths` clicks would have."""
    length = np.minimum(lengths + 1, window_size)
    return Segments(np.arange(len(lengths)), lengths + 1 - length, length, np.ones_like(length))


def make_batch(log, segments, with_targets=True, history_mask=None):
    """Gather the arrays of S stretches of a log with N targets together, padded with `<unk>` at the end.

    Parameters
    ----------
    log : EncodedLog
    stretches : Stretches of at most T positions.
    with_targets : bool, whether to look up the clicks that follow; False to infer.
    bare : bool [S], of which all is hidden but the user id: their targets look back on `<unk>` alone, as if they were
        first clicks, of unknown province, city and phone (`Reader.encode_users`); none if None.

    Returns
    -------
    {name: int64 array}
        each of PROFILE_FEATURES [S].    ITEMS, CATEGORIES : ids [T, S] (time first suits the LSTM).
        video : [T, S], which of the U distinct videos of the batch stands there.
        TAGS : [K], tag ids of the distinct videos.    tag_video : [K], the distinct video of each.
        seen_from : [N], the place in T * S that each target looks back from; stretch : [N], the stretch it is in.
        clicks, tag_counts : [N, 1], positions and tags up to that place.    target : [N], item ids.
    """
    item, category, tags, tag_offsets = log.videos
    line, start, length, targets = segments
    time = np.arange(length.max())[:, None]
    click = log.offsets[line] + start + time - 1  # [T, S], the click at a position
    history_mask = np.zeros(len(line), bool) if history_mask is None else history_mask
    real = (
        (start + time > 0) & (time < length) & ~history_mask
    )  # neither <unk> in front nor padding
    rows = np.where(real, log.clicks[np.where(real, click, 0)] if len(log.clicks) else 0, 0)
    distinct, video = np.unique(rows, return_inverse=True)
    video = video.reshape(rows.shape)  # numpy 2.0 returned it flat
    counts = np.diff(tag_offsets)[distinct]
    places, tag_video = ragged_indices(tag_offsets, distinct)
    segment = np.repeat(np.arange(len(line)), targets)
    position = np.arange(len(segment)) - np.repeat(np.cumsum(targets) - length, targets)
    target = (log.offsets[line] + start)[segment] + position  # which of the clicks it is
    position[history_mask[segment]] = 0
    batch = {
        feature: np.where(history_mask & (feature != "user_id"), 0, log.profile[line, column])
        for column, feature in enumerate(PROFILE_FEATURES)
    }
    batch.update(
        {
            ITEMS: item[rows],
            CATEGORIES: category[rows],
            "video": video,
            TAGS: tags[places],
            "tag_video": tag_video,
            "context_index": position * len(line) + segment,
            "segment": segment,
            "clicks": position[:, None] + 1,
            "tag_counts": np.cumsum(counts[video], axis=0)[position, segment][:, None],
        }
    )
    if with_targets:
        batch["target"] = item[log.clicks[target]]
    return batch


def share_rows(parts, tables):
    """Ids of the parts of a batch -> places among the distinct ids that all of them need of a table.

    Parameters
    ----------
    parts : list of {name: array}; their arrays of ids are replaced.
    tables : {table: [names of the arrays with ids of its rows]}

    Returns
    -------
    {table: int64 [distinct]}, so that each row is looked up, and updated, once.
    """
    distinct = {}
    for table, names in tables.items():
        where = [(part, name) for part in parts for name in names]
        ids = [part[name] for part, name in where]
        distinct[table], places = np.unique(
            np.concatenate([each.ravel() for each in ids]), return_inverse=True
        )
        for (part, name), each, place in zip(
            where, ids, np.split(places, np.cumsum([each.size for each in ids])[:-1])
        ):
            part[name] = place.reshape(each.shape)
    return distinct


def shuffled_batches(segments, steps, rng):
    """Yield the stretches in random order, in `steps` batches of as many stretches each, give or take one; every target
    comes exactly once."""
    for chosen in np.array_split(rng.permutation(len(segments.line)), steps):
        yield segments.take(chosen)


INSTANCES = {"window": sliding_windows, "sequence": sequence_segments}
