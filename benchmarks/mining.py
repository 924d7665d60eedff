"""How good offline mining is: lists from the user id alone, and similar videos.

    python benchmarks/mining.py --train_set_path=./data/ml-100k/train.txt --test_set_path=./data/ml-100k/test.txt \\
        --feature_dict=output/quality/ml-100k/feature_dict.pkl output/quality/ml-100k/*/model_pass_00009.tar.gz

Prints Markdown rows. Lists from the id alone: recall@30 of each test line's last click, as infer_user.py serves them,
and with the user's earlier clicks removed, next to the most clicked videos. Similar videos: recall@10 of the last click
among the videos most similar to the click before it, by `item_vector.py --similar` and by co-occurrence in the training
log (infer.Rules), that click removed.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import infer
from candgen.model.model_file import load_model, start_network
from candgen.serving.baselines import CooccurrenceBaseline, popularity
from candgen.serving.simple_lsh import directions
from candgen.serving.topn import TopN
from candgen.serving.user_vectors import user_vectors
from reader import Reader

import numpy as np

LISTED, SIMILAR = 30, 10


def recall(lists, log, lines, count, remove):
    """Share of the lines whose last click is among the first `count` of their list, earlier clicks removed or not."""
    hits, before = 0, log.before_last()
    for line, ids in zip(lines, lists):
        if remove:
            ids = ids[~np.isin(ids, log.items(line, before[line]))]
        hits += log.last_item[line] in ids[:count]
    return hits / len(lines)


def last_two(log, lines):
    """The log of some lines, of each the last click and the known one before it."""
    first = log.offsets[lines] + log.before_last()[lines] - 1
    return replace(
        log,
        users=[log.users[line] for line in lines],
        profile=log.profile[lines],
        clicks=log.clicks[first[:, None] + [0, 1]].ravel(),
        offsets=2 * np.arange(len(lines) + 1),
        last_item=log.last_item[lines],
        context=log.context[lines],
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train_set_path", required=True)
    parser.add_argument("--test_set_path", required=True)
    parser.add_argument("--feature_dict", required=True)
    parser.add_argument("models", nargs="+", help="model_pass_*.tar.gz")
    args = parser.parse_args()
    print(
        f"| model | id alone, recall@{LISTED} | popularity | id alone, earlier clicks removed | popularity | "
        f"similar videos, recall@{SIMILAR} | co-occurrence |\n|---|---|---|---|---|---|---|"
    )
    reader = Reader(infer.utils.load_feature_dict(args.feature_dict))
    [train], [test] = reader.encode(args.train_set_path), reader.encode(args.test_set_path)
    lines = np.flatnonzero(
        (test.last_item > 0) & (test.profile[:, 0] > 0) & (test.before_last() > 0)
    )
    longest, pairs = LISTED + int(test.lengths.max()), last_two(test, lines)
    last = pairs.videos.item[pairs.clicks[::2]][:, None]
    rules = None
    for path in args.models:
        side = SimpleNamespace(model_path=path, feature_dict=args.feature_dict, device=None)
        metadata, parameters, item_freq, _ = load_model(side)
        vectors = user_vectors(
            start_network(side, metadata, parameters), reader.encode_users(test.users)
        )
        lists = TopN(parameters["nce_w"], parameters["nce_b"])(vectors[lines], longest)[0]
        popular = popularity(item_freq)(lines, longest)[0]
        cells = [
            recall(each, test, lines, LISTED, remove)
            for remove in (False, True)
            for each in (lists, popular)
        ]

        unit = directions(parameters["nce_w"])
        similar = TopN(unit, np.zeros((1, len(unit)), np.float32))(
            unit[last[:, 0]], SIMILAR, list(last)
        )[0]
        if rules is None:
            rules = CooccurrenceBaseline(train, item_freq).ranking_of(pairs)(
                np.arange(len(lines)), SIMILAR + 1
            )[0]
            rules = [ids[ids != click][:SIMILAR] for ids, click in zip(rules, last)]
        cells += [
            np.mean([target in ids for target, ids in zip(pairs.last_item, each)])
            for each in (similar, rules)
        ]
        print(
            f"| {Path(path).parent.name} | " + " | ".join(f"{cell:.4f}" for cell in cells) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
