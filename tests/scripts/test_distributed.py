"""Two processes that train one model give the same bytes as one process with two threads."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from conftest import run, run_ok, small_log, train_command

import pytest
from test_resume import SMALL_NETWORK, checkpoint_of, output_folder

FLAGS = f"--num_passes=3 --batch_size=64 --dropout=0.2 --valid_set_path=log.txt {SMALL_NETWORK}"


def launched(output, flags=FLAGS, ranks=2):
    """train.py by that many processes of one thread; their logs go to OUTPUT.log."""
    command = train_command(f"output/{output}", f"--threads=1 --device=cpu {flags}")
    launcher = (
        f"python -m paddle.distributed.launch --nproc_per_node={ranks} "
        f"--log_dir=output/{output}.log "
    )
    return command.replace("python ", launcher, 1)


def start(folder, output, flags=FLAGS):
    """A launcher in a process group of its own, once a pass is done."""
    process = subprocess.Popen(
        [sys.executable, *launched(output, flags).split()[1:]],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (line := process.stdout.readline()).startswith("pass 00000"):
        assert line, process.stderr.read()
    return process


def ended(process):
    """(stdout, stderr) of a launcher that ends by itself, whatever has happened to it."""
    try:
        return process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def alone(small):
    """Files of a run by one process with two threads."""
    run_ok(train_command("output/alone", f"--threads=2 --device=cpu {FLAGS}"), small)
    return small / "output" / "alone"


def test_two_ranks_train_what_two_threads_train(small, alone):
    """Models, metrics and optimizer state: equal bit for bit. Results are printed once."""
    out = run_ok(launched("ranks"), small)
    lines = [line[:10] for line in out.splitlines() if line.startswith("pass ")]
    assert lines == [f"pass 0000{number}" for number in range(3)]
    mine, expected = output_folder(small / "output" / "ranks"), output_folder(alone)
    assert mine.files == expected.files and mine.arrays == expected.arrays
    # the sum of losses goes through a single-precision number
    for row, expected_row in zip(mine.rows, expected.rows):
        assert row == pytest.approx(expected_row, rel=1e-5)
    assert mine.metadata.pop("total") == pytest.approx(expected.metadata["total"])
    assert mine.metadata == {
        name: value for name, value in expected.metadata.items() if name != "total"
    }


def test_the_best_preset_by_two_ranks(small):
    """Content and tied tables too; a rank has no part of a batch of one segment."""
    (small / "few.txt").write_text(small_log(40), encoding="utf-8")
    flags = f"--preset=best --num_passes=1 --batch_size=16 --train_set_path=few.txt {SMALL_NETWORK}"
    run_ok(launched("ranks-best", flags), small)
    run_ok(train_command("output/alone-best", f"--threads=2 --device=cpu {flags}"), small)
    one, other = (
        (small / "output" / output / "model_pass_00000.tar.gz").read_bytes()
        for output in ("ranks-best", "alone-best")
    )
    assert one == other


def test_a_killed_rank_ends_the_job(small):
    """Soon, with a line that names it; files are whole, and one process continues from them."""
    process = start(small, "dying", f"{FLAGS} --num_passes=50")
    os.kill(second_rank("dying"), signal.SIGKILL)
    out, errors = ended(process)
    assert process.returncode != 0
    assert "rank 1 status failed" in errors or "rank 1 is gone" in out
    output = small / "output" / "dying"
    assert not list(output.glob("*.tmp"))
    passes = len(checkpoint_of(output)[0]["rows"])
    flags = f"--threads=1 --device=cpu {FLAGS} --resume --num_passes={passes + 1}"
    result = run(train_command("output/dying", flags), small)
    assert result.returncode == 0 and result.stdout.startswith(f"pass {passes:05d}"), result.stderr


def second_rank(output):
    """Its process id."""
    [pid] = [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdecimal()
        and f"--model_output_dir=output/{output}".encode() in words_of(path / "cmdline")
        and b"PADDLE_TRAINER_ID=1" in words_of(path / "environ")
    ]
    return pid


def words_of(path):
    """Words of a file of /proc; none if the process has ended."""
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []


def test_stopped_and_resumed_with_another_number_of_ranks(small, alone):
    """A signal to the launcher leaves a checkpoint; one process with two threads continues."""
    process = start(small, "stopped")
    process.send_signal(signal.SIGTERM)
    ended(process)
    log = (small / "output" / "stopped.log" / "workerlog.0").read_text()
    if "pass 00002" in log:
        pytest.skip("the run was over before the signal came")
    assert log.endswith("train.py: stopped by SIGTERM; --resume continues\n"), log[-1000:]
    run_ok(train_command("output/stopped", f"--threads=2 --device=cpu {FLAGS} --resume"), small)
    assert output_folder(small / "output" / "stopped").files == output_folder(alone).files


def test_a_signal_to_one_rank_stops_all(small):
    """After the same step, and the first one has written a checkpoint."""
    process = start(small, "one", f"{FLAGS} --num_passes=50")
    os.kill(second_rank("one"), signal.SIGTERM)
    ended(process)
    for rank in (0, 1):
        log = (small / "output" / "one.log" / f"workerlog.{rank}").read_text()
        assert log.endswith("train.py: stopped by SIGTERM; --resume continues\n"), log[-1000:]
    metadata, _ = checkpoint_of(small / "output" / "one")
    assert 1 <= len(metadata["rows"]) < 50


@pytest.mark.parametrize(
    "flags, what",
    [
        ("--train_set_path=-", "several ranks cannot read one standard input"),
        ("--seed=$PADDLE_TRAINER_ID", "the ranks have different logs or settings (seed)"),
    ],
)
def test_ranks_that_cannot_work_together(small, flags, what):
    """One line, before anything is trained."""
    script = small / "rank.sh"
    command = train_command("output/apart", f"--device=cpu {FLAGS} {flags}")
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {command.removeprefix('python ')}\n")
    script.chmod(0o755)
    launcher = "python -m paddle.distributed.launch --nproc_per_node=2 --log_dir=output/apart.log"
    result = run(f"{launcher} {script}", small)
    log = (small / "output" / "apart.log" / "workerlog.0").read_text()
    assert result.returncode != 0 and what in log and "Traceback" not in log
    assert not list((small / "output").glob("apart/model*"))


# Ranks of two hosts: there is no launcher that ends one that waits.
HOST = """
import os, sys, time
sys.path.insert(0, {root!r})
import train
from candgen.console import run_script
rank = int(os.environ["PADDLE_TRAINER_ID"])
{patch}
sys.argv = ["train.py", *{arguments!r}]
run_script(train.main)
"""


def hosts(folder, patch, flags=""):
    """[(stdout, stderr, exit code)] of two ranks without a launcher; both run `patch` first."""
    with contextlib.ExitStack() as sockets:
        servers = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        master, *endpoints = [f"127.0.0.1:{each.getsockname()[1]}" for each in servers]
    command = train_command("output/hosts", f"--threads=1 --device=cpu {SMALL_NETWORK} {flags}")
    code = HOST.format(root=str(folder), patch=patch, arguments=command.split()[2:])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PADDLE_MASTER": master,
                "PADDLE_TRAINERS_NUM": "2",
                "PADDLE_TRAINER_ID": str(rank),
                "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
                "PADDLE_CURRENT_ENDPOINT": endpoint,
                "PADDLE_DISTRI_BACKEND": "gloo",
            },
        )
        for rank, endpoint in enumerate(endpoints)
    ]
    try:
        return [(*process.communicate(timeout=60), process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()


def failure(stderr):
    """The only line that tells of a failure; the main thread may log something after it."""
    lines = [line for line in stderr.splitlines() if line.startswith("train.py: rank ")]
    assert len(lines) == 1 and "Traceback" not in stderr, stderr
    return lines[0]


IN_READING = """
def read_log(reader, paths, *others, read=train.TrainingLog):
    if rank == {rank}:
        {what}
    time.sleep(1000)
