"""candgen.data.log_files"""

import glob
import os

from candgen.console import InputError

NO_FILES = "give a folder, or a pattern, of part files"


def log_files(paths):
    """Files of a log, in order, from a path or a list of them: a file, `-`, a folder of part files, or a glob pattern.

    Of a folder, and of the folders that a pattern finds, files count whose names begin with neither
    `_` nor `.`, by name: what Hadoop and Spark leave there. `**` in a pattern stands for folders of any
    depth, and finds files only.

    Raises
    ------
    InputError
        For a folder or a pattern without any file, for a folder that cannot be read, for what is found
        there and is no file, and for a file that comes twice.
    """
    files = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        files += _files_at(path)
    seen = set()
    for file in files:
        real = file if file == "-" else os.path.realpath(file)
        if real in seen:
            raise InputError(
                file, "given twice", hint="give each file once, and patterns that do not overlap"
            )
        seen.add(real)
    return files


def _files_at(path):
    """Files of one path: itself, those of a folder, those that a pattern finds."""
    if os.path.isdir(path):
        return _files_in(path)
    if path == "-" or os.path.exists(path) or not glob.has_magic(path):
        return [path]
    files = []
    for found in _matches(path):
        if os.path.isdir(found):
            files += _files_in(found)
        else:
            files.append(_part_file(found))
    if not files:
        raise InputError(path, "no file there", hint=NO_FILES)
    return files


def _files_in(folder):
    """Part files of a folder, by name; InputError if there is none, or if one is no file."""
    try:
        names = sorted(name for name in os.listdir(folder) if name[0] not in "_.")
    except OSError as error:
        raise InputError(folder, error.strerror, hint="give a folder that can be read") from error
    if not names:
        raise InputError(folder, "no file there", hint=NO_FILES)
    return [_part_file(os.path.join(folder, name)) for name in names]


def _part_file(path):
    """`path`; InputError if it is a folder, or a pipe, of which reading might wait for ever."""
    if os.path.isdir(path):
        pattern = os.path.join(os.path.dirname(path), "**")
        raise InputError(
            path,
            "a folder among part files",
            hint=f"move it away, or give a pattern for files at any depth: '{pattern}'",
        )
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(
            path, "not a regular file", hint="move it away, or give the files by their names"
        )
    return path


def _matches(pattern):
    """Sorted paths that a pattern finds, but not names with `_` or `.` in front, unless spelled out."""
    spelled = {*pattern.split(os.sep), os.curdir}

    def hidden(path):
        names = path.split(os.sep)
        return any(name[:1] in ("_", ".") for name in names if name not in spelled)

    found = {path for path in _glob(pattern, hidden) if not hidden(path)}
    if "**" in spelled:
        found = {path for path in found if not os.path.isdir(path)}
    return sorted(found)


def _glob(pattern, hidden):
    """What `glob.glob` finds; InputError for a folder that cannot be read, which glob leaves out.

    A folder that is there is no pattern, whatever brackets its name has.
    """
    folder, name = os.path.split(pattern)
    folders, found = [folder], []
    if glob.has_magic(folder) and not os.path.isdir(folder):
        folders = [path for path in _glob(folder, hidden) if not hidden(path)]
    for path in folders:
        try:
            os.stat(os.path.join(path, os.curdir))  # whether it can be entered
            if glob.has_magic(name):
                os.scandir(path or os.curdir).close()  # whether it can be listed
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(error) from error
        if name == "**":
            found += _below(path, hidden)
        else:
            found += glob.glob(os.path.join(glob.escape(path), name))
    return found


def _below(top, hidden):
    """Yield a folder and all that is in it, at any depth; each folder once, wherever links lead."""

    def stop(error):
        raise _unreadable(error) from error

    seen = set()
    for folder, folders, files in os.walk(top or os.curdir, onerror=stop, followlinks=True):
        folders[:] = [name for name in folders if not hidden(name)]
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        yield folder
        yield from (os.path.join(folder, name) for name in files)


def _unreadable(error):
    """The `InputError` for a folder with whose files a part of a log would be missing."""
    return InputError(
        error.filename,
        error.strerror,
        hint="make it readable, or give a pattern that leaves it out",
    )


def named(paths):
    """What to call a log in a message."""
    return str(paths) if isinstance(paths, (str, os.PathLike)) else " ".join(paths)
