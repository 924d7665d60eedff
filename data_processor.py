"""Log -> feature_dict.pkl + item_freq.pkl. Imports no paddle.

    python data_processor.py --train_set_path=./data/train.txt --output_dir=./output --feat_appear_limit=20

feature_dict.pkl  {feature: {value: id}}; id 0 is `<unk>`, the others follow by falling count, then by
                  value; values seen fewer than --feat_appear_limit times are left out.
item_freq.pkl     one probability a video, in dictionary order, summing to 1: how likely a click on it is.
                  Index 0 holds the share of clicks on videos that were left out.
fingerprint.json  SHA-256 of both, by which train.py knows that they belong together.

What belongs to a click (user, video, category, tags) is counted once a click; province, city and phone
once a line. As the first script of the pipeline this one is also home of what all of them share: reading
the two pickles back (by an unpickler that knows plain containers, strings and numbers only, so that a
file cannot run code), and the ways of the command line.
"""
import argparse
import contextlib
import ctypes
import hashlib
import io
import json
import math
import os
import pickle
import resource
import signal
import sys
from array import array
from collections import Counter, defaultdict, deque
from itertools import chain, islice

from reader import (
    CLICK_FEATURES,
    PROFILE_FEATURES,
    UNKNOWN,
    BadLines,
    InputError,
    atomic_write,
    file_chunks,
    file_parts,
    line_chunks,
    log_columns,
    parse_lines,
    raw_lines,
    said,
    split_in_line,
    split_video_info,
)

import numpy as np

FEATURES = PROFILE_FEATURES + CLICK_FEATURES
FINGERPRINTS = "fingerprint.json"  # lies beside the two files and ties them
SPARE_MEMORY = 1 << 28  # bytes that reading any file may take
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
CLICKS_AT_ONCE = 20_000  # counted in one go
WORDS, SLOT_BITS = 8, 20  # of InfoCounter
# odd numbers that look random: powers of 2^64 divided by the golden ratio (Knuth 1998, section 6.4)
FACTORS = np.array([pow(0x9E3779B97F4A7C15, power, 1 << 64) for power in range(1, 1 + WORDS)], np.uint64)
MASKS = np.array([[(1 << 8 * min(max(length - 8 * word, 0), 8)) - 1 for word in range(WORDS)]
                  for length in range(8 * WORDS + 1)], np.uint64)  # the bytes that belong to an info of a length
NO_VALUE = {"", "NULL", UNKNOWN}  # never in a dictionary: they mean that nothing is known


def parse_args():
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--train_set_path", required=True, help="the training log (- for standard input)")
    parser.add_argument("--output_dir", required=True, help="folder for the files, made if missing")
    parser.add_argument("--feat_appear_limit", type=number_type(int, 1), default=20,
                        help="leave out values seen fewer times than this (default: 20)")
    add_max_bad_lines(parser)
    add_processes(parser)
    return parser.parse_args()


# ---------------------------------------------------------------- the command line of every script
class _Parser(argparse.ArgumentParser):
    def error(self, message):  # argparse's own prints the whole usage before the one line that matters
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def argument_parser(doc):
    """Parser whose `--help` opens with a script's docstring and whose errors are one line."""
    return _Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)


def number_type(kind, minimum, maximum=None, above=False):
    """argparse type: a finite `kind` (int or float) of at least `minimum` (above it, if `above`)."""
    def convert(text):
        value = kind(text)
        if not (value > minimum or (value == minimum and not above)) or (maximum is not None and value > maximum):
            bounds = f"{'above' if above else 'at least'} {minimum}" + (f" and at most {maximum}" if maximum else "")
            raise argparse.ArgumentTypeError(f"{text} is out of range: give {bounds}")
        return value
    convert.__name__ = kind.__name__
    return convert


def add_processes(parser):
    """The flag of the scripts whose work can be shared."""
    parser.add_argument("--processes", type=number_type(int, 1), default=min(2, os.cpu_count() or 1),
                        help="that share the work; changes no result (%(default)s)")


def add_max_bad_lines(parser):
    """The flag of the scripts that read logs."""
    parser.add_argument("--max_bad_lines", type=number_type(int, 0), default=0, metavar="N",
                        help="put up to N malformed lines aside, into bad_lines.txt next to the output, and go on "
                        "(%(default)s)")


