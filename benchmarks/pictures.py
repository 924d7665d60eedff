"""The pictures of the documents, as .svg, from runs that are there.

    python benchmarks/pictures.py popularity --log=data/ml-100k/test.txt --model=MODEL --feature_dict=DICT
    python benchmarks/pictures.py videos --log=data/train.txt --model=MODEL --feature_dict=DICT
    python benchmarks/pictures.py throughput --rows=bench.md        # what benchmarks/bench.py has printed

popularity: recall against coverage of a model over infer.py's --popularity. videos: the vectors of the most clicked
videos in the two dimensions in which they differ most, coloured by category. throughput: the ratios to the peers.
The learning curves are drawn by quality.py. Needs matplotlib.
"""
import argparse
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
FACTORS = (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)  # of --popularity
VIDEOS, CATEGORIES = 1000, 8  # how many are shown


def draw(path, paint, **labels):
    """A picture by `paint(axes)`; the same picture gives the same file."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = str(labels)
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    paint(axes)
    axes.set(**labels)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def popularity(args):
    """Metrics of the model by --popularity."""
    found = [json.loads(subprocess.run(
        [sys.executable, ROOT / "infer.py", f"--infer_set_path={args.log}", f"--model_path={args.model}",
         f"--feature_dict={args.feature_dict}", "--evaluate", f"--popularity={factor}"],
        check=True, stdout=subprocess.PIPE).stdout) for factor in FACTORS]
    coverage, recall = ([each[name] for each in found] for name in ("coverage@10", "recall@10"))

    def paint(axes):
        axes.margins(0.1)
        axes.plot(coverage, recall, marker="o", markersize=3)
        for factor, *place in zip(FACTORS, coverage, recall):
            axes.annotate(f"{factor:g}", place, xytext=(4, 4), textcoords="offset points")
    draw(args.output_path, paint, xlabel="coverage@10", ylabel="recall@10", title=f"--popularity, {args.title}", ylim=0)
    for factor, each in zip(FACTORS, found):
        print(f"| {factor:g} | {each['recall@10']:.4f} | {each['coverage@10']:.4f} |")


def videos(args):
    """Principal components of nce_w, and categories as the log has them."""
    import infer
    from item_vector import directions
    from reader import Reader
    _, parameters, _, feature_dict = infer.load_model(SimpleNamespace(**vars(args), model_path=args.model))
    source = Reader(feature_dict)
    [log] = source.encode(args.log)
    source.count(log)
    vectors = directions(parameters["nce_w"][1:VIDEOS + 1])
    vectors = vectors - vectors.mean(0)
    flat = vectors @ np.linalg.svd(vectors, full_matrices=False)[2][:2].T
    shown = source.categories(len(feature_dict[infer.ITEMS]))[1:VIDEOS + 1]
    largest = np.argsort(-np.bincount(shown), kind="stable")[:CATEGORIES]
    names = list(feature_dict["history_clicked_categories"])

    def paint(axes):
        others = ~np.isin(shown, largest)
        axes.scatter(*flat[others].T, s=4, color="lightgrey", label="others")
        for one in largest:
            axes.scatter(*flat[shown == one].T, s=6, label=names[one])
        axes.legend(fontsize="x-small", markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    draw(args.output_path, paint, title=f"{len(vectors)} videos, {args.title}", xticks=[], yticks=[])


def throughput(args):
    """Bars of the last column of a Markdown table."""
    lines = Path(args.rows).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if line.startswith("|")]
    names, *_, ratios = zip(*(row for row in rows if len(row) == 4 and row[3].replace(".", "").isdigit()))
    ratios = np.array(ratios, float)

    def paint(axes):
        axes.barh(range(len(ratios)), np.log2(ratios), color=np.where(ratios >= 1, "tab:green", "tab:grey"))
        axes.set_xticks(range(-3, 4), ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
        axes.set_yticks(range(len(ratios)), [textwrap.fill(name, 80) for name in names], fontsize=4)
        axes.invert_yaxis()
    draw(args.output_path, paint, xlabel="times as good as the peer")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="picture", required=True)
    for picture in (popularity, videos, throughput):
        command = commands.add_parser(picture.__name__)
        command.set_defaults(paint=picture)
        for flag in ("--rows",) if picture is throughput else ("--log", "--model", "--feature_dict"):
            command.add_argument(flag, required=True)
        command.add_argument("--title", default="preset best", help="what the model is, for the picture")
        command.add_argument("--output_path", default=ROOT / "docs" / f"{picture.__name__}.svg")
    args = parser.parse_args()
    args.paint(args)


if __name__ == "__main__":
    main()
