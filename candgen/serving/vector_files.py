"""candgen.serving.vector_files"""

import json
import os
import sys

from candgen.archives import bounded_read
from candgen.console import InputError
from candgen.files import atomic_write_set

import numpy as np

FORMATS = (".tsv", ".npz", ".vec")
MAX_NPZ_ID = 256  # letters: in a .npz each id takes as much place as the longest


def vector_lines(vectors, separator, names=None):
    """Rows of numbers with twelve decimals as lines of text, each after its name if there are names.

    Twelve decimals: the cosines of the printed vectors then differ from the exact ones by about 1e-11, which
    leaves the order as it is unless two scores agree to that many digits.
    """
    line = separator.join(["%.12f"] * vectors.shape[1]) + "\n"
    lines = [line % tuple(row) for row in vectors.tolist()]
    return "".join(
        lines if names is None else map("".join, zip(names, [separator] * len(lines), lines))
    )


def write_vectors(path, model, blocks):
    """Write blocks (ids, float64 [B, width]): lines of numbers to stdout, or with ids to a .tsv, .npz or .vec file.

    Beside a file, FILE.json has the fingerprints of dictionary and model: users and videos belong together if both
    are equal. Both appear together or not at all. `model` is what `load_model` gave. A .npz and a .vec are put together
    in memory.
    """
    if path is None:
        for _, vectors in blocks:
            sys.stdout.write(vector_lines(vectors, ","))
        return
    kind = os.path.splitext(path)[1]
    beside = (os.path.realpath(path) if os.path.islink(path) else path) + ".json"
    with atomic_write_set([path, beside], manifest=beside) as [stream, metadata]:
        if kind == ".tsv":
            for ids, vectors in blocks:
                stream.write(vector_lines(vectors, "\t", ids).encode())
        else:
            _write_whole(path, stream, kind, list(blocks), model.nce_w.shape[1] + 2)
        metadata.write(json.dumps(model.fingerprints(), indent=1).encode())


def _write_whole(path, stream, kind, blocks, width):
    """A .npz, or a .vec, whose first line says how many vectors there are."""
    ids = [id_ for block, _ in blocks for id_ in block]
    vectors = np.concatenate([np.zeros((0, width)), *(block for _, block in blocks)])
    if kind == ".npz":
        if max(map(len, ids), default=0) > MAX_NPZ_ID:
            raise InputError(
                path,
                f"an id of more than {MAX_NPZ_ID} letters, and in a .npz each takes as much "
                "place as the longest",
                hint="write a .tsv file",
            )
        np.savez(stream, ids=np.array(ids, str), vectors=vectors)
        return
    if any(" " in id_ for id_ in ids):
        raise InputError(
            path,
            "the word2vec format cannot hold an id with a space",
            hint="write a .tsv or .npz file",
        )
    stream.write(f"{len(ids)} {width}\n".encode() + vector_lines(vectors, " ", ids).encode())


def read_vectors(path):
    """(ids, float64 [L, width]) of a file that `write_vectors` wrote; InputError for another one."""
    hint = "give a file that --output_path of user_vector.py or item_vector.py wrote"
    with bounded_read(path, hint) as stream:
        if path.endswith(".npz"):
            with np.load(stream, allow_pickle=False) as found:
                return found["ids"].tolist(), np.asarray(found["vectors"], np.float64)
        separator = "\t" if path.endswith(".tsv") else " "
        rows = [
            line.rstrip("\n").split(separator) for line in stream.read().decode().split("\n")[:-1]
        ]
        rows = rows[path.endswith(".vec") :]
        return [row[0] for row in rows], np.array([row[1:] for row in rows], np.float64).reshape(
            len(rows), -1
        )
