"""What networks inherit: tables, names, attributes, dropout, replicas."""

import pickle

import candgen.model.network
import network_conf
from candgen.data.batches import (
    make_batch,
    next_click_windows,
    sequence_segments,
    share_rows,
    sliding_windows,
)
from candgen.data.dictionary import ITEMS, TAGS
from candgen.data.items import ItemAttributes
from candgen.model.layers import to_tensors
from candgen.model.model_file import load_model, save_model
from candgen.serving.user_vectors import user_vectors
from conftest import SMALL_DICT, fresh_names, log_text
from network_conf import DNNmodel
from reader import Reader
from reference import (
    ATTRIBUTES,
    BEST,
    CONFIG,
    FREQ,
    LINES,
    TIED,
    forward,
    random_network,
    reference_log,
    shapes_of,
    trainer_of,
    whole_videos,
)

import numpy as np
import paddle
import pytest


@pytest.fixture
def log(tmp_path):
    return reference_log(tmp_path)


def test_parameters(log):
    """Names and shapes; a network that only infers needs no output layer."""
    for config in (CONFIG, TIED):
        assert {
            name: value.shape for name, value in DNNmodel(config).arrays().items()
        } == shapes_of(config)
    assert DNNmodel(CONFIG, is_infer=True).named().keys() == shapes_of(CONFIG).keys() - {
        "nce_w",
        "nce_b",
    }


def test_attributes_of_a_log(tmp_path):
    """Tags and category of each video, by hand; values that the dictionary lacks are left out."""
    (tmp_path / "log.txt").write_text(log_text(LINES), encoding="utf-8")
    reader = Reader(SMALL_DICT)
    [log] = reader.encode([str(tmp_path / "log.txt")])
    reader.count(log)
    attributes = reader.content(len(SMALL_DICT[ITEMS]), len(SMALL_DICT[TAGS]))
    assert attributes_by_video(attributes) == ATTRIBUTES


def attributes_by_video(attributes):
    offsets = attributes.offsets
    return [attributes.ids[start:end].tolist() for start, end in zip(offsets, offsets[1:])]


def test_videos_without_tags_and_category(log):
    """Their vectors are their own rows; a step with such alone can be resumed with others."""
    segments = sequence_segments(log.lengths, 4)
    rng = np.random.default_rng(0)
    network = random_network(BEST)
    all_attributes = network.attributes
    network.attributes = ItemAttributes(np.zeros(0, np.int64), np.zeros(len(FREQ) + 1, np.int64))
    initial = network.arrays()
    table = f"_proj_{ITEMS}"
    rows = network.look_up({table: np.array([0, 2, 4])})[table].numpy()
    np.testing.assert_array_equal(rows, initial[table][[0, 2, 4]])
    np.testing.assert_array_equal(network.folded()[table], initial[table])
    with fresh_names():
        trainer = trainer_of(network, 2, loss="ranking_nce")
        trainer.step(trainer.prepare(log, segments, rng))
    arrays, rate = trainer.state()
    arrays = {name: np.array(value) for name, value in arrays.items()}  # as a checkpoint has them
    np.testing.assert_array_equal(arrays["content"], initial["content"])
    with fresh_names():
        resumed = trainer_of(random_network(BEST), 2, loss="ranking_nce")
        resumed.restore(arrays, rate)
        resumed.network.attributes = all_attributes
        resumed.step(resumed.prepare(log, segments, rng))
    changed = (resumed.network.arrays()["content"] != initial["content"]).any(1)
    assert changed.nonzero()[0].tolist() == [1, 2, 4, 5]


def test_a_model_is_written_folded(log, tmp_path, monkeypatch):
    """One vector for each video; user vectors and scores are those of table and attributes."""
    monkeypatch.setattr(candgen.model.network, "FOLDED_AT_ONCE", 2)
    network = random_network(BEST)
    save_model(str(tmp_path / "model.tar.gz"), network, FREQ)
    (tmp_path / "feature_dict.pkl").write_bytes(pickle.dumps(SMALL_DICT))
    model = load_model(str(tmp_path / "model.tar.gz"), str(tmp_path / "feature_dict.pkl"))
    unfolded = {name: value.astype(float) for name, value in network.arrays().items()}
    videos = whole_videos(unfolded)[f"_proj_{ITEMS}"]
    assert "content" not in model.parameters and model.metadata["network"] == "DirectModel"
    np.testing.assert_allclose(model.nce_w, videos, rtol=0, atol=1e-5)
    assert np.abs(model.nce_w - unfolded["nce_w"]).max() > 0.1
    loaded = network_conf.load_network(model)
    windows = next_click_windows(log.lengths, 4)
    batch = make_batch(log, windows, with_targets=False)
    distinct = share_rows([batch], loaded.table_ids(training=False))
    users = loaded(loaded.look_up(distinct), to_tensors(batch)).numpy()
    expected = user_vectors(network, log)
    np.testing.assert_allclose(users, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(users @ model.nce_w.T, expected @ videos.T, atol=1e-4)


def test_dropout_is_for_training_only(log):
    segments = sliding_windows(log.lengths, 4)
    network = random_network(CONFIG, dropout=0.5)
    plain = random_network(CONFIG)
    expected = forward(plain, log, segments)
    np.testing.assert_array_equal(forward(network, log, segments), expected)
    np.testing.assert_array_equal(forward(plain, log, segments, np.random.default_rng(0)), expected)
    first, again, other = (
        forward(network, log, segments, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first, expected)

    ones = paddle.ones([400, 500])
    dropped = DNNmodel(CONFIG, dropout=0.25).drop(ones, np.random.default_rng(0)).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0, 4 / 3], rtol=1e-6)
    assert abs(dropped.mean() - 1) < 0.01

    def first_loss(network):
        trainer = trainer_of(network, 2)
        return trainer.step(trainer.prepare(log, segments, np.random.default_rng(0)))

    assert abs(first_loss(network) - first_loss(plain)) > 1e-3


def test_tied_embeddings_are_one_table():
    """In the network; a model file has it under both names."""
    network = random_network(TIED)
    arrays = network.folded()
    np.testing.assert_array_equal(arrays["nce_w"], arrays[f"_proj_{ITEMS}"])
    assert network.named().keys() == shapes_of(TIED).keys() - {"nce_w"}


def test_parameters_of_another_shape_are_refused():
    network = random_network(CONFIG)
    arrays = network.arrays()
    for name, value in arrays.items():
        narrower = value[:, :-1] if value.ndim == 2 else value[:-1]
        for bad in (narrower, value.astype(np.float64)):
            with pytest.raises(ValueError, match=f"{name} is float"):
                network.set_arrays({**arrays, name: bad})
    del arrays["relu1_w"]
    with pytest.raises(ValueError, match="relu1_w"):
        network.set_arrays(arrays)


def test_replicas_share_the_tables():
    """For another thread: the same tables, and a copy of the other layers."""
    network = random_network(CONFIG)
    copy = network.replica()
    assert network.named().keys() == copy.named().keys()
    for name, parameter in network.named().items():
        np.testing.assert_array_equal(parameter.numpy(), copy.named()[name].numpy())
        assert (parameter is copy.named()[name]) == (name in network.tables())
    assert [each.shape for each in network.dense_parameters()] == [
        each.shape for each in copy.dense_parameters()
    ]
