"""Users with their history -> top-N videos.

    python infer.py --infer_set_path='./data/infer.txt' --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl' --batch_size=50

Prints a line a user, in input order: user-id, a tab, `video:probability,video:probability,...`, best
first. The probabilities are those of the softmax over all videos that may be recommended: those of the
dictionary, less what --allow_items and --deny_items leave out; --remove_seen leaves them as they are. A comma
or a percent sign within a video-id is printed as %2C or %25, so that a list can be split at its commas. With
--evaluate it prints metrics instead.

Also home of what the other scripts use to serve: reading a model, user vectors, top-N, ranking
metrics, files of vectors.
"""
import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import utils
from reader import BadLines, Reader, make_batch, next_click_windows, ragged, share_rows, text_lines
from utils import ITEMS, InputError, note

import numpy as np

USER_BLOCK = 128  # users in every forward pass, whatever the batch: so a user's result never depends on others
VIDEO_BLOCK, GROUP = 1024, 32  # videos scored at once (half a MB of scores stays in the cache), and in a group of them
TOLERATED = 1e-3  # error of a score, and so of a probability, in single precision
RANKED = 50  # the longest list that a metric looks at
RULES_WITHIN, RULES_LAST, RULES_CLICKS = 10, 20, 500_000  # see `Rules`
FORMATS = (".tsv", ".npz", ".vec")
MAX_NPZ_ID = 256  # letters: in a .npz each id takes as much place as the longest


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = utils.argument_parser(__doc__)
    add_infer_arguments(parser)
    add_list_arguments(parser)
    parser.add_argument("--evaluate", action="store_true", help="print no lists, but one JSON object: the metrics of "
                        "train.py, on the last click of each line of the log")
    args = parser.parse_args(argv)
    if args.evaluate:
        utils.refuse_unused(parser, args, ["top_n", "remove_seen"], "does not go with --evaluate: its metrics have "
                            "lists of their own, with and without what was seen")
    return args


def add_infer_arguments(parser, required=True):
    """The flags of the scripts that look at users with their history."""
    parser.add_argument("--infer_set_path", **utils.PATHS, required=required, help="log of the users "
                        "to serve: files, folders of part files or patterns (- for standard input)")
    utils.add_model_arguments(parser)
    add_batch_size(parser)
    utils.add_max_bad_lines(parser)
    utils.add_device(parser)


def add_batch_size(parser):
    """The flag that bounds how many users are worked on together."""
    parser.add_argument("--batch_size", type=utils.number_type(int, 1), default=2048,
                        help=f"users read, computed and written at a time, rounded up to a multiple of {USER_BLOCK}; "
                        "changes no result (%(default)s)")


def add_list_arguments(parser):
    """The flags of the scripts that print lists of videos."""
    parser.add_argument("--top_n", type=utils.number_type(int, 1), default=30, help="videos per user (%(default)s)")
    add_item_filters(parser)
    add_popularity(parser)
    parser.add_argument("--remove_seen", action="store_true", help="leave out the videos of the user's history")


def add_item_filters(parser):
    """The flags of the scripts that recommend or export a part of the videos; `allowed_videos` reads them."""
    parser.add_argument("--allow_items", **utils.PATHS, metavar="FILE",
                        help="recommend no videos but these: ids, one a line")
    parser.add_argument("--deny_items", **utils.PATHS, metavar="FILE",
                        help="recommend none of these videos: ids, one a line")


def add_popularity(parser):
    """The flag of the scripts that look at biases."""
    parser.add_argument("--popularity", type=utils.number_type(float, 0, 100), default=1.0, metavar="F", help="times "
                        "the videos' biases: below 1 popular videos come later, and others more often (%(default)s)")


def add_output_path(parser):
    """The flag of the scripts that export vectors."""
    parser.add_argument("--output_path", type=_vector_path, help="file with ids and vectors, in place of stdout: "
                        ".tsv (id and numbers between tabs), .npz (arrays ids, vectors) or .vec (word2vec text)")


def _vector_path(text):
    if os.path.splitext(text)[1] not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text}: unknown kind of file: end its name in {', '.join(FORMATS)}")
    return utils.path_type(text)


