"""The network: LSTM + ReLU + NCE; its parameters, and their file.

    items      -> embedding 64 -> LSTM 64 -> max over time  ─┐
    categories -> embedding  8 -> average                    │
    tags       -> embedding 64 -> average                    ├─ concatenated -> ReLU 256 -> ReLU 31 = u
    user_id 64, province 8, city 16, phone 16 (embeddings)  ─┘
    score of video v = nce_w[v] . u + nce_b[v];   P(v | u) = softmax of the scores over all videos but <unk>

Reads from top to bottom: sizes and initial values, the class DNNmodel, the loss (NCE and its sampler),
the file of a model. paddle is imported by what computes, not by what reads files, so that a script
which only needs the parameters (item_vector.py) starts at once.
"""
import contextlib
import gzip
import io
import json
import os
import tarfile
import warnings
import zlib
from typing import NamedTuple

import numpy as np

from reader import CLICK_FEATURES, PROFILE_FEATURES, InputError, atomic_write

EMBEDDING_DIMS = {"user_id": 64, "province": 8, "city": 16, "phone": 16, "history_clicked_items": 64,
                  "history_clicked_categories": 8, "history_clicked_tags": 64}
LSTM_DIM = 64
DNN_LAYER_DIMS = (256, 31)
WINDOW_SIZE = 20
NUM_NEGATIVES = 5
FORMAT_VERSION = 1
INITIAL_STD = {"_proj_user_id": 0.01, "nce_w": 0.01}  # 0.1 for the other tables


def load_paddle(threads=1):
    """Import paddle with the settings that suit this processor, and without its chatter on stderr.

    MKL takes its slow path on AMD processors unless told otherwise before it loads (MKL_DEBUG_CPU_TYPE);
    a value that the user has set already stays.
    """
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        if "AuthenticAMD" in cpuinfo.read():
            os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    warnings.filterwarnings("ignore", message="No ccache found")
    import paddle
    paddle.base.core.set_num_threads(threads)
    return paddle


# ---------------------------------------------------------------- sizes and initial values
class ModelConfig(NamedTuple):
    """What makes a network, beside its parameters; stored as model.json."""

    dictionary_sizes: dict
    dictionary_fingerprint: str = ""
    window_size: int = WINDOW_SIZE
    dnn_layer_dims: tuple = DNN_LAYER_DIMS
    lstm_dim: int = LSTM_DIM
    embedding_dims: dict = EMBEDDING_DIMS
    last_click: bool = False  # whether the last video's embedding goes to the first ReLU layer as well
    last_state: bool = False  # whether the LSTM's last state does, beside the max of all


class Sampling(NamedTuple):
    """What a cost is made of: the loss, and its noise samples, a few for each instance or many shared by a batch."""

    loss: str = "nce"
    num_negatives: int = NUM_NEGATIVES
    shared_negatives: bool = False
    noise_power: float = 1.0


def parameter_shapes(config):
    """{parameter name: shape} of a network; videos and other values are rows, ReLU weights are [in, out].

    The LSTM's follow paddle.nn.LSTM: gates i, f, c, o stacked in the first dimension, gate = W_ih x + b_ih
    + W_hh h + b_hh.
    """
    dims, gates = config.embedding_dims, 4 * config.lstm_dim
    first, user = config.dnn_layer_dims
    videos = config.dictionary_sizes["history_clicked_items"]
    joined = config.lstm_dim + sum(dims[name] for name in dims if name != "history_clicked_items")
    joined += dims["history_clicked_items"] * config.last_click + config.lstm_dim * config.last_state
    return {
        **{f"_proj_{name}": (size, dims[name]) for name, size in config.dictionary_sizes.items()},
        "lstm_weight_ih": (gates, dims["history_clicked_items"]), "lstm_weight_hh": (gates, config.lstm_dim),
        "lstm_bias_ih": (gates,), "lstm_bias_hh": (gates,),
        "relu1_w": (joined, first), "relu1_b": (first,), "relu2_w": (first, user), "relu2_b": (user,),
        "nce_w": (videos, user), "nce_b": (1, videos),
    }


