"""Encoded logs and their fingerprints."""

import gzip
import tracemalloc

from conftest import (
    SMALL_DICT,
)
from reader import Reader


def test_fingerprint_of_a_log(write):
    """Equal for equal lines, packed or not; different for any difference between ids."""
    text = "u1\tp1\tc1\tv1:a:s;v2:b:t\tm1\nu2\tp\tc\tv3:a:s\tm\n"

    def fingerprint(content):
        [log] = Reader(SMALL_DICT).encode(write(content))
        return log.fingerprint()

    first = fingerprint(text)
    assert (
        first
        == fingerprint(gzip.compress(text.encode()))
        == fingerprint(text.replace("\n", "\r\n"))
    )
    others = {
        fingerprint(text.replace(old, new, 1))
        for old, new in [
            ("u1", "u8"),
            ("u1", "u2"),
            ("p1", "p"),
            ("c1", "c2"),
            ("m1", "m"),
            ("v1", "v3"),
            (":a:s;", ":b:s;"),
            (":s;", ":t;"),
            ("v1:a:s;v2:b:t", "v2:b:t;v1:a:s"),
            (";v2:b:t", ""),
            ("\nu2\t", "\nu3\t"),
        ]
    }
    assert len(others) == 11 and first not in others


def test_one_long_user_id_costs_its_own_length_only(write):
    path = write("".join(f"{'u' * 20000 if n == 0 else n}\tp\tc\tv1:a:s\tm\n" for n in range(1000)))
    tracemalloc.start()
    try:
        [log] = Reader(SMALL_DICT).encode(path)
        log.fingerprint()
        assert (
            tracemalloc.get_traced_memory()[1] < 20 << 20
        )  # a thousand of its length would take 80 MB
    finally:
        tracemalloc.stop()
