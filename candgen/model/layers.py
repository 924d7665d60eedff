"""Functions and small layers that networks are built from, and the device they run on."""

from __future__ import annotations

from itertools import accumulate

from candgen.console import InputError, describe_error
from candgen.data.dictionary import ITEMS

import numpy as np
import paddle
from paddle import nn

VIDEO_TABLE = f"_proj_{ITEMS}"  # of the clicked videos
USER_TABLE = "_proj_user_id"
HIDDEN = 1e9  # what is subtracted from a position that takes no part in a maximum


def use_device(name: str | None) -> None:
    """Select the device that paddle runs on.

    Parameters
    ----------
    name : str or None
        ``cpu``, ``gpu``, ``gpu:1``, ...; None selects a GPU if paddle has one.

    Raises
    ------
    InputError
        If there is no such device, or if it has no memory.
    """
    try:
        paddle.set_device(name or ("gpu" if paddle.device.cuda.device_count() else "cpu"))
    except (ValueError, RuntimeError) as error:
        raise InputError(
            "--device",
            f"no such device ({describe_error(error)})",
            hint="give cpu, gpu or gpu:1",
        ) from error
    try:
        paddle.zeros([1])
    except (ValueError, RuntimeError) as error:
        raise InputError(
            "paddle",
            f"no memory can be allocated ({describe_error(error)})",
            hint="check the device and the environment variables FLAGS_*",
        ) from error


def embedding_table(size: int, width: int) -> nn.Embedding:
    """Embedding [size, width] with sparse gradients, zero until it is initialized or loaded."""
    zeros = paddle.ParamAttr(initializer=nn.initializer.Constant(0))
    return nn.Embedding(size, width, sparse=True, weight_attr=zeros)


def running_max(states: paddle.Tensor) -> paddle.Tensor:
    """Maximum over each position and all positions before it.

    float [T, S, width] -> [T, S, width]. `paddle.cummax` takes twice as long.
    """
    return paddle.stack([*accumulate(paddle.unbind(states), paddle.maximum)])


def decayed_mean(values: paddle.Tensor, decay: float, positions: int) -> paddle.Tensor:
    """Weighted mean of each position and all positions before it, the newest weighing most.

    Parameters
    ----------
    values : float [T, S, width]
    decay : weight of a position relative to the one after it.
    positions : at least T. Positions beyond T are filled with zeros: a product of matrices of
        another size rounds differently.

    Returns
    -------
    float [positions, S, width]
    """
    missing = positions - values.shape[0]
    if missing > 0:
        values = paddle.concat([values, paddle.zeros([missing, *values.shape[1:]])])
    times = np.arange(positions)
    age = np.maximum(times[:, None] - times, 0)
    weights = np.tril(decay**age).astype(np.float32)  # [position, earlier position]
    weights /= weights.sum(1, keepdims=True)
    means = paddle.matmul(paddle.to_tensor(weights), values.flatten(1))  # [positions, S * width]
    return means.reshape(values.shape)


def at_targets(sequence: paddle.Tensor, batch: dict) -> paddle.Tensor:
    """Values of a sequence at the last position before each target: [T, S, width] -> [N, width]."""
    return paddle.gather(sequence.reshape([-1, sequence.shape[-1]]), batch["context_index"])


# Pooling over the positions that each target sees. In training several targets share a segment:
# running values of all positions are computed, and gathered at the targets. An exported network has
# one target for each segment, and a batch with "is_click", float [T, S, 1], which is 0 for padding:
# fewer operations pool over the whole segment.


def max_at_targets(states: paddle.Tensor, batch: dict) -> paddle.Tensor:
    """Maximum over the positions that each target sees: [T, S, width] -> [N, width]."""
    if "is_click" in batch:
        return (states + (batch["is_click"] - 1) * HIDDEN).max(0)
    return at_targets(running_max(states), batch)


def mean_at_targets(values: paddle.Tensor, counts: paddle.Tensor, batch: dict) -> paddle.Tensor:
    """Sum over the positions that each target sees, divided by `counts`.

    float [T, S, width], float [N, 1] -> [N, width].
    """
    if "is_click" in batch:
        return (values * batch["is_click"]).sum(0) / counts
    return at_targets(paddle.cumsum(values, 0), batch) / counts


def decayed_mean_at_targets(
    values: paddle.Tensor, decay: float, positions: int, batch: dict
) -> paddle.Tensor:
    """Weighted mean over the positions that each target sees, the newest weighing most.

    Parameters are those of `decayed_mean`; [T, S, width] -> [N, width].
    """
    if "is_click" in batch:
        times = paddle.arange(values.shape[0], dtype="float32").reshape([-1, 1, 1])
        age = paddle.clip(batch["clicks"] - 1 - times, min=0)  # [T, S, 1]; padding has no age
        weights = batch["is_click"] * decay**age
        return (values * weights).sum(0) / weights.sum(0)
    return at_targets(decayed_mean(values, decay, positions), batch)


def product_of_parts(values: paddle.Tensor, weights: paddle.Tensor) -> paddle.Tensor:
    """Product of each part of the vectors with its own matrix.

    float [N, P * a], float [P, a, b] -> [N, P * b].
    """
    by_part = values.reshape([-1, *weights.shape[:2]]).transpose([1, 0, 2])  # [P, N, a]
    return paddle.matmul(by_part, weights).transpose([1, 0, 2]).flatten(1)


def to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, paddle.Tensor]:
    """Tensors of the arrays of a batch; counts become float32, since they are divided by."""
    counts = ("clicks", "tag_counts")
    return {
        name: paddle.to_tensor(array.astype(np.float32) if name in counts else array)
        for name, array in arrays.items()
    }
