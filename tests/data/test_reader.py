"""Encoding: blocks, earlier clicks, what is reported of a log."""

import functools
import gzip
import os
from unittest import mock

import reader
from candgen.archives import fingerprint
from candgen.console import InputError
from candgen.data.batches import (
    make_batch,
    sliding_windows,
)
from candgen.data.counting import count_log
from candgen.data.dictionary import (
    NO_VALUE,
)
from candgen.data.logs import BadLines
from candgen.data.training_log import TrainingLog
from conftest import (
    LINES,
    SMALL_DICT,
    feature_dict_of,
    log_text,
)
from reader import Reader

import numpy as np
import pytest
from data_helpers import (
    instances_of_batch,
    plain_instances,
    served_and_trained,
)
from hypothesis import given
from hypothesis import strategies as st


def test_the_documented_example(write):
    feature_dict = feature_dict_of(
        history_clicked_items=["a", "b", "c"],
        history_clicked_categories=["k"],
        history_clicked_tags=["x", "y"],
        user_id=["u"],
    )
    source = Reader(feature_dict)
    [log] = source.encode(write("u\tNULL\t\ta:k:x_y;b:NULL:y;other:k:x;c:k:z\tNULL\n"))
    assert served_and_trained(log, 2) == (
        [(1, 0, 0, 0, [2, 3], [0, 1], [2, 0])],
        [
            (1, 0, 0, 0, [0], [0], [0], 1),
            (1, 0, 0, 0, [0, 1], [0, 1], [0, 1, 2], 2),
            (1, 0, 0, 0, [1, 2], [1, 0], [1, 2, 2], 3),
        ],
    )
    assert served_and_trained(source.encode_users(["u", "unknown"]), 2) == (
        [(1, 0, 0, 0, [0], [0], [0]), (0, 0, 0, 0, [0], [0], [0])],
        [],
    )


@given(
    earlier=st.lists(LINES, max_size=8),
    lines=st.lists(LINES, min_size=1, max_size=8),
    window_size=st.integers(1, 6),
    block=st.integers(1, 9),
)
def test_earlier_clicks_are_context(tmp_path_factory, earlier, lines, window_size, block):
    """Each new click is a target once, with a window over all clicks of its user before it."""
    folder = tmp_path_factory.mktemp("logs")
    for name, drawn in (("earlier.txt", earlier), ("new.txt", lines)):
        (folder / name).write_text(log_text(drawn), encoding="utf-8")
    wanted, new_clicks = [], 0
    for user, province, city, infos, phone in lines:
        before = [
            info
            for other, _, _, clicks, _ in earlier
            if other == user not in NO_VALUE
            for info in clicks
        ]
        known = len(
            list(plain_instances(SMALL_DICT, 1, [(user, "", "", before, "")], training=True))
        )
        whole = [(user, province, city, before + infos, phone)]
        wanted += list(plain_instances(SMALL_DICT, window_size, whole, training=True))[known:]
        new_clicks += len(
            list(plain_instances(SMALL_DICT, 1, [(user, "", "", infos, "")], training=True))
        )
    source = Reader(SMALL_DICT)
    source.prepend_context([str(folder / "earlier.txt")], window_size)
    cut = functools.partial(sliding_windows, window_size=window_size)
    training = TrainingLog(source, [str(folder / "new.txt")], block, cut)
    assert training.clicks == new_clicks == len(wanted)
    found = [
        instance
        for log, part, _ in training.batches(2, np.random.default_rng(0))
        for instance in instances_of_batch(make_batch(log, part))
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))


