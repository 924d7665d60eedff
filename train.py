"""Passes over the log -> model_pass_00000.tar.gz, model_pass_00001.tar.gz, ... and metrics.jsonl.

    python train.py --train_set_path='./data/train.txt' --test_set_path='./data/test.txt' \
        --model_output_dir='./output/model/' --feature_dict='./output/feature_dict.pkl' \
        --item_freq='./output/item_freq.pkl'

After each pass the last click of each line of the test log is predicted from the clicks before it, and
the pass gets a line on stdout and an object in metrics.jsonl: cost, test cost, speed, ranking metrics,
and the same metrics of a ranking by popularity. Two runs with one --seed, one log and one number of
--threads write identical models.
"""

import contextlib
import os

from candgen.console import run_script
from candgen.data.log_files import log_files
from candgen.environment import launched
from candgen.options import argument_parser
from candgen.output_folder import output_folder
from candgen.training.checkpoint import OUTPUT_FILES
from candgen.training.options import PRESETS, add_network_arguments, add_run_arguments
from candgen.training.ranks import Ranks
from candgen.training.run import train


def parse_args(argv=None):
    """The settings of this run, from the command line; --preset gives those that are not there."""
    first = argument_parser("", add_help=False)
    first.add_argument("--preset", default="classic")
    preset = first.parse_known_args(argv)[0].preset
    parser = argument_parser(__doc__)
    add_run_arguments(parser)
    add_network_arguments(parser)
    parser.set_defaults(**PRESETS.get(preset, {}))
    args = parser.parse_args(argv)
    world, _ = launched()
    if args.l2_rate and args.optimizer != "adagrad":
        parser.error(
            "--l2_rate goes with --optimizer=adagrad: paddle's Adam has none for sparse tables"
        )
    if args.content and not args.tie_embeddings:
        parser.error("--content goes with --tie_embeddings: one vector a video")
    if args.patience and not args.valid_set_path:
        parser.error("--patience needs --valid_set_path")
    for one, other in (
        ("init_model_path", "init_feature_dict"),
        ("compare_with", "compare_feature_dict"),
    ):
        if bool(getattr(args, one)) != bool(getattr(args, other)):
            parser.error(f"--{one} and --{other} go together")
    if args.min_ratio and not args.compare_with:
        parser.error("--min_ratio needs --compare_with")
    if args.max_user_clicks and not all(map(os.path.isfile, log_files(args.train_set_path))):
        parser.error("--max_user_clicks reads the training log twice: give files that are there")
    if args.compare_with and not all(map(os.path.isfile, log_files(args.test_set_path))):
        parser.error("--compare_with reads the test log again: give files that are there")
    if args.compare_with and os.path.realpath(
        os.path.dirname(args.compare_with)
    ) == os.path.realpath(args.model_output_dir):
        parser.error(
            "--compare_with lies in --model_output_dir, whose models this run would remove"
        )
    inputs = [
        args.train_set_path,
        args.test_set_path,
        args.valid_set_path,
        args.catalogue_path,
        args.context_set_path,
    ]
    from_stdin = sum(paths.count("-") for paths in inputs if paths)
    if from_stdin and world > 1:
        parser.error("several ranks cannot read one standard input (-): give files")
    if from_stdin > 1:
        parser.error("only one log can be standard input (-)")
    earlier, new = (
        {*map(os.path.realpath, log_files(paths or []))}
        for paths in (args.context_set_path, args.train_set_path)
    )
    if earlier & new:
        parser.error(
            f"--context_set_path has {min(earlier & new)}, whose clicks are to be learned: give earlier ones"
        )
    return args


def main(argv=None):
    """Train as the command line says: alone, or as one of several ranks."""
    with Ranks() as ranks:
        args = parse_args(argv)
        ranks.connect(args.device)
        folder = (
            contextlib.nullcontext()
            if ranks.rank
            else output_folder(args.model_output_dir, OUTPUT_FILES)
        )
        with folder:
            train(args, ranks)


if __name__ == "__main__":
    run_script(main)
