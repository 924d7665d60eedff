"""Flags of the scripts that serve and export. Imports no paddle."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from candgen.console import InputError
from candgen.data.log_files import real_files
from candgen.options import (
    PATHS,
    add_device,
    add_max_bad_lines,
    add_model_arguments,
    number_type,
    path_type,
    refuse_second_stdin,
)
from candgen.serving.blocks import USER_BLOCK
from candgen.serving.lists import LIST_FORMATS
from candgen.serving.vector_files import FORMATS, vector_format


def add_infer_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Flags of the scripts that read users with their history."""
    parser.add_argument(
        "--infer_set_path",
        **PATHS,
        required=required,
        help="log of the users to serve: files, folders of part files or patterns (- for standard "
        "input)",
    )
    add_context(parser)
    add_model_arguments(parser)
    add_batch_size(parser)
    add_max_bad_lines(parser)
    add_device(parser)


def add_context(parser: argparse.ArgumentParser) -> None:
    """Flag of the scripts that read users with their history: earlier logs of them."""
    parser.add_argument(
        "--context_set_path",
        **PATHS,
        metavar="LOG",
        help="logs of earlier clicks, in the order of time: those of a user are put in front of "
        "the user's clicks in --infer_set_path, as one history",
    )


def check_histories(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    further_inputs: Sequence[list[str] | None] = (),
) -> None:
    """End with a message if an input would be read twice: standard input, or a file with clicks.

    Parameters
    ----------
    parser, args : with --infer_set_path and --context_set_path.
    further_inputs : those of other flags.
    """
    refuse_second_stdin(parser, [args.infer_set_path, args.context_set_path, *further_inputs])
    both = real_files(args.context_set_path or []) & real_files(args.infer_set_path or [])
    if both:
        parser.error(f"--context_set_path has {min(both)}, which is served: give earlier clicks")


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    """Flag of the scripts that compute user vectors."""
    parser.add_argument(
        "--batch_size",
        type=number_type(int, 1),
        default=2048,
        help="users that are read, computed and written together, rounded up to a multiple of "
        f"{USER_BLOCK}; does not change the result (default: %(default)s)",
    )


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the scripts that print lists of videos."""
    parser.add_argument(
        "--top_n",
        type=number_type(int, 1),
        default=30,
        help="videos per user (default: %(default)s)",
    )
    add_item_filters(parser)
    add_popularity(parser)
    parser.add_argument(
        "--remove_seen", action="store_true", help="leave out the videos of the user's history"
    )
    add_list_format(parser)
    parser.add_argument(
        "--explain",
        action="store_true",
        help="add to each listed video the click of the history without which its score would be "
        "lowest (because), and by how much (drop); computes a user vector for each click of the "
        "window",
    )


def add_list_format(parser: argparse.ArgumentParser) -> None:
    """Flags of the scripts that print lists of videos: how they are written."""
    formats = [f"{name} ({each.description})" for name, each in LIST_FORMATS.items()]
    parser.add_argument(
        "--format",
        choices=LIST_FORMATS,
        default="lists",
        help=f"how lists are written: {' or '.join(formats)} (default: %(default)s)",
    )
    parser.add_argument(
        "--names",
        type=path_type,
        metavar="FILE",
        help="add titles of videos to lists: id, tab, title, one a line",
    )


def add_item_filters(parser: argparse.ArgumentParser) -> None:
    """Flags of the scripts that recommend or export some of the videos, for `allowed_videos`."""
    parser.add_argument(
        "--allow_items",
        **PATHS,
        metavar="FILE",
        help="recommend only these videos: ids, one a line",
    )
    parser.add_argument(
        "--deny_items",
        **PATHS,
        metavar="FILE",
        help="recommend none of these videos: ids, one a line",
    )


def add_popularity(parser: argparse.ArgumentParser) -> None:
    """Flag of the scripts that use the biases of the videos."""
    parser.add_argument(
        "--popularity",
        type=number_type(float, 0, 100),
        default=1.0,
        metavar="F",
        help="multiply the video biases by F: below 1 popular videos rank lower, and others are "
        "recommended more often (default: %(default)s)",
    )


def add_output_path(parser: argparse.ArgumentParser) -> None:
    """Flag of the scripts that export vectors."""
    formats = [f"{suffix} ({each.description})" for suffix, each in FORMATS.items()]
    parser.add_argument(
        "--output_path",
        type=vector_path_type,
        help="file with ids and vectors, in place of stdout: "
        f"{', '.join(formats[:-1])} or {formats[-1]}",
    )


def vector_path_type(text: str) -> str:
    """argparse type of a file of vectors: its suffix must be that of a format."""
    try:
        vector_format(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.problem}: {error.hint}") from error
    return path_type(text)


def shows_progress(output: str | None) -> bool:
    """Whether a progress bar may be drawn: not between results on the same terminal.

    Parameters
    ----------
    output : file or folder that the results are written to; None for stdout.
    """
    return output is not None or not sys.stdout.isatty()
