"""Lists as text, in each format."""

from urllib.parse import unquote

from candgen.serving.lists import ListFormatter, VideoLists
from conftest import feature_dict_of

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

VIDEOS = feature_dict_of(history_clicked_items=["a", "b,1", "100%", "c:d%3B"])
TITLES = ["", "A", "", "100%, 3:4", "%2C"]
LISTS = VideoLists(
    ["u", "v,:%", "w", "x"],
    np.array([[2, 1], [1, 3], [4, 0], [0, 0]]),
    np.array([[0.75, 0.25], [1.0, 0.0], [1 / 3, 0], [0, 0]]),
)
EXPLAINED = VideoLists(
    LISTS.owners,
    LISTS.ids,
    LISTS.values,
    np.array([[4, 0], [3, 2], [2, 0], [0, 0]]),
    np.array([[1.5, 0], [1e-7, 123456.7], [2, 0], [0, 0]]),
)


@pytest.mark.parametrize(
    "lists, titles, expected",
    [
        (LISTS, None, "u\tb%2C1:0.75,a:0.25\nv,:%\ta:1,100%25:0\nw\tc:d%3B:0.333333\nx\t\n"),
        (
            LISTS,
            TITLES,
            "u\tb%2C1:0.75:,a:0.25:A\nv,:%\ta:1:A,100%25:0:100%25%2C 3%3A4\n"
            "w\tc%3Ad%3B:0.333333:%252C\nx\t\n",
        ),
        (
            EXPLAINED,
            None,
            "u\tb%2C1:0.75:c%3Ad%3B:1.5,a:0.25::0\nv,:%\ta:1:100%25:1e-07,100%25:0:b%2C1:123457\n"
            "w\tc%3Ad%3B:0.333333:b%2C1:2\nx\t\n",
        ),
        (
            EXPLAINED,
            TITLES,
            "u\tb%2C1:0.75::c%3Ad%3B:1.5:%252C,a:0.25:A::0:\n"
            "v,:%\ta:1:A:100%25:1e-07:100%25%2C 3%3A4,100%25:0:100%25%2C 3%3A4:b%2C1:123457:\n"
            "w\tc%3Ad%3B:0.333333:%252C:b%2C1:2:\nx\t\n",
        ),
    ],
)
def test_lists(lists, titles, expected):
    formatter = ListFormatter("lists", VIDEOS, titles, lists.causes is not None)
    assert (formatter.header, formatter.text(lists)) == ("", expected)


def test_long():
    """Ids and titles as they are; a user without videos has no row."""
    formatter = ListFormatter("long", VIDEOS)
    assert formatter.header == "user\trank\tvideo\tprobability\n"
    assert formatter.text(LISTS) == (
        "u\t1\tb,1\t0.75\nu\t2\ta\t0.25\nv,:%\t1\ta\t1\nv,:%\t2\t100%\t0\nw\t1\tc:d%3B\t0.333333\n"
    )
    formatter = ListFormatter("long", VIDEOS, TITLES, True)
    assert formatter.header == (
        "user\trank\tvideo\tprobability\ttitle\tbecause\tdrop\tbecause_title\n"
    )
    assert formatter.text(EXPLAINED) == (
        "u\t1\tb,1\t0.75\t\tc:d%3B\t1.5\t%2C\nu\t2\ta\t0.25\tA\t\t0\t\n"
        "v,:%\t1\ta\t1\tA\t100%\t1e-07\t100%, 3:4\nv,:%\t2\t100%\t0\t100%, 3:4\tb,1\t123457\t\n"
        "w\t1\tc:d%3B\t0.333333\t%2C\tb,1\t2\t\n"
    )
    similar = ListFormatter("long", VIDEOS, columns=("video", "similar", "cosine"))
    assert similar.header == "video\trank\tsimilar\tcosine\n"


def test_no_lists():
    none = VideoLists([], np.zeros((0, 3), np.int64), np.zeros((0, 3)))
    for name in ("lists", "long"):
        assert ListFormatter(name, VIDEOS).text(none) == ""


PLAIN_TEXT = st.text(alphabet='a%2C53A:, "é', min_size=1, max_size=6)


@given(st.data(), st.booleans(), st.booleans())
def test_both_formats_hold_the_same(data, with_titles, explained):
    """Lists can be split at commas, then at colons, and decode to what the table has."""
    names = data.draw(st.lists(PLAIN_TEXT, min_size=1, max_size=5, unique=True))
    feature_dict = feature_dict_of(history_clicked_items=names)
    size = len(names) + 1
    titles = None
    if with_titles:
        titles = data.draw(st.lists(PLAIN_TEXT, min_size=size, max_size=size))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    ids, causes = rng.integers(1, size, (3, 4)), rng.integers(1, size, (3, 4))
    ids[1, 2:] = 0
    lists = VideoLists(["u", "v", "w"], ids, rng.random((3, 4)))
    if explained:
        lists = VideoLists(lists.owners, ids, lists.values, causes, rng.random((3, 4)))
    texts = {
        name: ListFormatter(name, feature_dict, titles, explained).text(lists)
        for name in ("lists", "long")
    }
    from_lists = []
    for line in texts["lists"].splitlines():
        owner, entries = line.split("\t")
        for rank, entry in enumerate(entries.split(","), 1):
            fields = entry.split(":") if with_titles or explained else entry.rsplit(":", 1)
            from_lists.append([owner, str(rank), *fields])
    is_title = [with_titles and field in (4, 7 if explained else 4) for field in range(8)]
    from_long = [line.split("\t") for line in texts["long"].splitlines()]
    assert len(from_lists) == len(from_long) == 10
    for row, expected in zip(from_lists, from_long):
        assert [unquote(field) for field in row] == [
            field if titled else unquote(field) for field, titled in zip(expected, is_title)
        ]
