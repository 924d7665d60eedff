"""Counting, the dictionary and the frequencies, against a plain count, by one process and by several."""
import gzip
import hashlib
import math
import os
import pickle
import pickletools
import shutil
from collections import Counter
from unittest import mock

import data_processor
from conftest import FEATURES, LINES, ROOT, last_clicks, log_text, run, run_ok
from data_processor import count_log
from utils import InputError, dictionary_fingerprint

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

LOG = ("u1\tp1\tc1\tv1:a:s_t;v2:a:t;v1:a:s_t;v3::NULL\tm1\n"
       "u2\tp1\tNULL\tNULL\tm1\n"
       "u1\tp2\t\tv2:b:t;北:b:t\tm2\n")
# lines that are odd, and lines that are no log at all
ODD = st.text("ab;:\t\r\0\ufeffü", max_size=12) | st.sampled_from(
    ["u\tp\tc\tNULL\tm", "u\tp\tc\tNULLE;b\tm", "u;\t;\tc\tv:a:b;;w\tm;", "\t\t\tv\t", "", "u\tp\tc\t\tm",
     "u\r\tp\tc\tv\tm\r", "u\tp\tc\tv:a:b;w:a:b_c\tm", "u\tp\tc\tv:a:b\tm\r"])


def test_by_hand(tmp_path):
    """u1 has 6 clicks; p1 2 lines; v1 and v2 2 clicks each; t stands at 5 clicks, s at 2, a at 3, b at 2."""
    (tmp_path / "log.txt").write_text(LOG, encoding="utf-8")
    result = run(f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=out --feat_appear_limit=2",
                 tmp_path)
    counts = {"user_id": (2, 3), "province": (2, 3), "city": (1, 2), "phone": (2, 3), "history_clicked_items": (3, 5),
              "history_clicked_categories": (3, 3), "history_clicked_tags": (3, 3)}  # NULL and nothing are no values
    assert result.stdout.splitlines() == ["3 lines, 6 clicks, 33.33% of them on videos left out",
                                *(f"{name}: {kept} of {found} values, with <unk>" for name, (kept, found) in
                                  counts.items())]
    feature_dict = pickle.loads((tmp_path / "out" / "feature_dict.pkl").read_bytes())
    assert result.stderr == f"data_processor.py: dictionary {dictionary_fingerprint(feature_dict)[:16]}\n"
    assert feature_dict == {
        "user_id": {"<unk>": 0, "u1": 1}, "province": {"<unk>": 0, "p1": 1}, "city": {"<unk>": 0},
        "phone": {"<unk>": 0, "m1": 1}, "history_clicked_items": {"<unk>": 0, "v1": 1, "v2": 2},
        "history_clicked_categories": {"<unk>": 0, "a": 1, "b": 2},
        "history_clicked_tags": {"<unk>": 0, "t": 1, "s": 2}}
    assert [list(values) for values in feature_dict.values()] == [
        list(dict(sorted(values.items(), key=lambda pair: pair[1]))) for values in feature_dict.values()]
    freq = pickle.loads((tmp_path / "out" / "item_freq.pkl").read_bytes())
    assert freq == pytest.approx([2 / 6, 2 / 6, 2 / 6]) and all(type(share) is float for share in freq)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "feature_dict.pkl", "fingerprint.json", "item_freq.pkl"]


