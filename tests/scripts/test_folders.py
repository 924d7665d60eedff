"""Output folders and working directories of whole commands."""

import fcntl
import os

from conftest import (
    run,
    train_command,
)

import pytest


@pytest.mark.parametrize(
    "command",
    [
        train_command("locked"),
        "python data_processor.py --train_set_path=log.txt --output_dir=locked",
        "python infer_user.py --model_path=output/model/model_pass_00000.tar.gz "
        "--feature_dict=output/feature_dict.pkl --output_dir=locked",
    ],
)
def test_a_second_run_is_refused(small, command):
    """Before it reads or writes anything."""
    folder = small / "locked"
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    result = run(command, small)
    os.close(descriptor)
    assert (result.returncode, result.stdout, os.listdir(folder)) == (2, "", [])
    assert result.stderr.split(".py: ", 1)[1] == (
        "locked: another run is writing there; wait until it has ended, or give another folder\n"
    )


def test_a_working_directory_that_was_deleted(small, tmp_path):
    """The error names the cause: relative paths lead nowhere."""
    (tmp_path / "deleted").mkdir()
    for command in (
        f"data_processor.py --train_set_path={small}/log.txt --output_dir=no",
        f"item_vector.py --model_path={small}/output/model/model_pass_00000.tar.gz "
        f"--feature_dict={small}/output/feature_dict.pkl --output_path=v.tsv",
    ):
        result = run(
            f"cd deleted; rmdir ../deleted; python {small}/{command}; code=$?; mkdir ../deleted; "
            "exit $code",
            tmp_path,
        )
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1), (
            result.stderr
        )
        assert result.stderr.endswith(
            "; the working directory has been deleted, which may be the cause: "
            "change to one that exists\n"
        )
