"""Logs of several days, served as one history a user."""

import itertools

from candgen.data.dictionary import ITEMS, NO_VALUE
from candgen.serving.evaluation import evaluate_model
from candgen.serving.recommend import Recommender
from candgen.serving.served_log import served_log
from candgen.serving.topn import TopN
from candgen.serving.user_vectors import user_vectors
from conftest import LINES, SMALL_DICT, log_text
from reader import Reader

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_helpers import encode_lines, random_network

WINDOW_SIZE = 4


@pytest.fixture(scope="module")
def ranking():
    """A network, and its TopN."""
    network = random_network(window_size=WINDOW_SIZE)
    rng = np.random.default_rng(1)
    videos = len(SMALL_DICT[ITEMS])
    vectors = rng.normal(size=(videos, 31)).astype(np.float32)
    return network, TopN(vectors, rng.normal(size=(1, videos)).astype(np.float32))


def joined_lines(days, lines):
    """Lines with the clicks of their users on earlier days in front of their own."""
    result = []
    for user, province, city, infos, phone in lines:
        earlier = [
            info
            for day in days
            for other, _, _, clicks, _ in day
            if other == user not in NO_VALUE
            for info in clicks
        ]
        result.append((user, province, city, earlier + infos, phone))
    return result


def write_days(folder, days):
    """Paths of the logs of some days."""
    paths = []
    for number, day in enumerate(days):
        (folder / f"day{number}.txt").write_text(log_text(day), encoding="utf-8")
        paths.append(str(folder / f"day{number}.txt"))
    return paths


@settings(max_examples=25)
@given(
    days=st.lists(st.lists(LINES, max_size=6), min_size=2, max_size=3),
    block=st.integers(1, 7),
)
def test_days_are_one_history(tmp_path_factory, ranking, days, block):
    """Vectors, lists and metrics are those of a log with the joined histories, bit for bit."""
    network, top_n = ranking
    folder = tmp_path_factory.mktemp("days")
    *earlier, today = write_days(folder, days)
    joined = encode_lines(folder, joined_lines(days[:-1], days[-1]))
    wanted_vectors = user_vectors(network, joined)

    def blocks(block_lines, context_clicks=None):
        return list(served_log(Reader(SMALL_DICT), [today], block_lines, earlier, context_clicks))

    # with the clicks of a window alone
    found = [user_vectors(network, log) for log in blocks(block, WINDOW_SIZE)]
    np.testing.assert_array_equal(np.vstack([np.empty((0, 31)), *found]), wanted_vectors)
    # with all clicks
    recommend = Recommender(network, top_n, 3, remove_seen=True)
    joined_blocks = Reader(SMALL_DICT).encode(str(folder / "log.txt"), block)
    for log, joined_log in itertools.zip_longest(blocks(block), joined_blocks):
        found, wanted = recommend(log).lists, recommend(joined_log).lists
        assert found.owners == wanted.owners
        np.testing.assert_array_equal(found.ids, wanted.ids)
        np.testing.assert_array_equal(found.values, wanted.values)
    [log] = blocks(None)
    np.testing.assert_array_equal(log.last_item, joined.last_item)
    if (joined.last_item >= 0).any():
        metrics, best = evaluate_model(network, top_n, log)
        wanted_metrics, wanted_best = evaluate_model(network, top_n, joined)
        assert metrics == wanted_metrics
        np.testing.assert_array_equal(best, wanted_best)


def test_a_user_without_clicks_today(tmp_path):
    """Has the earlier ones, with today's profile; a user of the earlier log alone is not there."""
    days = [
        [("u1", "p1", "c1", ["v1:a:s", "v2:b:t"], "m1"), ("u2", "p1", "c1", ["v3:a:s"], "m1")],
        [("u1", "p9", "c2", [], "")],
    ]
    earlier, today = write_days(tmp_path, days)
    [log] = served_log(Reader(SMALL_DICT), today, None, earlier)
    assert log.users == ["u1"] and log.items(0).tolist() == [1, 2] and log.last_item.tolist() == [2]
    names = [list(SMALL_DICT[name]) for name in ("user_id", "province", "city", "phone")]
    profile = [values[id_] for values, id_ in zip(names, log.profile[0])]
    assert profile == ["u1", "<unk>", "c2", "<unk>"]


@pytest.mark.parametrize("block", [None, 1, 2, 3])
@pytest.mark.parametrize("context", [False, True])
def test_users_with_several_lines(tmp_path, capsys, block, context):
    """One warning, with the first of them; not of users who are in the earlier log as well."""

    def warnings_of(users):
        lines = [(user, "", "", ["v1:a:s"], "") for user in users]
        earlier, today = write_days(tmp_path, [lines, lines])
        capsys.readouterr()
        list(served_log(Reader(SMALL_DICT), today, block, earlier if context else None))
        errors = capsys.readouterr().err.splitlines()
        return [line.partition("warning: ")[2] for line in errors if "several lines" in line]

    assert warnings_of(["u1", "u2", "NULL", "", "NULL", "", "u3"]) == []
    [warning] = warnings_of(["u1", "u2", "u3", "u4", "u5", "u3", "u1", "u3"])
    assert warning.startswith(f"{tmp_path}/day1.txt: user 'u3' has several lines: ")
    assert "join the lines" in warning and "--context_set_path" in warning
