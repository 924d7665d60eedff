"""Top-N against values computed by hand and against sorted scores in double precision."""

import math
from unittest import mock

from candgen.serving import topn
from candgen.serving.topn import TopN

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

INF = float("inf")


def test_top_n_by_hand():
    """Scores log 1, ..., log 4 of four videos: probabilities 0.1 to 0.4, whatever `<unk>` has."""
    nce_w = np.array([[100.0], [0], [0], [0], [0]], np.float32)
    nce_b = np.log(np.array([[1e9, 1, 2, 3, 4]], np.float32))
    top_n, user = TopN(nce_w, nce_b), np.ones((1, 1), np.float32)
    ids, scores, shares = top_n(user, 3)
    assert ids.tolist() == [[4, 3, 2]]
    assert scores[0] == pytest.approx(np.log([4, 3, 2]), rel=1e-6) and shares[0] == pytest.approx(
        [0.4, 0.3, 0.2]
    )
    ids, scores, shares = top_n(user, 30, removed=[np.array([4, 2, 4])])
    assert ids.tolist() == [[3, 1, 0, 0]] and scores[0, 2:].tolist() == [-INF, -INF]
    assert shares[0] == pytest.approx([0.3, 0.1, 0, 0])
    ids, scores, shares = top_n(np.ones((0, 1), np.float32), 3)
    assert ids.shape == scores.shape == shares.shape == (0, 3)


def test_scores_too_large_for_exp():
    users, nce_w = np.full((1, 1), 50, np.float32), np.array([[0], [40], [40], [-40]], np.float32)
    ids, _, shares = TopN(nce_w, np.zeros((1, 4), np.float32))(users, 3)
    assert ids.tolist() == [[1, 2, 3]] and shares[0] == pytest.approx([0.5, 0.5, 0])


def plain_top_n(users, nce_w, nce_b, n, removed=None):
    """Yield (ids, scores, probabilities), by sorting all scores in float64, equal ones by id."""
    for row, user in enumerate(users.astype(float)):
        scores = (nce_w.astype(float) * user).sum(1) + nce_b[0].astype(float)
        shares = np.exp(scores[1:] - scores[1:].max())
        shares /= shares.sum()
        left = sorted(
            set(range(1, len(scores))) - set(removed[row].tolist() if removed else ()),
            key=lambda video, scores=scores: (-scores[video], video),
        )[:n]
        yield left, scores[left], shares[np.array(left, int) - 1]


