"""Baselines against scores computed by hand."""

import math

from candgen.serving.baselines import CooccurrenceBaseline, popularity
from conftest import feature_dict_of
from reader import Reader

import numpy as np
import pytest
from serving_helpers import encode_histories

INF = float("inf")


def small_logs(folder, *logs):
    """Encoded logs of lists of histories of v1, v2, ..."""
    for histories in logs:
        yield encode_histories(folder, [[f"v{video}" for video in line] for line in histories])


def test_rules_by_hand(tmp_path):
    """Pairs 1-2 twice at distance 1, 2-3 once, 1-3 once at distance 2; clicks 2, 2, 1 of five."""
    log, test = small_logs(tmp_path, [[1, 2, 3], [2, 1]], [[1, 9], [3, 1, 9], [4, 9], [9]])
    ranked = CooccurrenceBaseline(log, [0, 0.4, 0.4, 0.2, 0]).ranking_of(test)
    ids, scores = ranked(np.arange(4), 4)
    one, three = 1 / math.sqrt(0.4), 1 / math.sqrt(0.2)
    assert ids.tolist() == [[2, 3, 0, 0], [2, 1, 3, 0], [0] * 4, [0] * 4]
    assert scores[0] == pytest.approx([2 * one, 0.5 * one, -INF, -INF])
    assert scores[1] == pytest.approx([2 * one + 0.8 * three, 0.8 * 0.5 * three, 0.5 * one, -INF])
    assert ranked(np.array([1]), 1)[0].tolist() == [[2]]


def test_rules_of_uncounted_videos(tmp_path):
    """A click on a video of frequency 0, in an earlier log, weighs as one on the rarest video."""
    path = tmp_path / "log.txt"
    path.write_text("u\t\t\ta::;b::;c::\t\n")
    feature_dict = feature_dict_of(history_clicked_items=["a", "b", "c"])
    [log] = Reader(feature_dict).encode(str(path))
    lists = [
        CooccurrenceBaseline(log, freq).ranking_of(log)(np.array([0]), 3)[1]
        for freq in ([0, 0.5, 0, 0.5], [0, 0.5, 0.5, 0.5])
    ]
    np.testing.assert_array_equal(*lists)


def test_limits_of_rules(tmp_path):
    """Pairs up to 10 positions apart count, and the last 20 clicks."""
    log, test = small_logs(
        tmp_path, [[1, *range(50, 59), 2, 3]], [[1, *[100] * 19, 9], [1, *[100] * 20, 9]]
    )
    ids, scores = CooccurrenceBaseline(log, [0] + [1 / 130] * 130).ranking_of(test)(
        np.arange(2), 20
    )
    assert 2 in ids[0] and 3 not in ids[0] and not ids[1].any()
    assert scores[0][ids[0] == 2] == pytest.approx(0.8**19 / 10 * math.sqrt(130))


def test_popularity_by_hand():
    """Equal frequencies are ordered by id; all users have the same list."""
    ids, scores = popularity([0.4, 0.1, 0.3, 0.1, 0.1])(np.arange(2), 3)
    assert ids.tolist() == [[2, 1, 3]] * 2 and scores.tolist() == [[0.3, 0.1, 0.1]] * 2
