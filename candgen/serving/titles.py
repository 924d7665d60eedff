"""Titles of videos, from the file of --names. Imports no paddle."""

from __future__ import annotations

from collections.abc import Mapping

from candgen.console import InputError, logger
from candgen.data.text_files import text_lines
from candgen.serving.item_filters import find_videos

LAYOUT = "one a line, with a tab and the title after it"


def read_titles(path: str, videos: Mapping[str, int]) -> list[str]:
    """Title of each video by id, "" for none, from lines `video-id tab title`.

    Parameters
    ----------
    path : of the file
    videos : {video-id: id}

    Raises
    ------
    InputError
        If a line has not two columns, if a video has two titles, or if the file has ids and none of
        them is known.
    """
    lines = []  # (file, line number)
    rows = []  # [video-id, title]
    for file, number, text in text_lines(path):
        columns = text.split("\t")
        if len(columns) != 2:
            problem = f"{len(columns)} columns instead of 2"
            raise InputError(file, problem, line=number, hint=f"write ids {LAYOUT}")
        lines.append((file, number))
        rows.append(columns)

    ids = find_videos(path, [name for name, _ in rows], videos, LAYOUT)
    titles = [""] * len(videos)
    for video, (file, number), (name, title) in zip(ids.tolist(), lines, rows):
        if video and title:
            if titles[video] not in ("", title):
                problem = f"a second title of video {name[:80]!r}"
                raise InputError(file, problem, line=number, hint="write one title for each video")
            titles[video] = title
    untitled = titles[1:].count("")
    if untitled:
        logger.info(f"{path}: {untitled} of the {len(videos) - 1} videos have no title")
    return titles
