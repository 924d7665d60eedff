"""Output folders: created if missing, locked against other runs, checked before the work begins."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator

from candgen.console import InputError, logger
from candgen.files import naming

# The Linux capability to replace other users' files in a sticky folder, which root usually has.
CAP_FOWNER = 1 << 3


@contextlib.contextmanager
def output_folder(folder: str, replaced: str | None = None) -> Iterator[None]:
    """Create a folder with its parents, and keep other runs from writing there meanwhile.

    The folder itself is locked (flock): no lock file is needed, the lock ends with the process,
    and processes that read are not affected. Created folders that stay empty are removed at the
    end.

    Parameters
    ----------
    folder : str
    replaced : str, optional
        Regular expression: names of the files that this run will replace.

    Raises
    ------
    InputError
        If another run writes there, or if an earlier file cannot be replaced.
    OSError
        If the folder cannot be created or written to.
    """
    created = _missing_folders(folder)
    with naming(folder):
        os.makedirs(folder, exist_ok=True)
    with _locked(folder):
        try:
            _check_writable(folder, replaced)
            yield
        finally:
            for path in created:
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(path)


def _missing_folders(folder: str) -> list[str]:
    """The folders that have to be created, innermost first."""
    missing = []
    path = os.path.abspath(folder)
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        missing.append(path)
        path = os.path.dirname(path)
    return missing


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold the lock of a folder, where the system and the file system have locks."""
    try:
        import fcntl  # Unix only

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # a folder may be writable but not readable
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        hint = "wait until it has ended, or give another folder"
        raise InputError(folder, "another run is writing there", hint=hint) from error
    except OSError as error:  # some network file systems have no locks
        logger.warning(
            f"{folder} cannot be locked ({error.strerror}): make sure that no other run writes "
            "there"
        )
    try:
        yield
    finally:
        os.close(descriptor)  # releases the lock


def _check_writable(folder: str, replaced: str | None) -> None:
    """Check that files can be created in a folder, and those named `replaced` be replaced."""
    with naming(folder):
        tempfile.TemporaryFile(dir=folder).close()
        status = os.stat(folder)
    # In a folder with the sticky bit only the owners of a file and of the folder may replace it.
    if not replaced or not status.st_mode & stat.S_ISVTX or _may_replace_any_file():
        return
    for entry in os.scandir(folder):
        owners = (status.st_uid, entry.stat().st_uid)
        if re.fullmatch(replaced, entry.name) and os.geteuid() not in owners:
            raise InputError(
                entry.path,
                f"{os.strerror(errno.EPERM)}: it belongs to another user, and its folder has the "
                "sticky bit",
                hint="remove it, or give another folder",
            )


def _may_replace_any_file() -> bool:
    """Whether this process may replace other users' files in a sticky folder."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read(), re.MULTILINE)
    except OSError:  # not Linux
        effective = None
    if effective is None:
        return os.geteuid() == 0
    return bool(int(effective[1], 16) & CAP_FOWNER)
