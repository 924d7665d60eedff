"""Tables -> logs: whole commands on small tables, with the answers worked out by hand."""

import csv
import gzip
import io
import json
import re
import sys
from collections import Counter
from datetime import datetime, timezone

from candgen.console import InputError, user_error
from candgen.data.logs import checked_line, read_catalogue, read_log, split_video_info
from candgen.data.percent_encoding import decode
from conftest import ROOT, metrics_of, output_of, run, run_ok

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pl = pytest.importorskip("polars")
import convert_events

SCRIPT = f"python {ROOT}/data/convert_events.py"
# Texts of docs/
DOCUMENTS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
# ann: a b a c (b twice in a row), bob: c d, cid: d
EVENTS = """\
user,item,time,event,stars
bob,d,2026-11-21T10:00:00+01:00,view,3
ann,a,2026-11-18T10:00:00Z,view,5
ann,b,2026-11-18T11:00:00Z,view,4
ann,b,2026-11-18T11:00:00Z,like,4
cid,d,2026-11-22,view,1
ann,a,2026-11-20,view,2
bob,c,2026-11-19 23:59:59,view,
ann,c,2026-11-21T00:00:00Z,view,5
"""
ITEMS = """\
item,kind,labels,name
a,film,x|y,Title A
b,,,
new,show,z,New one
"""
USERS = "user\tcountry\tplan\nann\tDE\tgold\nzed\tFR\t\n"
WITH_METADATA = (
    "--items items.csv --category_column=kind --tags_column=labels --title_column=name "
    "--users users.tsv --profile_columns plan country"
)


@pytest.fixture
def tables(tmp_path):
    """Folder with the tables above."""
    for name, text in {"events.csv": EVENTS, "items.csv": ITEMS, "users.tsv": USERS}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def convert(folder, flags="", events="events.csv"):
    """stdout of the script, called in this process in a folder; it writes to folder/out."""
    main, output_dir = convert_events.main, f"--output_dir={folder}/out"
    return output_of(main, "--events", folder / events, *flags.split(), output_dir)


def written(folder):
    """{name: text} of the files in folder/out."""
    return {path.name: path.read_text("utf-8") for path in (folder / "out").iterdir()}


def histories(text):
    """{user: 'items in one string'} of a log whose items are single letters."""
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[0]: "".join(info.split(":")[0] for info in row[3].split(";")) for row in rows}


def all_histories(folder):
    return {name: histories(text) for name, text in written(folder).items()}


def test_leave_one_out_with_metadata(tables):
    """As typed, in the folder of the tables: the files and the report, whole."""
    command = f"{SCRIPT} --events events.csv {WITH_METADATA} --output_dir=out/log"
    result = run(command, tables)
    assert result.returncode == 0
    assert re.fullmatch(r"convert_events.py: \d+\.\d s, at most \d+ MB of memory\n", result.stderr)
    read = {path.name: path.read_text() for path in (tables / "out" / "log").iterdir()}
    a, b, c, d = "a:film:x_y", "b:NULL:NULL", "c:NULL:NULL", "d:NULL:NULL"
    bob, ann, cid = (
        "bob\tNULL\tNULL\t{}\tNULL\n",
        "ann\tgold\tDE\t{}\tNULL\n",
        "cid\tNULL\tNULL\t{}\tNULL\n",
    )
    few = bob.format(f"{c};{d}"), cid.format(d)
    assert read == {
        "train.txt": few[0] + ann.format(f"{a};{b}") + few[1],
        "valid.txt": ann.format(f"{a};{b};{a}"),
        "test.txt": ann.format(f"{a};{b};{a};{c}"),
        "infer.txt": few[0] + ann.format(f"{a};{b};{a};{c}") + few[1],
        "catalogue.txt": f"{a}\n{b}\nnew:show:z\n",
        "titles.tsv": "a\tTitle A\nnew\tNew one\n",
    }
    report = result.stdout.splitlines()
    rows = [line.split() for line in report]
    assert rows == [
        ["events", "read", "8"],
        ["dropped:", "consecutive", "repeats", "1"],
        ["clicks", "7"],
        ["days", "2026-11-18..2026-11-22"],
        ["users", "3", "2", "of", "them", "not", "in", "--users"],
        ["items", "4", "2", "of", "them", "not", "in", "--items"],
        ["province", "plan"],
        ["city", "country"],
        ["train.txt", "3", "lines"],
        ["valid.txt", "1", "lines"],
        ["test.txt", "1", "lines"],
        ["infer.txt", "3", "lines"],
        ["catalogue.txt", "3", "lines"],
        ["titles.tsv", "2", "lines"],
    ]
    assert len({line.index(f" {row[-2]}  lines") for line, row in zip(report[-6:], rows[-6:])}) == 1


