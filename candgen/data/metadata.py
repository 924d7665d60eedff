"""Tables of items and users as text of a log: video-infos and profiles. Read by polars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from candgen.console import InputError
from candgen.data.dictionary import NO_VALUE, PROFILE_FEATURES
from candgen.data.log_files import Paths, log_name
from candgen.data.percent_encoding import (
    BYTE_ORDER_MARK,
    RESERVED,
    RESERVED_IN_TAGS,
    encode,
    encode_value,
)
from candgen.data.tables import read_table

import polars as pl

UNKNOWN_VALUE = "NULL"
ITEM_FLAGS = {
    "id": "--items_id_column",
    "category": "--category_column",
    "tags": "--tags_column",
    "title": "--title_column",
}
USER_FLAGS = {"id": "--users_id_column", **dict.fromkeys(PROFILE_FEATURES[1:], "--profile_columns")}
TAGS_SEPARATOR = "|"


def encoded(texts: pl.Expr, reserved: str = RESERVED) -> pl.Expr:
    """`encode_value` of each text; null where it is null."""
    special = {text: encode_value(text) for text in NO_VALUE if text}
    characters = {char: encode(char, reserved) for char in reserved}
    mark = encode_value(BYTE_ORDER_MARK)
    return (
        texts.str.replace_many(characters).str.replace(f"^{BYTE_ORDER_MARK}", mark).replace(special)
    )


def encoded_tags(tags: pl.Expr) -> pl.Expr:
    """Encoded tags of lists, joined by `_`; empty where there are none."""
    tag = pl.element()
    lists = tags.list.eval(encoded(tag.filter(tag != ""), RESERVED_IN_TAGS))
    return lists.list.join("_")


def or_unknown(texts: pl.Expr) -> pl.Expr:
    """Texts, `NULL` where they are null or empty."""
    return pl.when(texts != "").then(texts).otherwise(pl.lit(UNKNOWN_VALUE))


def read_items(
    paths: Paths | None, columns: Mapping[str, str | None], separator: str | None
) -> pl.DataFrame:
    """Read a table of items.

    Parameters
    ----------
    paths : str, sequence of str, or None
        None: no table, and no rows.
    columns : dict of str to str or None
        {name: column of the table} for id, category, tags and title; None: there is none.
    separator : str or None
        What separates tags that are not lists; None: `TAGS_SEPARATOR`.

    Returns
    -------
    pl.DataFrame
        Columns id (as in the table), info (video-info) and title, if the table has one.
    """
    if not paths:
        return pl.DataFrame(schema={"id": pl.String, "info": pl.String})
    given = {name: column for name, column in columns.items() if column}
    items = read_table(paths, given, lists=[given.get("tags")], flags=ITEM_FLAGS)
    category = tags = pl.lit(UNKNOWN_VALUE)
    if "category" in items.columns:
        category = or_unknown(encoded(pl.col("category")))
    if "tags" in items.columns:
        lists = pl.col("tags")
        if items.schema["tags"] == pl.String:
            lists = lists.str.split(separator or TAGS_SEPARATOR)
        elif separator:
            problem = f"the tags in {log_name(paths)} are lists"
            raise InputError("--tags_separator", problem, hint="leave it out")
        tags = or_unknown(encoded_tags(lists))
    info = pl.concat_str(encoded(pl.col("id")), category, tags, separator=":")
    return items.select("id", *(["title"] if "title" in items.columns else []), info=info)


def read_users(paths: Paths | None, id_column: str, profile_columns: Sequence[str]) -> pl.DataFrame:
    """Read a table of users.

    Parameters
    ----------
    paths : str, sequence of str, or None
        None: no table, and no rows.
    id_column : str
    profile_columns : sequence of str
        Columns of the table that become the profile of the log, in its order.

    Returns
    -------
    pl.DataFrame
        Columns id (as in the table) and PROFILE_FEATURES but the user id, as in the log.
    """
    features = PROFILE_FEATURES[1:]  # without the user id
    if not paths:
        return pl.DataFrame(schema=dict.fromkeys(["id", *features], pl.String))
    columns = dict(zip(features, profile_columns))
    users = read_table(paths, {"id": id_column, **columns}, flags=USER_FLAGS)
    values = {
        feature: or_unknown(encoded(pl.col(feature))) if feature in columns else pl.lit(None)
        for feature in features
    }
    return users.select("id", **values)


def infos_of(ids: pl.Series, items: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Video-infos of ids, and which of them are in the table of `read_items`."""
    rows = pl.DataFrame({"id": ids}).join(items, on="id", how="left", maintain_order="left")
    without_metadata = pl.concat_str(
        encoded(pl.col("id")), pl.lit(UNKNOWN_VALUE), pl.lit(UNKNOWN_VALUE), separator=":"
    )
    infos = rows.select(info=pl.coalesce("info", without_metadata))["info"]
    return infos, rows["info"].is_not_null()


def profiles_of(ids: pl.Series, users: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """PROFILE_FEATURES of user ids, and which of them are in the table of `read_users`."""
    users = users.with_columns(is_known=pl.lit(True))
    rows = pl.DataFrame({"id": ids}).join(users, on="id", how="left", maintain_order="left")
    profiles = rows.select(
        encoded(pl.col("id")).alias(PROFILE_FEATURES[0]),
        pl.col(PROFILE_FEATURES[1:]).fill_null(UNKNOWN_VALUE),
    )
    return profiles, rows["is_known"].fill_null(False)


def title_lines(items: pl.DataFrame) -> pl.Series:
    """Lines `id tab title` of the items with a title, in which tabs and newlines are blanks."""
    title = pl.col("title").str.replace_all(r"[\t\r\n\x00]+", " ")
    lines = pl.concat_str(encoded(pl.col("id")), title, separator="\t")
    return items.drop_nulls("title").select(line=lines)["line"]
