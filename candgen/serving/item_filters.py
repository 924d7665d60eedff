"""Files of videos that may, and that must not, be recommended. Imports no paddle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from candgen.console import InputError, logger
from candgen.data.dictionary import ITEMS
from candgen.data.name_lookup import NameLookup
from candgen.data.text_files import text_lines

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
        allowed[:] = False
        allowed[listed_videos(allow_items, videos)] = True
    if deny_items:
        allowed[listed_videos(deny_items, videos)] = False
    if not allowed.any():
        raise InputError(
            " ".join([*(allow_items or []), *(deny_items or [])]),
            "leaves no video to recommend",
            hint="give ids of the dictionary, one a line",
        )
    return allowed


def listed_videos(paths: Sequence[str], videos: Mapping[str, int]) -> np.ndarray:
    """Ids of the videos that some files list, one a line, in this order: int64 [N].

    Videos that are not known are left out, with a warning for each file that has some.

    Parameters
    ----------
    paths : of files
    videos : {video-id: id}

    Raises
    ------
    InputError
        If a file has ids and none of them is known: a list of banned videos with quoted ids, say,
        must not be ignored.
    """
    layout = "one a line, without quotes, spaces or further columns"
    listed = []
    for path in paths:
        names = [name for _, _, name in text_lines(path)]
        ids = find_videos(path, names, videos, layout)
        if not ids.all():
            logger.warning(str(_unknown_error(path, names, ids, layout)))
        listed.append(ids[ids > 0])
    return np.concatenate(listed)


def find_videos(
    path: str, names: Sequence[str], videos: Mapping[str, int], layout: str
) -> np.ndarray:
    """Ids of the videos that a file names, found by `NameLookup`: int64 [N], 0 for unknown ones.

    Parameters
    ----------
    path : of the file
    names : N video-ids
    videos : {video-id: id}
    layout : how the ids have to stand in the file.

    Raises
    ------
    InputError
        If there are names, and none of them is known.
    """
    find = NameLookup(videos)
    ids = np.array([videos.get(find(name), 0) for name in names], np.int64)
    if names and not ids.any():
        raise _unknown_error(path, names, ids, layout)
    if names:
        logger.info(f"{path}: {np.count_nonzero(ids)} of its {len(ids)} videos are known")
    return ids


def _unknown_error(path, names, ids, layout):
    unknown = np.flatnonzero(ids == 0)
    return InputError(
        path,
        f"{len(unknown)} of its {len(names)} videos are not known to the model, "
        f"such as {names[unknown[0]][:80]!r}",
        hint=f"write ids as in the log, {layout}",
    )
