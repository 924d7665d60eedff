"""The state of a run, from which ``--resume`` continues. Imports no paddle."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import sys
import time
from typing import Any

from candgen.archives import read_archive, write_archive
from candgen.console import InputError, describe_error, logger
from candgen.files import atomic_write
from candgen.model.model_file import save_model
from candgen.training.report import EXPLODED

import numpy as np

# names of files that a run replaces or removes
OUTPUT_FILES = r"(model_(pass_\d{5}|best)|checkpoint)\.tar\.gz|metrics\.jsonl"
BEST_MODEL = "model_best.tar.gz"
MAX_TIME_SHARE = 0.05  # of a run, for checkpoints within a pass


class Checkpointer:
    """State of a run: finished passes, position and loss of the present one, and its file.

    Parameters
    ----------
    folder : --model_output_dir, for checkpoint.tar.gz.
    identity : settings and fingerprints of data that a resumed run must share.
    item_freq : list of float [videos], for a later run that starts from this one.
    minutes : between checkpoints within a pass.
    ranks : Ranks; the first one writes.

    Attributes
    ----------
    rows : list of dict, those of metrics.jsonl, one for each finished pass.
    batches : int, batches of the present pass that are done.
    total_loss : float, sum of the losses of their targets.
    seconds : float, that they took.
    """

    def __init__(
        self,
        folder: str,
        identity: dict,
        item_freq: list[float] | np.ndarray,
        minutes: float,
        ranks: Any,
    ):
        self.rows: list[dict] = []
        self.batches = 0
        self.total_loss = 0.0
        self.seconds = 0.0
        self._folder = folder
        self._path = os.path.join(folder, "checkpoint.tar.gz")
        self._identity = json.loads(json.dumps(identity))  # as it will be read: tuples are lists
        self._item_freq = np.asarray(item_freq, np.float32)
        self._ranks = ranks
        self._signal = signal.SIGTERM
        self._seconds_between = 60 * minutes
        self._written_at = time.monotonic()
        self._write_seconds = 0.0
        self._clock = time.perf_counter()

    def catch_signals(self) -> None:
        """Let SIGTERM and Ctrl-C wait for the end of a step and leave a checkpoint.

        A second Ctrl-C kills. A second SIGTERM does not: paddle's launcher sends several.
        """

        def request_stop(number, _):
            self._ranks.stop_requested = True
            self._signal = signal.Signals(number)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        signal.signal(signal.SIGTERM, request_stop)
        signal.signal(signal.SIGINT, request_stop)

    def restart_clock(self) -> None:
        """Begin to measure the seconds of the next step, reading of its batch included."""
        self._clock = time.perf_counter()

    def after_step(self, trainer: Any, loss: float, num_targets: int) -> None:
        """Count a step. Write a checkpoint if it is time, and stop if a signal has come.

        Raises
        ------
        InputError
            If the loss is not finite.
        """
        self.seconds += time.perf_counter() - self._clock
        self.batches += 1
        self.total_loss += loss * num_targets
        if not math.isfinite(loss):
            raise InputError(
                "training", f"the cost became {loss} in batch {self.batches}", hint=EXPLODED
            )
        since_last = time.monotonic() - self._written_at
        pause = max(self._seconds_between, self._write_seconds / MAX_TIME_SHARE)
        if self._ranks.stop or since_last > pause:
            self.write(trainer)
        self.stop_if_requested()
        self.restart_clock()

    def end_pass(self, trainer: Any) -> None:
        """Write the checkpoint of a finished pass, whose row has been appended to `rows`."""
        self.batches = 0
        self.total_loss = 0.0
        self.seconds = 0.0
        self.write(trainer)
        self._tidy_folder()
        self.stop_if_requested()

    def stop_if_requested(self) -> None:
        """Exit if a signal has come."""
        if self._ranks.stop:
            logger.info(f"stopped by {self._signal.name}; --resume continues")
            sys.exit(128 + self._signal)

    def write(self, trainer: Any) -> None:
        """Write the checkpoint."""
        if self._ranks.rank:
            return
        started = time.monotonic()
        arrays, rate = trainer.state()
        arrays["item_freq"] = self._item_freq
        metadata = {
            "identity": self._identity,
            "rows": self.rows,
            "batches": self.batches,
            "total": self.total_loss,
            "seconds": self.seconds,
            "rate": rate,
        }
        write_archive(self._path, metadata, arrays)
        self._written_at = time.monotonic()
        self._write_seconds = self._written_at - started

    def resume(self, trainer: Any) -> bool:
        """Continue from the checkpoint; False if there is none.

        Raises
        ------
        InputError
            If it is damaged, or of a run with another identity.
        """
        hint = "restore it, or train into another --model_output_dir"
        metadata, arrays = self._ranks.broadcast_object(lambda: self._read(hint))
        if metadata is None:
            return False
        self._check_identity(metadata.get("identity"))
        try:
            trainer.restore(arrays, metadata["rate"])
            self.rows = metadata["rows"]
            self.batches = metadata["batches"]
            self.total_loss = metadata["total"]
            self.seconds = metadata["seconds"]
        except (KeyError, TypeError, ValueError) as error:
            problem = f"damaged ({describe_error(error)})"
            raise InputError(self._path, problem, hint=hint) from error
        self._tidy_folder()
        return True

    def _read(self, hint):
        if not os.path.exists(self._path):
            return None, None
        return read_archive(self._path, hint)

    def _check_identity(self, identity):
        """InputError naming the settings that differ; a setting that was not yet there is unset."""
        if not isinstance(identity, dict):
            identity = {}
        names = sorted({*identity, *self._identity})
        differing = [name for name in names if identity.get(name) != self._identity.get(name)]
        if differing:
            raise InputError(
                self._path,
                f"made by a run with another {', '.join(differing)}",
                hint="give the settings it was made with, or another --model_output_dir",
            )

    def _tidy_folder(self):
        """Make the folder agree with the checkpoint: from now on models of an earlier run are
        not needed."""
        if self.rows and not self._ranks.rank:
            write_metrics(self._folder, self.rows)
            remove_earlier_models(self._folder, self.rows)


def save_pass(
    folder: str, network: Any, item_freq: list[float] | np.ndarray, rows: list[dict], is_best: bool
) -> None:
    """Write the model of the last row, model_best.tar.gz if it is the best, and metrics.jsonl.

    Nothing that --resume needs is removed: all of this is repeated if the process is killed before
    the checkpoint of this pass is written.
    """
    save_model(os.path.join(folder, model_name(rows[-1])), network, item_freq)
    best_path = os.path.join(folder, BEST_MODEL)
    if is_best:
        save_model(best_path, network, item_freq)
    elif len(rows) == 1:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(best_path)
            logger.info(f"removed {BEST_MODEL} of an earlier run")
    write_metrics(folder, rows)


def write_metrics(folder: str, rows: list[dict]) -> None:
    """Write metrics.jsonl, unless it has these rows already."""
    path = os.path.join(folder, "metrics.jsonl")
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        if stream.read() == content:
            return
    with atomic_write(path) as stream:
        stream.write(content)


def model_name(row: dict) -> str:
    """File name of the model of a pass."""
    return f"model_pass_{row['pass']:05d}.tar.gz"


def remove_earlier_models(folder: str, rows: list[dict]) -> None:
    """Remove models of passes that have no row: those of an earlier run."""
    written = set(map(model_name, rows))
    earlier = [
        name
        for name in os.listdir(folder)
        if re.fullmatch(r"model_pass_\d{5}\.tar\.gz", name) and name not in written
    ]
    for name in earlier:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    if earlier:
        logger.info(f"removed {len(earlier)} models of an earlier run")
