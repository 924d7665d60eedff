"""Users with their history -> vectors for a cosine-only ANN engine (SIMPLE-LSH).

    python user_vector.py --infer_set_path='./data/infer.txt' --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl' --batch_size=50

A user vector u becomes [1, u_1, ..., u_31, 0] divided by its norm: item_vector.py says why its cosine
with a video's vector orders the videos as the softmax does. Prints a vector a line, `,` between the
numbers, in input order; --output_path writes a file with the user ids instead.
"""
import numpy as np

from data_processor import argument_parser, run_script
from infer import READ_LINES, add_infer_arguments, inference_network, user_vectors
from item_vector import add_output_path, load_trained, write_vectors
from reader import Reader


def parse_args():
    parser = argument_parser(__doc__)
    add_infer_arguments(parser)
    add_output_path(parser)
    return parser.parse_args()


def simple_lsh_users(users):
    """[1, u, 0] / |[1, u, 0]| of user vectors. float32 [L, u] -> float64 [L, u + 2], rows of norm 1."""
    lines = len(users)
    vectors = np.hstack([np.ones((lines, 1)), users.astype(np.float64), np.zeros((lines, 1))])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def vector_blocks(network, reader, path, batch_size):
    """Yield (user ids, SIMPLE-LSH vectors) of `batch_size` lines of a log at a time."""
    for log in reader.encode(path, READ_LINES):
        vectors = simple_lsh_users(user_vectors(network, log))
        for start in range(0, len(vectors), batch_size):
            yield log.users[start:start + batch_size], vectors[start:start + batch_size]


def main():
    args = parse_args()
    model, feature_dict = load_trained(args)
    reader = Reader(feature_dict, model.config.window_size)
    write_vectors(args.output_path, vector_blocks(inference_network(model), reader, args.infer_set_path,
                                                  args.batch_size))


if __name__ == "__main__":
    run_script(main)
