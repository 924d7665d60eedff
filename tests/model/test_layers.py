"""Functions that networks are built from, against numpy."""

from candgen.console import InputError
from candgen.model.layers import (
    at_targets,
    decayed_mean,
    decayed_mean_at_targets,
    max_at_targets,
    mean_at_targets,
    running_max,
    to_tensors,
    use_device,
)

import numpy as np
import paddle
import pytest


def test_running_max():
    """Values against numpy; a gradient goes to the maximum, of equal ones to one."""
    rng = np.random.default_rng(0)
    for values in (rng.permutation(7 * 3 * 4).reshape(7, 3, 4), rng.integers(0, 3, (7, 3, 4))):
        values = values.astype(np.float32)
        weights = rng.normal(size=values.shape).astype(np.float32)
        states = paddle.to_tensor(values, stop_gradient=False)
        maxima = running_max(states)
        np.testing.assert_array_equal(maxima.numpy(), np.maximum.accumulate(values))
        (maxima * paddle.to_tensor(weights)).sum().backward()
        gradient = states.grad.numpy()
        expected = np.zeros_like(values)
        for time, row, column in np.ndindex(values.shape):
            expected[values[: time + 1, row, column].argmax(), row, column] += weights[
                time, row, column
            ]
        if len(np.unique(values)) == values.size:
            np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradient.sum(0), expected.sum(0), rtol=1e-4, atol=1e-5)
        assert not gradient[values < np.maximum.accumulate(values)].any()


def test_mean_at_targets():
    """Mean of what precedes each target: of one position, and of all three."""
    values = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    batch = {"context_index": paddle.to_tensor([0, 5])}  # position 0 of segment 0, 2 of segment 1
    counts = paddle.to_tensor([[1.0], [3.0]])
    means = mean_at_targets(paddle.to_tensor(values), counts, batch)
    np.testing.assert_allclose(means.numpy(), [values[0, 0], values[:, 1].mean(0)])
    targets = at_targets(paddle.to_tensor(values), batch)
    np.testing.assert_array_equal(targets.numpy(), [values[0, 0], values[2, 1]])


def test_decayed_mean():
    """Weights 1, 1/2, 1/4 backward in time; further positions are as if filled with zeros."""
    values = np.float32([[[8]], [[4]], [[2]]])
    means = decayed_mean(paddle.to_tensor(values), 0.5, 4).numpy()[:, 0, 0]
    expected = [8, (4 + 4) / 1.5, (2 + 2 + 2) / 1.75, (1 + 1 + 1) / 1.875]
    np.testing.assert_allclose(means, expected, rtol=1e-6)


def test_pooling_of_an_exported_network():
    """One target for each segment, at its end: the same values from fewer operations."""
    lengths = np.array([1, 3, 4])
    values = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    clicks = paddle.to_tensor(lengths[:, None].astype(np.float32))
    batch = {
        "context_index": paddle.to_tensor((lengths - 1) * 3 + np.arange(3)),
        "clicks": clicks,
    }
    is_click = (np.arange(4)[:, None] < lengths)[:, :, None]
    exported = {**batch, "is_click": paddle.to_tensor(is_click.astype(np.float32))}
    values = paddle.to_tensor(values)
    for pooled in (
        lambda batch: max_at_targets(values, batch),
        lambda batch: mean_at_targets(values, clicks, batch),
        lambda batch: decayed_mean_at_targets(values, 0.7, 4, batch),
    ):
        np.testing.assert_allclose(pooled(exported).numpy(), pooled(batch).numpy(), rtol=1e-5)


def test_a_small_decay_and_much_padding():
    """Powers of the positions behind the window do not overflow: the mean is the last click."""
    values = paddle.arange(40, dtype="float32").reshape([40, 1, 1])
    batch = {
        "clicks": paddle.to_tensor([[2.0]]),
        "is_click": (paddle.arange(40).reshape([40, 1, 1]) < 2).astype("float32"),
    }
    assert decayed_mean_at_targets(values, 0.01, 40, batch).item() == pytest.approx(1, abs=0.02)


def test_counts_become_floats():
    """They are divided by; ids stay integers."""
    tensors = to_tensors({"clicks": np.array([[2]]), "target": np.array([2])})
    assert tensors["clicks"].dtype == paddle.float32 and tensors["target"].dtype == paddle.int64


def test_a_device_that_does_not_exist():
    with pytest.raises(InputError, match="--device: no such device"):
        use_device("nowhere")
