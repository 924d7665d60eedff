"""candgen.model.initialization"""

from candgen.data.dictionary import log_frequencies

import numpy as np
from paddle import nn

INITIAL_STD = {"_proj_user_id": 0.01, "nce_w": 0.01}  # 0.1 for the other tables
# Of the ReLU layers' initial weights. What enters them is small; with 1 the units of the user vector begin so near to 0
# that Adam's first steps, of one size whatever the gradient, close a third of them for good. Tied embeddings keep 1:
# their videos start ten times as large as nce_w, so that large users would cost much at first, and be closed for that.
RELU_GAIN = 5


def initialize(network, item_freq, kind="popularity"):
    """Give a network its initial parameters, by paddle's generator.

    popularity : nce_b starts at log(item_freq) and nce_w near 0, so that an untrained network ranks by
        popularity. Tables are normal with the std of INITIAL_STD, weights uniform after Glorot & Bengio 2010
        (recurrent, each gate) and He et al. 2015 (ReLU, times RELU_GAIN), biases 0 but for the LSTM's forget gate's 1
        (Jozefowicz et al. 2015).
    v0.10 : as the example of that paddle had it: tables normal with std 0.001, weights normal with std
        1 / sqrt(first dimension), all biases 0.
    """
    init, old = nn.initializer, kind == "v0.10"
    tables = network.tables()
    for name, parameter in network.named().items():
        if name in tables:
            init.Normal(0, 0.001 if old else INITIAL_STD.get(name, 0.1))(parameter)
        elif len(parameter.shape) == 1:
            if (
                name.endswith("_b") or "bias" in name
            ):  # the scale of a norm, say, stays as its layer made it
                init.Constant(0.0)(parameter)
        elif old:
            fan_in = parameter.shape[
                0 if name.startswith("relu") else 1
            ]  # recurrent weights are [gates, in]
            init.Normal(0, fan_in**-0.5)(parameter)
        elif name.startswith("direct"):
            parameter.set_value(
                np.eye(*parameter.shape, dtype=np.float32) * (0.5 if "mean" in name else 1)
            )
        else:
            relu = name.startswith("relu")
            limit = (
                6 / (parameter.shape[0] if relu else parameter.shape[1] + network.config.lstm_dim)
            ) ** 0.5
            limit *= RELU_GAIN if relu and not network.config.tie_embeddings else 1
            init.Uniform(-limit, limit)(parameter)
        gates = np.repeat(np.array([0, 1, 0, 0], np.float32), network.config.lstm_dim)  # i, f, c, o
        if name == "lstm_bias_ih" and not old and parameter.shape == list(gates.shape):
            parameter.set_value(gates)
    network.nce_b.weight.set_value(
        np.zeros((len(item_freq), 1), np.float32)
        if old
        else log_frequencies(item_freq)[:, None].astype(np.float32)
    )
