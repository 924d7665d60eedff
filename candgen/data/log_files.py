"""The files of a log: single files, folders of part files, patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, Union

from candgen.console import InputError

NO_FILES_HINT = "give a folder, or a pattern, of part files"

Paths = Union[str, os.PathLike, Sequence[str]]


def log_files(paths: Paths) -> list[str]:
    """Files of a log, in order.

    Parameters
    ----------
    paths : str or sequence of str
        Each a file, `-` for standard input, a folder of part files, or a glob pattern. In a folder,
        also in one that a pattern matches, files whose names begin with `_` or `.` are ignored, as
        Hadoop and Spark do; the others are sorted by name. `**` in a pattern matches folders of any
        depth; such a pattern matches files only.

    Raises
    ------
    InputError
        If a folder or a pattern has no files, a folder cannot be read, a match is not a regular
        file, or a file is given twice.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    files = [file for path in paths for file in _files_at(path)]
    seen = set()
    for file in files:
        real = file if file == "-" else os.path.realpath(file)
        if real in seen:
            hint = "give each file once, and patterns that do not overlap"
            raise InputError(file, "given twice", hint=hint)
        seen.add(real)
    return files


def log_name(paths: Paths) -> str:
    """Name of a log in messages."""
    return str(paths) if isinstance(paths, (str, os.PathLike)) else " ".join(paths)


def real_files(paths: Paths) -> set[str]:
    """Files of a log, symbolic links resolved; standard input is none."""
    return {os.path.realpath(file) for file in log_files(paths) if file != "-"}


def _files_at(path: str) -> list[str]:
    """Files of one path: itself, those of a folder, those that a pattern matches."""
    if os.path.isdir(path):
        return _files_in(path)
    if path == "-" or os.path.exists(path) or not glob.has_magic(path):
        return [path]
    files = []
    for match in _matches(path):
        if os.path.isdir(match):
            files += _files_in(match)
        else:
            files.append(_part_file(match))
    if not files:
        raise InputError(path, "no file there", hint=NO_FILES_HINT)
    return files


def _files_in(folder: str) -> list[str]:
    """Part files of a folder, by name."""
    try:
        names = sorted(name for name in os.listdir(folder) if not _is_hidden(name))
    except OSError as error:
        raise InputError(folder, error.strerror, hint="give a folder that can be read") from error
    if not names:
        raise InputError(folder, "no file there", hint=NO_FILES_HINT)
    return [_part_file(os.path.join(folder, name)) for name in names]


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _part_file(path: str) -> str:
    """`path`; InputError for a folder, or a pipe, from which a read might never return."""
    if os.path.isdir(path):
        pattern = os.path.join(os.path.dirname(path), "**")
        raise InputError(
            path,
            "a folder among part files",
            hint=f"move it away, or give a pattern for files at any depth: '{pattern}'",
        )
    if os.path.exists(path) and not os.path.isfile(path):
        hint = "move it away, or give the files by their names"
        raise InputError(path, "not a regular file", hint=hint)
    return path


def _matches(pattern: str) -> list[str]:
    """Sorted paths that match a pattern, without hidden ones unless the pattern spells them out."""
    spelled_out = {*pattern.split(os.sep), os.curdir}

    def is_hidden(path: str) -> bool:
        return any(_is_hidden(name) for name in path.split(os.sep) if name not in spelled_out)

    matches = {path for path in _glob(pattern, is_hidden) if not is_hidden(path)}
    if "**" in spelled_out:
        matches = {path for path in matches if not os.path.isdir(path)}
    return sorted(matches)


def _glob(pattern: str, is_hidden: Callable[[str], bool]) -> list[str]:
    """Like glob.glob, but raises InputError for folders that cannot be read, which glob ignores.

    A folder that exists is not treated as a pattern, even if its name has brackets.
    """
    folder, name = os.path.split(pattern)
    folders = [folder]
    if glob.has_magic(folder) and not os.path.isdir(folder):
        folders = [path for path in _glob(folder, is_hidden) if not is_hidden(path)]
    matches: list[str] = []
    for path in folders:
        try:
            os.stat(os.path.join(path, os.curdir))  # fails if the folder cannot be entered
            if glob.has_magic(name):
                os.scandir(path or os.curdir).close()  # fails if it cannot be listed
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            _raise_unreadable(error)
        if name == "**":
            matches += _walk(path, is_hidden)
        else:
            matches += glob.glob(os.path.join(glob.escape(path), name))
    return matches


def _walk(top: str, is_hidden: Callable[[str], bool]) -> Iterator[str]:
    """Yield a folder and everything below it; each folder once, also where links form a cycle."""
    seen = set()
    walk = os.walk(top or os.curdir, onerror=_raise_unreadable, followlinks=True)
    for folder, subfolders, files in walk:
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        yield folder
        yield from (os.path.join(folder, name) for name in files)


def _raise_unreadable(error: OSError) -> NoReturn:
    """Raise the InputError for a folder whose files would be missing from the log."""
    hint = "make it readable, or give a pattern that leaves it out"
    raise InputError(error.filename, error.strerror, hint=hint) from error
