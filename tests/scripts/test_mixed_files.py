"""Files that do not belong together, and files in the place of others."""

import json
import pickle

from candgen.archives import read_archive, write_archive
from candgen.data.dictionary import dictionary_fingerprint, load_feature_dict
from conftest import run, run_ok, small_log, train_command

import numpy as np
import pytest
from test_documented_commands import read_tsv

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def test_a_long_id_and_vectors(small):
    """In a .npz each id takes as much space as the longest: refused; a .tsv has no such limit."""
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    path = str(small / "output" / "model" / "model_pass_00001.tar.gz")
    metadata, arrays = read_archive(path, "")
    for length, code in ((256, 0), (257, 2)):
        long_id = "L" * length
        videos = {
            long_id if video == "V7" else video: id_
            for video, id_ in feature_dict["history_clicked_items"].items()
        }
        renamed = {**feature_dict, "history_clicked_items": videos}
        (small / "long.pkl").write_bytes(pickle.dumps(renamed))
        fingerprint = {"dictionary_fingerprint": dictionary_fingerprint(renamed)}
        write_archive(str(small / "long.tar.gz"), {**metadata, **fingerprint}, arrays)
        command = "python item_vector.py --model_path=long.tar.gz --feature_dict=long.pkl"
        result = run(f"{command} --output_path=long.npz", small)
        assert result.returncode == code
        if code == 0:
            assert long_id in np.load(small / "long.npz")["ids"]
            (small / "long.npz").unlink()
            (small / "long.npz.json").unlink()
    [line] = result.stderr.splitlines()
    assert line.startswith("item_vector.py: long.npz: an id of more than 256 characters")
    assert not list(small.glob("long.npz*"))
    run_ok(f"{command} --output_path=long.tsv", small)
    assert read_tsv(small / "long.tsv")[0] == list(videos)[1:]


def test_files_of_two_runs(small):
    """With as many videos of other names, only fingerprints tell them apart."""
    (small / "two.txt").write_text(small_log(300).replace("V3:", "W3:"), encoding="utf-8")
    run_ok(
        "python data_processor.py --train_set_path=two.txt --output_dir=two --feat_appear_limit=2",
        small,
    )
    another = "with another dictionary than --feature_dict"
    for command, problem in (
        (
            train_command("output/x", "--item_freq=two/item_freq.pkl"),
            f"train.py: two/item_freq.pkl: made {another}; ",
        ),
        (
            train_command("output/x", "--feature_dict=two/feature_dict.pkl"),
            f"train.py: output/item_freq.pkl: made {another}; ",
        ),
        (
            f"python item_vector.py {MODEL} --feature_dict=two/feature_dict.pkl",
            f"item_vector.py: output/model/model_pass_00001.tar.gz: trained {another}",
        ),
    ):
        result = run(command, small)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(problem)
    freq = pickle.loads((small / "two" / "item_freq.pkl").read_bytes())
    freq[1], freq[2] = freq[2] / 2, freq[1] + freq[2] / 2
    (small / "two" / "item_freq.pkl").write_bytes(pickle.dumps(freq))
    flags = "--item_freq=two/item_freq.pkl --feature_dict=two/feature_dict.pkl"
    result = run(train_command("output/x", flags, "two.txt"), small)
    assert result.returncode == 2
    assert "not the one that the fingerprint.json beside it was written with" in result.stderr


def test_fingerprints_of_vectors(small):
    """Users and videos of one model have the same ones; another pass is another model."""
    run_ok(f"python user_vector.py --infer_set_path=log.txt {MODEL} --output_path=u.tsv", small)
    run_ok(f"python item_vector.py {MODEL} --output_path=v.npz", small)
    other = MODEL.replace("00001", "00000")
    run_ok(f"python item_vector.py {other} --output_path=o.vec", small)
    users, videos, others = (
        json.loads((small / f"{name}.json").read_text()) for name in ("u.tsv", "v.npz", "o.vec")
    )
    assert users == videos != others
    dictionary = json.loads((small / "output" / "fingerprint.json").read_text())["feature_dict"]
    assert videos["feature_dict"] == others["feature_dict"] == dictionary


@pytest.mark.parametrize(
    "command",
    [
        "data_processor.py --train_set_path=nowhere --output_dir={}",
        train_command("{}", "--train_set_path=nowhere").removeprefix("python "),
        f"infer_user.py {MODEL} --output_dir={{}}",
    ],
)
def test_a_file_in_place_of_a_folder(small, command):
    """Refused before anything is read."""
    result = run(f"python {command.format('log.txt')}", small)
    assert (result.returncode, result.stdout) == (2, "")
    assert "is a file: give a folder" in result.stderr.splitlines()[-1]


def test_counts_that_are_given_twice(small):
    run_ok(
        "python data_processor.py --train_set_path=log.txt --counts_only --output_dir=part", small
    )
    result = run(
        "python data_processor.py --merge_counts part/counts.pkl part/counts.pkl --output_dir=x",
        small,
    )
    assert (result.returncode, result.stdout) == (2, "") and "given twice" in result.stderr


def test_a_checkpoint_in_place_of_a_model(small):
    flags = MODEL.replace("model_pass_00001", "checkpoint")
    result = run(f"python infer.py --infer_set_path=log.txt {flags}", small)
    assert (result.returncode, result.stdout) == (2, "")
    assert "the checkpoint of a run, not a model" in result.stderr.splitlines()[-1]
