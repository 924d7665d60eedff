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
import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import Counter, defaultdict
from itertools import chain

import reader
import utils
from reader import PROFILE_COLUMNS, BadLines, parse_line, read_log, split_video_info
from utils import CATEGORIES, FEATURES, ITEMS, LOG_COLUMNS, NO_VALUE, PROFILE_FEATURES, TAGS, UNKNOWN, InputError, note

OUTPUT_FILES = r"(feature_dict|item_freq|counts)\.pkl|fingerprint\.json|hottest\.tsv"  # what a run replaces
BYTES_AT_ONCE = 1 << 16  # of lines that are counted in one go: they stay in the cache


def parse_args(argv=None):
    """The settings of this run, from the command line."""
    parser = utils.argument_parser(__doc__)
    parser.add_argument("--train_set_path", **utils.PATHS, help="the training log: files, folders of "
                        "part files or patterns (- for standard input)")
    parser.add_argument("--counts_only", action="store_true", help="write the counts of a part of the log, counts.pkl, "
                        "for a run with --merge_counts")
    parser.add_argument("--merge_counts", **utils.PATHS, metavar="COUNTS_PKL", help="in place of "
                        "--train_set_path: add up what --counts_only wrote, of parts that machines have counted")
    parser.add_argument("--output_dir", type=utils.folder_type, required=True, help="folder for files, made if missing")
    parser.add_argument("--feat_appear_limit", type=utils.number_type(int, 1), default=20,
                        help="leave out values seen fewer times than this (default: 20)")
    parser.add_argument("--hottest", type=utils.number_type(int, 1), metavar="N", help="write hottest.tsv too: "
                        "the N most clicked videos, `value tab video:clicks,...`")
    parser.add_argument("--hottest_by", choices=[*PROFILE_FEATURES[1:], "category"], help="a list for each value of "
                        "this column, or for each category, in place of one for all")
    parser.add_argument("--base_feature_dict", type=utils.path_type, help="an earlier feature_dict.pkl: values that it "
                        "knows keep their ids")
    parser.add_argument("--catalogue_path", **utils.PATHS, help="video-infos, one a line: these "
                        "videos are in the dictionary even if nobody has clicked on them")
    parser.add_argument("--processes", type=utils.number_type(int, 1), default=min(2, os.cpu_count() or 1),
                        help="that count a plain file together; changes no result (%(default)s)")
    utils.add_max_user_clicks(parser)
    utils.add_max_bad_lines(parser)
    args = parser.parse_args(argv)
    if bool(args.train_set_path) == bool(args.merge_counts):
        parser.error("give one of --train_set_path and --merge_counts")
    if args.counts_only:
        utils.refuse_unused(parser, args, ["feat_appear_limit", "base_feature_dict", "catalogue_path", "hottest"],
                            "goes with the run that merges the counts")
    if args.merge_counts:
        utils.refuse_unused(parser, args, ["max_bad_lines", "processes", "max_user_clicks"],
                            "goes with the runs that read the log")
    if args.hottest_by and not args.hottest:
        parser.error("--hottest_by needs --hottest")
    if args.hottest_by in PROFILE_FEATURES and (
            args.merge_counts or not all(map(os.path.isfile, reader.log_files(args.train_set_path)))):
        parser.error(f"--hottest_by={args.hottest_by} reads the log again: give it as --train_set_path, files")
    return args


