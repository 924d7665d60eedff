"""Parsing, encoding, instances and batches, against a plain reading of the documentation."""
import bz2
import contextlib
import functools
import gzip
import io
import lzma
import os
import sys
import threading
import tracemalloc
import zipfile
from unittest import mock

import data_processor
import reader
import utils
from conftest import INFOS, LINES, SMALL_DICT, feature_dict_of, last_clicks, log_text
from reader import BadLines, Reader
from utils import CATEGORIES, ITEMS, PROFILE_FEATURES, TAGS, InputError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def write(tmp_path):
    def write(content, name="log.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
    return write


def stdin_of(content):
    """Standard input with this content."""
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))


def plain_instances(feature_dict, window_size, lines, training):
    """The instances of random lines, word by word from the documentation."""
    def lookup(feature, value):
        return feature_dict[feature].get(value, 0)
    for user, province, city, infos, phone in lines:
        clicks = []
        for info in infos:
            video, category, tags = info.rsplit(":", 2)
            if lookup("history_clicked_items", video):
                clicks.append((lookup("history_clicked_items", video), lookup("history_clicked_categories", category),
                               [lookup("history_clicked_tags", tag) for tag in tags.split("_")]))
        sequence = [(0, 0, [0]), *clicks]
        n = len(clicks)
        for i in range(1, n + 1) if training else [n + 1]:
            window = sequence[max(0, i - window_size):i]
            instance = (lookup("user_id", user), lookup("province", province), lookup("city", city),
                        lookup("phone", phone), [c[0] for c in window], [c[1] for c in window],
                        [tag for c in window for tag in c[2]])
            yield (*instance, clicks[i - 1][0]) if training else instance


def instances_of_batch(batch):
    """The instances that a batch stands for: one a target, in its order."""
    steps, rows = batch[ITEMS].shape
    for n, (place, row, clicks) in enumerate(zip(batch["seen_from"], batch["stretch"], batch["clicks"][:, 0])):
        assert divmod(place, rows) == (clicks - 1, row) and clicks <= steps
        tags = [int(tag) for video in batch["video"][:clicks, row] for tag in batch[TAGS][batch["tag_video"] == video]]
        assert len(tags) == batch["tag_counts"][n, 0]
        profile = (int(batch[feature][row]) for feature in PROFILE_FEATURES)
        instance = (*profile, batch[ITEMS][:clicks, row].tolist(), batch[CATEGORIES][:clicks, row].tolist(), tags)
        yield (*instance, int(batch["target"][n])) if "target" in batch else instance


def served_and_trained(log, window_size):
    """What the whole log gives to infer, and to train."""
    windows = reader.next_click_windows(log.lengths, window_size)
    stretches = reader.sliding_windows(log.lengths, window_size)
    return (list(instances_of_batch(reader.make_batch(log, windows, with_targets=False))),
            list(instances_of_batch(reader.make_batch(log, stretches))) if len(log.clicks) else [])


def test_the_documented_example(write):
    feature_dict = feature_dict_of(history_clicked_items=["a", "b", "c"], history_clicked_categories=["k"],
                                   history_clicked_tags=["x", "y"], user_id=["u"])
    source = Reader(feature_dict)
    [log] = source.encode(write("u\tNULL\t\ta:k:x_y;b:NULL:y;gone:k:x;c:k:z\tNULL\n"))
    assert served_and_trained(log, 2) == (
        [(1, 0, 0, 0, [2, 3], [0, 1], [2, 0])],
        [(1, 0, 0, 0, [0], [0], [0], 1), (1, 0, 0, 0, [0, 1], [0, 1], [0, 1, 2], 2),
         (1, 0, 0, 0, [1, 2], [1, 0], [1, 2, 2], 3)])
    assert served_and_trained(source.encode_users(["u", "stranger"]), 2) == (
        [(1, 0, 0, 0, [0], [0], [0]), (0, 0, 0, 0, [0], [0], [0])], [])


@given(lines=st.lists(LINES, min_size=1, max_size=8), window_size=st.integers(1, 6))
def test_batches_give_the_documented_instances(tmp_path_factory, lines, window_size):
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    [log] = Reader(SMALL_DICT).encode(path)
    assert served_and_trained(log, window_size) == tuple(
        list(plain_instances(SMALL_DICT, window_size, lines, training)) for training in (False, True))
    assert reader.sliding_windows(log.lengths, window_size).targets.sum() == len(log.clicks)


