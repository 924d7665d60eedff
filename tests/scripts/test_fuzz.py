"""Random logs, pickles and models are read or refused in one line, as in `make fuzz`."""

import gzip
import json
import os
import pickle
import sys
from pathlib import Path
from unittest import mock

import fuzz
from candgen.archives import read_archive, write_archive

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

SEEDS = fuzz.seeds()
plain = fuzz.accepted
# Parts of logs, and of damaged ones
TOKENS = [
    b"\t",
    b"\t",
    b"\t",
    b"\t",
    b";",
    b":",
    b":",
    b"_",
    b"\n",
    b"\n",
    b"a",
    b"b",
    b"NULL",
    b"<unk>",
    b"a:b:a",
    b"a:a:b;b:b:a",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xe5",
    "ü".encode(),
    b"\xef\xbb\xbf",
    b"\x1f\x8b",
    b"\x1f\x8b\x08\x00",
    b" ",
    "\u2028".encode(),
    b"\x0b",
    b"\x1c",
    b"a\tb\tc\ta:b:a\td\n",
]
# Halves of surrogate pairs: a string may hold one, UTF-8 never does.
HALF = st.characters(categories=["Cs"])
TEXT = st.text(st.characters() | HALF, max_size=4)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(TEXT, inner, max_size=3)
    | st.tuples(inner, inner)
    | st.sets(st.integers(), max_size=2)
    | st.builds(bytearray, st.binary()),
    max_leaves=8,
)
IDS = st.lists(TEXT, max_size=3, unique=True).map(
    lambda values: dict(zip(["<unk>", *values], range(9)))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(TEXT | st.sampled_from(fuzz.FEATURES), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    "path", sorted(fuzz.CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_earlier_findings(path):
    fuzz.TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("target", sorted(SEEDS))
def test_seeds(target):
    """Good files are accepted, without which the other tests here would prove nothing."""
    accepted = []
    with mock.patch.object(
        fuzz, "accepted", lambda *call: accepted.append(plain(*call)) or accepted[-1]
    ):
        for content in SEEDS[target]:
            fuzz.TARGETS[target](content)
    assert accepted[0][0]
    assert target not in ("model", "archive") or [good for good, _ in accepted[:2]] == [True, True]


@given(st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join))
@settings(max_examples=1000)
def test_logs(content):
    fuzz.log(content)


@given(
    st.lists(st.sampled_from(TOKENS), max_size=20).map(b"".join),
    st.integers(0, 60),
    st.binary(max_size=9),
)
def test_packed_logs(content, cut, tail):
    fuzz.log(gzip.compress(content)[: -cut or None] + tail)


@pytest.mark.parametrize("target", sorted(SEEDS))
@given(data=st.data())
def test_damaged_files(target, data):
    """A good file in which a piece is replaced."""
    content = data.draw(st.sampled_from(SEEDS[target]))
    start = data.draw(st.integers(0, len(content)))
    lost = data.draw(st.integers(0, 8) | st.integers(0, len(content)))
    fuzz.TARGETS[target](
        content[:start] + data.draw(st.binary(max_size=12)) + content[start + lost :]
    )


@given(PLAIN, st.integers(0, 4))
def test_pickles_of_anything(value, protocol):
    for target in (fuzz.dictionary, fuzz.frequencies):
        target(pickle.dumps(value, protocol))


@given(
    st.fixed_dictionaries(dict.fromkeys(fuzz.FEATURES, IDS)),
    st.sampled_from(fuzz.FEATURES),
    PLAIN | IDS,
)
def test_dictionaries_with_an_unusual_feature(feature_dict, feature, value):
    fuzz.dictionary(pickle.dumps(feature_dict))
    fuzz.dictionary(pickle.dumps({**feature_dict, feature: value}))


@given(st.lists(st.floats() | st.floats(0, 1), min_size=3, max_size=3))
def test_frequencies(freq):
    total = sum(freq)
    fuzz.frequencies(pickle.dumps(freq))
    fuzz.frequencies(pickle.dumps([share / total for share in freq] if total else freq))


@given(st.sampled_from([*fuzz.SMALLEST, "last_click", "dictionary_fingerprint", "surprise"]), JSON)
def test_models_with_an_unusual_setting(name, value):
    config = {**fuzz.SMALLEST, name: value}
    fuzz.archive(fuzz.tar_of("model.json", json.dumps(config).encode()))


ARRAYS = arrays_of.arrays(
    st.sampled_from(["<f4", ">f4", "<f8", "<i8", "?", "<c8", "<f2", "U1", "M8[s]"]),
    arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


@given(st.sampled_from(["nce_w", "nce_b", "item_freq", "relu1_b"]), ARRAYS)
def test_models_with_an_unusual_array(name, array):
    """Any type and shape in place of a parameter."""
    metadata, arrays = read_archive(fuzz.file_of(SEEDS["model"][0]), "")
    path = os.path.join(fuzz.FOLDER.name, "unusual")
    write_archive(path, metadata, {**arrays, name: array})
    fuzz.model(Path(path).read_bytes())


def test_the_fuzzer(tmp_path):
    """The fuzzer itself, where atheris is installed: a thousand inputs."""
    pytest.importorskip("atheris")
    from conftest import run_ok

    run_ok(
        f"{sys.executable} {Path(fuzz.__file__)} log --corpus_dir={tmp_path} -runs=1000", tmp_path
    )