def initial_parameters(config, item_freq, rng, kind="popularity"):
    """Fresh parameters, {name: float32 array}.

    popularity : nce_b starts at log(item_freq) and nce_w near 0, so that an untrained network ranks by
        popularity. Tables are normal with the std of INITIAL_STD, weights uniform after Glorot & Bengio 2010
        (LSTM, each gate) and He et al. 2015 (ReLU), biases 0 but for the forget gate's 1 (Jozefowicz et al. 2015).
    v0.10 : as the example of that paddle had it: tables normal with std 0.001, weights normal with std
        1 / sqrt(first dimension), all biases 0.
    """
    parameters = {}
    for name, shape in parameter_shapes(config).items():
        old, table = kind == "v0.10", name.startswith("_proj_")
        if name == "nce_b":
            value = np.zeros(shape) if old else log_frequencies(item_freq).reshape(shape)
        elif len(shape) == 1:
            value = np.zeros(shape)
            if name == "lstm_bias_ih" and not old:
                value[config.lstm_dim:2 * config.lstm_dim] = 1  # gates i, f, c, o
        elif old:
            fan_in = shape[1] if name.startswith("lstm_") else shape[0]  # the LSTM's are [out, in]
            value = rng.normal(0, 0.001 if table else fan_in ** -0.5, shape)
        elif name.startswith("lstm_"):
            value = rng.uniform(-1, 1, shape) * np.sqrt(6 / (shape[1] + config.lstm_dim))
        elif name.startswith("relu"):
            value = rng.uniform(-1, 1, shape) * np.sqrt(6 / shape[0])
        else:
            value = rng.normal(0, INITIAL_STD.get(name, 0.1), shape)
        parameters[name] = value.astype(np.float32)
    return parameters


def log_frequencies(item_freq):
    """log of the probabilities of item_freq, float64 [videos]; zeros (`<unk>`, mostly) get the smallest other."""
    freq = np.asarray(item_freq, np.float64)
    return np.log(np.maximum(freq, freq[1:][freq[1:] > 0].min()))


