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
import functools
import hashlib
import io
import json
import os
import struct
import tarfile
import warnings
import zlib
from typing import NamedTuple

from data_processor import SPARE_MEMORY, bounded_memory
from reader import CLICK_FEATURES, PROFILE_FEATURES, InputError, atomic_write, said

import numpy as np

EMBEDDING_DIMS = {"user_id": 64, "province": 8, "city": 16, "phone": 16, "history_clicked_items": 64,
                  "history_clicked_categories": 8, "history_clicked_tags": 64}
LSTM_DIM = 64
DNN_LAYER_DIMS = (256, 31)
WINDOW_SIZE = 20
NUM_NEGATIVES = 5
FORMAT_VERSION = 1
MAX_REMARK = 1 << 16  # bytes that a pax header may have
MAX_HEADER = 256  # bytes of a .npy that its header lies within; np.save takes 128
MAX_DIM = 1 << 16  # the widest layer or window that a model may have
VIDEO_TABLE = "_proj_history_clicked_items"
INITIAL_STD = {"_proj_user_id": 0.01, "nce_w": 0.01}  # 0.1 for the other tables


def load_paddle(threads=1):
    """Import paddle with the settings that suit this processor, and without its chatter on stderr.

    MKL takes its slow path on AMD processors unless told otherwise before it loads (MKL_DEBUG_CPU_TYPE);
    a value that the user has set already stays.
    """
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        cpuinfo = file.read()
        if "AuthenticAMD" in cpuinfo:
            os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7" if "avx512f" in cpuinfo else "5")
    warnings.filterwarnings("ignore", message="No ccache found")
    import paddle
    paddle.disable_signal_handler()  # its own writes a page to stdout when a process is told to end
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
    tie_embeddings: bool = False  # whether nce_w is the table of the clicked videos: one vector a video


class Sampling(NamedTuple):
    """What a cost is made of: the loss, and its noise samples, a few for each instance or many shared by a batch."""

    loss: str = "nce"
    num_negatives: int = NUM_NEGATIVES
    shared_negatives: bool = False


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
    if config.tie_embeddings and user != dims["history_clicked_items"]:
        raise ValueError("tied embeddings need a user vector as wide as the embedding of a video")
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

    Of tied embeddings nce_w is the very array of the clicked videos.
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
    return tied(config, parameters)


def tied(config, parameters):
    """The parameters, with one array for nce_w and the clicked videos if the embeddings are tied."""
    return {**parameters, "nce_w": parameters[VIDEO_TABLE]} if config.tie_embeddings else parameters


def log_frequencies(item_freq):
    """log of the probabilities of item_freq, float64 [videos]; zeros (`<unk>`, mostly) get the smallest other."""
    freq = np.asarray(item_freq, np.float64)
    return np.log(np.maximum(freq, freq[1:][freq[1:] > 0].min()))


