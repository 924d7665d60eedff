"""What a process leaves that is killed at any moment: pictures of a folder after each operation."""

import errno
import os
import shutil
import threading

OPERATIONS = (
    "replace",
    "rename",
    "unlink",
    "remove",
    "link",
    "open",
    "mkdir",
    "rmdir",
    "fsync",
)


def fail_at(monkeypatch, function, name):
    """Let a function of `os` fail where it is about to write this path."""
    original = getattr(os, function)

    def failing(*paths, **options):
        if os.path.basename(paths[-1]) == name:
            raise PermissionError(errno.EPERM, "Operation not permitted", *paths)
        return original(*paths, **options)

    monkeypatch.setattr(os, function, failing)


class Kills:
    """Copies a folder after each operation on files: what a kill at that moment would leave.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch, which ends the copying with its context
    folder : Path
    pictures : Path of an existing folder, for the copies

    Attributes
    ----------
    count : int, number of copies
    """

    def __init__(self, monkeypatch, folder, pictures):
        self._folder = folder
        self._pictures = pictures
        self._lock = threading.RLock()
        self._copying = False
        self.count = 0
        for name in OPERATIONS:
            monkeypatch.setattr(os, name, self._followed_by_copy(getattr(os, name)))

    def _followed_by_copy(self, operation):
        def operation_and_copy(*arguments, **options):
            result = operation(*arguments, **options)
            with self._lock:
                if not self._copying and self._folder.exists():
                    self._copying = True  # copying uses such operations itself
                    shutil.copytree(self._folder, self._pictures / f"{self.count:03d}")
                    self._copying = False
                    self.count += 1
            return result

        return operation_and_copy

    def pictures(self):
        """The copies, in order, those that differ from the one before."""
        changed, before = [], None
        for picture in sorted(self._pictures.iterdir()):
            now = {path.name: path.read_bytes() for path in picture.iterdir()}
            if now != before:
                changed.append(picture)
            before = now
        return changed
