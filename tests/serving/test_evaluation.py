"""Evaluation of rankings against metrics computed line by line from the histories."""

import math
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from candgen.serving import evaluation
from candgen.serving.baselines import BASELINES
from candgen.serving.evaluation import evaluate_baselines, evaluate_ranking
from candgen.serving.metrics import ranking_metrics
from candgen.serving.topn import TopN
from conftest import metrics_of_ranks

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_helpers import VIDEO_IDS, encode_histories


def plain_evaluation(histories, scores):
    """{metric: value}, line by line from histories of video-ids, by the scores [line][id]."""
    num_videos = len(VIDEO_IDS) - 1
    metrics = {}
    for prefix, remove in (("", True), ("seen_kept_", False)):
        ranks, listed = [], set()
        for history, score in zip(histories, scores):
            if not history:
                continue
            *seen, target = (VIDEO_IDS.get(video, 0) for video in history)
            left = [video for video in range(1, num_videos + 1) if not (remove and video in seen)]
            best_first = sorted(left, key=lambda video, score=score: (-score[video], video))
            listed.update(best_first[:10])
            rank = sum(score[video] >= score[target] for video in left)
            ranks.append(rank if target in left else math.inf)
        metrics.update(metrics_of_ranks(ranks, prefix))
        metrics[prefix + "coverage@10"] = len(listed) / num_videos
    return metrics


@given(
    histories=st.lists(
        st.lists(
            st.integers(1, 140).map("v{}".format) | st.sampled_from(["v1", "v2", "v130", "new"]),
            max_size=40,
        ),
        min_size=1,
        max_size=12,
    ).filter(any),
    levels=st.sampled_from([3, 40, 10**6]),
    seed=st.integers(0, 99),
    user_block=st.sampled_from([2, 128]),
)
def test_evaluate_ranking_against_a_plain_computation(
    tmp_path_factory, histories, levels, seed, user_block
):
    """Few and many ties, repeated clicks, and videos outside the dictionary."""
    log = encode_histories(tmp_path_factory.mktemp("log"), histories)
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (len(histories), 131)).astype(np.float32)
    # With these parameters the vector of a user is the scores.
    top_n = TopN(np.eye(131, dtype=np.float32), np.zeros((1, 131), np.float32))
    with ThreadPoolExecutor(2) as pool, mock.patch.object(evaluation, "USER_BLOCK", user_block):
        metrics, ids = evaluate_ranking(
            lambda lines, n: top_n(scores[lines], n)[:2], log, 130, pool.map
        )
    assert metrics == pytest.approx(plain_evaluation(histories, scores.tolist()), rel=1e-12)
    assert ids.shape == (sum(map(bool, histories)), 10)


def test_evaluate_baselines(tmp_path):
    """The keys are those of the metrics, after the name of the baseline; figures by hand."""
    log = encode_histories(tmp_path, [["v1", "v2"], ["v1", "v2"], ["v3", "v1"]])
    freq = [0, 0.5, 1 / 3, 1 / 6, *[0] * 127]
    metrics = evaluate_baselines(BASELINES, log, log, freq)
    names = ranking_metrics(np.array([1.0]), np.array([[1]]), 1)
    assert list(metrics) == [
        f"{baseline}_{prefix}{name}"
        for baseline in ("popularity", "rules")
        for prefix in ("", "seen_kept_")
        for name in names
    ]
    assert metrics["popularity_mrr@10"] == 1  # v1 is removed, where it has been clicked before
    assert metrics["popularity_seen_kept_mrr@10"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert evaluate_baselines(["rules"], log, log, freq)["rules_mrr@10"] == 1