def bad_lines_of(args, output):
    """BadLines for --max_bad_lines beside the file `output` (None: in the working folder); None if it is 0."""
    path = os.path.join(os.path.dirname(output or ""), "bad_lines.txt")
    return BadLines(path, args.max_bad_lines) if args.max_bad_lines else None


def run_script(main):
    """Run a script's `main()` and leave with its exit code; what a user can mend becomes one line."""
    try:
        code, message = main() or 0, None
        sys.stdout.flush()
    except InputError as error:
        code, message = 2, error
    except BrokenPipeError:  # `| head` went away: stop quietly
        code, message = 0, None
    except KeyboardInterrupt:
        code, message = 128 + signal.SIGINT, "interrupted"
    except OSError as error:
        message = f"{error.filename or 'output'}: {error.strerror}; check the path, its rights and the free space"
        code = 2
    except ModuleNotFoundError as error:
        code, message = 2, f"{error}; pip install -r requirements.txt"
    except Exception as error:
        if not isinstance(error, MemoryError) and "ResourceExhausted" not in str(error):  # paddle's word for it
            raise
        code, message = 2, "out of memory; give a smaller --batch_size, fewer --processes or a larger machine"
    if message:
        print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # told already: keep the interpreter from trying again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


# ---------------------------------------------------------------- several processes
def ordered_map(work, items, processes):
    """Yield work(item) for each item, in order, computed by several processes forked from this one.

    A single item is worked on right here: a fork would take longer. No more than a few items wait at a time.
    """
    items = iter(items)
    first = list(islice(items, 2))
    if processes == 1 or len(first) < 2 or not hasattr(os, "fork"):
        yield from map(work, chain(first, items))
        return
    import multiprocessing  # here, as --help and a single item need none of it
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _start_worker, (work, os.getpid()))
    waiting = deque()
    try:
        for item in chain(first, items):
            waiting.append(pool.submit(_run_worker, item))
            if len(waiting) == 4 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise InputError("computing", None, "one of its processes ended",
                         "is there enough memory? Give fewer --processes") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(work, parent):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides what happens
    with contextlib.suppress(AttributeError, OSError):  # on Linux: go when it does, however that comes about
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # too late
        os._exit(1)
    _run_worker.work = work


def _run_worker(item):
    return _run_worker.work(item)


# ---------------------------------------------------------------- counting
def count_log(path, processes=1, bad_lines=None):
    """Count every value of every feature in one reading of a log; `bad_lines` as in `reader.read_log`.

    Returns
    -------
    counts : {feature: {value: count}}
    summary : {"lines": ..., "clicks": ...}

    Memory follows the number of distinct values, not the length of the log: the video-infos are counted
    as whole strings, each distinct one is split once at the end. A plain file is read by several processes.
    """
    try:
        parts = list(ordered_map(lambda part: _count_chunks(path, file_chunks(path, *part)),
                                 file_parts(path, processes), processes))
    except InputError:  # its line is counted from where a part begins: find it again
        parts = []
    parts = parts or [_count_chunks(path, line_chunks(raw_lines(path, bad_lines)))]
    lines, *others, infos = zip(*parts)
    clicks = 0
    videos, categories, tags = defaultdict(int), defaultdict(int), defaultdict(int)
    for info, count in _merged(infos).items():
        video, category, info_tags = split_video_info(info)
        clicks += count
        videos[video] += count
        categories[category] += count
        for tag in info_tags:
            tags[tag] += count
    counts = dict(zip(FEATURES, (*map(_merged, others), videos, categories, tags)))
    return counts, {"lines": sum(lines), "clicks": clicks}