@given(lines=st.lists(LINES, max_size=10), limit=st.integers(1, 4))
def test_against_a_plain_count(tmp_path_factory, lines, limit):
    """Two passes over every click of every line, nothing clever."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    counted, counts = count_log(str(path))
    line_count, clicks = counted.lines, counted.clicks
    plain = {feature: Counter() for feature in FEATURES}
    for user, province, city, infos, phone in lines:
        plain["province"][province] += 1
        plain["city"][city] += 1
        plain["phone"][phone] += 1
        for info in infos:
            video, category, tags = info.rsplit(":", 2)
            plain["user_id"][user] += 1
            plain["history_clicked_items"][video] += 1
            plain["history_clicked_categories"][category] += 1
            for tag in tags.split("_"):
                plain["history_clicked_tags"][tag] += 1
    assert (line_count, clicks) == (len(lines), sum(plain["user_id"].values()))
    for feature in FEATURES:
        dictionary = data_processor.build_dictionary(counts[feature], limit)
        expected = {value for value, count in plain[feature].items() if count >= limit} - {"", "NULL", "<unk>"}
        assert dictionary.keys() == expected | {"<unk>"}
        assert list(dictionary.values()) == list(range(len(dictionary)))
        order = list(dictionary)[1:]
        for one, next_one in zip(order, order[1:]):
            assert (-plain[feature][one], one) < (-plain[feature][next_one], next_one)
    if not clicks:
        return
    videos = data_processor.build_dictionary(counts["history_clicked_items"], limit)
    freq = data_processor.item_frequencies(counts["history_clicked_items"], videos)
    assert math.isclose(sum(freq), 1)
    assert freq[1:] == [plain["history_clicked_items"][video] / clicks for video in list(videos)[1:]]


def test_the_files_are_plain_and_always_the_same(tmp_path):
    (tmp_path / "log.txt").write_text(LOG, encoding="utf-8")
    digests = set()
    for seed in ("1", "2"):
        run_ok(f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=out{seed} "
               "--feat_appear_limit=1", tmp_path, env={"PYTHONHASHSEED": seed})
        content = [(tmp_path / f"out{seed}" / name).read_bytes() for name in ("feature_dict.pkl", "item_freq.pkl")]
        digests.add(hashlib.sha256(b"".join(content)).hexdigest())
        for pickled in content:
            names = {opcode.name for opcode, _, _ in pickletools.genops(pickled)}
            assert not names & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ"}
    assert len(digests) == 1


def test_pipe_and_file_count_alike(tmp_path):
    (tmp_path / "log.txt").write_text(LOG, encoding="utf-8")
    for number, source in enumerate(["--train_set_path=log.txt < /dev/null", "--train_set_path=- < log.txt",
                                     "--train_set_path=<(gzip -c log.txt)"]):
        run_ok(f"python {ROOT}/data_processor.py --output_dir=out{number} --feat_appear_limit=1 {source}", tmp_path)
    assert len({(tmp_path / f"out{number}" / "feature_dict.pkl").read_bytes() for number in range(3)}) == 1


# ---------------------------------------------------------------- parts of a log, counted here and there
def test_counts_of_machines_are_merged(tmp_path):
    """Each counts a part alone; from their counts come the same files, byte for byte, as from the whole log."""
    lines = [*(LOG * 9).splitlines(True), "u3\tp1\tc2\tv9:z:s;v2:a:t\tm1\n"]
    count = f"python {ROOT}/data_processor.py"
    command = f"{count} --feat_appear_limit=2"
    for name, chosen in (("whole", lines), ("one", lines[:11]), ("two", lines[11:12]), ("three", lines[12:])):
        (tmp_path / f"{name}.txt").write_text("".join(chosen), encoding="utf-8")
    printed = run_ok(f"{command} --train_set_path=whole.txt --output_dir=whole", tmp_path)
    for name in ("one", "two", "three"):
        run_ok(f"{count} --train_set_path={name}.txt --counts_only --output_dir={name}", tmp_path)
        assert [path.name for path in (tmp_path / name).iterdir()] == ["counts.pkl"]
    run_ok(f"{count} --merge_counts one/counts.pkl two/counts.pkl --counts_only --output_dir=both", tmp_path)
    for parts in ("three/counts.pkl one/counts.pkl two/counts.pkl", "both/counts.pkl three/counts.pkl"):
        assert run_ok(f"{command} --merge_counts {parts} --output_dir=merged", tmp_path) == printed
        for path in (tmp_path / "whole").iterdir():
            assert (tmp_path / "merged" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("content", [
    pickle.dumps([1]), pickle.dumps({"lines": 1, "infos": {"v:a:b": -1}, "profile": {}}), b"no pickle",
    pickle.dumps({"lines": 1, "infos": {"v": 1}, "profile": {name: {} for name in ("user_id", "province", "city",
                                                                                   "phone")}})])
def test_what_is_no_counts(tmp_path, content):
    (tmp_path / "counts.pkl").write_bytes(content)
    result = run(f"python {ROOT}/data_processor.py --merge_counts counts.pkl --output_dir=out", tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "--counts_only" in result.stderr


# ---------------------------------------------------------------- parts of a file
@given(lines=st.lists(LINES, max_size=10), parts=st.integers(1, 5), end=st.sampled_from(["", "\n"]))
def test_parts_of_a_file_are_the_file(tmp_path_factory, lines, parts, end):
    """They begin and end with lines, leave nothing out, and their counts add up to those of the whole."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    text = (log_text(lines).rstrip("\n") + end).encode()
    path.write_bytes(text)
    shares = data_processor.shares_of([str(path)], parts)
    ranges = [(start, stop) for share in shares for _, start, stop in share]
    assert len(ranges) <= parts and b"".join(text[start:stop] for start, stop in ranges) == text
    assert all(text[:start].endswith(b"\n") for start, _ in ranges if start)
    with mock.patch.object(data_processor, "BYTES_AT_ONCE", 40):
        merged = data_processor.Counts()
        for share in shares:
            merged.merge(data_processor.count_share(share))
    assert vars(merged) == vars(count_log(str(path))[0])


