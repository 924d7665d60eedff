"""--context_set_path of infer.py, user_vector.py and infer_user.py: several days, one history."""

import gzip

from conftest import lists_of, run, run_ok

import pytest

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"
EARLIER = "--context_set_path days/1.txt days/2.gz"


@pytest.fixture(scope="module")
def days(small):
    """The folder of `small`, its log cut into three days, and joined again, in the folder days.

    A third of the users have no click on the last day; a user of the earlier days is not in it;
    profiles differ from day to day.
    """
    (small / "days").mkdir(exist_ok=True)
    texts = {name: [] for name in ("1", "2", "3", "joined")}
    for number, line in enumerate((small / "log.txt").read_text(encoding="utf-8").splitlines()):
        user, province, city, history, phone = line.split("\t")
        infos = history.split(";")
        last = len(infos) if number % 3 == 0 else len(infos) - 1
        for day, clicks in (("1", infos[: last // 2]), ("2", infos[last // 2 : last])):
            texts[day].append(f"{user}\tP0\tNULL\t{';'.join(clicks) or 'NULL'}\tM0\n")
        profile = f"{user}\t{province}\t{city}"
        texts["3"].append(f"{profile}\t{';'.join(infos[last:]) or 'NULL'}\t{phone}\n")
        texts["joined"].append(f"{profile}\t{history}\t{phone}\n")
    texts["2"].append("only-earlier\t\t\tV1:C1:T1\t\n")
    for day, lines in texts.items():
        text = "".join(lines).encode()
        name = "2.gz" if day == "2" else f"{day}.txt"
        (small / "days" / name).write_bytes(gzip.compress(text) if day == "2" else text)
    return small


@pytest.mark.parametrize(
    "command",
    [
        "infer.py",
        "infer.py --remove_seen --top_n=40",
        "infer.py --explain",
        "infer.py --evaluate",
        "user_vector.py",
        "infer_user.py",
        "infer_user.py --remove_seen --top_n=40 --batch_size=128",
    ],
)
def test_days_are_one_history(days, command):
    """What is printed is, byte for byte, that of the log with the joined histories."""
    joined = run_ok(f"python {command} {MODEL} --infer_set_path=days/joined.txt", days)
    result = run(f"python {command} {MODEL} --infer_set_path=days/3.txt {EARLIER}", days)
    assert (result.returncode, result.stdout) == (0, joined) and len(joined) > 300
    today = run_ok(f"python {command} {MODEL} --infer_set_path=days/3.txt", days)
    assert today != joined
    assert "days/1.txt days/2.gz: earlier clicks of 301 users\n" in result.stderr
    assert "days/3.txt: 300 of 300 users have earlier clicks\n" in result.stderr
    assert "warning" not in result.stderr
    if "--remove_seen" in command:
        clicked = {
            line.split("\t")[0]: {info.split(":")[0] for info in line.split("\t")[3].split(";")}
            for line in (days / "days" / "joined.txt").read_text().splitlines()
        }
        for user, pairs in lists_of(joined):
            assert not clicked[user] & {video for video, _ in pairs}


def test_files_of_vectors(days):
    for name, flags in (
        ("one", "--infer_set_path=days/joined.txt"),
        ("two", f"--infer_set_path=days/3.txt {EARLIER}"),
    ):
        run_ok(f"python user_vector.py {MODEL} {flags} --output_path=days/{name}.tsv", days)
    one, two = ((days / "days" / f"{name}.tsv").read_text() for name in ("one", "two"))
    assert one == two and one.count("\n") == 300


def test_parts_with_another_context(days):
    """They are refused; with the same logs they are continued."""
    command = (
        f"python infer_user.py {MODEL} --infer_set_path=days/3.txt --part_users=256 "
        "--output_dir=days/parts"
    )
    run_ok(f"{command} {EARLIER}", days)
    parts = sorted((days / "days" / "parts").glob("part-*"))
    printed = run_ok(f"python infer_user.py {MODEL} --infer_set_path=days/joined.txt", days)
    assert len(parts) == 2 and "".join(path.read_text() for path in parts) == printed
    parts[1].unlink()
    for other in ("", "--context_set_path days/1.txt", "--context_set_path days/2.gz days/1.txt"):
        refused = run(f"{command} {other}", days)
        assert refused.returncode == 2 and not refused.stdout
        assert "has parts of another model, of other settings or of other" in refused.stderr
    assert not parts[1].exists()
    run_ok(f"{command} {EARLIER}", days)
    assert "".join(path.read_text() for path in parts) == printed


def test_standard_input(days):
    """One of the logs may be: all but --output_dir read it once."""
    joined = run_ok(f"python infer.py {MODEL} --infer_set_path=days/joined.txt", days)
    for flags, piped in (
        (f"--infer_set_path=- {EARLIER}", "cat days/3.txt"),
        ("--infer_set_path=days/3.txt --context_set_path days/1.txt -", "cat days/2.gz"),
    ):
        assert run_ok(f"{piped} | python infer.py {MODEL} {flags}", days) == joined


@pytest.mark.parametrize(
    "command, what",
    [
        (
            "infer.py --infer_set_path=- --context_set_path=-",
            "only one input can be standard input (-)",
        ),
        (
            "user_vector.py --infer_set_path=- --context_set_path log.txt -",
            "only one input can be standard input (-)",
        ),
        (
            "infer_user.py --infer_set_path=log.txt --context_set_path=- --deny_items=-",
            "only one input can be standard input (-)",
        ),
        ("infer_user.py --user_ids=- --deny_items=-", "only one input can be standard input (-)"),
        (
            "infer.py --infer_set_path=log.txt --context_set_path days/1.txt ./log.txt",
            "log.txt, which is served: give earlier clicks",
        ),
        ("infer_user.py --context_set_path=days/1.txt", "--context_set_path needs --infer_set_pat"),
        (
            "infer_user.py --infer_set_path=days/3.txt --context_set_path=- --output_dir=days/none",
            "standard input (-) and pipes cannot: give files",
        ),
        (
            "user_vector.py --export_dir=days/none --context_set_path=days/1.txt",
            "--context_set_path does not go with --export_dir",
        ),
        (
            "infer.py --infer_set_path=days/3.txt --context_set_path=days/none",
            "days/none: No such file or directory; ",
        ),
    ],
)
def test_what_is_refused(days, command, what):
    """One line, exit code 2."""
    result = run(f"python {command} {MODEL}", days)
    assert (result.returncode, result.stdout) == (2, "")
    assert what in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr
    assert not (days / "days" / "none").exists()


@pytest.mark.parametrize("script", ["infer.py", "user_vector.py", "infer_user.py"])
def test_a_user_with_several_lines(days, script):
    """One warning on stderr; the output has a line for each line of the log."""
    lines = ["U1\t\t\tV1:C1:T1\t\n", "U2\t\t\tV2:C2:T2\t\n", "U1\t\t\tV3:C3:T3\t\n"] * 2
    (days / "days" / "several.txt").write_text("".join(lines))
    result = run(f"python {script} {MODEL} --infer_set_path=days/several.txt", days)
    assert result.returncode == 0 and result.stdout.count("\n") == 6
    [warning] = [line for line in result.stderr.splitlines() if "warning" in line]
    assert warning.startswith(
        f"{script}: warning: days/several.txt: user 'U1' has several lines: each is served as a "
        "user of its own"
    )
