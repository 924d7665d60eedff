"""Earlier clicks by user: which are kept, and which is the last."""

from candgen.data.earlier_clicks import EarlierClicks

import pytest


@pytest.mark.parametrize("limit, kept", [(None, [3, 4, 3, 5]), (4, [3, 4, 3, 5]), (2, [3, 5])])
def test_lines_follow_each_other(limit, kept):
    """Clicks on unknown videos (row 0) do not count, except as the last click."""
    clicks = EarlierClicks(limit)
    clicks.add("u", [3, 0, 4])
    clicks.add("other", [7])
    clicks.add("u", [3, 5])
    assert (list(clicks.known("u")), clicks.last("u"), len(clicks)) == (kept, 5, 2)
    clicks.add("u", [0])
    assert (list(clicks.known("u")), clicks.last("u")) == (kept, 0)
    clicks.add("u", [])
    assert clicks.last("u") == 0
    clicks.add("u", [9])
    assert (list(clicks.known("u")), clicks.last("u")) == ([*kept, 9][-(limit or 9) :], 9)


def test_nobody():
    """Users without a click, with unknown ones alone, and lines without a user id."""
    clicks = EarlierClicks(3)
    for user in ("", "NULL", "<unk>"):
        clicks.add(user, [1])
        assert (list(clicks.known(user)), clicks.last(user)) == ([], -1)
    clicks.add("none", [])
    clicks.add("unknown", [0, 0])
    assert (list(clicks.known("none")), clicks.last("none")) == ([], -1)
    assert (list(clicks.known("unknown")), clicks.last("unknown")) == ([], 0)
    assert len(clicks) == 0
