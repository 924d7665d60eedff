"""argparse types."""

import argparse

from candgen.options import folder_type, number_type, path_type

import pytest


@pytest.mark.parametrize(
    "kind, minimum, maximum, above, good, bad",
    [
        (int, 1, 9, False, ["1", "9", " 5 "], ["0", "10", "-3", "1.5", "x", "", "1e3"]),
        (float, 0, 1, True, ["1", "0.001", "1e-9"], ["0", "1.01", "-1", "nan", "inf", "x"]),
        (float, 0, float("inf"), False, ["0", "1e300"], ["-0.1", "inf", "nan", "-inf"]),
    ],
)
def test_numbers(kind, minimum, maximum, above, good, bad):
    convert = number_type(kind, minimum, maximum, above)
    assert [convert(text) for text in good] == [kind(text) for text in good]
    for text in bad:
        with pytest.raises((ValueError, argparse.ArgumentTypeError)):
            convert(text)


def test_home_in_paths(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/u")
    assert [path_type(path) for path in ("~/x", "a/~", "-")] == ["/home/of/u/x", "a/~", "-"]


@pytest.mark.parametrize(
    "text, what",
    [
        ("", "an empty path"),
        ("file:///data/log.txt", "is a URL"),
        ("hdfs://host/out", "is a URL"),
        ("~nobody-of-this-name/x", "the home folder is unknown"),
    ],
)
def test_what_is_no_path(text, what):
    """Refused, rather than made a folder of that name."""
    for convert in (path_type, folder_type):
        with pytest.raises(argparse.ArgumentTypeError, match=what):
            convert(text)


def test_a_name_that_begins_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~log").write_text("")
    assert [path_type(path) for path in ("~log", "./~new")] == ["~log", "./~new"]