train.TrainingLog = read_log
"""


IN_A_STEP = """
from candgen.environment import load_paddle
load_paddle()
from candgen.training.trainer import Trainer
def step(self, batch, take=Trainer.step):
    step.taken = getattr(step, "taken", 0) + 1
    if rank == {rank} and step.taken == 3:
        {what}
    return take(self, batch)
Trainer.step = step
"""


@pytest.mark.parametrize(
    "patch, line",
    [
        (
            IN_READING.format(rank=1, what="return read(reader, ['nowhere'], *others)"),
            "rank 1: nowhere: No such file or directory; give the path of a file",
        ),
        (
            IN_READING.format(rank=0, what="os.kill(os.getpid(), 9)"),
            "rank 0 is gone: killed, or crashed; see its log",
        ),
        (
            IN_A_STEP.format(rank=0, what="raise OSError(5, 'Input/output error', 'log.txt')"),
            "rank 0: log.txt: Input/output error; check the path",
        ),
        (
            "if rank: train.parse_args = lambda *_: sys.exit(2)",
            "rank 1: SystemExit: 2; see its log",
        ),
    ],
    ids=["a log is missing", "killed while reading", "in a step of rank 0", "on the command line"],
)
def test_a_failing_rank_ends_the_others(small, patch, line):
    """While they read, or wait for it in a collective: within seconds, each with one line."""
    started = time.monotonic()
    ranks = hosts(small, patch)
    assert time.monotonic() - started < 40
    failing = int(line.split()[1].strip(":"))
    _, stderr, code = ranks[1 - failing]
    assert line in failure(stderr) and code == 2
    if "killed" not in line and "SystemExit" not in line:
        _, stderr, code = ranks[failing]
        assert line in failure(stderr) and code == 2
    assert not list((small / "output").glob("hosts/*"))
