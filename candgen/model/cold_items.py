"""Vectors and biases of videos without a click, from videos with the same attributes."""

from __future__ import annotations

import math

from candgen.data.items import ItemAttributes
from candgen.data.ragged import ragged_indices
from candgen.model.layers import VIDEO_TABLE

import numpy as np

RARE = 10  # one in so many clicked videos is rare: those with the lowest biases


def neighbor_mean(
    values: np.ndarray, attributes: ItemAttributes, is_known: np.ndarray
) -> np.ndarray:
    """Mean, over the attributes of each video, of the mean of the known videos with the attribute.

    Parameters
    ----------
    values : float [videos, width]
    attributes : of the videos.
    is_known : bool [videos], which videos the means are taken over.

    Returns
    -------
    float64 [videos, width]
        nan for a video that shares no attribute with a known one.
    """
    indices, video = ragged_indices(attributes.offsets, np.arange(len(values)))
    attribute = attributes.ids[indices]  # pairs (video, attribute)
    num_attributes = int(attributes.ids.max(initial=0)) + 1
    with_count = np.hstack([values, np.ones((len(values), 1))])

    # of each attribute: sums over its known videos, their number in the last column
    sums = np.zeros((num_attributes, with_count.shape[1]))
    of_known = is_known[video]
    np.add.at(sums, attribute[of_known], with_count[video[of_known]])
    means = sums / np.maximum(sums[:, -1:], 1)  # last column: 1 if the attribute has a known video

    # of each video: sums over its attributes, the number of those with a known video last
    totals = np.zeros((len(values), with_count.shape[1]))
    np.add.at(totals, video, means[attribute])
    with np.errstate(invalid="ignore"):
        return totals[:, :-1] / totals[:, -1:]


def place_cold_items(
    arrays: dict[str, np.ndarray],
    unfolded: dict[str, np.ndarray],
    is_cold: np.ndarray,
    attributes: ItemAttributes,
) -> None:
    """Give vectors and biases to the videos of a catalogue that have no click.

    A vector is the mean of the neighbors' own rows, plus what the video's attributes add, scaled to
    the mean length of the tenth of the clicked videos with the lowest biases: a mean is too short
    to be recommended to anyone. The bias is the mean of these rare videos as it was trained. A
    video without neighbors keeps its initial values.

    Parameters
    ----------
    arrays : {name: array}, parameters as in a model file; changed in place.
    unfolded : {name: array}, before the attributes were added.
    is_cold : bool [videos]
    attributes : of the videos.
    """
    biases = unfolded["nce_b"].T  # [videos, 1], without offsets
    clicked = np.flatnonzero(~is_cold)[1:]  # without <unk>
    by_bias = clicked[np.argsort(biases[clicked, 0], kind="stable")]
    rare = by_bias[: math.ceil(len(by_bias) / RARE)]
    for name in {VIDEO_TABLE, "nce_w"} & arrays.keys():
        of_attributes = arrays[name] - unfolded[name]
        vectors = of_attributes + neighbor_mean(unfolded[name], attributes, ~is_cold)
        rare_length = np.linalg.norm(arrays[name][rare], axis=1).mean()
        vectors *= rare_length / np.linalg.norm(vectors, axis=1, keepdims=True)
        arrays[name] = _where_cold(is_cold, vectors, arrays[name])
    has_neighbors = np.isfinite(neighbor_mean(biases, attributes, ~is_cold))
    of_rare = np.where(has_neighbors, biases[rare].mean(), np.nan)
    arrays["nce_b"] = _where_cold(is_cold, of_rare, arrays["nce_b"].T).T


def _where_cold(is_cold, values, otherwise):
    """`values` of cold videos that have neighbors, float32 [videos, width]."""
    replaced = is_cold[:, None] & np.isfinite(values)
    return np.where(replaced, values, otherwise).astype(np.float32)
