"""What a few bots in the log cost everybody, and what --max_user_clicks gives back: the table of docs/quality.md.

    python benchmarks/bots.py --train_set_path=./data/train.txt --test_set_path=./data/test.txt

Takes the first --users lines of the training log and adds --bots users of --clicks clicks each, on videos of the log
drawn uniformly at random, as a program that fetches every page would make them. Trains on the log with and without
them, with and without the limit, and on the log of the users alone with one click a line; tests on the same test log.
Prints Markdown.
"""
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
    return ["\t".join([f"BOT_{bot}", "NULL", "NULL", ";".join(rng.choices(infos, k=clicks)), "NULL"]) + "\n"
            for bot in range(bots)]


def events(lines):
    """The same clicks, one a line, in the same order."""
    for line in lines:
        user, province, city, history, phone = line.split("\t")
        yield from ("\t".join([user, province, city, info, phone]) for info in history.split(";"))


def train(args, log, limit):
    """The last row of metrics.jsonl of a model trained on a log, with --max_user_clicks if there is a limit."""
    folder = args.work_dir / f"{log.stem}-{limit or 'all'}"
    limited = [f"--max_user_clicks={limit}"] if limit else []
    subprocess.run([sys.executable, ROOT / "data_processor.py", f"--train_set_path={log}", f"--output_dir={folder}",
                    "--feat_appear_limit=5", *limited], check=True, stdout=sys.stderr)
    subprocess.run([sys.executable, ROOT / "train.py", f"--train_set_path={log}", *args.flags.split(), *limited,
                    f"--test_set_path={args.test_set_path}", f"--feature_dict={folder / 'feature_dict.pkl'}",
                    f"--item_freq={folder / 'item_freq.pkl'}", f"--model_output_dir={folder}"],
                   check=True, stdout=sys.stderr)
    return json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_set_path", required=True, type=Path)
    parser.add_argument("--test_set_path", required=True, type=Path)
    parser.add_argument("--users", type=int, default=1500, help="lines of the training log (%(default)s)")
    parser.add_argument("--bots", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--clicks", type=int, default=20_000, help="of each bot (%(default)s)")
    parser.add_argument("--limits", type=int, nargs="+", default=[100], help="--max_user_clicks (%(default)s)")
    parser.add_argument("--flags", default="--preset=best --num_passes=4 --no-rules", help="of train.py (%(default)s)")
    parser.add_argument("--work_dir", default=ROOT / "output" / "bots", type=Path, help="where logs and models go")
    args = parser.parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with open(args.train_set_path, encoding="utf-8") as stream:
        lines = stream.readlines()[:args.users]
    print(f"| log | --max_user_clicks | clicks learned | {' | '.join(METRICS)} |")
    print(f"|---{'|---' * (2 + len(METRICS))}|", flush=True)
    logs = {"users alone": lines, "with bots": lines + bot_lines(lines, args.bots, args.clicks),
            "users alone, one click a line": events(lines)}
    for name, content in logs.items():
        log = args.work_dir / f"{re.sub('[ ,]+', '-', name)}.txt"
        log.write_text("".join(content), encoding="utf-8")
        for limit in (None, *args.limits) if name in ("users alone", "with bots") else (None,):
            row = train(args, log, limit)
            figures = " | ".join(f"{row[metric]:.4f}" for metric in METRICS)
            print(f"| {name} | {limit or 'no limit'} | {row['instances']} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
