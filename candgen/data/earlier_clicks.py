"""Clicks of earlier logs by user, which are put in front of the clicks of a log."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from candgen.data.dictionary import NO_VALUE


class EarlierClicks:
    """The clicks of each user in earlier logs, oldest first.

    Memory is some 200 bytes a user and 4 bytes a click that is kept.

    Parameters
    ----------
    limit : int, optional
        Known clicks of each user to keep, the last ones; by default all.
    """

    def __init__(self, limit: int | None = None):
        self._limit = limit
        self._known: dict[str, array] = {}  # {user: rows of known videos}
        self._ends_unknown: set[str] = set()  # users whose last click is on an unknown video

    def __len__(self) -> int:
        """Number of users with a click on a known video."""
        return len(self._known)

    def add(self, user: str, rows: Sequence[int]) -> None:
        """Add the clicks of a line, which follow those added before.

        Parameters
        ----------
        user : str
            A line without a user id is of nobody.
        rows : sequence of int
            Rows of a `VideoTable`; 0 for unknown videos.
        """
        if user in NO_VALUE or not rows:
            return
        (self._ends_unknown.discard if rows[-1] else self._ends_unknown.add)(user)
        known = [row for row in rows if row]
        if known:
            kept = self._known.setdefault(user, array("i"))
            kept.extend(known)
            if self._limit is not None:
                del kept[: -self._limit]

    def known(self, user: str) -> Sequence[int]:
        """Rows of the clicks of a user on known videos."""
        return self._known.get(user, ())

    def last(self, user: str) -> int:
        """Row of the last click of a user; 0 for an unknown video, -1 for no click."""
        if user in self._ends_unknown:
            return 0
        return self._known[user][-1] if user in self._known else -1
