"""Ranks: one process alone; several are started by tests/scripts/test_distributed.py."""

from concurrent.futures import ThreadPoolExecutor

from candgen.console import InputError
from candgen.training.ranks import Ranks

import pytest


def test_one_process_needs_no_exchange():
    with Ranks() as ranks:
        assert (ranks.world, ranks.rank) == (1, 0)
        ranks.connect()
        assert ranks.all_reduce(0.5, ["a tensor"]) == (0.5, ["a tensor"])
        assert ranks.gather(7) == [7] and ranks.broadcast_object(lambda: 7) == 7
        ranks.require_equal({"seed": 0})
        with ThreadPoolExecutor(2) as pool:
            assert ranks.distributed_map(pool)(abs, [-1, -2, -3]) == [1, 2, 3]
        assert not ranks.stop
        ranks.stop_requested = True
        assert ranks.stop


def test_contexts_are_left_with_the_ranks():
    class Lock:
        held = False

        def __enter__(self):
            self.held = True

        def __exit__(self, *_):
            self.held = False

    lock = Lock()
    with pytest.raises(RuntimeError), Ranks() as ranks:
        ranks.enter_on_first(lock)
        assert lock.held
        raise RuntimeError
    assert not lock.held


def test_work_is_spread_over_ranks(monkeypatch):
    """Each rank does every `world`-th item; the results are in the order of the items."""
    items = list(range(5))
    done = {rank: [item**2 for item in items[rank::2]] for rank in range(2)}
    for rank in range(2):
        ranks = Ranks()
        ranks.world, ranks.rank = 2, rank

        def gather(values, rank=rank):
            assert values == done[rank]
            return [done[0], done[1]]

        monkeypatch.setattr(ranks, "gather", gather)
        with ThreadPoolExecutor(2) as pool:
            assert ranks.distributed_map(pool)(lambda item: item**2, items) == [0, 1, 4, 9, 16]


def test_ranks_with_other_settings(monkeypatch):
    ranks = Ranks()
    other = {"seed": 1, "lstm_dim": 64, "test log": "x"}
    monkeypatch.setattr(ranks, "gather", lambda mine: [mine, other])
    ranks.require_equal(dict(other))
    with pytest.raises(InputError, match=r"different logs or settings \(seed, test log\)"):
        ranks.require_equal({"seed": 0, "lstm_dim": 64})
