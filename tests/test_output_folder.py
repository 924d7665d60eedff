"""Output folders: locked, checked, and removed if they stay empty."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import data_processor
from candgen import output_folder as output_folder_module
from candgen.console import InputError
from candgen.output_folder import output_folder
from conftest import ROOT

import pytest

MODELS = r"model_(pass_\d+|best)\.tar\.gz"  # names of files that a run replaces


def contents(folder):
    """{name: text} of the files in a folder."""
    return {path.name: path.read_text() for path in Path(folder).iterdir()}


def test_one_run_at_a_time_writes_to_a_folder(tmp_path):
    """The lock ends with the process that holds it, however that ends."""
    folder = tmp_path / "made" / "output"
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from candgen.output_folder import output_folder
with output_folder({str(folder)!r}):
    print("locked", flush=True)
    time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        with (
            pytest.raises(InputError, match=f"^{folder}: another run is writing there; "),
            output_folder(str(folder)),
        ):
            pass
        assert folder.is_dir() and os.listdir(folder) == []
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
        process.communicate()
    with output_folder(str(folder)):
        (folder / "file").write_text("kept")
    assert contents(folder) == {"file": "kept"}


def test_a_folder_that_cannot_be_locked(tmp_path, monkeypatch, capsys):
    """As on some network file systems: a warning."""

    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with output_folder(str(tmp_path / "new")):
        (tmp_path / "new" / "file").write_text("")
    assert (
        f"warning: {tmp_path}/new cannot be locked (No locks available)" in capsys.readouterr().err
    )


def test_a_folder_made_in_vain_is_removed(tmp_path):
    """With the folders above it that were created for it; not with others."""
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), output_folder(str(tmp_path / "there" / "a" / "b")):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["there"] and os.listdir(tmp_path / "there") == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to make another user's file"
)
def test_another_users_files_in_a_sticky_folder(tmp_path, monkeypatch):
    """An old model_best that cannot be replaced is an error when the run begins."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "model_best.tar.gz").write_text("another's")
    os.chown(folder / "model_best.tar.gz", 65534, 65534)
    os.chown(folder, 65533, 65533)
    folder.chmod(0o1777)
    monkeypatch.setattr(output_folder_module, "_may_replace_any_file", lambda: False)
    refusal = pytest.raises(
        InputError, match=r"models/model_best\.tar\.gz: Operation not permitted: it belongs to "
    )
    with refusal, output_folder(str(folder), MODELS):
        pass
    with output_folder(str(folder), data_processor.OUTPUT_FILES):  # replaces other files
        pass
    monkeypatch.undo()
    folder.chmod(0o777)
    monkeypatch.setattr(output_folder_module, "_may_replace_any_file", lambda: False)
    with output_folder(str(folder), MODELS):  # anybody may replace files there
        pass


def test_a_folder_that_cannot_be_written_names_the_folder(tmp_path, monkeypatch):
    def temporary(dir):
        raise OSError(errno.EROFS, "Read-only file system", os.path.join(dir, "tmpabcdef"))

    monkeypatch.setattr("tempfile.TemporaryFile", temporary)
    with pytest.raises(OSError) as raised, output_folder(str(tmp_path / "models")):
        pass
    assert raised.value.filename == str(tmp_path / "models") and os.listdir(tmp_path) == []
