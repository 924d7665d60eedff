"""Ours against PyTorch, polars, faiss and numpy on the same work: `make bench`, or parts by name.

    python benchmarks/bench.py [train_best preprocess train_window train_sequence infer user_vector
                                tower item_vector archive start flat ranks preparation exchange]

Generates its own logs (benchmarks/make_log.py), checks that both sides compute the same, runs ours
and the peer in turn, and prints a Markdown row for each comparison: medians, the smallest and the
largest round in parentheses, and the ratio of the medians, above 1 when ours is better. Ours is the
whole command as users type it. A peer has all cores and is timed without its imports and
preparation, unless a row says otherwise. Needs two free cores and no other load.
"""

from __future__ import annotations

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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from candgen.archives import read_archive, write_archive
from candgen.data.dictionary import (
    FEATURES,
    ITEMS,
    TAGS,
    dictionary_fingerprint,
    load_feature_dict,
    load_item_freq,
)
from candgen.serving.simple_lsh import unconverted_users
from peers import (
    AT_A_TIME,
    BEST_WINDOW,
    ENVIRONMENT,
    REQUESTS,
    WINDOW_SIZE,
    fixed_noise,
    load,
    segments_of,
)
from reader import Reader

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PEERS = "benchmarks/peers.py"
PASSES = 3  # of a training run
BEST_BATCH, BEST_NEGATIVES = 512, 2048  # of the preset `best`
SCRIPTS = (
    "data_processor.py",
    "train.py",
    "infer.py",
    "user_vector.py",
    "item_vector.py",
    "infer_user.py",
)


def output(*command, keep=True):
    """Run a command with Python; what it prints."""
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE if keep else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
    )
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stderr}")
    return result.stdout


def seconds(*command):
    """Wall time of a command, its output discarded."""
    return timed(output, *command, keep=False)


def timed(work, *arguments, **named):
    """Wall time of a call."""
    started = time.perf_counter()
    work(*arguments, **named)
    return time.perf_counter() - started


def peer(*arguments):
    """The JSON object that a peer prints; it must have used all cores."""
    facts = json.loads(output(PEERS, *arguments))
    threads = facts.get("threads", os.cpu_count())
    assert threads == os.cpu_count(), f"{arguments[0]} has {threads} threads"
    return facts


def memory_of(*command):
    """Peak memory in MB of a command and all its processes, sampled every 10 ms."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, proportional_memory(process.pid))
        time.sleep(0.01)
    return peak / 1024


def proportional_memory(pid):
    """Proportional memory (PSS) in kB of a process and its children; 0 if it has ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        own = int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0])
    except (OSError, IndexError):
        return 0
    return own + sum(proportional_memory(child) for child in children)


def in_turn(args, *sides):
    """Results of each side in each round, a list for each side."""
    return zip(*[[side() for side in sides] for _ in range(args.rounds)])


def compare(args, name, ours, theirs):
    """Run two functions that return seconds in turn, and print the row."""
    print_row(name, *in_turn(args, ours, theirs))


def spread(values):
    """The median, and smallest and largest if there are several."""
    median = f"{statistics.median(values):.4g}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):.4g} to {max(values):.4g})"


