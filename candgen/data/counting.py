"""Counting a log: by several processes, and line by line where an error has to be named."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool

from candgen.console import InputError
from candgen.data.counting_processes import count_shares, divide_files
from candgen.data.counts import Counts
from candgen.data.log_files import Paths, log_files
from candgen.data.logs import BadLines, all_bad_lines, checked_line, read_log
from candgen.data.text_files import changed_error


def count_log(
    paths: Paths,
    processes: int = 1,
    bad_lines: BadLines | None = None,
    max_user_clicks: int | None = None,
) -> tuple[Counts, dict[str, Counter[str]]]:
    """Count the values of a log.

    The log is read once; again if a line is malformed, to name the line or to leave it out, and if
    `max_user_clicks` is exceeded by users with several lines.

    Parameters
    ----------
    paths : str or sequence of str
        See `log_files`.
    processes : int
        Number of processes that count files.
    bad_lines : BadLines, optional
        Receives malformed lines; by default they raise.
    max_user_clicks : int, optional
        Use only the last clicks of each user, over all lines of the user; by default all.

    Returns
    -------
    counts : Counts
    by_feature : dict of str to Counter
        {feature: {value: count}}

    Raises
    ------
    InputError
        If a line is malformed, or a file is missing, damaged, or written to meanwhile.
    """
    files = log_files(paths)
    if all(map(os.path.isfile, files)):
        states = [_file_state(file) for file in files]
        counted = _count_well_formed(files, processes, max_user_clicks)
        for file, state in zip(files, states):
            if _file_state(file) != state:
                raise changed_error(file)
        if counted is not None:
            return counted
    counts = Counts(max_user_clicks)
    for line in read_log(files, checked_line, bad_lines):
        counts.add([line])
    counts = limit_users(counts, files)
    return counts, counts.by_feature()


def _count_well_formed(
    files: Sequence[str], processes: int, max_user_clicks: int | None
) -> tuple[Counts, dict[str, Counter[str]]] | None:
    """Count by several processes; None if a line is malformed or a file cannot be read."""
    try:
        counts = count_shares(divide_files(files, processes), max_user_clicks)
        counts = limit_users(counts, files)
        return counts, counts.by_feature()
    except BrokenProcessPool as error:
        raise InputError(
            None,
            "a process that counts was killed, most likely since the machine is out of memory",
            hint="give a smaller --processes or a larger machine",
        ) from error
    except (InputError, OSError, ValueError):
        return None


def limit_users(counts: Counts, files: Sequence[str]) -> Counts:
    """Apply --max_user_clicks over all lines of a user, to counts that apply it to each line.

    If users exceed the limit the log is read again: how many clicks of a user are too many is known
    only at its end.
    """
    excess = counts.users_over_limit()
    if not excess:
        return counts
    counts.by_feature()  # ValueError for a malformed line, which the second reading leaves out
    for file in files:
        if not os.path.isfile(file):
            raise InputError(
                file,
                f"user {min(excess)[:80]!r} fills several lines, with more clicks than "
                f"--max_user_clicks={counts.max_user_clicks}, and it can be read once only",
                hint="give a file",
            )
    limited = Counts(counts.max_user_clicks, excess)
    for line in read_log(files, checked_line, all_bad_lines()):
        limited.add([line])
    return limited


def _file_state(path: str) -> tuple[int, int, int] | None:
    """Inode, size and time of the last change of a file; None if it is missing."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
