"""Ours against PyTorch, polars, faiss and numpy on the same work: `make bench`, or parts of it by name.

    python benchmarks/bench.py [preprocess train_window train_sequence infer user_vector item_vector archive start flat]

Makes its own logs (benchmarks/make_log.py), checks that both sides compute the same, runs ours and the peer in turn,
and prints a Markdown row for each comparison: medians, the smallest and largest round in brackets, and the ratio of
the medians. Ours is always the whole command as users type it, unless a row says otherwise; a peer is timed without its
imports and preparations. Wants two free cores and nothing else running.
"""
import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers.py"
PASSES = 3  # of a training run
ENVIRONMENT = dict(os.environ)  # of all commands: importing paddle and reader.py changes how many threads there are
sys.path.insert(0, str(ROOT))


def run(*command):
    """(seconds of wall time, peak memory in MB, stdout) of a command."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          cwd=ROOT, env=ENVIRONMENT, text=True) as process:
        out, errors = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{errors}")
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, out


def memory_of(*command):
    """Peak memory in MB of a command and all its processes together, looked at every hundredth of a second."""
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, cwd=ROOT, env=ENVIRONMENT)
    peak = 0
    while process.poll() is None:
        total, waiting = 0, [process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                total += int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0])
            except (OSError, IndexError):
                continue
        peak = max(peak, total)
        time.sleep(0.01)
    return peak / 1024


def peer(*arguments):
    """The JSON object that a peer prints."""
    return json.loads(run(PEERS, *arguments)[2])


def compare(args, name, ours, theirs, higher_is_better=False):
    """Run both in turn and print the row."""
    print_row(name, *in_turn(args, ours, theirs), higher_is_better)


def in_turn(args, ours, theirs):
    """The figures of both, two lists."""
    return zip(*[(ours(), theirs()) for _ in range(args.rounds)])


def print_row(name, ours, theirs, higher_is_better=False):
    """Medians, smallest and largest of two lists; the ratio of the medians, above 1 when ours is better."""
    medians = [statistics.median(values) for values in (ours, theirs)]
    ratio = medians[0] / medians[1] if higher_is_better else medians[1] / medians[0]
    cells = [f"{median:.4g} ({min(values):.4g} to {max(values):.4g})" for median, values in
             zip(medians, (ours, theirs))]
    print(f"| {name} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


def compare_training(args, name, ours, theirs):
    """Two rows of instances/s, from lists that start with the first pass; one pass may be all that there is."""
    ours, theirs = in_turn(args, ours, theirs)
    for which, rate in (("first pass, reading included", lambda rates: rates[0]),
                        ("later passes", lambda rates: statistics.median(rates[1:] or rates))):
        print_row(name.format(which), [*map(rate, ours)], [*map(rate, theirs)], higher_is_better=True)


def make_log(args, users, videos=100_000):
    path = args.work_dir / f"log-{users}-{videos}.txt"
    if not path.exists():
        run(ROOT / "benchmarks" / "make_log.py", f"--users={users}", f"--videos={videos}", f"--output_path={path}")
    return path


def dictionary(args, log):
    """Folder with the dictionary and the frequencies of a log."""
    folder = args.work_dir / log.stem
    if not (folder / "item_freq.pkl").exists():
        run("data_processor.py", f"--train_set_path={log}", f"--output_dir={folder}", "--feat_appear_limit=1")
    return folder


def untrained_model(folder):
    """A model with random parameters in the folder of a dictionary: what is timed does not depend on their values."""
    from data_processor import fingerprint, load_feature_dict, load_item_freq
    from network_conf import EMBEDDING_DIMS, ModelConfig, initial_parameters, save_model
    path = folder / "model" / "model_pass_00000.tar.gz"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        feature_dict = load_feature_dict(folder / "feature_dict.pkl")
        item_freq = load_item_freq(folder / "item_freq.pkl", feature_dict)
        config = ModelConfig({name: len(feature_dict[name]) for name in EMBEDDING_DIMS}, fingerprint(feature_dict))
        rng = np.random.default_rng(0)
        parameters = initial_parameters(config, item_freq, rng)
        parameters["nce_w"] = rng.normal(0, 0.3, parameters["nce_w"].shape).astype(np.float32)
        save_model(path, config, parameters, item_freq)
    return path


def flags(folder):
    return f"--model_path={folder}/model/model_pass_00000.tar.gz", f"--feature_dict={folder}/feature_dict.pkl"


# ---------------------------------------------------------------- the comparisons
def preprocess(args):
    log = make_log(args, 200_000)
    ours = ("data_processor.py", f"--train_set_path={log}", f"--output_dir={args.work_dir}/counted",
            "--feat_appear_limit=1")
    out, theirs = run(*ours)[2], peer("polars", log)
    assert f", {theirs['clicks']} clicks" in out, "the counts differ"
    compare(args, f"preprocessing, s (polars {theirs['version']})", lambda: run(*ours)[0],
            lambda: peer("polars", log)["seconds"])
    own, other = memory_of(*ours), memory_of(PEERS, "polars", log)
    print(f"| preprocessing, peak MB | {own:.0f} | {other:.0f} | {other / own:.1f} |", flush=True)


def train_command(args, mode, *settings, videos=100_000, users=5000):
    """Command for PASSES passes of train.py; it writes to the folder `trained`."""
    folder = dictionary(args, make_log(args, 50_000, videos))
    log = make_log(args, users, videos)
    one = args.work_dir / "one.txt"
    one.write_text(log.open().readline())
    return ("train.py", f"--train_set_path={log}", f"--test_set_path={one}",
            f"--model_output_dir={args.work_dir / 'trained'}", f"--feature_dict={folder}/feature_dict.pkl",
            f"--item_freq={folder}/item_freq.pkl", f"--num_passes={PASSES}", f"--instances={mode}", *settings)


def train(args, mode, *settings, **sizes):
    """Instances per second of each pass of train.py; the first reads the log as well."""
    run(*train_command(args, mode, *settings, **sizes))
    return pass_rates(args.work_dir / "trained")


def pass_rates(folder):
    """Instances per second of each pass of a run."""
    return [json.loads(line)["instances_per_second"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def train_against_torch(args, mode, batch_size, negatives, *shared):
    folder, log = dictionary(args, make_log(args, 50_000)), make_log(args, 5000)
    settings = [f"--batch_size={batch_size}", f"--num_negatives={negatives}"] + ["--shared_negatives"] * len(shared)
    our_cost = first_cost(log, folder, mode, batch_size, negatives, shared)

    def theirs():
        found = peer("torch_train", log, folder, mode, batch_size, negatives, *shared)
        assert abs(found["first_cost"] - our_cost) < 1e-5, f"the costs differ: {our_cost}, {found['first_cost']}"
        return [found["instances"] / found["seconds"]]
    compare_training(args, f"training, {mode}, batches of {batch_size}, {negatives} negatives, instances/s, {{}} "
                     f"(PyTorch {metadata.version('torch')})", lambda: train(args, mode, *settings), theirs)


def first_cost(log, folder, mode, batch_size, negatives, shared):
    """Our cost of the first batch on the initial weights, as peers.py has it."""
    from data_processor import load_feature_dict, load_item_freq
    from network_conf import EMBEDDING_DIMS, DNNmodel, ModelConfig, Sampling, initial_parameters, load_paddle
    from reader import Reader, make_batch, shuffled_batches
    from train import INSTANCES
    load_paddle()
    feature_dict = load_feature_dict(folder / "feature_dict.pkl")
    item_freq = load_item_freq(folder / "item_freq.pkl", feature_dict)
    [encoded] = Reader(feature_dict).encode(str(log))
    rng = np.random.default_rng(0)
    config = ModelConfig({name: len(feature_dict[name]) for name in EMBEDDING_DIMS})
    parameters = initial_parameters(config, item_freq, rng)
    stretches = INSTANCES[mode](encoded.lengths, config.window_size)
    batch = make_batch(encoded, next(shuffled_batches(stretches, batch_size, rng)))
    network = DNNmodel(config=config, parameters=parameters, item_freq=item_freq,
                       sampling=Sampling("nce", negatives, bool(shared)))
    network.noise.draw = lambda shape, _: np.random.default_rng(7).integers(1, len(item_freq), shape)
    return float(network(batch).mean())


def train_window(args):
    train_against_torch(args, "window", 512, 5)


def train_sequence(args):
    train_against_torch(args, "sequence", 512, 64, "shared")
    train_against_torch(args, "sequence", 2048, 64, "shared")
    rates = train(args, "sequence", "--batch_size=2048", "--num_negatives=64", "--shared_negatives")
    own, product = statistics.median(rates[1:]) * flop_per_instance(), own_product()
    print(f"| training, sequence, GFLOP/s of later passes (own 4096^3 float32 product) | {own / 1e9:.0f} "
          f"| {product / 1e9:.0f} | {own / product:.2f} |", flush=True)


def flop_per_instance():
    """Multiply-adds of the network forward and backward (3 times forward), per target of the 5,000 users' log."""
    from network_conf import ModelConfig, parameter_shapes
    from reader import sequence_stretches
    rng = np.random.default_rng(0)
    stretches = sequence_stretches(rng.geometric(1 / 40, 5000), 20)
    shapes = parameter_shapes(ModelConfig(dict.fromkeys(ModelConfig({}).embedding_dims, 1)))
    lstm = np.prod(shapes["lstm_weight_ih"]) + np.prod(shapes["lstm_weight_hh"])
    profile = 104 * shapes["relu1_w"][1]
    window = np.prod(shapes["relu1_w"]) - profile
    targets = stretches.targets.sum()
    per_target = (lstm * stretches.length.sum() + profile * len(stretches.line)) / targets + window
    return 6 * (per_target + np.prod(shapes["relu2_w"]) + 65 * shapes["relu2_w"][1])


