"""Curves and vectors for VisualDL."""

import sys

from candgen.archives import read_archive
from candgen.console import InputError
from candgen.data.dictionary import load_feature_dict
from candgen.training.dashboard import Dashboard
from conftest import metrics_of, run_ok, train_command

import numpy as np
import pytest


def test_visualdl(small, tmp_path):
    """Curves of a run, numbers of metrics.jsonl, and vector, name and category of each video."""
    visualdl = pytest.importorskip("visualdl")
    run_ok(train_command(tmp_path / "model", f"--visualdl_dir={tmp_path}/board"), small)
    [file] = (tmp_path / "board").iterdir()
    reader = visualdl.LogReader(file_path=str(file))
    rows = metrics_of(tmp_path / "model")
    for name in ("cost", "recall@10", "live_units", "popularity_ndcg@10"):
        points = reader.get_data("scalar", f"pass/{name.replace('@', '_at_')}")
        assert [point.id for point in points] == [0, 1]
        assert [point.value for point in points] == pytest.approx([row[name] for row in rows])
    rates = [point.value for point in reader.get_data("scalar", "learning_rate")]
    assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(0.002, rel=1e-3)
    [record] = reader.get_data("embeddings", "videos")
    items = record.embeddings.embeddings
    names = load_feature_dict(small / "output" / "feature_dict.pkl")["history_clicked_items"]
    assert [item.label[0] for item in items] == list(names)[1:]
    assert all(item.label[1] == f"C{int(item.label[0][1:]) % 5}" for item in items)
    _, arrays = read_archive(str(tmp_path / "model" / "model_pass_00001.tar.gz"), "")
    np.testing.assert_allclose([item.vectors for item in items], arrays["nce_w"][1:], rtol=1e-6)


def test_no_dashboard(tmp_path):
    """Without a folder nothing is written."""
    dashboard = Dashboard(None)
    dashboard.add_step(0, 1.0, 0.1)
    dashboard.add_pass({"pass": 0})
    dashboard.add_videos({}, np.zeros(0), None)


def test_visualdl_is_not_installed(tmp_path, monkeypatch):
    """One line that says how to install it; train.py creates the dashboard before it trains."""
    monkeypatch.setitem(sys.modules, "visualdl", None)
    with pytest.raises(InputError) as caught:
        Dashboard(str(tmp_path / "board"))
    message = str(caught.value)
    assert message.startswith("--visualdl_dir: no VisualDL (")
    assert message.endswith("); pip install visualdl") and not (tmp_path / "board").exists()
