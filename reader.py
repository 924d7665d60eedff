"""Log lines -> encoded instances -> batches. Imports no paddle.

A log is UTF-8 text, one user a line, five columns separated by tabs:

    user-id  province  city  history  phone
    history    = video-info;video-info;...          oldest click first, NULL for none
    video-info = video-id:category:tag1_tag2_...    `NULL` or empty = unknown

This is the only place that parses such lines. `Reader` gives single instances (plain Python
tuples, good to look at) and, from the same encoding, the batches that the scripts really use.

A batch is made of *stretches*: runs of consecutive positions of [<unk>, c1, ..., cn], the last
`targets` positions of which each predict the click that follows them. The windows of section
"Instances" in the README that begin at position 0 are prefixes of one another, so one stretch
with several targets holds them all; every other window is a stretch with a single target.
"""
import contextlib
import glob
import gzip
import os
import sys
import zlib
from array import array
from itertools import islice
from typing import NamedTuple, Optional

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # processes share the work: threads would only be in their way
import numpy as np

UNKNOWN = "<unk>"
PROFILE_FEATURES = ("user_id", "province", "city", "phone")
CLICK_FEATURES = ("history_clicked_items", "history_clicked_categories", "history_clicked_tags")
COLUMNS, HISTORY = 5, 3  # how many, and which one
TAB, NEWLINE = b"\t\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CHUNK = 1 << 19  # bytes of lines that are split in one go
SPARE_CLICKS = 5  # looked at beside a window's, as some may be on unknown videos
MAX_LINE = 1 << 28  # bytes; ten million clicks take less
GZIP = b"\x1f\x8b"  # how a gzip file begins


# ---------------------------------------------------------------- what every script shares
class InputError(Exception):
    """Something that the user can mend: shown as one line on stderr, exit code 2."""

    def __init__(self, path, line, what, mend):
        where = f"{path}:{line}" if line else str(path)
        super().__init__(" ".join(f"{where}: {what}; {mend}".split()))
        self._all = (path, line, what, mend)

    def __reduce__(self):  # on its way from one process to another
        return InputError, self._all


def said(error):
    """What an exception says, in 200 letters at most; its name if it says nothing."""
    return (str(error) or type(error).__name__)[:200]


@contextlib.contextmanager
def atomic_write(path):
    """Binary file that appears at `path` whole or not at all (temporary file, fsync, rename).

    The temporary file is `path`.PID.tmp; what a killed process has left of such is removed.
    """
    path = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise InputError(path, None, "its folder does not exist", f"create it: mkdir -p {folder}")
    for left in glob.glob(glob.escape(path) + ".*.tmp"):
        pid = left[len(path) + 1:-len(".tmp")]
        if pid.isdigit() and not _is_running(int(pid)):
            os.unlink(left)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = path  # which file it was that the disk had no place for
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


# ---------------------------------------------------------------- log lines
class LogLine(NamedTuple):
    """One parsed line: raw strings, `infos` the video-info strings of its history, oldest first."""

    number: int
    user_id: str
    province: str
    city: str
    history: str
    phone: str

    @property
    def infos(self):
        return [] if self.history == "NULL" else self.history.split(";")


def open_log(path):
    """Open a log for reading bytes: a file, gzip by its first two bytes, `-` for standard input."""
    try:
        stream = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115 - the caller closes it
        packed = stream.peek(2)[:2] == GZIP
    except OSError as error:
        raise InputError(path, None, error.strerror, "give the path of a log file") from error
    return gzip.open(stream) if packed else stream


def read_log(path, bad_lines=None):
    """Iterate over the `LogLine` of each non-empty line of the log at `path`.

    Parameters
    ----------
    path : of a plain or gzip file, `-` for standard input.
    bad_lines : BadLines, which takes malformed lines aside; None: they raise.

    Raises
    ------
    InputError
        For a missing file, and for a malformed line: a column too many or too few, bytes that are not UTF-8, a NUL
        byte, an empty history.
    """
    return parse_lines(raw_lines(path, bad_lines), path)


def raw_lines(path, bad_lines=None):
    """Yield (line number, bytes) of a log; `bad_lines` as in `read_log`."""
    with open_log(path) as stream:
        lines = read_lines(stream, path)
        yield from bad_lines.sift(lines, path) if bad_lines else lines