def test_a_date(tables):
    """ann has a b a before; bob has c, and cid nothing."""
    convert(tables, "--split=2026-11-21")
    assert all_histories(tables) == {
        "train.txt": {"bob": "c", "ann": "ab"},
        "valid.txt": {"ann": "aba"},
        "test.txt": {"bob": "cd", "ann": "abac"},
        "infer.txt": {"bob": "cd", "ann": "abac", "cid": "d"},
    }
    convert(tables, "--split=2026-11-19T23:59:59")
    assert all_histories(tables)["test.txt"] == {"ann": "aba"}  # from that second on
    convert(tables, "--split=2026-11-20T00:59:59+01:00")  # the same second
    assert all_histories(tables)["test.txt"] == {"ann": "aba"}
    convert(tables, "--split=2026-11-20T00:00:00Z")
    assert all_histories(tables)["test.txt"] == {"bob": "cd", "ann": "aba"}


def test_files_of_an_earlier_split_are_removed(tables):
    """They would be of other clicks; other files stay."""
    (tables / "out").mkdir()
    (tables / "out" / "mine.txt").write_text("mine")
    convert(tables)
    first = {"train.txt", "valid.txt", "test.txt", "infer.txt", "mine.txt"}
    assert set(written(tables)) == first
    convert(tables, "--split=none")
    both = {"bob": "cd", "ann": "abac", "cid": "d"}
    read = written(tables)
    assert read.pop("mine.txt") == "mine"
    assert {name: histories(text) for name, text in read.items()} == {
        "train.txt": both,
        "infer.txt": both,
    }


def test_filters(tables):
    """By values and numbers, each counted; a missing number is too small."""
    report = convert(
        tables, "--keep event=view user=ann,bob --min_value stars=2.5 --keep item=a,b,c,d"
    )
    assert all_histories(tables)["infer.txt"] == {"bob": "d", "ann": "abc"}
    dropped = dict(re.findall(r"dropped: (\S+) +(\d+)", report))
    assert dropped == {"--keep": "2", "--min_value": "2"}


def test_consecutive_repeats_and_rare_items(tables):
    """Kept repeats count as clicks."""
    convert(tables, "--consecutive_repeats=keep")
    assert all_histories(tables)["test.txt"] == {"ann": "abbac"}
    # Without the rare b, ann's a b a is a a, one click; then a is rare too.
    report = convert(tables, "--min_clicks 1 2 --split=none")
    assert all_histories(tables)["infer.txt"] == {"bob": "cd", "cid": "d", "ann": "c"}
    assert re.findall(r"dropped: (\S.*?) {2,}(\d+)", report) == [
        ("consecutive repeats", "2"),
        ("--min_clicks", "2"),
    ]


def test_rows_without_an_id_or_a_time(tables):
    """Are dropped, and counted; the time of a row that is dropped may be anything."""
    more = ",a,never,view,\nann,,never,view,\nann,a,,view,\nann,a,never,spam,\n"
    header, rows = EVENTS.split("\n", 1)
    (tables / "events.csv").write_text(f"{header}\n{more}{rows}")
    report = convert(tables, "--keep event=view,like")
    assert all_histories(tables)["test.txt"] == {"ann": "abac"}
    dropped = re.findall(r"dropped: (\S.*?) {2,}(\d+)", report)
    assert dropped == [
        ("--keep", "1"),
        ("no user", "1"),
        ("no item", "1"),
        ("no time", "1"),
        ("consecutive repeats", "1"),
    ]


