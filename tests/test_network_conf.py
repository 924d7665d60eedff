"""The network and its loss against independent numpy references; gradients; sampling; the file of a model."""
import gzip
import io
import json
import tarfile
from collections import Counter

import network_conf
import reader
from conftest import SMALL_DICT, log_text
from network_conf import DNNmodel, ModelConfig, Sampling
from reader import InputError, Reader

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

FREQ = [0.1, 0.4, 0.2, 0.2, 0.1]
DIMS = {"user_id": 3, "province": 2, "city": 2, "phone": 2, "history_clicked_items": 4,
        "history_clicked_categories": 2, "history_clicked_tags": 3}
CONFIG = ModelConfig({name: len(SMALL_DICT[name]) for name in DIMS}, "print", 4, (6, 5), 4, DIMS)
LINES = [("u1", "p1", "c1", ["v1:a:s_t", "v2:b:t", "v1:a:s_t", "v3:z:q_s_t", "v4:a:s", "v2:b:t", "v3:b:t"], "m1"),
         ("u9", "p9", "c2", ["v4:NULL:NULL", "new:a:s", "v2:b:t"], "m9"),
         ("u2", "p1", "", [], "m1"),
         ("u2", "p1", "c1", ["v3:a:s_t_t"], "m1")]


@pytest.fixture(scope="module")
def paddle():
    return network_conf.load_paddle()


