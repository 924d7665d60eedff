"""What every script shares: errors and exit codes, the command line, files, work spread over cores.

Files appear whole or not at all; the dictionary and the frequencies are plain pickles, models are
archives of plain arrays: none of them can run code. Imports no paddle.
"""
import argparse
import atexit
import collections
import contextlib
import errno
import glob
import gzip
import hashlib
import io
import json
import math
import os
import pickle
import re
import shutil
import signal
import stat
import sys
import tarfile
import tempfile
import time
import warnings

# Read by numpy and paddle when they load. Threads of a script share its work already: BLAS gets one each.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    # Not set, or to something that is no number of threads: OpenMP warns, or aborts (at 100000, say).
    if not re.fullmatch(r"[1-9]\d{0,2}(,[1-9]\d{0,2})*", os.environ.get(_name, "")):
        os.environ[_name] = "1"
os.environ.setdefault("GLOG_minloglevel", "2")  # of paddle's kernels: what is no error is noise to a user
with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as _cpuinfo:
    _flags = _cpuinfo.read()
    if "AuthenticAMD" in _flags:  # MKL takes its slow path there unless told what the processor can do
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7" if "avx512f" in _flags else "5")


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
PADDLE_SPACE = 1 << 30  # that paddle takes with two threads; with less it aborts, or hangs in OpenMP

try:
    if address_space_left() < NUMPY_SPACE:
        raise MemoryError("the limit of memory, ulimit -v, is too low")
    import numpy as np
except (ImportError, MemoryError) as _error:
    _reason = " ".join(str(_error.__cause__ or _error).split())
    print(f"{os.path.basename(sys.argv[0])}: numpy cannot be imported: {_reason[:200]}; "
          "pip install -r requirements.txt, or raise the limits of the process", file=sys.stderr)
    sys.exit(2)

LOG_COLUMNS = ("user_id", "province", "city", "history", "phone")
PROFILE_FEATURES = ("user_id", "province", "city", "phone")  # those of the columns that are features
CLICK_FEATURES = ITEMS, CATEGORIES, TAGS = (
    "history_clicked_items", "history_clicked_categories", "history_clicked_tags")
FEATURES = PROFILE_FEATURES + CLICK_FEATURES
UNKNOWN = "<unk>"
NO_VALUE = {"", "NULL", UNKNOWN}  # never in a dictionary: they mean that nothing is known
FINGERPRINTS = "fingerprint.json"  # lies beside feature_dict.pkl and item_freq.pkl and ties them
FORMAT_VERSION = 1  # of a model's archive
MAX_WIDTH = 4096  # of a layer
SPARE_MEMORY = 1 << 28  # bytes that reading any file may take
WORKING_DIRECTORY = "the working directory has been deleted, which may be the cause: change to one that exists"
CAP_FOWNER = 1 << 3  # of Linux: may replace other users' files in a sticky folder, as root usually may


# ---------------------------------------------------------------- errors and exit codes
class InputError(Exception):
    """Something that the user can mend: shown as one line on stderr, exit code 2."""

    def __init__(self, path, line, what, mend):
        where = f"{path}:{line}: " if line else f"{path}: " if path is not None else ""
        super().__init__(" ".join(f"{where}{what}; {mend}".split()))
        self._all = (path, line, what, mend)

    def within(self, where):
        """The same, with a word in front on where it happened."""
        path, *rest = self._all
        return InputError(where if path is None else f"{where}: {path}", *rest)

    def __reduce__(self):  # on its way from one process to another
        return InputError, self._all


def said(error):
    """What an exception says, in 200 letters at most; its name if it says nothing."""
    return (str(error) or type(error).__name__)[:200]


