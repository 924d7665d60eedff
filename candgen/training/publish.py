"""Comparison of a new model with an earlier one, and its publication. Imports no paddle."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from candgen.console import logger
from candgen.data.dictionary import ITEMS, UNKNOWN
from candgen.data.encoding import EncodedLog
from candgen.files import atomic_write
from candgen.model.model_file import Model
from candgen.serving.topn import TopN
from candgen.training.checkpoint import BEST_MODEL
from candgen.training.report import print_result

import numpy as np

COMPARED = ("recall@10", "ndcg@10", "recall@50", "coverage@10")
NOT_PUBLISHED = 3  # exit code


@dataclasses.dataclass(frozen=True)
class SavedEvaluation:
    """What a saved model does on a test log.

    Attributes
    ----------
    metrics : {name: value}
    videos : names of the videos it knows.
    lists : object [users, 10], names of the ten best; UNKNOWN where a list is shorter.
    unknown_clicks, unknown_users : share of the log that its dictionary does not know.
    """

    metrics: dict
    videos: frozenset
    lists: np.ndarray
    unknown_clicks: float
    unknown_users: float


def evaluate_saved_model(
    evaluate_model: Callable,
    network: Any,
    model: Model,
    log: EncodedLog,
    num_clicks: int,
    threads: int,
) -> SavedEvaluation:
    """Evaluate a model that was read from its file.

    Parameters
    ----------
    evaluate_model : candgen.serving.evaluation.evaluate_model.
    network : of `model`.
    log : the test log, encoded by the dictionary of `model`.
    num_clicks : of the log, on unknown videos too.
    """
    with ThreadPoolExecutor(threads) as pool:
        top_n = TopN(model.nce_w, model.nce_b)
        metrics, ids = evaluate_model(network, top_n, log, pool.map)
    names = np.array(list(model.feature_dict[ITEMS]), object)
    return SavedEvaluation(
        metrics,
        frozenset(names.tolist()),
        names[ids],
        1 - len(log.clicks) / max(num_clicks, 1),
        float((log.profile[:, 0] == 0).mean()),
    )


def changed_share(before: np.ndarray, now: np.ndarray) -> float:
    """Mean share of the videos in a list now that were not in the user's list before.

    object [users, n] each, UNKNOWN where a list is shorter. 0 if all lists are empty.
    """
    shares = []
    for old_list, new_list in zip(before, now):
        new_videos = set(new_list) - {UNKNOWN}
        if new_videos:
            shares.append(len(new_videos - set(old_list)) / len(new_videos))
    return float(np.mean(shares)) if shares else 0.0


def refusal(before: float, now: float, min_ratio: float, path: str) -> str | None:
    """Why a model is not published, by its metric and that of the model at `path`; or None."""
    if min_ratio and not now:
        return "is 0, which --min_ratio cannot compare"
    if now < min_ratio * before:
        return f"is below {min_ratio} times that of {path}"
    return None


def print_comparison(before: SavedEvaluation, now: SavedEvaluation, metric: str) -> None:
    """Print metrics, changed lists and coverage of the log, before and now."""
    for name in dict.fromkeys([metric, *COMPARED]):
        print_result(f"{name}: {before.metrics[name]:.4f} before, {now.metrics[name]:.4f} now")
    print_result(f"top 10: {changed_share(before.lists, now.lists):.1%} of the videos changed")
    gained = len(now.videos - before.videos)
    lost = len(before.videos - now.videos)
    print_result(f"videos: {gained} gained, {lost} lost")
    print_result(
        f"unknown clicks: {before.unknown_clicks:.1%} before, {now.unknown_clicks:.1%} now"
    )
    print_result(f"unknown users: {before.unknown_users:.1%} before, {now.unknown_users:.1%} now")


def publish(model_path: str, reason: str | None) -> int:
    """Copy a model to model_best.tar.gz beside it, or remove that one.

    Parameters
    ----------
    model_path : the new model.
    reason : what `refusal` returned, with the metric in front; None to publish.

    Returns
    -------
    int, the exit code of the run.
    """
    best = os.path.join(os.path.dirname(model_path), BEST_MODEL)
    if reason is not None:
        logger.info(f"{reason}: not published")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(best)  # of the passes before a --resume
        return NOT_PUBLISHED
    with open(model_path, "rb") as model, atomic_write(best) as stream:
        shutil.copyfileobj(model, stream)
    logger.info(f"{os.path.basename(model_path)} is published as {BEST_MODEL}")
    return 0
