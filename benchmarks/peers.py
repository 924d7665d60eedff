"""The same work done by others: polars, PyTorch, faiss. Each prints a JSON object with the seconds of the work itself.

    python benchmarks/peers.py polars LOG
    python benchmarks/peers.py torch_train LOG FOLDER window|sequence BATCH_SIZE NEGATIVES [shared]
    python benchmarks/peers.py torch_infer|faiss|torch_user_vector LOG FOLDER [whole]
    python benchmarks/peers.py savetxt FOLDER

FOLDER holds feature_dict.pkl, item_freq.pkl and a model. Imports and preparations come before the clock.
"""
import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OPENBLAS_NUM_THREADS"] = str(os.cpu_count())  # a peer is one process: it gets all
from data_processor import load_feature_dict, load_item_freq
from network_conf import EMBEDDING_DIMS, ModelConfig, initial_parameters, load_model
from reader import Reader, make_batch, next_click_windows, sequence_stretches, shuffled_batches, sliding_windows

MODEL = "model/model_pass_00000.tar.gz"
WINDOW_SIZE, TOP_N = 20, 30


def polars(args):
    """All seven counts, lazily, with both cores; the strings are split by polars alone."""
    import polars as pl
    started = time.perf_counter()
    log = pl.scan_csv(args.log, separator="\t", has_header=False, quote_char=None,
                      new_columns=["user_id", "province", "city", "history", "phone"])
    clicks = log.select("user_id", pl.col("history").str.split(";")).explode("history").with_columns(
        pl.col("history").str.split_exact(":", 2).struct.rename_fields(["video", "category", "tags"])).unnest("history")
    counts = [log.group_by(name).len() for name in ("province", "city", "phone")]
    counts += [clicks.group_by(name).len() for name in ("user_id", "video", "category")]
    counts.append(clicks.select(pl.col("tags").str.split("_")).explode("tags").group_by("tags").len())
    found = pl.collect_all(counts)
    return time.perf_counter() - started, {"values": [len(each) for each in found],
                                           "clicks": int(found[4]["len"].sum()), "version": pl.__version__}


def read_model(args):
    feature_dict = load_feature_dict(f"{args.folder}/feature_dict.pkl")
    return load_model(f"{args.folder}/{MODEL}"), feature_dict


def torch_train(args):
    """The bare step loop over batches that are ready beforehand; noise by torch.multinomial."""
    import torch_model

    import torch
    feature_dict = load_feature_dict(f"{args.folder}/feature_dict.pkl")
    item_freq = load_item_freq(f"{args.folder}/item_freq.pkl", feature_dict)
    [log] = Reader(feature_dict, WINDOW_SIZE).encode(args.log)
    stretches = (sliding_windows if args.mode == "window" else sequence_stretches)(log.lengths, WINDOW_SIZE)
    rng = np.random.default_rng(0)
    config = ModelConfig({name: len(feature_dict[name]) for name in EMBEDDING_DIMS})
    network = torch_model.Network(initial_parameters(config, item_freq, rng), item_freq)
    batches = [make_batch(log, part) for part in shuffled_batches(stretches, args.batch_size, rng)]
    batches = [torch_model.window_batch(batch, WINDOW_SIZE) if args.mode == "window"
               else torch_model.sequence_batch(batch) for batch in batches]
    optimizers = network.optimizers(0.002)

    def first_cost():
        """Cost of the first batch on the initial weights, with noise that bench.py draws in the same way."""
        shape = (args.negatives,) if args.shared else (len(batches[0]["target_item"]), args.negatives)
        drawn = np.random.default_rng(7).integers(1, len(item_freq), shape)
        return float(network.cost(batches[0], torch.from_numpy(drawn)).detach())
    first = first_cost()

    def step(batch):
        count = len(batch["target_item"])
        shape = (args.negatives,) if args.shared else (count, args.negatives)
        drawn = torch.multinomial(network.noise, int(np.prod(shape)), replacement=True).view(shape)
        cost = network.cost(batch, drawn)
        cost.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return float(cost.detach()) * count
    for batch in batches[:3]:
        step(batch)
    started = time.perf_counter()
    cost = sum(step(batch) for batch in batches) / len(log.clicks)
    return time.perf_counter() - started, {"instances": len(log.clicks), "cost": cost, "first_cost": first,
                                           "version": torch.__version__}


