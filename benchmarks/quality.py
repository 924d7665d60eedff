"""The results table of the README and its learning curves: trains every row over several seeds.

    python benchmarks/quality.py --name=ml-100k --log_dir=./data/ml-100k --feat_appear_limit=1
    python benchmarks/quality.py --name=sample --log_dir=./data --feat_appear_limit=20

--log_dir holds train.txt, test.txt and, if there is one, valid.txt, by which the recipe's best pass is chosen; every
other row reports its last pass. Prints the table as Markdown and writes docs/curves-NAME.svg (needs matplotlib).
The rows run one after the other; models and metrics stay in --work_dir.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
V010 = "--initial_values=v0.10 --optimizer=adagrad --learning_rate=0.1 --l2_rate=0.001 --batch_size=50 " \
       "--user_dropout=0 --num_passes=1"
RECIPE = "--instances=sequence --num_passes=20"
ROWS = {"v0.10 settings": V010, "defaults": "", "recipe": RECIPE}
METRICS = ("recall@10", "ndcg@10", "recall@50", "mrr@10", "coverage@10", "seen_kept_recall@10", "seen_kept_ndcg@10")


def train(args, row, seed):
    """Run train.py once; returns the objects of its metrics.jsonl."""
    folder = Path(args.work_dir) / args.name / f"{row.replace(' ', '_')}-{seed}"
    logs = Path(args.log_dir)
    command = [sys.executable, ROOT / "train.py", f"--train_set_path={logs / 'train.txt'}",
               f"--test_set_path={logs / 'test.txt'}", f"--model_output_dir={folder}", f"--seed={seed}",
               f"--feature_dict={args.work_dir}/{args.name}/feature_dict.pkl",
               f"--item_freq={args.work_dir}/{args.name}/item_freq.pkl", *ROWS[row].split()]
    if row == "recipe" and (logs / "valid.txt").exists():
        command.append(f"--valid_set_path={logs / 'valid.txt'}")
    print("$", " ".join(map(str, command)), file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def reported(passes):
    """The pass that a run reports: its best on the validation log, the last one without."""
    return max(passes, key=lambda row: row["valid_ndcg@10"]) if "valid_ndcg@10" in passes[0] else passes[-1]


def table_row(name, results, prefix=""):
    """A Markdown row: mean and standard deviation of each metric over the seeds."""
    cells = []
    for metric in METRICS:
        values = [row[prefix + metric] for row in results]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 and not prefix else ""
        cells.append(f"{statistics.mean(values):.3f}{spread}")
    return f"| {name} | {' | '.join(cells)} |"


def draw(path, runs, title):
    """Learning curves: test ndcg@10 by pass, mean over the seeds, popularity as a line."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = title  # the same picture gives the same file
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    for name, seeds in runs.items():
        passes = range(1, 1 + min(map(len, seeds)))
        means = [statistics.mean(rows[number - 1]["ndcg@10"] for rows in seeds) for number in passes]
        axes.plot(passes, means, marker="o", markersize=3, label=name)
    axes.axhline(seeds[0][0]["popularity_ndcg@10"], linestyle="--", color="grey", label="popularity")
    axes.set(xlabel="pass", ylabel="ndcg@10", title=title, ylim=0)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="of the data set, for the files")
    parser.add_argument("--log_dir", required=True, help="folder of train.txt, test.txt and perhaps valid.txt")
    parser.add_argument("--feat_appear_limit", default="20", help="for data_processor.py")
    parser.add_argument("--work_dir", default="output/quality", help="where models and metrics go")
    parser.add_argument("--seeds", type=int, default=3, help="runs per row")
    args = parser.parse_args()
    folder = os.path.join(args.work_dir, args.name)
    subprocess.run([sys.executable, ROOT / "data_processor.py", f"--train_set_path={args.log_dir}/train.txt",
                    f"--output_dir={folder}", f"--feat_appear_limit={args.feat_appear_limit}"],
                   check=True, stdout=sys.stderr)
    runs = {row: [train(args, row, seed) for seed in range(args.seeds)] for row in ROWS}
    print(f"| {args.name} | {' | '.join(METRICS)} | passes | minutes |\n|---{'|---' * (len(METRICS) + 2)}|")
    print(table_row("popularity", [runs["defaults"][0][-1]], "popularity_"), "- | - |")
    for row, seeds in runs.items():
        minutes = statistics.mean(sum(each["seconds"] for each in passes) for passes in seeds) / 60
        print(table_row(row, [reported(passes) for passes in seeds]), f"{len(seeds[0])} | {minutes:.1f} |")
    draw(ROOT / "docs" / f"curves-{args.name}.svg", runs, args.name)


if __name__ == "__main__":
    main()
