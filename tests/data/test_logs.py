"""Parsing of lines."""

import gzip
import sys

from candgen.data.logs import read_log, split_video_info
from conftest import (
    INFOS,
)

import pytest
from data_helpers import (
    stdin_of,
)
from hypothesis import given


@given(INFOS)
def test_video_info_round_trip(info):
    video, category, tags = split_video_info(info)
    assert f"{video}:{category}:{'_'.join(tags)}" == info


@pytest.mark.parametrize(
    "content",
    [
        b"u\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm\n",
        b"u\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm",  # no newline at the end
        b"u\tp\tc\tv1:a:s\tm\r\n\r\n\nw\tp\tc\tNULL\tm\r\n",
        b"\xef\xbb\xbfu\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm\n",
        # joined exports, two of them empty
        b"u\tp\tc\tv1:a:s\tm\n\xef\xbb\xbfw\tp\tc\tNULL\tm\n\xef\xbb\xbf\n\xef\xbb\xbf",
        b"\xef\xbb\xbf" * 2 + b"u\tp\tc\tv1:a:s\tm\r\nw\tp\tc\tNULL\tm\n",
        gzip.compress(b"\xef\xbb\xbfu\tp\tc\tv1:a:s\tm\n")
        + gzip.compress(b"")
        + gzip.compress(b"\xef\xbb\xbfw\tp\tc\tNULL\tm\r\n")
        + bytes(512),  # filled up with zeros, as on a tape
        gzip.compress(b"u\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm\n", mtime=0),
    ],
)
def test_the_same_log_in_other_formats(write, content):
    lines = list(read_log(write(content), lambda line: line))
    assert [tuple(line.columns) for line in lines] == [
        ("u", "p", "c", "v1:a:s", "m"),
        ("w", "p", "c", "NULL", "m"),
    ]
    assert [line.infos for line in lines] == [["v1:a:s"], []]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", stdin_of(b"u\tp\tc\tv1:a:s\tm\n"))
    assert [*read_log("-", lambda line: line.columns[0])] == ["u"]
