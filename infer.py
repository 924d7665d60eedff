"""Users with their history -> top-N videos.

    python infer.py --infer_set_path='./data/infer.txt' --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl' --batch_size=50

Prints a line a user, in input order: user-id, a tab, `video:probability,video:probability,...`, best
first. The probabilities are those of the softmax over all videos of the dictionary.

Also home of what ranks videos for every script: user vectors, top-N, and the ranking metrics.
"""
import sys

import numpy as np

from data_processor import argument_parser, number_type, run_script
from item_vector import add_model_arguments, load_trained
from network_conf import DNNmodel, load_paddle
from reader import Reader, make_batch, next_click_windows

USER_BLOCK = 128  # rows in every forward pass, whatever the batch: so a user's result never depends on others
SCORE_BLOCK = 1 << 22  # scores held at once
READ_LINES = 4096  # lines encoded at once


def parse_args():
    parser = argument_parser(__doc__)
    add_infer_arguments(parser)
    add_top_n(parser)
    parser.add_argument("--remove_seen", action="store_true", help="leave out the videos of the user's history")
    return parser.parse_args()


def add_infer_arguments(parser):
    """The flags of the scripts that look at users with their history."""
    parser.add_argument("--infer_set_path", required=True, help="log of the users to serve (- for standard input)")
    add_model_arguments(parser)
    add_batch_size(parser)


def add_batch_size(parser):
    """The flag that bounds how many users are worked on together."""
    parser.add_argument("--batch_size", type=number_type(int, 1), default=50,
                        help="users scored and written at a time; changes no result (%(default)s)")


def add_top_n(parser):
    """The flag of the scripts that print lists of videos."""
    parser.add_argument("--top_n", type=number_type(int, 1), default=30, help="videos per user (%(default)s)")


# ---------------------------------------------------------------- user vectors
def inference_network(model):
    """The network of a loaded `Model`, ready for `user_vectors`."""
    load_paddle()
    return DNNmodel(config=model.config, parameters=model.parameters, is_infer=True)


def user_vectors(network, log, clicks=None):
    """Vectors of the users of a log, each from the window that their next click would have.

    Parameters
    ----------
    network : DNNmodel
    log : EncodedLog of L lines.
    clicks : int [L], how many known clicks of each line to look at; all if None.

    Returns
    -------
    float32 [L, u]. Forward passes always have USER_BLOCK rows of window_size positions: matrix products of
    one shape round alike, so that a user's vector is the same alone and in any company.
    """
    import paddle
    windows = next_click_windows(log.lengths if clicks is None else clicks, network.config.window_size)
    lines = len(windows.line)
    vectors = np.empty((lines, network.config.dnn_layer_dims[-1]), np.float32)
    with paddle.no_grad():
        for start in range(0, lines, USER_BLOCK):
            rows = np.arange(start, start + USER_BLOCK) % lines  # a last block is filled up from the front
            batch = make_batch(log, windows.take(rows), pad_to=network.config.window_size, with_targets=False)
            count = min(USER_BLOCK, lines - start)
            vectors[start:start + count] = network(batch).numpy()[:count]
    return vectors


# ---------------------------------------------------------------- top-N
def best_ids(scores, n):
    """Ids of the `n` highest scores of each row, best first, equal scores by id. float [B, V] -> int64 [B, n]."""
    n = min(n, scores.shape[1])
    if n == scores.shape[1]:
        return np.argsort(-scores, axis=1, kind="stable")
    # every id that reaches the n-th best score is a candidate: which of several equals come first is up to us
    threshold = -np.partition(-scores, n - 1, axis=1)[:, n - 1]
    best = np.empty((len(scores), n), np.int64)
    for row, values in enumerate(scores):
        candidates = np.flatnonzero(values >= threshold[row])
        best[row] = candidates[np.argsort(-values[candidates], kind="stable")[:n]]
    return best


def softmax_top_n(users, nce_w, nce_b, n, removed=None):
    """Top-N of the softmax over all videos but `<unk>`.

    Parameters
    ----------
    users : float32 [B, u].    nce_w : float32 [V, u].    nce_b : float32 [1, V].
    n : int, at most V - 1 are given.
    removed : list of B arrays of ids that are not to be given; they keep their share of the probability.

    Returns
    -------
    ids : int64 [B, n], best first.    probabilities : float64 [B, n]; 0 where a removal left too few videos.
    """
    scores = model_scores(users, nce_w, nce_b)  # [B, V]
    peak = scores.max(axis=1, keepdims=True)
    log_total = peak + np.log(np.exp(scores - peak).sum(axis=1, keepdims=True))
    if removed is not None:
        for row, ids in enumerate(removed):
            scores[row, ids] = -np.inf
    ids = best_ids(scores, min(n, scores.shape[1] - 1))
    return ids, np.exp(np.take_along_axis(scores, ids, axis=1) - log_total)


