"""Top-N, ranking metrics, user vectors and SIMPLE-LSH: figures worked out by hand, and plain references."""
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from unittest import mock

import infer
import infer_user
import utils
from conftest import SMALL_DICT, feature_dict_of, log_text
from item_vector import simple_lsh_videos
from network_conf import DirectModel, DNNmodel, ModelConfig
from reader import Reader
from user_vector import simple_lsh_users
from utils import CATEGORIES, ITEMS, TAGS, InputError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

INF = float("inf")


# ---------------------------------------------------------------- top-N
def test_top_n_by_hand():
    """Scores log 1, log 2, log 3, log 4 for the four videos: probabilities of tenths, whatever `<unk>` scores."""
    nce_w = np.array([[100.0], [0], [0], [0], [0]], np.float32)
    nce_b = np.log(np.array([[1e9, 1, 2, 3, 4]], np.float32))
    top_n, user = infer.TopN(nce_w, nce_b), np.ones((1, 1), np.float32)
    ids, scores, shares = top_n(user, 3)
    assert ids.tolist() == [[4, 3, 2]]
    assert scores[0] == pytest.approx(np.log([4, 3, 2]), rel=1e-6) and shares[0] == pytest.approx([0.4, 0.3, 0.2])
    ids, scores, shares = top_n(user, 30, removed=[np.array([4, 2, 4])])
    assert ids.tolist() == [[3, 1, 0, 0]] and scores[0, 2:].tolist() == [-INF, -INF]
    assert shares[0] == pytest.approx([0.3, 0.1, 0, 0])
    ids, scores, shares = top_n(np.ones((0, 1), np.float32), 3)
    assert ids.shape == scores.shape == shares.shape == (0, 3)


def test_scores_too_large_for_exp():
    users, nce_w = np.full((1, 1), 50, np.float32), np.array([[0], [40], [40], [-40]], np.float32)
    ids, _, shares = infer.TopN(nce_w, np.zeros((1, 4), np.float32))(users, 3)
    assert ids.tolist() == [[1, 2, 3]] and shares[0] == pytest.approx([0.5, 0.5, 0])


def plain_top_n(users, nce_w, nce_b, n, removed=None):
    """[(ids, scores, probabilities), ...]: all scores in float64, all of them sorted, equal ones by id."""
    for row, user in enumerate(users.astype(float)):
        scores = (nce_w.astype(float) * user).sum(1) + nce_b[0].astype(float)
        shares = np.exp(scores[1:] - scores[1:].max())
        shares /= shares.sum()
        left = sorted(set(range(1, len(scores))) - set(removed[row].tolist() if removed else ()),
                      key=lambda video, scores=scores: (-scores[video], video))[:n]
        yield left, scores[left], shares[np.array(left, int) - 1]