# ---------------------------------------------------------------- counting
class Counts:
    """Counts of whole video-infos, and of the values of the profile: memory follows what is distinct.

    Parameters
    ----------
    max_user_clicks : of each line only so many clicks count, the last ones; None: all.
    excess : {user: how many of the clicks that are left are not among the user's last ones either}.

    Attributes
    ----------
    left_out : Counter of the video-infos of clicks that do not count.
    """

    def __init__(self, max_user_clicks=None, excess=None):
        self.lines, self.infos, self.profile = 0, Counter(), {feature: Counter() for feature in PROFILE_FEATURES}
        self.max_user_clicks, self.excess, self.left_out = max_user_clicks, excess or {}, Counter()
        self._excess = dict(self.excess)  # that lines to come still have

    def add(self, lines):
        """Count some `LogLine`s."""
        if self.max_user_clicks:
            lines = [self._cut(line) for line in lines]
        self.lines += len(lines)
        self.infos.update(chain.from_iterable(line.infos for line in lines))
        for feature, column in zip(PROFILE_FEATURES, PROFILE_COLUMNS):
            self.profile[feature].update(line.columns[column] for line in lines if feature != "user_id")
        for line in lines:
            self.profile["user_id"][line.columns[0]] += len(line.infos)

    def _cut(self, line):
        """The line with those of its clicks that count."""
        first = first_counted(line, self.max_user_clicks, self._excess)
        self.left_out.update(line.infos[:first])
        return line._replace(infos=line.infos[first:])

    def merge(self, other):
        """Add those of another part of the log."""
        self.lines += other.lines
        self.infos.update(other.infos)
        self.left_out.update(other.left_out)
        for feature, counter in other.profile.items():
            self.profile[feature].update(counter)

    @property
    def clicks(self):
        """How many there are, on videos of all kinds."""
        return sum(self.infos.values())

    def by_feature(self):
        """{feature: {value: count}}; each distinct video-info is split once. ValueError if one is malformed."""
        items, categories, tags = Counter(), Counter(), Counter()
        for info in self.left_out.keys() - self.infos.keys():
            split_video_info(info)
        for info, count in self.infos.items():
            item, category, tags_of_item = split_video_info(info)
            items[item] += count
            categories[category] += count
            for tag in tags_of_item:
                tags[tag] += count
        return {**self.profile, ITEMS: items, CATEGORIES: categories, TAGS: tags}


def first_counted(line, limit, excess):
    """Place in a line of its first click that counts: of no line more than `limit` do, and of the clicks that are left
    the `excess` of its user, which is used up."""
    first = max(0, len(line.infos) - limit)
    user = line.columns[0]
    more = min(excess.get(user, 0), len(line.infos) - first)
    if more:
        excess[user] -= more
    return first + more


def count_log(paths, processes=1, bad_lines=None, max_user_clicks=None):
    """Count a log in one reading, or in two where --max_user_clicks limits users with several lines.

    Parameters
    ----------
    paths : of a log, as in `reader.log_files`; its files are read by several processes, plain ones in ranges.
    bad_lines : BadLines, as in `reader.read_log`.
    max_user_clicks : only so many clicks of each user count, the last ones over all lines; None: all.

    Returns
    -------
    Counts, and by feature: {feature: {value: count}}.
    """
    files = reader.log_files(paths)
    if all(map(os.path.isfile, files)):
        states, counted = [*map(file_state, files)], None
        try:
            counts = over_lines(count_shares(shares_of(files, processes), max_user_clicks), files)
            counted = counts, counts.by_feature()
        except (InputError, OSError, ValueError):
            pass  # a malformed line: read again, line by line, to name it or leave it out
        for file, state in zip(files, states):
            if file_state(file) != state:
                raise reader.changed(file)
        if counted:
            return counted
    counts = Counts(max_user_clicks)
    for line in read_log(files, checked, bad_lines):
        counts.add([line])
    counts = over_lines(counts, files)
    return counts, counts.by_feature()


def over_lines(counts, files):
    """`Counts` with --max_user_clicks over all lines of a user, from those with that limit for each line.

    The same if no user has more clicks than that. Otherwise the log is read again: how many clicks of a user are too
    many is known only at its end.
    """
    limit = counts.max_user_clicks
    excess = {user: clicks - limit for user, clicks in counts.profile["user_id"].items()
              if clicks > limit and user not in NO_VALUE} if limit else {}
    if not excess:
        return counts
    counts.by_feature()  # an error if a line is malformed, which the second reading leaves out
    for file in files:
        if not os.path.isfile(file):
            raise InputError(file, None, f"user {min(excess)[:80]!r} fills several lines, with more clicks than "
                             f"--max_user_clicks={limit}, and it can be read once only", "give a file")
    counts = Counts(limit, excess)
    for line in read_log(files, checked, BadLines(sys.maxsize, quiet=True)):
        counts.add([line])
    return counts


