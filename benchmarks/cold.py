"""What a model does for videos with few clicks: recall@10 of such targets, their share and coverage in the lists.

    python benchmarks/cold.py --train_set_path=./data/beauty/train.txt.gz --test_set_path=./data/beauty/test.txt.gz \\
        --feature_dict=output/quality/beauty/feature_dict.pkl MODEL.tar.gz OTHER_MODEL.tar.gz ...

Rows are videos by their clicks in the training log. Lists are the ten best for each test user, earlier clicks removed.
A target without any click in the training log is not in its dictionary: a miss.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import infer
from candgen.model.model_file import load_model, start_network
from candgen.serving.evaluation import evaluate_model
from candgen.serving.topn import TopN
from reader import Reader

import numpy as np

CLASSES = {
    "0": (0, 0),
    "1-4": (1, 4),
    "5-9": (5, 9),
    "10-49": (10, 49),
    "50 and more": (50, np.inf),
}


def top_lists(args, path, log, pool):
    """Ten best videos of each line with a click, from what precedes the last one, int64 [L, 10]."""
    args.model_path = path
    metadata, parameters, _, _ = load_model(args)
    top_n = TopN(parameters["nce_w"], parameters["nce_b"])
    return evaluate_model(start_network(args, metadata, parameters), top_n, log, pool.map)[1]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("--train_set_path", "--test_set_path", "--feature_dict"):
        parser.add_argument(name, required=True)
    parser.add_argument("--device")
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    reader = Reader(infer.utils.load_feature_dict(args.feature_dict))
    [train], [test] = reader.encode(args.train_set_path), reader.encode(args.test_set_path)
    clicks = np.bincount(train.videos.item[train.clicks], minlength=test.videos.item.max() + 1)
    clicks[0] = 0  # <unk>: a video outside the dictionary
    target = test.last_item[test.last_item >= 0]
    with ThreadPoolExecutor(2) as pool:
        lists = [top_lists(args, path, test, pool) for path in args.models]
    names = " | ".join(
        f"{title}: {Path(path).parent.name}"
        for title in ("recall@10", "share of lists", "coverage@10")
        for path in args.models
    )
    print(
        f"| clicks in training | videos | targets | {names} |\n|---{'|---' * (2 + 3 * len(lists))}|"
    )
    for name, (least, most) in CLASSES.items():
        chosen = (clicks >= least) & (clicks <= most)
        chosen[0] = least == 0
        of_class = chosen[target]
        hits = [(ids == target[:, None]).any(1) & (target > 0) for ids in lists]
        cells = [f"{hit[of_class].mean():.4f}" for hit in hits]
        cells += [f"{(chosen[ids] & (ids > 0)).mean():.4f}" for ids in lists]
        videos = chosen[1:].sum()
        cells += [f"{chosen[np.unique(ids[ids > 0])].sum() / max(videos, 1):.4f}" for ids in lists]
        print(f"| {name} | {videos} | {of_class.sum()} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
