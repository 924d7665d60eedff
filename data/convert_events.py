"""A table of events -> logs: train.txt, valid.txt, test.txt and infer.txt.

    python data/convert_events.py --events events.csv --output_dir=./data/shop
    python data/convert_events.py --events clicks/ --keep type=view,buy --min_clicks 5 \\
        --items products.jsonl --category_column=section --tags_column=labels --title_column=name \\
        --users users.csv --profile_columns country plan --split=2026-11-20 --output_dir=./data/shop

Each event is a click of a user on an item at a time. Tables are CSV, TSV, JSON lines or Parquet, by
their suffix; they are files, folders of part files, or patterns. Clicks are ordered by time, equal
times as in the table; users are in the order of their first events there.

train.txt      the clicks to train on, see --split
valid.txt      for each user the last click is the one to be predicted; it is not in train.txt
test.txt       the same with a later click, which is not in valid.txt
infer.txt      all clicks of each user
catalogue.txt  with --items: the video-info of each item, one a line
titles.tsv     with --title_column: id, tab, title

Ids, categories, tags and profile values are percent-encoded (docs/log.md). Needs polars:
pip install -r requirements-convert.txt. Imports no paddle.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import PurePath
from typing import IO

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # has candgen
from candgen.console import InputError, logger, run_script
from candgen.data.dictionary import PROFILE_FEATURES
from candgen.data.log_files import log_files, log_name
from candgen.data.splits import held_out_users, split_clicks, thin_out
from candgen.files import atomic_write_set
from candgen.options import PATHS, argument_parser, folder_type, number_type, refuse_unused
from candgen.output_folder import output_folder

import numpy as np

LOGS = ("train.txt", "valid.txt", "test.txt", "infer.txt")
OUTPUT_FILES = (*LOGS, "catalogue.txt", "titles.tsv")
PROFILE = PROFILE_FEATURES[1:]  # without the user id


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--events", **PATHS, required=True, metavar="TABLE", help="the table of events")
    add("--user_column", default="user", metavar="COLUMN", help="user id (default: %(default)s)")
    add("--item_column", default="item", metavar="COLUMN", help="item id (default: %(default)s)")
    add(
        "--time_column",
        default="time",
        metavar="COLUMN",
        help="time: seconds, ms, us or ns since 1970, or ISO 8601, UTC if it has no offset "
        "(default: %(default)s)",
    )
    add(
        "--keep",
        type=keep_type,
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=VALUE,VALUE",
        help="use only events with one of these values",
    )
    add(
        "--min_value",
        type=min_value_type,
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=NUMBER",
        help="use only events with at least this number",
    )
    add("--items", **PATHS, metavar="TABLE", help="a table of items, one a row")
    add("--items_id_column", metavar="COLUMN", help="its id (default: that of --item_column)")
    add("--category_column", metavar="COLUMN", help="its category (default: unknown)")
    add("--tags_column", metavar="COLUMN", help="its tags, a list or text (default: unknown)")
    add("--tags_separator", metavar="TEXT", help="what separates tags in a text (default: |)")
    add("--title_column", metavar="COLUMN", help="its titles, for titles.tsv")
    add("--users", **PATHS, metavar="TABLE", help="a table of users, one a row")
    add("--users_id_column", metavar="COLUMN", help="its id (default: that of --user_column)")
    add(
        "--profile_columns",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help=f"its columns that become {', '.join(PROFILE)} of the log, in this order",
    )
    add(
        "--min_clicks",
        type=number_type(int, 1),
        nargs="+",
        default=[1],
        metavar="N",
        help="drop users with fewer than N clicks and items with fewer than N, or than a second "
        "number, until there are none (default: 1)",
    )
    add(
        "--consecutive_repeats",
        choices=["keep", "drop"],
        default="drop",
        help="clicks on the item that the user clicked just before (default: %(default)s)",
    )
    add(
        "--split",
        type=split_type,
        default="last",
        metavar="{last,none,DATE}",
        help="last: test.txt has all clicks of a user, valid.txt lacks the last one, train.txt the "
        "last two. DATE, such as 2026-11-20: the targets are the first click from then on and the "
        "last one before. none: no valid.txt and test.txt (default: %(default)s)",
    )
    add(
        "--test_users",
        type=number_type(float, 0, 0.5),
        default=0.0,
        metavar="SHARE",
        help="with --split=none: test.txt has all clicks of this share of the users, and train.txt "
        "none of them; the same users in every run (default: %(default)s)",
    )
    add("--output_dir", type=folder_type, required=True, metavar="DIR", help="output folder")
    args = parser.parse_args(argv)
    check_combinations(parser, args)
    return args


def check_combinations(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a message if flags exclude each other."""
    if not args.items:
        of_items = ["items_id_column", "category_column", "tags_column", "title_column"]
        refuse_unused(parser, args, of_items, "needs --items")
    if not args.tags_column:
        refuse_unused(parser, args, ["tags_separator"], "needs --tags_column")
    if args.tags_separator == "":
        parser.error("--tags_separator is empty")
    if not args.users:
        refuse_unused(parser, args, ["users_id_column", "profile_columns"], "needs --users")
    elif not 1 <= len(args.profile_columns) <= len(PROFILE):
        parser.error(f"--users needs one to {len(PROFILE)} --profile_columns")
    if args.split != "none":
        refuse_unused(parser, args, ["test_users"], "needs --split=none")
    if len(args.min_clicks) > 2:
        parser.error("--min_clicks takes one number, or two")


