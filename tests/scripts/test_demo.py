"""make demo: the commands that it runs, and the titles that it shows."""

import importlib
import re
import shlex
import shutil
import subprocess
import tarfile

from conftest import COMMANDS, ROOT, SCRIPTS, clicked, run_ok

import pytest


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_commands_of_the_demo(capsys):
    """The documented ones, with two passes and their output in files; further ones follow."""
    printed = subprocess.run(
        ["make", "-n", "demo", "VENV=venv"], cwd=ROOT, capture_output=True, text=True
    )
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.replace("\\\n", " ").replace("venv/bin/python", "python").splitlines()
    commands = [shlex.split(re.sub(" > .*", "", line)) for line in lines if "python" in line]
    for name in SCRIPTS:
        with pytest.raises(SystemExit):
            importlib.import_module(name).main(["--help"])
        known = set(re.findall("--[a-z_]+", capsys.readouterr().out))
        of_script = [words for words in commands if words[1] == f"{name}.py"]
        flags = {word.partition("=")[0] for words in of_script for word in words[2:]}
        assert of_script and flags <= known, name
    for command in COMMANDS:
        if command.startswith("python"):
            words = shlex.split(command)
            passes = ["--num_passes=2"] if words[1] == "train.py" else []
            assert words + passes in commands, command
    trained = [command for command in commands if command[1:2] == ["train.py"]]
    assert [("--preset=best" in command) for command in trained] == [False, True]


def test_titles_of_the_sample():
    """All videos of the training log have one, which names the category of the log."""
    lines = run_ok("python data/make_titles.py", ROOT).splitlines()
    titles = dict(line.split("\t") for line in lines)
    with tarfile.open(ROOT / "data" / "data.tar") as tar:
        log = tar.extractfile("train.txt").read().decode("utf-8")
    assert {video for history in clicked(log) for video in history} <= titles.keys()
    assert len(set(titles.values())) == len(titles) == len(lines)
    assert "VIDEO_42:CATEGORY_19:" in log
    assert titles["VIDEO_42"] == "Crimson Harbor 3 (Category 19)"