# ---------------------------------------------------------------- the network
class DNNmodel:
    """Candidate generation: a batch of windows -> user vectors, and in training their NCE cost and its gradients.

    The parameters stay where they are, numpy arrays in host memory: a batch takes the rows of the tables that it
    needs, so that a step costs the same however many videos there are, and several networks can share them.

    Parameters
    ----------
    dnn_layer_dims : widths of the two ReLU layers; the second is that of the user vector.
    feature_dict : dict, as data_processor.py writes it; may be None when `config` is given.
    item_freq : list of float, the noise distribution of NCE; not needed to infer.
    is_infer : bool; if so calling the model gives user vectors, else the costs of the batch.
    config : ModelConfig, in place of the two first.
    parameters : {name: float32 array}, as `load_model` gives them; fresh ones from `rng` if None. Whoever changes
        them calls `refresh`.
    sampling : Sampling, the loss and its noise samples.
    dropout : share of the inputs of both ReLU layers that are set to 0 in training (Srivastava et al. 2014).
    """

    def __init__(self, dnn_layer_dims=DNN_LAYER_DIMS, feature_dict=None, item_freq=None, is_infer=False, *,
                 config=None, parameters=None, sampling=None, dropout=0.0, rng=None):
        import paddle
        if config is None:
            config = ModelConfig({name: len(feature_dict[name]) for name in EMBEDDING_DIMS},
                                 dnn_layer_dims=tuple(dnn_layer_dims))
        if parameters is None:
            parameters = initial_parameters(config, item_freq, rng or np.random.default_rng(0))
        self.config, self.parameters, self.is_infer, self.dropout = config, parameters, is_infer, dropout
        self._tables = {name: table_rows(name, value) for name, value in parameters.items() if is_table(name)}
        self._scratch = {name: np.empty(len(table), np.int32) for name, table in self._tables.items()}
        self._looked_up = []  # (table, ids, rows) of the batch at hand
        self._lstm = paddle.nn.LSTM(config.embedding_dims["history_clicked_items"], config.lstm_dim, time_major=True)
        self._dense = {name: getattr(self._lstm, name[len("lstm_"):] + "_l0") if name.startswith("lstm_")
                       else paddle.create_parameter(value.shape, "float32")
                       for name, value in parameters.items() if not is_table(name)}
        self.refresh()
        if not is_infer:
            self.sampling = sampling or Sampling()
            self.noise = NoiseSampler(item_freq)

    def refresh(self):
        """Take over the layers' weights from `parameters`, after they have changed there."""
        for name, tensor in self._dense.items():
            tensor.set_value(self.parameters[name])

    def __call__(self, batch, rng=None):
        """Costs [N] of a `reader.Batch` with N targets, or its user vectors [N, u] if `is_infer`.

        `rng` is the generator of noise samples and dropout; None, as in inference: no dropout.
        """
        self._looked_up = []
        inputs = self.input_layer(batch)
        user = self.hidden_layer(batch, inputs, self.embedding_layer(batch, inputs), rng)
        return user if self.is_infer else self.output_layer(user, batch.target_item, rng)

    def gradients(self, batch, rng, targets):
        """Sum of the costs of a batch divided by `targets`, and its gradients.

        Returns
        -------
        cost : float
        {parameter name: (ids, gradient)} : float32 gradient of the rows `ids` (distinct, int64) of a table, or with
            ids None of a whole layer's weights. Of tied embeddings there is one, that of the clicked videos.
        """
        cost = self(batch, rng).sum() / targets
        cost.backward()
        found = {}
        for name, ids, rows in self._looked_up:
            name = VIDEO_TABLE if name == "nce_w" and self.config.tie_embeddings else name
            found.setdefault(name, []).append((ids, rows.grad.numpy()))
        found = {name: add_gradients(parts, self._scratch[name]) for name, parts in found.items()}
        for name, tensor in self._dense.items():
            found[name] = (None, tensor.grad.numpy())
            tensor.clear_gradient(set_to_zero=False)
        return float(cost), found

    def look_up(self, table, ids):
        """Rows of a table for int64 ids [...]: paddle tensor [..., width]."""
        import paddle
        distinct, local = distinct_ids(ids, self._scratch[table])
        rows = paddle.to_tensor(self._tables[table][distinct], stop_gradient=self.is_infer)
        self._looked_up.append((table, distinct, rows))
        return paddle.nn.functional.embedding(paddle.to_tensor(local), rows)

    def input_layer(self, batch):
        """The arrays of a batch that say what belongs together, as tensors; see `reader.Batch` for their shapes."""
        import paddle
        return {name: paddle.to_tensor(getattr(batch, name))
                for name in ("video", "tag_counts", "stretch", "position")}

    def embedding_layer(self, batch, inputs):
        """{feature: embeddings}: [S, width] for the profile, [T, S, width] for clicks, tags summed per video."""
        import paddle
        looked_up = {name: self.look_up("_proj_" + name, batch.profile[:, column])
                     for column, name in enumerate(PROFILE_FEATURES)}
        items, categories, tags = CLICK_FEATURES
        looked_up[items] = self.look_up("_proj_" + items, batch.items)
        looked_up[categories] = self.look_up("_proj_" + categories, batch.categories)
        tag_vectors = self.look_up("_proj_" + tags, batch.tags)  # [K, 64]
        video_tags = segment_sum(tag_vectors, batch.tag_video)  # [U, 64]
        looked_up[tags] = paddle.nn.functional.embedding(inputs["video"], video_tags)
        return looked_up

    def hidden_layer(self, batch, inputs, embeddings, rng=None):
        """User vectors [N, u] of the N targets: max and averages over all that precedes each, then two ReLUs."""
        import paddle
        from paddle.nn.functional import relu
        items, categories, tags = CLICK_FEATURES
        steps, stretches = inputs["video"].shape
        seen_from = inputs["position"] * stretches + inputs["stretch"]  # [N], into T * S

        def at_targets(sequence):  # [T, S, width] -> [N, width]
            return paddle.gather(sequence.reshape([-1, sequence.shape[-1]]), seen_from)

        def sums(sequence):  # [T, S, width] -> [N, width]; a triangle of ones adds to each position all before it
            return at_targets(paddle.matmul(triangle, sequence.reshape([steps, -1])).reshape(sequence.shape))

        triangle = paddle.tril(paddle.ones([steps, steps]))
        clicks = (inputs["position"] + 1).astype("float32").unsqueeze(1)  # [N, 1]
        tag_counts = paddle.gather(inputs["tag_counts"].reshape([-1, 1]), seen_from).astype("float32")
        states, _ = self._lstm(embeddings[items])  # [T, S, lstm]
        window = [running_max(states, batch.stretch, batch.position), sums(embeddings[categories]) / clicks,
                  sums(embeddings[tags]) / tag_counts]
        if self.config.last_click:
            window.append(at_targets(embeddings[items]))
        if self.config.last_state:
            window.append(at_targets(states))
        window = self._drop(paddle.concat(window, axis=1), rng)
        profile = self._drop(paddle.concat([embeddings[name] for name in PROFILE_FEATURES], axis=1), rng)  # [S, 104]
        # the profile is the same for all targets of a stretch: its part of the product is computed once
        weight = self._dense["relu1_w"]
        rows = window.shape[1]
        of_profile = paddle.matmul(profile, weight[rows:]) + self._dense["relu1_b"]
        hidden = relu(paddle.matmul(window, weight[:rows]) + paddle.gather(of_profile, inputs["stretch"]))
        return relu(paddle.matmul(self._drop(hidden, rng), self._dense["relu2_w"]) + self._dense["relu2_b"])

    def _drop(self, values, rng):
        """Dropout: a random share of the values set to 0, the others scaled up; none without a generator."""
        import paddle
        if rng is None or not self.dropout:
            return values
        kept = rng.random(values.shape, np.float32) >= self.dropout
        return values * paddle.to_tensor(kept * np.float32(1 / (1 - self.dropout)))

    def output_layer(self, user, target_item, rng):
        """Costs [N] of user vectors [N, u] with their targets [N], against fresh noise samples."""
        import paddle
        shape = (self.sampling.num_negatives,)
        negatives = self.noise.draw(shape if self.sampling.shared_negatives else (len(target_item), *shape), rng)
        ids = np.concatenate([target_item, negatives.ravel()])
        distinct, local = distinct_ids(ids, self._scratch["nce_w"])
        rows = [paddle.to_tensor(self._tables[name][distinct], stop_gradient=False) for name in ("nce_w", "nce_b")]
        self._looked_up += [("nce_w", distinct, rows[0]), ("nce_b", distinct, rows[1])]
        log_noise = paddle.to_tensor(self.noise.log_probability[distinct])
        targets, negatives = local[:len(target_item)], local[len(target_item):].reshape(negatives.shape)
        loss = LOSSES[self.sampling.loss]
        return loss(user, paddle.to_tensor(targets), paddle.to_tensor(negatives), *rows, log_noise)