def own_product(size=4096):
    """FLOP/s of a large float32 product in numpy, all cores; the best of five."""
    left = np.random.default_rng(0).random((size, size), np.float32)
    best = min(_timed(lambda: left @ left) for _ in range(5))
    return 2 * size ** 3 / best


def _timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def infer(args):
    log = make_log(args, 50_000)
    folder = dictionary(args, log)
    untrained_model(folder)
    command = ("infer.py", f"--infer_set_path={log}", *flags(folder))
    run("user_vector.py", f"--infer_set_path={log}", *flags(folder), f"--output_path={folder}/users.npz")
    vectors = np.load(folder / "users.npz")["vectors"]
    np.save(folder / "users.npy", (vectors[:, 1:-1] / vectors[:, :1]).astype(np.float32))  # [1, u, 0] / norm -> u
    first = run(*command)[2].splitlines()[0].split("\t")[1]
    from data_processor import load_feature_dict
    ids = load_feature_dict(folder / "feature_dict.pkl")["history_clicked_items"]
    ours = [ids[pair.rsplit(":", 1)[0]] for pair in first.split(",")]
    for name in ("torch_infer", "faiss"):
        theirs = peer(name, log, folder)
        assert theirs["ids"] == ours, f"{name} finds other videos"
        compare(args, f"infer.py, 50,000 users, {len(ids) - 1} videos, s ({name} {theirs['version']})",
                lambda: run(*command)[0], lambda name=name: peer(name, log, folder)["seconds"])


