"""Users of a log: limits on their clicks, warnings about logs that train badly."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from candgen.console import logger
from candgen.data.dictionary import NO_VALUE
from candgen.data.log_warnings import HEAVY_SHARE, MIN_USERS, warn_of_heavy_user

import numpy as np

SEVERAL_LINES_SHARE = 0.1  # of lines of users with several lines: a larger one is a warning


class UserClicks:
    """Which lines of a log belong to the same user, and their clicks, in 16 bytes a line.

    User ids are kept as 64-bit hashes. A line without a user id counts as a user of its own.
    """

    def __init__(self) -> None:
        self._hashes = array("q")
        self._clicks = array("q")
        self._names: dict[int, str] = {}  # of the users that may have a large share of all clicks

    def add(self, users: Sequence[str], clicks: Sequence[int]) -> None:
        """Add lines.

        Parameters
        ----------
        users : sequence of str
            Their user ids.
        clicks : sequence of int
            Their numbers of clicks.
        """
        first_line = len(self._hashes)
        hashes = [
            hash(user) if user not in NO_VALUE else hash((user, line))
            for line, user in enumerate(users, first_line)
        ]
        self._hashes.extend(hashes)
        self._clicks.extend(clicks)
        self._keep_heavy_names(users, hashes, clicks)

    def _keep_heavy_names(
        self, users: Sequence[str], hashes: Sequence[int], clicks: Sequence[int]
    ) -> None:
        """Keep the names of users with a large share of the clicks of these lines.

        Whoever has more than a share of all clicks has more than that share in one call at least.
        """
        _, first, user_of_line = np.unique(
            np.array(hashes, np.int64), return_index=True, return_inverse=True
        )
        is_heavy = np.bincount(user_of_line, clicks) > HEAVY_SHARE * np.sum(clicks)
        self._names.update({hashes[line]: users[line] for line in first[is_heavy]})

    def last_clicks(self, limit: int) -> np.ndarray:
        """How many clicks of each line are among the last `limit` ones of its user, int64 [L]."""
        clicks = np.array(self._clicks, np.int64)
        _, user_of_line = np.unique(np.array(self._hashes, np.int64), return_inverse=True)
        # Clicks of the same user on later lines: with the lines ordered by user, the user's last
        # cumulative count less that of the line.
        order = np.argsort(user_of_line, kind="stable")
        cumulative = np.cumsum(clicks[order])
        end_of_user = np.cumsum(np.bincount(user_of_line, clicks).astype(np.int64))
        later = end_of_user[user_of_line[order]] - cumulative
        result = np.empty_like(clicks)
        result[order] = np.clip(limit - later, 0, clicks[order])
        return result

    def warn(self, path: str) -> None:
        """Warn if one user has a large share of all clicks, or if users have several lines."""
        clicks = np.array(self._clicks, np.int64)
        users, user_of_line = np.unique(np.array(self._hashes, np.int64), return_inverse=True)
        if len(users):
            totals = np.bincount(user_of_line, clicks)
            heaviest = int(totals.argmax())
            name = self._names.get(int(users[heaviest]), "")
            warn_of_heavy_user(path, name, totals[heaviest], clicks.sum(), len(users))
        lines = np.bincount(user_of_line, clicks > 0, len(users))  # with clicks, of each user
        all_lines = int(lines.sum())
        several = int(lines[lines > 1].sum())
        if all_lines >= MIN_USERS and several > SEVERAL_LINES_SHARE * all_lines:
            logger.warning(
                f"{path}: {several} of {all_lines} lines are of users with several lines: each "
                "line is trained on as a user of its own, without the clicks of the user's other "
                "lines, which lowers recall; join the lines of a user into one, oldest click "
                "first, or give the earlier ones as --context_set_path"
            )


class RepeatedUsers:
    """Warns of the first user with several lines in a log that is served.

    User ids are kept as 64-bit hashes, some 80 bytes a user. Each line without a user id is a user
    of its own.

    Parameters
    ----------
    path : str
        Name of the log.
    """

    def __init__(self, path: str):
        self._path = path
        self._seen: set[int] | None = set()  # None after the warning

    def add(self, users: Sequence[str]) -> None:
        """Add lines by their user ids."""
        for user in users:
            if self._seen is None:
                return
            if user in NO_VALUE:
                continue
            if hash(user) in self._seen:
                self._seen = None
                self._warn(user)
            else:
                self._seen.add(hash(user))

    def _warn(self, user: str) -> None:
        logger.warning(
            f"{self._path}: user {user[:80]!r} has several lines: each is served as a user of its "
            "own, without the clicks of the user's other lines; join the lines of a user into one, "
            "oldest click first, or give the earlier ones as --context_set_path"
        )
