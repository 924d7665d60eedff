"""Percent-encoding: what is encoded, and that it comes back."""

import doctest
from urllib.parse import unquote

from candgen.data import percent_encoding
from candgen.data.dictionary import NO_VALUE
from candgen.data.percent_encoding import (
    RESERVED,
    RESERVED_IN_TAGS,
    decode,
    encode,
    encode_list_id,
    encode_value,
)

import pytest
from hypothesis import example, given
from hypothesis import strategies as st


def test_examples():
    assert doctest.testmod(percent_encoding).failed == 0


@given(st.text())
@pytest.mark.parametrize("reserved", [RESERVED, RESERVED_IN_TAGS])
def test_encoded_text_has_no_reserved_character_and_comes_back(reserved, text):
    for encoded in (encode(text, reserved), encode_value(text, reserved)):
        assert decode(encoded) == unquote(encoded) == text
        assert not set(encoded) & (set(reserved) - {"%"})
    assert decode(encode_list_id(encode(text))) == text


@given(st.text(min_size=1))
@example("NULL")
@example("<unk>")
@example("\ufeff")
@example("\ufeff\ufeffNULL")
@example("\ufeff;_")
def test_a_value_is_never_unknown_and_begins_with_no_byte_order_mark(text):
    encoded = encode_value(text)
    assert encoded not in NO_VALUE and not encoded.startswith("\ufeff")
    assert decode(encoded) == text
