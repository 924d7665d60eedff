"""Ids of a dictionary that is made from an earlier one (--base_feature_dict)."""

from candgen.data.dictionary import (
    build_dictionary,
)

from hypothesis import given
from hypothesis import strategies as st

VALUES = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 5))


@given(VALUES, VALUES, st.integers(1, 4), st.sets(st.sampled_from("abxyz")))
def test_ids_stay_where_values_live_on(before, now, limit, listed):
    """The same values as without a base, without gaps; ids stay wherever possible."""
    base = build_dictionary(before, limit)
    plain = build_dictionary(now, limit, listed=listed)
    ids = build_dictionary(now, limit, base, listed)
    assert ids.keys() == plain.keys() and list(ids.values()) == list(range(len(plain)))
    assert {value for value in now if now[value] >= limit} | listed | {"<unk>"} == ids.keys()
    for value, id_ in ids.items():
        if base.get(value, len(ids)) < len(ids):
            assert id_ == base[value]
    others = [value for value in ids if value not in base]
    assert [now.get(value, 0) for value in others] == sorted(
        (now.get(value, 0) for value in others), reverse=True
    )
