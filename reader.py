"""Log lines -> encoded instances -> batches. Imports no paddle.

A log is UTF-8 text, one user a line, five columns separated by tabs:

    user-id  province  city  history  phone
    history    = video-info;video-info;...          oldest click first, NULL for none
    video-info = video-id:category:tag1_tag2_...    `NULL` or empty = unknown

This is the only place that parses such lines. A click in a window has the category and the tags of its own
video-info, in training as in serving. Where a video as a whole has some (`Reader.content`), and its video-infos differ,
the catalogue's counts, then the most clicked one.

A batch is made of *stretches*: runs of consecutive positions of [<unk>, c1, ..., cn], the last
`targets` positions of which each predict the click that follows them. The windows of section
"The network" in the README that begin at position 0 are prefixes of one another, so one stretch
with several targets holds them all; every other window is a stretch with a single target.
"""
import contextlib
import glob
import gzip
import math
import os
import re
import stat
import sys
import zlib
from array import array
from collections import Counter
from itertools import accumulate, chain, islice, repeat, zip_longest
from typing import NamedTuple

import utils
from utils import CATEGORIES, CLICK_FEATURES, ITEMS, LOG_COLUMNS, NO_VALUE, PROFILE_FEATURES, TAGS, InputError, note

import numpy as np

HISTORY = LOG_COLUMNS.index("history")
PROFILE_COLUMNS = [LOG_COLUMNS.index(feature) for feature in PROFILE_FEATURES]
MAX_LINE = 1 << 28  # bytes; ten million clicks take less
LINES_AT_ONCE = 4096  # whose text is in memory
NO_FILES = "give a folder, or a pattern, of part files"
FEW = 0.1  # a log of which the dictionary knows no larger share of the clicks deserves a warning
HEAVY = 0.05  # a user with a larger share of all clicks deserves one too
FEW_USERS = 50  # but not in a log of fewer users, whose mean share is 2% or more: there 5% are nothing unusual
SEVERAL = 0.1  # lines of users with several lines deserve one if they are a larger share of all lines
KINDS = {rb"BZh[1-9]1AY": ("bzip2", "bunzip2 -c"), rb"\xfd7zXZ": ("xz", "xz -dc"), rb"PK\x03\x04": ("zip", "unzip -p"),
         rb"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
         rb"\xff\xfe|\xfe\xff": ("UTF-16", "iconv -f UTF-16 -t UTF-8")}  # how files of other kinds begin


# ---------------------------------------------------------------- log lines
class LogLine(NamedTuple):
    """One parsed line: its columns as strings, and the video-infos of its history, oldest first."""

    columns: list
    infos: list


class BadLines:
    """Counts malformed lines: up to `limit` of them are left out and named on stderr, one more is an error."""

    def __init__(self, limit=0, quiet=False):
        self.limit, self.count, self._quiet = limit, 0, quiet

    def add(self, error):
        """Take note of one, an `InputError`; raises it if it is one too many."""
        self.count += 1
        if self.count > self.limit:
            raise error
        if not self._quiet:
            note(f"left out: {error}")


def log_files(paths):
    """Files of a log, in order, from a path or a list of them: a file, `-`, a folder of part files, or a glob pattern.

    Of a folder, and of the folders that a pattern finds, files count whose names begin with neither
    `_` nor `.`, by name: what Hadoop and Spark leave there. `**` in a pattern stands for folders of any
    depth, and finds files only.

    Raises
    ------
    InputError
        For a folder or a pattern without any file, for a folder that cannot be read, for what is found
        there and is no file, and for a file that comes twice.
    """
    files = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        files += _files_at(path)
    seen = set()
    for file in files:
        real = file if file == "-" else os.path.realpath(file)
        if real in seen:
            raise InputError(file, None, "given twice",
                             "give each file once, and patterns that do not overlap")
        seen.add(real)
    return files


def _files_at(path):
    """Files of one path: itself, those of a folder, those that a pattern finds."""
    if os.path.isdir(path):
        return _files_in(path)
    if path == "-" or os.path.exists(path) or not glob.has_magic(path):
        return [path]
    files = []
    for found in _matches(path):
        if os.path.isdir(found):
            files += _files_in(found)
        else:
            files.append(_part_file(found))
    if not files:
        raise InputError(path, None, "no file there", NO_FILES)
    return files


def _files_in(folder):
    """Part files of a folder, by name; InputError if there is none, or if one is no file."""
    try:
        names = sorted(name for name in os.listdir(folder) if name[0] not in "_.")
    except OSError as error:
        raise InputError(folder, None, error.strerror, "give a folder that can be read") from error
    if not names:
        raise InputError(folder, None, "no file there", NO_FILES)
    return [_part_file(os.path.join(folder, name)) for name in names]


def _part_file(path):
    """`path`; InputError if it is a folder, or a pipe, of which reading might wait for ever."""
    if os.path.isdir(path):
        pattern = os.path.join(os.path.dirname(path), "**")
        raise InputError(path, None, "a folder among part files",
                         f"move it away, or give a pattern for files at any depth: '{pattern}'")
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, None, "not a regular file",
                         "move it away, or give the files by their names")
    return path


