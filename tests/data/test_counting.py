"""Counting a log, against a plain count."""

import math
import os
import shutil
from collections import Counter

from candgen.console import InputError
from candgen.data import counting
from candgen.data.counting import count_log, limit_users
from candgen.data.counting_processes import count_ranges, divide_files
from candgen.data.counts import Counts
from candgen.data.dictionary import (
    build_dictionary,
    item_frequencies,
)
from candgen.data.logs import BadLines
from conftest import (
    FEATURES,
    LINES,
    last_clicks,
    log_text,
)

import pytest
from data_helpers import (
    LOG,
)
from hypothesis import example, given
from hypothesis import strategies as st

CHANGES = {
    "shorter": lambda path: os.truncate(path, len(LOG.encode()) * 3),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.open("a").write(LOG),
    "rewritten": lambda path: path.write_text(LOG * 9, encoding="utf-8"),
    "replaced": lambda path: os.replace(shutil.copy(path, f"{path}.new"), path),
    "removed": lambda path: path.unlink(),
}


@given(lines=st.lists(LINES, max_size=10), limit=st.integers(1, 4))
def test_against_a_plain_count(tmp_path_factory, lines, limit):
    """Counts, dictionary and frequencies, from every click of every line."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    counted, counts = count_log(str(path))
    line_count, clicks = counted.lines, counted.clicks
    plain = {feature: Counter() for feature in FEATURES}
    for user, province, city, infos, phone in lines:
        plain["province"][province] += 1
        plain["city"][city] += 1
        plain["phone"][phone] += 1
        for info in infos:
            video, category, tags = info.rsplit(":", 2)
            plain["user_id"][user] += 1
            plain["history_clicked_items"][video] += 1
            plain["history_clicked_categories"][category] += 1
            for tag in tags.split("_"):
                plain["history_clicked_tags"][tag] += 1
    assert (line_count, clicks) == (len(lines), sum(plain["user_id"].values()))
    for feature in FEATURES:
        dictionary = build_dictionary(counts[feature], limit)
        expected = {value for value, count in plain[feature].items() if count >= limit} - {
            "",
            "NULL",
            "<unk>",
        }
        assert dictionary.keys() == expected | {"<unk>"}
        assert list(dictionary.values()) == list(range(len(dictionary)))
        order = list(dictionary)[1:]
        for one, next_one in zip(order, order[1:]):
            assert (-plain[feature][one], one) < (-plain[feature][next_one], next_one)
    if not clicks:
        return
    videos = build_dictionary(counts["history_clicked_items"], limit)
    freq = item_frequencies(counts["history_clicked_items"], videos)
    assert math.isclose(sum(freq), 1)
    assert freq[1:] == [
        plain["history_clicked_items"][video] / clicks for video in list(videos)[1:]
    ]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("change", CHANGES)
def test_a_log_that_changes_while_it_is_counted(tmp_path, monkeypatch, change, processes):
    """After it was divided into ranges: an error, neither an endless loop nor other counts."""
    path = tmp_path / "log.txt"
    path.write_text(LOG * 9, encoding="utf-8")
    os.utime(path, (0, 0))  # so that the time of the change is another one, however soon it comes

    def divide_and_change(files, count):
        shares = divide_files(files, count)
        CHANGES[change](path)
        return shares

    monkeypatch.setattr(counting, "divide_files", divide_and_change)
    with pytest.raises(InputError, match=r"log\.txt: changed while it was read; give a copy"):
        count_log(str(path), processes)


@given(lines=st.lists(LINES, max_size=10), limit=st.integers(1, 15), parts=st.integers(1, 4))
@example(
    [
        ("u1", "p1", "", ["v1:a:s", "v2:a:s"], ""),
        ("u1", "p1", "", ["v3:b:t"], ""),
        ("", "", "", ["v1:a:s"] * 3, ""),
        ("", "", "", ["v2:a:s"] * 3, ""),
    ],
    2,
    2,
)
def test_the_last_clicks_of_each_user(tmp_path_factory, lines, limit, parts):
    """Over all lines of a user, in the order of the log; also in shares that are merged."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(last_clicks(lines, limit)), encoding="utf-8")
    _, expected = count_log(str(path))
    path.write_text(log_text(lines), encoding="utf-8")
    counted, counts = count_log(str(path), max_user_clicks=limit)
    assert counted.lines == len(lines)
    assert {name: +values for name, values in counts.items()} == {
        name: +values for name, values in expected.items()
    }
    assert sum(counted.left_out.values()) == sum(len(line[3]) for line in lines) - counted.clicks
    merged = Counts(limit)
    for share in divide_files([str(path)], parts):
        merged.merge(count_ranges(share, limit))
    assert vars(limit_users(merged, [str(path)])) == vars(counted)


def test_a_malformed_click_that_does_not_count_is_named(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("u1\t\t\tv1:a:s\t\nu1\t\t\tv1:a;v2:a:s;v3:a:s\t\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"log\.txt:2: video-info 'v1:a' is not"):
        count_log(str(path), max_user_clicks=2)
    counted, _ = count_log(str(path), bad_lines=BadLines(1), max_user_clicks=2)
    assert counted.infos == {"v1:a:s": 1}
