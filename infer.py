r"""Users with their history -> top-N videos.

    python infer.py --infer_set_path='./data/infer.txt' \
        --model_path='./output/model/model_pass_00000.tar.gz' \
        --feature_dict='./output/feature_dict.pkl' --batch_size=50

Prints a line a user, in input order: user-id, a tab, `video:probability,video:probability,...`,
best first. The probabilities are those of the softmax over all videos that may be recommended:
those of the dictionary, without those that --allow_items and --deny_items exclude; --remove_seen
does not change them. A comma within a video-id is printed as %2C, so that a list can be split at
its commas. With --format=long it prints a table with the columns user, rank, video, probability.
--names and --explain add fields to each listed video. With --evaluate it prints metrics instead.
"""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

from candgen.console import InputError, run_script
from candgen.data.dictionary import ITEMS
from candgen.data.logs import BadLines
from candgen.environment import load_paddle
from candgen.model.model_file import load_model
from candgen.options import argument_parser, refuse_unused
from candgen.serving.blocks import ordered_map, round_up_to_blocks
from candgen.serving.collapse import warn_if_collapsed
from candgen.serving.item_filters import allowed_videos
from candgen.serving.lists import ListFormatter
from candgen.serving.options import (
    add_infer_arguments,
    add_list_arguments,
    check_histories,
    shows_progress,
)
from candgen.serving.parts import StdoutWriter
from candgen.serving.served_log import served_log
from candgen.serving.titles import read_titles
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
        help="print no lists, but one JSON object: the metrics of train.py, on the last click of "
        "each line of the log",
    )
    args = parser.parse_args(argv)
    if args.evaluate:
        refuse_unused(
            parser,
            args,
            ["top_n", "remove_seen", "format", "names", "explain"],
            "does not go with --evaluate: its metrics are of lists of their own, with and without "
            "earlier clicks, which are not printed",
        )
    names = [args.names] if args.names else None
    check_histories(parser, args, [args.allow_items, args.deny_items, names])
    return args


def main(argv=None):
    """Print the top-N videos of each user of the log, or metrics."""
    args = parse_args(argv)
    load_paddle()
    import network_conf
    from candgen.model.layers import use_device
    from candgen.serving.evaluation import evaluate_model
    from candgen.serving.explain import Explainer
    from candgen.serving.recommend import Recommender

    model = load_model(args.model_path, args.feature_dict)
    allowed = allowed_videos(args.allow_items, args.deny_items, model.feature_dict)
    top_n = TopN(model.nce_w, model.scaled_biases(args.popularity), allowed)
    use_device(args.device)
    network = network_conf.load_network(model)
    reader = Reader(model.feature_dict, BadLines(args.max_bad_lines), shows_progress(None))

    if args.evaluate:
        [log] = served_log(reader, args.infer_set_path, context_paths=args.context_set_path)
        if not (log.last_item >= 0).any():
            raise InputError(
                " ".join(args.infer_set_path),
                "no line with a click",
                hint="give users with a history",
            )
        with ThreadPoolExecutor(args.threads) as pool:
            metrics, _ = evaluate_model(network, top_n, log, pool.map)
        print(json.dumps(metrics, indent=1))
        return

    titles = read_titles(args.names, model.feature_dict[ITEMS]) if args.names else None
    formatter = ListFormatter(args.format, model.feature_dict, titles, args.explain)
    explain = Explainer(network, model.nce_w) if args.explain else None
    recommend = Recommender(network, top_n, args.top_n, args.remove_seen, explain=explain)
    batch_size = round_up_to_blocks(args.batch_size)
    # without --remove_seen the last clicks are enough: those of the window, and with --explain one
    # more, which moves in
    context_clicks = None if args.remove_seen else network.config.window_size + args.explain
    logs = served_log(
        reader, args.infer_set_path, batch_size, args.context_set_path, context_clicks
    )
    with ThreadPoolExecutor(args.threads) as pool, StdoutWriter(formatter.header) as writer:
        blocks = warn_if_collapsed(ordered_map(pool, recommend, logs, args.threads))
        for start, block in zip(itertools.count(0, batch_size), blocks):
            writer.write(start, formatter.text(block.lists))


if __name__ == "__main__":
    run_script(main)
