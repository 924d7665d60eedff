"""infer_user.py: parts that are continued, and users with a history."""

import shutil

from conftest import run, run_ok

import pytest

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


@pytest.mark.parametrize("source", ["", "--infer_set_path=log.txt --remove_seen"])
def test_parts_are_continued(small, source):
    """Together they are what is printed; a finished one is kept; another model is refused."""
    command = (
        f"python infer_user.py {MODEL} {source} --batch_size=128 --part_users=256 --deny_items=no "
        "--output_dir=parts"
    )
    (small / "no").write_text("V3\n")
    shutil.rmtree(small / "parts", ignore_errors=True)
    assert run_ok(command, small) == ""
    parts = sorted((small / "parts").glob("part-*"))
    assert [path.name for path in parts] == ["part-00000", "part-00001"]
    printed = run_ok(f"python infer_user.py {MODEL} {source} --deny_items=no", small)
    assert "".join(path.read_text() for path in parts) == printed
    parts[1].unlink()
    parts[0].write_text("as it was\n")
    run_ok(command, small)
    assert (
        parts[0].read_text() == "as it was\n"
        and printed.endswith(parts[1].read_text())
        and parts[1].stat().st_size
    )
    for other in (command.replace("00001", "00000"), f"printf 'V4\\nV5\\n' > no; {command}"):
        refused = run(other, small)
        assert (
            refused.returncode == 2
            and "has parts of another model, of other settings or of" in refused.stderr
        )
    assert not list((small / "parts").glob("*.tmp"))


def test_parts_of_another_run(small):
    """Parts without run.json are refused; moved files and other batches continue; pipes cannot."""
    command = f"python infer_user.py {MODEL} --part_users=256 --output_dir=theirs --deny_items="
    shutil.rmtree(small / "theirs", ignore_errors=True)
    (small / "theirs").mkdir()
    (small / "theirs" / "part-00000").write_text("theirs\n")
    (small / "no").write_text("V3\n")
    missing = run(f"{command}missing", small)
    assert missing.returncode == 2 and "missing: No such file" in missing.stderr
    refused = run(f"{command}no", small)
    assert refused.returncode == 2 and "theirs: has parts of another model" in refused.stderr
    assert (small / "theirs" / "part-00000").read_text() == "theirs\n"
    (small / "theirs" / "part-00000").unlink()
    run_ok(f"{command}no --batch_size=128", small)
    (small / "theirs" / "part-00001").unlink()
    (small / "no").rename(small / "moved")
    result = run(f"{command}moved --batch_size=256", small)
    assert result.returncode == 0 and "1 parts are there already" in result.stderr
    for pipe in ("-", "<(cat moved)"):
        refused = run(f"{command[:-1]} {pipe} < moved", small)
        assert refused.returncode == 2 and "pipes cannot: give files" in refused.stderr


def test_parts_have_no_holes(small):
    """Their numbers are consecutive, also where a part is smaller than a batch."""
    shutil.rmtree(small / "small-parts", ignore_errors=True)
    run_ok(f"python infer_user.py {MODEL} --part_users=100 --output_dir=small-parts", small)
    parts = sorted(path for path in (small / "small-parts").glob("part-*"))
    assert [path.name for path in parts] == [
        f"part-{number:05d}" for number in range(len(parts))
    ] and len(parts) == 2


def test_users_with_a_history(small):
    """With a log the lists are those of infer.py; --remove_seen needs one."""
    source = "--infer_set_path=log.txt --remove_seen --top_n=4"
    assert (
        run_ok(f"python infer_user.py {MODEL} {source}", small)
        == run_ok(f"python infer.py {MODEL} {source}", small)
        != ""
    )
    result = run(f"python infer_user.py {MODEL} --remove_seen", small)
    assert result.returncode == 2 and "--remove_seen needs --infer_set_path" in result.stderr
