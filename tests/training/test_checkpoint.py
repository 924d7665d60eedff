"""The checkpoint of a run: what is counted and written, and which runs may continue from it."""

import json
import signal

import candgen.training.checkpoint
from candgen.archives import write_archive
from candgen.console import InputError
from candgen.training.checkpoint import Checkpointer
from candgen.training.ranks import Ranks

import numpy as np
import pytest


class State:
    """In place of a trainer: what a checkpoint saves and restores."""

    def __init__(self):
        self.arrays = {"w": np.zeros(2, np.float32)}
        self.rate = {"last_lr": 0.5}

    def state(self):
        return dict(self.arrays), self.rate

    def restore(self, arrays, rate):
        self.arrays, self.rate = arrays, rate


def checkpointer(folder, identity, minutes=1.0, ranks=None):
    return Checkpointer(str(folder), identity, [0.5, 0.5], minutes, ranks or Ranks())


def row_of(number):
    return {"pass": number, "cost": 1.0}


def test_a_run_that_is_resumed(tmp_path):
    """Rows, position, loss and seconds of the present pass, and the state of the trainer."""
    run = checkpointer(tmp_path, {"seed": 0, "dims": (1, 2)}, minutes=0)
    assert not run.resume(State())
    trainer = State()
    run.rows.append(row_of(0))
    run.end_pass(trainer)
    run.after_step(trainer, 0.5, 10)
    run.after_step(trainer, 0.25, 10)
    trainer.arrays["w"] += 1
    run.write(trainer)

    again = checkpointer(tmp_path, {"seed": 0, "dims": (1, 2)})
    restored = State()
    assert again.resume(restored)
    assert (again.rows, again.batches, again.total_loss) == ([row_of(0)], 2, 7.5)
    assert again.seconds == run.seconds > 0
    np.testing.assert_array_equal(restored.arrays["w"], [1, 1])
    np.testing.assert_array_equal(restored.arrays["item_freq"], [0.5, 0.5])
    assert restored.rate == {"last_lr": 0.5}


def test_the_clock_of_a_pass(tmp_path, monkeypatch):
    """Seconds of the steps, reading included; those of checkpoints do not count."""
    now = [100.0]
    monkeypatch.setattr(candgen.training.checkpoint.time, "perf_counter", lambda: now[0])
    run = checkpointer(tmp_path, {})
    run.seconds = 30.0  # of steps before the run was stopped

    def write(trainer):
        now[0] += 1000

    monkeypatch.setattr(run, "write", write)
    run._ranks.stop_requested = True  # writes after each step
    run.restart_clock()
    for _ in range(3):
        now[0] += 3
        with pytest.raises(SystemExit) as stopped:
            run.after_step(State(), 0.5, 20)
        run.restart_clock()
    assert stopped.value.code == 128 + signal.SIGTERM
    assert (run.batches, run.seconds, run.total_loss) == (3, 39.0, 30.0)


def test_a_loss_that_is_not_finite(tmp_path):
    run = checkpointer(tmp_path, {}, minutes=0)
    with pytest.raises(InputError, match="the cost became inf in batch 1; lower --learning_rate"):
        run.after_step(State(), float("inf"), 1)
    assert not list(tmp_path.iterdir())


def test_checkpoints_within_a_pass(tmp_path, monkeypatch):
    """Every so many minutes, but for a twentieth of the time at most."""
    now = [1000.0]
    monkeypatch.setattr(candgen.training.checkpoint.time, "monotonic", lambda: now[0])
    run = checkpointer(tmp_path, {}, minutes=1)
    written = []

    def write_archive(*_):
        written.append(now[0])
        now[0] += 30  # a slow disk

    monkeypatch.setattr(candgen.training.checkpoint, "write_archive", write_archive)
    for _ in range(200):
        run.after_step(State(), 0.5, 1)
        now[0] += 10
    assert written[0] == 1000 + 70  # more than a minute
    assert np.all(np.diff(written) >= 30 + 20 * 30)


def test_another_run(tmp_path):
    """Settings that differ are named; one that an older version did not have counts as unset."""
    run = checkpointer(tmp_path, {"seed": 0})
    run.rows.append(row_of(0))
    run.end_pass(State())
    assert checkpointer(tmp_path, {"seed": 0, "max_user_clicks": None}).resume(State())
    other = checkpointer(tmp_path, {"seed": 1, "max_user_clicks": 9})
    with pytest.raises(InputError, match="by a run with another max_user_clicks, seed; give the"):
        other.resume(State())


def test_models_of_an_earlier_run_are_removed(tmp_path, capsys):
    """When the first checkpoint replaces theirs; other files stay."""
    names = ("model_pass_00000.tar.gz", "model_pass_00005.tar.gz", "model_pass_1.tar.gz", "x")
    for name in names:
        (tmp_path / name).write_text("")
    run = checkpointer(tmp_path, {})
    run.rows.append(row_of(0))
    run.end_pass(State())
    assert "removed 1 models of an earlier run" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {*names, "checkpoint.tar.gz", "metrics.jsonl"} - {"model_pass_00005.tar.gz"}
    )
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == row_of(0)


def test_a_damaged_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.tar.gz"
    write_archive(str(path), {"identity": {}, "rows": []}, {"w": np.zeros(1)})
    with pytest.raises(InputError, match=r"checkpoint\.tar\.gz: damaged \(.*restore it, or train"):
        checkpointer(tmp_path, {}).resume(State())
