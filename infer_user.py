"""Offline mining: users -> top-N videos, from the user id alone, or from id and history.

    python infer_user.py --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl'

Serves every user of the dictionary, or those of --user_ids (one id a line), or those of a log,
--infer_set_path. Without a log the user counts as having clicked nothing yet, of unknown province, city and
phone; an id that the model does not know gets the most clicked videos, and is named on stderr. Prints as
infer.py does, or writes files of --part_users users to --output_dir: each whole or not there, and a second
start goes on after those that are.
"""
import contextlib
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice

import infer
import utils
from reader import Reader, log_files, text_lines
from utils import InputError

import numpy as np


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = utils.argument_parser(__doc__)
    utils.add_model_arguments(parser)
    users = parser.add_mutually_exclusive_group()
    users.add_argument("--user_ids", type=utils.path_type, help="file with the ids to serve, one a line (- for "
                       "standard input); every user of the dictionary if not given")
    users.add_argument("--infer_set_path", **utils.PATHS, help="log of the users to serve, with their histories")
    parser.add_argument("--output_dir", type=utils.folder_type, help="folder for part-00000, part-00001, ..., in "
                        "place of stdout")
    parser.add_argument("--part_users", type=utils.number_type(int, 1), default=100_000, help="users in each of these, "
                        "in whole blocks of 128 (%(default)s)")
    infer.add_batch_size(parser)
    infer.add_list_arguments(parser)
    utils.add_max_bad_lines(parser)
    utils.add_device(parser)
    args = parser.parse_args(argv)
    if args.output_dir and any(file == "-" or (os.path.exists(file) and not os.path.isfile(file))
                               for file in input_files(args)):
        parser.error("--output_dir goes on where it was stopped, which standard input (-) and pipes cannot: give files")
    if not args.output_dir:
        utils.refuse_unused(parser, args, ["part_users"], "needs --output_dir")
    if not args.infer_set_path:
        utils.refuse_unused(parser, args, ["remove_seen", "max_bad_lines"], "needs --infer_set_path: without it "
                            "there are no histories")
    return args


def input_files(args):
    """The files of users and of videos that are given."""
    given = filter(None, (args.user_ids, args.infer_set_path, args.allow_items, args.deny_items))
    return [file for paths in given for file in log_files(paths)]


def read_user_ids(args):
    """Yield the ids of --user_ids, a file with one a line; empty lines do not count."""
    for path, number, user in text_lines(args.user_ids, infer.shows_progress(args)):
        if "\t" in user:
            raise InputError(path, number, "more than one column", "write one user id a line")
        yield user


def most_clicked(item_freq, allowed, n, popularity=1.0):
    """(ids, probabilities) of the `n` most clicked videos that are allowed: of the softmax of --popularity times the
    logarithms of their frequencies. float32 [V], bool [V] -> [n], [n]."""
    shares = np.where(allowed, item_freq.astype(np.float64) ** popularity, 0)
    ids = np.argsort(np.where(allowed, -shares, np.inf), kind="stable")[:min(n, allowed.sum())]
    return ids, (shares / max(shares.sum(), np.finfo(float).tiny))[ids]


def begin_parts(args, model, part_users):
    """Begin in --output_dir, or go on in it, and return the names of its parts; InputError if they are of other lists
    than these: wherever the files are, and however many users are worked on together."""
    shapers = {name: getattr(args, name) for name in ("top_n", "popularity", "remove_seen", "max_bad_lines")}
    given = [bool(each) for each in (args.user_ids, args.infer_set_path, args.allow_items, args.deny_items)]
    files = [[os.path.getsize(file), os.stat(file).st_mtime_ns] for file in input_files(args)]
    now = {**infer.fingerprints(model), "settings": shapers, "part_users": part_users, "given": given, "files": files}
    there = {file for file in os.listdir(args.output_dir) if re.fullmatch(r"part-\d+", file)}
    path, mend, before = os.path.join(args.output_dir, "run.json"), "give another --output_dir", None
    if os.path.exists(path):
        with utils.reading(path, mend) as stream:
            before = json.load(stream)
    if there and before != now:
        raise InputError(args.output_dir, None, "has parts of another model, of other settings or of other users or "
                         "files", mend)
    with utils.atomic_write(path) as stream:
        stream.write(json.dumps(now).encode())
    return there


