"""candgen.model.cold_items"""

from candgen.data.items import ragged_indices
from candgen.model.layers import VIDEO_TABLE

import numpy as np


def neighbor_mean(values, content, known):
    """Mean, over the attributes of each video, of the mean `values` of the known videos that share the attribute.

    float [V, w], Content of V videos, bool [V] -> float64 [V, w]; nan for a video without such neighbours.
    """
    places, owner = ragged_indices(content.offsets, np.arange(len(values)))
    attribute, sums = (
        content.ids[places],
        np.zeros((int(content.ids.max(initial=0)) + 1, values.shape[1] + 1)),
    )
    shown = known[owner]
    np.add.at(sums, attribute[shown], np.hstack([values, np.ones((len(values), 1))])[owner[shown]])
    sums /= np.maximum(sums[:, -1:], 1)  # the last column: 1 if there is any
    found = np.zeros((len(values), sums.shape[1]))
    np.add.at(found, owner, sums[attribute])
    with np.errstate(invalid="ignore"):
        return found[:, :-1] / found[:, -1:]


def place_cold_items(found, own, cold_items, content):
    """Give vectors and biases to the videos of a catalogue that nobody has clicked on, from their neighbours.

    A vector is the mean of the neighbours' own rows, and what content adds to it, at the mean length of the tenth of
    the clicked videos with the lowest biases: a mean is too short to be recommended to anyone. A bias is the
    neighbours' mean. A video without neighbours stays as it is.

    Parameters
    ----------
    found : {name: array} of a model, changed.    own : {name: array}, before content was added.
    unclicked : bool [V].    content : reader.Content of the V videos.
    """
    bias, clicked = found["nce_b"].T, np.flatnonzero(~cold_items)[1:]  # [V, 1]; without <unk>
    rare = clicked[np.argsort(bias[clicked, 0], kind="stable")[: -(-len(clicked) // 10)]]
    for name in {VIDEO_TABLE, "nce_w"} & found.keys():
        near = found[name] - own[name] + neighbor_mean(own[name], content, ~cold_items)
        near *= np.linalg.norm(found[name][rare], axis=1).mean() / np.linalg.norm(
            near, axis=1, keepdims=True
        )
        found[name] = np.where(cold_items[:, None] & np.isfinite(near), near, found[name]).astype(
            np.float32
        )
    near = neighbor_mean(bias, content, ~cold_items)
    found["nce_b"] = (
        np.where(cold_items[:, None] & np.isfinite(near), near, bias).astype(np.float32).T
    )