def _matches(pattern):
    """Sorted paths that a pattern finds, but not names with `_` or `.` in front, unless spelled out."""
    spelled = {*pattern.split(os.sep), os.curdir}

    def hidden(path):
        names = path.split(os.sep)
        return any(name[:1] in ("_", ".") for name in names if name not in spelled)
    found = {path for path in _glob(pattern, hidden) if not hidden(path)}
    if "**" in spelled:
        found = {path for path in found if not os.path.isdir(path)}
    return sorted(found)


def _glob(pattern, hidden):
    """What `glob.glob` finds; InputError for a folder that cannot be read, which glob leaves out.

    A folder that is there is no pattern, whatever brackets its name has.
    """
    folder, name = os.path.split(pattern)
    folders, found = [folder], []
    if glob.has_magic(folder) and not os.path.isdir(folder):
        folders = [path for path in _glob(folder, hidden) if not hidden(path)]
    for path in folders:
        try:
            os.stat(os.path.join(path, os.curdir))  # whether it can be entered
            if glob.has_magic(name):
                os.scandir(path or os.curdir).close()  # whether it can be listed
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(error) from error
        if name == "**":
            found += _below(path, hidden)
        else:
            found += glob.glob(os.path.join(glob.escape(path), name))
    return found


def _below(top, hidden):
    """Yield a folder and all that is in it, at any depth; each folder once, wherever links lead."""
    def stop(error):
        raise _unreadable(error) from error
    seen = set()
    for folder, folders, files in os.walk(top or os.curdir, onerror=stop, followlinks=True):
        folders[:] = [name for name in folders if not hidden(name)]
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        yield folder
        yield from (os.path.join(folder, name) for name in files)


def _unreadable(error):
    """The `InputError` for a folder with whose files a part of a log would be missing."""
    return InputError(error.filename, None, error.strerror,
                      "make it readable, or give a pattern that leaves it out")


def named(paths):
    """What to call a log in a message."""
    return str(paths) if isinstance(paths, (str, os.PathLike)) else " ".join(paths)


def open_log(path):
    """Open a log for reading bytes: a file, gzip by its first bytes, `-` for standard input."""
    if path == "-" and sys.stdin.buffer.closed:
        raise InputError(path, None, "standard input can be read once only", "give a file")
    try:
        stream = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115 - the caller closes it
        if path == "-":
            _wait_for_input(stream)
        start = stream.peek(8)
    except OSError as error:
        raise InputError(path, None, error.strerror, "give the path of a file") from error
    for magic, (kind, unpack) in KINDS.items():
        if re.match(magic, start):
            raise InputError(path, None, f"a {kind} file", f"give plain UTF-8 text or gzip: {unpack} FILE | ... =-")
    return gzip.open(stream) if start.startswith(b"\x1f\x8b") else stream


def _wait_for_input(stream):
    """Let reads of standard input wait, also where its writer left it in non-blocking mode."""
    with contextlib.suppress(OSError):  # of a stream in memory
        os.set_blocking(stream.fileno(), True)


def raw_lines(paths, progress=True):
    """Yield (file, line number, bytes) of a log, with a bar of `progress`; InputError for a file that is missing or
    damaged, or that is written to meanwhile."""
    files = log_files(paths)
    sizes = [os.path.getsize(file) if os.path.isfile(file) else math.inf for file in files]  # of a pipe nobody knows
    ends = [*accumulate(sizes, initial=0)]
    with utils.Progress(f"reading {named(paths)}", ends[-1] if ends[-1] < math.inf else None, progress) as bar:
        for path, before in zip(files, ends):
            yield from _raw_lines(path, bar, before)


def _raw_lines(path, bar, before):
    number, seekable = 1, os.path.isfile(path)
    with open_log(path) as stream:
        file = getattr(stream, "fileobj", stream)  # of a gzip: the packed file
        state = _state(file)
        try:
            while raw := stream.readline(MAX_LINE):
                if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                    raise InputError(path, number, f"a line of {MAX_LINE} bytes or more", "is this a log?")
                yield path, number, raw
                if seekable and not number % 1000:
                    bar.at(before + file.tell())
                number += 1
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(path, number, f"damaged gzip data ({utils.said(error)})",
                             "copy the file again; if parts were joined, all must be gzip") from error
        except OSError as error:
            raise InputError(path, number, error.strerror,
                             "check the disk, or copy the file again") from error
        if _state(file) != state:
            raise changed(path)


def _state(file):
    """(size, time of the last change in ns) of an open file; None if it is not a regular one."""
    try:
        found = os.fstat(file.fileno())
    except OSError:  # a stream in memory
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def changed(path):
    """The error for a file that another process has written to, or replaced, while it was read."""
    return InputError(path, None, "changed while it was read",
                      "give a copy that no other process writes to")


def text_lines(paths, progress=True):
    """Yield (file, line number, text) of each line of files that is not empty; InputError for one that is not UTF-8."""
    for path, number, raw in raw_lines(paths, progress):
        text = _decoded(raw, path, number)
        if text:
            yield path, number, text


