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

import os
import sys
from array import array
from itertools import chain, islice, repeat, zip_longest

from candgen.archives import fingerprint
from candgen.console import InputError, logger
from candgen.data.batches import shuffled_batches, without_context_targets
from candgen.data.dictionary import LOG_COLUMNS, NO_VALUE, PROFILE_FEATURES
from candgen.data.encoding import EncodedLog, joined
from candgen.data.items import ItemAttributes, VideoTable, ragged_indices
from candgen.data.log_files import log_files, named
from candgen.data.logs import PROFILE_COLUMNS, BadLines, read_log
from candgen.data.user_clicks import UserClicks

import numpy as np

LINES_AT_ONCE = 4096  # whose text is in memory
FEW = 0.1  # a log of which the dictionary knows no larger share of the clicks deserves a warning


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
        found[: len(rows)] = category[rows]
        return found

    def content(self, videos, tags):
        """`Content` of `videos` videos; `tags` is the size of the dictionary of tags.

        Tags are chosen as categories are (`categories`), among the video-infos that have one of the dictionary.
        """
        _, _, tag, offsets = self._videos.columns()
        rows = self._preferred(np.maximum.reduceat(tag, offsets[:-1]) > 0)
        places, owner = ragged_indices(offsets, rows)
        category = self.categories(videos)
        with_category = np.flatnonzero(category)
        video = np.concatenate([owner[tag[places] > 0], with_category])
        ids = np.concatenate([tag[places][tag[places] > 0], tags + category[with_category]])
        return ItemAttributes.of_pairs(video, ids, videos)

    def prepend_context(self, paths, count):
        """Put the last `count` known clicks of each user of an earlier log in front of what this user has in each line
        that is encoded from now on: they are looked back on, and are no targets."""

        def decode(line):
            return line.columns[0], array("i", filter(None, self._rows(line)))

        self._earlier, self._nameless = {}, 0
        for user, rows in read_log(paths, decode, self._bad_lines, self._progress):
            self._videos.earlier.update(rows)
            if rows and user not in NO_VALUE:
                self._earlier[user] = (self._earlier.get(user, array("i")) + rows)[-count:]
        logger.info(f"{named(paths)}: earlier clicks of {len(self._earlier)} users")
        self._warn_of_nameless(named(paths))

    def clicks_to_keep(self, paths, limit):
        """How many clicks of each line are among the last `limit` of its user, int32 [L], in a reading of its own."""

        def decode(line):
            return line.columns[0], len(self._rows(line))

        users, bad_lines = (
            UserClicks(),
            BadLines(sys.maxsize, quiet=True),
        )  # who encodes the log names them
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
            logger.warning(
                f"{path}: {self._nameless} clicks have no video-id (empty or NULL in front of the category)"
            )

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
        logger.info(
            f"{path}: {users} users, {known_users} of them known; {clicks} clicks, {known_clicks} of them on known "
            "videos"
        )
        if self._earlier is not None:
            logger.info(
                f"{'' if behind else 'warning: '}{path}: {behind} of {users} users have earlier clicks"
            )
        if not users:
            logger.warning(f"no line in {path}")
        self._warn_of_nameless(path)
        if known_clicks < FEW * clicks or (not known_clicks and not known_users and users):
            logger.warning(
                f"the dictionary knows hardly anything in {path}; was it made from logs with other ids?"
            )

    def blocks(self, paths, bad_lines, block_lines=None, progress=False, keep=None):
        """Yield (EncodedLog, clicks in it, unknown ones too), as `encode` does; memory is that of the arrays."""

        def decode(line):
            return line.columns, self._rows(line)

        lines, whole = read_log(paths, decode, bad_lines, progress), block_lines is None
        if keep is not None:  # lines that have been added since it was made keep nothing
            lines = (
                (columns, rows[max(0, len(rows) - count) :])
                for (columns, rows), count in zip(lines, chain(keep.tolist(), repeat(0)))
            )
        while True:
            pieces, clicks, left = [self._log([], [])], 0, block_lines or sys.maxsize
            while piece := list(islice(lines, min(left, LINES_AT_ONCE))):
                pieces.append(
                    self._log([columns for columns, _ in piece], [rows for _, rows in piece])
                )
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
        profile = np.array(
            [
                [
                    ids.get(line[column], 0)
                    for ids, column in zip(self._profile_ids, PROFILE_COLUMNS)
                ]
                for line in columns
            ],
            np.int64,
        ).reshape(-1, len(PROFILE_FEATURES))
        last = np.array([self._videos.item[line[-1]] if line else -1 for line in rows], np.int64)
        earlier_of = (self._earlier or {}).get
        earlier = [earlier_of(line[0], ()) for line in columns]
        known = [[*before, *filter(None, line)] for before, line in zip(earlier, rows)]
        offsets = np.concatenate([[0], np.cumsum([len(line) for line in known])]).astype(np.int64)
        clicks = np.fromiter(chain.from_iterable(known), np.int32, offsets[-1])
        context = np.array([*map(len, earlier)], np.int64)
        return EncodedLog(
            [line[0] for line in columns], profile, clicks, offsets, last, context, None
        )


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
            self._prints.append(
                block._replace(videos=()).fingerprint()
            )  # these grow while it is read
        if self._keep is not None and len(self._keep) != self.lines:
            raise InputError(named(paths), "changed while it was read", hint="train on a copy")
        users.warn(named(paths))
        if self._sizes:
            self.first = self.first._replace(videos=block.videos)  # all that the log has, by now
        if len(self._sizes) > 1:
            for path in log_files(paths):
                if not os.path.isfile(path):
                    raise InputError(
                        path,
                        f"more than --shuffle_lines={block_lines} lines, which are read in "
                        "each pass, and it can be read once only",
                        hint="give a file, or more lines at once",
                    )

    def _stretches(self, block):
        return without_context_targets(self._cut(block.lengths), block.context)

    def _blocks(self):
        """Yield the blocks of a pass; InputError if they are no longer those that were read first."""
        if len(self._sizes) == 1:
            yield self.first
            return
        blocks = self._reader.blocks(
            self._paths, BadLines(sys.maxsize, quiet=True), self._block_lines, keep=self._keep
        )
        for found, wanted in zip_longest(blocks, self._prints):
            if found is None or found[0]._replace(videos=()).fingerprint() != wanted:
                raise InputError(
                    named(self._paths), "changed while it was trained on", hint="train on a copy"
                )
            yield found[0]

    def steps(self, batch_size):
        """Batches of each block, a list."""
        return [min(-(-clicks // batch_size), segments) for clicks, segments in self._sizes]

    def batches(self, batch_size, rng):
        """Yield (block, stretches, generator) of each batch of a pass, in random order within a block."""
        for block, steps in zip(self._blocks(), self.steps(batch_size)):
            if steps:
                batches = shuffled_batches(self._stretches(block), steps, rng)
                yield from (
                    (block, batch, generator) for batch, generator in zip(batches, rng.spawn(steps))
                )

    def categories(self, videos):
        """Category ids of the videos, see `Reader.categories`."""
        return self._reader.categories(videos)

    def content(self, videos, tags):
        """`Content` of the videos, see `Reader.content`."""
        return self._reader.content(videos, tags)

    def fingerprint(self):
        """SHA-256 of all of it, as of an `EncodedLog`."""
        return fingerprint(*self._prints, *self.first.videos)