# ---------------------------------------------------------------- the network
class DNNmodel:
    """Candidate generation: a batch of windows -> user vectors, and in training their NCE cost.

    Parameters
    ----------
    dnn_layer_dims : widths of the two ReLU layers; the second is that of the user vector.
    feature_dict : dict, as data_processor.py writes it; may be None when `config` is given.
    item_freq : list of float, the noise distribution of NCE; not needed to infer.
    is_infer : bool; if so calling the model gives user vectors, else the mean cost of the batch.
    config : ModelConfig, in place of the two first.
    parameters : {name: array}, as `load_model` gives them; fresh ones from `rng` if None.
    sampling : Sampling, the loss and its noise samples.
    dropout : share of the inputs of both ReLU layers that are set to 0 in training (Srivastava et al. 2014).
    """

    def __init__(self, dnn_layer_dims=DNN_LAYER_DIMS, feature_dict=None, item_freq=None, is_infer=False, *,
                 config=None, parameters=None, sampling=None, dropout=0.0, rng=None):
        import paddle
        if config is None:
            config = ModelConfig({name: len(feature_dict[name]) for name in EMBEDDING_DIMS},
                                 dnn_layer_dims=tuple(dnn_layer_dims))
        self.config = config
        self.is_infer = is_infer
        self.dropout = dropout
        if parameters is None:
            parameters = initial_parameters(config, item_freq, rng or np.random.default_rng(0))
        self.layer = paddle.nn.Layer()  # holds what is trained
        lstm = paddle.nn.LSTM(config.embedding_dims["history_clicked_items"], config.lstm_dim)
        self.layer.add_sublayer("lstm", lstm)
        self._named = {}
        for name, value in parameters.items():
            if name.startswith("lstm_"):
                parameter = getattr(lstm, name[len("lstm_"):] + "_l0")
            else:
                # nce_b is kept as a column, so that its gradient is sparse like that of nce_w
                value = value.reshape(-1, 1) if name == "nce_b" else value
                parameter = self.layer.create_parameter(value.shape)
                self.layer.add_parameter(name, parameter)
            parameter.set_value(value)
            self._named[name] = parameter
        if is_infer:
            self.layer.eval()
        if not is_infer:
            self.sampling = sampling or Sampling()
            self.noise = NoiseSampler(item_freq, self.sampling.noise_power)

    def parameters(self):
        """The trained tensors, as an optimiser wants them."""
        return self.layer.parameters()

    def numpy_parameters(self):
        """{name: float32 array} for `save_model`, in the order and shapes of `parameter_shapes`."""
        return {name: self._named[name].numpy().reshape(shape)
                for name, shape in parameter_shapes(self.config).items()}

    def __call__(self, batch):
        """Mean NCE cost of a `reader.Batch` (scalar tensor), or its user vectors [N, u] if `is_infer`."""
        inputs = self.input_layer(batch)
        user = self.hidden_layer(inputs, self.embedding_layer(inputs))
        return user if self.is_infer else self.output_layer(user, inputs["target_item"])

    def input_layer(self, batch):
        """The numpy arrays of a batch as {name: int64 tensor}; see `reader.Batch` for their shapes."""
        import paddle
        return {name: paddle.to_tensor(value) for name, value in batch._asdict().items() if value is not None}

    def embedding_layer(self, inputs):
        """{feature: embeddings}: [S, width] for the profile, [S, T, width] for clicks, tags summed per video."""
        import paddle
        from paddle.nn.functional import embedding
        looked_up = {name: embedding(inputs["profile"][:, column], self._named[f"_proj_{name}"], sparse=True)
                     for column, name in enumerate(PROFILE_FEATURES)}
        items, categories, tags = CLICK_FEATURES
        looked_up[items] = embedding(inputs["items"], self._named["_proj_" + items], sparse=True)
        looked_up[categories] = embedding(inputs["categories"], self._named["_proj_" + categories], sparse=True)
        tag_vectors = embedding(inputs["tags"], self._named["_proj_" + tags], sparse=True)  # [K, 64]
        video_tags = paddle.geometric.segment_sum(tag_vectors, inputs["tag_video"])  # [U, 64]
        looked_up[tags] = embedding(inputs["video"], video_tags)
        return looked_up

    def hidden_layer(self, inputs, embeddings):
        """User vectors [N, u] of the N targets: max and averages over all that precedes each, then two ReLUs."""
        import paddle
        from paddle.nn.functional import dropout, relu
        items, categories, tags = CLICK_FEATURES
        steps = inputs["items"].shape[1]
        seen_from = inputs["stretch"] * steps + inputs["position"]  # [N], into S * T

        def at_targets(sequence):  # [S, T, width] -> [N, width]
            return paddle.gather(sequence.reshape([-1, sequence.shape[2]]), seen_from)

        states, _ = self.layer.lstm(embeddings[items])  # [S, T, lstm]
        running_max, _ = paddle.cummax(states, axis=1)
        # a lower triangle of ones times [S, T, width] sums each position with all before it
        running_sum = paddle.matmul(paddle.tril(paddle.ones([steps, steps])),
                                    paddle.concat([embeddings[categories], embeddings[tags]], axis=2))
        width = self.config.embedding_dims[categories]
        sums = at_targets(running_sum)
        clicks = (inputs["position"] + 1).astype("float32").unsqueeze(1)  # [N, 1]
        tag_counts = paddle.gather(inputs["tag_counts"].reshape([-1, 1]), seen_from).astype("float32")
        profile = paddle.concat([embeddings[name] for name in PROFILE_FEATURES], axis=1)  # [S, 104]
        parts = [at_targets(running_max), sums[:, :width] / clicks, sums[:, width:] / tag_counts,
                 paddle.gather(profile, inputs["stretch"])]
        if self.config.last_click:
            parts.append(at_targets(embeddings[items]))
        if self.config.last_state:
            parts.append(at_targets(states))
        joined = paddle.concat(parts, axis=1)
        for layer in ("relu1", "relu2"):
            joined = dropout(joined, self.dropout, training=self.layer.training)
            joined = relu(paddle.matmul(joined, self._named[layer + "_w"]) + self._named[layer + "_b"])
        return joined

    def output_layer(self, user, target_item):
        """Mean cost of user vectors [N, u] with their targets [N], against fresh noise samples."""
        shape = [self.sampling.num_negatives]
        negatives = self.noise.draw(shape if self.sampling.shared_negatives else [user.shape[0], *shape])
        return LOSSES[self.sampling.loss](user, target_item, negatives, self._named["nce_w"], self._named["nce_b"],
                                          self.noise.log_probability).mean()


