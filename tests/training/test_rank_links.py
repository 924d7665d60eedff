"""The connections between ranks, here between threads of one process."""

import queue
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import candgen.training.rank_links
from candgen.training.rank_links import RankLinks, first_host

import pytest


def connected(world):
    """`RankLinks` of that many ranks, connected with each other."""
    links = [RankLinks(rank, world) for rank in range(world)]
    for rank in range(1, world):
        ends = socket.socketpair()
        for one, other, end in zip((0, rank), (rank, 0), ends):
            links[one]._add(other, end, end.makefile("rb"))
    return links


def test_a_rank_may_take_its_time():
    """Gloo waits for 30 seconds; before a collective the ranks wait without limit."""
    links = connected(3)
    arrived = []

    def meet(rank):
        links[rank].meet()
        arrived.append(rank)

    with ThreadPoolExecutor(3) as pool:
        for late in range(3):  # each once
            calls = [pool.submit(meet, rank) for rank in range(3) if rank != late]
            time.sleep(0.1)
            assert arrived == []
            calls.append(pool.submit(meet, late))
            for call in calls:
                call.result(10)
            assert sorted(arrived) == [0, 1, 2]
            arrived.clear()
    end_all(links)


def end_all(links):
    """What all ranks do at the end of a run."""
    for link in links:
        link.begin_end()
    with ThreadPoolExecutor(len(links)) as pool:
        list(pool.map(lambda link: link.close(), links))


@pytest.mark.parametrize(
    "fail, line",
    [
        (lambda link: link.send_failure("rank 1: a log\nis missing"), "rank 1: a log is missing"),
        (
            lambda link: link._sockets[0].shutdown(socket.SHUT_RDWR),
            "rank 1 is gone: killed, or crashed; see its log; --resume continues",
        ),
    ],
    ids=["with a reason", "killed"],
)
def test_a_rank_that_fails_ends_the_others(monkeypatch, capsys, fail, line):
    """Each of them once, with one line, which rank 0 passes on."""
    ended = queue.Queue()
    monkeypatch.setattr(candgen.training.rank_links, "exit_at_once", ended.put)
    monkeypatch.setattr(candgen.training.rank_links, "FAREWELL_SECONDS", 0.2)
    links = connected(3)
    links[1].begin_end()
    fail(links[1])
    assert [ended.get(timeout=10) for _ in range(2)] == [2, 2]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(each.endswith(line) for each in lines)


def test_a_rank_that_is_done_ends_nobody(monkeypatch):
    """Connections that are closed after `done` are no failure."""
    ended = []
    monkeypatch.setattr(candgen.training.rank_links, "exit_at_once", ended.append)
    links = connected(2)
    links[1].begin_end()
    links[1].close()
    end_all(links[:1])
    assert ended == []


@pytest.mark.parametrize(
    "name, value",
    [
        ("MASTER_ADDR", "10.0.0.1"),
        ("PADDLE_MASTER", "10.0.0.1:8090"),
        ("PADDLE_TRAINER_ENDPOINTS", "10.0.0.1:8090,10.0.0.2:8090"),
    ],
)
def test_the_host_of_rank_0(monkeypatch, name, value):
    for other in ("MASTER_ADDR", "PADDLE_MASTER", "PADDLE_TRAINER_ENDPOINTS"):
        monkeypatch.delenv(other, raising=False)
    with pytest.raises(ValueError, match="no address of rank 0"):
        first_host()
    monkeypatch.setenv(name, value)
    assert first_host() == "10.0.0.1"
