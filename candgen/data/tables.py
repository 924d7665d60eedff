"""Tables in CSV, TSV, JSON lines or Parquet, read by polars as columns of text.

Values are text as it stands in the file; the numbers of Parquet and JSON files are written without
`.0`. Missing values and empty text are null.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from candgen.console import InputError, describe_error, logger
from candgen.data.log_files import Paths, log_files, log_name

import polars as pl

POLARS_ERRORS = (pl.exceptions.PolarsError, OSError)
MAX_NAMES = 1000  # characters of column names in a message
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
JSON_ROWS = 10_000  # that tell the columns of a file of JSON lines, if they have all that is needed


def read_table(
    paths: Paths,
    columns: Mapping[str, str],
    lists: Collection[str] = (),
    flags: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Read some columns of a table with an id, which is in one row only.

    Parameters
    ----------
    paths : str or sequence of str
        See `log_files`.
    columns : dict of str to str
        {name: column of the table}; `id` is among the names.
    lists : collection of str
        Columns of the table that may be lists.
    flags : dict of str to str, optional
        {name: flag that names its column}, for error messages.

    Returns
    -------
    pl.DataFrame
        Columns of text, or of lists of text, by these names; rows without an id are left out, and
        all but one of equal rows.

    Raises
    ------
    InputError
        If a file cannot be read or has no such column, or if rows with one id differ.
    """
    named: dict[str, str] = {}
    for name, column in columns.items():
        named.setdefault(column, (flags or {}).get(name, "its flag, see --help"))
    parts = {}
    for path in log_files(paths):
        table = scan_table(path, named, lists)
        texts = {name: text_of(table, column) for name, column in columns.items()}
        parts[path] = table.select(**texts)
    [table] = collect([pl.concat(parts.values())], parts)
    table = table.with_columns(map(without_decimals, table.iter_columns()))
    num_missing = table["id"].null_count()
    if num_missing:
        logger.warning(f"{log_name(paths)}: {num_missing} rows without {columns['id']} left out")
    table = table.drop_nulls("id").unique(maintain_order=True)
    repeated = table.filter(pl.col("id").is_duplicated())["id"]
    if len(repeated):
        raise InputError(
            log_name(paths),
            f"several rows with {columns['id']} {repeated[0][:80]!r} that differ",
            hint="leave one of them",
        )
    return table


def scan_table(path: str, columns: Mapping[str, str], lists: Collection[str] = ()) -> pl.LazyFrame:
    """The table of one file, which must have some columns; those in `lists` may be lists.

    Parameters
    ----------
    path : str
    columns : dict of str to str
        {column: flag that names it, for error messages}
    lists : collection of str

    Raises
    ------
    InputError
        If the file is standard input, of an unknown kind, or cannot be read, or if it lacks a
        column, or has two of one name, or a nested one.
    """
    if path == "-":
        raise InputError(None, "standard input cannot be read as a table", hint="give a file")
    os.stat(path)  # the error of Python names the file
    pattern = glob.escape(os.path.abspath(path))  # polars takes names for patterns
    kind = re.sub(r"\.(gz|zst)$", "", path.lower()).rpartition(".")[2]
    try:
        if kind in ("csv", "tsv"):
            separator = "," if kind == "csv" else "\t"
            read = partial(pl.scan_csv, pattern, separator=separator, infer_schema=False)
            table = read()
            _check_header(path, read, separator, columns)
        elif kind in ("jsonl", "ndjson"):
            table = pl.scan_ndjson(pattern, schema=_json_schema(path, pattern, columns))
        elif kind == "parquet":
            table = pl.scan_parquet(pattern, hive_partitioning=False)
        else:
            hint = "name it .csv, .tsv, .jsonl or .parquet, the first three also with .gz or .zst"
            raise InputError(path, "a table of unknown kind", hint=hint)
        schema = table.collect_schema()
    except POLARS_ERRORS as error:
        raise _unreadable(path, error) from error
    for column, flag in columns.items():
        if column not in schema:
            problem = f"no column {column!r}; there are {', '.join(schema)[:MAX_NAMES]}"
            raise InputError(path, problem, hint=f"name one of them by {flag}")
        is_list = isinstance(schema[column], pl.List)
        if schema[column].is_nested() and not (is_list and column in lists):
            problem = f"column {column!r} has values of several parts ({schema[column]})"
            raise InputError(path, problem, hint="give a column of text or numbers")
    return table