@given(lines=st.lists(LINES, max_size=9), block=st.integers(1, 4))
def test_blocks_are_the_log_in_pieces(tmp_path_factory, lines, block):
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    [whole] = Reader(SMALL_DICT).encode(path)
    pieces = list(Reader(SMALL_DICT).encode(path, block_lines=block))
    assert all(len(piece.users) <= block for piece in pieces)
    assert (
        [user for piece in pieces for user in piece.users]
        == whole.users
        == [line[0] for line in lines]
    )
    last = [int(item) for piece in pieces for item in piece.last_item]
    assert (
        last
        == whole.last_item.tolist()
        == [
            SMALL_DICT["history_clicked_items"].get(line[3][-1].rsplit(":", 2)[0], 0)
            if line[3]
            else -1
            for line in lines
        ]
    )
    assert [
        items for piece in pieces for row in range(len(piece.users)) for items in piece.items(row)
    ] == [items for row in range(len(whole.users)) for items in whole.items(row)]


@pytest.mark.parametrize(
    "content, number, what",
    [
        (b"u\tp\tc\tNULL\tm\nu\tp\tNULL\tm\n", 2, "4 columns instead of 5"),
        (b"u\tp\tc\tNULL\tm\textra\n", 1, "6 columns"),
        (b"\n\nu\tp\tc\t\tm\n", 3, "empty history"),
        (b"u\tp\tc\tv1:a:\xff\tm\n", 1, "not UTF-8"),
        (b"u\tp\tc\tv1:a\tm\n", 1, "'v1:a' is not video-id:category:tags"),
        (b"u\tp\tc\tv1:a:s;\tm\n", 1, "'' is not video-id"),
        (gzip.compress(b"u\tp\tc\tNULL\tm\n" * 9, mtime=0)[:-9], None, "damaged gzip"),
        (
            gzip.compress(b"u\tp\tc\tNULL\tm\n") + b"w\tp\tc\tNULL\tm\n",
            2,
            "joined, all must be gzip",
        ),
        (b"u\tp\tc\tNULL\tm\n" + gzip.compress(b"w\tp\tc\tNULL\tm\n"), 2, "not UTF-8"),
        (
            b"u\tp\tc\tNULL\tm\nw\tp\tc\tNULL\tm\xef\xbb\xbfx\tp\tc\tNULL\tm\n",
            2,
            "it looks like two lines: end each part",
        ),
        (b"u\tp\tc\tNULL\tm\rw\tp\tc\tNULL\tm\r", 1, "a carriage return within the line"),
        (b"u\tp\tc\tNULL\tm\nw\rx\tp\tc\tNULL\tm\n", 2, "a carriage return within the line"),
    ],
)
def test_malformed_lines_are_named(write, content, number, what):
    path = write(content)
    with pytest.raises(InputError) as caught:
        list(Reader(SMALL_DICT).encode(path))
    message = str(caught.value)
    assert (
        message.startswith(f"{path}:{number}:" if number else path)
        and what in message
        and "; " in message
    )
    assert "\n" not in message


