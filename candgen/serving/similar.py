"""Similar videos. Imports no paddle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from candgen.serving.lists import lists_text
from candgen.serving.simple_lsh import directions
from candgen.serving.topn import TopN

import numpy as np

VIDEOS_AT_ONCE = 10_000


def similar_lists(
    nce_w: np.ndarray, n: int, names: Sequence[str], allowed: np.ndarray | None = None
) -> Iterator[str]:
    """Yield text, for each video a line with the n other videos of the highest cosine.

    The cosine is that of the weights. Biases and the SIMPLE-LSH component are not used: they say
    how often a video is clicked, not by whom.

    Parameters
    ----------
    nce_w : float32 [V, u]
    n : int
    names : names of the videos by id, from `listed_names`.
    allowed : bool [V], optional
        Which videos may be in the lists; all if None. Other videos have a line nevertheless, since
        users may have clicked on them.
    """
    unit = directions(nce_w)
    no_biases = np.zeros((1, len(unit)), np.float32)
    top_n = TopN(unit, no_biases, allowed)
    for start in range(1, len(unit), VIDEOS_AT_ONCE):
        videos = np.arange(start, min(start + VIDEOS_AT_ONCE, len(unit)))
        ids, cosines, _ = top_n(unit[videos], n, removed=list(videos[:, None]))
        yield lists_text([names[video] for video in videos], ids, cosines, names)
