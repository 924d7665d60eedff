"""Blocks of users, and their computation by the threads of a pool. Imports no paddle."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Users in every forward pass, whatever --batch_size is. Matrices of one height are rounded alike,
# so the result of a user does not depend on the others.
USER_BLOCK = 256


def round_up_to_blocks(users: int) -> int:
    """Smallest multiple of `USER_BLOCK` that is at least `users`: a partial block costs as much."""
    return math.ceil(users / USER_BLOCK) * USER_BLOCK


def batched(values: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` values; the last one may be shorter (`itertools.batched`)."""
    values = iter(values)
    while batch := list(islice(values, size)):
        yield batch


def ordered_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield ``function(item)`` of each item, in order, computed by the workers of a pool.

    Parameters
    ----------
    pool : Executor
    function : called by the workers.
    items : consumed lazily, unlike by `Executor.map`.
    ahead : how many items are submitted beyond the one whose result is awaited.
    """
    pending = collections.deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