def write_parts(args, served):
    """Write the texts of (part, text), in order of the parts, to a file a part."""
    for part, texts in groupby(served, key=lambda each: each[0]):
        with utils.atomic_write(os.path.join(args.output_dir, part_name(part))) as stream:
            for _, text in texts:
                stream.write(text.encode())


def part_name(part):
    """The file of a part."""
    return f"part-{part:05d}"


def main(argv=None):
    """Print or write the top-N videos of each user."""
    args = parse_args(argv)
    folder = contextlib.nullcontext()
    if args.output_dir:
        folder = utils.output_folder(args.output_dir, r"run\.json|part-\d+")
    with folder:
        serve_users(args)


def serve_users(args):
    """Do the work of `main`, while no other run writes to --output_dir."""
    model = told, parameters, item_freq, feature_dict = infer.load_model(args)
    known, videos = feature_dict["user_id"], infer.listed_names(feature_dict)
    allowed = infer.allowed_videos(args, feature_dict)
    if len(known) == 1 and not args.user_ids and not args.infer_set_path:
        raise InputError(args.feature_dict, None, "it knows no user", "make it with a lower --feat_appear_limit, or "
                         "give --user_ids")
    reader = Reader(feature_dict)
    top_n = infer.TopN(parameters["nce_w"], args.popularity * parameters["nce_b"], allowed)
    network = infer.start_network(args, told, parameters)
    popular = most_clicked(item_freq, allowed, args.top_n, args.popularity)
    of_part = max(1, args.part_users // infer.USER_BLOCK)  # blocks in a part
    if args.output_dir:  # whole batches in a part, whose size does not depend on theirs
        most = infer.block_size(args) // infer.USER_BLOCK
        args.batch_size = infer.USER_BLOCK * max(size for size in range(1, most + 1) if of_part % size == 0)
    size, unknown = infer.block_size(args), 0

    def serve(task):
        part, log = task
        seen = [log.items(row) for row in range(len(log.users))] if args.remove_seen else None
        ids, _, probabilities = top_n(infer.user_vectors(network, log), args.top_n, seen)
        strangers = [] if args.infer_set_path else np.flatnonzero(log.profile[:, 0] == 0)
        if len(strangers):
            ids[strangers], probabilities[strangers] = popular
        return part, infer.lists_text(log.users, ids, probabilities, videos), [log.users[row] for row in strangers]

    def told_of(served):
        """(part, text) of what was served; strangers are named, and a terminal is shown how far it is."""
        nonlocal unknown
        total = None if args.user_ids or args.infer_set_path else len(known) - 1
        with utils.Progress("users", total, infer.shows_progress(args)) as bar:
            for number, (part, text, strangers) in enumerate(served, 1):
                for user in strangers:
                    utils.note(f"{user}: not known to the model; served the most clicked videos")
                unknown += len(strangers)
                yield part, text
                bar.at(number * size)
    if args.infer_set_path:
        logs = infer.blocks_to_serve(args, feature_dict)
    else:
        users = read_user_ids(args) if args.user_ids else islice(known, 1, None)
        logs = map(reader.encode_users, iter(lambda: list(islice(users, size)), []))
    tasks = ((number * size // (of_part * infer.USER_BLOCK), log) for number, log in enumerate(logs))
    with ThreadPoolExecutor(args.threads) as pool:
        if args.output_dir:
            there = begin_parts(args, model, of_part * infer.USER_BLOCK)
            utils.note(f"{args.output_dir}: {len(there)} parts are there already")
            missing = (task for task in tasks if part_name(task[0]) not in there)
            write_parts(args, told_of(utils.ordered_map(pool, serve, missing, args.threads)))
        else:
            for _, text in told_of(utils.ordered_map(pool, serve, tasks, args.threads)):
                sys.stdout.write(text)
    if args.user_ids:
        utils.note(f"{args.user_ids}: {unknown} of its users are not known to the model")


if __name__ == "__main__":
    utils.run_script(main)
