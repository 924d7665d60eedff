"""Lists of videos as text: ``user-id <tab> video:probability,video:probability,...``.

Imports no paddle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from candgen.data.dictionary import ITEMS

import numpy as np


def escape_id(video: str) -> str:
    """A video-id as it is printed in lists, which are split at commas: ``,`` and ``%`` escaped."""
    return video.replace("%", "%25").replace(",", "%2C")


def video_names(feature_dict: dict[str, dict[str, int]], ids: np.ndarray) -> list[str]:
    """Video-ids of some ids, int64 [N]."""
    names = list(feature_dict[ITEMS])
    return [names[id_] for id_ in ids]


def listed_names(feature_dict: dict[str, dict[str, int]]) -> list[str]:
    """Names of the videos in lists, by id."""
    return [escape_id(video) for video in feature_dict[ITEMS]]


def lists_text(
    users: Iterable[str], ids: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> str:
    """A line for each user.

    Parameters
    ----------
    users : B user-ids
    ids : int64 [B, n]
        Videos, best first; 0 for none.
    probabilities : float64 [B, n]
    names : names of the videos by id, from `listed_names`.
    """
    lines = []
    for user, videos, shares in zip(users, ids.tolist(), probabilities.tolist()):
        pairs = [f"{names[video]}:{share:.6g}" for video, share in zip(videos, shares) if video]
        lines.append(f"{user}\t{','.join(pairs)}\n")
    return "".join(lines)
