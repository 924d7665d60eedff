"""TODO"""

import argparse
import io
import json
import pickle
import tarfile
from collections import Counter
import network_conf
from candgen.archives import read_archive
from candgen.console import InputError
from candgen.data.batches import (
    make_batch,
    next_click_windows,
    sequence_segments,
    share_rows,
    sliding_windows,
)
from candgen.data.dictionary import (
    CATEGORIES,
    CLICK_FEATURES,
    ITEMS,
    PROFILE_FEATURES,
    TAGS,
    dictionary_fingerprint,
)
from candgen.data.items import ItemAttributes
from candgen.model.initialization import RELU_GAIN, initialize
from candgen.model.layers import running_max, tensors
from candgen.model.model_file import load_model, load_network, save_model, start_network
from candgen.serving.user_vectors import user_vectors
from candgen.training.trainer import Trainer
from conftest import SMALL_DICT, log_text
from network_conf import DNNmodel, ModelConfig
from reader import Reader
import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st


@given(
    st.lists(st.lists(st.integers(0, 20), max_size=12), min_size=1, max_size=4), st.integers(0, 9)
)
def test_share_rows(ids, seed):
    """Every id of every part is found where its place points to; each stands there once, in order."""
    rng = np.random.default_rng(seed)
    parts = [
        {
            "a": np.array(part, np.int64),
            "b": rng.integers(0, 20, (2, len(part))),
            "other": np.arange(3),
        }
        for part in ids
    ]
    before = [dict(part) for part in parts]
    distinct = share_rows(parts, {"table": ["a", "b"], "alone": ["other"]})
    assert distinct["alone"].tolist() == [0, 1, 2] and distinct.keys() == {"table", "alone"}
    wanted = {int(id_) for part in before for name in "ab" for id_ in part[name].ravel()}
    assert distinct["table"].tolist() == sorted(wanted)
    for part, old in zip(parts, before):
        for name in "ab":
            assert part[name].shape == old[name].shape
            np.testing.assert_array_equal(
                distinct["table"][part[name]] if old[name].size else old[name], old[name]
            )
