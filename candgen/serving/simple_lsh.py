"""candgen.serving.simple_lsh"""

import numpy as np


def simple_lsh_videos(nce_w, nce_b):
    """[b, w, sqrt(m^2 - |(b, w)|^2)] of every video but `<unk>`. [V, u], [1, V] -> float64 [V - 1, u + 2]."""
    videos = np.hstack([nce_b.T, nce_w])[1:].astype(np.float64)
    squares = (videos**2).sum(axis=1, keepdims=True)
    return np.hstack([videos, np.sqrt(squares.max() - squares)])


def directions(nce_w):
    """Weights of videos as vectors of length 1, zeros where they are zeros. float [V, u] -> the same."""
    norms = np.linalg.norm(nce_w, axis=1, keepdims=True)
    return nce_w / np.where(norms > 0, norms, 1)


def simple_lsh_users(users):
    """[1, u, 0] / |[1, u, 0]| of user vectors. float32 [L, u] -> float64 [L, u + 2], rows of norm 1."""
    lines = len(users)
    vectors = np.hstack([np.ones((lines, 1)), users.astype(np.float64), np.zeros((lines, 1))])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
