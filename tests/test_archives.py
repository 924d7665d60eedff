"""Archives of plain arrays, and reading with limited memory."""

import io
import pickle
import tarfile

from candgen.archives import read_archive, write_archive
from candgen.console import InputError
from candgen.data.dictionary import (
    load_feature_dict,
)
from conftest import (
    SMALL_DICT,
)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

HINT = "give another"


ARRAYS = st.dictionaries(
    st.text(
        st.characters(codec="ascii", categories=["L", "N"]) | st.sampled_from(" _"),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([np.float32, np.float64, np.int64]).flatmap(
        lambda kind: arrays_of.arrays(
            kind,
            arrays_of.array_shapes(max_dims=3, min_side=0, max_side=5),
            elements={"allow_nan": False, "allow_infinity": False} if kind != np.int64 else None,
        )
    ),
    max_size=4,
)


METADATA = st.dictionaries(
    st.text(max_size=5),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=9)
    | st.lists(st.integers(), max_size=3),
    max_size=4,
)


def save(path, content):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return str(path)


@given(METADATA, ARRAYS, st.booleans())
def test_archives_keep_what_is_put_in(tmp_path_factory, metadata, arrays, transposed):
    """Names, types, shapes and bits, whatever the memory layout; equal input, equal bytes."""
    folder = tmp_path_factory.mktemp("archive")
    if transposed:
        arrays = {name: np.asfortranarray(value) for name, value in arrays.items()}
    for name in ("one", "two"):
        write_archive(folder / name, metadata, arrays)
    again, found = read_archive(folder / "one", HINT)
    assert again == metadata and list(found) == list(arrays)
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
        assert found[name].shape == value.shape
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()


def test_archives_of_every_length(tmp_path):
    """A tar is filled up to whole records: its end may fall just before or after the end of one."""
    for count in range(2000, 2700, 7):
        write_archive(tmp_path / "a", {}, {"x": np.arange(count, dtype=np.float32)})
        assert read_archive(tmp_path / "a", HINT)[1]["x"].shape == (count,)


def test_archives_are_read_by_others(tmp_path):
    """A gzip tar of model.json and .npy files, as tar and numpy read them."""
    write_archive(tmp_path / "a.tar.gz", {"b": [1]}, {"nce_w": np.ones((2, 3), np.float32)})
    with tarfile.open(tmp_path / "a.tar.gz", "r:gz") as tar:
        assert tar.getnames() == ["model.json", "nce_w.npy"]
        assert tar.extractfile("model.json").read() == b'{\n "b": [\n  1\n ]\n}'
        np.testing.assert_array_equal(
            np.load(io.BytesIO(tar.extractfile("nce_w.npy").read())), np.ones((2, 3))
        )


def test_reading_gives_the_memory_back(tmp_path):
    """The limit of address space is restored, whether the file was read or refused."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    load_feature_dict(save(tmp_path / "d", SMALL_DICT))
    with pytest.raises(InputError):
        load_feature_dict(save(tmp_path / "d", b"\x80\x04]r\xfe\xff\xff\xff."))
    assert resource.getrlimit(resource.RLIMIT_AS) == before
