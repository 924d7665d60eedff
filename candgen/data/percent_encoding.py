"""Percent-encoding of the characters that separate something in a log or in a list.

An id, a category or a tag in a log is percent-encoded text, as a component of a URL is: what the
log's format gives a meaning stands there as ``%XX``. Whatever is written from it (lists, vectors,
files of names) holds text that decodes to the same, so that ``urllib.parse.unquote``, once, returns
what the user's tables hold. Imports no paddle.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

# Between columns and lines, video-infos, their fields, and the entries of a printed list
RESERVED = "%;:,\t\n\r"
# Between the tags of a video
RESERVED_IN_TAGS = RESERVED + "_"


def encode(text: str, reserved: str = RESERVED) -> str:
    """Text with each reserved character as ``%XX``.

    >>> encode("AC/DC: 100%")
    'AC/DC%3A 100%25'
    """
    return "".join(f"%{ord(char):02X}" if char in reserved else char for char in text)


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
