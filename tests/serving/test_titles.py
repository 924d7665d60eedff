"""The file of --names."""

import gzip
import re

from candgen.console import InputError
from candgen.serving.titles import read_titles

import pytest

VIDEOS = {"<unk>": 0, "V1": 1, "a%3Bb": 2, "c,d": 3}


@pytest.mark.parametrize(
    "text, titles",
    [
        ("V1\tOne\na%3Bb\tTwo\nc,d\tThree\n", ["", "One", "Two", "Three"]),
        ("a;b\tTwo\n\nc%2Cd\tThree\r\n", ["", "", "Two", "Three"]),
        ('V1\tOne: 100%, "really"\nV1\tOne: 100%, "really"', ["", 'One: 100%, "really"', "", ""]),
        ("V1\t\nV1\tOne\nV1\t\n", ["", "One", "", ""]),
        ("", ["", "", "", ""]),
    ],
)
def test_titles_by_id(write, text, titles):
    assert read_titles(write(text), VIDEOS) == titles


def test_what_is_told_about_a_file(write, capsys):
    """One line for unknown ids, one for videos without a title, none if all have one."""
    path = write("V1\tOne\nnew\tx\nnewer\tx\n<unk>\tx\n")
    read_titles(path, VIDEOS)
    lines = [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        f"{path}: 1 of its 4 videos are known",
        f"{path}: 2 of the 3 videos have no title",
    ]
    read_titles(write("V1\tOne\na;b\tx\nc,d\tx\n"), VIDEOS)
    assert capsys.readouterr().err.endswith(f"{path}: 3 of its 3 videos are known\n")


@pytest.mark.parametrize(
    "text, what",
    [
        ("V1\tOne\n\nV1\n", ":3: 1 columns instead of 2; write ids one a line, with a tab and"),
        ("V1\tOne\tx\n", ":1: 3 columns instead of 2; "),
        ("V1\tOne\nc,d\tx\nV1\tAnother\n", ":3: a second title of video 'V1'; write one title"),
        ("a%3Bb\tOne\na;b\tAnother\n", ":2: a second title of video 'a;b'; "),
        ('v1\tOne\n"V1"\tx\n', ": 2 of its 2 videos are not known to the model, such as 'v1'; "),
    ],
)
def test_files_that_are_refused(write, text, what):
    path = write(text)
    with pytest.raises(InputError, match=re.escape(path + what)):
        read_titles(path, VIDEOS)


def test_packed_and_damaged_files(write):
    packed = gzip.compress(b"V1\tOne\n")
    assert read_titles(write(packed), VIDEOS) == ["", "One", "", ""]
    for content in (packed[:-9], b"V1\t\xff\n"):
        with pytest.raises(InputError, match=r"log.txt:\d: (damaged gzip data|not UTF-8)"):
            read_titles(write(content), VIDEOS)
