"""Files of vectors: what is written is read back."""

import json
import os

from candgen.console import InputError
from candgen.model.model_file import Model
from candgen.serving.vector_files import (
    FORMATS,
    read_vectors,
    vector_lines,
    write_vectors,
)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


@given(
    st.sampled_from([1, 9999, 1e9]).flatmap(
        lambda most: arrays(np.float64, (5, 4), elements=st.floats(-most, most))
    )
)
def test_vector_lines(vectors):
    """Twelve decimals, with any separator, and after any name."""
    rows = [line.split(",") for line in vector_lines(vectors, ",").splitlines()]
    np.testing.assert_allclose(np.array(rows, float), vectors, rtol=1e-15, atol=5.1e-13)
    assert all(len(value.partition(".")[2]) == 12 for row in rows for value in row)
    named = vector_lines(vectors, "\t", list("北bcde"))
    assert named == "".join("\t".join([name, *row]) + "\n" for name, row in zip("北bcde", rows))


MODEL = Model(
    "model.tar.gz",
    {"dictionary_fingerprint": "d"},
    {"nce_w": np.ones((4, 2), np.float32), "nce_b": np.zeros((1, 4), np.float32)},
    np.ones(4, np.float32),
    {},
)


def written(path, *ids):
    """The vectors of some blocks of ids, after they have been written."""
    rng = np.random.default_rng(0)
    blocks = [(block, rng.normal(size=(len(block), 4))) for block in ids]
    write_vectors(str(path), MODEL, iter(blocks))
    return np.concatenate([np.zeros((0, 4)), *(vectors for _, vectors in blocks)])


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_written_is_read(tmp_path, suffix):
    """In several blocks; ids may contain what Python takes for an end of line."""
    path = tmp_path / f"vectors{suffix}"
    vectors = written(path, ["a", "b\u2028c"], [], ["北"])
    ids, found = read_vectors(str(path))
    assert ids == ["a", "b\u2028c", "北"]
    np.testing.assert_allclose(found, vectors, atol=5.1e-13)
    metadata = json.loads((tmp_path / f"vectors{suffix}.json").read_text())
    assert metadata == MODEL.fingerprints()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_without_vectors(tmp_path, suffix):
    path = tmp_path / f"vectors{suffix}"
    written(path)
    ids, found = read_vectors(str(path))
    assert ids == [] and len(found) == 0


def test_unknown_formats(tmp_path):
    """An error when a file is written, and when one is read; nothing is written."""
    path = str(tmp_path / "vectors.txt")
    for use in (lambda: written(path, ["a"]), lambda: read_vectors(path)):
        with pytest.raises(InputError, match=r"unknown kind of file; end its name in \.tsv, \.npz"):
            use()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "suffix, id_, what",
    [(".vec", "a b", "an id with a space"), (".npz", "a" * 257, "256 characters")],
)
def test_ids_that_a_format_cannot_hold(tmp_path, suffix, id_, what):
    with pytest.raises(InputError, match=what):
        written(tmp_path / f"vectors{suffix}", ["b", id_])
    assert os.listdir(tmp_path) == []
