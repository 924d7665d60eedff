"""Warnings about test and validation logs that say little about new clicks. Imports no paddle."""

from __future__ import annotations

from collections import Counter
from typing import Any

from candgen.console import logger
from candgen.data.dictionary import NO_VALUE
from candgen.data.encoding import EncodedLog
from candgen.data.log_files import log_name, real_files
from candgen.serving.metrics import MIN_USERS

import numpy as np

MIN_ANONYMOUS_CLICKS = 5  # shorter histories of users without an id are equal by chance


def shared_lines(training: EncodedLog, held_out: EncodedLog) -> tuple[int, int]:
    """How many lines of a held-out log are in the training log: same user, same known clicks.

    Returns
    -------
    shared : int, lines that are in both.
    compared : int, lines with a known last click whose user has an id, or at least
        `MIN_ANONYMOUS_CLICKS` clicks.
    """
    wanted = Counter(_line_keys(held_out, np.flatnonzero(held_out.last_item > 0)))
    users = {user for user, _ in wanted}
    lines = [line for line, user in enumerate(training.users) if user in users]
    trained = set(_line_keys(training, lines))
    shared = sum(count for key, count in wanted.items() if key in trained)
    return shared, sum(wanted.values())


def _line_keys(log, lines):
    """Yield (user, clicks) of lines that are not equal by chance."""
    for line in lines:
        user = log.users[line]
        clicks = log.items(line)[log.context[line] :]
        if user not in NO_VALUE or len(clicks) >= MIN_ANONYMOUS_CLICKS:
            yield user, clicks.tobytes()


def warn_of_held_out(
    name: str, paths: list[str], log: EncodedLog, train_paths: list[str], training: Any
) -> bool:
    """Warn if metrics on a held-out log say little.

    Parameters
    ----------
    name : "test" or "validation".
    paths, log : the held-out log.
    train_paths : of the training log.
    training : reader.TrainingLog; its first block is compared.

    Returns
    -------
    bool, whether its clicks are trained on.
    """
    path = log_name(paths)
    clicked = int((log.last_item >= 0).sum())
    known = int((log.last_item > 0).sum())
    same_files = real_files(paths) & real_files(train_paths)
    shared, compared = shared_lines(training.first, log)
    block_share = len(training.first.users) / training.lines
    trained_on = bool(same_files) or shared > compared * block_share / 2
    if trained_on:
        where = f"{min(same_files)} is" if same_files else f"most lines of {path} are"
        logger.warning(
            f"{where} in the training log: the metrics on the {name} log are of clicks that were "
            "trained on, and say nothing about new ones; give a log whose last clicks are not in "
            "--train_set_path"
        )
    if clicked < MIN_USERS:
        logger.warning(
            f"{path}: {clicked} lines with a click are too few to compare passes or models by"
        )
    if known <= clicked / 2:
        logger.warning(
            f"{path}: {clicked - known} of {clicked} last clicks are on videos that the dictionary "
            "does not know and count as misses; make the dictionary from a newer log, or with a "
            "lower --feat_appear_limit"
        )
    return trained_on
