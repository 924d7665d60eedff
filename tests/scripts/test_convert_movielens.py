"""The MovieLens converter, on a few lines in the layout of the public files."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "data" / "convert_movielens.py"

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
            ITEM.format(2, "Les Misérables", "01-Jan-1939", flags(8)),
            ITEM.format(3, "unknown", "", flags(0)),
        ],
        u__user=["2|53|F|other|94043", "10|7|M|student|V3N4P"],
    )
    assert convert(tmp_path / "in", tmp_path / "out").returncode == 0
    toy, miserables, unknown = (
        "MOVIE_1:Y1990s:Animation_Children's_Comedy",
        "MOVIE_2:Y1930s:Drama",
        "MOVIE_3:NULL:unknown",
    )
    read = {
        name: (tmp_path / "out" / name).read_text(encoding="utf-8")
        for name in ("train.txt", "valid.txt", "test.txt", "truth.txt")
    }
    assert read["test.txt"] == (
        f"USER_2\tother\tZIP940\t{miserables};{unknown};{toy}\tF50s\n"
        f"USER_10\tstudent\tZIPV3N\t{toy};{miserables};{unknown}\tM0s\n"
    )
    assert read["valid.txt"].splitlines()[0].split("\t")[3] == f"{miserables};{unknown}"
    assert read["train.txt"].splitlines()[0].split("\t")[3] == miserables
    assert read["truth.txt"] == "USER_2\tMOVIE_1\nUSER_10\tMOVIE_3\n"


def test_ml_1m(tmp_path):
    write(
        tmp_path / "in",
        ratings__dat=["1::7::5::20", "1::8::4::10"],
        movies__dat=["7::Am\xe9lie (2001)::Comedy|Romance", "8::No Year::Drama"],
        users__dat=["1::F::25::12::48067-1234"],
    )
    assert convert(tmp_path / "in", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "test.txt").read_text() == (
        "USER_1\tprogrammer\tZIP480\tMOVIE_8:NULL:Drama;MOVIE_7:Y2000s:Comedy_Romance\tF20s\n"
    )
    assert (
        tmp_path / "out" / "train.txt"
    ).read_text() == "USER_1\tprogrammer\tZIP480\tNULL\tF20s\n"


def test_missing_and_damaged_input(tmp_path):
    """One line that names the place, exit code 2."""
    write(tmp_path / "damaged", u__data=["1\t2"], u__item=[], u__user=[])
    for folder in ("nowhere", "damaged"):
        result = convert(tmp_path / folder, tmp_path / "out")
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1 and folder in result.stderr
