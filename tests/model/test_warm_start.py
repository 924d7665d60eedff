"""Rows of an earlier run's tables, carried over by name."""

from candgen.data.dictionary import CATEGORIES, TAGS
from candgen.data.items import ItemAttributes
from candgen.model.layers import VIDEO_TABLE
from candgen.model.warm_start import carry_over, previous_ids
from conftest import feature_dict_of

import numpy as np
import pytest


def attributes_of(*attributes):
    """`ItemAttributes` of videos with these attributes; the first is <unk>."""
    lengths = [len(each) for each in attributes]
    return ItemAttributes(
        np.array([id_ for each in attributes for id_ in each], int), np.cumsum([0, *lengths])
    )


OLD = feature_dict_of(
    user_id=["u1", "u2"],
    city=["c1"],
    history_clicked_items=["v1", "v2", "v3"],
    history_clicked_tags=["s", "t"],
    history_clicked_categories=["a"],
)


NEW = feature_dict_of(
    user_id=["u2", "u3"],
    city=["c2", "c1"],
    history_clicked_items=["v3", "new", "v1", "odd"],
    history_clicked_tags=["t", "w"],
    history_clicked_categories=["b", "a"],
)


def arrays_of(feature_dict, seed):
    """Random parameters and moments of the tables, and one other layer."""
    rng = np.random.default_rng(seed)
    sizes = {f"_proj_{name}": len(values) for name, values in feature_dict.items()}
    sizes["nce_w"] = sizes["nce_b"] = sizes[VIDEO_TABLE]
    sizes["content"] = len(feature_dict[TAGS]) + len(feature_dict[CATEGORIES])
    arrays = {}
    for name, size in sizes.items():
        shape = (size, 1 if name == "nce_b" else 3)
        for suffix in ("", "_moment1_0", "_moment2_0"):
            arrays[name + suffix] = rng.random(shape).astype(np.float32)
    arrays["nce_b"] = arrays["nce_b"].T
    arrays["nce_b_beta1_pow_acc_0"] = np.float32([0.5])
    arrays["relu1_w"] = rng.random((4, 4)).astype(np.float32)
    return arrays


def test_rows_go_by_name():
    before, initial = arrays_of(OLD, 0), arrays_of(NEW, 1)
    freqs = [0.1, 0.4, 0.3, 0.2], [0.0, 0.5, 0.1, 0.4, 0.0]
    # v3 and new share tag t; odd has no attribute
    attributes = attributes_of([], [1], [1], [2], [])
    carried = carry_over(initial, before, (OLD, NEW), freqs, attributes)
    assert carried.keys() == before.keys()
    for suffix in ("", "_moment1_0", "_moment2_0"):

        def new_rows(table, rows, suffix=suffix):
            """Expected values of new rows: initial parameters, moments of 0."""
            return 0 if suffix else initial[table][rows]

        users, old_users = carried[f"_proj_user_id{suffix}"], before[f"_proj_user_id{suffix}"]
        np.testing.assert_array_equal(users[:2], old_users[[0, 2]])
        np.testing.assert_array_equal(users[2], 0 if suffix else old_users[0])  # as <unk>
        cities, old_cities = carried[f"_proj_city{suffix}"], before[f"_proj_city{suffix}"]
        np.testing.assert_array_equal(cities[[0, 2]], old_cities[[0, 1]])
        np.testing.assert_array_equal(cities[1], new_rows("_proj_city", 1))
        # <unk>, t, w, <unk>, b, a; before <unk>, s, t, <unk>, a
        rows, old_rows = carried[f"content{suffix}"], before[f"content{suffix}"]
        np.testing.assert_array_equal(rows[[0, 1, 5]], old_rows[[0, 2, 4]])
        np.testing.assert_array_equal(rows[[2, 4]], new_rows("content", [2, 4]))
        for table in (VIDEO_TABLE, "nce_w"):
            videos, old_videos = carried[table + suffix], before[table + suffix]
            np.testing.assert_array_equal(videos[[0, 1, 3]], old_videos[[0, 3, 1]])
            if not suffix:
                np.testing.assert_array_equal(videos[2], old_videos[3])
                np.testing.assert_array_equal(videos[4], initial[table][4])
    offset = before["nce_b"][0] - np.log(freqs[0])
    expected = [np.log(0.5) + offset[3], np.log(0.1) + offset[3], np.log(0.4) + offset[1]]
    np.testing.assert_allclose(carried["nce_b"][0, 1:], [*expected, np.log(0.1)], rtol=1e-5)
    assert carried["nce_b_moment1_0"].shape == (5, 1) and carried["nce_b_beta1_pow_acc_0"] == 0.5
    np.testing.assert_array_equal(carried["relu1_w"], before["relu1_w"])


def test_a_first_click_counts_as_a_new_video():
    """A video of a catalogue without a click has learned nothing: it starts at its neighbors."""
    before, initial = arrays_of(OLD, 0), arrays_of(NEW, 1)
    freqs = [0.1, 0.4, 0.5, 0.0], [0.0, 0.5, 0.1, 0.4, 0.0]  # v3 had no click
    attributes = attributes_of([], [1], [], [1], [])  # v3, new, v1, odd: v3 is like v1
    carried = carry_over(initial, before, (OLD, NEW), freqs, attributes)
    for table in (VIDEO_TABLE, "nce_w"):
        np.testing.assert_array_equal(carried[table][[1, 3]], before[table][[1, 1]])
        np.testing.assert_array_equal(carried[f"{table}_moment1_0"][1], 0)
    expected = np.log(0.5) + before["nce_b"][0, 1] - np.log(0.4)
    assert carried["nce_b"][0, 1] == pytest.approx(expected, rel=1e-5)


def test_nothing_changes_with_the_same_dictionary():
    before, freq = arrays_of(OLD, 0), [0.1, 0.4, 0.3, 0.2]
    attributes = attributes_of([], [], [], [])
    carried = carry_over(arrays_of(OLD, 1), before, (OLD, OLD), (freq, freq), attributes)
    for name, value in before.items():
        np.testing.assert_allclose(carried[name], value, rtol=1e-6, err_msg=name)


def completed(earlier, new):
    """Attributes of the videos of NEW, completed by those of the videos of OLD."""
    ids = previous_ids(OLD, NEW)
    attributes = new.completed(earlier, ids[VIDEO_TABLE], ids["content"], len(NEW[TAGS]))
    offsets = attributes.offsets
    return [attributes.ids[start:end].tolist() for start, end in zip(offsets, offsets[1:])]


def test_attributes_are_remembered():
    """v1 had s and a, v3 had t and a; in the new log v3 has w and no category, v1 is missing.

    Tag s is no longer in the dictionary, and a has another id.
    """
    earlier = attributes_of([], [1, 4], [2], [2, 4])
    new = attributes_of([], [2], [1], [], [])
    assert completed(earlier, new) == [[], [2, 5], [1], [5], []]


def test_new_attributes_come_first():
    """v1 had s, t and a, v3 had t; in the new log v1 has w and b, v3 has b alone.

    Nothing is added to tags or to a category that the new log has.
    """
    earlier = attributes_of([], [1, 2, 4], [], [2])
    new = attributes_of([], [4], [], [2, 4], [])
    assert completed(earlier, new) == [[], [1, 4], [], [2, 4], []]