def assert_top_n(found, expected, rtol):
    """What a TopN gave is the plain one's; 0 and nothing where a removal left too few."""
    ids, scores, shares = found
    for row, (left, exact, share) in enumerate(expected):
        assert ids[row].tolist() == left + [0] * (ids.shape[1] - len(left))
        np.testing.assert_allclose(scores[row, :len(left)], exact, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(shares[row, :len(left)], share, rtol=rtol, atol=1e-30)
        assert (scores[row, len(left):] == -INF).all() and not shares[row, len(left):].any()


@given(videos=st.integers(2, 400), count=st.integers(0, 300), n=st.integers(1, 60), seed=st.integers(0, 99),
       spread=st.sampled_from([1, 1e-7, 30]), blocks=st.sampled_from([(64, 4), (32, 32), (1024, 32)]))
@settings(max_examples=100)
def test_top_n_is_the_plain_one(videos, count, n, seed, spread, blocks):
    """Few videos or many blocks of them, equal ones and some that differ in the last bit, videos removed."""
    rng = np.random.default_rng(seed)
    nce_w = (1 + spread * rng.normal(size=(videos, 3))).astype(np.float32)
    nce_b = rng.normal(size=(1, videos)).astype(np.float32) * np.float32(spread)
    alike = rng.integers(0, videos, videos // 3)
    nce_w[alike], nce_b[0, alike] = nce_w[0], nce_b[0, 0]
    users = rng.normal(size=(count, 3)).astype(np.float32)
    removed = [rng.integers(1, videos, rng.integers(0, videos)) for _ in range(count)] if seed % 2 else None
    with mock.patch.multiple(infer, VIDEO_BLOCK=blocks[0], GROUP=blocks[1]):
        found = infer.TopN(nce_w, nce_b)(users, n, removed)
    assert found[0].shape == (count, min(n, videos - 1))
    assert_top_n(found, plain_top_n(users, nce_w, nce_b, n, removed), 1e-4)


@given(scores=st.integers(1, 90).flatmap(lambda videos: arrays(np.int64, (3, videos), elements=st.integers(-2, 2))),
       n=st.integers(1, 70))
def test_ties_go_by_id(scores, n):
    """Like sorted() on pairs, where a long list is nothing but ties."""
    nce_w = np.vstack([np.zeros(3), scores.T]).astype(np.float32)
    with mock.patch.multiple(infer, VIDEO_BLOCK=16, GROUP=8):
        ids, found, _ = infer.TopN(nce_w, np.zeros((1, len(nce_w)), np.float32))(np.eye(3, dtype=np.float32), n)
    for user, row in enumerate(scores.tolist()):
        pairs = sorted((-score, id_) for id_, score in enumerate(row, 1))[:n]
        assert list(zip((-found[user]).tolist(), ids[user].tolist())) == pairs


def random_ranking(scale, users_scale=1):
    """(users, nce_w, nce_b) of 9 users and 299 videos, with scores of about `scale` times `users_scale`."""
    rng = np.random.default_rng(0)
    nce_w, nce_b = (rng.normal(size=shape).astype(np.float32) * np.float32(scale) for shape in ((300, 4), (1, 300)))
    return rng.normal(size=(9, 4)).astype(np.float32) * np.float32(users_scale), nce_w, nce_b


@pytest.mark.parametrize("scale", [1, 100, 1e4, 1e9])
def test_scores_too_large_for_single_precision(scale):
    """Rounded to float32 they are off by more than the log of a probability may be: those are right all the same."""
    users, nce_w, nce_b = random_ranking(scale)
    found = infer.TopN(nce_w, nce_b)(users, 5)
    assert_top_n(found, plain_top_n(users, nce_w, nce_b, 5), 1e-3)


def test_scores_that_single_precision_cannot_hold():
    """Above 1e38 there is no such number: the order is right all the same."""
    users, nce_w, nce_b = random_ranking(1e25, 1e16)
    ids, _, shares = infer.TopN(nce_w, nce_b)(users, 5)
    assert ids.tolist() == [left for left, _, _ in plain_top_n(users, nce_w, nce_b, 5)]
    assert np.isfinite(shares).all()


def test_a_late_video_far_above_the_first():
    """The sum of the softmax is kept relative to the best score so far: each block may have a far better one."""
    nce_w = np.zeros((500, 1), np.float32)
    nce_w[[400, 450], 0] = 200, 199
    with mock.patch.object(infer, "VIDEO_BLOCK", 64):
        ids, _, shares = infer.TopN(nce_w, np.zeros((1, 500), np.float32))(np.ones((1, 1), np.float32), 2)
    assert ids.tolist() == [[400, 450]] and shares[0] == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e)])


def test_a_long_list_of_many_videos():
    """All 2,999 of them, in order; their probabilities sum to 1."""
    rng = np.random.default_rng(0)
    nce_w, nce_b = rng.normal(size=(3000, 4)).astype(np.float32), np.zeros((1, 3000), np.float32)
    users = rng.normal(size=(3, 4)).astype(np.float32)
    found = infer.TopN(nce_w, nce_b)(users, 2999)
    assert_top_n(found, plain_top_n(users, nce_w, nce_b, 2999), 1e-5)
    assert found[2].sum(axis=1) == pytest.approx([1, 1, 1], rel=1e-6)


def test_most_clicked():
    """The list of those whom the model does not know: by frequency, then by id, never `<unk>`."""
    freq = np.array([0.5, 0.1, 0.3, 0.1], np.float32)
    ids, shares = infer_user.most_clicked(freq, np.array([False, True, True, True]), 30)
    assert ids.tolist() == [2, 1, 3] and shares == pytest.approx([0.6, 0.2, 0.2])
    _, shares = infer_user.most_clicked(freq, np.array([False, False, True, True]), 30, popularity=2)
    assert shares == pytest.approx([0.9, 0.1])
    assert infer_user.most_clicked(freq, np.array([False, True, False, True]), 30)[0].tolist() == [1, 3]
    assert infer_user.most_clicked(freq, np.array([False, True, True, True]), 2)[0].tolist() == [2, 1]


