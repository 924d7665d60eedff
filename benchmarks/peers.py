"""The same work done by others: polars, PyTorch, faiss. Each prints a JSON object with the seconds of the work itself.

    python benchmarks/peers.py polars LOG
    python benchmarks/peers.py torch_train LOG FOLDER window|sequence BATCH_SIZE NEGATIVES [shared]
    python benchmarks/peers.py torch_infer|faiss|torch_user_vector LOG FOLDER
    python benchmarks/peers.py tower|torch_tower LOG FOLDER
    python benchmarks/peers.py savetxt FOLDER

FOLDER holds feature_dict.pkl and model.tar.gz; for `tower`, which is ours, an exported user tower too. Imports and
preparations come before the clock. All cores are used.
"""

import argparse
import json
import os
import sys
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
ENVIRONMENT = dict(
    os.environ
)  # of the commands that bench.py starts: what follows is for this process
CORES = os.cpu_count()
if __name__ == "__main__":
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(CORES)  # before utils.py sets 1: a peer is one process that gets all
from candgen.data.batches import (
    make_batch,
    next_click_windows,
    sequence_segments,
    shuffled_batches,
    sliding_windows,
)
from candgen.data.dictionary import FEATURES, LOG_COLUMNS
from candgen.model.model_file import load_model
from reader import Reader

import numpy as np

WINDOW_SIZE, TOP_N, AT_ONCE = 20, 30, 512
REQUESTS, AT_A_TIME = 2000, 50  # of a live service: users, and how many of them may come together


def load(folder):
    """What `infer.load_model` gives."""
    return load_model(
        SimpleNamespace(
            model_path=f"{folder}/model.tar.gz", feature_dict=f"{folder}/feature_dict.pkl"
        )
    )


def load_torch():
    """torch, with a thread for each core."""
    import torch

    torch.set_num_threads(CORES)
    return torch


