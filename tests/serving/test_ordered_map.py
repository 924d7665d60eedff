"""Work spread over threads, in order."""

from concurrent.futures import ThreadPoolExecutor

from candgen.serving.blocks import ordered_map

import pytest
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 20), st.integers(0, 5), st.integers(1, 3))
def test_ordered_map_is_map(items, ahead, threads):
    """In order, and never more than `ahead` items early."""
    stop_requested, early = [], []

    def source():
        for item in range(items):
            stop_requested.append(item)
            yield item

    with ThreadPoolExecutor(threads) as pool:
        for done, result in enumerate(ordered_map(pool, lambda item: item * 2, source(), ahead)):
            assert result == 2 * done
            early.append(len(stop_requested) - done - 1)
    assert len(early) == items and max(early, default=0) <= ahead


def test_ordered_map_raises_what_a_worker_raises():
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        list(ordered_map(pool, lambda item: 1 // (item - 3), range(100), 2))
