"""The limit on occurrences below which values are left out: its default, and what it leaves out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from candgen.console import logger
from candgen.data.dictionary import NO_VALUE, UNKNOWN

LIMITS = (20, 10, 5, 3, 2, 1)  # what --feat_appear_limit is chosen from
MAX_LEFT_OUT = 0.01  # share of the clicks that the default leaves out at most
MANY = 0.2  # a larger share of the clicks is warned of


def choose_limit(item_counts: Mapping[str, int], max_user_clicks: int | None = None) -> int:
    """The largest of `LIMITS` that leaves out videos with at most `MAX_LEFT_OUT` of the clicks.

    Clicks without a video-id do not count. No user has more than `max_user_clicks`: a larger limit
    would leave out all of them.
    """
    for limit in LIMITS:
        if max_user_clicks is None or limit <= max_user_clicks:
            kept = {video for video, count in item_counts.items() if count >= limit}
            if left_out_share(item_counts, kept) <= MAX_LEFT_OUT:
                return limit
    return LIMITS[-1]


def left_out_share(counts: Mapping[str, int], kept: Collection[str]) -> float:
    """Share of the occurrences of values that are of values that are not kept; 0 without any."""
    counts = {value: count for value, count in counts.items() if value not in NO_VALUE}
    left_out = sum(count for value, count in counts.items() if value not in kept)
    return left_out / max(sum(counts.values()), 1)


def kept_line(
    feature: str,
    counts: Mapping[str, int],
    dictionary: Mapping[str, int],
    listed: Collection[str] = (),
) -> str:
    """The values of a feature in numbers: kept, found, left out.

    Parameters
    ----------
    feature : str
    counts : dict of str to int
        {value: occurrences} in the log.
    dictionary : dict of str to int
        The values that are kept.
    listed : collection of str
        Further values, which the log may not have.
    """
    found = 1 + len((counts.keys() | set(listed)) - NO_VALUE)
    line = f"{feature}: {len(dictionary)} of {found} values, with {UNKNOWN}"
    left_out = found - len(dictionary)
    if not left_out:
        return line
    return f"{line}; {left_out} left out, {left_out_share(counts, dictionary):.2%} of occurrences"


def warn_of_left_out(
    source: str, item_counts: Mapping[str, int], dictionary: Mapping[str, int], limit: int
) -> None:
    """Warn if many clicks are on videos that are left out."""
    share = left_out_share(item_counts, dictionary)
    if share > MANY:
        logger.warning(
            f"{source}: {share:.0%} of the clicks are on videos with fewer than "
            f"--feat_appear_limit={limit} clicks, which are neither trained on nor recommended; "
            f"give a lower one ({choose_limit(item_counts)} leaves out {MAX_LEFT_OUT:.0%} at most)"
        )
