"""Log -> feature_dict.pkl + item_freq.pkl. Imports no paddle.

    python data_processor.py --train_set_path=./data/train.txt --output_dir=./output --feat_appear_limit=20

feature_dict.pkl  {feature: {value: id}}; id 0 is `<unk>`, the others follow by falling count, then by
                  value; values seen fewer than --feat_appear_limit times are left out.
item_freq.pkl     one probability a video, in dictionary order, summing to 1: how likely a click on it is.
                  Index 0 holds the share of clicks on videos that were left out.
fingerprint.json  SHA-256 of both, by which train.py knows that they belong together.
hottest.tsv       with --hottest=N: the N most clicked videos, of all users, of those of each --hottest_by.

What belongs to a click (user, video, category, tags) is counted once a click; province, city and phone
once a line. With --max_user_clicks=N only the last N clicks of a user count, as in train.py: over all lines of
the user in the order of the log, and of each line without a user-id.
"""

import json
import os
import pickle
from collections import Counter, defaultdict

from candgen.archives import fingerprint
from candgen.console import InputError, logger, run_script
from candgen.data.counting import checked, count_log, first_counted, merged_counts
from candgen.data.dictionary import (
    FEATURES,
    FINGERPRINTS,
    ITEMS,
    LOG_COLUMNS,
    NO_VALUE,
    PROFILE_FEATURES,
    UNKNOWN,
    build_dictionary,
    dictionary_fingerprint,
    item_frequencies,
    load_feature_dict,
)
from candgen.data.log_files import log_files
from candgen.data.logs import BadLines, read_catalogue, read_log, split_video_info
from candgen.data.user_clicks import warn_of_heavy_user
from candgen.files import atomic_write, atomic_write_set
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
from candgen.serving.lists import escape_id

OUTPUT_FILES = (
    r"(feature_dict|item_freq|counts)\.pkl|fingerprint\.json|hottest\.tsv"  # what a run replaces
)


def infos_by(paths, column, bad_lines, counted):
    """{value: {video-info: count}} of a column of the profile, in a reading of its own.

    counted : Counts of this log; the same clicks count.
    """
    counts, limit, excess = defaultdict(Counter), counted.max_user_clicks, dict(counted.excess)
    for line in read_log(paths, checked, bad_lines):
        first = first_counted(line, limit, excess) if limit else 0
        counts[line.columns[LOG_COLUMNS.index(column)]].update(line.infos[first:])
    return counts


def hottest_lists(infos_of, n, by_category=False):
    """Lines of hottest.tsv: value, tab, the n most clicked videos with their clicks, equal ones by name.

    infos_of : {value: {video-info: count}}.    by_category : whether each category is a value instead.
    """
    videos = defaultdict(Counter)
    for value, infos in infos_of.items():
        for info, count in infos.items():
            video, category, _ = split_video_info(info)
            videos[category if by_category else value][video] += count
    for value in sorted(videos):
        best = sorted(videos[value].items(), key=lambda item: (-item[1], item[0]))[:n]
        yield value + "\t" + ",".join(f"{escape_id(video)}:{count}" for video, count in best) + "\n"


def warn_of_odd_counts(source, counted, videos, feat_appear_limit):
    """Write a warning if clicks have no video-id, if one user has a large share of all clicks, and if limits exclude
    each other.

    counted : Counts.    videos : {video-id: count}.
    """
    nameless = sum(videos.get(value, 0) for value in NO_VALUE)
    if nameless:
        logger.warning(
            f"{source}: {nameless} clicks have no video-id (empty or NULL in front of the category)"
        )
    users = {
        user: clicks for user, clicks in counted.profile["user_id"].items() if user not in NO_VALUE
    }
    if users:
        heaviest = max(users, key=users.get)
        warn_of_heavy_user(source, heaviest, users[heaviest], counted.clicks, len(users))
    if counted.max_user_clicks and counted.max_user_clicks < feat_appear_limit:
        logger.warning(
            f"no user-id is in the dictionary: --max_user_clicks={counted.max_user_clicks} leaves each fewer "
            f"clicks than --feat_appear_limit={feat_appear_limit} asks for; give a higher --max_user_clicks"
        )


