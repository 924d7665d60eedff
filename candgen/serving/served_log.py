"""The log that is served: each user's history in one piece. Imports no paddle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from candgen.data.encoding import EncodedLog
from candgen.data.log_files import Paths, log_name
from candgen.data.user_clicks import RepeatedUsers


def served_log(
    reader: Any,
    paths: Paths,
    block_lines: int | None = None,
    context_paths: Paths | None = None,
    context_clicks: int | None = None,
) -> Iterator[EncodedLog]:
    """Yield a log in blocks, with each user's clicks of earlier logs in front of those of the line.

    A log whose lines are the joined histories would be served alike. A warning names the first
    user with several lines.

    Parameters
    ----------
    reader : reader.Reader
    paths, block_lines : as for `Reader.encode`.
    context_paths : the earlier logs, in the order of time; none if None.
    context_clicks : known clicks to keep of each user, the last ones: the window size where only
        user vectors are computed; None for all, where a list leaves out what has been clicked.
    """
    if context_paths:
        reader.prepend_context(context_paths, context_clicks)
    users = RepeatedUsers(log_name(paths))
    for log in reader.encode(paths, block_lines):
        users.add(log.users)
        yield log
