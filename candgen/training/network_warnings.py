"""Warnings about a network that does not go with the preset or the log. Imports no paddle."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from candgen.console import logger
from candgen.data.dictionary import PROFILE_FEATURES


def warn_of_preset(preset: str, network: str, has_direct_path: bool) -> None:
    """Warn if a network without a direct path is trained with the settings of ``best``.

    Parameters
    ----------
    preset, network : values of --preset and --network.
    has_direct_path : of the network's class.
    """
    if preset == "best" and not has_direct_path:
        logger.warning(
            f"the settings of --preset=best (shared negatives, ranking_nce, dropout, ...) are made "
            f"for networks with a direct path from the clicks to the user vector, and {network} "
            "has none: expect a fraction of the recall; make it a subclass of DirectModel, or "
            "give --preset=classic"
        )


def warn_of_user_ids(network_class: type, user_dropout: float, window_size: int) -> None:
    """Warn if infer_user.py without a log will have one list for all users.

    Parameters
    ----------
    network_class : a class of network_conf.py with a table of user ids.
    user_dropout, window_size : values of --user_dropout and --window_size.
    """
    name = network_class.__name__
    if network_class.remembers_users:
        if window_size == 1:
            logger.warning(
                f"{name} cannot tell a window of one click from none, and remembers no user: "
                "infer_user.py without a log gives all users one list; give --window_size=2 or more"
            )
    elif user_dropout == 1:
        logger.warning(
            f"--user_dropout=1 hides all user ids, and {name} does not remember users: "
            "infer_user.py without a log gives all users one list; give --user_dropout=0.9 "
            "--history_dropout=0.05"
        )


def warn_of_unused_columns(network: str, features: Collection[str]) -> None:
    """Warn of columns of the log that a network has no table for.

    Parameters
    ----------
    network : name of its class.
    features : those that it has a table for.
    """
    unused = [feature for feature in PROFILE_FEATURES if feature not in features]
    if unused:
        logger.warning(
            f"{network} does not use {_columns(unused)} of the log: to use it, set its width in "
            "embedding_dims of the class, in network_conf.py"
        )


def warn_of_unused_tables(network: str, features: Sequence[str]) -> None:
    """Warn of features whose embeddings the network looks up, and does nothing with.

    Parameters
    ----------
    network : name of its class.
    features : those whose tables got no gradient.
    """
    if features:
        logger.warning(
            f"{network} looks up the embeddings of {', '.join(features)} and does not use them: "
            "they are not trained; use them in hidden_layer, or leave them out of embedding_dims"
        )


def _columns(names: Sequence[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {', '.join(names)}"