def table_of(kind):
    """Bytes of the table of events in a format."""
    frame = pl.read_csv(EVENTS.encode(), infer_schema=False)
    stream = io.BytesIO()
    if kind == "tsv":
        frame.write_csv(stream, separator="\t")
    elif kind == "jsonl":
        frame.write_ndjson(stream)
    elif kind == "parquet":
        frame.with_columns(
            # as a table of a database has it
            pl.Series("time", [moment(text) for text in frame["time"]]).dt.convert_time_zone(
                "Asia/Tokyo"
            ),
            stars=frame["stars"].cast(pl.Float64),
        ).write_parquet(stream)
    else:
        frame.write_csv(stream)
    return stream.getvalue()


def moment(text):
    """Datetime of a text in ISO 8601, UTC unless it says otherwise."""
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz"])
def test_every_format_gives_the_same_bytes(tables, kind):
    convert(tables, "--min_value stars=0 --split=none")
    expected = written(tables)
    content = table_of(kind.split(".")[0])
    content = gzip.compress(content) if kind.endswith("gz") else content
    (tables / f"other.{kind}").write_bytes(content)
    convert(tables, "--min_value stars=0 --split=none", f"other.{kind}")
    assert written(tables) == expected and len(expected["infer.txt"]) > 50


def test_folders_and_patterns(tables, monkeypatch):
    """Part files in order of their names, of several kinds; hidden ones are skipped."""
    convert(tables)
    expected = written(tables)
    header, *rows = EVENTS.splitlines(keepends=True)
    parts = tables / "parts"
    parts.mkdir()
    (parts / "part-2.csv").write_text(header + "".join(rows[5:]))
    (parts / "part-1.csv.gz").write_bytes(gzip.compress((header + "".join(rows[2:5])).encode()))
    pl.read_csv((header + "".join(rows[:2])).encode()).write_parquet(parts / "part-0.parquet")
    (parts / "_SUCCESS").write_text("")
    (parts / ".part-0.csv.crc").write_text("x")
    for events in ("parts", "parts/part-*"):
        convert(tables, events=events)
        assert written(tables) == expected
    monkeypatch.chdir(parts)
    convert(tables, "part-1.csv.gz part-2.csv", events="parts/part-0.parquet")
    assert written(tables) == expected


def test_the_same_input_gives_the_same_bytes(tables):
    """Whatever the number of threads."""
    found = set()
    for threads in (1, 2, 4):
        command = f"{SCRIPT} --events events.csv {WITH_METADATA} --output_dir=out"
        run_ok(f"POLARS_MAX_THREADS={threads} {command}", tables)
        found.add(json.dumps(written(tables)))
    assert len(found) == 1


EVENT_ROWS = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcde"), st.integers(0, 9)), max_size=40
)


