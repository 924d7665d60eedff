"""candgen.training.checkpoint"""

import contextlib
import json
import os
import re
import signal
import sys
import time

from candgen.archives import read_archive, write_archive
from candgen.console import InputError, describe_error, logger
from candgen.files import atomic_write
from candgen.training.dashboard import Dashboard

import numpy as np

OUTPUT_FILES = r"(model_(pass_\d{5}|best)|checkpoint)\.tar\.gz|metrics\.jsonl"  # what a run replaces or removes


class Checkpointer:
    """Where a run stands: written down now and then, in model_output_dir/checkpoint.tar.gz, for --resume.

    `rows` are those of metrics.jsonl; `batches`, `total` and `seconds` tell how far the pass is, the sum of its costs,
    and the time it took.
    """

    def __init__(self, args, identity, item_freq, ranks):
        self._folder, self._identity = args.model_output_dir, identity
        self._path = os.path.join(self._folder, "checkpoint.tar.gz")
        self._between, self._written, self._took = (
            60 * args.checkpoint_minutes,
            time.monotonic(),
            0.0,
        )
        self._ranks, self._signal, self.rows = ranks, signal.SIGTERM, []
        self._item_freq = np.asarray(
            item_freq, np.float32
        )  # for a run that begins where this one ends
        self.batches, self.total, self.seconds = 0, 0.0, 0.0
        self.board = Dashboard(args, ranks.rank)

    def catch_signals(self):
        """From now on SIGTERM and Ctrl-C wait for the end of a step, then leave a checkpoint; a second Ctrl-C kills.

        A second SIGTERM does not: paddle's launcher sends some, a fifth of a second apart.
        """

        def stop(number, _):
            self._ranks.stop_requested, self._signal = True, signal.Signals(number)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def end_pass(self, trainer):
        """A pass is done, its row among the `rows`."""
        self.batches, self.total, self.seconds = 0, 0.0, 0.0
        self.write(trainer)
        self._tidy()
        self.stop_if_asked()

    def _tidy(self):
        """Make the folder what the checkpoint says; only now are the models of an earlier run of no use any more."""
        if self.rows and not self._ranks.rank:
            write_metrics(self._folder, self.rows)
            remove_earlier_models(self._folder, self.rows)

    def after_step(self, trainer):
        """Write it if the last one is old, and they do not take more than 5% of the time; stop if asked to."""
        if self._ranks.stop or time.monotonic() - self._written > max(
            self._between, 20 * self._took
        ):
            self.write(trainer)
        self.stop_if_asked()

    def stop_if_asked(self):
        """Leave, if a signal has come."""
        if self._ranks.stop:
            logger.info(f"stopped by {self._signal.name}; --resume goes on")
            sys.exit(128 + self._signal)

    def write(self, trainer):
        """Write the checkpoint."""
        if self._ranks.rank:
            return
        started = time.monotonic()
        arrays, rate = trainer.state()
        arrays["item_freq"] = self._item_freq
        write_archive(
            self._path,
            {
                "identity": self._identity,
                "rows": self.rows,
                "batches": self.batches,
                "total": self.total,
                "seconds": self.seconds,
                "rate": rate,
            },
            arrays,
        )
        self._written = time.monotonic()
        self._took = self._written - started

    def read(self, trainer):
        """Go on from the last one; False if there is none."""
        hint = "restore it, or train into another --model_output_dir"
        metadata, arrays = self._ranks.broadcast_object(
            lambda: read_archive(self._path, hint) if os.path.exists(self._path) else (None, None)
        )
        if metadata is None:
            return False
        before, now = metadata.get("identity"), self._identity
        before = before if isinstance(before, dict) else {}
        other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if other:  # a setting that there was not yet is one that was not given
            raise InputError(
                self._path,
                f"made by a run with another {', '.join(other)}",
                hint=("give the settings it was made with, or another --model_output_dir"),
            )
        try:
            trainer.restore(arrays, metadata["rate"])
            self.rows, self.batches, self.total, self.seconds = (
                metadata[name] for name in ("rows", "batches", "total", "seconds")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(self._path, f"damaged ({describe_error(error)})", hint=hint) from error
        self._tidy()
        return True


def write_metrics(folder, rows):
    """Write metrics.jsonl, unless it has these rows already."""
    path, text = (
        os.path.join(folder, "metrics.jsonl"),
        "".join(json.dumps(row) + "\n" for row in rows),
    )
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        if stream.read() == text.encode():
            return
    with atomic_write(path) as stream:
        stream.write(text.encode())


def remove_earlier_models(folder, rows):
    """Remove the models of passes that are not among the rows: an earlier run has left them."""
    written = {f"model_pass_{row['pass']:05d}.tar.gz" for row in rows}
    left = [
        name
        for name in os.listdir(folder)
        if name not in written and re.fullmatch(r"model_pass_\d{5}\.tar\.gz", name)
    ]
    for name in left:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    if left:
        logger.info(f"removed {len(left)} models of an earlier run")
