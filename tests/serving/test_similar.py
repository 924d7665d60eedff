"""Similar videos, by hand."""

from candgen.serving.similar import similar_lists

import numpy as np
import pytest

HALF = pytest.approx(0.5**0.5, abs=1e-6)


def lists_of(blocks, names):
    """[(video, [(similar video, cosine), ...]), ...]"""
    return [
        (owner, [(names[id_], cosine) for id_, cosine in zip(ids, cosines) if id_])
        for block in blocks
        for owner, ids, cosines in zip(block.owners, block.ids, block.values)
    ]


def test_similar_videos_that_are_allowed():
    """Each video has a list; the lists have only allowed videos."""
    weights = np.float32([[9, 9], [0, 0], [1, 0], [2, 0], [1, 1]])
    names, allowed = ["<unk>", "a", "b", "c", "d"], np.array([False, False, True, False, True])
    lists = [
        ("a", [("b", 0), ("d", 0)]),
        ("b", [("d", HALF)]),
        ("c", [("b", 1), ("d", HALF)]),
        ("d", [("b", HALF)]),
    ]
    assert lists_of(similar_lists(weights, 3, names, allowed), names) == lists
    some = np.array([4, 1, 4])
    found = lists_of(similar_lists(weights, 3, names, allowed, some), names)
    assert found == [lists[3], lists[0], lists[3]]
    none = np.zeros(0, np.int64)
    assert lists_of(similar_lists(weights, 3, names, allowed, none), names) == []


def test_weights_of_zero():
    """They have no direction: their cosines are 0."""
    names = ["<unk>", "a", "b", "c"]
    found = lists_of(similar_lists(np.float32([[9, 9], [0, 0], [1, 0], [2, 0]]), 2, names), names)
    assert found[1:] == [("b", [("c", 1.0), ("a", 0.0)]), ("c", [("b", 1.0), ("a", 0.0)])]