@given(
    EVENT_ROWS,
    st.sampled_from(["last", "none", 3, 6]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
)
def test_against_a_plain_program(tmp_path_factory, rows, split, min_user, min_item, drop):
    """Whatever the events: the same logs, or an error where a log would have no line."""
    folder = tmp_path_factory.getbasetemp() / "plain"
    (folder / "out").mkdir(parents=True, exist_ok=True)
    for path in (folder / "out").iterdir():
        path.unlink()
    with open(folder / "events.csv", "w") as stream:
        csv.writer(stream).writerows([("user", "item", "time"), *rows])
    expected = plain_logs(rows, split, min_user, min_item, drop)
    flag = split if isinstance(split, str) else f"1970-01-01T00:00:0{split}Z"
    repeats = "drop" if drop else "keep"
    flags = f"--split={flag} --min_clicks {min_user} {min_item} --consecutive_repeats={repeats}"
    if not all(expected.values()):
        with pytest.raises(InputError):
            convert(folder, flags)
        assert written(folder) == {}
        return
    convert(folder, flags)
    assert all_histories(folder) == expected
    for name, log in expected.items():
        assert list(histories(written(folder)[name])) == list(log)  # users in the same order


def plain_logs(rows, split, min_user, min_item, drop):
    """{file: {user: items}} of rows (user, item, second), by loops over them."""
    by_user = {}
    for user, item, second in rows:
        by_user.setdefault(user, []).append((second, item))
    for clicks in by_user.values():
        clicks.sort(key=lambda click: click[0])
    while True:
        size = sum(map(len, by_user.values()))
        if drop:
            for user, clicks in by_user.items():
                by_user[user] = [
                    click
                    for place, click in enumerate(clicks)
                    if not place or click[1] != clicks[place - 1][1]
                ]
        counts = Counter(item for clicks in by_user.values() for _, item in clicks)
        rare = {user for user, clicks in by_user.items() if len(clicks) < min_user}
        for user, clicks in by_user.items():
            by_user[user] = [
                click for click in clicks if user not in rare and counts[click[1]] >= min_item
            ]
        if size == sum(map(len, by_user.values())):
            break
    logs = {"train.txt": {}, "infer.txt": {}}
    if split != "none":
        logs.update({"valid.txt": {}, "test.txt": {}})
    outside = (
        isinstance(split, int)
        and len({second >= split for clicks in by_user.values() for second, _ in clicks}) < 2
    )
    for user, clicks in by_user.items():
        items = "".join(item for _, item in clicks)
        before = sum(second < split for second, _ in clicks) if isinstance(split, int) else 0
        logs["infer.txt"][user] = items
        if split == "none":
            logs["train.txt"][user] = items
        elif split == "last":
            logs["train.txt"][user] = items[:-2] if len(items) > 2 else items
            logs["valid.txt"][user] = items[:-1] if len(items) > 2 else ""
            logs["test.txt"][user] = items if len(items) > 2 else ""
        else:
            logs["train.txt"][user] = items[: before - 1] if before > 1 else items[:before]
            logs["valid.txt"][user] = items[:before] if before > 1 else ""
            logs["test.txt"][user] = items[: before + 1] if 0 < before < len(items) else ""
    if outside:
        return {"test.txt": {}}
    return {
        name: {user: items for user, items in log.items() if items} for name, log in logs.items()
    }


VALUES = st.text(min_size=1).filter(lambda text: not text.endswith(".0"))  # see whole numbers


@given(
    st.lists(st.tuples(VALUES, VALUES, st.lists(VALUES)), min_size=1, unique_by=lambda row: row[0]),
    VALUES,
    st.sampled_from(["csv", "jsonl", "parquet"]),
)
@example([("NULL", "<unk>", ["NULL", "<unk>", "a_b"])], "NULL", "csv")
@example([("\ufeffa", "\0", ["\ufeff"]), ("%41", ";:", ["%5F"])], "\ufeff\ufeff", "parquet")
@example([(" a ", "\r\n", ["\t"]), ("a", '"', ["\x85\u2028"])], " \r", "jsonl")
@example([('"', '""', []), ("'", ",", ["|"])], '"a', "csv")
def test_any_text_comes_back(tmp_path_factory, items, user, kind):
    """Ids, categories, tags and profile values through the converter, the log parser and decode."""
    folder = tmp_path_factory.getbasetemp() / "text"
    (folder / "out").mkdir(parents=True, exist_ok=True)
    names = [name for name, _, _ in items]
    write_rows(folder / f"e.{kind}", kind, {"user": user, "item": names, "time": range(len(items))})
    write_rows(folder / f"u.{kind}", kind, {"user": [user], "where": [user]})
    items_kind = "jsonl" if kind == "csv" else kind  # tags are lists
    table = {
        "item": names,
        "kind": [kind for _, kind, _ in items],
        "tags": [t for _, _, t in items],
    }
    write_rows(folder / f"i.{items_kind}", items_kind, table)
    convert(
        folder,
        f"--items {folder}/i.{items_kind} --category_column=kind --tags_column=tags "
        f"--users {folder}/u.{kind} --profile_columns where --split=none",
        f"e.{kind}",
    )
    [line] = read_log(str(folder / "out" / "infer.txt"), checked_line)
    catalogue = list(read_catalogue(str(folder / "out" / "catalogue.txt")))
    assert decode(line.user) == decode(line.columns[1]) == user
    assert line.infos == catalogue
    for info, (name, category, tags) in zip(catalogue, items):
        read_name, read_category, read_tags = split_video_info(info)
        assert (decode(read_name), decode(read_category)) == (name, category)
        assert [decode(tag) for tag in read_tags] == tags or (tags, read_tags) == ([], ["NULL"])
        assert not {read_name, read_category, line.user} & {"", "NULL", "<unk>"}
        assert not tags or not {*read_tags} & {"", "NULL", "<unk>"}


def write_rows(path, kind, columns):
    """Write a table."""
    frame = pl.DataFrame(columns)
    if kind == "csv":
        with open(path, "w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
            writer.writerows([frame.columns, *frame.rows()])
    elif kind == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ("--user_column=visitor", "no column 'visitor'; there are user, item, time, event, stars;"),
        ("--time_column=event", "events.csv: row 1: 'view' is not a time; write 2026-11-20T"),
        ("--keep event=buy", "none of 8 events is left (--keep 8); check --keep"),
        ("--min_value stars=6", "none of 8 events is left (--min_value 8)"),
        ("--min_clicks 9", "none of 8 events is left (consecutive repeats 1, --min_clicks 7)"),
        ("--keep nothing=1", "event, stars; name one of them by --keep"),
        ("--split=2026-11-18", "--split=2026-11-18T00:00:00+00:00: not within the clicks, which"),
        ("--split=2026-11-23", "are from 2026-11-18T10:00:00 to 2026-11-22T00:00:00; give"),
        ("--split=2026-11-18T10:30:00", "valid.txt would have no line"),
        ("--keep user=bob,cid", "--split=last: valid.txt would have no line"),
        ("--items items.csv --category_column=genre", "items.csv: no column 'genre'"),
        ("--items items.csv --items_id_column=sku", "name one of them by --items_id_column"),
        ("--users users.tsv --users_id_column=u --profile_columns plan", "by --users_id_column"),
        ("--users users.tsv --profile_columns gold", "name one of them by --profile_columns"),
        ("--min_value nothing=1", "event, stars; name one of them by --min_value"),
        ("--items - --title_column=name", "standard input cannot be read as a table; give a file"),
        ("--items nowhere.csv", "nowhere.csv: No such file or directory"),
        ("--items twice.csv --category_column=kind", "twice.csv: several rows with item 'a' that"),
        ("--items json.jsonl --tags_column=t --tags_separator=,", "--tags_separator: the tags in"),
        ("--users users.tsv --profile_columns a", "users.tsv: no column 'a'"),
        ("--users users.tsv", "--users needs one to 3 --profile_columns"),
        ("--users users.tsv --profile_columns a b c d", "--users needs one to 3"),
        ("--profile_columns a", "--profile_columns needs --users"),
        ("--category_column=kind", "--category_column needs --items"),
        ("--items items.csv --tags_separator=,", "--tags_separator needs --tags_column"),
        ("--min_clicks 1 2 3", "--min_clicks takes one number, or two"),
        ("--split=soon", "soon is not last, none, or a date such as 2026-11-20"),
        ("--keep event", "event is not COLUMN=VALUE,VALUE"),
        ("--min_value stars=many", "stars=many is not COLUMN=NUMBER"),
        ("--min_value stars=nan", "stars=nan is not COLUMN=NUMBER"),
    ],
)
def test_errors(tables, monkeypatch, capfd, flags, problem):
    """One line, exit code 2, no file and no folder left behind."""
    (tables / "twice.csv").write_text("item,kind\na,x\na,x\na,y\n")
    (tables / "json.jsonl").write_text('{"item":"a","t":["x"]}\n')
    before = sorted(tables.rglob("*"))
    monkeypatch.chdir(tables)
    with pytest.raises((InputError, OSError, SystemExit)) as raised:
        convert(tables, flags)
    if raised.type is SystemExit:
        assert raised.value.code == 2
        message = capfd.readouterr().err.rstrip("\n")
    else:
        message = str(user_error(raised.value))
    assert problem in message and "\n" not in message
    assert sorted(tables.rglob("*")) == before


