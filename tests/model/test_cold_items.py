"""Vectors and biases of videos without a click, by hand."""

from candgen.data.items import ItemAttributes
from candgen.model.cold_items import neighbor_mean, place_cold_items
from candgen.model.layers import VIDEO_TABLE

import numpy as np


def attributes_of(*attributes):
    """`ItemAttributes` of videos with these attributes; the first is <unk>."""
    lengths = [len(each) for each in attributes]
    return ItemAttributes(
        np.array([id_ for each in attributes for id_ in each], int), np.cumsum([0, *lengths])
    )


def test_neighbor_mean():
    """Attribute 1: videos 1 and 2, mean 2; attribute 2: video 2 alone, 3; video 5 has none."""
    attributes = attributes_of([], [1], [1, 2], [1, 2], [2, 7], [], [7])
    values = np.array([[0.0], [1], [3], [90], [90], [90], [90]])
    is_known = np.array([True, True, True, False, False, False, False])
    means = neighbor_mean(values, attributes, is_known)
    np.testing.assert_allclose(means[:, 0], [np.nan, 2, 2.5, 2.5, 3, np.nan, np.nan])


def test_place_cold_items():
    """Videos 3 and 4 have no click; 3 shares an attribute with 1 and 2, and 4 has none.

    Rows of 1 and 2 are [2, 0] and [0, 2], to which their attributes add [0, 1].
    """
    rows = np.float32([[9, 9], [2, 0], [0, 2], [7, 7], [5, 5]])
    biases = np.float32([[0, -3, -1, -9, -9]])
    unfolded = {VIDEO_TABLE: rows, "nce_w": rows, "nce_b": biases}
    folded = rows + np.float32([0, 1])
    arrays = {VIDEO_TABLE: folded, "nce_w": folded, "nce_b": biases}
    is_cold = np.array([False, False, False, True, True])
    place_cold_items(arrays, unfolded, is_cold, attributes_of([], [1], [1], [1], []))
    for name in (VIDEO_TABLE, "nce_w"):
        np.testing.assert_allclose(arrays[name][:3], [[9, 10], [2, 1], [0, 3]])
        # along the neighbors' mean [1, 1] + [0, 1], as long as video 1, whose bias is the lowest
        np.testing.assert_allclose(arrays[name][3], [1, 2], rtol=1e-6)
        np.testing.assert_allclose(arrays[name][4], [5, 6])
    np.testing.assert_allclose(arrays["nce_b"], [[0, -3, -1, -3, -9]])
