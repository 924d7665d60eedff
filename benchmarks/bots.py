"""The effect of a few bots in the log, and of --max_user_clicks: a table of docs/quality.md.

    python benchmarks/bots.py --train_set_path=./data/train.txt --test_set_path=./data/test.txt

Takes the first --users lines of the training log and adds --bots users with --clicks clicks each,
on videos of the log drawn uniformly at random, like a program that fetches every page. Trains on
the log with and without them, with and without the limit, and on the log of the users alone with
one click per line; tests on the same test log. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
METRICS = ("recall@10", "ndcg@10", "recall@50", "coverage@10")


def bot_lines(lines, bots, clicks):
    """Log lines of some bots that click on the videos of `lines`."""
    rng = random.Random(0)
    infos = sorted({info for line in lines for info in line.split("\t")[3].split(";")} - {"NULL"})
    histories = [";".join(rng.choices(infos, k=clicks)) for _ in range(bots)]
    return [f"BOT_{bot}\tNULL\tNULL\t{history}\tNULL\n" for bot, history in enumerate(histories)]


def events(lines):
    """Yield the same clicks in the same order, one per line."""
    for line in lines:
        user, province, city, history, phone = line.split("\t")
        for info in history.split(";"):
            yield "\t".join([user, province, city, info, phone])


def run(script, *flags):
    """Run a script of the project."""
    subprocess.run([sys.executable, ROOT / script, *flags], check=True, stdout=sys.stderr)


def train(log, test_set_path, folder, flags, limit):
    """Train on a log, with --max_user_clicks if there is a limit; the last row of metrics.jsonl."""
    limit_flags = [f"--max_user_clicks={limit}"] if limit else []
    run(
        "data_processor.py",
        f"--train_set_path={log}",
        f"--output_dir={folder}",
        "--feat_appear_limit=5",
        *limit_flags,
    )
    run(
        "train.py",
        f"--train_set_path={log}",
        f"--test_set_path={test_set_path}",
        f"--feature_dict={folder / 'feature_dict.pkl'}",
        f"--item_freq={folder / 'item_freq.pkl'}",
        f"--model_output_dir={folder}",
        *flags,
        *limit_flags,
    )
    rows = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads(rows[-1])


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train_set_path", required=True, type=Path)
    parser.add_argument("--test_set_path", required=True, type=Path)
    parser.add_argument(
        "--users", type=int, default=1500, help="lines of the training log (default: %(default)s)"
    )
    parser.add_argument("--bots", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--clicks", type=int, default=20_000, help="of each bot (default: %(default)s)"
    )
    parser.add_argument(
        "--limits",
        type=int,
        nargs="+",
        default=[100],
        help="--max_user_clicks (default: %(default)s)",
    )
    parser.add_argument(
        "--flags",
        default="--preset=best --num_passes=4 --no-rules",
        help="of train.py (default: %(default)s)",
    )
    parser.add_argument(
        "--work_dir", default=ROOT / "output" / "bots", type=Path, help="folder for logs and models"
    )
    return parser.parse_args(argv)


def main():
    args = parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with open(args.train_set_path, encoding="utf-8") as stream:
        lines = stream.readlines()[: args.users]
    limits = [None, *args.limits]
    runs = [  # (name, lines, limits)
        ("users alone", lines, limits),
        ("with bots", lines + bot_lines(lines, args.bots, args.clicks), limits),
        ("users alone, one click a line", events(lines), [None]),
    ]
    columns = ("log", "--max_user_clicks", "clicks learned", *METRICS)
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|", flush=True)
    for name, log_lines, log_limits in runs:
        log = args.work_dir / f"{re.sub('[ ,]+', '-', name)}.txt"
        log.write_text("".join(log_lines), encoding="utf-8")
        for limit in log_limits:
            folder = args.work_dir / f"{log.stem}-{limit or 'all'}"
            row = train(log, args.test_set_path, folder, args.flags.split(), limit)
            cells = [name, limit or "no limit", row["instances"]]
            cells += [f"{row[metric]:.4f}" for metric in METRICS]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