def operation(forward, backward):
    """A differentiable operation made of two numpy functions, for what paddle is slow at on a processor.

    forward(values, *constants) -> (result, kept);    backward(gradient, kept) -> gradient of `values`.
    """
    @functools.cache
    def layer():
        import paddle

        class Operation(paddle.autograd.PyLayer):
            @staticmethod
            def forward(ctx, values, *constants):
                result, ctx.kept = forward(values.numpy(), *constants)
                return paddle.to_tensor(result)

            @staticmethod
            def backward(ctx, gradient):
                return paddle.to_tensor(backward(gradient.numpy(), ctx.kept))
        return Operation
    return lambda values, *constants: layer().apply(values, *constants)


def running_max_forward(states, stretch, position):
    """Max over time of [T, S, w], from the start of a stretch up to each target: [N, w], and where it was found."""
    steps, stretches, width = states.shape
    order = np.argsort(position, kind="stable")
    targets = np.split(order, np.searchsorted(position[order], np.arange(1, steps)))  # by the last step they see
    best, step_of_best = states[0].copy(), np.zeros((stretches, width), np.int32)
    found, step_found = np.empty((len(position), width), np.float32), np.empty((len(position), width), np.int32)
    for step, rows in enumerate(targets):
        np.copyto(step_of_best, step, where=states[step] > best)  # of equal states the first stays
        np.maximum(best, states[step], out=best)
        found[rows], step_found[rows] = best[stretch[rows]], step_of_best[stretch[rows]]
    return found, (states.shape, targets, stretch, step_found)


