"""The exported user tower: its vectors are those of the network, also of a subclass."""

import json
import pickle

from candgen.console import InputError
from candgen.model.model_file import Model
from candgen.serving.simple_lsh import simple_lsh_users
from candgen.serving.user_tower import UserTower, export
from candgen.serving.user_vectors import user_vectors
from conftest import SMALL_DICT, serve_module
from network_conf import DirectModel, DNNmodel

import numpy as np
import pytest
from serving_helpers import encode_lines, random_network

LINES = [
    ("u1", "p1", "c1", ["v1:a:s_t", "new:b:t", "v3:z:q"], "m1"),
    ("new", "p9", "", [], "m9"),
    ("u2", "p1", "c2", ["v4:b:s", "v1:a:t"] * 9, "m1"),
    ("u2", "p1", "", [], "m1"),
]


def exported(folder, network):
    """Export a network over SMALL_DICT; returns a function that loads it."""
    (folder / "small.pkl").write_bytes(pickle.dumps(SMALL_DICT))
    nothing = np.zeros((5, 31), np.float32)
    model = Model(
        "", {"dictionary_fingerprint": "d"}, {"nce_w": nothing}, nothing[:, 0], SMALL_DICT
    )
    export(str(folder), network, DNNmodel, model, str(folder / "small.pkl"))
    return lambda: serve_module().UserTower(str(folder))


def as_requests(lines):
    """Columns of a log of lines."""
    return [
        [user, province, city, ";".join(infos) or "NULL", phone]
        for user, province, city, infos, phone in lines
    ]


class Half(DirectModel):
    """A subclass that calls super()."""

    def hidden_layer(self, embeddings, batch, rng=None):
        return super().hidden_layer(embeddings, batch, rng) * 0.5


@pytest.mark.parametrize("kind", [DNNmodel, DirectModel, Half])
def test_vectors_are_those_of_the_network(tmp_path, kind):
    network = random_network(kind=kind)
    tower = exported(tmp_path, network)()
    expected = simple_lsh_users(user_vectors(network, encode_lines(tmp_path, LINES)))
    np.testing.assert_allclose(tower(as_requests(LINES)), expected, atol=1e-6)


def test_columns_are_those_of_the_export(tmp_path):
    """Those of inputs.json; the five columns of a log if it has none."""
    load = exported(tmp_path, random_network())
    requests = as_requests(LINES)
    expected = load()(requests)
    path = tmp_path / "inputs.json"
    inputs = json.loads(path.read_text())
    columns = inputs.pop("columns")
    path.write_text(json.dumps(inputs))
    np.testing.assert_array_equal(load()(requests), expected)
    path.write_text(json.dumps({**inputs, "columns": ["age", *columns[::-1]]}))
    swapped = [["A1", *request[::-1]] for request in requests]
    np.testing.assert_array_equal(load()(swapped), expected)


@pytest.mark.parametrize("method", ["forward", "look_up", "embedding_layer"])
def test_overridden_methods_are_refused(method):
    """Those for which the tower has its own code."""
    network = random_network()
    UserTower(network, DNNmodel)
    network.__class__ = type("Own", (DNNmodel,), {method: lambda self, *values: None})
    with pytest.raises(
        InputError, match=f"Own has its own {method}; write the same for plain arrays"
    ):
        UserTower(network, DNNmodel)


def test_a_network_that_is_no_static_program(tmp_path):
    """Control flow that depends on values of a batch: one line."""

    class Branches(DNNmodel):
        def hidden_layer(self, embeddings, batch, rng=None):
            users = super().hidden_layer(embeddings, batch, rng)
            return users * float(users.numpy().max())

    with pytest.raises(InputError, match="cannot be written as a static program"):
        exported(tmp_path, random_network(kind=Branches))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.pkl"]
