"""Ids that a user lists: as in the log, as in lists, as in the user's own tables."""

from candgen.data.name_lookup import NameLookup
from candgen.data.percent_encoding import decode, encode, encode_list_id

import pytest
from hypothesis import given
from hypothesis import strategies as st

IDS = {
    name: id_
    for id_, name in enumerate(
        [
            "<unk>",
            "a%3Bb",
            "c,d",
            "50% off",
            "100%2525",
            "e%2Cf",
            "e,f",
            "g%3bh",
            "g%3Bh",
            "%3Cunk%3E",
        ]
    )
}


@pytest.mark.parametrize(
    "text, name",
    [
        ("a%3Bb", "a%3Bb"),
        ("a;b", "a%3Bb"),
        ("a%3bb", "a%3Bb"),
        ("c,d", "c,d"),
        ("c%2Cd", "c,d"),
        ("50% off", "50% off"),
        ("50%25 off", "50% off"),
        ("100%2525", "100%2525"),
        ("100%25", "100%2525"),  # in no list: the user's table has it
        ("e%2Cf", "e%2Cf"),
        ("e,f", "e,f"),
        ("g;h", "g%3bh"),  # the first of the dictionary
        ("g%3Bh", "g%3Bh"),
        ("<unk>", "%3Cunk%3E"),
        ("", None),
        ("A;B", None),
        (" a;b", None),
    ],
)
def test_how_an_id_is_found(text, name):
    assert NameLookup(IDS)(text) == name


def test_unknown_is_no_name():
    find = NameLookup({"<unk>": 0, "a": 1})
    assert find("<unk>") is find("%3Cunk%3E") is find("NULL") is None


@given(st.lists(st.text(alphabet="a%2C5;:, "), min_size=1, unique=True))
def test_ids_of_logs_and_lists(texts):
    """A percent-encoded id is found as the log has it, and as lists of either kind print it."""
    ids = {name: id_ for id_, name in enumerate(["<unk>", *map(encode, texts)])}
    find = NameLookup(ids)
    for name in map(encode, texts):
        for printed in (name, encode_list_id(name), encode_list_id(name, ",:")):
            assert find(printed) == name
            assert decode(printed) == decode(name)


@given(st.lists(st.text(alphabet="ab;:,\t_"), min_size=1, unique=True))
def test_ids_of_the_users_tables(texts):
    """Texts without percent signs, whatever a log had to encode of them."""
    ids = {name: id_ for id_, name in enumerate(["<unk>", *map(encode, texts)])}
    assert [NameLookup(ids)(text) for text in texts] == [encode(text) for text in texts]


def test_an_id_with_two_readings(capsys):
    """One warning, of the first one; none where only one reading is known."""
    find = NameLookup({"<unk>": 0, "50%25": 1, "50%2525": 2, "a%25": 3, "a%2525": 4, "b%25": 5})
    assert [find(text) for text in ("b%25", "50%2525", "b%")] == ["b%25", "50%2525", "b%25"]
    assert capsys.readouterr().err == ""
    assert [find(text) for text in ("50%25", "a%25", "50%25")] == ["50%25", "a%25", "50%25"]
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "warning: '50%25' is read as the log's id '50%25'; the log also has '50%2525', which is "
        "'50%25' in a table: write ids as in the log"
    )
