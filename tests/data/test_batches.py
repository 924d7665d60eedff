"""Segments and batches, against the documented instances."""

from candgen.data.batches import (
    Segments,
    balanced_parts,
    cut_segments,
    make_batch,
    next_click_windows,
    sequence_segments,
    share_rows,
    shuffled_batches,
    sliding_windows,
    without_context_targets,
)
from conftest import (
    LINES,
    SMALL_DICT,
    log_text,
)
from reader import Reader

import numpy as np
import pytest
from data_helpers import (
    instances_of_batch,
    plain_instances,
    served_and_trained,
)
from hypothesis import given
from hypothesis import strategies as st


@given(lines=st.lists(LINES, min_size=1, max_size=8), window_size=st.integers(1, 6))
def test_batches_give_the_documented_instances(tmp_path_factory, lines, window_size):
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    [log] = Reader(SMALL_DICT).encode(path)
    assert served_and_trained(log, window_size) == tuple(
        list(plain_instances(SMALL_DICT, window_size, lines, training))
        for training in (False, True)
    )
    assert sliding_windows(log.lengths, window_size).targets.sum() == len(log.clicks)


@given(lines=st.lists(LINES, min_size=1, max_size=8), window_size=st.integers(1, 6))
def test_sequences_see_suffixes_of_the_history(tmp_path_factory, lines, window_size):
    """Each click is a target once, in order, and sees half a window before it or more, or all."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    everything = list(plain_instances(SMALL_DICT, 10**6, lines, training=True))
    [log] = Reader(SMALL_DICT).encode(path)
    segments = sequence_segments(log.lengths, window_size)
    assert (segments.length <= window_size).all()
    found = list(instances_of_batch(make_batch(log, segments))) if everything else []
    assert len(found) == len(everything)
    for instance, whole in zip(found, everything):
        seen = len(instance[4])
        assert instance[-1] == whole[-1] and instance[4] == whole[4][-seen:]
        assert seen >= min(len(whole[4]), window_size // 2 + 1)


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=40), count=st.integers(1, 40))
def test_balanced_parts(lengths, count):
    """Every segment is in one part, parts are sorted by length and none is empty."""
    lengths = np.array(lengths)
    count = min(count, len(lengths))
    segments = Segments(np.arange(len(lengths)), 0 * lengths, lengths, lengths)
    parts = balanced_parts(segments, count)
    assert len(parts) == count and all(len(part) for part in parts)
    order = np.concatenate(parts)
    assert sorted(order) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) >= 0).all()


def test_parts_have_about_the_same_work():
    """100 short histories and 10 long ones, of the same number of positions."""
    lengths = np.array([2] * 100 + [20] * 10)
    segments = Segments(np.arange(110), 0 * lengths, lengths, lengths)
    assert [len(part) for part in balanced_parts(segments, 2)] == [100, 10]


IDS = st.lists(st.integers(0, 9), max_size=6)


@given(st.lists(st.tuples(IDS, IDS, IDS), min_size=1, max_size=4))
def test_rows_are_shared(drawn):
    """Indices stand for the ids before; each distinct id of a table is looked up once."""
    parts = [
        {
            "a": np.array(a, int),
            "b": np.array(b, int)[:, None],
            "c": np.array(c, int),
            "other": np.array([7]),
        }
        for a, b, c in drawn
    ]
    before = [{name: value.copy() for name, value in part.items()} for part in parts]
    distinct = share_rows(parts, {"table": ["a", "b"], "own": ["c"]})
    assert distinct["table"].tolist() == sorted({id_ for a, b, _ in drawn for id_ in a + b})
    assert distinct["own"].tolist() == sorted({id_ for *_, c in drawn for id_ in c})
    for part, old in zip(parts, before):
        for table, name in (("table", "a"), ("table", "b"), ("own", "c")):
            np.testing.assert_array_equal(distinct[table][part[name]], old[name])
        assert part["other"].tolist() == [7]


def rows_of(segments):
    """[(line, start, length, targets), ...]"""
    columns = (segments.line, segments.start, segments.length, segments.targets)
    return list(zip(*(column.tolist() for column in columns)))


@pytest.mark.parametrize(
    "stride, expected",
    [
        (1, [(0, 0, 4, 4), (0, 1, 4, 1), (0, 2, 4, 1), (0, 3, 4, 1), (2, 0, 1, 1)]),
        (2, [(0, 0, 4, 4), (0, 2, 4, 2), (0, 4, 3, 1), (2, 0, 1, 1)]),
        (4, [(0, 0, 4, 4), (0, 4, 3, 3), (2, 0, 1, 1)]),
    ],
)
def test_segments_by_hand(stride, expected):
    """Lines of 7, 0 and 1 clicks, in windows of 4 positions."""
    assert rows_of(cut_segments(np.array([7, 0, 1]), 4, stride)) == expected


def test_targets_among_earlier_clicks_are_left_out():
    """Line 0: its first 5 of 7 clicks are from an earlier log."""
    segments = cut_segments(np.array([7, 0, 1]), 4, 2)
    new = without_context_targets(segments, np.array([5, 0, 0]))
    assert rows_of(new) == [(0, 2, 4, 1), (0, 4, 3, 1), (2, 0, 1, 1)]


def test_the_window_of_the_next_click():
    windows = next_click_windows(np.array([7, 0, 1]), 4)
    assert rows_of(windows) == [(0, 4, 4, 1), (1, 0, 1, 1), (2, 0, 2, 1)]


@given(
    st.lists(st.integers(0, 30), max_size=20),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(0, 5),
)
def test_shuffled_batches_hold_every_target_once(lengths, window_size, steps, seed):
    segments = sliding_windows(np.array(lengths, int), window_size)
    batches = list(shuffled_batches(segments, steps, np.random.default_rng(seed)))
    rows = sorted(row for batch in batches for row in rows_of(batch))
    assert rows == sorted(rows_of(segments))
    sizes = [len(batch) for batch in batches]
    assert len(batches) == steps and max(sizes) - min(sizes) <= 1


def test_order_is_random_and_follows_the_generator():
    segments = sliding_windows(np.full(50, 10), 3)

    def order(seed):
        return [
            batch.line.tolist()
            for batch in shuffled_batches(segments, 8, np.random.default_rng(seed))
        ]

    assert order(1) == order(1) != order(2)
    assert order(1)[0] != sorted(order(1)[0])
