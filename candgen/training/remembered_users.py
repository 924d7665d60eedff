"""Vectors of the users of a training log, for lists from the user id alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from candgen.data.dictionary import USER_COLUMN
from candgen.data.encoding import EncodedLog
from candgen.model.layers import USER_TABLE
from candgen.model.network import EmbeddingNetwork
from candgen.serving.user_vectors import user_vectors


def remember_users(
    network: EmbeddingNetwork, blocks: Iterable[EncodedLog], run: Callable = map
) -> None:
    """Set the rows of the users of a log to their vectors after their last clicks in it.

    Of a user on several lines, the last one with a click counts. Rows of other users stay. Nothing
    is done for a network whose ids are trained.

    Parameters
    ----------
    network : EmbeddingNetwork
    blocks : of the training log.
    run : as in `user_vectors`.
    """
    if not (network.remembers_users and "user_id" in network.config.embedding_dims):
        return
    network.eval()
    table = network.tables()[USER_TABLE].weight
    rows = table.numpy()
    for log in blocks:
        user = log.profile[:, USER_COLUMN]
        has_vector = (user > 0) & (log.lengths > 0)
        # An index may be repeated: numpy assigns the last value.
        rows[user[has_vector]] = user_vectors(network, log, run=run)[has_vector]
    table.set_value(rows)
