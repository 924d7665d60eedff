"""Malformed lines: one too many ends a run; with --max_bad_lines they are named and left out."""

from candgen.data.batches import make_batch, sliding_windows
from candgen.data.dictionary import load_feature_dict
from candgen.data.logs import BadLines
from conftest import ROOT, lists_of, run, run_ok, small_log
from reader import Reader

import numpy as np
import pytest
from test_documented_commands import read_tsv

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def test_vectors_without_some_lines(small):
    """Printed vectors have no ids: --max_bad_lines needs a file."""
    lines = (small / "log.txt").read_text().splitlines(keepends=True)[:4]
    (small / "bad.txt").write_text("".join([*lines[:2], "garbage\n", *lines[2:]]))
    (small / "good.txt").write_text("".join(lines))
    command = f"python user_vector.py --infer_set_path=bad.txt {MODEL} --max_bad_lines=1"
    result = run(command, small)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("user_vector.py: --max_bad_lines needs --output_path")
    result = run(command + " --output_path=bad.tsv", small)
    assert result.returncode == 0
    assert result.stderr.startswith("user_vector.py: left out: bad.txt:3: 1 columns ")
    run_ok(f"python user_vector.py --infer_set_path=good.txt {MODEL} --output_path=good.tsv", small)
    (ids, vectors), (_, expected) = (read_tsv(small / f"{name}.tsv") for name in ("bad", "good"))
    assert ids == ["U0", "U1", "U2", "U3"]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_no_file_is_written_for_bad_lines(small, tmp_path):
    """They are named on stderr; a bad_lines.txt in the working directory is left alone."""
    (tmp_path / "bad_lines.txt").write_text("mine\n")
    (tmp_path / "bad.txt").write_text(small_log(3) + "garbage\n")
    before = sorted(tmp_path.iterdir())
    output = small / "output"
    result = run(
        f"python {small}/infer.py --infer_set_path=bad.txt --max_bad_lines=1 "
        f"--model_path={output}/model/model_pass_00001.tar.gz "
        f"--feature_dict={output}/feature_dict.pkl",
        tmp_path,
    )
    assert result.returncode == 0 and len(lists_of(result.stdout)) == 3
    assert result.stderr.startswith("infer.py: left out: bad.txt:4: 1 columns instead of 5; ")
    assert sorted(tmp_path.iterdir()) == before
    result = run(
        f"python {small}/data_processor.py --train_set_path=bad.txt --output_dir=counted "
        "--max_bad_lines=1 --feat_appear_limit=1",
        tmp_path,
    )
    assert result.returncode == 0 and "data_processor.py: left out: bad.txt:4: " in result.stderr
    assert sorted(path.name for path in (tmp_path / "counted").iterdir()) == [
        "feature_dict.pkl",
        "fingerprint.json",
        "item_freq.pkl",
    ]
    assert (tmp_path / "bad_lines.txt").read_text() == "mine\n"


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
    """(feature_dict.pkl, item_freq.pkl, stdout) of data_processor.py for a log of these bytes."""
    (folder / f"{name}.txt").write_bytes(log)
    out = run_ok(
        f"python {ROOT}/data_processor.py --train_set_path={name}.txt --output_dir={name} "
        f"--feat_appear_limit=1 {flags}",
        folder,
    )
    feature_dict, item_freq = (
        (folder / name / file).read_bytes() for file in ("feature_dict.pkl", "item_freq.pkl")
    )
    return feature_dict, item_freq, out


def test_bad_lines_are_left_out(small, tmp_path):
    """Results are those of the good lines, in counting, serving and training; each is named."""
    good = (small / "log.txt").read_bytes().splitlines(keepends=True)
    mixed = list(good)
    for number, bad in enumerate(BAD.values()):
        mixed.insert(10 + 20 * number, bad)
    (small / "mixed.txt").write_bytes(b"".join(mixed))
    flags = f"--max_bad_lines={len(BAD)}"
    counted = dictionary_of(tmp_path, b"".join(mixed), flags, "mixed")
    assert counted == dictionary_of(tmp_path, b"".join(good))
    expected = run_ok(f"python infer.py --infer_set_path=log.txt {MODEL}", small)
    served = run(f"python infer.py --infer_set_path=mixed.txt {MODEL} {flags}", small)
    *named, last = served.stderr.splitlines()
    assert [line.split(": ")[:3] for line in named] == [
        ["infer.py", "left out", f"mixed.txt:{11 + 20 * number}"] for number in range(len(BAD))
    ]
    assert last == (
        "infer.py: mixed.txt: 300 users, 300 of them known; "
        "6126 clicks, 6126 of them on known videos"
    )
    assert served.stdout == expected
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    [without_bad] = Reader(feature_dict, BadLines(len(BAD))).encode([str(small / "mixed.txt")])
    [whole] = Reader(feature_dict).encode([str(small / "log.txt")])
    batches = [make_batch(log, sliding_windows(log.lengths, 5)) for log in (without_bad, whole)]
    for name in (
        "user_id",
        "history_clicked_items",
        "history_clicked_categories",
        "tag_counts",
        "target",
    ):
        np.testing.assert_array_equal(batches[0][name], batches[1][name])


@pytest.mark.parametrize("name", BAD)
def test_one_bad_line_too_many(tmp_path, name):
    """None is allowed by default; of two, the one too many is named, and nothing is written."""
    good = GOOD.encode()
    (tmp_path / "log.txt").write_bytes(good * 30 + BAD[name] + good * 30 + BAD[name] + good)
    for flags, starts in (
        ("", ["log.txt:31: "]),
        ("--max_bad_lines=1", ["left out: log.txt:31: ", "log.txt:62: "]),
    ):
        result = run(
            f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=out {flags}",
            tmp_path,
        )
        lines = result.stderr.splitlines()
        assert result.returncode == 2 and len(lines) == len(starts)
        for line, start in zip(lines, starts):
            assert line.startswith(f"data_processor.py: {start}")
        assert not (tmp_path / "out").exists()