# ---------------------------------------------------------------- metrics
def test_target_ranks_by_hand():
    """Ties count against the model; `<unk>` and what is not in the list have no rank."""
    ids = np.array([[1, 2, 3, 4, 5]] * 5 + [[1, 2, 0, 0, 0]] * 2)
    scores = np.array([[3.0, 2, 2, 2, 1]] * 5 + [[3, 3, -INF, -INF, -INF]] * 2)
    ranks = infer.target_ranks(ids, scores, np.array([1, 3, 5, 0, 9, 1, 0]))
    assert ranks.tolist() == [1, 4, 5, INF, INF, 2, INF]


@pytest.mark.parametrize("best, alike, rank", [(0, 50, 50), (0, 51, INF), (0, 80, INF), (9, 41, 50), (9, 42, INF),
                                               (49, 1, 50), (49, 2, INF), (50, 1, INF), (3, 5, 8)])
def test_ties_beyond_the_fiftieth_place(best, alike, rank):
    """`best` videos, then `alike` ones with one score, the target the first of them: its rank is that of the last."""
    scores = np.array([[2.0] * best + [1.0] * alike + [0.0] * 100])
    ids = np.arange(1, scores.shape[1] + 1)[None]
    served = infer.RANKED + 1
    assert infer.target_ranks(ids[:, :served], scores[:, :served], np.array([best + 1])).tolist() == [rank]


def test_metrics_by_hand():
    """Five users: ranks 1, 3, 10, 11 and a target outside the dictionary; five videos, of which three are shown."""
    ids = np.array([[1, 2], [2, 1], [1, 2], [3, 0], [0, 0]])
    found = infer.ranking_metrics(np.array([1, 3, 10, 11, INF]), ids, videos=5)
    assert found == {
        "recall@10": pytest.approx(float(Fraction(3, 5))),
        "recall@50": pytest.approx(float(Fraction(4, 5))),
        "ndcg@10": pytest.approx((1 + 1 / 2 + 1 / math.log2(11)) / 5),
        "mrr@10": pytest.approx(float((Fraction(1) + Fraction(1, 3) + Fraction(1, 10)) / 5)),
        "coverage@10": pytest.approx(float(Fraction(3, 5)))}
    tenth = np.array([[*range(1, 11), 11]])  # the eleventh is not in anyone's top 10
    assert infer.ranking_metrics(np.array([INF]), tenth, videos=20)["coverage@10"] == 0.5


MANY = feature_dict_of(history_clicked_items=[f"v{number}" for number in range(1, 131)])


def plain_evaluation(histories, score):
    """{metric: value} line by line from raw histories; `score` [line][video id] decides the order."""
    ids, metrics = MANY[ITEMS], {}
    for prefix, remove in (("", True), ("seen_kept_", False)):
        ranks, shown = [], set()
        for history, own in zip(histories, score):
            if not history:
                continue
            *seen, target = (ids.get(video, 0) for video in history)
            left = [video for video in range(1, len(ids)) if not (remove and video in seen)]
            shown.update(sorted(left, key=lambda video, own=own: (-own[video], video))[:10])
            ranks.append(sum(own[video] >= own[target] for video in left) if target in left else INF)
        count = len(ranks)
        metrics.update({
            prefix + "recall@10": sum(rank <= 10 for rank in ranks) / count,
            prefix + "recall@50": sum(rank <= 50 for rank in ranks) / count,
            prefix + "ndcg@10": sum(1 / math.log2(1 + rank) for rank in ranks if rank <= 10) / count,
            prefix + "mrr@10": sum(1 / rank for rank in ranks if rank <= 10) / count,
            prefix + "coverage@10": len(shown) / (len(ids) - 1)})
    return metrics


@given(histories=st.lists(st.lists(st.integers(1, 140).map("v{}".format) | st.sampled_from(["v1", "v2", "v130", "new"]),
                                   max_size=40), min_size=1, max_size=12).filter(any),
       levels=st.sampled_from([3, 40, 10 ** 6]), seed=st.integers(0, 99), user_block=st.sampled_from([2, 128]))