@given(st.lists(ODD, max_size=8), st.sampled_from(["", "\n"]))
@example(["\ufeffu\tp\tc\tv:a:b\tm", "\ufeffu\tp\tc\tv:a:b\tm"], "\n")  # the marks belong to no value
@example(["u\tp\tc\tv\tm", "u\tp"], "\n")  # the first malformed line is named, of whichever kind
def test_lines_at_once_are_lines_one_by_one(tmp_path_factory, lines, end):
    """A plain file, counted in pieces, and its gzip, read line by line: the same counts, the same errors."""
    folder = tmp_path_factory.mktemp("log")
    content = "\n".join(lines).encode() + end.encode()
    (folder / "log").write_bytes(content)
    (folder / "log.gz").write_bytes(gzip.compress(content))

    def found(name):
        try:
            return vars(count_log(str(folder / name))[0])
        except InputError as error:
            return str(error).replace("log.gz:", "log:")
    with mock.patch.object(data_processor, "BYTES_AT_ONCE", 7):
        assert found("log") == found("log.gz")


# a part of joined files: lines, whether a byte-order mark is in front, how lines end, how the last does
PARTS = st.lists(st.tuples(st.lists(LINES, max_size=3), st.booleans(), st.sampled_from(["\n", "\r\n"]),
                           st.sampled_from([None, "", "\r\n\r\n"])), min_size=1, max_size=4)


def part_bytes(lines, mark, end, last):
    """One part of joined files, as drawn from PARTS."""
    text = log_text(lines).replace("\n", end)
    if last is not None:
        text = text.removesuffix(end) + last
    return ("\ufeff" * mark + text).encode()


@given(PARTS, st.integers(1, 3))
@example([([], True, "\n", None), ([("u1", "p1", "c1", ["v1:a:s"], "m1")], True, "\n", None)] * 2, 2)
def test_joined_files(tmp_path_factory, parts, processes):
    """With byte-order marks, CRLF, missing newlines: ranges, lines and joined gzip files agree."""
    folder = tmp_path_factory.mktemp("log")
    contents = [part_bytes(*part) for part in parts]
    (folder / "log").write_bytes(b"".join(contents))
    (folder / "log.gz").write_bytes(b"".join(map(gzip.compress, contents)))

    def line_by_line(name):
        counts = data_processor.Counts()
        counts.add([*data_processor.read_log(str(folder / name), data_processor.checked)])
        return vars(counts)

    def in_ranges(name):
        counts = data_processor.Counts()
        for share in data_processor.shares_of([str(folder / name)], processes):
            counts.merge(data_processor.count_share(share))
        return vars(counts)

    def found(count, name):
        try:
            return count(name)
        except InputError as error:
            return str(error).replace("log.gz", "log")
    with mock.patch.object(data_processor, "BYTES_AT_ONCE", 40):
        expected, packed = found(line_by_line, "log"), found(line_by_line, "log.gz")
        counted = found(in_ranges, "log")
    assert packed == expected
    assert counted == expected or (isinstance(counted, str) and isinstance(expected, str))
    if all(last != "" for *_, last in parts):  # every line has its own end
        plain = log_text([line for lines, *_ in parts for line in lines])
        (folder / "plain").write_text(plain, encoding="utf-8")
        assert expected == line_by_line("plain")


