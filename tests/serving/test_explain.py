"""Causes of lists: by hand, from a network whose vectors can be computed in the head."""

import tempfile
from pathlib import Path

from candgen.data.dictionary import ITEMS
from candgen.model.layers import at_targets, running_mean
from candgen.serving import explain
from candgen.serving.explain import Explainer, without_each_click
from candgen.serving.user_vectors import user_vectors
from conftest import LINES, SMALL_DICT
from network_conf import DNNmodel, ModelConfig

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_helpers import encode_lines, random_network

# vectors of <unk>, v1, ..., v4 as clicks, and as listed videos
CLICKED = np.float32([[0, 0], [1, 0], [0, 1], [2, 2], [-1, 0]])
LISTED = np.float32([[9, 9], [4, 0], [3, 5], [0, 1], [-1, -1]])


class LastClick(DNNmodel):
    """The user vector is the vector of the last click."""

    def hidden_layer(self, embeddings, batch, rng=None):
        return at_targets(embeddings[ITEMS], batch)


class MeanClick(DNNmodel):
    """The user vector is the mean of the vectors of the window."""

    def hidden_layer(self, embeddings, batch, rng=None):
        return running_mean(embeddings[ITEMS], batch["clicks"], batch)


def network_of(kind, window_size):
    """A network with the vectors CLICKED."""
    config = ModelConfig(
        {name: len(values) for name, values in SMALL_DICT.items()},
        {**DNNmodel.embedding_dims, ITEMS: 2},
        window_size=window_size,
        dnn_layer_dims=(4, 2),
    )
    network = kind(config, is_infer=True)
    network.tables()[f"_proj_{ITEMS}"].weight.set_value(CLICKED)
    network.eval()
    return network


def explained(folder, network, histories, ids, nce_w=LISTED):
    """Causes and drops of the same list for users with some histories, as lists."""
    infos = [[f"{video}::" for video in history.split()] for history in histories]
    log = encode_lines(folder, [("u1", "p1", "c1", each, "m1") for each in infos])
    ids = np.tile(ids, (len(histories), 1))
    causes, drops = Explainer(network, nce_w)(log, user_vectors(network, log), ids)
    assert (causes.dtype, drops.dtype) == (np.int64, np.float64)
    return [list(zip(*row)) for row in zip(causes.tolist(), drops.tolist())]


def test_the_last_click_by_hand(tmp_path):
    """A score of v is its vector times that of the last click."""
    found = explained(
        tmp_path,
        network_of(LastClick, 3),
        ["v1 v2", "v2 v1", "v2 v2", "v3", "", "v1 v2 new", "v4 v3 v1 v2"],
        [1, 2, 3, 0],
    )
    assert found == [
        # v2, and without it v1: 0 -> 4, 5 -> 3, 1 -> 0
        [(0, 0), (2, 2), (2, 1), (0, 0)],
        [(1, 4), (0, 0), (0, 0), (0, 0)],
        [(0, 0), (0, 0), (0, 0), (0, 0)],  # without either of them the other one is the last
        [(3, 8), (3, 16), (3, 2), (0, 0)],  # without it, <unk>
        [(0, 0), (0, 0), (0, 0), (0, 0)],
        [(0, 0), (2, 2), (2, 1), (0, 0)],  # the unknown video is no click of the window
        [(0, 0), (2, 2), (2, 1), (0, 0)],
    ]


def test_an_earlier_click_moves_in_by_hand(tmp_path):
    """Windows of two clicks: what would have been served, had the click never happened."""
    found = explained(
        tmp_path, network_of(MeanClick, 2), ["v3 v1 v2", "v1 v1 v2", "v1 v2", "v2"], [1, 3]
    )
    assert found == [
        # [v1, v2] -> 2, 0.5. Without v2 [v3, v1]: 6, 1. Without v1 [v3, v2]: 4, 1.5.
        [(0, 0), (0, 0)],
        # Without v2 [v1, v1]: 4, 0. Without the second v1 the first one moves in.
        [(0, 0), (2, 0.5)],
        # Without v2 [<unk>, v1]: 2, 0. Without v1 [<unk>, v2]: 0, 0.5.
        [(1, 2), (2, 0.5)],
        # [<unk>, v2] -> 0, 0.5. Without v2 [<unk>]: 0, 0.
        [(0, 0), (2, 0.5)],
    ]


def test_equal_effects(tmp_path):
    """The latest click, of another video with the same vector too."""
    network = network_of(MeanClick, 9)
    table = CLICKED.copy()
    table[2] = table[1]
    network.tables()[f"_proj_{ITEMS}"].weight.set_value(table)
    found = explained(tmp_path, network, ["v1 v2", "v2 v1"], [1])
    assert [[cause for cause, _ in row] for row in found] == [[2], [1]]


@given(st.lists(LINES, max_size=5), st.integers(1, 5))
def test_lines_without_each_click(lines, window_size):
    """Against lists of clicks, from which one is removed."""
    with tempfile.TemporaryDirectory() as folder:
        log = encode_lines(Path(folder), lines)
    numbers = np.arange(len(lines))[1:]
    shorter, line_of, removed = without_each_click(log, numbers, window_size)
    expected = []
    for line in numbers.tolist():
        clicks = log.items(line).tolist()
        for position in range(len(clicks))[: -window_size - 1 : -1]:
            rest = clicks[:position] + clicks[position + 1 :]
            expected.append((line, clicks[position], ([0, *rest])[-window_size:]))
    found = [
        (line, click, [0, *shorter.items(row).tolist()][-window_size:])
        for row, (line, click) in enumerate(zip(line_of.tolist(), removed.tolist()))
    ]
    assert found == expected
    assert shorter.users == [log.users[line] for line, _, _ in expected]
    np.testing.assert_array_equal(shorter.profile, log.profile[line_of])
    assert shorter.lengths.max(initial=0) <= window_size


@pytest.mark.parametrize("clicks_at_once", [1, 200, 1 << 20])
def test_chunks_of_users_change_nothing(tmp_path, monkeypatch, clicks_at_once):
    """Against all differences of one user at a time."""
    rng = np.random.default_rng(0)
    network = random_network(32, 6)
    nce_w = rng.normal(size=(5, 31)).astype(np.float32)
    lines = [
        ("u1", "p1", "c1", [f"v{v}:a:s" for v in rng.integers(1, 5, rng.integers(0, 12))], "m1")
        for _ in range(40)
    ]
    log = encode_lines(tmp_path, lines)
    users = user_vectors(network, log)
    ids = rng.permuted(np.tile(np.arange(1, 5), (40, 1)), axis=1)
    monkeypatch.setattr(explain, "CLICKS_AT_ONCE", clicks_at_once)
    causes, drops = Explainer(network, nce_w)(log, users, ids)
    for row, (user, province, city, infos, phone) in enumerate(lines):
        without = [
            (user, province, city, infos[:position] + infos[position + 1 :], phone)
            for position in range(len(infos))[:-7:-1]
        ]
        differences = np.zeros((len(infos), 4))
        if without:
            others = user_vectors(network, encode_lines(tmp_path, without))
            differences = (users[row] - others.astype(float)) @ nce_w[ids[row]].T
        largest = differences.max(0, initial=0)
        np.testing.assert_allclose(drops[row], largest, rtol=1e-12)
        for cause, drop, column in zip(causes[row], largest, differences.T):
            assert cause == (log.items(row)[-1 - column.argmax()] if drop > 0 else 0)
    assert (causes > 0).mean() > 0.5 and (causes == 0).any()
