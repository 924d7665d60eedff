"""Logs from arrays of clicks. Uses polars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from candgen.data.dictionary import LOG_COLUMNS
from candgen.data.ragged import positions_within
from candgen.data.splits import Clicks

import numpy as np
import polars as pl

CLICKS_AT_A_TIME = 1 << 20  # whose text is in memory


def write_lines(stream: IO[bytes], lines: pl.Series) -> int:
    """Write texts, each with a newline; returns their number."""
    if len(lines):
        stream.write(lines.str.join("\n").item().encode())
        stream.write(b"\n")
    return len(lines)


def write_log(
    stream: IO[bytes],
    clicks: Clicks,
    lengths: np.ndarray,
    infos: pl.Series,
    profiles: pl.DataFrame,
) -> int:
    """Write the log of the first clicks of each user.

    Parameters
    ----------
    stream : binary stream
    clicks : Clicks
    lengths : int array [U]
        How many clicks of each user; a user with 0 has no line.
    infos : pl.Series [items]
        Video-infos.
    profiles : pl.DataFrame [U]
        The columns of the log but the history.

    Returns
    -------
    int
        Number of lines.
    """
    position = positions_within(np.bincount(clicks.users, minlength=len(lengths)))
    written = clicks.select(position < lengths[clicks.users])
    num_lines = 0
    for rows in _blocks_of_users(written.users):
        block = pl.DataFrame({"user": written.users[rows], "info": infos[written.items[rows]]})
        block = block.group_by("user", maintain_order=True).agg(pl.col("info").str.join(";"))
        columns = profiles[block["user"]].with_columns(history=block["info"])
        lines = columns.select(line=pl.concat_str(LOG_COLUMNS, separator="\t"))["line"]
        num_lines += write_lines(stream, lines)
    return num_lines


def _blocks_of_users(users: np.ndarray) -> Iterator[slice]:
    """Rows of whole users, of `CLICKS_AT_A_TIME` rows and some, `users` being sorted."""
    begins = np.unique(np.searchsorted(users, users[::CLICKS_AT_A_TIME]))
    for begin, end in zip(begins, [*begins[1:], len(users)]):
        yield slice(begin, end)
