"""candgen.files"""

import contextlib
import glob
import io
import os
import shutil
import stat

from candgen.console import InputError

_unfinished = set()  # temporary files of this process


@contextlib.contextmanager
def atomic_write(path):
    """Binary file that appears at `path` whole or not at all: an `atomic_write_set` of one."""
    with atomic_write_set([path]) as [stream]:
        yield stream


@contextlib.contextmanager
def atomic_write_set(paths, absent=None):
    """Binary files that appear whole, and all together or not at all (temporary files, fsync, rename).

    A symbolic link is written through; what is not a regular file (a pipe, say) is written to directly.
    A file that is replaced passes on its permissions. The temporary files are PATH.PID.tmp; those that
    a killed process has left are removed.

    Parameters
    ----------
    paths : list of str, in the order in which the files are replaced.
    absent : the one of the paths that must never lie beside other files than its own, see `replace_all`.

    Yields
    ------
    list of binary streams, in the order of the paths.
    """
    real_paths = [os.path.realpath(path) for path in paths]
    streams, moves = [], []
    for path, real in zip(paths, real_paths):
        if not os.path.isdir(os.path.dirname(real)):
            raise InputError(
                path,
                "its folder does not exist",
                hint=f"create it: mkdir -p {os.path.dirname(real)}",
            )
        remove_leftovers(real)
    try:
        with contextlib.ExitStack() as opened:
            for path, real in zip(paths, real_paths):
                if os.path.exists(real) and not os.path.isfile(real):
                    with naming(path):
                        streams.append(opened.enter_context(open(real, "wb")))
                    continue
                moves.append((f"{real}.{os.getpid()}.tmp", real, path))
                streams.append(opened.enter_context(_temporary_file(*moves[-1])))
            yield streams
            for path, stream in zip(paths, streams):
                with naming(path):
                    stream.flush()
                    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                        os.fsync(stream.fileno())
        replace_all(moves, absent and os.path.realpath(absent))
    finally:
        for temporary, *_ in moves:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            _unfinished.discard(temporary)


def _temporary_file(temporary, real, path):
    """A new file for the content of `real`, with the permissions of the file there, if there is one."""
    mode = stat.S_IMODE(os.stat(real).st_mode) if os.path.exists(real) else None
    _unfinished.add(temporary)
    with naming(path), contextlib.suppress(FileNotFoundError):
        os.unlink(
            temporary
        )  # of a killed process with the same number: its permissions may be others
    with naming(path):
        raw = _NamedFile(temporary, path, 0o666 if mode is None else mode)
    if mode is not None:
        with contextlib.suppress(OSError):  # file systems without permissions
            os.fchmod(raw.fileno(), mode)  # whatever the umask is
    return io.BufferedWriter(raw)


class _NamedFile(io.FileIO):
    """A file for writing whose errors name the path that the user gave, not that of the temporary file."""

    def __init__(self, temporary, path, mode):
        super().__init__(temporary, "w", opener=lambda name, flags: os.open(name, flags, mode))
        self._path = path

    def write(self, data):
        with naming(self._path):
            return super().write(data)


@contextlib.contextmanager
def naming(path):
    """An OSError within names this path."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def replace_all(moves, absent=None):
    """Rename temporary files to their places: all of them, or none if one of them cannot be.

    Parameters
    ----------
    moves : list of (temporary file, its place, the path to name in an error), in this order.
    absent : one of the places, of the file that tells what the others are. It is removed first, so that
        a process that is killed on the way leaves it missing rather than beside files of another run.
    """
    earlier, replaced = {}, []
    names = {real: path for _, real, path in moves}
    try:
        for _, real, path in moves if len(moves) > 1 else ():
            if os.path.exists(real):
                with naming(path):
                    earlier[real] = _second_name(real)
        if absent in earlier:
            with naming(names[absent]):
                os.unlink(absent)
            replaced.append(absent)
        for temporary, real, path in sorted(moves, key=lambda move: move[1] == absent):
            with naming(path):
                os.replace(temporary, real)
            replaced.append(real)
    except BaseException:
        for real in dict.fromkeys(replaced):
            with contextlib.suppress(OSError):
                if real in earlier:
                    os.replace(earlier[real], real)
                else:
                    os.unlink(real)
        raise
    finally:
        for kept in earlier.values():
            with contextlib.suppress(OSError):
                os.unlink(kept)
            _unfinished.discard(kept)


def _second_name(real):
    """Another name of a file, by which it can be put back; a copy where the file system has no hard links."""
    kept = f"{real}.old.{os.getpid()}.tmp"
    _unfinished.add(kept)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(kept)
    try:
        os.link(real, kept)
    except OSError:
        shutil.copy2(real, kept)
    return kept


def remove_leftovers(real):
    """Remove the temporary files for this path that killed processes have left."""
    for left in glob.glob(glob.escape(real) + ".*.tmp"):
        pid = left.split(".")[-2]
        if pid.isdecimal() and os.path.exists("/proc/self") and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):  # another user's
                os.unlink(left)


def exit_at_once(code):
    """End this process from any of its threads, without leaving temporary files."""
    for temporary in list(_unfinished):
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    os._exit(code)
