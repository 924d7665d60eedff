"""--format and --names of infer.py, infer_user.py and item_vector.py; --items."""

import json
import shutil

from candgen.serving import lists
from candgen.serving.lists import ListFormat
from conftest import lists_of, run, run_ok

import pytest

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"
COMMANDS = {
    "user": f"python infer.py --infer_set_path=log.txt {MODEL} --top_n=4",
    "user id": f"python infer_user.py {MODEL} --top_n=4",
    "video": f"python item_vector.py {MODEL} --similar=4",
}
HEADERS = {
    "user": "user\trank\tvideo\tprobability",
    "user id": "user\trank\tvideo\tprobability",
    "video": "video\trank\tsimilar\tcosine",
}


@pytest.fixture(scope="module")
def titles(small):
    """{video-id: title}, which titles.tsv has with some that the model does not know."""
    by_id = {f"V{number}": f"Title {number}, of: 50%" for number in range(0, 40, 2)}
    lines = [f"{video}\t{title}\n" for video, title in {**by_id, "new": "New"}.items()]
    (small / "titles.tsv").write_text("".join(lines))
    return by_id


@pytest.mark.parametrize("owner", COMMANDS)
def test_long_has_a_row_for_each_listed_video(small, titles, owner):
    command = COMMANDS[owner]
    printed = lists_of(run_ok(command, small))
    expected = [
        f"{user}\t{rank}\t{video}\t{share:.6g}"
        for user, pairs in printed
        for rank, (video, share) in enumerate(pairs, 1)
    ]
    header = HEADERS[owner]
    assert run_ok(f"{command} --format=lists", small) == run_ok(command, small)
    assert run_ok(f"{command} --format=long", small).splitlines() == [header, *expected]
    result = run(f"{command} --format=long --names=titles.tsv", small)
    assert result.stdout.splitlines() == [
        f"{header}\ttitle",
        *(f"{row}\t{titles.get(row.split(chr(9))[2], '')}" for row in expected),
    ]
    assert result.stderr.count("titles.tsv") == 2
    assert "titles.tsv: 20 of its 21 videos are known\n" in result.stderr
    assert "titles.tsv: 20 of the 40 videos have no title\n" in result.stderr
    line = run_ok(f"{command} --names=titles.tsv", small).splitlines()[0]
    assert line.split("\t")[1].split(",") == [
        f"{video}:{share:.6g}:"
        + titles.get(video, "").replace("%", "%25").replace(",", "%2C").replace(":", "%3A")
        for video, share in printed[0][1]
    ]


def test_a_further_format_is_a_function_and_an_entry(small, titles, monkeypatch):
    def json_line(columns, owner, entries):
        owners, *fields = columns
        return (
            json.dumps({owners: owner, "list": [dict(zip(fields, entry)) for entry in entries]})
            + "\n"
        )

    monkeypatch.setitem(lists.LIST_FORMATS, "jsonl", ListFormat("JSON lines", json_line))
    for owner, command in COMMANDS.items():
        names = HEADERS[owner].split("\t")
        for line, (user, pairs) in zip(
            run_ok(f"{command} --format=jsonl --names=titles.tsv", small).splitlines(),
            lists_of(run_ok(command, small)),
        ):
            assert json.loads(line) == {
                names[0]: user,
                "list": [
                    {names[2]: video, names[3]: f"{share:.6g}", "title": titles.get(video, "")}
                    for video, share in pairs
                ],
            }


def test_lists_of_no_users(small):
    """The header alone."""
    (small / "nobody.txt").write_text("\n")
    for script in ("infer.py", "infer_user.py"):
        command = f"python {script} --infer_set_path=nobody.txt {MODEL}"
        assert run_ok(command, small) == ""
        assert run_ok(f"{command} --format=long", small) == f"{HEADERS['user']}\n"
        assert run_ok(f"{command} --format=long --explain", small) == (
            f"{HEADERS['user']}\tbecause\tdrop\n"
        )


