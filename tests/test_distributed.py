"""Two processes that train one model, started by paddle's launcher: the model of one process with as many threads."""
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import train
from conftest import run, run_ok, train_command

import pytest
from test_resume import checkpoint_of, files_of

FLAGS = "--num_passes=3 --batch_size=256 --dropout=0.2 --valid_set_path=log.txt"


def launched(output, flags=FLAGS, ranks=2):
    """train.py by that many processes of one thread; their logs go to OUTPUT.log."""
    command = train_command(f"output/{output}", f"--threads=1 --device=cpu {flags}")
    return command.replace("python ", f"python -m paddle.distributed.launch --nproc_per_node={ranks} "
                           f"--log_dir=output/{output}.log ", 1)


def start(folder, output, flags=FLAGS):
    """A launcher in a process group of its own, once a pass is done."""
    process = subprocess.Popen([sys.executable, *launched(output, flags).split()[1:]], cwd=folder,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (line := process.stdout.readline()).startswith("pass 00000"):
        assert line, process.stderr.read()
    return process


def ended(process):
    """(stdout, stderr) of a launcher that ends by itself, whatever happened to it."""
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
    """Models, metrics, the whole state of the optimisers: equal bit for bit. Results are printed once."""
    out = run_ok(launched("ranks"), small)
    assert [line[:10] for line in out.splitlines() if line.startswith("pass ")] == [f"pass 0000{n}" for n in range(3)]
    (files, told, rows), (other, other_told, other_rows) = files_of(small / "output" / "ranks"), files_of(alone)
    assert files.pop("checkpoint.tar.gz") == other.pop("checkpoint.tar.gz") and files == other
    for mine, theirs in zip(rows, other_rows):  # the sum of costs goes through a single-precision number
        assert mine == pytest.approx(theirs, rel=1e-5)
    assert told.pop("total") == pytest.approx(other_told.pop("total")) and told == other_told


def test_the_best_preset_by_two_ranks(small):
    """Content, tied tables and shared negatives as well; one rank has no part of a batch of one stretch."""
    flags = "--preset=best --num_passes=1 --batch_size=16"
    run_ok(launched("best", flags), small)
    run_ok(train_command("output/best-alone", f"--threads=2 --device=cpu {flags}"), small)
    name = "model_pass_00000.tar.gz"
    assert (small / "output" / "best" / name).read_bytes() == (small / "output" / "best-alone" / name).read_bytes()


def test_a_rank_that_dies_takes_the_job_down(small):
    """Soon, with a line that says which; what was written is whole, and a run of one process goes on from it."""
    process = start(small, "dying", f"{FLAGS} --num_passes=50")
    os.kill(second_rank("dying"), signal.SIGKILL)
    out, errors = ended(process)
    assert process.returncode != 0
    assert "rank 1 status failed" in errors or "rank 1 is gone" in out
    output = small / "output" / "dying"
    assert not list(output.glob("*.tmp"))
    passes = len(checkpoint_of(output)[0]["rows"])
    result = run(train_command("output/dying", f"--threads=1 --device=cpu {FLAGS} --resume --num_passes={passes + 1}"),
                 small)
    assert result.returncode == 0 and result.stdout.startswith(f"pass {passes:05d}"), result.stderr


def second_rank(output):
    """Its process id."""
    [found] = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()
               and f"--model_output_dir=output/{output}".encode() in words_of(path / "cmdline")
               and b"PADDLE_TRAINER_ID=1" in words_of(path / "environ")]
    return found


def words_of(path):
    """What a file of /proc holds; nothing if the process is gone."""
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []


def test_stopped_and_resumed_with_another_number_of_ranks(small, alone):
    """A signal to the launcher leaves a checkpoint; one process with two threads ends where a quiet run does."""
    process = start(small, "stopped")
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    ended(process)
    log = (small / "output" / "stopped.log" / "workerlog.0").read_text()
    if "pass 00002" in log:
        pytest.skip("the run was over before the signal came")
    assert log.endswith("train.py: stopped by SIGTERM; --resume goes on\n"), log[-1000:]
    run_ok(train_command("output/stopped", f"--threads=2 --device=cpu {FLAGS} --resume"), small)
    (files, *_), (expected, *_) = files_of(small / "output" / "stopped"), files_of(alone)
    assert files == expected


def test_a_signal_to_one_rank_stops_all(small):
    """They leave after the same step, and the first one has written where."""
    process = start(small, "one", f"{FLAGS} --num_passes=50")
    os.kill(second_rank("one"), signal.SIGTERM)
    ended(process)
    for rank in (0, 1):
        log = (small / "output" / "one.log" / f"workerlog.{rank}").read_text()
        assert log.endswith("train.py: stopped by SIGTERM; --resume goes on\n"), log[-1000:]
    told, _ = checkpoint_of(small / "output" / "one")
    assert 1 <= len(told["rows"]) < 50


@pytest.mark.parametrize("flags, what", [
    ("--train_set_path=-", "several ranks cannot read one standard input"),
    ("--seed=$PADDLE_TRAINER_ID", "the ranks have different logs or settings")])