def stretches_of(log, mode, batch_size):
    """Yield the stretches of each batch of a pass, always the same: the first is what both sides compute a cost of."""
    segments = (sliding_windows if mode == "window" else sequence_segments)(
        log.lengths, WINDOW_SIZE
    )
    return shuffled_batches(segments, -(-len(log.clicks) // batch_size), np.random.default_rng(0))


def fixed_noise(negatives, videos):
    """Noise for that cost: the same samples for every target, so that the order of the targets does not matter."""
    return np.random.default_rng(7).integers(1, videos, negatives)


def polars(args):
    """All seven counts, lazily, with all cores; the strings are split by polars alone."""
    import polars as pl

    started = time.perf_counter()
    log = pl.scan_csv(
        args.log,
        separator="\t",
        has_header=False,
        quote_char=None,
        new_columns=list(LOG_COLUMNS),
    )
    clicks = (
        log.select("user_id", pl.col("history").str.split(";"))
        .explode("history")
        .with_columns(
            pl.col("history")
            .str.split_exact(":", 2)
            .struct.rename_fields(["video", "category", "tags"])
        )
        .unnest("history")
    )
    tags = clicks.select(pl.col("tags").str.split("_")).explode("tags")
    found = pl.collect_all(
        [
            frame.group_by(name).len()
            for frame, name in (
                (clicks, "user_id"),
                (log, "province"),
                (log, "city"),
                (log, "phone"),
                (clicks, "video"),
                (clicks, "category"),
                (tags, "tags"),
            )
        ]
    )
    return time.perf_counter() - started, {
        "values": dict(zip(FEATURES, map(len, found))),
        "lines": int(found[3]["len"].sum()),
        "clicks": int(found[4]["len"].sum()),
        "threads": pl.thread_pool_size(),
    }


def torch_train(args):
    """The bare step loop over batches that are ready beforehand; noise by torch.multinomial."""
    torch = load_torch()
    import torch_model

    _, parameters, item_freq, feature_dict = load(args.folder)
    [log] = Reader(feature_dict).encode(args.log)
    network = torch_model.Network(parameters, item_freq)
    batches = [make_batch(log, part) for part in stretches_of(log, args.mode, args.batch_size)]
    batches = [
        torch_model.window_batch(batch, WINDOW_SIZE)
        if args.mode == "window"
        else torch_model.sequence_batch(batch)
        for batch in batches
    ]
    optimizers = network.optimizers(0.002)

    def shape(batch):
        return (args.negatives,) if args.shared else (len(batch["target"]), args.negatives)

    noise = torch.from_numpy(fixed_noise(args.negatives, len(item_freq))).expand(shape(batches[0]))
    first_cost = float(network.cost(batches[0], noise).detach())

    def step(batch):
        drawn = torch.multinomial(network.noise, int(np.prod(shape(batch))), replacement=True).view(
            shape(batch)
        )
        cost = network.cost(batch, drawn)
        cost.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return float(cost.detach())  # as a loop that reports its cost would ask for

    for batch in batches[:3]:
        step(batch)
    started = time.perf_counter()
    for batch in batches:
        step(batch)
    seconds = time.perf_counter() - started
    return seconds, {
        "rate": len(log.clicks) / seconds,
        "first_cost": first_cost,
        "threads": torch.get_num_threads(),
    }


def torch_infer(args):
    """matmul, softmax, topk in blocks of users, from user vectors that are ready."""
    torch = load_torch()
    _, parameters, _, _ = load(args.folder)
    users = torch.from_numpy(np.load(f"{args.folder}/users.npy"))
    weights = torch.from_numpy(parameters["nce_w"][1:].T.copy())
    bias = torch.from_numpy(parameters["nce_b"][0, 1:].copy())
    started = time.perf_counter()
    with torch.inference_mode():
        found = [
            torch.topk(torch.softmax(torch.addmm(bias, block, weights), 1), TOP_N)
            for block in users.split(AT_ONCE)
        ]
    return time.perf_counter() - started, {
        "ids": (found[0].indices[0] + 1).tolist(),
        "threads": torch.get_num_threads(),
    }


def faiss(args):
    """Exact inner-product search over [b, w], from user vectors that are ready: no probabilities."""
    import faiss as engine

    engine.omp_set_num_threads(CORES)
    _, parameters, _, _ = load(args.folder)
    users = np.load(f"{args.folder}/users.npy")
    index = engine.IndexFlatIP(users.shape[1] + 1)
    index.add(np.hstack([parameters["nce_b"].T, parameters["nce_w"]])[1:])
    queries = np.hstack([np.ones((len(users), 1), np.float32), users])
    started = time.perf_counter()
    _, ids = index.search(queries, TOP_N)
    return time.perf_counter() - started, {
        "ids": (ids[0] + 1).tolist(),
        "threads": engine.omp_get_max_threads(),
    }


def torch_user_vector(args):
    """All that user_vector.py does: model and log read (by our reader), the network up to the user vector, the text."""
    torch = load_torch()
    import torch_model
    from candgen.serving.simple_lsh import simple_lsh_users

    started = time.perf_counter()
    _, parameters, item_freq, feature_dict = load(args.folder)
    [log] = Reader(feature_dict).encode(args.log)
    windows, network = (
        next_click_windows(log.lengths, WINDOW_SIZE),
        torch_model.Network(parameters, item_freq),
    )
    users = []
    with torch.inference_mode():
        for start in range(0, len(windows.line), AT_ONCE):
            batch = make_batch(log, windows.take(slice(start, start + AT_ONCE)), with_targets=False)
            users.append(network.window_users(torch_model.window_batch(batch, WINDOW_SIZE)))
    users = torch.cat(users).numpy()
    with open(os.devnull, "wb") as stream:
        np.savetxt(stream, simple_lsh_users(users), fmt="%.12f", delimiter=",")
    return time.perf_counter() - started, {
        "first": users[0].tolist(),
        "threads": torch.get_num_threads(),
    }


def latencies(run, one, some):
    """Milliseconds of `run` of each of `one`, the median and the 99th percentile; users/s of `run` of all of `some`."""
    for each in one[:20]:
        run(each)
    taken = []
    for each in one:
        started = time.perf_counter()
        run(each)
        taken.append(1000 * (time.perf_counter() - started))
    started = time.perf_counter()
    for each in some:
        run(each)
    seconds = time.perf_counter() - started
    return seconds, {
        "p50": np.percentile(taken, 50),
        "p99": np.percentile(taken, 99),
        "rate": AT_A_TIME * len(some) / seconds,
    }


def tower(args):
    """The exported user tower in paddle.inference, as docs/serve.py has it, from inputs that are ready."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs"))
    from serve import UserTower

    with open(args.log, encoding="utf-8") as log:
        lines = [line.rstrip("\n").split("\t") for line in islice(log, REQUESTS)]
    served = UserTower(args.folder)
    some = [
        served.inputs(lines[start : start + AT_A_TIME]) for start in range(0, REQUESTS, AT_A_TIME)
    ]
    seconds, facts = latencies(served.run, [served.inputs([line]) for line in lines], some)
    return seconds, {**facts, "first": served.run(some[0])[0].tolist()}


def torch_tower(args):
    """The same from user windows that are ready, in inference mode; the better of all threads and one."""
    torch = load_torch()
    import torch_model

    _, parameters, item_freq, feature_dict = load(args.folder)
    [log] = Reader(feature_dict).encode(args.log)
    windows, network = (
        next_click_windows(log.lengths, WINDOW_SIZE),
        torch_model.Network(parameters, item_freq),
    )

    def batches(size):
        return [
            torch_model.window_batch(
                make_batch(log, windows.take(slice(start, start + size)), with_targets=False),
                WINDOW_SIZE,
            )
            for start in range(0, REQUESTS, size)
        ]

    found = {}
    with torch.inference_mode():
        for threads in (CORES, 1):
            torch.set_num_threads(threads)
            seconds, facts = latencies(network.window_users, batches(1), batches(AT_A_TIME))
            found = {
                name: (max if name == "rate" else min)(value, found.get(name, value))
                for name, value in facts.items()
            }
        return seconds, {**found, "first": network.window_users(batches(AT_A_TIME)[0])[0].tolist()}


def savetxt(args):
    """numpy.savetxt of the matrix that item_vector.py prints."""
    from candgen.serving.simple_lsh import simple_lsh_videos

    _, parameters, _, _ = load(args.folder)
    vectors = simple_lsh_videos(parameters["nce_w"], parameters["nce_b"])
    started = time.perf_counter()
    with open(os.devnull, "wb") as stream:
        np.savetxt(stream, vectors, fmt="%.12f", delimiter=",")
    return time.perf_counter() - started, {}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="peer", required=True)
    for peer in (
        polars,
        torch_train,
        torch_infer,
        faiss,
        torch_user_vector,
        tower,
        torch_tower,
        savetxt,
    ):
        command = commands.add_parser(peer.__name__)
        command.set_defaults(run=peer)
        if peer is not savetxt:
            command.add_argument("log")
        if peer is not polars:
            command.add_argument("folder")
        if peer is torch_train:
            command.add_argument("mode", choices=["window", "sequence"])
            command.add_argument("batch_size", type=int)
            command.add_argument("negatives", type=int)
            command.add_argument("shared", nargs="?")
    args = parser.parse_args()
    seconds, facts = args.run(args)
    print(json.dumps({"seconds": seconds, **facts}))


if __name__ == "__main__":
    main()
