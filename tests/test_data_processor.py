"""Counting, the dictionary and the frequencies, against a plain count; and reading the two files back."""
import hashlib
import io
import math
import pickle
import pickletools
import sys
from collections import Counter
from unittest import mock

import data_processor
import reader
from conftest import FEATURES, LINES, ROOT, SMALL_DICT, log_text, run, run_ok
from reader import InputError

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

LOG = ("u1\tp1\tc1\tv1:a:s_t;v2:a:t;v1:a:s_t;v3::NULL\tm1\n"
       "u2\tp1\tNULL\tNULL\tm1\n"
       "u1\tp2\t\tv2:b:t;北:b:t\tm2\n")


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
    assert result.stderr == f"dictionary {data_processor.fingerprint(feature_dict)[:16]}\n"
    assert feature_dict == {
        "user_id": {"<unk>": 0, "u1": 1}, "province": {"<unk>": 0, "p1": 1}, "city": {"<unk>": 0},
        "phone": {"<unk>": 0, "m1": 1}, "history_clicked_items": {"<unk>": 0, "v1": 1, "v2": 2},
        "history_clicked_categories": {"<unk>": 0, "a": 1, "b": 2},
        "history_clicked_tags": {"<unk>": 0, "t": 1, "s": 2}}
    assert [list(values) for values in feature_dict.values()] == [
        list(dict(sorted(values.items(), key=lambda pair: pair[1]))) for values in feature_dict.values()]
    freq = pickle.loads((tmp_path / "out" / "item_freq.pkl").read_bytes())
    assert freq == pytest.approx([2 / 6, 2 / 6, 2 / 6]) and all(type(share) is float for share in freq)


