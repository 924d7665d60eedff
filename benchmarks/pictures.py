"""The figures of the documents as .svg, from existing runs.

    python benchmarks/pictures.py popularity --log=data/ml-100k/test.txt --model=MODEL \\
        --feature_dict=DICT
    python benchmarks/pictures.py videos --log=data/train.txt --model=MODEL --feature_dict=DICT
    python benchmarks/pictures.py throughput --rows=bench.md    # the output of benchmarks/bench.py

popularity: recall against coverage of a model for values of infer.py --popularity. videos: vectors
of the most clicked videos, projected onto their first two principal components and colored by
category. throughput: ratios to the peers. quality.py draws the learning curves. Needs matplotlib.
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
sys.path.insert(0, str(ROOT))
from candgen.data.dictionary import CATEGORIES, ITEMS
from candgen.model.model_file import load_model
from candgen.serving.simple_lsh import directions
from reader import Reader

import numpy as np

PEERS = "PyTorch|torch|polars|faiss|numpy"  # no comparison with ourselves or with the disk
FACTORS = (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)  # of --popularity
MAX_VIDEOS = 1000
MAX_CATEGORIES = 8  # with a color of their own


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


def videos(args):
    """Two principal components of nce_w, and the categories in the log."""
    model = load_model(args.model, args.feature_dict)
    reader = Reader(model.feature_dict)
    [log] = reader.encode(args.log)
    reader.count(log)
    vectors = directions(model.nce_w[1 : MAX_VIDEOS + 1])
    vectors = vectors - vectors.mean(0)
    _, _, components = np.linalg.svd(vectors, full_matrices=False)
    points = vectors @ components[:2].T
    category_of = reader.categories(len(model.feature_dict[ITEMS]))[1 : MAX_VIDEOS + 1]
    largest = np.argsort(-np.bincount(category_of), kind="stable")[:MAX_CATEGORIES]
    names = list(model.feature_dict[CATEGORIES])

    def paint(axes):
        others = ~np.isin(category_of, largest)
        axes.scatter(*points[others].T, s=4, color="lightgrey", label="others")
        for category in largest:
            axes.scatter(*points[category_of == category].T, s=6, label=names[category])
        axes.legend(fontsize="x-small", markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))

    title = f"{len(vectors)} videos, {args.title}"
    draw(args.output_path, paint, title=title, xticks=[], yticks=[])


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
    for picture in (popularity, videos, throughput):
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
