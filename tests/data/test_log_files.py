"""Files of a log: part files, patterns, folders that cannot be read."""

import contextlib
import os

from candgen.console import InputError
from candgen.data.log_files import log_files
from candgen.data.text_files import raw_lines

import pytest


def test_files_of_a_log(tmp_path):
    """Folders of Hadoop, patterns, lists; names that begin with _ or . are ignored."""
    for name in ("part-00001.gz", "part-00000", "_SUCCESS", ".part-00000.crc", "other"):
        (tmp_path / name).write_text("")
    (tmp_path / "_logs").mkdir()
    folder, parts = str(tmp_path), [f"{tmp_path}/part-00000", f"{tmp_path}/part-00001.gz"]
    assert log_files(folder) == [f"{tmp_path}/other", *parts]
    assert log_files(f"{folder}/part-*") == parts
    assert log_files([f"{folder}/other", f"{folder}/p*", "-"]) == [
        f"{folder}/other",
        *parts,
        "-",
    ]
    (tmp_path / "day-1").mkdir()
    (tmp_path / "day-1" / "part-00000").write_text("")
    assert log_files(f"{folder}/[dp]*") == [
        f"{tmp_path}/day-1/part-00000",
        *parts,
    ]  # finds folders too
    for missing in (f"{folder}/q*", f"{folder}/_logs"):
        with pytest.raises(InputError, match="no file there"):
            log_files(missing)


def test_patterns_as_they_are_typed(tmp_path, monkeypatch):
    """Slashes at the end, brackets and spaces in names, `**`; links list no file twice."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "day 1/part-0",
        "day 1/_SUCCESS",
        "old [1]/part-0",
        "old [1]/a/b/part-[0].txt",
        "_temporary/part-0",
    ):
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "w", encoding="utf-8"):
            pass
    os.symlink("..", "old [1]/a/up")
    for path, files in {
        "day 1/": ["day 1/part-0"],
        "./day 1": ["./day 1/part-0"],
        "day*/": ["day 1/part-0"],
        "*/part-0": ["day 1/part-0", "old [1]/part-0"],
        "_temporary/*": ["_temporary/part-0"],
        "old [1]/part-*": ["old [1]/part-0"],
        "old [[]1]/part-*": ["old [1]/part-0"],
        "old [1]/a/b/part-[0].txt": ["old [1]/a/b/part-[0].txt"],
        "old [1]/**": ["old [1]/a/b/part-[0].txt", "old [1]/part-0"],
        "**/part-*": ["./day 1/part-0", "./old [1]/a/b/part-[0].txt", "./old [1]/part-0"],
    }.items():
        assert log_files(path) == files


@pytest.mark.parametrize(
    "paths, what",
    [
        (["log", "./log"], "./log: given twice"),
        (["log", "link"], "link: given twice"),
        (["parts", "parts/part-*"], "parts/part-0: given twice"),
        (["-", "-"], "-: given twice"),
        ("nested", r"nested/part-1: a folder among part files; .* give a pattern .*'nested/\*\*'"),
        ("pipes", "pipes/part-1: not a regular file"),
        ("pipes/*", "pipes/part-1: not a regular file"),
        ("parts/q*", r"parts/q\*: no file there"),
        ("parts/**/q*", "no file there"),
        ("log/*", "no file there"),
        ("nowhere/*", "no file there"),
        ("[*", r"\[\*: no file there"),
    ],
)
def test_what_cannot_be_a_log(tmp_path, monkeypatch, paths, what):
    monkeypatch.chdir(tmp_path)
    for name in ("parts", "nested/part-1", "pipes"):
        os.makedirs(name)
    for name in ("log", "parts/part-0", "nested/part-0", "pipes/part-0"):
        (tmp_path / name).write_text("")
    os.mkfifo("pipes/part-1")
    os.symlink("log", "link")
    with pytest.raises(InputError, match=what):
        log_files(paths)


@contextlib.contextmanager
def without_privileges():
    """Run as a user without root's permissions; skip the test if that is not possible."""
    if os.geteuid():
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip("cannot become another user")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    "path, closed, mode",
    [
        ("clicks/*/part-*", "clicks/b", 0o000),
        ("clicks/*/part-0", "clicks/b", 0o600),
        ("clicks/*/part-*", "clicks/b", 0o711),
        ("clicks/*", "clicks/b", 0o000),
        ("clicks/**", "clicks/b", 0o000),
        ("clicks/**/part-0", "clicks/b", 0o000),
        ("clicks/b", "clicks/b", 0o000),
        ("clicks/b/*", "clicks/b", 0o711),
        ("clicks/[ab]/*", "clicks", 0o000),
        ("clicks/b/part-0", "clicks/b/part-0", 0o000),
        ("clicks/*/part-*", "clicks/b/part-0", 0o000),
    ],
)
def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch, path, closed, mode):
    """Named, since the clicks in it would be missing."""
    for name in ("clicks/a/part-0", "clicks/b/part-0"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    try:
        os.chmod(closed, mode)
        with (
            without_privileges(),
            pytest.raises(InputError, match=f"^{closed}/?.?: Permission denied;"),
        ):
            list(raw_lines(path))
    finally:
        os.chmod(closed, 0o755)


def test_an_unreadable_folder_that_is_not_needed(tmp_path, monkeypatch):
    """Nothing has to be listed there, or its files would be ignored anyway."""
    for name in ("clicks/a/part-0", "clicks/b/part-0", "clicks/_temporary/part-0"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    os.chmod("clicks/b", 0o711)
    os.chmod("clicks/_temporary", 0o000)
    try:
        with without_privileges():
            assert log_files("clicks/*/part-0") == ["clicks/a/part-0", "clicks/b/part-0"]
    finally:
        os.chmod("clicks/b", 0o755)
        os.chmod("clicks/_temporary", 0o755)
