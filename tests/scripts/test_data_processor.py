"""data_processor.py: the files it writes, its flags and its errors."""

import hashlib
import pickle
import pickletools

from candgen.data.dictionary import (
    dictionary_fingerprint,
)
from conftest import (
    ROOT,
    run,
    run_ok,
)

import pytest

COMMAND = f"python {ROOT}/data_processor.py"
LOG = (
    "u1\tp1\tc1\tv1:a:s_t;v2:a:t;v1:a:s_t;v3::NULL\tm1\n"
    "u2\tp1\tNULL\tNULL\tm1\n"
    "u1\tp2\t\tv2:b:t;北:b:t\tm2\n"
)


LIMITED = "u1\tp1\t\tv1:a:s;v2:a:s;v3:a:s\t\nu2\tp2\t\tv1:a:s\t\nu1\tp2\t\tv4:b:t\t\n"


def test_by_hand(tmp_path):
    """u1 has 6 clicks, p1 2 lines, v1 and v2 2 clicks each; tag t 5, s 2; category a 3, b 2."""
    (tmp_path / "log.txt").write_text(LOG, encoding="utf-8")
    result = run(
        f"{COMMAND} --train_set_path=log.txt --output_dir=out --feat_appear_limit=2",
        tmp_path,
    )
    assert result.stdout.splitlines() == [  # NULL and nothing are no values
        "3 lines, 6 clicks, 33.33% of them on videos too rare to keep",
        "user_id: 2 of 3 values, with <unk>; 1 left out, 0.00% of occurrences",
        "province: 2 of 3 values, with <unk>; 1 left out, 33.33% of occurrences",
        "city: 1 of 2 values, with <unk>; 1 left out, 100.00% of occurrences",
        "phone: 2 of 3 values, with <unk>; 1 left out, 33.33% of occurrences",
        "history_clicked_items: 3 of 5 values, with <unk>; 2 left out, 33.33% of occurrences",
        "history_clicked_categories: 3 of 3 values, with <unk>",
        "history_clicked_tags: 3 of 3 values, with <unk>",
    ]
    feature_dict = pickle.loads((tmp_path / "out" / "feature_dict.pkl").read_bytes())
    warning, last = result.stderr.splitlines()
    assert "warning: log.txt: 33% of the clicks are on videos with fewer than " in warning
    assert last == f"data_processor.py: dictionary {dictionary_fingerprint(feature_dict)[:16]}"
    assert feature_dict == {
        "user_id": {"<unk>": 0, "u1": 1},
        "province": {"<unk>": 0, "p1": 1},
        "city": {"<unk>": 0},
        "phone": {"<unk>": 0, "m1": 1},
        "history_clicked_items": {"<unk>": 0, "v1": 1, "v2": 2},
        "history_clicked_categories": {"<unk>": 0, "a": 1, "b": 2},
        "history_clicked_tags": {"<unk>": 0, "t": 1, "s": 2},
    }
    assert [list(values) for values in feature_dict.values()] == [
        list(dict(sorted(values.items(), key=lambda pair: pair[1])))
        for values in feature_dict.values()
    ]
    freq = pickle.loads((tmp_path / "out" / "item_freq.pkl").read_bytes())
    assert freq == pytest.approx([2 / 6, 2 / 6, 2 / 6]) and all(
        type(share) is float for share in freq
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "feature_dict.pkl",
        "fingerprint.json",
        "item_freq.pkl",
    ]


def log_of_clicks(clicks):
    """A log of one click a line: {(user, video): lines}."""
    return "".join(
        f"{user}\t\t\t{video}:a:t\t\n" * lines for (user, video), lines in clicks.items()
    )