@pytest.fixture
def log_path(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text(log_text(LINES), encoding="utf-8")
    return str(path)


def random_parameters(config, seed=0):
    """Parameters large enough for every part of the network to matter, half of the ReLUs to be closed."""
    rng = np.random.default_rng(seed)
    return network_conf.tied(config, {name: rng.normal(0, 0.7, shape).astype(np.float32)
                                      for name, shape in network_conf.parameter_shapes(config).items()})


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_user_vector(p, config, instance):
    """u of one instance of the reader's generators, step by step in float64."""
    user, province, city, items, categories, tags, phone = instance[:7]
    p = {name: value.astype(np.float64) for name, value in p.items()}
    h = c = np.zeros(config.lstm_dim)
    states = []
    for item in items:
        gates = (p["lstm_weight_ih"] @ p["_proj_history_clicked_items"][item] + p["lstm_bias_ih"]
                 + p["lstm_weight_hh"] @ h + p["lstm_bias_hh"])
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    joined = [np.max(states, axis=0), np.mean([p["_proj_history_clicked_categories"][c] for c in categories], axis=0),
              np.mean([p["_proj_history_clicked_tags"][t] for t in tags], axis=0)]
    if config.last_click:
        joined.append(p["_proj_history_clicked_items"][items[-1]])
    if config.last_state:
        joined.append(states[-1])
    joined += [p["_proj_user_id"][user], p["_proj_province"][province], p["_proj_city"][city], p["_proj_phone"][phone]]
    hidden = np.maximum(0, np.concatenate(joined) @ p["relu1_w"] + p["relu1_b"])
    return np.maximum(0, hidden @ p["relu2_w"] + p["relu2_b"])


@pytest.mark.parametrize("engine", sorted(network_conf.ENGINES))
@pytest.mark.parametrize("cut", [reader.sliding_windows, reader.sequence_stretches])
@pytest.mark.parametrize("inputs", [{}, {"last_click": True, "last_state": True}], ids=["max", "max+last"])
def test_forward_pass(paddle, log_path, cut, inputs, engine):
    """LSTM, max and averages over windows of different lengths, padded or not, and both ReLU layers."""
    config = CONFIG._replace(**inputs)
    parameters = random_parameters(config)
    network = DNNmodel(config=config, parameters=parameters, is_infer=True, engine=engine)
    source = Reader(SMALL_DICT, config.window_size)
    [log] = source.encode(log_path)
    stretches = cut(log.lengths, config.window_size)
    if cut is reader.sliding_windows:
        instances = list(source.train(log_path))
    else:  # the generator has no such instances: a window that starts where the stretch does
        everything = list(Reader(SMALL_DICT, 100).train(log_path))
        starts = np.repeat(stretches.start, stretches.targets)
        instances = [_without_first(instance, start) for instance, start in zip(everything, starts)]
    expected = [plain_user_vector(parameters, config, instance) for instance in instances]
    assert len({len(instance[3]) for instance in instances}) > 2
    batch = reader.make_batch(log, stretches)
    np.testing.assert_allclose(network(batch), expected, rtol=1e-4, atol=1e-5)
    if engine == "numpy":  # and without computing the padding
        np.testing.assert_allclose(network.layers.users(batch), expected, rtol=1e-4, atol=1e-5)
    assert 0.1 < np.mean(np.array(expected) == 0) < 0.9


def _without_first(instance, start):
    """A whole-history instance from position `start` on; every video has as many tags as LINES gives it."""
    user, province, city, items, categories, tags, phone, target = instance
    infos = next(line[3] for line in LINES if len([i for i in line[3] if not i.startswith("new")]) >= len(items)
                 and SMALL_DICT["user_id"].get(line[0], 0) == user)
    counts = [1] + [len(info.split(":")[2].split("_")) for info in infos if not info.startswith("new")]
    return user, province, city, items[start:], categories[start:], tags[sum(counts[:start]):], phone, target


# ---------------------------------------------------------------- losses
def plain_cost(kind, users, targets, negatives, w, b, freq):
    """Mean cost, instance by instance, straight from the formulas."""
    q = np.array(freq, np.float64)
    q[0] = 0
    q /= q.sum()
    costs = []
    for n, (u, target) in enumerate(zip(users, targets)):
        noise = negatives[n] if negatives.ndim == 2 else negatives
        k = len(noise)
        if kind == "nce":
            def is_data(v, u=u, k=k):
                return np.exp(w[v] @ u + b[v]) / (np.exp(w[v] @ u + b[v]) + k * q[v])
            costs.append(-np.log(is_data(target)) - sum(np.log(1 - is_data(v)) for v in noise))
        else:
            weight = {v: np.exp(w[v] @ u + b[v]) / q[v] for v in range(1, len(q))}
            total = weight[target] + sum(weight[v] for v in noise if v != target)
            costs.append(-np.log(weight[target] / total))
    return np.mean(costs)


def loss_case(shared, seed=0):
    rng = np.random.default_rng(seed)
    shape = 6 if shared else (8, 6)
    return (rng.normal(size=(8, 5)), rng.integers(1, 5, 8), rng.integers(1, 5, shape), rng.normal(size=(5, 5)),
            rng.normal(size=(5, 1)))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", sorted(network_conf.LOSSES))
def test_loss_and_its_gradient(paddle, kind, shared):
    """The cost against the formulas, its gradient against finite differences, all in float64."""
    users, targets, negatives, w, b = loss_case(shared)
    log_noise = np.log(np.array(FREQ) / (1 - FREQ[0]))
    tensors = [paddle.to_tensor(value, stop_gradient=False) for value in (users, w, b)]
    cost = network_conf.LOSSES[kind](tensors[0], paddle.to_tensor(targets), paddle.to_tensor(negatives), tensors[1],
                                     tensors[2], paddle.to_tensor(log_noise))
    assert cost.shape == [8]
    assert float(cost.mean()) == pytest.approx(plain_cost(kind, users, targets, negatives, w, b[:, 0], FREQ), abs=1e-9)

    def mean_cost(u, w, b):
        return plain_cost(kind, u, targets, negatives, w, b[:, 0], FREQ)
    cost.mean().backward()
    for number, gradient in enumerate(tensor.grad.numpy() for tensor in tensors):
        for index in np.ndindex(gradient.shape):
            values = [[value.copy() for value in (users, w, b)] for _ in range(2)]
            values[0][number][index] += 1e-5
            values[1][number][index] -= 1e-5
            slope = (mean_cost(*values[0]) - mean_cost(*values[1])) / 2e-5
            assert gradient[index] == pytest.approx(slope, abs=1e-7)


def summed_gradients(network, batch, rng, targets):
    """Cost, and {name: (distinct ids or None, gradient)}."""
    cost, found = network.gradients(batch, rng, targets)
    return cost, {name: network_conf.sum_gradients(parts, np.empty(200, np.int32)) for name, parts in found.items()}


@pytest.mark.parametrize("engine", sorted(network_conf.ENGINES))
@pytest.mark.parametrize("inputs", [{}, {"last_click": True}, {"last_state": True},
                                    {"last_click": True, "last_state": True},
                                    {"tie_embeddings": True, "dnn_layer_dims": (6, 4)}],
                         ids=["max", "last click", "last state", "both", "tied"])
def test_gradient_of_the_network(paddle, log_path, inputs, engine):
    """Backward through everything, against the slope of the float64 reference along random directions."""
    config = CONFIG._replace(**inputs)
    parameters = random_parameters(config)
    network = DNNmodel(config=config, item_freq=FREQ, parameters=parameters, sampling=Sampling(num_negatives=3),
                       engine=engine)
    negatives = np.random.default_rng(1).integers(1, 5, (10, 3))
    network.noise.draw = lambda shape, rng: negatives[:shape[0]]
    source = Reader(SMALL_DICT, config.window_size)
    [log] = source.encode(log_path)
    instances = list(source.train(log_path))
    batch = reader.make_batch(log, reader.sliding_windows(log.lengths, config.window_size))
    targets = [instance[7] for instance in instances]

    def cost_at(p):
        users = [plain_user_vector(p, config, instance) for instance in instances]
        return plain_cost("nce", users, targets, negatives[:len(targets)], p["nce_w"].astype(np.float64),
                          p["nce_b"][0].astype(np.float64), FREQ)
    rng = np.random.default_rng(2)
    cost, found = summed_gradients(network, batch, rng, len(targets))
    assert cost == pytest.approx(cost_at(parameters), rel=1e-4)
    gradient = {name: np.zeros_like(value) for name, value in parameters.items()}
    for name, (ids, rows) in found.items():
        assert ids is None or len(set(ids.tolist())) == len(ids) == len(rows)
        network_conf.table_rows(name, gradient[name])[... if ids is None else ids] = rows
    if config.tie_embeddings:
        assert "nce_w" not in found
        del gradient["nce_w"]
    for name, (_, again) in summed_gradients(network, batch, rng, len(targets))[1].items():
        np.testing.assert_array_equal(again, found[name][1])  # nothing is left of the step before
    for name in gradient:
        direction = rng.normal(size=gradient[name].shape)
        ends = [network_conf.tied(config, {**parameters, name: parameters[name].astype(np.float64) + step * direction})
                for step in (1e-6, -1e-6)]
        slope = (cost_at(ends[0]) - cost_at(ends[1])) / 2e-6
        assert (gradient[name] * direction).sum() == pytest.approx(slope, rel=2e-3, abs=2e-4), name
        assert np.abs(gradient[name]).sum() > 0, name


def test_an_untrained_network_ranks_by_popularity(paddle):
    config = ModelConfig(dict.fromkeys(DIMS, 50))
    freq = np.random.default_rng(0).dirichlet(np.ones(50) * 0.3) + 1e-4
    freq = list(freq / freq.sum())
    p = network_conf.initial_parameters(config, freq, np.random.default_rng(0))
    user = plain_user_vector(p, config, (3, 2, 1, [0, 4, 5], [0, 2, 3], [0, 1, 2], 1))
    scores = p["nce_w"] @ user + p["nce_b"][0]
    softmax = np.exp(scores[1:]) / np.exp(scores[1:]).sum()
    popularity = np.array(freq[1:]) / sum(freq[1:])
    # random weights of a hundredth shift a probability by some percent
    assert np.abs(np.log(softmax / popularity)).max() < 0.2
    assert list(np.argsort(-softmax)[:5]) == list(np.argsort(-popularity)[:5])
    old = network_conf.initial_parameters(config, freq, np.random.default_rng(0), "v0.10")
    assert not old["nce_b"].any() and np.std(old["_proj_city"]) == pytest.approx(0.001, rel=0.1)


def test_dropout_is_for_training_only(paddle, log_path):
    parameters = random_parameters(CONFIG)
    [log] = Reader(SMALL_DICT, 4).encode(log_path)
    batch = reader.make_batch(log, reader.sliding_windows(log.lengths, 4))
    network = DNNmodel(config=CONFIG, parameters=parameters, is_infer=True, dropout=0.5)
    plain = DNNmodel(config=CONFIG, parameters=parameters, is_infer=True)
    np.testing.assert_array_equal(network(batch), plain(batch))
    rng = np.random.default_rng(0)
    dropped = [network(batch, rng) for _ in range(2)]
    assert not np.array_equal(*dropped)
    mask = network_conf.dropout_mask((400, 500), 0.5, rng)
    assert set(np.unique(mask)) == {0, 2} and abs(mask.mean() - 1) < 0.02


@pytest.mark.parametrize("cut", [reader.sliding_windows, reader.sequence_stretches])
@pytest.mark.parametrize("dropout", [0, 0.4])
def test_both_engines_compute_the_same(paddle, cut, dropout):
    """Random histories of all lengths; the same dropout; costs, and gradients of all parameters."""
    rng = np.random.default_rng(3)
    infos = [f"v{rng.integers(1, 5)}:a:{tags}" for tags in ("s", "t", "s_t", "q_s_s_t", "NULL")]
    lines = [("u1", "p1", "c1", list(rng.choice(infos, count)), "m1") for count in (1, 2, 9, 4, 17, 3, 9, 12)]
    [log] = [Reader(SMALL_DICT)._encode_block("log", reader.parse_lines(
        enumerate(log_text(lines).encode().splitlines(), 1), "log"), None)]
    batch = reader.make_batch(log, cut(log.lengths, 6))
    config, found = CONFIG._replace(last_click=True), {}
    for engine in network_conf.ENGINES:
        network = DNNmodel(config=config, item_freq=FREQ, parameters=random_parameters(config), dropout=dropout,
                           engine=engine)
        found[engine] = summed_gradients(network, batch, np.random.default_rng(4), 57)
    assert found["numpy"][0] == pytest.approx(found["paddle"][0], rel=1e-5)
    assert found["numpy"][1].keys() == found["paddle"][1].keys()
    for name, (ids, gradient) in found["numpy"][1].items():
        other_ids, other = found["paddle"][1][name]
        if ids is not None:
            gradient, other = gradient[np.argsort(ids)], other[np.argsort(other_ids)]
            np.testing.assert_array_equal(np.sort(ids), np.sort(other_ids))
        np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-6, err_msg=name)