def print_row(name, ours, theirs, higher_is_better=False):
    """Print medians, smallest and largest of two lists, and the ratio of the medians."""
    ours_median, theirs_median = statistics.median(ours), statistics.median(theirs)
    ratio = ours_median / theirs_median
    if not higher_is_better:
        ratio = 1 / ratio
    cells = [spread(ours), spread(theirs)]
    print(f"| {name} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


def compare_training(args, name, ours, theirs):
    """Two rows of instances/s, of the first and of later passes.

    Parameters
    ----------
    name : of the rows, with {} for the passes.
    ours, theirs : functions that return the instances/s of each pass; there may be one pass only.
    """
    ours, theirs = in_turn(args, ours, theirs)
    passes = {
        "first pass, reading included": lambda rates: rates[0],
        "later passes": lambda rates: statistics.median(rates[1:] or rates),
    }
    for which, rate in passes.items():
        row = [rate(rates) for rates in ours], [rate(rates) for rates in theirs]
        print_row(name.format(which), *row, higher_is_better=True)


def make_log(args, users, videos=100_000, mean_history=40):
    """A log of the work folder, generated if it is missing."""
    path = args.work_dir / f"log-{users}-{videos}-{mean_history}.txt"
    if not path.exists():
        output(
            "benchmarks/make_log.py",
            f"--users={users}",
            f"--videos={videos}",
            f"--mean_history={mean_history}",
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
    """Folder with the dictionary and the frequencies of a log, and an untrained model."""
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
    folder = args.work_dir / "million"
    if not folder.exists():
        folder.mkdir()
        feature_dict = {name: {"<unk>": 0} for name in FEATURES}
        feature_dict[ITEMS].update({f"VIDEO_{video}": video for video in range(1, 1_000_001)})
        (folder / "feature_dict.pkl").write_bytes(pickle.dumps(feature_dict))
        (folder / "item_freq.pkl").write_bytes(pickle.dumps([0.0] + [1e-6] * 1_000_000))
    return with_model(folder)


def with_model(folder):
    """Add an untrained model, whose lists differ between users as those of a trained one do."""
    path = folder / "model.tar.gz"
    if path.exists():
        return folder
    import network_conf
    from candgen.model.initialization import initialize
    from candgen.model.model_file import save_model

    feature_dict = load_feature_dict(str(folder / "feature_dict.pkl"))
    item_freq = load_item_freq(str(folder / "item_freq.pkl"), feature_dict)
    config = network_conf.ModelConfig(
        dictionary_sizes={name: len(values) for name, values in feature_dict.items()},
        embedding_dims=network_conf.DNNmodel.embedding_dims,
        dictionary_fingerprint=dictionary_fingerprint(feature_dict),
        window_size=WINDOW_SIZE,
    )
    network = network_conf.DNNmodel(config)
    initialize(network, item_freq)
    weights = network.nce_w.weight
    normal = np.random.default_rng(0).normal(0, 0.3, weights.shape)
    weights.set_value(normal.astype(np.float32))
    save_model(str(path), network, item_freq)
    return folder


def flags(folder):
    """Flags of the model of a folder."""
    return f"--model_path={folder}/model.tar.gz", f"--feature_dict={folder}/feature_dict.pkl"


def preprocess(args):
    """Counting, against polars; both count the same."""
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


def train_command(args, *settings, videos=100_000, users=5000, log=None):
    """Command for PASSES passes of train.py, with further settings; it writes to `trained`.

    A given log has a dictionary of its own.
    """
    folder = folder_of(args, log or make_log(args, 50_000, videos))
    return (
        "train.py",
        f"--train_set_path={log or make_log(args, users, videos)}",
        f"--test_set_path={one_user(args)}",
        f"--model_output_dir={args.work_dir}/trained",
        f"--feature_dict={folder}/feature_dict.pkl",
        f"--item_freq={folder}/item_freq.pkl",
        f"--num_passes={PASSES}",
        "--no-rules",
        *settings,
    )


def train(args, *settings, launcher=(), **sizes):
    """Instances/s of each pass of train.py; the first one includes reading."""
    output(*launcher, *train_command(args, *settings, **sizes))
    rows = (args.work_dir / "trained" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["instances_per_second"] for row in rows]


def train_against_torch(args, mode, batch_size, negatives, *shared):
    """Rows of training; the cost of the first batch is the same on both sides."""
    log, folder = make_log(args, 5000), folder_of(args, make_log(args, 50_000))
    our_cost = first_cost(log, folder, mode, batch_size, negatives, bool(shared))

    def ours():
        return train(
            args,
            f"--instances={mode}",
            f"--batch_size={batch_size}",
            f"--num_negatives={negatives}",
            *["--shared_negatives"] * len(shared),
        )

    def theirs():
        facts = peer("torch_train", log, folder, mode, batch_size, negatives, *shared)
        their_cost = facts["first_cost"]
        assert math.isclose(their_cost, our_cost, rel_tol=1e-5), f"costs: {our_cost}, {their_cost}"
        return [facts["rate"]]

    name = (
        f"training, {mode}, batches of {batch_size}, {negatives} negatives, instances/s, {{}} "
        f"(PyTorch {metadata.version('torch')})"
    )
    compare_training(args, name, ours, theirs)


class FixedNoise:
    """A sampler that draws the noise of `peers.torch_train`."""

    def __init__(self, sampler, negatives, num_videos):
        self.log_probability = sampler.log_probability
        self._noise = fixed_noise(negatives, num_videos)

    def draw(self, shape, rng):
        """The same noise for every target, int64 of `shape`."""
        return np.broadcast_to(self._noise, shape)


def trainer_of(log, folder, negatives, shared, fixed=False, ranks=None, **settings):
    """A Trainer of a folder's model, and the encoded log; `fixed` noise is that of the peer."""
    import network_conf
    from candgen.training.settings import TrainerSettings
    from candgen.training.trainer import Trainer

    model = load(folder)
    network = network_conf.DNNmodel(network_conf.ModelConfig(**model.metadata))
    network.set_arrays(model.parameters)
    sampler = network_conf.NoiseSampler(model.item_freq)
    if fixed:
        sampler = FixedNoise(sampler, negatives, len(model.item_freq))
    settings = TrainerSettings(
        loss=network_conf.nce_loss,
        num_negatives=negatives,
        shared_negatives=shared,
        user_dropout=0.0,
        history_dropout=0.0,
        **settings,
    )
    [encoded] = Reader(model.feature_dict).encode(str(log))
    return Trainer(network, sampler, settings, 1, ranks), encoded


def first_cost(log, folder, mode, batch_size, negatives, shared):
    """Cost of the batch, the parameters and the noise of `peers.torch_train`."""
    trainer, encoded = trainer_of(log, folder, negatives, shared, fixed=True)
    segments = next(segments_of(encoded, mode, batch_size))
    batch = trainer.prepare(encoded, segments, np.random.default_rng(0))
    return trainer.step(batch)


def train_window(args):
    """Training by windows, against PyTorch."""
    train_against_torch(args, "window", 512, 5)


def train_sequence(args):
    """Training by sequences, against PyTorch."""
    train_against_torch(args, "sequence", 2048, 64, "shared")
    train_against_torch(args, "sequence", 512, 64, "shared")


def best_log(args):
    """The log of the comparisons of the preset `best`: many short histories."""
    return args.log or make_log(args, 20_000, 12_000, 8)


def best_network(log, folder):
    """An untrained network of the preset `best`, and the encoded log; saved for the peer."""
    import network_conf
    from candgen.model.initialization import build_network, embedding_dims

    model = load(folder)
    reader = Reader(model.feature_dict)
    [encoded] = reader.encode(str(log))
    reader.count(encoded)
    sizes = {name: len(values) for name, values in model.feature_dict.items()}
    config = network_conf.ModelConfig(
        dictionary_sizes=sizes,
        embedding_dims=embedding_dims(network_conf.DirectModel, 128, True),
        dnn_layer_dims=(512, 128),
        window_size=BEST_WINDOW,
        tie_embeddings=True,
        network="DirectModel",
        content=True,
    )
    network = build_network(
        network_conf.DirectModel, config, 0.0, model.item_freq, "popularity", seed=0
    )
    network.attributes = reader.content(sizes[ITEMS], sizes[TAGS])
    np.savez(
        folder / "best.npz",
        attribute_ids=network.attributes.ids,
        attribute_offsets=network.attributes.offsets,
        **network.arrays(),
    )
    return network, encoded, model.item_freq


def first_cost_of_best(log, folder):
    """Cost of the first batch with the noise of the peer, without dropout."""
    import network_conf
    from candgen.training.settings import TrainerSettings
    from candgen.training.trainer import Trainer

    network, encoded, item_freq = best_network(log, folder)
    sampler = FixedNoise(network_conf.NoiseSampler(item_freq), BEST_NEGATIVES, len(item_freq))
    settings = TrainerSettings(
        loss=network_conf.ranking_nce_loss,
        num_negatives=BEST_NEGATIVES,
        shared_negatives=True,
        user_dropout=0.0,
        history_dropout=0.0,
    )
    trainer = Trainer(network, sampler, settings, total_steps=1)
    segments = next(segments_of(encoded, "sequence", BEST_BATCH, BEST_WINDOW))
    batch = trainer.prepare(encoded, segments, np.random.default_rng(0))
    return trainer.step(batch)


def train_best(args):
    """The preset `best`, against PyTorch with dense and with sparse Adam, of which the better."""
    log = best_log(args)
    folder = folder_of(args, log)
    our_cost = first_cost_of_best(log, folder)

    def theirs():
        rates = []
        for adam in ("dense", "sparse"):
            facts = peer("torch_best", log, folder, BEST_BATCH, BEST_NEGATIVES, adam)
            cost = facts["first_cost"]
            assert math.isclose(cost, our_cost, rel_tol=1e-5), f"costs: {our_cost}, {cost}"
            rates.append(facts["rate"])
        return [max(rates)]

    def ours():
        return train(args, "--preset=best", f"--batch_size={BEST_BATCH}", log=log)

    name = f"training, preset best, instances/s, {{}} (PyTorch {metadata.version('torch')})"
    compare_training(args, name, ours, theirs)


def infer(args):
    """Lists, against PyTorch and faiss; the first user gets the same videos."""
    log = make_log(args, 50_000)
    folder = folder_of(args, log)
    log_flag = f"--infer_set_path={log}"
    output("user_vector.py", log_flag, *flags(folder), f"--output_path={folder}/users.npz")
    vectors = np.load(folder / "users.npz")["vectors"]
    np.save(folder / "users.npy", unconverted_users(vectors))
    command = ("infer.py", log_flag, *flags(folder))
    first_list = output(*command).partition("\n")[0].split("\t")[1]
    video_ids = load(folder).feature_dict[ITEMS]
    ours = [video_ids[pair.rsplit(":", 1)[0]] for pair in first_list.split(",")]
    for name, package in (("torch_infer", "torch"), ("faiss", "faiss-cpu")):
        assert peer(name, log, folder)["ids"] == ours, f"{name} lists other videos"
        row = (
            f"infer.py, 50,000 users, {len(video_ids) - 1} videos, s "
            f"({name} {metadata.version(package)})"
        )
        compare(
            args,
            row,
            lambda: seconds(*command),
            lambda name=name: peer(name, log, folder)["seconds"],
        )


def user_vector(args):
    """User vectors, against PyTorch; the first ones are equal."""
    log = make_log(args, 50_000)
    folder = folder_of(args, log)
    command = ("user_vector.py", f"--infer_set_path={log}", *flags(folder))
    first = np.array([output(*command).partition("\n")[0].split(",")], float)
    theirs = ("torch_user_vector", log, folder)
    their_first = peer(*theirs)["first"]
    assert np.allclose(unconverted_users(first)[0], their_first, atol=1e-5), "the vectors differ"
    ours, scripts, work = in_turn(
        args,
        lambda: seconds(*command),
        lambda: seconds(PEERS, *theirs),
        lambda: peer(*theirs)["seconds"],
    )
    row = f"user_vector.py, 50,000 users, s (PyTorch {metadata.version('torch')}, {{}})"
    print_row(row.format("a whole script with our reader and savetxt"), ours, scripts)
    print_row(row.format("the same without its imports"), ours, work)


def tower(args):
    """A live service: the exported user tower against PyTorch, one user or AT_A_TIME together."""
    log = make_log(args, 50_000)
    folder = folder_of(args, log)
    output("user_vector.py", f"--export_dir={folder}", *flags(folder))
    ours, theirs = in_turn(
        args,
        lambda: json.loads(output(PEERS, "tower", log, folder)),
        lambda: json.loads(output(PEERS, "torch_tower", log, folder)),
    )
    assert np.allclose(ours[0]["first"], theirs[0]["first"], atol=1e-5), "the vectors differ"
    figures = {
        "p50": f"one user, ms, median of {REQUESTS}",
        "p99": "one user, ms, 99th percentile",
        "rate": f"{AT_A_TIME} users together, users/s",
    }
    for name, description in figures.items():
        print_row(
            f"user tower, {description} (PyTorch {metadata.version('torch')})",
            [facts[name] for facts in ours],
            [facts[name] for facts in theirs],
            higher_is_better=name == "rate",
        )


def item_vector(args):
    """Video vectors, against numpy.savetxt."""
    folder = million_videos(args)
    compare(
        args,
        f"item_vector.py, a million videos, s (numpy.savetxt {np.__version__}, writing alone)",
        lambda: seconds("item_vector.py", *flags(folder)),
        lambda: peer("savetxt", folder)["seconds"],
    )


def archive(args):
    """Saving and loading 1 GB of parameters, against writing and reading as many bytes."""
    rng = np.random.default_rng(0)
    arrays = {f"table_{width}": rng.random((2_600_000, width), np.float32) for width in (64, 31, 1)}
    data = rng.bytes(sum(value.nbytes for value in arrays.values()))
    path = str(args.work_dir / "large.tar.gz")
    plain = args.work_dir / "large.bin"

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
    """Time of --help, and of infer.py for one user."""
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
    """Whether speed depends on the number of videos or of passes."""
    compare_training(
        args,
        "training, window, instances/s with a million videos, {} (with ten thousand)",
        lambda: train(args, videos=1_000_000),
        lambda: train(args, videos=10_000),
    )
    for videos in (100_000, 1_000_000):
        peak = memory_of(*train_command(args, videos=videos))
        size = (args.work_dir / "trained" / "model_pass_00000.tar.gz").stat().st_size / 1e6
        name = f"training, window, peak MB with {videos:,} videos (MB of parameters)"
        print(f"| {name} | {peak:.0f} | {size:.0f} | |", flush=True)
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
    sampled = ["--loss=ranking_nce", "--shared_negatives", "--num_negatives=512"]
    runs = {
        "window, batches of 4096": ["--instances=window", "--batch_size=4096"],
        "window, batches of 512": ["--instances=window", "--batch_size=512"],
        "sequence, batches of 4096": ["--instances=sequence", "--batch_size=4096", *sampled],
        "preset best": ["--preset=best", f"--batch_size={BEST_BATCH}"],
    }
    for name, flags_of_run in runs.items():
        log = best_log(args) if name == "preset best" else None
        settings = ["--threads=1", "--device=cpu", "--num_passes=2", *flags_of_run]
        compare_training(
            args,
            f"training, {name}, two ranks, instances/s, {{}} (one rank)",
            lambda settings=settings, log=log: train(args, *settings, launcher=launcher, log=log),
            lambda settings=settings, log=log: train(args, *settings, log=log),
        )


def preparation(args):
    """CPU time of a rank for the arrays of its own micro-batches, of a pass, at 1 to 8 ranks."""
    log, folder = make_log(args, 5000), folder_of(args, make_log(args, 50_000))
    for mode, negatives, shared in (("window", 5, False), ("sequence", 2048, True)):
        for batch_size in (512, 4096):
            microseconds = []
            for world in (1, 2, 4, 8):
                ranks = SimpleNamespace(world=world, rank=0)
                trainer, encoded = trainer_of(
                    log, folder, negatives, shared, ranks=ranks, threads=1
                )
                segments = list(segments_of(encoded, mode, batch_size))
                started = time.process_time()
                for batch in segments:
                    trainer.prepare(encoded, batch, np.random.default_rng(0))
                taken = time.process_time() - started
                microseconds.append(1e6 * taken / len(encoded.clicks))
            cells = " | ".join(f"{value:.2f}" for value in microseconds)
            print(
                f"| {mode}, batches of {batch_size}, us of CPU an instance | {cells} |", flush=True
            )


def exchange(args):
    """Bytes that ranks exchange in a step: gradients of the needed rows and of the dense layers."""
    log, folder = make_log(args, 5000), folder_of(args, make_log(args, 50_000))
    for mode, negatives, shared in (("window", 5, False), ("sequence", 512, True)):
        trainer, encoded = trainer_of(log, folder, negatives, shared)
        dense = sum(parameter.size for parameter in trainer.network.dense_parameters())
        widths = {name: table.weight.shape[1] for name, table in trainer.network.tables().items()}
        for batch_size in (512, 4096, 32_768):
            segments = next(segments_of(encoded, mode, batch_size))
            batch = trainer.prepare(encoded, segments, np.random.default_rng(0))
            rows = sum(len(ids) * widths[name] for name, ids in batch.distinct.items())
            megabytes = 4 * (dense + rows) / 1e6
            name = f"gradients of a step, {mode}, {batch_size} instances, MB"
            print(f"| {name} | {megabytes:.1f} | | |")


COMPARISONS = {
    each.__name__: each
    for each in (
        train_best,
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
        preparation,
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
        help="folder for logs and models; existing ones are used again",
    )
    parser.add_argument(
        "--log",
        type=lambda path: Path(path).resolve(),
        help="training log for train_best, in place of a generated one",
    )
    args = parser.parse_args()
    unknown = set(args.names) - COMPARISONS.keys()
    if unknown:
        parser.error(f"no comparison is called {', '.join(sorted(unknown))}")
    if os.getloadavg()[0] > 1:
        print("warning: other processes are running, which slows PyTorch most", file=sys.stderr)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        models = [line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")]
    print(
        f"{models[0]}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"numpy {np.__version__}, paddlepaddle {metadata.version('paddlepaddle')}\n"
    )
    print("| What (peer) | Ours | Peer | Ratio |\n|---|---|---|---|", flush=True)
    for name in args.names or COMPARISONS:
        COMPARISONS[name](args)


if __name__ == "__main__":
    main()
