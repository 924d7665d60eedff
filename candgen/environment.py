"""What numpy and paddle need of the process: environment variables, memory, a home folder.

numpy and paddle read environment variables when they load: import this module before them (`candgen` does).
"""

import atexit
import contextlib
import math
import os
import re
import shutil
import sys
import tempfile
import warnings

from candgen.console import InputError, describe_error

# Threads of a script share its work already: BLAS gets one each.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    # Not set, or to something that is no number of threads: OpenMP warns, or aborts (at 100000, say).
    if not re.fullmatch(r"[1-9]\d{0,2}(,[1-9]\d{0,2})*", os.environ.get(_name, "")):
        os.environ[_name] = "1"
os.environ.setdefault(
    "GLOG_minloglevel", "2"
)  # of paddle's kernels: what is no error is noise to a user
with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as _cpuinfo:
    _flags = _cpuinfo.read()
    if (
        "AuthenticAMD" in _flags
    ):  # MKL takes its slow path there unless told what the processor can do
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7" if "avx512f" in _flags else "5")
warnings.filterwarnings("ignore", message="No ccache found")  # of paddle's import


def mapped_bytes():
    """Bytes of address space that this process has taken; 0 where /proc does not tell."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return 0


def address_space_left():
    """Bytes of address space that this process may still take (`ulimit -v`); infinite: no limit."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, OSError):
        return math.inf
    return math.inf if limit == resource.RLIM_INFINITY else max(0, limit - mapped_bytes())


NUMPY_SPACE = 1 << 27  # bytes of it that numpy takes; with less OpenBLAS ends the process
PADDLE_SPACE = (
    1 << 30
)  # that paddle takes with two threads; with less it aborts, or hangs in OpenMP


def load_numpy():
    """Import numpy; end the process with one line if it cannot be."""
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


def ensure_home(*folders):
    """Set HOME to a temporary folder, removed at exit, unless files can be written to these folders below HOME.

    Libraries write there whatever they are used for. A service account or a container may have no home, a read-only
    or a full one.

    Parameters
    ----------
    *folders : str, relative to HOME; created if missing.

    Raises
    ------
    InputError
        If there is no temporary folder either.
    """
    home = os.path.expanduser(
        "~"
    )  # "~" if HOME is not set and the user is not in the password database
    try:
        if not os.path.isabs(home):
            raise FileNotFoundError(home)
        for folder in folders:
            os.makedirs(os.path.join(home, folder), exist_ok=True)
            with tempfile.TemporaryFile(dir=os.path.join(home, folder)) as probe:
                probe.write(bytes(1 << 16))
    except OSError as error:
        try:
            os.environ["HOME"] = tempfile.mkdtemp(prefix="home-")
        except OSError:
            reason = error.strerror or "not an absolute path"
            raise InputError(
                f"HOME={home}",
                f"{reason}, and there is no temporary folder",
                hint="set TMPDIR or HOME to a folder that can be written",
            ) from error
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)


def launched():
    """(number of processes, rank of this one), from the environment variables of paddle's launcher.

    Those that are empty are removed.

    Raises
    ------
    InputError
        For values that do not belong together, such as those that an earlier job has left behind.
    """
    fix = "unset all PADDLE_ variables, or start with python -m paddle.distributed.launch"
    for name in (
        "PADDLE_TRAINERS_NUM",
        "PADDLE_TRAINER_ID",
        "PADDLE_PG_TIMEOUT",
        "FLAGS_nccl_nrings",
    ):
        if not re.fullmatch("[0-9]{0,9}", os.environ.get(name, "")):
            raise InputError(f"{name}={os.environ[name]}", "not a whole number", hint=fix)
        if not os.environ.get(name):
            os.environ.pop(name, None)  # of an empty one paddle would try to make a number
    world = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
    rank = int(os.environ.get("PADDLE_TRAINER_ID", "0"))
    if rank >= world:
        raise InputError(
            f"PADDLE_TRAINER_ID={rank}",
            f"not below PADDLE_TRAINERS_NUM={world}, the number of processes",
            hint=fix,
        )
    endpoints = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    if world > 1 and (len(endpoints) != world or not os.environ.get("PADDLE_CURRENT_ENDPOINT")):
        raise InputError(
            f"PADDLE_TRAINERS_NUM={world}",
            "PADDLE_TRAINER_ENDPOINTS and "
            "PADDLE_CURRENT_ENDPOINT do not give the addresses of so many processes",
            hint=fix,
        )
    return world, rank


def load_paddle():
    """Import paddle, after a look at what it needs of the process.

    It writes below HOME when it is imported and when a network is exported.

    Raises
    ------
    InputError
        If it cannot be loaded: too little address space, environment variables that it does not understand.
    """
    left = address_space_left()
    if left < PADDLE_SPACE:
        raise InputError(
            "paddle",
            f"it takes {PADDLE_SPACE >> 20} MB of address space, and the "
            f"limit of this process (ulimit -v) leaves {left >> 20}",
            hint="raise the limit",
        )
    ensure_home(".cache/paddle/dataset", ".cache/paddle/to_static_tmp")
    try:
        import paddle
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise InputError(
            "paddle",
            f"it cannot be loaded ({describe_error(error)})",
            hint=(
                "check the limits of the process (ulimit -a) and the environment variables "
                "PADDLE_* and FLAGS_*"
            ),
        ) from error
    paddle.disable_signal_handler()  # its own writes a page to stdout when a process is told to end
