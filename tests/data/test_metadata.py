"""Tables of items and users as text of a log."""

import json

from candgen.console import InputError
from candgen.data.percent_encoding import RESERVED, RESERVED_IN_TAGS, encode_value

import pytest

pl = pytest.importorskip("polars")
from candgen.data.metadata import (
    encoded,
    encoded_tags,
    infos_of,
    profiles_of,
    read_items,
    read_users,
    title_lines,
)

from hypothesis import example, given
from hypothesis import strategies as st

ALL = {"id": "item", "category": "cat", "tags": "tags", "title": "title"}


@given(st.lists(st.text(min_size=1), min_size=1))
@example(["NULL", "<unk>", "\ufeff\ufeff%", "a\0b", "%41", "NULLs", " NULL"])
@pytest.mark.parametrize("reserved", [RESERVED, RESERVED_IN_TAGS])
def test_the_expression_is_encode_value(reserved, texts):
    frame = pl.DataFrame({"text": texts}).with_columns(lists=pl.concat_list("text"))
    expected = [encode_value(text, reserved) for text in texts]
    assert frame.select(encoded(pl.col("text"), reserved))["text"].to_list() == expected
    if reserved == RESERVED_IN_TAGS:
        assert frame.select(encoded_tags(pl.col("lists")))["lists"].to_list() == expected


def test_items(write):
    rows = [
        {"item": "a:1", "cat": "x;y", "tags": ["t_1", "", None, "NULL", "u"], "title": "A\tb\nc"},
        {"item": "b", "cat": None, "tags": [], "title": None},
        {"item": "NULL", "cat": "", "tags": None, "title": ""},
    ]
    path = write("".join(json.dumps(row) + "\n" for row in rows), "items.jsonl")
    items = read_items(path, ALL, None)
    assert items["info"].to_list() == [
        "a%3A1:x%3By:t%5F1_%4EULL_u",
        "b:NULL:NULL",
        "%4EULL:NULL:NULL",
    ]
    assert title_lines(items).to_list() == ["a%3A1\tA b c"]
    infos, is_known = infos_of(pl.Series(["new,1", "b"]), items)
    assert infos.to_list() == ["new%2C1:NULL:NULL", "b:NULL:NULL"]
    assert is_known.to_list() == [False, True]


@pytest.mark.parametrize(("separator", "tags"), [(None, "a|b c"), (" ", "a b c"), ("||", "a||b c")])
def test_tags_as_text(write, separator, tags):
    items = read_items(
        write(f"item,tags\n1,{tags}\n2,\n", "items.csv"), {"id": "item", "tags": "tags"}, separator
    )
    expected = "a_b_c" if separator == " " else "a_b c"
    assert items["info"].to_list() == [f"1:NULL:{expected}", "2:NULL:NULL"]


def test_a_separator_of_lists(write):
    path = write('{"item":1,"tags":["a"]}\n', "items.jsonl")
    with pytest.raises(InputError, match="--tags_separator"):
        read_items(path, {"id": "item", "tags": "tags"}, "|")


def test_users(write):
    path = write("uid,plan,land\na;b,gold,NULL\nc,,DE\n", "users.csv")
    users = read_users(path, "uid", ["land", "plan"])
    profiles, is_known = profiles_of(pl.Series(["c", "a;b", "d"]), users)
    assert profiles.columns == ["user_id", "province", "city", "phone"]
    assert profiles.rows() == [
        ("c", "DE", "NULL", "NULL"),
        ("a%3Bb", "%4EULL", "gold", "NULL"),
        ("d", "NULL", "NULL", "NULL"),
    ]
    assert is_known.to_list() == [True, True, False]


def test_no_tables():
    infos, is_known = infos_of(pl.Series(["a"]), read_items(None, ALL, None))
    assert infos.to_list() == ["a:NULL:NULL"] and is_known.to_list() == [False]
    profiles, is_known = profiles_of(pl.Series(["a"]), read_users(None, "user", []))
    assert profiles.rows() == [("a", "NULL", "NULL", "NULL")] and is_known.to_list() == [False]
