"""Ids that a user lists in a file -> names of the dictionary. Imports no paddle."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from candgen.console import logger
from candgen.data.dictionary import UNKNOWN
from candgen.data.percent_encoding import decode, encode


class NameLookup:
    """Finds ids as the log has them, as lists have them, and as the user's own tables do.

    An id is looked up as it stands, and, if it is not known, by its decoded text: among the names
    of the dictionary, and then among their decoded texts. Of several names with one decoded text
    the first of the dictionary is found. A warning names the first id that is known as it stands
    and, as text of a table, is another known id.

    Parameters
    ----------
    ids : mapping of str to int
        {name: id} of a feature, from its dictionary.

    Examples
    --------
    >>> find = NameLookup({"<unk>": 0, "AC%3BDC": 1, "a,b": 2, "100%25": 3})
    >>> find("AC%3BDC"), find("AC;DC")  # as in the log, as in a table of the user
    ('AC%3BDC', 'AC%3BDC')
    >>> find("a%2Cb"), find("100%"), find("new")  # as in a list
    ('a,b', '100%25', None)
    """

    def __init__(self, ids: Mapping[str, int]):
        self._ids = ids
        self._warned = False

    def __call__(self, text: str) -> str | None:
        """The name that a text stands for; None if there is none."""
        if "%" in text and not self._warned:
            self._warn_if_ambiguous(text)
        decoded = decode(text)
        for name in (text, decoded):
            if self._ids.get(name, 0):
                return name
        # A text that cannot be decoded twice, such as "100%25", may be undecoded in a user's table.
        return self._encoded_names.get(decoded) or self._encoded_names.get(text)

    def _warn_if_ambiguous(self, text: str) -> None:
        """Warn of an id that is known, and whose encoded form is known too."""
        if self._ids.get(text, 0) and self._ids.get(encode(text), 0):
            self._warned = True
            logger.warning(
                f"{text[:80]!r} is read as the log's id {text[:80]!r}; the log also has "
                f"{encode(text)[:80]!r}, which is {text[:80]!r} in a table: write ids as in the log"
            )

    @cached_property
    def _encoded_names(self) -> dict[str, str]:
        """{decoded text: name} of the names that differ from it."""
        names: dict[str, str] = {}
        for name in self._ids:
            if "%" in name and name != UNKNOWN and decode(name) != name:
                names.setdefault(decode(name), name)
        return names
