"""Initial parameters of a network."""

from __future__ import annotations

from typing import Any

from candgen.console import InputError
from candgen.data.dictionary import CLICK_FEATURES, FEATURES, ITEMS, log_frequencies
from candgen.model.layers import USER_TABLE
from candgen.model.network import EmbeddingNetwork
from candgen.options import MAX_WIDTH

import numpy as np
import paddle
from paddle.nn import initializer

TABLE_STD = 0.1
SMALL_TABLE_STD = {USER_TABLE: 0.01, "nce_w": 0.01}
# Gain of the ReLU layers' weights. Their inputs are small; with a gain of 1 the units of the user
# vector start so near to 0 that Adam's first steps, of one size whatever the gradient, close a
# third of them for good. Tied embeddings keep a gain of 1: their videos start ten times as large
# as nce_w, so that large user vectors would be costly at first, and be closed for that.
RELU_GAIN = 5


def embedding_dims(network_class: type, user_dim: int, tie_embeddings: bool) -> dict[str, int]:
    """Widths of the tables of a network; tied videos are as wide as the user vector.

    So are the remembered vectors of users.

    Raises
    ------
    InputError
        If the class declares features that the log does not have, or impossible widths.
    """
    dims = dict(network_class.embedding_dims)
    if tie_embeddings:
        dims[ITEMS] = user_dim
    if network_class.remembers_users and "user_id" in dims:
        dims["user_id"] = user_dim
    has_features = set(CLICK_FEATURES) < dims.keys() <= set(FEATURES)
    if not has_features or max(dims.values()) > MAX_WIDTH:
        raise InputError(
            "--network",
            f"embedding_dims of {network_class.__name__} lacks a feature of clicks or all of the "
            f"profile, or has one that the log has not, or a width above {MAX_WIDTH}",
            hint="see LOG_COLUMNS and PROFILE_FEATURES in candgen/data/dictionary.py",
        )
    return dims


def build_network(
    network_class: type,
    config: Any,
    dropout: float,
    item_freq: list[float] | np.ndarray,
    kind: str,
    seed: int,
) -> EmbeddingNetwork:
    """A network with its initial parameters.

    Parameters
    ----------
    network_class, config : of network_conf.py.
    dropout : as in `EmbeddingNetwork`.
    item_freq, kind : as in `initialize`.
    seed : of paddle's generator, which draws nothing but initial parameters.

    Raises
    ------
    InputError
        If the network has an embedding table of its own.
    """
    paddle.seed(seed)
    network = network_class(config, dropout=dropout)
    known_tables = network.table_ids().keys() | {USER_TABLE, "nce_b", "content"}
    own_tables = network.tables().keys() - known_tables
    if own_tables:  # two threads would accumulate into their gradients
        raise InputError(
            "--network",
            f"{', '.join(sorted(own_tables))}: an Embedding of its own",
            hint="add it to embedding_dims, or make it a parameter",
        )
    initialize(network, item_freq, kind)
    return network


def initialize(
    network: EmbeddingNetwork, item_freq: list[float] | np.ndarray, kind: str = "popularity"
) -> None:
    """Set the initial parameters of a network, by paddle's generator.

    Parameters
    ----------
    network : EmbeddingNetwork
    item_freq : list of float [videos]
    kind : {"popularity", "v0.10"}
        ``popularity``: nce_b starts at log(item_freq) and nce_w near 0, so that an untrained
        network ranks by popularity. Tables are normal; weights are uniform after Glorot & Bengio
        2010 (recurrent, each gate) and He et al. 2015 (ReLU, times `RELU_GAIN`); biases are 0, the
        LSTM's forget gate's 1 (Jozefowicz et al. 2015).
        ``v0.10``: as the example of that paddle: tables normal with std 0.001, weights normal with
        std 1 / sqrt(first dimension), all biases 0.
    """
    set_parameter = _set_v0_10 if kind == "v0.10" else _set_popularity
    tables = network.tables()
    for name, parameter in network.named().items():
        if name == USER_TABLE and network.remembers_users:
            continue  # it stays 0: no user is remembered yet
        set_parameter(network, name, parameter, name in tables)
    biases = np.zeros(len(item_freq)) if kind == "v0.10" else log_frequencies(item_freq)
    network.nce_b.weight.set_value(biases[:, None].astype(np.float32))


def _set_popularity(network, name, parameter, is_table):
    if is_table:
        initializer.Normal(0, SMALL_TABLE_STD.get(name, TABLE_STD))(parameter)
    elif len(parameter.shape) == 1:
        _set_bias(network, name, parameter, forget_gate=1)
    elif name == "direct_last_w":
        parameter.set_value(_identities(parameter.shape))
    elif name == "direct_mean_w":
        parameter.set_value(0.5 * _identities(parameter.shape))
    elif name.startswith("relu"):  # [in, out]
        limit = (6 / parameter.shape[0]) ** 0.5
        gain = 1 if network.config.tie_embeddings else RELU_GAIN
        initializer.Uniform(-gain * limit, gain * limit)(parameter)
    else:  # recurrent: [gates, in]
        limit = (6 / (parameter.shape[1] + network.config.lstm_dim)) ** 0.5
        initializer.Uniform(-limit, limit)(parameter)


def _identities(shape):
    """Identity matrices, float32 [parts, in, out]."""
    return np.broadcast_to(np.eye(*shape[1:], dtype=np.float32), shape)


def _set_v0_10(network, name, parameter, is_table):
    if is_table:
        initializer.Normal(0, 0.001)(parameter)
    elif len(parameter.shape) == 1:
        _set_bias(network, name, parameter, forget_gate=0)
    else:
        fan_in = parameter.shape[0 if name.startswith("relu") else 1]  # recurrent: [gates, in]
        initializer.Normal(0, fan_in**-0.5)(parameter)


def _set_bias(network, name, parameter, forget_gate):
    """Zero a bias; other vectors, such as the scale of a norm, stay as their layer made them."""
    if name.endswith("_b") or "bias" in name:
        initializer.Constant(0.0)(parameter)
    gates = np.repeat(np.float32([0, forget_gate, 0, 0]), network.config.lstm_dim)  # i, f, c, o
    if name == "lstm_bias_ih" and parameter.shape == list(gates.shape):
        parameter.set_value(gates)
