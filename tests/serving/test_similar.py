"""Similar videos, by hand."""

from candgen.serving.similar import similar_lists
from conftest import lists_of

import numpy as np
import pytest


def test_similar_videos_that_are_allowed():
    """Each video has a line; the lists have only allowed videos."""
    weights = np.float32([[9, 9], [0, 0], [1, 0], [2, 0], [1, 1]])
    names, allowed = ["<unk>", "a", "b", "c", "d"], np.array([False, False, True, False, True])
    text = "".join(similar_lists(weights, 3, names, allowed))
    assert lists_of(text) == [
        ("a", [("b", 0), ("d", 0)]),
        ("b", [("d", pytest.approx(0.5**0.5, abs=1e-6))]),
        ("c", [("b", 1), ("d", pytest.approx(0.5**0.5, abs=1e-6))]),
        ("d", [("b", pytest.approx(0.5**0.5, abs=1e-6))]),
    ]


def test_weights_of_zero():
    """They have no direction: their cosines are 0."""
    text = "".join(
        similar_lists(np.float32([[9, 9], [0, 0], [1, 0], [2, 0]]), 2, ["<unk>", "a", "b", "c"])
    )
    assert lists_of(text)[1:] == [("b", [("c", 1.0), ("a", 0.0)]), ("c", [("b", 1.0), ("a", 0.0)])]