@given(lines=st.lists(LINES, min_size=1, max_size=8), window_size=st.integers(1, 6))
def test_sequences_see_suffixes_of_the_history(tmp_path_factory, lines, window_size):
    """Every click a target once, in order; it sees the clicks right before it: half a window or more, or all."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    everything = list(plain_instances(SMALL_DICT, 10 ** 6, lines, training=True))
    [log] = Reader(SMALL_DICT).encode(path)
    stretches = reader.sequence_stretches(log.lengths, window_size)
    assert (stretches.length <= window_size).all()
    found = list(instances_of_batch(reader.make_batch(log, stretches))) if everything else []
    assert len(found) == len(everything)
    for instance, whole in zip(found, everything):
        seen = len(instance[4])
        assert instance[-1] == whole[-1] and instance[4] == whole[4][-seen:]
        assert seen >= min(len(whole[4]), window_size // 2 + 1)


@given(earlier=st.lists(LINES, max_size=8), lines=st.lists(LINES, min_size=1, max_size=8),
       window_size=st.integers(1, 6), block=st.integers(1, 9))
def test_earlier_clicks_are_looked_back_on(tmp_path_factory, earlier, lines, window_size, block):
    """Each new click is a target once, from the window that it has behind all clicks of its user; no earlier one is."""
    folder = tmp_path_factory.mktemp("logs")
    for name, drawn in (("earlier.txt", earlier), ("new.txt", lines)):
        (folder / name).write_text(log_text(drawn), encoding="utf-8")
    wanted, new_clicks = [], 0
    for user, province, city, infos, phone in lines:
        before = [info for other, _, _, clicks, _ in earlier if other == user not in utils.NO_VALUE for info in clicks]
        known = len(list(plain_instances(SMALL_DICT, 1, [(user, "", "", before, "")], training=True)))
        whole = [(user, province, city, before + infos, phone)]
        wanted += list(plain_instances(SMALL_DICT, window_size, whole, training=True))[known:]
        new_clicks += len(list(plain_instances(SMALL_DICT, 1, [(user, "", "", infos, "")], training=True)))
    source = Reader(SMALL_DICT)
    source.look_back([str(folder / "earlier.txt")], window_size)
    cut = functools.partial(reader.sliding_windows, window_size=window_size)
    training = reader.TrainingLog(source, [str(folder / "new.txt")], block, cut)
    assert training.clicks == new_clicks == len(wanted)
    found = [instance for log, part, _ in training.batches(2, np.random.default_rng(0))
             for instance in instances_of_batch(reader.make_batch(log, part))]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))


IDS = st.lists(st.integers(0, 9), max_size=6)


@given(st.lists(st.tuples(IDS, IDS, IDS), min_size=1, max_size=4))
def test_rows_are_shared(drawn):
    """Places stand for the ids that were there; each distinct id of a table is looked up once, by all parts."""
    parts = [{"a": np.array(a, int), "b": np.array(b, int)[:, None], "c": np.array(c, int), "other": np.array([7])}
             for a, b, c in drawn]
    before = [{name: value.copy() for name, value in part.items()} for part in parts]
    distinct = reader.share_rows(parts, {"table": ["a", "b"], "own": ["c"]})
    assert distinct["table"].tolist() == sorted({id_ for a, b, _ in drawn for id_ in a + b})
    assert distinct["own"].tolist() == sorted({id_ for *_, c in drawn for id_ in c})
    for part, old in zip(parts, before):
        for table, name in (("table", "a"), ("table", "b"), ("own", "c")):
            np.testing.assert_array_equal(distinct[table][part[name]], old[name])
        assert part["other"].tolist() == [7]


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 12), st.integers(1, 40), st.integers(0, 5))
def test_shuffled_batches_hold_every_target_once(lengths, window_size, steps, seed):
    stretches = reader.sliding_windows(np.array(lengths, int), window_size)
    batches = list(reader.shuffled_batches(stretches, steps, np.random.default_rng(seed)))
    rows = sorted(row for batch in batches for row in zip(*batch))
    assert rows == sorted(zip(*stretches))
    sizes = [len(batch.line) for batch in batches]
    assert len(batches) == steps and max(sizes) - min(sizes) <= 1


def test_order_is_random_and_follows_the_generator():
    stretches = reader.sliding_windows(np.full(50, 10), 3)

    def order(seed):
        return [batch.line.tolist() for batch in reader.shuffled_batches(stretches, 8, np.random.default_rng(seed))]
    assert order(1) == order(1) != order(2)
    assert order(1)[0] != sorted(order(1)[0])


@given(lines=st.lists(LINES, max_size=9), block=st.integers(1, 4))
def test_blocks_are_the_log_in_pieces(tmp_path_factory, lines, block):
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    [whole] = Reader(SMALL_DICT).encode(path)
    pieces = list(Reader(SMALL_DICT).encode(path, block_lines=block))
    assert all(len(piece.users) <= block for piece in pieces)
    assert [user for piece in pieces for user in piece.users] == whole.users == [line[0] for line in lines]
    last = [int(item) for piece in pieces for item in piece.last_item]
    assert last == whole.last_item.tolist() == [
        SMALL_DICT["history_clicked_items"].get(line[3][-1].rsplit(":", 2)[0], 0) if line[3] else -1 for line in lines]
    assert [items for piece in pieces for row in range(len(piece.users)) for items in piece.items(row)] == [
        items for row in range(len(whole.users)) for items in whole.items(row)]


def test_every_distinct_video_info_is_decoded_once(write, monkeypatch):
    calls = []
    split = reader.split_video_info
    monkeypatch.setattr(reader, "split_video_info", lambda info: calls.append(info) or split(info))
    path = write("u\t\t\tv1:a:s;v1:a:s;new:a:s;v1:a:t\t\nw\t\t\tnew:a:s;v1:a:s\t\n")
    source = Reader(SMALL_DICT)
    for _ in range(2):
        list(source.encode(path, block_lines=1))
    assert sorted(calls) == ["new:a:s", "v1:a:s", "v1:a:t"]


# ---------------------------------------------------------------- video-infos that differ
def cut_of(window_size=3):
    return functools.partial(reader.sliding_windows, window_size=window_size)


def known_of(training):
    """{video: (category, [tags])} of the videos of SMALL_DICT of which something is known, by their names."""
    tags = len(SMALL_DICT[TAGS])
    names = [*SMALL_DICT[TAGS], *SMALL_DICT[CATEGORIES]]
    content, found = training.content(len(SMALL_DICT[ITEMS]), tags), {}
    for video, start, end in zip(SMALL_DICT[ITEMS], content.offsets, content.offsets[1:]):
        ids = content.ids[start:end]
        if len(ids):
            categories = [names[id_] for id_ in ids if id_ >= tags]
            found[video] = (categories[0] if categories else None, [names[id_] for id_ in ids if id_ < tags])
    return found


@pytest.mark.parametrize("clicks, catalogue, earlier, expected", [
    # one NULL before or after changes nothing, and many of them do not either
    (["v1:NULL:NULL", "v1:a:s"], [], [], ("a", ["s"])),
    (["v1:NULL:NULL"] * 9 + ["v1:a:s"], [], [], ("a", ["s"])),
    # the most clicked one; of equal ones the first by text
    (["v1:a:s", "v1:b:t", "v1:b:t"], [], [], ("b", ["t"])),
    (["v1:b:s", "v1:a:t"], [], [], ("a", ["t"])),
    # a category may be known by one video-info and tags by another
    (["v1:NULL:t", "v1:NULL:t", "v1:b:NULL"], [], [], ("b", ["t"])),
    (["v1:a:NULL", "v1:a:NULL", "v1:b:t"], [], [], ("a", ["t"])),
    # what the dictionary does not have is unknown
    (["v1:z:q", "v1:z:q", "v1:a:s_q"], [], [], ("a", ["s"])),
    # the catalogue before all clicks, as far as it says something
    (["v1:a:s"] * 3, ["v1:b:t"], [], ("b", ["t"])),
    (["v1:a:s"] * 3, ["v1:b:NULL"], [], ("b", ["s"])),
    (["v1:a:s"] * 3, ["v2:b:NULL"], [], ("a", ["s"])),
    ([], ["v1:b:t"], ["v1:a:s"], ("b", ["t"])),
    # the log before an earlier one, however many clicks that has
    (["v1:a:s"], [], ["v1:b:t"] * 3, ("a", ["s"])),
    (["v1:NULL:s"], [], ["v1:b:t"] * 3, ("b", ["s"])),
    (["v2:a:s"], [], ["v1:b:t", "v1:a:s", "v1:b:t"], ("b", ["t"])),
    (["v1:a:s", "v1:b:t"], [], ["v1:b:t"], ("b", ["t"])),
    (["v1:NULL:NULL", "v1:z:q"], [], [], None),
])
@pytest.mark.parametrize("block", [1, 99])
def test_of_video_infos_that_differ(write, block, clicks, catalogue, earlier, expected):
    """Category and tags of v1, whatever the order of the clicks, over lines and blocks."""
    for order in (clicks, clicks[::-1]):
        source = Reader(SMALL_DICT)
        source.learn(catalogue)
        # u1's earlier clicks stand in front of each of the lines, and are not counted again
        source.look_back(write(log_text([("u1", "", "", earlier, "")]), "earlier.txt"), 9)
        path = write(log_text([("u1", "", "", [info], "") for info in order] + [("u1", "", "", [], "")]))
        training = reader.TrainingLog(source, [path], block, cut_of())
        assert known_of(training).get("v1") == expected
        list(training.batches(2, np.random.default_rng(0)))  # reads the log again, and counts nothing
        assert known_of(training).get("v1") == expected
        category = training.categories(len(SMALL_DICT[ITEMS]))[SMALL_DICT[ITEMS]["v1"]]
        assert category == (SMALL_DICT[CATEGORIES][expected[0]] if expected else 0)


@given(lines=st.lists(LINES, max_size=6), earlier=st.lists(LINES, max_size=3), catalogue=st.lists(INFOS, max_size=4),
       block=st.integers(1, 7), random=st.randoms(use_true_random=False))
def test_the_order_of_lines_does_not_matter(tmp_path_factory, lines, earlier, catalogue, block, random):
    """What is known of the videos, for lines, clicks and a catalogue in any order."""
    folder, found = tmp_path_factory.mktemp("logs"), []
    for _ in range(2):
        source = Reader(SMALL_DICT, progress=False)
        source.learn(catalogue)
        for name, drawn in (("earlier.txt", earlier), ("new.txt", lines)):
            (folder / name).write_text(log_text(drawn), encoding="utf-8")
            random.shuffle(drawn)
            for line in drawn:
                random.shuffle(line[3])
        random.shuffle(catalogue)
        source.look_back(str(folder / "earlier.txt"), 2)
        training = reader.TrainingLog(source, [str(folder / "new.txt")], block, cut_of())
        found.append(known_of(training))
    assert found[0] == found[1]


# ---------------------------------------------------------------- log lines
@given(INFOS)
def test_video_info_round_trip(info):
    video, category, tags = reader.split_video_info(info)
    assert f"{video}:{category}:{'_'.join(tags)}" == info


@pytest.mark.parametrize("content", [
    b"u\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm\n",
    b"u\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm",  # no newline at the end
    b"u\tp\tc\tv1:a:s\tm\r\n\r\n\nw\tp\tc\tNULL\tm\r\n",
    b"\xef\xbb\xbfu\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm\n",
    # joined exports, two of them empty
    b"u\tp\tc\tv1:a:s\tm\n\xef\xbb\xbfw\tp\tc\tNULL\tm\n\xef\xbb\xbf\n\xef\xbb\xbf",
    b"\xef\xbb\xbf" * 2 + b"u\tp\tc\tv1:a:s\tm\r\nw\tp\tc\tNULL\tm\n",
    gzip.compress(b"\xef\xbb\xbfu\tp\tc\tv1:a:s\tm\n") + gzip.compress(b"") + gzip.compress(
        b"\xef\xbb\xbfw\tp\tc\tNULL\tm\r\n") + bytes(512),  # filled up with zeros, as on a tape
    gzip.compress(b"u\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm\n", mtime=0),
])
def test_the_same_log_in_other_clothes(write, content):
    lines = list(reader.read_log(write(content), lambda line: line))
    assert [tuple(line.columns) for line in lines] == [("u", "p", "c", "v1:a:s", "m"), ("w", "p", "c", "NULL", "m")]
    assert [line.infos for line in lines] == [["v1:a:s"], []]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", stdin_of(b"u\tp\tc\tv1:a:s\tm\n"))
    assert [*reader.read_log("-", lambda line: line.columns[0])] == ["u"]


@pytest.mark.parametrize("content, number, what", [
    (b"u\tp\tc\tNULL\tm\nu\tp\tNULL\tm\n", 2, "4 columns instead of 5"),
    (b"u\tp\tc\tNULL\tm\textra\n", 1, "6 columns"),
    (b"\n\nu\tp\tc\t\tm\n", 3, "empty history"),
    (b"u\tp\tc\tv1:a:\xff\tm\n", 1, "not UTF-8"),
    (b"u\tp\tc\tv1:a\tm\n", 1, "'v1:a' is not video-id:category:tags"),
    (b"u\tp\tc\tv1:a:s;\tm\n", 1, "'' is not video-id"),
    (gzip.compress(b"u\tp\tc\tNULL\tm\n" * 9, mtime=0)[:-9], None, "damaged gzip"),
    (gzip.compress(b"u\tp\tc\tNULL\tm\n") + b"w\tp\tc\tNULL\tm\n", 2, "joined, all must be gzip"),
    (b"u\tp\tc\tNULL\tm\n" + gzip.compress(b"w\tp\tc\tNULL\tm\n"), 2, "not UTF-8"),
    (b"u\tp\tc\tNULL\tm\nw\tp\tc\tNULL\tm\xef\xbb\xbfx\tp\tc\tNULL\tm\n", 2,
     "it looks like two lines: end each part"),
    (b"u\tp\tc\tNULL\tm\rw\tp\tc\tNULL\tm\r", 1, "a carriage return within the line"),
    (b"u\tp\tc\tNULL\tm\nw\rx\tp\tc\tNULL\tm\n", 2, "a carriage return within the line"),
])
def test_malformed_lines_are_named(write, content, number, what):
    path = write(content)
    with pytest.raises(InputError) as caught:
        list(Reader(SMALL_DICT).encode(path))
    message = str(caught.value)
    assert message.startswith(f"{path}:{number}:" if number else path) and what in message and "; " in message
    assert "\n" not in message


def test_files_of_ids(write):
    """As in a log, byte-order marks of joined files and ends of lines belong to no id."""
    path = write(b"\xef\xbb\xbfu1\r\nu2\n\xef\xbb\xbfu3\n\n\xef\xbb\xbf\nu4")
    assert [(number, user) for _, number, user in reader.text_lines(path)] == [
        (1, "u1"), (2, "u2"), (3, "u3"), (6, "u4")]
    with pytest.raises(InputError, match=":1: a carriage return within the line"):
        list(reader.text_lines(write(b"u1\ru2\r")))


def test_missing_log(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.txt: No such file"):
        list(Reader(SMALL_DICT).encode(str(tmp_path / "nowhere.txt")))


# ---------------------------------------------------------------- files of other kinds
def zipped(text):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("log.txt", text)
    return stream.getvalue()


TEXT = b"u\tp\tc\tv1:a:s\tm\n" * 9
OTHER_KINDS = {
    "bzip2": (bz2.compress(TEXT), "bunzip2"), "bzip2 -1": (bz2.compress(TEXT, 1), "bunzip2"),
    "xz": (lzma.compress(TEXT), "xz -dc"), "zip": (zipped(TEXT), "unzip -p"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x58" + TEXT, "zstd -dc"),
    "UTF-16, little-endian": (b"\xff\xfe" + TEXT.decode().encode("utf-16-le"), "iconv -f UTF-16"),
    "UTF-16, big-endian": (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), "iconv -f UTF-16"),
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_other_kinds_of_files_are_named(write, monkeypatch, name):
    """Counting and encoding, from a file and from standard input, say what it is and how to unpack it."""
    content, mend = OTHER_KINDS[name]
    for path in (write(content), "-"):
        for read in (data_processor.count_log, lambda path: list(Reader(SMALL_DICT).encode(path))):
            with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
                patch.setattr(sys, "stdin", stdin_of(content))
                read(path)
            assert f"{path}: a {name.split()[0].rstrip(',')} file; " in str(caught.value)
            assert mend in str(caught.value)


@pytest.mark.parametrize("user", ["BZhang", "BZh91", "PK", "\u00fe\u00ff"])
def test_users_that_look_like_other_kinds(write, user):
    """A name is a name, whatever files begin with the same letters."""
    path = write(f"{user}\tp\tc\tv1:a:s\tm\n")
    assert data_processor.count_log(path)[1]["user_id"] == {user: 1}
    [log] = Reader(SMALL_DICT).encode(path)
    assert log.users == [user]


# ---------------------------------------------------------------- what is known of a log
@pytest.mark.parametrize("text, told, warned", [
    ("u1\tp1\tc\tv1:a:s;new:a:s;v2:b:t\tm\nu9\tp1\tc\tv1:z:q\tm\n", (2, 1, 4, 3), 0),
    ("u9\tp\tc\t" + ";".join(["v1:a:s"] + ["new:a:s"] * 9) + "\tm\n", (1, 0, 10, 1), 0),
    ("u1\tp\tc\t" + ";".join(["v1:a:s"] + ["new:a:s"] * 10) + "\tm\n", (1, 1, 11, 1), 1),
    ("U1\tp\tc\tV1:a:s\tm\n" * 3, (3, 0, 3, 0), 1),
    ("u1\tp\tc\tNULL\tm\n", (1, 1, 0, 0), 0),
    ("U1\tp\tc\tNULL\tm\n", (1, 0, 0, 0), 1),
    ("", (0, 0, 0, 0), 1),
])
@pytest.mark.parametrize("block", [None, 1])
def test_how_much_is_known_is_told(write, capsys, block, text, told, warned):
    """One line at the end of a log, and a warning when hardly anything is known."""
    path = write(text)
    list(Reader(SMALL_DICT).encode(path, block))
    lines = capsys.readouterr().err.splitlines()
    expected = "{} users, {} of them known; {} clicks, {} of them on known videos".format(*told)
    assert lines[0].endswith(f": {path}: {expected}")
    assert len(lines) == 1 + warned
    warning = "the dictionary knows hardly anything" if text else "no line in"
    assert all(f"warning: {warning}" in line for line in lines[1:])


def test_fingerprint_of_a_log(write):
    """The same for the same lines, however they are packed; another for any difference that is known of."""
    text = "u1\tp1\tc1\tv1:a:s;v2:b:t\tm1\nu2\tp\tc\tv3:a:s\tm\n"

    def fingerprint(content):
        [log] = Reader(SMALL_DICT).encode(write(content))
        return log.fingerprint()
    first = fingerprint(text)
    assert first == fingerprint(gzip.compress(text.encode())) == fingerprint(text.replace("\n", "\r\n"))
    others = {fingerprint(text.replace(old, new, 1)) for old, new in [
        ("u1", "u8"), ("u1", "u2"), ("p1", "p"), ("c1", "c2"), ("m1", "m"), ("v1", "v3"), (":a:s;", ":b:s;"),
        (":s;", ":t;"), ("v1:a:s;v2:b:t", "v2:b:t;v1:a:s"), (";v2:b:t", ""), ("\nu2\t", "\nu3\t")]}
    assert len(others) == 11 and first not in others


def test_one_long_user_id_costs_its_own_length_only(write):
    path = write("".join(f"{'u' * 20000 if n == 0 else n}\tp\tc\tv1:a:s\tm\n" for n in range(1000)))
    tracemalloc.start()
    try:
        [log] = Reader(SMALL_DICT).encode(path)
        log.fingerprint()
        assert tracemalloc.get_traced_memory()[1] < 20 << 20  # a thousand of its length would take 80 MB
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- the rest
def test_bad_lines_are_left_out(write, capsys):
    """Those before the limit are named and left out, over all logs of a run; the next one raises."""
    bad_lines = BadLines(2)
    path = write("u1\tp\tc\tv1:a:s\tm\nshort\nu2\tp\tc\tv2:a\tm\nu2\tp\tc\tv2:a:s\tm\n")
    [log] = Reader(SMALL_DICT, bad_lines).encode(path)
    assert log.users == ["u1", "u2"] and log.items(1).tolist() == [2] and bad_lines.count == 2
    out = capsys.readouterr().err.splitlines()
    assert [f": left out: {path}:{line}: " in text for line, text in zip((2, 3), out)] == [True, True]
    with pytest.raises(InputError, match=":2: 1 columns"):
        list(Reader(SMALL_DICT, bad_lines).encode(path))


def test_an_empty_log_is_an_empty_block():
    [log] = Reader(SMALL_DICT).encode(os.devnull)
    assert log.users == [] and log.profile.shape == (0, 4) and len(log.clicks) == 0
    assert len(reader.sliding_windows(log.lengths, 3).line) == 0


# ---------------------------------------------------------------- part files, and logs larger than memory
def test_files_of_a_log(tmp_path):
    """Folders as Hadoop leaves them, patterns, lists; what begins with _ or . does not count."""
    for name in ("part-00001.gz", "part-00000", "_SUCCESS", ".part-00000.crc", "other"):
        (tmp_path / name).write_text("")
    (tmp_path / "_logs").mkdir()
    folder, parts = str(tmp_path), [f"{tmp_path}/part-00000", f"{tmp_path}/part-00001.gz"]
    assert reader.log_files(folder) == [f"{tmp_path}/other", *parts]
    assert reader.log_files(f"{folder}/part-*") == parts
    assert reader.log_files([f"{folder}/other", f"{folder}/p*", "-"]) == [f"{folder}/other", *parts, "-"]
    (tmp_path / "day-1").mkdir()
    (tmp_path / "day-1" / "part-00000").write_text("")
    assert reader.log_files(f"{folder}/[dp]*") == [f"{tmp_path}/day-1/part-00000", *parts]  # finds folders too
    for missing in (f"{folder}/q*", f"{folder}/_logs"):
        with pytest.raises(InputError, match="no file there"):
            reader.log_files(missing)


def test_patterns_as_they_are_typed(tmp_path, monkeypatch):
    """Slashes at the end, brackets and spaces in names, `**`; no file is listed twice through links."""
    monkeypatch.chdir(tmp_path)
    for name in ("day 1/part-0", "day 1/_SUCCESS", "old [1]/part-0", "old [1]/a/b/part-[0].txt",
                 "_temporary/part-0"):
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "w", encoding="utf-8"):
            pass
    os.symlink("..", "old [1]/a/up")
    for path, files in {
            "day 1/": ["day 1/part-0"], "./day 1": ["./day 1/part-0"], "day*/": ["day 1/part-0"],
            "*/part-0": ["day 1/part-0", "old [1]/part-0"], "_temporary/*": ["_temporary/part-0"],
            "old [1]/part-*": ["old [1]/part-0"], "old [[]1]/part-*": ["old [1]/part-0"],
            "old [1]/a/b/part-[0].txt": ["old [1]/a/b/part-[0].txt"],
            "old [1]/**": ["old [1]/a/b/part-[0].txt", "old [1]/part-0"],
            "**/part-*": ["./day 1/part-0", "./old [1]/a/b/part-[0].txt", "./old [1]/part-0"],
            }.items():
        assert reader.log_files(path) == files


@pytest.mark.parametrize("paths, what", [
    (["log", "./log"], "./log: given twice"), (["log", "link"], "link: given twice"),
    (["parts", "parts/part-*"], "parts/part-0: given twice"), (["-", "-"], "-: given twice"),
    ("nested", r"nested/part-1: a folder among part files; .* give a pattern .*'nested/\*\*'"),
    ("pipes", "pipes/part-1: not a regular file"), ("pipes/*", "pipes/part-1: not a regular file"),
    ("parts/q*", r"parts/q\*: no file there"), ("parts/**/q*", "no file there"),
    ("log/*", "no file there"), ("nowhere/*", "no file there"), ("[*", r"\[\*: no file there"),
])
def test_what_cannot_be_a_log(tmp_path, monkeypatch, paths, what):
    monkeypatch.chdir(tmp_path)
    for name in ("parts", "nested/part-1", "pipes"):
        os.makedirs(name)
    for name in ("log", "parts/part-0", "nested/part-0", "pipes/part-0"):
        (tmp_path / name).write_text("")
    os.mkfifo("pipes/part-1")
    os.symlink("log", "link")
    with pytest.raises(InputError, match=what):
        reader.log_files(paths)


@pytest.mark.parametrize("path", ["log", "parts", "parts/*"])
def test_files_that_are_not_there(tmp_path, monkeypatch, path):
    """Links to nowhere are named, also within a folder."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("parts")
    os.symlink("nowhere", "parts/part-0")
    with pytest.raises(InputError, match=r"^(log|parts/part-0): No such file or directory"):
        list(reader.raw_lines(path))


