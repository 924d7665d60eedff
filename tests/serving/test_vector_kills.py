"""Vectors whose writing is killed at any moment."""

import json
import os
from types import SimpleNamespace

from candgen.serving.vector_files import write_vectors

import numpy as np
import pytest
from kills import Kills, fail_at


def test_vectors_that_are_killed_after_any_operation(tmp_path, monkeypatch):
    """The fingerprints beside vectors are never those of another model."""
    folder = tmp_path / "output"
    folder.mkdir()
    path = str(folder / "v.tsv")
    (tmp_path / "pictures").mkdir()

    def write(model):
        saved = SimpleNamespace(fingerprints=lambda: {"model": model}, nce_w=np.zeros((1, 0)))
        write_vectors(path, saved, [(["V1"], np.full((1, 2), len(model), float))])

    write("old")
    with monkeypatch.context() as patched:
        kills = Kills(patched, folder, tmp_path / "pictures")
        write("newer")
    seen = []
    for picture in kills.pictures():
        width = float((picture / "v.tsv").read_text().split("\t")[1])
        beside = picture / "v.tsv.json"
        seen.append((width, beside.exists() and json.loads(beside.read_text())["model"]))
    assert [*dict.fromkeys(seen)] == [(3, "old"), (3, False), (5, False), (5, "newer")]
    assert sorted(os.listdir(folder)) == ["v.tsv", "v.tsv.json"]
    with monkeypatch.context() as patched:
        fail_at(patched, "unlink", "v.tsv.json")
        with pytest.raises(PermissionError) as raised:
            write("old")
    assert raised.value.filename == path + ".json"
    assert json.loads((folder / "v.tsv.json").read_text()) == {"model": "newer"}
    assert (folder / "v.tsv").read_text().startswith("V1\t5.0")
