"""candgen.data.items"""

from array import array
from collections import Counter
from typing import NamedTuple

from candgen.data.dictionary import CLICK_FEATURES, NO_VALUE
from candgen.data.logs import split_video_info

import numpy as np


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
            array("q", [0]),
            array("q", [0]),
            array("q", [0]),
            array("q", [0, 1]),
        )
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
            self._columns = tuple(
                np.array(each) for each in (self.item, self._category, self._tags, self._offsets)
            )
        return self._columns

    def count(self, rows):
        """Add clicks on some rows, int [C]."""
        counts = np.bincount(rows, minlength=len(self.item))
        counts[: len(self._clicks)] += self._clicks
        self._clicks = counts

    def by_preference(self):
        """The rows, int64 [R], ordered so that of two that describe one video the later one is to be preferred.

        Rows of a catalogue come after all others, then those with more clicks in the log (`count`), then those with
        more clicks in an earlier log, then those whose video-info is the smaller text. The order of lines is of no
        importance.
        """
        item = self.columns()[0]
        clicks, earlier, listed, text = np.zeros((4, len(item)), np.int64)
        clicks[: len(self._clicks)] = self._clicks
        earlier[np.fromiter(self.earlier.keys(), np.int64)] = np.fromiter(
            self.earlier.values(), np.int64
        )
        listed[np.fromiter(self.listed, np.int64)] = 1
        contested = np.bincount(item)[item] > 1
        contested[0] = False  # of all videos outside the dictionary
        texts = {row: info for info, row in self.items() if contested[row]}
        text[sorted(texts, key=texts.get, reverse=True)] = np.arange(len(texts))
        return np.lexsort((text, earlier, clicks, listed))


class ItemAttributes(NamedTuple):
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
        places, video = ragged_indices(earlier.offsets, video_ids)
        ids = now[earlier.ids[places]]
        owners = np.repeat(np.arange(len(video_ids)), np.diff(self.offsets))
        known = np.zeros((2, len(video_ids)), bool)  # whether tags, whether a category
        known[(self.ids >= tags).astype(int), owners] = True
        added = (ids > 0) & (video_ids[video] > 0) & ~known[(ids >= tags).astype(int), video]
        return self.of_pairs(
            np.concatenate([owners, video[added]]),
            np.concatenate([self.ids, ids[added]]),
            len(video_ids),
        )


def ragged_indices(offsets, rows):
    """Places of all elements of some rows of a ragged array, and which of the rows each belongs to, both int64 [K]."""
    counts = np.diff(offsets)[rows]
    owner = np.repeat(np.arange(len(counts)), counts)
    return np.arange(len(owner)) + np.repeat(
        offsets[rows] - np.cumsum(counts) + counts, counts
    ), owner
