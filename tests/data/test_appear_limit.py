"""The default of --feat_appear_limit, and what a limit leaves out."""

from candgen.data.appear_limit import (
    LIMITS,
    MANY,
    MAX_LEFT_OUT,
    choose_limit,
    kept_line,
    left_out_share,
    warn_of_left_out,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st

FREQUENT = {"a": 900, "b": 90}  # 990 clicks: 10 more are 1%


@pytest.mark.parametrize(
    "rare, max_user_clicks, limit",
    [
        ([], None, 20),
        ([9, 1], None, 20),  # 1% are left out
        ([19], None, 10),
        ([9, 2], None, 5),
        ([4] * 3, None, 3),
        ([2] * 6, None, 2),
        ([1] * 11, None, 1),
        ([9, 1], 19, 10),
        ([9, 1], 4, 3),
        ([1] * 11, 4, 1),
    ],
)
def test_the_chosen_limit(rare, max_user_clicks, limit):
    """Clicks without a video-id do not count."""
    counts = {**FREQUENT, **{f"rare{number}": count for number, count in enumerate(rare)}}
    assert choose_limit(counts, max_user_clicks) == limit
    assert choose_limit({**counts, "": 500, "NULL": 7, "<unk>": 7}, max_user_clicks) == limit


def test_no_clicks():
    assert choose_limit({}) == choose_limit({"NULL": 9}) == LIMITS[0]
    assert left_out_share({}, {}) == left_out_share({"NULL": 9}, {}) == 0


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(1, 30), min_size=1))
def test_no_larger_limit_would_do(counts):
    def share(limit):
        return left_out_share(counts, {value for value in counts if counts[value] >= limit})

    chosen = choose_limit(counts)
    assert share(chosen) <= MAX_LEFT_OUT
    assert all(share(limit) > MAX_LEFT_OUT for limit in LIMITS if limit > chosen)


def test_kept_values():
    """Values of the log and listed ones are found; NULL is none."""
    counts = {"a": 6, "b": 1, "c": 1, "NULL": 50}
    line = "f: 2 of 4 values, with <unk>; 2 left out, 25.00% of occurrences"
    assert kept_line("f", counts, {"<unk>": 0, "a": 1}) == line
    everything = {"<unk>": 0, "a": 1, "b": 2, "c": 3, "new": 4}
    assert kept_line("f", counts, everything, {"new", "a"}) == "f: 5 of 5 values, with <unk>"
    assert kept_line("f", {}, {"<unk>": 0}) == "f: 1 of 1 values, with <unk>"
    assert kept_line("f", {"u": 0}, {"<unk>": 0}) == (
        "f: 1 of 2 values, with <unk>; 1 left out, 0.00% of occurrences"
    )


def test_warning_about_many_clicks(capsys):
    """More than a fifth of those with a video-id."""
    counts = {"a": 80, "b": 10, "c": 10, "NULL": 1000}
    assert MANY == 0.2
    warn_of_left_out("log.txt", counts, {"a": 1}, 20)
    assert capsys.readouterr().err == ""
    warn_of_left_out("log.txt", {**counts, "d": 1}, {"a": 1}, 20)
    assert capsys.readouterr().err.endswith(
        "warning: log.txt: 21% of the clicks are on videos with fewer than --feat_appear_limit=20 "
        "clicks, which are neither trained on nor recommended; give a lower one (10 leaves out 1% "
        "at most)\n"
    )
