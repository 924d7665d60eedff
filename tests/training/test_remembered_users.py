"""Vectors of users by their ids alone: those that they had at the end of the training log."""

import dataclasses

from candgen.data.batches import sliding_windows
from candgen.serving.user_vectors import user_vectors
from candgen.training.remembered_users import remember_users
from conftest import SMALL_DICT, lists_of, log_text, run_ok
from reader import Reader
from reference import BEST, CONFIG, random_network, trainer_of

import numpy as np
import pytest

LINES = [
    ("u1", "p1", "c1", ["v1:a:s_t", "v2:b:t"], "m1"),
    ("u2", "p1", "c1", ["v3:a:s"], "m1"),
    ("", "p1", "c1", ["v2:b:t"], "m1"),
    ("u1", "p1", "c1", ["v4:a:s"], "m1"),
    ("u1", "p1", "c1", [], "m1"),
]


def network_of(config):
    """A network that remembers nothing yet."""
    network = random_network(config)
    table = network.tables()["_proj_user_id"].weight
    table.set_value(np.zeros(table.shape, np.float32))
    return network


def encode(folder):
    """The reader and the `EncodedLog` of LINES."""
    (folder / "log.txt").write_text(log_text(LINES), encoding="utf-8")
    reader = Reader(SMALL_DICT)
    [log] = reader.encode([str(folder / "log.txt")])
    return reader, log


def test_ids_stand_for_histories(tmp_path):
    """Of the last line with a click; ids that the log does not have are like unknown ones."""
    network = network_of(BEST)
    reader, log = encode(tmp_path)
    before = user_vectors(network, reader.encode_users(["u1", "u2", "new"]))
    np.testing.assert_array_equal(before, before[[2, 2, 2]])
    of_histories = user_vectors(network, log)
    remember_users(network, [log])
    by_id = user_vectors(network, reader.encode_users(["u1", "u2", "new"]))
    np.testing.assert_array_equal(by_id[:2], of_histories[[3, 1]])
    np.testing.assert_array_equal(by_id[2], before[2])
    # with a history the id has no influence
    np.testing.assert_array_equal(user_vectors(network, log)[:4], of_histories[:4])


def test_a_window_of_one_click_is_not_empty(tmp_path):
    """It has one position, as that of a user without a click has."""
    network = network_of(dataclasses.replace(BEST, window_size=1))
    _, log = encode(tmp_path)
    of_histories = user_vectors(network, log)
    remember_users(network, [log])
    np.testing.assert_array_equal(user_vectors(network, log), of_histories)


@pytest.mark.parametrize("config", [CONFIG, BEST], ids=["classic", "best"])
def test_training_and_remembering(tmp_path, config):
    """A row is either trained, or remembered and never trained."""
    network = network_of(config)
    _, log = encode(tmp_path)
    trainer = trainer_of(network, threads=1)
    segments = sliding_windows(log.lengths, 4)
    trainer.step(trainer.prepare(log, segments, np.random.default_rng(0)))
    rows = network.tables()["_proj_user_id"].weight
    assert rows.numpy().any() == (config is CONFIG)
    trained = rows.numpy()
    remember_users(network, [log])
    assert np.array_equal(rows.numpy(), trained) == (config is CONFIG)
    assert any("user_id_moment" in name for name in trainer.state()[0]) == (config is CONFIG)


def test_lists_from_ids_are_those_of_the_training_log(best):
    """infer_user.py without a log lists what infer.py lists for the log that was trained on."""
    run = "--model_path=output/best/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"
    by_id = dict(lists_of(run_ok(f"python infer_user.py {run}", best)))
    by_history = dict(lists_of(run_ok(f"python infer.py --infer_set_path=log.txt {run}", best)))
    assert len(by_id) == 300 and by_id.keys() == by_history.keys()
    for user, videos in by_id.items():
        assert [name for name, _ in videos] == [name for name, _ in by_history[user]]
        assert dict(videos) == pytest.approx(dict(by_history[user]), rel=1e-4)