def running_max_backward(gradient, kept):
    """The gradient goes where the max was found: [N, w] -> [T, S, w]."""
    shape, targets, stretch, step_found = kept
    places = (step_found.astype(np.int64) * shape[1] + stretch[:, None]) * shape[2] + np.arange(shape[2])
    total = np.zeros(np.prod(shape), np.float32)
    for rows in targets:  # a stretch has at most one target at a step: no place comes twice
        total[places[rows]] += gradient[rows]
    return total.reshape(shape)


def segment_sum_forward(values, segment):
    """Sum of consecutive rows with the same `segment` (0, 0, 1, 2, 2, ...): [K, w] -> [U, w]."""
    starts = np.flatnonzero(np.diff(segment, prepend=-1))
    counts = np.diff(starts, append=len(segment))
    total = values[starts]
    for place in range(1, counts.max()):  # few, as videos have few tags; numpy.add.reduceat takes five times as long
        more = np.flatnonzero(counts > place)
        total[more] += values[starts[more] + place]
    return total, segment


def segment_sum_backward(gradient, segment):
    """Each row gets the gradient of its sum: [U, w] -> [K, w]."""
    return gradient[segment]


running_max = operation(running_max_forward, running_max_backward)
segment_sum = operation(segment_sum_forward, segment_sum_backward)


def is_table(name):
    """Whether a parameter has a row for each value of a dictionary, of which a batch needs few."""
    return name.startswith(("_proj_", "nce_"))


def table_rows(name, value):
    """A table as a view with a row for each value; nce_b alone is stored as [1, videos]."""
    return value.T if name == "nce_b" else value


def distinct_ids(ids, scratch):
    """The distinct values of int64 `ids` [...], and where in them each id is found, in O(len(ids)).

    `scratch` is an int32 array longer than the largest id, whatever it holds; numpy.unique would sort.

    Returns
    -------
    distinct : int64 [U], in order of last appearance.    local : int64, in the shape of `ids`.
    """
    flat = ids.ravel()
    places = np.arange(len(flat), dtype=np.int32)
    scratch[flat] = places  # of several equal ids the last one stays
    distinct = flat[scratch[flat] == places]
    scratch[distinct] = places[:len(distinct)]
    return distinct, scratch[ids].astype(np.int64)


def add_gradients(parts, scratch):
    """Sum of gradients of one parameter: [(ids or None, gradient), ...] -> (ids or None, gradient).

    Parts of a table may touch different rows, each of them once; `scratch` is as in `distinct_ids`.
    """
    ids, gradients = zip(*parts)
    if ids[0] is None or len(parts) == 1:
        return ids[0], sum(gradients[1:], gradients[0])
    distinct, local = distinct_ids(np.concatenate(ids), scratch)
    total = np.zeros((len(distinct), gradients[0].shape[1]), np.float32)
    for part, gradient in zip(np.split(local, np.cumsum([len(part) for part in ids])[:-1]), gradients):
        total[part] += gradient
    return distinct, total


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
        return embedding(ids, nce_b).squeeze(-1) - expected

    shared = negatives.ndim == 1
    chosen = target_item.unsqueeze(1) if shared else paddle.concat([target_item.unsqueeze(1), negatives], axis=1)
    weights = embedding(chosen, nce_w)  # [N, 1 or 1 + k, u]
    odds = (weights * user.unsqueeze(1)).sum(2) + offset(chosen)
    if shared:
        noise = paddle.matmul(user, embedding(negatives, nce_w), transpose_y=True)  # [N, k]
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
    """Draws videos from item_freq without `<unk>`, in O(1) a draw.

    `log_probability` is the log of the distribution drawn from, float32 [videos]. The draws are made on the host,
    by the generator of the run, and go to the device of the network with the batch.
    """

    def __init__(self, item_freq):
        freq = np.array(item_freq, np.float64)
        freq[0] = 0  # <unk> is no video
        self._keep, self._other = alias_table(freq)
        self.log_probability = (log_frequencies(freq) - np.log(freq.sum())).astype(np.float32)

    def draw(self, shape, rng):
        """Independent draws, int64 of `shape`."""
        column = rng.integers(0, len(self._keep), shape)
        return np.where(rng.random(shape) < self._keep[column], column, self._other[column])


