"""Whether exported vectors rank the videos as their model does. Imports no paddle."""

from __future__ import annotations

import json
import math
import os

from candgen.archives import bounded_read
from candgen.console import InputError
from candgen.model.model_file import Model
from candgen.serving.lists import video_names
from candgen.serving.simple_lsh import directions, unconverted_users
from candgen.serving.topn import TopN
from candgen.serving.vector_files import metadata_path, read_vectors

import numpy as np

TOP = 30  # videos of each user that are compared
MAX_USERS = 1000  # that are compared, spread over the file
USERS_AT_ONCE = 100
HINT = "give the file that user_vector.py wrote with this model"


def agreement(
    users: np.ndarray, videos: np.ndarray, ids: np.ndarray, top_n: TopN
) -> tuple[float, float]:
    """Agreement of the best videos by cosine with those of the model.

    Parameters
    ----------
    users : float64 [B, u + 2], exported vectors.
    videos : float64 [N, u + 2], exported vectors.
    ids : int64 [N], ids of these videos.
    top_n : TopN of the model.

    Returns
    -------
    common : float
        Mean share of the `TOP` best videos of the model that are among the best by cosine.
    same_place : float
        Share of them that have the same place in both lists.
    """
    by_model, _, _ = top_n(unconverted_users(users), TOP)  # [B, n]
    num_best = by_model.shape[1]
    cosines = users @ directions(videos).T
    by_cosine = ids[np.argsort(-cosines, axis=1, kind="stable")[:, :num_best]]
    num_common = [len(np.intersect1d(*lists)) for lists in zip(by_model, by_cosine)]
    return np.mean(num_common) / num_best, (by_model == by_cosine).mean()


def check_vectors(
    users_path: str, videos_path: str, model: Model, allowed: np.ndarray, popularity: float
) -> str:
    """Compare files of user and video vectors with the model that they were exported from.

    Parameters
    ----------
    users_path, videos_path : as written by `write_vectors`.
    model : Model
    allowed : bool [V]
        Which videos the file has.
    popularity : factor of the biases of the videos.

    Returns
    -------
    str
        One line for people.

    Raises
    ------
    InputError
        If the files are not of this model.
    """
    _, users = read_vectors(users_path)
    names, videos = read_vectors(videos_path)
    _check_fingerprints(users_path, videos_path)
    width = model.nce_w.shape[1] + 2
    if users.shape[1:] != (width,) or not len(users) or (users[:, 0] <= 0).any():
        raise InputError(users_path, f"no vectors of users, of {width} numbers each", hint=HINT)
    ids = np.flatnonzero(allowed)
    if names != video_names(model.feature_dict, ids):
        raise InputError(
            videos_path, "its ids are not those of the dictionary", hint="write it again"
        )
    num_users = min(len(users), MAX_USERS)
    users = users[np.linspace(0, len(users) - 1, num_users).astype(int)]
    top_n = TopN(model.nce_w, model.scaled_biases(popularity), allowed)
    blocks = np.array_split(users, math.ceil(num_users / USERS_AT_ONCE))
    shares = [agreement(block, videos, ids, top_n) for block in blocks]
    common, same_place = np.average(shares, axis=0, weights=[len(block) for block in blocks])
    return (
        f"{num_users} users: {common:.2%} of the model's top {TOP} found by cosine, "
        f"{same_place:.2%} at their places"
    )


def _check_fingerprints(users_path: str, videos_path: str) -> None:
    """InputError if the files beside both have different fingerprints."""
    fingerprints = []
    for path in (metadata_path(users_path), metadata_path(videos_path)):
        if os.path.exists(path):
            with bounded_read(path, HINT) as stream:
                fingerprints.append(json.load(stream))
    if len(fingerprints) == 2 and fingerprints[0] != fingerprints[1]:
        raise InputError(
            users_path, "vectors of another model, as the .json beside it says", hint=HINT
        )
