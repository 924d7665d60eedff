"""Warm start against training on everything, and videos without clicks (docs/quality.md).

    python benchmarks/nightly.py --log_dir=./data/ml-100k
    python benchmarks/nightly.py --log_dir=./data/beauty --preset=classic
    python benchmarks/nightly.py --log_dir=./data/beauty --held_out=0.05

--log_dir holds train.txt and test.txt (or .txt.gz). Each user's history is cut: the first four
fifths of the clicks are the earlier log, the others the new part. Rows: the model of the earlier
log; passes over the new part that start from it, without and with --context_set_path, the earlier
log; a cold model, five passes over everything. With --held_out, that share of the videos loses all
clicks in the training log and is given as a catalogue.

Prints Markdown, on the last clicks of the test log: metrics, the share of new videos in the lists
of ten and among the targets, and recall@10 of such targets.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import network_conf
from candgen.data.dictionary import ITEMS, LOG_COLUMNS
from candgen.model.layers import use_device
from candgen.model.model_file import load_model
from candgen.serving.evaluation import evaluate_model
from candgen.serving.topn import TopN
from reader import Reader

import numpy as np
from quality import ROOT, log_of

METRICS = ("recall@10", "ndcg@10", "recall@50", "coverage@10")
COLD_PASSES = 5
LIMIT = "--feat_appear_limit=1"
HISTORY = LOG_COLUMNS.index("history")


@dataclasses.dataclass(frozen=True)
class UserLine:
    """A line of a log: its columns, and the video-infos of its history."""

    columns: list[str]
    infos: list[str]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What all runs have in common.

    Attributes
    ----------
    log_dir : folder of the logs.
    folder : where logs, dictionaries and models go.
    preset, seed : of train.py.
    """

    log_dir: Path
    folder: Path
    preset: str
    seed: int

    def count(self, dictionary, logs, *flags):
        """Make the folder of a dictionary from some logs by data_processor.py."""
        run(
            "data_processor.py",
            "--train_set_path",
            *logs,
            f"--output_dir={self.folder / dictionary}",
            LIMIT,
            *flags,
        )

    def train(self, output, log, dictionary, passes, *flags):
        """Train on a log by train.py; returns the path of the last model."""
        folder = self.folder
        run(
            "train.py",
            f"--train_set_path={log}",
            f"--test_set_path={log_of(self.log_dir, 'test')}",
            f"--seed={self.seed}",
            f"--model_output_dir={folder / output}",
            f"--feature_dict={folder / dictionary}/feature_dict.pkl",
            f"--item_freq={folder / dictionary}/item_freq.pkl",
            "--no-rules",
            f"--preset={self.preset}",
            f"--num_passes={passes}",
            *flags,
        )
        return folder / output / f"model_pass_{passes - 1:05d}.tar.gz"

    def print_row(self, name, model_path, dictionary, new_videos):
        """Evaluate a model on the test log; `new_videos` is a set of names."""
        test_log = log_of(self.log_dir, "test")
        model = load_model(str(model_path), f"{self.folder / dictionary}/feature_dict.pkl")
        network = network_conf.load_network(model)
        [log] = Reader(model.feature_dict).encode(str(test_log))
        with ThreadPoolExecutor(2) as pool:
            metrics, ids = evaluate_model(network, TopN(model.nce_w, model.nce_b), log, pool.map)

        video_ids = model.feature_dict[ITEMS]
        is_new_video = np.array([video in new_videos for video in video_ids])
        targets = [video_of(line.infos[-1]) for line in read_log(test_log) if line.infos]
        target_ids = np.array([video_ids.get(target, 0) for target in targets])
        is_new_target = np.array([target in new_videos for target in targets])
        is_hit = (ids == target_ids[:, None]).any(1) & (target_ids > 0)
        figures = [metrics[metric] for metric in METRICS]
        figures += [is_new_video[ids].mean(), is_new_target.mean()]
        figures.append(is_hit[is_new_target].mean() if is_new_target.any() else 0)
        print(f"| {name} | {' | '.join(f'{value:.4f}' for value in figures)} |", flush=True)


def video_of(info):
    """The video-id of a video-info."""
    return info.rsplit(":", 2)[0]


def read_log(path):
    """The lines of a log, list of UserLine."""
    open_log = gzip.open if path.suffix == ".gz" else open
    with open_log(path, "rt", encoding="utf-8") as stream:
        rows = [line.rstrip("\n").split("\t") for line in stream]
    return [
        UserLine(row, [] if row[HISTORY] == "NULL" else row[HISTORY].split(";")) for row in rows
    ]


def write_log(path, lines):
    """Write a log with the histories of some lines."""
    with open(path, "w", encoding="utf-8") as stream:
        for line in lines:
            columns = list(line.columns)
            columns[HISTORY] = ";".join(line.infos) or "NULL"
            stream.write("\t".join(columns) + "\n")


