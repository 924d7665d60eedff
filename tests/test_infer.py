"""Top-N, ranking metrics, user vectors and SIMPLE-LSH: figures worked out by hand, and plain references."""
import math
import time
from fractions import Fraction
from unittest import mock

import data_processor
import infer
import infer_user
import item_vector
import network_conf
from conftest import LINES, SMALL_DICT, log_text
from item_vector import simple_lsh_videos
from network_conf import DNNmodel, ModelConfig
from reader import InputError, Reader, make_batch, next_click_windows
from user_vector import simple_lsh_users

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

INF = float("inf")


# ---------------------------------------------------------------- top-N
@given(st.integers(1, 12).flatmap(lambda width: arrays(np.float64, (3, width), elements=st.sampled_from(
    [-INF, -1.0, 0.0, 0.5, 0.5000001, 2.0]))), st.integers(1, 15))
def test_best_ids(scores, n):
    """By score, then by id, like sorted() on pairs; many ties among so few values."""
    expected = [sorted(range(len(row)), key=lambda id_, row=row: (-row[id_], id_))[:n] for row in scores.tolist()]
    assert infer.best_ids(scores, n).tolist() == expected


def test_softmax_top_n_by_hand():
    """Scores log 1, log 2, log 3, log 4 for the four videos: probabilities of tenths, whatever `<unk>` scores."""
    nce_w = np.array([[100.0], [0], [0], [0], [0]], np.float32)
    nce_b = np.log(np.array([[1e9, 1, 2, 3, 4]], np.float32))
    top_n = infer.TopN(nce_w, nce_b)
    ids, shares = top_n(np.ones((1, 1), np.float32), 3)
    assert ids.tolist() == [[4, 3, 2]] and shares[0] == pytest.approx([0.4, 0.3, 0.2], rel=1e-6)
    ids, shares = top_n(np.ones((1, 1), np.float32), 30, removed=[np.array([4, 2])])
    assert ids[0, :2].tolist() == [3, 1] and shares[0] == pytest.approx([0.3, 0.1, 0, 0], rel=1e-6)


def test_scores_too_large_for_exp():
    users, nce_w = np.full((1, 1), 50, np.float32), np.array([[0], [40], [40], [-40]], np.float32)
    ids, shares = infer.TopN(nce_w, np.zeros((1, 4), np.float32))(users, 3)
    assert ids.tolist() == [[1, 2, 3]] and shares[0] == pytest.approx([0.5, 0.5, 0])


def test_lists_text():
    text = infer.lists_text(["u", "v"], np.array([[2, 1], [1, 2]]), np.array([[0.75, 0.25], [1.0, 0.0]]),
                            ["<unk>", "a", "b"])
    assert text == "u\tb:0.75,a:0.25\nv\ta:1\n"


def plain_top_n(users, nce_w, nce_b, n, removed):
    """All scores in float64, all of them sorted."""
    scores = users.astype(float) @ nce_w.T.astype(float) + nce_b
    for user, row in enumerate(scores):
        shares = np.exp(row[1:] - row[1:].max()) / np.exp(row[1:] - row[1:].max()).sum()
        order = sorted(set(range(1, len(row))) - set(removed[user].tolist()), key=lambda v, row=row: (-row[v], v))[:n]
        yield order, shares[np.array(order, int) - 1]