def test_evaluate_ranking_against_a_plain_one(tmp_path_factory, histories, levels, seed, user_block):
    """With many ties or hardly any, clicks that are repeated, and videos outside the dictionary."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text([("u", "", "", [f"{video}::" for video in history], "") for history in histories]))
    [log] = Reader(MANY).encode(str(path))
    score = np.random.default_rng(seed).integers(0, levels, (len(histories), 131)).astype(np.float32)
    top_n = infer.TopN(np.eye(131, dtype=np.float32), np.zeros((1, 131), np.float32))  # a user's vector: their scores
    with ThreadPoolExecutor(2) as pool, mock.patch.object(infer, "USER_BLOCK", user_block):
        found = infer.evaluate_ranking(lambda lines, n: top_n(score[lines], n)[:2], log, 130, pool.map)[0]
    assert found == pytest.approx(plain_evaluation(histories, score.tolist()), rel=1e-12)


def small_logs(folder, *logs):
    """Each a list of histories of v1, v2, ..., encoded."""
    for histories in logs:
        (folder / "log.txt").write_text(log_text([("u", "", "", [f"v{video}::" for video in history], "")
                                                  for history in histories]))
        yield from Reader(MANY).encode(str(folder / "log.txt"))


def test_rules_by_hand(tmp_path):
    """Pairs 1-2 twice at distance 1, 2-3 once, 1-3 once at distance 2; clicks 2, 2, 1 of five."""
    log, test = small_logs(tmp_path, [[1, 2, 3], [2, 1]], [[1, 9], [3, 1, 9], [4, 9], [9]])
    ranked = infer.Rules(log, [0, 0.4, 0.4, 0.2, 0]).ranking_of(test)
    ids, scores = ranked(np.arange(4), 4)
    one, three = 1 / math.sqrt(0.4), 1 / math.sqrt(0.2)
    assert ids.tolist() == [[2, 3, 0, 0], [2, 1, 3, 0], [0] * 4, [0] * 4]
    assert scores[0] == pytest.approx([2 * one, 0.5 * one, -INF, -INF])
    assert scores[1] == pytest.approx([2 * one + 0.8 * three, 0.8 * 0.5 * three, 0.5 * one, -INF])
    assert ranked(np.array([1]), 1)[0].tolist() == [[2]]


def test_rules_of_clicks_that_nobody_counted(tmp_path):
    """A click in an earlier log on a video of frequency 0 weighs as one on the rarest, and no more."""
    path = tmp_path / "log.txt"
    path.write_text("u\t\t\ta::;b::;c::\t\n")
    feature_dict = feature_dict_of(history_clicked_items=["a", "b", "c"])
    [log] = Reader(feature_dict).encode(str(path))
    lists = [infer.Rules(log, freq).ranking_of(log)(np.array([0]), 3)[1] for freq in ([0, .5, 0, .5], [0, .5, .5, .5])]
    np.testing.assert_array_equal(*lists)


def test_rules_look_at_the_last_clicks_and_near_ones(tmp_path):
    """Pairs 10 places apart count, 11 do not; the 20th click from the end counts, the 21st does not."""
    log, test = small_logs(tmp_path, [[1, *range(50, 59), 2, 3]], [[1, *[100] * 19, 9], [1, *[100] * 20, 9]])
    ids, scores = infer.Rules(log, [0] + [1 / 130] * 130).ranking_of(test)(np.arange(2), 20)
    assert 2 in ids[0] and 3 not in ids[0] and not ids[1].any()
    assert scores[0][ids[0] == 2] == pytest.approx(0.8 ** 19 / 10 * math.sqrt(130))


def test_popularity_by_hand():
    """Equal ones by id; the same for everybody."""
    ids, scores = infer.popularity([0.4, 0.1, 0.3, 0.1, 0.1])(np.arange(2), 3)
    assert ids.tolist() == [[2, 1, 3]] * 2 and scores.tolist() == [[0.3, 0.1, 0.1]] * 2


# ---------------------------------------------------------------- user vectors
def random_network(lstm_dim=64, window_size=6, scale=0.3, kind=DNNmodel):
    """A network over SMALL_DICT with parameters drawn at random, ready to infer."""
    rng = np.random.default_rng(0)
    config = ModelConfig({name: len(values) for name, values in SMALL_DICT.items()}, DNNmodel.embedding_dims,
                         window_size=window_size, lstm_dim=lstm_dim)
    network = kind(config, is_infer=True)
    for parameter in network.parameters():
        parameter.set_value(rng.normal(0, scale, parameter.shape).astype(np.float32))
    network.eval()
    return network


def encoded(folder, lines):
    """The `EncodedLog` of lines like those of conftest.LINES."""
    (folder / "log.txt").write_text(log_text(lines), encoding="utf-8")
    [log] = Reader(SMALL_DICT).encode(str(folder / "log.txt"))
    return log


@pytest.mark.parametrize("kind, lstm_dim, window_size", [
    (DNNmodel, 64, 20), (DNNmodel, 33, 6), (DNNmodel, 20, 9), (DNNmodel, 7, 6),
    (DirectModel, 64, 20), (DirectModel, 33, 9), (DirectModel, 16, 50)])
def test_a_user_alone_is_a_user_in_company(tmp_path, kind, lstm_dim, window_size):
    """Bit for bit, with the same list: in any batch, on any place, by `clicks` or by a shorter log, by threads or not.

    With an LSTM narrower than 16 to 1e-6: some kernels (AVX2) compute the last rows of such a product otherwise.
    """
    rng, network = np.random.default_rng(0), random_network(lstm_dim, window_size, kind=kind)
    top_n = infer.TopN(rng.normal(size=(400, 31)).astype(np.float32), rng.normal(size=(1, 400)).astype(np.float32))
    lines = [(f"u{i % 4}", "p1", "c1", [f"v{v}:a:s_t" for v in rng.integers(1, 5, rng.integers(0, 2 * window_size))],
              "m1") for i in range(300)]
    together = infer.user_vectors(network, encoded(tmp_path, lines))
    lists = top_n(together, 30)[0]
    assert together.shape == (300, 31) and len(np.unique(together, axis=0)) > 200
    tolerance = 1e-6 if lstm_dim < 16 else 0

    def same(rows, lines, **options):
        found = infer.user_vectors(network, encoded(tmp_path, lines), **options)
        np.testing.assert_allclose(found, together[rows], rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(top_n(found, 30)[0], lists[rows])
    for row in (0, 127, 128, 299):
        same([row], [lines[row]])
    same(slice(None, None, -1), lines[::-1])
    same(slice(100, 231), lines[100:231])
    for shortest, longest in ((0, 2), (3, 4), (5, 5), (6, window_size - 1)):  # blocks whose longest windows differ
        rows = [row for row in range(300) if shortest <= len(lines[row][3]) <= longest]
        same(rows, [lines[row] for row in rows])
    same(slice(None), [(*line[:3], [*line[3], "v3:b:t"], line[4]) for line in lines],
         clicks=np.array([len(line[3]) for line in lines]))
    with ThreadPoolExecutor(3) as pool:
        same(slice(None), lines, run=pool.map)
    assert infer.user_vectors(network, encoded(tmp_path, [])).shape == (0, 31)


def plain_user_vector(parameters, line, window_size):
    """One user's vector from the raw line, in float64: the window that the next click would have."""
    def row(feature, value):
        return parameters["_proj_" + feature][SMALL_DICT[feature].get(value, 0)]

    def sigmoid(values):
        return 1 / (1 + np.exp(-values))
    user, province, city, infos, phone = line
    parts = [info.rsplit(":", 2) for info in infos]
    known = [(video, category, tags.split("_")) for video, category, tags in parts if SMALL_DICT[ITEMS].get(video)]
    window = [("<unk>", "<unk>", ["<unk>"]), *known][-window_size:]
    hidden = cell = np.zeros(parameters["lstm_weight_hh"].shape[1])
    states = []
    for video, _, _ in window:
        gates = (parameters["lstm_weight_ih"] @ row(ITEMS, video) + parameters["lstm_bias_ih"]
                 + parameters["lstm_weight_hh"] @ hidden + parameters["lstm_bias_hh"])
        entry, forget, change, output = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(entry) * np.tanh(change)
        hidden = sigmoid(output) * np.tanh(cell)
        states.append(hidden)
    joined = np.concatenate([
        np.max(states, axis=0), np.mean([row(CATEGORIES, category) for _, category, _ in window], axis=0),
        np.mean([row(TAGS, tag) for _, _, tags in window for tag in tags], axis=0),
        row("user_id", user), row("province", province), row("city", city), row("phone", phone)])
    first = np.maximum(joined @ parameters["relu1_w"] + parameters["relu1_b"], 0)
    return np.maximum(first @ parameters["relu2_w"] + parameters["relu2_b"], 0)