def user_vector(args):
    log = make_log(args, 50_000)
    folder = dictionary(args, log)
    untrained_model(folder)
    command = ("user_vector.py", f"--infer_set_path={log}", *flags(folder))
    first = np.array(run(*command)[2].splitlines()[0].split(","), float)
    theirs = peer("torch_user_vector", log, folder)
    assert np.allclose(first[1:6] / first[0], theirs["first"], atol=1e-5), "the vectors differ"
    for what, whole in (("the network alone", ()), ("with our reader, and savetxt", ("whole",))):
        compare(args, f"user_vector.py, 50,000 users, s (PyTorch {theirs['version']}, {what})",
                lambda: run(*command)[0],
                lambda whole=whole: peer("torch_user_vector", log, folder, *whole)["seconds"])


def million_videos(args):
    """Folder of a dictionary and a model with a million videos."""
    import pickle

    from data_processor import FEATURES
    folder = args.work_dir / "million"
    if not folder.exists():
        folder.mkdir()
        feature_dict = {name: {"<unk>": 0} for name in FEATURES}
        feature_dict["history_clicked_items"].update({f"VIDEO_{video}": video for video in range(1, 1_000_001)})
        (folder / "feature_dict.pkl").write_bytes(pickle.dumps(feature_dict))
        (folder / "item_freq.pkl").write_bytes(pickle.dumps([0.0] + [1e-6] * 1_000_000))
    untrained_model(folder)
    return folder


def item_vector(args):
    folder = million_videos(args)
    compare(args, f"item_vector.py, a million videos, s (numpy.savetxt {np.__version__}, writing alone)",
            lambda: run("item_vector.py", *flags(folder), f"--output_path={args.work_dir}/videos.tsv")[0],
            lambda: peer("savetxt", folder)["seconds"])


