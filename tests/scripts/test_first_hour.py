"""docs/first-hour.md: its commands, as they stand there, one after the other."""

import os
import re
import shutil
import subprocess
import sys

from conftest import ROOT, checkout

DOCUMENT = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
INSTALL = "pip install -r requirements.txt -r requirements-convert.txt\n"


def test_the_first_hour(tmp_path):
    commands = "".join(re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL))
    assert INSTALL in commands  # what the environment of the tests has already
    folder = tmp_path / "clone"
    checkout(folder)
    for script in (ROOT / "data").glob("*.py"):
        shutil.copy(script, folder / "data")
    with_python = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-ec", commands.replace(INSTALL, "")],
        cwd=folder,
        env=with_python,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert "the best by valid_ndcg@10" in done.stderr and "times rules" in done.stderr
    assert "100.00% of the model's top 30 found by cosine" in done.stdout
    assert "is published as model_best.tar.gz" in done.stderr

    [header] = re.findall(r"^user\trank\t.*$", DOCUMENT, re.MULTILINE)
    titles = dict(
        line.split("\t")
        for line in (folder / "all" / "titles.tsv").read_text(encoding="utf-8").splitlines()
    )
    lines = (folder / "lists.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == header
    for line in lines[1:]:
        _, _, video, _, title, because, drop, because_title = line.split("\t")
        assert title == titles[video] and because_title == titles.get(because, "")
        assert (float(drop) > 0) == bool(because)
    users = (folder / "all" / "infer.txt").read_text(encoding="utf-8").count("\n")
    assert len(lines) - 1 == 10 * users
    assert (folder / "similar.tsv").read_text(encoding="utf-8").startswith("video\trank\tsimilar")

    days = (folder / "day.txt").read_text(encoding="utf-8").splitlines()
    served = (folder / "day" / "infer.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in days] == [line.split("\t")[0] for line in served]