@given(st.integers(2, 400), st.integers(1, 300), st.integers(1, 60), st.integers(0, 99), st.sampled_from([1, 1e-7, 50]))
@settings(max_examples=60)
def test_blocked_top_n_is_the_plain_one(videos, count, n, seed, spread):
    """Few videos or many blocks of them, videos that differ in the last bit, videos removed."""
    rng = np.random.default_rng(seed)
    nce_w = (1 + spread * rng.normal(size=(videos, 3))).astype(np.float32)
    nce_w[rng.integers(0, videos, videos // 3)] = nce_w[0]  # equal ones
    nce_b = rng.normal(size=(1, videos)).astype(np.float32) * np.float32(spread)
    users = rng.normal(size=(count, 3)).astype(np.float32)
    removed = [rng.integers(1, videos, rng.integers(0, videos)) for _ in range(count)]
    with mock.patch.object(infer, "VIDEO_BLOCK", 64):
        ids, shares = infer.TopN(nce_w, nce_b)(users, n, removed)
    assert ids.shape == shares.shape == (count, min(n, videos - 1))
    for user, (order, expected) in enumerate(plain_top_n(users, nce_w, nce_b, n, removed)):
        shown = shares[user] > 0
        assert ids[user][shown].tolist() == order[:shown.sum()]
        np.testing.assert_allclose(shares[user][:len(order)], expected, rtol=1e-4, atol=1e-30)
        assert not shares[user][len(order):].any()


@pytest.mark.parametrize("scale", [1, 100, 1e4, 1e9])
def test_scores_too_large_for_single_precision(scale):
    """Order and probabilities are those of double precision all the same."""
    rng = np.random.default_rng(0)
    nce_w, nce_b = (rng.normal(size=shape).astype(np.float32) * np.float32(scale) for shape in ((30, 4), (1, 30)))
    users = rng.normal(size=(9, 4)).astype(np.float32)
    ids, shares = infer.TopN(nce_w, nce_b)(users, 5)
    for user, (order, expected) in enumerate(plain_top_n(users, nce_w, nce_b, 5, [np.zeros(0, int)] * 9)):
        assert ids[user].tolist() == order
        np.testing.assert_allclose(shares[user], expected, rtol=1e-3, atol=1e-30)


def test_a_late_video_far_above_the_first(monkeypatch):
    """Relative to the best of the first block its exp is infinite in single precision: all is done again in double."""
    monkeypatch.setattr(infer, "VIDEO_BLOCK", 64)
    nce_w = np.zeros((500, 1), np.float32)
    nce_w[[400, 450], 0] = 200, 199
    ids, shares = infer.TopN(nce_w, np.zeros((1, 500), np.float32))(np.ones((1, 1), np.float32), 2)
    assert ids.tolist() == [[400, 450]] and shares[0] == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e)])


def test_a_long_list_of_many_videos():
    rng = np.random.default_rng(0)
    nce_w, nce_b = rng.normal(size=(3000, 4)).astype(np.float32), np.zeros((1, 3000), np.float32)
    users = rng.normal(size=(3, 4)).astype(np.float32)
    ids, shares = infer.TopN(nce_w, nce_b)(users, 2999)
    for user, (order, expected) in enumerate(plain_top_n(users, nce_w, nce_b, 2999, [np.zeros(0, int)] * 3)):
        assert ids[user].tolist() == order
        np.testing.assert_allclose(shares[user], expected, rtol=1e-6)


def test_vectors_that_are_not_finite(tmp_path):
    """Finite weights can still be too large for the network, and for twelve decimals."""
    config = ModelConfig({name: len(values) for name, values in SMALL_DICT.items()})
    parameters = {name: np.full(shape, 1e30, np.float32) for name, shape in
                  network_conf.parameter_shapes(config).items()}
    (tmp_path / "log.txt").write_text(log_text([("u1", "p1", "c1", ["v1:a:s"], "m1")]), encoding="utf-8")
    [log] = Reader(SMALL_DICT).encode(str(tmp_path / "log.txt"))
    with pytest.raises(InputError, match="not finite"):
        infer.user_vectors(DNNmodel(config=config, parameters=parameters, is_infer=True), log)
    for value in (1e4, -1e30, np.nan):
        with pytest.raises(InputError, match="10,000 or more"):
            item_vector.decimals(np.array([[0.5, value]]), ",")


@pytest.mark.parametrize("processes", [1, 3])
def test_ordered_map(processes):
    """In order, lazily: no more items are taken than are worked on, and some waiting."""
    taken = []
    items = (taken.append(number) or number for number in range(500))

    def square(number):
        time.sleep(0.002 * (number % 3 == 0))
        return number ** 2
    results = data_processor.ordered_map(square, items, processes)
    assert [next(results) for _ in range(10)] == [number ** 2 for number in range(10)]
    assert len(taken) <= 10 + 4 * processes + 2
    assert list(results) == [number ** 2 for number in range(10, 500)]


def test_errors_travel_between_processes():
    def work(number):
        raise InputError("a.txt", 3, "broken", "mend it")
    with pytest.raises(InputError, match=r"^a\.txt:3: broken; mend it$"):
        list(data_processor.ordered_map(work, range(5), 2))


# ---------------------------------------------------------------- text of vectors
@given(st.sampled_from([0.9, 9.9999999999999, 9999]).flatmap(
    lambda most: arrays(np.float64, (5, 4), elements=st.floats(-most, most))))
