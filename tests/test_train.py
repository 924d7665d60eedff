"""Optimisers, schedule, and training on several processes, against paddle's own and plain references."""
import os
import pickle
import signal
import subprocess
import sys
import time

import network_conf
import train
from conftest import run_ok, train_command
from data_processor import load_feature_dict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def paddle():
    return network_conf.load_paddle()


@pytest.mark.parametrize("name", ["adam", "adagrad"])
def test_optimisers_are_those_of_paddle(paddle, name):
    """Twenty steps against paddle's dense ones (its sparse Adam corrects its bias for one step too many)."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(6, 3)).astype(np.float32)
    theirs = paddle.create_parameter([6, 3], "float32")
    theirs.set_value(start)
    if name == "adam":
        optimizer = paddle.optimizer.Adam(0.01, parameters=[theirs])
    else:
        optimizer = paddle.optimizer.Adagrad(0.01, parameters=[theirs], weight_decay=paddle.regularizer.L2Decay(0.1))
    step_of, arrays = train.OPTIMIZERS[name]
    rows, state = start.copy(), [np.zeros_like(start) for _ in range(arrays)]
    for step in range(1, 21):
        gradient = rng.normal(size=rows.shape).astype(np.float32)
        (theirs * paddle.to_tensor(gradient)).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        step_of(rows, gradient, state, 0.01, step, 0.1)
    np.testing.assert_allclose(rows, theirs.numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(rows - start).max() > 0.05


def test_adam_leaves_no_denormal_numbers():
    rows, state = np.ones(4, np.float32), [np.full(4, 1e-38, np.float32), np.full(4, 1e-38, np.float32)]
    for step in range(1, 200):
        train.adam(rows, np.zeros(4, np.float32), state, 0.01, step, 0)
    for array in state:
        assert ((array == 0) | (np.abs(array) >= np.finfo(np.float32).tiny)).all()


def test_the_clock_of_a_pass(monkeypatch):
    """Training alone, before a run was stopped and since; what lies between passes does not count."""
    now = [100.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: now[0])
    checkpoint = object.__new__(train.Checkpoint)
    checkpoint.begin_pass(np.random.default_rng(0))
    now[0] += 50  # evaluating, saving
    checkpoint.start_clock()
    now[0] += 7
    assert checkpoint.seconds() == 7
    checkpoint._before = 30.0  # as a checkpoint has it
    checkpoint.start_clock()
    now[0] += 2
    assert checkpoint.seconds() == 32


def test_cosine_rate():
    assert train.cosine_rate(2.0, 0, 10) == 2.0
    assert train.cosine_rate(2.0, 5, 10) == pytest.approx(1.1)
    assert train.cosine_rate(2.0, 10, 10) == pytest.approx(0.2)


@given(st.lists(st.lists(st.integers(0, 9)), min_size=1, max_size=3), st.integers(0, 9))
def test_sum_gradients(id_lists, seed):
    """Equal to adding dense arrays, ids that come several times included."""
    rng = np.random.default_rng(seed)
    dense, parts = np.zeros((10, 2), np.float32), []
    for ids in id_lists:
        parts.append((np.array(ids, np.int64), rng.normal(size=(len(ids), 2)).astype(np.float32)))
        for id_, row in zip(*parts[-1]):
            dense[id_] += row
    ids, total = network_conf.sum_gradients(parts, np.empty(10, np.int32))
    found = np.zeros_like(dense)
    found[ids] = total
    assert len(set(ids.tolist())) == len(ids)
    np.testing.assert_allclose(found, dense, atol=1e-6)
    assert network_conf.sum_gradients([(None, dense), (None, dense)], None)[0] is None
    np.testing.assert_array_equal(network_conf.sum_gradients([(None, dense), (None, dense)], None)[1], 2 * dense)


@pytest.mark.parametrize("table", [5, 9, 50])
def test_parts_of_a_gradient_are_laid_down_whole(table):
    """Nine rows in two parts, for tables with less room, as much, and more: their sum is what it was."""
    rng = np.random.default_rng(0)
    parts = [(rng.integers(0, 5, rows), rng.normal(size=(rows, 2)).astype(np.float32)) for rows in (4, 5)]
    ids, rows = np.full(table, -1), np.full((table, 2), np.nan, np.float32)
    count = train.lay_down(parts, ids, rows, np.empty(table, np.int32))
    found, expected = np.zeros((2, table, 2))
    np.add.at(found, ids[:count], rows[:count])
    for part_ids, gradient in parts:
        np.add.at(expected, part_ids, gradient)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    dense = np.ones((table, 2), np.float32)
    assert train.lay_down([(None, dense)], ids, rows, None) == table
    np.testing.assert_array_equal(rows, dense)


@pytest.mark.parametrize("flags", ["", "--tie_embeddings --dnn_layer_dims 32 16"])
def test_processes_compute_the_same_update(small, flags):
    """With nothing random in the parts (all noise is one video), one process or three: equal but for rounding."""
    freq = [0.0] * len(load_feature_dict(small / "output" / "feature_dict.pkl")["history_clicked_items"])
    freq[1] = 1.0
    (small / "one.freq").write_bytes(pickle.dumps(freq))
    loaded = []
    for processes in (1, 3):
        run_ok(train_command(f"output/processes{processes}", f"--processes={processes} --user_dropout=0 --num_passes=1 "
                             f"--item_freq=one.freq {flags}"), small)
        path = small / "output" / f"processes{processes}" / "model_pass_00000.tar.gz"
        loaded.append(network_conf.load_model(str(path)))
    start = network_conf.initial_parameters(loaded[0].config, freq, np.random.default_rng(0))
    for name, one in loaded[0].parameters.items():
        moved = np.abs(one - start[name]).mean()
        assert moved > 1e-4, name
        assert np.abs(one - loaded[1].parameters[name]).mean() < 0.01 * moved, name


def test_engines_train_the_same_model(small):
    """Two passes by paddle's own layers and by those in numpy: the same up to rounding."""
    found = []
    for engine in ("numpy", "paddle"):
        output = f"output/engine-{engine}"
        run_ok(train_command(output, f"--engine={engine} --dropout=0.1"), small)
        found.append(network_conf.load_model(str(small / output / "model_pass_00001.tar.gz")).parameters)
    plain = network_conf.load_model(str(small / "output" / "model" / "model_pass_00001.tar.gz")).parameters
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-4, atol=1e-4, err_msg=name)
    assert np.abs(found[0]["relu1_w"] - plain["relu1_w"]).max() > 1e-3  # dropout made another model
    assert not np.array_equal(found[0]["relu1_w"], found[1]["relu1_w"])  # and each engine rounds in its own way


