"""User errors: exit code 2 and one line that names file, line, problem and fix."""

import pickle
import shutil

from conftest import run, run_ok, train_command

import pytest

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


INFER = "python infer.py --infer_set_path=log.txt "


@pytest.fixture(scope="module")
def inputs(small):
    """The folder of `small` with damaged and unsuitable files."""
    good = "U1\tP1\tNULL\tV1:C1:T1\tM1\n"
    for name, text in (
        ("short.txt", good + "U2\tP1\tV1:C1:T1\tM1\n"),
        ("parts.txt", good + good[:-7] + "\tM1\n"),
        ("empty.txt", "U1\tP1\tNULL\t\tM1\n"),
        ("none.txt", "U1\t\t\tNULL\t\n"),
        ("strange.txt", "U1\t\t\tstrange:C1:T1\t\n"),
        ("other.txt", (small / "log.txt").read_text().replace("V1:", "W1:")),
    ):
        (small / name).write_text(text, encoding="utf-8")
    model = (small / "output" / "model" / "model_pass_00001.tar.gz").read_bytes()
    (small / "cut.tar.gz").write_bytes(model[:9999])
    run_ok(
        "python data_processor.py --train_set_path=other.txt --output_dir=other "
        "--feat_appear_limit=2",
        small,
    )
    shutil.copy(small / "other" / "feature_dict.pkl", small / "other.pkl")
    (small / "other.freq").write_bytes(pickle.dumps([0.5, 0.5]))
    return small


VECTOR = "python item_vector.py "


@pytest.mark.parametrize(
    "command, what",
    [
        (
            train_command("output/x", log="gone.txt"),
            "train.py: gone.txt: No such file or directory; ",
        ),
        (
            train_command("output/x", log="short.txt"),
            "train.py: short.txt:2: 4 columns instead of 5; ",
        ),
        (
            train_command("output/x", log="parts.txt"),
            "train.py: parts.txt:2: video-info 'V1:C1' is not ",
        ),
        (train_command("output/x", log="empty.txt"), "train.py: empty.txt:1: empty history; "),
        (
            train_command("output/x", log="strange.txt"),
            "train.py: strange.txt: no click on a video of the dictionary; ",
        ),
        (
            train_command("output/x", log="none.txt"),
            "train.py: none.txt: no click on a video of the dictionary; ",
        ),
        (
            train_command("output/x", "--test_set_path=none.txt"),
            "train.py: none.txt: no line with a click; ",
        ),
        (
            train_command("output/x", "--item_freq=other.freq"),
            "train.py: other.freq: 2 frequencies for 41 videos",
        ),
        (train_command("output/x", "--feature_dict=log.txt"), "train.py: log.txt: damaged ("),
        (
            train_command("output/x", "--batch_size=0"),
            "train.py: argument --batch_size: 0 is out of range",
        ),
        (
            train_command("output/x", "--loss=x"),
            "train.py: --loss: no loss is called 'x': network_conf.py has nce, ranking_nce; ",
        ),
        (
            train_command("output/x", "--network=Mine"),
            "train.py: --network: no network is called 'Mine': network_conf.py has DNNmodel",
        ),
        (train_command("output/x", "--device=nowhere"), "train.py: --device: no such device ("),
        (INFER + MODEL + " --infer_set_path=short.txt", "infer.py: short.txt:2: 4 columns"),
        (
            INFER + MODEL + " --feature_dict=other.pkl",
            "model_pass_00001.tar.gz: trained with another dictionary",
        ),
        (INFER + MODEL + " --model_path=cut.tar.gz", "infer.py: cut.tar.gz: damaged ("),
        (
            INFER + MODEL + " --model_path=gone.tar.gz",
            "infer.py: gone.tar.gz: No such file or directory; ",
        ),
        (INFER + MODEL + " --model_path=output", "infer.py: output: Is a directory; "),
        (INFER + MODEL + " --top_n=0", "infer.py: argument --top_n: 0 is out of range"),
        (INFER + MODEL + " --device=nowhere", "infer.py: --device: no such device ("),
        (INFER, "infer.py: the following arguments are required: --model_path, --feature_dict; "),
        (
            VECTOR + MODEL + " --output_path=x.csv",
            "item_vector.py: argument --output_path: x.csv: unknown kind of file",
        ),
        (
            VECTOR + MODEL + " --output_path=no/x.tsv",
            "item_vector.py: no/x.tsv: its folder does not exist; ",
        ),
        (
            f"python infer_user.py {MODEL} --user_ids=short.txt",
            "infer_user.py: short.txt:1: more than one column; ",
        ),
        (
            f"python user_vector.py {MODEL} --infer_set_path=empty.txt --output_path=x.tsv",
            "user_vector.py: empty.txt:1: ",
        ),
    ],
)
def test_errors(inputs, command, what):
    """Nothing on stdout, a last line that names file and line, and nothing half-written."""
    before = sorted(inputs.rglob("*"))
    result = run(command, inputs)
    assert (result.returncode, result.stdout) == (2, ""), result
    *lines, last = result.stderr.splitlines()
    assert what in last
    assert all(": warning: " in line or " of them known; " in line for line in lines)
    assert sorted(inputs.rglob("*")) == before


def test_a_log_without_a_click(small):
    (small / "no-clicks.txt").write_text("u\t\t\tNULL\t\n")
    result = run(f"{INFER} {MODEL} --evaluate --infer_set_path=no-clicks.txt", small)
    assert result.returncode == 2 and "no line with a click" in result.stderr
