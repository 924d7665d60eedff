"""Log -> feature_dict.pkl + item_freq.pkl. Imports no paddle.

    python data_processor.py --train_set_path=./data/train.txt --output_dir=./output --feat_appear_limit=20

feature_dict.pkl  {feature: {value: id}}; id 0 is `<unk>`, the others follow by falling count, then by
                  value; values seen fewer than --feat_appear_limit times are left out. By default
                  the limit follows from the log: few clicks are on videos that are left out.
item_freq.pkl     one probability a video, in dictionary order, with sum 1: how likely a click on it is.
                  Index 0 is the share of clicks on videos that were left out.
fingerprint.json  SHA-256 of both, by which train.py checks that they belong together, and what was
                  given as --max_user_clicks and --catalogue_path, which train.py should be given too.
hottest.tsv       with --hottest=N: the N most clicked videos, of all users or by --hottest_by.

What belongs to a click (user, video, category, tags) is counted once a click; province, city and
phone once a line. With --max_user_clicks=N only the last N clicks of a user count, as in train.py:
over all lines of the user in the order of the log, and of each line without a user-id.
"""  # noqa: E501 - the command is one line

from __future__ import annotations

import argparse
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from candgen.console import InputError, logger, run_script
from candgen.data.appear_limit import (
    LIMITS,
    MAX_LEFT_OUT,
    choose_limit,
    kept_line,
    warn_of_left_out,
)
from candgen.data.counting import count_log
from candgen.data.counting_settings import counting_settings
from candgen.data.counts import Counts, merge_counts
from candgen.data.dictionary import (
    FEATURES,
    ITEMS,
    LOG_COLUMNS,
    PROFILE_FEATURES,
    build_dictionary,
    item_frequencies,
    load_feature_dict,
    write_dictionary,
)
from candgen.data.log_files import log_files
from candgen.data.log_warnings import warn_of_colons, warn_of_odd_counts
from candgen.data.logs import BadLines, checked_line, read_catalogue, read_log, split_video_info
from candgen.data.percent_encoding import encode_list_id
from candgen.files import atomic_write
from candgen.options import (
    PATHS,
    add_max_bad_lines,
    add_max_user_clicks,
    argument_parser,
    folder_type,
    number_type,
    path_type,
    refuse_unused,
)
from candgen.output_folder import output_folder

# Names of the files that a run replaces
OUTPUT_FILES = r"(feature_dict|item_freq|counts)\.pkl|fingerprint\.json|hottest\.tsv"
BY_CATEGORY = "category"  # a choice of --hottest_by


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--train_set_path",
        **PATHS,
        metavar="LOG",
        help="the training log: files, folders of part files or patterns (- for standard input)",
    )
    parser.add_argument(
        "--output_dir",
        type=folder_type,
        required=True,
        metavar="DIR",
        help="output folder, created if missing",
    )
    parser.add_argument(
        "--feat_appear_limit",
        type=number_type(int, 1),
        metavar="N",
        help="leave out values seen fewer times than this (default: the largest of "
        f"{', '.join(map(str, LIMITS))} that leaves out videos with at most {MAX_LEFT_OUT:.0%}% of "
        "the clicks; values of --base_feature_dict that the log has then stay)",
    )
    parser.add_argument(
        "--base_feature_dict",
        type=path_type,
        metavar="PKL",
        help="an earlier feature_dict.pkl: values in it keep their ids",
    )
    parser.add_argument(
        "--catalogue_path",
        **PATHS,
        metavar="FILE",
        help="video-infos, one a line: these videos are in the dictionary even without clicks",
    )
    parser.add_argument(
        "--hottest",
        type=number_type(int, 1),
        metavar="N",
        help="write hottest.tsv too: the N most clicked videos, `value tab video:clicks,...`",
    )
    parser.add_argument(
        "--hottest_by",
        choices=[*PROFILE_FEATURES[1:], BY_CATEGORY],
        help="one list for each value of this column, or for each category, instead of one for all",
    )
    parser.add_argument(
        "--counts_only",
        action="store_true",
        help="write the counts of a part of the log, counts.pkl, for a run with --merge_counts",
    )
    parser.add_argument(
        "--merge_counts",
        **PATHS,
        metavar="COUNTS_PKL",
        help="instead of --train_set_path: add up the counts of parts, each from --counts_only",
    )
    parser.add_argument(
        "--processes",
        type=number_type(int, 1),
        default=min(2, os.cpu_count() or 1),
        metavar="N",
        help="number of processes that count; changes no result (default: %(default)s)",
    )
    add_max_user_clicks(parser)
    add_max_bad_lines(parser)
    args = parser.parse_args(argv)
    check_combinations(parser, args)
    return args


