"""Two threads of one process compute gradients and updates: the same, to the bit, whatever the machine does meanwhile.

    python tests/test_threads.py --steps=20000

trains that many steps of small batches by two threads, twice, beside another process that keeps a core busy,
and prints a digest of all parameters and of the optimiser's state after each run: equal, or exit code 1.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path[:0] = [
    str(Path(__file__).resolve().parents[2]),
    str(Path(__file__).resolve().parent),
]  # as a command
import network_conf
from candgen.archives import fingerprint
from candgen.data.batches import sequence_segments, shuffled_batches, sliding_windows
from candgen.data.dictionary import CATEGORIES, FEATURES, ITEMS, TAGS
from candgen.data.encoding import EncodedLog
from candgen.data.items import VideoColumns
from candgen.model.initialization import initialize
from candgen.training.trainer import Trainer

import numpy as np
import paddle

TARGETS, WINDOW = 64, 6  # steps so small that threads meet all the time
SIZES = {**dict.fromkeys(FEATURES, 20), "user_id": 2001, ITEMS: 2001, CATEGORIES: 50, TAGS: 200}
SETTINGS = {
    "nce": {"num_negatives": 5, "shared_negatives": False},
    "ranking_nce": {"num_negatives": 64, "shared_negatives": True},
}


def random_log(rng, users=2000):
    """A log of random clicks, as arrays."""
    lengths = rng.integers(1, 60, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    videos = SIZES[ITEMS]
    tag_offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 4, videos))])
    columns = VideoColumns(
        np.arange(videos),
        rng.integers(0, SIZES[CATEGORIES], videos),
        rng.integers(0, SIZES[TAGS], tag_offsets[-1]),
        tag_offsets,
    )
    profile = np.stack([np.arange(1, users + 1), *rng.integers(0, 20, (3, users))], axis=1)
    clicks = rng.integers(1, videos, offsets[-1]).astype(np.int32)
    return EncodedLog(
        [f"u{user}" for user in range(users)],
        profile,
        clicks,
        offsets,
        clicks[offsets[1:] - 1],
        np.zeros(users, int),
        columns,
    )


def train_steps(steps, loss, threads=2, dropout=0.2):
    """(digest of parameters and optimiser state, targets, seconds) of a run from the start."""
    rng = np.random.default_rng(0)
    log = random_log(rng)
    freq = rng.dirichlet(np.ones(SIZES[ITEMS])).tolist()
    paddle.seed(0)
    config = network_conf.ModelConfig(
        SIZES, network_conf.DNNmodel.embedding_dims, window_size=WINDOW
    )
    network = network_conf.DNNmodel(config, dropout=dropout)
    initialize(network, freq)
    args = argparse.Namespace(
        loss=loss,
        threads=threads,
        learning_rate=0.002,
        optimizer="adam",
        l2_rate=0.0,
        table_rate=1.0,
        **SETTINGS[loss],
    )
    trainer = Trainer(args, network, freq, steps)
    segments = (sequence_segments if loss == "ranking_nce" else sliding_windows)(
        log.lengths, WINDOW
    )
    started, targets, done = time.perf_counter(), 0, 0
    while done < steps:
        for part in shuffled_batches(segments, len(log.clicks) // TARGETS, rng):
            _, _, parts, _ = batch = trainer.prepare(
                log, part, rng, user_dropout=0.5, history_dropout=0.1
            )
            assert len(parts) == threads
            assert np.isfinite(trainer.step(*batch))
            targets, done = targets + batch[0], done + 1
            if done == steps:
                break
    seconds = time.perf_counter() - started
    trainer.pool.shutdown()
    # paddle numbers the moments of parameters of one name: relu1_w_moment1_0, in a second run relu1_w_moment1_1
    arrays = {re.sub(r"_\d+$", "", name): value for name, value in trainer.state()[0].items()}
    assert {"relu1_w", "relu1_w_moment1", "nce_w_moment2"} <= arrays.keys()
    return fingerprint(*(arrays[name] for name in sorted(arrays))), targets, seconds


class Load:
    """Another process that keeps a core busy, while it lasts."""

    def __enter__(self):
        self._process = subprocess.Popen([sys.executable, "-c", "while True: sum(range(10 ** 5))"])

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()


@pytest.mark.parametrize("loss", sorted(SETTINGS))
def test_two_runs_beside_load_are_equal(loss):
    """Parameters and optimiser state, to the bit; another step makes them others."""
    with Load():
        first, again = (train_steps(40, loss)[0] for _ in range(2))
    assert first == again
    assert train_steps(41, loss)[0] != first


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20000, help="of each run (%(default)s)")
    parser.add_argument("--loss", choices=sorted(SETTINGS), default="nce", help="(%(default)s)")
    args = parser.parse_args()
    digests = []
    with Load():
        for number in range(2):
            digest, targets, seconds = train_steps(args.steps, args.loss)
            digests.append(digest)
            print(
                f"run {number + 1}: {args.steps} steps of {args.loss}, {targets} targets, {seconds:.0f} s, "
                f"{targets / seconds:.0f} targets/s, sha256 {digest}",
                flush=True,
            )
    print("equal" if digests[0] == digests[1] else "DIFFERENT")
    return int(digests[0] != digests[1])


if __name__ == "__main__":
    sys.exit(main())
