"""candgen.data.logs"""

import contextlib
import gzip
import math
import os
import re
import stat
import sys
import zlib
from itertools import accumulate
from typing import NamedTuple

from candgen.console import InputError, Progress, describe_error, logger
from candgen.data.dictionary import LOG_COLUMNS, PROFILE_FEATURES
from candgen.data.log_files import log_files, named

HISTORY = LOG_COLUMNS.index("history")
PROFILE_COLUMNS = [LOG_COLUMNS.index(feature) for feature in PROFILE_FEATURES]
MAX_LINE = 1 << 28  # bytes; ten million clicks take less
KINDS = {
    rb"BZh[1-9]1AY": ("bzip2", "bunzip2 -c"),
    rb"\xfd7zXZ": ("xz", "xz -dc"),
    rb"PK\x03\x04": ("zip", "unzip -p"),
    rb"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
    rb"\xff\xfe|\xfe\xff": ("UTF-16", "iconv -f UTF-16 -t UTF-8"),
}  # how files of other kinds begin


class LogLine(NamedTuple):
    """One parsed line: its columns as strings, and the video-infos of its history, oldest first."""

    columns: list
    infos: list


class BadLines:
    """Counts malformed lines: up to `limit` of them are left out and named on stderr, one more is an error."""

    def __init__(self, limit=0, quiet=False):
        self.limit, self.count, self._quiet = limit, 0, quiet

    def add(self, error):
        """Take note of one, an `InputError`; raises it if it is one too many."""
        self.count += 1
        if self.count > self.limit:
            raise error
        if not self._quiet:
            logger.info(f"left out: {error}")


def open_log(path):
    """Open a log for reading bytes: a file, gzip by its first bytes, `-` for standard input."""
    if path == "-" and sys.stdin.buffer.closed:
        raise InputError(path, "standard input can be read once only", hint="give a file")
    try:
        stream = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115 - the caller closes it
        if path == "-":
            _wait_for_input(stream)
        start = stream.peek(8)
    except OSError as error:
        raise InputError(path, error.strerror, hint="give the path of a file") from error
    for magic, (kind, unpack) in KINDS.items():
        if re.match(magic, start):
            raise InputError(
                path,
                f"a {kind} file",
                hint=f"give plain UTF-8 text or gzip: {unpack} FILE | ... =-",
            )
    return gzip.open(stream) if start.startswith(b"\x1f\x8b") else stream


def _wait_for_input(stream):
    """Let reads of standard input wait, also where its writer left it in non-blocking mode."""
    with contextlib.suppress(OSError):  # of a stream in memory
        os.set_blocking(stream.fileno(), True)


def raw_lines(paths, progress=True):
    """Yield (file, line number, bytes) of a log, with a bar of `progress`; InputError for a file that is missing or
    damaged, or that is written to meanwhile."""
    files = log_files(paths)
    sizes = [
        os.path.getsize(file) if os.path.isfile(file) else math.inf for file in files
    ]  # of a pipe nobody knows
    ends = [*accumulate(sizes, initial=0)]
    with Progress(
        f"reading {named(paths)}", ends[-1] if ends[-1] < math.inf else None, progress
    ) as bar:
        for path, before in zip(files, ends):
            yield from _raw_lines(path, bar, before)


def _raw_lines(path, bar, before):
    number, seekable = 1, os.path.isfile(path)
    with open_log(path) as stream:
        file = getattr(stream, "fileobj", stream)  # of a gzip: the packed file
        state = _state(file)
        try:
            while raw := stream.readline(MAX_LINE):
                if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                    raise InputError(
                        path,
                        f"a line of {MAX_LINE} bytes or more",
                        line=number,
                        hint="is this a log?",
                    )
                yield path, number, raw
                if seekable and not number % 1000:
                    bar.at(before + file.tell())
                number += 1
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                path,
                f"damaged gzip data ({describe_error(error)})",
                line=number,
                hint="copy the file again; if parts were joined, all must be gzip",
            ) from error
        except OSError as error:
            raise InputError(
                path, error.strerror, line=number, hint="check the disk, or copy the file again"
            ) from error
        if _state(file) != state:
            raise changed_error(path)


