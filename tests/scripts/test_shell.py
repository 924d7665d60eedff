"""TODO"""

import os
import pty
import re

from conftest import (
    run,
    run_ok,
    small_log,
    train_command,
)

SMALL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def test_where_paddle_is_missing(small, tmp_path):
    """Preprocessing and video vectors do without it; the others say in one line how to get it."""
    (tmp_path / "paddle.py").write_text("raise ModuleNotFoundError(\"No module named 'paddle'\")")
    env = {"PYTHONPATH": str(tmp_path)}
    for command in (
        "data_processor.py --train_set_path=log.txt --output_dir=counted",
        f"item_vector.py {SMALL}",
    ):
        assert run_ok(f"python {command}", small, env=env)
    result = run(f"python infer.py --infer_set_path=log.txt {SMALL}", small, env=env)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "infer.py: No module named 'paddle'; pip install -r requirements.txt\n"


def test_help_is_short_work(small):
    for script in ("data_processor", "train", "infer", "user_vector", "item_vector", "infer_user"):
        code = (
            f"import sys, runpy; sys.argv = ['{script}.py', '--help']; "
            f"__import__('atexit').register(lambda: print('paddle' in sys.modules)); "
            f"runpy.run_path('{script}.py', run_name='__main__')"
        )
        out = run_ok(f'python -c "{code}"', small)
        assert out.endswith("False\n") and "options:" in out.replace(
            "optional arguments:", "options:"
        )


def test_a_closed_pipe_is_quiet(small):
    result = run(f"python infer.py --infer_set_path=log.txt {SMALL} | head -n 1 | wc -l", small)
    assert (result.returncode, result.stdout.strip()) == (0, "1")
    assert all(
        line.startswith("infer.py: log.txt: 300 users") for line in result.stderr.splitlines()
    )


def test_progress_on_a_terminal(small, tmp_path):
    """Long work tells a terminal how far it is and when it will end, and takes that away again; a pipe gets nothing."""
    (tmp_path / "log.txt").write_text(small_log(1200), encoding="utf-8")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-0").write_text("")  # as Spark leaves some
    (tmp_path / "parts" / "part-1").write_text(small_log(1200), encoding="utf-8")
    log, output = tmp_path / "log.txt", f"--output_dir={tmp_path}"
    for command in (
        f"python data_processor.py --train_set_path={log} {output}",
        train_command(tmp_path / "model", "--num_passes=1 --no-rules", log=log),
        f"python user_vector.py --infer_set_path={tmp_path}/parts {SMALL} "
        f"--output_path={tmp_path}/users.tsv",
        f"python item_vector.py {SMALL}",
        f"python infer_user.py {SMALL}",
        f"python infer.py --infer_set_path={log} {SMALL} --batch_size=128",
    ):
        ours, theirs = pty.openpty()
        shown = run(command, small, capture_output=False, stdout=-1, stderr=theirs)
        os.close(theirs)
        text = os.read(ours, 1 << 20).decode()
        os.close(ours)
        assert shown.returncode == 0 and re.search(r"\r[^\r]+: +\d+%, \d+:\d\d left", text), (
            command,
            text,
        )
        assert "\033[K" in text and "left" not in re.sub(r"\r[^\r]*\033\[K", "", text), (
            command,
            text,
        )
    quiet = run(command, small)
    assert (
        shown.stdout == quiet.stdout and "\033" not in quiet.stderr and "left" not in quiet.stderr
    )