@pytest.mark.parametrize("window_size", [1, 3, 20])
def test_user_vectors_against_plain_ones(tmp_path, window_size):
    """The window of the next click: nothing more, nothing less, whoever shares the block."""
    network = random_network(9, window_size)
    parameters = {name: parameter.numpy().astype(float) for name, parameter in network.named().items()}
    rng = np.random.default_rng(1)
    lines = [(f"u{i % 4}", f"p{i % 2}", f"c{i % 3}",
              [f"{rng.choice(['v1', 'v2', 'v3', 'new'])}:{rng.choice(['a', 'b', 'z'])}:{rng.choice(['s', 's_t', 'q'])}"
               for _ in range(rng.integers(0, 9))], "m1") for i in range(40)]
    found = infer.user_vectors(network, encoded(tmp_path, lines))
    np.testing.assert_allclose(found, [plain_user_vector(parameters, line, window_size) for line in lines],
                               rtol=1e-4, atol=1e-5)


def test_vectors_that_are_not_finite(tmp_path):
    """Finite weights can still be too large for the network: sums of 1e30 in its first layer, of 1e45 in its second."""
    log = encoded(tmp_path, [("u1", "p1", "c1", ["v1:a:s"], "m1")])
    with pytest.raises(InputError, match="not finite"):
        infer.user_vectors(random_network(scale=1e15), log)


