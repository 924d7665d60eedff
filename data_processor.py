"""Log -> feature_dict.pkl + item_freq.pkl. Imports no paddle.

    python data_processor.py --train_set_path=./data/train.txt --output_dir=./output --feat_appear_limit=20

feature_dict.pkl  {feature: {value: id}}; id 0 is `<unk>`, the others follow by falling count, then by
                  value; values seen fewer than --feat_appear_limit times are left out.
item_freq.pkl     one probability a video, in dictionary order, summing to 1: how likely a click on it is.
                  Index 0 holds the share of clicks on videos that were left out.
fingerprint.json  SHA-256 of both, by which train.py knows that they belong together.

What belongs to a click (user, video, category, tags) is counted once a click; province, city and phone
once a line.
"""
import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain

import utils
from reader import MAX_LINE, PROFILE_COLUMNS, BadLines, parse_line, read_log, split_video_info
from utils import CATEGORIES, FEATURES, ITEMS, PROFILE_FEATURES, TAGS, UNKNOWN, InputError, note

BYTES_AT_ONCE = 1 << 16  # of lines that are counted in one go: they stay in the cache
NO_VALUE = {"", "NULL", UNKNOWN}  # never in a dictionary: they mean that nothing is known


def parse_args():
    """The settings of this run, from the command line."""
    parser = utils.argument_parser(__doc__)
    parser.add_argument("--train_set_path", type=utils.path_type, required=True,
                        help="the training log (- for standard input)")
    parser.add_argument("--output_dir", type=utils.path_type, required=True, help="folder for files, made if missing")
    parser.add_argument("--feat_appear_limit", type=utils.number_type(int, 1), default=20,
                        help="leave out values seen fewer times than this (default: 20)")
    parser.add_argument("--processes", type=utils.number_type(int, 1), default=min(2, os.cpu_count() or 1),
                        help="that count a plain file together; changes no result (%(default)s)")
    utils.add_max_bad_lines(parser)
    return parser.parse_args()


# ---------------------------------------------------------------- counting
class Counts:
    """Counts of whole video-infos, and of the values of the profile: memory follows what is distinct."""

    def __init__(self):
        self.lines, self.infos, self.profile = 0, Counter(), {feature: Counter() for feature in PROFILE_FEATURES}

    def add(self, lines):
        """Count some `LogLine`s."""
        self.lines += len(lines)
        self.infos.update(chain.from_iterable(line.infos for line in lines))
        for feature, column in zip(PROFILE_FEATURES, PROFILE_COLUMNS):
            self.profile[feature].update(line.columns[column] for line in lines if feature != "user_id")
        for line in lines:
            self.profile["user_id"][line.columns[0]] += len(line.infos)

    def merge(self, other):
        """Add those of another part of the log."""
        self.lines += other.lines
        self.infos.update(other.infos)
        for feature, counter in other.profile.items():
            self.profile[feature].update(counter)

    def by_feature(self):
        """{feature: {value: count}}; each distinct video-info is split once. ValueError if one is malformed."""
        items, categories, tags = Counter(), Counter(), Counter()
        for info, count in self.infos.items():
            item, category, tags_of_item = split_video_info(info)
            items[item] += count
            categories[category] += count
            for tag in tags_of_item:
                tags[tag] += count
        return {**self.profile, ITEMS: items, CATEGORIES: categories, TAGS: tags}


def count_log(path, processes=1, bad_lines=None):
    """Count every value of every feature in one reading of a log.

    Parameters
    ----------
    path : of a log, `-` for standard input; a plain file is read by several processes.
    bad_lines : BadLines, as in `reader.read_log`.

    Returns
    -------
    counts : {feature: {value: count}}.    lines, clicks : int.
    """
    parts = file_parts(path, processes)
    if parts:
        try:
            counts = count_parts(path, parts)
            return counts.by_feature(), counts.lines, sum(counts.infos.values())
        except (InputError, ValueError):
            pass  # a malformed line: read again, line by line, to name it or leave it out
    counts = Counts()
    for line in read_log(path, checked, bad_lines):
        counts.add([line])
    return counts.by_feature(), counts.lines, sum(counts.infos.values())


def checked(line):
    """The line, its video-infos split to see whether they can be; ValueError."""
    for info in set(line.infos):
        split_video_info(info)
    return line


