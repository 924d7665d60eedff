"""User vectors of a log."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from candgen.console import InputError
from candgen.data.batches import make_batch, next_click_windows, share_rows
from candgen.data.encoding import EncodedLog
from candgen.model.layers import to_tensors
from candgen.serving.blocks import USER_BLOCK

import numpy as np
import paddle


@dataclasses.dataclass(frozen=True)
class UserBlock:
    """Ids of B users, and their vectors, float32 [B, u]."""

    ids: list[str]
    vectors: np.ndarray


def user_vectors(
    network, log: EncodedLog, clicks: np.ndarray | None = None, run: Callable = map
) -> np.ndarray:
    """Vector of each user of a log, from the window that the next click would have.

    Users with windows of similar length are computed together, always `USER_BLOCK` at a time:
    matrices of one height are rounded alike, so the vector of a user does not depend on the others.

    Parameters
    ----------
    network : EmbeddingNetwork
    log : EncodedLog of L lines
    clicks : int [L], optional
        Number of known clicks of each line to look at; all if None.
    run : map, or that of an executor whose threads share the blocks.

    Returns
    -------
    float32 [L, u]

    Raises
    ------
    InputError
        If a vector is not finite.
    """
    if clicks is None:
        clicks = log.lengths
    windows = next_click_windows(clicks, network.config.window_size)
    num_lines = len(clicks)
    user_dim = network.config.dnn_layer_dims[-1]

    def compute(lines: np.ndarray) -> np.ndarray:
        batch = make_batch(log, windows.take(lines), with_targets=False)
        distinct = share_rows([batch], network.table_ids(training=False))
        with paddle.no_grad():
            return network(network.look_up(distinct), to_tensors(batch)).numpy()

    order = np.argsort(windows.length, kind="stable")
    blocks = [  # the last one is filled up with the first lines
        order[np.arange(start, start + USER_BLOCK) % num_lines]
        for start in range(0, num_lines, USER_BLOCK)
    ]
    vectors = np.empty((num_lines, user_dim), np.float32)
    for lines, computed in zip(blocks, run(compute, blocks)):
        vectors[lines] = computed
    if not np.isfinite(vectors).all():
        raise InputError(
            "the model",
            "its user vectors are not finite",
            hint="train it with a lower --learning_rate",
        )
    return vectors
