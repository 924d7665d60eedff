"""candgen.data.user_clicks"""

from array import array

from candgen.console import logger
from candgen.data.dictionary import NO_VALUE

import numpy as np

HEAVY = 0.05  # a user with a larger share of all clicks deserves one too
FEW_USERS = 50  # but not in a log of fewer users, whose mean share is 2% or more: there 5% are nothing unusual
SEVERAL = (
    0.1  # lines of users with several lines deserve one if they are a larger share of all lines
)


class UserClicks:
    """Which lines of a log are of one user, and how many clicks they have, in 16 bytes a line.

    User-ids are kept as 64-bit hashes. A line without a user-id counts as a user of its own.
    """

    def __init__(self):
        self._users, self._clicks, self._names = array("q"), array("q"), {}

    def add(self, users, clicks):
        """Add some lines: a list of user-ids and their numbers of clicks."""
        hashes = [
            hash(user) if user not in NO_VALUE else hash((user, line))
            for line, user in enumerate(users, len(self._users))
        ]
        self._users.extend(hashes)
        self._clicks.extend(clicks)
        # who has more than a share of all clicks has more than that of those in some call: only such names are kept
        _, first, user_of = np.unique(
            np.array(hashes, np.int64), return_index=True, return_inverse=True
        )
        heavy = np.bincount(user_of, clicks) > HEAVY * np.sum(clicks)
        self._names.update({hashes[line]: users[line] for line in first[heavy]})

    def last_clicks(self, limit):
        """How many clicks of each line are among the last `limit` of its user, int64 [L]."""
        clicks = np.array(self._clicks, np.int64)
        _, user_of = np.unique(np.array(self._users, np.int64), return_inverse=True)
        order = np.argsort(user_of, kind="stable")
        up_to = np.cumsum(clicks[order])
        ends = np.cumsum(
            np.bincount(user_of, clicks).astype(np.int64)
        )  # of users, in the same order
        behind = ends[user_of[order]] - up_to  # clicks of the same user on later lines
        found = np.empty_like(clicks)
        found[order] = np.clip(limit - behind, 0, clicks[order])
        return found

    def warn(self, path):
        """Write a warning if one user has a large share of all clicks, and if users fill several lines."""
        clicks = np.array(self._clicks, np.int64)
        distinct, user_of = np.unique(np.array(self._users, np.int64), return_inverse=True)
        if len(distinct):
            totals = np.bincount(user_of, clicks)
            heaviest = int(totals.argmax())
            name = self._names.get(int(distinct[heaviest]), "")
            warn_of_heavy_user(path, name, totals[heaviest], clicks.sum(), len(distinct))
        lines = np.bincount(user_of, clicks > 0, len(distinct))  # of each user
        several, all_lines = int(lines[lines > 1].sum()), int(lines.sum())
        if all_lines >= FEW_USERS and several > SEVERAL * all_lines:
            logger.warning(
                f"{path}: {several} of {all_lines} lines are of users with several lines: each line is "
                "learned as a user of its own, without the clicks of the user's other lines, which lowers recall; "
                "join the lines of a user into one, oldest click first, or give the earlier ones as "
                "--context_set_path"
            )


def warn_of_heavy_user(path, user, clicks, total, users):
    """Write a warning if a `user` has a large share of the `total` clicks of so many `users`."""
    if users >= FEW_USERS and clicks > HEAVY * total:
        logger.warning(
            f"{path}: user {user[:80]!r} has {clicks / total:.0%} of all clicks, "
            f"{clicks / total * users:.0f} times the mean of the {users} users, and is learned at the expense of the "
            "others; leave out what is a program, or limit what one user adds with --max_user_clicks=N, in "
            "data_processor.py and train.py alike"
        )
