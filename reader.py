"""Log lines -> encoded logs -> batches. Imports no paddle.

    log.txt --Reader--> EncodedLog --TrainingLog--> Segments --make_batch--> {name: array}

`Reader` turns logs into arrays of ids, whole or in blocks of lines. `TrainingLog` makes passes over
a log in random order, and yields segments of it (candgen/data/batches.py), from which `make_batch`
gathers the arrays of a batch.

A click in a window has the category and the tags of its own video-info, in training as in serving.
Where a video as a whole has some (`Reader.categories`, `Reader.content`) and its video-infos
differ, one of them is preferred, see `VideoTable`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat

from candgen.console import logger
from candgen.data.dictionary import ITEMS, LOG_COLUMNS, PROFILE_FEATURES
from candgen.data.earlier_clicks import EarlierClicks
from candgen.data.encoding import EncodedLog, UserLine, concatenate_logs, encode_lines
from candgen.data.items import ItemAttributes, VideoTable
from candgen.data.log_files import Paths, log_name
from candgen.data.logs import BadLines, LogLine, all_bad_lines, read_log
from candgen.data.training_log import TrainingLog
from candgen.data.user_clicks import UserClicks

import numpy as np

__all__ = ["Reader", "TrainingLog"]

CHUNK_LINES = 4096  # lines whose text is in memory at a time
MIN_KNOWN_SHARE = 0.1  # of clicks on known videos; a smaller one is a warning


@dataclass(frozen=True)
class Block:
    """Consecutive lines of a log.

    Attributes
    ----------
    log : EncodedLog
    clicks : int
        All clicks of these lines, also those on unknown videos.
    """

    log: EncodedLog
    clicks: int


class Reader:
    """Encodes logs by a feature dictionary.

    Parameters
    ----------
    feature_dict : dict
        {feature: {value: id}}, as data_processor.py writes it.
    bad_lines : BadLines, optional
        Receives malformed lines; by default they raise.
    progress : bool
        Whether to draw progress bars on a terminal.

    Attributes
    ----------
    num_videos : int
        Videos of the dictionary, with ``<unk>``.
    """

    def __init__(
        self,
        feature_dict: Mapping[str, Mapping[str, int]],
        bad_lines: BadLines | None = None,
        progress: bool = True,
    ):
        self._bad_lines = bad_lines
        self._progress = progress
        self._profile_ids = [feature_dict[feature] for feature in PROFILE_FEATURES]
        self._videos = VideoTable(feature_dict)
        self.num_videos = len(feature_dict[ITEMS])
        self._context = EarlierClicks()
        self._has_context = False  # whether an earlier log has been read
        self._nameless_clicks = 0  # clicks without a video-id in the current log

    def register(self, infos: Iterable[str]) -> None:
        """Register the video-infos of a catalogue; their videos may be absent from the log."""
        self._videos.register(infos)

    def count(self, log: EncodedLog) -> None:
        """Count the clicks of a log of this reader: the most clicked video-info is preferred."""
        self._videos.count(log.own_clicks())

    def categories(self, videos: int) -> np.ndarray:
        """Category ids of `videos` videos, int64 [videos]; 0: unknown."""
        return self._videos.categories(videos)

    def content(self, videos: int, tags: int) -> ItemAttributes:
        """Tags and categories of `videos` videos; `tags` is the size of the dictionary of tags."""
        return self._videos.attributes(videos, tags)

    def prepend_context(self, paths: Paths, count: int | None = None) -> None:
        """Put each user's clicks of an earlier log in front of the lines encoded from now on.

        They are seen by the targets of a line, and are not targets themselves.

        Parameters
        ----------
        paths : str or sequence of str
            The earlier log, see `log_files`.
        count : int, optional
            Known clicks of each user to keep, the last ones; by default all.
        """

        def decode(line: LogLine) -> tuple[str, list[int]]:
            return line.user, self._rows(line)

        self._context = EarlierClicks(count)
        self._nameless_clicks = 0
        for user, rows in read_log(paths, decode, self._bad_lines, self._progress):
            self._videos.earlier_clicks.update(filter(None, rows))  # known videos
            self._context.add(user, rows)
        self._has_context = True
        logger.info(f"{log_name(paths)}: earlier clicks of {len(self._context)} users")
        self._warn_of_nameless_clicks(log_name(paths))

    def clicks_to_keep(self, paths: Paths, limit: int) -> np.ndarray:
        """How many clicks of each line are among the last `limit` of its user, int32 [L].

        The log is read for this alone.
        """

        def decode(line: LogLine) -> tuple[str, int]:
            return line.user, len(self._rows(line))

        users = UserClicks()
        lines = read_log(paths, decode, all_bad_lines(), self._progress)
        while chunk := list(islice(lines, CHUNK_LINES)):
            users.add([user for user, _ in chunk], [clicks for _, clicks in chunk])
        return users.last_clicks(limit).astype(np.int32)

    def encode(
        self, paths: Paths, block_lines: int | None = None, keep: np.ndarray | None = None
    ) -> Iterator[EncodedLog]:
        """Yield a log in blocks; report at the end how much of it the dictionary knows.

        Parameters
        ----------
        paths : str or sequence of str
            See `log_files`.
        block_lines : int, optional
            Lines of a block; by default the log is one block.
        keep : int array [L], optional
            Number of last clicks to use of each line (`clicks_to_keep`); by default all.
        """
        users, known_users, clicks, known_clicks, with_context = 0, 0, 0, 0, 0
        self._nameless_clicks = 0
        for block in self.blocks(paths, self._bad_lines, block_lines, self._progress, keep):
            log = block.log
            users += len(log.users)
            known_users += int(np.count_nonzero(log.profile[:, 0]))
            clicks += block.clicks
            known_clicks += log.new_clicks
            with_context += int(np.count_nonzero(log.context))
            yield log
        name = log_name(paths)
        logger.info(
            f"{name}: {users} users, {known_users} of them known; {clicks} clicks, {known_clicks} "
            "of them on known videos"
        )
        if self._has_context:
            level = logger.info if with_context else logger.warning
            level(f"{name}: {with_context} of {users} users have earlier clicks")
        if not users:
            logger.warning(f"no line in {name}")
        self._warn_of_nameless_clicks(name)
        nothing_known = users and not known_users and not known_clicks
        if nothing_known or known_clicks < MIN_KNOWN_SHARE * clicks:
            logger.warning(
                f"the dictionary knows hardly anything in {name}; was it made from logs with "
                "other ids?"
            )

    def blocks(
        self,
        paths: Paths,
        bad_lines: BadLines | None,
        block_lines: int | None = None,
        progress: bool = False,
        keep: np.ndarray | None = None,
    ) -> Iterator[Block]:
        """Yield a log in blocks as `encode` does, without the report.

        Memory is that of the arrays of a block, and of the text of CHUNK_LINES lines.
        """

        def decode(line: LogLine) -> UserLine:
            return UserLine(line.columns, self._rows(line))

        lines = read_log(paths, decode, bad_lines, progress)
        if keep is not None:
            lines = _last_clicks(lines, keep)
        if block_lines is None:
            yield self._read_block(lines, sys.maxsize)
            return
        while True:
            block = self._read_block(lines, block_lines)
            if not block.log.users:
                return
            yield block

    def encode_users(self, user_ids: Sequence[str]) -> EncodedLog:
        """Encode users of whom nothing but the id is known."""
        nothing = [""] * (len(LOG_COLUMNS) - 1)
        lines = [UserLine([user, *nothing], []) for user in user_ids]
        return concatenate_logs([self._encode_lines(lines)], self._videos.columns())

    def _rows(self, line: LogLine) -> list[int]:
        """Rows of a line's video-infos; counts those without a video-id."""
        rows = [self._videos[info] for info in line.infos]
        if self._videos.nameless:
            self._nameless_clicks += sum(info in self._videos.nameless for info in line.infos)
        return rows

    def _warn_of_nameless_clicks(self, name: str) -> None:
        if self._nameless_clicks:
            logger.warning(
                f"{name}: {self._nameless_clicks} clicks have no video-id (empty or NULL in front "
                "of the category)"
            )

    def _read_block(self, lines: Iterator[UserLine], count: int) -> Block:
        """Encode up to `count` lines, of which CHUNK_LINES at a time are in memory as text."""
        chunks = [self._encode_lines([])]
        clicks = 0
        while chunk := list(islice(lines, min(count, CHUNK_LINES))):
            chunks.append(self._encode_lines(chunk))
            clicks += sum(len(line.rows) for line in chunk)
            count -= len(chunk)
        return Block(concatenate_logs(chunks, self._videos.columns()), clicks)

    def _encode_lines(self, lines: Sequence[UserLine]) -> EncodedLog:
        return encode_lines(lines, self._profile_ids, self._videos.item, self._context)


def _last_clicks(lines: Iterable[UserLine], keep: np.ndarray) -> Iterator[UserLine]:
    """Yield each line with its last `keep` clicks; lines added to the log since then have none."""
    for line, count in zip(lines, chain(keep.tolist(), repeat(0))):
        yield replace(line, rows=line.rows[max(0, len(line.rows) - count) :])