def read_lines(stream, path, number=1):
    """Yield (line number, bytes) of a binary stream, in which the first line has the given number."""
    try:
        while raw := stream.readline(MAX_LINE):
            if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                raise InputError(path, number, f"a line of {MAX_LINE} bytes or more", "is this a log?")
            yield number, raw
            number += 1
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(path, number, f"damaged gzip data ({error})", "copy the file again") from error


class BadLines:
    """Takes malformed lines of logs aside, up to `limit` of them, into the file `path` when all is read."""

    def __init__(self, path, limit):
        self._path, self._limit, self._lines = path, limit, []

    @property
    def count(self):
        """How many there were so far."""
        return len(self._lines)

    def sift(self, numbered, path):
        """Yield the pairs (line number, bytes) that are well-formed; InputError at a malformed one too many."""
        well_formed = set()  # video-infos
        for number, raw in numbered:
            try:
                line = parse_line(raw, path, number)
                for info in line.infos if line else ():
                    if info not in well_formed:
                        split_in_line(path, number, info)
                        well_formed.add(info)
            except InputError as error:
                self._lines.append(str(error).encode().replace(b"\t", b" ") + b"\t" + raw.rstrip(b"\r\n") + b"\n")
                if len(self._lines) > self._limit:
                    raise
                continue
            yield number, raw

    def write(self):
        """Write the file if there was a bad line, each after what is wrong with it; say so on stderr."""
        if not self._lines:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # of an earlier run
        else:
            with atomic_write(self._path) as stream:
                stream.writelines(self._lines)
            print(f"{len(self._lines)} bad lines set aside in {self._path}", file=sys.stderr)


def raw_blocks(path, size, bad_lines=None):
    """Yield the lines of a log as lists of `size` pairs (line number, bytes), for `Reader.encode_raw`."""
    lines = raw_lines(path, bad_lines)
    while block := list(islice(lines, size)):
        yield block