def test_an_error_as_typed(tables):
    """What an earlier run has written stays as it is."""
    convert(tables)
    before = written(tables)
    result = run(f"{SCRIPT} --events events.csv --item_column=sku --output_dir=out", tables)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "convert_events.py: events.csv: no column 'sku'; there are user, item, time, event, stars; "
        "name one of them by --item_column\n"
    )
    assert written(tables) == before


def test_the_second_row_of_the_second_file(tables):
    """Is where the time is none."""
    bad = tables / "more.csv"
    bad.write_text("user,item,time\nann,a,1\nann,b,20.11.2026\n")
    with pytest.raises(InputError, match=r"more.csv: row 2: '20.11.2026' is not a time"):
        convert(tables, str(bad))


def test_a_table_that_would_be_replaced(tables, monkeypatch):
    """By this split, or removed."""
    monkeypatch.chdir(tables)
    convert(tables, WITH_METADATA)
    before = written(tables)
    for name in ("titles.tsv", "train.txt"):
        with pytest.raises(InputError, match="a table where a file is to be written"):
            convert(tables, events=f"out/{name}")
    assert written(tables) == before


@pytest.mark.parametrize(
    "events, output_dir, refused",
    [
        ("clicks", "clicks", True),
        ("clicks", "clicks/log", True),  # a folder among part files, the next time
        ("clicks/", "clicks/../clicks", True),
        ("clicks/*", "clicks/log", True),
        ("cl*", "clicks", True),
        ("clicks/*.csv", "clicks", False),
        ("clicks/*.csv", "clicks/log", False),
        ("clicks/part-1.csv", "clicks", False),
        ("clicks", "clicks-log", False),
    ],
)
def test_an_output_folder_that_would_be_part_of_a_table(
    tables, monkeypatch, events, output_dir, refused
):
    """Is refused the first time; otherwise a second run reads and writes the same."""
    (tables / "clicks").mkdir()
    (tables / "clicks" / "part-1.csv").write_text(EVENTS)
    monkeypatch.chdir(tables)
    before = sorted(tables.rglob("*"))
    flags = ("--events", events, "--output_dir", output_dir)
    if refused:
        problem = "--output_dir is a folder of --events; give another"
        with pytest.raises(InputError, match=problem):
            convert_events.main([*flags])
        assert sorted(tables.rglob("*")) == before
    else:
        assert output_of(convert_events.main, *flags) == output_of(convert_events.main, *flags)