def note(message):
    """A line for people, on stderr, after the script's name; nobody may be there to read it."""
    with contextlib.suppress(OSError):
        clear = "\r\033[K" if sys.stderr.isatty() else ""  # a bar may be there
        print(f"{clear}{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr, flush=True)


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
        note(message if _working_directory_exists() else f"{message}; {WORKING_DIRECTORY}")
    try:
        sys.stdout.flush()
    except OSError:  # told already: keep the interpreter from trying again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def user_error(error):
    """The `InputError` that an exception means to the user; None if it is a fault of the program."""
    if isinstance(error, InputError):
        return error
    if "can't start new thread" in str(error) or getattr(error, "strerror", "") == os.strerror(errno.EAGAIN):
        return InputError(None, None, "no further process or thread can be started", "raise the limit on processes "
                          "(ulimit -u, or that of the container) or on memory, or give a smaller --threads")
    if isinstance(error, OSError):
        return InputError(error.filename or "output", None, error.strerror or said(error),
                          advice(error))
    if isinstance(error, ModuleNotFoundError):
        return InputError(None, None, str(error), "pip install -r requirements.txt")
    if isinstance(error, MemoryError) or "ResourceExhausted" in str(error):  # paddle's name for it
        return InputError(None, None, "out of memory", "give a smaller --batch_size or a larger machine")
    return None


def _working_directory_exists():
    """Whether relative paths can be found; the directory may have been deleted since it was entered."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True
# ---------------------------------------------------------------- the home folder
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
    home = os.path.expanduser("~")  # "~" if HOME is not set and the user is not in the password database
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
            raise InputError(f"HOME={home}", None, f"{reason}, and there is no temporary folder",
                             "set TMPDIR or HOME to a folder that can be written") from error
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)


def advice(error):
    """How a user may do something about an OSError."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "allow this process more open files: ulimit -n 1024"
    return "check the path, its rights and the free space"


# ---------------------------------------------------------------- what paddle needs of the process
def launched():
    """(number of processes, rank of this one), from the environment variables of paddle's launcher.

    Those that are empty are removed.

    Raises
    ------
    InputError
        For values that do not belong together, such as those that an earlier job has left behind.
    """
    fix = "unset all PADDLE_ variables, or start with python -m paddle.distributed.launch"
    for name in ("PADDLE_TRAINERS_NUM", "PADDLE_TRAINER_ID", "PADDLE_PG_TIMEOUT", "FLAGS_nccl_nrings"):
        if not re.fullmatch("[0-9]{0,9}", os.environ.get(name, "")):
            raise InputError(f"{name}={os.environ[name]}", None, "not a whole number", fix)
        if not os.environ.get(name):
            os.environ.pop(name, None)  # of an empty one paddle would try to make a number
    world = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
    rank = int(os.environ.get("PADDLE_TRAINER_ID", "0"))
    if rank >= world:
        raise InputError(f"PADDLE_TRAINER_ID={rank}", None,
                         f"not below PADDLE_TRAINERS_NUM={world}, the number of processes", fix)
    endpoints = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    if world > 1 and (len(endpoints) != world or not os.environ.get("PADDLE_CURRENT_ENDPOINT")):
        raise InputError(f"PADDLE_TRAINERS_NUM={world}", None, "PADDLE_TRAINER_ENDPOINTS and "
                         "PADDLE_CURRENT_ENDPOINT do not give the addresses of so many processes", fix)
    return world, rank


@contextlib.contextmanager
def loading_paddle():
    """Within which paddle is imported: whatever keeps it from being loaded is an `InputError`."""
    left = address_space_left()
    if left < PADDLE_SPACE:
        raise InputError("paddle", None, f"it takes {PADDLE_SPACE >> 20} MB of address space, and the "
                         f"limit of this process (ulimit -v) leaves {left >> 20}", "raise the limit")
    try:
        yield
    except (InputError, ModuleNotFoundError):
        raise
    except Exception as error:
        raise InputError("paddle", None, f"it cannot be loaded ({said(error)})",
                         "check the limits of the process (ulimit -a) and the environment variables "
                         "PADDLE_* and FLAGS_*") from error


# ---------------------------------------------------------------- the command line
class _Parser(argparse.ArgumentParser):
    def error(self, message):  # argparse's own prints the whole usage before the one line that matters
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def argument_parser(doc, **options):
    """Parser whose `--help` opens with a script's docstring and whose errors are one line."""
    return _Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)


