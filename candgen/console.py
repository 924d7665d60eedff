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
from typing import Any, Callable

MAX_ERROR_LENGTH = 200  # characters of another library's message that are printed
PROGRESS_SECONDS = 0.2  # between two updates of a progress bar
LINE_WIDTH = 79  # of a progress bar


class InputError(Exception):
    """User error: printed as one line on stderr, exit code 2.

    Parameters
    ----------
    path : str or None
        File, flag or other source of the error; None if `problem` names it.
    problem : str
        What is wrong.
    line : int, optional
        Line number in the file.
    hint : str
        How to fix it.
    """

    def __init__(self, path: Any, problem: str, *, line: int | None = None, hint: str):
        if path is None:
            source = ""
        elif line:
            source = f"{path}:{line}: "
        else:
            source = f"{path}: "
        super().__init__(" ".join(f"{source}{problem}; {hint}".split()))
        self.path = path
        self.problem = problem
        self.line = line
        self.hint = hint

    def within(self, source: str) -> InputError:
        """The same error with `source` in front of its path."""
        path = source if self.path is None else f"{source}: {self.path}"
        return InputError(path, self.problem, line=self.line, hint=self.hint)

    def __reduce__(self):
        # By default exceptions are unpickled without their keyword arguments.
        return _input_error, (self.path, self.problem, self.line, self.hint)


def _input_error(path: Any, problem: str, line: int | None, hint: str) -> InputError:
    return InputError(path, problem, line=line, hint=hint)


def describe_error(error: BaseException) -> str:
    """Message of an exception, at most 200 characters; its class name if empty."""
    return (str(error) or type(error).__name__)[:MAX_ERROR_LENGTH]


class _StderrHandler(logging.Handler):
    """Writes `script: message` to the current sys.stderr; clears a progress bar first."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        script = os.path.basename(sys.argv[0])
        with contextlib.suppress(OSError):  # stderr may have been closed
            clear = "\r\033[K" if sys.stderr.isatty() else ""
            print(f"{clear}{script}: {level}{record.getMessage()}", file=sys.stderr, flush=True)


logger = logging.getLogger("candgen")
logger.setLevel(logging.INFO)
logger.propagate = False
logger.addHandler(_StderrHandler())


class Progress(contextlib.AbstractContextManager):
    """Progress bar with the remaining time, on stderr, if that is a terminal.

    Parameters
    ----------
    what : str
        Name of the work.
    total : float or None
        The value of `done` at the end; None if it is unknown: no bar is drawn.
    show : bool
        False to draw no bar.
    """

    def __init__(self, what: str, total: float | None, show: bool = True):
        self._what = what
        self._total = total
        self._started = time.monotonic()
        self._last_update = 0.0
        self._show = bool(show and total and sys.stderr.isatty())

    def at(self, done: float, more: str = "") -> None:
        """Update the bar, at most five times a second; `more` is written at its end."""
        if not self._show or not done:
            return
        now = time.monotonic()
        if now <= self._last_update + PROGRESS_SECONDS:
            return
        self._last_update = now
        remaining = max(self._total - done, 0)
        minutes, seconds = divmod(round((now - self._started) * remaining / done), 60)
        share = done / self._total
        line = f"{self._what[-40:]}: {share:.0%}, {minutes}:{seconds:02} left {more}"
        self._write(f"\r{line[:LINE_WIDTH]}\033[K")

    def __exit__(self, *_: object) -> None:
        if self._last_update:
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # stderr may have been closed
            print(text, end="", file=sys.stderr, flush=True)


def result_stream(stream: Any) -> Any:
    """Text stream for results: UTF-8 whatever the locale, and each write is complete or an OSError.

    With PYTHONUNBUFFERED=1 sys.stdout writes to the file descriptor directly and ignores a short
    write, as it happens on a full disk. A buffered writer writes the rest, or raises.

    Parameters
    ----------
    stream : text stream
        Usually sys.stdout; one that is not a file is returned unchanged.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if isinstance(stream.buffer, io.RawIOBase):
        stream.flush()
        buffer = io.BufferedWriter(stream.buffer)
        # Lines are flushed one by one, which is what PYTHONUNBUFFERED asks for.
        return io.TextIOWrapper(buffer, encoding="utf-8", newline="\n", line_buffering=True)
    stream.reconfigure(encoding="utf-8", newline="\n")
    return stream


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's `main()` and exit with its code; a user error is printed as one line."""
    _open_closed_streams()
    sys.stdout = result_stream(sys.stdout)
    code, message = 2, None
    try:
        result = main() or 0
        sys.stdout.flush()  # before the code is known: results may not have been written
        code = result
    except BrokenPipeError:  # the reader of stdout, such as `head`, has ended
        code = 0
    except KeyboardInterrupt:
        code, message = 128 + signal.SIGINT, "interrupted"
    except Exception as error:
        message = user_error(error)
        if message is None:
            raise
    if message:
        logger.info(f"{message}{_working_directory_note()}")
    for stream in (sys.stdout, sys.stderr):
        _flush_or_discard(stream)
    sys.exit(code)


def _flush_or_discard(stream: Any) -> None:
    """Flush a stream; keep the interpreter from trying it again if that fails, at its exit."""
    try:
        stream.flush()
    except OSError:  # reported already, or nobody is there to read it
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_closed_streams() -> None:
    """Open /dev/null in place of standard streams that the parent process has closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open until the process ends


def _working_directory_note() -> str:
    """A hint for the end of an error message if relative paths lead nowhere."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return (
            "; the working directory has been deleted, which may be the cause: "
            "change to one that exists"
        )
    return ""


def user_error(error: Exception) -> InputError | None:
    """The user error that an exception amounts to; None if it is a bug."""
    if isinstance(error, InputError):
        return error
    if _is_process_limit(error):
        return InputError(
            None,
            "no further process or thread can be started",
            hint=(
                "raise the limit on processes (ulimit -u, or that of the container) or on memory, "
                "or give a smaller --threads"
            ),
        )
    if isinstance(error, OSError):
        source = error.filename or "output"
        return InputError(source, error.strerror or describe_error(error), hint=_os_hint(error))
    if isinstance(error, ModuleNotFoundError):
        return InputError(None, str(error), hint="pip install -r requirements.txt")
    if _is_out_of_memory(error):
        hint = "give a smaller --batch_size or a larger machine"
        return InputError(None, "out of memory", hint=hint)
    return None


def _is_process_limit(error: Exception) -> bool:
    if "can't start new thread" in str(error):  # RuntimeError of threading
        return True
    # By its text: a stream that would have to wait raises EAGAIN with another one.
    return getattr(error, "strerror", "") == os.strerror(errno.EAGAIN)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "ResourceExhausted" in str(error)  # paddle's error


def _os_hint(error: OSError) -> str:
    """How to fix an OSError."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "allow this process more open files: ulimit -n 1024"
    return "check the path, its permissions and the free space"
