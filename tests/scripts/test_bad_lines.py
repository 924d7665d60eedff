"""TODO"""

import shutil

from conftest import (
    lists_of,
    run,
    run_ok,
    small_log,
)

import numpy as np
import pytest

MODEL = "--model_path=output/model/model_pass_00000.tar.gz --feature_dict=output/feature_dict.pkl"


SMALL = MODEL.replace("00000", "00001")


def test_lines_left_out_of_vectors(small):
    """Without ids nobody could tell which vector is whose."""
    lines = (small / "log.txt").read_text().splitlines(keepends=True)[:4]
    (small / "bad.txt").write_text("".join([*lines[:2], "garbage\n", *lines[2:]]))
    command = f"python user_vector.py --infer_set_path=bad.txt {SMALL} --max_bad_lines=1"
    result = run(command, small)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("user_vector.py: --max_bad_lines needs --output_path")
    result = run(command + " --output_path=bad.tsv", small)
    assert result.returncode == 0 and result.stderr.startswith(
        "user_vector.py: left out: bad.txt:3: 1 columns "
    )
    (small / "good.txt").write_text("".join(lines))
    run_ok(f"python user_vector.py --infer_set_path=good.txt {SMALL} --output_path=good.tsv", small)
    rows = [(small / f"{name}.tsv").read_text().splitlines() for name in ("bad", "good")]
    assert [row.split("\t")[0] for row in rows[0]] == ["U0", "U1", "U2", "U3"]
    values = [np.array([row.split("\t")[1:] for row in each], float) for each in rows]
    np.testing.assert_allclose(values[0], values[1], atol=1e-6)


def test_skipping_lines_touches_no_file(small, tmp_path):
    """Not one of the working folder either, whatever it is called; what was left out is named on stderr."""
    (tmp_path / "bad_lines.txt").write_text("somebody's\n")
    (tmp_path / "bad.txt").write_text(small_log(3) + "garbage\n")
    for name in ("feature_dict.pkl", "model/model_pass_00001.tar.gz"):
        shutil.copy(small / "output" / name, tmp_path)
    before = sorted(tmp_path.iterdir())
    result = run(
        f"python {small}/infer.py --infer_set_path=bad.txt --model_path=model_pass_00001.tar.gz "
        "--feature_dict=feature_dict.pkl --max_bad_lines=1",
        tmp_path,
    )
    assert result.returncode == 0 and len(lists_of(result.stdout)) == 3
    assert result.stderr.startswith("infer.py: left out: bad.txt:4: 1 columns instead of 5; ")
    assert (
        sorted(tmp_path.iterdir()) == before
        and (tmp_path / "bad_lines.txt").read_text() == "somebody's\n"
    )
    result = run(
        f"python {small}/data_processor.py --train_set_path=bad.txt --output_dir=counted --max_bad_lines=1 "
        "--feat_appear_limit=1",
        tmp_path,
    )
    assert result.returncode == 0 and "data_processor.py: left out: bad.txt:4: " in result.stderr
    assert sorted(path.name for path in (tmp_path / "counted").iterdir()) == [
        "feature_dict.pkl",
        "fingerprint.json",
        "item_freq.pkl",
    ]
    assert (tmp_path / "bad_lines.txt").read_text() == "somebody's\n"


# MOREIMPORTS
import os

from candgen.data.batches import make_batch, sliding_windows
from candgen.data.dictionary import load_feature_dict
from candgen.data.logs import BadLines
from conftest import ROOT
from reader import Reader

MODEL_FLAGS = (
    "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"
)


GOOD = "U1\tP1\tNULL\tV1:C1:T1;V2:C2:T2_T3\tM1\n"


BAD = {
    "three columns": b"U1\tP1\tNULL\n",
    "empty history": b"U1\tP1\tNULL\t\tM1\n",
    "no tags": b"U1\tP1\tNULL\tV1:C1\tM1\n",
    "an empty click": b"U1\tP1\tNULL\tV1:C1:T1;\tM1\n",
    "not UTF-8": b"U\xff\tP1\tNULL\tV1:C1:T1\tM1\n",
    "NUL": b"U1\tP\x001\tNULL\tV1:C1:T1\tM1\n",
    "no tabs": b"   \n",
}


