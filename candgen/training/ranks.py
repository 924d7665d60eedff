"""candgen.training.ranks"""

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
import time

from candgen.console import InputError, describe_error, logger, user_error
from candgen.environment import launched
from candgen.files import exit_at_once
from candgen.model.layers import use_device

import paddle
from paddle import distributed

CONNECT_SECONDS, FAREWELL_SECONDS = (
    60,
    3,
)  # ranks wait so long for a connection, and for others to end with them


class Ranks:
    """The processes that train one model: those that `python -m paddle.distributed.launch` started, or this one alone.

    Each has the whole network and makes the same steps; what they exchange is sums of gradients.

    A context manager: whatever ends one rank within it ends all of them, each with the same line. For this
    there is a TCP connection between rank 0 and each other rank beside paddle's collectives, which do not
    tell why another rank has gone, and which wait for 30 seconds only (Gloo). It carries lines of text:
    `here` (see `meet`), `failed REASON`, and `done`, after which it may be closed. A connection that is
    closed without `done` belongs to a process that was killed or has crashed.
    """

    def __init__(self):
        self.world, self.rank = launched()
        self.stop_requested = self._agreed = False  # whether this one, whether any rank is to stop
        self._links, self._threads = {}, []  # of rank 0 to all others, of another rank to rank 0
        self._arrived, self._ending = threading.Semaphore(0), threading.Lock()

    def __enter__(self):
        return self

    def connect(self, device):
        """Meet the other ranks, on this device."""
        if self.world == 1:
            return
        use_device(device)
        self._initialize()
        if self.rank:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - results are the first rank's

    def _initialize(self):
        """Set up paddle's process group and the connections beside it."""
        self._distributed = distributed
        try:
            distributed.init_parallel_env()
            self._link()
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                None,
                f"the other ranks cannot be reached ({describe_error(error)})",
                hint=("see their logs, and open all ports between the hosts"),
            ) from error

    def _link(self):
        """Connect rank 0 with all others; the port goes through paddle, and a word that only these ranks know."""
        if not self.rank:
            server = socket.create_server(("", 0), backlog=self.world)
            server.settimeout(CONNECT_SECONDS)
        box = [None if self.rank else (server.getsockname()[1], secrets.token_hex())]
        self._distributed.broadcast_object_list(box, 0)
        port, word = box[0]
        if self.rank:
            link = socket.create_connection((host_of_first_rank(), port), CONNECT_SECONDS)
            link.sendall(f"{word} {self.rank}\n".encode())
            self._attach(0, link, link.makefile("rb"))
        while len(self._links) < (1 if self.rank else self.world - 1):
            link, _ = server.accept()
            link.settimeout(CONNECT_SECONDS)
            stream = link.makefile("rb")
            given, _, rank = stream.readline(100).strip().partition(b" ")
            if given == word.encode():
                self._attach(int(rank), link, stream)

    def _attach(self, rank, link, stream):
        """From now on listen to another rank."""
        link.settimeout(None)
        self._links[rank] = link
        self._threads.append(
            threading.Thread(target=self._listen, args=(rank, stream), daemon=True)
        )
        self._threads[-1].start()

    def _listen(self, rank, stream):
        """Read what another rank has to tell, in a thread of its own."""
        reason = f"rank {rank} is gone: killed, or crashed; see its log; --resume goes on"
        with contextlib.suppress(OSError):  # the connection is reset: that rank is gone
            for line in stream:
                kind, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
                if kind == "done":
                    return
                if kind == "failed":
                    reason = text
                    break
                self._arrived.release()
        if self._ending.acquire(blocking=False):  # never released: this process ends here
            logger.info(reason)
            self._tell(f"failed {reason}")
            self._wait_for_others()
            exit_at_once(2)

    def _tell(self, line):
        for link in self._links.values():
            with contextlib.suppress(OSError):
                link.sendall(f"{line}\n".encode())

    def _wait_for_others(self):
        """Until they have closed their connections, for some seconds: a launcher ends them if this one ends first."""
        until = time.monotonic() + FAREWELL_SECONDS
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0, until - time.monotonic()))

    def __exit__(self, kind, error, _):
        if self.world == 1:
            return
        failed = error is not None and not (
            kind is SystemExit and error.code != 2
        )  # 2: of argparse
        if failed and not self._links:  # not connected yet: the others wait
            with contextlib.suppress(InputError):
                self._initialize()
        self._ending.acquire()  # another rank may have ended this one already
        if not failed:
            self._tell("done")
            for link in self._links.values():
                with contextlib.suppress(OSError):  # closed by the other
                    link.shutdown(
                        socket.SHUT_RDWR
                    )  # our thread ends too, before the interpreter does
            self._wait_for_others()
            return
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # of the launcher, as soon as another rank has ended
        found, reason = user_error(error), f"{kind.__name__}: {describe_error(error)}"
        if found:
            found = found.within(f"rank {self.rank}")
            reason = str(found)
        else:
            reason = f"rank {self.rank}: {'interrupted' if kind is KeyboardInterrupt else reason}; see its log"
        self._tell("failed " + " ".join(reason.split()))
        self._wait_for_others()
        if found:
            raise found from error

    def meet(self):
        """Wait until all ranks are here, however long that takes."""
        if self.rank:
            self._tell("here")
        for _ in self._links:
            self._arrived.acquire()
        if not self.rank:
            self._tell("here")

    def _call(self, collective, *arguments):
        self.meet()
        try:
            collective(*arguments)
        except RuntimeError as error:
            time.sleep(
                FAREWELL_SECONDS
            )  # if a rank is gone its connection tells, and ends this process
            raise InputError(
                None,
                f"another rank is gone or cannot be reached ({describe_error(error)[-80:]})",
                hint="see its log; --resume goes on",
            ) from error

    @property
    def stop(self):
        """Whether a rank is to stop, as all of them have learned from the last `add_up`: they leave together."""
        return self.stop_requested if self.world == 1 else self._agreed

    def all_reduce(self, cost, tensors):
        """Sums over all ranks of a number and of some tensors, in one exchange; tells them if one is asked to stop."""
        if self.world == 1:
            return cost, tensors
        flat = paddle.concat(
            [
                *(tensor.flatten() for tensor in tensors),
                paddle.to_tensor([cost, self.stop_requested], paddle.float32),
            ]
        )
        self._call(self._distributed.all_reduce, flat)
        *sums, (cost, stop) = paddle.split(flat, [*(tensor.size for tensor in tensors), 2])
        self._agreed = float(stop) > 0
        return float(cost), [total.reshape(tensor.shape) for total, tensor in zip(sums, tensors)]

    def gather(self, value):
        """What each rank has, a list in their order."""
        if self.world == 1:
            return [value]
        found = []
        self._call(self._distributed.all_gather_object, found, value)
        return found

    def broadcast_object(self, make):
        """What `make()` gives the first rank."""
        box = [None if self.rank else make()]
        if self.world > 1:
            self._call(self._distributed.broadcast_object_list, box, 0)
        return box[0]

    def share(self, network):
        """Give all ranks the parameters of the first: processors may have come to other initial values."""
        if self.world > 1:
            for parameter in network.parameters():
                self._call(self._distributed.broadcast, parameter, 0)

    def distributed_map(self, pool):
        """A function like `pool.map` that spreads the work over the ranks too."""

        def run(work, items):
            items = list(items)
            found = self.gather(list(pool.map(work, items[self.rank :: self.world])))
            return [found[place % self.world][place // self.world] for place in range(len(items))]

        return run


def host_of_first_rank():
    """The address at which paddle too looks for rank 0."""
    given = filter(
        None, map(os.environ.get, ("MASTER_ADDR", "PADDLE_MASTER", "PADDLE_TRAINER_ENDPOINTS"))
    )
    return next(given).split(",")[0].partition(":")[0]
