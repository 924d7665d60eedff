"""The MovieLens converter, on a few lines in the layout of the public files."""

import re
import subprocess
import sys

from conftest import ROOT, run_ok

import pytest

SCRIPT = ROOT / "data" / "convert_movielens.py"
DOCUMENT = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")

ITEM = "{}|{}|{}||http://example.org|{}"


def flags(*on):
    return "|".join("1" if i in on else "0" for i in range(19))


def convert(source, target):
    return subprocess.run(
        [sys.executable, SCRIPT, f"--input_dir={source}", f"--output_dir={target}"],
        check=False,
        capture_output=True,
        text=True,
    )


def logs_of(tables):
    """{name: text} of the logs that convert_events.py makes of the tables, as documented."""
    pytest.importorskip("polars")
    command = re.search(r"python data/convert_events.py.*?gender_age", DOCUMENT, re.DOTALL)[0]
    command = command.replace("data/", f"{SCRIPT.parent}/", 1).replace("\\\n", " ")
    command = command.replace("ml-100k/tables", "tables").replace("data/ml-100k", "logs")
    run_ok(command, tables.parent)
    return {path.name: path.read_text("utf-8") for path in (tables.parent / "logs").iterdir()}


def write(folder, **files):
    folder.mkdir()
    for name, lines in files.items():
        (folder / name.replace("__", ".")).write_text("\n".join(lines) + "\n", encoding="latin-1")


def test_ml_100k(tmp_path):
    """By timestamp, equal timestamps in file order; users by number; each log one click longer."""
    write(
        tmp_path / "in",
        u__data=[
            "10\t3\t5\t100",
            "2\t1\t4\t300",
            "2\t2\t1\t100",
            "2\t3\t3\t100",
            "10\t1\t2\t50",
            "10\t2\t2\t60",
        ],
        u__item=[
            ITEM.format(1, "Toy Story (1995)", "01-Jan-1995", flags(3, 4, 5)),
            ITEM.format(2, 'Les "Misérables", 1939', "01-Jan-1939", flags(8)),
            ITEM.format(3, "unknown", "", flags(0)),
        ],
        u__user=["2|53|F|other|94043", "10|7|M|student|V3N4P"],
    )
    assert convert(tmp_path / "in", tmp_path / "tables").returncode == 0
    toy, miserables, unknown = (
        "MOVIE_1:Y1990s:Animation_Children's_Comedy",
        "MOVIE_2:Y1930s:Drama",
        "MOVIE_3:NULL:unknown",
    )
    read = logs_of(tmp_path / "tables")
    assert read["test.txt"] == (
        f"USER_2\tother\tZIP940\t{miserables};{unknown};{toy}\tF50s\n"
        f"USER_10\tstudent\tZIPV3N\t{toy};{miserables};{unknown}\tM0s\n"
    )
    assert read["valid.txt"].splitlines()[0].split("\t")[3] == f"{miserables};{unknown}"
    assert read["train.txt"].splitlines()[0].split("\t")[3] == miserables
    assert read["titles.tsv"] == (
        'MOVIE_1\tToy Story (1995)\nMOVIE_2\tLes "Misérables", 1939\nMOVIE_3\tunknown\n'
    )


def test_ml_1m(tmp_path):
    write(
        tmp_path / "in",
        ratings__dat=["1::7::5::20", "1::8::4::10", "1::9::4::30"],
        movies__dat=["7::Am\xe9lie (2001)::Comedy|Romance", "8::No Year::Drama", "9::X::War"],
        users__dat=["1::F::25::12::48067-1234"],
    )
    assert convert(tmp_path / "in", tmp_path / "tables").returncode == 0
    first, rest = "MOVIE_8:NULL:Drama", "MOVIE_7:Y2000s:Comedy_Romance;MOVIE_9:NULL:War"
    read = logs_of(tmp_path / "tables")
    assert read["test.txt"] == f"USER_1\tprogrammer\tZIP480\t{first};{rest}\tF20s\n"
    assert read["train.txt"] == f"USER_1\tprogrammer\tZIP480\t{first}\tF20s\n"


def test_missing_and_damaged_input(tmp_path):
    """One line that names the place, exit code 2."""
    write(tmp_path / "damaged", u__data=["1\t2"], u__item=[], u__user=[])
    for folder in ("nowhere", "damaged"):
        result = convert(tmp_path / folder, tmp_path / "out")
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1 and folder in result.stderr
        assert not (tmp_path / "out").exists()
