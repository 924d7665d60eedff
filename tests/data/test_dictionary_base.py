"""TODO"""

import gzip
import json
import os
import re
import shutil
import sys
from candgen.archives import read_archive
from candgen.data.dictionary import (
    CATEGORIES,
    FEATURES,
    ITEMS,
    TAGS,
    build_dictionary,
    load_feature_dict,
    load_item_freq,
)
from candgen.data.items import ItemAttributes
from candgen.model.cold_items import neighbor_mean, place_cold_items
from candgen.model.layers import VIDEO_TABLE
from candgen.model.warm_start import carry_over, previous_ids
from conftest import ROOT, clicked, feature_dict_of, lists_of, run, run_ok, small_log, train_command
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


VALUES = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 5))


@given(VALUES, VALUES, st.integers(1, 4), st.sets(st.sampled_from("abxyz")))
def test_ids_stay_where_values_live_on(before, now, limit, listed):
    """The same values as without a base, without gaps; no value that could keep its id has another one."""
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