def file_parts(path, count):
    """Cut a plain file into about `count` ranges of whole lines: [(start, end), ...]; none for gzip, pipes and `-`."""
    if path == "-" or not os.path.isfile(path):
        return []
    with open(path, "rb") as stream:
        if not stream.peek(1)[:1].isascii() or stream.peek(2)[:2] == b"\x1f\x8b":
            return []
        size = os.fstat(stream.fileno()).st_size
        edges = [0]
        for part in range(1, count):
            stream.seek(size * part // count)
            stream.readline()
            edges.append(stream.tell())
    return [(start, end) for start, end in zip(edges, [*edges[1:], size]) if end > start]


def count_parts(path, parts):
    """`Counts` of all ranges of a file: of the first by this process, of each other one by a process of its own."""
    if len(parts) == 1:
        return count_part(path, *parts[0])
    try:
        with ProcessPoolExecutor(len(parts) - 1, multiprocessing.get_context("fork"), _start_worker) as pool:
            try:
                others = [pool.submit(count_part, path, *part) for part in parts[1:]]
                counts = count_part(path, *parts[0])
                for other in others:
                    counts.merge(other.result())
            except BaseException:  # Ctrl-C, or a malformed line: nobody needs the rest
                for process in multiprocessing.active_children():
                    process.terminate()
                raise
    except BrokenProcessPool as error:
        raise MemoryError from error
    return counts


def _start_worker():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides what happens
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()  # go when it does


def count_part(path, start, end):
    """`Counts` of the lines from byte `start` to byte `end` of a plain file."""
    counts, number = Counts(), 1 + start  # only a first line matters: its byte-order mark is taken off
    with open(path, "rb") as stream:
        stream.seek(start)
        while start < end:
            raw = stream.read(min(BYTES_AT_ONCE, end - start))
            raw += b"" if raw.endswith(b"\n") else stream.readline(MAX_LINE)
            if len(raw) >= MAX_LINE:
                raise ValueError("a line that is no line of a log")
            start += len(raw)
            lines = (parse_line(each, path, place) for place, each in enumerate(raw.split(b"\n"), number))
            counts.add([line for line in lines if line])
            number += len(raw)
    return counts


# ---------------------------------------------------------------- the dictionary and the frequencies
def build_dictionary(counts, limit):
    """{value: id} of the values of {value: count} seen at least `limit` times.

    0 is `<unk>`, then they go by falling count, then by value.
    """
    kept = sorted(value for value, count in counts.items() if count >= limit and value not in NO_VALUE)
    kept.sort(key=counts.__getitem__, reverse=True)  # stable: equal counts stay in the order of values
    return {value: id_ for id_, value in enumerate([UNKNOWN, *kept])}


def item_frequencies(counts, dictionary):
    """Share of all clicks on each video of the dictionary, in its order; index 0: on all the others. Sums to 1."""
    total = sum(counts.values())
    kept = [counts[video] for video in dictionary if video != UNKNOWN]
    return [(total - sum(kept)) / total, *(count / total for count in kept)]


def write_files(folder, feature_dict, freq):
    """The three files: all are on the disk before the first gets its name."""
    told = {"feature_dict": utils.dictionary_fingerprint(feature_dict), "item_freq": utils.fingerprint(freq)}
    files = {"feature_dict.pkl": pickle.dumps(feature_dict, 4), "item_freq.pkl": pickle.dumps(freq, 4),
             utils.FINGERPRINTS: json.dumps(told, indent=1).encode()}
    with contextlib.ExitStack() as all_or_none:
        for name, content in files.items():
            stream = all_or_none.enter_context(utils.atomic_write(os.path.join(folder, name)))
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    note(f"dictionary {told['feature_dict'][:16]}")


def main():
    """Count the log, write the dictionary and the frequencies."""
    args = parse_args()
    counts, lines, clicks = count_log(args.train_set_path, args.processes, BadLines(args.max_bad_lines))
    if not clicks:
        raise InputError(args.train_set_path, None, "no click in the whole log", "give a log with histories")
    feature_dict = {feature: build_dictionary(counts[feature], args.feat_appear_limit) for feature in FEATURES}
    if len(feature_dict[ITEMS]) == 1:
        raise InputError(args.train_set_path, None, f"no video has {args.feat_appear_limit} clicks",
                         "lower --feat_appear_limit")
    freq = item_frequencies(counts[ITEMS], feature_dict[ITEMS])
    os.makedirs(args.output_dir, exist_ok=True)
    write_files(args.output_dir, feature_dict, freq)
    print(f"{lines} lines, {clicks} clicks, {freq[0]:.2%} of them on videos left out")
    for feature in FEATURES:
        found = len(counts[feature].keys() - NO_VALUE) + 1
        print(f"{feature}: {len(feature_dict[feature])} of {found} values, with {UNKNOWN}")


if __name__ == "__main__":
    utils.run_script(main)