def _check_header(
    path: str, read: Callable[..., pl.LazyFrame], separator: str, columns: Collection[str]
) -> None:
    """Raise the error for a CSV with another separator, or with two columns of one name."""
    names = list(read().collect_schema())
    if len(names) == 1 and names[0] not in columns:
        for other, its_name in SEPARATORS.items():
            if other in names[0]:
                problem = f"it seems to be separated by {its_name}, not by {SEPARATORS[separator]}"
                hint = "write a .csv with commas, a .tsv with tabs"
                raise InputError(path, problem, hint=hint)
    # polars renames the second one, and it may have done so for whoever has written the table.
    renamed = [column for column in columns if f"{column}_duplicated_0" in names]
    if renamed:
        header = read(has_header=False).head(1).collect().row(0)
        for column in renamed:
            if header.count(column) > 1:
                hint = "rename one of them"
                raise InputError(path, f"several columns {column!r}", hint=hint)


def _json_schema(path: str, pattern: str, columns: Collection[str]) -> dict[str, pl.DataType]:
    """Columns of JSON lines: lists, whatever they hold, are lists of text, all else is text."""
    with open(path, "rb") as stream:
        if not any(map(bytes.strip, stream)):
            raise InputError(path, "no row in it", hint="give a table of one row or more")
    for rows in (JSON_ROWS, None):
        schema = pl.scan_ndjson(pattern, infer_schema_length=rows).collect_schema()
        # A column of nulls alone may hold lists further on.
        if all(schema.get(column, pl.Null()) != pl.Null() for column in columns):
            break
    return {
        name: pl.List(pl.String) if isinstance(kind, pl.List) else pl.String()
        for name, kind in schema.items()
    }


def text_of(table: pl.LazyFrame, column: str) -> pl.Expr:
    """A column as text, null where it is empty; a column of lists as lists of text."""
    kind = table.collect_schema()[column]
    values = pl.col(column)
    if isinstance(kind, pl.List):
        return values.cast(pl.List(pl.String))
    if kind.is_float():
        return values.fill_nan(None).cast(pl.String).str.strip_suffix(".0")
    text = values.cast(pl.String)
    return pl.when(text != "").then(text)


def without_decimals(values: pl.Series) -> pl.Series:
    """`12` for `12.0`, if all values are whole numbers: pandas writes integers with gaps so."""
    if values.dtype != pl.String or not values.str.ends_with(".0").any():
        return values
    if not values.str.contains(r"^-?[0-9]+(\.0)?$").all():
        return values
    logger.info(f"{values.name}: all are whole numbers, 12.0 is read as 12")
    return values.str.strip_suffix(".0")


def collect(
    queries: Sequence[pl.LazyFrame], parts: Mapping[str, pl.LazyFrame]
) -> list[pl.DataFrame]:
    """Results of queries on {path: table of this file}, in one reading; errors name the file."""
    try:
        return pl.collect_all(queries, engine="streaming")
    except POLARS_ERRORS as error:
        for path, part in parts.items():
            try:
                part.collect(engine="streaming")
            except POLARS_ERRORS as cause:
                raise _unreadable(path, cause) from error
        raise _unreadable(log_name(list(parts)), error) from error


def _unreadable(path: str, error: Exception) -> InputError:
    """The error for a file that polars does not read."""
    problem = describe_error(error).split("\n")[0]
    hint = "is it complete, in UTF-8, and of the kind that its name says?"
    return InputError(path, f"cannot be read ({problem})", hint=hint)
