"""Model -> video vectors for a cosine-only ANN engine (SIMPLE-LSH). Imports no paddle.

    python item_vector.py --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl'

A video with weights w and bias b becomes [b, w_1, ..., w_31, sqrt(m^2 - |(b, w)|^2)], m being the largest
norm |(b, w)| over all videos of the model: every video vector has norm m. The cosine with a user's [1, u, 0] is then
(w . u + b) / (m |(1, u)|), which orders the videos as their scores do, and so as the softmax does
(Neyshabur & Srebro 2014, section 4). Prints a vector a line, `,` between the numbers, videos in dictionary
order (`<unk>` is no video: line 1 is the video with id 1); --output_path writes a file with ids instead, and
beside it FILE.json with the fingerprints of dictionary and model: those of users and videos must be equal.

With --allow_items and --deny_items the file has no other videos than infer.py recommends with these flags. They
change no vector, m included: files with and without them can be mixed in one index.
"""
import json
import os
import sys

import infer
import utils
from infer import TopN
from utils import ITEMS, InputError

import numpy as np

VIDEOS_AT_ONCE = 10_000
TOP, CHECKED = 30, 1000  # videos of each of so many users that --check looks at


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = utils.argument_parser(__doc__)
    utils.add_model_arguments(parser)
    infer.add_output_path(parser)
    infer.add_item_filters(parser)
    infer.add_popularity(parser)
    parser.add_argument("--similar", type=utils.number_type(int, 1), metavar="N", help="print no vectors, but the N "
                        "most similar videos of each video, by the cosine of their weights, as lists")
    parser.add_argument("--check", type=utils.path_type, metavar="USERS_FILE", help="compare, for users of a file of "
                        "user_vector.py, the order by cosine with the vectors of --output_path, as an engine finds it, "
                        "with the order of the model")
    args = parser.parse_args(argv)
    if args.similar:
        utils.refuse_unused(parser, args, ["output_path", "popularity"], "does not go with --similar, which prints "
                            "lists to stdout, and looks at no bias")
    if (args.allow_items or args.deny_items) and not (args.output_path or args.similar):
        parser.error("--allow_items and --deny_items need --output_path: printed vectors have no ids, so a video left "
                     "out would shift all that follow")
    if args.check and not args.output_path:
        parser.error("--check reads the file of --output_path")
    if args.check and os.path.realpath(args.check) == os.path.realpath(args.output_path):
        parser.error("--check is the file that --output_path would write: give that of user_vector.py")
    return args


def simple_lsh_videos(nce_w, nce_b):
    """[b, w, sqrt(m^2 - |(b, w)|^2)] of every video but `<unk>`. [V, u], [1, V] -> float64 [V - 1, u + 2]."""
    videos = np.hstack([nce_b.T, nce_w])[1:].astype(np.float64)
    squares = (videos ** 2).sum(axis=1, keepdims=True)
    return np.hstack([videos, np.sqrt(squares.max() - squares)])


def directions(nce_w):
    """Weights of videos as vectors of length 1, zeros where they are zeros. float [V, u] -> the same."""
    norms = np.linalg.norm(nce_w, axis=1, keepdims=True)
    return nce_w / np.where(norms > 0, norms, 1)


def similar_lists(nce_w, n, names, allowed=None):
    """Yield text, a line a video: the `n` others whose weights have the highest cosine with its own, and the cosines.

    `allowed`, bool [V], says which videos may stand in the lists; all if None. Each video has a line, since users may
    have clicked on any. Neither the bias nor the SIMPLE-LSH component takes part: they say how often a video is
    clicked, not on what.
    """
    unit = directions(nce_w)
    top_n = TopN(unit, np.zeros((1, len(unit)), np.float32), allowed)
    for start in range(1, len(unit), VIDEOS_AT_ONCE):
        of = np.arange(start, min(start + VIDEOS_AT_ONCE, len(unit)))
        ids, cosines, _ = top_n(unit[of], n, list(of[:, None]))
        yield infer.lists_text([names[id_] for id_ in of], ids, cosines, names)


