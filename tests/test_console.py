"""Exit codes, messages, and streams that are closed or not UTF-8."""

import errno
import io
import os
import pickle
import sys

from candgen.console import InputError, run_script, user_error
from conftest import (
    ROOT,
    run,
)

import pytest


@pytest.mark.parametrize(
    "raised, code, line",
    [
        (
            InputError("a.txt", "broken", line=3, hint="fix it"),
            2,
            "s.py: a.txt:3: broken; fix it\n",
        ),
        (
            InputError("a.txt", "two\nlines", hint="fix it"),
            2,
            "s.py: a.txt: two lines; fix it\n",
        ),
        (KeyboardInterrupt(), 130, "s.py: interrupted\n"),
        (
            PermissionError(13, "Permission denied", "out"),
            2,
            "s.py: out: Permission denied; check the path, its permissions and the free space\n",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            2,
            "s.py: output: Too many open files; "
            "allow this process more open files: ulimit -n 1024\n",
        ),
        (BrokenPipeError(), 0, ""),
        (
            MemoryError(),
            2,
            "s.py: out of memory; give a smaller --batch_size or a larger machine\n",
        ),
        (
            ModuleNotFoundError("No module named 'paddle'"),
            2,
            "s.py: No module named 'paddle'; pip install -r requirements.txt\n",
        ),
    ],
)
def test_exit_codes(monkeypatch, raised, code, line):
    def main():
        raise raised

    stderr = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["/somewhere/s.py"])
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit) as caught:
        run_script(main)
    assert caught.value.code == code and stderr.getvalue() == line


def test_a_bug_has_a_traceback(monkeypatch):
    """A bug keeps its traceback."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 // 0)


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(InputError("a.txt", "broken", line=3, hint="fix it")))
    assert isinstance(error, InputError) and str(error) == "a.txt:3: broken; fix it"


@pytest.mark.parametrize(
    "locale",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_results_are_utf8_whatever_the_locale_says(tmp_path, locale):
    code = "from candgen.console import run_script; run_script(lambda: print('\\u5317\\u4eac'))"
    result = run(
        f'python -c "{code}"', tmp_path, env={**locale, "PYTHONPATH": str(ROOT)}, encoding=None
    )
    assert (result.returncode, result.stdout) == (0, "\u5317\u4eac\n".encode())


@pytest.mark.parametrize("closed, code", [("<&-", 2), (">&-", 0), ("2>&-", 0)])
def test_closed_streams(tmp_path, closed, code):
    """Schedulers may close any stream: no traceback, and stdout has nothing but results."""
    source = "-" if closed == "<&-" else "log.txt"
    (tmp_path / "log.txt").write_text("u\tp\tc\tv:a:s\tm\n")
    result = run(
        f"python {ROOT}/data_processor.py --train_set_path={source} --output_dir=out "
        f"--feat_appear_limit=1 {closed}",
        tmp_path,
    )
    assert "Traceback" not in result.stderr and result.returncode == code
    assert (tmp_path / "out").exists() == (code == 0)
    assert "data_processor.py:" not in result.stdout


PRINT = "from candgen.console import run_script; run_script(lambda: print(20_000 * 'line\\n'))"
PRINTS = f'{sys.executable} -c "{PRINT}"'


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "limit, code, line",
    [
        (
            "(ulimit -f 8; {} > out)",
            2,
            "-c: output: File too large; check the path, its permissions and the free space\n",
        ),
        ("{} | head -n 1 > out", 0, ""),
    ],
)
def test_results_are_complete_or_the_run_fails(tmp_path, unbuffered, limit, code, line):
    """Exit code 2 after a short write, whatever PYTHONUNBUFFERED is; 0 if the reader ends early."""
    result = run(
        limit.format(PRINTS),
        tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
    )
    assert (result.returncode, result.stderr) == (code, line)


def test_unbuffered_results_come_at_once(tmp_path):
    """A line is there before the script has ended."""
    code = (
        "import os, sys; from candgen.console import run_script; "
        "run_script(lambda: (print('one'), sys.stdout.write('two\\n'), os.kill(os.getpid(), 9)))"
    )
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    assert run(f'{sys.executable} -c "{code}"', tmp_path, env=environment).stdout == "one\ntwo\n"


def test_a_stream_that_is_no_file_stays(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit):
        run_script(lambda: print("line"))
    assert stream.getvalue() == "line\n"


def test_errors_of_the_system_name_their_cause():
    """Threads that cannot be started, processes, a lack of memory."""
    for error, text in (
        (
            RuntimeError("can't start new thread"),
            "no further process or thread can be started; raise the limit",
        ),
        (
            BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
            "no further process or thread can be started",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "m/a"),
            "m/a: No space left on device; check the path",
        ),
        (OSError("not a gzip file"), "output: not a gzip file; check"),
        (MemoryError(), "out of memory; give"),
    ):
        assert str(user_error(error)).startswith(text)
    assert user_error(KeyError("a mistake")) is None
