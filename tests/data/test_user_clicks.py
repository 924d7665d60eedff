"""Warnings about heavy users and users on several lines."""

import functools

from candgen.data.batches import (
    sliding_windows,
)
from candgen.data.training_log import TrainingLog
from conftest import (
    SMALL_DICT,
)
from reader import Reader

import pytest


@pytest.fixture
def write(tmp_path):
    def write(content, name="log.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def cut_of(window_size=3):
    return functools.partial(sliding_windows, window_size=window_size)


def warnings_of(write, capsys, text, block=99, **options):
    """What `TrainingLog` warns of."""
    TrainingLog(Reader(SMALL_DICT), [write(text)], block, cut_of(), **options)
    lines = [line.partition(": warning: ")[2] for line in capsys.readouterr().err.splitlines()]
    return [line.partition("log.txt: ")[2] for line in lines if line]


def users_of(lines, bot_clicks=0):
    """A log of so many lines of one user each, and of BOT."""
    text = "".join(f"x{user}\t\t\tv1:a:s;v2:a:s\t\n" for user in range(lines))
    return text + ("BOT\t\t\t" + ";".join(["v3:a:s"] * bot_clicks) + "\t\n" if bot_clicks else "")


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_heavy_users_are_named(write, capsys, block):
    """Whether the clicks are on one line or on many, in one block or in several."""
    expected = "user 'BOT' has 6% of all clicks, 6 times the mean of the 100 users"
    [line] = warnings_of(write, capsys, users_of(99, 12), block)
    assert line.startswith(expected) and "--max_user_clicks=N" in line
    scattered = "".join(
        line + "BOT\t\t\tv3:a:s\t\n" * (number % 9 == 0)
        for number, line in enumerate(users_of(99).splitlines(True))
    )
    assert warnings_of(write, capsys, scattered + users_of(0, 1), block)[0].startswith(expected)
    assert warnings_of(write, capsys, users_of(99, 10), block) == []
    assert warnings_of(write, capsys, users_of(48, 90), block) == []
    assert warnings_of(write, capsys, users_of(99, 90), block, max_user_clicks=9) == []


@pytest.mark.parametrize("block", [7, 1000])
def test_users_on_several_lines_are_told(write, capsys, block):
    """Where they are more than a tenth of all lines; lines without clicks or without an id do not count."""
    again = users_of(6)
    [line] = warnings_of(write, capsys, users_of(100) + again, block)
    assert (
        line.startswith("12 of 106 lines are of users with several lines: ")
        and "join the lines" in line
    )
    assert warnings_of(write, capsys, users_of(110) + again, block)[0].startswith("12 of 116 ")
    assert warnings_of(write, capsys, users_of(115) + again, block) == []
    assert (
        warnings_of(write, capsys, users_of(30) + users_of(10), block) == []
    )  # a few lines say nothing
    for user_mask in ("NULL\t\t\tv1:a:s\t\n", "x1\t\t\tNULL\t\n", "x1\t\t\tunknown:a:s\t\n"):
        assert warnings_of(write, capsys, users_of(100) + user_mask * 100, block) == []