def test_the_default_limit(tmp_path):
    """It is printed, gives what the same limit gives when typed, and follows merged counts too."""
    clicks = log_of_clicks({("u", "v1"): 60, ("u", "v2"): 30, ("w", "v3"): 6, ("x", "v4"): 2})
    (tmp_path / "log.txt").write_text(clicks, encoding="utf-8")
    source = "--train_set_path=log.txt"
    outputs = [run(f"{COMMAND} {source} --output_dir=chosen", tmp_path)]
    assert "--feat_appear_limit=2, chosen by the clicks on videos\n" in outputs[0].stderr
    outputs.append(run(f"{COMMAND} {source} --output_dir=typed --feat_appear_limit=2", tmp_path))
    lines = clicks.splitlines(keepends=True)
    for part in range(2):
        (tmp_path / f"{part}.txt").write_text("".join(lines[part::2]), encoding="utf-8")
        run_ok(f"{COMMAND} --train_set_path={part}.txt --output_dir={part} --counts_only", tmp_path)
    command = f"{COMMAND} --merge_counts 0/counts.pkl 1/counts.pkl --output_dir=merged"
    outputs.append(run(command, tmp_path))
    assert "--feat_appear_limit=2, chosen by" in outputs[2].stderr
    assert len({output.stdout for output in outputs}) == 1
    for path in (tmp_path / "chosen").iterdir():
        for other in ("typed", "merged"):
            assert (tmp_path / other / path.name).read_bytes() == path.read_bytes()
    command = f"{COMMAND} --train_set_path=- --output_dir=out --max_user_clicks=4"
    limited = run(f"head -n 4 log.txt | {command}", tmp_path)  # or no user would be known
    assert "--feat_appear_limit=3, chosen by the clicks on videos\n" in limited.stderr
    assert "user_id: 2 of 2 values" in limited.stdout


def test_values_of_the_base_survive_a_higher_default(tmp_path):
    """As long as the log has them; a limit that is typed is applied to all values."""
    few = {("u", "v1"): 4, ("w", "v2"): 1, ("x", "gone"): 1}
    many = {("u", "v1"): 200, ("w", "v2"): 1, ("y", "v3"): 1}
    for name, clicks in (("few", few), ("many", many)):
        (tmp_path / f"{name}.txt").write_text(log_of_clicks(clicks), encoding="utf-8")
    run_ok(f"{COMMAND} --train_set_path=few.txt --output_dir=base", tmp_path)
    command = (
        f"{COMMAND} --train_set_path=many.txt --base_feature_dict=base/feature_dict.pkl "
        "--output_dir=out"
    )
    for flags, videos, users in (
        ("", {"v1": 1, "v2": 2}, {"u": 1, "w": 2}),
        ("--feat_appear_limit=20", {"v1": 1}, {"u": 1}),
    ):
        result = run(f"{command} {flags}", tmp_path)
        assert ("--feat_appear_limit=20, chosen" in result.stderr) == (not flags)
        feature_dict = pickle.loads((tmp_path / "out" / "feature_dict.pkl").read_bytes())
        assert feature_dict["history_clicked_items"] == {"<unk>": 0, **videos}
        assert feature_dict["user_id"] == {"<unk>": 0, **users}


def test_the_files_are_plain_and_always_the_same(tmp_path):
    (tmp_path / "log.txt").write_text(LOG, encoding="utf-8")
    digests = set()
    for seed in ("1", "2"):
        run_ok(
            f"{COMMAND} --train_set_path=log.txt --output_dir=out{seed} --feat_appear_limit=1",
            tmp_path,
            env={"PYTHONHASHSEED": seed},
        )
        content = [
            (tmp_path / f"out{seed}" / name).read_bytes()
            for name in ("feature_dict.pkl", "item_freq.pkl")
        ]
        digests.add(hashlib.sha256(b"".join(content)).hexdigest())
        for pickled in content:
            names = {opcode.name for opcode, _, _ in pickletools.genops(pickled)}
            assert not names & {
                "GLOBAL",
                "STACK_GLOBAL",
                "REDUCE",
                "BUILD",
                "INST",
                "OBJ",
                "NEWOBJ",
            }
    assert len(digests) == 1