def dictionary_of(folder, log, flags="", name="new"):
    """What data_processor.py makes of a log: (feature_dict.pkl, item_freq.pkl, stdout)."""
    (folder / f"{name}.txt").write_bytes(log)
    out = run_ok(
        f"python {ROOT}/data_processor.py --train_set_path={name}.txt --output_dir={name} "
        f"--feat_appear_limit=1 {flags}",
        folder,
    )
    return *(
        (folder / name / file).read_bytes() for file in ("feature_dict.pkl", "item_freq.pkl")
    ), out


def test_bad_lines_are_left_out(small, tmp_path):
    """With --max_bad_lines the results are those of the good lines; the bad ones are named, each with a reason, and no
    file is written for them."""
    good = (small / "log.txt").read_bytes().splitlines(keepends=True)
    mixed = list(good)
    for number, bad in enumerate(BAD.values()):
        mixed.insert(10 + 20 * number, bad)
    (small / "mixed.txt").write_bytes(b"".join(mixed))
    (small / "bad_lines.txt").write_text("of somebody else")
    flags = f"--max_bad_lines={len(BAD)}"
    assert dictionary_of(tmp_path, b"".join(mixed), flags, "mixed") == dictionary_of(
        tmp_path, b"".join(good)
    )
    plain = run_ok(f"python infer.py --infer_set_path=log.txt {MODEL_FLAGS}", small)
    files = set(os.listdir(small))
    served = run(f"python infer.py --infer_set_path=mixed.txt {MODEL_FLAGS} {flags}", small)
    *named, last = served.stderr.splitlines()
    assert [line.split(": ")[:3] for line in named] == [
        ["infer.py", "left out", f"mixed.txt:{11 + 20 * number}"] for number in range(len(BAD))
    ]
    assert (
        last
        == "infer.py: mixed.txt: 300 users, 300 of them known; 6126 clicks, 6126 of them on known videos"
    )
    assert served.stdout == plain and set(os.listdir(small)) == files
    assert (small / "bad_lines.txt").read_text() == "of somebody else"
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    [sifted] = Reader(feature_dict, BadLines(len(BAD))).encode(str(small / "mixed.txt"))
    [whole] = Reader(feature_dict).encode(str(small / "log.txt"))
    batches = [
        make_batch(log, sliding_windows(log.lengths, 5)) for log in (sifted, whole)
    ]  # what train.py is given
    for name in (
        "user_id",
        "history_clicked_items",
        "history_clicked_categories",
        "tag_counts",
        "target",
    ):
        np.testing.assert_array_equal(batches[0][name], batches[1][name])


def test_printed_vectors_are_as_many_as_lines(small):
    """Without ids nobody could tell which line was left out: that takes a file."""
    result = run(
        f"python user_vector.py --infer_set_path=log.txt {MODEL_FLAGS} --max_bad_lines=1", small
    )
    assert (result.returncode, result.stdout) == (
        2,
        "",
    ) and "--max_bad_lines needs --output_path" in result.stderr


@pytest.mark.parametrize("name", BAD)
def test_one_bad_line_too_many(tmp_path, name):
    """None is allowed by default; of two, one too many is named, and nothing is written."""
    (tmp_path / "log.txt").write_bytes(
        GOOD.encode() * 30 + BAD[name] + GOOD.encode() * 30 + BAD[name] + GOOD.encode()
    )
    for flags, metadata in (
        ("", ["log.txt:31: "]),
        ("--max_bad_lines=1", ["left out: log.txt:31: ", "log.txt:62: "]),
    ):
        result = run(
            f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=out {flags}",
            tmp_path,
        )
        lines = result.stderr.splitlines()
        assert result.returncode == 2 and len(lines) == len(metadata)
        assert all(
            line.startswith("data_processor.py: " + start) for line, start in zip(lines, metadata)
        )
        assert not (tmp_path / "out").exists()