def warn_of_colons(source, infos):
    """Write a warning if what precedes the first colon is followed by different numbers of them: a colon within a
    category or a tag makes another video of a video."""
    colons = {}  # by prefix, one bit for each number: memory is that of the prefixes
    for info in infos:
        prefix = info.partition(":")[0]
        colons[prefix] = colons.get(prefix, 0) | 1 << min(info.count(":"), 60)
    mixed = [
        prefix
        for prefix, numbers in colons.items()
        if numbers & numbers - 1 and prefix not in NO_VALUE
    ]
    if mixed:
        examples = [info for info in infos if info.startswith(min(mixed) + ":")]
        one, other = (
            choose(examples, key=lambda info: (info.count(":"), info)) for choose in (min, max)
        )
        logger.warning(
            f"{source}: {len(mixed)} video-ids are followed by different numbers of colons, as in "
            f"{one[:80]!r} and {other[:80]!r}, which are read as different videos, since the last two colons count; "
            "write %3A for a colon within a category or a tag"
        )


def write_files(folder, feature_dict, freq, hottest=None):
    """Write the three files, and hottest.tsv if there are lines for it: all of them or none.

    fingerprint.json is replaced last: the earlier one beside a file of this run tells that they do not belong together.
    """
    metadata = {
        "feature_dict": dictionary_fingerprint(feature_dict),
        "item_freq": fingerprint(freq),
    }
    files = {
        "feature_dict.pkl": pickle.dumps(feature_dict, 4),
        "item_freq.pkl": pickle.dumps(freq, 4),
        **({} if hottest is None else {"hottest.tsv": "".join(hottest).encode()}),
        FINGERPRINTS: json.dumps(metadata, indent=1).encode(),
    }
    with atomic_write_set([os.path.join(folder, name) for name in files]) as streams:
        for stream, content in zip(streams, files.values()):
            stream.write(content)
    logger.info(f"dictionary {metadata['feature_dict'][:16]}")


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--train_set_path",
        **PATHS,
        help="the training log: files, folders of part files or patterns (- for standard input)",
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
        help="in place of "
        "--train_set_path: add up what --counts_only wrote, of parts that machines have counted",
    )
    parser.add_argument(
        "--output_dir", type=folder_type, required=True, help="folder for files, made if missing"
    )
    parser.add_argument(
        "--feat_appear_limit",
        type=number_type(int, 1),
        default=20,
        help="leave out values seen fewer times than this (default: 20)",
    )
    parser.add_argument(
        "--hottest",
        type=number_type(int, 1),
        metavar="N",
        help="write hottest.tsv too: the N most clicked videos, `value tab video:clicks,...`",
    )
    parser.add_argument(
        "--hottest_by",
        choices=[*PROFILE_FEATURES[1:], "category"],
        help="a list for each value of this column, or for each category, in place of one for all",
    )
    parser.add_argument(
        "--base_feature_dict",
        type=path_type,
        help="an earlier feature_dict.pkl: values that it knows keep their ids",
    )
    parser.add_argument(
        "--catalogue_path",
        **PATHS,
        help="video-infos, one a line: these "
        "videos are in the dictionary even if nobody has clicked on them",
    )
    parser.add_argument(
        "--processes",
        type=number_type(int, 1),
        default=min(2, os.cpu_count() or 1),
        help="that count a plain file together; changes no result (%(default)s)",
    )
    add_max_user_clicks(parser)
    add_max_bad_lines(parser)
    args = parser.parse_args(argv)
    if bool(args.train_set_path) == bool(args.merge_counts):
        parser.error("give one of --train_set_path and --merge_counts")
    if args.counts_only:
        refuse_unused(
            parser,
            args,
            ["feat_appear_limit", "base_feature_dict", "catalogue_path", "hottest"],
            "goes with the run that merges the counts",
        )
    if args.merge_counts:
        refuse_unused(
            parser,
            args,
            ["max_bad_lines", "processes", "max_user_clicks"],
            "goes with the runs that read the log",
        )
    if args.hottest_by and not args.hottest:
        parser.error("--hottest_by needs --hottest")
    if args.hottest_by in PROFILE_FEATURES and (
        args.merge_counts or not all(map(os.path.isfile, log_files(args.train_set_path)))
    ):
        parser.error(
            f"--hottest_by={args.hottest_by} reads the log again: give it as --train_set_path, files"
        )
    return args


