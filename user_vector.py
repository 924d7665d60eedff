r"""Users with their history -> vectors for a cosine-only ANN engine (SIMPLE-LSH).

    python user_vector.py --infer_set_path='./data/infer.txt' \
        --model_path='./output/model/model_pass_00000.tar.gz' \
        --feature_dict='./output/feature_dict.pkl' --batch_size=50

A user vector u becomes [1, u_1, ..., u_31, 0] divided by its norm; item_vector.py explains why its
cosine with the vector of a video orders the videos as the softmax does. Prints a vector a line, `,`
between the numbers, in input order; --output_path writes a file with the user ids instead.
"""

from concurrent.futures import ThreadPoolExecutor

from candgen.console import run_script
from candgen.data.logs import BadLines
from candgen.environment import load_paddle
from candgen.model.model_file import load_model
from candgen.options import argument_parser, folder_type, refuse_unused
from candgen.output_folder import output_folder
from candgen.serving.blocks import ordered_map, round_up_to_blocks
from candgen.serving.collapse import warn_if_collapsed
from candgen.serving.options import (
    add_infer_arguments,
    add_output_path,
    check_histories,
    shows_progress,
)
from candgen.serving.served_log import served_log
from candgen.serving.simple_lsh import simple_lsh_users
from candgen.serving.vector_files import write_vectors
from reader import Reader


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    add_infer_arguments(parser, required=False)
    add_output_path(parser)
    parser.add_argument(
        "--export_dir",
        type=folder_type,
        help="compute no vectors, but write the network up to the user vector there for "
        "paddle.inference, with what docs/serve.py reads beside it",
    )
    args = parser.parse_args(argv)
    if bool(args.infer_set_path) == bool(args.export_dir):
        parser.error("give one of --infer_set_path and --export_dir")
    if args.export_dir:
        refuse_unused(
            parser,
            args,
            ["context_set_path", "output_path", "batch_size", "max_bad_lines", "threads"],
            "does not go with --export_dir, which computes no vectors",
        )
    if args.max_bad_lines and not args.output_path:
        parser.error(
            "--max_bad_lines needs --output_path: printed vectors have no ids, so a line left out "
            "would shift all that follow"
        )
    check_histories(parser, args)
    return args


def main(argv=None):
    """Print or write the vector of each user of the log, or export the network."""
    args = parse_args(argv)
    load_paddle()
    import network_conf
    from candgen.model.layers import use_device
    from candgen.serving import user_tower
    from candgen.serving.user_vectors import UserBlock, user_vectors

    model = load_model(args.model_path, args.feature_dict)
    use_device(args.device)
    network = network_conf.load_network(model)
    if args.export_dir:
        base_class = network_conf.DNNmodel
        with output_folder(args.export_dir, user_tower.FILE_PATTERN):
            user_tower.export(args.export_dir, network, base_class, model, args.feature_dict)
        return

    def compute(log):
        users = user_vectors(network, log)
        return UserBlock(log.users, users)

    bad_lines = BadLines(args.max_bad_lines)
    reader = Reader(model.feature_dict, bad_lines, shows_progress(args.output_path))
    logs = served_log(
        reader,
        args.infer_set_path,
        round_up_to_blocks(args.batch_size),
        args.context_set_path,
        network.config.window_size,
    )
    with ThreadPoolExecutor(args.threads) as pool:
        blocks = warn_if_collapsed(ordered_map(pool, compute, logs, args.threads))
        vectors = ((block.ids, simple_lsh_users(block.vectors)) for block in blocks)
        write_vectors(args.output_path, model, vectors)


if __name__ == "__main__":
    run_script(main)
