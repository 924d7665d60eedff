"""Counts of parts of a log: written, read and merged."""

import pickle

from candgen.console import InputError
from candgen.data.counting import count_log
from candgen.data.counts import merge_counts

import pytest
from data_helpers import (
    LIMITED,
)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([1]),
        pickle.dumps(
            {
                "lines": 1,
                "infos": {},
                "profile": {name: {} for name in ("user_id", "province", "city", "phone")},
                "max_user_clicks": "9",
            }
        ),
        pickle.dumps({"lines": 1, "infos": {"v:a:b": -1}, "profile": {}}),
        b"no pickle",
        pickle.dumps(
            {
                "lines": 1,
                "infos": {"v": 1},
                "profile": {name: {} for name in ("user_id", "province", "city", "phone")},
            }
        ),
    ],
)
def test_files_that_are_not_counts(tmp_path, content):
    (tmp_path / "counts.pkl").write_bytes(content)
    with pytest.raises(InputError, match=r"counts\.pkl: damaged .*--counts_only wrote"):
        merge_counts([str(tmp_path / "counts.pkl")])


def counts_file(folder, text, limit):
    """counts.pkl of a part of a log, as --counts_only writes it."""
    folder.mkdir()
    (folder / "log.txt").write_text(text, encoding="utf-8")
    counts, _ = count_log(str(folder / "log.txt"), max_user_clicks=limit)
    with open(folder / "counts.pkl", "wb") as stream:
        counts.dump(stream)
    return str(folder / "counts.pkl")


def test_limited_parts_are_merged_or_refused(tmp_path):
    """As the whole log if no user exceeds the limit over several parts; otherwise an error."""
    first, *others = LIMITED.splitlines(True)
    parts = [counts_file(tmp_path / "one", first, 3), counts_file(tmp_path / "two", others[0], 3)]
    (tmp_path / "both.txt").write_text(first + others[0], encoding="utf-8")
    whole, _ = count_log(str(tmp_path / "both.txt"), max_user_clicks=3)
    merged = merge_counts(parts)
    assert (merged.infos, merged.profile, merged.max_user_clicks) == (whole.infos, whole.profile, 3)
    last = counts_file(tmp_path / "three", others[1], 3)
    with pytest.raises(
        InputError, match="user 'u1' has clicks in several parts, together more than --max_user"
    ):
        merge_counts([*parts, last])
    other = counts_file(tmp_path / "four", others[1], None)
    with pytest.raises(
        InputError, match="counted with --max_user_clicks=None, parts before it with 3"
    ):
        merge_counts([*parts, other])
    with pytest.raises(InputError, match="given twice"):
        merge_counts([parts[0], *parts])
