"""TODO"""

import gzip
import os
import re
import shutil

from conftest import run, train_command

import pytest

MODEL_FLAGS = (
    "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"
)


def on_a_full_disk(folder, command):
    """Run a command where `folder`/disk has 4 kB to spare: a file system of 64 kB, filled; or else, where this machine
    lets nobody mount, by a limit on the size of files. `folder`/after is what it leaves of the disk."""
    for name in ("disk", "after"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    script = f"head -c 56K /dev/zero > disk/fill; cp seed/* disk; {command}; code=$?; cp disk/* after; exit $code"
    mount = "mount -t tmpfs -o size=64k tmpfs disk"
    for own in ("unshare -m", "unshare -rm"):
        if run(f"{own} sh -c '{mount}'", folder).returncode == 0:
            return run(f"{own} sh -c '{mount} && {script}'", folder)
    return run(script.replace(command, f"(ulimit -f 4; {command})"), folder)


@pytest.mark.parametrize(
    "command, written",
    [
        (
            "python data_processor.py --train_set_path=log.txt --output_dir=disk --feat_appear_limit=1",
            "feature_dict.pkl",
        ),
        (train_command("disk"), "model_pass_00000.tar.gz"),
        (
            f"python user_vector.py --infer_set_path=log.txt {MODEL_FLAGS} --output_path=disk/u.tsv",
            "u.tsv",
        ),
        (
            f"python item_vector.py {MODEL_FLAGS} --output_path=disk/v.vec --feature_dict=output/feature_dict.pkl",
            "v.vec",
        ),
        (f"python user_vector.py --export_dir=disk {MODEL_FLAGS}", "user_tower.json"),
    ],
)
def test_a_full_disk(small, command, written):
    """One line that names the file; nothing half-written stays, and what was there before is as it was."""
    shutil.rmtree(small / "seed", ignore_errors=True)
    (small / "seed").mkdir()
    (small / "seed" / written).write_text("of yesterday")
    result = on_a_full_disk(small, command)
    assert (result.returncode, result.stdout) == (2, "") and "Traceback" not in result.stderr, (
        result
    )
    line = result.stderr.splitlines()[-1]
    what = "No space left on device|File too large|what was written cannot be read .*"
    assert re.search(rf": disk\S*: ({what}); check the path, its rights", line)
    assert {path.name for path in (small / "after").iterdir()} == {"fill", written}
    assert (small / "after" / written).read_text() == "of yesterday"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize(
    "command",
    [
        "python data_processor.py --train_set_path=log.txt --output_dir=full",
        f"python item_vector.py {MODEL_FLAGS}",
        f"python infer.py --infer_set_path=log.txt {MODEL_FLAGS}",
        train_command("output/full", "--num_passes=1"),
    ],
)
def test_stdout_on_a_full_disk(small, command):
    result = run(f"{command} > /dev/full", small)
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.split(": ", 1)[1].startswith("output: No space left on device; check the path")
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        "python data_processor.py --train_set_path=log.txt --output_dir=/proc/no",
        f"python item_vector.py {MODEL_FLAGS} --output_path=/proc/no.tsv",
        f"python user_vector.py --infer_set_path=log.txt {MODEL_FLAGS} --output_path=log.txt/no.tsv",
        "python data_processor.py --train_set_path=log.txt --output_dir=log.txt",
        "python data_processor.py --train_set_path=. --output_dir=no",
    ],
)
def test_no_place_to_write_no_file_to_read(small, command):
    result = run(command, small)
    assert (result.returncode, result.stderr.count("\n")) == (
        2,
        1,
    ) and "Traceback" not in result.stderr


@pytest.mark.parametrize("folder", ["/proc/no", "/proc/self", "log.txt/no"])
def test_no_place_for_models(small, folder):
    """Noticed before anything is read."""
    result = run(train_command(folder), small)
    [line] = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (2, "") and line.startswith(
        f"train.py: {folder}"
    ), result.stderr
    assert line.endswith("check the path, its rights and the free space")


def test_out_of_memory(small):
    with gzip.open(small / "large.gz", "wb", 1) as stream:
        stream.write(b"U1\tP1\tNULL\tV1:C1:" + b"T1_" * (60 << 20) + b"T1\tM1\n")
    result = run(
        "ulimit -v 900000; python data_processor.py --train_set_path=large.gz --output_dir=no",
        small,
    )
    assert (result.returncode, result.stderr.count("\n")) == (
        2,
        1,
    ) and "out of memory" in result.stderr
    (small / "large.gz").unlink()
