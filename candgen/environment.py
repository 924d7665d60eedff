"""What numpy and paddle need of the process: environment variables, memory, a home folder.

numpy and paddle read environment variables when they are loaded: import this module before them
(`candgen` does).
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator

from candgen.console import InputError, describe_error

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
LAUNCHER_NUMBERS = (
    "PADDLE_TRAINERS_NUM",
    "PADDLE_TRAINER_ID",
    "PADDLE_PG_TIMEOUT",
    "FLAGS_nccl_nrings",
)
NUMPY_SPACE = 1 << 27  # bytes of address space for numpy; with less OpenBLAS ends the process
PADDLE_SPACE = 1 << 30  # for paddle with two threads; with less it aborts, or hangs in OpenMP


def _set_library_variables() -> None:
    """Set the environment variables that numpy and paddle read when they are loaded."""
    # The scripts have threads of their own: one thread for BLAS in each. Values that are not
    # numbers of threads are replaced: OpenMP warns of them, or aborts (of 100000, for example).
    for name in THREAD_VARIABLES:
        if not re.fullmatch(r"[1-9]\d{0,2}(,[1-9]\d{0,2})*", os.environ.get(name, "")):
            os.environ[name] = "1"
    # Messages of paddle's kernels that are not errors.
    os.environ.setdefault("GLOG_minloglevel", "2")
    # MKL takes a slow path on AMD processors unless it is given the instructions that they have.
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as stream:
        cpuinfo = stream.read()
        if "AuthenticAMD" in cpuinfo:
            os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7" if "avx512f" in cpuinfo else "5")
    warnings.filterwarnings("ignore", message="No ccache found")  # when paddle is imported


_set_library_variables()


def mapped_bytes() -> int:
    """Bytes of address space that this process uses; 0 where they are unknown (no /proc)."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return 0


def address_space_left() -> float:
    """Bytes of address space that this process may still use (`ulimit -v`); inf without a limit."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, OSError):
        return math.inf
    return math.inf if limit == resource.RLIM_INFINITY else max(0, limit - mapped_bytes())


def load_numpy() -> None:
    """Import numpy; end the process with one line if it cannot be imported."""
    try:
        if address_space_left() < NUMPY_SPACE:
            raise MemoryError("the limit of memory, ulimit -v, is too low")
        import numpy  # noqa: F401
    except (ImportError, MemoryError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        print(
            f"{os.path.basename(sys.argv[0])}: numpy cannot be imported: {reason[:200]}; "
            "pip install -r requirements.txt, or raise the limits of the process",
            file=sys.stderr,
        )
        sys.exit(2)


def load_paddle() -> None:
    """Import paddle, after checking what it needs of the process.

    paddle writes files below HOME when it is imported and when a network is exported.

    Raises
    ------
    InputError
        If paddle cannot be loaded: too little address space, or environment variables that it does
        not understand.
    """
    left = address_space_left()
    if left < PADDLE_SPACE:
        raise InputError(
            "paddle",
            f"it takes {PADDLE_SPACE >> 20} MB of address space, and the limit of this process "
            f"(ulimit -v) leaves {left >> 20}",
            hint="raise the limit",
        )
    ensure_home(".cache/paddle/dataset", ".cache/paddle/to_static_tmp")
    try:
        with _deferred_interrupt():
            import paddle
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise InputError(
            "paddle",
            f"it cannot be loaded ({describe_error(error)})",
            hint="check the limits of the process (ulimit -a) and the environment variables "
            "PADDLE_* and FLAGS_*",
        ) from error
    paddle.disable_signal_handler()  # it prints a page to stdout when the process is ended


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait: paddle takes it for a failure to load."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def ensure_home(*folders: str) -> None:
    """Set HOME to a temporary folder, removed at exit, if files cannot be written below HOME.

    A service account or a container may have no home folder, or a read-only or full one.

    Parameters
    ----------
    *folders : str
        Folders, relative to HOME, that must be writable; created if missing.

    Raises
    ------
    InputError
        If no temporary folder can be created either.
    """
    # expanduser returns "~" if HOME is not set and the user is not in the password database.
    home = os.path.expanduser("~")
    try:
        if not os.path.isabs(home):
            raise FileNotFoundError(home)
        for folder in folders:
            _check_folder(os.path.join(home, folder))
    except OSError as error:
        try:
            os.environ["HOME"] = tempfile.mkdtemp(prefix="home-")
        except OSError:
            reason = error.strerror or "not an absolute path"
            raise InputError(
                f"HOME={home}",
                f"{reason}, and there is no temporary folder",
                hint="set TMPDIR or HOME to a folder that can be written to",
            ) from error
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)


def _check_folder(folder: str) -> None:
    """Create a folder if it is missing, and write 64 KB there; OSError if that is not possible."""
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as stream:
        stream.write(bytes(1 << 16))


def launched() -> tuple[int, int]:
    """Number of processes and rank of this one, from the variables of paddle's launcher.

    Empty variables are removed: paddle would try to convert them to numbers.

    Returns
    -------
    world, rank : int

    Raises
    ------
    InputError
        If the values do not belong together, such as those that an earlier job has left.
    """
    hint = "unset all PADDLE_ variables, or start with python -m paddle.distributed.launch"
    for name in LAUNCHER_NUMBERS:
        value = os.environ.get(name, "")
        if not re.fullmatch("[0-9]{0,9}", value):
            raise InputError(f"{name}={value}", "not a whole number", hint=hint)
        if not value:
            os.environ.pop(name, None)
    world = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
    rank = int(os.environ.get("PADDLE_TRAINER_ID", "0"))
    if rank >= world:
        raise InputError(
            f"PADDLE_TRAINER_ID={rank}",
            f"not below PADDLE_TRAINERS_NUM={world}, the number of processes",
            hint=hint,
        )
    endpoints = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    if world > 1 and (len(endpoints) != world or not os.environ.get("PADDLE_CURRENT_ENDPOINT")):
        raise InputError(
            f"PADDLE_TRAINERS_NUM={world}",
            "PADDLE_TRAINER_ENDPOINTS and PADDLE_CURRENT_ENDPOINT do not give the addresses of so "
            "many processes",
            hint=hint,
        )
    return world, rank