def agreement(users, videos, ids, top_n):
    """Mean share of each user's TOP best videos that cosine and model have in common, and of equal places.

    users, videos : float64 [B, u + 2], [N, u + 2], exported vectors.    ids : int64 [N], ids of these videos.
    top_n : infer.TopN of the model.
    """
    wanted, *_ = top_n((users[:, 1:-1] / users[:, :1]).astype(np.float32), TOP)  # [1, u, 0] / norm -> u
    cosines = users @ directions(videos).T
    found = ids[np.argsort(-cosines, axis=1, kind="stable")[:, :wanted.shape[1]]]
    common = np.mean([len({*one} & {*other}) for one, other in zip(wanted.tolist(), found.tolist())])
    return common / wanted.shape[1], (wanted == found).mean()


def check(args, model, allowed):
    """Print how well two files of vectors and the model agree; InputError if they are not of one model.

    `allowed`, bool [V], says which videos the file has.
    """
    _, parameters, _, feature_dict = model
    (_, users), (names, videos) = infer.read_vectors(args.check), infer.read_vectors(args.output_path)
    mend, prints = "give the file that user_vector.py wrote with this model", []
    for beside in (os.path.realpath(path) + ".json" for path in (args.check, args.output_path)):
        if os.path.exists(beside):  # that of the videos has just been written
            with utils.reading(beside, mend) as stream:
                prints.append(json.load(stream))
    if len(prints) == 2 and prints[0] != prints[1]:
        raise InputError(args.check, None, "vectors of another model, as the .json beside it says", mend)
    width = parameters["nce_w"].shape[1] + 2
    if users.shape[1:] != (width,) or not len(users) or (users[:, 0] <= 0).any():
        raise InputError(args.check, None, f"no vectors of users, of {width} numbers each", mend)
    ids = np.flatnonzero(allowed)
    if names != names_of(feature_dict, ids):
        raise InputError(args.output_path, None, "its ids are not those of the dictionary", "write it again")
    some = users[np.linspace(0, len(users) - 1, min(len(users), CHECKED)).astype(int)]
    top_n = TopN(parameters["nce_w"], args.popularity * parameters["nce_b"], allowed)
    blocks = np.array_split(some, -(-len(some) // 100))
    common, places = np.average([agreement(block, videos, ids, top_n) for block in blocks], 0, [*map(len, blocks)])
    print(f"{len(some)} users: {common:.2%} of the model's top {TOP} found by cosine, {places:.2%} at their places")


def names_of(feature_dict, ids):
    """Video-ids, list of str, of an array of ids."""
    names = list(feature_dict[ITEMS])
    return [names[id_] for id_ in ids]


def blocks_of(ids, vectors, bar):
    """Yield ids and vectors, VIDEOS_AT_ONCE at a time, and tell the bar."""
    for start in range(0, len(ids), VIDEOS_AT_ONCE):
        yield ids[start:start + VIDEOS_AT_ONCE], vectors[start:start + VIDEOS_AT_ONCE]
        bar.at(start + VIDEOS_AT_ONCE)


def main(argv=None):
    """Print or write the vector of each video, or print its like."""
    args = parse_args(argv)
    model = _, parameters, _, feature_dict = infer.load_model(args)
    allowed = infer.allowed_videos(args, feature_dict)
    if args.similar:
        for text in similar_lists(parameters["nce_w"], args.similar, infer.listed_names(feature_dict), allowed):
            sys.stdout.write(text)
        return
    videos = names_of(feature_dict, np.flatnonzero(allowed))
    vectors = simple_lsh_videos(parameters["nce_w"], args.popularity * parameters["nce_b"])[allowed[1:]]
    with utils.Progress("videos", len(videos), infer.shows_progress(args)) as bar:
        infer.write_vectors(args.output_path, model, blocks_of(videos, vectors, bar))
    if args.check:
        check(args, model, allowed)


if __name__ == "__main__":
    utils.run_script(main)