def _count_chunks(path, chunks):
    """(number of lines, users, provinces, cities, phones, video-infos), the last five as `_packed` counts."""
    users, profile, infos = Counter(), (Counter(), Counter(), Counter()), InfoCounter()
    total = 0
    for number, raw, columns in log_columns(chunks, path):
        new = infos.add(columns.raw, columns.info_starts, columns.info_ends)
        if not all(info.count(b":") > 1 for info in new):
            for line in parse_lines(enumerate(raw.split(b"\n"), number), path):  # which one is it?
                for info in line.infos:
                    split_in_line(path, line.number, info)
        for user, clicks in zip(columns.column(0), columns.clicks.tolist()):
            users[user] += clicks
        for counter, column in zip(profile, (1, 2, 4)):
            counter.update(columns.column(column))
        total += len(columns.clicks)
    packed = []
    for counter in (users, *profile):
        packed.append(_packed(counter.keys(), counter.values()))
        counter.clear()  # two processes are at this point together: it is where memory is short
    return (total, *packed, infos.packed())


def _packed(values, counts):
    """Values without line breaks and their counts, in little memory: (bytes, int64 array)."""
    return b"\n".join(values), np.fromiter(counts, np.int64, len(counts))


def _merged(parts):
    """The sum of `_packed` counts: {string: count}."""
    total = {}
    for values, counts in parts:
        part = dict(zip(values.decode().split("\n"), counts.tolist()))
        if total:
            for value, count in part.items():
                total[value] = total.get(value, 0) + count
        else:
            total = part
    return total


