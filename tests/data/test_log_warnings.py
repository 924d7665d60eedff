"""Warnings about logs that count badly."""

from candgen.data.counting import count_log
from candgen.data.log_warnings import warn_of_colons, warn_of_odd_counts

import pytest
from data_helpers import (
    LIMITED,
)


def crowd(users, bot_clicks):
    """A log of `users` users of two clicks each, and BOT."""
    lines = [f"u{user}\t\t\tv1:a:s;v2:a:s\t\n" for user in range(users)]
    return "".join(lines) + "BOT\t\t\t" + ";".join(["v3:b:t"] * bot_clicks) + "\t\n"


def warnings_of(folder, capsys, text, limit=1, catalogue=(), **options):
    """Warnings of data_processor.py about a log."""
    (folder / "log.txt").write_text(text, encoding="utf-8")
    counted, counts = count_log(str(folder / "log.txt"), **options)
    warn_of_odd_counts("log.txt", counted, counts["history_clicked_items"], limit)
    warn_of_colons("log.txt", [*counted.infos, *catalogue])
    return [line.partition(": warning: ")[2] for line in capsys.readouterr().err.splitlines()]


def test_heavy_users_are_named(tmp_path, capsys):
    """More than 5% of all clicks, in logs of at least 50 users; lines without an id are no user."""
    [line] = warnings_of(tmp_path, capsys, crowd(99, 12))
    assert line.startswith(
        "log.txt: user 'BOT' has 6% of all clicks, 6 times the mean of the 100 users"
    )
    assert "--max_user_clicks=N" in line
    assert warnings_of(tmp_path, capsys, crowd(99, 10)) == []
    assert len(warnings_of(tmp_path, capsys, crowd(49, 90))) == 1
    assert warnings_of(tmp_path, capsys, crowd(48, 90)) == []
    assert warnings_of(tmp_path, capsys, crowd(99, 90), max_user_clicks=9) == []
    assert warnings_of(tmp_path, capsys, crowd(99, 90).replace("BOT", "NULL")) == []


def test_limits_that_exclude_each_other(tmp_path, capsys):
    [line] = warnings_of(tmp_path, capsys, LIMITED, 3, max_user_clicks=2)
    assert line.startswith("no user-id is in the dictionary: --max_user_clicks=2 ")
    assert warnings_of(tmp_path, capsys, LIMITED, 3, max_user_clicks=3) == []


def test_clicks_without_a_video_are_counted(tmp_path, capsys):
    [line] = warnings_of(tmp_path, capsys, "u\t\t\t:a:s;NULL:a:s;:a:s;v1:a:s\t\n")
    assert line.startswith("log.txt: 3 clicks have no video-id")


@pytest.mark.parametrize(
    "infos, catalogue, warned",
    [
        (
            ["v1:Music:rock", "v1:How-to: DIY:lo:fi"],
            [],
            "1 video-ids are followed by different numbers of colons, as in "
            "'v1:Music:rock' and 'v1:How-to: DIY:lo:fi'",
        ),
        (["v1:Music:rock"], ["v1:How-to: DIY:rock"], "1 video-ids"),
        (
            ["v2:a:b:c", "v1:a:b", "v2:a:b", "v1:a:b:c:d", "v1:x:y"],
            [],
            "2 video-ids are followed by different numbers of "
            "colons, as in 'v1:a:b' and 'v1:a:b:c:d'",
        ),
        (["show:live:1:a:s", "show:live:2:b:t", "v1:a:s", "v1:b:t", ":a:s", "::a:s"], [], None),
    ],
)
def test_colons_within_values(tmp_path, capsys, infos, catalogue, warned):
    lines = warnings_of(tmp_path, capsys, f"u\t\t\t{';'.join(infos)}\t\n", catalogue=catalogue)
    found = [line for line in lines if "colons" in line]
    assert len(found) == bool(warned) and (not warned or found[0].startswith(f"log.txt: {warned}"))
