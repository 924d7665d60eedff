"""User vectors of a log -> top-N, and the causes of it."""

from __future__ import annotations

import dataclasses

from candgen.data.encoding import EncodedLog
from candgen.serving.explain import Explainer
from candgen.serving.lists import VideoLists
from candgen.serving.topn import TopN
from candgen.serving.user_vectors import user_vectors

import numpy as np


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """Lists of B users.

    Attributes
    ----------
    lists : VideoLists
    vectors : float32 [B, u], the user vectors.
    unknown_users : ids of the users who got the fallback.
    """

    lists: VideoLists
    vectors: np.ndarray
    unknown_users: list[str]


class Recommender:
    """Recommends videos to the users of logs; several threads may call it.

    Parameters
    ----------
    network : EmbeddingNetwork
    top_n : TopN of its parameters.
    n : int
        Length of the lists.
    remove_seen : bool
        Whether to leave out the videos of the user's history.
    fallback : (ids, probabilities), optional
        The list of the users who are not in the dictionary, from `most_clicked`; None: they are
        served like the others.
    explain : Explainer, optional
        Finds the causes of the lists; None: they have none.
    """

    def __init__(
        self,
        network,
        top_n: TopN,
        n: int,
        remove_seen: bool = False,
        fallback: tuple[np.ndarray, np.ndarray] | None = None,
        explain: Explainer | None = None,
    ):
        self._network = network
        self._top_n = top_n
        self._n = n
        self._remove_seen = remove_seen
        self._fallback = fallback
        self._explain = explain

    def __call__(self, log: EncodedLog) -> Recommendations:
        """Lists of the users of a log."""
        vectors = user_vectors(self._network, log)
        removed = None
        if self._remove_seen:
            removed = [log.items(line) for line in range(len(log.users))]
        ids, _, probabilities = self._top_n(vectors, self._n, removed)
        unknown = []
        if self._fallback:
            unknown = np.flatnonzero(log.profile[:, 0] == 0)  # by the id of the user
            ids[unknown], probabilities[unknown] = self._fallback
        causes, drops = self._explain(log, vectors, ids) if self._explain else (None, None)
        return Recommendations(
            VideoLists(log.users, ids, probabilities, causes, drops),
            vectors,
            [log.users[line] for line in unknown],
        )


def most_clicked(
    item_freq: np.ndarray, allowed: np.ndarray, n: int, popularity: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """The most clicked videos that may be recommended, of equal ones the smaller id first.

    Parameters
    ----------
    item_freq : float32 [V]
    allowed : bool [V]
    n : int
        Length of the list; it is shorter if fewer videos are allowed.
    popularity : float
        Factor of the logarithms of the frequencies.

    Returns
    -------
    ids : int64 [n]
    probabilities : float64 [n]
        Of the softmax of the scaled logarithms over the allowed videos.
    """
    weights = np.where(allowed, item_freq.astype(np.float64) ** popularity, 0)
    best_first = np.argsort(np.where(allowed, -weights, np.inf), kind="stable")
    ids = best_first[: min(n, allowed.sum())]
    total = max(weights.sum(), np.finfo(float).tiny)  # all frequencies may be 0
    return ids, weights[ids] / total
