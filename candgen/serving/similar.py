"""Similar videos. Imports no paddle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from candgen.serving.lists import VideoLists
from candgen.serving.simple_lsh import directions
from candgen.serving.topn import TopN

import numpy as np

VIDEOS_AT_ONCE = 10_000


def similar_lists(
    nce_w: np.ndarray,
    n: int,
    names: Sequence[str],
    allowed: np.ndarray | None = None,
    videos: np.ndarray | None = None,
) -> Iterator[VideoLists]:
    """Yield lists with the n other videos of the highest cosine, of `VIDEOS_AT_ONCE` videos each.

    The cosine is that of the weights. Biases and the SIMPLE-LSH component are not used: they say
    how often a video is clicked, not by whom.

    Parameters
    ----------
    nce_w : float32 [V, u]
    n : int
    names : names of the videos by id, as owners of the lists.
    allowed : bool [V], optional
        Which videos may be in the lists; all if None. Other videos have a list nevertheless, since
        users may have clicked on them.
    videos : int64 [L], optional
        The videos whose lists are wanted; all, in the order of their ids, if None.
    """
    unit = directions(nce_w)
    no_biases = np.zeros((1, len(unit)), np.float32)
    top_n = TopN(unit, no_biases, allowed)
    if videos is None:
        videos = np.arange(1, len(unit))
    for start in range(0, len(videos), VIDEOS_AT_ONCE):
        block = videos[start : start + VIDEOS_AT_ONCE]
        ids, cosines, _ = top_n(unit[block], n, removed=list(block[:, None]))
        yield VideoLists([names[video] for video in block], ids, cosines)
