"""Logs from arrays of clicks."""

import io

from candgen.data.splits import Clicks

import numpy as np
import pytest

pl = pytest.importorskip("polars")
from candgen.data import log_writer


@pytest.mark.parametrize("clicks_at_a_time", [1, 2, 3, 100])
def test_lines(monkeypatch, clicks_at_a_time):
    """Users are whole lines, however many clicks are in memory; 0 clicks are no line."""
    monkeypatch.setattr(log_writer, "CLICKS_AT_A_TIME", clicks_at_a_time)
    clicks = Clicks(
        np.array([0, 0, 0, 1, 3, 3], np.int32), np.array([1, 0, 1, 1, 0, 0], np.int32), np.zeros(6)
    )
    profiles = pl.DataFrame(
        {"user_id": ["a", "b", "c", "ü"], "province": "p", "city": "NULL", "phone": "t"}
    )
    stream = io.BytesIO()
    lengths = np.array([2, 0, 0, 2])
    infos = pl.Series(["v:1:x", "w:2:y"])
    assert log_writer.write_log(stream, clicks, lengths, infos, profiles) == 2
    assert stream.getvalue().decode() == "a\tp\tNULL\tw:2:y;v:1:x\tt\nü\tp\tNULL\tv:1:x;v:1:x\tt\n"


def test_nothing():
    stream = io.BytesIO()
    assert log_writer.write_lines(stream, pl.Series([], dtype=pl.String)) == 0
    assert stream.getvalue() == b""
