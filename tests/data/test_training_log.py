"""Passes over a training log."""

import os
import sys
from unittest import mock

from candgen.console import InputError
from candgen.data.batches import (
    make_batch,
)
from candgen.data.counting import count_log
from candgen.data.dictionary import (
    ITEMS,
)
from candgen.data.logs import BadLines
from candgen.data.training_log import TrainingLog
from conftest import (
    LINES,
    SMALL_DICT,
    last_clicks,
    log_text,
)
from reader import Reader

import numpy as np
import pytest
from data_helpers import (
    cut_of,
    users_of,
)
from hypothesis import given
from hypothesis import strategies as st


@given(
    lines=st.lists(LINES, min_size=1, max_size=12),
    block=st.integers(1, 13),
    batch_size=st.integers(1, 20),
)
def test_a_pass_over_a_log_in_blocks(tmp_path_factory, lines, block, batch_size):
    """Each known click is a target once a pass, in `steps` batches; equal seeds, equal passes."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    [whole] = Reader(SMALL_DICT).encode(str(path))
    cut = cut_of()
    training = TrainingLog(Reader(SMALL_DICT), [str(path)], block, cut)
    assert (training.lines, training.clicks) == (len(lines), len(whole.clicks))
    for seed in (0, 1, 1):
        batches = list(training.batches(batch_size, np.random.default_rng(seed)))
        assert len(batches) == sum(training.steps(batch_size))
        found = [
            target
            for log, part, _ in batches
            for target in make_batch(log, part)["target"].tolist()
        ]
        assert sorted(found) == sorted(whole.videos.item[whole.clicks].tolist())
        order = [generator.random() for *_, generator in batches]
    assert order == [
        generator.random()
        for *_, generator in training.batches(batch_size, np.random.default_rng(1))
    ]
    assert len(set(order)) == len(order)


@given(lines=st.lists(LINES, max_size=10), limit=st.integers(1, 15), block=st.integers(1, 11))
def test_training_counts_the_last_clicks_of_each_user(tmp_path_factory, lines, limit, block):
    """As if the log had no other clicks, and as many on each video as are counted."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    _, counts = count_log(str(path), max_user_clicks=limit)
    training = TrainingLog(Reader(SMALL_DICT), [str(path)], block, cut_of(), limit)
    targets = [
        int(target)
        for log, part, _ in training.batches(3, np.random.default_rng(0))
        for target in make_batch(log, part)["target"]
    ]
    assert {video: targets.count(id_) for video, id_ in SMALL_DICT[ITEMS].items() if id_} == {
        video: counts[ITEMS][video] for video, id_ in SMALL_DICT[ITEMS].items() if id_
    }
    path.write_text(log_text(last_clicks(lines, limit)), encoding="utf-8")
    expected = TrainingLog(Reader(SMALL_DICT), [str(path)], block, cut_of())
    assert training.lines == expected.lines == len(lines)
    for found, wanted in zip(training.blocks(), expected.blocks()) if lines else ():
        assert [found.items(row).tolist() for row in range(len(found.users))] == [
            wanted.items(row).tolist() for row in range(len(wanted.users))
        ]


def test_a_log_that_grows_while_it_is_limited(write, monkeypatch):
    path, keep = write(users_of(3)), Reader.clicks_to_keep

    def then_grow(*arguments):
        kept = keep(*arguments)
        write(users_of(4))
        return kept

    monkeypatch.setattr(Reader, "clicks_to_keep", then_grow)
    with pytest.raises(InputError, match="changed while it was read"):
        TrainingLog(Reader(SMALL_DICT), [path], 99, cut_of(), 1)


def test_lines_left_out_are_left_out_of_both_readings(write, capsys):
    """Lines after a malformed one keep their own limits; the malformed one is named once."""
    path = write(
        "x1\t\t\tv1:a:s;v2:a:s\t\nx1\t\t\tv1:a\t\nx1\t\t\tv3:a:s\t\nx2\t\t\tv4:a:s;v4:a:s;v1:a:s\t\n"
    )
    training = TrainingLog(Reader(SMALL_DICT, BadLines(1)), [path], 99, cut_of(), 2)
    assert [training.first.items(row).tolist() for row in range(3)] == [[2], [3], [4, 1]]
    assert capsys.readouterr().err.count("left out") == 1


def test_a_log_that_changes_or_cannot_be_read_again(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("u\t\t\tv1:a:s;v2:a:s\t\n" * 5)
    cut = cut_of()
    training = TrainingLog(Reader(SMALL_DICT), [str(path)], 2, cut)
    for other in (
        "u\t\t\tv1:a:s\t\n" * 5,
        "u\t\t\tv2:a:s;v1:a:s\t\n" * 5,
        "u\t\t\tv1:a:s;v2:a:s\t\n" * 7,
    ):
        path.write_text(other)
        with pytest.raises(InputError, match="changed while it was trained on"):
            list(training.batches(2, np.random.default_rng(0)))
    path.write_text("u\t\t\tv1:a:s;v2:a:s\t\n" * 5)
    for change in ("truncate", "grow", "remove"):  # in the middle of a pass
        training = TrainingLog(Reader(SMALL_DICT), [str(path)], 2, cut)
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
    with (
        open(path, "rb") as stream,
        mock.patch.object(sys, "stdin", mock.Mock(buffer=stream)),
        pytest.raises(InputError, match="can be read once only"),
    ):
        TrainingLog(Reader(SMALL_DICT), ["-"], 2, cut)
    with (
        mock.patch.object(sys, "stdin", mock.Mock(buffer=stream)),
        pytest.raises(InputError, match="read once only"),
    ):
        list(Reader(SMALL_DICT).encode("-"))
