"""Lines of logs and of catalogues, parsed.

A log is UTF-8 text, one user a line, with the columns LOG_COLUMNS separated by tabs:

    user-id  province  city  history  phone
    history    = video-info;video-info;...          oldest click first, NULL for none
    video-info = video-id:category:tag1_tag2_...    `NULL` or empty = unknown
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from candgen.console import InputError, describe_error, logger
from candgen.data.dictionary import LOG_COLUMNS, PROFILE_FEATURES
from candgen.data.log_files import Paths
from candgen.data.text_files import decode_line, raw_lines, text_lines

HISTORY = LOG_COLUMNS.index("history")
PROFILE_COLUMNS = [LOG_COLUMNS.index(feature) for feature in PROFILE_FEATURES]
Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class LogLine:
    """One parsed line.

    Attributes
    ----------
    columns : list of str
        In the order of LOG_COLUMNS.
    infos : list of str
        Video-infos of the history, oldest first.
    """

    columns: list[str]
    infos: list[str]

    @property
    def user(self) -> str:
        """The user id, the first column."""
        return self.columns[0]


class BadLines:
    """Skips malformed lines up to a limit.

    Parameters
    ----------
    limit : int
        Number of lines that are skipped; the next one raises.
    quiet : bool
        False to name each of them on stderr.

    Attributes
    ----------
    count : int
        Number of malformed lines.
    """

    def __init__(self, limit: int = 0, quiet: bool = False):
        self.limit = limit
        self.count = 0
        self._quiet = quiet

    def add(self, error: InputError) -> None:
        """Skip a malformed line, or raise its error if the limit is exceeded."""
        self.count += 1
        if self.count > self.limit:
            raise error
        if not self._quiet:
            logger.info(f"left out: {error}")


def all_bad_lines() -> BadLines:
    """For a second reading of a log: skips all malformed lines, which the first one has named."""
    return BadLines(sys.maxsize, quiet=True)


def read_log(
    paths: Paths,
    decode: Callable[[LogLine], Decoded],
    bad_lines: BadLines | None = None,
    progress: bool = True,
) -> Iterator[Decoded]:
    """Yield decode(LogLine) of each line of a log that is not empty.

    Parameters
    ----------
    paths : str or sequence of str
        See `log_files`.
    decode : callable
        Raises ValueError for a malformed video-info.
    bad_lines : BadLines, optional
        Receives malformed lines; by default they raise.
    progress : bool
        Whether to draw a progress bar on a terminal.

    Raises
    ------
    InputError
        If a file is missing or a line malformed: a wrong number of columns, bytes that are not
        UTF-8, a NUL byte, an empty history, a video-info without two colons.
    """
    bad_lines = bad_lines or BadLines()
    for path, number, raw in raw_lines(paths, progress):
        try:
            line = parse_line(raw, path, number)
            if line is None:
                continue
            decoded = decode(line)
        except ValueError as error:
            hint = "separate clicks by ';' and write NULL for an unknown category or tag"
            bad_lines.add(InputError(path, describe_error(error), line=number, hint=hint))
        except InputError as error:
            bad_lines.add(error)
        else:
            yield decoded


def read_catalogue(paths: Paths) -> Iterator[str]:
    """Yield the video-infos of files that have one a line.

    Raises
    ------
    InputError
        If a line is not a video-info with a video-id.
    """
    for path, number, info in text_lines(paths):
        try:
            if re.search("[\t;\0]", info) or not split_video_info(info)[0]:
                raise ValueError(f"{info[:80]!r} is not one video-info")
        except ValueError as error:
            hint = "write video-id:category:tag1_tag2, one a line"
            raise InputError(path, str(error), line=number, hint=hint) from error
        yield info


def parse_line(raw: bytes, path: str, number: int | None) -> LogLine | None:
    """Parse the bytes of a line; None for an empty one, InputError for a malformed one."""
    text = decode_line(raw, path, number)
    if not text:
        return None
    if "\0" in text:
        hint = "is this a log, was it cut off by a crash? Remove the line"
        raise InputError(path, "a NUL byte", line=number, hint=hint)
    columns = text.split("\t")
    if len(columns) != len(LOG_COLUMNS):
        if len(columns) == 2 * len(LOG_COLUMNS) - 1:
            hint = "it looks like two lines: end each part with a newline before joining them"
        else:
            hint = f"write {', '.join(LOG_COLUMNS)}, with tabs between"
        problem = f"{len(columns)} columns instead of {len(LOG_COLUMNS)}"
        raise InputError(path, problem, line=number, hint=hint)
    history = columns[HISTORY]
    if not history:
        hint = "write NULL for a user without clicks, or video-id:category:tag1_tag2;..."
        raise InputError(path, "empty history", line=number, hint=hint)
    return LogLine(columns, [] if history == "NULL" else history.split(";"))


def split_video_info(info: str) -> tuple[str, str, list[str]]:
    """Split `video-id:category:tag1_tag2` into video-id, category and tags.

    Video-ids may contain colons; categories and tags may not. ValueError if there are fewer than
    two colons.
    """
    parts = info.rsplit(":", 2)
    if len(parts) != 3:
        raise ValueError(f"video-info {info[:80]!r} is not video-id:category:tags")
    return parts[0], parts[1], parts[2].split("_")


def checked_line(line: LogLine) -> LogLine:
    """The line itself; ValueError if one of its video-infos is malformed."""
    for info in set(line.infos):
        split_video_info(info)
    return line