class InfoCounter:
    """Counts video-infos, exactly, without making a string of each: several times as fast as a Counter.

    An info is looked at as WORDS numbers of 8 bytes. A sum of their multiples leads to two slots of a table, a slot to
    the row of an info, and if that is the same to the last byte, it is counted there. An info that is too long, or both
    of whose slots belong to others, goes to a Counter: the hash decides about the speed, never the counts.
    """

    def __init__(self):
        self._slots = np.zeros(1 << SLOT_BITS, np.int32)  # rows; row 0 is no info
        self._words, self._counts, self._rows = np.zeros((1024, WORDS), np.uint64), np.zeros(1024, np.int64), 1
        self._others = Counter()

    def add(self, raw, starts, ends):
        """Count the infos raw[start:end] of bytes without a NUL. Returns those that are new, each once, as bytes."""
        data = np.frombuffer(raw + bytes(8 * WORDS), np.uint8)
        blocks = [slice(first, first + CLICKS_AT_ONCE) for first in range(0, len(ends), CLICKS_AT_ONCE)]
        return [info for block in blocks for info in self._add(raw, data, starts[block], ends[block])]

    def _add(self, raw, data, starts, ends):
        lengths = ends - starts
        # 0 within an info would make two of different length alike; a log has none
        used = min(WORDS, -(-int(lengths.max()) // 8) or 1)
        words = np.lib.stride_tricks.sliding_window_view(data, 8 * used)[starts].view("<u8")  # [infos, used]
        words &= np.take(MASKS, np.minimum(lengths, 8 * WORDS), axis=0)[:, :used]
        hashes = sum(words[:, word] * FACTORS[word] for word in range(used))
        mask = np.uint64((1 << SLOT_BITS) - 1)
        slots = np.stack([hashes >> np.uint64(64 - (1 + probe) * SLOT_BITS) & mask for probe in (0, 1)])  # [2, infos]
        left, long = (np.flatnonzero(which) for which in (lengths <= 8 * WORDS, lengths > 8 * WORDS))
        for probe in (0, 1):
            left = left[~self._count(self._slots[slots[probe, left]], words[left])]
        before = self._rows
        while len(left):
            rows = self._new_rows(words[left], hashes[left], slots[:, left])
            if not rows.any():
                break
            left = left[~self._count(rows, words[left])]
        left = np.concatenate([left, long])
        others = Counter(raw[start:end] for start, end in zip(starts[left].tolist(), ends[left].tolist()))
        new = [info for info in others if info not in self._others]
        self._others.update(others)
        return self._infos(before, self._rows) + new

    def _count(self, rows, words):
        """Count those infos that are the ones of their rows; returns which: bool [infos]."""
        there, used = np.take(self._words, rows, axis=0), words.shape[1]
        same = rows > 0
        for word in range(used):
            same &= there[:, word] == words[:, word]
        if used < WORDS:
            same &= there[:, used] == 0  # nor is it longer
        np.add.at(self._counts, rows[same], 1)
        return same

    def _new_rows(self, words, hashes, slots):
        """Make rows for those infos that have a free slot; returns the new row of each, 0 for none: int64 [infos]."""
        _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
        slot = np.where(self._slots[slots[0, first]] == 0, slots[0, first], slots[1, first])
        free = np.flatnonzero(self._slots[slot] == 0)
        free = free[np.unique(slot[free], return_index=True)[1]]  # of several that want one slot one gets it
        end = self._rows + len(free)
        while end > len(self._counts):
            self._words = np.concatenate([self._words, np.zeros_like(self._words)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        rows = np.zeros(len(first), np.int64)
        rows[free] = np.arange(self._rows, end)
        self._words[self._rows:end, :words.shape[1]] = words[first[free]]
        self._slots[slot[free]] = rows[free]
        self._rows = end
        return rows[group]

    def _infos(self, first, end):
        """The infos of some rows, as bytes; of no more rows than there are."""
        return self._words[first:min(end, self._rows)].view(f"S{8 * WORDS}")[:, 0].tolist()

    def packed(self):
        """All counts, as `_packed`."""
        blocks = [b"\n".join(self._infos(start, start + CLICKS_AT_ONCE))  # a few at a time, for the sake of memory
                  for start in range(1, self._rows, CLICKS_AT_ONCE)]
        others, counts = _packed(self._others.keys(), self._others.values())
        text = b"\n".join([*blocks, others] if self._others else blocks)
        return text, np.concatenate([self._counts[1:self._rows], counts])


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


# ---------------------------------------------------------------- reading the two files back
class _PlainUnpickler(pickle.Unpickler):
    """Containers, strings and numbers need no lookup of a class: whatever asks for one is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


@contextlib.contextmanager
def bounded_memory(size):
    """Within, this process can take `size` bytes more, and then gets a MemoryError.

    So that no file fills the machine: a pickle of 20 bytes can ask for gigabytes. Works where there is a /proc (Linux).
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            limit = int(statm.read().split()[0]) * resource.getpagesize() + size
    except OSError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    known = [value for value in (limit, soft, hard) if value != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(known), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _load_plain_pickle(path):
    mend = "make it again with data_processor.py"
    try:
        # a pickled value takes six bytes at least, and some 200 when it is a string in a dictionary
        with open(path, "rb") as stream, bounded_memory(SPARE_MEMORY + 64 * os.fstat(stream.fileno()).st_size), \
                contextlib.redirect_stderr(io.StringIO()):  # CPython prints what it thinks of a cut-off bytearray
            return _PlainUnpickler(stream).load()
    except OSError as error:
        raise InputError(path, None, error.strerror, mend) from error
    except Exception as error:  # a damaged pickle can raise almost anything
        raise InputError(path, None, f"not a plain pickle ({said(error)})", mend) from error


def load_feature_dict(path):
    """Read and check feature_dict.pkl: every feature has the ids 0..n-1, 0 for `<unk>`; values in id order."""
    feature_dict = _load_plain_pickle(path)
    for feature in FEATURES:
        values = feature_dict.get(feature) if isinstance(feature_dict, dict) else None
        if not _is_dictionary(values):
            raise InputError(path, None, f"no dictionary of {feature} with ids from 0 (= {UNKNOWN})",
                             "give the feature_dict.pkl that data_processor.py wrote")
        if list(values.values()) != list(range(len(values))):
            feature_dict[feature] = dict(sorted(values.items(), key=lambda item: item[1]))
    return feature_dict


def _is_dictionary(values):
    """Whether these are {value: id} as made from a log: ids from 0 without a gap, values of UTF-8 without tabs."""
    if (not isinstance(values, dict) or values.get(UNKNOWN) != 0 or {*map(type, values)} != {str}
            or {*map(type, values.values())} != {int} or sorted(values.values()) != list(range(len(values)))):
        return False
    text = "\n".join(values)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return "\t" not in text and text.count("\n") == len(values) - 1


def load_item_freq(path, feature_dict):
    """Read and check item_freq.pkl against its dictionary: one probability a video, summing to 1.

    The two must come from one run if there is a fingerprint.json beside item_freq.pkl, which says so.
    """
    freq = _load_plain_pickle(path)
    videos = len(feature_dict["history_clicked_items"])
    mend = "give the item_freq.pkl that data_processor.py wrote together with the dictionary"
    if not isinstance(freq, list) or not all(isinstance(share, float) for share in freq):
        raise InputError(path, None, "not a list of floats", mend)
    if len(freq) != videos:
        raise InputError(path, None, f"{len(freq)} frequencies for {videos} videos of the dictionary", mend)
    if not all(share >= 0 for share in freq) or not math.isclose(sum(freq), 1, abs_tol=1e-6) or not any(freq[1:]):
        raise InputError(path, None, "not probabilities that sum to 1", mend)
    told = _read_fingerprints(os.path.join(os.path.dirname(path), FINGERPRINTS))
    if told and told != fingerprints(feature_dict, freq):
        both = told["item_freq"] == frequencies_fingerprint(freq)
        raise InputError(path, None, "made with another dictionary than --feature_dict" if both else
                         f"not the one that the {FINGERPRINTS} beside it was written with", mend)
    return freq


def _read_fingerprints(path):
    """The object in fingerprint.json; None if there is no such file."""
    try:
        with open(path, encoding="utf-8") as stream:
            told = json.loads(stream.read(1 << 16))
        if isinstance(told, dict) and {"feature_dict", "item_freq"} <= told.keys():
            return told
        error = "no fingerprints in it"
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as problem:
        error = problem
    raise InputError(path, None, error, "make it again with data_processor.py")


def fingerprints(feature_dict, freq):
    """What fingerprint.json says: which dictionary and which frequencies one run of data_processor.py wrote."""
    return {"feature_dict": fingerprint(feature_dict), "item_freq": frequencies_fingerprint(freq)}


def frequencies_fingerprint(freq):
    """SHA-256, as hex, of item_freq.pkl's list."""
    return hashlib.sha256(array("d", freq).tobytes()).hexdigest()


def fingerprint(feature_dict):
    """SHA-256, as hex, of the values of a feature dictionary in id order: ties models to their dictionary."""
    digest = hashlib.sha256()
    for feature in FEATURES:
        digest.update(f"{feature}\t{len(feature_dict[feature])}\n".encode())
        digest.update("\n".join(feature_dict[feature]).encode())
    return digest.hexdigest()


def main():
    """Count the log, write the dictionary and the frequencies."""
    args = parse_args()
    bad_lines = bad_lines_of(args, os.path.join(args.output_dir, ""))
    counts, summary = count_log(args.train_set_path, args.processes, bad_lines)
    if not summary["clicks"]:
        raise InputError(args.train_set_path, None, "no click in the whole log", "give a log with histories")
    found = {feature: len(values) - sum(value in values for value in NO_VALUE) for feature, values in counts.items()}
    clicks = counts["history_clicked_items"]
    feature_dict = {feature: build_dictionary(counts.pop(feature), args.feat_appear_limit) for feature in FEATURES}
    videos = feature_dict["history_clicked_items"]
    if len(videos) == 1:
        raise InputError(args.train_set_path, None, f"no video has {args.feat_appear_limit} clicks",
                         "lower --feat_appear_limit")
    freq = item_frequencies(clicks, videos)
    del clicks  # memory is for writing now
    os.makedirs(args.output_dir, exist_ok=True)
    told = fingerprints(feature_dict, freq)
    files = {"feature_dict.pkl": lambda stream: pickle.dump(feature_dict, stream, 4),
             "item_freq.pkl": lambda stream: pickle.dump(freq, stream, 4),
             FINGERPRINTS: lambda stream: stream.write(json.dumps(told, indent=1).encode())}
    with contextlib.ExitStack() as all_or_none:  # all are on the disk before the first gets its name
        for name, write in files.items():
            stream = all_or_none.enter_context(atomic_write(os.path.join(args.output_dir, name)))
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
    if bad_lines:
        bad_lines.write()
    print(f"{summary['lines']} lines, {summary['clicks']} clicks, {freq[0]:.2%} of them on videos left out")
    for feature in FEATURES:
        print(f"{feature}: {len(feature_dict[feature])} of {found[feature] + 1} values, with {UNKNOWN}")
    print(f"dictionary {told['feature_dict'][:16]}", file=sys.stderr)


if __name__ == "__main__":
    run_script(main)