def keep_type(text: str) -> tuple[str, list[str]]:
    """argparse type: COLUMN=VALUE,VALUE."""
    column, equals, values = text.partition("=")
    if not column or not equals:
        raise argparse.ArgumentTypeError(f"{text} is not COLUMN=VALUE,VALUE")
    return column, values.split(",")


def min_value_type(text: str) -> tuple[str, float]:
    """argparse type: COLUMN=NUMBER."""
    column, _, number = text.partition("=")
    with contextlib.suppress(ValueError):
        if column and math.isfinite(float(number)):
            return column, float(number)
    raise argparse.ArgumentTypeError(f"{text} is not COLUMN=NUMBER")


def split_type(text: str) -> str | datetime:
    """argparse type: last, none, or a time, which is UTC if it has no offset."""
    if text in ("last", "none"):
        return text
    try:
        # Python 3.10 does not know Z.
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        message = f"{text} is not last, none, or a date such as 2026-11-20"
        raise argparse.ArgumentTypeError(message) from error
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def main(argv: list[str] | None = None) -> None:
    """Read the tables, write the files, print the report."""
    started = time.monotonic()
    args = parse_args(argv)
    require_polars()
    from candgen.data.events import EventColumns, read_events
    from candgen.data.log_writer import write_lines, write_log
    from candgen.data.metadata import infos_of, profiles_of, read_items, read_users, title_lines

    tables = {"--events": args.events, "--items": args.items, "--users": args.users}
    check_inputs(args.output_dir, {flag: paths for flag, paths in tables.items() if paths})
    with output_folder(args.output_dir, "|".join(OUTPUT_FILES)):
        item_columns = {
            "id": args.items_id_column or args.item_column,
            "category": args.category_column,
            "tags": args.tags_column,
            "title": args.title_column,
        }
        items = read_items(args.items, item_columns, args.tags_separator)
        users = read_users(
            args.users, args.users_id_column or args.user_column, args.profile_columns
        )
        event_columns = EventColumns(
            args.user_column, args.item_column, args.time_column, args.keep, args.min_value
        )
        events = read_events(args.events, event_columns)
        clicks, thinned = thin_out(
            events.clicks,
            user_clicks=args.min_clicks[0],
            item_clicks=args.min_clicks[-1],
            drop_repeats=args.consecutive_repeats == "drop",
        )
        dropped = {reason: n for reason, n in {**events.dropped, **thinned}.items() if n}
        if not len(clicks):
            counts = ", ".join(f"{reason} {n}" for reason, n in dropped.items())
            raise InputError(
                log_name(args.events),
                f"none of {events.num_read} events is left ({counts or 'an empty table'})",
                hint="check --keep, --min_value and --min_clicks",
            )
        held_out = held_out_users(events.users, args.test_users)
        lengths = split_clicks(clicks, len(events.users), args.split, held_out)
        infos, has_info = infos_of(events.items, items)
        profiles, has_profile = profiles_of(events.users, users)

        writers = {
            name: partial(write_log, clicks=clicks, lengths=of_log, infos=infos, profiles=profiles)
            for name, of_log in lengths.items()
        }
        if args.items:
            writers["catalogue.txt"] = partial(write_lines, lines=items["info"])
        if args.title_column:
            writers["titles.tsv"] = partial(write_lines, lines=title_lines(items))
        lines = write_files(args.output_dir, writers)

    first_day, last_day = (text[:10] for text in clicks.first_and_last())
    rows = [("events read", events.num_read, "")]
    rows += [(f"  dropped: {reason}", count, "") for reason, count in dropped.items()]
    rows += [("clicks", len(clicks), ""), ("days", f"{first_day}..{last_day}", "")]
    rows += [("users", *count_distinct(clicks.users, has_profile, args.users, "--users"))]
    rows += [("items", *count_distinct(clicks.items, has_info, args.items, "--items"))]
    rows += [(name, column, "") for name, column in zip(PROFILE, args.profile_columns)]
    rows += [(name, count, "lines") for name, count in lines.items()]
    print_aligned(rows)
    logger.info(f"{time.monotonic() - started:.1f} s, at most {peak_memory() >> 20} MB of memory")


