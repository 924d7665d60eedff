"""Tables of events: who has clicked on what, and when. Read by polars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from candgen.console import InputError, logger
from candgen.data.log_files import Paths, log_files, log_name
from candgen.data.splits import Clicks
from candgen.data.tables import collect, scan_table, text_of, without_decimals

import polars as pl

REASONS = ("--keep", "--min_value", "no user", "no item", "no time")  # to drop a row
UNREADABLE_TIME = "unreadable time"  # which is an error
SECOND = 1_000_000  # microseconds
FIRST_DATE, LAST_DATE = 19900101, 21001231  # numbers that are dates rather than seconds since 1970
FIRST_PLAUSIBLE = 631_152_000 * SECOND  # 1990
TIME_FORMATS = (
    "%Y-%m-%d",
    *(
        f"%Y-%m-%d{separator}{clock}{zone}"
        for separator in "T "
        for clock in ("%H:%M:%S", "%H:%M:%S%.f", "%H:%M")
        for zone in ("", "Z", " UTC", "%#z")
    ),
)


@dataclass(frozen=True)
class EventColumns:
    """Which columns of a table of events are used, and which of its rows.

    Attributes
    ----------
    user, item, time : str
        Names of columns.
    keep : sequence of (column, values)
        Rows must have one of the values in this column.
    min_value : sequence of (column, number)
        Rows must have at least this number in this column.
    """

    user: str
    item: str
    time: str
    keep: Sequence[tuple[str, list[str]]] = ()
    min_value: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Events:
    """The events of a table.

    Attributes
    ----------
    clicks : Clicks
        Equal times of a user are in the order of the table. Users and items are numbered by their
        first rows there.
    users, items : pl.Series of text
        Ids of these numbers.
    num_read : int
        Rows of the table.
    dropped : dict of str to int
        {reason: rows that are not clicks}
    """

    clicks: Clicks
    users: pl.Series
    items: pl.Series
    num_read: int
    dropped: dict[str, int]


def read_events(paths: Paths, columns: EventColumns) -> Events:
    """Read a table of events.

    Parameters
    ----------
    paths : str or sequence of str
        See `log_files`.
    columns : EventColumns

    Raises
    ------
    InputError
        If a file cannot be read or lacks a column, or if a time cannot be read, or is a date
        without hyphens, in a row that is not dropped for another reason.
    """
    parts = {path: _events_of(path, columns) for path in log_files(paths)}
    table = pl.concat(parts.values())
    rows, reasons = collect(
        [
            table.filter(pl.col("reason").is_null()).select("user", "item", "time"),
            table.group_by("reason").len(),
        ],
        parts,
    )
    counts = dict(reasons.rows())
    if UNREADABLE_TIME in counts:
        hint = "write 2026-11-20T08:30:00+01:00, or seconds, ms, us or ns since 1970"
        _raise_first(parts, pl.col("reason") == UNREADABLE_TIME, "is not a time", hint)
    _check_times(rows["time"], parts, log_name(paths))
    users, user_numbers = _numbered(without_decimals(rows["user"]))
    items, item_numbers = _numbered(without_decimals(rows["item"]))
    ordered = pl.DataFrame([user_numbers, item_numbers, rows["time"]])
    # Two sorts by one column are much faster than one sort by two.
    for column in ("time", "user"):
        ordered = ordered.sort(column, maintain_order=True)
    clicks = Clicks(*(column.to_numpy() for column in ordered))
    dropped = {reason: counts[reason] for reason in REASONS if reason in counts}
    return Events(clicks, users, items, sum(counts.values()), dropped)


def _numbered(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Distinct values in the order of their first rows, and the number of each value."""
    distinct = values.unique(maintain_order=True)
    return distinct, values.cast(pl.Enum(distinct)).to_physical().cast(pl.Int32)


def _events_of(path: str, columns: EventColumns) -> pl.LazyFrame:
    """The table of one file: user, item, time, and the reason why a row is dropped."""
    flags = {
        **dict.fromkeys(dict(columns.min_value), "--min_value"),
        **dict.fromkeys(dict(columns.keep), "--keep"),
        columns.time: "--time_column",
        columns.item: "--item_column",
        columns.user: "--user_column",
    }
    table = scan_table(path, dict(reversed(flags.items())))
    is_temporal = table.collect_schema()[columns.time].is_temporal()
    table = table.select(
        user=text_of(table, columns.user),
        item=text_of(table, columns.item),
        given=pl.col(columns.time) if is_temporal else text_of(table, columns.time),
        reason=_reason_to_drop(table, columns),
    )
    # The time of a row that is dropped anyway may be anything.
    given = pl.col("given")
    table = table.with_columns(given=pl.when(pl.col("reason").is_null()).then(given))
    if is_temporal:
        time = given.dt.epoch("us")
    else:
        time = given.map_batches(microseconds, return_dtype=pl.Int64, is_elementwise=True)
    table = table.with_columns(time=time)  # by itself, or it is computed for each use
    no_time = pl.when(given.is_null()).then(pl.lit(REASONS[-1]))
    unreadable = pl.when(pl.col("time").is_null()).then(pl.lit(UNREADABLE_TIME))
    return table.with_columns(
        given=given.cast(pl.String),  # of one type in all files
        reason=pl.coalesce("reason", no_time, unreadable),
    )


