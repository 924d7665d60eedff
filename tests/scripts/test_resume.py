"""Training that is killed, again and again, and resumed: its files end equal, bit for bit, to those of a quiet run.

    python tests/test_resume.py --kills=30

is the long version: kills at that many random moments, prints how many runs survived how many kills.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]  # as a command
from candgen.archives import read_archive
from conftest import checkout, run, run_ok, small_log, train_command

import numpy as np
import pytest

FLAGS = (
    "--num_passes=3 --batch_size=512 --dropout=0.2 --valid_set_path=log.txt --checkpoint_minutes=0"
)
UNTOUCHED = ("seconds", "instances_per_second")  # all else in metrics.jsonl is the same


def files_of(folder):
    """{name: content} of an output folder, times left out."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    rows = [json.loads(line) for line in found.pop("metrics.jsonl").splitlines()]
    metadata, arrays = checkpoint_of(folder)
    found["checkpoint.tar.gz"] = {
        name: (value.shape, value.tobytes()) for name, value in arrays.items()
    }
    metadata = {name: value for name, value in metadata.items() if name not in ("rows", *UNTOUCHED)}
    return (
        found,
        metadata,
        [{name: value for name, value in row.items() if name not in UNTOUCHED} for row in rows],
    )


def checkpoint_of(folder):
    return read_archive(str(folder / "checkpoint.tar.gz"), "")


def start(folder, output):
    """A run that goes on from where the last one was stopped."""
    command = [sys.executable, *train_command(f"output/{output}", f"{FLAGS} --resume").split()[1:]]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def quiet_run(folder):
    """(folder of a run that nobody disturbs, how long it took)."""
    began = time.monotonic()
    run_ok(train_command("output/quiet", FLAGS), folder)
    return folder / "output" / "quiet", time.monotonic() - began


@pytest.fixture(scope="module")
def timed(small):
    return quiet_run(small)


@pytest.fixture(scope="module")
def quiet(timed):
    return timed[0]


def kill_and_resume(folder, quiet, duration, kills, seed):
    """SIGKILL at random moments until there were `kills`; returns how many runs came to their end, all alike."""
    rng, expected = random.Random(seed), files_of(quiet)
    survived, resumed = 0, False
    while kills or resumed:
        process = start(folder, "killed")
        if kills:
            try:
                process.wait(rng.uniform(0, duration))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills, resumed = kills - 1, True
                continue
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert files_of(folder / "output" / "killed") == expected
        shutil.rmtree(folder / "output" / "killed")
        survived, resumed = survived + 1, False
    return survived


def test_killed_and_resumed(small, timed):
    assert kill_and_resume(small, *timed, kills=3, seed=0) >= 1


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal(small, quiet, stop):
    """One line, the usual code, no traceback; the next run goes on from there."""
    output = f"stopped{stop}"
    process = start(small, output)
    process.stdout.readline()  # a pass is done
    process.send_signal(stop)
    _, errors = process.communicate(timeout=100)
    if process.returncode == 0:
        pytest.skip("the run was over before the signal came")
    assert process.returncode == 128 + stop
    assert (
        errors.endswith(f"train.py: stopped by {stop.name}; --resume goes on\n")
        and "Traceback" not in errors
    )
    rows = len(checkpoint_of(small / "output" / output)[0]["rows"])
    result = run(train_command(f"output/{output}", f"{FLAGS} --resume"), small)
    assert result.returncode == 0 and result.stdout.startswith(f"pass 0000{rows}"), result.stderr
    assert files_of(small / "output" / output) == files_of(quiet)


