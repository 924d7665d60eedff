"""Indices of rows of different lengths."""

from candgen.data.ragged import positions_within, ragged_indices

import numpy as np
from hypothesis import given
from hypothesis import strategies as st


def test_positions_by_hand():
    assert positions_within(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
    assert positions_within(np.zeros(0, int)).tolist() == []


@given(st.lists(st.lists(st.integers(), max_size=4), min_size=1, max_size=6), st.data())
def test_rows_in_any_order(rows, data):
    """Like lists of lists."""
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    elements = [element for row in rows for element in row]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    indices, segment_ids = ragged_indices(offsets, np.array(chosen, np.int64))
    assert [elements[index] for index in indices] == [x for row in chosen for x in rows[row]]
    expected_ids = [number for number, row in enumerate(chosen) for _ in rows[row]]
    assert segment_ids.tolist() == expected_ids
