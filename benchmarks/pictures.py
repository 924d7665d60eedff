"""The figures of the documents as .svg, from existing runs.

    python benchmarks/pictures.py popularity --log=data/ml-100k/test.txt --model=MODEL \\
        --feature_dict=DICT
    python benchmarks/pictures.py throughput --rows=bench.md    # the output of benchmarks/bench.py

popularity: recall against coverage of a model for values of infer.py --popularity. throughput:
ratios to the peers. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

import numpy as np

PEERS = "PyTorch|torch|polars|faiss|numpy"  # no comparison with ourselves or with the disk
FACTORS = (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)  # of --popularity


def draw(path, paint, **labels):
    """Write a figure that `paint(axes)` draws; equal figures give equal files."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = str(labels)
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    paint(axes)
    axes.set(**labels)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def evaluate(args, factor):
    """Metrics of the model with --popularity=factor."""
    command = [
        sys.executable,
        ROOT / "infer.py",
        f"--infer_set_path={args.log}",
        f"--model_path={args.model}",
        f"--feature_dict={args.feature_dict}",
        "--evaluate",
        f"--popularity={factor}",
    ]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def popularity(args):
    """Metrics of the model for values of --popularity."""
    metrics = [evaluate(args, factor) for factor in FACTORS]
    coverage = [each["coverage@10"] for each in metrics]
    recall = [each["recall@10"] for each in metrics]

    def paint(axes):
        axes.margins(0.1)
        axes.plot(coverage, recall, marker="o", markersize=3)
        for factor, *point in zip(FACTORS, coverage, recall):
            axes.annotate(f"{factor:g}", point, xytext=(4, 4), textcoords="offset points")

    title = f"--popularity, {args.title}"
    draw(args.output_path, paint, xlabel="coverage@10", ylabel="recall@10", title=title, ylim=0)
    for factor, *values in zip(FACTORS, recall, coverage):
        print(f"| {factor:g} | {values[0]:.4f} | {values[1]:.4f} |")


def throughput(args):
    """Bars of the last column of a Markdown table, of the rows that name a peer."""
    lines = Path(args.rows).read_text(encoding="utf-8").splitlines()
    table = [line.strip("| ").split("|") for line in lines if line.startswith("|")]
    rows = [[cell.strip() for cell in row] for row in table if len(row) == 4]
    rows = [row for row in rows if re.search(PEERS, row[0]) and row[3].replace(".", "").isdigit()]
    names = [textwrap.fill(row[0], 80) for row in rows]
    ratios = np.array([row[3] for row in rows], float)

    def paint(axes):
        color = np.where(ratios >= 1, "tab:green", "tab:grey")
        axes.barh(range(len(ratios)), np.log2(ratios), color=color)
        axes.set_xticks(range(-3, 4), ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
        axes.set_yticks(range(len(ratios)), names, fontsize=4)
        axes.invert_yaxis()

    draw(args.output_path, paint, xlabel="times as good as the peer")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="picture", required=True)
    for picture in (popularity, throughput):
        command = commands.add_parser(picture.__name__)
        command.set_defaults(paint=picture)
        inputs = ["--rows"] if picture is throughput else ["--log", "--model", "--feature_dict"]
        for flag in inputs:
            command.add_argument(flag, required=True)
        command.add_argument(
            "--title", default="preset best", help="name of the model in the figure"
        )
        command.add_argument("--output_path", default=ROOT / "docs" / f"{picture.__name__}.svg")
    args = parser.parse_args()
    args.paint(args)


if __name__ == "__main__":
    main()