def _reason_to_drop(table: pl.LazyFrame, columns: EventColumns) -> pl.Expr:
    """The first reason to drop a row, but for its time; null if there is none."""
    kept = (text_of(table, name).is_in(values) for name, values in columns.keep)
    large = (
        text_of(table, name).cast(pl.Float64, strict=False) >= minimum
        for name, minimum in columns.min_value
    )
    is_dropped = (
        ~pl.all_horizontal(pl.lit(True), *kept).fill_null(False),
        ~pl.all_horizontal(pl.lit(True), *large).fill_null(False),
        text_of(table, columns.user).is_null(),
        text_of(table, columns.item).is_null(),
    )
    return pl.coalesce(pl.when(drop).then(pl.lit(name)) for name, drop in zip(REASONS, is_dropped))


def _check_times(times: pl.Series, parts: Mapping[str, pl.LazyFrame], name: str) -> None:
    """Raise the error for dates such as 20260129 as numbers; warn if all times are long ago.

    As seconds since 1970 these numbers are times of one fortnight of 1970. There only one number in
    27 is a date; so they are taken for dates if all of them are.
    """
    in_range = times.filter(times.is_between(FIRST_DATE * SECOND, LAST_DATE * SECOND))
    seconds = in_range // SECOND
    dates = seconds.cast(pl.String).str.to_date("%Y%m%d", strict=False)
    if len(in_range) and dates.is_not_null().all() and (in_range % SECOND == 0).all():
        example = f"{dates[0]}"
        is_first = pl.col("time") == in_range[0]
        _raise_first(parts, is_first, "looks like a date", f"write {example}")
    if len(times) and times.max() < FIRST_PLAUSIBLE:
        logger.warning(
            f"{name}: all clicks are before 1990: are the times seconds, ms, us or ns since 1970?"
        )


def _raise_first(
    parts: Mapping[str, pl.LazyFrame], condition: pl.Expr, problem: str, hint: str
) -> NoReturn:
    """Raise the error for the first row with a condition, on its time."""
    for path, part in parts.items():
        rows = part.select("given", "reason", "time").with_row_index("row", 1).filter(condition)
        [rows] = collect([rows.head(1)], {path: part})
        for row, given, *_ in rows.rows():
            raise InputError(path, f"row {row}: {given[:80]!r} {problem}", hint=hint)
    raise AssertionError("no such row")


def microseconds(times: pl.Series) -> pl.Series:
    """Times as microseconds since 1970, UTC: int64, null for what is not a time.

    Parameters
    ----------
    times : pl.Series of text
        Numbers of seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by
        their magnitude; or ISO 8601, which is UTC if it has no offset.
    """
    numbers = pl.DataFrame({"number": times.cast(pl.Float64, strict=False).fill_nan(None)})
    number, size = pl.col("number"), pl.col("number").abs()
    in_microseconds = (
        pl.when(size < 1e11)
        .then(number * 1e6)  # seconds, until the year 5138
        .when(size < 1e14)
        .then(number * 1e3)  # milliseconds, from March 1973 on, and so are the others
        .when(size < 1e17)
        .then(number)
        .otherwise(number / 1e3)
    )
    found = numbers.select(time=in_microseconds.round().cast(pl.Int64, strict=False))["time"]
    # A table has one format, or few: parse all by the first one that the next text is in.
    while len(unread := times.filter(found.is_null() & times.is_not_null())):
        formats = [name for name in TIME_FORMATS if _parse(unread[:1], name).is_not_null().all()]
        if not formats:
            break
        found = found.zip_with(found.is_not_null(), _parse(times, formats[0]))
    return found


def _parse(texts: pl.Series, time_format: str) -> pl.Series:
    """Microseconds since 1970 of texts in one format, null for the others."""
    times = texts.str.strip_chars().str.to_datetime(time_format, time_unit="us", strict=False)
    return times.dt.epoch("us")