# ---------------------------------------------------------------- models
def load_model(args):
    """Read --model_path and --feature_dict, and see that they belong together.

    Returns
    -------
    told : dict, model.json.   parameters : {name: float32 array}, `nce_w` [V, u] and `nce_b` [1, V] among them.
    item_freq : float32 [V], the frequencies it was trained with.   feature_dict : dict.
    """
    mend = "give a model_pass_*.tar.gz that train.py wrote"
    feature_dict = utils.load_feature_dict(args.feature_dict)
    told, parameters = utils.read_archive(args.model_path, mend)
    if "identity" in told:
        raise InputError(args.model_path, None, "the checkpoint of a run, not a model", mend)
    if told.pop("format_version", None) != utils.FORMAT_VERSION:
        raise InputError(args.model_path, None, f"not of format version {utils.FORMAT_VERSION}", mend)
    if told.get("dictionary_fingerprint") != utils.dictionary_fingerprint(feature_dict):
        raise InputError(args.model_path, None, "trained with another dictionary than --feature_dict",
                         "give the feature_dict.pkl that this model was trained with")
    if told.get("dictionary_sizes") != {name: len(values) for name, values in feature_dict.items()}:
        raise InputError(args.model_path, None, "its sizes are not those of the dictionary", mend)
    videos, item_freq = len(feature_dict[ITEMS]), parameters.pop("item_freq", np.zeros(0))
    if videos < 2:
        raise InputError(args.feature_dict, None, "it knows no video", "give the feature_dict.pkl of data_processor.py")
    found = [parameters.get(name, np.zeros(0)).shape for name in ("nce_w", "nce_b")] + [item_freq.shape]
    if found[0][:1] != (videos,) or len(found[0]) != 2 or found[1:] != [(1, videos), (videos,)]:
        raise InputError(args.model_path, None, "nce_w, nce_b or item_freq is missing or has another shape", mend)
    return told, parameters, item_freq, feature_dict


def fingerprints(model):
    """{"feature_dict": SHA-256, "model": SHA-256} of what `load_model` gave: what stands beside exported files."""
    told, parameters, *_ = model
    values = [json.dumps(told, sort_keys=True), *(parameters[name] for name in sorted(parameters))]
    return {"feature_dict": told["dictionary_fingerprint"], "model": utils.fingerprint(*values)}


def start_network(args, told, parameters):
    """The network of a loaded model, on --device; imports paddle."""
    from network_conf import load_network, use_device
    use_device(args.device)
    return load_network(args.model_path, told, parameters)


# ---------------------------------------------------------------- user vectors
def user_vectors(network, log, clicks=None, run=map):
    """Vectors of the users of a log, each from the window that their next click would have.

    Parameters
    ----------
    network : DNNmodel
    log : EncodedLog of L lines.
    clicks : int [L], how many known clicks of each line to look at; all if None.
    run : `map`, or that of an executor whose threads share the blocks.

    Returns
    -------
    float32 [L, u]. Users with windows of like length are computed together, always USER_BLOCK at a time: matrices of
    one height round alike, so that a user's vector is the same alone and in any company.
    """
    from network_conf import tensors

    import paddle
    windows = next_click_windows(log.lengths if clicks is None else clicks, network.config.window_size)
    lines, order = len(windows.line), np.argsort(windows.length, kind="stable")
    vectors = np.empty((lines, network.config.dnn_layer_dims[-1]), np.float32)

    def compute(chosen):
        batch = make_batch(log, windows.take(chosen), with_targets=False)
        distinct = share_rows([batch], network.table_ids(training=False))
        with paddle.no_grad():
            return network(network.look_up(distinct), tensors(batch)).numpy()
    # a last block is filled up from the front
    blocks = [order[np.arange(start, start + USER_BLOCK) % lines] for start in range(0, lines, USER_BLOCK)]
    for chosen, computed in zip(blocks, run(compute, blocks)):
        vectors[chosen] = computed
    if not np.isfinite(vectors).all():
        raise InputError("the model", None, "its user vectors are not finite", "train it with a lower --learning_rate")
    return vectors


