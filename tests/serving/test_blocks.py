"""Blocks of users, and ordered results of threads."""

from concurrent.futures import ThreadPoolExecutor

from candgen.console import InputError
from candgen.serving.blocks import batched, ordered_map, round_up_to_blocks

import pytest


@pytest.mark.parametrize("workers, ahead", [(1, 0), (3, 4)])
def test_ordered_map(workers, ahead):
    """In order, and lazily: at most `ahead` items are consumed early."""
    taken = []
    items = (taken.append(number) or number for number in range(500))
    with ThreadPoolExecutor(workers) as pool:
        results = ordered_map(pool, lambda number: number**2, items, ahead)
        for number in range(10):
            assert next(results) == number**2
            assert len(taken) <= number + 1 + ahead + 1
        assert list(results) == [number**2 for number in range(10, 500)]


def test_errors_of_workers():
    """They are raised after the results before them."""

    def work(number):
        if number == 3:
            raise InputError("a.txt", "broken", line=3, hint="fix it")
        return number

    with ThreadPoolExecutor(2) as pool:
        results = ordered_map(pool, work, range(9), 2)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(InputError, match=r"^a\.txt:3: broken; fix it$"):
            next(results)


def test_batched():
    assert list(batched("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(batched([], 2)) == []


def test_round_up_to_blocks():
    assert [round_up_to_blocks(users) for users in (1, 256, 257, 2048)] == [256, 256, 512, 2048]
