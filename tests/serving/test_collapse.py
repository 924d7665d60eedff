"""Warnings of a network that has collapsed."""

from types import SimpleNamespace

from candgen.serving.collapse import (
    collapse_metrics,
    warn_if_collapsed,
    warn_if_network_collapses,
)

import numpy as np
import pytest


def test_warn_if_collapsed(capsys):
    """Once, at the end, however the users are divided into blocks; not for a single user."""

    def warnings_of(*blocks):
        blocks = [np.array(block, float).reshape(-1, 1) for block in blocks]
        blocks = [SimpleNamespace(vectors=vectors) for vectors in blocks]
        assert list(warn_if_collapsed(blocks)) == blocks
        return capsys.readouterr().err

    assert "all 3 users have the same vector" in warnings_of([5, 5], [5])
    for blocks in ([[5, 5], [5, 6]], [[5], [6]], [[5]], [[]], []):
        assert warnings_of(*blocks) == ""


def test_collapse_metrics():
    """Two distinct vectors; the first of three units is 0 for all users."""
    vectors = np.float32([[0, 1, 2], [0, 1, 2], [0, 0, 2]])
    assert collapse_metrics(vectors) == {"distinct_users": 2, "live_units": 2}


@pytest.mark.parametrize(
    "distinct, live, warns", [(1, 31, True), (99, 7, True), (99, 8, False), (2, 31, False)]
)
def test_warn_if_network_collapses(capsys, distinct, live, warns):
    """One vector for all users, or less than a quarter of the units alive."""
    metrics = {"distinct_users": distinct, "live_units": live}
    warn_if_network_collapses(metrics, num_users=100, num_units=31)
    assert ("the network collapses" in capsys.readouterr().err) == warns