def run(script, *flags):
    """Run a script of the project."""
    command = [sys.executable, ROOT / script, *flags]
    print("$", " ".join(map(str, command)), file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)


def compare_catalogue(experiment, lines, share, passes):
    """Rows with and without a catalogue; `share` of the videos lose all clicks in training."""
    folder = experiment.folder
    infos = sorted({info for line in lines for info in line.infos})
    videos = sorted({video_of(info) for info in infos})
    rng = np.random.default_rng(experiment.seed)
    new_videos = set(rng.choice(videos, int(share * len(videos)), replace=False).tolist())
    kept = [
        UserLine(line.columns, [info for info in line.infos if video_of(info) not in new_videos])
        for line in lines
    ]
    log, catalogue = folder / "kept.txt", folder / "catalogue.txt"
    write_log(log, kept)
    catalogue.write_text("\n".join(infos), encoding="utf-8")
    for name, flags in {"without": [], "with": [f"--catalogue_path={catalogue}"]}.items():
        experiment.count(name, [log], *flags)
        model = experiment.train(f"{name}-model", log, name, passes, *flags)
        experiment.print_row(f"{name} a catalogue", model, name, new_videos)


def compare_warm_start(experiment, lines, passes, warm_passes, warm_rate):
    """Rows of the earlier model, of warm starts from it, and of a cold model."""
    folder = experiment.folder
    earlier_log, new_log = folder / "before.txt", folder / "new.txt"
    cuts = [4 * len(line.infos) // 5 for line in lines]
    earlier = [UserLine(line.columns, line.infos[:cut]) for line, cut in zip(lines, cuts)]
    new = [UserLine(line.columns, line.infos[cut:]) for line, cut in zip(lines, cuts)]
    write_log(earlier_log, earlier)
    write_log(new_log, new)
    experiment.count("before", [earlier_log])
    base_dictionary = f"--base_feature_dict={folder}/before/feature_dict.pkl"
    experiment.count("now", [earlier_log, new_log], base_dictionary)
    experiment.count("cold", [earlier_log, new_log])

    earlier_videos = {video_of(info) for line in earlier for info in line.infos}
    clicked = [video_of(info) for line in new for info in line.infos]
    new_videos = set(clicked) - earlier_videos
    new_share = np.mean([video in new_videos for video in clicked])
    print(
        f"{len(new_videos)} new videos, {new_share:.4f} of the clicks of the new part",
        file=sys.stderr,
    )

    model = experiment.train("before-model", earlier_log, "before", passes)
    experiment.print_row("before", model, "before", new_videos)
    warm_flags = [
        f"--learning_rate={warm_rate}",
        f"--init_model_path={folder}/before-model/checkpoint.tar.gz",
        f"--init_feature_dict={folder}/before/feature_dict.pkl",
    ]
    variants = {
        "alone": [],
        "with the clicks before it": [f"--context_set_path={earlier_log}"],
    }
    for name, flags in variants.items():
        model = experiment.train("warm-model", new_log, "now", warm_passes, *warm_flags, *flags)
        row = f"warm, {warm_passes} passes over the new part {name}"
        experiment.print_row(row, model, "now", new_videos)
    log = log_of(experiment.log_dir, "train")
    model = experiment.train("cold-model", log, "cold", COLD_PASSES)
    experiment.print_row("cold, five passes over everything", model, "cold", new_videos)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--log_dir", required=True, type=Path, help="folder of train.txt and test.txt, or .txt.gz"
    )
    parser.add_argument(
        "--work_dir", default="output/nightly", type=Path, help="folder for logs and models"
    )
    parser.add_argument("--preset", default="best", help="of train.py")
    parser.add_argument("--passes", default=8, type=int, help="of the earlier model")
    parser.add_argument(
        "--warm_rate", default=0.001, type=float, help="learning rate of the warm start"
    )
    parser.add_argument(
        "--warm_passes", default=3, type=int, help="of the warm start, over the new part"
    )
    parser.add_argument(
        "--held_out", default=0.0, type=float, help="share of the videos without clicks in training"
    )
    parser.add_argument("--seed", default=0, type=int)
    return parser.parse_args(argv)


def main():
    args = parse_args()
    use_device(None)
    folder = args.work_dir / f"{args.log_dir.name}-{args.preset}"
    folder.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(args.log_dir, folder, args.preset, args.seed)
    lines = read_log(log_of(args.log_dir, "train"))
    columns = [
        f"{args.log_dir.name}, {args.preset}",
        *METRICS,
        "new videos in lists",
        "among targets",
        "their recall@10",
    ]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|", flush=True)
    if args.held_out:
        compare_catalogue(experiment, lines, args.held_out, args.passes)
    else:
        compare_warm_start(experiment, lines, args.passes, args.warm_passes, args.warm_rate)


if __name__ == "__main__":
    main()
