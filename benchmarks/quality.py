"""Result tables of docs/quality.md: trains each row with several seeds.

    python benchmarks/quality.py --name=ml-100k --log_dir=./data/ml-100k --feat_appear_limit=1
    python benchmarks/quality.py --name=beauty --log_dir=./data/beauty --feat_appear_limit=1
    python benchmarks/quality.py --name=lastfm --log_dir=./data/lastfm --feat_appear_limit=1
    python benchmarks/quality.py --name=sample --log_dir=./data --feat_appear_limit=20
    python benchmarks/quality.py --name=beauty --log_dir=./data/beauty --feat_appear_limit=1 \\
        --seeds=1 --ablation

--log_dir holds train.txt, test.txt and, for --ablation, valid.txt (or .txt.gz). Each row reports
its last pass. --ablation changes one setting of the preset `best` at a time, and compares on the
validation log only. Prints Markdown. Runs one after the other; models and metrics stay in
--work_dir.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS = {"v0.10": "--preset=v0.10", "classic": "", "best": "--preset=best"}
ABLATION = {  # {row: flags that change one setting of `best`}
    "best": "",
    "without the direct path": "--network=DNNmodel",
    "without content": "--no-content",
    "--no-lift_rare": "--no-lift_rare",
    "--table_rate=1": "--table_rate=1",
    "512 negatives": "--num_negatives=512",
    "--dropout=0.2": "--dropout=0.2",
    "--window_size=20": "--window_size=20",
}
METRICS = (
    "recall@10",
    "ndcg@10",
    "recall@50",
    "mrr@10",
    "coverage@10",
    "seen_kept_recall@10",
    "seen_kept_ndcg@10",
)


def log_of(folder, name):
    """Path of a log in a folder, plain or gzip; None if it is missing."""
    paths = [folder / f"{name}.txt", folder / f"{name}.txt.gz"]
    return next((path for path in paths if path.exists()), None)


def train(folder, logs, test, settings, seed):
    """Run train.py; returns the rows of metrics.jsonl."""
    words = settings.replace("-", "").replace("=", "").split()
    output = folder / "_".join([*words, str(seed)])
    command = [
        sys.executable,
        ROOT / "train.py",
        f"--train_set_path={log_of(logs, 'train')}",
        f"--test_set_path={log_of(logs, test)}",
        f"--model_output_dir={output}",
        f"--seed={seed}",
        f"--feature_dict={folder}/feature_dict.pkl",
        f"--item_freq={folder}/item_freq.pkl",
        *settings.split(),
    ]
    print("$", " ".join(map(str, command)), file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def table_row(name, results, prefix=""):
    """A Markdown row: mean and standard deviation of each metric over the seeds."""
    cells = []
    for metric in METRICS:
        values = [row[prefix + metric] for row in results]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 and not prefix else ""
        cells.append(f"{statistics.mean(values):.4f}{spread}")
    return f"| {name} | {' | '.join(cells)} |"


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", required=True, help="of the data set, for file names")
    parser.add_argument(
        "--log_dir", required=True, type=Path, help="folder of the logs, .txt or .txt.gz"
    )
    parser.add_argument("--feat_appear_limit", default="20", help="for data_processor.py")
    parser.add_argument(
        "--work_dir", default="output/quality", type=Path, help="folder for models and metrics"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs per row")
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="only these rows")
    parser.add_argument(
        "--ablation",
        action="store_true",
        help="change one setting of `best` at a time",
    )
    parser.add_argument("--num_passes", type=int, help="of each run, instead of its preset's")
    args = parser.parse_args(argv)
    if args.ablation and args.rows:
        parser.error("--ablation has rows of its own: leave --rows out")
    return args


def settings_of_rows(args):
    """{row: flags of train.py}"""
    if args.ablation:
        settings = {name: f"--preset=best {flags}" for name, flags in ABLATION.items()}
    else:
        settings = {name: ROWS[name] for name in args.rows or ROWS}
    if args.num_passes:
        settings = {
            name: f"{flags} --num_passes={args.num_passes}" for name, flags in settings.items()
        }
    return settings


def print_table(name, runs):
    """Print the Markdown table of all runs, baselines first."""
    print(f"| {name} | {' | '.join(METRICS)} | passes | minutes |")
    print("|---" * (len(METRICS) + 3) + "|")
    first_run = next(iter(runs.values()))[0]
    for baseline in ("popularity", "rules"):
        print(table_row(baseline, [first_run[-1]], baseline + "_"), "- | - |")
    for row, seeds in runs.items():
        seconds = [sum(each["seconds"] for each in passes) for passes in seeds]
        last_passes = [passes[-1] for passes in seeds]
        minutes = statistics.mean(seconds) / 60
        print(table_row(row, last_passes), f"{len(seeds[0])} | {minutes:.1f} |")


def main():
    args = parse_args()
    folder = args.work_dir / args.name
    command = [
        sys.executable,
        ROOT / "data_processor.py",
        f"--train_set_path={log_of(args.log_dir, 'train')}",
        f"--output_dir={folder}",
        f"--feat_appear_limit={args.feat_appear_limit}",
    ]
    subprocess.run(command, check=True, stdout=sys.stderr)
    test = "valid" if args.ablation else "test"
    runs = {
        name: [train(folder, args.log_dir, test, settings, seed) for seed in range(args.seeds)]
        for name, settings in settings_of_rows(args).items()
    }
    print_table(args.name, runs)


if __name__ == "__main__":
    main()
