"""Counts of the values of a log: accumulated, limited by user, written to counts.pkl and merged."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Any

from candgen.archives import bounded_read, load_plain_pickle
from candgen.console import InputError
from candgen.data.dictionary import (
    CATEGORIES,
    ITEMS,
    NO_VALUE,
    PICKLE_PROTOCOL,
    PROFILE_FEATURES,
    TAGS,
)
from candgen.data.logs import PROFILE_COLUMNS, LogLine, split_video_info


@dataclass
class ClickLimit:
    """Selects the last clicks of each user.

    Attributes
    ----------
    limit : int
        No more than the last `limit` clicks of a line are used.
    excess : dict of str to int
        {user: clicks that are too many even so}, over all lines of the user. They are taken from
        the beginning of the user's lines, in the order of the log, and subtracted here.
    """

    limit: int
    excess: dict[str, int] = field(default_factory=dict)

    def split(self, line: LogLine) -> tuple[list[str], list[str]]:
        """Video-infos of a line that are left out, and those that are used."""
        first = max(0, len(line.infos) - self.limit)
        excess = min(self.excess.get(line.user, 0), len(line.infos) - first)
        if excess:
            self.excess[line.user] -= excess
        first += excess
        return line.infos[:first], line.infos[first:]


class Counts:
    """Counts of whole video-infos and of the values of the profile.

    Memory follows the number of distinct values.

    Parameters
    ----------
    max_user_clicks : int, optional
        See `ClickLimit`; by default all clicks are used.
    excess : dict of str to int, optional
        See `ClickLimit`.

    Attributes
    ----------
    lines : int
    infos : Counter
        Clicks on each video-info.
    profile : dict of str to Counter
        {feature: {value: count}}: clicks of each user, lines of each other value.
    left_out : Counter
        Video-infos of the clicks that are not used.
    """

    def __init__(self, max_user_clicks: int | None = None, excess: Mapping[str, int] | None = None):
        self.lines = 0
        self.infos: Counter[str] = Counter()
        self.profile = {feature: Counter() for feature in PROFILE_FEATURES}
        self.left_out: Counter[str] = Counter()
        self.max_user_clicks = max_user_clicks
        self.excess = dict(excess or {})
        self._limit = self.click_limit()

    def click_limit(self) -> ClickLimit | None:
        """The selection of clicks, as it is at the beginning of the log; None: all are used."""
        if self.max_user_clicks is None:
            return None
        return ClickLimit(self.max_user_clicks, dict(self.excess))

    def add(self, lines: Sequence[LogLine]) -> None:
        """Count lines."""
        if self._limit is None:
            used = [line.infos for line in lines]
        else:
            used = []
            for line in lines:
                left_out, infos = self._limit.split(line)
                self.left_out.update(left_out)
                used.append(infos)
        self.lines += len(lines)
        self.infos.update(chain.from_iterable(used))
        for feature, column in zip(PROFILE_FEATURES, PROFILE_COLUMNS):
            if feature != "user_id":
                self.profile[feature].update(line.columns[column] for line in lines)
        for line, infos in zip(lines, used):
            self.profile["user_id"][line.user] += len(infos)

    def merge(self, other: Counts) -> None:
        """Add the counts of another part of the log."""
        self.lines += other.lines
        self.infos.update(other.infos)
        self.left_out.update(other.left_out)
        for feature, counter in other.profile.items():
            self.profile[feature].update(counter)

    @property
    def clicks(self) -> int:
        """Number of clicks that are used."""
        return sum(self.infos.values())

    def users_over_limit(self) -> dict[str, int]:
        """{user: clicks beyond `max_user_clicks`}, of users with several lines."""
        if self.max_user_clicks is None:
            return {}
        return {
            user: clicks - self.max_user_clicks
            for user, clicks in self.profile["user_id"].items()
            if clicks > self.max_user_clicks and user not in NO_VALUE
        }

    def by_feature(self) -> dict[str, Counter[str]]:
        """{feature: {value: count}}; ValueError if a video-info is malformed."""
        items: Counter[str] = Counter()
        categories: Counter[str] = Counter()
        tags: Counter[str] = Counter()
        for info, count in self.infos.items():
            item, category, tags_of_item = split_video_info(info)
            items[item] += count
            categories[category] += count
            for tag in tags_of_item:
                tags[tag] += count
        for info in self.left_out.keys() - self.infos.keys():
            split_video_info(info)  # only to check it
        return {**self.profile, ITEMS: items, CATEGORIES: categories, TAGS: tags}

    def dump(self, stream: IO[bytes]) -> None:
        """Write counts.pkl, plain containers of strings and numbers."""
        content = {
            "lines": self.lines,
            "infos": dict(self.infos),
            "profile": {feature: dict(counter) for feature, counter in self.profile.items()},
            "max_user_clicks": self.max_user_clicks,
        }
        pickle.dump(content, stream, PICKLE_PROTOCOL)

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Counts:
        """From what `dump` wrote; KeyError, TypeError or ValueError for anything else."""
        limit = content.get("max_user_clicks")
        if limit is not None and type(limit) is not int:
            raise ValueError("a limit that is not a number")
        counts = cls(limit)
        counts.lines = content["lines"]
        counts.infos = Counter(content["infos"])
        for feature in PROFILE_FEATURES:
            counts.profile[feature] = Counter(content["profile"][feature])
        numbers = [counts.lines, *counts.infos.values()]
        for counter in counts.profile.values():
            numbers += counter.values()
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("something that is not a count")
        counts.by_feature()  # checks the video-infos
        return counts


def merge_counts(paths: Iterable[str]) -> Counts:
    """Add up the counts of parts of a log, which --counts_only wrote.

    Raises
    ------
    InputError
        If a file is not a counts.pkl or is given twice, if the parts were counted with different
        limits, or if a user has clicks in several parts that exceed the limit together.
    """
    paths = list(paths)
    merged: Counts | None = None
    seen = set()
    for path in paths:
        if os.path.realpath(path) in seen:
            raise InputError(path, "given twice", hint="give each part once")
        seen.add(os.path.realpath(path))
        with bounded_read(
            path, "give a counts.pkl that data_processor.py --counts_only wrote"
        ) as stream:
            part = Counts.from_plain(load_plain_pickle(stream))
            if merged is None:
                merged = Counts(part.max_user_clicks)
            if part.max_user_clicks != merged.max_user_clicks:
                raise InputError(
                    path,
                    f"counted with --max_user_clicks={part.max_user_clicks}, parts before it "
                    f"with {merged.max_user_clicks}",
                    hint="count all parts alike",
                )
            merged.merge(part)
    users = merged.users_over_limit()
    if users:  # only the log shows which of their clicks are the last ones
        raise InputError(
            " ".join(paths),
            f"user {min(users)[:80]!r} has clicks in several parts, together more than "
            f"--max_user_clicks={merged.max_user_clicks}",
            hint="put all lines of a user into one part, or count the whole log in one run",
        )
    return merged
