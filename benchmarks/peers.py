"""The peers of bench.py: the same work in polars, PyTorch and faiss.

    python benchmarks/peers.py polars LOG
    python benchmarks/peers.py torch_train LOG FOLDER window|sequence BATCH_SIZE NEGATIVES [shared]
    python benchmarks/peers.py torch_infer|faiss|torch_user_vector LOG FOLDER
    python benchmarks/peers.py tower|torch_tower LOG FOLDER
    python benchmarks/peers.py savetxt FOLDER

Each prints a JSON object with the seconds of the work itself. FOLDER holds feature_dict.pkl and
model.tar.gz; for `tower`, which is ours, also an exported user tower. Imports and preparation are
not timed. All cores are used.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
ENVIRONMENT = dict(os.environ)  # of the commands that bench.py starts, without the changes below
CORES = os.cpu_count()
if __name__ == "__main__":
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(CORES)  # candgen would set 1: a peer is one process with all cores
from candgen.data.batches import (
    INSTANCES,
    make_batch,
    next_click_windows,
    shuffled_batches,
)
from candgen.data.dictionary import FEATURES, ITEMS, LOG_COLUMNS
from candgen.model.model_file import load_model
from candgen.serving.simple_lsh import simple_lsh_users, simple_lsh_videos
from reader import Reader

import numpy as np

WINDOW_SIZE = 20
TOP_N = 30
AT_ONCE = 512  # users
REQUESTS = 2000  # users of a live service
AT_A_TIME = 50  # users of one request, at most
DROPOUT, BEST_WINDOW = 0.5, 50  # of the preset `best`


def load(folder):
    """The model of a folder."""
    return load_model(f"{folder}/model.tar.gz", f"{folder}/feature_dict.pkl")


def load_torch():
    """torch, with a thread for each core."""
    import torch

    torch.set_num_threads(CORES)
    return torch


def segments_of(log, mode, batch_size, window_size=WINDOW_SIZE):
    """Yield the segments of each batch of a pass, always the same; the first batch is compared."""
    segments = INSTANCES[mode](log.lengths, window_size)
    steps = math.ceil(len(log.clicks) / batch_size)
    return shuffled_batches(segments, steps, np.random.default_rng(0))


def fixed_noise(negatives, videos):
    """Noise of the compared batch: the same for every target, whose order then does not matter."""
    return np.random.default_rng(7).integers(1, videos, negatives)


def polars(args):
    """All seven counts, lazily, with all cores; polars alone splits the strings."""
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
    columns = [  # in the order of FEATURES
        (clicks, "user_id"),
        (log, "province"),
        (log, "city"),
        (log, "phone"),
        (clicks, "video"),
        (clicks, "category"),
        (tags, "tags"),
    ]
    counts = pl.collect_all([frame.group_by(name).len() for frame, name in columns])
    counts = dict(zip(FEATURES, counts))
    return time.perf_counter() - started, {
        "values": {feature: len(count) for feature, count in counts.items()},
        "lines": int(counts["phone"]["len"].sum()),
        "clicks": int(counts[ITEMS]["len"].sum()),
        "threads": pl.thread_pool_size(),
    }


def torch_train(args):
    """The loop of steps alone, over batches prepared beforehand; noise by torch.multinomial."""
    torch = load_torch()
    import torch_model

    model = load(args.folder)
    [log] = Reader(model.feature_dict).encode(args.log)
    network = torch_model.Network(model.parameters, model.item_freq)
    batches = [make_batch(log, part) for part in segments_of(log, args.mode, args.batch_size)]
    if args.mode == "window":
        batches = [torch_model.window_batch(batch, WINDOW_SIZE) for batch in batches]
    else:
        batches = [torch_model.sequence_batch(batch) for batch in batches]

    def shape(batch):
        return (args.negatives,) if args.shared else (len(batch["target"]), args.negatives)

    noise = torch.from_numpy(fixed_noise(args.negatives, len(model.item_freq)))
    noise = noise.expand(shape(batches[0]))
    first_cost = float(network.cost(batches[0], noise).detach())

    def draw(batch):
        count = math.prod(shape(batch))
        return torch.multinomial(network.noise, count, replacement=True).view(shape(batch))

    seconds = seconds_of_a_pass(network, batches, draw)
    return seconds, training_facts(log, seconds, first_cost)


def seconds_of_a_pass(network, batches, draw):
    """Wall time of a step on each batch, after three; `draw` draws the noise of a batch."""
    optimizers = network.optimizers(0.002)

    def step(batch):
        cost = network.cost(batch, draw(batch))
        cost.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(cost.detach())  # as in a loop that reports its cost

    for batch in batches[:3]:
        step(batch)
    started = time.perf_counter()
    for batch in batches:
        step(batch)
    return time.perf_counter() - started


def training_facts(log, seconds, first_cost):
    """What a peer that trains prints besides its seconds."""
    import torch

    rate = len(log.clicks) / seconds
    return {"rate": rate, "first_cost": first_cost, "threads": torch.get_num_threads()}


def torch_best(args):
    """A pass of the preset `best`, as `torch_train`."""
    torch = load_torch()
    torch.manual_seed(0)
    import torch_model

    model = load(args.folder)
    [log] = Reader(model.feature_dict).encode(args.log)
    arrays = dict(np.load(f"{args.folder}/best.npz"))
    attributes = arrays.pop("attribute_ids"), arrays.pop("attribute_offsets")
    network = torch_model.BestNetwork(
        arrays, model.item_freq, attributes, is_sparse=args.adam == "sparse"
    )
    batches = [
        torch_model.sequence_batch(make_batch(log, segments))
        for segments in segments_of(log, "sequence", args.batch_size, BEST_WINDOW)
    ]
    noise = torch.from_numpy(fixed_noise(args.negatives, len(model.item_freq)))
    first_cost = float(network.cost(batches[0], noise).detach())
    network.dropout = DROPOUT
    cumulated = torch.cumsum(network.noise, 0)
    cumulated /= cumulated[-1].clone()  # ends at exactly 1

    def draw(batch):
        numbers = torch.rand(args.negatives, dtype=torch.float64)
        return torch.searchsorted(cumulated, numbers, right=True)

    seconds = seconds_of_a_pass(network, batches, draw)
    return seconds, training_facts(log, seconds, first_cost)


def torch_infer(args):
    """matmul, softmax and topk in blocks of users, from given user vectors."""
    torch = load_torch()
    model = load(args.folder)
    users = torch.from_numpy(np.load(f"{args.folder}/users.npy"))
    weights = torch.from_numpy(model.nce_w[1:].T.copy())
    bias = torch.from_numpy(model.nce_b[0, 1:].copy())
    started = time.perf_counter()
    with torch.inference_mode():
        lists = [
            torch.topk(torch.softmax(torch.addmm(bias, block, weights), 1), TOP_N)
            for block in users.split(AT_ONCE)
        ]
    return time.perf_counter() - started, {
        "ids": (lists[0].indices[0] + 1).tolist(),
        "threads": torch.get_num_threads(),
    }


def faiss(args):
    """Exact inner-product search over [b, w], from given user vectors; no probabilities."""
    import faiss as engine

    engine.omp_set_num_threads(CORES)
    model = load(args.folder)
    users = np.load(f"{args.folder}/users.npy")
    index = engine.IndexFlatIP(users.shape[1] + 1)
    index.add(np.hstack([model.nce_b.T, model.nce_w])[1:])
    queries = np.hstack([np.ones((len(users), 1), np.float32), users])
    started = time.perf_counter()
    _, ids = index.search(queries, TOP_N)
    return time.perf_counter() - started, {
        "ids": (ids[0] + 1).tolist(),
        "threads": engine.omp_get_max_threads(),
    }


def torch_user_vector(args):
    """All the work of user_vector.py: model, log (by our reader), user vectors, text."""
    torch = load_torch()
    import torch_model

    started = time.perf_counter()
    model = load(args.folder)
    [log] = Reader(model.feature_dict).encode(args.log)
    windows = next_click_windows(log.lengths, WINDOW_SIZE)
    network = torch_model.Network(model.parameters, model.item_freq)
    users = []
    with torch.inference_mode():
        for start in range(0, len(windows.line), AT_ONCE):
            block = windows.take(slice(start, start + AT_ONCE))
            batch = make_batch(log, block, with_targets=False)
            users.append(network.window_users(torch_model.window_batch(batch, WINDOW_SIZE)))
    users = torch.cat(users).numpy()
    with open(os.devnull, "wb") as stream:
        np.savetxt(stream, simple_lsh_users(users), fmt="%.12f", delimiter=",")
    return time.perf_counter() - started, {
        "first": users[0].tolist(),
        "threads": torch.get_num_threads(),
    }


def latencies(run, one, some):
    """Milliseconds of `run` for each request of one user, and users/s for requests of several.

    Parameters
    ----------
    run : function of the inputs of a request.
    one : inputs of one user each.
    some : inputs of AT_A_TIME users each.
    """
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
    """The exported user tower in paddle.inference, as in docs/serve.py, from prepared inputs."""
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
    """The same from prepared windows, in inference mode; the better of all threads and one."""
    torch = load_torch()
    import torch_model

    model = load(args.folder)
    [log] = Reader(model.feature_dict).encode(args.log)
    windows = next_click_windows(log.lengths, WINDOW_SIZE)
    network = torch_model.Network(model.parameters, model.item_freq)

    def batches(size):
        blocks = [windows.take(slice(start, start + size)) for start in range(0, REQUESTS, size)]
        of_blocks = [make_batch(log, block, with_targets=False) for block in blocks]
        return [torch_model.window_batch(batch, WINDOW_SIZE) for batch in of_blocks]

    best = {}
    with torch.inference_mode():
        for threads in (CORES, 1):
            torch.set_num_threads(threads)
            seconds, facts = latencies(network.window_users, batches(1), batches(AT_A_TIME))
            for name, value in facts.items():
                better = max if name == "rate" else min
                best[name] = better(value, best.get(name, value))
        first = network.window_users(batches(AT_A_TIME)[0])[0]
        return seconds, {**best, "first": first.tolist()}


def savetxt(args):
    """numpy.savetxt of the matrix that item_vector.py prints."""
    model = load(args.folder)
    vectors = simple_lsh_videos(model.nce_w, model.nce_b)
    started = time.perf_counter()
    with open(os.devnull, "wb") as stream:
        np.savetxt(stream, vectors, fmt="%.12f", delimiter=",")
    return time.perf_counter() - started, {}


PEERS = (
    polars,
    torch_train,
    torch_best,
    torch_infer,
    faiss,
    torch_user_vector,
    tower,
    torch_tower,
    savetxt,
)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="peer", required=True)
    for peer in PEERS:
        command = commands.add_parser(peer.__name__)
        command.set_defaults(run=peer)
        if peer is not savetxt:
            command.add_argument("log")
        if peer is not polars:
            command.add_argument("folder")
        if peer is torch_train:
            command.add_argument("mode", choices=INSTANCES)
            command.add_argument("batch_size", type=int)
            command.add_argument("negatives", type=int)
            command.add_argument("shared", nargs="?")
        if peer is torch_best:
            command.add_argument("batch_size", type=int)
            command.add_argument("negatives", type=int)
            command.add_argument("adam", choices=["dense", "sparse"])
    args = parser.parse_args()
    seconds, facts = args.run(args)
    print(json.dumps({"seconds": seconds, **facts}))


if __name__ == "__main__":
    main()
