"""The file of a model: round trip, format, models of older versions, models that do not fit."""

import io
import json
import pickle
import tarfile

import network_conf
from candgen.console import InputError
from candgen.data.batches import next_click_windows, sliding_windows
from candgen.data.dictionary import ITEMS
from candgen.model.model_file import load_model, save_model
from candgen.serving.user_vectors import user_vectors
from conftest import SMALL_DICT
from network_conf import DNNmodel
from reference import (
    CONFIG,
    FREQ,
    TIED,
    forward,
    plain_instances,
    plain_user_vector,
    random_network,
    reference_log,
    shapes_of,
)

import numpy as np
import pytest


@pytest.fixture
def log(tmp_path):
    return reference_log(tmp_path)


@pytest.fixture(params=[CONFIG, TIED], ids=["", "tied"])
def model(request, tmp_path):
    """(folder with model.tar.gz and its dictionary, the network in it)."""
    network = random_network(request.param)
    save_model(tmp_path / "model.tar.gz", network, FREQ)
    (tmp_path / "feature_dict.pkl").write_bytes(pickle.dumps(SMALL_DICT))
    return tmp_path, network


def load(folder, name="model.tar.gz"):
    """(`Model`, its network), as the scripts that serve have them."""
    model = load_model(str(folder / name), str(folder / "feature_dict.pkl"))
    return model, network_conf.load_network(model)


def members_of(path):
    """{name: bytes} of an archive, read by the standard library alone."""
    with tarfile.open(path, "r:gz") as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def pack(path, members, kind=tarfile.GNU_FORMAT):
    with tarfile.open(path, "w:gz", format=kind) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mtime = 1e9 + 0.5  # pax notes the half second
            tar.addfile(entry, io.BytesIO(content))


def test_round_trip(model, log):
    """Equal parameters, equal user vectors; the same network gives the same bytes."""
    folder, network = model
    loaded, restored = load(folder)
    assert restored.config == network.config and not restored.training
    assert loaded.parameters.keys() == network.arrays().keys()
    for name, value in network.arrays().items():
        np.testing.assert_array_equal(loaded.parameters[name], value)
    np.testing.assert_allclose(loaded.item_freq, FREQ, rtol=1e-6)
    np.testing.assert_array_equal(loaded.scaled_biases(0.5), 0.5 * loaded.nce_b)
    segments = sliding_windows(log.lengths, 4)
    expected = forward(network, log, segments)
    np.testing.assert_array_equal(forward(restored, log, segments), expected)
    again = DNNmodel(network.config)
    again.set_arrays(loaded.parameters)
    save_model(folder / "again.tar.gz", again, loaded.item_freq)
    assert (folder / "again.tar.gz").read_bytes() == (folder / "model.tar.gz").read_bytes()


def test_fingerprints(model):
    """Of the dictionary, and of metadata and parameters: another parameter is another model."""
    folder, network = model
    first = load(folder)[0].fingerprints()
    assert first["feature_dict"] == network.config.dictionary_fingerprint
    network.relu1_b.set_value(network.relu1_b.numpy() + 1)
    save_model(folder / "other.tar.gz", network, FREQ)
    other = load(folder, "other.tar.gz")[0].fingerprints()
    assert first["feature_dict"] == other["feature_dict"] and first["model"] != other["model"]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_other_programs(model, kind):
    folder, network = model
    pack(folder / "again.tar.gz", members_of(folder / "model.tar.gz"), kind)
    assert load(folder, "again.tar.gz")[1].config == network.config


def test_the_format(model):
    """Read by the standard library and numpy alone: JSON first, then a .npy for each parameter."""
    folder, network = model
    members = members_of(folder / "model.tar.gz")
    metadata = json.loads(members.pop("model.json"))
    assert metadata["window_size"] == 4 and metadata["dictionary_sizes"][ITEMS] == 5
    assert metadata["network"] == "DNNmodel"
    arrays = {
        name: np.load(io.BytesIO(content), allow_pickle=False) for name, content in members.items()
    }
    assert {name: value.shape for name, value in arrays.items()} == {
        **{f"{name}.npy": shape for name, shape in shapes_of(network.config).items()},
        "item_freq.npy": (5,),
    }
    np.testing.assert_array_equal(arrays["nce_b.npy"][0], network.nce_b.weight.numpy()[:, 0])


def old_archive(path, config, **metadata):
    """Write a model as an older version did; returns {name: array}."""
    rng = np.random.default_rng(7)
    arrays = {
        name: rng.normal(0, 0.7, shape).astype(np.float32)
        for name, shape in shapes_of(config).items()
    }
    if config.tie_embeddings:
        arrays["nce_w"] = arrays[f"_proj_{ITEMS}"]
    metadata = {
        "format_version": 1,
        "dictionary_sizes": config.dictionary_sizes,
        "dictionary_fingerprint": config.dictionary_fingerprint,
        "window_size": config.window_size,
        "dnn_layer_dims": config.dnn_layer_dims,
        "lstm_dim": config.lstm_dim,
        "embedding_dims": config.embedding_dims,
        "last_click": False,
        "last_state": False,
        "tie_embeddings": config.tie_embeddings,
        **metadata,
    }
    members = {"model.json": json.dumps(metadata, indent=1).encode()}
    for name, value in {**arrays, "item_freq": np.array(FREQ, np.float32)}.items():
        content = io.BytesIO()
        np.save(content, value)
        members[name + ".npy"] = content.getvalue()
    pack(path, members, tarfile.USTAR_FORMAT)
    return arrays


@pytest.mark.parametrize("model", [CONFIG, TIED], indirect=True, ids=["", "tied"])
def test_models_of_an_older_version(model, log):
    folder, network = model
    arrays = old_archive(folder / "old.tar.gz", network.config)
    loaded, restored = load(folder, "old.tar.gz")
    assert restored.config == network.config and type(restored) is DNNmodel
    np.testing.assert_array_equal(loaded.nce_w, arrays["nce_w"])
    segments = next_click_windows(log.lengths, 4)
    exact = {name: value.astype(np.float64) for name, value in arrays.items()}
    expected = [plain_user_vector(exact, instance) for instance in plain_instances(segments)]
    np.testing.assert_allclose(user_vectors(restored, log), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [CONFIG], indirect=True, ids=[""])
@pytest.mark.parametrize(
    "metadata, what",
    [
        ({"last_click": True}, "trained with --last_click, which is gone"),
        ({"last_state": True}, "trained with --last_state, which is gone"),
        ({"network": "Mine"}, "no network is called 'Mine': network_conf.py has "),
        ({"window_size": 0}, "a size that no network has"),
        ({"lstm_dim": 8}, "in place of"),
        ({"lstm_dim": 1 << 40}, "a size that no network has"),
        ({"surprise": 1}, "surprise"),
        ({"dnn_layer_dims": [6, 5, 4]}, "do not fit"),
        ({"embedding_dims": {}}, "do not fit"),
        ({"dictionary_fingerprint": "another"}, "trained with another dictionary"),
        ({"format_version": 2}, "version 1"),
    ],
)
def test_models_that_cannot_be_served(model, metadata, what):
    """One line that names the file and the problem."""
    folder, network = model
    old_archive(folder / "bad.tar.gz", network.config, **metadata)
    with pytest.raises(InputError) as caught:
        load(folder, "bad.tar.gz")
    assert str(caught.value).startswith(str(folder / "bad.tar.gz")) and what in str(caught.value)
    assert "\n" not in str(caught.value)
