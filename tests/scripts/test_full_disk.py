"""Full disks, folders that cannot be written, too little memory."""

import gzip
import os
import re
import shutil

from conftest import run, train_command

import pytest
from test_resume import SMALL_NETWORK

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def on_a_full_disk(folder, command):
    """Run a command where `folder`/disk has 4 kB left; `folder`/after is what it leaves there.

    The disk is a file system of 64 kB; where mounting is not allowed, the size of files is limited.
    """
    for name in ("disk", "after"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    script = (
        f"head -c 56K /dev/zero > disk/fill; cp seed/* disk; {command}; code=$?; "
        "cp disk/* after; exit $code"
    )
    mount = "mount -t tmpfs -o size=64k tmpfs disk"
    for unshare in ("unshare -m", "unshare -rm"):
        if run(f"{unshare} sh -c '{mount}'", folder).returncode == 0:
            return run(f"{unshare} sh -c '{mount} && {script}'", folder)
    return run(script.replace(command, f"(ulimit -f 4; {command})"), folder)


@pytest.mark.parametrize(
    "command, written",
    [
        (
            "python data_processor.py --train_set_path=log.txt --output_dir=disk "
            "--feat_appear_limit=1",
            "feature_dict.pkl",
        ),
        (train_command("disk", SMALL_NETWORK), "model_pass_00000.tar.gz"),
        (
            f"python user_vector.py --infer_set_path=log.txt {MODEL} --output_path=disk/u.tsv",
            "u.tsv",
        ),
        (f"python item_vector.py {MODEL} --output_path=disk/v.vec", "v.vec"),
        (f"python user_vector.py --export_dir=disk {MODEL}", "user_tower.json"),
    ],
    ids=["counting", "training", "user vectors", "item vectors", "user tower"],
)
def test_a_full_disk(small, command, written):
    """One line that names the file; an earlier file stays, and nothing half-written does."""
    shutil.rmtree(small / "seed", ignore_errors=True)
    (small / "seed").mkdir()
    (small / "seed" / written).write_text("earlier")
    result = on_a_full_disk(small, command)
    assert (result.returncode, result.stdout) == (2, ""), result
    assert "Traceback" not in result.stderr
    problem = "No space left on device|File too large|what was written cannot be read .*"
    last = result.stderr.splitlines()[-1]
    assert re.search(rf": disk\S*: ({problem}); check the path, its permissions", last)
    assert {path.name for path in (small / "after").iterdir()} == {"fill", written}
    assert (small / "after" / written).read_text() == "earlier"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize(
    "command",
    [
        "python data_processor.py --train_set_path=log.txt --output_dir=full",
        f"python item_vector.py {MODEL}",
        f"python infer.py --infer_set_path=log.txt {MODEL}",
        train_command("output/full", f"--num_passes=1 {SMALL_NETWORK}"),
    ],
    ids=["data_processor", "item_vector", "infer", "train"],
)
def test_stdout_on_a_full_disk(small, command):
    result = run(f"{command} > /dev/full", small)
    assert result.returncode == 2
    _, problem = result.stderr.splitlines()[-1].split(": ", 1)
    assert problem.startswith("output: No space left on device; check the path")
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        "python data_processor.py --train_set_path=log.txt --output_dir=/proc/no",
        f"python item_vector.py {MODEL} --output_path=/proc/no.tsv",
        f"python user_vector.py --infer_set_path=log.txt {MODEL} --output_path=log.txt/no.tsv",
        "python data_processor.py --train_set_path=log.txt --output_dir=log.txt",
        "python data_processor.py --train_set_path=. --output_dir=no",
    ],
)
def test_paths_that_cannot_be_used(small, command):
    result = run(command, small)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("folder", ["/proc/no", "/proc/self", "log.txt/no"])
def test_folders_that_cannot_have_models(small, folder):
    """Checked before anything is read."""
    result = run(train_command(folder), small)
    assert (result.returncode, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"train.py: {folder}")
    assert line.endswith("check the path, its permissions and the free space")


def test_out_of_memory(small):
    with gzip.open(small / "large.gz", "wb", 1) as stream:
        stream.write(b"U1\tP1\tNULL\tV1:C1:" + b"T1_" * (60 << 20) + b"T1\tM1\n")
    command = "python data_processor.py --train_set_path=large.gz --output_dir=no"
    result = run(f"ulimit -v 900000; {command}", small)
    (small / "large.gz").unlink()
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "out of memory" in result.stderr
