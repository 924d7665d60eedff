"""Which clicks are kept and how they are split, worked out by hand."""

from datetime import datetime, timedelta, timezone

from candgen.console import InputError
from candgen.data.splits import Clicks, held_out_users, split_clicks, thin_out

import numpy as np
import pytest


def clicks_of(*histories):
    """Clicks of users 0, 1, ..., one a second."""
    users = [user for user, history in enumerate(histories) for _ in history]
    items = [item for history in histories for item in history]
    times = [second * 1_000_000 for history in histories for second in range(len(history))]
    return Clicks(np.array(users, np.int32), np.array(items, np.int32), np.array(times, np.int64))


def items_of(clicks, num_users):
    return [clicks.items[clicks.users == user].tolist() for user in range(num_users)]


def lists_of(split):
    return {name: lengths.tolist() for name, lengths in split.items()}


def test_consecutive_repeats():
    """The first of each stays; the first click of the next user is no repeat."""
    clicks, dropped = thin_out(clicks_of([5, 5, 5, 6, 5], [5, 7]), 1, 1, drop_repeats=True)
    assert items_of(clicks, 2) == [[5, 6, 5], [5, 7]]
    assert clicks.times.tolist() == [0, 3_000_000, 4_000_000, 0, 1_000_000]
    assert dropped == {"consecutive repeats": 2, "--min_clicks": 0}
    clicks, dropped = thin_out(clicks_of([5, 5], [5]), 1, 1, drop_repeats=False)
    assert items_of(clicks, 2) == [[5, 5], [5]] and not any(dropped.values())


def test_rare_users_and_items_are_dropped_until_there_are_none():
    """Item 9 is rare; without it user 2 is rare; without that one item 3 is rare."""
    histories = [1, 2, 1, 2], [2, 1, 3], [9, 3]
    clicks, dropped = thin_out(clicks_of(*histories), 2, 2, drop_repeats=False)
    assert items_of(clicks, 3) == [[1, 2, 1, 2], [2, 1], []]
    assert dropped == {"consecutive repeats": 0, "--min_clicks": 3}
    clicks, _ = thin_out(clicks_of(*histories), 3, 1, drop_repeats=False)  # of users alone
    assert items_of(clicks, 3) == [[1, 2, 1, 2], [2, 1, 3], []]


def test_a_dropped_item_makes_a_repeat_and_that_a_rare_user():
    """1 9 1 is 1 1 without the rare 9, which is one click."""
    clicks, dropped = thin_out(clicks_of([1, 9, 1], [1, 2, 1], [2, 1, 2]), 2, 2, True)
    assert items_of(clicks, 3) == [[], [1, 2, 1], [2, 1, 2]]
    assert dropped == {"consecutive repeats": 1, "--min_clicks": 2}


def test_nothing_is_left():
    clicks, dropped = thin_out(clicks_of([1, 2], [3]), 3, 3, True)
    assert len(clicks) == 0 and dropped == {"consecutive repeats": 0, "--min_clicks": 3}
    assert len(thin_out(clicks_of(), 1, 1, True)[0]) == 0


def test_leave_one_out():
    """Users with fewer than three clicks are for training alone."""
    clicks = clicks_of([1], [1, 2], [1, 2, 3], [], [1, 2, 3, 4, 5])
    assert lists_of(split_clicks(clicks, 5, "last")) == {
        "train.txt": [1, 2, 1, 0, 3],
        "valid.txt": [0, 0, 2, 0, 4],
        "test.txt": [0, 0, 3, 0, 5],
        "infer.txt": [1, 2, 3, 0, 5],
    }


def test_a_date():
    """After 2 s; the clicks are at 0, 1, 2, ... s of each user."""
    clicks = clicks_of([1], [1, 2], [1, 2, 3], [], [1, 2, 3, 4, 5])
    clicks = Clicks(np.r_[clicks.users, 5], np.r_[clicks.items, 6], np.r_[clicks.times, 9_000_000])
    expected = {
        "train.txt": [1, 1, 1, 0, 1, 0],  # without the last click before
        "valid.txt": [0, 2, 2, 0, 2, 0],  # of users with two clicks before
        "test.txt": [0, 0, 3, 0, 3, 0],  # and the first click after; user 5 has none before
        "infer.txt": [1, 2, 3, 0, 5, 1],
    }
    date = datetime(1970, 1, 1, second=2, tzinfo=timezone.utc)
    in_india = datetime(1970, 1, 1, 5, 30, 2, tzinfo=timezone(timedelta(hours=5.5)))
    assert lists_of(split_clicks(clicks, 6, date)) == expected
    assert lists_of(split_clicks(clicks, 6, in_india)) == expected


def test_no_split():
    clicks = clicks_of([1], [], [1, 2])
    assert lists_of(split_clicks(clicks, 3, "none")) == {
        "train.txt": [1, 0, 2],
        "infer.txt": [1, 0, 2],
    }


@pytest.mark.parametrize("second", [0, 3])
def test_a_date_outside(second):
    """The first click is at 0 s, the last at 2 s: neither before nor after would be any."""
    date = datetime(1970, 1, 1, second=second, tzinfo=timezone.utc)
    with pytest.raises(InputError, match="1970-01-01T00:00:00 to 1970-01-01T00:00:02"):
        split_clicks(clicks_of([1, 2, 3]), 1, date)


@pytest.mark.parametrize(
    "split", ["last", datetime(1970, 1, 1, microsecond=5, tzinfo=timezone.utc)]
)
def test_no_user_has_enough_clicks(split):
    with pytest.raises(InputError, match=r"valid.txt would have no line"):
        split_clicks(clicks_of([1, 2], [1, 2]), 2, split)


def test_held_out_users():
    """Decided by the id alone; who has one click has no history, and is in no log but infer.txt."""
    names = [f"U{number}" for number in range(1000)]
    held_out = held_out_users(names, 0.1)
    assert 70 < held_out.sum() < 130
    assert (held_out_users(names[500:], 0.1) == held_out[500:]).all()
    assert not held_out_users(names, 0).any() and len(held_out_users([], 0.5)) == 0
    clicks = clicks_of([1, 2, 3], [1, 2], [1], [2])
    held_out = np.array([False, True, True, False])
    assert lists_of(split_clicks(clicks, 4, "none", held_out)) == {
        "train.txt": [3, 0, 0, 1],
        "test.txt": [0, 2, 0, 0],
        "infer.txt": [3, 2, 1, 1],
    }