def read_catalogue(paths):
    """Yield the video-infos of files with one a line; InputError for a line that is none."""
    for path, number, info in text_lines(paths):
        try:
            if "\t" in info or ";" in info or "\0" in info or not split_video_info(info)[0]:
                raise ValueError(f"{info[:80]!r} is not one video-info")
        except ValueError as error:
            raise InputError(path, number, str(error), "write video-id:category:tag1_tag2, one a line") from error
        yield info


def read_log(paths, decode, bad_lines=None, progress=True):
    """Yield decode(LogLine) of each line of a log that is not empty.

    Parameters
    ----------
    paths : of plain or gzip files, as in `log_files`.
    decode : function that raises ValueError for a video-info that is malformed.
    bad_lines : BadLines, which takes malformed lines; None: they raise.
    progress : whether a terminal is shown how far it is.

    Raises
    ------
    InputError
        For a missing file, and for a malformed line: a column too many or too few, bytes that are not UTF-8, a NUL
        byte, an empty history, a video-info without two colons.
    """
    bad_lines = bad_lines or BadLines()
    for path, number, raw in raw_lines(paths, progress):
        try:
            line = parse_line(raw, path, number)
            if line is None:
                continue
            decoded = decode(line)
        except ValueError as error:
            bad_lines.add(InputError(path, number, utils.said(error),
                                     "separate clicks by ';' and write NULL for an unknown category or tag"))
        except InputError as error:
            bad_lines.add(error)
        else:
            yield decoded


def _decoded(raw, path, number):
    """Text of the bytes of a line, without its end and without a byte-order mark in front.

    Any line may have one: each part of joined files begins with it. InputError for a line that is not
    UTF-8, or has a carriage return within.
    """
    try:
        text = raw.decode("utf-8").rstrip("\r\n").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(path, number, f"not UTF-8 ({error.reason} at byte {error.start})",
                         "convert the file with iconv -t UTF-8") from error
    if "\r" in text:
        raise InputError(path, number, "a carriage return within the line",
                         "remove it, or, if it should end the line, convert the file: tr '\\r' '\\n'")
    return text


def parse_line(raw, path, number):
    """Split the bytes of one line into a `LogLine`; None for an empty line, InputError for a malformed one."""
    text = _decoded(raw, path, number)
    if not text:
        return None
    if "\0" in text:
        raise InputError(path, number, "a NUL byte", "is this a log, was it cut off by a crash? Remove the line")
    columns = text.split("\t")
    if len(columns) != len(LOG_COLUMNS):
        fix = f"write {', '.join(LOG_COLUMNS)}, with tabs between"
        if len(columns) == 2 * len(LOG_COLUMNS) - 1:
            fix = "it looks like two lines: end each part with a newline before joining them"
        raise InputError(path, number, f"{len(columns)} columns instead of {len(LOG_COLUMNS)}", fix)
    history = columns[HISTORY]
    if not history:
        raise InputError(path, number, "empty history",
                         "write NULL for a user without clicks, or video-id:category:tag1_tag2;...")
    return LogLine(columns, [] if history == "NULL" else history.split(";"))


def split_video_info(info):
    """Split `video-id:category:tag1_tag2` into (video-id, category, [tag, ...]).

    The last two colons count, so that a video-id may contain some. Raises ValueError.
    """
    parts = info.rsplit(":", 2)
    if len(parts) != 3:
        raise ValueError(f"video-info {info[:80]!r} is not video-id:category:tags")
    return parts[0], parts[1], parts[2].split("_")


# ---------------------------------------------------------------- encoding
class VideoTable(dict):
    """video-info string -> row of the columns `item`, `category`, `tags`; decoded when first met.

    Row 0 is `<unk>`: item 0, category 0, tag 0. Videos outside the dictionary share it.

    Attributes
    ----------
    nameless : set of the video-infos without a video-id.    listed : set of the rows that a catalogue has.
    earlier : Counter of the clicks on rows in an earlier log.
    """

    def __init__(self, feature_dict):
        super().__init__()
        self._ids = [feature_dict[feature].get for feature in CLICK_FEATURES]
        self.item, self._category, self._tags, self._offsets = (
            array("q", [0]), array("q", [0]), array("q", [0]), array("q", [0, 1]))
        self._columns, self._clicks = None, np.zeros(1, np.int64)
        self.nameless, self.listed, self.earlier = set(), set(), Counter()

    def __missing__(self, info):
        video, category, tags = split_video_info(info)
        if video in NO_VALUE:
            self.nameless.add(info)
        item_of, category_of, tag_of = self._ids
        item, row = item_of(video, 0), 0  # 0 for `<unk>` itself as well
        if item:
            row = len(self.item)
            self.item.append(item)
            self._category.append(category_of(category, 0))
            self._tags.extend(tag_of(tag, 0) for tag in tags)
            self._offsets.append(len(self._tags))
            self._columns = None
        self[info] = row
        return row

    def columns(self):
        """(item [R], category [R], tags [all tags in row order], tag_offsets [R + 1]), all int64, as of now."""
        if self._columns is None:
            self._columns = tuple(np.array(each) for each in (self.item, self._category, self._tags, self._offsets))
        return self._columns

    def count(self, rows):
        """Add clicks on some rows, int [C]."""
        counts = np.bincount(rows, minlength=len(self.item))
        counts[:len(self._clicks)] += self._clicks
        self._clicks = counts

    def by_preference(self):
        """The rows, int64 [R], ordered so that of two that describe one video the later one is to be preferred.

        Rows of a catalogue come after all others, then those with more clicks in the log (`count`), then those with
        more clicks in an earlier log, then those whose video-info is the smaller text. The order of lines is of no
        importance.
        """
        item = self.columns()[0]
        clicks, earlier, listed, text = np.zeros((4, len(item)), np.int64)
        clicks[:len(self._clicks)] = self._clicks
        earlier[np.fromiter(self.earlier.keys(), np.int64)] = np.fromiter(self.earlier.values(), np.int64)
        listed[np.fromiter(self.listed, np.int64)] = 1
        contested = np.bincount(item)[item] > 1
        contested[0] = False  # of all videos outside the dictionary
        texts = {row: info for info, row in self.items() if contested[row]}
        text[sorted(texts, key=texts.get, reverse=True)] = np.arange(len(texts))
        return np.lexsort((text, earlier, clicks, listed))