def file_state(path):
    """What differs once a file was written to or replaced: inode, size, time of change; None: gone."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def merged_counts(paths):
    """What `count_log` gives, from the files that --counts_only wrote of parts; InputError for any other file."""
    counts, seen = Counts(), set()
    for path in paths:
        if os.path.realpath(path) in seen:
            raise InputError(path, None, "given twice", "give each part once")
        seen.add(os.path.realpath(path))
        with utils.reading(path, "give a counts.pkl that data_processor.py --counts_only wrote") as stream:
            found, part = utils.load_plain(stream), Counts()
            part.lines, part.infos = found["lines"], Counter(found["infos"])
            part.profile = {feature: Counter(found["profile"][feature]) for feature in PROFILE_FEATURES}
            part.max_user_clicks = found.get("max_user_clicks")
            numbers = chain([part.lines], *(counter.values() for counter in (part.infos, *part.profile.values())))
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError("something that is no count")
            part.by_feature()
            if len(seen) > 1 and part.max_user_clicks != counts.max_user_clicks:
                raise InputError(path, None, f"counted with --max_user_clicks={part.max_user_clicks}, parts before it "
                                 f"with {counts.max_user_clicks}", "count all parts alike")
            counts.max_user_clicks = part.max_user_clicks
            counts.merge(part)
    limit = counts.max_user_clicks
    users = counts.profile["user_id"]
    over = [user for user, clicks in users.items() if limit and clicks > limit and user not in NO_VALUE]
    if over:  # which of them are the last ones only the log says
        raise InputError(" ".join(paths), None, f"user {min(over)[:80]!r} has clicks in several parts, together more "
                         f"than --max_user_clicks={limit}", "put all lines of a user into one part, or count the "
                         "whole log in one run")
    return counts, counts.by_feature()


def checked(line):
    """The line, its video-infos split to see whether they can be; ValueError."""
    for info in set(line.infos):
        split_video_info(info)
    return line


def shares_of(files, count):
    """`count` lists of (file, start, end): ranges of whole lines of plain files; (file, 0, None): all of another."""
    shares = [[] for _ in range(count)]
    for number, file in enumerate(files):
        with open(file, "rb") as stream:
            if not stream.peek(1)[:1].isascii() or stream.peek(2)[:2] == b"\x1f\x8b":
                shares[number % count].append((file, 0, None))
                continue
            size = os.fstat(stream.fileno()).st_size
            edges = [0]
            for share in range(1, count):
                stream.seek(size * share // count)
                stream.readline(reader.MAX_LINE)
                edges.append(stream.tell())
            for share, start, end in zip(shares, edges, [*edges[1:], size]):
                if end > start:
                    share.append((file, start, end))
    return [share for share in shares if share]


def count_shares(shares, max_user_clicks=None):
    """`Counts` of all shares of a log: of the first by this process, of each other one by a process of its own.

    Forked processes and pipes need neither semaphores nor /dev/shm, which containers may lack.
    """
    workers, own = [], shares[0] if shares else []
    try:
        for share in shares[1:]:
            try:
                workers.append(_start_worker(share, max_user_clicks))
            except OSError as error:
                note(f"warning: no further process can be started ({error.strerror}): counting with "
                     f"{len(workers) + 1}; raise the limit on processes, or give a smaller --processes")
                own = [*own, *chain.from_iterable(shares[1 + len(workers):])]
                break
        counts = count_share(own, max_user_clicks, progress=True)
        for _, results in workers:
            counts.merge(_result_of(results))
    finally:  # after Ctrl-C or a malformed line the rest is not needed
        for process, _ in workers:
            process.terminate()
            process.join()
    return counts


def _start_worker(share, max_user_clicks):
    """(process, connection) of a process that counts a share and sends what `count_share` gives, or raises."""
    fork = multiprocessing.get_context("fork")
    results, end = fork.Pipe(duplex=False)
    process = fork.Process(target=_work, args=(share, max_user_clicks, end), daemon=True)
    with end:  # this process has no use for it, and would not notice that the worker is gone
        process.start()
    return process, results


def _result_of(results):
    """The counts of a worker; the exception if it has sent one."""
    try:
        result = results.recv()
    except EOFError as error:  # it was killed: Linux ends large processes when memory is short
        raise MemoryError from error
    if isinstance(result, Exception):
        raise result
    return result


def _work(share, max_user_clicks, end):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides what happens
    parent = multiprocessing.parent_process()
    with contextlib.suppress(RuntimeError):  # no further thread can be started: then without
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()  # go when it does
    try:
        end.send(count_share(share, max_user_clicks))
    except Exception as error:
        end.send(error)


def count_share(parts, max_user_clicks=None, progress=False):
    """`Counts` of some parts of a log, (file, start, end) each."""
    counts = Counts(max_user_clicks)
    for file, start, end in parts:
        if end is None:
            for line in read_log(file, checked, progress=progress):
                counts.add([line])
        else:
            with utils.Progress(f"counting {file}", end - start, progress) as bar:
                _count_range(counts, file, start, end, bar)
    return counts


def _count_range(counts, path, start, end, bar):
    """Count the lines from byte `start` to byte `end` of a plain file."""
    begin = start
    with open(path, "rb") as stream:
        stream.seek(start)
        while start < end:
            raw = stream.read(min(BYTES_AT_ONCE, end - start))
            if not raw:  # it ends earlier than when it was cut into ranges
                raise reader.changed(path)
            raw += b"" if raw.endswith(b"\n") else stream.readline(reader.MAX_LINE)
            if len(raw) >= reader.MAX_LINE:
                raise ValueError("a line that is no line of a log")
            start += len(raw)
            lines = (parse_line(each, path, None) for each in raw.split(b"\n"))
            counts.add([line for line in lines if line])
            bar.at(start - begin)


# ---------------------------------------------------------------- the dictionary and the frequencies
def build_dictionary(counts, limit, base=None, listed=()):
    """{value: id} of the values of {value: count} seen at least `limit` times, and of those that are `listed`.

    0 is `<unk>`, then they go by falling count, then by value; values of a `base`, an earlier dictionary, keep their
    ids, as long as ids have no gaps, and the others take what is free in that order.
    """
    kept = {value for value, count in counts.items() if count >= limit} | set(listed)
    kept = sorted(kept - NO_VALUE)
    kept.sort(key=lambda value: counts.get(value, 0), reverse=True)  # stable: equal counts stay in the order of values
    if base:
        stay = {value: base[value] for value in kept if base.get(value, len(kept) + 1) <= len(kept)}
        free = iter(sorted(set(range(1, len(kept) + 1)) - set(stay.values())))
        ids = {value: stay[value] if value in stay else next(free) for value in kept}
        kept.sort(key=ids.__getitem__)
    return {value: id_ for id_, value in enumerate([UNKNOWN, *kept])}


def item_frequencies(counts, dictionary):
    """Share of all clicks on each video of the dictionary, in its order; index 0: on all the others. Sums to 1."""
    total = sum(counts.values())
    kept = [counts.get(video, 0) for video in dictionary if video != UNKNOWN]
    return [(total - sum(kept)) / total, *(count / total for count in kept)]


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
        yield value + "\t" + ",".join(f"{utils.list_name(video)}:{count}" for video, count in best) + "\n"


# ---------------------------------------------------------------- what deserves a warning
def warn_of_odd_counts(source, counted, videos, feat_appear_limit):
    """Write a warning if clicks have no video-id, if one user has a large share of all clicks, and if limits exclude
    each other.

    counted : Counts.    videos : {video-id: count}.
    """
    nameless = sum(videos.get(value, 0) for value in NO_VALUE)
    if nameless:
        note(f"warning: {source}: {nameless} clicks have no video-id (empty or NULL in front of the category)")
    users = {user: clicks for user, clicks in counted.profile["user_id"].items() if user not in NO_VALUE}
    if users:
        heaviest = max(users, key=users.get)
        reader.warn_of_heavy_user(source, heaviest, users[heaviest], counted.clicks, len(users))
    if counted.max_user_clicks and counted.max_user_clicks < feat_appear_limit:
        note(f"warning: no user-id is in the dictionary: --max_user_clicks={counted.max_user_clicks} leaves each fewer "
             f"clicks than --feat_appear_limit={feat_appear_limit} asks for; give a higher --max_user_clicks")


def warn_of_colons(source, infos):
    """Write a warning if what precedes the first colon is followed by different numbers of them: a colon within a
    category or a tag makes another video of a video."""
    colons = {}  # by prefix, one bit for each number: memory is that of the prefixes
    for info in infos:
        prefix = info.partition(":")[0]
        colons[prefix] = colons.get(prefix, 0) | 1 << min(info.count(":"), 60)
    mixed = [prefix for prefix, numbers in colons.items() if numbers & numbers - 1 and prefix not in NO_VALUE]
    if mixed:
        examples = [info for info in infos if info.startswith(min(mixed) + ":")]
        one, other = (choose(examples, key=lambda info: (info.count(":"), info)) for choose in (min, max))
        note(f"warning: {source}: {len(mixed)} video-ids are followed by different numbers of colons, as in "
             f"{one[:80]!r} and {other[:80]!r}, which are read as different videos, since the last two colons count; "
             "write %3A for a colon within a category or a tag")


def write_files(folder, feature_dict, freq, hottest=None):
    """Write the three files, and hottest.tsv if there are lines for it: all of them or none.

    fingerprint.json is replaced last: the earlier one beside a file of this run tells that they do not belong together.
    """
    told = {"feature_dict": utils.dictionary_fingerprint(feature_dict), "item_freq": utils.fingerprint(freq)}
    files = {"feature_dict.pkl": pickle.dumps(feature_dict, 4), "item_freq.pkl": pickle.dumps(freq, 4),
             **({} if hottest is None else {"hottest.tsv": "".join(hottest).encode()}),
             utils.FINGERPRINTS: json.dumps(told, indent=1).encode()}
    with utils.atomic_write_set([os.path.join(folder, name) for name in files]) as streams:
        for stream, content in zip(streams, files.values()):
            stream.write(content)
    note(f"dictionary {told['feature_dict'][:16]}")


def main(argv=None):
    """Count the log, write the dictionary and the frequencies."""
    args = parse_args(argv)
    with utils.output_folder(args.output_dir, OUTPUT_FILES):
        process(args)


def process(args):
    """Do the work of `main`, while no other run writes to --output_dir."""
    if args.merge_counts:
        counted, counts = merged_counts(args.merge_counts)
    else:
        counted, counts = count_log(args.train_set_path, args.processes, BadLines(args.max_bad_lines),
                                    args.max_user_clicks)
    lines, clicks = counted.lines, counted.clicks
    if counted.left_out:
        left_out = sum(counted.left_out.values())
        note(f"--max_user_clicks={args.max_user_clicks}: {left_out} of {clicks + left_out} clicks left out")
    if args.counts_only:
        with utils.atomic_write(os.path.join(args.output_dir, "counts.pkl")) as stream:
            pickle.dump({"lines": lines, "infos": dict(counted.infos), "profile": {
                feature: dict(counter) for feature, counter in counted.profile.items()},
                "max_user_clicks": counted.max_user_clicks}, stream, 4)
        print(f"{lines} lines, {clicks} clicks")
        return
    source = " ".join(args.train_set_path or args.merge_counts)
    if not clicks:
        raise InputError(source, None, "no click in the whole log", "give a log with histories")
    base = utils.load_feature_dict(args.base_feature_dict) if args.base_feature_dict else {}
    catalogue = [*reader.read_catalogue(args.catalogue_path or [])]
    listed = {ITEMS: {split_video_info(info)[0] for info in catalogue}}
    feature_dict = {feature: build_dictionary(counts[feature], args.feat_appear_limit, base.get(feature),
                                              listed.get(feature, ())) for feature in FEATURES}
    if not any(counts[ITEMS].get(video) for video in feature_dict[ITEMS]):
        raise InputError(source, None, f"no video has {args.feat_appear_limit} clicks",
                         "lower --feat_appear_limit")
    freq = item_frequencies(counts[ITEMS], feature_dict[ITEMS])
    warn_of_odd_counts(source, counted, counts[ITEMS], args.feat_appear_limit)
    warn_of_colons(source, [*counted.infos, *catalogue])
    hottest = None
    if args.hottest:
        infos_of = {"all": counted.infos}
        if args.hottest_by in PROFILE_FEATURES:  # malformed lines were named before
            infos_of = infos_by(args.train_set_path, args.hottest_by, BadLines(args.max_bad_lines, quiet=True), counted)
        hottest = hottest_lists(infos_of, args.hottest, args.hottest_by == "category")
    write_files(args.output_dir, feature_dict, freq, hottest)
    print(f"{lines} lines, {clicks} clicks, {freq[0]:.2%} of them on videos left out")
    for feature in FEATURES:
        found = len((counts[feature].keys() | listed.get(feature, set())) - NO_VALUE) + 1
        print(f"{feature}: {len(feature_dict[feature])} of {found} values, with {UNKNOWN}")


if __name__ == "__main__":
    utils.run_script(main)