def archive(args):
    """Saving and loading 1 GB of parameters, against writing and reading as many bytes."""
    from network_conf import ModelConfig, load_model, parameter_shapes, save_model
    sizes = dict.fromkeys(ModelConfig({}).embedding_dims, 1000) | {"history_clicked_items": 2_600_000}
    config = ModelConfig(sizes)
    rng = np.random.default_rng(0)
    parameters = {name: rng.random(shape, np.float32) for name, shape in parameter_shapes(config).items()}
    data = rng.bytes(sum(value.nbytes for value in parameters.values()))
    path = args.work_dir / "large.tar.gz"

    def write():
        with open(args.work_dir / "large.bin", "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    freq = np.full(2_600_000, 1 / 2_600_000)
    size = len(data) / 1e9
    compare(args, f"saving {size:.2f} GB of parameters, s (writing the bytes)",
            lambda: _timed(lambda: save_model(path, config, parameters, freq)), lambda: _timed(write))
    compare(args, f"loading {size:.2f} GB of parameters, s (reading the bytes)",
            lambda: _timed(lambda: load_model(str(path))), lambda: _timed((args.work_dir / "large.bin").read_bytes))


def start(args):
    for script in ("data_processor", "train", "infer", "user_vector", "item_vector", "infer_user"):
        seconds = statistics.median(run(f"{script}.py", "--help")[0] for _ in range(args.rounds))
        print(f"| {script}.py --help, s | {seconds:.2f} | | |", flush=True)
    log = make_log(args, 50_000)
    folder = dictionary(args, make_log(args, 1000))
    untrained_model(folder)
    one = args.work_dir / "one.txt"
    one.write_text(log.open().readline())
    command = ("infer.py", f"--infer_set_path={one}", *flags(folder))
    compare(args, "infer.py, one user, s (import paddle)",
            lambda: run(*command)[0], lambda: run("-c", "import paddle")[0])


def flat(args):
    compare_training(args, "training, window, instances/s with a million videos, {} (with ten thousand)",
                     lambda: train(args, "window", videos=1_000_000), lambda: train(args, "window", videos=10_000))
    for videos in (100_000, 1_000_000):
        peak = memory_of(*train_command(args, "window", videos=videos))
        size = (args.work_dir / "trained" / "model_pass_00000.tar.gz").stat().st_size / 1e6
        print(f"| training, window, peak MB with {videos:,} videos (MB of parameters) | {peak:.0f} | {size:.0f} | |",
              flush=True)
    folder, log = dictionary(args, make_log(args, 50_000)), make_log(args, 1000)
    output = args.work_dir / "twenty"
    run("train.py", f"--train_set_path={log}", f"--test_set_path={args.work_dir}/one.txt",
        f"--model_output_dir={output}", f"--feature_dict={folder}/feature_dict.pkl",
        f"--item_freq={folder}/item_freq.pkl", "--num_passes=20")
    rates = pass_rates(output)
    late, early = statistics.median(rates[-3:]), statistics.median(rates[1:4])
    print(f"| training, instances/s of passes 18 to 20 (of passes 2 to 4) | {late:.0f} | {early:.0f} "
          f"| {late / early:.2f} |", flush=True)


COMPARISONS = (preprocess, train_window, train_sequence, infer, user_vector, item_vector, archive, start, flat)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which comparisons to run (all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work_dir", type=Path, default=Path("output/bench"), help="where logs and models go")
    parser.add_argument("--fresh", action="store_true", help="make all logs and models again")
    args = parser.parse_args()
    args.work_dir = args.work_dir.resolve()
    if args.fresh:
        shutil.rmtree(args.work_dir, ignore_errors=True)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    unknown = set(args.names) - {comparison.__name__ for comparison in COMPARISONS}
    if unknown:
        parser.error(f"no comparison is called {', '.join(sorted(unknown))}")
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        processor = next(line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name"))
    print(f"{processor}, {os.cpu_count()} cores; Python {platform.python_version()}, numpy {np.__version__}, "
          f"paddlepaddle {metadata.version('paddlepaddle')}\n")
    print("| What (peer) | Ours | Peer | Ratio |\n|---|---|---|---|", flush=True)
    for comparison in COMPARISONS:
        if not args.names or comparison.__name__ in args.names:
            comparison(args)


if __name__ == "__main__":
    main()
