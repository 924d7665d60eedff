"""Defaults that follow the logs."""

from candgen.training.defaults import (
    default_batch_size,
    default_dropout,
    default_metric,
    default_num_passes,
)
from conftest import feature_dict_of, log_text
from reader import Reader

import pytest


def log_of(folder, *histories):
    """An encoded log of users with these videos, one letter each."""
    lines = [
        (f"u{number}", "", "", [f"{video}:c:t" for video in history], "")
        for number, history in enumerate(histories)
    ]
    (folder / "log.txt").write_text(log_text(lines), encoding="utf-8")
    reader = Reader(feature_dict_of(history_clicked_items=[*"abc"]))
    [log] = reader.encode([str(folder / "log.txt")])
    return log


@pytest.mark.parametrize(
    "clicks, batch_size",
    [
        (1, 32),
        (3057, 32),
        (3299, 32),
        (3300, 33),
        (30000, 300),
        (51199, 511),
        (51200, 512),
        (10**5, 512),
    ],
)
def test_default_batch_size(clicks, batch_size):
    """About a hundred steps a pass on small logs."""
    assert default_batch_size(clicks) == batch_size


@pytest.mark.parametrize(
    "preset, steps, passes",
    [
        ("classic", 10, 10),
        ("v0.10", 10, 1),
        ("best", 1, 24),
        ("best", 100, 24),
        ("best", 200, 12),
        ("best", 299, 9),
        ("best", 300, 8),
        ("best", 10**6, 8),
    ],
)
def test_default_num_passes(preset, steps, passes):
    """Those of the preset; of `best` as many as make 2,400 steps, from 8 to 24."""
    assert default_num_passes(preset, steps) == passes


@pytest.mark.parametrize("clicks, videos, dropout", [(199, 10, 0.1), (200, 10, 0.0), (0, 0, 0.0)])
def test_default_dropout(clicks, videos, dropout):
    """Some where videos have few clicks."""
    assert default_dropout(clicks, videos) == dropout


def test_default_metric(tmp_path):
    """Where most last clicks are on videos clicked before, the ranking with nothing removed."""
    again, new, never = "aba", "abc", ""
    assert default_metric(log_of(tmp_path, again, again, new, never)) == "seen_kept_ndcg@10"
    assert default_metric(log_of(tmp_path, again, new, new, never)) == "ndcg@10"
    assert default_metric(log_of(tmp_path, again, new)) == "ndcg@10"  # no majority
