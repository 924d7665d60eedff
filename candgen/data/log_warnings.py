"""Warnings about logs that count or train badly."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from candgen.console import logger
from candgen.data.counts import Counts
from candgen.data.dictionary import NO_VALUE

HEAVY_SHARE = 0.05  # a user with a larger share of all clicks is named in a warning
# ... but not in a log of fewer users: their mean share is 2% or more, and 5% are not unusual.
MIN_USERS = 50


def warn_of_odd_counts(
    source: str, counts: Counts, item_counts: Mapping[str, int], feat_appear_limit: int
) -> None:
    """Warn of clicks without a video-id, of a user with a large share, of limits in conflict."""
    nameless = sum(item_counts.get(value, 0) for value in NO_VALUE)
    if nameless:
        logger.warning(
            f"{source}: {nameless} clicks have no video-id (empty or NULL in front of the category)"
        )
    users = {
        user: clicks for user, clicks in counts.profile["user_id"].items() if user not in NO_VALUE
    }
    if users:
        heaviest = max(users, key=users.get)
        warn_of_heavy_user(source, heaviest, users[heaviest], counts.clicks, len(users))
    if counts.max_user_clicks and counts.max_user_clicks < feat_appear_limit:
        logger.warning(
            f"no user-id is in the dictionary: --max_user_clicks={counts.max_user_clicks} leaves "
            f"each fewer clicks than --feat_appear_limit={feat_appear_limit} asks for; give a "
            "higher --max_user_clicks"
        )


def warn_of_colons(source: str, infos: Collection[str]) -> None:
    """Warn if a category or a tag seems to contain a colon, which makes another video of a video.

    The sign is a prefix, up to the first colon, that occurs with different numbers of colons.
    """
    colons = {}  # {prefix: bits of the numbers of colons}; memory is that of the prefixes
    for info in infos:
        prefix = info.partition(":")[0]
        colons[prefix] = colons.get(prefix, 0) | 1 << min(info.count(":"), 60)
    mixed = [
        prefix
        for prefix, bits in colons.items()
        if bin(bits).count("1") > 1 and prefix not in NO_VALUE
    ]
    if mixed:
        examples = [info for info in infos if info.startswith(min(mixed) + ":")]
        examples.sort(key=lambda info: (info.count(":"), info))
        logger.warning(
            f"{source}: {len(mixed)} video-ids are followed by different numbers of colons, as in "
            f"{examples[0][:80]!r} and {examples[-1][:80]!r}, which are read as different videos: "
            "video-ids may contain colons; categories and tags may not; write %3A for a colon "
            "within a category or a tag"
        )


def warn_of_heavy_user(path: str, user: str, clicks: int, total: int, users: int) -> None:
    """Warn if a user has a large share of all clicks.

    Parameters
    ----------
    path : str
        Name of the log.
    user : str
        The user with the most clicks.
    clicks, total : int
        Clicks of this user and of all users.
    users : int
        Number of users.
    """
    if users < MIN_USERS or clicks <= HEAVY_SHARE * total:
        return
    logger.warning(
        f"{path}: user {user[:80]!r} has {clicks / total:.0%} of all clicks, "
        f"{clicks / total * users:.0f} times the mean of the {users} users, and is trained on at "
        "the expense of the others; leave out what is a program, or limit what one user adds with "
        "--max_user_clicks=N, in data_processor.py and train.py alike"
    )
