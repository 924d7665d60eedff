"""Passes over a training log."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from candgen.archives import fingerprint
from candgen.console import InputError
from candgen.data.batches import Segments, shuffled_batches, without_context_targets
from candgen.data.encoding import EncodedLog
from candgen.data.items import ItemAttributes
from candgen.data.log_files import Paths, log_files, log_name
from candgen.data.logs import all_bad_lines
from candgen.data.user_clicks import UserClicks
from candgen.data.video_counts import VideoCounts

import numpy as np


@dataclass(frozen=True)
class _BlockSummary:
    """What a `TrainingLog` keeps of each block.

    Attributes
    ----------
    clicks : int
        New clicks on known videos: the targets of the block.
    segments : int
    fingerprint : str
    """

    clicks: int
    segments: int
    fingerprint: str


class TrainingLog:
    """A log to make passes over, block by block; a log of one block stays in memory.

    Parameters
    ----------
    reader : reader.Reader
    paths : str or sequence of str
        See `log_files`.
    block_lines : int
        Lines that are read and shuffled together, which bounds memory.
    cut : callable
        Cuts the lengths of histories, int array [L], into `Segments`: `sliding_windows` or
        `sequence_segments` with a window size.
    max_user_clicks : int, optional
        Use only the last clicks of each user, over all lines of the user; by default all.

    Attributes
    ----------
    first : EncodedLog or None
        The first block; None if the log is empty.
    lines, clicks : int
        Lines of all blocks, and their new clicks on known videos.
    video_counts : VideoCounts
        Clicks of all blocks, with those of an earlier log that were put in front of them.
    """

    def __init__(
        self,
        reader: Any,
        paths: Paths,
        block_lines: int,
        cut: Callable[[np.ndarray], Segments],
        max_user_clicks: int | None = None,
    ):
        self._reader = reader
        self._paths = paths
        self._block_lines = block_lines
        self._cut = cut
        self._keep = None
        if max_user_clicks:
            self._keep = reader.clicks_to_keep(paths, max_user_clicks)
        self._summaries: list[_BlockSummary] = []
        self.first: EncodedLog | None = None
        self.lines = 0
        self.clicks = 0
        self.video_counts = VideoCounts(reader.num_videos)
        self._read()
        if len(self._summaries) > 1:
            self._check_that_files_can_be_read_again()

    def _read(self) -> None:
        """Read the log once: keep the first block, count the clicks, summarise each block."""
        users = UserClicks()
        log = None
        for log in self._reader.encode(self._paths, self._block_lines, self._keep):
            if self.first is None:
                self.first = log
            users.add(log.users, log.lengths - log.context)
            self._reader.count(log)
            self.video_counts.add(log)
            self.lines += len(log.users)
            self.clicks += log.new_clicks
            segments = len(self._segments(log))
            # Of the lines alone: the columns of the videos grow while the log is read.
            summary = _BlockSummary(log.new_clicks, segments, log.lines_fingerprint())
            self._summaries.append(summary)
        if self._keep is not None and len(self._keep) != self.lines:
            raise self._changed_error("read")
        if log is not None:
            self.first = replace(self.first, videos=log.videos)  # of the whole log
        users.warn(log_name(self._paths))

    def _check_that_files_can_be_read_again(self) -> None:
        for path in log_files(self._paths):
            if not os.path.isfile(path):
                raise InputError(
                    path,
                    f"more than --shuffle_lines={self._block_lines} lines, which are read in each "
                    "pass, and it can be read once only",
                    hint="give a file, or more lines at once",
                )

    def _changed_error(self, activity: str) -> InputError:
        problem = f"changed while it was {activity}"
        return InputError(log_name(self._paths), problem, hint="train on a copy")

    def _segments(self, log: EncodedLog) -> Segments:
        return without_context_targets(self._cut(log.lengths), log.context)

    def blocks(self) -> Iterator[EncodedLog]:
        """Yield the blocks of a pass; InputError if they are not those that were read first."""
        if len(self._summaries) == 1:
            yield self.first
            return
        blocks = self._reader.blocks(
            self._paths, all_bad_lines(), self._block_lines, keep=self._keep
        )
        for summary in self._summaries:
            block = next(blocks, None)
            if block is None or block.log.lines_fingerprint() != summary.fingerprint:
                raise self._changed_error("trained on")
            yield block.log
        if next(blocks, None) is not None:
            raise self._changed_error("trained on")

    def steps(self, batch_size: int) -> list[int]:
        """Number of batches of each block, for `batch_size` targets on average."""
        return [
            min(math.ceil(block.clicks / batch_size), block.segments) for block in self._summaries
        ]

    def batches(
        self, batch_size: int, rng: np.random.Generator
    ) -> Iterator[tuple[EncodedLog, Segments, np.random.Generator]]:
        """Yield the batches of a pass, in random order within a block.

        Yields
        ------
        log : EncodedLog
            The block.
        segments : Segments
            Those of the batch.
        rng : numpy.random.Generator
            A random generator for this batch.
        """
        for log, steps in zip(self.blocks(), self.steps(batch_size)):
            if steps:
                batches = shuffled_batches(self._segments(log), steps, rng)
                for segments, batch_rng in zip(batches, rng.spawn(steps)):
                    yield log, segments, batch_rng

    def categories(self, videos: int) -> np.ndarray:
        """Category ids of the videos, see `Reader.categories`."""
        return self._reader.categories(videos)

    def content(self, videos: int, tags: int) -> ItemAttributes:
        """Tags and categories of the videos, see `Reader.content`."""
        return self._reader.content(videos, tags)

    def fingerprint(self) -> str:
        """SHA-256 of all blocks and of what is known of the videos."""
        blocks = [block.fingerprint for block in self._summaries]
        return fingerprint(*blocks, *self.first.videos.arrays())
