"""Percent-encoding of the characters that separate something in a log or in a list.

An id, a category or a tag in a log is percent-encoded text, as a component of a URL is: what the
log's format gives a meaning stands there as ``%XX``. Whatever is written from it (lists, vectors,
files of names) holds text that decodes to the same, so that ``urllib.parse.unquote``, once, returns
what the user's tables hold. Imports no paddle.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from candgen.data.dictionary import NO_VALUE

# Between columns and lines, video-infos, their fields, and the entries of a printed list; and NUL,
# which no log may contain
RESERVED = "%;:,\t\n\r\0"
# Between the tags of a video
RESERVED_IN_TAGS = RESERVED + "_"
BYTE_ORDER_MARK = "\ufeff"  # not part of a value where a line begins with it


def encode(text: str, reserved: str = RESERVED) -> str:
    """Text with each reserved character as ``%XX``.

    >>> encode("AC/DC: 100%")
    'AC/DC%3A 100%25'
    """
    return "".join(f"%{ord(char):02X}" if char in reserved else char for char in text)


def encode_value(text: str, reserved: str = RESERVED) -> str:
    """Text of at least one character as a value of a log, read as that text and nothing else.

    As `encode`, and the first character is encoded too where the log would take the text for an
    unknown value, or that character for a byte-order mark.

    >>> encode_value("NULL"), encode_value("NULLs"), encode_value("\\ufeffa;b")
    ('%4EULL', 'NULLs', '%EF%BB%BFa%3Bb')
    """
    encoded = encode(text, reserved)
    if text in NO_VALUE or text.startswith(BYTE_ORDER_MARK):
        first = "".join(f"%{byte:02X}" for byte in text[:1].encode())
        return first + encode(text[1:], reserved)
    return encoded


def encode_list_id(video: str, separators: str = ",") -> str:
    """A video-id as printed in lists, which are split at commas; it decodes to the same text.

    A comma becomes ``%2C``, and so do other separators; a percent sign that begins no ``%XX``
    becomes ``%25``, so that decoding a list is always right.

    >>> encode_list_id("a%3Bb"), encode_list_id("a,b"), encode_list_id("50% off")
    ('a%3Bb', 'a%2Cb', '50%25 off')
    """
    if "%" in video:
        video = re.sub("%(?![0-9A-Fa-f]{2})", "%25", video)
    for separator in separators:
        video = video.replace(separator, f"%{ord(separator):02X}")
    return video


def decode(text: str) -> str:
    """The text before encoding."""
    return unquote(text)