def test_a_run_that_is_done(small, quiet):
    """Resumed it trains nothing, says so and leaves all files alone; with more passes it goes on from the last one."""
    output = small / "output" / "done"
    shutil.copytree(quiet, output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    result = run(train_command("output/done", f"{FLAGS} --resume"), small)
    assert result.returncode == 0, result.stderr
    assert "train.py: all 3 passes are done; a larger --num_passes goes on\n" in result.stderr
    assert not any(line.startswith("pass ") for line in result.stdout.splitlines())
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    result = run(train_command("output/done", f"{FLAGS} --resume --num_passes=4"), small)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("pass 00003") and "removed" not in result.stderr
    (earlier, _, rows), (files, metadata, more) = files_of(quiet), files_of(output)
    assert (
        more[:3] == rows
        and [row["pass"] for row in more] == [0, 1, 2, 3]
        and metadata["batches"] == 0
    )
    assert all(
        files[f"model_pass_0000{number}.tar.gz"] == earlier[f"model_pass_0000{number}.tar.gz"]
        for number in range(3)
    )
    (last, last_arrays), (_, arrays) = (
        read_archive(str(output / f"model_pass_0000{number}.tar.gz"), "") for number in (2, 3)
    )
    moved = {name: np.abs(value - last_arrays[name]).max() for name, value in arrays.items()}
    assert last["network"] == "DNNmodel" and moved.pop("item_freq") == 0
    assert 0 < max(moved.values()) < 0.1  # goes on: a fresh start is further off
    assert more[3]["cost"] < rows[0]["cost"]


def test_checkpoints_of_another_run(small, quiet):
    """Other settings, another log, even another city of one user: refused in one line; the checkpoint stays."""
    output = small / "output" / "other-run"
    shutil.copytree(quiet, output)
    content = (output / "checkpoint.tar.gz").read_bytes()
    log = (small / "log.txt").read_text(encoding="utf-8")
    (small / "profile.txt").write_text(log.replace("\tM1\n", "\tM0\n", 1), encoding="utf-8")
    (small / "name.txt").write_text(log.replace("U7\t", "somebody\t", 1), encoding="utf-8")
    for flags, other in (
        ("--learning_rate=0.01 --seed=7", "learning_rate, seed"),
        ("--train_set_path=profile.txt", "training log or --context_set_path"),
        ("--test_set_path=name.txt", "test log"),
    ):
        result = run(train_command("output/other-run", f"{FLAGS} --resume {flags}"), small)
        assert result.returncode == 2, flags
        last = result.stderr.splitlines()[-1]
        assert f"checkpoint.tar.gz: made by a run with another {other}; " in last
        assert (
            "Traceback" not in result.stderr
            and (output / "checkpoint.tar.gz").read_bytes() == content
        )
    shutil.copy(small / "log.txt", small / "same.txt")  # the same log by another name is the same
    result = run(
        train_command("output/other-run", f"{FLAGS} --resume --train_set_path=same.txt"), small
    )
    assert result.returncode == 0 and "all 3 passes are done" in result.stderr


def test_damaged_checkpoints(small, quiet):
    """One line, exit code 2, and nothing in the folder is touched."""
    output = small / "output" / "damaged"
    shutil.copytree(quiet, output)
    content = (output / "checkpoint.tar.gz").read_bytes()
    middle = len(content) // 2
    for damaged in (content[:-500], content[:middle] + bytes(8) + content[middle + 8 :]):
        (output / "checkpoint.tar.gz").write_bytes(damaged)
        result = run(train_command("output/damaged", f"{FLAGS} --resume"), small)
        assert result.returncode == 2 and "Traceback" not in result.stderr
        assert "checkpoint.tar.gz: " in result.stderr.splitlines()[-1]
        assert "without --resume" not in result.stderr  # which would replace it
        assert (output / "checkpoint.tar.gz").read_bytes() == damaged
        assert (output / "metrics.jsonl").read_bytes() == (quiet / "metrics.jsonl").read_bytes()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = checkout(Path(folder) / "clone")
        (folder / "log.txt").write_text(small_log(1000), encoding="utf-8")
        run_ok(
            "python data_processor.py --train_set_path=log.txt --output_dir=output --feat_appear_limit=2",
            folder,
        )
        survived = kill_and_resume(folder, *quiet_run(folder), args.kills, args.seed)
    print(
        f"{args.kills} kills; {survived} runs resumed to their end, every file equal to that of a quiet run"
    )


if __name__ == "__main__":
    main()
