"""Bounded reading of untrusted files, archives of plain arrays, fingerprints."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
import warnings
from collections.abc import Iterator, Mapping
from typing import IO, Any

from candgen.console import InputError, describe_error
from candgen.environment import mapped_bytes
from candgen.files import atomic_write

import numpy as np

METADATA_NAME = "model.json"  # the first member of an archive
SPARE_MEMORY = 1 << 28  # bytes that reading any file may take
MEMORY_PER_BYTE = 64  # further bytes that it may take for each byte of the file


@contextlib.contextmanager
def bounded_read(path: str, hint: str) -> Iterator[IO[bytes]]:
    """File opened for reading bytes; any error within the context becomes an InputError.

    While the file is open the address space of the process is limited to a multiple of the file's
    size, so that a damaged file cannot exhaust the memory: a pickle of 20 bytes can ask for
    gigabytes. The limit needs `resource` and /proc (Linux).

    Parameters
    ----------
    path : str
    hint : str
        How to fix a file that is missing or damaged.
    """
    try:
        with open(path, "rb") as stream, contextlib.ExitStack() as stack:
            stack.enter_context(_limited_memory(os.fstat(stream.fileno()).st_size))
            # numpy and CPython warn about some damaged files.
            stack.enter_context(warnings.catch_warnings())
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            warnings.simplefilter("ignore")
            yield stream
    except InputError:
        raise
    except OSError as error:
        problem = error.strerror or f"damaged ({describe_error(error)})"
        raise InputError(path, problem, hint=hint) from error
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(path, f"damaged ({describe_error(error)})", hint=hint) from error


@contextlib.contextmanager
def _limited_memory(file_size: int) -> Iterator[None]:
    """Limit the address space of this process to what reading a file of this size may take."""
    mapped = mapped_bytes()
    if not mapped:  # unknown on this system
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [mapped + SPARE_MEMORY + MEMORY_PER_BYTE * file_size, soft, hard]
    finite = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(finite), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles containers, strings and numbers, for which no class has to be looked up."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def load_plain_pickle(stream: IO[bytes]) -> Any:
    """Unpickle containers, strings and numbers; UnpicklingError for anything else."""
    return _PlainUnpickler(stream).load()


def fingerprint(*values: Any) -> str:
    """SHA-256, in hexadecimal, of arrays, strings, or lists of numbers or strings."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def write_archive(path: str, metadata: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a gzip tar of model.json and one .npy file per array.

    The same input gives the same bytes. Nothing is compressed (gzip level 0): trained float32
    weights would shrink by some 7% and take 30 times as long to write.

    Parameters
    ----------
    path : str
    metadata : dict
        Content of model.json.
    arrays : dict of str to array
    """
    with (
        atomic_write(path) as file,
        gzip.GzipFile("", "wb", 0, file, mtime=0) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.USTAR_FORMAT) as tar,
    ):
        _add_member(tar, METADATA_NAME, json.dumps(metadata, indent=1).encode())
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, np.ascontiguousarray(array))
            _add_member(tar, f"{name}.npy", content.getbuffer())


def _add_member(tar: tarfile.TarFile, name: str, content: bytes | memoryview) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def read_archive(path: str, hint: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read an archive of `write_archive`.

    Nothing is unpickled, and names of members are never used as paths.

    Parameters
    ----------
    path : str
    hint : str
        How to fix a file that is missing or damaged.

    Returns
    -------
    metadata : dict
        Content of model.json.
    arrays : dict of str to array
        Integers or finite floating-point numbers.

    Raises
    ------
    InputError
        If the file is missing, truncated or damaged.
    """
    metadata = None
    arrays: dict[str, np.ndarray] = {}
    with bounded_read(path, hint) as file, gzip.open(file) as packed:
        with tarfile.open(mode="r:", fileobj=packed) as tar:
            for entry in tar:
                if not entry.isreg() or entry.issparse() or entry.name in arrays:
                    raise InputError(path, f"unexpected member {entry.name[:80]!r}", hint=hint)
                content = io.BytesIO(tar.extractfile(entry).read())
                if metadata is None:
                    if entry.name != METADATA_NAME:
                        break
                    metadata = dict(json.load(content))
                else:
                    arrays[entry.name] = _read_array(content, entry.name)
        if metadata is None:
            raise InputError(path, f"does not begin with {METADATA_NAME}", hint=hint)
        _check_end(packed)
    return metadata, {name.removesuffix(".npy"): array for name, array in arrays.items()}


def _read_array(content: IO[bytes], name: str) -> np.ndarray:
    """Array of a .npy file; ValueError if it does not hold finite numbers."""
    array = np.lib.format.read_array(content, allow_pickle=False)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"{name[:80]} has values that are not finite numbers")
    return array


def _check_end(packed: IO[bytes]) -> None:
    """ValueError if more than padding follows a tar; compares the checksum at the end of a gzip."""
    rest = packed.read(tarfile.RECORDSIZE + 1)
    if len(rest) > tarfile.RECORDSIZE or rest.strip(b"\0"):
        raise ValueError("further data after the archive")
