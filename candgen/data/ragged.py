"""Rows of different lengths, stored one after the other with their offsets."""

from __future__ import annotations

import numpy as np


def positions_within(counts: np.ndarray) -> np.ndarray:
    """Number the elements of each group from 0: counts [2, 0, 3] give [0, 1, 0, 1, 2].

    Parameters
    ----------
    counts : int array [G]
        Sizes of the groups.

    Returns
    -------
    int64 array [sum(counts)]
    """
    first = np.cumsum(counts) - counts
    return np.arange(counts.sum()) - np.repeat(first, counts)


def ragged_indices(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all elements of some rows of a ragged array.

    Parameters
    ----------
    offsets : int array [R + 1]
        Row r has the elements offsets[r] .. offsets[r + 1] - 1.
    rows : int array [S]
        Rows in any order, also several times.

    Returns
    -------
    indices : int64 array [K]
        Indices of the elements, row after row.
    segment_ids : int64 array [K]
        Which of the S rows each of them belongs to.

    Examples
    --------
    Row 0 has the elements 0 and 1, row 1 has none, row 2 has the elements 2, 3 and 4:

    >>> ragged_indices(np.array([0, 2, 2, 5]), np.array([2, 0]))
    (array([2, 3, 4, 0, 1]), array([0, 0, 0, 1, 1]))
    """
    begin = offsets[rows]
    counts = offsets[rows + 1] - begin
    segment_ids = np.repeat(np.arange(len(counts)), counts)
    return begin[segment_ids] + positions_within(counts), segment_ids