def file_parts(path, count):
    """Cut a plain file into about `count` ranges of whole lines: [(start, end), ...]; none for gzip, pipes and `-`."""
    if path == "-" or not os.path.isfile(path):
        return []
    with open(path, "rb") as stream:
        if stream.peek(2)[:2] == GZIP:
            return []
        size = os.fstat(stream.fileno()).st_size
        edges = [0]
        for part in range(1, count):
            stream.seek(size * part // count)
            stream.readline()
            edges.append(stream.tell())
    return [(start, end) for start, end in zip(edges, [*edges[1:], size]) if end > start]


def file_chunks(path, start, end):
    """Yield (number of the first line, bytes of whole lines) for a range of `file_parts`, some CHUNK bytes at a time.

    Only in the first range are the numbers those of the file.
    """
    with open(path, "rb") as stream:
        stream.seek(start)
        number = 1 if start == 0 else 2
        while start < end and (raw := stream.read(min(CHUNK, end - start))):
            if not raw.endswith(b"\n"):
                raw += next((rest for _, rest in read_lines(stream, path, number + raw.count(b"\n"))), b"")
            start += len(raw)
            yield number, raw
            number += raw.count(b"\n")


def line_chunks(numbered):
    """Pairs (line number, bytes) put together into chunks like those of `file_chunks`."""
    lines, size, first = [], 0, 0
    for number, raw in numbered:
        first = first or number
        lines.append(raw)
        size += len(raw)
        if size >= CHUNK:
            yield first, b"".join(lines)
            lines, size, first = [], 0, 0
    if lines:
        yield first, b"".join(lines)


class LogColumns(NamedTuple):
    """L lines of a log with C clicks as bytes, and where in them the columns and video-infos begin and end.

    raw : bytes.    starts, ends : int64 [L, COLUMNS].    info_starts, info_ends : int64 [C].
    clicks : int64 [L], video-infos per line.
    """

    raw: bytes
    starts: np.ndarray
    ends: np.ndarray
    info_starts: np.ndarray
    info_ends: np.ndarray
    clicks: np.ndarray

    def column(self, number):
        """One column of all lines, list of L bytes."""
        return [self.raw[start:end] for start, end in zip(self.starts[:, number].tolist(),
                                                          self.ends[:, number].tolist())]


def split_columns(raw):
    """Bytes of whole lines as `LogColumns`, all lines at once; None if one is empty, malformed or has no history."""
    data = np.frombuffer(raw, np.uint8)
    breaks = np.flatnonzero((data == TAB) | (data == NEWLINE))
    if len(breaks) % COLUMNS:
        return None
    ends = breaks.reshape(-1, COLUMNS)
    if not (data[ends] == [TAB] * (COLUMNS - 1) + [NEWLINE]).all():
        return None
    starts = np.concatenate([[0], breaks[:-1] + 1])[:len(breaks)].reshape(-1, COLUMNS)
    history, history_end = starts[:, HISTORY], ends[:, HISTORY]
    if (history == history_end).any():
        return None
    separators = np.flatnonzero(data == ord(";"))
    first, last = np.searchsorted(separators, history), np.searchsorted(separators, history_end)
    known, four = np.ones(len(history), bool), np.flatnonzero(history_end - history == len(b"NULL"))
    known[four] = (data[history[four, None] + np.arange(4)] != list(b"NULL")).any(axis=1)
    inside = last - first  # separators in each history
    if inside.sum() < len(separators):  # some in other columns
        separators = separators[np.searchsorted(breaks, separators) % COLUMNS == HISTORY]
    info_ends = np.insert(separators, np.cumsum(inside)[known], history_end[known])
    clicks = (inside + 1) * known
    info_starts = np.concatenate([[0], info_ends[:-1] + 1])[:len(info_ends)]
    info_starts[(np.cumsum(clicks) - clicks)[known]] = history[known]
    return LogColumns(raw, starts, ends, info_starts, info_ends, clicks)


def log_columns(chunks, path):
    """The chunks of a log, split into columns: what `parse_line` makes of each line, for many lines at once.

    Parameters
    ----------
    chunks : iterable of (number of the first line, bytes of whole lines).

    Yields
    ------
    number, raw : the chunk.    columns : LogColumns, without empty lines.

    Raises
    ------
    InputError
        For a malformed line, as `parse_line`; video-infos are not looked at.
    """
    for number, raw in chunks:
        whole = raw if raw.endswith(b"\n") else raw + b"\n"
        columns = split_columns(whole) if _is_plain(whole, number) else None
        if columns is None:  # line by line: so that what is malformed is named, and what is odd put right
            lines = parse_lines(enumerate(raw.split(b"\n"), number), path)
            columns = split_columns("".join("\t".join(line[1:]) + "\n" for line in lines).encode())
        yield number, raw, columns


def _is_plain(raw, number):
    """Whether bytes are UTF-8 without what `parse_line` takes off or refuses."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return b"\r" not in raw and b"\0" not in raw and not (number == 1 and raw.startswith(BYTE_ORDER_MARK))


def parse_lines(numbered, path):
    """Yield the `LogLine` of each pair (line number, bytes) but of those that are empty."""
    for number, raw in numbered:
        line = parse_line(raw, path, number)
        if line is not None:
            yield line


def parse_line(raw, path, number):
    """Split the bytes of one line into a `LogLine`; None for an empty line."""
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(path, number, f"not UTF-8 ({error.reason} at byte {error.start})",
                         "convert the file with iconv -t UTF-8") from error
    if number == 1:
        text = text.lstrip(BYTE_ORDER_MARK.decode())
    if not text:
        return None
    if "\0" in text:
        raise InputError(path, number, "a NUL byte", "is this a log, was it cut off by a crash? Remove the line")
    fields = text.split("\t")
    if len(fields) != COLUMNS:
        raise InputError(path, number, f"{len(fields)} columns instead of {COLUMNS}",
                         "write user-id, province, city, history, phone, with tabs between")
    if not fields[3]:
        raise InputError(path, number, "empty history",
                         "write NULL for a user without clicks, or video-id:category:tag1_tag2;...")
    return LogLine(number, *fields)


def split_video_info(info):
    """Split `video-id:category:tag1_tag2` into (video-id, category, [tag, ...]).

    The last two colons count, so that a video-id may contain some. Raises ValueError.
    """
    parts = info.rsplit(":", 2)
    if len(parts) != 3:
        raise ValueError(f"video-info {info[:80]!r} is not video-id:category:tags")
    return parts[0], parts[1], parts[2].split("_")


def split_in_line(path, number, info):
    """`split_video_info` of a line whose number is known: InputError."""
    try:
        return split_video_info(info)
    except ValueError as error:
        raise video_info_error(path, number, error) from error


def video_info_error(path, number, error):
    """The `InputError` for a ValueError that `split_video_info` raised on a line."""
    return InputError(path, number, str(error), "separate clicks by ';' and write NULL for an unknown category or tag")


# ---------------------------------------------------------------- encoding
class VideoTable(dict):
    """video-info string -> row of the columns `item`, `category`, `tags`; decoded when first met.

    Row 0 is `<unk>`: item 0, category 0, tag 0. Videos outside the dictionary share it.
    """

    def __init__(self, feature_dict):
        super().__init__()
        self._ids = [feature_dict[feature].get for feature in CLICK_FEATURES]
        self._items, self._categories, self._tags = array("q", [0]), array("q", [0]), array("q", [0])
        self._offsets = array("q", [0, 1])
        self._columns = None

    def __missing__(self, info):
        video, category, tags = split_video_info(info)
        item_of, category_of, tag_of = self._ids
        item, row = item_of(video, 0), 0  # 0 for `<unk>` itself as well
        if item:
            row = len(self._items)
            self._items.append(item)
            self._categories.append(category_of(category, 0))
            for tag in tags:
                self._tags.append(tag_of(tag, 0))
            self._offsets.append(len(self._tags))
            self._columns = None
        self[info] = row
        return row

    @property
    def columns(self):
        """(item [R], category [R], tags [all tags in row order], tag_offsets [R + 1]), all int64."""
        if self._columns is None:
            self._columns = tuple(np.array(column) for column in (self._items, self._categories, self._tags,
                                                                  self._offsets))
        return self._columns


class EncodedLog(NamedTuple):
    """L lines with C clicks on known videos, as arrays.

    users : list of L raw user ids.     profile : int64 [L, 4], in the order of PROFILE_FEATURES
    clicks : int32 [C], rows of `videos`, line after line.   offsets : int64 [L + 1] into clicks
    last_item : int64 [L], the line's last click: item id, 0 for an unknown video, -1 for no click at all.
    """

    users: list
    profile: np.ndarray
    clicks: np.ndarray
    offsets: np.ndarray
    last_item: np.ndarray
    videos: VideoTable

    @property
    def lengths(self):
        """Known clicks per line, int64 [L]."""
        return np.diff(self.offsets)

    def before_last(self):
        """Known clicks per line that precede the line's last click, int64 [L]."""
        return self.lengths - (self.last_item > 0)

    def items(self, line, count=None):
        """Item ids of the first `count` (all) clicks of a line, int64 [count]."""
        start, end = self.offsets[line], self.offsets[line + 1]
        return self.videos.columns[0][self.clicks[start:end if count is None else start + count]]


class Stretches(NamedTuple):
    """S stretches: positions start .. start + length - 1 of a line; the last `targets` of them predict."""

    line: np.ndarray
    start: np.ndarray
    length: np.ndarray
    targets: np.ndarray

    def take(self, index):
        """The stretches at `index`, in that order."""
        return Stretches(*(column[index] for column in self))


class Batch(NamedTuple):
    """S stretches of at most T positions with N targets together; U distinct videos, K tags. All int64.

    profile : [S, 4].          items, categories, video : [T, S], `video` counts the U distinct videos
    tags : [K], tag ids of the distinct videos.     tag_video : [K], the distinct video each belongs to
    tag_counts : [T, S], number of tags up to and including a position.
    stretch, position : [N], where each target looks back from.     target_item : [N], or None to infer
    """

    profile: np.ndarray
    items: np.ndarray
    categories: np.ndarray
    video: np.ndarray
    tags: np.ndarray
    tag_video: np.ndarray
    tag_counts: np.ndarray
    stretch: np.ndarray
    position: np.ndarray
    target_item: Optional[np.ndarray]


def sliding_windows(lengths, window_size):
    """Every training window of every line; those from position 0 of a line share one stretch.

    Parameters
    ----------
    lengths : int [L], known clicks per line.
    window_size : int, positions in a window at most.

    Returns
    -------
    Stretches, ordered by line, then by target; sum(targets) == sum(lengths).
    """
    prefix = np.minimum(lengths, window_size)
    single = lengths - prefix  # windows that begin after position 0
    rows = (lengths > 0) + single
    line = np.repeat(np.arange(len(lengths)), rows)
    start = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)  # 0, 1, 2, ... in each line
    first = start == 0
    return Stretches(line, start, np.where(first, prefix[line], window_size), np.where(first, prefix[line], 1))


