"""The network: LSTM + ReLU + NCE; its parameters, and their file.

    items      -> embedding 64 -> LSTM 64 -> max over time  ─┐
    categories -> embedding  8 -> average                    │
    tags       -> embedding 64 -> average                    ├─ concatenated -> ReLU 256 -> ReLU 31 = u
    user_id 64, province 8, city 16, phone 16 (embeddings)  ─┘
    score of video v = nce_w[v] . u + nce_b[v];   P(v | u) = softmax of the scores over all videos but <unk>

Reads from top to bottom: sizes and initial values, the class DNNmodel, the loss (NCE and its sampler),
the file of a model. paddle is imported by what trains, not by what reads files or infers, so that those
scripts start at once.
"""
import contextlib
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
PIECE = 1 << 20  # bytes read at a time, a multiple of 4
MAX_HEADER = 256  # bytes of a .npy that its header lies within; np.save takes 128
MAX_DIM = 1 << 16  # the widest layer or window that a model may have
VIDEO_TABLE = "_proj_history_clicked_items"
INITIAL_STD = {"_proj_user_id": 0.01, "nce_w": 0.01}  # 0.1 for the other tables


def load_paddle():
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
    paddle.base.core.set_num_threads(1)  # processes share the work
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
    The layers up to the user vector exist twice, in paddle and by hand in numpy; the loss is paddle's business.

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
    engine : "numpy", for processors (faster than paddle there, and to infer it needs no paddle), or "paddle", for
        whatever device paddle has.
    """

    def __init__(self, dnn_layer_dims=DNN_LAYER_DIMS, feature_dict=None, item_freq=None, is_infer=False, *,
                 config=None, parameters=None, sampling=None, dropout=0.0, rng=None, engine="numpy"):
        if config is None:
            config = ModelConfig({name: len(feature_dict[name]) for name in EMBEDDING_DIMS},
                                 dnn_layer_dims=tuple(dnn_layer_dims))
        if parameters is None:
            parameters = initial_parameters(config, item_freq, rng or np.random.default_rng(0))
        self.config, self.parameters, self.is_infer = config, parameters, is_infer
        self.layers = ENGINES[engine](config, parameters, dropout)
        if not is_infer:
            self._scratch = np.empty(len(parameters["nce_w"]), np.int32)
            self.sampling = sampling or Sampling()
            self.noise = NoiseSampler(item_freq)

    def refresh(self):
        """Take over the layers' weights from `parameters`, after they have changed there."""
        self.layers.refresh()

    def __call__(self, batch, rng=None):
        """Costs [N] of a `reader.Batch` with N targets, or its user vectors [N, u] if `is_infer`: float32 arrays.

        `rng` is the generator of noise samples and dropout; None, as in inference: no dropout.
        """
        if self.is_infer:
            return self._users(batch, rng, alike=True)
        import paddle
        with paddle.no_grad():
            user = paddle.to_tensor(self._users(batch, rng))
            return self._output_layer(user, batch.target_item, rng)[0].numpy()

    def gradients(self, batch, rng, targets):
        """Sum of the costs of a batch divided by `targets`, and its gradients.

        Returns
        -------
        cost : float
        {parameter name: [(ids, gradient), ...]} : parts of the float32 gradient, of rows `ids` (int64, they may repeat
            themselves) of a table, or with ids None of a whole layer's weights; `sum_gradients` adds them up. Of tied
            embeddings there is one, that of the clicked videos.
        """
        import paddle
        user = paddle.to_tensor(self._users(batch, rng, train=True), stop_gradient=False)
        costs, looked_up = self._output_layer(user, batch.target_item, rng)
        cost = costs.sum() / targets
        cost.backward()
        with np.errstate(all="ignore"):
            found = self.layers.gradients(user.grad.numpy())
        for name, ids, rows in looked_up:
            found.setdefault(name, []).append((ids, rows.grad.numpy()))
        if self.config.tie_embeddings:
            found[VIDEO_TABLE] += found.pop("nce_w")
        return float(cost), found

    def _users(self, batch, rng, **options):
        with np.errstate(all="ignore"):  # what is not finite is looked for in costs and user vectors
            return self.layers.users(batch, rng, **options)

    def _output_layer(self, user, target_item, rng):
        """Costs [N] of user vectors [N, u] with their targets [N], against fresh noise samples; and what it looked up:
        [(table, distinct ids, their rows)]."""
        import paddle
        shape = (self.sampling.num_negatives,)
        negatives = self.noise.draw(shape if self.sampling.shared_negatives else (len(target_item), *shape), rng)
        ids = np.concatenate([target_item, negatives.ravel()])
        distinct, local = distinct_ids(ids, self._scratch)
        rows = [paddle.to_tensor(table_rows(name, self.parameters[name])[distinct], stop_gradient=False)
                for name in ("nce_w", "nce_b")]
        log_noise = paddle.to_tensor(self.noise.log_probability[distinct])
        targets, negatives = local[:len(target_item)], local[len(target_item):].reshape(negatives.shape)
        loss = LOSSES[self.sampling.loss]
        costs = loss(user, paddle.to_tensor(targets), paddle.to_tensor(negatives), *rows, log_noise)
        return costs, [("nce_w", distinct, rows[0]), ("nce_b", distinct, rows[1])]


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