def test_pipe_and_file_count_alike(tmp_path):
    (tmp_path / "log.txt").write_text(LOG, encoding="utf-8")
    for number, source in enumerate(
        [
            "--train_set_path=log.txt < /dev/null",
            "--train_set_path=- < log.txt",
            "--train_set_path=<(gzip -c log.txt)",
        ]
    ):
        run_ok(
            f"{COMMAND} --output_dir=out{number} --feat_appear_limit=1 {source}",
            tmp_path,
        )
    assert (
        len({(tmp_path / f"out{number}" / "feature_dict.pkl").read_bytes() for number in range(3)})
        == 1
    )


def test_counts_of_machines_are_merged(tmp_path):
    """The counts of parts give the same files, byte for byte, as the whole log."""
    lines = [*(LOG * 9).splitlines(True), "u3\tp1\tc2\tv9:z:s;v2:a:t\tm1\n"]
    count = f"{COMMAND}"
    command = f"{count} --feat_appear_limit=2"
    for name, chosen in (
        ("whole", lines),
        ("one", lines[:11]),
        ("two", lines[11:12]),
        ("three", lines[12:]),
    ):
        (tmp_path / f"{name}.txt").write_text("".join(chosen), encoding="utf-8")
    printed = run_ok(f"{command} --train_set_path=whole.txt --output_dir=whole", tmp_path)
    for name in ("one", "two", "three"):
        run_ok(f"{count} --train_set_path={name}.txt --counts_only --output_dir={name}", tmp_path)
        assert [path.name for path in (tmp_path / name).iterdir()] == ["counts.pkl"]
    run_ok(
        f"{count} --merge_counts one/counts.pkl two/counts.pkl --counts_only --output_dir=both",
        tmp_path,
    )
    for parts in (
        "three/counts.pkl one/counts.pkl two/counts.pkl",
        "both/counts.pkl three/counts.pkl",
    ):
        assert run_ok(f"{command} --merge_counts {parts} --output_dir=merged", tmp_path) == printed
        for path in (tmp_path / "whole").iterdir():
            assert (tmp_path / "merged" / path.name).read_bytes() == path.read_bytes()


def test_several_processes_count_alike(tmp_path):
    """The same files, and the same line in an error or left out, however many processes count."""
    (tmp_path / "log.txt").write_text(LOG * 50, encoding="utf-8")
    bad = LOG * 30 + "u\t\t\tv1:a\t\n" + LOG * 20 + "too\tfew\n" + LOG
    (tmp_path / "bad.txt").write_text(bad, encoding="utf-8")
    results = set()
    for processes in (1, 2, 5):
        flags = f"--feat_appear_limit=2 --processes={processes}"
        run_ok(
            f"{COMMAND} --train_set_path=log.txt --output_dir=out {flags}",
            tmp_path,
        )
        refused = run(
            f"{COMMAND} --train_set_path=bad.txt --output_dir=no {flags}",
            tmp_path,
        )
        sifted = run(
            f"{COMMAND} --train_set_path=bad.txt --output_dir=sifted --max_bad_lines=2 {flags}",
            tmp_path,
        )
        files = [
            (tmp_path / folder / name).read_bytes()
            for folder in ("out", "sifted")
            for name in ("feature_dict.pkl", "item_freq.pkl", "fingerprint.json")
        ]
        results.add((*files, refused.stderr, sifted.stdout, sifted.stderr))
    [(*_, refused, out, left)] = results
    assert (
        refused.startswith("data_processor.py: bad.txt:91: video-info 'v1:a' is not ")
        and refused.count("\n") == 1
    )
    assert out.startswith("153 lines, ")
    assert [line.split(" is not ")[0].split(" instead")[0] for line in left.splitlines()[:2]] == [
        "data_processor.py: left out: bad.txt:91: video-info 'v1:a'",
        "data_processor.py: left out: bad.txt:152: 2 columns",
    ]


