"""candgen.archives"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
import warnings

from candgen.console import InputError, describe_error
from candgen.environment import mapped_bytes
from candgen.files import atomic_write

import numpy as np

SPARE_MEMORY = 1 << 28  # bytes that reading any file may take


@contextlib.contextmanager
def bounded_read(path, hint):
    """A file for reading bytes, within which whatever goes wrong becomes one `InputError`, a lack of memory too.

    While it is open the process can take some multiple of the file's size more, so that no file fills the machine:
    a pickle of 20 bytes can ask for gigabytes. Works where there are `resource` and /proc (Linux).
    """
    limits = None
    try:
        with open(path, "rb") as stream:
            mapped = mapped_bytes()
            if mapped:
                import resource

                limits = resource.getrlimit(resource.RLIMIT_AS)
                allowed = mapped + SPARE_MEMORY + 64 * os.fstat(stream.fileno()).st_size
                known = [limit for limit in (allowed, *limits) if limit != resource.RLIM_INFINITY]
                resource.setrlimit(resource.RLIMIT_AS, (min(known), limits[1]))
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter(
                    "ignore"
                )  # what numpy and CPython have to say about strange content
                yield stream
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            path, error.strerror or f"damaged ({describe_error(error)})", hint=hint
        ) from error
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(path, f"damaged ({describe_error(error)})", hint=hint) from error
    finally:
        if limits:
            resource.setrlimit(resource.RLIMIT_AS, limits)


class _PlainUnpickler(pickle.Unpickler):
    """Containers, strings and numbers need no lookup of a class: whatever asks for one is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def load_plain_pickle(stream):
    """What a pickle of containers, strings and numbers holds; an error if it asks for anything else."""
    return _PlainUnpickler(stream).load()


def fingerprint(*values):
    """SHA-256, as hex, of arrays or lists of numbers or strings."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def write_archive(path, metadata, arrays):
    """Write a gzip tar of model.json (`told`) and one .npy per array; the same input gives the same bytes.

    Nothing is compressed (level 0): trained float32 weights shrink by some 7% and take 30 times as long to write.
    """

    def members():
        yield "model.json", json.dumps(metadata, indent=1).encode()
        for name, value in arrays.items():
            content = io.BytesIO()
            np.save(content, np.ascontiguousarray(value))
            yield name + ".npy", content.getbuffer()

    with (
        atomic_write(path) as file,
        gzip.GzipFile("", "wb", 0, file, mtime=0) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in members():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def read_archive(path, hint):
    """Read what `write_archive` wrote, without unpickling anything; names are compared, never used as paths.

    Returns
    -------
    told : dict, model.json.    arrays : {name: array of finite numbers}.

    Raises
    ------
    InputError
        For a missing, truncated or damaged file.
    """
    metadata, arrays = None, {}
    with bounded_read(path, hint) as file, gzip.open(file) as packed:
        with tarfile.open(mode="r:", fileobj=packed) as tar:
            for entry in tar:
                if not entry.isreg() or entry.issparse() or entry.name in arrays:
                    raise InputError(path, f"unexpected member {entry.name[:80]!r}", hint=hint)
                content = io.BytesIO(tar.extractfile(entry).read())
                if metadata is None:
                    if entry.name != "model.json":
                        raise InputError(path, "does not begin with model.json", hint=hint)
                    metadata = dict(json.load(content))
                    continue
                array = np.lib.format.read_array(content, allow_pickle=False)
                if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
                    raise InputError(
                        path, f"{entry.name[:80]} has values that are not finite numbers", hint=hint
                    )
                arrays[entry.name] = array
        rest = packed.read(tarfile.RECORDSIZE + 1)  # to the end, where the checksum is compared
        if len(rest) > tarfile.RECORDSIZE or rest.strip(
            b"\0"
        ):  # more than what a tar is filled up with
            raise InputError(path, "something follows the archive", hint=hint)
    if metadata is None:
        raise InputError(path, "does not begin with model.json", hint=hint)
    return metadata, {name.removesuffix(".npy"): array for name, array in arrays.items()}
