"""SIMPLE-LSH: cosines are scores, up to a constant of each user."""

import math

from candgen.serving.simple_lsh import simple_lsh_users, simple_lsh_videos

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


@given(
    arrays(np.float32, (7, 4), elements=st.floats(-3, 3, width=32)),
    arrays(np.float32, (1, 7), elements=st.floats(-9, 3, width=32)),
    arrays(np.float32, (5, 4), elements=st.floats(0, 3, width=32)),
)
def test_cosines_are_scores_times_a_constant(nce_w, nce_b, users):
    videos, vectors = simple_lsh_videos(nce_w, nce_b), simple_lsh_users(users)
    assert videos.shape == (6, 6) and vectors.shape == (5, 6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    largest = max(math.hypot(*nce_w[v].tolist(), float(nce_b[0, v])) for v in range(1, 7))
    np.testing.assert_allclose(np.linalg.norm(videos, axis=1), largest, rtol=1e-12, atol=1e-12)
    scores = (users.astype(float) @ nce_w.T.astype(float) + nce_b)[:, 1:]
    lengths = np.sqrt(1 + (users.astype(float) ** 2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(vectors @ videos.T * lengths, scores, rtol=1e-9, atol=1e-9)
