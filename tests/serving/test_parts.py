"""Parts of lists: what is written, what is kept, and what is refused."""

import os

from candgen.console import InputError
from candgen.serving.parts import PartWriter, StdoutWriter, can_be_read_again, largest_batch

import pytest

RUN = {"part_users": 256}


def content(folder):
    """{file: text} of the parts."""
    return {path.name: path.read_text() for path in folder.glob("part-*")}


def test_parts_have_whole_batches(tmp_path):
    """Each part has the batches of its users; those of finished parts are known."""
    with PartWriter(str(tmp_path), RUN) as writer:
        for start in (0, 128, 256):
            assert not writer.is_finished(start)
            writer.write(start, f"{start}\n")
    assert content(tmp_path) == {"part-00000": "0\n128\n", "part-00001": "256\n"}
    (tmp_path / "part-00001").unlink()
    with PartWriter(str(tmp_path), RUN) as writer:
        assert [writer.is_finished(start) for start in (0, 128, 256)] == [True, True, False]


def test_an_unfinished_part_is_removed(tmp_path):
    """Parts before it stay."""
    with pytest.raises(ZeroDivisionError), PartWriter(str(tmp_path), RUN) as writer:
        writer.write(0, "a\n")
        writer.write(256, "b\n")
        raise ZeroDivisionError
    assert sorted(os.listdir(tmp_path)) == ["part-00000", "run.json"]


def test_parts_of_another_run_are_refused(tmp_path):
    with PartWriter(str(tmp_path), RUN) as writer:
        writer.write(0, "a\n")
    with pytest.raises(InputError, match="has parts of another model, of other settings"):
        PartWriter(str(tmp_path), {"part_users": 128})
    (tmp_path / "part-00000").unlink()
    PartWriter(str(tmp_path), {"part_users": 128})  # nothing has been written


@pytest.mark.parametrize(
    "batch_size, part_users, expected",
    [(2048, 256, 256), (4096, 781 * 256, 11 * 256), (512, 1024, 512), (768, 1024, 512)],
)
def test_largest_batch(batch_size, part_users, expected):
    assert largest_batch(batch_size, part_users) == expected


def test_can_be_read_again(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    found = {name: can_be_read_again(str(tmp_path / name)) for name in ("pipe", "file", "missing")}
    assert found == {"pipe": False, "file": True, "missing": True}
    assert not can_be_read_again("-")


def test_each_part_begins_with_the_header(tmp_path):
    with PartWriter(str(tmp_path), RUN, "user\n") as writer:
        for start in (0, 128, 256):
            writer.write(start, f"{start}\n")
    assert content(tmp_path) == {"part-00000": "user\n0\n128\n", "part-00001": "user\n256\n"}


def test_the_header_on_stdout(capsys):
    """Once; also if there are no lists, but not if there is an error before the first one."""
    with StdoutWriter("user\n") as writer:
        writer.write(0, "a\n")
        writer.write(128, "b\n")
    with StdoutWriter("user\n"):
        pass
    assert capsys.readouterr().out == "user\na\nb\nuser\n"
    with pytest.raises(ZeroDivisionError), StdoutWriter("user\n"):
        raise ZeroDivisionError
    assert capsys.readouterr().out == ""


def test_a_start_without_parts_leaves_nothing(tmp_path, capsys):
    """No run.json, and no word of parts; the description comes with the first part."""
    with pytest.raises(ZeroDivisionError), PartWriter(str(tmp_path), RUN) as writer:
        writer.write(0, "a\n")
        raise ZeroDivisionError
    with PartWriter(str(tmp_path), RUN):
        pass
    assert os.listdir(tmp_path) == [] and capsys.readouterr().err == ""
    with PartWriter(str(tmp_path), RUN) as writer:
        writer.write(0, "a\n")
        writer.write(256, "b\n")
        assert sorted(os.listdir(tmp_path))[::2] == ["part-00000", "run.json"]
    PartWriter(str(tmp_path), RUN)
    assert capsys.readouterr().err.endswith(f"{tmp_path}: 2 parts are there already\n")
