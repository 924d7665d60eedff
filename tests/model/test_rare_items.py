"""Offsets of the biases of rare videos."""

from candgen.data.video_counts import VideoCounts
from candgen.model.rare_items import rare_item_offsets
from conftest import SMALL_DICT, log_text
from reader import Reader
from reference import BEST, random_network

import numpy as np
import pytest


def counts_of(clicks, last_clicks):
    """`VideoCounts` with these numbers."""
    counts = VideoCounts(len(clicks))
    counts.clicks += clicks
    counts.last_clicks += last_clicks
    return counts


def test_offsets_by_hand():
    """Videos 1 and 2 are rare, with 5% of the clicks; 2 and 3 were, before 3 of 10 last clicks."""
    offsets = rare_item_offsets(counts_of([0, 1, 4, 5, 90], [0, 1, 2, 1, 6]))
    assert offsets.dtype == np.float32
    expected = np.log((3 + 1) / (10 * 0.05 + 1))
    np.testing.assert_allclose(offsets, [0, expected, expected, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("clicks, last", [([0, 0], [0, 0]), ([0, 9], [0, 3]), ([0, 1], [0, 1])])
def test_no_rare_video_or_no_evidence(clicks, last):
    """Nothing to lift, or so little that the offset is small."""
    offsets = rare_item_offsets(counts_of(clicks, last))
    assert np.isfinite(offsets).all() and np.abs(offsets).max() < 1


def test_a_stationary_log_has_no_offset():
    """Where the next click is drawn as the clicks before it, only a small part is left."""
    rng = np.random.default_rng(0)
    share = rng.exponential(size=2000)
    clicks = rng.choice(2000, size=(3000, 5), p=share / share.sum())
    last_clicks = np.bincount(clicks[:, -1], minlength=2000)
    offsets = rare_item_offsets(counts_of(np.bincount(clicks.ravel(), minlength=2000), last_clicks))
    assert np.count_nonzero(offsets) > 200 and np.abs(offsets).max() < 0.3


def test_a_log_whose_videos_are_replaced_has_one():
    """Users' last clicks are on new videos, a third as often clicked as the old ones."""
    rng = np.random.default_rng(0)
    before = rng.integers(1, 100, (600, 4))
    after = rng.integers(100, 300, 600)
    clicks = np.bincount([*before.ravel(), *after], minlength=300)
    offsets = rare_item_offsets(counts_of(clicks, np.bincount(after, minlength=300)))
    assert offsets[100:].max() > 1 and not offsets[:100].any()


def test_counts_of_blocks(tmp_path):
    """All clicks, and the last click of each line that has new ones."""
    lines = [
        ("u1", "", "", ["v1:a:s", "v2:a:s", "v1:a:s"], ""),
        ("u2", "", "", ["v3:a:s", "new:a:s"], ""),
        ("u3", "", "", [], ""),
    ]
    (tmp_path / "log.txt").write_text(log_text(lines), encoding="utf-8")
    counts = VideoCounts(len(SMALL_DICT["history_clicked_items"]))
    for block in Reader(SMALL_DICT).encode([str(tmp_path / "log.txt")], 1):
        counts.add(block)
    assert counts.clicks.tolist() == [0, 2, 1, 1, 0]
    assert counts.last_clicks.tolist() == [0, 1, 0, 1, 0]


def test_earlier_clicks_are_no_last_clicks(tmp_path):
    """They count as clicks; a line of nothing else has no last click."""
    for name, infos in (("earlier", ["v1:a:s", "v2:a:s"]), ("log", [])):
        text = log_text([("u1", "", "", infos, "")])
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    reader = Reader(SMALL_DICT)
    reader.prepend_context([str(tmp_path / "earlier.txt")])
    counts = VideoCounts(5)
    for block in reader.encode([str(tmp_path / "log.txt")], 10):
        counts.add(block)
    assert counts.clicks.tolist() == [0, 1, 1, 0, 0] and not counts.last_clicks.any()


def test_a_model_has_the_offsets():
    """In its biases alone; those that are trained stay as they are."""
    network = random_network(BEST)
    plain = network.folded()
    network.bias_offsets = np.arange(5, dtype=np.float32)
    lifted = network.folded()
    np.testing.assert_array_equal(lifted["nce_b"], plain["nce_b"] + network.bias_offsets)
    np.testing.assert_array_equal(network.arrays()["nce_b"], plain["nce_b"])
    assert all(np.array_equal(lifted[name], plain[name]) for name in plain if name != "nce_b")
