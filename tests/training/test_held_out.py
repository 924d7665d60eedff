"""Test and validation logs that say little about new clicks."""

import functools

from candgen.data.batches import sliding_windows
from candgen.training.held_out import shared_lines, warn_of_held_out
from conftest import feature_dict_of, log_text, small_log
from reader import Reader, TrainingLog

import pytest


def log_of_users(folder, context="", **histories):
    """The encoded log of these users; videos are one letter each, `?` is not in the dictionary.

    `context` is an earlier history of user u.
    """

    def line(user, history):
        return user, "", "", [f"{video}:c:t" for video in history], ""

    lines = [line(user, history) for user, history in histories.items()]
    (folder / "users.txt").write_text(log_text(lines), encoding="utf-8")
    (folder / "context.txt").write_text(log_text([line("u", context)]), encoding="utf-8")
    reader = Reader(feature_dict_of(history_clicked_items=[*"abcdefgh"]))
    reader.prepend_context([str(folder / "context.txt")], 20)
    [log] = reader.encode([str(folder / "users.txt")])
    return log


def test_shared_lines(tmp_path):
    """Same user and same clicks; unknown last clicks and short anonymous histories do not count."""
    training = log_of_users(tmp_path, u="abc", v="ab", w="abcd", NULL="ab", x="a")

    def shared(training, **held_out):
        return shared_lines(training, log_of_users(tmp_path, **held_out))

    assert shared_lines(training, training) == (4, 4)
    assert shared(training, u="abc", v="abc", w="abc", x="b", y="a") == (1, 5)
    assert shared(training, u="abc?", NULL="ab") == (0, 0)
    assert shared(training, u="?abc") == (1, 1)
    assert shared(log_of_users(tmp_path, NULL="abcde"), NULL="abcde") == (1, 1)
    later = log_of_users(tmp_path, context="a", u="bc")
    assert shared(later, u="abc") == (0, 1) and shared(later, u="bc") == (1, 1)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Folder with a training log, and held-out logs of its users and of other users."""
    folder = tmp_path_factory.mktemp("logs")
    log = small_log(100)
    lines = log.splitlines(keepends=True)
    other_users = small_log(60, seed=1).replace("U", "W")
    unknown_videos = other_users.replace("V", "X") + "W\tP1\tNULL\tV1:C1:T1\tM1\n"
    for name, text in (
        ("log", log),
        ("copy", "".join(lines[::-1])),
        ("half", "".join(lines[:30]) + other_users),
        ("others", other_users),
        ("few", small_log(3, seed=1).replace("U", "W")),
        ("strange", unknown_videos),
    ):
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    "names, block_lines, warnings",
    [
        (["others"], None, []),
        (["half"], None, []),
        (
            ["log"],
            None,
            ["log.txt is in the training log: the metrics on the test log are of clicks that were"],
        ),
        (["others", "log"], None, ["log.txt is in the training log"]),
        (["copy"], None, ["most lines of {}/copy.txt are in the training log"]),
        (["copy"], 10, ["most lines of {}/copy.txt are in the training log"]),
        (["few"], None, ["few.txt: 3 lines with a click are too few to compare passes or models"]),
        (
            ["strange"],
            None,
            ["strange.txt: 60 of 61 last clicks are on videos that the"],
        ),
    ],
)
def test_warnings(logs, capsys, names, block_lines, warnings):
    """Of a log that is trained on, that is short, or whose last clicks cannot be predicted."""
    videos = [f"V{video}" for video in range(40)]
    feature_dict = feature_dict_of(history_clicked_items=videos)
    train_paths = [str(logs / "log.txt")]
    paths = [str(logs / f"{name}.txt") for name in names]
    cut = functools.partial(sliding_windows, window_size=20)
    training = TrainingLog(Reader(feature_dict), train_paths, block_lines or 1000, cut)
    [log] = Reader(feature_dict).encode(paths)
    capsys.readouterr()
    trained_on = warn_of_held_out("test", paths, log, train_paths, training)
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]
    assert len(lines) == len(warnings), lines
    assert all(text.format(logs) in line for text, line in zip(warnings, lines)), lines
    assert trained_on == any("in the training log" in line for line in lines)