def refuse_unused(parser, args, names, why):
    """End with a message if one of these flags was given a value: it would do nothing."""
    for name in names:
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name} {why}")


def number_type(kind, minimum, maximum=math.inf, above=False):
    """argparse type: a finite `kind` (int or float) of at least `minimum` (above it, if `above`)."""
    maximum = min(maximum, 1 << 31) if kind is int else maximum  # what numpy and paddle can hold

    def convert(text):
        value = kind(text)
        inside = minimum < value <= maximum or (value == minimum and not above)  # nan is nowhere
        if not inside or value == math.inf:
            bounds = f"{'above' if above else 'at least'} {minimum}"
            bounds += f" and at most {maximum}" if maximum < math.inf else ""
            raise argparse.ArgumentTypeError(f"{text} is out of range: give {bounds}")
        return value
    convert.__name__ = kind.__name__
    return convert


def list_name(video):
    """A video-id as it stands in lists, which are split at commas: `,` and `%` as %2C and %25."""
    return video.replace("%", "%25").replace(",", "%2C")


def path_type(text):
    """argparse type of every flag that names a file; the shell leaves the `~` of --flag=~/file alone."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path: is a variable of the shell not set?")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise argparse.ArgumentTypeError(f"{text} is a URL: give a local path")
    path = os.path.expanduser(text)
    if path.startswith("~") and not os.path.lexists(path.split(os.sep)[0]):
        raise argparse.ArgumentTypeError(
            f"{text}: no home folder is known: set HOME, or write ./{text} for a name that begins with ~")
    return path


def folder_type(text):
    """argparse type: a folder that is there, or may be made."""
    path = path_type(text)
    if os.path.exists(path) and not os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text} is a file: give a folder")
    return path


PATHS = {"type": path_type, "nargs": "+"}  # of a flag that names one file or several


def add_max_bad_lines(parser):
    """The flag of the scripts that read logs."""
    parser.add_argument("--max_bad_lines", type=number_type(int, 0), default=0, metavar="N",
                        help="leave out up to N malformed lines, each named on stderr, and go on (%(default)s)")


def add_max_user_clicks(parser):
    """The flag of the scripts that count clicks or learn them."""
    parser.add_argument("--max_user_clicks", type=number_type(int, 1), metavar="N",
                        help="only the last N clicks of a user count, over all lines of the user in their order; give "
                        "data_processor.py and train.py the same (default: no limit)")


def add_model_arguments(parser):
    """The flags of every script that opens a model."""
    parser.add_argument("--model_path", type=path_type, required=True, help="a model_pass_*.tar.gz of train.py")
    parser.add_argument("--feature_dict", type=path_type, required=True,
                        help="the feature_dict.pkl it was trained with")


def add_device(parser):
    """The flags of the scripts that run the network."""
    parser.add_argument("--device", help="cpu, gpu, gpu:1, ... (default: a GPU if this paddle has one)")
    parser.add_argument("--threads", type=number_type(int, 1), default=min(2, os.cpu_count() or 1),
                        help="that share the work (%(default)s)")


# ---------------------------------------------------------------- work spread over cores
def ordered_map(pool, work, items, ahead):
    """Yield work(item) of each item, in order, computed by an executor's workers up to `ahead` items early."""
    waiting = collections.deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


# ---------------------------------------------------------------- files: whole or not at all
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
            raise InputError(path, None, "its folder does not exist", f"create it: mkdir -p {os.path.dirname(real)}")
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
        os.unlink(temporary)  # of a killed process with the same number: its permissions may be others
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


