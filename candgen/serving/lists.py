"""Lists of videos as text. Imports no paddle.

`LIST_FORMATS` declares the formats: the choices of --format follow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from candgen.data.dictionary import ITEMS
from candgen.data.percent_encoding import encode_list_id

import numpy as np

Entry = tuple[str, ...]  # a listed video: the texts of its fields


@dataclasses.dataclass(frozen=True)
class VideoLists:
    """Lists of B owners: users, or videos with those that are similar to them.

    Attributes
    ----------
    owners : list of str [B]
    ids : int64 [B, n]
        Videos, best first; 0 for none, at the end.
    values : float64 [B, n]
        Their probabilities or cosines.
    causes : int64 [B, n], optional
        The video of the click without which the score would be lowest; 0 for none
        (`candgen.serving.explain`).
    drops : float64 [B, n], optional
        By how much it would be lower.
    """

    owners: list[str]
    ids: np.ndarray
    values: np.ndarray
    causes: np.ndarray | None = None
    drops: np.ndarray | None = None


def _lists_text(columns: Sequence[str], owner: str, entries: Sequence[Entry]) -> str:
    return f"{owner}\t{','.join(map(':'.join, entries))}\n"


def _long_text(columns: Sequence[str], owner: str, entries: Sequence[Entry]) -> str:
    rows = ["\t".join(entry) for entry in entries]
    return "".join(f"{owner}\t{rank}\t{row}\n" for rank, row in enumerate(rows, 1))


def _long_header(columns: Sequence[str]) -> str:
    owner, *fields = columns
    return "\t".join([owner, "rank", *fields]) + "\n"


@dataclasses.dataclass(frozen=True)
class ListFormat:
    """A format of lists.

    Attributes
    ----------
    description : str, for --help.
    text : function of (columns; owner; entries) that returns the text of a list.
        The columns are the name of what an owner is, and those of the fields of an entry. All
        fields are text, numbers too (of six digits): a format that needs numbers converts them.
    header : function of the columns that returns the text before all lists.
    encoded : bool
        Whether ids and titles are percent-encoded, so that a list can be split at its commas, and,
        if entries have more than two fields, an entry at its colons.
    """

    description: str
    text: Callable[[Sequence[str], str, Sequence[Entry]], str]
    header: Callable[[Sequence[str]], str] = lambda columns: ""
    encoded: bool = False


LIST_FORMATS = {
    "lists": ListFormat("user, tab, video:probability,...", _lists_text, encoded=True),
    "long": ListFormat("a table with a row for each listed video", _long_text, _long_header),
}


class ListFormatter:
    """Writes lists in a format.

    Parameters
    ----------
    list_format : str
        One of `LIST_FORMATS`.
    feature_dict : {feature: {value: id}}
    titles : list of str [V], optional
        Titles of the videos by id, "" for none (`read_titles`); None for no such field.
    explained : bool
        Whether the lists have causes.
    columns : what the lists' owners, videos and values are.

    Attributes
    ----------
    names : list of str [V]
        Video-ids as they are written, by id; "" for id 0.
    header : str
        What is written before all lists.
    """

    def __init__(
        self,
        list_format: str,
        feature_dict: dict[str, dict[str, int]],
        titles: Sequence[str] | None = None,
        explained: bool = False,
        columns: tuple[str, str, str] = ("user", "video", "probability"),
    ):
        self._format = LIST_FORMATS[list_format]
        self._columns = [*columns]
        self._columns += ["title"] if titles is not None else []
        self._columns += ["because", "drop"] if explained else []
        self._columns += ["because_title"] if titles is not None and explained else []
        self.names = ["", *list(feature_dict[ITEMS])[1:]]
        self._titles = titles
        if self._format.encoded:
            separators = "," if len(self._columns) == 3 else ",:"
            self.names = [encode_list_id(name, separators) for name in self.names]
            if titles is not None:  # plain text, unlike ids
                plain = [title.replace("%", "%25") for title in titles]
                self._titles = [encode_list_id(title, separators) for title in plain]
        self.header = self._format.header(self._columns)

    def text(self, lists: VideoLists) -> str:
        """Text of some lists."""
        columns = [_texts(self.names, lists.ids), _numbers(lists.values)]
        if self._titles is not None:
            columns.append(_texts(self._titles, lists.ids))
        if lists.causes is not None:
            columns += [_texts(self.names, lists.causes), _numbers(lists.drops)]
            if self._titles is not None:
                columns.append(_texts(self._titles, lists.causes))
        lengths = np.count_nonzero(lists.ids, axis=1)
        return "".join(
            self._format.text(self._columns, owner, list(zip(*fields))[:length])
            for owner, length, *fields in zip(lists.owners, lengths.tolist(), *columns)
        )


def _texts(texts, ids):
    """Texts by id of each id, int64 [B, n]."""
    return [[texts[id_] for id_ in row] for row in ids.tolist()]


def _numbers(values):
    """Numbers as text, float64 [B, n]."""
    return [[f"{value:.6g}" for value in row] for row in values.tolist()]


def video_names(feature_dict: dict[str, dict[str, int]], ids: np.ndarray) -> list[str]:
    """Video-ids of some ids, int64 [N]."""
    names = list(feature_dict[ITEMS])
    return [names[id_] for id_ in ids]