def packed_case(lengths):
    """(Packed of stretches with a target at each position, [(step, stretch) of each row])."""
    position = np.concatenate([np.arange(length) for length in lengths])
    shape = (max(lengths), len(lengths))
    stretch = np.repeat(np.arange(len(lengths)), lengths)
    batch = reader.Batch(None, np.zeros(shape), *[None] * 5, stretch, position, None)
    packed = network_conf.Packed(batch)
    return packed, [divmod(place, len(lengths)) for place in packed.places.tolist()]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 99))
def test_running_max_and_sum(lengths, seed):
    """Row by row, from all rows of its stretch up to it; the gradient of a max goes where it was found first."""
    rng = np.random.default_rng(seed)
    packed, places = packed_case(lengths)
    assert sorted(places) == sorted((step, stretch) for stretch, length in enumerate(lengths) for step in range(length))
    assert [places[row] for row in packed.seen_from] == [(step, stretch) for stretch, length in enumerate(lengths)
                                                         for step in range(length)]
    values = rng.integers(0, 3, (len(places), 2)).astype(np.float32)  # many equal ones
    weights = rng.normal(size=values.shape).astype(np.float32)
    best, total = network_conf.running_max(values, packed), values.copy()
    network_conf.running_sum(total, packed)
    of_max, of_sum = np.zeros_like(values), np.zeros_like(values)
    for row, (step, stretch) in enumerate(places):
        seen = sorted(other for other, (s, t) in enumerate(places) if t == stretch and s <= step)
        np.testing.assert_array_equal(best[row], values[seen].max(axis=0))
        np.testing.assert_array_equal(total[row], values[seen].sum(axis=0))
        of_sum[seen] += weights[row]
        for column in range(2):
            of_max[seen[values[seen, column].argmax()], column] += weights[row, column]
    found_max, found_sum = weights.copy(), weights.copy()
    network_conf.running_max_backward(found_max, best, packed)
    network_conf.running_sum_backward(found_sum, packed)
    np.testing.assert_allclose(found_max, of_max, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found_sum, of_sum, rtol=1e-5, atol=1e-6)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=9), st.sampled_from([1, 3, 4]))
