"""TODO"""

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
from candgen.training.ranks import Ranks
from conftest import run, run_ok, train_command
import pytest
from test_resume import checkpoint_of, files_of


def test_a_rank_may_take_its_time(monkeypatch):
    """Gloo waits for 30 seconds; before a collective each rank waits for the others without a limit."""
    monkeypatch.setattr(train, "WORLD", 3)
    ranks = []
    for rank in range(3):
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        ranks.append(Ranks())
    for rank in (1, 2):
        for one, (other, link) in zip((0, rank), zip((rank, 0), socket.socketpair())):
            ranks[one]._attach(other, link, link.makefile("rb"))
    begun = []
    with ThreadPoolExecutor(3) as pool:
        for round_ in range(3):
            late = round_  # each once
            calls = [
                pool.submit(ranks[rank]._call, begun.append, rank)
                for rank in range(3)
                if rank != late
            ]
            time.sleep(0.1)
            assert begun == []
            calls.append(pool.submit(ranks[late]._call, begun.append, late))
            for call in calls:
                call.result(10)
            assert sorted(begun) == [0, 1, 2]
            begun.clear()
    for rank in ranks:
        rank.__exit__(None, None, None)
