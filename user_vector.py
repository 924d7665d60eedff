"""Users with their history -> vectors for a cosine-only ANN engine (SIMPLE-LSH).

    python user_vector.py --infer_set_path='./data/infer.txt' --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl' --batch_size=50

A user vector u becomes [1, u_1, ..., u_31, 0] divided by its norm: item_vector.py says why its cosine
with a video's vector orders the videos as the softmax does. Prints a vector a line, `,` between the
numbers, in input order; --output_path writes a file with the user ids instead.
"""

from data_processor import argument_parser, bad_lines_of, ordered_map, run_script
from infer import add_infer_arguments, block_size, inference_network, user_vectors
from item_vector import add_output_path, as_written, load_trained, write_vectors
from reader import Reader, raw_blocks

import numpy as np


def parse_args():
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    add_infer_arguments(parser)
    add_output_path(parser)
    return parser.parse_args()


def simple_lsh_users(users):
    """[1, u, 0] / |[1, u, 0]| of user vectors. float32 [L, u] -> float64 [L, u + 2], rows of norm 1."""
    lines = len(users)
    vectors = np.hstack([np.ones((lines, 1)), users.astype(np.float64), np.zeros((lines, 1))])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main():
    """Print or write the vector of each user of the log."""
    args = parse_args()
    model, feature_dict = load_trained(args)
    bad_lines = bad_lines_of(args, args.output_path)
    reader = Reader(feature_dict, model.config.window_size, tail=True)
    network = inference_network(model)

    def vectors_of(block):
        log = reader.encode_raw(args.infer_set_path, block)
        return as_written(args.output_path, log.users, simple_lsh_users(user_vectors(network, log)))
    blocks = raw_blocks(args.infer_set_path, block_size(args), bad_lines)
    write_vectors(args.output_path, model, ordered_map(vectors_of, blocks, args.processes))
    if bad_lines:
        bad_lines.write()


if __name__ == "__main__":
    run_script(main)
