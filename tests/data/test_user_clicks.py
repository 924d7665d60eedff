"""Warnings about heavy users and users on several lines."""

from candgen.data.training_log import TrainingLog
from candgen.data.user_clicks import RepeatedUsers
from conftest import SMALL_DICT
from reader import Reader

import pytest
from data_helpers import cut_of, users_of
from hypothesis import given
from hypothesis import strategies as st


def warnings_of(write, capsys, text, block=99, **options):
    """Warnings of `TrainingLog`."""
    TrainingLog(Reader(SMALL_DICT), [write(text)], block, cut_of(), **options)
    lines = [line.partition(": warning: ")[2] for line in capsys.readouterr().err.splitlines()]
    return [line.partition("log.txt: ")[2] for line in lines if line]


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
def test_users_on_several_lines(write, capsys, block):
    """If more than a tenth of the lines are theirs; without lines that lack clicks or an id."""
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


@given(
    blocks=st.lists(st.lists(st.integers(0, 300).map(str) | st.sampled_from(["", "NULL"]))),
)
def test_repeated_users(blocks):
    """The first user with an earlier line, in whatever blocks the lines come."""
    users = RepeatedUsers("log")
    warned = []
    users._warn = warned.append
    seen, expected = set(), []
    for block in blocks:
        users.add(block)
        for user in block:
            if user in seen:
                expected.append(user)
            elif user not in ("", "NULL"):
                seen.add(user)
    assert warned == expected[:1]


def test_repeated_users_in_many_blocks(capsys):
    """Arrays are merged: the last line repeats each of them, and none is forgotten."""
    for repeated in (0, 1, 499, 998, 999):
        users = RepeatedUsers("log")
        for block in range(1000):
            users.add([f"u{block}", f"v{block}"])
        assert capsys.readouterr().err == ""
        users.add([f"v{repeated}"])
        assert f"log: user 'v{repeated}' has several lines" in capsys.readouterr().err