def test_no_polars(tables, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(InputError, match=r"polars.*; pip install -r requirements-convert.txt"):
        convert(tables)
    assert not (tables / "out").exists()


def test_help_and_documents(capsys, monkeypatch):
    """Every flag is in a document; --help needs no polars."""
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(SystemExit):
        convert_events.main(["--help"])
    flags = set(re.findall(r"^  (--\w+)", capsys.readouterr().out, re.MULTILINE))
    assert {"--events", "--split", "--tags_separator"} <= flags
    assert {flag for flag in flags if flag not in DOCUMENTS} == set()


def test_the_documented_example(tmp_path):
    """Its commands print the report that docs/log.md shows."""
    section = (ROOT / "docs" / "log.md").read_text("utf-8").split("## From a table of events")[1]
    commands, report = re.findall(r"```\n(.*?)```", section, re.DOTALL)[:2]
    commands = commands.replace("python data/", f"python {ROOT}/data/")
    assert run_ok(commands, tmp_path) == report


def test_the_scripts_accept_the_files(tmp_path):
    """The converter, data_processor.py and train.py one after the other, for one pass."""
    rows = [("user", "item", "time")]
    for user in range(60):
        rows += [(f"u:{user}", f"v;{(user + step) % 12}", 86400 * step + user) for step in range(8)]
    with open(tmp_path / "events.csv", "w") as stream:
        csv.writer(stream).writerows(rows)
    items = [
        ("item", "kind", "tags"),
        *((f"v;{n}", f"k:{n % 3}", f"t_{n % 4}|x") for n in range(13)),
    ]
    with open(tmp_path / "items.csv", "w") as stream:
        csv.writer(stream).writerows(items)
    metadata = f"--items {tmp_path}/items.csv --category_column=kind --tags_column=tags"
    convert(tmp_path, f"{metadata} --split=1970-01-07")
    out = tmp_path / "out"
    run_ok(
        f"python data_processor.py --train_set_path={out}/train.txt --output_dir={out}/run "
        f"--catalogue_path={out}/catalogue.txt --feat_appear_limit=1",
        ROOT,
    )
    printed = run_ok(
        f"python train.py --train_set_path={out}/train.txt --valid_set_path={out}/valid.txt "
        f"--test_set_path={out}/test.txt --feature_dict={out}/run/feature_dict.pkl "
        f"--item_freq={out}/run/item_freq.pkl --catalogue_path={out}/catalogue.txt "
        f"--model_output_dir={out}/run --preset=best --num_passes=1 --dnn_layer_dims 16 8 "
        "--lstm_dim=8",
        ROOT,
    )
    assert printed.startswith("pass 00000") and len(metrics_of(out / "run")) == 1