def sum_rows(values, local, count):
    """Sum of the rows of `values` that go to each of `count` places: float32 [K, w], int64 [K] -> [count, w]."""
    rows, chosen = np.arange(len(local)), np.full(count, -1)
    chosen[local] = rows
    total = values.take(chosen, axis=0)  # one row of each place is copied, which is fast
    total[chosen < 0] = 0
    again = np.flatnonzero(chosen[local] != rows)  # the others are added, one number at a time, or two as one complex
    width = values.shape[1]
    number, width = (np.complex64, width // 2) if width % 2 == 0 else (np.float32, width)
    flat, more = total.reshape(-1).view(number), values.take(again, axis=0).reshape(-1).view(number)
    np.add.at(flat, (local[again, None] * width + np.arange(width)).reshape(-1), more)
    return total


def sum_gradients(parts, scratch):
    """Sum of gradients of one parameter: [(ids or None, gradient), ...] -> (distinct ids or None, gradient).

    The ids of a part may repeat themselves; `scratch` is as in `distinct_ids`.
    """
    all_ids, gradients = zip(*parts)
    if all_ids[0] is None:
        return None, sum(gradients[1:], gradients[0])
    distinct, local = distinct_ids(np.concatenate(all_ids), scratch)
    return distinct, sum_rows(np.concatenate(gradients), local, len(distinct))


# ---------------------------------------------------------------- the layers in paddle
class PaddleLayers:
    """The layers from a batch to its user vectors, in paddle's own operations, on whatever device it has."""

    def __init__(self, config, parameters, dropout=0.0):
        import paddle
        self.config, self.parameters, self.dropout = config, parameters, dropout
        self._lstm = paddle.nn.LSTM(config.embedding_dims["history_clicked_items"], config.lstm_dim, time_major=True)
        self._dense = {name: getattr(self._lstm, name[len("lstm_"):] + "_l0") if name.startswith("lstm_")
                       else paddle.create_parameter(value.shape, "float32")
                       for name, value in parameters.items() if not is_table(name)}
        self.refresh()

    def refresh(self):
        """Take over the weights from `parameters`."""
        for name, tensor in self._dense.items():
            tensor.set_value(self.parameters[name])

    def users(self, batch, rng=None, train=False, alike=False):
        """User vectors, float32 [N, u]; parameters as in `NumpyLayers.users`, but padding is always computed."""
        import paddle
        with contextlib.nullcontext() if train else paddle.no_grad():
            self._looked_up = []
            self._users = self.hidden_layer(batch, self.embedding_layer(batch), rng)
        return self._users.numpy()

    def gradients(self, gradient):
        """As `NumpyLayers.gradients`."""
        import paddle
        self._users.backward(paddle.to_tensor(gradient))
        found = {name: [(ids, rows.grad.numpy().reshape(len(ids), -1))] for name, ids, rows in self._looked_up}
        for name, tensor in self._dense.items():
            found[name] = [(None, tensor.grad.numpy())]
            tensor.clear_gradient(set_to_zero=False)
        return found

    def look_up(self, feature, ids):
        """Rows of a table for int64 ids [...]: paddle tensor [..., width]."""
        import paddle
        table, ids = "_proj_" + feature, np.ascontiguousarray(ids)
        rows = paddle.to_tensor(self.parameters[table].take(ids, axis=0), stop_gradient=False)
        self._looked_up.append((table, ids.reshape(-1), rows))
        return rows

    def embedding_layer(self, batch):
        """{feature: embeddings}: [S, width] for the profile, [T, S, width] for clicks, tags summed per video."""
        import paddle
        items, categories, tags = CLICK_FEATURES
        looked_up = {name: self.look_up(name, batch.profile[:, column]) for column, name in enumerate(PROFILE_FEATURES)}
        looked_up[items] = self.look_up(items, batch.items)
        looked_up[categories] = self.look_up(categories, batch.categories)
        of_videos = paddle.geometric.segment_sum(self.look_up(tags, batch.tags), paddle.to_tensor(batch.tag_video))
        looked_up[tags] = paddle.nn.functional.embedding(paddle.to_tensor(batch.video), of_videos)  # [U, 64] before
        return looked_up

    def hidden_layer(self, batch, embeddings, rng=None):
        """User vectors [N, u] of the N targets: max and averages over all that precedes each, then two ReLUs."""
        import paddle
        from paddle.nn.functional import relu
        items, categories, tags = CLICK_FEATURES
        stretches = batch.items.shape[1]
        seen_from = paddle.to_tensor(batch.position * stretches + batch.stretch)  # [N], into T * S

        def at_targets(sequence):  # [T, S, width] -> [N, width]
            return paddle.gather(sequence.reshape([-1, sequence.shape[-1]]), seen_from)

        clicks = paddle.to_tensor((batch.position + 1)[:, None].astype(np.float32))  # [N, 1]
        tag_counts = at_targets(paddle.to_tensor(batch.tag_counts[:, :, None].astype(np.float32)))
        states, _ = self._lstm(embeddings[items])  # [T, S, lstm]
        window = [at_targets(paddle.cummax(states, axis=0)[0]),
                  at_targets(paddle.cumsum(embeddings[categories], axis=0)) / clicks,
                  at_targets(paddle.cumsum(embeddings[tags], axis=0)) / tag_counts]
        if self.config.last_click:
            window.append(at_targets(embeddings[items]))
        if self.config.last_state:
            window.append(at_targets(states))
        window = self._drop(paddle.concat(window, axis=1), rng)
        profile = self._drop(paddle.concat([embeddings[name] for name in PROFILE_FEATURES], axis=1), rng)  # [S, 104]
        joined = paddle.concat([window, paddle.gather(profile, paddle.to_tensor(batch.stretch))], axis=1)
        hidden = relu(paddle.matmul(joined, self._dense["relu1_w"]) + self._dense["relu1_b"])
        return relu(paddle.matmul(self._drop(hidden, rng), self._dense["relu2_w"]) + self._dense["relu2_b"])

    def _drop(self, values, rng):
        import paddle
        kept = dropout_mask(values.shape, self.dropout, rng)
        return values if kept is None else values * paddle.to_tensor(kept)


def dropout_mask(shape, share, rng):
    """What inputs are multiplied by in training: 0 for a random share of them, for the others what makes up for it.

    float32 of `shape`; None, for no dropout, without a generator.
    """
    if rng is None or not share:
        return None
    return (rng.random(shape, np.float32) >= share) * np.float32(1 / (1 - share))


# ---------------------------------------------------------------- the layers by hand
class Packed:
    """Where the positions of a batch lie as rows of matrices: one step of time after the other, without the padding.

    Stretches go from the longest to the shortest, so that those that reach a step are the first ones of the step
    before. R rows belong to T steps and S stretches; padding counts as well if the batch is `padded`.

    places : int64 [R], into T * S.    seen_from : int64 [N], the row that each target looks back from.
    first : slice, the rows of the first step.   before : int64 [R - S], for the other rows the row a step earlier.
    steps : [(rows, rows a step earlier)], slices of equal length, for each step but the first.
    """

    def __init__(self, batch, padded=False):
        steps, stretches = batch.items.shape
        lengths = np.full(stretches, steps)
        if not padded:
            lengths[batch.stretch] = batch.position + 1  # the last target of each stretch stays
        order = np.argsort(-lengths, kind="stable")
        sizes = stretches - np.searchsorted(np.sort(lengths), np.arange(steps), "right")
        starts = np.cumsum(sizes) - sizes
        step = np.repeat(np.arange(steps), sizes)
        within = np.arange(len(step)) - starts[step]
        rank = np.empty(stretches, np.int64)
        rank[order] = np.arange(stretches)
        self.places = step * stretches + order[within]
        self.seen_from = starts[batch.position] + rank[batch.stretch]
        self.first = slice(0, stretches)
        self.before = starts[step[stretches:] - 1] + within[stretches:]
        self.steps = [(slice(start, start + size), slice(earlier, earlier + size))
                      for start, earlier, size in zip(starts[1:].tolist(), starts.tolist(), sizes[1:].tolist()) if size]


def lstm_forward(inputs, packed, weight_ih, weight_hh, bias):
    """States of an LSTM (Hochreiter & Schmidhuber 1997; the forget gate of Gers et al. 2000), all rows [R, ...].

    Parameters
    ----------
    inputs : float32 [R, in].    packed : Packed.
    weight_ih [4w, in], weight_hh [4w, w], bias [4w] : of the gates i, f, c, o, as `parameter_shapes` has them.

    Returns
    -------
    states : [R, w].    kept : what `lstm_backward` wants.
    """
    width = weight_hh.shape[1]
    # sigmoid(x) = tanh(x / 2) / 2 + 1/2: so that one tanh does for all gates
    scale = np.array([0.5, 0.5, 1, 0.5], np.float32)[:, None, None]
    shift = 1 - scale
    into, recurrent = (np.ascontiguousarray((weight.reshape(4, width, -1) * scale).transpose(0, 2, 1))
                       for weight in (weight_ih, weight_hh))  # [4, in, w], [4, w, w]
    bias = bias.reshape(4, 1, width) * scale
    gates = np.empty((4, len(inputs), width), np.float32)  # numbers that are worked on together lie together
    cells, tanh_cells, states = np.empty((3, len(inputs), width), np.float32)
    for rows, before in [(packed.first, None), *packed.steps]:
        at_step, cell = np.matmul(inputs[rows], into, out=gates[:, rows]), cells[rows]
        at_step += bias
        if before:
            at_step += states[before] @ recurrent
        np.tanh(at_step, out=at_step)
        at_step *= scale
        at_step += shift
        i, f, c, o = at_step
        np.multiply(i, c, out=cell)
        if before:
            cell += f * cells[before]
        np.tanh(cell, out=tanh_cells[rows])
        np.multiply(o, tanh_cells[rows], out=states[rows])
    return states, (inputs, packed, weight_ih, weight_hh, gates, cells, tanh_cells, states)


def lstm_backward(gradient, kept):
    """Backward through time: gradient of `states` [R, w] -> those of inputs, weight_ih, weight_hh, bias.

    `gradient` is used up. One step at a time, so that its numbers stay in the cache.
    """
    inputs, packed, weight_ih, weight_hh, gates, cells, tanh_cells, states = kept
    width, later = weight_hh.shape[1], packed.first.stop  # where the rows begin that have one before them
    d_gates = np.empty((len(inputs), 4 * width), np.float32)  # [R, 4w], which products take in one go
    d_cells = np.zeros_like(cells)
    for rows, before in [*packed.steps[::-1], (packed.first, None)]:
        at_step = gates[:, rows]
        i, f, c, o = at_step
        d_state, d_cell, tanh_cell = gradient[rows], d_cells[rows], tanh_cells[rows]  # with what later steps added
        state_in_cell = 1 - tanh_cell * tanh_cell
        state_in_cell *= o
        state_in_cell *= d_state
        d_cell += state_in_cell
        slope = 1 - at_step  # of sigmoid(x): s (1 - s)
        slope *= at_step
        slope[0] *= c
        slope[1] *= cells[before] if before else 0
        np.multiply(1 - c * c, i, out=slope[2])
        slope[3] *= tanh_cell
        slope[:3] *= d_cell
        slope[3] *= d_state
        d_gates[rows].reshape(-1, 4, width)[:] = slope.transpose(1, 0, 2)
        if before:
            np.multiply(d_cell, f, out=d_cells[before])
            gradient[before] += d_gates[rows] @ weight_hh
    return (d_gates @ weight_ih, d_gates.T @ inputs, d_gates[later:].T @ states[packed.before],
            np.ones(len(inputs), np.float32) @ d_gates)


def running_max(values, packed):
    """Max of all up to each row's step, within its stretch: [R, w] -> [R, w]."""
    best = values.copy()
    for rows, before in packed.steps:
        np.maximum(best[rows], best[before], out=best[rows])
    return best


def running_max_backward(gradient, best, packed):
    """Gradient of `running_max`'s result -> of its values, in place: it goes where the max was found first."""
    for rows, before in packed.steps[::-1]:
        moved = gradient[rows] * (best[rows] == best[before])
        gradient[before] += moved
        gradient[rows] -= moved


def running_sum(values, packed):
    """Sum of all up to each row's step, within its stretch; in place, [R, w]."""
    for rows, before in packed.steps:
        values[rows] += values[before]


def running_sum_backward(gradient, packed):
    """Gradient of `running_sum`'s result -> of its values, in place."""
    for rows, before in packed.steps[::-1]:
        gradient[before] += gradient[rows]


def segment_sum(values, segment):
    """Sum of consecutive rows with the same `segment` (0, 0, 1, 2, 2, ...): [K, w] -> [U, w]."""
    starts = np.flatnonzero(np.diff(segment, prepend=-1))
    negated = -np.diff(starts, append=len(segment))
    order = np.argsort(negated, kind="stable")  # the longest first: those with one more row are the first ones of all
    starts, negated = starts[order], negated[order]
    total = values.take(starts, axis=0)
    # few turns: tags of a video, targets of a stretch; numpy.add.reduceat takes longer
    for place in range(1, -negated[0]):
        longer = np.searchsorted(negated, -place)
        total[:longer] += values.take(starts[:longer] + place, axis=0)
    result = np.empty_like(total)
    result[order] = total
    return result


class NumpyLayers:
    """The layers from a batch to its user vectors, forward and backward by hand: for processors.

    What `PaddleLayers` computes, with fewer and larger operations: rows without padding, one running maximum for
    all targets of a stretch, the profile's part of the first ReLU layer once for each stretch.
    """

    def __init__(self, config, parameters, dropout=0.0):
        self.config, self.parameters, self.dropout = config, parameters, dropout

    def refresh(self):
        """Nothing to do: the weights are read where they are."""

    def users(self, batch, rng=None, train=False, alike=False):
        """User vectors of a batch.

        Parameters
        ----------
        batch : reader.Batch with N targets.
        rng : generator of the dropout; None for no dropout.
        train : whether `gradients` will follow.
        alike : compute padding as well, so that matrices have the same shape, and users the same vector to the last
            bit, in any company.

        Returns
        -------
        float32 [N, u]
        """
        items, categories, tags = CLICK_FEATURES
        p, packed = self.parameters, Packed(batch, padded=alike)
        ids = {items: batch.items.reshape(-1)[packed.places], categories: batch.categories.reshape(-1)[packed.places],
               tags: batch.tags, **{name: batch.profile[:, column] for column, name in enumerate(PROFILE_FEATURES)}}
        rows = {name: p["_proj_" + name].take(ids[name], axis=0) for name in ids}
        videos = batch.video.reshape(-1)[packed.places]  # [R], of the U distinct ones
        states, lstm = lstm_forward(rows[items], packed, p["lstm_weight_ih"], p["lstm_weight_hh"],
                                    p["lstm_bias_ih"] + p["lstm_bias_hh"])
        best = running_max(states, packed)
        of_videos = segment_sum(rows[tags], batch.tag_video)  # [U, 64]
        content = np.hstack([rows[categories], of_videos.take(videos, axis=0)])  # [R, 72]
        running_sum(content, packed)
        counts = np.repeat(np.stack([batch.position + 1, batch.tag_counts[batch.position, batch.stretch]], axis=1),
                           [rows[categories].shape[1], rows[tags].shape[1]], axis=1).astype(np.float32)
        window = [best, content, rows[items], states]
        window = [each.take(packed.seen_from, axis=0) for each, used in
                  zip(window, (True, True, self.config.last_click, self.config.last_state)) if used]
        window[1] /= counts
        window, profile = np.hstack(window), np.hstack([rows[name] for name in PROFILE_FEATURES])  # [N, 136], [S, 104]
        users, relus = self._relu_layers(window, profile, batch.stretch, rng)
        if train:
            self._kept = batch, packed, ids, videos, lstm, best, counts, relus
        return users

    def _relu_layers(self, window, profile, stretch, rng):
        """User vectors [N, u], and what `_relu_gradients` wants, of window [N, .] and profile [S, .]."""
        p = self.parameters
        masks = [dropout_mask(values.shape, self.dropout, rng) for values in (window, profile)]
        for values, mask in zip((window, profile), masks):
            if mask is not None:
                values *= mask
        cut = window.shape[1]
        of_profile = profile @ p["relu1_w"][cut:] + p["relu1_b"]
        hidden = window @ p["relu1_w"][:cut]
        hidden += of_profile.take(stretch, axis=0)
        np.maximum(hidden, 0, out=hidden)
        masks.append(dropout_mask(hidden.shape, self.dropout, rng))
        if masks[2] is not None:
            hidden *= masks[2]
        users = hidden @ p["relu2_w"]
        users += p["relu2_b"]
        np.maximum(users, 0, out=users)
        return users, (window, profile, hidden, users, masks)

    def _relu_gradients(self, gradient, stretch, kept):
        """Gradients of the ReLU layers' parameters, and of window and profile."""
        window, profile, hidden, users, masks = kept
        p, cut = self.parameters, window.shape[1]
        gradient = gradient * (users > 0)
        d_hidden = gradient @ p["relu2_w"].T
        d_hidden *= hidden > 0 if masks[2] is None else masks[2] * (hidden > 0)
        d_of_profile = segment_sum(d_hidden, stretch)  # [N, 256] -> [S, 256]
        found = {"relu2_w": hidden.T @ gradient, "relu2_b": gradient.sum(axis=0),
                 "relu1_w": np.vstack([window.T @ d_hidden, profile.T @ d_of_profile]),
                 "relu1_b": d_of_profile.sum(axis=0)}
        d_inputs = [d_hidden @ p["relu1_w"][:cut].T, d_of_profile @ p["relu1_w"][cut:].T]
        for values, mask in zip(d_inputs, masks):
            if mask is not None:
                values *= mask
        return found, *d_inputs

    def gradients(self, gradient):
        """Gradients of all parameters, after `users` with `train`.

        Parameters
        ----------
        gradient : float32 [N, u], that of the user vectors.

        Returns
        -------
        {parameter name: [(ids, gradient)]} : of rows of a table, whose ids may repeat themselves, or with ids None of
            a whole layer's weights.
        """
        items, categories, tags = CLICK_FEATURES
        batch, packed, ids, videos, lstm, best, counts, relus = self._kept
        found, d_window, d_profile = self._relu_gradients(gradient, batch.stretch, relus)
        widths = [best.shape[1], counts.shape[1], *[self.config.embedding_dims[items]] * self.config.last_click]
        d_best, d_averages, *d_last = np.split(d_window, np.cumsum(widths), axis=1)  # the states' last, or nothing

        def spread(values):  # [N, w] -> [R, w]: no two targets look back from the same row
            all_rows = np.zeros((len(packed.places), values.shape[1]), np.float32)
            all_rows[packed.seen_from] = values
            return all_rows

        d_states, d_content = spread(d_best), spread(d_averages / counts)
        running_max_backward(d_states, best, packed)
        running_sum_backward(d_content, packed)
        if self.config.last_state:
            d_states[packed.seen_from] += d_last[-1]
        d_items, found["lstm_weight_ih"], found["lstm_weight_hh"], found["lstm_bias_ih"] = lstm_backward(d_states, lstm)
        found["lstm_bias_hh"] = found["lstm_bias_ih"]
        if self.config.last_click:
            d_items[packed.seen_from] += d_last[0]
        cut = self.config.embedding_dims[categories]
        d_tags = sum_rows(np.ascontiguousarray(d_content[:, cut:]), videos, batch.tag_video[-1] + 1)
        of_tables = {items: d_items, categories: d_content[:, :cut], tags: d_tags.take(batch.tag_video, axis=0)}
        of_tables.update(zip(PROFILE_FEATURES, np.split(
            d_profile, np.cumsum([self.config.embedding_dims[name] for name in PROFILE_FEATURES])[:-1], axis=1)))
        return {**{name: [(None, value)] for name, value in found.items()},
                **{"_proj_" + name: [(ids[name], value)] for name, value in of_tables.items()}}


ENGINES = {"numpy": NumpyLayers, "paddle": PaddleLayers}


# ---------------------------------------------------------------- the loss
def log_odds(user, target_item, negatives, nce_w, nce_b, log_noise):
    """Log-odds of "data, not noise" for the target, float [N], and for each noise sample, [N, k].

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
    offset = nce_b - (log_noise + float(np.log(negatives.shape[-1]))).unsqueeze(1)  # [videos, 1]: log-odds at u = 0
    target = (embedding(target_item, nce_w) * user).sum(1) + embedding(target_item, offset).squeeze(1)
    if negatives.ndim == 1:
        return target, paddle.addmm(embedding(negatives, offset).t(), user, embedding(negatives, nce_w).t())
    noise = (embedding(negatives, nce_w) * user.unsqueeze(1)).sum(2)  # [N, k, u] -> [N, k]
    return target, noise + embedding(negatives, offset).squeeze(2)


def nce_loss(user, target_item, negatives, nce_w, nce_b, log_noise):
    r"""Noise-contrastive estimation with k noise samples per instance, [N]; parameters as in `log_odds`.

    Each instance is k + 1 yes-or-no questions, "data or noise?", decided by the log-odds x(v) = s(v) - log(k q(v)):

        cost = -log sigmoid(x(target)) - sum over noise n of log sigmoid(-x(n))

    At the optimum s(v) = log P(v | u): the scores normalise themselves, so that a softmax of them serves.
    Gutmann & Hyvarinen 2010, eq. 8; Mnih & Teh 2012, eq. 8.
    """
    from paddle.nn.functional import softplus
    target, noise = log_odds(user, target_item, negatives, nce_w, nce_b, log_noise)
    return softplus(-target) + softplus(noise).sum(1)


def ranking_nce_loss(user, target_item, negatives, nce_w, nce_b, log_noise):
    r"""Ranking NCE, [N]; parameters as in `log_odds`: softmax over target and noise, corrected for the sampling.

        cost = -log( exp x(target) / (exp x(target) + sum over noise n != target of exp x(n)) )

    With x(v) = s(v) - log q(v), up to a constant; noise that hits the target is left out. Consistent for the
    softmax of the scores (Jean et al. 2015, eq. 8; Ma & Collins 2018, eq. 6), and the importance weighting that
    Covington et al. 2016 describe.
    """
    import paddle
    target, noise = log_odds(user, target_item, negatives, nce_w, nce_b, log_noise)
    hit = (negatives if negatives.ndim == 2 else negatives.unsqueeze(0)) == target_item.unsqueeze(1)  # [N, k]
    noise = paddle.where(hit, paddle.full([1], -1e9, noise.dtype), noise)
    return paddle.logsumexp(paddle.concat([target.unsqueeze(1), noise], axis=1), axis=1) - target


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

    BLOCK, BLOCKS_AT_ONCE = 0xFFFF, 256
    HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"  # no name, no time: the same input gives the same bytes

    def __init__(self, file):
        self._file, self._checksum, self.size = file, 0, 0  # size: bytes so far, before packing
        file.write(self.HEADER)

    def write(self, data):
        """Add bytes-like data."""
        from concurrent.futures import ThreadPoolExecutor  # here, as only training writes models
        with ThreadPoolExecutor(1) as beside:  # the checksum takes as long as writing, and can be made meanwhile
            checksum = beside.submit(zlib.crc32, data, self._checksum)
            for first in range(0, len(data), self.BLOCKS_AT_ONCE * self.BLOCK):
                self._write_blocks(data[first:first + self.BLOCKS_AT_ONCE * self.BLOCK])
        self._checksum, self.size = checksum.result(), self.size + len(data)

    def _write_blocks(self, data):
        self._file.flush()
        parts = []
        for start in range(0, len(data), self.BLOCK):
            block = data[start:start + self.BLOCK]
            parts += struct.pack("<BHH", 0, len(block), len(block) ^ self.BLOCK), block
        written = os.writev(self._file.fileno(), parts)  # without a copy
        self._file.write(b"".join(parts)[written:] if written < sum(map(len, parts)) else b"")

    def close(self):
        """Write the end; the file stays open."""
        self._file.write(struct.pack("<BHHII", 1, 0, self.BLOCK, self._checksum, self.size & 0xFFFFFFFF))


def stored_blocks(file):
    """[(place, length)] of all blocks of a gzip file like those of `StoredGzip`; None for any other file."""
    number, size = file.fileno(), os.fstat(file.fileno()).st_size
    if os.pread(number, len(StoredGzip.HEADER), 0) != StoredGzip.HEADER:
        return None
    blocks, last, place = [], 0, len(StoredGzip.HEADER)
    while not last:
        head = os.pread(number, 5, place)
        if len(head) < 5:
            return None
        last, length, complement = struct.unpack("<BHH", head)
        if last > 1 or length ^ complement != StoredGzip.BLOCK:
            return None
        blocks.append((place + 5, length))
        place += 5 + length
    return blocks if place + 8 == size else None


class Stored(io.RawIOBase):
    """What is in the `stored_blocks` of a file, for `io.BufferedReader`: from the file right to where it belongs."""

    def __init__(self, file, blocks):
        self._file, self._blocks, self._next, self._within = file, blocks, 0, 0
        self._checksum, self._size = 0, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        """Fill (part of) a buffer; returns how many bytes, 0 at the end. EOFError where something is missing."""
        while self._next < len(self._blocks):
            place, length = self._blocks[self._next]
            count = min(length - self._within, len(buffer))
            if not count:
                self._next, self._within = self._next + 1, 0
                continue
            part = memoryview(buffer)[:count]
            self._file.seek(place + self._within)
            if self._file.readinto(part) != count:
                raise EOFError("the end is missing")
            self._checksum, self._size = zlib.crc32(part, self._checksum), self._size + count
            self._within += count
            return count
        self._file.seek(sum(self._blocks[-1]))
        if self._file.read(8) != struct.pack("<II", self._checksum, self._size & 0xFFFFFFFF):
            raise EOFError("the checksum does not fit")
        return 0


class Unpacked(io.RawIOBase):
    """What is in any gzip file, for `io.BufferedReader`: zlib compares the checksum; a second part is not read."""

    CHUNK = 1 << 18

    def __init__(self, file):
        self._file, self._zlib = file, zlib.decompressobj(31)

    def readable(self):
        return True

    def readinto(self, buffer):
        """As that of `Stored`."""
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
            blocks = stored_blocks(file)
            stream = io.BufferedReader(Stored(file, blocks) if blocks else Unpacked(file), Unpacked.CHUNK)
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
    for start in range(0, len(content), PIECE):
        piece = content[max(start, len(begun)):start + PIECE]
        if stream.readinto(piece) != len(piece):
            raise InputError(path, None, f"truncated within {name}", mend)
        if not np.isfinite(array[start // 4:(start + PIECE) // 4]).all():  # while it is in the cache
            raise InputError(path, None, f"{name} has values that are not finite", mend)
    stream.read(-size % tarfile.BLOCKSIZE)
    return array.reshape(shape)