def _state(file):
    """(size, time of the last change in ns) of an open file; None if it is not a regular one."""
    try:
        found = os.fstat(file.fileno())
    except OSError:  # a stream in memory
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def changed_error(path):
    """The error for a file that another process has written to, or replaced, while it was read."""
    return InputError(
        path, "changed while it was read", hint="give a copy that no other process writes to"
    )


def text_lines(paths, progress=True):
    """Yield (file, line number, text) of each line of files that is not empty; InputError for one that is not UTF-8."""
    for path, number, raw in raw_lines(paths, progress):
        text = _decoded(raw, path, number)
        if text:
            yield path, number, text


def read_catalogue(paths):
    """Yield the video-infos of files with one a line; InputError for a line that is none."""
    for path, number, info in text_lines(paths):
        try:
            if "\t" in info or ";" in info or "\0" in info or not split_video_info(info)[0]:
                raise ValueError(f"{info[:80]!r} is not one video-info")
        except ValueError as error:
            raise InputError(
                path, str(error), line=number, hint="write video-id:category:tag1_tag2, one a line"
            ) from error
        yield info


def read_log(paths, decode, bad_lines=None, progress=True):
    """Yield decode(LogLine) of each line of a log that is not empty.

    Parameters
    ----------
    paths : of plain or gzip files, as in `log_files`.
    decode : function that raises ValueError for a video-info that is malformed.
    bad_lines : BadLines, which takes malformed lines; None: they raise.
    progress : whether a terminal is shown how far it is.

    Raises
    ------
    InputError
        For a missing file, and for a malformed line: a column too many or too few, bytes that are not UTF-8, a NUL
        byte, an empty history, a video-info without two colons.
    """
    bad_lines = bad_lines or BadLines()
    for path, number, raw in raw_lines(paths, progress):
        try:
            line = parse_line(raw, path, number)
            if line is None:
                continue
            decoded = decode(line)
        except ValueError as error:
            bad_lines.add(
                InputError(
                    path,
                    describe_error(error),
                    line=number,
                    hint="separate clicks by ';' and write NULL for an unknown category or tag",
                )
            )
        except InputError as error:
            bad_lines.add(error)
        else:
            yield decoded


def _decoded(raw, path, number):
    """Text of the bytes of a line, without its end and without a byte-order mark in front.

    Any line may have one: each part of joined files begins with it. InputError for a line that is not
    UTF-8, or has a carriage return within.
    """
    try:
        text = raw.decode("utf-8").rstrip("\r\n").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            path,
            f"not UTF-8 ({error.reason} at byte {error.start})",
            line=number,
            hint="convert the file with iconv -t UTF-8",
        ) from error
    if "\r" in text:
        raise InputError(
            path,
            "a carriage return within the line",
            line=number,
            hint="remove it, or, if it should end the line, convert the file: tr '\\r' '\\n'",
        )
    return text


def parse_line(raw, path, number):
    """Split the bytes of one line into a `LogLine`; None for an empty line, InputError for a malformed one."""
    text = _decoded(raw, path, number)
    if not text:
        return None
    if "\0" in text:
        raise InputError(
            path,
            "a NUL byte",
            line=number,
            hint="is this a log, was it cut off by a crash? Remove the line",
        )
    columns = text.split("\t")
    if len(columns) != len(LOG_COLUMNS):
        fix = f"write {', '.join(LOG_COLUMNS)}, with tabs between"
        if len(columns) == 2 * len(LOG_COLUMNS) - 1:
            fix = "it looks like two lines: end each part with a newline before joining them"
        raise InputError(
            path, f"{len(columns)} columns instead of {len(LOG_COLUMNS)}", line=number, hint=fix
        )
    history = columns[HISTORY]
    if not history:
        raise InputError(
            path,
            "empty history",
            line=number,
            hint="write NULL for a user without clicks, or video-id:category:tag1_tag2;...",
        )
    return LogLine(columns, [] if history == "NULL" else history.split(";"))


def split_video_info(info):
    """Split `video-id:category:tag1_tag2` into (video-id, category, [tag, ...]).

    The last two colons count, so that a video-id may contain some. Raises ValueError.
    """
    parts = info.rsplit(":", 2)
    if len(parts) != 3:
        raise ValueError(f"video-info {info[:80]!r} is not video-id:category:tags")
    return parts[0], parts[1], parts[2].split("_")
