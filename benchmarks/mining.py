"""Quality of offline recommendations: lists from the user id alone, and similar videos.

    python benchmarks/mining.py --train_set_path=./data/ml-100k/train.txt \\
        --test_set_path=./data/ml-100k/test.txt \\
        --feature_dict=output/quality/ml-100k/feature_dict.pkl \\
        output/quality/ml-100k/*/model_pass_00009.tar.gz

Prints a Markdown row for each model. Lists from the id alone: recall@30 of each test line's last
click, as infer_user.py serves them, and with the user's earlier clicks removed, next to the most
clicked videos. Similar videos: recall@10 of the last click among the videos most similar to the
click before it, by `item_vector.py --similar` and by co-occurrence in the training log
(CooccurrenceBaseline), that click removed.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import network_conf
from candgen.data.dictionary import load_feature_dict
from candgen.model.model_file import load_model
from candgen.serving.baselines import CooccurrenceBaseline, popularity
from candgen.serving.simple_lsh import directions
from candgen.serving.topn import TopN
from candgen.serving.user_vectors import user_vectors
from reader import Reader

import numpy as np

LISTED = 30  # videos of a list
SIMILAR = 10  # similar videos
COLUMNS = (
    "model",
    f"id alone, recall@{LISTED}",
    "popularity",
    "id alone, earlier clicks removed",
    "popularity",
    f"similar videos, recall@{SIMILAR}",
    "co-occurrence",
)


def recall(lists, log, lines, remove_seen):
    """Share of the lines whose last click is among the first LISTED videos of their list.

    Parameters
    ----------
    lists : int64 [lines, n], with n large enough after a removal.
    log, lines : the log, and the indices of its lines.
    remove_seen : whether to remove the clicks before the last one from the lists.
    """
    num_clicks = log.before_last()
    hits = 0
    for line, ids in zip(lines, lists):
        if remove_seen:
            ids = ids[~np.isin(ids, log.items(line, num_clicks[line]))]
        hits += log.last_item[line] in ids[:LISTED]
    return hits / len(lines)


def recall_similar(lists, targets):
    """Share of the targets, int64 [lines], that are in their list."""
    return np.mean([target in ids for target, ids in zip(targets, lists)])


def last_two_clicks(log, lines):
    """The log of some lines with two clicks each: the last one and the known one before it."""
    first = log.offsets[lines] + log.before_last()[lines] - 1
    return dataclasses.replace(
        log,
        users=[log.users[line] for line in lines],
        profile=log.profile[lines],
        clicks=log.clicks[first[:, None] + [0, 1]].ravel(),
        offsets=2 * np.arange(len(lines) + 1),
        last_item=log.last_item[lines],
        context=log.context[lines],
    )


def cooccurring_videos(train, pairs, last_clicks, item_freq):
    """The SIMILAR videos that co-occur most with each last click, which is left out."""
    ranking = CooccurrenceBaseline(train, item_freq).ranking_of(pairs)
    ids, _ = ranking(np.arange(len(last_clicks)), SIMILAR + 1)
    return [row[row != click][:SIMILAR] for row, click in zip(ids, last_clicks)]


def similar_videos(nce_w, last_clicks):
    """The SIMILAR videos most similar to each last click, by the cosine of the weights."""
    units = directions(nce_w)
    no_biases = np.zeros((1, len(units)), np.float32)
    ids, _, _ = TopN(units, no_biases)(units[last_clicks], SIMILAR, list(last_clicks[:, None]))
    return ids


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train_set_path", required=True)
    parser.add_argument("--test_set_path", required=True)
    parser.add_argument("--feature_dict", required=True)
    parser.add_argument("models", nargs="+", help="model_pass_*.tar.gz")
    return parser.parse_args(argv)


def main():
    args = parse_args()
    reader = Reader(load_feature_dict(args.feature_dict))
    [train] = reader.encode(args.train_set_path)
    [test] = reader.encode(args.test_set_path)
    has_click_before = test.before_last() > 0
    lines = np.flatnonzero((test.last_item > 0) & (test.profile[:, 0] > 0) & has_click_before)
    longest = LISTED + int(test.lengths.max())  # enough after the earlier clicks are removed
    pairs = last_two_clicks(test, lines)
    last_clicks = pairs.videos.item[pairs.clicks[::2]]

    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    cooccurring = None  # the same for all models
    for path in args.models:
        model = load_model(path, args.feature_dict)
        network = network_conf.load_network(model)
        vectors = user_vectors(network, reader.encode_users(test.users))
        by_id, _, _ = TopN(model.nce_w, model.nce_b)(vectors[lines], longest)
        most_clicked, _ = popularity(model.item_freq)(lines, longest)
        if cooccurring is None:
            cooccurring = cooccurring_videos(train, pairs, last_clicks, model.item_freq)
        cells = [
            recall(by_id, test, lines, remove_seen=False),
            recall(most_clicked, test, lines, remove_seen=False),
            recall(by_id, test, lines, remove_seen=True),
            recall(most_clicked, test, lines, remove_seen=True),
            recall_similar(similar_videos(model.nce_w, last_clicks), pairs.last_item),
            recall_similar(cooccurring, pairs.last_item),
        ]
        figures = " | ".join(f"{cell:.4f}" for cell in cells)
        print(f"| {Path(path).parent.name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