def test_ranks_that_cannot_work_together(small, flags, what):
    """One line, before anything is trained."""
    script = small / "rank.sh"
    arguments = train_command("output/apart", f"--device=cpu {FLAGS} {flags}").removeprefix("python ")
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {arguments}\n")
    script.chmod(0o755)
    command = f"python -m paddle.distributed.launch --nproc_per_node=2 --log_dir=output/apart.log {script}"
    result = run(command, small)
    log = (small / "output" / "apart.log" / "workerlog.0").read_text()
    assert result.returncode != 0 and what in log and "Traceback" not in log
    assert not list((small / "output").glob("apart/model*"))


# ---------------------------------------------------------------- two hosts: no launcher ends a rank that waits
HOST = """
import os, sys, time
sys.path.insert(0, {root!r})
import train, utils
rank = int(os.environ["PADDLE_TRAINER_ID"])
{patch}
sys.argv = ["train.py", *{arguments!r}]
utils.run_script(train.main)
"""


def hosts(folder, patch, flags=""):
    """[(exit code, stdout, stderr)] of two ranks that nobody watches, `patch` being run in both before train.py."""
    with contextlib.ExitStack() as sockets:
        found = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        master, *ends = [f"127.0.0.1:{each.getsockname()[1]}" for each in found]
    arguments = train_command("output/hosts", f"--threads=1 --device=cpu --no-rules {flags}").split()[2:]
    code = HOST.format(root=str(folder), patch=patch, arguments=arguments)
    processes = [subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PADDLE_MASTER": master, "PADDLE_TRAINERS_NUM": "2", "PADDLE_TRAINER_ID": str(rank),
             "PADDLE_TRAINER_ENDPOINTS": ",".join(ends), "PADDLE_CURRENT_ENDPOINT": end,
             "PADDLE_DISTRI_BACKEND": "gloo"}) for rank, end in enumerate(ends)]
    try:
        return [(*process.communicate(timeout=60), process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()


def last_lines(ended):
    """The last line of each, if no other tells of a failure."""
    lines = [errors.splitlines() for _, errors, _ in ended]
    assert all(sum(line.startswith("train.py: rank ") for line in each) == 1 for each in lines), lines
    assert not any("Traceback" in errors for _, errors, _ in ended)
    return [each[-1] for each in lines]


IN_READING = """
def encode_logs(args, feature_dict, read=train.encode_logs):
    if rank == {rank}:
        {what}
    time.sleep(1000)
train.encode_logs = encode_logs
"""
IN_A_STEP = """
def step(self, *batch, take=train.Trainer.step):
    step.taken = getattr(step, "taken", 0) + 1
    if rank == {rank} and step.taken == 3:
        {what}
    return take(self, *batch)
train.Trainer.step = step
"""


@pytest.mark.parametrize("patch, line", [
    (IN_READING.format(rank=1, what="args.train_set_path = ['nowhere']; return read(args, feature_dict)"),
     "rank 1: nowhere: No such file or directory; give the path of a file"),
    (IN_READING.format(rank=0, what="os.kill(os.getpid(), 9)"), "rank 0 is gone: killed, or crashed; see its log"),
    (IN_A_STEP.format(rank=0, what="raise OSError(5, 'Input/output error', 'log.txt')"),
     "rank 0: log.txt: Input/output error; check the path"),
    ("if rank: train.parse_args = lambda argv: sys.exit(2)", "rank 1: SystemExit: 2; see its log"),
], ids=["a log is missing", "killed while reading", "in a step of rank 0", "on the command line"])
def test_a_rank_that_fails_ends_the_others(small, patch, line):
    """While they read, and while they wait for it in a collective: within seconds, each with one line."""
    started = time.monotonic()
    ended = hosts(small, patch)
    assert time.monotonic() - started < 40
    failing = int(line[5])
    assert line in last_lines([ended[1 - failing]])[0] and ended[1 - failing][2] == 2
    if "killed" not in line and "SystemExit" not in line:
        assert line in last_lines([ended[failing]])[0] and ended[failing][2] == 2
    assert not list((small / "output").glob("hosts/*"))


def test_a_rank_may_take_its_time(monkeypatch):
    """Gloo waits for 30 seconds; before a collective each rank waits for the others without a limit."""
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "3")
    monkeypatch.setenv("PADDLE_TRAINER_ENDPOINTS", "a:1,b:2,c:3")
    monkeypatch.setenv("PADDLE_CURRENT_ENDPOINT", "a:1")
    ranks = []
    for rank in range(3):
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        ranks.append(train.Ranks())
    for rank in (1, 2):
        for one, (other, link) in zip((0, rank), zip((rank, 0), socket.socketpair())):
            ranks[one]._attach(other, link, link.makefile("rb"))
    begun = []
    with ThreadPoolExecutor(3) as pool:
        for round_ in range(3):
            late = round_  # each once
            calls = [pool.submit(ranks[rank]._call, begun.append, rank) for rank in range(3) if rank != late]
            time.sleep(0.1)
            assert begun == []
            calls.append(pool.submit(ranks[late]._call, begun.append, late))
            for call in calls:
                call.result(10)
            assert sorted(begun) == [0, 1, 2]
            begun.clear()
    for rank in ranks:
        rank.__exit__(None, None, None)