# ---------------------------------------------------------------- folders for output
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
    except (ImportError, OSError):  # another system than Unix; a folder that may be written to but not listed
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(folder, None, "another run is writing there", "wait until it has ended, or give another "
                         "folder") from error
    except OSError as error:  # some network file systems
        note(f"warning: {folder} cannot be locked ({error.strerror}): make sure that no other run writes there")
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
        if re.fullmatch(replaced, entry.name) and os.geteuid() not in (found.st_uid, entry.stat().st_uid):
            raise InputError(entry.path, None, f"{os.strerror(errno.EPERM)}: it belongs to another user, and its "
                             "folder has the sticky bit", "remove it, or give another folder")


def _may_replace_all():
    """Whether this process may replace other users' files in a sticky folder."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read(), re.MULTILINE)
        return bool(int(capabilities[1], 16) & CAP_FOWNER)
    except (OSError, TypeError):  # not Linux
        return os.geteuid() == 0


@contextlib.contextmanager
def reading(path, mend):
    """A file for reading bytes, within which whatever goes wrong becomes one `InputError`, a lack of memory too.

    While it is open the process can take some multiple of the file's size more, so that no file fills the machine:
    a pickle of 20 bytes can ask for gigabytes. Works where there are `resource` and /proc (Linux).
    """
    limits = None
    try:
        with open(path, "rb") as stream:
            mapped = mapped_bytes()
            if mapped:
                import resource
                limits = resource.getrlimit(resource.RLIMIT_AS)
                allowed = mapped + SPARE_MEMORY + 64 * os.fstat(stream.fileno()).st_size
                known = [limit for limit in (allowed, *limits) if limit != resource.RLIM_INFINITY]
                resource.setrlimit(resource.RLIMIT_AS, (min(known), limits[1]))
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")  # what numpy and CPython have to say about strange content
                yield stream
    except InputError:
        raise
    except OSError as error:
        raise InputError(path, None, error.strerror or f"damaged ({said(error)})", mend) from error
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(path, None, f"damaged ({said(error)})", mend) from error
    finally:
        if limits:
            resource.setrlimit(resource.RLIMIT_AS, limits)


# ---------------------------------------------------------------- the dictionary and the frequencies
class _PlainUnpickler(pickle.Unpickler):
    """Containers, strings and numbers need no lookup of a class: whatever asks for one is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def load_plain(stream):
    """What a pickle of containers, strings and numbers holds; an error if it asks for anything else."""
    return _PlainUnpickler(stream).load()


def load_feature_dict(path):
    """Read and check feature_dict.pkl: {feature: {value: id}}, ids 0..n-1, 0 for `<unk>`; values in id order."""
    mend = "give the feature_dict.pkl that data_processor.py wrote"
    with reading(path, mend) as stream:
        feature_dict = load_plain(stream)
        for feature in FEATURES:
            values = feature_dict.get(feature) if isinstance(feature_dict, dict) else None
            if not _is_dictionary(values):
                raise InputError(path, None, f"no dictionary of {feature} with ids from 0 (= {UNKNOWN})", mend)
            feature_dict[feature] = dict(sorted(values.items(), key=lambda item: item[1]))
    return feature_dict


def _is_dictionary(values):
    """Whether these are {value: id} as made from a log: ids from 0 without a gap, values of UTF-8 without tabs."""
    if (not isinstance(values, dict) or values.get(UNKNOWN) != 0 or {*map(type, values)} != {str}
            or {*map(type, values.values())} != {int} or sorted(values.values()) != list(range(len(values)))):
        return False
    text = "\n".join(values)
    text.encode()  # an error: half of a surrogate pair
    return "\t" not in text and text.count("\n") == len(values) - 1