@pytest.mark.parametrize(
    "flags, expected",
    [
        ("", "all\tv1:2,v2:1,v3:1,v4:1\n"),
        ("--max_user_clicks=3", "all\tv1:1,v2:1,v3:1,v4:1\n"),
        ("--max_user_clicks=2", "all\tv1:1,v3:1,v4:1\n"),
        ("--max_user_clicks=2 --hottest_by=province", "p1\tv3:1\np2\tv1:1,v4:1\n"),
    ],
)
def test_limited_users_by_hand(tmp_path, flags, expected):
    """u1 has clicks on v1, v2, v3 on one line and on v4 on the next one."""
    (tmp_path / "log.txt").write_text(LIMITED, encoding="utf-8")
    result = run(
        f"{COMMAND} --train_set_path=log.txt --output_dir=out --feat_appear_limit=1 "
        f"--hottest=9 {flags}",
        tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "hottest.tsv").read_text() == expected
    left_out = {"": "", "--max_user_clicks=3": "1 of 5"}.get(flags, "2 of 5")
    assert (f"{left_out} clicks left out" in result.stderr) == bool(left_out)


def test_a_pipe_is_limited_where_one_reading_does(tmp_path):
    command = f"{COMMAND} --train_set_path=- --output_dir=out --feat_appear_limit=1"
    run_ok(
        f"printf 'u1\\t\\t\\tv1:a:s;v2:a:s;v1:a:s\\t\\n' | {command} --max_user_clicks=2", tmp_path
    )
    assert pickle.loads((tmp_path / "out" / "item_freq.pkl").read_bytes()) == [0, 0.5, 0.5]
    (tmp_path / "log.txt").write_text(LIMITED, encoding="utf-8")
    result = run(f"cat log.txt | {command} --max_user_clicks=3", tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert (
        "user 'u1' fills several lines, with more clicks than --max_user_clicks=3" in result.stderr
    )


@pytest.mark.parametrize(
    "log, flags, what",
    [
        ("u\t\t\tNULL\t\n", "", "log.txt: no click in the whole log; "),
        ("", "", "log.txt: no click in the whole log; "),
        (LOG, "--feat_appear_limit=3", "log.txt: no video has 3 clicks; lower --feat_appear_limit"),
        ("u\t\t\tNULL:a:t\t\n", "", "log.txt: no click has a video-id; write it in front of "),
        (LOG + "u\t\t\tv1:a\t\n", "", "log.txt:4: video-info 'v1:a' is not"),
        (
            LOG,
            "--feat_appear_limit=0",
            "argument --feat_appear_limit: 0 is out of range: give at least 1",
        ),
        (LOG, "--feat_appear_limit=x", "invalid int value"),
        (LOG, "--surprise", "unrecognized arguments: --surprise"),
        (LOG, "--merge_counts log.txt", "give one of --train_set_path and --merge_counts"),
        (LOG, "--counts_only --hottest=3", "--hottest goes with the run that merges the counts"),
        (LOG, "--hottest_by=city", "--hottest_by needs --hottest"),
    ],
)
def test_errors(tmp_path, log, flags, what):
    """One line, exit code 2, nothing written."""
    (tmp_path / "log.txt").write_text(log, encoding="utf-8")
    result = run(
        f"{COMMAND} --train_set_path=log.txt --output_dir=out {flags or '--feat_appear_limit=1'}",
        tmp_path,
    )
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("data_processor.py: ") and what in result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_home_is_expanded(tmp_path):
    """The shell leaves the ~ of --flag=~/file alone."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "log.txt").write_text(LOG, encoding="utf-8")
    run_ok(
        f"{COMMAND} --train_set_path=~/log.txt --output_dir=~/out --feat_appear_limit=1",
        tmp_path,
        env={"HOME": str(home)},
    )
    assert (home / "out" / "feature_dict.pkl").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
