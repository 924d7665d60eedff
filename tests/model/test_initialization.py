"""Initial parameters, and what follows from them."""

from candgen.console import InputError
from candgen.data.dictionary import ITEMS, TAGS
from candgen.model.initialization import RELU_GAIN, build_network, embedding_dims, initialize
from network_conf import DNNmodel, ModelConfig
from reference import CONFIG, DIMS, FREQ, plain_user_vector

import numpy as np
import paddle
import pytest


def fresh_arrays(config, freq, kind="popularity"):
    paddle.seed(0)
    network = DNNmodel(config)
    initialize(network, freq, kind)
    return network.arrays()


def test_an_untrained_network_ranks_by_popularity():
    freq = np.random.default_rng(0).dirichlet(np.ones(50) * 0.3) + 1e-4
    freq = list(freq / freq.sum())
    p = fresh_arrays(ModelConfig(dict.fromkeys(DIMS, 50), DNNmodel.embedding_dims), freq)
    user = plain_user_vector(p, ([3, 2, 1, 1], [(0, 0, [0]), (4, 2, [1, 2]), (5, 3, [1])], None))
    assert user.any()
    scores = p["nce_w"] @ user + p["nce_b"][0]
    softmax = np.exp(scores[1:]) / np.exp(scores[1:]).sum()
    popularity = np.array(freq[1:]) / sum(freq[1:])
    # random weights of 0.01 shift a probability by some percent: similar videos may change places
    assert np.abs(np.log(softmax / popularity)).max() < 0.3
    for low, high in zip(*np.nonzero(popularity[:, None] * 1.8 < popularity)):
        assert softmax[low] < softmax[high]


def test_initial_values():
    """Spread of tables and weights, biases, the forget gate; and those of the v0.10 example."""
    config = ModelConfig(dict.fromkeys(DIMS, 900), DNNmodel.embedding_dims)
    freq = [1 / 900] * 900
    p = fresh_arrays(config, freq)
    old = fresh_arrays(config, freq, "v0.10")
    for name in p:
        if name.startswith("_proj_") or name == "nce_w":
            small = name in ("_proj_user_id", "nce_w")
            assert np.std(p[name]) == pytest.approx(0.01 if small else 0.1, rel=0.05), name
            assert np.std(old[name]) == pytest.approx(0.001, rel=0.05), name
        elif p[name].ndim == 2 and name != "nce_b":
            fan_in = p[name].shape[name.startswith("lstm")]
            limit = (
                np.sqrt(6 / (fan_in + 64))
                if name.startswith("lstm")
                else RELU_GAIN * np.sqrt(6 / fan_in)
            )
            assert 0.98 * limit < np.abs(p[name]).max() <= limit * (1 + 1e-6), name
            assert np.std(old[name]) == pytest.approx(fan_in**-0.5, rel=0.05), name
    assert p["lstm_bias_ih"].tolist() == [0] * 64 + [1] * 64 + [0] * 128  # gates i, f, c, o
    assert not any(p[name].any() for name in ("lstm_bias_hh", "relu1_b", "relu2_b"))
    assert not any(old[name].any() for name in old if "bias" in name or name.endswith("_b"))


def test_a_norm_keeps_its_scale():
    """Of the layers that a subclass adds, the scale of a norm stays 1."""

    class Normed(DNNmodel):
        def __init__(self, config):
            super().__init__(config)
            self.norm = paddle.nn.LayerNorm(5)

    network = Normed(CONFIG)
    initialize(network, FREQ)
    assert network.norm.weight.numpy().tolist() == [1] * 5 and not network.norm.bias.numpy().any()


def test_embedding_dims():
    """Tied videos are as wide as the user vector; features must be those of the log."""
    assert embedding_dims(DNNmodel, 31, tie_embeddings=False) == DNNmodel.embedding_dims
    assert embedding_dims(DNNmodel, 31, tie_embeddings=True)[ITEMS] == 31
    for dims, what in (({"age": 8}, "has one that the log has not"), ({TAGS: 1 << 20}, "a width")):

        class Other(DNNmodel):
            embedding_dims = {**DNNmodel.embedding_dims, **dims}

        with pytest.raises(InputError, match=what):
            embedding_dims(Other, 31, tie_embeddings=False)


def test_the_seed_decides():
    """build_network: equal seeds, equal parameters."""
    config = ModelConfig(dict.fromkeys(DIMS, 5), DNNmodel.embedding_dims)
    first, again, other = (
        build_network(DNNmodel, config, 0.0, [0.2] * 5, "popularity", seed).arrays()
        for seed in (0, 0, 1)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["relu1_w"], other["relu1_w"])
