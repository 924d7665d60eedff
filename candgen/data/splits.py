"""Clicks of users as arrays: which of them are kept, and how they are split into logs.

Each log has, of each user, the first clicks up to some number: a split is given by these numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from candgen.console import InputError

import numpy as np

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Clicks:
    """Clicks ordered by user, those of a user by time.

    Attributes
    ----------
    users, items : int array [N]
        Numbers from 0.
    times : int64 array [N]
        Microseconds since 1970, UTC.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def first_and_last(self) -> tuple[str, str]:
        """Times of the first and the last click, UTC, to the second."""
        times = np.array([self.times.min(), self.times.max()], "datetime64[us]")
        return tuple(np.datetime_as_string(times, "s").tolist())

    def select(self, kept: np.ndarray) -> Clicks:
        """The clicks of a mask, bool [N]."""
        return Clicks(self.users[kept], self.items[kept], self.times[kept])


def first_of_repeats(clicks: Clicks) -> np.ndarray:
    """All clicks but those on the video that the user clicked just before, bool [N]."""
    kept = np.ones(len(clicks), bool)
    kept[1:] = np.diff(clicks.users).astype(bool) | np.diff(clicks.items).astype(bool)
    return kept


def frequent(clicks: Clicks, user_clicks: int, item_clicks: int) -> np.ndarray:
    """The clicks of users, and on items, with at least so many clicks, bool [N]."""
    by_user = np.bincount(clicks.users)
    by_item = np.bincount(clicks.items)
    return (by_user[clicks.users] >= user_clicks) & (by_item[clicks.items] >= item_clicks)


def thin_out(
    clicks: Clicks, user_clicks: int, item_clicks: int, drop_repeats: bool
) -> tuple[Clicks, dict[str, int]]:
    """Drop repeats, and rare users and items, until there are none.

    Each may make the other: without a rare item between them, two clicks on one item follow each
    other; and users have fewer clicks once rare items are gone.

    Returns
    -------
    clicks : Clicks
    dropped : dict of str to int
        {reason: clicks}
    """
    dropped = {"consecutive repeats": 0, "--min_clicks": 0}
    before = None
    while before != len(clicks):
        before = len(clicks)
        if drop_repeats:
            clicks = clicks.select(first_of_repeats(clicks))
        dropped["consecutive repeats"] += before - len(clicks)
        without_repeats = len(clicks)
        clicks = clicks.select(frequent(clicks, user_clicks, item_clicks))
        dropped["--min_clicks"] += without_repeats - len(clicks)
    return clicks, dropped


def held_out_users(users: Iterable[str], share: float) -> np.ndarray:
    """A share of the users, decided by their id alone: the same ones in every run, bool [U]."""
    limit = share * 2**32
    return np.array([zlib.crc32(user.encode()) < limit for user in users], bool)


def split_clicks(
    clicks: Clicks, num_users: int, split: str | datetime, held_out: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Split clicks into logs.

    Parameters
    ----------
    clicks : Clicks
    num_users : int
    split : str or datetime
        `last`: see `split_last`; a time: see `split_at`; `none`: see `split_users`.
    held_out : bool array [num_users], optional
        Users who are not trained on, for `none`; nobody if None.

    Returns
    -------
    dict of str to int array [num_users]
        {file: how many of the user's clicks it has, from the first on}; 0: the user has no line.

    Raises
    ------
    InputError
        If a log would have no line.
    """
    counts = np.bincount(clicks.users, minlength=num_users)
    flag = f"--split={split.isoformat() if isinstance(split, datetime) else split}"
    if split == "none":
        lengths = split_users(counts, held_out)
    elif split == "last":
        lengths = split_last(counts)
    else:
        is_before = clicks.times < (split - EPOCH) // timedelta(microseconds=1)
        if is_before.all() or not is_before.any():
            first, last = clicks.first_and_last()
            problem = f"not within the clicks, which are from {first} to {last}"
            raise InputError(flag, problem, hint="give a time between")
        lengths = split_at(counts, np.bincount(clicks.users[is_before], minlength=num_users))
    for name, of_log in lengths.items():
        if not of_log.any():
            problem = f"{name} would have no line: no user has enough clicks"
            raise InputError(flag, problem, hint="give another time, or --split=none")
    return {**lengths, "infer.txt": counts}


def split_users(counts: np.ndarray, held_out: np.ndarray | None) -> dict[str, np.ndarray]:
    """All clicks are for training but those of some users, whose last clicks are the targets of the
    test. Held-out users with one click are in no log: they have no history.

    Parameters
    ----------
    counts : int array [U]
        Clicks of each user.
    held_out : bool array [U], optional
    """
    if held_out is None or not held_out.any():
        return {"train.txt": counts}
    return {
        "train.txt": np.where(held_out, 0, counts),
        "test.txt": np.where(held_out & (counts >= 2), counts, 0),
    }


def split_last(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Leave one out: the last click of a user is the target of the test, the last but one that of
    the validation. Users with fewer than three clicks are in train.txt alone.

    Parameters
    ----------
    counts : int array [U]
        Clicks of each user.
    """
    enough = counts >= 3
    return {
        "train.txt": counts - 2 * enough,
        "valid.txt": np.where(enough, counts - 1, 0),
        "test.txt": np.where(enough, counts, 0),
    }


def split_at(counts: np.ndarray, before: np.ndarray) -> dict[str, np.ndarray]:
    """Split at a time: the target of the test is the first click of a user from then on, that of
    the validation the last one before. Users without a click before are not in the test, users with
    one are not in the validation.

    Parameters
    ----------
    counts, before : int array [U]
        Clicks of each user: all of them, and those before that time.
    """
    several = before >= 2
    return {
        "train.txt": before - several,
        "valid.txt": np.where(several, before, 0),
        "test.txt": np.where((before > 0) & (counts > before), before + 1, 0),
    }
