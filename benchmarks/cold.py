"""Quality for videos with few clicks: recall@10, share of the lists, coverage.

    python benchmarks/cold.py --train_set_path=./data/beauty/train.txt.gz \\
        --test_set_path=./data/beauty/test.txt.gz \\
        --feature_dict=output/quality/beauty/feature_dict.pkl \\
        MODEL.tar.gz OTHER_MODEL.tar.gz ...

Prints a Markdown table; its rows are videos by their number of clicks in the training log. The
lists are the ten best videos of each test user, earlier clicks removed. A target without a click in
the training log is not in the dictionary: a miss.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import network_conf
from candgen.data.dictionary import load_feature_dict
from candgen.model.layers import use_device
from candgen.model.model_file import load_model
from candgen.serving.evaluation import evaluate_model
from candgen.serving.topn import TopN
from reader import Reader

import numpy as np

# {name of a row: fewest and most clicks in the training log}
CLICK_RANGES = {
    "0": (0, 0),
    "1-4": (1, 4),
    "5-9": (5, 9),
    "10-49": (10, 49),
    "50 and more": (50, np.inf),
}


def best_videos(model_path, feature_dict_path, log, pool):
    """The ten best videos of each line with a click, for its last click, int64 [lines, 10]."""
    model = load_model(model_path, feature_dict_path)
    network = network_conf.load_network(model)
    _, ids = evaluate_model(network, TopN(model.nce_w, model.nce_b), log, pool.map)
    return ids


def cells_of(in_range, target, lists):
    """Cells of a row: recall@10, share of the lists and coverage, for each model.

    Parameters
    ----------
    in_range : bool [videos], the videos of the row.
    target : int64 [lines], last clicks; 0 for an unknown video.
    lists : of each model int64 [lines, 10]; 0 for none.
    """
    is_hit = [(ids == target[:, None]).any(1) & (target > 0) for ids in lists]
    recall = [hit[in_range[target]].mean() for hit in is_hit]
    share = [(in_range[ids] & (ids > 0)).mean() for ids in lists]
    num_videos = max(in_range[1:].sum(), 1)
    coverage = [in_range[np.unique(ids[ids > 0])].sum() / num_videos for ids in lists]
    return [f"{value:.4f}" for value in (*recall, *share, *coverage)]


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train_set_path", required=True)
    parser.add_argument("--test_set_path", required=True)
    parser.add_argument("--feature_dict", required=True)
    parser.add_argument("--device")
    parser.add_argument("models", nargs="+", help="model_pass_*.tar.gz")
    return parser.parse_args(argv)


def main():
    args = parse_args()
    use_device(args.device)
    reader = Reader(load_feature_dict(args.feature_dict))
    [train] = reader.encode(args.train_set_path)
    [test] = reader.encode(args.test_set_path)
    clicks = np.bincount(train.videos.item[train.clicks], minlength=int(test.videos.item.max()) + 1)
    target = test.last_item[test.last_item >= 0]
    with ThreadPoolExecutor(2) as pool:
        lists = [best_videos(path, args.feature_dict, test, pool) for path in args.models]

    columns = [
        f"{metric}: {Path(path).parent.name}"
        for metric in ("recall@10", "share of lists", "coverage@10")
        for path in args.models
    ]
    print(f"| clicks in training | videos | targets | {' | '.join(columns)} |")
    print("|---" * (3 + len(columns)) + "|")
    for name, (fewest, most) in CLICK_RANGES.items():
        in_range = (clicks >= fewest) & (clicks <= most)
        in_range[0] = fewest == 0  # <unk>: targets outside the dictionary
        cells = cells_of(in_range, target, lists)
        num_videos, num_targets = in_range[1:].sum(), in_range[target].sum()
        print(f"| {name} | {num_videos} | {num_targets} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
