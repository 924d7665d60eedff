"""What is known of videos: the distinct video-infos of a log, the categories and tags of items."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from candgen.data.dictionary import CLICK_FEATURES, NO_VALUE
from candgen.data.logs import split_video_info
from candgen.data.ragged import ragged_indices

import numpy as np


@dataclass(frozen=True)
class VideoColumns:
    """R distinct video-infos as arrays of ids. Row 0 is `<unk>`: item 0, category 0, tag 0.

    Attributes
    ----------
    item, category : int64 array [R]
    tags : int64 array
        Tags of all rows, one after the other.
    tag_offsets : int64 array [R + 1]
        Row r has the tags tag_offsets[r] .. tag_offsets[r + 1] - 1.
    """

    item: np.ndarray
    category: np.ndarray
    tags: np.ndarray
    tag_offsets: np.ndarray

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The four arrays, in the order of the attributes."""
        return self.item, self.category, self.tags, self.tag_offsets


class VideoTable(dict):
    """Distinct video-infos of logs: {video-info: row}, decoded when they are first looked up.

    Videos outside the dictionary share row 0, `<unk>`.

    A video may have video-infos with different categories and tags. `categories` and `attributes`
    take them from the preferred one that has any of the dictionary: one of a catalogue, else the
    most clicked one of the log, else of an earlier log; of equal ones the smaller text. The order
    of lines has no effect.

    Parameters
    ----------
    feature_dict : dict
        As data_processor.py writes it.

    Attributes
    ----------
    item : array of int64
        Item id of each row.
    nameless : set of str
        Video-infos without a video-id.
    listed : set of int
        Rows of a catalogue.
    earlier_clicks : Counter
        Clicks on each row in an earlier log.
    """

    def __init__(self, feature_dict: Mapping[str, Mapping[str, int]]):
        super().__init__()
        ids = [feature_dict[feature] for feature in CLICK_FEATURES]
        self._item_ids, self._category_ids, self._tag_ids = ids
        self.item = array("q", [0])
        self._category = array("q", [0])
        self._tags = array("q", [0])
        self._tag_offsets = array("q", [0, 1])
        self._columns: VideoColumns | None = None
        self._clicks = np.zeros(1, np.int64)
        self.nameless: set[str] = set()
        self.listed: set[int] = set()
        self.earlier_clicks: Counter[int] = Counter()

    def __missing__(self, info: str) -> int:
        video, category, tags = split_video_info(info)
        if video in NO_VALUE:
            self.nameless.add(info)
        item = self._item_ids.get(video, 0)
        row = 0
        if item:
            row = len(self.item)
            self.item.append(item)
            self._category.append(self._category_ids.get(category, 0))
            self._tags.extend(self._tag_ids.get(tag, 0) for tag in tags)
            self._tag_offsets.append(len(self._tags))
            self._columns = None
        self[info] = row
        return row

    def columns(self) -> VideoColumns:
        """The rows that are known by now, as arrays."""
        if self._columns is None:
            lists = (self.item, self._category, self._tags, self._tag_offsets)
            self._columns = VideoColumns(*map(np.array, lists))
        return self._columns

    def register(self, infos: Iterable[str]) -> None:
        """Register the video-infos of a catalogue; their videos may be absent from the log."""
        self.listed.update(self[info] for info in infos)

    def count(self, rows: np.ndarray) -> None:
        """Add clicks on some rows, int array [C]."""
        counts = np.bincount(rows, minlength=len(self.item))
        counts[: len(self._clicks)] += self._clicks
        self._clicks = counts

    def categories(self, videos: int) -> np.ndarray:
        """Category ids of `videos` items, int64 [videos]; 0: unknown."""
        category = self.columns().category
        rows = self._preferred_rows(category > 0)
        result = np.zeros(videos, np.int64)
        result[: len(rows)] = category[rows]
        return result

    def attributes(self, videos: int, tags: int) -> ItemAttributes:
        """Tags and categories of `videos` items; `tags` is the size of the dictionary of tags."""
        columns = self.columns()
        has_tag = np.maximum.reduceat(columns.tags, columns.tag_offsets[:-1]) > 0
        rows = self._preferred_rows(has_tag)
        indices, item_of_tag = ragged_indices(columns.tag_offsets, rows)
        tag = columns.tags[indices]
        known = tag > 0
        category = self.categories(videos)
        with_category = np.flatnonzero(category)
        return ItemAttributes.of_pairs(
            np.concatenate([item_of_tag[known], with_category]),
            np.concatenate([tag[known], tags + category[with_category]]),
            videos,
        )

    def _preferred_rows(self, candidates: np.ndarray) -> np.ndarray:
        """Row of each item's preferred video-info among `candidates`, bool [R]; 0 if it has none.

        Returns an int64 array by item id, up to the largest one.
        """
        item = self.columns().item
        order = self._by_preference()
        order = order[candidates[order]]
        rows = np.zeros(item.max() + 1, np.int64)
        rows[item[order]] = order  # of several rows of an item the last one is kept
        return rows

    def _by_preference(self) -> np.ndarray:
        """All rows, int64 [R]; of two rows of one video the preferred one comes later."""
        item = self.columns().item
        listed = np.zeros(len(item), bool)
        listed[list(self.listed)] = True
        clicks = np.zeros(len(item), np.int64)
        clicks[: len(self._clicks)] = self._clicks
        earlier_clicks = np.zeros(len(item), np.int64)
        earlier_clicks[list(self.earlier_clicks)] = list(self.earlier_clicks.values())
        # Texts are compared only for items with several rows; the smallest one ranks highest.
        several = np.bincount(item)[item] > 1
        several[0] = False  # shared by all videos outside the dictionary
        texts = {row: info for info, row in self.items() if several[row]}
        text_rank = np.zeros(len(item), np.int64)
        text_rank[sorted(texts, key=texts.get, reverse=True)] = np.arange(len(texts))
        return np.lexsort((text_rank, earlier_clicks, clicks, listed))  # the last key counts first


