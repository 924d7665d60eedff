"""What depends on the shell: pipes, terminals, the locale, paddle not installed, --help."""

import os
import pty
import re

from conftest import SCRIPTS, run, run_ok, small_log, train_command

import pytest

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def test_paddle_is_not_installed(small, tmp_path):
    """Preprocessing and video vectors do without; the others say in one line how to install it."""
    (tmp_path / "paddle.py").write_text("raise ModuleNotFoundError(\"No module named 'paddle'\")")
    env = {"PYTHONPATH": str(tmp_path)}
    for command in (
        "data_processor.py --train_set_path=log.txt --output_dir=counted",
        f"item_vector.py {MODEL}",
    ):
        assert run_ok(f"python {command}", small, env=env)
    result = run(f"python infer.py --infer_set_path=log.txt {MODEL}", small, env=env)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "infer.py: No module named 'paddle'; pip install -r requirements.txt\n"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_does_not_load_paddle(small, script):
    code = (
        f"import sys, runpy; sys.argv = ['{script}.py', '--help']; "
        f"__import__('atexit').register(lambda: print('paddle' in sys.modules)); "
        f"runpy.run_path('{script}.py', run_name='__main__')"
    )
    out = run_ok(f'python -c "{code}"', small)
    assert out.endswith("False\n") and "--help" in out


def test_a_closed_pipe_is_quiet(small):
    result = run(f"python infer.py --infer_set_path=log.txt {MODEL} | head -n 1 | wc -l", small)
    assert (result.returncode, result.stdout.strip()) == (0, "1")
    assert all(
        line.startswith("infer.py: log.txt: 300 users") for line in result.stderr.splitlines()
    )


def test_progress_on_a_terminal(small, tmp_path):
    """A terminal shows how far long work is, and the bar is removed at the end; a pipe has none."""
    (tmp_path / "log.txt").write_text(small_log(1200), encoding="utf-8")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-0").write_text("")  # as Spark leaves some
    (tmp_path / "parts" / "part-1").write_text(small_log(1200), encoding="utf-8")
    log, output = tmp_path / "log.txt", f"--output_dir={tmp_path}"
    flags = "--num_passes=1 --no-rules --dnn_layer_dims 16 8 --lstm_dim=8"
    for command in (
        f"python data_processor.py --train_set_path={log} {output}",
        train_command(tmp_path / "model", flags, log=log),
        f"python user_vector.py --infer_set_path={tmp_path}/parts {MODEL} "
        f"--output_path={tmp_path}/users.tsv",
        f"python item_vector.py {MODEL}",
        f"python infer_user.py {MODEL}",
        f"python infer.py --infer_set_path={log} {MODEL} --batch_size=128",
    ):
        ours, theirs = pty.openpty()
        result = run(command, small, capture_output=False, stdout=-1, stderr=theirs)
        os.close(theirs)
        text = os.read(ours, 1 << 20).decode()
        os.close(ours)
        bar = re.search(r"\r[^\r]+: +\d+%, \d+:\d\d left", text)
        assert result.returncode == 0 and bar, (command, text)
        assert "\033[K" in text, (command, text)
        assert "left" not in re.sub(r"\r[^\r]*\033\[K", "", text), (command, text)
    piped = run(command, small)
    assert result.stdout == piped.stdout
    assert "\033" not in piped.stderr and "left" not in piped.stderr


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_results_are_utf_8_whatever_the_locale(small, tmp_path, env):
    """Unknown users of a log and of --user_ids, whose names are on stdout and stderr."""
    log = small_log(3).replace("U", "用户")
    (tmp_path / "log.txt").write_text(log, encoding="utf-8")
    command = f"python infer.py --infer_set_path={tmp_path}/log.txt {MODEL}"
    expected = run_ok(command, small)
    assert expected.startswith("用户0\t")
    result = run(command, small, env=env, encoding=None)
    assert (result.returncode, result.stdout) == (0, expected.encode()), result.stderr
    (tmp_path / "ids.txt").write_text("U2\n陌生人\n", encoding="utf-8")
    command = f"python infer_user.py --user_ids={tmp_path}/ids.txt {MODEL}"
    result = run(command, small, env=env, encoding=None)
    assert result.returncode == 0 and b"Traceback" not in result.stderr
    users = [line.split("\t")[0] for line in result.stdout.decode().splitlines()]
    assert users == ["U2", "陌生人"]