def test_average_of_the_last_passes(small):
    """Three passes: the model after each is the mean of what two runs without averaging would have saved."""
    for name, flags in (("plain", ""), ("mean", "--average_passes=2")):
        run_ok(train_command(f"output/{name}", f"--num_passes=3 {flags}"), small)
    plain, mean = ([network_conf.load_model(str(small / "output" / name / f"model_pass_{number:05d}.tar.gz")).parameters
                    for number in range(3)] for name in ("plain", "mean"))
    for name in plain[0]:
        np.testing.assert_array_equal(mean[0][name], plain[0][name])
        for number in (1, 2):
            expected = (plain[number - 1][name].astype(float) + plain[number][name]) / 2
            np.testing.assert_allclose(mean[number][name], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_no_process_stays_behind(small, kill):
    """When the first process goes, by force or by Ctrl-C, the others go too."""
    command = train_command("output/abandoned", "--processes=3 --num_passes=1000").split()
    process = subprocess.Popen([sys.executable, *command[1:]], cwd=small, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdout.readline()  # a pass is done: all of them run
    children = _children(process.pid)
    assert len(children) == 2
    process.send_signal(kill)
    process.wait()
    assert process.returncode == (-9 if kill == signal.SIGKILL else 130)
    deadline = time.monotonic() + 60
    while any(os.path.isdir(f"/proc/{child}") for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if kill == signal.SIGINT:
        assert process.stderr.read().endswith("train.py: stopped by SIGINT; --resume goes on\n")


def test_a_lost_process_ends_the_run(small):
    command = train_command("output/lost", "--processes=2 --num_passes=1000").split()
    process = subprocess.Popen([sys.executable, *command[1:]], cwd=small, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    [child] = _children(process.pid)
    os.kill(child, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and "one of its processes ended" in errors.splitlines()[-1]


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return [int(child) for child in children.read().split()]
