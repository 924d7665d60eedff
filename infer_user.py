"""Offline mining: known users -> top-N videos, from the user id alone.

    python infer_user.py --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl'

Serves every user of the dictionary, or those of --user_ids (one id a line); no history is needed: the
user counts as having clicked nothing yet, of unknown province, city and phone. An id that the model
does not know gets the most clicked videos, and is named on stderr. Prints as infer.py does.
"""
import sys
from itertools import islice

from data_processor import argument_parser, ordered_map, run_script
from infer import (
    TopN,
    add_batch_size,
    add_top_n,
    best_ids,
    block_size,
    inference_network,
    lists_text,
    user_vectors,
)
from item_vector import add_model_arguments, load_trained
from reader import InputError, Reader, open_log

import numpy as np


def parse_args():
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    add_model_arguments(parser)
    parser.add_argument("--user_ids", help="file with the ids to serve, one a line (- for standard input); "
                        "every user of the dictionary if not given")
    add_batch_size(parser)
    add_top_n(parser)
    return parser.parse_args()


def read_user_ids(path):
    """Yield the ids of a file with one a line; empty lines do not count."""
    with open_log(path) as stream:
        for number, raw in enumerate(stream, 1):
            try:
                user = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(path, number, "not UTF-8", "convert the file with iconv -t UTF-8") from error
            if "\t" in user:
                raise InputError(path, number, "more than one column", "write one user id a line")
            if user:
                yield user


def popularity_list(item_freq, n):
    """(ids, probabilities) of the `n` most clicked videos. float32 [V] -> int64 [1, n], float32 [1, n]."""
    freq = np.array(item_freq)[None]  # [1, V]
    freq[0, 0] = -np.inf  # <unk> is no video
    ids = best_ids(freq, min(n, freq.shape[1] - 1))
    return ids, np.take_along_axis(freq, ids, axis=1)


def main():
    """Print the top-N videos of each user id."""
    args = parse_args()
    model, feature_dict = load_trained(args)
    known = feature_dict["user_id"]
    videos = list(feature_dict["history_clicked_items"])
    reader = Reader(feature_dict, model.config.window_size)
    top_n = TopN(model.parameters["nce_w"], model.parameters["nce_b"])
    popular = popularity_list(model.item_freq, args.top_n)
    network = inference_network(model)

    def serve(block):
        ids, probabilities = top_n(user_vectors(network, reader.encode_users(block)), args.top_n)
        strangers = [row for row, user in enumerate(block) if not known.get(user)]
        ids[strangers], probabilities[strangers] = popular
        return lists_text(block, ids, probabilities, videos), [block[row] for row in strangers]
    users = read_user_ids(args.user_ids) if args.user_ids else islice(known, 1, None)
    blocks = iter(lambda: list(islice(users, block_size(args))), [])
    for text, strangers in ordered_map(serve, blocks, args.processes):
        sys.stdout.write(text)
        for user in strangers:
            print(f"infer_user.py: {user}: not known to the model; served the most clicked videos", file=sys.stderr)


if __name__ == "__main__":
    run_script(main)
