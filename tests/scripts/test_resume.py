"""Training that is killed and resumed gives the same files, bit for bit, as an undisturbed run.

    python tests/scripts/test_resume.py --kills=30

kills at that many random moments, and prints how many runs survived how many kills.
"""

import argparse
import dataclasses
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(path) for path in Path(__file__).resolve().parents[1:3]]  # as a command
from candgen.archives import read_archive, write_archive
from conftest import checkout, metrics_of, run, run_ok, small_log, train_command

import numpy as np
import pytest

SMALL_NETWORK = "--dnn_layer_dims 16 8 --lstm_dim=8 --no-rules"
FLAGS = (
    f"--num_passes=3 --batch_size=128 --dropout=0.2 --valid_set_path=log.txt "
    f"--checkpoint_minutes=0 {SMALL_NETWORK}"
)
TIMES = ("seconds", "instances_per_second")  # all else in metrics.jsonl is the same


@dataclasses.dataclass(frozen=True)
class Output:
    """An output folder without the times in it.

    Attributes
    ----------
    files : {name: content} of the models.
    rows : of metrics.jsonl.
    metadata : of the checkpoint.
    arrays : {name: (shape, bytes)} of the checkpoint.
    """

    files: dict
    rows: list
    metadata: dict
    arrays: dict


def output_folder(folder):
    """The `Output` in a folder."""
    metadata, arrays = checkpoint_of(folder)
    return Output(
        files={path.name: path.read_bytes() for path in folder.glob("model_*")},
        rows=[without(row, *TIMES) for row in metrics_of(folder)],
        metadata=without(metadata, "rows", *TIMES),
        arrays={name: (value.shape, value.tobytes()) for name, value in arrays.items()},
    )


def without(values, *names):
    return {name: value for name, value in values.items() if name not in names}


def checkpoint_of(folder):
    return read_archive(str(folder / "checkpoint.tar.gz"), "")


def start(folder, output):
    """A process that continues a run where it was stopped."""
    command = [sys.executable, *train_command(f"output/{output}", f"{FLAGS} --resume").split()[1:]]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def undisturbed_run(folder):
    """Folder of a run that is not killed."""
    run_ok(train_command("output/undisturbed", FLAGS), folder)
    return folder / "output" / "undisturbed"


@pytest.fixture(scope="module")
def undisturbed(small):
    return undisturbed_run(small)


def kill_and_resume(folder, undisturbed, kills, seed):
    """SIGKILL at random moments of a run; returns how many runs finished, all with equal files."""
    rng = random.Random(seed)
    expected = output_folder(undisturbed)
    began = time.monotonic()
    process = start(folder, "timing")
    process.communicate()
    duration = time.monotonic() - began  # of a whole process
    shutil.rmtree(folder / "output" / "timing")
    finished, resumed = 0, False
    while kills or resumed:
        process = start(folder, "killed")
        if kills:
            try:
                process.wait(rng.uniform(0, duration))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills -= 1
                resumed = True
                continue
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert output_folder(folder / "output" / "killed") == expected
        shutil.rmtree(folder / "output" / "killed")
        finished += 1
        resumed = False
    return finished


def test_killed_and_resumed(small, undisturbed):
    assert kill_and_resume(small, undisturbed, kills=3, seed=0) >= 1


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal(small, undisturbed, stop):
    """One line, the usual exit code, no traceback; the next run continues from there."""
    output = f"stopped{stop}"
    process = start(small, output)
    process.stdout.readline()  # a pass is done
    process.send_signal(stop)
    _, errors = process.communicate(timeout=100)
    if process.returncode == 0:
        pytest.skip("the run was over before the signal came")
    assert process.returncode == 128 + stop
    assert errors.endswith(f"train.py: stopped by {stop.name}; --resume continues\n")
    assert "Traceback" not in errors
    rows = len(checkpoint_of(small / "output" / output)[0]["rows"])
    result = run(train_command(f"output/{output}", f"{FLAGS} --resume"), small)
    assert result.returncode == 0 and result.stdout.startswith(f"pass 0000{rows}"), result.stderr
    assert output_folder(small / "output" / output) == output_folder(undisturbed)