def main(argv=None):
    """Count the log, write the dictionary and the frequencies."""
    args = parse_args(argv)
    with output_folder(args.output_dir, OUTPUT_FILES):
        process(args)


def process(args):
    """Do the work of `main`, while no other run writes to --output_dir."""
    if args.merge_counts:
        counted, counts = merged_counts(args.merge_counts)
    else:
        counted, counts = count_log(
            args.train_set_path, args.processes, BadLines(args.max_bad_lines), args.max_user_clicks
        )
    lines, clicks = counted.lines, counted.clicks
    if counted.left_out:
        left_out = sum(counted.left_out.values())
        logger.info(
            f"--max_user_clicks={args.max_user_clicks}: {left_out} of {clicks + left_out} clicks left out"
        )
    if args.counts_only:
        with atomic_write(os.path.join(args.output_dir, "counts.pkl")) as stream:
            pickle.dump(
                {
                    "lines": lines,
                    "infos": dict(counted.infos),
                    "profile": {
                        feature: dict(counter) for feature, counter in counted.profile.items()
                    },
                    "max_user_clicks": counted.max_user_clicks,
                },
                stream,
                4,
            )
        print(f"{lines} lines, {clicks} clicks")
        return
    source = " ".join(args.train_set_path or args.merge_counts)
    if not clicks:
        raise InputError(source, "no click in the whole log", hint="give a log with histories")
    base = load_feature_dict(args.base_feature_dict) if args.base_feature_dict else {}
    catalogue = [*read_catalogue(args.catalogue_path or [])]
    listed = {ITEMS: {split_video_info(info)[0] for info in catalogue}}
    feature_dict = {
        feature: build_dictionary(
            counts[feature], args.feat_appear_limit, base.get(feature), listed.get(feature, ())
        )
        for feature in FEATURES
    }
    if not any(counts[ITEMS].get(video) for video in feature_dict[ITEMS]):
        raise InputError(
            source,
            f"no video has {args.feat_appear_limit} clicks",
            hint="lower --feat_appear_limit",
        )
    freq = item_frequencies(counts[ITEMS], feature_dict[ITEMS])
    warn_of_odd_counts(source, counted, counts[ITEMS], args.feat_appear_limit)
    warn_of_colons(source, [*counted.infos, *catalogue])
    hottest = None
    if args.hottest:
        infos_of = {"all": counted.infos}
        if args.hottest_by in PROFILE_FEATURES:  # malformed lines were named before
            infos_of = infos_by(
                args.train_set_path,
                args.hottest_by,
                BadLines(args.max_bad_lines, quiet=True),
                counted,
            )
        hottest = hottest_lists(infos_of, args.hottest, args.hottest_by == "category")
    write_files(args.output_dir, feature_dict, freq, hottest)
    print(f"{lines} lines, {clicks} clicks, {freq[0]:.2%} of them on videos left out")
    for feature in FEATURES:
        found = len((counts[feature].keys() | listed.get(feature, set())) - NO_VALUE) + 1
        print(f"{feature}: {len(feature_dict[feature])} of {found} values, with {UNKNOWN}")


if __name__ == "__main__":
    run_script(main)
