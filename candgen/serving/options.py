"""candgen.serving.options"""

import argparse
import os
import sys

from candgen.options import (
    PATHS,
    add_device,
    add_max_bad_lines,
    add_model_arguments,
    number_type,
    path_type,
)
from candgen.serving.topn import USER_BLOCK
from candgen.serving.vector_files import FORMATS


def add_infer_arguments(parser, required=True):
    """The flags of the scripts that look at users with their history."""
    parser.add_argument(
        "--infer_set_path",
        **PATHS,
        required=required,
        help="log of the users "
        "to serve: files, folders of part files or patterns (- for standard input)",
    )
    add_model_arguments(parser)
    add_batch_size(parser)
    add_max_bad_lines(parser)
    add_device(parser)


def add_batch_size(parser):
    """The flag that bounds how many users are worked on together."""
    parser.add_argument(
        "--batch_size",
        type=number_type(int, 1),
        default=2048,
        help=f"users read, computed and written at a time, rounded up to a multiple of {USER_BLOCK}; "
        "changes no result (%(default)s)",
    )


def add_list_arguments(parser):
    """The flags of the scripts that print lists of videos."""
    parser.add_argument(
        "--top_n", type=number_type(int, 1), default=30, help="videos per user (%(default)s)"
    )
    add_item_filters(parser)
    add_popularity(parser)
    parser.add_argument(
        "--remove_seen", action="store_true", help="leave out the videos of the user's history"
    )


def add_item_filters(parser):
    """The flags of the scripts that recommend or export a part of the videos; `allowed_videos` reads them."""
    parser.add_argument(
        "--allow_items",
        **PATHS,
        metavar="FILE",
        help="recommend no videos but these: ids, one a line",
    )
    parser.add_argument(
        "--deny_items",
        **PATHS,
        metavar="FILE",
        help="recommend none of these videos: ids, one a line",
    )


def add_popularity(parser):
    """The flag of the scripts that look at biases."""
    parser.add_argument(
        "--popularity",
        type=number_type(float, 0, 100),
        default=1.0,
        metavar="F",
        help="times "
        "the videos' biases: below 1 popular videos come later, and others more often (%(default)s)",
    )


def add_output_path(parser):
    """The flag of the scripts that export vectors."""
    parser.add_argument(
        "--output_path",
        type=_vector_path,
        help="file with ids and vectors, in place of stdout: "
        ".tsv (id and numbers between tabs), .npz (arrays ids, vectors) or .vec (word2vec text)",
    )


def _vector_path(text):
    if os.path.splitext(text)[1] not in FORMATS:
        raise argparse.ArgumentTypeError(
            f"{text}: unknown kind of file: end its name in {', '.join(FORMATS)}"
        )
    return path_type(text)


def block_size(batch_size):
    """Lines that are worked on together: --batch_size in whole blocks, since those cost the same full or not."""
    return -(-batch_size // USER_BLOCK) * USER_BLOCK


def shows_progress(output):
    """Whether there may be a bar: not among results on the same terminal."""
    return bool(output or not sys.stdout.isatty())
