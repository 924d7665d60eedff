"""Training by two threads gives the same bytes each time, whatever else the machine does.

    python tests/training/test_threads.py --steps=20000

trains that many steps of small batches by two threads, twice, beside a process that keeps a core
busy, and prints a digest of all parameters and of the optimizer's state after each run. The exit
code is 1 if the digests differ.
"""

import argparse
import dataclasses
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path[:0] = [str(path) for path in Path(__file__).resolve().parents[1:3]]  # as a command
import network_conf
from candgen.archives import fingerprint
from candgen.data.batches import sequence_segments, shuffled_batches, sliding_windows
from candgen.model.initialization import build_network
from candgen.training.settings import TrainerSettings
from candgen.training.trainer import Trainer
from conftest import feature_dict_of, log_text
from reader import Reader

import numpy as np

TARGETS = 64  # in a step: so few that threads often wait for each other
WINDOW = 6
VIDEOS = 2000
SETTINGS = {
    "nce": {"num_negatives": 5, "shared_negatives": False},
    "ranking_nce": {"num_negatives": 64, "shared_negatives": True},
}


def random_log(folder, users=1000):
    """(dictionary, `EncodedLog`) of random clicks."""
    rng = np.random.default_rng(0)
    infos = [
        f"v{video}:c{rng.integers(50)}:" + "_".join(f"t{tag}" for tag in rng.integers(0, 200, 2))
        for video in range(VIDEOS)
    ]
    lines = [
        (f"u{user}", f"p{user % 20}", "", [infos[k] for k in rng.integers(0, VIDEOS, length)], "")
        for user, length in enumerate(rng.integers(1, 60, users))
    ]
    (folder / "log.txt").write_text(log_text(lines), encoding="utf-8")
    feature_dict = feature_dict_of(
        user_id=[f"u{user}" for user in range(users)],
        province=[f"p{number}" for number in range(20)],
        history_clicked_items=[f"v{video}" for video in range(VIDEOS)],
        history_clicked_categories=[f"c{number}" for number in range(50)],
        history_clicked_tags=[f"t{number}" for number in range(200)],
    )
    [log] = Reader(feature_dict).encode([str(folder / "log.txt")])
    return feature_dict, log


@dataclasses.dataclass(frozen=True)
class Run:
    """What training came to: a digest of parameters and optimizer state, targets and seconds."""

    digest: str
    targets: int
    seconds: float


def train_steps(inputs, steps, loss, threads=2):
    """Train from the start; returns a `Run`."""
    feature_dict, log = inputs
    rng = np.random.default_rng(0)
    freq = rng.dirichlet(np.ones(VIDEOS + 1)).tolist()
    config = network_conf.ModelConfig(
        {name: len(values) for name, values in feature_dict.items()},
        network_conf.DNNmodel.embedding_dims,
        window_size=WINDOW,
    )
    network = build_network(network_conf.DNNmodel, config, 0.2, freq, "popularity", seed=0)
    settings = TrainerSettings(
        loss=network_conf.loss_function(loss),
        threads=threads,
        history_dropout=0.1,
        **SETTINGS[loss],
    )
    trainer = Trainer(network, network_conf.NoiseSampler(freq), settings, steps)
    cut = sequence_segments if loss == "ranking_nce" else sliding_windows
    segments = cut(log.lengths, WINDOW)
    started = time.perf_counter()
    targets = done = 0
    while done < steps:
        for chosen in shuffled_batches(segments, len(log.clicks) // TARGETS, rng):
            batch = trainer.prepare(log, chosen, rng)
            assert len(batch.micro_batches) == threads
            assert np.isfinite(trainer.step(batch))
            targets += batch.num_targets
            done += 1
            if done == steps:
                break
    seconds = time.perf_counter() - started
    trainer.pool.shutdown()
    # paddle numbers moments: relu1_w_moment1_0, in a second run relu1_w_moment1_1
    arrays = {re.sub(r"_\d+$", "", name): value for name, value in trainer.state()[0].items()}
    assert {"relu1_w", "relu1_w_moment1", "nce_w_moment2"} <= arrays.keys()
    digest = fingerprint(*(arrays[name] for name in sorted(arrays)))
    return Run(digest, targets, seconds)


class Load:
    """Another process that keeps a core busy, while it lasts."""

    def __enter__(self):
        self._process = subprocess.Popen([sys.executable, "-c", "while True: sum(range(10 ** 5))"])

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return random_log(tmp_path_factory.mktemp("threads"))


@pytest.mark.parametrize("loss", sorted(SETTINGS))
def test_two_runs_beside_load_are_equal(inputs, loss):
    """Parameters and optimizer state, bit for bit; another step changes them."""
    with Load():
        first, again = (train_steps(inputs, 30, loss).digest for _ in range(2))
    assert first == again
    assert train_steps(inputs, 31, loss).digest != first


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20000, help="of each run (default: 20000)")
    parser.add_argument("--loss", choices=sorted(SETTINGS), default="nce", help="(default: nce)")
    args = parser.parse_args()
    digests = []
    with tempfile.TemporaryDirectory() as folder, Load():
        inputs = random_log(Path(folder))
        for number in range(2):
            run = train_steps(inputs, args.steps, args.loss)
            digests.append(run.digest)
            print(
                f"run {number + 1}: {args.steps} steps of {args.loss}, {run.targets} targets, "
                f"{run.seconds:.0f} s, {run.targets / run.seconds:.0f} targets/s, "
                f"sha256 {run.digest}",
                flush=True,
            )
    print("equal" if digests[0] == digests[1] else "DIFFERENT")
    return int(digests[0] != digests[1])


if __name__ == "__main__":
    sys.exit(main())
