"""Ranking metrics against fractions computed by hand."""

import math
from fractions import Fraction

from candgen.serving.metrics import MAX_RANK, METRICS, ranking_metrics, target_ranks

import numpy as np
import pytest

INF = float("inf")


def test_target_ranks_by_hand():
    """Ties count against the target; `<unk>` and videos outside the list have no rank."""
    ids = np.array([[1, 2, 3, 4, 5]] * 5 + [[1, 2, 0, 0, 0]] * 2)
    scores = np.array([[3.0, 2, 2, 2, 1]] * 5 + [[3, 3, -INF, -INF, -INF]] * 2)
    ranks = target_ranks(ids, scores, np.array([1, 3, 5, 0, 9, 1, 0]))
    assert ranks.tolist() == [1, 4, 5, INF, INF, 2, INF]


@pytest.mark.parametrize(
    "best, alike, rank",
    [
        (0, 50, 50),
        (0, 51, INF),
        (0, 80, INF),
        (9, 41, 50),
        (9, 42, INF),
        (49, 1, 50),
        (49, 2, INF),
        (50, 1, INF),
        (3, 5, 8),
    ],
)
def test_ties_beyond_the_fiftieth_place(best, alike, rank):
    """`best` videos, then `alike` ones of equal score, which have the rank of the last one."""
    scores = np.array([[2.0] * best + [1.0] * alike + [0.0] * 100])
    ids = np.arange(1, scores.shape[1] + 1)[None]
    length = MAX_RANK + 1
    assert target_ranks(ids[:, :length], scores[:, :length], np.array([best + 1])).tolist() == [
        rank
    ]


def test_metrics_by_hand():
    """Ranks 1, 3, 10, 11 and a miss; three of five videos are in the lists."""
    ids = np.array([[1, 2], [2, 1], [1, 2], [3, 0], [0, 0]])
    found = ranking_metrics(np.array([1, 3, 10, 11, INF]), ids, num_videos=5)
    assert found == {
        "recall@10": pytest.approx(float(Fraction(3, 5))),
        "recall@50": pytest.approx(float(Fraction(4, 5))),
        "ndcg@10": pytest.approx((1 + 1 / 2 + 1 / math.log2(11)) / 5),
        "mrr@10": pytest.approx(float((Fraction(1) + Fraction(1, 3) + Fraction(1, 10)) / 5)),
        "coverage@10": pytest.approx(float(Fraction(3, 5))),
    }
    tenth = np.array([[*range(1, 11), 11]])  # the eleventh is not in anyone's top 10
    assert ranking_metrics(np.array([INF]), tenth, num_videos=20)["coverage@10"] == 0.5


def test_names_of_metrics():
    """Those by which the best pass may be chosen, in the order of metrics.jsonl."""
    names = ["recall@10", "recall@50", "ndcg@10", "mrr@10"]
    assert [*names, *(f"seen_kept_{name}" for name in names)] == METRICS
    assert list(ranking_metrics(np.array([1.0]), np.array([[1]]), 1)) == [*names, "coverage@10"]
