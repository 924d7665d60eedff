"""The command line of train.py. Imports no paddle."""

from __future__ import annotations

import argparse
import os

from candgen.data.log_files import log_files, real_files
from candgen.environment import launched
from candgen.options import argument_parser, refuse_second_stdin
from candgen.training import flags
from candgen.training.presets import PRESETS

USAGE = """train.py --train_set_path LOG ... --test_set_path LOG ... --model_output_dir DIR
                --feature_dict FILE --item_freq FILE [--preset best] [flags below]"""


def parse_args(doc: str, argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Settings of a run, from the command line; ``--preset`` changes the defaults.

    Parameters
    ----------
    doc : docstring of the script, the first part of ``--help``.
    argv : arguments; those of the process if None.

    Returns
    -------
    args : argparse.Namespace
    fixed : names of the settings that may not change when the run is resumed.
    """
    preset_parser = argument_parser("", add_help=False)
    flags.add_preset(preset_parser)
    preset = preset_parser.parse_known_args(argv)[0].preset
    parser = argument_parser(doc, usage=USAGE)
    fixed = flags.RecordedFlags()
    flags.add_important_flags(parser.add_argument_group("the flags that matter first"), fixed)
    flags.add_data_flags(parser.add_argument_group("data"), fixed)
    flags.add_output_flags(parser.add_argument_group("output"), fixed)
    flags.add_network_flags(parser.add_argument_group("network (a preset gives defaults)"), fixed)
    flags.add_optimization_flags(
        parser.add_argument_group("optimization (a preset gives defaults)"), fixed
    )
    flags.add_nightly_flags(parser.add_argument_group("nightly runs"), fixed)
    flags.add_process_flags(parser.add_argument_group("processes and devices"), fixed)
    parser.set_defaults(**PRESETS[preset])
    args = parser.parse_args(argv)
    check_combinations(parser, args)
    check_inputs(parser, args)
    return args, fixed.names


def check_combinations(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error if flags do not go together."""
    if args.l2_rate and args.optimizer != "adagrad":
        parser.error("--l2_rate needs --optimizer=adagrad: Adam has none for sparse tables")
    if args.content and not args.tie_embeddings:
        parser.error("--content needs --tie_embeddings: one vector for each video")
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
    if args.compare_with:
        compared_folder = os.path.realpath(os.path.dirname(args.compare_with))
        if compared_folder == os.path.realpath(args.model_output_dir):
            parser.error(
                "--compare_with is in --model_output_dir, whose models this run would remove"
            )


def check_inputs(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error if a log cannot be read as often as it is needed."""
    if args.max_user_clicks and not all_files(args.train_set_path):
        parser.error("--max_user_clicks reads the training log twice: give regular files")
    if args.compare_with and not all_files(args.test_set_path):
        parser.error("--compare_with reads the test log again: give regular files")
    inputs = (
        args.train_set_path,
        args.test_set_path,
        args.valid_set_path,
        args.catalogue_path,
        args.context_set_path,
    )
    world, _ = launched()
    if world > 1 and any("-" in paths for paths in inputs if paths):
        parser.error("several ranks cannot read one standard input (-): give files")
    refuse_second_stdin(parser, inputs)
    both = real_files(args.context_set_path or []) & real_files(args.train_set_path)
    if both:
        parser.error(
            f"--context_set_path has {min(both)}, which is trained on: give earlier clicks"
        )


def all_files(paths: list[str]) -> bool:
    """Whether a log consists of regular files, which can be read more than once."""
    return all(map(os.path.isfile, log_files(paths)))
