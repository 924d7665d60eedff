"""Files of any kind as lines."""

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
import zipfile

from candgen.console import InputError
from candgen.data.counting import count_log
from candgen.data.text_files import raw_lines, text_lines
from conftest import (
    SMALL_DICT,
)
from reader import Reader

import pytest
from data_helpers import (
    stdin_of,
)


def test_files_of_ids(write):
    """As in a log, byte-order marks of joined files and ends of lines belong to no id."""
    path = write(b"\xef\xbb\xbfu1\r\nu2\n\xef\xbb\xbfu3\n\n\xef\xbb\xbf\nu4")
    assert [(number, user) for _, number, user in text_lines(path)] == [
        (1, "u1"),
        (2, "u2"),
        (3, "u3"),
        (6, "u4"),
    ]
    with pytest.raises(InputError, match=":1: a carriage return within the line"):
        list(text_lines(write(b"u1\ru2\r")))


def zipped(text):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("log.txt", text)
    return stream.getvalue()


TEXT = b"u\tp\tc\tv1:a:s\tm\n" * 9


OTHER_KINDS = {
    "bzip2": (bz2.compress(TEXT), "bunzip2"),
    "bzip2 -1": (bz2.compress(TEXT, 1), "bunzip2"),
    "xz": (lzma.compress(TEXT), "xz -dc"),
    "zip": (zipped(TEXT), "unzip -p"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x58" + TEXT, "zstd -dc"),
    "UTF-16, little-endian": (b"\xff\xfe" + TEXT.decode().encode("utf-16-le"), "iconv -f UTF-16"),
    "UTF-16, big-endian": (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), "iconv -f UTF-16"),
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_other_kinds_of_files_are_named(write, monkeypatch, name):
    """In counting and encoding, from files and standard input; with a command to unpack it."""
    content, hint = OTHER_KINDS[name]
    for path in (write(content), "-"):
        for read in (count_log, lambda path: list(Reader(SMALL_DICT).encode(path))):
            with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
                patch.setattr(sys, "stdin", stdin_of(content))
                read(path)
            assert f"{path}: a {name.split()[0].rstrip(',')} file; " in str(caught.value)
            assert hint in str(caught.value)


@pytest.mark.parametrize("user", ["BZhang", "BZh91", "PK", "\u00fe\u00ff"])
def test_users_that_look_like_other_kinds(write, user):
    """A user id may begin like a file of another kind."""
    path = write(f"{user}\tp\tc\tv1:a:s\tm\n")
    assert count_log(path)[1]["user_id"] == {user: 1}
    [log] = Reader(SMALL_DICT).encode(path)
    assert log.users == [user]


@pytest.mark.parametrize("path", ["log", "parts", "parts/*"])
def test_files_that_are_not_there(tmp_path, monkeypatch, path):
    """Links to nowhere are named, also within a folder."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("parts")
    os.symlink("nowhere", "parts/part-0")
    with pytest.raises(InputError, match=r"^(log|parts/part-0): No such file or directory"):
        list(raw_lines(path))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("change", ["truncate", "grow", "touch"])
def test_a_log_that_changes_while_it_is_read(tmp_path, change, packed):
    """An error at its end at the latest, also if what is left can be read."""
    path, content = tmp_path / "log.txt", b"u\tp\tc\tv1:a:s\tm\n" * 9
    path.write_bytes(gzip.compress(content) if packed else content)
    os.utime(path, (0, 0))
    lines = raw_lines(str(path))
    next(lines)
    if change == "truncate":
        os.truncate(path, 0)
    elif change == "grow":
        with open(path, "ab") as stream:
            stream.write(path.read_bytes())
    else:
        os.utime(path)
    with pytest.raises(InputError, match=r"log\.txt: changed while it was read; give a copy"):
        list(lines)


def test_standard_input_that_does_not_wait(monkeypatch):
    """A pipe in non-blocking mode is read to its end, however late its content comes."""
    bounded_read, writing = os.pipe()
    os.set_blocking(bounded_read, False)
    line = b"u\tp\tc\tNULL\tm\n"
    writer = threading.Timer(0.3, lambda: (os.write(writing, line), os.close(writing)))
    writer.start()
    with open(bounded_read, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert [raw for *_, raw in raw_lines("-")] == [line]
    writer.join()