# ---------------------------------------------------------------- the file of a model
def save_model(path, config, parameters, item_freq):
    """Write a gzip tar of model.json and one .npy per parameter; the same input gives the same bytes.

    item_freq.npy goes along: it is what a user unknown to the model is served. Nothing is compressed
    (level 0): trained float32 weights shrink by some 7% and take 30 times as long to write.
    """
    with atomic_write(path) as file:
        packed = StoredGzip(file)

        def add(name, *parts):
            entry = tarfile.TarInfo(name)
            entry.size = sum(len(part) for part in parts)
            for part in (entry.tobuf(tarfile.USTAR_FORMAT), *parts, bytes(-entry.size % tarfile.BLOCKSIZE)):
                packed.write(part)

        told = {"format_version": FORMAT_VERSION, **config._asdict()}
        add("model.json", json.dumps(told, indent=1).encode())
        for name, value in {**parameters, "item_freq": np.asarray(item_freq, np.float32)}.items():
            value, header = np.ascontiguousarray(value, np.float32), io.BytesIO()
            np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(value))
            add(name + ".npy", header.getvalue(), memoryview(value).cast("B"))
        packed.write(bytes(2 * tarfile.BLOCKSIZE))  # ends a tar, which is filled up to whole records
        packed.write(bytes(-packed.size % tarfile.RECORDSIZE))
        packed.close()


class StoredGzip:
    """A gzip stream (RFC 1952) of stored blocks (RFC 1951, 3.2.4): what zlib's level 0 gives, without its copies."""

    BLOCK = 0xFFFF

    def __init__(self, file):
        self._file, self._checksum, self.size = file, 0, 0  # size: bytes so far, before packing
        file.write(b"\x1f\x8b\x08" + bytes(6) + b"\xff")  # no name, no time: the same input gives the same bytes

    def write(self, data):
        """Add bytes-like data."""
        self._checksum = zlib.crc32(data, self._checksum)
        self.size += len(data)
        for start in range(0, len(data), self.BLOCK):
            block = data[start:start + self.BLOCK]
            self._file.write(struct.pack("<BHH", 0, len(block), len(block) ^ self.BLOCK))
            self._file.write(block)

    def close(self):
        """Write the end; the file stays open."""
        self._file.write(struct.pack("<BHHII", 1, 0, self.BLOCK, self._checksum, self.size & 0xFFFFFFFF))


class Unpacked(io.RawIOBase):
    """What is in a gzip file, for `io.BufferedReader`: zlib compares the checksum; a second part is not read."""

    CHUNK = 1 << 18

    def __init__(self, file):
        self._file, self._zlib = file, zlib.decompressobj(31)

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self._zlib.eof:
            packed = self._zlib.unconsumed_tail or self._file.read(self.CHUNK)
            if not packed:
                raise EOFError("the end is missing")
            data = self._zlib.decompress(packed, min(len(buffer), 4 * self.CHUNK))
            if data:
                buffer[:len(data)] = data
                return len(data)
        if self._zlib.unused_data or self._file.read(1):
            raise EOFError("something follows the archive")
        return 0


class Model(NamedTuple):
    """A loaded model: its configuration, {name: float32 array}, and the frequencies it was trained with."""

    config: ModelConfig
    parameters: dict
    item_freq: np.ndarray


def model_fingerprint(model):
    """SHA-256, as hex, of a model: ties vectors to it."""
    digest = hashlib.sha256(json.dumps(model.config._asdict(), sort_keys=True).encode())
    for name in sorted(model.parameters):
        digest.update(np.ascontiguousarray(model.parameters[name]).data)
    return digest.hexdigest()


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
        with open(path, "rb") as file, bounded_memory(SPARE_MEMORY + 8 * os.path.getsize(path)), \
                warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what numpy has to say about strange headers
            stream = io.BufferedReader(Unpacked(file), Unpacked.CHUNK)
            config, arrays = _read_members(path, stream, dictionary_fingerprint, mend)
    except InputError:
        raise
    except OSError as error:
        raise InputError(path, None, error.strerror or f"damaged ({error})", mend) from error
    except Exception as error:  # a damaged archive can raise almost anything
        raise InputError(path, None, f"damaged or truncated ({said(error)})", mend) from error
    item_freq = arrays.pop("item_freq")
    if config.tie_embeddings and not np.array_equal(arrays["nce_w"], arrays[VIDEO_TABLE]):
        raise InputError(path, None, f"nce_w and {VIDEO_TABLE} differ, which are tied", mend)
    return Model(config, tied(config, arrays), item_freq)