def check_combinations(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a message if flags exclude each other."""
    if bool(args.train_set_path) == bool(args.merge_counts):
        parser.error("give one of --train_set_path and --merge_counts")
    if args.counts_only:
        of_merging_run = ["feat_appear_limit", "base_feature_dict", "catalogue_path", "hottest"]
        refuse_unused(parser, args, of_merging_run, "goes with the run that merges the counts")
    if args.merge_counts:
        of_counting_runs = ["max_bad_lines", "processes", "max_user_clicks"]
        refuse_unused(parser, args, of_counting_runs, "goes with the runs that read the log")
    if args.hottest_by and not args.hottest:
        parser.error("--hottest_by needs --hottest")
    if args.hottest_by in PROFILE_FEATURES and (
        args.merge_counts or not all(map(os.path.isfile, log_files(args.train_set_path)))
    ):
        parser.error(
            f"--hottest_by={args.hottest_by} reads the log again: give it as --train_set_path, "
            "as files"
        )


def main(argv: list[str] | None = None) -> None:
    """Count a log, or merge counts, and write the dictionary and the frequencies."""
    args = parse_args(argv)
    with output_folder(args.output_dir, OUTPUT_FILES):
        if args.merge_counts:
            counts = merge_counts(args.merge_counts)
            by_feature = counts.by_feature()
        else:
            counts, by_feature = count_log(
                args.train_set_path,
                args.processes,
                BadLines(args.max_bad_lines),
                args.max_user_clicks,
            )
        report_limit(counts)
        if args.counts_only:
            with atomic_write(os.path.join(args.output_dir, "counts.pkl")) as stream:
                counts.dump(stream)
            print(f"{counts.lines} lines, {counts.clicks} clicks")
            return

        source = " ".join(args.train_set_path or args.merge_counts)
        if not counts.clicks:
            raise InputError(source, "no click in the whole log", hint="give a log with histories")
        base = load_feature_dict(args.base_feature_dict) if args.base_feature_dict else {}
        catalogue = list(read_catalogue(args.catalogue_path or []))
        listed = {feature: set() for feature in FEATURES}  # included whatever their count
        limit = args.feat_appear_limit
        if limit is None:
            limit = choose_limit(by_feature[ITEMS], counts.max_user_clicks)
            logger.info(f"--feat_appear_limit={limit}, chosen by the clicks on videos")
            for feature in FEATURES:  # the base may have been made with a lower limit
                listed[feature] = base.get(feature, {}).keys() & by_feature[feature].keys()
        listed[ITEMS] |= {split_video_info(info)[0] for info in catalogue}
        feature_dict = {
            feature: build_dictionary(
                by_feature[feature], limit, base.get(feature), listed[feature]
            )
            for feature in FEATURES
        }
        if not any(by_feature[ITEMS].get(video) for video in feature_dict[ITEMS]):
            problem, hint = f"no video has {limit} clicks", "lower --feat_appear_limit"
            if limit == 1:
                problem, hint = "no click has a video-id", "write it in front of the category"
            raise InputError(source, problem, hint=hint)
        item_freq = item_frequencies(by_feature[ITEMS], feature_dict[ITEMS])
        warn_of_odd_counts(source, counts, by_feature[ITEMS], limit)
        warn_of_left_out(source, by_feature[ITEMS], feature_dict[ITEMS], limit)
        warn_of_colons(source, [*counts.infos, *catalogue])

        further_files = {}
        if args.hottest:
            if args.hottest_by in PROFILE_FEATURES:
                clicks = clicks_by_column(
                    args.train_set_path, args.hottest_by, args.max_bad_lines, counts
                )
            else:
                clicks = clicks_by_category(counts.infos, args.hottest_by == BY_CATEGORY)
            further_files["hottest.tsv"] = "".join(hottest_lines(clicks, args.hottest))
        settings = counting_settings(counts.max_user_clicks, catalogue)
        write_dictionary(args.output_dir, feature_dict, item_freq, further_files, settings)

        print(
            f"{counts.lines} lines, {counts.clicks} clicks, {item_freq[0]:.2%} of them on videos "
            "too rare to keep"
        )
        for feature in FEATURES:
            print(kept_line(feature, by_feature[feature], feature_dict[feature], listed[feature]))


def report_limit(counts: Counts) -> None:
    """Print how many clicks --max_user_clicks leaves out."""
    left_out = sum(counts.left_out.values())
    if left_out:
        logger.info(
            f"--max_user_clicks={counts.max_user_clicks}: {left_out} of "
            f"{counts.clicks + left_out} clicks left out"
        )


def clicks_by_column(
    paths: list[str], column: str, max_bad_lines: int, counted: Counts
) -> dict[str, Counter[str]]:
    """{value of a column: {video: clicks}}, in a reading of the log for this alone.

    Parameters
    ----------
    paths : list of str
    column : str
        One of LOG_COLUMNS.
    max_bad_lines : int
    counted : Counts
        Counts of this log; the same clicks are used.
    """
    bad_lines = BadLines(max_bad_lines, quiet=True)  # named in the first reading
    limit = counted.click_limit()
    infos = defaultdict(Counter)
    for line in read_log(paths, checked_line, bad_lines):
        used = limit.split(line)[1] if limit else line.infos
        infos[line.columns[LOG_COLUMNS.index(column)]].update(used)
    clicks = defaultdict(Counter)
    for value, counts in infos.items():
        for info, count in counts.items():
            clicks[value][split_video_info(info)[0]] += count
    return clicks


def clicks_by_category(infos: Mapping[str, int], by_category: bool) -> dict[str, Counter[str]]:
    """{category: {video: clicks}} from {video-info: clicks}; without `by_category` {"all": ...}."""
    clicks = defaultdict(Counter)
    for info, count in infos.items():
        video, category, _ = split_video_info(info)
        clicks[category if by_category else "all"][video] += count
    return clicks


def hottest_lines(clicks: Mapping[str, Mapping[str, int]], n: int) -> Iterator[str]:
    """Lines of hottest.tsv: value, tab, the n most clicked videos, equal ones by name."""
    for value in sorted(clicks):
        best = sorted(clicks[value].items(), key=lambda pair: (-pair[1], pair[0]))[:n]
        yield f"{value}\t{','.join(f'{encode_list_id(video)}:{count}' for video, count in best)}\n"


if __name__ == "__main__":
    run_script(main)