def test_segment_sum(counts, width):
    segment = np.repeat(np.arange(len(counts)), counts)
    values = np.random.default_rng(0).normal(size=(len(segment), width)).astype(np.float32)
    expected = [values[segment == row].sum(axis=0) for row in range(len(counts))]
    np.testing.assert_allclose(network_conf.segment_sum(values, segment), expected, rtol=1e-5, atol=1e-6)
    mixed = np.random.default_rng(1).permutation(len(segment))
    found = network_conf.sum_rows(values[mixed], segment[mixed], len(counts) + 2)  # two places that get nothing
    np.testing.assert_allclose(found, [*expected, np.zeros(width), np.zeros(width)], rtol=1e-5, atol=1e-6)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_distinct_ids(ids):
    ids = np.array(ids)
    distinct, local = network_conf.distinct_ids(ids, np.full(21, 7, np.int32))
    assert sorted(distinct.tolist()) == sorted(set(ids.tolist()))
    np.testing.assert_array_equal(distinct[local], ids)


# ---------------------------------------------------------------- sampling
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda shares: sum(shares) > 1e-3))
def test_alias_table_gives_the_distribution(shares):
    keep, other = network_conf.alias_table(shares)
    assert ((keep >= 0) & (keep <= 1)).all()
    reached = keep.copy()
    np.add.at(reached, other, 1 - keep)
    np.testing.assert_allclose(reached / len(shares), np.array(shares) / sum(shares), atol=1e-12)


