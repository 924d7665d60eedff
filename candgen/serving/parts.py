"""Lists in files part-00000, part-00001, ..., which a second start continues.

Imports no paddle.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Sequence

from candgen.archives import bounded_read
from candgen.console import InputError, logger
from candgen.data.log_files import log_files
from candgen.files import atomic_write
from candgen.model.model_file import Model
from candgen.serving.blocks import USER_BLOCK

RUN_FILE = "run.json"  # describes the run whose parts are in the folder
PART_PATTERN = r"part-\d+"
FILE_PATTERN = rf"run\.json|{PART_PATTERN}"  # names of all files in the folder


def files_of(inputs: Sequence[str | list[str] | None]) -> list[str]:
    """The files at some paths, or lists of paths; None for an input that is not given."""
    return [file for paths in inputs if paths for file in log_files(paths)]


def can_be_read_again(file: str) -> bool:
    """Whether a file, which may be missing, is neither standard input nor a pipe."""
    return file != "-" and (os.path.isfile(file) or not os.path.exists(file))


def largest_batch(batch_size: int, part_users: int) -> int:
    """Largest batch of whole blocks, of at most `batch_size` users, that divides a part.

    Both numbers are multiples of USER_BLOCK.
    """
    sizes = range(batch_size, 0, -USER_BLOCK)
    return next(size for size in sizes if part_users % size == 0)


def describe_run(
    model: Model, settings: dict, part_users: int, inputs: Sequence[str | list[str] | None]
) -> dict:
    """What the content of the parts depends on, as run.json has it.

    Files are identified by size and time of change, so that they may be moved. --batch_size does
    not change the lists and is left out.

    Parameters
    ----------
    model : Model
    settings : {flag: value} of the flags that shape the lists.
    part_users : users in a part.
    inputs : as in `files_of`.
    """
    stats = [os.stat(file) for file in files_of(inputs)]
    return {
        **model.fingerprints(),
        "settings": settings,
        "part_users": part_users,
        "given": [bool(paths) for paths in inputs],
        "files": [[stat.st_size, stat.st_mtime_ns] for stat in stats],
    }


class PartWriter(contextlib.AbstractContextManager):
    """Writes lists to the parts that are missing in a folder; each appears whole or not at all.

    Parameters
    ----------
    folder : str
    run : dict
        From `describe_run`.
    header : str
        What each part begins with.

    Raises
    ------
    InputError
        If the folder has parts of another run.
    """

    def __init__(self, folder: str, run: dict, header: str = ""):
        self._finished = {name for name in os.listdir(folder) if re.fullmatch(PART_PATTERN, name)}
        path = os.path.join(folder, RUN_FILE)
        hint = "give another --output_dir"
        earlier = None
        if os.path.exists(path):
            with bounded_read(path, hint) as stream:
                earlier = json.load(stream)
        if self._finished and earlier != run:
            raise InputError(
                folder,
                "has parts of another model, of other settings or of other users or files",
                hint=hint,
            )
        if self._finished:
            logger.info(f"{folder}: {len(self._finished)} parts are there already")
        self._run = run
        self._folder = folder
        self._header = header
        self._part_users = run["part_users"]
        self._name = None  # of the part that is being written
        self._stream = None
        self._open_file = contextlib.ExitStack()

    def is_finished(self, user: int) -> bool:
        """Whether an earlier run has written the part of the user with this number."""
        return self._part_name(user) in self._finished

    def write(self, user: int, text: str) -> None:
        """Append the lists of a batch to its part.

        Parameters
        ----------
        user : number of the first user of the batch; the batches have to come in order.
        text : str
        """
        name = self._part_name(user)
        if name != self._name:
            self._complete()
            path = os.path.join(self._folder, name)
            self._stream = self._open_file.enter_context(atomic_write(path))
            self._stream.write(self._header.encode())
            self._name = name
        self._stream.write(text.encode())

    def __exit__(self, *error):
        if error == (None, None, None):
            self._complete()
        return self._open_file.__exit__(*error)  # removes an unfinished part if there is an error

    def _complete(self):
        """Complete the part that is being written, if any; before the first one, write run.json."""
        if self._name and not self._finished:
            with atomic_write(os.path.join(self._folder, RUN_FILE)) as stream:
                stream.write(json.dumps(self._run).encode())
        if self._name:
            self._open_file.close()
            self._finished.add(self._name)
            self._name = None

    def _part_name(self, user):
        return f"part-{user // self._part_users:05d}"


class StdoutWriter(contextlib.AbstractContextManager):
    """Writes lists to stdout, with the methods of `PartWriter`.

    Parameters
    ----------
    header : str
        What is printed before the lists, also if there are none.
    """

    def __init__(self, header: str = ""):
        self._header = header

    def is_finished(self, user: int) -> bool:
        """No list has been written before."""
        return False

    def write(self, user: int, text: str) -> None:
        """Print the lists of a batch."""
        sys.stdout.write(self._header + text)
        self._header = ""

    def __exit__(self, *error):
        if error == (None, None, None):
            sys.stdout.write(self._header)