def require_polars() -> None:
    """Raise the error for polars, which no other script needs, if it is not installed."""
    try:
        import polars  # noqa: F401
    except ModuleNotFoundError as error:
        hint = "pip install -r requirements-convert.txt"
        raise InputError(None, str(error), hint=hint) from error


def check_inputs(folder: str, tables: Mapping[str, list[str]]) -> None:
    """Raise the error for a table, {flag: paths}, that this run would replace, remove or add to."""
    folder = os.path.realpath(folder)
    outputs = [os.path.join(folder, name) for name in OUTPUT_FILES]
    for flag, paths in tables.items():
        for path in log_files(paths):
            if os.path.realpath(path) in map(os.path.realpath, outputs):
                hint = "give another --output_dir"
                raise InputError(path, "a table where a file is to be written", hint=hint)
        for path in paths:
            if adds_to_table([folder, *outputs], path):
                problem = f"--output_dir is a folder of {flag}"
                raise InputError(None, problem, hint="give another")


def adds_to_table(written: Sequence[str], path: str) -> bool:
    """Whether one of some files and folders would be a part of a table, a folder or a pattern."""
    if os.path.isdir(path):
        return os.path.realpath(path) in (written[0], *map(os.path.dirname, written))
    folder, name = os.path.split(path)
    pattern = os.path.join(os.path.realpath(folder), name)
    return any(PurePath(file).match(pattern) for file in written)


def write_files(folder: str, writers: Mapping[str, Callable[[IO[bytes]], int]]) -> dict[str, int]:
    """Write a set of files, {name: function that writes it and returns its number of lines}.

    Files of an earlier run that are not in the set are removed.

    Returns
    -------
    dict of str to int
        {name: lines}
    """
    paths = {name: os.path.join(folder, name) for name in OUTPUT_FILES}
    others = [path for name, path in paths.items() if name not in writers]
    with atomic_write_set([paths[name] for name in writers], removed=others) as streams:
        return {name: writers[name](stream) for name, stream in zip(writers, streams)}


def count_distinct(
    numbers: np.ndarray, is_known: np.ndarray, table: list[str] | None, flag: str
) -> tuple[int, str]:
    """How many distinct users or items there are, and a note on those that a table lacks."""
    distinct = np.unique(numbers)
    unknown = np.count_nonzero(~is_known[distinct])
    return len(distinct), f"{unknown} of them not in {flag}" if table else ""


def print_aligned(rows: list[tuple[str, object, str]]) -> None:
    """Print rows of a name, a value and a note."""
    name_width = max(len(name) for name, _, _ in rows)
    value_width = max(len(str(value)) for _, value, _ in rows)
    for name, value, note in rows:
        print(f"{name:<{name_width}}  {value!s:>{value_width}}  {note}".rstrip())


def peak_memory() -> int:
    """The most memory that this process has used, in bytes; 0 where it is unknown."""
    try:
        import resource  # Unix only
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


if __name__ == "__main__":
    run_script(main)
