"""Offline mining: known users -> top-N videos, from the user id alone.

    python infer_user.py --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl'

Serves every user of the dictionary, or those of --user_ids (one id a line); no history is needed: the
user counts as having clicked nothing yet, of unknown province, city and phone. An id that the model
does not know gets the most clicked videos, and is named on stderr. Prints as infer.py does.
"""
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import infer
from reader import Reader, text_lines
from utils import InputError, add_device, add_model_arguments, argument_parser, note, ordered_map, path_type, run_script

import numpy as np


def parse_args():
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    add_model_arguments(parser)
    parser.add_argument("--user_ids", type=path_type, help="file with the ids to serve, one a line (- for standard "
                        "input); every user of the dictionary if not given")
    infer.add_batch_size(parser)
    infer.add_top_n(parser)
    add_device(parser)
    return parser.parse_args()


def read_user_ids(paths):
    """Yield the ids of a file with one a line; empty lines do not count."""
    for path, number, user in text_lines(paths):
        if "\t" in user:
            raise InputError(path, number, "more than one column", "write one user id a line")
        yield user


def most_clicked(item_freq, n):
    """(ids, probabilities) of the `n` most clicked videos. float32 [V] -> int64 [n], float32 [n]."""
    ids = np.argsort(-item_freq[1:], kind="stable")[:n] + 1  # <unk> is no video
    return ids, item_freq[ids]


def main():
    """Print the top-N videos of each user id."""
    args = parse_args()
    told, parameters, item_freq, feature_dict = infer.load_model(args)
    known, videos = feature_dict["user_id"], infer.listed_names(feature_dict)
    if len(known) == 1 and not args.user_ids:
        raise InputError(args.feature_dict, None, "it knows no user", "make it with a lower --feat_appear_limit, or "
                         "give --user_ids")
    reader, top_n = Reader(feature_dict), infer.TopN(parameters["nce_w"], parameters["nce_b"])
    network, popular = infer.start_network(args, told, parameters), most_clicked(item_freq, args.top_n)

    def serve(block):
        ids, _, probabilities = top_n(infer.user_vectors(network, reader.encode_users(block)), args.top_n)
        strangers = [row for row, user in enumerate(block) if not known.get(user)]
        ids[strangers], probabilities[strangers] = popular
        return infer.lists_text(block, ids, probabilities, videos), [block[row] for row in strangers]
    users = read_user_ids(args.user_ids) if args.user_ids else islice(known, 1, None)
    blocks, unknown = iter(lambda: list(islice(users, infer.block_size(args))), []), 0
    with ThreadPoolExecutor(args.threads) as pool:
        for text, strangers in ordered_map(pool, serve, blocks, args.threads):
            sys.stdout.write(text)
            unknown += len(strangers)
            for user in strangers:
                note(f"{user}: not known to the model; served the most clicked videos")
    if args.user_ids:
        note(f"{args.user_ids}: {unknown} of its users are not known to the model")


if __name__ == "__main__":
    run_script(main)
