"""Training that is killed at any moment."""

import math
import shutil

import train
from candgen.archives import read_archive
from candgen.data.counting import count_log
from candgen.data.dictionary import (
    ITEMS,
    build_dictionary,
    item_frequencies,
    write_dictionary,
)
from candgen.training.checkpoint import Checkpointer
from conftest import (
    FEATURES,
    small_log,
    train_command,
)

import pytest
from kills import Kills
from paddle.utils import unique_name
from test_resume import output_folder

TINY = (
    "--no-rules --threads=1 --device=cpu --dnn_layer_dims 8 4 --lstm_dim=4 --batch_size=300 "
    "--valid_set_path=log.txt"
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder with a log of 30 users and its dictionary, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.txt").write_text(small_log(30), encoding="utf-8")
    counted, counts = count_log(["log.txt"])
    assert counted.clicks
    feature_dict = {name: build_dictionary(counts[name], 1) for name in FEATURES}
    (tmp_path / "output").mkdir()
    item_freq = item_frequencies(counts[ITEMS], feature_dict[ITEMS])
    write_dictionary("output", feature_dict, item_freq, {})
    return tmp_path


@pytest.fixture
def train_here(monkeypatch):
    """train.main in this process: paddle takes as long to load as such a run."""
    monkeypatch.setattr(Checkpointer, "catch_signals", lambda run: None)
    # Checkpoints after each step, however long writing them takes.
    monkeypatch.setattr("candgen.training.checkpoint.MAX_TIME_SHARE", math.inf)

    def train_main(output, flags):
        monkeypatch.setattr("sys.argv", train_command(output, f"{TINY} {flags}").split()[1:])
        with unique_name.guard():  # names of the optimiser's state, as in a process of its own
            train.main()

    return train_main


def progress(folder):
    """(seed, finished passes, batches of the current one) of the checkpoint in a folder."""
    metadata, _ = read_archive(str(folder / "checkpoint.tar.gz"), "")
    return metadata["identity"]["seed"], len(metadata["rows"]), metadata["batches"]


def test_a_run_that_is_killed_after_any_operation(tiny, train_here, monkeypatch, tmp_path):
    """--resume ends as an undisturbed run, and checkpoints never go back.

    The folder has the models of an earlier run; a checkpoint is written after each step.
    """
    train_here("quiet", "--seed=1")
    train_here("run", "--seed=0 --num_passes=3 --checkpoint_minutes=10")
    shutil.copy("run/model_pass_00002.tar.gz", "run/model_pass_00007.tar.gz")
    (tmp_path / "pictures").mkdir()
    with monkeypatch.context() as patched:
        kills = Kills(patched, tmp_path / "run", tmp_path / "pictures")
        train_here("run", "--seed=1 --checkpoint_minutes=0")
    expected = output_folder(tmp_path / "quiet")
    assert output_folder(tmp_path / "run") == expected and kills.count > 40
    pictures = kills.pictures()
    found = [progress(picture) for picture in pictures]
    own = found.index((1, 0, 1))  # before its first checkpoint that of the earlier run is there
    assert all(seed == 0 for seed, *_ in found[:own]) and found[own:] == sorted(found[own:])
    assert len({*found[own:]}) > 4 and found[-1] == (1, 2, 0)
    resumed = [
        picture
        for number, picture in enumerate(pictures[own:], own)
        if number == own or contents_differ(picture, pictures[number - 1])
    ]
    assert len(resumed) > 8
    for picture in resumed:
        shutil.copytree(picture, tmp_path / "killed")
        train_here("killed", "--seed=1 --checkpoint_minutes=10 --resume")
        assert output_folder(tmp_path / "killed") == expected, picture
        shutil.rmtree(tmp_path / "killed")


def contents_differ(picture, before):
    """Whether two pictures differ in more than temporary files and checkpoints within a pass."""

    def seen(folder):
        files = {
            path.name: path.read_bytes()
            for path in folder.iterdir()
            if path.name != "checkpoint.tar.gz" and not path.name.endswith(".tmp")
        }
        return files, progress(folder)[:2]

    return seen(picture) != seen(before)
