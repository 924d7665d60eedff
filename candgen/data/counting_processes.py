"""Counting plain files in byte ranges, by several processes.

The processes are forked, which is safe since paddle is not loaded here; where no process can be
started the log is counted by this one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain

from candgen.console import Progress, describe_error, logger
from candgen.data.counts import Counts
from candgen.data.logs import checked_line, parse_line, read_log
from candgen.data.text_files import GZIP_MAGIC, MAX_LINE, changed_error

CHUNK_BYTES = 1 << 16  # of lines that are counted at a time: they stay in the cache


@dataclass(frozen=True)
class FileRange:
    """Whole lines of a file.

    Attributes
    ----------
    path : str
    start, end : int
        Bytes start .. end - 1.
    whole : bool
        True for a file that cannot be divided: all of it, whatever `start` and `end`.
    """

    path: str
    start: int = 0
    end: int = 0
    whole: bool = False


def divide_files(files: Sequence[str], count: int) -> list[list[FileRange]]:
    """Divide the files of a log into `count` shares, of which empty ones are left out.

    Plain files are cut into ranges of about the same size, other files are distributed.
    """
    shares: list[list[FileRange]] = [[] for _ in range(count)]
    for number, path in enumerate(files):
        edges = _line_edges(path, count)
        if edges is None:
            shares[number % count].append(FileRange(path, whole=True))
            continue
        for share, start, end in zip(shares, edges, edges[1:]):
            if end > start:
                share.append(FileRange(path, start, end))
    return [share for share in shares if share]


def _line_edges(path: str, count: int) -> list[int] | None:
    """Offsets that cut a plain file into `count` ranges of whole lines; None for other files."""
    with open(path, "rb") as stream:
        start = stream.peek(2)[:2]
        # A first byte beyond ASCII may be that of a byte-order mark or of another kind of file.
        if start == GZIP_MAGIC or not start[:1].isascii():
            return None
        size = os.fstat(stream.fileno()).st_size
        edges = [0]
        for number in range(1, count):
            stream.seek(size * number // count)
            stream.readline(MAX_LINE)
            edges.append(stream.tell())
        return [*edges, size]


def count_shares(shares: Sequence[Sequence[FileRange]], max_user_clicks: int | None) -> Counts:
    """Count a log: its first share by this process, each other one by a process of its own.

    Raises
    ------
    InputError, ValueError, OSError
        If a line is malformed or a file cannot be read.
    concurrent.futures.process.BrokenProcessPool
        If a process was killed.
    """
    if len(shares) <= 1:
        return count_ranges([*chain.from_iterable(shares)], max_user_clicks, progress=True)
    try:
        pool, futures = _start_processes(shares[1:], max_user_clicks)
    except (ImportError, OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or describe_error(error)
        logger.warning(
            f"no further process can be started ({reason}): counting in one process; raise the "
            "limit on processes, or give --processes=1"
        )
        return count_ranges([*chain.from_iterable(shares)], max_user_clicks, progress=True)
    with pool:
        try:
            counts = count_ranges(shares[0], max_user_clicks, progress=True)
            for future in futures:
                counts.merge(future.result())
        except BaseException:  # a malformed line, Ctrl-C: the other results are not needed
            _kill_processes()
            raise
    return counts


def _start_processes(
    shares: Sequence[Sequence[FileRange]], max_user_clicks: int | None
) -> tuple[ProcessPoolExecutor, list[Future]]:
    """Start a process for each share.

    Raises
    ------
    ImportError, OSError, RuntimeError
        If semaphores or shared memory are missing, or the limit on processes is reached.
    """
    # Each process has a thread of its own, the executor two; and some to spare.
    _check_threads(2 * len(shares) + 4)
    pool = ProcessPoolExecutor(
        len(shares),
        mp_context=multiprocessing.get_context("fork"),
        initializer=_initialize_process,
    )
    try:
        futures = [pool.submit(count_ranges, share, max_user_clicks) for share in shares]
    except BaseException:
        _kill_processes()
        pool.shutdown(wait=False)
        raise
    return pool, futures


def _check_threads(count: int) -> None:
    """RuntimeError if this process cannot start `count` threads; processes have the same limit.

    An executor starts one of its threads from within another one; if that fails, it prints a
    traceback and its futures are never done.
    """
    stop = threading.Event()
    started = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=stop.wait, daemon=True)
            thread.start()
            started.append(thread)
    finally:
        stop.set()
        for thread in started:
            thread.join()


def _initialize_process() -> None:
    """Leave Ctrl-C to the first process, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    with contextlib.suppress(RuntimeError):  # the limit on threads is reached
        threading.Thread(target=end_with_parent, daemon=True).start()


def _kill_processes() -> None:
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def count_ranges(
    ranges: Sequence[FileRange], max_user_clicks: int | None = None, progress: bool = False
) -> Counts:
    """Count some ranges of a log.

    Raises
    ------
    InputError, ValueError, OSError
        If a line is malformed or a file cannot be read.
    """
    counts = Counts(max_user_clicks)
    for part in ranges:
        if part.whole:
            for line in read_log(part.path, checked_line, progress=progress):
                counts.add([line])
        else:
            size = part.end - part.start
            with Progress(f"counting {part.path}", size, progress) as bar:
                _count_range(counts, part, bar)
    return counts


def _count_range(counts: Counts, part: FileRange, bar: Progress) -> None:
    """Count a range of a plain file, some lines at a time."""
    position = part.start
    with open(part.path, "rb") as stream:
        stream.seek(position)
        while position < part.end:
            raw = stream.read(min(CHUNK_BYTES, part.end - position))
            if not raw:  # the file has become shorter
                raise changed_error(part.path)
            if not raw.endswith(b"\n"):
                raw += stream.readline(MAX_LINE)
            if len(raw) >= MAX_LINE:
                raise ValueError(f"a line of {MAX_LINE} bytes or more")
            position += len(raw)
            lines = [parse_line(each, part.path, None) for each in raw.split(b"\n")]
            counts.add([line for line in lines if line is not None])
            bar.at(position - part.start)