def test_noise_follows_the_frequencies():
    """200,000 draws: every share within five standard errors; never `<unk>`; log_probability tells the truth."""
    sampler = network_conf.NoiseSampler(FREQ)
    draws = sampler.draw((400, 500), np.random.default_rng(0))
    assert draws.shape == (400, 500)
    counts = Counter(draws.ravel().tolist())
    expected = np.array(FREQ[1:])
    expected /= expected.sum()
    assert counts[0] == 0
    for video, share in enumerate(expected, 1):
        assert abs(counts[video] / 200_000 - share) < 5 * np.sqrt(share * (1 - share) / 200_000)
    np.testing.assert_allclose(np.exp(sampler.log_probability[1:]), expected, rtol=1e-6)


# ---------------------------------------------------------------- the file of a model
@pytest.fixture
def model(tmp_path):
    parameters = random_parameters(CONFIG)
    path = tmp_path / "model.tar.gz"
    network_conf.save_model(path, CONFIG, parameters, FREQ)
    return str(path), parameters


def test_round_trip(model, tmp_path):
    path, parameters = model
    loaded = network_conf.load_model(path, "print")
    assert loaded.config == CONFIG
    assert loaded.parameters.keys() == parameters.keys()
    for name, value in parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], value)
    np.testing.assert_allclose(loaded.item_freq, FREQ, rtol=1e-6)
    network_conf.save_model(tmp_path / "again.tar.gz", loaded.config, loaded.parameters, loaded.item_freq)
    assert (tmp_path / "again.tar.gz").read_bytes() == (tmp_path / "model.tar.gz").read_bytes()


@pytest.mark.parametrize("blocks", range(20))
def test_archives_of_every_length(tmp_path, blocks):
    """Wherever the last member ends within a record of the tar."""
    config = CONFIG._replace(dictionary_fingerprint="x" * 512 * blocks)
    network_conf.save_model(tmp_path / "model.tar.gz", config, random_parameters(config), FREQ)
    assert network_conf.load_model(str(tmp_path / "model.tar.gz")).config == config


def test_tied_embeddings(tmp_path):
    """One array in memory; a file whose two tables differ is refused."""
    path, config = tmp_path / "tied.tar.gz", CONFIG._replace(tie_embeddings=True, dnn_layer_dims=(6, 4))
    parameters = random_parameters(config)
    network_conf.save_model(path, config, parameters, FREQ)
    loaded = network_conf.load_model(str(path))
    assert loaded.config == config
    assert loaded.parameters["nce_w"] is loaded.parameters[network_conf.VIDEO_TABLE]
    np.testing.assert_array_equal(loaded.parameters["nce_w"], parameters["nce_w"])
    network_conf.save_model(path, config, {**parameters, "nce_w": -parameters["nce_w"]}, FREQ)
    with pytest.raises(InputError, match="differ, which are tied"):
        network_conf.load_model(str(path))
    with pytest.raises(ValueError, match="as wide as"):
        network_conf.parameter_shapes(CONFIG._replace(tie_embeddings=True))


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_anybody_can_pack_it_again(model, tmp_path, kind):
    with tarfile.open(tmp_path / "again.tar.gz", "w:gz", format=kind) as tar:
        for name, content in members_of(model[0]).items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), 1e9 + 0.5  # pax has a remark on the half second
            tar.addfile(entry, io.BytesIO(content))
    assert network_conf.load_model(str(tmp_path / "again.tar.gz")).config == CONFIG


