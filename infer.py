"""Users with their history -> top-N videos.

    python infer.py --infer_set_path='./data/infer.txt' --model_path='./output/model/model_pass_00000.tar.gz' \
        --feature_dict='./output/feature_dict.pkl' --batch_size=50

Prints a line a user, in input order: user-id, a tab, `video:probability,video:probability,...`, best
first. The probabilities are those of the softmax over all videos that may be recommended: those of the
dictionary, less what --allow_items and --deny_items leave out; --remove_seen leaves them as they are. A comma
or a percent sign within a video-id is printed as %2C or %25, so that a list can be split at its commas. With
--evaluate it prints metrics instead.

Also home of what the other scripts use to serve: reading a model, user vectors, top-N, ranking
metrics, files of vectors.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from candgen.console import InputError, run_script
from candgen.data.logs import BadLines
from candgen.environment import load_paddle
from candgen.model.model_file import load_model
from candgen.options import argument_parser, refuse_unused
from candgen.serving.lists import (
    allowed_videos,
    listed_names,
    lists_text,
    ordered_map,
    warn_if_collapsed,
)
from candgen.serving.options import (
    add_infer_arguments,
    add_list_arguments,
    block_size,
    shows_progress,
)
from candgen.serving.topn import TopN
from reader import Reader


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    add_infer_arguments(parser)
    add_list_arguments(parser)
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="print no lists, but one JSON object: the metrics of "
        "train.py, on the last click of each line of the log",
    )
    args = parser.parse_args(argv)
    if args.evaluate:
        refuse_unused(
            parser,
            args,
            ["top_n", "remove_seen"],
            "does not go with --evaluate: its metrics have "
            "lists of their own, with and without what was seen",
        )
    return args


def main(argv=None):
    """Print the top-N videos of each user of the log."""
    args = parse_args(argv)
    load_paddle()
    import network_conf
    from candgen.model.layers import use_device
    from candgen.serving.evaluation import evaluate_model
    from candgen.serving.user_vectors import user_vectors

    model = load_model(args.model_path, args.feature_dict)
    videos = listed_names(model.feature_dict)
    allowed = allowed_videos(args.allow_items, args.deny_items, model.feature_dict)
    top_n = TopN(model.nce_w, model.scaled_biases(args.popularity), allowed)
    use_device(args.device)
    network = network_conf.load_network(model)
    reader = Reader(model.feature_dict, BadLines(args.max_bad_lines), shows_progress(None))
    if args.evaluate:
        [log] = reader.encode(args.infer_set_path)
        if not (log.last_item >= 0).any():
            raise InputError(
                " ".join(args.infer_set_path),
                "no line with a click",
                hint="give users with a history",
            )
        with ThreadPoolExecutor(args.threads) as pool:
            print(json.dumps(evaluate_model(network, top_n, log, pool.map)[0], indent=1))
        return

    def serve(log):
        users = user_vectors(network, log)
        removed = [log.items(row) for row in range(len(users))] if args.remove_seen else None
        ids, _, probabilities = top_n(users, args.top_n, removed)
        return users, lists_text(log.users, ids, probabilities, videos)

    blocks = reader.encode(args.infer_set_path, block_size(args.batch_size))
    with ThreadPoolExecutor(args.threads) as pool:
        for text in warn_if_collapsed(ordered_map(pool, serve, blocks, args.threads)):
            sys.stdout.write(text)


if __name__ == "__main__":
    run_script(main)