@given(lines=st.lists(LINES, max_size=10), limit=st.integers(1, 4))
def test_against_a_plain_count(tmp_path_factory, lines, limit):
    """Two passes over every click of every line, nothing clever."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    counts, summary = data_processor.count_log(str(path))
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
    assert summary == {"lines": len(lines), "clicks": sum(plain["user_id"].values())}
    for feature in FEATURES:
        dictionary = data_processor.build_dictionary(counts[feature], limit)
        expected = {value for value, count in plain[feature].items() if count >= limit} - {"", "NULL", "<unk>"}
        assert dictionary.keys() == expected | {"<unk>"}
        assert list(dictionary.values()) == list(range(len(dictionary)))
        order = list(dictionary)[1:]
        for one, next_one in zip(order, order[1:]):
            assert (-plain[feature][one], one) < (-plain[feature][next_one], next_one)
    if not summary["clicks"]:
        return
    videos = data_processor.build_dictionary(counts["history_clicked_items"], limit)
    freq = data_processor.item_frequencies(counts["history_clicked_items"], videos)
    assert math.isclose(sum(freq), 1)
    assert freq[1:] == [plain["history_clicked_items"][video] / summary["clicks"] for video in list(videos)[1:]]


def count_infos(counter, infos):
    """Let an InfoCounter count infos that lie one behind the other."""
    ends = np.cumsum([len(info) + 1 for info in infos]) - 1
    return counter.add(b";".join(infos), np.concatenate([[0], ends[:-1] + 1]), ends)


def counts_of(counter):
    """{info: count} of an InfoCounter."""
    text, counts = counter.packed()
    infos = text.split(b"\n") if len(counts) else []
    assert len(infos) == len(counts)
    return dict(zip(infos, counts.tolist()))


@given(st.lists(st.lists(st.text(st.characters(exclude_characters=";\0\n", codec="utf-8"), max_size=90)
                         | st.sampled_from(["a", "a" * 8, "a" * 16, "a" * 64, "a" * 65, "b" * 65, "ü" * 32, "aa", ""]),
                         min_size=1, max_size=30), max_size=5), st.sampled_from([0, 1, 20]))
@example([["a" * 16], ["a" * 8]], 0)  # one begins with the other, in the same slot
@example([["a" * 65, "a" * 64], ["a" * 64]], 20)  # one is as long as the table can hold, and the beginning of another
def test_info_counter_counts_as_a_counter_does(blocks, slot_bits):
    """Of every length, many in one slot or each in its own; each is new once."""
    with mock.patch.multiple(data_processor, SLOT_BITS=slot_bits, CLICKS_AT_ONCE=7):
        counter, plain = data_processor.InfoCounter(), Counter()
        for block in blocks:
            block = [info.encode() for info in block]
            assert sorted(count_infos(counter, block)) == sorted(set(block) - plain.keys())
            plain.update(block)
        assert counts_of(counter) == plain


def test_info_counter_grows():
    counter = data_processor.InfoCounter()
    names = [b"VIDEO_%d:C:T" % number for number in range(5000)]
    assert sorted(count_infos(counter, names * 2)) == sorted(names) and count_infos(counter, names) == []
    assert counts_of(counter) == Counter(names * 3)


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


# ---------------------------------------------------------------- reading back
def save(path, content):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return str(path)


def test_round_trip_and_fingerprint(tmp_path):
    loaded = data_processor.load_feature_dict(save(tmp_path / "d", SMALL_DICT))
    assert loaded == SMALL_DICT
    scrambled = {name: dict(reversed(values.items())) for name, values in reversed(SMALL_DICT.items())}
    again = data_processor.load_feature_dict(save(tmp_path / "d", scrambled))
    assert list(again["history_clicked_items"]) == ["<unk>", "v1", "v2", "v3", "v4"]
    assert data_processor.fingerprint(again) == data_processor.fingerprint(loaded)
    other = {**SMALL_DICT, "city": {"<unk>": 0, "c2": 1, "c1": 2}}
    assert data_processor.fingerprint(other) != data_processor.fingerprint(loaded)
    assert data_processor.load_item_freq(save(tmp_path / "f", [0.0, 0.5, 0.25, 0.25, 0.0]), loaded)[1] == 0.5


class Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize("content", [
    b"", b"not a pickle", pickle.dumps(SMALL_DICT)[:-20], Evil(), [1, 2], {},
    {**SMALL_DICT, "city": ["<unk>"]}, {**SMALL_DICT, "city": {"c1": 0}}, {**SMALL_DICT, "city": {"<unk>": 0, "a": 2}},
    {**SMALL_DICT, "city": {"<unk>": 0, "a": 1, "b": 1}}, {**SMALL_DICT, "city": {"<unk>": 0, 5: 1}},
    {**SMALL_DICT, "city": {"<unk>": 0, "a": 1.0}}, {**SMALL_DICT, "phone": {"<unk>": False}},
    {name: SMALL_DICT[name] for name in FEATURES[1:]},
])
def test_dictionaries_that_are_none(tmp_path, content, capsys):
    with pytest.raises(InputError, match=r"d: .*; .*data_processor.py"):
        data_processor.load_feature_dict(save(tmp_path / "d", content))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [
    b"", Evil(), {"a": 0.5}, [0.5, 0.5], [0.0, 1, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 1.5, -0.5, 0.0, 0.0], [0.0, float("nan"), 0.5, 0.5, 0.0], [0.0, float("inf"), 0.5, 0.5, 0.0],
])
def test_frequencies_that_are_none(tmp_path, content, capsys):
    with pytest.raises(InputError, match=r"f: .*; "):
        data_processor.load_item_freq(save(tmp_path / "f", content), SMALL_DICT)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- the command line that all scripts share
@pytest.mark.parametrize("log, flags, what", [
    ("u\t\t\tNULL\t\n", "", "log.txt: no click in the whole log; "),
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


@pytest.mark.parametrize("raised, code, line", [
    (InputError("a.txt", 3, "broken", "mend it"), 2, "s.py: a.txt:3: broken; mend it\n"),
    (KeyboardInterrupt(), 130, "s.py: interrupted\n"),
    (PermissionError(13, "Permission denied", "out"), 2, "s.py: out: Permission denied; check the path, its rights "
                                                         "and the free space\n"),
])
def test_exit_codes(monkeypatch, raised, code, line):
    def main():
        raise raised
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["/somewhere/s.py"])
    monkeypatch.setattr(sys, "stderr", stderr)
    with pytest.raises(SystemExit) as caught:
        data_processor.run_script(main)
    assert caught.value.code == code and stderr.getvalue() == line


@given(lines=st.lists(LINES, max_size=10), parts=st.integers(1, 5), end=st.sampled_from(["", "\n"]))
def test_parts_of_a_file_are_the_file(tmp_path_factory, lines, parts, end):
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines).rstrip("\n") + end, encoding="utf-8")
    ranges = reader.file_parts(str(path), parts)
    assert len(ranges) <= parts
    with mock.patch.object(reader, "CHUNK", 40):
        pieces = [raw for part in ranges for _, raw in reader.file_chunks(str(path), *part)]
        [*joined] = reader.line_chunks(reader.raw_lines(str(path)))
    assert b"".join(pieces) == path.read_bytes() == b"".join(raw for _, raw in joined)
    assert all(raw.endswith(b"\n") for raw in pieces[:-1])
    assert [number for number, _ in joined] == list(np.cumsum([1] + [raw.count(b"\n") for _, raw in joined]))[:-1]


@given(st.lists(st.text("ab;:\t\r\0\ufeffü", max_size=12) | st.sampled_from(
    ["u\tp\tc\tNULL\tm", "u\tp\tc\tNULLE;b\tm", "u;\t;\tc\tv:a:b;;w\tm;", "\t\t\tv\t", "", "u\tp\tc\t\tm",
     "u\r\tp\tc\tv\tm\r"]), max_size=8), st.sampled_from(["", "\n"]))
def test_columns_of_many_lines_are_those_of_each(lines, end):
    """The same fields, the same infos, the same errors, however odd the lines."""
    raw = "\n".join(lines).encode() + end.encode()

    def found(split):
        try:
            return [list(map(list, split()))]
        except InputError as error:
            return str(error)

    def at_once():
        for _, _, columns in reader.log_columns([(1, raw)], "log"):
            infos = [columns.raw[start:end].decode() for start, end in zip(columns.info_starts, columns.info_ends)]
            edges = np.concatenate([[0], np.cumsum(columns.clicks)])
            fields = zip(*[columns.column(number) for number in range(5)])
            for line, (begin, end) in zip(fields, zip(edges, edges[1:])):
                yield tuple(field.decode() for field in line), infos[begin:end]
    each = found(lambda: [(line[1:], line.infos) for line in reader.parse_lines(enumerate(raw.split(b"\n"), 1), "log")])
    assert found(at_once) == each


def test_several_processes_count_alike(tmp_path):
    """The same files, and the same line in an error, however many processes read."""
    (tmp_path / "log.txt").write_text(LOG * 50, encoding="utf-8")
    (tmp_path / "bad.txt").write_text(LOG * 50 + "u\t\t\tv1:a\t\n" + LOG, encoding="utf-8")
    results = set()
    for processes in (1, 2, 5):
        flags = f"--output_dir=out --feat_appear_limit=2 --processes={processes}"
        run_ok(f"python {ROOT}/data_processor.py --train_set_path=log.txt {flags}", tmp_path)
        bad = run(f"python {ROOT}/data_processor.py --train_set_path=bad.txt {flags}", tmp_path)
        results.add(((tmp_path / "out" / "feature_dict.pkl").read_bytes(),
                     (tmp_path / "out" / "item_freq.pkl").read_bytes(), bad.stderr))
    assert len(results) == 1 and "bad.txt:151: video-info 'v1:a'" in results.pop()[2]
