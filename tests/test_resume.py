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

from conftest import checkout, run, run_ok, small_log, train_command

import pytest

FLAGS = "--num_passes=4 --batch_size=128 --average_passes=2 --dropout=0.2 --valid_set_path=log.txt " \
        "--checkpoint_minutes=0"
UNTOUCHED = ("seconds", "instances_per_second")  # all else in metrics.jsonl is the same


def files_of(folder):
    """{name: content} of an output folder, times left out."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    rows = [json.loads(line) for line in found.pop("metrics.jsonl").splitlines()]
    return found, [{name: value for name, value in row.items() if name not in UNTOUCHED} for row in rows]


def start(folder, output):
    """A run that goes on from where the last one was killed."""
    command = [sys.executable, *train_command(f"output/{output}", f"{FLAGS} --resume").split()[1:]]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_and_resume(folder, kills, seed):
    """SIGKILL at random moments until there were `kills`; returns how many runs came to their end, all alike."""
    rng = random.Random(seed)
    began = time.monotonic()
    run_ok(train_command("output/quiet", FLAGS), folder)
    duration = time.monotonic() - began
    expected = files_of(folder / "output" / "quiet")
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


def test_killed_and_resumed(small):
    assert kill_and_resume(small, 3, seed=0) >= 1


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal(small, stop):
    """One line, the usual code, no traceback; the next run goes on in the middle of the pass."""
    output = f"stopped{stop}"
    process = start(small, output)
    process.stdout.readline()  # a pass is done
    process.send_signal(stop)
    _, errors = process.communicate(timeout=100)
    if process.returncode == 0:
        pytest.skip("the run was over before the signal came")
    assert process.returncode == 128 + stop
    assert errors.endswith(f"train.py: stopped by {stop.name}; --resume goes on\n") and "Traceback" not in errors
    assert (small / "output" / output / "checkpoint.npz").exists()
    result = run(train_command(f"output/{output}", f"{FLAGS} --resume"), small)
    assert result.returncode == 0 and result.stdout.startswith(f"pass 0000{1}")
    assert not (small / "output" / output / "checkpoint.npz").exists()
    if not (small / "output" / "quiet").exists():
        run_ok(train_command("output/quiet", FLAGS), small)
    assert files_of(small / "output" / output) == files_of(small / "output" / "quiet")


def test_checkpoints_of_another_run(small):
    """Other settings, another log: refused; a damaged file too."""
    process = start(small, "other-run")
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=100)
    path = small / "output" / "other-run" / "checkpoint.npz"
    content = path.read_bytes()
    for flags in ("--learning_rate=0.01", "--seed=1"):
        result = run(train_command("output/other-run", f"{FLAGS} --resume {flags}"), small)
        assert result.returncode == 2 and "checkpoint.npz: made by a run with other settings" in result.stderr
    for damaged in (content[:-500], content[:5000], b"", b"PK", content.replace(b"order", b"odder"),
                    content[:3000] + bytes(2000) + content[5000:]):
        path.write_bytes(damaged)
        result = run(train_command("output/other-run", f"{FLAGS} --resume"), small)
        assert result.returncode == 2 and "checkpoint.npz: damaged" in result.stderr
        assert result.stderr.count("\n") == 1 and path.read_bytes() == damaged


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = checkout(Path(folder) / "clone")
        (folder / "log.txt").write_text(small_log(1000), encoding="utf-8")
        run_ok("python data_processor.py --train_set_path=log.txt --output_dir=output --feat_appear_limit=2", folder)
        survived = kill_and_resume(folder, args.kills, args.seed)
    print(f"{args.kills} kills; {survived} runs resumed to their end, every file equal to that of a quiet run")


if __name__ == "__main__":
    main()
