"""Signs of a network that has collapsed: its user vectors do not depend on the users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from candgen.console import logger
from candgen.serving.metrics import MIN_USERS

import numpy as np

Block = TypeVar("Block")

LIVE_UNITS = 1 / 4  # a network with a smaller share of live units has collapsed
ADVICE = "train it with a lower --learning_rate"


def collapse_metrics(vectors: np.ndarray) -> dict[str, int]:
    """Number of distinct vectors, and of units that are not 0 for all users: float [L, u]."""
    return {
        "distinct_users": len(np.unique(vectors, axis=0)),
        "live_units": int((vectors != 0).any(0).sum()),
    }


def warn_if_network_collapses(metrics: dict, num_users: int, num_units: int) -> None:
    """Write a warning after a pass, unless there are few users.

    Parameters
    ----------
    metrics : with `collapse_metrics` of the users of the test log.
    num_users, num_units : shape of their vectors.
    """
    if num_users < MIN_USERS:
        return
    distinct, live = metrics["distinct_users"], metrics["live_units"]
    if distinct == 1 or live < num_units * LIVE_UNITS:
        logger.warning(
            f"the network collapses: {distinct} different vectors for {num_users} test users, "
            f"{live} of {num_units} units of the user vector alive; {ADVICE}"
        )


def warn_if_collapsed(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield blocks of users; at the end write a warning if all of several users have one vector.

    Parameters
    ----------
    blocks : objects with the attribute ``vectors``, float [B, u].
    """
    num_users = 0
    distinct = set()  # a few of them: more than one will do
    for block in blocks:
        yield block
        num_users += len(block.vectors)
        if len(distinct) < 2:
            distinct.update(vector.tobytes() for vector in block.vectors)
    if num_users > 1 and len(distinct) == 1:
        logger.warning(
            f"all {num_users} users have the same vector; if their histories differ, "
            f"the network has collapsed: {ADVICE}"
        )