def assert_top_n(found, expected, rtol):
    """The result of a TopN equals `plain_top_n`, filled up where a removal left too few videos."""
    ids, scores, shares = found
    for row, (left, exact, share) in enumerate(expected):
        assert ids[row].tolist() == left + [0] * (ids.shape[1] - len(left))
        np.testing.assert_allclose(scores[row, : len(left)], exact, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(shares[row, : len(left)], share, rtol=rtol, atol=1e-30)
        assert (scores[row, len(left) :] == -INF).all() and not shares[row, len(left) :].any()


@given(
    videos=st.integers(2, 400),
    count=st.integers(0, 300),
    n=st.integers(1, 60),
    seed=st.integers(0, 99),
    spread=st.sampled_from([1, 1e-7, 30]),
    blocks=st.sampled_from([(64, 4), (32, 32), (1024, 32)]),
)
@settings(max_examples=100)
def test_top_n_equals_a_full_sort(videos, count, n, seed, spread, blocks):
    """Few and many blocks, equal scores and some that differ in the last bit, removed videos."""
    rng = np.random.default_rng(seed)
    nce_w = (1 + spread * rng.normal(size=(videos, 3))).astype(np.float32)
    nce_b = rng.normal(size=(1, videos)).astype(np.float32) * np.float32(spread)
    alike = rng.integers(0, videos, videos // 3)
    nce_w[alike], nce_b[0, alike] = nce_w[0], nce_b[0, 0]
    users = rng.normal(size=(count, 3)).astype(np.float32)
    removed = (
        [rng.integers(1, videos, rng.integers(0, videos)) for _ in range(count)]
        if seed % 2
        else None
    )
    with mock.patch.multiple(topn, VIDEO_BLOCK=blocks[0], SMALL_GROUP=blocks[1]):
        found = TopN(nce_w, nce_b)(users, n, removed)
    assert found[0].shape == (count, min(n, videos - 1))
    assert_top_n(found, plain_top_n(users, nce_w, nce_b, n, removed), 1e-4)


@given(
    scores=st.integers(1, 90).flatmap(
        lambda videos: arrays(np.int64, (3, videos), elements=st.integers(-2, 2))
    ),
    n=st.integers(1, 70),
)
def test_equal_scores_are_ordered_by_id(scores, n):
    """Long lists that consist of ties."""
    nce_w = np.vstack([np.zeros(3), scores.T]).astype(np.float32)
    with mock.patch.multiple(topn, VIDEO_BLOCK=16, SMALL_GROUP=8):
        ids, found, _ = TopN(nce_w, np.zeros((1, len(nce_w)), np.float32))(
            np.eye(3, dtype=np.float32), n
        )
    for user, row in enumerate(scores.tolist()):
        pairs = sorted((-score, id_) for id_, score in enumerate(row, 1))[:n]
        assert list(zip((-found[user]).tolist(), ids[user].tolist())) == pairs


def random_ranking(scale, users_scale=1):
    """(users, nce_w, nce_b) of 9 users and 299 videos; scores of about `scale * users_scale`."""
    rng = np.random.default_rng(0)
    nce_w, nce_b = (
        rng.normal(size=shape).astype(np.float32) * np.float32(scale)
        for shape in ((300, 4), (1, 300))
    )
    return rng.normal(size=(9, 4)).astype(np.float32) * np.float32(users_scale), nce_w, nce_b


@pytest.mark.parametrize("scale", [1, 100, 1e4, 1e9])
def test_scores_too_large_for_single_precision(scale):
    """Their rounding errors in float32 exceed the tolerance of log-probabilities."""
    users, nce_w, nce_b = random_ranking(scale)
    found = TopN(nce_w, nce_b)(users, 5)
    assert_top_n(found, plain_top_n(users, nce_w, nce_b, 5), 1e-3)


def test_scores_that_single_precision_cannot_hold():
    """Scores above the largest float32, 3e38."""
    users, nce_w, nce_b = random_ranking(1e25, 1e16)
    ids, _, shares = TopN(nce_w, nce_b)(users, 5)
    assert ids.tolist() == [left for left, _, _ in plain_top_n(users, nce_w, nce_b, 5)]
    assert np.isfinite(shares).all()


def test_a_late_video_far_above_the_first():
    """The best score is in a late block: the sum of the softmax is rescaled."""
    nce_w = np.zeros((500, 1), np.float32)
    nce_w[[400, 450], 0] = 200, 199
    with mock.patch.object(topn, "VIDEO_BLOCK", 64):
        ids, _, shares = TopN(nce_w, np.zeros((1, 500), np.float32))(np.ones((1, 1), np.float32), 2)
    assert ids.tolist() == [[400, 450]] and shares[0] == pytest.approx(
        [math.e / (1 + math.e), 1 / (1 + math.e)]
    )


def test_a_long_list_of_many_videos():
    """All 2,999 of them, in order; their probabilities sum to 1."""
    rng = np.random.default_rng(0)
    nce_w, nce_b = rng.normal(size=(3000, 4)).astype(np.float32), np.zeros((1, 3000), np.float32)
    users = rng.normal(size=(3, 4)).astype(np.float32)
    found = TopN(nce_w, nce_b)(users, 2999)
    assert_top_n(found, plain_top_n(users, nce_w, nce_b, 2999), 1e-5)
    assert found[2].sum(axis=1) == pytest.approx([1, 1, 1], rel=1e-6)


@given(
    seed=st.integers(0, 99),
    videos=st.integers(2, 200),
    n=st.integers(1, 250),
    share=st.floats(0, 1),
)
def test_top_n_of_allowed_videos(seed, videos, n, share):
    """Probabilities are those of the softmax over the allowed videos."""
    rng = np.random.default_rng(seed)
    w, b = (
        rng.normal(size=(videos, 5)).astype(np.float32),
        rng.normal(size=(1, videos)).astype(np.float32),
    )
    users, allowed = rng.normal(size=(3, 5)).astype(np.float32), rng.random(videos) < share
    allowed[0] = False
    if not allowed.any():
        allowed[1] = True
    ids, scores, shares = TopN(w, b, allowed)(users, n)
    kept = np.flatnonzero(allowed)
    plain = users.astype(float) @ w[kept].T.astype(float) + b[0, kept]
    softmax = np.exp(plain) / np.exp(plain).sum(1, keepdims=True)
    order = np.argsort(-plain, axis=1, kind="stable")[:, :n]
    np.testing.assert_array_equal(ids, kept[order])
    np.testing.assert_allclose(scores, np.take_along_axis(plain, order, 1))
    np.testing.assert_allclose(shares, np.take_along_axis(softmax, order, 1), rtol=1e-4)
