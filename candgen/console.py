"""User errors and exit codes, messages and progress on stderr, the entry point of a script."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import time

WORKING_DIRECTORY = (
    "the working directory has been deleted, which may be the cause: change to one that exists"
)


class InputError(Exception):
    """User error: printed as one line on stderr, exit code 2.

    Parameters
    ----------
    path : file, flag or other source of the error; None if the message says it.
    problem : what is wrong.
    line : line number in the file.
    hint : how to fix it.
    """

    def __init__(self, path, problem: str, *, line: int | None = None, hint: str):
        where = f"{path}:{line}: " if line else f"{path}: " if path is not None else ""
        super().__init__(" ".join(f"{where}{problem}; {hint}".split()))
        self.path = path
        self.problem = problem
        self.line = line
        self.hint = hint

    def within(self, where: str) -> InputError:
        """The same error with `where` in front of its path."""
        path = where if self.path is None else f"{where}: {self.path}"
        return InputError(path, self.problem, line=self.line, hint=self.hint)

    def __reduce__(self):  # exceptions with keyword arguments are not picklable by themselves
        return _input_error, (self.path, self.problem, self.line, self.hint)


def _input_error(path, problem, line, hint):
    return InputError(path, problem, line=line, hint=hint)


def describe_error(error: BaseException) -> str:
    """Message of an exception, at most 200 characters; its class name if empty."""
    return (str(error) or type(error).__name__)[:200]


class _StderrHandler(logging.Handler):
    """Writes `script: message` to the present stderr; clears a progress bar first."""

    def emit(self, record):
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        script = os.path.basename(sys.argv[0])
        with contextlib.suppress(OSError):  # the terminal is gone
            clear = "\r\033[K" if sys.stderr.isatty() else ""
            print(f"{clear}{script}: {level}{record.getMessage()}", file=sys.stderr, flush=True)


logger = logging.getLogger("candgen")
logger.setLevel(logging.INFO)
logger.propagate = False
logger.addHandler(_StderrHandler())


class Progress(contextlib.AbstractContextManager):
    """How far a long work is, and how long it may still take: a line on stderr if that is a terminal.

    Parameters
    ----------
    what : str, the work.    total : what `at` counts up to; None if nobody knows.    show : False: print nothing.
    """

    def __init__(self, what, total, show=True):
        self._what, self._total, self._started, self._last = what, total, time.monotonic(), 0
        self._show = bool(show and total and sys.stderr.isatty())

    def at(self, done, more=""):
        """So much of `total` is done; told five times a second at most."""
        now = time.monotonic()
        if self._show and done and now > self._last + 0.2:
            left = round((now - self._started) * max(self._total - done, 0) / done)
            line = f"{self._what[-40:]}: {done / self._total:.0%}, {left // 60}:{left % 60:02} left {more}"
            self._write(f"\r{line:.79}\033[K")
            self._last = now

    def __exit__(self, *_):
        if self._last:
            self._write("\r\033[K")

    def _write(self, text):
        with contextlib.suppress(OSError):  # the terminal is gone
            print(text, end="", file=sys.stderr, flush=True)


def result_stream(stream):
    """Text stream for results: UTF-8 whatever the locale is, and each write is complete or an OSError.

    With PYTHONUNBUFFERED=1 sys.stdout writes to the file descriptor directly and ignores a short write, which is what
    a disk that fills up causes. A buffered writer writes the rest, or raises. A stream that is no file is returned as
    it is.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if isinstance(stream.buffer, io.RawIOBase):
        stream.flush()
        buffer = io.BufferedWriter(stream.buffer)
        # flushed after each line, as whoever sets PYTHONUNBUFFERED expects
        return io.TextIOWrapper(buffer, encoding="utf-8", newline="\n", line_buffering=True)
    stream.reconfigure(encoding="utf-8", newline="\n")
    return stream


def run_script(main):
    """Run a script's `main()` and leave with its exit code; what a user can mend becomes one line."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    sys.stdout = result_stream(sys.stdout)
    code, message = 2, None
    try:
        code = main() or 0
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` went away: stop quietly
        code = 0
    except KeyboardInterrupt:
        code, message = 128 + signal.SIGINT, "interrupted"
    except Exception as error:
        message = user_error(error)
        if message is None:
            raise
    if message:
        logger.info(message if _working_directory_exists() else f"{message}; {WORKING_DIRECTORY}")
    try:
        sys.stdout.flush()
    except OSError:  # told already: keep the interpreter from trying again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def user_error(error):
    """The `InputError` that an exception means to the user; None if it is a fault of the program."""
    if isinstance(error, InputError):
        return error
    if "can't start new thread" in str(error) or getattr(error, "strerror", "") == os.strerror(
        errno.EAGAIN
    ):
        return InputError(
            None,
            "no further process or thread can be started",
            hint=(
                "raise the limit on processes "
                "(ulimit -u, or that of the container) or on memory, or give a smaller --threads"
            ),
        )
    if isinstance(error, OSError):
        return InputError(
            error.filename or "output", error.strerror or describe_error(error), hint=advice(error)
        )
    if isinstance(error, ModuleNotFoundError):
        return InputError(None, str(error), hint="pip install -r requirements.txt")
    if isinstance(error, MemoryError) or "ResourceExhausted" in str(error):  # paddle's name for it
        return InputError(
            None, "out of memory", hint="give a smaller --batch_size or a larger machine"
        )
    return None


def _working_directory_exists():
    """Whether relative paths can be found; the directory may have been deleted since it was entered."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def advice(error):
    """How a user may do something about an OSError."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "allow this process more open files: ulimit -n 1024"
    return "check the path, its rights and the free space"
