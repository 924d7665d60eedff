"""Ours against PyTorch, polars, faiss and numpy on the same work: `make bench`, or parts of it by name.

    python benchmarks/bench.py [preprocess train_window train_sequence infer user_vector tower item_vector archive start
                                flat ranks exchange]

Makes its own logs (benchmarks/make_log.py), checks that both sides compute the same, runs ours and the peer in turn,
and prints a Markdown row for each comparison: medians, the smallest and largest round in brackets, and the ratio of
the medians, above 1 when ours is better. Ours is the whole command as users type it; a peer has all cores and is timed
without its imports and preparations, unless a row says otherwise. Wants two free cores and nothing else running.
"""

import argparse
import json
import math
import os
import pickle
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

from peers import AT_A_TIME, ENVIRONMENT, REQUESTS, fixed_noise, load, stretches_of

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PEERS = "benchmarks/peers.py"
PASSES = 3  # of a training run
SCRIPTS = (
    "data_processor.py",
    "train.py",
    "infer.py",
    "user_vector.py",
    "item_vector.py",
    "infer_user.py",
)


# ---------------------------------------------------------------- commands and rows
def output(*command, keep=True):
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE if keep else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def seconds(*command):
    """Wall time of a command, what it prints thrown away."""
    return timed(output, *command, keep=False)


def timed(work, *arguments, **named):
    """Wall time of a call."""
    started = time.perf_counter()
    work(*arguments, **named)
    return time.perf_counter() - started


def peer(*arguments):
    """The JSON object that a peer prints; it must have used all cores."""
    found = json.loads(output(PEERS, *arguments))
    assert found.get("threads", os.cpu_count()) == os.cpu_count(), (
        f"{arguments[0]} has {found['threads']} threads"
    )
    return found


