"""Files of user and video vectors. Imports no paddle.

`FORMATS` declares the formats: the choices of --output_path, writing and reading follow.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

from candgen.archives import bounded_read
from candgen.console import InputError
from candgen.files import atomic_write_set
from candgen.model.model_file import Model

import numpy as np

MAX_NPZ_ID = 256  # characters: in an array each id takes as much memory as the longest one

Block = tuple[Sequence[str], np.ndarray]  # B ids, float64 [B, width]


def vector_lines(vectors: np.ndarray, separator: str, names: Sequence[str] | None = None) -> str:
    """Vectors as lines of text, each after its name if there are names.

    The numbers have twelve decimals: the cosines of the printed vectors then differ from the exact
    ones by about 1e-11, which changes the order of two videos only if their scores agree to so many
    digits.

    Parameters
    ----------
    vectors : float64 [B, width]
    separator : str, between the numbers.
    names : B names
    """
    row_format = separator.join(["%.12f"] * vectors.shape[1]) + "\n"
    lines = [row_format % tuple(row) for row in vectors.tolist()]
    if names is not None:
        lines = [f"{name}{separator}{line}" for name, line in zip(names, lines)]
    return "".join(lines)


def _write_tsv(path: str, stream: BinaryIO, blocks: Iterable[Block], width: int) -> None:
    for ids, vectors in blocks:
        stream.write(vector_lines(vectors, "\t", ids).encode())


def _read_tsv(stream: BinaryIO) -> Block:
    return _parse_lines(stream.read().decode(), "\t")


def _write_npz(path: str, stream: BinaryIO, blocks: Iterable[Block], width: int) -> None:
    ids, vectors = _concatenate(blocks, width)
    if max(map(len, ids), default=0) > MAX_NPZ_ID:
        raise InputError(
            path,
            f"an id of more than {MAX_NPZ_ID} characters, and in a .npz each id takes as much "
            "space as the longest one",
            hint="write a .tsv file",
        )
    np.savez(stream, ids=np.array(ids, str), vectors=vectors)


def _read_npz(stream: BinaryIO) -> Block:
    with np.load(stream, allow_pickle=False) as arrays:
        return arrays["ids"].tolist(), np.asarray(arrays["vectors"], np.float64)


def _write_vec(path: str, stream: BinaryIO, blocks: Iterable[Block], width: int) -> None:
    ids, vectors = _concatenate(blocks, width)
    if any(" " in id_ for id_ in ids):
        raise InputError(
            path,
            "the word2vec format cannot hold an id with a space",
            hint="write a .tsv or .npz file",
        )
    stream.write(f"{len(ids)} {width}\n".encode())
    stream.write(vector_lines(vectors, " ", ids).encode())


def _read_vec(stream: BinaryIO) -> Block:
    _, _, lines = stream.read().decode().partition("\n")  # without the sizes
    return _parse_lines(lines, " ")


def _concatenate(blocks: Iterable[Block], width: int) -> Block:
    """All blocks as one; there may be none."""
    blocks = list(blocks)
    ids = [id_ for block_ids, _ in blocks for id_ in block_ids]
    return ids, np.concatenate([np.zeros((0, width)), *(vectors for _, vectors in blocks)])


def _parse_lines(text: str, separator: str) -> Block:
    """Ids and vectors of lines; ids may contain what `str.splitlines` takes for an end of line."""
    rows = [line.rstrip("\n").split(separator) for line in text.split("\n")[:-1]]
    numbers = [row[1:] for row in rows] or np.zeros((0, 0))
    return [row[0] for row in rows], np.array(numbers, np.float64)


@dataclasses.dataclass(frozen=True)
class VectorFormat:
    """A file format.

    Attributes
    ----------
    description : str, for --help.
    write : function of (path, for error messages; stream; blocks; width of the vectors).
    read : function of a stream that returns all ids and vectors.
    """

    description: str
    write: Callable[[str, BinaryIO, Iterable[Block], int], None]
    read: Callable[[BinaryIO], Block]


FORMATS = {  # by the suffix of the file name
    ".tsv": VectorFormat("id and numbers between tabs", _write_tsv, _read_tsv),
    ".npz": VectorFormat("arrays ids, vectors", _write_npz, _read_npz),
    ".vec": VectorFormat("word2vec text", _write_vec, _read_vec),
}


def vector_format(path: str) -> VectorFormat:
    """The format of a file, by its suffix.

    Raises
    ------
    InputError
        If there is no such format.
    """
    suffix = os.path.splitext(path)[1]
    if suffix not in FORMATS:
        raise InputError(path, "unknown kind of file", hint=f"end its name in {', '.join(FORMATS)}")
    return FORMATS[suffix]


def metadata_path(path: str) -> str:
    """The file beside a file of vectors that has the fingerprints of its dictionary and model."""
    return (os.path.realpath(path) if os.path.islink(path) else path) + ".json"


def write_vectors(path: str | None, model: Model, blocks: Iterable[Block]) -> None:
    """Write vectors to a file with ids, or, without ids, to stdout.

    Beside the file, FILE.json has the fingerprints of dictionary and model, which are equal for
    users and videos that belong together. Both files appear together or not at all.

    Parameters
    ----------
    path : str, whose suffix selects the format; None: lines of numbers to stdout.
    model : Model
    blocks : of ids and float64 [B, u + 2].

    Raises
    ------
    InputError
        If the suffix is unknown, or if the format cannot hold one of the ids.
    """
    if path is None:
        for _, vectors in blocks:
            sys.stdout.write(vector_lines(vectors, ","))
        return
    file_format = vector_format(path)
    beside = metadata_path(path)
    with atomic_write_set([path, beside], manifest=beside) as [stream, metadata]:
        file_format.write(path, stream, blocks, model.nce_w.shape[1] + 2)
        metadata.write(json.dumps(model.fingerprints(), indent=1).encode())


def read_vectors(path: str) -> Block:
    """Ids and vectors, list of str and float64 [L, width], of a file of `write_vectors`.

    Raises
    ------
    InputError
        For any other file.
    """
    read = vector_format(path).read
    hint = "give a file that --output_path of user_vector.py or item_vector.py wrote"
    with bounded_read(path, hint) as stream:
        return read(stream)