def load_item_freq(path, feature_dict):
    """Read and check item_freq.pkl against its dictionary: one probability a video, summing to 1.

    The two must come from one run if there is a fingerprint.json beside item_freq.pkl, which says so.
    """
    mend = "give the item_freq.pkl that data_processor.py wrote together with the dictionary"
    with reading(path, mend) as stream:
        freq = load_plain(stream)
        if not isinstance(freq, list) or not all(isinstance(share, float) for share in freq):
            raise InputError(path, None, "not a list of floats", mend)
        if len(freq) != len(feature_dict[ITEMS]):
            raise InputError(path, None, f"{len(freq)} frequencies for {len(feature_dict[ITEMS])} videos of the "
                             "dictionary", mend)
        if not all(share >= 0 for share in freq) or not math.isclose(sum(freq), 1, abs_tol=1e-6) or not any(freq[1:]):
            raise InputError(path, None, "not probabilities that sum to 1", mend)
    beside = os.path.join(os.path.dirname(path), FINGERPRINTS)
    if os.path.exists(beside):
        with reading(beside, "make it again with data_processor.py") as stream:
            told = {name: str(value) for name, value in json.load(stream).items()}
            if told["item_freq"] != fingerprint(freq):
                raise InputError(path, None, f"not the one that the {FINGERPRINTS} beside it was written with", mend)
            if told["feature_dict"] != dictionary_fingerprint(feature_dict):
                raise InputError(path, None, "made with another dictionary than --feature_dict", mend)
    return freq


def dictionary_fingerprint(feature_dict):
    """SHA-256, as hex, of the values of a feature dictionary in id order: ties models to their dictionary."""
    digest = hashlib.sha256()
    for feature in FEATURES:
        digest.update(f"{feature}\t{len(feature_dict[feature])}\n".encode())
        digest.update("\n".join(feature_dict[feature]).encode())
    return digest.hexdigest()


def fingerprint(*values):
    """SHA-256, as hex, of arrays or lists of numbers or strings."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


# ---------------------------------------------------------------- archives of plain arrays: models, checkpoints
def write_archive(path, told, arrays):
    """Write a gzip tar of model.json (`told`) and one .npy per array; the same input gives the same bytes.

    Nothing is compressed (level 0): trained float32 weights shrink by some 7% and take 30 times as long to write.
    """
    def members():
        yield "model.json", json.dumps(told, indent=1).encode()
        for name, value in arrays.items():
            content = io.BytesIO()
            np.save(content, np.ascontiguousarray(value))
            yield name + ".npy", content.getbuffer()
    with atomic_write(path) as file, gzip.GzipFile("", "wb", 0, file, mtime=0) as packed, \
            tarfile.open(mode="w", fileobj=packed, format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def read_archive(path, mend):
    """Read what `write_archive` wrote, without unpickling anything; names are compared, never used as paths.

    Returns
    -------
    told : dict, model.json.    arrays : {name: array of finite numbers}.

    Raises
    ------
    InputError
        For a missing, truncated or damaged file.
    """
    told, arrays = None, {}
    with reading(path, mend) as file, gzip.open(file) as packed:
        with tarfile.open(mode="r:", fileobj=packed) as tar:
            for entry in tar:
                if not entry.isreg() or entry.issparse() or entry.name in arrays:
                    raise InputError(path, None, f"unexpected member {entry.name[:80]!r}", mend)
                content = io.BytesIO(tar.extractfile(entry).read())
                if told is None:
                    if entry.name != "model.json":
                        raise InputError(path, None, "does not begin with model.json", mend)
                    told = dict(json.load(content))
                    continue
                array = np.lib.format.read_array(content, allow_pickle=False)
                if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
                    raise InputError(path, None, f"{entry.name[:80]} has values that are not finite numbers", mend)
                arrays[entry.name] = array
        rest = packed.read(tarfile.RECORDSIZE + 1)  # to the end, where the checksum is compared
        if len(rest) > tarfile.RECORDSIZE or rest.strip(b"\0"):  # more than what a tar is filled up with
            raise InputError(path, None, "something follows the archive", mend)
    if told is None:
        raise InputError(path, None, "does not begin with model.json", mend)
    return told, {name.removesuffix(".npy"): array for name, array in arrays.items()}
