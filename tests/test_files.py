"""Atomic writing: files that are complete, and sets of which all files are replaced or none."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

from candgen.console import InputError
from candgen.files import atomic_write, atomic_write_set

import pytest
from kills import fail_at


def contents(folder):
    """{name: text} of the files in a folder."""
    return {path.name: path.read_text() for path in Path(folder).iterdir()}


def write_set(folder, text, names="abc", manifest=None, removed=""):
    """Write files of these names together, each with the same text; remove others."""
    paths, others = ([str(folder / name) for name in group] for group in (names, removed))
    with atomic_write_set(paths, manifest and str(folder / manifest), others) as streams:
        for stream in streams:
            stream.write(text.encode())


def write(path, content):
    with atomic_write(path) as stream:
        stream.write(content)


def test_atomic_write_is_all_or_nothing(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as stream:
        stream.write(b"half of the new" * 9999)
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    with atomic_write(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    with pytest.raises(InputError, match="mkdir -p"):
        write(tmp_path / "no" / "file", b"")


def test_a_symbolic_link_is_written_through(tmp_path):
    """Links to links, to files and to nothing yet; the leftovers lie beside what is written."""
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("far/again")
    (tmp_path / "far" / "again").symlink_to("file")
    (tmp_path / "dangling").symlink_to("far/new")
    for name in ("link", "dangling"):
        write(tmp_path / name, name.encode())
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_bytes() == name.encode()
    assert (tmp_path / "far" / "again").is_symlink()
    assert {path.name: path.read_bytes() for path in (tmp_path / "far").iterdir()} == {
        "again": b"link",
        "file": b"link",
        "new": b"dangling",
    }
    assert len(os.listdir(tmp_path)) == 3


def test_what_is_no_file_is_not_replaced(tmp_path):
    """A pipe and a device get the bytes, and stay what they are."""
    pipe, link = tmp_path / "pipe", tmp_path / "null"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write(pipe, b"all of it")
    reader.join()
    link.symlink_to(os.devnull)
    write(link, b"lost")
    assert found == [b"all of it"] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode) and sorted(os.listdir(tmp_path)) == [
        "null",
        "pipe",
    ]


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    """Not those of living processes, nor similar names; a path may look like a pattern."""
    folder = tmp_path / "a[b]*"
    folder.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [
        f"file.{os.getppid()}.tmp",
        "file.tmp",
        "file.old.tmp",
        f"other.{dead.pid}.tmp",
        "file.-1.tmp",
        "file.\u00b2.tmp",
    ]
    for name in [*kept, f"file.{dead.pid}.tmp"]:
        (folder / name).write_text("half")
    write(folder / "file", b"new")
    assert set(os.listdir(folder)) == {"file", *kept}


def test_a_leftover_of_no_process(tmp_path):
    """A number that no process can have."""
    (tmp_path / f"file.{10**30}.tmp").write_text("half")
    write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("there", ["", "ab", "abc"])
@pytest.mark.parametrize("links", [True, False])
def test_a_set_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch, there, links):
    """If one of three renames fails, all is as before, with and without links and earlier files."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: os.stat("/nowhere"))
    for name in there:
        (tmp_path / name).write_text("old " + name)
    before = contents(tmp_path)
    for name in "abc":
        with monkeypatch.context() as patched:
            fail_at(patched, "replace", name)
            with pytest.raises(PermissionError) as raised:
                write_set(tmp_path, "new")
        assert raised.value.filename == str(tmp_path / name)  # not that of a temporary file
        assert contents(tmp_path) == before
    write_set(tmp_path, "new")
    assert contents(tmp_path) == dict.fromkeys("abc", "new")


@pytest.mark.parametrize("names", ["a", "ab"])
def test_files_of_an_earlier_set_are_removed_with_it_or_not_at_all(tmp_path, monkeypatch, names):
    """`d` does not exist; if `a` cannot be replaced, or `c` not be removed, all is as before."""
    for name in "abc":
        (tmp_path / name).write_text("old " + name)
    before = contents(tmp_path)
    for operation, name in (("replace", "a"), ("unlink", "c")):
        with monkeypatch.context() as patched:
            fail_at(patched, operation, name)
            with pytest.raises(PermissionError) as raised:
                write_set(tmp_path, "new", names, removed="cd")
        assert raised.value.filename == str(tmp_path / name)
        assert contents(tmp_path) == before
    write_set(tmp_path, "new", names, removed="cd")
    assert contents(tmp_path) == {"b": "old b", **dict.fromkeys(names, "new")}


def test_an_error_in_the_middle_of_a_set(tmp_path):
    """The second of three cannot be written: it is the one that is named, and none is replaced."""
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(OSError) as raised,
        atomic_write_set([str(tmp_path / name) for name in "abc"]) as streams,
    ):
        streams[0].write(b"new")
        streams[2].write(b"new")
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), streams[1].fileno())
        streams[1].write(bytes(1 << 20))
    assert raised.value.filename == str(tmp_path / "b") and raised.value.errno == errno.ENOSPC
    assert contents(tmp_path) == {"a": "old"}


def test_errors_of_other_files_keep_their_names(tmp_path):
    """A log that cannot be read while vectors are written is not taken for the file of vectors."""
    with pytest.raises(FileNotFoundError) as raised, atomic_write(str(tmp_path / "a")):
        (tmp_path / "log.txt").read_text()
    assert raised.value.filename == str(tmp_path / "log.txt") and contents(tmp_path) == {}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_are_kept(tmp_path, mode):
    """Those of the file that is replaced, whatever the umask; also of the temporary file."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    earlier = os.umask(0o027)
    try:
        with atomic_write(str(path)) as stream:
            [temporary] = set(os.listdir(tmp_path)) - {"file"}
            assert stat.S_IMODE((tmp_path / temporary).stat().st_mode) == mode
            stream.write(b"new")
        assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_text() == "new"
        write_set(tmp_path, "new", ["file", "fresh"])
    finally:
        os.umask(earlier)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640
