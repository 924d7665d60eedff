"""The processes that train one model together, and their collectives.

paddle is imported by `Ranks.connect`, and only if there are several ranks: a rank is a context that
starts before the command line is parsed, which must not load paddle.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import Executor
from typing import Any, Callable

from candgen.console import InputError, describe_error, logger, user_error
from candgen.environment import launched
from candgen.training.rank_links import FAREWELL_SECONDS, RankLinks

import numpy as np


class Ranks(contextlib.AbstractContextManager):
    """The ranks that ``python -m paddle.distributed.launch`` started, or this process alone.

    Each rank has the whole network and makes the same updates; they exchange sums of gradients.
    Within the context, whatever ends one rank ends all of them, each with the same line.

    Attributes
    ----------
    world, rank : int, number of all ranks and of this one.
    stop_requested : bool, whether this rank has been asked to stop.
    """

    def __init__(self):
        self.world, self.rank = launched()
        self.stop_requested = False
        self._stop_agreed = False
        self._room = 1 << 12  # for the ids of `gather_ids`
        self._links = RankLinks(self.rank, self.world)
        self._resources = contextlib.ExitStack()

    def connect(self) -> None:
        """Meet the other ranks, on paddle's device; results are printed by the first rank only."""
        if self.world == 1:
            return
        # a run that has found the variables of an earlier job must not wait silently
        logger.info(
            f"waiting for all {self.world} processes (PADDLE_TRAINERS_NUM); this one is rank "
            f"{self.rank}"
        )
        self._initialize()
        if self.rank:
            nowhere = self._resources.enter_context(open(os.devnull, "w"))  # noqa: SIM115
            self._resources.enter_context(contextlib.redirect_stdout(nowhere))

    def _initialize(self):
        """Set up paddle's process group and the connections beside it."""
        import paddle
        from paddle import distributed

        self._paddle = paddle
        self._distributed = distributed
        try:
            distributed.init_parallel_env()
            self._links.connect(distributed.broadcast_object_list)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                None,
                f"the other ranks cannot be reached ({describe_error(error)})",
                hint="see their logs, and open all ports between the hosts",
            ) from error

    def enter_on_first(self, context: contextlib.AbstractContextManager) -> None:
        """Enter a context on the first rank, such as a lock; it is left with this one."""
        if not self.rank:
            self._resources.enter_context(context)

    def __exit__(self, kind, error, traceback):
        self._resources.__exit__(kind, error, traceback)
        if self.world == 1:
            return
        usage_error = kind is SystemExit and error.code == 2  # of argparse
        failed = error is not None and (kind is not SystemExit or usage_error)
        if failed and not self._links.connected:  # the others wait for this one
            with contextlib.suppress(InputError):
                self._initialize()
        self._links.begin_end()
        if failed:
            self._end_others(error)
        else:
            self._links.close()

    def _end_others(self, error):
        """Tell the other ranks why this one ends; raises the error with its rank."""
        # the launcher sends SIGTERM as soon as another rank has ended
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        here = f"rank {self.rank}"
        shown = user_error(error)
        if shown is not None:
            shown = shown.within(here)
            self._links.send_failure(str(shown))
            raise shown from error
        if isinstance(error, KeyboardInterrupt):
            reason = "interrupted"
        else:
            reason = f"{type(error).__name__}: {describe_error(error)}"
        self._links.send_failure(f"{here}: {reason}; see its log")

    def _call(self, collective, *arguments):
        self._links.meet()
        try:
            collective(*arguments)
        except RuntimeError as error:
            time.sleep(FAREWELL_SECONDS)  # if a rank is gone, its connection ends this process
            raise InputError(
                None,
                f"another rank is gone or cannot be reached ({describe_error(error)[-80:]})",
                hint="see its log; --resume continues",
            ) from error

    @property
    def stop(self) -> bool:
        """Whether any rank was asked to stop at the last `all_reduce`: they stop together."""
        return self.stop_requested if self.world == 1 else self._stop_agreed

    def all_reduce(self, loss: float, tensors: list) -> tuple[float, list]:
        """Sums over all ranks of a number and of tensors, in one collective."""
        if self.world == 1:
            return loss, tensors
        paddle = self._paddle
        scalars = paddle.to_tensor([loss, self.stop_requested], paddle.float32)
        flat = paddle.concat([*(tensor.flatten() for tensor in tensors), scalars])
        self._call(self._distributed.all_reduce, flat)
        *sums, (loss, stop) = paddle.split(flat, [*(tensor.size for tensor in tensors), 2])
        self._stop_agreed = float(stop) > 0
        sums = [total.reshape(tensor.shape) for total, tensor in zip(sums, tensors)]
        return float(loss), sums

    def gather(self, value: Any) -> list:
        """The values of all ranks, in their order."""
        if self.world == 1:
            return [value]
        values: list = []
        self._call(self._distributed.all_gather_object, values, value)
        return values

    def gather_ids(self, ids: np.ndarray) -> list[np.ndarray]:
        """The int64 arrays of all ranks, each of any length, in one collective if they have room.

        Each array is padded to the room, with its length in front. If one is longer, all ranks
        learn so from the lengths, enlarge the room, and repeat.
        """
        while True:
            padded = np.zeros(1 + self._room, np.int64)
            padded[0] = len(ids)
            padded[1 : 1 + len(ids)] = ids[: self._room]
            gathered: list = []
            self._call(self._distributed.all_gather, gathered, self._paddle.to_tensor(padded))
            gathered = [each.numpy() for each in gathered]
            longest = max(each[0] for each in gathered)
            if longest <= self._room:
                return [each[1 : 1 + each[0]] for each in gathered]
            self._room = 2 * longest

    def broadcast_object(self, make: Callable[[], Any]) -> Any:
        """What ``make()`` returns on the first rank, on all ranks."""
        box = [None if self.rank else make()]
        if self.world > 1:
            self._call(self._distributed.broadcast_object_list, box, 0)
        return box[0]

    def broadcast_parameters(self, network: Any) -> None:
        """Give all ranks the parameters of the first: initial values may differ in rounding."""
        if self.world > 1:
            for parameter in network.parameters():
                self._call(self._distributed.broadcast, parameter, 0)

    def distributed_map(self, pool: Executor) -> Callable:
        """A function like ``pool.map`` that spreads the work over the ranks too."""

        def run(work, items):
            items = list(items)
            results = [None] * len(items)
            per_rank = self.gather(list(pool.map(work, items[self.rank :: self.world])))
            for rank, of_rank in enumerate(per_rank):
                results[rank :: self.world] = of_rank
            return results

        return run

    def require_equal(self, values: dict) -> None:
        """Check that all ranks have the same settings.

        Raises
        ------
        InputError
            Naming those that differ.
        """
        given = self.gather(values)
        names = sorted(set().union(*given))
        differing = [
            name for name in names if any(each.get(name) != given[0].get(name) for each in given)
        ]
        if differing:
            raise InputError(
                "training",
                f"the ranks have different logs or settings ({', '.join(differing)})",
                hint="give all of them the same",
            )
