"""--lift_rare: biases in the models of train.py."""

from candgen.archives import read_archive
from conftest import run_ok, small_log, train_command

import numpy as np
import pytest


@pytest.fixture(scope="module")
def young(small):
    """The folder of `small`, with a log whose users end with videos that few have clicked."""
    lines = [line.split("\t") for line in small_log(300).splitlines()]
    for user, columns in enumerate(lines):
        columns[3] += f";Y{user // 3}:C1:T1"
    text = "".join("\t".join(columns) + "\n" for columns in lines)
    (small / "young.txt").write_text(text, encoding="utf-8")
    (small / "earlier.txt").write_text("other\tP1\tNULL\tV1:C1:T1\tM1\n", encoding="utf-8")
    run_ok(
        "python data_processor.py --train_set_path=young.txt --output_dir=young "
        "--feat_appear_limit=2",
        small,
    )
    return small


@pytest.mark.parametrize(
    "flags, is_lifted",
    [("", True), ("--no-lift_rare", False), ("--context_set_path=earlier.txt", False)],
)
def test_biases_of_a_model(young, flags, is_lifted):
    """Those of the videos with three clicks are raised; none where the log has a part of them."""
    command = train_command("young/model", f"--preset=best --no-rules {flags}", log="young.txt")
    command = command.replace("output/", "young/").replace("--num_passes=2", "--num_passes=1")
    run_ok(command, young)
    _, served = read_archive(str(young / "young/model/model_pass_00000.tar.gz"), "")
    _, trained = read_archive(str(young / "young/model/checkpoint.tar.gz"), "")
    lifts = (served["nce_b"] - trained["nce_b"])[0]
    assert np.count_nonzero(lifts) == (100 if is_lifted else 0)
    assert not is_lifted or lifts.max() > 1