def test_anybody_can_read_it(model):
    path, parameters = model
    with tarfile.open(path, "r:gz") as tar:
        assert json.load(tar.extractfile("model.json"))["window_size"] == 4
        nce_b = np.load(io.BytesIO(tar.extractfile("nce_b.npy").read()), allow_pickle=False)
    np.testing.assert_array_equal(nce_b, parameters["nce_b"])
    assert nce_b.shape == (1, 5)


def members_of(path):
    with tarfile.open(path, "r:gz") as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def config_with(**changes):
    def change(members):
        return {**members, "model.json": json.dumps({**json.loads(members["model.json"]), **changes}).encode()}
    return change


def without(name):
    return lambda members: {key: value for key, value in members.items() if key != name}


@pytest.mark.parametrize("change, what", [
    (without("nce_w.npy"), "lacks nce_w"),
    (without("model.json"), "does not begin with model.json"),
    (lambda m: {**m, "nce_w.npy": npy(np.zeros((4, 5), np.float32))}, "nce_w is float32 (4, 5) in place of"),
    (lambda m: {**m, "nce_w.npy": npy(np.zeros((5, 5)))}, "nce_w is float64"),
    (lambda m: {**m, "nce_w.npy": npy(np.full((5, 5), np.nan, np.float32))}, "not finite"),
    (lambda m: {**m, "nce_w.npy": npy(np.array([{}] * 25).reshape(5, 5), allow_pickle=True)}, "nce_w is object"),
    (lambda m: {**m, "nce_w.npy": m["nce_w.npy"][:-8]}, "truncated within nce_w"),
    (lambda m: {**m, "nce_w.npy": b""}, "damaged or truncated"),
    (lambda m: {**m, "../../escape.npy": b""}, "unexpected member '../../escape.npy'"),
    (config_with(format_version=2), "format version 2"),
    (config_with(lstm_dim=8), "lstm_weight_ih is float32 (16, 4) in place of"),
    (config_with(surprise=1), "model.json is not complete"),
    (config_with(dictionary_sizes=[]), "model.json is not complete"),
    (lambda m: {**m, "model.json": b"{"}, "damaged or truncated"),
])
def test_archives_that_do_not_fit(model, tmp_path, change, what):
    bad = tmp_path / "bad.tar.gz"
    with tarfile.open(bad, "w:gz") as tar:
        for name, content in change(members_of(model[0])).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with pytest.raises(InputError) as caught:
        network_conf.load_model(str(bad))
    assert what in str(caught.value) and str(caught.value).startswith(str(bad))
    assert not (tmp_path.parent / "escape.npy").exists()


@pytest.mark.parametrize("damage", [
    lambda data: data[:len(data) // 2], lambda data: data[:-4], lambda data: b"", lambda data: b"plain text",
    lambda data: gzip.compress(b"no tar"), lambda data: gzip.compress(gzip.decompress(data)[:3000]),
])
def test_damaged_archives(model, tmp_path, damage):
    bad = tmp_path / "bad.tar.gz"
    with open(model[0], "rb") as good:
        bad.write_bytes(damage(good.read()))
    with pytest.raises(InputError, match=r"bad\.tar\.gz: .*; give a model_pass"):
        network_conf.load_model(str(bad))


@pytest.mark.parametrize("level", [None, 6], ids=["as we pack it", "as others do"])
def test_a_changed_bit(model, tmp_path, level):
    """In the middle of an array only the checksum tells."""
    with open(model[0], "rb") as good:
        packed = good.read()
    content = gzip.decompress(packed)
    array = model[1]["relu1_w"].tobytes()
    changed = content.replace(array, bytes([array[0] ^ 1]) + array[1:])
    assert len(changed) == len(content) != len(packed) and changed != content
    bad = tmp_path / "bad.tar.gz"
    if level is None:
        bad.write_bytes(packed.replace(array, bytes([array[0] ^ 1]) + array[1:]))
    else:
        bad.write_bytes(gzip.compress(changed, level)[:-8] + gzip.compress(content, level)[-8:])
    with pytest.raises(InputError, match=r"bad\.tar\.gz: damaged"):
        network_conf.load_model(str(bad))


def test_wrong_dictionary_and_missing_file(model):
    with pytest.raises(InputError, match="trained with another dictionary"):
        network_conf.load_model(model[0], "another")
    with pytest.raises(InputError, match="No such file"):
        network_conf.load_model(model[0] + ".none")
