"""candgen.data.counting"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from itertools import chain

from candgen.archives import bounded_read, load_plain_pickle
from candgen.console import InputError, Progress, logger
from candgen.data.dictionary import CATEGORIES, ITEMS, NO_VALUE, PROFILE_FEATURES, TAGS
from candgen.data.log_files import log_files
from candgen.data.logs import (
    MAX_LINE,
    PROFILE_COLUMNS,
    BadLines,
    changed_error,
    parse_line,
    read_log,
    split_video_info,
)

BYTES_AT_ONCE = 1 << 16  # of lines that are counted in one go: they stay in the cache


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
        self.lines, self.infos, self.profile = (
            0,
            Counter(),
            {feature: Counter() for feature in PROFILE_FEATURES},
        )
        self.max_user_clicks, self.excess, self.left_out = max_user_clicks, excess or {}, Counter()
        self._excess = dict(self.excess)  # that lines to come still have

    def add(self, lines):
        """Count some `LogLine`s."""
        if self.max_user_clicks:
            lines = [self._cut(line) for line in lines]
        self.lines += len(lines)
        self.infos.update(chain.from_iterable(line.infos for line in lines))
        for feature, column in zip(PROFILE_FEATURES, PROFILE_COLUMNS):
            self.profile[feature].update(
                line.columns[column] for line in lines if feature != "user_id"
            )
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
    files = log_files(paths)
    if all(map(os.path.isfile, files)):
        states, counted = [*map(file_state, files)], None
        try:
            counts = over_lines(count_shares(shares_of(files, processes), max_user_clicks), files)
            counted = counts, counts.by_feature()
        except (InputError, OSError, ValueError):
            pass  # a malformed line: read again, line by line, to name it or leave it out
        for file, state in zip(files, states):
            if file_state(file) != state:
                raise changed_error(file)
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
    excess = (
        {
            user: clicks - limit
            for user, clicks in counts.profile["user_id"].items()
            if clicks > limit and user not in NO_VALUE
        }
        if limit
        else {}
    )
    if not excess:
        return counts
    counts.by_feature()  # an error if a line is malformed, which the second reading leaves out
    for file in files:
        if not os.path.isfile(file):
            raise InputError(
                file,
                f"user {min(excess)[:80]!r} fills several lines, with more clicks than "
                f"--max_user_clicks={limit}, and it can be read once only",
                hint="give a file",
            )
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
            raise InputError(path, "given twice", hint="give each part once")
        seen.add(os.path.realpath(path))
        with bounded_read(
            path, "give a counts.pkl that data_processor.py --counts_only wrote"
        ) as stream:
            found, part = load_plain_pickle(stream), Counts()
            part.lines, part.infos = found["lines"], Counter(found["infos"])
            part.profile = {
                feature: Counter(found["profile"][feature]) for feature in PROFILE_FEATURES
            }
            part.max_user_clicks = found.get("max_user_clicks")
            numbers = chain(
                [part.lines],
                *(counter.values() for counter in (part.infos, *part.profile.values())),
            )
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError("something that is no count")
            if part.max_user_clicks is not None and type(part.max_user_clicks) is not int:
                raise ValueError("a limit that is no number")
            part.by_feature()
            if len(seen) > 1 and part.max_user_clicks != counts.max_user_clicks:
                raise InputError(
                    path,
                    f"counted with --max_user_clicks={part.max_user_clicks}, parts before it "
                    f"with {counts.max_user_clicks}",
                    hint="count all parts alike",
                )
            counts.max_user_clicks = part.max_user_clicks
            counts.merge(part)
    limit = counts.max_user_clicks
    users = counts.profile["user_id"]
    over = [
        user for user, clicks in users.items() if limit and clicks > limit and user not in NO_VALUE
    ]
    if over:  # which of them are the last ones only the log says
        raise InputError(
            " ".join(paths),
            f"user {min(over)[:80]!r} has clicks in several parts, together more "
            f"than --max_user_clicks={limit}",
            hint=("put all lines of a user into one part, or count the whole log in one run"),
        )
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
                stream.readline(MAX_LINE)
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
                logger.warning(
                    f"no further process can be started ({error.strerror}): counting with "
                    f"{len(workers) + 1}; raise the limit on processes, or give a smaller --processes"
                )
                own = [*own, *chain.from_iterable(shares[1 + len(workers) :])]
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
        threading.Thread(
            target=lambda: (parent.join(), os._exit(1)), daemon=True
        ).start()  # go when it does
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
            with Progress(f"counting {file}", end - start, progress) as bar:
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
                raise changed_error(path)
            raw += b"" if raw.endswith(b"\n") else stream.readline(MAX_LINE)
            if len(raw) >= MAX_LINE:
                raise ValueError("a line that is no line of a log")
            start += len(raw)
            lines = (parse_line(each, path, None) for each in raw.split(b"\n"))
            counts.add([line for line in lines if line])
            bar.at(start - begin)
