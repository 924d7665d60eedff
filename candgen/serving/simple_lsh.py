"""SIMPLE-LSH: vectors whose cosines order the videos as their scores do. Imports no paddle.

A user with vector u becomes [1, u, 0], a video with weights w and bias b becomes
[b, w, sqrt(m^2 - |(b, w)|^2)], m being the largest norm |(b, w)| of all videos: each video vector
has norm m. The cosine of both is (w . u + b) / (m |(1, u)|) (Neyshabur & Srebro 2014, section 4).
"""

from __future__ import annotations

import numpy as np


def simple_lsh_videos(nce_w: np.ndarray, nce_b: np.ndarray) -> np.ndarray:
    """Vectors of all videos but ``<unk>``: [V, u], [1, V] -> float64 [V - 1, u + 2]."""
    videos = np.hstack([nce_b.T, nce_w])[1:].astype(np.float64)
    squares = (videos**2).sum(axis=1, keepdims=True)
    return np.hstack([videos, np.sqrt(squares.max() - squares)])


def simple_lsh_users(users: np.ndarray) -> np.ndarray:
    """Vectors of users, with norm 1: float32 [L, u] -> float64 [L, u + 2]."""
    ones = np.ones((len(users), 1))
    vectors = np.hstack([ones, users.astype(np.float64), np.zeros_like(ones)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def unconverted_users(vectors: np.ndarray) -> np.ndarray:
    """The inverse of `simple_lsh_users`: float64 [L, u + 2] -> float32 [L, u]."""
    return (vectors[:, 1:-1] / vectors[:, :1]).astype(np.float32)


def directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors divided by their norms, zeros where they are zeros: [L, u] -> [L, u]."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)