def test_an_error_before_the_first_list(small):
    """There is no header then."""
    (small / "bad.txt").write_text("U1\tP1\n")
    result = run(f"python infer.py --infer_set_path=bad.txt {MODEL} --format=long", small)
    assert (result.returncode, result.stdout) == (2, "")


def test_similar_videos_of_some(small):
    """In the order of the file; the lists are those of all videos."""
    full = dict(lists_of(run_ok(COMMANDS["video"], small)))
    (small / "items.txt").write_text("V7\nnew\nV3\nV%37\n")
    result = run(f"{COMMANDS['video']} --items=items.txt", small)
    assert lists_of(result.stdout) == [(video, full[video]) for video in ("V7", "V3", "V7")]
    assert "item_vector.py: warning: items.txt: 1 of its 4 videos are not known" in result.stderr
    (small / "denied.txt").write_text("V3\n")
    out = run_ok(f"{COMMANDS['video']} --items items.txt --deny_items denied.txt", small)
    listed = lists_of(out)
    assert [video for video, _ in listed] == ["V7", "V3", "V7"]
    assert "V3" not in {video for _, pairs in listed for video, _ in pairs}


@pytest.mark.parametrize(
    "flags, what",
    [
        ("infer.py --infer_set_path=log.txt --format=csv", "--format: invalid choice: 'csv'"),
        (
            "infer.py --infer_set_path=log.txt --evaluate --format=long",
            "--format does not go with --evaluate",
        ),
        (
            "infer.py --infer_set_path=log.txt --evaluate --names=titles.tsv",
            "--names does not go with --evaluate",
        ),
        ("infer.py --infer_set_path=log.txt --names=none", "none: No such file"),
        (
            "infer.py --infer_set_path=log.txt --names=log.txt",
            "log.txt:1: 5 columns instead of 2; write ids one a line, with a tab and the title",
        ),
        ("infer_user.py --names=others.tsv", "others.tsv: 1 of its 1 videos are not known"),
        ("item_vector.py --items=items.txt", "--items needs --similar"),
        ("item_vector.py --format=long", "--format needs --similar"),
        ("item_vector.py --names=titles.tsv --output_path=x.npz", "--names needs --similar"),
        ("item_vector.py --similar=3 --items=others.tsv", "others.tsv: 1 of its 1 videos are not"),
    ],
)
def test_what_is_refused(small, titles, flags, what):
    (small / "others.tsv").write_text("v1\tOne\n")
    result = run(f"python {flags} {MODEL}", small)
    assert (result.returncode, result.stdout) == (2, "") and what in result.stderr
    assert result.stderr.count("\n") == 1


def test_parts_of_a_table(small, titles):
    """Each has the header; other flags and another file of names are another run."""
    shutil.rmtree(small / "table", ignore_errors=True)
    (small / "own.tsv").write_text("V1\tOne\n")
    lists_flags = f"python infer_user.py {MODEL} --infer_set_path=log.txt"
    flags = "--format=long --names=own.tsv --explain"
    command = f"{lists_flags} --part_users=256 --output_dir=table"
    run_ok(f"{command} {flags}", small)
    parts = [path.read_text().splitlines(True) for path in sorted((small / "table").glob("part-*"))]
    header, *rows = run_ok(f"{lists_flags} {flags}", small).splitlines(True)
    assert header == f"{HEADERS['user']}\ttitle\tbecause\tdrop\tbecause_title\n"
    assert len(parts) == 2 and [part[0] for part in parts] == [header, header]
    assert [row for part in parts for row in part[1:]] == rows
    for other in (
        f"{command} --names=own.tsv --explain",
        f"{command} --format=long --explain",
        f"{command} --format=long --names=own.tsv",
        f"printf 'V1\\tOther\\n' > own.tsv; {command} {flags}",
    ):
        refused = run(other, small)
        assert refused.returncode == 2 and "table: has parts of another model" in refused.stderr
