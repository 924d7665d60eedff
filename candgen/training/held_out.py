"""candgen.training.held_out"""

import os
from collections import Counter

from candgen.console import logger
from candgen.data.dictionary import NO_VALUE
from candgen.data.encoding import EncodedLog
from candgen.data.log_files import log_files, log_name

import numpy as np

FEW_USERS = 50  # in a test log: of so few nothing can be said
ANONYMOUS_CLICKS = 5  # histories of users without an id are alike by chance if they are shorter


def shared_lines(training: EncodedLog, held_out: EncodedLog) -> tuple[int, int]:
    """How many lines of a held-out log are in the training log as well: same user, same clicks on known videos.

    Returns
    -------
    shared, compared : lines that are in both, and lines that were looked at: those with a known last click whose user
        has an id, or at least ANONYMOUS_CLICKS clicks.
    """

    def keys(log, lines):
        for line in lines:
            user, clicks = log.users[line], log.items(line)[log.context[line] :]
            if user not in NO_VALUE or len(clicks) >= ANONYMOUS_CLICKS:
                yield user, clicks.tobytes()

    wanted = Counter(keys(held_out, np.flatnonzero(held_out.last_item > 0)))
    users = {user for user, _ in wanted}
    found = set(keys(training, (line for line, user in enumerate(training.users) if user in users)))
    return sum(count for key, count in wanted.items() if key in found), sum(wanted.values())


def warn_of_held_out(args, training, name, paths, log):
    """Say on stderr if metrics on a test or validation log (its `name`) will say little."""
    path, lines, known = log_name(paths), (log.last_item >= 0).sum(), (log.last_item > 0).sum()
    both = {*map(os.path.realpath, log_files(paths))}
    both &= {*map(os.path.realpath, log_files(args.train_set_path))}
    shared, compared = shared_lines(training.first, log)
    expected = (
        compared * len(training.first.users) / training.lines
    )  # if all of them were in the training log
    if both or shared > expected / 2:
        reason = (
            f"{min(both)} is in the training log"
            if both
            else f"most lines of {path} are in the training log"
        )
        logger.warning(
            f"{reason}: the metrics on the {name} log are of clicks that were trained on, and say nothing "
            "about new ones; give a log whose last clicks are not in --train_set_path"
        )
    if lines < FEW_USERS:
        logger.warning(
            f"{path}: {lines} lines with a click are too few to compare passes or models by"
        )
    if known <= lines / 2:
        logger.warning(
            f"{path}: {lines - known} of {lines} last clicks are on videos that the dictionary does not know "
            "and count as misses; make the dictionary from a newer log, or with a lower --feat_appear_limit"
        )