def test_a_finished_run(small, undisturbed):
    """Resumed it trains nothing and leaves all files alone; with more passes it continues."""
    output = small / "output" / "done"
    shutil.copytree(undisturbed, output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    result = run(train_command("output/done", f"{FLAGS} --resume"), small)
    assert result.returncode == 0, result.stderr
    assert "train.py: all 3 passes are done; a larger --num_passes continues\n" in result.stderr
    assert not any(line.startswith("pass ") for line in result.stdout.splitlines())
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before

    result = run(train_command("output/done", f"{FLAGS} --resume --num_passes=4"), small)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("pass 00003") and "removed" not in result.stderr
    earlier, longer = output_folder(undisturbed), output_folder(output)
    assert longer.rows[:3] == earlier.rows
    assert [row["pass"] for row in longer.rows] == [0, 1, 2, 3]
    assert longer.metadata["batches"] == 0
    for number in range(3):
        name = f"model_pass_0000{number}.tar.gz"
        assert longer.files[name] == earlier.files[name]
    (metadata, third), (_, fourth) = (
        read_archive(str(output / f"model_pass_0000{number}.tar.gz"), "") for number in (2, 3)
    )
    changes = {name: np.abs(value - third[name]).max() for name, value in fourth.items()}
    assert metadata["network"] == "DNNmodel" and changes.pop("item_freq") == 0
    assert 0 < max(changes.values()) < 0.1  # continued: a fresh start is further away
    assert longer.rows[3]["cost"] < earlier.rows[0]["cost"]


def test_checkpoints_of_another_run(small, undisturbed):
    """Other settings, another log, another phone of one user: refused; the checkpoint stays."""
    output = small / "output" / "other-run"
    shutil.copytree(undisturbed, output)
    content = (output / "checkpoint.tar.gz").read_bytes()
    log = (small / "log.txt").read_text(encoding="utf-8")
    (small / "profile.txt").write_text(log.replace("\tM1\n", "\tM0\n", 1), encoding="utf-8")
    (small / "name.txt").write_text(log.replace("U7\t", "other\t", 1), encoding="utf-8")
    for flags, names in (
        ("--learning_rate=0.01 --seed=7", "learning_rate, seed"),
        ("--train_set_path=profile.txt", "training log or --context_set_path"),
        ("--test_set_path=name.txt", "test log"),
        ("--max_user_clicks=11", "max_user_clicks, training log or --context_set_path"),
        ("--valid_set_path=name.txt", "validation log"),
    ):
        result = run(train_command("output/other-run", f"{FLAGS} --resume {flags}"), small)
        assert result.returncode == 2, flags
        last = result.stderr.splitlines()[-1]
        assert f"checkpoint.tar.gz: made by a run with another {names}; " in last
        assert "Traceback" not in result.stderr
        assert (output / "checkpoint.tar.gz").read_bytes() == content
    shutil.copy(small / "log.txt", small / "same.txt")  # another name does not make another log
    result = run(
        train_command("output/other-run", f"{FLAGS} --resume --train_set_path=same.txt"), small
    )
    assert result.returncode == 0 and "all 3 passes are done" in result.stderr
    result = run(
        train_command("output/other-run", f"--num_passes=3 {SMALL_NETWORK} --resume"), small
    )
    assert result.returncode == 2
    assert "with another batch_size, dropout, validation log; " in result.stderr


def test_damaged_checkpoints(small, undisturbed):
    """One line, exit code 2, and the files in the folder stay as they are."""
    output = small / "output" / "damaged"
    shutil.copytree(undisturbed, output)
    content = (output / "checkpoint.tar.gz").read_bytes()
    middle = len(content) // 2
    for damaged in (content[:-500], content[:middle] + bytes(8) + content[middle + 8 :]):
        (output / "checkpoint.tar.gz").write_bytes(damaged)
        result = run(train_command("output/damaged", f"{FLAGS} --resume"), small)
        assert result.returncode == 2 and "Traceback" not in result.stderr
        assert "checkpoint.tar.gz: " in result.stderr.splitlines()[-1]
        assert "without --resume" not in result.stderr  # which would replace it
        assert (output / "checkpoint.tar.gz").read_bytes() == damaged
        metrics = (output / "metrics.jsonl").read_bytes()
        assert metrics == (undisturbed / "metrics.jsonl").read_bytes()


def test_a_checkpoint_with_rows_of_an_older_version(small, undisturbed):
    """Rows that lack a metric do not matter to a resumed run."""
    output = small / "output" / "older"
    shutil.copytree(undisturbed, output)
    metadata, arrays = checkpoint_of(output)
    for row in metadata["rows"]:
        del row["recall@50"], row["valid_ndcg@10"]
    write_archive(str(output / "checkpoint.tar.gz"), metadata, arrays)
    result = run(train_command("output/older", f"{FLAGS} --resume --num_passes=4"), small)
    assert result.returncode == 0, result.stderr
    assert "recall@50" in metrics_of(output)[3] and "recall@50" not in metrics_of(output)[2]


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
            "python data_processor.py --train_set_path=log.txt --output_dir=output "
            "--feat_appear_limit=2",
            folder,
        )
        finished = kill_and_resume(folder, undisturbed_run(folder), args.kills, args.seed)
    print(f"{args.kills} kills; {finished} runs finished, every file as in an undisturbed run")


if __name__ == "__main__":
    main()