@dataclass(frozen=True)
class ItemAttributes:
    """Tags and categories of V items: item v has ids[offsets[v]:offsets[v + 1]].

    Attributes
    ----------
    ids : int64 array
        Attribute ids: ids of tags, followed by ids of categories (+ the number of tags).
    offsets : int64 array [V + 1]
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of_pairs(cls, item: np.ndarray, ids: np.ndarray, items: int) -> ItemAttributes:
        """From pairs of an item and an attribute of it, in any order.

        Parameters
        ----------
        item, ids : int array [K]
        items : int
            Number of items, V.
        """
        order = np.lexsort((ids, item))
        offsets = np.searchsorted(item[order], np.arange(items + 1))
        return cls(ids[order], offsets)

    def completed(
        self, earlier: ItemAttributes, item_ids: np.ndarray, attribute_ids: np.ndarray, tags: int
    ) -> ItemAttributes:
        """Add what an earlier model knew: its tags of items that have none here, and categories.

        Parameters
        ----------
        earlier : ItemAttributes
            By the earlier ids of items and attributes.
        item_ids : int64 array [V]
            The earlier id of each item; 0 for none.
        attribute_ids : int64 array [A]
            The earlier id of each attribute; 0 for none.
        tags : int
            Number of tags: attribute ids from here on are categories.
        """
        # The current id of each earlier attribute; 0 if it has none.
        largest = max(attribute_ids.max(initial=0), earlier.ids.max(initial=0))
        current_id = np.zeros(largest + 1, np.int64)
        current_id[attribute_ids] = np.arange(len(attribute_ids))
        current_id[0] = 0

        indices, earlier_item = ragged_indices(earlier.offsets, item_ids)
        earlier_ids = current_id[earlier.ids[indices]]
        item = np.repeat(np.arange(len(item_ids)), np.diff(self.offsets))
        has_tag = np.zeros(len(item_ids), bool)
        has_tag[item[self.ids < tags]] = True
        has_category = np.zeros(len(item_ids), bool)
        has_category[item[self.ids >= tags]] = True

        is_known = np.where(earlier_ids < tags, has_tag[earlier_item], has_category[earlier_item])
        is_added = (earlier_ids > 0) & (item_ids[earlier_item] > 0) & ~is_known
        return self.of_pairs(
            np.concatenate([item, earlier_item[is_added]]),
            np.concatenate([self.ids, earlier_ids[is_added]]),
            len(item_ids),
        )