def test_decimals(vectors):
    """What is read back is what was written, to twelve decimals; and printf would have printed the same."""
    text = item_vector.decimals(vectors, ",").decode()
    rows = [line.split(",") for line in text.splitlines()]
    np.testing.assert_allclose([[float(value) for value in row] for row in rows], vectors, atol=6e-13, rtol=1e-15)
    for row, values in zip(rows, vectors):
        for shown, value in zip(row, values):
            units = int(shown.replace(".", "")) - int(f"{value:.12f}".replace(".", ""))
            assert abs(units) <= 1 + abs(value) * 1e12 * 2e-16
            assert not shown.startswith("-0.000000000000") and len(shown.split(".")[1]) == 12
    named = item_vector.decimals(vectors, " ", ["北", "b", "c", "d", "e"]).decode()
    assert named == "".join(f"{name} {line}\n" for name, line in zip("北bcde", text.replace(",", " ").splitlines()))


# ---------------------------------------------------------------- metrics
def test_metrics_by_hand():
    """Five users: ranks 1, 3, 10, 11 and a target outside the dictionary."""
    ranks = np.array([1, 3, 10, 11, INF])
    top10 = [np.array(ids) for ids in ([1, 2], [2, 1], [1, 2], [3], [])]
    found = infer.ranking_metrics(ranks, top10, videos=5)
    assert found == {
        "recall@10": pytest.approx(float(Fraction(3, 5))),
        "recall@50": pytest.approx(float(Fraction(4, 5))),
        "ndcg@10": pytest.approx((1 + 1 / 2 + 1 / math.log2(11)) / 5),
        "mrr@10": pytest.approx(float((Fraction(1) + Fraction(1, 3) + Fraction(1, 10)) / 5)),
        "coverage@10": pytest.approx(float(Fraction(3, 5))),
        "distinct_lists@10": 4,
        "popularity_rank@10": pytest.approx(float(Fraction(1 + 2 + 2 + 1 + 1 + 2 + 3, 7)))}


def test_ties_count_against_the_model():
    scores = np.array([[-INF, 3.0, 2.0, 2.0, 2.0, 1.0]] * 4)
    assert infer.target_ranks(scores, np.array([1, 3, 5, 0])).tolist() == [1, 4, 5, INF]


def plain_evaluation(score, log_lines, feature_dict, remove_seen):
    """Rank of the last click, line by line, from the raw log."""
    videos = feature_dict["history_clicked_items"]
    ranks = []
    for line, (_, _, _, infos, _) in enumerate(log_lines):
        ids = [videos.get(info.rsplit(":", 2)[0], 0) for info in infos]
        if not ids:
            continue
        target, seen = ids[-1], {id_ for id_ in ids[:-1] if id_}
        ranks.append(INF if not target else 1 + sum(
            score[line][other] >= score[line][target] for other in range(1, len(videos))
            if other != target and not (remove_seen and other in seen)))
    return ranks


@given(lines=st.lists(LINES, min_size=1, max_size=8).filter(lambda lines: any(line[3] for line in lines)),
       seed=st.integers(0, 99))
def test_evaluate_ranking_against_a_plain_one(tmp_path_factory, lines, seed):
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    [log] = Reader(SMALL_DICT).encode(str(path))
    scores = np.random.default_rng(seed).integers(0, 4, (len(lines), 5)).astype(float)
    scores[:, 0] = -INF
    found = infer.evaluate_ranking(lambda block: scores[block].copy(), log, 5)
    for metrics, remove_seen in zip(found, (True, False)):
        ranks = plain_evaluation(scores, lines, SMALL_DICT, remove_seen)
        for k in (10, 50):
            assert metrics[f"recall@{k}"] == pytest.approx(np.mean([rank <= k for rank in ranks]))
        assert metrics["ndcg@10"] == pytest.approx(np.mean([1 / math.log2(1 + r) if r <= 10 else 0 for r in ranks]))
        assert metrics["mrr@10"] == pytest.approx(np.mean([1 / r if r <= 10 else 0 for r in ranks]))