def sequence_stretches(lengths, window_size):
    """Histories cut into overlapping stretches of at most `window_size`: every click is a target exactly once.

    The first stretch of a line predicts from all its positions, each later one from its last window_size // 2
    (the last stretch from what is left), so that a target sees more than half a window, or all there is.
    Parameters and result as in `sliding_windows`.
    """
    half = max(1, window_size // 2)
    prefix = np.minimum(lengths, window_size)
    rows = (lengths > 0) + -(-(lengths - prefix) // half)
    line = np.repeat(np.arange(len(lengths)), rows)
    number = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)  # 0, 1, 2, ... in each line
    first_target = np.where(number > 0, window_size + (number - 1) * half, 0)
    start = np.where(number > 0, first_target + half - window_size, 0)
    length = np.minimum(lengths[line] - start, window_size)
    return Stretches(line, start, length, length - (first_target - start))


def next_click_windows(lengths, window_size):
    """One window a line: the one that the click after the first `lengths` clicks would have."""
    length = np.minimum(lengths + 1, window_size)
    return Stretches(np.arange(len(lengths)), lengths + 1 - length, length, np.ones_like(length))


def make_batch(log, stretches, with_targets=True):
    """Gather the arrays of some stretches of a log into a `Batch` padded with `<unk>` at the end.

    Parameters
    ----------
    log : EncodedLog
    stretches : Stretches
    with_targets : bool, whether to look up the clicks that follow; False to infer.
    """
    item, category, tags, tag_offsets = log.videos.columns
    line, start, length, targets = stretches
    time = np.arange(length.max())[:, None]
    click = log.offsets[line] + start + time - 1  # [T, S], the click at a position; time first suits the LSTM
    real = (start + time > 0) & (time < length)  # neither <unk> in front nor padding
    rows = np.where(real, log.clicks[np.where(real, click, 0)] if len(log.clicks) else 0, 0)
    distinct, video = np.unique(rows, return_inverse=True)
    video = video.reshape(rows.shape)  # numpy 2.0 returned it flat
    counts = tag_offsets[distinct + 1] - tag_offsets[distinct]
    tag_video = np.repeat(np.arange(len(distinct)), counts)
    within = np.arange(len(tag_video)) - np.repeat(np.cumsum(counts) - counts, counts)
    stretch = np.repeat(np.arange(len(line)), targets)
    position = np.arange(len(stretch)) - np.repeat(np.cumsum(targets) - length, targets)
    target_item = None
    if with_targets:
        target_item = item[log.clicks[(log.offsets[line] + start)[stretch] + position]]
    return Batch(log.profile[line], item[rows], category[rows], video,
                 tags[np.repeat(tag_offsets[distinct], counts) + within], tag_video,
                 np.cumsum(counts[video], axis=0), stretch, position, target_item)


def shuffled_batches(stretches, batch_size, rng):
    """Yield the stretches in random order, cut so that a batch has `batch_size` targets, more or less.

    A stretch is never cut, so a batch exceeds `batch_size` by less than the targets of its last one;
    every target comes exactly once, the last batch is whatever is left.
    """
    order = rng.permutation(len(stretches.line))
    reached = np.cumsum(stretches.targets[order])
    done = 0
    while done < len(order):
        before = reached[done - 1] if done else 0
        end = int(np.searchsorted(reached, before + batch_size)) + 1
        yield stretches.take(order[done:end])
        done = end


def hide_users(batch, share, rng):
    """A batch with a random `share` of its stretches as if by an unknown user: user id `<unk>`.

    Teaches the network to serve users that it does not know, and not to lean on the user id alone.
    """
    profile = batch.profile.copy()
    profile[rng.random(len(profile)) < share, 0] = 0
    return batch._replace(profile=profile)


class Reader:
    """Turns logs into instances by a feature dictionary and a window size.

    Parameters
    ----------
    feature_dict : dict, as data_processor.py writes it.
    window_size : int, clicks (with `<unk>`) that an instance looks back on at most.
    bad_lines : as in `read_log`.
    tail : to infer: look only at the end of a long history, at `window_size` known clicks or a few more.
    """

    def __init__(self, feature_dict, window_size=20, bad_lines=None, tail=False):
        self.window_size, self._bad_lines = window_size, bad_lines
        self._tail = window_size + SPARE_CLICKS if tail else None
        self._profile_ids = [feature_dict[feature] for feature in PROFILE_FEATURES]
        self._videos = VideoTable(feature_dict)

    def encode(self, path, block_lines=None):
        """Yield the log at `path` as `EncodedLog` blocks of `block_lines` lines (one block if None)."""
        lines = read_log(path, self._bad_lines)
        while True:
            block = self._encode_block(path, lines, block_lines)
            if block.users or block_lines is None:
                yield block
            if block_lines is None or len(block.users) < block_lines:
                return

    def encode_raw(self, path, block):
        """A block of `raw_blocks` as an `EncodedLog`."""
        return self._encode_block(path, parse_lines(block, path), None)

    def encode_users(self, user_ids):
        """Users of whom nothing but the id is known, as an `EncodedLog`."""
        return self._finish([(user, 0, 0, 0) for user in user_ids], np.zeros(0, np.int32), np.zeros(len(user_ids)),
                            np.full(len(user_ids), -1))

    def _encode_block(self, path, lines, block_lines):
        profiles, clicks, counts, last = [], array("i"), [], []
        videos = self._videos
        for line in lines:
            try:
                rows = self._rows(line)
            except ValueError as error:
                raise video_info_error(path, line.number, error) from error
            known = [row for row in rows if row]
            clicks.extend(known)
            counts.append(len(known))
            last.append(rows[-1] if rows else -1)
            profiles.append((line.user_id, line.province, line.city, line.phone))
            if len(profiles) == block_lines:
                break
        last = np.array(last, np.int64)
        return self._finish(profiles, np.array(clicks), np.array(counts),
                            np.where(last > 0, videos.columns[0][last], last))

    def _rows(self, line):
        """Rows of the video table for the clicks of a line."""
        videos = self._videos
        if self._tail:
            front, *last = line.history.rsplit(";", self._tail)
            if len(last) == self._tail and front.count(":") >= 2 * (front.count(";") + 1):  # it looks well-formed
                rows = [videos[info] for info in last]
                if len(rows) - rows.count(0) >= self.window_size:
                    return rows
        return [videos[info] for info in line.infos]

    def _finish(self, profiles, clicks, counts, last_item):
        columns = [[ids.get(value, 0) for value in column]
                   for ids, column in zip(self._profile_ids, zip(*profiles))] or np.zeros((4, 0))
        return EncodedLog([profile[0] for profile in profiles], np.array(columns, np.int64).T,
                          clicks, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), last_item, self._videos)

    def train(self, path):
        """Yield (user_id, province, city, items, categories, tags, phone, target_item) for every known click."""
        for block in self.encode(path, block_lines=1000):
            for line, length in enumerate(block.lengths):
                for end in range(1, length + 1):
                    yield (*self._instance(block, line, max(0, end - self.window_size), end),
                           int(block.items(line)[end - 1]))

    def test(self, path):
        """As `train`: the test log has the same format and the same instances."""
        return self.train(path)

    def infer(self, path):
        """Yield (user_id, province, city, items, categories, tags, phone) for each line: the next click's window."""
        for block in self.encode(path, block_lines=1000):
            yield from self._next_instances(block)

    def infer_user(self, user_ids):
        """Yield the instance of each user id, of whom nothing else is known."""
        yield from self._next_instances(self.encode_users(user_ids))

    def _next_instances(self, block):
        for line, length in enumerate(block.lengths):
            yield self._instance(block, line, max(0, length + 1 - self.window_size), length + 1)

    def _instance(self, block, line, start, end):
        """The instance that sees positions start .. end - 1 of [<unk>, c1, ..., cn]."""
        item, category, tags, tag_offsets = block.videos.columns
        rows = [0, *block.clicks[block.offsets[line]:block.offsets[line + 1]]][start:end]
        user_id, province, city, phone = map(int, block.profile[line])
        return (user_id, province, city, [int(item[row]) for row in rows], [int(category[row]) for row in rows],
                [int(tag) for row in rows for tag in tags[tag_offsets[row]:tag_offsets[row + 1]]], phone)
