r"""Offline mining: users -> top-N videos, from the user id alone, or from id and history.

    python infer_user.py --model_path='./output/model/model_pass_00000.tar.gz' \
        --feature_dict='./output/feature_dict.pkl'

Serves every user of the dictionary, or those of --user_ids (one id a line), or those of a log,
--infer_set_path. Without a log a user has no clicks, and an unknown province, city and phone; an id
that the model does not know gets the most clicked videos, and is named on stderr. By the id a model
of --preset=best knows the history that the user had in the training log. Prints as infer.py does,
or writes files of --part_users users to --output_dir. Each of these appears whole or not at all,
and a second start continues after those that are complete.
"""

import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor

from candgen.console import InputError, Progress, logger, run_script
from candgen.data.dictionary import ITEMS
from candgen.data.logs import BadLines
from candgen.data.name_lookup import NameLookup
from candgen.data.text_files import text_lines
from candgen.environment import load_paddle
from candgen.model.model_file import load_model
from candgen.options import (
    PATHS,
    add_device,
    add_max_bad_lines,
    add_model_arguments,
    argument_parser,
    folder_type,
    number_type,
    path_type,
    refuse_unused,
)
from candgen.output_folder import output_folder
from candgen.serving import parts
from candgen.serving.blocks import USER_BLOCK, batched, ordered_map, round_up_to_blocks
from candgen.serving.item_filters import allowed_videos
from candgen.serving.lists import ListFormatter
from candgen.serving.options import (
    add_batch_size,
    add_context,
    add_list_arguments,
    check_histories,
    shows_progress,
)
from candgen.serving.served_log import served_log
from candgen.serving.titles import read_titles
from candgen.serving.topn import TopN
from reader import Reader


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    add_model_arguments(parser)
    users = parser.add_mutually_exclusive_group()
    users.add_argument(
        "--user_ids",
        type=path_type,
        help="file with the ids to serve, one a line (- for standard input); every user of the "
        "dictionary if not given",
    )
    users.add_argument(
        "--infer_set_path", **PATHS, help="log of the users to serve, with their histories"
    )
    add_context(parser)
    parser.add_argument(
        "--output_dir",
        type=folder_type,
        help="folder for part-00000, part-00001, ..., in place of stdout",
    )
    parser.add_argument(
        "--part_users",
        type=number_type(int, 1),
        default=100_000,
        help=f"users in each of these, in whole blocks of {USER_BLOCK} (default: %(default)s)",
    )
    add_batch_size(parser)
    add_list_arguments(parser)
    add_max_bad_lines(parser)
    add_device(parser)
    args = parser.parse_args(argv)
    user_ids = [args.user_ids] if args.user_ids else None
    names = [args.names] if args.names else None
    others = [user_ids, args.allow_items, args.deny_items, names]
    check_histories(parser, args, others)
    args.inputs = [args.infer_set_path, args.context_set_path, *others]
    if args.output_dir and not all(map(parts.can_be_read_again, parts.files_of(args.inputs))):
        parser.error(
            "--output_dir goes on where it was stopped, which standard input (-) and pipes cannot: "
            "give files"
        )
    if not args.output_dir:
        refuse_unused(parser, args, ["part_users"], "needs --output_dir")
    if not args.infer_set_path:
        refuse_unused(
            parser,
            args,
            ["context_set_path", "remove_seen", "explain", "max_bad_lines"],
            "needs --infer_set_path: without it there are no histories",
        )
    return args


def read_user_ids(path, progress):
    """Yield the ids of a file with one a line; empty lines are ignored."""
    for file, number, user in text_lines(path, progress):
        if "\t" in user:
            raise InputError(
                file, "more than one column", line=number, hint="write one user id a line"
            )
        yield user


def main(argv=None):
    """Print or write the top-N videos of each user."""
    args = parse_args(argv)
    progress = shows_progress(args.output_dir)
    with contextlib.ExitStack() as resources:
        if args.output_dir:
            resources.enter_context(output_folder(args.output_dir, parts.FILE_PATTERN))
        load_paddle()
        import network_conf
        from candgen.model.layers import use_device
        from candgen.serving.explain import Explainer
        from candgen.serving.recommend import Recommender, most_clicked

        model = load_model(args.model_path, args.feature_dict)
        num_known_users = len(model.feature_dict["user_id"]) - 1  # without <unk>
        if not num_known_users and not args.user_ids and not args.infer_set_path:
            raise InputError(
                args.feature_dict,
                "it knows no user",
                hint="make it with a lower --feat_appear_limit, or give --user_ids",
            )
        allowed = allowed_videos(args.allow_items, args.deny_items, model.feature_dict)
        top_n = TopN(model.nce_w, model.scaled_biases(args.popularity), allowed)
        use_device(args.device)
        network = network_conf.load_network(model)
        fallback = None
        if not args.infer_set_path:
            fallback = most_clicked(model.item_freq, allowed, args.top_n, args.popularity)
        titles = read_titles(args.names, model.feature_dict[ITEMS]) if args.names else None
        formatter = ListFormatter(args.format, model.feature_dict, titles, args.explain)
        explain = Explainer(network, model.nce_w) if args.explain else None
        recommend = Recommender(network, top_n, args.top_n, args.remove_seen, fallback, explain)

        writer = parts.StdoutWriter(formatter.header)
        batch_size = round_up_to_blocks(args.batch_size)
        if args.output_dir:
            part_users = max(args.part_users // USER_BLOCK, 1) * USER_BLOCK
            batch_size = parts.largest_batch(batch_size, part_users)
            flags = ("top_n", "popularity", "remove_seen", "max_bad_lines", "format", "explain")
            settings = {name: getattr(args, name) for name in flags}
            run = parts.describe_run(model, settings, part_users, args.inputs)
            writer = parts.PartWriter(args.output_dir, run, formatter.header)

        num_users = None
        if args.infer_set_path:
            reader = Reader(model.feature_dict, BadLines(args.max_bad_lines), progress)
            logs = served_log(
                reader,
                args.infer_set_path,
                batch_size,
                args.context_set_path,
                None if args.remove_seen else network.config.window_size + args.explain,
            )
        else:
            if args.user_ids:
                find = NameLookup(model.feature_dict["user_id"])
                users = (find(user) or user for user in read_user_ids(args.user_ids, progress))
            else:
                users = itertools.islice(model.feature_dict["user_id"], 1, None)
                num_users = num_known_users
            logs = map(Reader(model.feature_dict).encode_users, batched(users, batch_size))
        with writer, Progress("users", num_users, progress) as bar:
            batches = zip(itertools.count(0, batch_size), logs)
            num_unknown = write_lists(recommend, batches, formatter, writer, args.threads, bar)
    if args.user_ids and num_unknown:
        logger.info(f"{args.user_ids}: {num_unknown} of its users are not known to the model")


def write_lists(recommend, batches, formatter, writer, threads, bar):
    """Serve batches, pairs of the number of the first user and a log.

    Returns the number of users that the model does not know.
    """
    num_unknown = 0

    def serve(batch):
        start, log = batch
        return start, recommend(log)

    missing = ((start, log) for start, log in batches if not writer.is_finished(start))
    with ThreadPoolExecutor(threads) as pool:
        for start, block in ordered_map(pool, serve, missing, threads):
            for user in block.unknown_users:
                logger.info(f"{user}: not known to the model; served the most clicked videos")
            num_unknown += len(block.unknown_users)
            writer.write(start, formatter.text(block.lists))
            bar.at(start + len(block.vectors))
    return num_unknown


if __name__ == "__main__":
    run_script(main)