def test_blocks_change_no_metric(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    infos = [f"v{video}:a:s" for video in range(1, 5)]
    lines = [("u1", "", "", list(rng.choice(infos, rng.integers(0, 9))), "") for _ in range(40)]
    (tmp_path / "log.txt").write_text(log_text(lines), encoding="utf-8")
    [log] = Reader(SMALL_DICT).encode(str(tmp_path / "log.txt"))
    scores = rng.normal(size=(40, 5))
    scores[:, 0] = -INF
    whole = infer.evaluate_ranking(lambda block: scores[block].copy(), log, 5)
    monkeypatch.setattr(infer, "SCORE_BLOCK", 35)
    assert infer.evaluate_ranking(lambda block: scores[block].copy(), log, 5) == whole


# ---------------------------------------------------------------- user vectors
@pytest.mark.parametrize("lstm_dim", [64, 7, 8, 20, 33, 100])
def test_a_user_alone_is_a_user_in_company(tmp_path, lstm_dim):
    """Bit for bit: in any batch, on any place, by `clicks` or by a shorter log."""
    rng = np.random.default_rng(0)
    config = ModelConfig({name: len(values) for name, values in SMALL_DICT.items()}, window_size=6, lstm_dim=lstm_dim)
    parameters = {name: rng.normal(0, 0.3, shape).astype(np.float32)
                  for name, shape in network_conf.parameter_shapes(config).items()}
    network = DNNmodel(config=config, parameters=parameters, is_infer=True)
    lines = [(f"u{i % 4}", "p1", "c1", [f"v{v}:a:s_t" for v in rng.integers(1, 5, rng.integers(0, 12))], "m1")
             for i in range(300)]

    def vectors(lines, **options):
        (tmp_path / "log.txt").write_text(log_text(lines), encoding="utf-8")
        [log] = Reader(SMALL_DICT, 6).encode(str(tmp_path / "log.txt"))
        return infer.user_vectors(network, log, **options)
    together = vectors(lines)
    assert together.shape == (300, 31) and len(np.unique(together, axis=0)) > 200
    for row in (0, 127, 128, 299):
        np.testing.assert_array_equal(vectors(lines[row:row + 1])[0], together[row])
    shortened = [(*line[:3], line[3][:-1], line[4]) for line in lines]
    counts = np.array([max(0, len(line[3]) - 1) for line in lines])
    np.testing.assert_array_equal(vectors(shortened), vectors(lines, clicks=counts))
    assert vectors([]).shape == (0, 31)
    alike = [line for line in lines if len(line[3]) > 4]  # a block without short windows, one with
    np.testing.assert_array_equal(vectors(alike), together[[len(line[3]) > 4 for line in lines]])
    short = [line for line in lines if len(line[3]) < 3]
    np.testing.assert_array_equal(vectors(short), together[[len(line[3]) < 3 for line in lines]])


@given(st.lists(st.lists(st.sampled_from(["v1:a:s", "v2:b:t_s", "x:y:a:b", "new:a:s", "bad:a"]), max_size=40)
                | st.lists(st.sampled_from(["v1:a:s", "v2:b:t_s", *["new:a:s"] * 6]), min_size=8, max_size=40),
                min_size=1, max_size=3),
       st.integers(1, 4))
@example([["bad:a"] + ["v1:a:s"] * 40], 2)
def test_the_tail_of_a_history_is_enough(histories, window_size):
    """Reading only the ends gives the same next windows; what is malformed there is named as ever."""
    lines = list(enumerate(log_text([("u1", "p1", "c1", infos, "m1") for infos in histories]).encode().splitlines(), 1))

    def windows(tail):
        try:
            log = Reader(SMALL_DICT, window_size, tail=tail).encode_raw("log", lines)
        except InputError as error:
            return str(error)
        batch = make_batch(log, next_click_windows(log.lengths, window_size), with_targets=False)
        return [(batch.items[:length, row].tolist(), batch.tag_counts[length - 1, row])
                for row, length in enumerate(next_click_windows(log.lengths, window_size).length)]
    whole, tail = windows(False), windows(True)
    assert tail == whole or (isinstance(whole, str) and any("x:y:a:b" in infos for infos in histories))


# ---------------------------------------------------------------- SIMPLE-LSH
@given(arrays(np.float32, (7, 4), elements=st.floats(-3, 3, width=32)),
       arrays(np.float32, (1, 7), elements=st.floats(-9, 3, width=32)),
       arrays(np.float32, (5, 4), elements=st.floats(0, 3, width=32)))
def test_cosines_are_scores_times_a_constant(nce_w, nce_b, users):
    videos, vectors = simple_lsh_videos(nce_w, nce_b), simple_lsh_users(users)
    assert videos.shape == (6, 6) and vectors.shape == (5, 6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    largest = max(math.hypot(*nce_w[v].tolist(), float(nce_b[0, v])) for v in range(1, 7))
    np.testing.assert_allclose(np.linalg.norm(videos, axis=1), largest, rtol=1e-12, atol=1e-12)
    scores = (users.astype(float) @ nce_w.T.astype(float) + nce_b)[:, 1:]
    lengths = np.sqrt(1 + (users.astype(float) ** 2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(vectors @ videos.T * lengths, scores, rtol=1e-9, atol=1e-9)


def test_popularity_list():
    ids, shares = infer_user.popularity_list(np.array([0.5, 0.1, 0.3, 0.1], np.float32), 30)
    assert ids.tolist() == [[2, 1, 3]] and shares[0] == pytest.approx([0.3, 0.1, 0.1])
