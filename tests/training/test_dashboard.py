"""TODO"""

import json
import math
import os
import pickle
import pty
import re
from candgen.archives import read_archive
from candgen.data.dictionary import load_feature_dict
from conftest import (
    COMMANDS,
    MODEL,
    clicked,
    lists_of,
    metrics_of_ranks,
    run,
    run_ok,
    small_log,
    train_command,
    without_last_clicks,
)
import numpy as np
import pytest


def metrics_of(folder):
    """Rows of a metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def videos_of(folder):
    """Videos in the order of the dictionary."""
    return list(load_feature_dict(folder / "output" / "feature_dict.pkl")["history_clicked_items"])[
        1:
    ]


def test_visualdl(small, tmp_path):
    """VisualDL finds the curves of a run, the numbers of metrics.jsonl, and vector, name and category of each video."""
    visualdl = pytest.importorskip("visualdl")
    run_ok(train_command(tmp_path / "model", f"--visualdl_dir={tmp_path}/board"), small)
    [file] = (tmp_path / "board").iterdir()
    reader, passes = visualdl.LogReader(file_path=str(file)), metrics_of(tmp_path / "model")
    for name in ("cost", "recall@10", "live_units", "popularity_ndcg@10"):
        points = reader.get_data("scalar", f"pass/{name.replace('@', '_at_')}")
        assert [(point.id, pytest.approx(point.value, rel=1e-6)) for point in points] == [
            (number, row[name]) for number, row in enumerate(passes)
        ], name
    rates = [point.value for point in reader.get_data("scalar", "learning_rate")]
    assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(0.002, rel=1e-3)
    [record] = reader.get_data("embeddings", "videos")
    found = record.embeddings.embeddings
    assert [item.label[0] for item in found] == videos_of(small)
    assert all(item.label[1] == f"C{int(item.label[0][1:]) % 5}" for item in found)
    nce_w = read_archive(str(tmp_path / "model" / "model_pass_00001.tar.gz"), "")[1]["nce_w"]
    np.testing.assert_allclose([item.vectors for item in found], nce_w[1:], rtol=1e-6)


def test_without_visualdl(small, tmp_path):
    """Whoever asks for it and has not installed it is told how in one line, before anything is trained."""
    (tmp_path / "visualdl.py").write_text("raise ImportError('not here')")
    result = run(
        train_command(tmp_path / "model", f"--visualdl_dir={tmp_path}/board"),
        small,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        "train.py: --visualdl_dir: no VisualDL (not here); pip install visualdl"
    )
