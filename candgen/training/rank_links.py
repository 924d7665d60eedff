"""Connections between the ranks of a run, by which one that fails ends the others. No paddle.

paddle's collectives do not tell why another rank has gone, and Gloo's wait for 30 seconds only,
while a rank may read its log or write a checkpoint for minutes. Rank 0 therefore has a TCP
connection to each other rank, which carries lines of text: ``here`` (see `RankLinks.meet`),
``failed REASON``, and ``done``, after which it may be closed. A connection that is closed without
``done`` belongs to a process that was killed or has crashed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from typing import Callable

from candgen.console import logger
from candgen.files import exit_at_once

CONNECT_SECONDS = 60
FAREWELL_SECONDS = 3  # that a failing rank waits for the others to end too


class RankLinks:
    """The connections of one rank: of rank 0 to all others, of another rank to rank 0.

    Parameters
    ----------
    rank, world : int, number of this rank and of all ranks.
    """

    def __init__(self, rank: int, world: int):
        self.rank = rank
        self.world = world
        self._sockets: dict[int, socket.socket] = {}  # by the other rank
        self._threads: list[threading.Thread] = []
        self._arrived = threading.Semaphore(0)  # released for each `here`
        self._ending = threading.Lock()  # acquired once, by what ends this process

    @property
    def connected(self) -> bool:
        """Whether there is a connection yet."""
        return bool(self._sockets)

    def connect(self, broadcast_object_list: Callable) -> None:
        """Connect rank 0 with all others.

        Parameters
        ----------
        broadcast_object_list : paddle.distributed.broadcast_object_list, by which rank 0 gives the
            others its port, and a token that only these ranks know.
        """
        if self.rank == 0:
            server = socket.create_server(("", 0), backlog=self.world)
            server.settimeout(CONNECT_SECONDS)
            box = [(server.getsockname()[1], secrets.token_hex())]
        else:
            box = [None]
        broadcast_object_list(box, 0)
        port, token = box[0]
        if self.rank == 0:
            self._accept_others(server, token)
        else:
            connection = socket.create_connection((first_host(), port), CONNECT_SECONDS)
            connection.sendall(f"{token} {self.rank}\n".encode())
            self._add(0, connection, connection.makefile("rb"))

    def _accept_others(self, server, token):
        while len(self._sockets) < self.world - 1:
            connection, _ = server.accept()
            connection.settimeout(CONNECT_SECONDS)
            stream = connection.makefile("rb")
            given, _, rank = stream.readline(100).strip().partition(b" ")
            if given == token.encode():
                self._add(int(rank), connection, stream)

    def _add(self, rank, connection, stream):
        """Listen to another rank from now on."""
        connection.settimeout(None)
        self._sockets[rank] = connection
        thread = threading.Thread(target=self._listen, args=(rank, stream), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, rank, stream):
        """Read the lines of another rank, in a thread; end this process if that rank fails."""
        reason = f"rank {rank} is gone: killed, or crashed; see its log; --resume continues"
        with contextlib.suppress(OSError):  # connection reset: that rank is gone
            for line in stream:
                kind, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
                if kind == "done":
                    return
                if kind == "failed":
                    reason = text
                    break
                self._arrived.release()
        if self._ending.acquire(blocking=False):
            logger.info(reason)
            self._send(f"failed {reason}")
            self._wait_for_others()
            exit_at_once(2)

    def _send(self, line):
        for connection in self._sockets.values():
            with contextlib.suppress(OSError):
                connection.sendall(f"{line}\n".encode())

    def _wait_for_others(self):
        """Wait some seconds for the others to close: a launcher kills them once one rank ends."""
        until = time.monotonic() + FAREWELL_SECONDS
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0, until - time.monotonic()))

    def meet(self) -> None:
        """Wait until all ranks are here, without a limit."""
        if self.rank:
            self._send("here")
        for _ in self._sockets:
            self._arrived.acquire()
        if not self.rank:
            self._send("here")

    def begin_end(self) -> None:
        """From now on this process ends by itself, whatever happens to the others."""
        self._ending.acquire()

    def send_failure(self, reason: str) -> None:
        """End the other ranks with this reason."""
        self._send("failed " + " ".join(reason.split()))
        self._wait_for_others()

    def close(self) -> None:
        """Close the connections after a run without an error."""
        self._send("done")
        for connection in self._sockets.values():
            with contextlib.suppress(OSError):  # closed by the other rank
                connection.shutdown(socket.SHUT_RDWR)  # ends the thread that listens
        self._wait_for_others()


def first_host() -> str:
    """The address at which paddle too looks for rank 0."""
    for name in ("MASTER_ADDR", "PADDLE_MASTER", "PADDLE_TRAINER_ENDPOINTS"):
        if os.environ.get(name):
            return os.environ[name].split(",")[0].partition(":")[0]
    raise ValueError("no address of rank 0 in the environment")