def model_scores(users, nce_w, nce_b):
    """Scores nce_w . u + nce_b in float64, `<unk>` at -inf. float32 [B, u] -> [B, V].

    In double precision the order is that of the exported vectors too, where single precision would let
    videos of nearly equal score change places.
    """
    scores = users.astype(np.float64) @ nce_w.T.astype(np.float64) + nce_b
    scores[:, 0] = -np.inf
    return scores


def print_top_n(users, ids, probabilities, videos):
    """Print `user-id \\t video:probability,...` a line; `videos` are the names by id."""
    for user, row, shares in zip(users, ids.tolist(), probabilities.tolist()):
        pairs = ",".join(f"{videos[id_]}:{share:.6g}" for id_, share in zip(row, shares) if share > 0)
        sys.stdout.write(f"{user}\t{pairs}\n")


# ---------------------------------------------------------------- ranking metrics
def target_ranks(scores, target):
    """Rank of each row's target, from 1, ties against it; inf for target 0 (`<unk>`). [B, V], [B] -> float64 [B]."""
    own = np.take_along_axis(scores, target[:, None], axis=1)
    return np.where(target > 0, (scores >= own).sum(axis=1), np.inf)


def ranking_metrics(ranks, top10, videos):
    """Mean metrics of L users with one target each.

    Parameters
    ----------
    ranks : float [L], from `target_ranks`.
    top10 : list of L arrays of ids, what each user would be shown.
    videos : how many videos there are to recommend, without `<unk>`.

    Returns
    -------
    dict. recall@k: share of ranks <= k. ndcg@10: mean of 1 / log2(1 + rank) for ranks <= 10 (one relevant
    video, so the ideal is 1; Jarvelin & Kekalainen 2002). mrr@10: mean of 1 / rank for ranks <= 10.
    coverage@10: share of all videos that stand in anyone's top 10. distinct_lists@10: how many different
    top 10 there are. popularity_rank@10: mean place in the dictionary (1 = most clicked) of what they hold.
    """
    within = ranks <= 10
    shown = np.concatenate(top10)
    return {
        "recall@10": float(within.mean()),
        "recall@50": float((ranks <= 50).mean()),
        "ndcg@10": float(np.where(within, 1 / np.log2(1 + ranks), 0).mean()),
        "mrr@10": float(np.where(within, 1 / ranks, 0).mean()),
        "coverage@10": len(np.unique(shown)) / videos,
        "distinct_lists@10": len({ids.tobytes() for ids in top10}),
        "popularity_rank@10": float(shown.mean()) if len(shown) else 0.0,
    }


def evaluate_ranking(scores_of, log, videos):
    """Metrics of predicting each line's last click from what precedes it, against all videos.

    Parameters
    ----------
    scores_of : function of an array of B line numbers -> float64 scores [B, V], `<unk>` at -inf.
    log : EncodedLog; lines without any click do not count, those whose last click is unknown are misses.
    videos : V, size of the dictionary.

    Returns
    -------
    (removed, kept) : `ranking_metrics` with the user's earlier clicks taken out of the ranking, but for
    the target itself, and with all videos kept in it.
    """
    lines = np.flatnonzero(log.last_item >= 0)
    before = log.before_last()
    step = max(1, SCORE_BLOCK // videos)
    ranks, top10 = ([], []), ([], [])
    for start in range(0, len(lines), step):
        block = lines[start:start + step]
        target = log.last_item[block]
        scores = scores_of(block)
        for mode in (1, 0):  # all kept, then the earlier clicks removed in place
            if mode == 0:
                own = np.take_along_axis(scores, target[:, None], axis=1)
                for row, line in enumerate(block):
                    scores[row, log.items(line, before[line])] = -np.inf
                np.put_along_axis(scores, target[:, None], own, axis=1)
            ranks[mode].append(target_ranks(scores, target))
            for values, ids in zip(scores, best_ids(scores, 10)):
                top10[mode].append(ids[values[ids] > -np.inf])
    return tuple(ranking_metrics(np.concatenate(ranks[mode]), top10[mode], videos - 1) for mode in (0, 1))


def serve(log, users, model, videos, args):
    """Print the top-N lists of a log's users, whose vectors `users` are float32 [L, u]."""
    for start in range(0, len(log.users), args.batch_size):
        rows = range(start, min(start + args.batch_size, len(log.users)))
        removed = [log.items(row) for row in rows] if getattr(args, "remove_seen", False) else None
        ids, probabilities = softmax_top_n(users[start:rows.stop], model.parameters["nce_w"],
                                           model.parameters["nce_b"], args.top_n, removed)
        print_top_n(log.users[start:rows.stop], ids, probabilities, videos)


def main():
    args = parse_args()
    model, feature_dict = load_trained(args)
    network = inference_network(model)
    videos = list(feature_dict["history_clicked_items"])
    reader = Reader(feature_dict, model.config.window_size)
    for log in reader.encode(args.infer_set_path, READ_LINES):
        serve(log, user_vectors(network, log), model, videos, args)


if __name__ == "__main__":
    run_script(main)
