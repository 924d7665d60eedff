"""Atomic writing: files that appear complete, and sets of files of which all are replaced or none.

A file is written under a temporary name beside its target (PATH.PID.tmp), flushed to the disk and
renamed. Temporary files that a killed process has left are removed by the next one that writes the
same path.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from candgen.console import InputError

_temporary_files: set[str] = set()  # of this process


@dataclass(frozen=True)
class Replacement:
    """A complete temporary file that is to take the place of another file.

    Attributes
    ----------
    temporary : str
        Path of the temporary file, on the file system of `target`.
    target : str
        Path to rename it to; the file that a symbolic link points to, not the link.
    path : str
        Path that error messages name: `target` as the user gave it.
    """

    temporary: str
    target: str
    path: str


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[IO[bytes]]:
    """Binary file that appears at `path` complete or not at all; see `atomic_write_set`."""
    with atomic_write_set([path]) as [stream]:
        yield stream


@contextlib.contextmanager
def atomic_write_set(
    paths: Sequence[str], manifest: str | None = None, removed: Sequence[str] = ()
) -> Iterator[list[IO[bytes]]]:
    """Binary files that appear complete, and all of them or none.

    Symbolic links are followed. A target that is not a regular file, such as a pipe, is written to
    directly. A file that is replaced passes on its permissions.

    Parameters
    ----------
    paths : sequence of str
        Files to write, in the order in which they are replaced.
    manifest : str, optional
        The one of the paths that describes the others, see `replace_all`.
    removed : sequence of str
        Files of an earlier set that are removed when the others are replaced, if they exist.

    Yields
    ------
    list of binary streams, in the order of `paths`

    Raises
    ------
    InputError
        If the folder of a path does not exist.
    OSError
        If a file cannot be written or replaced; `filename` is the path as given.
    """
    for path in paths:
        _check_folder(path)
        remove_leftovers(os.path.realpath(path))
    replacements: list[Replacement] = []
    streams: list[IO[bytes]] = []
    try:
        with contextlib.ExitStack() as stack:
            for path in paths:
                target = os.path.realpath(path)
                if _is_special(target):
                    stream = _open_special(target, path)
                else:
                    replacement = Replacement(f"{target}.{os.getpid()}.tmp", target, path)
                    replacements.append(replacement)
                    stream = _open_temporary(replacement)
                streams.append(stack.enter_context(stream))
            yield streams
            for path, stream in zip(paths, streams):
                _flush_to_disk(stream, path)
        replace_all(replacements, manifest and os.path.realpath(manifest), removed)
    finally:
        for replacement in replacements:
            _remove_temporary(replacement.temporary)


def _check_folder(path: str) -> None:
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        hint = f"create it: mkdir -p {folder}"
        raise InputError(path, "its folder does not exist", hint=hint)


def _is_special(target: str) -> bool:
    """Whether there is something other than a regular file: a pipe, a device, a folder."""
    return os.path.exists(target) and not os.path.isfile(target)


def _open_special(target: str, path: str) -> IO[bytes]:
    with naming(path):
        return open(target, "wb")


def _open_temporary(replacement: Replacement) -> IO[bytes]:
    """Create the temporary file, with the permissions of the file that it replaces."""
    mode = None
    if os.path.exists(replacement.target):
        mode = stat.S_IMODE(os.stat(replacement.target).st_mode)
    _temporary_files.add(replacement.temporary)
    with naming(replacement.path):
        # A killed process with the same number may have left one, with other permissions.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(replacement.temporary)
        raw = _NamedFile(replacement, 0o666 if mode is None else mode)
    if mode is not None:
        with contextlib.suppress(OSError):  # file systems without permissions
            os.fchmod(raw.fileno(), mode)  # os.open subtracts the umask
    return io.BufferedWriter(raw)


class _NamedFile(io.FileIO):
    """Temporary file whose errors name the path that the user gave."""

    def __init__(self, replacement: Replacement, mode: int):
        def open_with_mode(name: str, flags: int) -> int:
            return os.open(name, flags, mode)

        super().__init__(replacement.temporary, "w", opener=open_with_mode)
        self._path = replacement.path

    def write(self, data: bytes) -> int:
        with naming(self._path):
            return super().write(data)


def _flush_to_disk(stream: IO[bytes], path: str) -> None:
    with naming(path):
        stream.flush()
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            os.fsync(stream.fileno())


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Context in which an OSError names `path`."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def replace_all(
    replacements: Sequence[Replacement], manifest: str | None = None, removed: Sequence[str] = ()
) -> None:
    """Rename temporary files to their targets: all of them, or none if one cannot be renamed.

    Parameters
    ----------
    replacements : sequence of Replacement
        In the order in which they are renamed.
    manifest : str, optional
        The target that describes the others. It is removed first and replaced last, so that a
        process that is killed in between leaves none, rather than one that describes other files.
    removed : sequence of str
        Files that are removed before the first of the others is replaced, if they exist.
    """
    removed = [path for path in removed if os.path.isfile(path)]
    earlier = {}  # {target: another name of the file that was there}
    changed = []  # targets that have been removed or replaced
    in_order = sorted(replacements, key=lambda replacement: replacement.target == manifest)
    try:
        named = {replacement.target: replacement.path for replacement in replacements}
        named.update(zip(removed, removed))
        if len(named) > 1:  # a single rename fails without having changed anything
            for target, path in named.items():
                if os.path.exists(target):
                    with naming(path):
                        earlier[target] = _second_name(target)
        if manifest in earlier:
            with naming(in_order[-1].path):
                os.unlink(manifest)
            changed.append(manifest)
        for path in removed:
            with naming(path):
                os.unlink(path)
            changed.append(path)
        for replacement in in_order:
            with naming(replacement.path):
                os.replace(replacement.temporary, replacement.target)
            changed.append(replacement.target)
    except BaseException:
        for target in dict.fromkeys(changed):  # each once
            _restore(target, earlier.get(target))
        raise
    finally:
        for kept in earlier.values():
            _remove_temporary(kept)


def _second_name(target: str) -> str:
    """Another name of a file, to restore it by; a copy where hard links are not possible."""
    kept = f"{target}.old.{os.getpid()}.tmp"
    _temporary_files.add(kept)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(kept)
    try:
        os.link(target, kept)
    except OSError:
        shutil.copy2(target, kept)
    return kept


def _restore(target: str, earlier: str | None) -> None:
    """Put the earlier file back; remove the new one if there was none."""
    with contextlib.suppress(OSError):
        if earlier is None:
            os.unlink(target)
        else:
            os.replace(earlier, target)


def _remove_temporary(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
    _temporary_files.discard(path)


def remove_leftovers(target: str) -> None:
    """Remove the temporary files for this path that killed processes have left."""
    if not os.path.exists("/proc/self"):  # without /proc, living processes are not known
        return
    for path in glob.glob(glob.escape(target) + ".*.tmp"):
        pid = path.split(".")[-2]
        if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):  # another user's file
                os.unlink(path)


def exit_at_once(code: int) -> None:
    """End this process from any of its threads, without leaving temporary files."""
    for path in list(_temporary_files):
        _remove_temporary(path)
    os._exit(code)
