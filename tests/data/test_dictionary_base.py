"""TODO"""

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
    found = build_dictionary(now, limit, base, listed)
    assert found.keys() == plain.keys() and list(found.values()) == list(range(len(plain)))
    assert {value for value in now if now[value] >= limit} | listed | {"<unk>"} == found.keys()
    for value, id_ in found.items():
        if base.get(value, len(found)) < len(found):
            assert id_ == base[value]
    others = [value for value in found if value not in base]
    assert [now.get(value, 0) for value in others] == sorted(
        (now.get(value, 0) for value in others), reverse=True
    )