# ---------------------------------------------------------------- a log that is written to meanwhile
CHANGES = {
    "shorter": lambda path: os.truncate(path, len(LOG.encode()) * 3),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.open("a").write(LOG),
    "rewritten": lambda path: path.write_text(LOG * 9, encoding="utf-8"),
    "replaced": lambda path: os.replace(shutil.copy(path, f"{path}.new"), path),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("change", CHANGES)
def test_a_log_that_changes_while_it_is_counted(tmp_path, monkeypatch, change, processes):
    """After it was cut into ranges: an error, not an endless loop, nor other counts."""
    path = tmp_path / "log.txt"
    path.write_text(LOG * 9, encoding="utf-8")
    os.utime(path, (0, 0))  # so that the time of the change is another one, however soon it comes
    cut = data_processor.shares_of

    def cut_and_change(files, count):
        shares = cut(files, count)
        CHANGES[change](path)
        return shares
    monkeypatch.setattr(data_processor, "shares_of", cut_and_change)
    with pytest.raises(InputError, match=r"log\.txt: changed while it was read; give a copy"):
        count_log(str(path), processes)


def test_a_range_that_ends_too_early(tmp_path):
    """As a process of its own meets it."""
    path = tmp_path / "log.txt"
    path.write_text(LOG * 9, encoding="utf-8")
    [_, share] = data_processor.shares_of([str(path)], 2)
    os.truncate(path, 10)
    with pytest.raises(InputError, match="changed while it was read"):
        data_processor.count_share(share)


def test_several_processes_count_alike(tmp_path):
    """The same files, and the same line in an error or left out, however many processes count."""
    (tmp_path / "log.txt").write_text(LOG * 50, encoding="utf-8")
    bad = LOG * 30 + "u\t\t\tv1:a\t\n" + LOG * 20 + "too\tfew\n" + LOG
    (tmp_path / "bad.txt").write_text(bad, encoding="utf-8")
    results = set()
    for processes in (1, 2, 5):
        flags = f"--feat_appear_limit=2 --processes={processes}"
        run_ok(f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=out {flags}", tmp_path)
        refused = run(f"python {ROOT}/data_processor.py --train_set_path=bad.txt --output_dir=no {flags}", tmp_path)
        sifted = run(f"python {ROOT}/data_processor.py --train_set_path=bad.txt --output_dir=sifted --max_bad_lines=2 "
                     f"{flags}", tmp_path)
        files = [(tmp_path / folder / name).read_bytes() for folder in ("out", "sifted")
                 for name in ("feature_dict.pkl", "item_freq.pkl", "fingerprint.json")]
        results.add((*files, refused.stderr, sifted.stdout, sifted.stderr))
    [(*_, refused, out, left)] = results
    assert refused.startswith("data_processor.py: bad.txt:91: video-info 'v1:a' is not ") and refused.count("\n") == 1
    assert out.startswith("153 lines, ")
    assert [line.split(" is not ")[0].split(" instead")[0] for line in left.splitlines()[:2]] == [
        "data_processor.py: left out: bad.txt:91: video-info 'v1:a'",
        "data_processor.py: left out: bad.txt:152: 2 columns"]


# ---------------------------------------------------------------- what one user adds
@given(lines=st.lists(LINES, max_size=10), limit=st.integers(1, 15), parts=st.integers(1, 4))
@example([("u1", "p1", "", ["v1:a:s", "v2:a:s"], ""), ("u1", "p1", "", ["v3:b:t"], ""),
          ("", "", "", ["v1:a:s"] * 3, ""), ("", "", "", ["v2:a:s"] * 3, "")], 2, 2)
def test_the_last_clicks_of_each_user(tmp_path_factory, lines, limit, parts):
    """Over all lines of a user, in the order of the log; the same in one process, and in shares that are merged."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(last_clicks(lines, limit)), encoding="utf-8")
    _, expected = count_log(str(path))
    path.write_text(log_text(lines), encoding="utf-8")
    counted, counts = count_log(str(path), max_user_clicks=limit)
    assert counted.lines == len(lines)
    assert {name: +values for name, values in counts.items()} == {name: +values for name, values in expected.items()}
    assert sum(counted.left_out.values()) == sum(len(line[3]) for line in lines) - counted.clicks
    merged = data_processor.Counts(limit)
    for share in data_processor.shares_of([str(path)], parts):
        merged.merge(data_processor.count_share(share, limit))
    assert vars(data_processor.over_lines(merged, [str(path)])) == vars(counted)


LIMITED = "u1\tp1\t\tv1:a:s;v2:a:s;v3:a:s\t\nu2\tp2\t\tv1:a:s\t\nu1\tp2\t\tv4:b:t\t\n"


@pytest.mark.parametrize("flags, expected", [
    ("", "all\tv1:2,v2:1,v3:1,v4:1\n"), ("--max_user_clicks=3", "all\tv1:1,v2:1,v3:1,v4:1\n"),
    ("--max_user_clicks=2", "all\tv1:1,v3:1,v4:1\n"),
    ("--max_user_clicks=2 --hottest_by=province", "p1\tv3:1\np2\tv1:1,v4:1\n"),
])
def test_limited_users_by_hand(tmp_path, flags, expected):
    """u1 has clicks on v1, v2, v3 on one line and on v4 on the next one."""
    (tmp_path / "log.txt").write_text(LIMITED, encoding="utf-8")
    result = run(f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=out --feat_appear_limit=1 "
                 f"--hottest=9 {flags}", tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "hottest.tsv").read_text() == expected
    left_out = {"": "", "--max_user_clicks=3": "1 of 5"}.get(flags, "2 of 5")
    assert (f"{left_out} clicks left out" in result.stderr) == bool(left_out)


def counts_file(path, text, limit):
    """counts.pkl of a part of a log, as --counts_only writes it."""
    path.mkdir()
    (path / "log.txt").write_text(text, encoding="utf-8")
    limit = f"--max_user_clicks={limit}" if limit else ""
    run_ok(f"python {ROOT}/data_processor.py --train_set_path=log.txt --counts_only --output_dir=. {limit}", path)
    return str(path / "counts.pkl")


def test_limited_parts_are_merged_or_refused(tmp_path):
    """The same as the whole log where no user needs to be limited over parts; otherwise one line that says why."""
    first, *others = LIMITED.splitlines(True)
    parts = [counts_file(tmp_path / "one", first, 3), counts_file(tmp_path / "two", others[0], 3)]
    (tmp_path / "both.txt").write_text(first + others[0], encoding="utf-8")
    whole, _ = count_log(str(tmp_path / "both.txt"), max_user_clicks=3)
    merged, _ = data_processor.merged_counts(parts)
    assert (merged.infos, merged.profile, merged.max_user_clicks) == (whole.infos, whole.profile, 3)
    last = counts_file(tmp_path / "three", others[1], 3)
    with pytest.raises(InputError, match="user 'u1' has clicks in several parts, together more than --max_user"):
        data_processor.merged_counts([*parts, last])
    other = counts_file(tmp_path / "four", others[1], None)
    with pytest.raises(InputError, match="counted with --max_user_clicks=None, parts before it with 3"):
        data_processor.merged_counts([*parts, other])
    refused = run(f"python {ROOT}/data_processor.py --merge_counts {parts[0]} --output_dir=. --max_user_clicks=3",
                  tmp_path)
    assert refused.returncode == 2 and "--max_user_clicks goes with the runs that read the log" in refused.stderr


def test_a_pipe_is_limited_where_one_reading_does(tmp_path):
    command = f"python {ROOT}/data_processor.py --train_set_path=- --output_dir=out --feat_appear_limit=1"
    run_ok(f"printf 'u1\\t\\t\\tv1:a:s;v2:a:s;v1:a:s\\t\\n' | {command} --max_user_clicks=2", tmp_path)
    assert pickle.loads((tmp_path / "out" / "item_freq.pkl").read_bytes()) == [0, 0.5, 0.5]
    (tmp_path / "log.txt").write_text(LIMITED, encoding="utf-8")
    result = run(f"cat log.txt | {command} --max_user_clicks=3", tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "user 'u1' fills several lines, with more clicks than --max_user_clicks=3" in result.stderr


def test_a_malformed_click_that_does_not_count_is_named(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("u1\t\t\tv1:a:s\t\nu1\t\t\tv1:a;v2:a:s;v3:a:s\t\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"log\.txt:2: video-info 'v1:a' is not"):
        count_log(str(path), max_user_clicks=2)
    counted, _ = count_log(str(path), bad_lines=data_processor.BadLines(1), max_user_clicks=2)
    assert counted.infos == {"v1:a:s": 1}


# ---------------------------------------------------------------- what deserves a warning
def crowd(users, bot_clicks):
    """A log of `users` users of two clicks each, and BOT."""
    lines = [f"u{user}\t\t\tv1:a:s;v2:a:s\t\n" for user in range(users)]
    return "".join(lines) + "BOT\t\t\t" + ";".join(["v3:b:t"] * bot_clicks) + "\t\n"


def warnings_of(folder, capsys, text, limit=1, catalogue=(), **options):
    """What data_processor.py warns of, in this process."""
    (folder / "log.txt").write_text(text, encoding="utf-8")
    counted, counts = count_log(str(folder / "log.txt"), **options)
    data_processor.warn_of_odd_counts("log.txt", counted, counts["history_clicked_items"], limit)
    data_processor.warn_of_colons("log.txt", [*counted.infos, *catalogue])
    return [line.partition(": warning: ")[2] for line in capsys.readouterr().err.splitlines()]


def test_heavy_users_are_named(tmp_path, capsys):
    """More than 5% of all clicks, in logs of at least 50 users; nobody is one of many without an id."""
    [line] = warnings_of(tmp_path, capsys, crowd(99, 12))
    assert line.startswith("log.txt: user 'BOT' has 6% of all clicks, 6 times the mean of the 100 users")
    assert "--max_user_clicks=N" in line
    assert warnings_of(tmp_path, capsys, crowd(99, 10)) == []
    assert len(warnings_of(tmp_path, capsys, crowd(49, 90))) == 1
    assert warnings_of(tmp_path, capsys, crowd(48, 90)) == []
    assert warnings_of(tmp_path, capsys, crowd(99, 90), max_user_clicks=9) == []
    assert warnings_of(tmp_path, capsys, crowd(99, 90).replace("BOT", "NULL")) == []


def test_limits_that_exclude_each_other(tmp_path, capsys):
    [line] = warnings_of(tmp_path, capsys, LIMITED, 3, max_user_clicks=2)
    assert line.startswith("no user-id is in the dictionary: --max_user_clicks=2 ")
    assert warnings_of(tmp_path, capsys, LIMITED, 3, max_user_clicks=3) == []


def test_clicks_without_a_video_are_counted(tmp_path, capsys):
    [line] = warnings_of(tmp_path, capsys, "u\t\t\t:a:s;NULL:a:s;:a:s;v1:a:s\t\n")
    assert line.startswith("log.txt: 3 clicks have no video-id")


@pytest.mark.parametrize("infos, catalogue, warned", [
    (["v1:Music:rock", "v1:How-to: DIY:lo:fi"], [], "1 video-ids are followed by different numbers of colons, as in "
     "'v1:Music:rock' and 'v1:How-to: DIY:lo:fi'"),
    (["v1:Music:rock"], ["v1:How-to: DIY:rock"], "1 video-ids"),
    (["v2:a:b:c", "v1:a:b", "v2:a:b", "v1:a:b:c:d", "v1:x:y"], [], "2 video-ids are followed by different numbers of "
     "colons, as in 'v1:a:b' and 'v1:a:b:c:d'"),
    (["show:live:1:a:s", "show:live:2:b:t", "v1:a:s", "v1:b:t", ":a:s", "::a:s"], [], None),
])
def test_colons_within_values_are_told(tmp_path, capsys, infos, catalogue, warned):
    lines = warnings_of(tmp_path, capsys, f"u\t\t\t{';'.join(infos)}\t\n", catalogue=catalogue)
    found = [line for line in lines if "colons" in line]
    assert len(found) == bool(warned) and (not warned or found[0].startswith(f"log.txt: {warned}"))


# ---------------------------------------------------------------- the command line that all scripts share
@pytest.mark.parametrize("log, flags, what", [
    ("u\t\t\tNULL\t\n", "", "log.txt: no click in the whole log; "),
    ("", "", "log.txt: no click in the whole log; "),
    (LOG, "--feat_appear_limit=3", "log.txt: no video has 3 clicks; lower --feat_appear_limit"),
    (LOG + "u\t\t\tv1:a\t\n", "", "log.txt:4: video-info 'v1:a' is not"),
    (LOG, "--feat_appear_limit=0", "argument --feat_appear_limit: 0 is out of range: give at least 1"),
    (LOG, "--feat_appear_limit=x", "invalid int value"),
    (LOG, "--surprise", "unrecognized arguments: --surprise"),
])
def test_errors(tmp_path, log, flags, what):
    """One line, exit code 2, nothing written."""
    (tmp_path / "log.txt").write_text(log, encoding="utf-8")
    result = run(f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=out "
                 f"{flags or '--feat_appear_limit=1'}", tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("data_processor.py: ") and what in result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_home_is_expanded(tmp_path):
    """The shell leaves the ~ of --flag=~/file alone."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "log.txt").write_text(LOG, encoding="utf-8")
    run_ok(f"python {ROOT}/data_processor.py --train_set_path=~/log.txt --output_dir=~/out --feat_appear_limit=1",
           tmp_path, env={"HOME": str(home)})
    assert (home / "out" / "feature_dict.pkl").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
