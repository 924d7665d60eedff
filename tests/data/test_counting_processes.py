"""Ranges of plain files, and the processes that count them."""

import contextlib
import errno
import gzip
import multiprocessing
import os
import signal
import subprocess
import sys
from unittest import mock

from candgen.console import InputError
from candgen.data import counting_processes
from candgen.data.counting import count_log
from candgen.data.counting_processes import count_ranges, divide_files
from candgen.data.counts import Counts
from candgen.data.logs import checked_line, read_log
from conftest import (
    LINES,
    ROOT,
    log_text,
    small_log,
)

import pytest
from data_helpers import (
    LOG,
)
from hypothesis import example, given
from hypothesis import strategies as st

# lines that are unusual, and lines that are not of a log
ODD = st.text("ab;:\t\r\0\ufeffü", max_size=12) | st.sampled_from(
    [
        "u\tp\tc\tNULL\tm",
        "u\tp\tc\tNULLE;b\tm",
        "u;\t;\tc\tv:a:b;;w\tm;",
        "\t\t\tv\t",
        "",
        "u\tp\tc\t\tm",
        "u\r\tp\tc\tv\tm\r",
        "u\tp\tc\tv:a:b;w:a:b_c\tm",
        "u\tp\tc\tv:a:b\tm\r",
    ]
)


@given(lines=st.lists(LINES, max_size=10), parts=st.integers(1, 5), end=st.sampled_from(["", "\n"]))
def test_parts_of_a_file_are_the_file(tmp_path_factory, lines, parts, end):
    """Ranges begin and end with lines, cover the file, and their counts add up to its counts."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    text = (log_text(lines).rstrip("\n") + end).encode()
    path.write_bytes(text)
    shares = divide_files([str(path)], parts)
    ranges = [(part.start, part.end) for share in shares for part in share]
    assert len(ranges) <= parts and b"".join(text[start:stop] for start, stop in ranges) == text
    assert all(text[:start].endswith(b"\n") for start, _ in ranges if start)
    with mock.patch.object(counting_processes, "CHUNK_BYTES", 40):
        merged = Counts()
        for share in shares:
            merged.merge(count_ranges(share))
    assert vars(merged) == vars(count_log(str(path))[0])


@given(st.lists(ODD, max_size=8), st.sampled_from(["", "\n"]))
@example(
    ["\ufeffu\tp\tc\tv:a:b\tm", "\ufeffu\tp\tc\tv:a:b\tm"], "\n"
)  # the marks belong to no value
@example(["u\tp\tc\tv\tm", "u\tp"], "\n")  # the first malformed line is named, of whichever kind
def test_lines_at_once_are_lines_one_by_one(tmp_path_factory, lines, end):
    """A plain file, counted in chunks, and its gzip, line by line: same counts, same errors."""
    folder = tmp_path_factory.mktemp("log")
    content = "\n".join(lines).encode() + end.encode()
    (folder / "log").write_bytes(content)
    (folder / "log.gz").write_bytes(gzip.compress(content))

    def found(name):
        try:
            return vars(count_log(str(folder / name))[0])
        except InputError as error:
            return str(error).replace("log.gz:", "log:")

    with mock.patch.object(counting_processes, "CHUNK_BYTES", 7):
        assert found("log") == found("log.gz")


# Parts of joined files: lines, whether a byte-order mark is in front, ends of lines and of the part
PARTS = st.lists(
    st.tuples(
        st.lists(LINES, max_size=3),
        st.booleans(),
        st.sampled_from(["\n", "\r\n"]),
        st.sampled_from([None, "", "\r\n\r\n"]),
    ),
    min_size=1,
    max_size=4,
)


def part_bytes(lines, mark, end, last):
    """One part of joined files, as drawn from PARTS."""
    text = log_text(lines).replace("\n", end)
    if last is not None:
        text = text.removesuffix(end) + last
    return ("\ufeff" * mark + text).encode()


@given(PARTS, st.integers(1, 3))
@example(
    [([], True, "\n", None), ([("u1", "p1", "c1", ["v1:a:s"], "m1")], True, "\n", None)] * 2, 2
)
def test_joined_files(tmp_path_factory, parts, processes):
    """With byte-order marks, CRLF, missing newlines: ranges, lines and joined gzip files agree."""
    folder = tmp_path_factory.mktemp("log")
    contents = [part_bytes(*part) for part in parts]
    (folder / "log").write_bytes(b"".join(contents))
    (folder / "log.gz").write_bytes(b"".join(map(gzip.compress, contents)))

    def line_by_line(name):
        counts = Counts()
        counts.add([*read_log(str(folder / name), checked_line)])
        return vars(counts)

    def in_ranges(name):
        counts = Counts()
        for share in divide_files([str(folder / name)], processes):
            counts.merge(count_ranges(share))
        return vars(counts)

    def found(count, name):
        try:
            return count(name)
        except InputError as error:
            return str(error).replace("log.gz", "log")

    with mock.patch.object(counting_processes, "CHUNK_BYTES", 40):
        expected, packed = found(line_by_line, "log"), found(line_by_line, "log.gz")
        counted = found(in_ranges, "log")
    assert packed == expected
    assert counted == expected or (isinstance(counted, str) and isinstance(expected, str))
    if all(last != "" for *_, last in parts):  # every line has its own end
        plain = log_text([line for lines, *_ in parts for line in lines])
        (folder / "plain").write_text(plain, encoding="utf-8")
        assert expected == line_by_line("plain")


def test_a_range_that_ends_too_early(tmp_path):
    """A file that was shortened after it was divided."""
    path = tmp_path / "log.txt"
    path.write_text(LOG * 9, encoding="utf-8")
    [_, share] = divide_files([str(path)], 2)
    os.truncate(path, 10)
    with pytest.raises(InputError, match="changed while it was read"):
        count_ranges(share)


def raises(error):
    """A function that raises this."""

    def function(*_, **__):
        raise error

    return function


def no_fork(allowed):
    """os.fork that fails after so many calls."""
    started = []

    def fork(real=os.fork):
        if len(started) == allowed:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(None)
        return real()

    return fork


@pytest.mark.parametrize(
    "function, replacement, reason",
    [
        ("os.fork", no_fork(0), "Resource temporarily unavailable"),
        ("os.fork", no_fork(1), "Resource temporarily unavailable"),
        (
            "multiprocessing.synchronize.SemLock.__init__",
            raises(OSError(errno.ENOSPC, "no /dev/shm")),
            "no /dev/shm",
        ),
        (
            "threading.Thread.start",
            raises(RuntimeError("can't start new thread")),
            "can't start new thread",
        ),
    ],
    ids=["no process", "one process", "no semaphores", "no threads"],
)
def test_one_process_counts_where_no_other_can_be_started(
    tmp_path, monkeypatch, capsys, function, replacement, reason
):
    """A warning names the cause; processes that have been started are ended."""
    path = tmp_path / "log.txt"
    path.write_text(small_log(50), encoding="utf-8")
    expected, _ = count_log([str(path)])
    with monkeypatch.context() as patched:
        patched.setattr(function, replacement)
        counts, _ = count_log([str(path)], processes=3)
    assert vars(counts) == vars(expected) and counts.lines == 50
    [line] = capsys.readouterr().err.splitlines()
    assert f"warning: no further process can be started ({reason}): counting in one" in line
    assert multiprocessing.active_children() == []


COUNTING = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
import data_processor
from candgen.console import run_script
from candgen.data import counting_processes
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored here

def count_ranges(ranges, max_user_clicks=None, progress=False):
    print(os.getpid(), flush=True)
    is_worker = ranges[0].start > 0
    {work}
    return counting_processes.Counts()

count_ranges.__module__ = "candgen.data.counting_processes"
counting_processes.count_ranges = count_ranges
sys.argv = ["data_processor.py", "--train_set_path=log.txt", "--output_dir=no", "--processes=2"]
run_script(data_processor.main)
"""