def torch_infer(args):
    """matmul, softmax, topk in blocks of 512 users, from user vectors that are ready."""
    import torch
    model, _ = read_model(args)
    users = torch.from_numpy(np.load(f"{args.folder}/users.npy"))
    weights = torch.from_numpy(model.parameters["nce_w"][1:].T.copy())
    bias = torch.from_numpy(model.parameters["nce_b"][0, 1:].copy())
    started = time.perf_counter()
    with torch.inference_mode():
        found = [torch.topk(torch.softmax(torch.addmm(bias, block, weights), 1), TOP_N) for block in users.split(512)]
    return time.perf_counter() - started, {"ids": (found[0].indices[0] + 1).tolist(), "version": torch.__version__}


def faiss(args):
    """Exact inner-product search over [b, w], from user vectors that are ready: no probabilities."""
    import faiss as engine
    model, _ = read_model(args)
    users = np.load(f"{args.folder}/users.npy")
    index = engine.IndexFlatIP(users.shape[1] + 1)
    index.add(np.hstack([model.parameters["nce_b"].T, model.parameters["nce_w"]])[1:].astype(np.float32))
    queries = np.hstack([np.ones((len(users), 1), np.float32), users])
    started = time.perf_counter()
    _, ids = index.search(queries, TOP_N)
    return time.perf_counter() - started, {"ids": (ids[0] + 1).tolist(), "version": engine.__version__}


def torch_user_vector(args):
    """The network up to the user vector, 512 users at a time, from windows that are ready as arrays.

    With `whole` the clock runs as well while our reader reads the log and numpy.savetxt writes the vectors.
    """
    import torch_model
    from user_vector import simple_lsh_users

    import torch
    model, feature_dict = read_model(args)
    begun = time.perf_counter()
    [log] = Reader(feature_dict, WINDOW_SIZE).encode(args.log)
    windows = next_click_windows(log.lengths, WINDOW_SIZE)
    batches = []
    for start in range(0, len(windows.line), 512):
        batch = make_batch(log, windows.take(slice(start, start + 512)), with_targets=False)
        batches.append(torch_model.window_batch(batch._replace(target_item=batch.position), WINDOW_SIZE))
    network = torch_model.Network(model.parameters, model.item_freq)
    started = time.perf_counter()
    with torch.inference_mode():
        users = torch.cat([network.window_users(batch) for batch in batches])
    if args.whole:
        started = begun
        with open(os.devnull, "wb") as stream:
            np.savetxt(stream, simple_lsh_users(users.numpy()), fmt="%.12g", delimiter=",")
    return time.perf_counter() - started, {"first": users[0, :5].tolist(), "version": torch.__version__}


def savetxt(args):
    """numpy.savetxt of the matrix that item_vector.py prints."""
    from item_vector import simple_lsh_videos
    model, _ = read_model(args)
    vectors = simple_lsh_videos(model.parameters["nce_w"], model.parameters["nce_b"])
    started = time.perf_counter()
    with open(os.devnull, "wb") as stream:
        np.savetxt(stream, vectors, fmt="%.12g", delimiter=",")
    return time.perf_counter() - started, {"rows": len(vectors), "version": np.__version__}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="peer", required=True)
    for peer in (polars, torch_train, torch_infer, faiss, torch_user_vector, savetxt):
        command = commands.add_parser(peer.__name__)
        command.set_defaults(run=peer)
        if peer is not savetxt:
            command.add_argument("log")
        if peer is not polars:
            command.add_argument("folder")
        if peer is torch_user_vector:
            command.add_argument("whole", nargs="?")
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