def memory_of(*command):
    """Peak memory in MB of a command and all its processes together, looked at every hundredth of a second."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    peak = 0
    while process.poll() is None:
        total, waiting = 0, [process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                total += int(
                    Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0]
                )
            except (OSError, IndexError):
                continue
        peak = max(peak, total)
        time.sleep(0.01)
    return peak / 1024


def in_turn(args, *sides):
    """What each side gives in each round, a list a side."""
    return zip(*[[side() for side in sides] for _ in range(args.rounds)])


def compare(args, name, ours, theirs):
    """Run both in turn, functions that give seconds, and print the row."""
    print_row(name, *in_turn(args, ours, theirs))


def print_row(name, ours, theirs, higher_is_better=False):
    """Medians, smallest and largest of two lists; the ratio of the medians, above 1 when ours is better."""
    medians = [statistics.median(values) for values in (ours, theirs)]
    ratio = medians[0] / medians[1] if higher_is_better else medians[1] / medians[0]
    cells = [
        f"{median:.4g} ({min(values):.4g} to {max(values):.4g})"
        if len(values) > 1
        else f"{median:.4g}"
        for median, values in zip(medians, (ours, theirs))
    ]
    print(f"| {name} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


def compare_training(args, name, ours, theirs):
    """Two rows of instances/s, from functions that give those of each pass; one may be all that there is."""
    ours, theirs = in_turn(args, ours, theirs)
    for which, rate in (
        ("first pass, reading included", lambda rates: rates[0]),
        ("later passes", lambda rates: statistics.median(rates[1:] or rates)),
    ):
        print_row(
            name.format(which), [*map(rate, ours)], [*map(rate, theirs)], higher_is_better=True
        )


# ---------------------------------------------------------------- logs, dictionaries and models
def make_log(args, users, videos=100_000):
    path = args.work_dir / f"log-{users}-{videos}.txt"
    if not path.exists():
        output(
            "benchmarks/make_log.py",
            f"--users={users}",
            f"--videos={videos}",
            f"--output_path={path}",
        )
    return path


def one_user(args):
    """A log of one line."""
    path = args.work_dir / "one.txt"
    with make_log(args, 1000).open() as log:
        path.write_text(log.readline())
    return path


def folder_of(args, log):
    """Folder with the dictionary and the frequencies of a log, and a model."""
    folder = args.work_dir / log.stem
    if not (folder / "item_freq.pkl").exists():
        output(
            "data_processor.py",
            f"--train_set_path={log}",
            f"--output_dir={folder}",
            "--feat_appear_limit=1",
        )
    return with_model(folder)


def million_videos(args):
    """Folder of a dictionary and a model with a million videos."""
    from utils import FEATURES, ITEMS

    folder = args.work_dir / "million"
    if not folder.exists():
        folder.mkdir()
        feature_dict = {name: {"<unk>": 0} for name in FEATURES}
        feature_dict[ITEMS].update({f"VIDEO_{video}": video for video in range(1, 1_000_001)})
        (folder / "feature_dict.pkl").write_bytes(pickle.dumps(feature_dict))
        (folder / "item_freq.pkl").write_bytes(pickle.dumps([0.0] + [1e-6] * 1_000_000))
    return with_model(folder)


def with_model(folder):
    """The folder, a model in it that was not trained; its lists are as different from user to user as trained ones."""
    if not (folder / "model.tar.gz").exists():
        import network_conf as conf

        import utils

        feature_dict = utils.load_feature_dict(folder / "feature_dict.pkl")
        item_freq = utils.load_item_freq(folder / "item_freq.pkl", feature_dict)
        network = conf.DNNmodel(
            conf.ModelConfig(
                {name: len(values) for name, values in feature_dict.items()},
                conf.DNNmodel.embedding_dims,
                utils.dictionary_fingerprint(feature_dict),
            )
        )
        conf.initialize(network, item_freq)
        shape = network.nce_w.weight.shape
        network.nce_w.weight.set_value(
            np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)
        )
        conf.save_model(folder / "model.tar.gz", network, item_freq)
    return folder


def flags(folder):
    return f"--model_path={folder}/model.tar.gz", f"--feature_dict={folder}/feature_dict.pkl"


# ---------------------------------------------------------------- the comparisons
def preprocess(args):
    log = make_log(args, 200_000)
    ours = (
        "data_processor.py",
        f"--train_set_path={log}",
        f"--output_dir={args.work_dir}/counted",
        "--feat_appear_limit=1",
    )
    printed, theirs = output(*ours), peer("polars", log)
    assert f"{theirs['lines']} lines, {theirs['clicks']} clicks" in printed, "the counts differ"
    for name, count in theirs["values"].items():
        assert f"\n{name}: {count + 1} of {count + 1} values" in printed, (
            f"the values of {name} differ"
        )
    compare(
        args,
        f"preprocessing, s (polars {metadata.version('polars')})",
        lambda: seconds(*ours),
        lambda: peer("polars", log)["seconds"],
    )
    print_row("preprocessing, peak MB", [memory_of(*ours)], [memory_of(PEERS, "polars", log)])


def train_command(args, *settings, videos=100_000, users=5000):
    """Command for PASSES passes of train.py, unless the settings say otherwise; it writes to the folder `trained`."""
    folder = folder_of(args, make_log(args, 50_000, videos))
    return (
        "train.py",
        f"--train_set_path={make_log(args, users, videos)}",
        f"--test_set_path={one_user(args)}",
        f"--model_output_dir={args.work_dir}/trained",
        f"--feature_dict={folder}/feature_dict.pkl",
        f"--item_freq={folder}/item_freq.pkl",
        f"--num_passes={PASSES}",
        "--no-rules",
        *settings,
    )


def train(args, *settings, launcher=(), **sizes):
    """Instances per second of each pass of train.py; the first reads the log as well."""
    output(*launcher, *train_command(args, *settings, **sizes))
    rows = (args.work_dir / "trained" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["instances_per_second"] for row in rows]


def train_against_torch(args, mode, batch_size, negatives, *shared):
    log, folder = make_log(args, 5000), folder_of(args, make_log(args, 50_000))
    our_cost = first_cost(log, folder, mode, batch_size, negatives, shared)

    def ours():
        return train(
            args,
            f"--instances={mode}",
            f"--batch_size={batch_size}",
            f"--num_negatives={negatives}",
            *["--shared_negatives"] * len(shared),
        )

    def theirs():
        found = peer("torch_train", log, folder, mode, batch_size, negatives, *shared)
        assert math.isclose(found["first_cost"], our_cost, rel_tol=1e-5), (
            f"costs: {our_cost}, {found['first_cost']}"
        )
        return [found["rate"]]

    compare_training(
        args,
        f"training, {mode}, batches of {batch_size}, {negatives} negatives, instances/s, {{}} "
        f"(PyTorch {metadata.version('torch')})",
        ours,
        theirs,
    )


def trainer_of(log, folder, negatives, shared):
    """(train.py's Trainer of a folder's model, the encoded log)."""
    import network_conf as conf
    from reader import Reader
    from train import Trainer

    metadata, parameters, item_freq, feature_dict = load(folder)
    network = conf.DNNmodel(conf.ModelConfig(**metadata))
    network.set_arrays(parameters)
    settings = SimpleNamespace(
        threads=2,
        loss="nce",
        optimizer="adam",
        learning_rate=0.002,
        num_negatives=negatives,
        shared_negatives=bool(shared),
        table_rate=1.0,
    )
    [encoded] = Reader(feature_dict).encode(str(log))
    return Trainer(settings, network, item_freq, steps=1), encoded


def first_cost(log, folder, mode, batch_size, negatives, shared):
    """The cost that the Trainer finds for the batch, the parameters and the noise of `peers.torch_train`."""
    trainer, encoded = trainer_of(log, folder, negatives, shared)
    noise = fixed_noise(negatives, len(trainer.network.nce_b.weight))
    trainer._noise.draw = lambda shape, _: np.broadcast_to(noise, shape)
    segments = next(stretches_of(encoded, mode, batch_size))
    return trainer.cost(*trainer.prepare(encoded, segments, np.random.default_rng(0)))


def train_window(args):
    train_against_torch(args, "window", 512, 5)


def train_sequence(args):
    train_against_torch(args, "sequence", 2048, 64, "shared")
    train_against_torch(args, "sequence", 512, 64, "shared")


def infer(args):
    log = make_log(args, 50_000)
    folder = folder_of(args, log)
    output(
        "user_vector.py",
        f"--infer_set_path={log}",
        *flags(folder),
        f"--output_path={folder}/users.npz",
    )
    vectors = np.load(folder / "users.npz")["vectors"]
    np.save(
        folder / "users.npy", (vectors[:, 1:-1] / vectors[:, :1]).astype(np.float32)
    )  # [1, u, 0] / norm -> u
    command = ("infer.py", f"--infer_set_path={log}", *flags(folder))
    first = output(*command).partition("\n")[0].split("\t")[1]
    ids = load(folder)[3]["history_clicked_items"]
    ours = [ids[pair.rsplit(":", 1)[0]] for pair in first.split(",")]
    for name, package in (("torch_infer", "torch"), ("faiss", "faiss-cpu")):
        assert peer(name, log, folder)["ids"] == ours, f"{name} finds other videos"
        compare(
            args,
            f"infer.py, 50,000 users, {len(ids) - 1} videos, s ({name} {metadata.version(package)})",
            lambda: seconds(*command),
            lambda name=name: peer(name, log, folder)["seconds"],
        )


def user_vector(args):
    log = make_log(args, 50_000)
    folder = folder_of(args, log)
    ours = ("user_vector.py", f"--infer_set_path={log}", *flags(folder))
    first = np.array(output(*ours).partition("\n")[0].split(","), float)
    theirs = ("torch_user_vector", log, folder)
    assert np.allclose(first[1:-1] / first[0], peer(*theirs)["first"], atol=1e-5), (
        "the vectors differ"
    )
    rows = in_turn(
        args,
        lambda: seconds(*ours),
        lambda: seconds(PEERS, *theirs),
        lambda: peer(*theirs)["seconds"],
    )
    ours, *theirs = rows
    for what, values in zip(
        ("a whole script with our reader and savetxt", "the same without its imports"), theirs
    ):
        print_row(
            f"user_vector.py, 50,000 users, s (PyTorch {metadata.version('torch')}, {what})",
            ours,
            values,
        )


def tower(args):
    """A live service: the exported user tower against PyTorch, one user at a time and AT_A_TIME together."""
    log = make_log(args, 50_000)
    folder = folder_of(args, log)
    output("user_vector.py", f"--export_dir={folder}", *flags(folder))
    ours, theirs = zip(
        *[
            (
                json.loads(output(PEERS, "tower", log, folder)),
                json.loads(output(PEERS, "torch_tower", log, folder)),
            )
            for _ in range(args.rounds)
        ]
    )
    assert np.allclose(ours[0]["first"], theirs[0]["first"], atol=1e-5), "the vectors differ"
    for what, name in (
        (f"one user, ms, median of {REQUESTS}", "p50"),
        ("one user, ms, 99th percentile", "p99"),
        (f"{AT_A_TIME} users together, users/s", "rate"),
    ):
        print_row(
            f"user tower, {what} (PyTorch {metadata.version('torch')})",
            [side[name] for side in ours],
            [side[name] for side in theirs],
            higher_is_better=name == "rate",
        )


def item_vector(args):
    folder = million_videos(args)
    compare(
        args,
        f"item_vector.py, a million videos, s (numpy.savetxt {np.__version__}, writing alone)",
        lambda: seconds("item_vector.py", *flags(folder)),
        lambda: peer("savetxt", folder)["seconds"],
    )


def archive(args):
    """Saving and loading 1 GB of parameters, against writing and reading as many bytes."""
    from utils import read_archive, write_archive

    rng = np.random.default_rng(0)
    arrays = {f"table_{width}": rng.random((2_600_000, width), np.float32) for width in (64, 31, 1)}
    data, path, plain = (
        rng.bytes(sum(value.nbytes for value in arrays.values())),
        *(args.work_dir / name for name in ("large.tar.gz", "large.bin")),
    )

    def write():
        with open(plain, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    size = f"{len(data) / 1e9:.2f} GB of parameters"
    compare(
        args,
        f"saving {size}, s (writing the bytes)",
        lambda: timed(write_archive, path, {}, arrays),
        lambda: timed(write),
    )
    loaded = read_archive(path, "")[1]
    assert all(np.array_equal(arrays[name], loaded[name]) for name in arrays), (
        "the archive has other numbers"
    )
    del loaded
    compare(
        args,
        f"loading {size}, s (reading the bytes)",
        lambda: timed(read_archive, path, ""),
        lambda: timed(plain.read_bytes),
    )


def start(args):
    for script in SCRIPTS:
        taken = [seconds(script, "--help") for _ in range(args.rounds)]
        print(f"| {script} --help, s | {statistics.median(taken):.2f} | | |", flush=True)
    command = (
        "infer.py",
        f"--infer_set_path={one_user(args)}",
        *flags(folder_of(args, make_log(args, 1000))),
    )
    compare(
        args,
        "infer.py, one user, s (import paddle)",
        lambda: seconds(*command),
        lambda: seconds("-c", "import paddle"),
    )


def flat(args):
    compare_training(
        args,
        "training, window, instances/s with a million videos, {} (with ten thousand)",
        lambda: train(args, videos=1_000_000),
        lambda: train(args, videos=10_000),
    )
    for videos in (100_000, 1_000_000):
        peak = memory_of(*train_command(args, videos=videos))
        size = (args.work_dir / "trained" / "model_pass_00000.tar.gz").stat().st_size / 1e6
        print(
            f"| training, window, peak MB with {videos:,} videos (MB of parameters) | {peak:.0f} | {size:.0f} | |",
            flush=True,
        )
    rates = train(args, "--num_passes=20", users=1000)
    print_row(
        "training, instances/s of passes 18 to 20 (of passes 2 to 4)",
        rates[-3:],
        rates[1:4],
        higher_is_better=True,
    )


def ranks(args):
    """Two processes of one thread each, exchanging gradients, against one."""
    launcher = (
        "-m",
        "paddle.distributed.launch",
        "--nproc_per_node=2",
        f"--log_dir={args.work_dir}/ranks",
    )
    for mode, batch_size, *flags in (
        ("window", 4096),
        ("window", 512),
        ("sequence", 4096, "--loss=ranking_nce", "--shared_negatives", "--num_negatives=512"),
    ):
        settings = (
            "--threads=1",
            "--device=cpu",
            "--num_passes=2",
            f"--instances={mode}",
            f"--batch_size={batch_size}",
            *flags,
        )
        compare_training(
            args,
            f"training, {mode}, batches of {batch_size}, two ranks, instances/s, {{}} (one rank)",
            lambda settings=settings: train(args, *settings, launcher=launcher),
            lambda settings=settings: train(args, *settings),
        )


def exchange(args):
    """What a step exchanges between ranks: gradients of the rows that its batch needs, and of the dense layers."""
    log, folder = make_log(args, 5000), folder_of(args, make_log(args, 50_000))
    for mode, negatives, shared in (("window", 5, False), ("sequence", 512, True)):
        trainer, encoded = trainer_of(log, folder, negatives, shared)
        dense, tables = (
            sum(each.size for each in trainer.network.dense_parameters()),
            trainer.network.tables(),
        )
        for batch_size in (512, 4096, 32_768):
            _, distinct, *_ = trainer.prepare(
                encoded, next(stretches_of(encoded, mode, batch_size)), np.random.default_rng(0)
            )
            numbers = dense + sum(
                len(ids) * tables[name].weight.shape[1] for name, ids in distinct.items()
            )
            print(
                f"| gradients of a step, {mode}, {batch_size} instances, MB | {4 * numbers / 1e6:.1f} | | |"
            )


COMPARISONS = {
    each.__name__: each
    for each in (
        preprocess,
        train_window,
        train_sequence,
        infer,
        user_vector,
        tower,
        item_vector,
        archive,
        start,
        flat,
        ranks,
        exchange,
    )
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="which comparisons to run (all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--work_dir",
        type=lambda path: Path(path).resolve(),
        default="output/bench",
        help="where logs and models go; what is there already is used again",
    )
    args = parser.parse_args()
    unknown = set(args.names) - COMPARISONS.keys()
    if unknown:
        parser.error(f"no comparison is called {', '.join(sorted(unknown))}")
    if os.getloadavg()[0] > 1:
        print(
            "warning: other work is running, which slows PyTorch's waiting threads most",
            file=sys.stderr,
        )
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        processor = next(
            line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")
        )
    print(
        f"{processor}, {os.cpu_count()} cores; Python {platform.python_version()}, numpy {np.__version__}, "
        f"paddlepaddle {metadata.version('paddlepaddle')}\n"
    )
    print("| What (peer) | Ours | Peer | Ratio |\n|---|---|---|---|", flush=True)
    for name in args.names or COMPARISONS:
        COMPARISONS[name](args)


if __name__ == "__main__":
    main()
