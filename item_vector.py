r"""Model -> video vectors for a cosine-only ANN engine (SIMPLE-LSH). Imports no paddle.

    python item_vector.py --model_path='./output/model/model_pass_00000.tar.gz' \
        --feature_dict='./output/feature_dict.pkl'

A video with weights w and bias b becomes [b, w_1, ..., w_31, sqrt(m^2 - |(b, w)|^2)], m being the
largest norm |(b, w)| over all videos of the model: every video vector has norm m. The cosine with a
user's [1, u, 0] is then (w . u + b) / (m |(1, u)|), which orders the videos as their scores do, and
so as the softmax does (Neyshabur & Srebro 2014, section 4). Prints a vector a line, `,` between the
numbers, videos in dictionary order (`<unk>` is no video: line 1 is the video with id 1);
--output_path writes a file with ids instead, and beside it FILE.json with the fingerprints of
dictionary and model: those of users and videos must be equal.

With --allow_items and --deny_items the file has only the videos that infer.py recommends with these
flags. They change no vector, m included: files with and without them can be mixed in one index.
"""

import os
import sys

from candgen.console import Progress, run_script
from candgen.data.dictionary import ITEMS
from candgen.model.model_file import load_model
from candgen.options import (
    PATHS,
    add_model_arguments,
    argument_parser,
    number_type,
    refuse_unused,
)
from candgen.serving.agreement import check_vectors
from candgen.serving.item_filters import allowed_videos, listed_videos
from candgen.serving.lists import ListFormatter, video_names
from candgen.serving.options import (
    add_item_filters,
    add_list_format,
    add_output_path,
    add_popularity,
    shows_progress,
    vector_path_type,
)
from candgen.serving.similar import similar_lists
from candgen.serving.simple_lsh import simple_lsh_videos
from candgen.serving.titles import read_titles
from candgen.serving.vector_files import write_vectors

import numpy as np

VIDEOS_AT_ONCE = 10_000


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    add_model_arguments(parser)
    add_output_path(parser)
    add_item_filters(parser)
    add_popularity(parser)
    parser.add_argument(
        "--similar",
        type=number_type(int, 1),
        metavar="N",
        help="print no vectors, but the N most similar videos of each video, by the cosine of "
        "their weights, as lists",
    )
    parser.add_argument(
        "--items",
        **PATHS,
        metavar="FILE",
        help="with --similar: only the lists of these videos, in this order: ids, one a line",
    )
    add_list_format(parser)
    parser.add_argument(
        "--check",
        type=vector_path_type,
        metavar="USERS_FILE",
        help="write --output_path, then read it and compare, for the users of a file of "
        "user_vector.py, the order by cosine, as an engine finds it, with the order of the model",
    )
    args = parser.parse_args(argv)
    if args.similar:
        refuse_unused(
            parser,
            args,
            ["output_path", "popularity"],
            "does not go with --similar, which prints lists to stdout and uses no biases",
        )
    else:
        refuse_unused(
            parser, args, ["items", "format", "names"], "needs --similar, which prints lists"
        )
    if (args.allow_items or args.deny_items) and not (args.output_path or args.similar):
        parser.error(
            "--allow_items and --deny_items need --output_path: printed vectors have no ids, so a "
            "video left out would shift all that follow"
        )
    if args.check and not args.output_path:
        parser.error("--check needs --output_path, which it writes and then compares")
    if args.check and os.path.realpath(args.check) == os.path.realpath(args.output_path):
        parser.error(
            "--check is the file that --output_path would write: give that of user_vector.py"
        )
    return args


def main(argv=None):
    """Print or write the vector of each video, or print similar videos."""
    args = parse_args(argv)
    model = load_model(args.model_path, args.feature_dict)
    allowed = allowed_videos(args.allow_items, args.deny_items, model.feature_dict)
    if args.similar:
        videos = listed_videos(args.items, model.feature_dict[ITEMS]) if args.items else None
        titles = read_titles(args.names, model.feature_dict[ITEMS]) if args.names else None
        formatter = ListFormatter(
            args.format, model.feature_dict, titles, columns=("video", "similar", "cosine")
        )
        sys.stdout.write(formatter.header)
        names = formatter.names
        for lists in similar_lists(model.nce_w, args.similar, names, allowed, videos):
            sys.stdout.write(formatter.text(lists))
        return

    videos = video_names(model.feature_dict, np.flatnonzero(allowed))
    vectors = simple_lsh_videos(model.nce_w, model.scaled_biases(args.popularity))
    vectors = vectors[allowed[1:]]  # they are without <unk>
    with Progress("videos", len(videos), shows_progress(args.output_path)) as bar:

        def blocks():
            for start in range(0, len(videos), VIDEOS_AT_ONCE):
                end = start + VIDEOS_AT_ONCE
                yield videos[start:end], vectors[start:end]
                bar.at(end)

        write_vectors(args.output_path, model, blocks())
    if args.check:
        print(check_vectors(args.check, args.output_path, model, allowed, args.popularity))


if __name__ == "__main__":
    run_script(main)