class Content(NamedTuple):
    """What is known of V videos beside their ids: the ids of video v's attributes, its tags and its category, are
    ids[offsets[v]:offsets[v + 1]]; both int64, ids of categories follow those of tags."""

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of_pairs(cls, video, ids, videos):
        """From pairs of a video and an attribute of it, in any order, of `videos` videos."""
        order = np.lexsort((ids, video))
        return cls(ids[order], np.searchsorted(video[order], np.arange(videos + 1)))

    def completed(self, earlier, video_ids, attribute_ids, tags):
        """With the tags that an `earlier` Content has of videos without any here, and the same with categories.

        video_ids : int64 [V], the earlier id of each video, 0 for none.
        attribute_ids : int64, the earlier ids of attributes by their ids now, 0 for none.
        tags : int, the ids now from which on attributes are categories.
        """
        # the other way round: ids now of attributes by their earlier ids, 0 for those that are gone
        now = np.zeros(max(attribute_ids.max(initial=0), earlier.ids.max(initial=0)) + 1, np.int64)
        now[attribute_ids] = np.arange(len(attribute_ids))
        now[0] = 0
        places, video = ragged(earlier.offsets, video_ids)
        ids = now[earlier.ids[places]]
        owners = np.repeat(np.arange(len(video_ids)), np.diff(self.offsets))
        known = np.zeros((2, len(video_ids)), bool)  # whether tags, whether a category
        known[(self.ids >= tags).astype(int), owners] = True
        added = (ids > 0) & (video_ids[video] > 0) & ~known[(ids >= tags).astype(int), video]
        return self.of_pairs(np.concatenate([owners, video[added]]), np.concatenate([self.ids, ids[added]]),
                             len(video_ids))


class UserClicks:
    """Which lines of a log are of one user, and how many clicks they have, in 16 bytes a line.

    User-ids are kept as 64-bit hashes. A line without a user-id counts as a user of its own.
    """

    def __init__(self):
        self._users, self._clicks, self._names = array("q"), array("q"), {}

    def add(self, users, clicks):
        """Add some lines: a list of user-ids and their numbers of clicks."""
        hashes = [hash(user) if user not in NO_VALUE else hash((user, line))
                  for line, user in enumerate(users, len(self._users))]
        self._users.extend(hashes)
        self._clicks.extend(clicks)
        # who has more than a share of all clicks has more than that of those in some call: only such names are kept
        _, first, user_of = np.unique(np.array(hashes, np.int64), return_index=True, return_inverse=True)
        heavy = np.bincount(user_of, clicks) > HEAVY * np.sum(clicks)
        self._names.update({hashes[line]: users[line] for line in first[heavy]})

    def last_clicks(self, limit):
        """How many clicks of each line are among the last `limit` of its user, int64 [L]."""
        clicks = np.array(self._clicks, np.int64)
        _, user_of = np.unique(np.array(self._users, np.int64), return_inverse=True)
        order = np.argsort(user_of, kind="stable")
        up_to = np.cumsum(clicks[order])
        ends = np.cumsum(np.bincount(user_of, clicks).astype(np.int64))  # of users, in the same order
        behind = ends[user_of[order]] - up_to  # clicks of the same user on later lines
        found = np.empty_like(clicks)
        found[order] = np.clip(limit - behind, 0, clicks[order])
        return found

    def warn(self, path):
        """Write a warning if one user has a large share of all clicks, and if users fill several lines."""
        clicks = np.array(self._clicks, np.int64)
        distinct, user_of = np.unique(np.array(self._users, np.int64), return_inverse=True)
        if len(distinct):
            totals = np.bincount(user_of, clicks)
            heaviest = int(totals.argmax())
            name = self._names.get(int(distinct[heaviest]), "")
            warn_of_heavy_user(path, name, totals[heaviest], clicks.sum(), len(distinct))
        lines = np.bincount(user_of, clicks > 0, len(distinct))  # of each user
        several, all_lines = int(lines[lines > 1].sum()), int(lines.sum())
        if all_lines >= FEW_USERS and several > SEVERAL * all_lines:
            note(f"warning: {path}: {several} of {all_lines} lines are of users with several lines: each line is "
                 "learned as a user of its own, without the clicks of the user's other lines, which lowers recall; "
                 "join the lines of a user into one, oldest click first, or give the earlier ones as "
                 "--context_set_path")