def _read_members(path, stream, dictionary_fingerprint, mend):
    """(ModelConfig, {name: array}) of an unpacked archive. Names are compared, never used as paths."""
    config = _read_config(path, stream, mend)
    if dictionary_fingerprint not in (None, config.dictionary_fingerprint):
        raise InputError(path, None, "trained with another dictionary than --feature_dict",
                         "give the feature_dict.pkl that this model was trained with")
    shapes = {**parameter_shapes(config), "item_freq": (config.dictionary_sizes["history_clicked_items"],)}
    arrays = {}
    while (entry := _next_entry(stream)) is not None:
        name = entry.name[:-len(".npy")] if entry.name.endswith(".npy") else entry.name
        if not entry.isreg() or name not in shapes or name in arrays:
            raise InputError(path, None, f"unexpected member {entry.name[:80]!r}", mend)
        arrays[name] = _read_array(path, stream, entry.size, name, shapes[name], mend)
    rest = stream.read(tarfile.RECORDSIZE + 1)  # to the end, where the checksum is compared
    if len(rest) > tarfile.RECORDSIZE or rest.strip(b"\0"):  # more than what a tar is filled up with
        raise InputError(path, None, "something follows the archive", mend)
    missing = sorted(shapes.keys() - arrays.keys())
    if missing:
        raise InputError(path, None, f"truncated: it lacks {', '.join(missing)}", mend)
    return config, arrays


def _next_entry(stream):
    """The header of the next member of a tar, None at its end; the remarks of newer formats (pax) are passed over."""
    while (header := stream.read(tarfile.BLOCKSIZE)).strip(b"\0"):
        entry = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        if entry.size < 0:
            raise ValueError("a member of negative size")
        if entry.type not in (tarfile.XHDTYPE, tarfile.XGLTYPE) or entry.size > MAX_REMARK:
            return entry
        stream.read(-(-entry.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    return None


def _read_config(path, stream, mend):
    entry = _next_entry(stream)
    if entry is None or entry.name != "model.json" or not entry.isreg() or entry.size > 1 << 20:
        raise InputError(path, None, "does not begin with model.json", mend)
    content = json.loads(stream.read(entry.size))
    stream.read(-entry.size % tarfile.BLOCKSIZE)
    try:
        version = content.pop("format_version")
        if version != FORMAT_VERSION:
            raise InputError(path, None, f"format version {version!r:.20}; this program reads {FORMAT_VERSION}", mend)
        config = ModelConfig(**content)._replace(dnn_layer_dims=tuple(content["dnn_layer_dims"]))
        numbers = [*config.dnn_layer_dims, *(config.embedding_dims[name] for name in EMBEDDING_DIMS),
                   config.lstm_dim, config.window_size]
        sizes = config.dictionary_sizes
        if not (len(config.dnn_layer_dims) == 2
                and config.embedding_dims.keys() == sizes.keys() == EMBEDDING_DIMS.keys()
                and all(type(number) is int and 0 < number <= MAX_DIM for number in numbers)
                and all(type(size) is int and 0 < size < 1 << 31 for size in sizes.values())
                and sizes["history_clicked_items"] > 1
                and isinstance(config.dictionary_fingerprint, str)
                and all(type(flag) is bool for flag in (config.last_click, config.last_state, config.tie_embeddings))):
            raise ValueError("a value that no model has")
        parameter_shapes(config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(path, None, f"model.json is not complete ({said(error)})", mend) from error
    return config


def _read_array(path, stream, size, name, shape, mend):
    """The array in the next `size` bytes, which have to be a .npy of that shape."""
    header = io.BytesIO(stream.read(min(size, MAX_HEADER)))
    np.lib.format.read_magic(header)
    found, fortran, dtype = np.lib.format.read_array_header_1_0(header)
    if found != shape or fortran or dtype != np.float32:
        raise InputError(path, None, f"{name} is {dtype} {found} in place of float32 {shape}", mend)
    values = int(np.prod(shape))
    if size != header.tell() + 4 * values:
        raise InputError(path, None, f"truncated within {name}", mend)
    begun = header.read()
    array = np.empty(values, np.float32)
    content = memoryview(array).cast("B")
    content[:len(begun)] = begun
    if stream.readinto(content[len(begun):]) != len(content) - len(begun):
        raise InputError(path, None, f"truncated within {name}", mend)
    stream.read(-size % tarfile.BLOCKSIZE)
    if not np.isfinite(array).all():
        raise InputError(path, None, f"{name} has values that are not finite", mend)
    return array.reshape(shape)
