"""candgen.output_folder"""

import contextlib
import errno
import os
import re
import stat
import tempfile

from candgen.console import InputError, logger
from candgen.files import naming

CAP_FOWNER = (
    1 << 3
)  # of Linux: may replace other users' files in a sticky folder, as root usually may


@contextlib.contextmanager
def output_folder(folder, replaced=None):
    """Make a folder, with its parents, and keep other runs from writing there meanwhile.

    The folder itself is locked (flock): nothing is left behind, the lock ends with the process, and
    whoever only reads is not affected. What was made is removed if nothing has been written to it.

    Parameters
    ----------
    folder : str.
    replaced : regular expression, the names of earlier files that must be replaceable; None: none.

    Raises
    ------
    InputError
        If another run writes there, or if the folder or an earlier file there cannot be written.
    """
    missing = []
    parent = os.path.abspath(folder)
    while not os.path.isdir(parent) and os.path.dirname(parent) != parent:
        missing.append(parent)
        parent = os.path.dirname(parent)
    with naming(folder):
        os.makedirs(folder, exist_ok=True)
    with _locked(folder):
        try:
            _check_writable(folder, replaced)
            yield
        finally:
            for made in missing:
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(made)


@contextlib.contextmanager
def _locked(folder):
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (
        ImportError,
        OSError,
    ):  # another system than Unix; a folder that may be written to but not listed
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(
            folder,
            "another run is writing there",
            hint=("wait until it has ended, or give another folder"),
        ) from error
    except OSError as error:  # some network file systems
        logger.warning(
            f"{folder} cannot be locked ({error.strerror}): make sure that no other run writes there"
        )
    try:
        yield
    finally:
        os.close(descriptor)  # and with it the lock


def _check_writable(folder, replaced):
    """Whether files can be made there, and those of these names replaced."""
    with naming(folder):
        tempfile.TemporaryFile(dir=folder).close()
        found = os.stat(folder)
    if not replaced or not found.st_mode & stat.S_ISVTX or _may_replace_all():
        return
    for entry in os.scandir(folder):
        if re.fullmatch(replaced, entry.name) and os.geteuid() not in (
            found.st_uid,
            entry.stat().st_uid,
        ):
            raise InputError(
                entry.path,
                f"{os.strerror(errno.EPERM)}: it belongs to another user, and its "
                "folder has the sticky bit",
                hint="remove it, or give another folder",
            )


def _may_replace_all():
    """Whether this process may replace other users' files in a sticky folder."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read(), re.MULTILINE)
        return bool(int(capabilities[1], 16) & CAP_FOWNER)
    except (OSError, TypeError):  # not Linux
        return os.geteuid() == 0