def warn_of_heavy_user(path, user, clicks, total, users):
    """Write a warning if a `user` has a large share of the `total` clicks of so many `users`."""
    if users >= FEW_USERS and clicks > HEAVY * total:
        note(f"warning: {path}: user {user[:80]!r} has {clicks / total:.0%} of all clicks, "
             f"{clicks / total * users:.0f} times the mean of the {users} users, and is learned at the expense of the "
             "others; leave out what is a program, or limit what one user adds with --max_user_clicks=N, in "
             "data_processor.py and train.py alike")


class EncodedLog(NamedTuple):
    """L lines with C clicks on known videos, as arrays.

    users : list of L raw user ids.     profile : int64 [L, P], in the order of PROFILE_FEATURES
    clicks : int32 [C], rows of `videos`, line after line.   offsets : int64 [L + 1] into clicks
    last_item : int64 [L], the line's last click: item id, 0 for an unknown video, -1 for no click at all.
    context : int64 [L], how many of the line's known clicks are those of an earlier log (`Reader.look_back`).
    videos : columns of a `VideoTable`.
    """

    users: list
    profile: np.ndarray
    clicks: np.ndarray
    offsets: np.ndarray
    last_item: np.ndarray
    context: np.ndarray
    videos: tuple

    @property
    def lengths(self):
        """Known clicks per line, int64 [L]."""
        return np.diff(self.offsets)

    @property
    def new_clicks(self):
        """How many known clicks are the log's own."""
        return len(self.clicks) - int(self.context.sum())

    def before_last(self):
        """Known clicks per line that precede the line's last click, int64 [L]."""
        return self.lengths - (self.last_item > 0)

    def items(self, line, count=None):
        """Item ids of the first `count` (all) clicks of a line, int64 [count]."""
        start, end = self.offsets[line], self.offsets[line + 1]
        return self.videos[0][self.clicks[start:end if count is None else start + count]]

    def own_clicks(self):
        """Rows of the known clicks that are the log's own, those of `context` left out; int32 [new_clicks]."""
        if not self.context.any():
            return self.clicks
        place = np.arange(len(self.clicks)) - np.repeat(self.offsets[:-1] + self.context, self.lengths)
        return self.clicks[place >= 0]

    def fingerprint(self):
        """SHA-256 of all of it: users, profiles, clicks and what is known of the videos."""
        return utils.fingerprint("\n".join(self.users), *self[1:6], *self.videos)