# ---------------------------------------------------------------- top-N
class TopN:
    """Top-N of the softmax over the videos that may be recommended, for many users; equal scores by id.

    `allowed` is a bool [V]; all if None; `<unk>` never is.

    Scores are computed in single precision, in blocks that stay in the cache; of each GROUP of videos only the best
    score is kept, and the sum of the softmax. A video of the N best lies in a group whose best score is among the N
    highest: the videos of those groups are scored again in double precision, as are those of groups that rounding
    could hide. In double precision the order is that of the exported vectors too.
    """

    def __init__(self, nce_w, nce_b, allowed=None):
        rows = np.hstack([nce_w, nce_b.T]).astype(np.float64)  # [V, u + 1], against users [u, 1]
        rows = np.concatenate([rows, np.zeros((-len(rows) % GROUP, rows.shape[1]))])
        shown = np.zeros(len(rows), bool)
        shown[1:len(nce_w)] = True if allowed is None else allowed[1:]
        rows[~shown, :-1], rows[~shown, -1] = 0, -np.inf  # filling, <unk>, and what must not be shown
        self.videos = int(shown.sum())
        self._rows, self._table = rows.reshape(-1, GROUP, rows.shape[1]), rows.astype(np.float32)
        finite = rows[np.isfinite(rows[:, -1])]
        # |error| <= (terms + 1) 2^-24 |user| |video| (Higham 2002, section 3.1, and Cauchy-Schwarz)
        self._error = (rows.shape[1] + 1) * 2.0 ** -24 * np.sqrt((finite ** 2).sum(1).max())

    def __call__(self, users, n, removed=None):
        """Best videos of each user, with their scores and probabilities.

        Parameters
        ----------
        users : float32 [B, u].    n : int, at most as many as may be recommended are given.
        removed : list of B arrays of ids that are not to be given; they keep their share of the probability.

        Returns
        -------
        ids : int64 [B, n], best first, 0 where a removal left too few videos.
        scores, probabilities : float64 [B, n]; -inf and 0 there.
        """
        n = min(n, self.videos)
        ids, scores = np.zeros((len(users), n), np.int64), np.full((len(users), n), -np.inf)
        log_total = np.zeros((len(users), 1))
        with_one = np.hstack([users, np.ones((len(users), 1))])  # float64
        for start in range(0, len(users), USER_BLOCK):
            block, table = with_one[start:start + USER_BLOCK], self._table
            if self._error * np.linalg.norm(block, axis=1).max() > TOLERATED:  # too large for single precision
                table = self._rows.reshape(table.shape)
            best, log_total[start:start + USER_BLOCK, 0] = self._scan(table, block.astype(table.dtype))
            for row, (user, of_groups) in enumerate(zip(block, best), start):
                gone = np.unique(removed[row]) if removed else np.zeros(0, np.int64)
                found, exact = self._best_of(user, of_groups, n, gone)
                ids[row, :len(found)], scores[row, :len(found)] = found, exact
        return ids, scores, np.exp(np.minimum(scores - log_total, 0))

    def _scan(self, table, users):
        """Best score of each group [B, groups], and log of the softmax's sum [B], of users [u, 1]."""
        best = np.empty((len(table) // GROUP, len(users)), users.dtype)
        top, total = np.full(len(users), -np.inf, users.dtype), np.zeros(len(users))
        for start in range(0, len(table), VIDEO_BLOCK):
            scores = table[start:start + VIDEO_BLOCK] @ users.T  # [videos, B]
            of_groups = scores.reshape(-1, GROUP, len(users)).max(1)
            best[start // GROUP:start // GROUP + len(of_groups)] = of_groups
            higher = np.maximum(top, of_groups.max(0))  # the sum is kept relative to the best score so far
            scores -= higher
            total = total * np.exp(top - higher) + np.exp(scores, out=scores).sum(0)
            top = higher
        return np.ascontiguousarray(best.T), top + np.log(total)

    def _best_of(self, user, of_groups, n, removed):
        """Ids and exact scores of a user's n best, from the best score of each group."""
        wanted = n + len(removed)
        limit = -np.inf
        if wanted < len(of_groups):
            limit = np.partition(of_groups, -wanted)[-wanted] - 2 * self._error * np.linalg.norm(user)
        groups = np.flatnonzero(of_groups >= limit)
        ids = (groups[:, None] * GROUP + np.arange(GROUP)).ravel()
        exact = (self._rows[groups] @ user).ravel()
        if len(removed):
            exact[np.isin(ids, removed)] = -np.inf
        kept = np.flatnonzero(exact >= max(limit, np.finfo(float).min))
        order = kept[np.lexsort((ids[kept], -exact[kept]))[:n]]
        return ids[order], exact[order]


# ---------------------------------------------------------------- ranking metrics
def target_ranks(ids, scores, target):
    """Rank of each row's target from 1, ties against it; inf if it is not in the list, for 0 (`<unk>`) and for a list
    that ends in a tie with it. int64 [B, n], float [B, n], int64 [B] -> float [B]."""
    there = (ids == target[:, None]) & (target[:, None] > 0)
    own = np.where(there, scores, 0).sum(1, keepdims=True)
    ranks = np.where(there.any(1), (scores >= own).sum(1), np.inf)
    return np.where(ranks > RANKED, np.inf, ranks)


def ranking_metrics(ranks, ids, videos):
    """Mean metrics of L users with one target each.

    Parameters
    ----------
    ranks : float [L], from `target_ranks`.
    ids : int64 [L, n], what each user would be shown; 0 for nothing.
    videos : how many videos there are to recommend, without `<unk>`.

    Returns
    -------
    dict. recall@k: share of ranks <= k. ndcg@10: mean of 1 / log2(1 + rank) for ranks <= 10 (one relevant
    video, so the ideal is 1; Jarvelin & Kekalainen 2002). mrr@10: mean of 1 / rank for ranks <= 10.
    coverage@10: share of all videos that stand in anyone's top 10.
    """
    within, shown = ranks <= 10, np.unique(ids[:, :10])
    return {
        "recall@10": float(within.mean()),
        "recall@50": float((ranks <= 50).mean()),
        "ndcg@10": float(np.where(within, 1 / np.log2(1 + ranks), 0).mean()),
        "mrr@10": float(np.where(within, 1 / ranks, 0).mean()),
        "coverage@10": float((shown > 0).sum() / videos),
    }


def evaluate_ranking(ranked, log, videos, run):
    """Metrics of predicting each line's last click from what precedes it, by the very lists that are served.

    Parameters
    ----------
    ranked : function of lines int64 [B] and n that gives the n best ids, int64 [B, n], 0 where there are fewer, and
        their scores, float [B, n], nothing removed.
    log : EncodedLog; lines without any click do not count.    videos : as in `ranking_metrics`.
    run : `map`, or that of an executor whose threads share the work.

    Returns
    -------
    dict : `ranking_metrics` with the user's earlier clicks taken out of the lists, the target too if it is one of
    them, and with the prefix `seen_kept_` with nothing taken out.
    ids : int64 [lines with a click, 10], the ten best of each with earlier clicks taken out.
    """
    before, longest = log.before_last(), RANKED + 1  # one more than metrics look at: whether the last ties with it

    def of_block(lines):
        """(ten best, rank of the target) of some lines, without what was seen, then with it."""
        seen = [np.unique(log.items(line, before[line])) for line in lines]
        ids, scores = ranked(lines, longest + max(map(len, seen)))
        gone = np.array([np.isin(row, items) for row, items in zip(ids, seen)])
        left = np.argsort(gone, axis=1, kind="stable")[:, :longest]  # what is not gone, in the same order
        ids_left, scores_left = (np.take_along_axis(np.where(gone, nothing, values), left, 1)
                                 for values, nothing in ((ids, 0), (scores, -np.inf)))
        target = log.last_item[lines]
        return (ids_left[:, :10], target_ranks(ids_left, scores_left, target),
                ids[:, :10], target_ranks(ids[:, :longest], scores[:, :longest], target))
    lines = np.flatnonzero(log.last_item >= 0)
    order = np.argsort(before[lines], kind="stable")  # like lengths together: no list is longer than it need be
    blocks = np.split(lines[order], range(USER_BLOCK, len(lines), USER_BLOCK))
    back = np.argsort(order)
    ids, ranks, ids_kept, ranks_kept = (np.concatenate(each)[back] for each in zip(*run(of_block, blocks)))
    kept = ranking_metrics(ranks_kept, ids_kept, videos)
    return {**ranking_metrics(ranks, ids, videos), **{"seen_kept_" + name: value for name, value in kept.items()}}, ids


def evaluate_model(network, top_n, log, run=map):
    """What a network does on the last clicks of a log.

    Parameters
    ----------
    network : DNNmodel.    top_n : TopN of its parameters.
    log : EncodedLog.    run : as in `evaluate_ranking`.

    Returns
    -------
    metrics : those of `evaluate_ranking`, distinct_users and live_units, signs of a network that has collapsed.
    ids : int64 [lines with a click, 10], the ten best of each, earlier clicks removed.
    """
    users = user_vectors(network, log, log.before_last(), run)
    metrics, ids = evaluate_ranking(lambda lines, n: top_n(users[lines], n)[:2], log, top_n.videos, run)
    return {**metrics, "distinct_users": len(np.unique(users, axis=0)),
            "live_units": int((users != 0).any(0).sum())}, ids


# ---------------------------------------------------------------- baselines
def popularity(item_freq):
    """The ranking, as `evaluate_ranking` wants it, that serves everybody the most clicked videos."""
    freq = np.asarray(item_freq[1:])
    best = np.argsort(-freq, kind="stable")

    def ranked(lines, n):
        """The same for all lines."""
        ids = best[:n]
        return np.tile(ids + 1, (len(lines), 1)), np.tile(freq[ids], (len(lines), 1))
    return ranked


class Rules:
    """Co-occurrence: the videos that others clicked near a user's last clicks. Nothing is trained.

    score(v) = sum over the user's last RULES_LAST clicks c, the a-th from the end, of
    0.8^a sum over pairs of clicks on c and v, at most RULES_WITHIN places apart, of 1 / distance, over the root of
    the clicks on c. Only the log's first RULES_CLICKS clicks are counted, which bounds memory: under 700 MB.

    Parameters
    ----------
    log : EncodedLog to count in.    item_freq : frequencies of V videos.
    """

    def __init__(self, log, item_freq):
        freq = np.asarray(item_freq)
        freq = np.maximum(freq, freq[freq > 0].min())  # an earlier log may have clicks that the dictionary's had not
        videos, items = len(freq), log.videos[0][log.clicks[:RULES_CLICKS]]
        line = np.repeat(np.arange(len(log.users)), log.lengths)[:len(items)]
        keys, weights = [], []  # pairs (first, second) as first * videos + second
        for distance in range(1, RULES_WITHIN + 1):
            near = np.flatnonzero(line[distance:] == line[:-distance])
            keys.append(items[near] * videos + items[near + distance])
            weights.append(np.full(len(near), 1 / distance))
        pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
        weight = np.bincount(place, np.concatenate(weights), len(pairs))
        one, other = np.divmod(pairs, videos)
        first, second = np.concatenate([one, other]), np.concatenate([other, one])
        order = np.argsort(first, kind="stable")
        self._near, self._offsets = second[order], np.searchsorted(first[order], np.arange(videos + 1))
        self._weights = (np.concatenate([weight, weight]) / np.sqrt(freq[first]))[order]

    def ranking_of(self, log):
        """The ranking of the videos for the next click after each line's earlier ones, as `evaluate_ranking` wants."""
        before = log.before_last()

        def ranked(lines, n):
            """Those that others clicked near each line's last clicks; 0 where there are fewer than n."""
            ids, scores = np.zeros((len(lines), n), np.int64), np.full((len(lines), n), -np.inf)
            for row, line in enumerate(lines):
                clicks = log.items(line, before[line])[:-RULES_LAST - 1:-1]
                places, age = ragged(self._offsets, clicks)
                found, place = np.unique(self._near[places], return_inverse=True)
                score = np.bincount(place, self._weights[places] * 0.8 ** age, len(found))
                best = np.argsort(-score, kind="stable")[:n]
                ids[row, :len(best)], scores[row, :len(best)] = found[best], score[best]
            return ids, scores
        return ranked


# ---------------------------------------------------------------- what may be recommended
def allowed_videos(args, feature_dict):
    """bool [V], by --allow_items and --deny_items; InputError if nothing is left."""
    allowed = np.arange(len(feature_dict[ITEMS])) > 0  # <unk> is no video
    if args.allow_items:
        allowed &= listed_videos(args.allow_items, feature_dict[ITEMS])
    if args.deny_items:
        allowed &= ~listed_videos(args.deny_items, feature_dict[ITEMS])
    if not allowed.any():
        raise InputError(" ".join([*(args.allow_items or []), *(args.deny_items or [])]), None, "leaves no video to "
                         "recommend", "give ids of the dictionary, one a line")
    return allowed


def listed_videos(paths, videos):
    """Which videos of the dictionary some files of ids name.

    Parameters
    ----------
    paths : list of str, files with a video-id a line.    videos : {video-id: id}, V of them.

    Returns
    -------
    bool [V].

    Raises
    ------
    InputError
        If none of a file's ids is known: a list of banned videos with, say, quoted ids must not pass. An empty file
        may.
    """
    listed = np.zeros(len(videos), bool)
    for path in paths:
        names = [name for _, _, name in text_lines(path)]
        unknown = [name for name in names if videos.get(name, 0) == 0]
        listed[[videos[name] for name in names if name in videos]] = True
        note(f"{path}: {len(names) - len(unknown)} of its {len(names)} videos are known")
        if unknown:
            error = InputError(path, None, f"{len(unknown)} of its {len(names)} videos are not known to the model, "
                               f"such as {unknown[0][:80]!r}",
                               "write ids as in the log, one a line, without quotes, spaces or further columns")
            if len(unknown) == len(names):
                raise error
            note(f"warning: {error}")
    return listed


# ---------------------------------------------------------------- text
def lists_text(users, ids, probabilities, videos):
    """A line a user: `user-id \\t video:probability,...`; `videos` are the names by id, commas escaped."""
    return "".join(
        user + "\t" + ",".join([f"{videos[id_]}:{share:.6g}" for id_, share in zip(row, shares) if id_]) + "\n"
        for user, row, shares in zip(users, ids.tolist(), probabilities.tolist()))


def listed_names(feature_dict):
    """Names of the videos in id order, as lists have them: a list is split at commas, a name has none."""
    return list(map(utils.list_name, feature_dict[ITEMS]))


def vector_lines(vectors, separator, names=None):
    """Rows of numbers with twelve decimals as lines of text, each after its name if there are names.

    Twelve decimals: the cosines of the printed vectors then differ from the exact ones by about 1e-11, which
    leaves the order as it is unless two scores agree to that many digits.
    """
    line = separator.join(["%.12f"] * vectors.shape[1]) + "\n"
    lines = [line % tuple(row) for row in vectors.tolist()]
    return "".join(lines if names is None else map("".join, zip(names, [separator] * len(lines), lines)))


def write_vectors(path, model, blocks):
    """Write blocks (ids, float64 [B, width]): lines of numbers to stdout, or with ids to a .tsv, .npz or .vec file.

    Beside a file, FILE.json has the fingerprints of dictionary and model: users and videos belong together if both
    are equal. Both appear together or not at all. `model` is what `load_model` gave. A .npz and a .vec are put together
    in memory.
    """
    if path is None:
        for _, vectors in blocks:
            sys.stdout.write(vector_lines(vectors, ","))
        return
    kind, (_, parameters, *_) = os.path.splitext(path)[1], model
    beside = (os.path.realpath(path) if os.path.islink(path) else path) + ".json"
    with utils.atomic_write_set([path, beside], absent=beside) as [stream, told]:
        if kind == ".tsv":
            for ids, vectors in blocks:
                stream.write(vector_lines(vectors, "\t", ids).encode())
        else:
            _write_whole(path, stream, kind, list(blocks), parameters["nce_w"].shape[1] + 2)
        told.write(json.dumps(fingerprints(model), indent=1).encode())


def _write_whole(path, stream, kind, blocks, width):
    """A .npz, or a .vec, whose first line says how many vectors there are."""
    ids = [id_ for block, _ in blocks for id_ in block]
    vectors = np.concatenate([np.zeros((0, width)), *(block for _, block in blocks)])
    if kind == ".npz":
        if max(map(len, ids), default=0) > MAX_NPZ_ID:
            raise InputError(path, None, f"an id of more than {MAX_NPZ_ID} letters, and in a .npz each takes as much "
                             "place as the longest", "write a .tsv file")
        np.savez(stream, ids=np.array(ids, str), vectors=vectors)
        return
    if any(" " in id_ for id_ in ids):
        raise InputError(path, None, "the word2vec format cannot hold an id with a space", "write a .tsv or .npz file")
    stream.write(f"{len(ids)} {width}\n".encode() + vector_lines(vectors, " ", ids).encode())


def read_vectors(path):
    """(ids, float64 [L, width]) of a file that `write_vectors` wrote; InputError for another one."""
    mend = "give a file that --output_path of user_vector.py or item_vector.py wrote"
    with utils.reading(path, mend) as stream:
        if path.endswith(".npz"):
            with np.load(stream, allow_pickle=False) as found:
                return found["ids"].tolist(), np.asarray(found["vectors"], np.float64)
        separator = "\t" if path.endswith(".tsv") else " "
        rows = [line.rstrip("\n").split(separator) for line in stream.read().decode().split("\n")[:-1]]
        rows = rows[path.endswith(".vec"):]
        return [row[0] for row in rows], np.array([row[1:] for row in rows], np.float64).reshape(len(rows), -1)


# ---------------------------------------------------------------- serving
def watched(served):
    """Yield the result of each (user vectors, result); at the end say so if many users had one and the same vector."""
    vectors, count = set(), 0
    for users, result in served:
        yield result
        count += len(users)
        if len(vectors) < 2:
            vectors.update(row.tobytes() for row in users)
    if count > 1 and len(vectors) == 1:
        note(f"warning: all {count} users have the same vector; if their histories differ, the network has collapsed: "
             "train it with a lower --learning_rate")


def block_size(args):
    """Lines that are worked on together: --batch_size in whole blocks, since those cost the same full or not."""
    return -(-args.batch_size // USER_BLOCK) * USER_BLOCK


def shows_progress(args):
    """Whether there may be a bar: not among results on the same terminal."""
    return bool(getattr(args, "output_path", None) or getattr(args, "output_dir", None) or not sys.stdout.isatty())


def blocks_to_serve(args, feature_dict, whole=False):
    """The log --infer_set_path, as `EncodedLog`s of `block_size` lines or as one."""
    source = Reader(feature_dict, BadLines(args.max_bad_lines), shows_progress(args))
    return source.encode(args.infer_set_path, None if whole else block_size(args))


def main(argv=None):
    """Print the top-N videos of each user of the log."""
    args = parse_args(argv)
    told, parameters, _, feature_dict = load_model(args)
    videos = listed_names(feature_dict)
    top_n = TopN(parameters["nce_w"], args.popularity * parameters["nce_b"], allowed_videos(args, feature_dict))
    network = start_network(args, told, parameters)
    if args.evaluate:
        [log] = blocks_to_serve(args, feature_dict, whole=True)
        if not (log.last_item >= 0).any():
            raise InputError(" ".join(args.infer_set_path), None, "no line with a click", "give users with a history")
        with ThreadPoolExecutor(args.threads) as pool:
            print(json.dumps(evaluate_model(network, top_n, log, pool.map)[0], indent=1))
        return

    def serve(log):
        users = user_vectors(network, log)
        removed = [log.items(row) for row in range(len(users))] if args.remove_seen else None
        ids, _, probabilities = top_n(users, args.top_n, removed)
        return users, lists_text(log.users, ids, probabilities, videos)
    blocks = blocks_to_serve(args, feature_dict)
    with ThreadPoolExecutor(args.threads) as pool:
        for text in watched(utils.ordered_map(pool, serve, blocks, args.threads)):
            sys.stdout.write(text)


if __name__ == "__main__":
    utils.run_script(main)
