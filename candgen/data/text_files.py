"""Text files as lines: plain or gzip, from disk or standard input, with readable errors."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import re
import stat
import sys
import zlib
from collections.abc import Iterator
from itertools import accumulate
from typing import IO

from candgen.console import InputError, Progress, describe_error
from candgen.data.log_files import Paths, log_files, log_name

MAX_LINE = 1 << 28  # bytes; ten million clicks take less
LINES_PER_UPDATE = 1000  # of the progress bar
GZIP_MAGIC = b"\x1f\x8b"
# {first bytes of other kinds of files: (name, command to unpack)}
OTHER_KINDS = {
    rb"BZh[1-9]1AY": ("bzip2", "bunzip2 -c"),
    rb"\xfd7zXZ": ("xz", "xz -dc"),
    rb"PK\x03\x04": ("zip", "unzip -p"),
    rb"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
    rb"\xff\xfe|\xfe\xff": ("UTF-16", "iconv -f UTF-16 -t UTF-8"),
}


def text_lines(paths: Paths, progress: bool = True) -> Iterator[tuple[str, int, str]]:
    """Yield (file, line number, text) of each line that is not empty.

    Raises
    ------
    InputError
        If a file is missing or not UTF-8.
    """
    for path, number, raw in raw_lines(paths, progress):
        text = decode_line(raw, path, number)
        if text:
            yield path, number, text


def raw_lines(paths: Paths, progress: bool = True) -> Iterator[tuple[str, int, bytes]]:
    """Yield (file, line number, bytes) of each line of a log.

    Raises
    ------
    InputError
        If a file is missing or damaged, or is written to meanwhile.
    """
    files = log_files(paths)
    # The size of a pipe is unknown, and with it the total: then there is no progress bar.
    sizes = [os.path.getsize(file) if os.path.isfile(file) else math.inf for file in files]
    *begins, total = accumulate(sizes, initial=0)
    with Progress(
        f"reading {log_name(paths)}", total if total < math.inf else None, progress
    ) as bar:
        for path, begin in zip(files, begins):
            yield from _file_lines(path, bar, begin)


def _file_lines(path: str, bar: Progress, begin: float) -> Iterator[tuple[str, int, bytes]]:
    """Lines of one file, which begins after `begin` bytes of the log."""
    number = 1
    is_file = os.path.isfile(path)
    with open_log(path) as stream:
        file = getattr(stream, "fileobj", stream)  # the packed file of a gzip
        state = _open_file_state(file)
        try:
            while raw := stream.readline(MAX_LINE):
                if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                    problem = f"a line of {MAX_LINE} bytes or more"
                    raise InputError(path, problem, line=number, hint="is this a log?")
                yield path, number, raw
                if is_file and number % LINES_PER_UPDATE == 0:
                    bar.at(begin + file.tell())
                number += 1
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            problem = f"damaged gzip data ({describe_error(error)})"
            hint = "copy the file again; if parts were joined, all must be gzip"
            raise InputError(path, problem, line=number, hint=hint) from error
        except OSError as error:
            hint = "check the disk, or copy the file again"
            raise InputError(path, error.strerror, line=number, hint=hint) from error
        if _open_file_state(file) != state:
            raise changed_error(path)


def open_log(path: str) -> IO[bytes]:
    """Open a plain or gzip file for reading bytes; `-` is standard input."""
    if path == "-" and sys.stdin.buffer.closed:
        raise InputError(path, "standard input can be read once only", hint="give a file")
    try:
        if path == "-":
            stream = sys.stdin.buffer
            _wait_for_input(stream)
        else:
            stream = open(path, "rb")  # noqa: SIM115 - the caller closes it
        start = stream.peek(8)
    except OSError as error:
        raise InputError(path, error.strerror, hint="give the path of a file") from error
    for magic, (kind, command) in OTHER_KINDS.items():
        if re.match(magic, start):
            hint = f"give plain UTF-8 text or gzip: {command} FILE | ... =-"
            raise InputError(path, f"a {kind} file", hint=hint)
    return gzip.open(stream) if start.startswith(GZIP_MAGIC) else stream


def _wait_for_input(stream: IO[bytes]) -> None:
    """Let reads of standard input wait, even if its writer has left it in non-blocking mode."""
    with contextlib.suppress(OSError):  # a stream in memory
        os.set_blocking(stream.fileno(), True)


def _open_file_state(file: IO[bytes]) -> tuple[int, int] | None:
    """(size, time of the last change in ns) of an open file; None if it is not a regular one."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # a stream in memory
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def changed_error(path: str) -> InputError:
    """The error for a file that was written to, or replaced, while it was read."""
    hint = "give a copy that no other process writes to"
    return InputError(path, "changed while it was read", hint=hint)


def decode_line(raw: bytes, path: str, number: int | None) -> str:
    """Text of a line, without its end and without byte-order marks in front.

    Any line may begin with a byte-order mark: it is the first one of a file that was joined.
    InputError for a line that is not UTF-8 or has a carriage return within.
    """
    try:
        text = raw.decode("utf-8").rstrip("\r\n").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 ({error.reason} at byte {error.start})"
        hint = "convert the file with iconv -t UTF-8"
        raise InputError(path, problem, line=number, hint=hint) from error
    if "\r" in text:
        hint = "remove it, or, if it should end the line, convert the file: tr '\\r' '\\n'"
        raise InputError(path, "a carriage return within the line", line=number, hint=hint)
    return text