def start_counting(folder, work):
    """data_processor.py in a process group of its own, with two processes that do this work."""
    (folder / "log.txt").write_text(LOG * 100, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTING.format(root=str(ROOT), work=work)],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert len({process.stdout.readline(), process.stdout.readline()}) == 2
    return process


def stderr_at_end(process):
    """Its stderr, once all processes have ended: each of them holds the other end of the pipe."""
    try:
        return process.communicate(timeout=30)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_killed_process_is_noticed(tmp_path):
    """Linux kills the largest process when memory is short."""
    process = start_counting(tmp_path, "os._exit(9) if is_worker else time.sleep(1)")
    stderr = stderr_at_end(process)
    assert process.returncode == 2 and stderr.count("\n") == 1 and "out of memory" in stderr
    assert not (tmp_path / "no").exists()


def test_processes_end_with_the_first_one(tmp_path):
    """Also when that is killed in the middle of their work."""
    process = start_counting(tmp_path, "time.sleep(1000)")
    process.kill()
    assert stderr_at_end(process) == "" and process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("group", [False, True], ids=["the first process", "all, as Ctrl-C does"])
def test_interrupted_while_counting(tmp_path, group):
    """The other processes are not waited for."""
    process = start_counting(tmp_path, "time.sleep(1000)")
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    assert stderr_at_end(process) == "data_processor.py: interrupted\n"
    assert process.returncode == 130