# ---------------------------------------------------------------- the loss
def log_odds(user, target_item, negatives, nce_w, nce_b, log_noise):
    """Log-odds of "data, not noise" for the target (column 0) and of each noise sample, float [N, 1 + k].

    With scores s(v) = nce_w[v] . u + nce_b[v] and noise distribution q: s(v) - log(k q(v)).

    Parameters
    ----------
    user : float [N, u].   target_item : int64 [N].
    negatives : int64 [N, k], drawn from q for each instance, or int64 [k], shared by all of them: those
        cost one matrix product.
    nce_w : float [videos, u].   nce_b : float [videos, 1].   log_noise : float [videos], log q.
    """
    import paddle
    from paddle.nn.functional import embedding

    def offset(ids):  # nce_b - log(k q) of some ids, in their shape
        expected = paddle.gather(log_noise, ids.flatten()).reshape(ids.shape) + float(np.log(negatives.shape[-1]))
        return embedding(ids, nce_b, sparse=True).squeeze(-1) - expected

    shared = negatives.ndim == 1
    chosen = target_item.unsqueeze(1) if shared else paddle.concat([target_item.unsqueeze(1), negatives], axis=1)
    weights = embedding(chosen, nce_w, sparse=True)  # [N, 1 or 1 + k, u]
    odds = (weights * user.unsqueeze(1)).sum(2) + offset(chosen)
    if shared:
        noise = paddle.matmul(user, embedding(negatives, nce_w, sparse=True), transpose_y=True)  # [N, k]
        odds = paddle.concat([odds, noise + offset(negatives)], axis=1)
    return odds


def nce_loss(user, target_item, negatives, nce_w, nce_b, log_noise):
    r"""Noise-contrastive estimation with k noise samples per instance, [N]; parameters as in `log_odds`.

    Each instance is k + 1 yes-or-no questions, "data or noise?", decided by the log-odds x(v) = s(v) - log(k q(v)):

        cost = -log sigmoid(x(target)) - sum over noise n of log sigmoid(-x(n))

    At the optimum s(v) = log P(v | u): the scores normalise themselves, so that a softmax of them serves.
    Gutmann & Hyvarinen 2010, eq. 8; Mnih & Teh 2012, eq. 8.
    """
    from paddle.nn.functional import softplus
    odds = log_odds(user, target_item, negatives, nce_w, nce_b, log_noise)
    return softplus(-odds[:, 0]) + softplus(odds[:, 1:]).sum(1)


def ranking_nce_loss(user, target_item, negatives, nce_w, nce_b, log_noise):
    r"""Ranking NCE, [N]; parameters as in `log_odds`: softmax over target and noise, corrected for the sampling.

        cost = -log( exp x(target) / (exp x(target) + sum over noise n != target of exp x(n)) )

    With x(v) = s(v) - log q(v), up to a constant; noise that hits the target is left out. Consistent for the
    softmax of the scores (Jean et al. 2015, eq. 8; Ma & Collins 2018, eq. 6), and the importance weighting that
    Covington et al. 2016 describe.
    """
    import paddle
    odds = log_odds(user, target_item, negatives, nce_w, nce_b, log_noise)
    hit = (negatives if negatives.ndim == 2 else negatives.unsqueeze(0)) == target_item.unsqueeze(1)  # [N, k]
    noise = paddle.where(hit, paddle.full([1], -1e9), odds[:, 1:])
    return paddle.logsumexp(paddle.concat([odds[:, :1], noise], axis=1), axis=1) - odds[:, 0]


LOSSES = {"nce": nce_loss, "ranking_nce": ranking_nce_loss}


def alias_table(probabilities):
    """Tables for drawing from a distribution in O(1): column i keeps i with `keep[i]`, else gives `other[i]`.

    Walker 1977 in the arrangement of Vose 1991.

    Returns
    -------
    keep : float64 [n], other : int64 [n]; n * P(i) = keep[i] + sum of (1 - keep[j]) over the j with other[j] == i.
    """
    probabilities = np.asarray(probabilities, np.float64)
    keep = probabilities / probabilities.sum() * len(probabilities)
    other = np.arange(len(keep))
    small, large = list(np.flatnonzero(keep < 1)), list(np.flatnonzero(keep >= 1))
    while small and large:
        poor, rich = small.pop(), large[-1]
        other[poor] = rich
        keep[rich] -= 1 - keep[poor]
        if keep[rich] < 1:
            small.append(large.pop())
    keep[small + large] = 1  # what rounding left over
    return keep, other


class NoiseSampler:
    """Draws videos from item_freq ** power without `<unk>`, in O(1) a draw, on the device of the model.

    `log_probability` is the log of the distribution drawn from, float32 [videos].
    """

    def __init__(self, item_freq, power=1.0):
        import paddle
        freq = np.array(item_freq, np.float64) ** power
        freq[0] = 0  # <unk> is no video
        keep, other = alias_table(freq)
        self._keep = paddle.to_tensor(keep.astype(np.float32))
        self._other = paddle.to_tensor(other)
        self.log_probability = paddle.to_tensor((log_frequencies(freq) - np.log(freq.sum())).astype(np.float32))

    def draw(self, shape):
        """Independent draws, int64 of `shape`, from paddle's generator of the device."""
        import paddle
        column = paddle.randint(0, len(self._keep), shape)
        flat = column.flatten()
        kept = paddle.rand([flat.shape[0]]) < paddle.gather(self._keep, flat)
        return paddle.where(kept, flat, paddle.gather(self._other, flat)).reshape(shape)


