"""Users with their history -> top-N videos.

    python infer.py --infer_set_path='./data/infer.txt' --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl' --batch_size=50

Prints a line a user, in input order: user-id, a tab, `video:probability,video:probability,...`, best
first. The probabilities are those of the softmax over all videos of the dictionary.

Also home of what ranks videos for every script: user vectors, top-N, and the ranking metrics.
"""
import contextlib
import ctypes
import sys

from data_processor import (
    add_max_bad_lines,
    add_processes,
    argument_parser,
    bad_lines_of,
    number_type,
    ordered_map,
    run_script,
)
from item_vector import add_model_arguments, load_trained
from network_conf import DNNmodel
from reader import InputError, Reader, make_batch, next_click_windows, raw_blocks

import numpy as np

USER_BLOCK = 128  # rows in every forward pass, whatever the batch: so a user's result never depends on others
VIDEO_BLOCK = 1024  # videos scored at once for that many users: half a MB of scores stays in the cache
SPARE = 16  # candidates beside the top N, to be ranked again in double precision
MAX_ERROR = 1e-2  # bound on the error of a score in single precision; the error itself is a hundredth of it
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
SCORE_BLOCK = 1 << 22  # scores held at once where all of them are needed


def parse_args():
    """The settings of this run, from the command line."""
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
    add_max_bad_lines(parser)


def add_batch_size(parser):
    """The flag that bounds how many users are worked on together."""
    parser.add_argument("--batch_size", type=number_type(int, 1), default=2048,
                        help="users read, computed and written at a time, rounded up to a multiple of "
                        f"{USER_BLOCK}; changes no result (%(default)s)")
    add_processes(parser)


def add_top_n(parser):
    """The flag of the scripts that print lists of videos."""
    parser.add_argument("--top_n", type=number_type(int, 1), default=30, help="videos per user (%(default)s)")


# ---------------------------------------------------------------- user vectors
def inference_network(model):
    """The network of a loaded `Model`, ready for `user_vectors`."""
    keep_freed_memory()
    return DNNmodel(config=model.config, parameters=model.parameters, is_infer=True)


