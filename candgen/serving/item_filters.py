"""Files of videos that may, and that must not, be recommended. Imports no paddle."""

from __future__ import annotations

from collections.abc import Sequence

from candgen.console import InputError, logger
from candgen.data.dictionary import ITEMS
from candgen.data.logs import text_lines

import numpy as np


def allowed_videos(
    allow_items: Sequence[str] | None,
    deny_items: Sequence[str] | None,
    feature_dict: dict[str, dict[str, int]],
) -> np.ndarray:
    """Which videos may be recommended, bool [V]; ``<unk>`` never is.

    Parameters
    ----------
    allow_items, deny_items : paths of files with a video-id a line; None: all, none.
    feature_dict : {feature: {value: id}}

    Raises
    ------
    InputError
        If no video is left, or as `listed_videos` does.
    """
    videos = feature_dict[ITEMS]
    allowed = np.ones(len(videos), bool)
    allowed[0] = False
    if allow_items:
        allowed &= listed_videos(allow_items, videos)
    if deny_items:
        allowed &= ~listed_videos(deny_items, videos)
    if not allowed.any():
        raise InputError(
            " ".join([*(allow_items or []), *(deny_items or [])]),
            "leaves no video to recommend",
            hint="give ids of the dictionary, one a line",
        )
    return allowed


def listed_videos(paths: Sequence[str], videos: dict[str, int]) -> np.ndarray:
    """Which videos of the dictionary, {video-id: id}, are listed in some files: bool [V].

    Raises
    ------
    InputError
        If a file has ids and none of them is known: a list of banned videos with quoted ids, say,
        must not be ignored.
    """
    listed = np.zeros(len(videos), bool)
    for path in paths:
        names = [name for _, _, name in text_lines(path)]
        unknown = [name for name in names if videos.get(name, 0) == 0]
        num_known = len(names) - len(unknown)
        logger.info(f"{path}: {num_known} of its {len(names)} videos are known")
        if unknown:
            error = InputError(
                path,
                f"{len(unknown)} of its {len(names)} videos are not known to the model, "
                f"such as {unknown[0][:80]!r}",
                hint="write ids as in the log, one a line, without quotes, spaces or further "
                "columns",
            )
            if not num_known:
                raise error
            logger.warning(str(error))
        listed[[videos[name] for name in names if name in videos]] = True
    return listed