# ---------------------------------------------------------------- text
def test_lists_text():
    names = infer.listed_names(feature_dict_of(history_clicked_items=["a", "b,1", "100%"]))
    text = infer.lists_text(["u", "v", "w"], np.array([[2, 1], [1, 3], [1, 0]]),
                            np.array([[0.75, 0.25], [1.0, 0.0], [1 / 3, 0]]), names)
    assert text == "u\tb%2C1:0.75,a:0.25\nv\ta:1,100%25:0\nw\ta:0.333333\n"


@given(st.sampled_from([1, 9999, 1e9]).flatmap(
    lambda most: arrays(np.float64, (5, 4), elements=st.floats(-most, most))))
def test_vector_lines(vectors):
    """What is read back is what was written, to twelve decimals, with any separator and behind any name."""
    rows = [line.split(",") for line in infer.vector_lines(vectors, ",").splitlines()]
    np.testing.assert_allclose(np.array(rows, float), vectors, rtol=1e-15, atol=5.1e-13)
    assert all(len(value.partition(".")[2]) == 12 for row in rows for value in row)
    named = infer.vector_lines(vectors, "\t", list("北bcde"))
    assert named == "".join("\t".join([name, *row]) + "\n" for name, row in zip("北bcde", rows))


def test_one_vector_for_all_is_told(capsys):
    """Whatever the blocks were, once, at the end; a single user proves nothing."""
    def told(*blocks):
        assert list(infer.watched((np.array(block, float).reshape(-1, 1), len(block)) for block in blocks)) == [
            len(block) for block in blocks]
        return capsys.readouterr().err
    assert "all 3 users have the same vector" in told([5, 5], [5])
    assert told([5, 5], [5, 6]) == told([5], [6]) == told([5]) == told([]) == told() == ""


# ---------------------------------------------------------------- work spread over cores
@pytest.mark.parametrize("workers, ahead", [(1, 0), (3, 4)])
def test_ordered_map(workers, ahead):
    """In order, lazily: no more items are taken than are worked on ahead."""
    taken = []
    items = (taken.append(number) or number for number in range(500))
    with ThreadPoolExecutor(workers) as pool:
        results = utils.ordered_map(pool, lambda number: number ** 2, items, ahead)
        for number in range(10):
            assert next(results) == number ** 2
            assert len(taken) <= number + 1 + ahead + 1
        assert list(results) == [number ** 2 for number in range(10, 500)]


def test_errors_of_workers_arrive():
    """From a thread and, pickled, from a process; results before them come first."""
    def work(number):
        if number == 3:
            raise InputError("a.txt", 3, "broken", "mend it")
        return number
    with ThreadPoolExecutor(2) as pool:
        results = utils.ordered_map(pool, work, range(9), 2)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(InputError, match=r"^a\.txt:3: broken; mend it$"):
            next(results)
    assert str(pickle.loads(pickle.dumps(InputError("a.txt", 3, "broken", "mend it")))) == "a.txt:3: broken; mend it"


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
