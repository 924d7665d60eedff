"""Users with their history -> vectors for a cosine-only ANN engine (SIMPLE-LSH).

    python user_vector.py --infer_set_path='./data/infer.txt' --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl' --batch_size=50

A user vector u becomes [1, u_1, ..., u_31, 0] divided by its norm: item_vector.py says why its cosine
with a video's vector orders the videos as the softmax does. Prints a vector a line, `,` between the
numbers, in input order; --output_path writes a file with the user ids instead.
"""
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import infer
import utils

import numpy as np


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = utils.argument_parser(__doc__)
    infer.add_infer_arguments(parser, required=False)
    infer.add_output_path(parser)
    parser.add_argument("--export_dir", type=utils.folder_type, help="compute no vectors, but write the network up "
                        "to the user vector there for paddle.inference, with what docs/serve.py reads beside it")
    args = parser.parse_args(argv)
    if bool(args.infer_set_path) == bool(args.export_dir):
        parser.error("give one of --infer_set_path and --export_dir")
    if args.export_dir:
        utils.refuse_unused(parser, args, ["output_path", "batch_size", "max_bad_lines", "threads"],
                            "does not go with --export_dir, which computes no vectors")
    if args.max_bad_lines and not args.output_path:
        parser.error("--max_bad_lines needs --output_path: printed vectors have no ids, so a line left out would "
                     "shift all that follow")
    return args


def simple_lsh_users(users):
    """[1, u, 0] / |[1, u, 0]| of user vectors. float32 [L, u] -> float64 [L, u + 2], rows of norm 1."""
    lines = len(users)
    vectors = np.hstack([np.ones((lines, 1)), users.astype(np.float64), np.zeros((lines, 1))])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def export(folder, network, model, dictionary):
    """Put the user tower, `dictionary` and inputs.json into a folder: what has an inputs.json is whole."""
    from network_conf import UserTower
    made = os.path.join(folder, ".partial")
    shutil.rmtree(made, ignore_errors=True)  # of a run that was killed
    try:
        with utils.naming(folder):
            os.makedirs(made)
            UserTower(network).save(made, infer.fingerprints(model))
            shutil.copy(dictionary, os.path.join(made, "feature_dict.pkl"))
        moves = [(os.path.join(made, name), os.path.join(folder, name)) for name in os.listdir(made)]
        for _, place in moves:
            utils.remove_leftovers(place)
        utils.replace_all([(*move, move[1]) for move in moves], absent=os.path.join(folder, "inputs.json"))
    finally:
        shutil.rmtree(made, ignore_errors=True)


def main(argv=None):
    """Print or write the vector of each user of the log."""
    args = parse_args(argv)
    model = told, parameters, _, feature_dict = infer.load_model(args)
    network = infer.start_network(args, told, parameters)
    if args.export_dir:
        with utils.output_folder(args.export_dir, r"user_tower\..*|feature_dict\.pkl|inputs\.json"):
            export(args.export_dir, network, model, args.feature_dict)
        return

    def vectors_of(log):
        users = infer.user_vectors(network, log)
        return users, (log.users, simple_lsh_users(users))
    blocks = infer.blocks_to_serve(args, feature_dict)
    with ThreadPoolExecutor(args.threads) as pool:
        served = infer.watched(utils.ordered_map(pool, vectors_of, blocks, args.threads))
        infer.write_vectors(args.output_path, model, served)


if __name__ == "__main__":
    utils.run_script(main)
