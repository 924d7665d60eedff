"""TODO"""

import json
import pickle
import shutil

from candgen.archives import read_archive, write_archive
from candgen.data.dictionary import dictionary_fingerprint, load_feature_dict
from conftest import run, run_ok, small_log, train_command

import numpy as np

MODEL_FLAGS = (
    "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"
)


def test_a_long_id_and_vectors(small):
    """In a .npz each id would take as much place as the longest: refused, and a .tsv has no such limit."""
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    for letters in (256, 257):
        videos = {
            "L" * letters if video == "V7" else video: id_
            for video, id_ in feature_dict["history_clicked_items"].items()
        }
        long = {**feature_dict, "history_clicked_items": videos}
        (small / "long.pkl").write_bytes(pickle.dumps(long))
        metadata, arrays = read_archive(small / "output/model/model_pass_00001.tar.gz", "")
        write_archive(
            small / "long.tar.gz",
            {**metadata, "dictionary_fingerprint": dictionary_fingerprint(long)},
            arrays,
        )
        flags = "--model_path=long.tar.gz --feature_dict=long.pkl --output_path"
        result = run(f"python item_vector.py {flags}=long.npz", small)
        if letters == 256:
            assert result.returncode == 0 and "L" * 256 in np.load(small / "long.npz")["ids"]
            (small / "long.npz").unlink()
            (small / "long.npz.json").unlink()
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("item_vector.py: long.npz: an id of more than 256 letters")
    assert not list(small.glob("long.npz*"))
    run_ok(f"python item_vector.py {flags}=long.tsv", small)
    ids = [line.split("\t")[0] for line in (small / "long.tsv").read_text().splitlines()]
    assert ids == list(videos)[1:]


def test_parts_of_two_runs(small):
    """Same number of videos, other names: only fingerprints can tell."""
    other = small_log(300).replace("V3:", "W3:")
    (small / "two.txt").write_text(other, encoding="utf-8")
    run_ok(
        "python data_processor.py --train_set_path=two.txt --output_dir=two --feat_appear_limit=2",
        small,
    )
    mixed = {
        train_command(
            "output/x", "--item_freq=two/item_freq.pkl"
        ): "train.py: two/item_freq.pkl: made with another dictionary than --feature_dict; ",
        train_command(
            "output/x", "--feature_dict=two/feature_dict.pkl"
        ): "train.py: output/item_freq.pkl: made with another dictionary than --feature_dict; ",
        f"python item_vector.py {MODEL_FLAGS} --feature_dict=two/feature_dict.pkl": "item_vector.py: output/model/model_pass_00001.tar.gz: trained with another dictionary than --feature_dict",
    }
    for command, line in mixed.items():
        result = run(command, small)
        assert (result.returncode, result.stdout) == (2, "") and result.stderr.startswith(line)
    shutil.copy(small / "two" / "item_freq.pkl", small / "two" / "kept.pkl")
    freq = pickle.loads((small / "two" / "item_freq.pkl").read_bytes())
    freq[1], freq[2] = freq[2] / 2, freq[1] + freq[2] / 2
    (small / "two" / "item_freq.pkl").write_bytes(pickle.dumps(freq))
    result = run(
        train_command(
            "output/x",
            "--item_freq=two/item_freq.pkl --feature_dict=two/feature_dict.pkl "
            "--train_set_path=two.txt",
        ),
        small,
    )
    assert result.returncode == 2
    assert "not the one that the fingerprint.json beside it was written with" in result.stderr


def test_vectors_say_what_they_belong_to(small):
    run_ok(
        f"python user_vector.py --infer_set_path=log.txt {MODEL_FLAGS} --output_path=u.tsv", small
    )
    run_ok(f"python item_vector.py {MODEL_FLAGS} --output_path=v.npz", small)
    other = MODEL_FLAGS.replace("00001", "00000")
    run_ok(f"python item_vector.py {other} --output_path=o.vec", small)
    metadata = {
        name: json.loads((small / f"{name}.json").read_text())
        for name in ("u.tsv", "v.npz", "o.vec")
    }
    assert metadata["u.tsv"] == metadata["v.npz"] != metadata["o.vec"]
    assert metadata["v.npz"]["feature_dict"] == metadata["o.vec"]["feature_dict"]
    assert (
        metadata["v.npz"]["feature_dict"]
        == json.loads((small / "output/fingerprint.json").read_text())["feature_dict"]
    )


def test_what_strangers_tried(small, tmp_path):
    """A file where a folder is wanted, before anything is read; a part counted twice; a checkpoint for a model; a run
    that is resumed without its validation log; no users at all."""
    (tmp_path / "file").write_text("")
    log, model = "--train_set_path=nowhere", "--model_path=output/model/model_pass_00001.tar.gz"
    dictionary = "--feature_dict=output/feature_dict.pkl"
    run_ok(
        f"python data_processor.py --train_set_path=log.txt --counts_only --output_dir={tmp_path}",
        small,
    )
    run_ok(
        train_command(tmp_path / "valid", "--valid_set_path=log.txt --num_passes=1 --no-rules"),
        small,
    )
    for command, describe_error in (
        (f"data_processor.py {log} --output_dir={tmp_path}/file", "is a file: give a folder"),
        (train_command(f"{tmp_path}/file").removeprefix("python "), "is a file: give a folder"),
        (
            f"infer_user.py {model} {dictionary} --output_dir={tmp_path}/file",
            "is a file: give a folder",
        ),
        (
            f"data_processor.py --merge_counts {tmp_path}/counts.pkl {tmp_path}/counts.pkl --output_dir=x",
            "given twice",
        ),
        (
            f"infer.py --infer_set_path=log.txt --model_path={tmp_path}/valid/checkpoint.tar.gz {dictionary}",
            "the checkpoint of a run, not a model",
        ),
        (
            train_command(tmp_path / "valid", "--resume --no-rules").removeprefix("python "),
            "made by a run with another validation log;",
        ),
    ):
        result = run(f"python {command}", small)
        assert (result.returncode, result.stdout) == (
            2,
            "",
        ) and describe_error in result.stderr.splitlines()[-1], result.stderr
    result = run(f"python infer.py --infer_set_path={tmp_path}/file {model} {dictionary}", small)
    assert (result.returncode, result.stdout) == (
        0,
        "",
    ) and f"warning: no line in {tmp_path}/file" in result.stderr