# ---------------------------------------------------------------- the file of a model
def save_model(path, config, parameters, item_freq):
    """Write a gzip tar of model.json and one .npy per parameter; the same input gives the same bytes.

    item_freq.npy goes along: it is what a user unknown to the model is served. Nothing is compressed
    (level 0): trained float32 weights shrink by some 7% and take 30 times as long to write.
    """
    members = [("model.json", json.dumps({"format_version": FORMAT_VERSION, **config._asdict()}, indent=1).encode())]
    for name, value in {**parameters, "item_freq": np.asarray(item_freq, np.float32)}.items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.ascontiguousarray(value, np.float32), version=(1, 0))
        members.append((name + ".npy", stream.getbuffer()))
    with atomic_write(path) as file, gzip.GzipFile("", "wb", 0, file, mtime=0) as packed, \
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


class Model(NamedTuple):
    """A loaded model: its configuration, {name: float32 array}, and the frequencies it was trained with."""

    config: ModelConfig
    parameters: dict
    item_freq: np.ndarray


def load_model(path, dictionary_fingerprint=None):
    """Read what `save_model` wrote, without paddle and without unpickling anything.

    Parameters
    ----------
    path : the model_pass_*.tar.gz.
    dictionary_fingerprint : of the feature dictionary at hand; None skips the comparison.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        For a missing, truncated or damaged file, for parameters that do not fit model.json, and for a
        model that was trained with another dictionary.
    """
    mend = "give a model_pass_*.tar.gz that train.py wrote"
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
            config = _read_config(path, tar, mend)
            if dictionary_fingerprint not in (None, config.dictionary_fingerprint):
                raise InputError(path, None, "trained with another dictionary than --feature_dict",
                                 "give the feature_dict.pkl that this model was trained with")
            shapes = {**parameter_shapes(config), "item_freq": (config.dictionary_sizes["history_clicked_items"],)}
            arrays = {}
            while (entry := tar.next()) is not None:
                name = entry.name[:-len(".npy")] if entry.name.endswith(".npy") else entry.name
                if not entry.isfile() or name not in shapes or name in arrays:
                    raise InputError(path, None, f"unexpected member {entry.name[:80]!r}", mend)
                arrays[name] = _read_array(path, tar.extractfile(entry), name, shapes[name], mend)
            if packed.read(1):  # the last read is also what makes gzip compare its checksum
                raise InputError(path, None, "something follows the archive", mend)
    except OSError as error:
        raise InputError(path, None, error.strerror or f"damaged ({error})", mend) from error
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise InputError(path, None, f"damaged or truncated ({error})", mend) from error
    missing = sorted(shapes.keys() - arrays.keys())
    if missing:
        raise InputError(path, None, f"truncated: it lacks {', '.join(missing)}", mend)
    return Model(config, arrays, arrays.pop("item_freq"))


def _read_config(path, tar, mend):
    entry = tar.next()
    if entry is None or entry.name != "model.json" or entry.size > 1 << 20:
        raise InputError(path, None, "does not begin with model.json", mend)
    content = json.loads(tar.extractfile(entry).read())
    try:
        version = content.pop("format_version")
        config = ModelConfig(**content)._replace(dnn_layer_dims=tuple(content["dnn_layer_dims"]))
        parameter_shapes(config)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(path, None, f"model.json is not complete ({error})", mend) from error
    if version != FORMAT_VERSION:
        raise InputError(path, None, f"format version {version}; this program reads {FORMAT_VERSION}", mend)
    return config


def _read_array(path, stream, name, shape, mend):
    np.lib.format.read_magic(stream)
    found, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if found != shape or fortran or dtype != np.float32:
        raise InputError(path, None, f"{name} is {dtype} {found} in place of float32 {shape}", mend)
    array = np.frombuffer(stream.read(4 * int(np.prod(shape))), np.float32)
    if array.size != np.prod(shape):
        raise InputError(path, None, f"truncated within {name}", mend)
    if not np.isfinite(array).all():
        raise InputError(path, None, f"{name} has values that are not finite", mend)
    return array.reshape(shape)