class Reader:
    """Turns logs into arrays of ids by a feature dictionary.

    Parameters
    ----------
    feature_dict : dict, as data_processor.py writes it.
    bad_lines, progress : as in `read_log`.
    """

    def __init__(self, feature_dict, bad_lines=None, progress=True):
        self._bad_lines, self._progress = bad_lines, progress
        self._profile_ids = [feature_dict[feature] for feature in PROFILE_FEATURES]
        self._videos, self._earlier = VideoTable(feature_dict), None
        self._nameless = 0  # clicks without a video-id, of the log that is being encoded

    def learn(self, infos):
        """Take note of the video-infos of a catalogue, of videos that no line may have."""
        self._videos.listed.update(self._videos[info] for info in infos)

    def count(self, log):
        """Count the clicks of an `EncodedLog` of this reader: where video-infos differ, `content` and `categories`
        follow the most clicked one."""
        self._videos.count(log.own_clicks())

    def _preferred(self, known):
        """The row of each item's preferred video-info among the rows that are `known`, bool [R]; {item: row} as an
        int64 array [items], 0 for none."""
        item, order = self._videos.columns()[0], self._videos.by_preference()
        order = order[known[order]]
        rows = np.zeros(item.max() + 1, np.int64)
        rows[item[order]] = order  # of several the last one stays
        return rows

    def categories(self, videos):
        """Category ids of `videos` videos, int64 [videos]; 0: unknown.

        Of the video-infos of a video that have a category of the dictionary the preferred one counts: the
        catalogue's, or else the most clicked one of what was counted (`count`), or else of the earlier log
        (`look_back`); equal ones by text.
        """
        category = self._videos.columns()[1]
        found = np.zeros(videos, np.int64)
        rows = self._preferred(category > 0)
        found[:len(rows)] = category[rows]
        return found

    def content(self, videos, tags):
        """`Content` of `videos` videos; `tags` is the size of the dictionary of tags.

        Tags are chosen as categories are (`categories`), among the video-infos that have one of the dictionary.
        """
        _, _, tag, offsets = self._videos.columns()
        rows = self._preferred(np.maximum.reduceat(tag, offsets[:-1]) > 0)
        places, owner = ragged(offsets, rows)
        category = self.categories(videos)
        with_category = np.flatnonzero(category)
        video = np.concatenate([owner[tag[places] > 0], with_category])
        ids = np.concatenate([tag[places][tag[places] > 0], tags + category[with_category]])
        return Content.of_pairs(video, ids, videos)

    def look_back(self, paths, count):
        """Put the last `count` known clicks of each user of an earlier log in front of what this user has in each line
        that is encoded from now on: they are looked back on, and are no targets."""
        def decode(line):
            return line.columns[0], array("i", filter(None, self._rows(line)))
        self._earlier, self._nameless = {}, 0
        for user, rows in read_log(paths, decode, self._bad_lines, self._progress):
            self._videos.earlier.update(rows)
            if rows and user not in NO_VALUE:
                self._earlier[user] = (self._earlier.get(user, array("i")) + rows)[-count:]
        note(f"{named(paths)}: earlier clicks of {len(self._earlier)} users")
        self._warn_of_nameless(named(paths))

    def clicks_to_keep(self, paths, limit):
        """How many clicks of each line are among the last `limit` of its user, int32 [L], in a reading of its own."""
        def decode(line):
            return line.columns[0], len(self._rows(line))
        users, bad_lines = UserClicks(), BadLines(sys.maxsize, quiet=True)  # who encodes the log names them
        lines = read_log(paths, decode, bad_lines, self._progress)
        while piece := list(islice(lines, LINES_AT_ONCE)):
            users.add(*zip(*piece))
        return users.last_clicks(limit).astype(np.int32)

    def _rows(self, line):
        """Rows of the video-infos of a `LogLine`; counts those without a video-id."""
        rows = [self._videos[info] for info in line.infos]
        if self._videos.nameless:
            self._nameless += sum(info in self._videos.nameless for info in line.infos)
        return rows

    def _warn_of_nameless(self, path):
        if self._nameless:
            note(f"warning: {path}: {self._nameless} clicks have no video-id (empty or NULL in front of the category)")

    def encode(self, paths, block_lines=None, keep=None):
        """Yield the log at `paths` (see `log_files`) as `EncodedLog` blocks of `block_lines` lines (one block if None).

        Of each line the last `keep` clicks count (all if None). At the end a line on stderr says how much of the log
        the dictionary knows.
        """
        seen, behind, self._nameless = np.zeros(4, np.int64), 0, 0
        for log, clicks in self.blocks(paths, self._bad_lines, block_lines, self._progress, keep):
            seen += (len(log.users), (log.profile[:, 0] > 0).sum(), clicks, log.new_clicks)
            behind += np.count_nonzero(log.context)
            yield log
        path, (users, known_users, clicks, known_clicks) = named(paths), seen.tolist()
        note(f"{path}: {users} users, {known_users} of them known; {clicks} clicks, {known_clicks} of them on known "
             "videos")
        if self._earlier is not None:
            note(f"{'' if behind else 'warning: '}{path}: {behind} of {users} users have earlier clicks")
        if not users:
            note(f"warning: no line in {path}")
        self._warn_of_nameless(path)
        if known_clicks < FEW * clicks or (not known_clicks and not known_users and users):
            note(f"warning: the dictionary knows hardly anything in {path}; was it made from logs with other ids?")

    def blocks(self, paths, bad_lines, block_lines=None, progress=False, keep=None):
        """Yield (EncodedLog, clicks in it, unknown ones too), as `encode` does; memory is that of the arrays."""
        def decode(line):
            return line.columns, self._rows(line)
        lines, whole = read_log(paths, decode, bad_lines, progress), block_lines is None
        if keep is not None:  # lines that have been added since it was made keep nothing
            lines = ((columns, rows[max(0, len(rows) - count):])
                     for (columns, rows), count in zip(lines, chain(keep.tolist(), repeat(0))))
        while True:
            pieces, clicks, left = [self._log([], [])], 0, block_lines or sys.maxsize
            while piece := list(islice(lines, min(left, LINES_AT_ONCE))):
                pieces.append(self._log([columns for columns, _ in piece], [rows for _, rows in piece]))
                clicks, left = clicks + sum(len(rows) for _, rows in piece), left - len(piece)
            if len(pieces) > 1 or whole:
                yield joined(pieces, self._videos.columns()), clicks
            if whole or left:
                return

    def encode_users(self, user_ids):
        """Users of whom nothing but the id is known, as an `EncodedLog`."""
        nothing = [""] * (len(LOG_COLUMNS) - 1)
        log = self._log([[user, *nothing] for user in user_ids], [[] for _ in user_ids])
        return log._replace(videos=self._videos.columns())

    def _log(self, columns, rows):
        """An `EncodedLog` of some lines, but for the columns of the videos: they grow from piece to piece."""
        profile = np.array([[ids.get(line[column], 0) for ids, column in zip(self._profile_ids, PROFILE_COLUMNS)]
                            for line in columns], np.int64).reshape(-1, len(PROFILE_FEATURES))
        last = np.array([self._videos.item[line[-1]] if line else -1 for line in rows], np.int64)
        earlier_of = (self._earlier or {}).get
        earlier = [earlier_of(line[0], ()) for line in columns]
        known = [[*before, *filter(None, line)] for before, line in zip(earlier, rows)]
        offsets = np.concatenate([[0], np.cumsum([len(line) for line in known])]).astype(np.int64)
        clicks = np.fromiter(chain.from_iterable(known), np.int32, offsets[-1])
        context = np.array([*map(len, earlier)], np.int64)
        return EncodedLog([line[0] for line in columns], profile, clicks, offsets, last, context, None)


