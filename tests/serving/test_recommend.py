"""The list of users whom the model does not know."""

from candgen.serving.recommend import most_clicked

import numpy as np
import pytest


def test_most_clicked():
    """By frequency, then by id, without `<unk>`."""
    freq = np.array([0.5, 0.1, 0.3, 0.1], np.float32)
    ids, shares = most_clicked(freq, np.array([False, True, True, True]), 30)
    assert ids.tolist() == [2, 1, 3] and shares == pytest.approx([0.6, 0.2, 0.2])
    _, shares = most_clicked(freq, np.array([False, False, True, True]), 30, popularity=2)
    assert shares == pytest.approx([0.9, 0.1])
    assert most_clicked(freq, np.array([False, True, False, True]), 30)[0].tolist() == [
        1,
        3,
    ]
    assert most_clicked(freq, np.array([False, True, True, True]), 2)[0].tolist() == [
        2,
        1,
    ]