def test_missing_log(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.txt: No such file"):
        list(Reader(SMALL_DICT).encode(str(tmp_path / "nowhere.txt")))


@pytest.mark.parametrize(
    "text, metadata, warned",
    [
        ("u1\tp1\tc\tv1:a:s;new:a:s;v2:b:t\tm\nu9\tp1\tc\tv1:z:q\tm\n", (2, 1, 4, 3), 0),
        ("u9\tp\tc\t" + ";".join(["v1:a:s"] + ["new:a:s"] * 9) + "\tm\n", (1, 0, 10, 1), 0),
        ("u1\tp\tc\t" + ";".join(["v1:a:s"] + ["new:a:s"] * 10) + "\tm\n", (1, 1, 11, 1), 1),
        ("U1\tp\tc\tV1:a:s\tm\n" * 3, (3, 0, 3, 0), 1),
        ("u1\tp\tc\tNULL\tm\n", (1, 1, 0, 0), 0),
        ("U1\tp\tc\tNULL\tm\n", (1, 0, 0, 0), 1),
        ("", (0, 0, 0, 0), 1),
    ],
)
@pytest.mark.parametrize("block", [None, 1])
def test_known_users_and_clicks_are_reported(write, capsys, block, text, metadata, warned):
    """One line at the end of a log, and a warning if hardly anything is known."""
    path = write(text)
    list(Reader(SMALL_DICT).encode(path, block))
    lines = capsys.readouterr().err.splitlines()
    expected = "{} users, {} of them known; {} clicks, {} of them on known videos".format(*metadata)
    assert lines[0].endswith(f": {path}: {expected}")
    assert len(lines) == 1 + warned
    warning = "the dictionary knows hardly anything" if text else "no line in"
    assert all(f"warning: {warning}" in line for line in lines[1:])


def test_bad_lines_are_left_out(write, capsys):
    """Up to the limit, over all logs of a run, they are named and left out; the next one raises."""
    bad_lines = BadLines(2)
    path = write("u1\tp\tc\tv1:a:s\tm\nshort\nu2\tp\tc\tv2:a\tm\nu2\tp\tc\tv2:a:s\tm\n")
    [log] = Reader(SMALL_DICT, bad_lines).encode(path)
    assert log.users == ["u1", "u2"] and log.items(1).tolist() == [2] and bad_lines.count == 2
    out = capsys.readouterr().err.splitlines()
    assert [f": left out: {path}:{line}: " in text for line, text in zip((2, 3), out)] == [
        True,
        True,
    ]
    with pytest.raises(InputError, match=":2: 1 columns"):
        list(Reader(SMALL_DICT, bad_lines).encode(path))


def test_an_empty_log_is_an_empty_block():
    [log] = Reader(SMALL_DICT).encode(os.devnull)
    assert log.users == [] and log.profile.shape == (0, 4) and len(log.clicks) == 0
    assert len(sliding_windows(log.lengths, 3).line) == 0


@given(
    lines=st.lists(LINES, min_size=1, max_size=12), parts=st.integers(1, 4), block=st.integers(1, 5)
)
def test_part_files_are_the_log(tmp_path_factory, lines, parts, block):
    """Encoded and counted like one file, some of them gzip; block by block as well."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "whole").write_text(log_text(lines), encoding="utf-8")
    (folder / "parts").mkdir()
    (folder / "parts" / "_SUCCESS").write_text("no log")
    for number, chosen in enumerate(np.array_split(np.arange(len(lines)), parts)):
        text, path = (
            log_text([lines[row] for row in chosen]).encode(),
            folder / "parts" / f"part-{number:05d}",
        )
        path.write_bytes(gzip.compress(text) if number % 2 else text)
    [whole], [joined] = (
        Reader(SMALL_DICT).encode(str(folder / name)) for name in ("whole", "parts")
    )
    assert whole.fingerprint() == joined.fingerprint()
    assert vars(count_log(str(folder / "whole"))[0]) == vars(count_log(str(folder / "parts"), 2)[0])
    with mock.patch.object(reader, "CHUNK_LINES", 2):
        blocks = list(Reader(SMALL_DICT).encode([str(folder / "parts")], block))
    assert [len(log.users) for log in blocks] == [
        min(block, len(lines) - k) for k in range(0, len(lines), block)
    ]
    assert fingerprint(*(log.profile for log in blocks)) == fingerprint(whole.profile)
    assert [log.items(row).tolist() for log in blocks for row in range(len(log.users))] == [
        whole.items(row).tolist() for row in range(len(whole.users))
    ]


def test_clicks_without_a_video_are_counted(write, capsys):
    """Reported at the end of each log, over all of its blocks, without those of other logs."""
    source, path = (
        Reader(SMALL_DICT),
        write("u\t\t\t:a:s;v1:a:s;NULL:a:s\t\n" + "u\t\t\tv1:a:s;:a:s\t\n"),
    )
    for text, warned in ((None, "3 clicks have no video-id"), ("u\t\t\tv1:a:s\t\n", None)):
        list(source.encode(path if text is None else write(text), 1))
        found = [line for line in capsys.readouterr().err.splitlines() if "video-id" in line]
        assert len(found) == bool(warned) and all(
            f"warning: {path}: {warned}" in line for line in found
        )
    source.prepend_context(write("u\t\t\t<unk>:a:s\t\n"), 3)
    assert f"warning: {path}: 1 clicks have no video-id" in capsys.readouterr().err