def keep_freed_memory():
    """Have glibc keep what is freed for the next block of users: arrays of megabytes come and go with each.

    Left alone it gives them back to the system each time, and gets them back page by page: a quarter of the time of
    user_vector.py. Other C libraries do as they please.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 1 << 25)
        mallopt(M_TRIM_THRESHOLD, 1 << 27)


def user_vectors(network, log, clicks=None):
    """Vectors of the users of a log, each from the window that their next click would have.

    Parameters
    ----------
    network : DNNmodel
    log : EncodedLog of L lines.
    clicks : int [L], how many known clicks of each line to look at; all if None.

    Returns
    -------
    float32 [L, u]. Users with windows of like length are computed together, USER_BLOCK at a time: in matrices whose
    rows are multiples of that, numbers round alike, and a user's vector is the same alone and in any company.
    """
    windows = next_click_windows(log.lengths if clicks is None else clicks, network.config.window_size)
    lines, order = len(windows.line), np.argsort(windows.length, kind="stable")
    vectors = np.empty((lines, network.config.dnn_layer_dims[-1]), np.float32)
    for start in range(0, lines, USER_BLOCK):
        rows = order[np.arange(start, start + USER_BLOCK) % lines]  # a last block is filled up from the front
        count = min(USER_BLOCK, lines - start)
        vectors[rows[:count]] = network(make_batch(log, windows.take(rows), with_targets=False))[:count]
    if not np.isfinite(vectors).all():
        raise InputError("the model", None, "its user vectors are not finite", "train it with a lower --learning_rate")
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


def model_scores(users, nce_w, nce_b):
    """Scores nce_w . u + nce_b in float64, `<unk>` at -inf. float32 [B, u] -> [B, V].

    In double precision the order is that of the exported vectors too, where single precision would let
    videos of nearly equal score change places.
    """
    scores = users.astype(np.float64) @ nce_w.T.astype(np.float64) + nce_b
    scores[:, 0] = -np.inf
    return scores


class TopN:
    """Top-N of the softmax over all videos but `<unk>`, for many users: looks at each score once.

    Scores are computed in single precision, in blocks that stay in the cache. On the way each user keeps his best
    `n` and SPARE more; these are scored again in double precision, which decides. When a bound on the rounding
    errors does not rule out that a video missed the spare places, the user's scores are all computed in double
    precision: the result is always that of `model_scores`.
    """

    def __init__(self, nce_w, nce_b):
        self._nce_w, self._nce_b = nce_w, nce_b
        ones = np.ones((len(nce_w), 1), np.float32)
        self._table = np.hstack([nce_w, nce_b.T, ones])  # [V, u + 2], against users [u, 1, -reference]
        self._rows = self._table[:, :-1].astype(np.float64)  # [V, u + 1]
        # |error| <= (terms + 1) 2^-24 |user| |video| (Higham 2002, section 3.1, and Cauchy-Schwarz)
        self._error = (self._table.shape[1] + 1) * 2.0 ** -24 * np.sqrt(1 + (self._rows[1:] ** 2).sum(axis=1).max())

    def __call__(self, users, n, removed=None):
        """Best videos of each user, with their probabilities.

        Parameters
        ----------
        users : float32 [B, u].    n : int, at most V - 1 are given.
        removed : list of B arrays of ids that are not to be given; they keep their share of the probability.

        Returns
        -------
        ids : int64 [B, n], best first, equal scores by id.
        probabilities : float64 [B, n]; 0 where a removal left too few videos.
        """
        n = min(n, len(self._table) - 1)
        blocks = [slice(start, start + USER_BLOCK) for start in range(0, len(users), USER_BLOCK)]
        found = [self._block(users[block], n, removed and removed[block]) for block in blocks]
        ids, probabilities = zip(*found) if found else ([np.zeros((0, n), np.int64)], [np.zeros((0, n))])
        return np.concatenate(ids), np.concatenate(probabilities)

    def _block(self, users, n, removed):
        """As above for up to USER_BLOCK users, always in matrices of that many: all round alike."""
        count, videos = len(users), len(self._table)
        padded = np.ones((USER_BLOCK, self._table.shape[1]), np.float32)
        padded[:, :-2] = users[np.arange(USER_BLOCK) % count]
        kept = min(n + SPARE, videos - 1)
        if kept > VIDEO_BLOCK:  # so many that there is nothing to gain
            return self._exactly(padded[:count].astype(np.float64), np.zeros((count, n), np.int64),
                                 np.full(count, np.inf), np.ones(count), n, removed)
        edges = [1, *range(1 + 4 * kept, videos, VIDEO_BLOCK), videos]
        # scores are taken relative to the best of the first videos: so that exp has something to work with
        padded[:, -1] = 0
        padded[:, -1] = -(self._table[1:edges[1]] @ padded.T).max(axis=0)
        best, total, most = Best(USER_BLOCK, kept), np.zeros(USER_BLOCK), max(np.diff(edges))
        scores, ones = np.empty((most, USER_BLOCK), np.float32), np.ones(most, np.float32)
        pairs = [ids * USER_BLOCK + row for row, ids in enumerate(removed or ())]
        gone, whose = np.divmod(np.unique(np.concatenate([np.zeros(0, np.int64), *pairs])), USER_BLOCK)  # by video
        for start, end in zip(edges, edges[1:]):
            block = np.matmul(self._table[start:end], padded.T, out=scores[:end - start])
            with np.errstate(over="ignore"):  # looked for below
                here = slice(*np.searchsorted(gone, [start, end]))
                places = gone[here] - start, whose[here]
                total += np.bincount(places[1], np.exp(block[places]), USER_BLOCK)  # they keep their share
                block[places] = -np.inf
                best.add(block, start)
                total += ones[:end - start] @ np.exp(block, out=block)
        ids, limit = best.result()
        if kept == videos - 1:
            limit[:] = -np.inf  # nothing was left out
        return self._exactly(padded[:count].astype(np.float64), ids[:count], limit[:count], total[:count], n, removed)

    def _exactly(self, users, ids, limit, total, n, removed):
        """Order and probabilities in double precision of the candidates `ids` [B, kept] of users [u, 1, -reference]."""
        exact = (self._rows[ids] @ users[:, :-1, None])[:, :, 0]
        exact[ids == 0] = -np.inf  # places that no video took
        order = np.lexsort((ids, -exact), axis=1)[:, :n]
        ids, exact = np.take_along_axis(ids, order, axis=1), np.take_along_axis(exact, order, axis=1)
        reference = -users[:, -1]
        log_total = reference + np.log(total)
        error = self._error * np.sqrt((users ** 2).sum(axis=1))
        close = (limit > -np.inf) & (limit + reference + error >= exact[:, -1])  # too close to call
        # or scores so large that a float32 has no digits left for a probability, or exp no place
        for row in np.flatnonzero(close | (error > MAX_ERROR) | ~np.isfinite(total)):
            scores = model_scores(users[row:row + 1, :-2].astype(np.float32), self._nce_w, self._nce_b)
            log_total[row] = scores.max() + np.log(np.exp(scores - scores.max()).sum())
            if removed is not None:
                scores[0, removed[row]] = -np.inf
            ids[row] = best_ids(scores, n)[0]
            exact[row] = scores[0, ids[row]]
        return ids, np.exp(exact - log_total[:, None])


class Best:
    """The `size` best scores of each of `rows` users (a multiple of 8) so far; `limit`: the lowest, or -inf."""

    def __init__(self, rows, size):
        self._scores, self._ids = np.full((rows, size), -np.inf, np.float32), np.zeros((rows, size), np.int64)
        self._waiting, self._count = [], 0
        self.limit = np.full(rows, -np.inf, np.float32)

    def add(self, block, first_id):
        """Take note of the scores above the limit, float32 [videos, rows]; the first row is of video `first_id`."""
        above = (block > self.limit).reshape(-1)
        words = np.flatnonzero(above.view(np.uint64))  # they are rare: look for them eight at a time
        flat = (words[:, None] * 8 + np.arange(8)).reshape(-1)
        flat = flat[above[flat]]
        self._waiting.append((flat % block.shape[1], flat // block.shape[1] + first_id, block.reshape(-1)[flat]))
        self._count += len(flat)
        if self._count > self._scores.size:
            self._merge()

    def _merge(self):
        if not self._waiting:
            return
        rows, ids, scores = map(np.concatenate, zip(*self._waiting))
        self._waiting, self._count = [], 0
        order = np.argsort(rows, kind="stable")
        counts = np.bincount(rows, minlength=len(self._scores))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts) + self._scores.shape[1]
        size = self._scores.shape[1]
        all_scores = np.full((len(self._scores), size + counts.max(initial=0)), -np.inf, np.float32)
        all_ids = np.zeros(all_scores.shape, np.int64)
        all_scores[:, :size], all_ids[:, :size] = self._scores, self._ids
        all_scores[rows[order], place], all_ids[rows[order], place] = scores[order], ids[order]
        best = np.argpartition(all_scores, -size, axis=1)[:, -size:]
        self._scores, self._ids = (np.take_along_axis(each, best, axis=1) for each in (all_scores, all_ids))
        self.limit = self._scores.min(axis=1)

    def result(self):
        """(ids int64 [rows, size], 0 where there was no video; limit float32 [rows]: no other score is above it)."""
        self._merge()
        return self._ids, self.limit


def lists_text(users, ids, probabilities, videos):
    """A line a user: `user-id \\t video:probability,...`; `videos` are the names by id."""
    return "".join(
        user + "\t" + ",".join([f"{videos[id_]}:{share:.6g}" for id_, share in zip(row, shares) if share > 0]) + "\n"
        for user, row, shares in zip(users, ids.tolist(), probabilities.tolist()))


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


def block_size(args):
    """Lines that are worked on together: --batch_size in whole blocks, since those cost the same full or not."""
    return -(-args.batch_size // USER_BLOCK) * USER_BLOCK


def main():
    """Print the top-N videos of each user of the log."""
    args = parse_args()
    model, feature_dict = load_trained(args)
    videos = list(feature_dict["history_clicked_items"])
    bad_lines = bad_lines_of(args, None)
    reader = Reader(feature_dict, model.config.window_size, tail=not args.remove_seen)
    top_n = TopN(model.parameters["nce_w"], model.parameters["nce_b"])
    network = inference_network(model)

    def serve(block):
        log = reader.encode_raw(args.infer_set_path, block)
        removed = [log.items(row) for row in range(len(log.users))] if args.remove_seen else None
        return lists_text(log.users, *top_n(user_vectors(network, log), args.top_n, removed), videos)
    for text in ordered_map(serve, raw_blocks(args.infer_set_path, block_size(args), bad_lines), args.processes):
        sys.stdout.write(text)
    if bad_lines:
        bad_lines.write()


if __name__ == "__main__":
    run_script(main)