@contextlib.contextmanager
def without_privileges():
    """As a user who may not read everything; skips where root cannot become one."""
    if os.geteuid():
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip("cannot become another user")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("path, closed, mode", [
    ("clicks/*/part-*", "clicks/b", 0o000), ("clicks/*/part-0", "clicks/b", 0o600),
    ("clicks/*/part-*", "clicks/b", 0o711), ("clicks/*", "clicks/b", 0o000),
    ("clicks/**", "clicks/b", 0o000), ("clicks/**/part-0", "clicks/b", 0o000),
    ("clicks/b", "clicks/b", 0o000), ("clicks/b/*", "clicks/b", 0o711),
    ("clicks/[ab]/*", "clicks", 0o000), ("clicks/b/part-0", "clicks/b/part-0", 0o000),
    ("clicks/*/part-*", "clicks/b/part-0", 0o000),
])
def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch, path, closed, mode):
    """Named, since the clicks in it would be missing."""
    for name in ("clicks/a/part-0", "clicks/b/part-0"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    try:
        os.chmod(closed, mode)
        with without_privileges(), pytest.raises(InputError, match=f"^{closed}/?.?: Permission denied;"):
            list(reader.raw_lines(path))
    finally:
        os.chmod(closed, 0o755)


def test_a_closed_folder_that_does_not_matter(tmp_path, monkeypatch):
    """Because nothing has to be listed there, or because its files would be left out anyway."""
    for name in ("clicks/a/part-0", "clicks/b/part-0", "clicks/_temporary/part-0"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    os.chmod("clicks/b", 0o711)
    os.chmod("clicks/_temporary", 0o000)
    try:
        with without_privileges():
            assert reader.log_files("clicks/*/part-0") == ["clicks/a/part-0", "clicks/b/part-0"]
    finally:
        os.chmod("clicks/b", 0o755)
        os.chmod("clicks/_temporary", 0o755)


@given(lines=st.lists(LINES, min_size=1, max_size=12), parts=st.integers(1, 4), block=st.integers(1, 5))
def test_part_files_are_the_log(tmp_path_factory, lines, parts, block):
    """Encoded and counted like one file, some of them gzip; block by block as well."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "whole").write_text(log_text(lines), encoding="utf-8")
    (folder / "parts").mkdir()
    (folder / "parts" / "_SUCCESS").write_text("no log")
    for number, chosen in enumerate(np.array_split(np.arange(len(lines)), parts)):
        text, path = log_text([lines[row] for row in chosen]).encode(), folder / "parts" / f"part-{number:05d}"
        path.write_bytes(gzip.compress(text) if number % 2 else text)
    [whole], [joined] = (Reader(SMALL_DICT).encode(str(folder / name)) for name in ("whole", "parts"))
    assert whole.fingerprint() == joined.fingerprint()
    assert (vars(data_processor.count_log(str(folder / "whole"))[0])
            == vars(data_processor.count_log(str(folder / "parts"), 2)[0]))
    with mock.patch.object(reader, "LINES_AT_ONCE", 2):
        blocks = list(Reader(SMALL_DICT).encode([str(folder / "parts")], block))
    assert [len(log.users) for log in blocks] == [min(block, len(lines) - k) for k in range(0, len(lines), block)]
    assert utils.fingerprint(*(log.profile for log in blocks)) == utils.fingerprint(whole.profile)
    assert [log.items(row).tolist() for log in blocks for row in range(len(log.users))] == [
        whole.items(row).tolist() for row in range(len(whole.users))]


@given(lines=st.lists(LINES, min_size=1, max_size=12), block=st.integers(1, 13), batch_size=st.integers(1, 20))
def test_a_pass_over_a_log_in_blocks(tmp_path_factory, lines, block, batch_size):
    """Every click on a known video is a target once a pass; as many batches as were announced; two passes alike."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    [whole] = Reader(SMALL_DICT).encode(str(path))
    cut = functools.partial(reader.sliding_windows, window_size=3)
    training = reader.TrainingLog(Reader(SMALL_DICT), [str(path)], block, cut)
    assert (training.lines, training.clicks) == (len(lines), len(whole.clicks))
    for seed in (0, 1, 1):
        batches = list(training.batches(batch_size, np.random.default_rng(seed)))
        assert len(batches) == sum(training.steps(batch_size))
        found = [target for log, part, _ in batches for target in reader.make_batch(log, part)["target"].tolist()]
        assert sorted(found) == sorted(whole.videos[0][whole.clicks].tolist())
        order = [generator.random() for *_, generator in batches]
    assert order == [generator.random() for *_, generator in training.batches(batch_size, np.random.default_rng(1))]
    assert len(set(order)) == len(order)


# ---------------------------------------------------------------- users on several lines, and heavy ones
@given(lines=st.lists(LINES, max_size=10), limit=st.integers(1, 15), block=st.integers(1, 11))
def test_training_counts_the_last_clicks_of_each_user(tmp_path_factory, lines, limit, block):
    """As if the log had no others, and as many on each video as data_processor.py counts."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    _, counts = data_processor.count_log(str(path), max_user_clicks=limit)
    training = reader.TrainingLog(Reader(SMALL_DICT), [str(path)], block, cut_of(), limit)
    targets = [int(target) for log, part, _ in training.batches(3, np.random.default_rng(0))
               for target in reader.make_batch(log, part)["target"]]
    assert {video: targets.count(id_) for video, id_ in SMALL_DICT[ITEMS].items() if id_} == {
        video: counts[ITEMS][video] for video, id_ in SMALL_DICT[ITEMS].items() if id_}
    path.write_text(log_text(last_clicks(lines, limit)), encoding="utf-8")
    expected = reader.TrainingLog(Reader(SMALL_DICT), [str(path)], block, cut_of())
    assert training.lines == expected.lines == len(lines)
    for found, wanted in zip(training._blocks(), expected._blocks()) if lines else ():
        assert [found.items(row).tolist() for row in range(len(found.users))] == [
            wanted.items(row).tolist() for row in range(len(wanted.users))]


def warnings_of(write, capsys, text, block=99, **options):
    """What `TrainingLog` warns of."""
    reader.TrainingLog(Reader(SMALL_DICT), [write(text)], block, cut_of(), **options)
    lines = [line.partition(": warning: ")[2] for line in capsys.readouterr().err.splitlines()]
    return [line.partition("log.txt: ")[2] for line in lines if line]


def users_of(lines, bot_clicks=0):
    """A log of so many lines of one user each, and of BOT."""
    text = "".join(f"x{user}\t\t\tv1:a:s;v2:a:s\t\n" for user in range(lines))
    return text + ("BOT\t\t\t" + ";".join(["v3:a:s"] * bot_clicks) + "\t\n" if bot_clicks else "")


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_heavy_users_are_named(write, capsys, block):
    """Whether the clicks are on one line or on many, in one block or in several."""
    expected = "user 'BOT' has 6% of all clicks, 6 times the mean of the 100 users"
    [line] = warnings_of(write, capsys, users_of(99, 12), block)
    assert line.startswith(expected) and "--max_user_clicks=N" in line
    scattered = "".join(line + "BOT\t\t\tv3:a:s\t\n" * (number % 9 == 0)
                        for number, line in enumerate(users_of(99).splitlines(True)))
    assert warnings_of(write, capsys, scattered + users_of(0, 1), block)[0].startswith(expected)
    assert warnings_of(write, capsys, users_of(99, 10), block) == []
    assert warnings_of(write, capsys, users_of(48, 90), block) == []
    assert warnings_of(write, capsys, users_of(99, 90), block, max_user_clicks=9) == []


@pytest.mark.parametrize("block", [7, 1000])
def test_users_on_several_lines_are_told(write, capsys, block):
    """Where they are more than a tenth of all lines; lines without clicks or without an id do not count."""
    again = users_of(6)
    [line] = warnings_of(write, capsys, users_of(100) + again, block)
    assert line.startswith("12 of 106 lines are of users with several lines: ") and "join the lines" in line
    assert warnings_of(write, capsys, users_of(110) + again, block)[0].startswith("12 of 116 ")
    assert warnings_of(write, capsys, users_of(115) + again, block) == []
    assert warnings_of(write, capsys, users_of(30) + users_of(10), block) == []  # a few lines say nothing
    for nobody in ("NULL\t\t\tv1:a:s\t\n", "x1\t\t\tNULL\t\n", "x1\t\t\tunknown:a:s\t\n"):
        assert warnings_of(write, capsys, users_of(100) + nobody * 100, block) == []


def test_a_log_that_grows_while_it_is_limited(write, monkeypatch):
    path, keep = write(users_of(3)), Reader.clicks_to_keep

    def then_grow(*arguments):
        kept = keep(*arguments)
        write(users_of(4))
        return kept
    monkeypatch.setattr(Reader, "clicks_to_keep", then_grow)
    with pytest.raises(InputError, match="changed while it was read"):
        reader.TrainingLog(Reader(SMALL_DICT), [path], 99, cut_of(), 1)


def test_lines_left_out_are_left_out_of_both_readings(write, capsys):
    """The limit of the lines behind a malformed one is their own; it is named once."""
    path = write("x1\t\t\tv1:a:s;v2:a:s\t\nx1\t\t\tv1:a\t\nx1\t\t\tv3:a:s\t\nx2\t\t\tv4:a:s;v4:a:s;v1:a:s\t\n")
    training = reader.TrainingLog(Reader(SMALL_DICT, BadLines(1)), [path], 99, cut_of(), 2)
    assert [training.first.items(row).tolist() for row in range(3)] == [[2], [3], [4, 1]]
    assert capsys.readouterr().err.count("left out") == 1


def test_clicks_without_a_video_are_counted(write, capsys):
    """At the end of each log, over all of its blocks; not those of a log before."""
    source, path = Reader(SMALL_DICT), write("u\t\t\t:a:s;v1:a:s;NULL:a:s\t\n" + "u\t\t\tv1:a:s;:a:s\t\n")
    for text, warned in ((None, "3 clicks have no video-id"), ("u\t\t\tv1:a:s\t\n", None)):
        list(source.encode(path if text is None else write(text), 1))
        found = [line for line in capsys.readouterr().err.splitlines() if "video-id" in line]
        assert len(found) == bool(warned) and all(f"warning: {path}: {warned}" in line for line in found)
    source.look_back(write("u\t\t\t<unk>:a:s\t\n"), 3)
    assert f"warning: {path}: 1 clicks have no video-id" in capsys.readouterr().err
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("change", ["truncate", "grow", "touch"])
def test_a_log_that_changes_while_it_is_read(tmp_path, change, packed):
    """An error at its end at the latest, also if what is left can be read."""
    path, content = tmp_path / "log.txt", b"u\tp\tc\tv1:a:s\tm\n" * 9
    path.write_bytes(gzip.compress(content) if packed else content)
    os.utime(path, (0, 0))
    lines = reader.raw_lines(str(path))
    next(lines)
    if change == "truncate":
        os.truncate(path, 0)
    elif change == "grow":
        with open(path, "ab") as stream:
            stream.write(path.read_bytes())
    else:
        os.utime(path)
    with pytest.raises(InputError, match=r"log\.txt: changed while it was read; give a copy"):
        list(lines)


def test_standard_input_that_does_not_wait(monkeypatch):
    """A pipe in non-blocking mode is read to its end, however late its content comes."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    line = b"u\tp\tc\tNULL\tm\n"
    writer = threading.Timer(0.3, lambda: (os.write(writing, line), os.close(writing)))
    writer.start()
    with open(reading, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert [raw for *_, raw in reader.raw_lines("-")] == [line]
    writer.join()


def test_a_log_that_changes_or_cannot_be_read_again(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("u\t\t\tv1:a:s;v2:a:s\t\n" * 5)
    cut = functools.partial(reader.sliding_windows, window_size=3)
    training = reader.TrainingLog(Reader(SMALL_DICT), [str(path)], 2, cut)
    for other in ("u\t\t\tv1:a:s\t\n" * 5, "u\t\t\tv2:a:s;v1:a:s\t\n" * 5, "u\t\t\tv1:a:s;v2:a:s\t\n" * 7):
        path.write_text(other)
        with pytest.raises(InputError, match="changed while it was trained on"):
            list(training.batches(2, np.random.default_rng(0)))
    path.write_text("u\t\t\tv1:a:s;v2:a:s\t\n" * 5)
    for change in ("truncate", "grow", "remove"):  # in the middle of a pass
        training = reader.TrainingLog(Reader(SMALL_DICT), [str(path)], 2, cut)
        os.utime(path, (0, 0))
        batches = training.batches(2, np.random.default_rng(0))
        next(batches)
        if change == "remove":
            path.rename(tmp_path / "elsewhere")
            list(batches)  # the file is open, and has not changed
            (tmp_path / "elsewhere").rename(path)
            continue
        if change == "truncate":
            os.truncate(path, 0)
        else:
            with open(path, "a", encoding="utf-8") as stream:
                stream.write("u\t\t\tv1:a:s\t\n")
        with pytest.raises(InputError, match=r"changed while it was (read|trained on)"):
            list(batches)
        path.write_text("u\t\t\tv1:a:s;v2:a:s\t\n" * 5)
    with open(path, "rb") as stream, mock.patch.object(sys, "stdin", mock.Mock(buffer=stream)), pytest.raises(
            InputError, match="can be read once only"):
        reader.TrainingLog(Reader(SMALL_DICT), ["-"], 2, cut)
    with mock.patch.object(sys, "stdin", mock.Mock(buffer=stream)), pytest.raises(InputError, match="read once only"):
        list(Reader(SMALL_DICT).encode("-"))