def joined(logs, videos):
    """Some `EncodedLog`s of one reader, as one, with the columns of its videos."""
    lengths = np.concatenate([log.lengths for log in logs])
    users = list(chain.from_iterable(log.users for log in logs))
    profile, clicks, last, context = (np.concatenate(columns) for columns in zip(
        *((log.profile, log.clicks, log.last_item, log.context) for log in logs)))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return EncodedLog(users, profile, clicks, offsets, last, context, videos)


class TrainingLog:
    """A log to make passes over, block by block: what is no longer than one block stays in memory.

    Parameters
    ----------
    reader : Reader.    paths : as in `log_files`.
    block_lines : lines that are read and shuffled together, which bounds memory.
    cut : function of lengths that gives the stretches of a block, `sliding_windows` or `sequence_stretches`.
    max_user_clicks : only so many clicks of each user count, the last ones over all lines of the user; None: all.

    Attributes
    ----------
    first : EncodedLog, the first block.    lines, clicks : int, of all blocks, the new clicks on known videos.
    """

    def __init__(self, reader, paths, block_lines, cut, max_user_clicks=None):
        self._reader, self._paths, self._block_lines, self._cut = reader, paths, block_lines, cut
        self.first, self.lines, self.clicks, self._sizes, self._prints = None, 0, 0, [], []
        self._keep = reader.clicks_to_keep(paths, max_user_clicks) if max_user_clicks else None
        users = UserClicks()
        for block in reader.encode(paths, block_lines, self._keep):
            users.add(block.users, block.lengths - block.context)
            self.first = self.first or block
            reader.count(block)
            self.lines, self.clicks = self.lines + len(block.users), self.clicks + block.new_clicks
            self._sizes.append((block.new_clicks, len(self._stretches(block).line)))
            self._prints.append(block._replace(videos=()).fingerprint())  # these grow while it is read
        if self._keep is not None and len(self._keep) != self.lines:
            raise InputError(named(paths), None, "changed while it was read", "train on a copy")
        users.warn(named(paths))
        if self._sizes:
            self.first = self.first._replace(videos=block.videos)  # all that the log has, by now
        if len(self._sizes) > 1:
            for path in log_files(paths):
                if not os.path.isfile(path):
                    raise InputError(path, None, f"more than --shuffle_lines={block_lines} lines, which are read in "
                                     "each pass, and it can be read once only", "give a file, or more lines at once")

    def _stretches(self, block):
        return new_targets(self._cut(block.lengths), block.context)

    def _blocks(self):
        """Yield the blocks of a pass; InputError if they are no longer those that were read first."""
        if len(self._sizes) == 1:
            yield self.first
            return
        blocks = self._reader.blocks(self._paths, BadLines(sys.maxsize, quiet=True), self._block_lines,
                                     keep=self._keep)
        for found, wanted in zip_longest(blocks, self._prints):
            if found is None or found[0]._replace(videos=()).fingerprint() != wanted:
                raise InputError(named(self._paths), None, "changed while it was trained on", "train on a copy")
            yield found[0]

    def steps(self, batch_size):
        """Batches of each block, a list."""
        return [min(-(-clicks // batch_size), stretches) for clicks, stretches in self._sizes]

    def batches(self, batch_size, rng):
        """Yield (block, stretches, generator) of each batch of a pass, in random order within a block."""
        for block, steps in zip(self._blocks(), self.steps(batch_size)):
            if steps:
                batches = shuffled_batches(self._stretches(block), steps, rng)
                yield from ((block, batch, generator) for batch, generator in zip(batches, rng.spawn(steps)))

    def categories(self, videos):
        """Category ids of the videos, see `Reader.categories`."""
        return self._reader.categories(videos)

    def content(self, videos, tags):
        """`Content` of the videos, see `Reader.content`."""
        return self._reader.content(videos, tags)

    def fingerprint(self):
        """SHA-256 of all of it, as of an `EncodedLog`."""
        return utils.fingerprint(*self._prints, *self.first.videos)


# ---------------------------------------------------------------- instances
class Stretches(NamedTuple):
    """S stretches: positions start .. start + length - 1 of a line; the last `targets` of them predict."""

    line: np.ndarray
    start: np.ndarray
    length: np.ndarray
    targets: np.ndarray

    def take(self, index):
        """The stretches at `index`, in that order."""
        return Stretches(*(column[index] for column in self))


def cut_stretches(lengths, window_size, hop):
    """Histories as stretches in which every click is a target once; a target sees window_size - hop positions or more.

    The first stretch of a line predicts from all its positions, each later one from its last `hop` (the last one
    from what is left).

    Parameters
    ----------
    lengths : int [L], known clicks per line.
    window_size : int, positions in a stretch at most.
    hop : int, at most window_size.

    Returns
    -------
    Stretches, ordered by line, then by target; sum(targets) == sum(lengths).
    """
    prefix = np.minimum(lengths, window_size)
    rows = (lengths > 0) + -(-(lengths - prefix) // hop)
    line = np.repeat(np.arange(len(lengths)), rows)
    number = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)  # 0, 1, 2, ... in each line
    first_target = np.where(number > 0, window_size + (number - 1) * hop, 0)
    start = np.where(number > 0, first_target + hop - window_size, 0)
    length = np.minimum(lengths[line] - start, window_size)
    return Stretches(line, start, length, length - (first_target - start))


def sliding_windows(lengths, window_size):
    """Every training window of every line; those from position 0 of a line share one stretch."""
    return cut_stretches(lengths, window_size, 1)


def sequence_stretches(lengths, window_size):
    """Overlapping stretches, so that one LSTM pass does for all the targets of half a window."""
    return cut_stretches(lengths, window_size, max(1, window_size // 2))


def new_targets(stretches, context):
    """Stretches without the targets that are among the first `context` clicks of their line, int [L]."""
    targets = np.minimum(stretches.targets, stretches.start + stretches.length - context[stretches.line])
    return stretches._replace(targets=targets).take(targets > 0)


def next_click_windows(lengths, window_size):
    """One window a line: the one that the click after the first `lengths` clicks would have."""
    length = np.minimum(lengths + 1, window_size)
    return Stretches(np.arange(len(lengths)), lengths + 1 - length, length, np.ones_like(length))


def ragged(offsets, rows):
    """Places of all elements of some rows of a ragged array, and which of the rows each belongs to, both int64 [K]."""
    counts = np.diff(offsets)[rows]
    owner = np.repeat(np.arange(len(counts)), counts)
    return np.arange(len(owner)) + np.repeat(offsets[rows] - np.cumsum(counts) + counts, counts), owner


def make_batch(log, stretches, with_targets=True, bare=None):
    """Gather the arrays of S stretches of a log with N targets together, padded with `<unk>` at the end.

    Parameters
    ----------
    log : EncodedLog
    stretches : Stretches of at most T positions.
    with_targets : bool, whether to look up the clicks that follow; False to infer.
    bare : bool [S], of which all is hidden but the user id: their targets look back on `<unk>` alone, as if they were
        first clicks, of unknown province, city and phone (`Reader.encode_users`); none if None.

    Returns
    -------
    {name: int64 array}
        each of PROFILE_FEATURES [S].    ITEMS, CATEGORIES : ids [T, S] (time first suits the LSTM).
        video : [T, S], which of the U distinct videos of the batch stands there.
        TAGS : [K], tag ids of the distinct videos.    tag_video : [K], the distinct video of each.
        seen_from : [N], the place in T * S that each target looks back from; stretch : [N], the stretch it is in.
        clicks, tag_counts : [N, 1], positions and tags up to that place.    target : [N], item ids.
    """
    item, category, tags, tag_offsets = log.videos
    line, start, length, targets = stretches
    time = np.arange(length.max())[:, None]
    click = log.offsets[line] + start + time - 1  # [T, S], the click at a position
    bare = np.zeros(len(line), bool) if bare is None else bare
    real = (start + time > 0) & (time < length) & ~bare  # neither <unk> in front nor padding
    rows = np.where(real, log.clicks[np.where(real, click, 0)] if len(log.clicks) else 0, 0)
    distinct, video = np.unique(rows, return_inverse=True)
    video = video.reshape(rows.shape)  # numpy 2.0 returned it flat
    counts = np.diff(tag_offsets)[distinct]
    places, tag_video = ragged(tag_offsets, distinct)
    stretch = np.repeat(np.arange(len(line)), targets)
    position = np.arange(len(stretch)) - np.repeat(np.cumsum(targets) - length, targets)
    target = (log.offsets[line] + start)[stretch] + position  # which of the clicks it is
    position[bare[stretch]] = 0
    batch = {feature: np.where(bare & (feature != "user_id"), 0, log.profile[line, column])
             for column, feature in enumerate(PROFILE_FEATURES)}
    batch.update({
        ITEMS: item[rows], CATEGORIES: category[rows], "video": video,
        TAGS: tags[places], "tag_video": tag_video,
        "seen_from": position * len(line) + stretch, "stretch": stretch, "clicks": position[:, None] + 1,
        "tag_counts": np.cumsum(counts[video], axis=0)[position, stretch][:, None]})
    if with_targets:
        batch["target"] = item[log.clicks[target]]
    return batch


def share_rows(parts, tables):
    """Ids of the parts of a batch -> places among the distinct ids that all of them need of a table.

    Parameters
    ----------
    parts : list of {name: array}; their arrays of ids are replaced.
    tables : {table: [names of the arrays with ids of its rows]}

    Returns
    -------
    {table: int64 [distinct]}, so that each row is looked up, and updated, once.
    """
    distinct = {}
    for table, names in tables.items():
        where = [(part, name) for part in parts for name in names]
        ids = [part[name] for part, name in where]
        distinct[table], places = np.unique(np.concatenate([each.ravel() for each in ids]), return_inverse=True)
        for (part, name), each, place in zip(where, ids, np.split(places, np.cumsum([each.size for each in ids])[:-1])):
            part[name] = place.reshape(each.shape)
    return distinct


def shuffled_batches(stretches, steps, rng):
    """Yield the stretches in random order, in `steps` batches of as many stretches each, give or take one; every target
    comes exactly once."""
    for chosen in np.array_split(rng.permutation(len(stretches.line)), steps):
        yield stretches.take(chosen)
