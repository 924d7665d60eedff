"""TODO"""

import contextlib
import os
import signal
import subprocess
import sys

from conftest import ROOT

import pytest

GOOD = "U1\tP1\tNULL\tV1:C1:T1;V2:C2:T2_T3\tM1\n"


COUNTING = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
import data_processor, utils
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where whoever runs the tests ignores it

def count_share(parts, max_user_clicks=None, progress=False):  # in place of the one that counts
    start = parts[0][1]
    print(os.getpid(), flush=True)
    return {work}

count_share.__module__ = "data_processor"
data_processor.count_share = count_share
sys.argv = ["data_processor.py", "--train_set_path=log.txt", "--output_dir=no", "--processes=2"]
utils.run_script(data_processor.main)
"""


def counting(folder, work):
    """data_processor.py at work in a group of its own, both of its workers begun."""
    (folder / "log.txt").write_text(GOOD * 100)
    code = COUNTING.format(root=str(ROOT), work=work)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert len({process.stdout.readline(), process.stdout.readline()}) == 2
    return process


def ended(process):
    """Its stderr, once it and all its workers are gone: each of them holds the other end of the pipe."""
    try:
        return process.communicate(timeout=30)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_dead_worker_is_noticed(tmp_path):
    """Linux ends the largest process when memory is short."""
    process = counting(
        tmp_path, "os._exit(9) if start else time.sleep(1) or data_processor.Counts()"
    )
    stderr = ended(process)
    assert process.returncode == 2 and stderr.count("\n") == 1 and "out of memory" in stderr
    assert not (tmp_path / "no").exists()


def test_workers_go_with_their_parent(tmp_path):
    """Even when it is killed by force, in the middle of their work."""
    process = counting(tmp_path, "time.sleep(1000)")
    process.kill()
    assert ended(process) == "" and process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "group", [False, True], ids=["the first process", "all of them, as Ctrl-C does"]
)
def test_interrupted_while_counting(tmp_path, group):
    """It does not wait for its workers to get through a long log."""
    process = counting(tmp_path, "time.sleep(1000)")
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    assert ended(process) == "data_processor.py: interrupted\n" and process.returncode == 130
