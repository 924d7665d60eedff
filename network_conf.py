"""The network: LSTM + ReLU + NCE, its losses, its sampler, saving and loading it.

    items      -> embedding 64 -> LSTM 64 -> max over time  ─┐
    categories -> embedding  8 -> average                    │
    tags       -> embedding 64 -> average                    ├─ concatenated -> ReLU 256 -> ReLU 31 = u
    user_id 64, province 8, city 16, phone 16 (embeddings)  ─┘
    score of video v = nce_w[v] . u + nce_b[v];   P(v | u) = softmax of the scores over all videos but <unk>

Change the class, or write a subclass of it here and name it in train.py's --network: README, "Changing the network".
"""
import copy
import json
import sys
import warnings
from itertools import accumulate
from typing import NamedTuple

import utils
from reader import ragged
from utils import CATEGORIES, ITEMS, PROFILE_FEATURES, TAGS, InputError, said

import numpy as np

warnings.filterwarnings("ignore", message="No ccache found")
utils.ensure_home(".cache/paddle/dataset", ".cache/paddle/to_static_tmp")  # written by paddle's import and jit.save
with utils.loading_paddle():
    import paddle
    from paddle import nn
    from paddle.nn import functional as F

paddle.disable_signal_handler()  # its own writes a page to stdout when a process is told to end

VIDEO_TABLE = f"_proj_{ITEMS}"
INITIAL_STD = {"_proj_user_id": 0.01, "nce_w": 0.01}  # 0.1 for the other tables
# Of the ReLU layers' initial weights. What enters them is small; with 1 the units of the user vector begin so near to 0
# that Adam's first steps, of one size whatever the gradient, close a third of them for good. Tied embeddings keep 1:
# their videos start ten times as large as nce_w, so that large users would cost much at first, and be closed for that.
RELU_GAIN = 5
DECAY = 0.7  # of a click's weight, from one to the one before it
FOLDED = 1 << 16  # videos whose vectors are put together at once


class ModelConfig(NamedTuple):
    """What makes a network, beside its parameters; stored as model.json."""

    dictionary_sizes: dict
    embedding_dims: dict
    dictionary_fingerprint: str = ""
    window_size: int = 20
    dnn_layer_dims: tuple = (256, 31)  # of both ReLU layers; the second is the width of the user vector
    lstm_dim: int = 64
    tie_embeddings: bool = False  # whether nce_w is the table of the clicked videos: one vector a video
    network: str = "DNNmodel"
    content: bool = False  # whether a video's vector is, in training, its own row + the mean of its attributes'


class DNNmodel(nn.Layer):
    """Candidate generation: windows of clicks -> user vectors -> in training, the cost of their targets.

    Parameters
    ----------
    config : ModelConfig
    is_infer : bool; if so there is no output layer.
    dropout : share of the inputs of the ReLU layers that are set to 0 in training (Srivastava et al. 2014).
    """

    embedding_dims = {"user_id": 64, "province": 8, "city": 16, "phone": 16, ITEMS: 64, CATEGORIES: 8, TAGS: 64}

    def __init__(self, config, is_infer=False, dropout=0.0):
        super().__init__()
        self.config, self.dropout, dims = config, dropout, config.embedding_dims
        self.attributes = self.unclicked = None  # of the videos: a reader.Content; whether nobody has clicked on them
        hidden, user = config.dnn_layer_dims
        for feature, width in dims.items():
            self.add_sublayer(f"_proj_{feature}", table(config.dictionary_sizes[feature], width))
        self.lstm = nn.LSTM(dims[ITEMS], config.lstm_dim, time_major=True)
        joined = config.lstm_dim + sum(dims.values()) - dims[ITEMS]
        self.relu1_w, self.relu1_b = self.create_parameter([joined, hidden]), self.create_parameter([hidden])
        self.relu2_w, self.relu2_b = self.create_parameter([hidden, user]), self.create_parameter([user])
        if not is_infer:
            self.nce_b = table(config.dictionary_sizes[ITEMS], 1)
            if not config.tie_embeddings:
                self.nce_w = table(config.dictionary_sizes[ITEMS], user)
            if config.content:
                self.content = table(config.dictionary_sizes[TAGS] + config.dictionary_sizes[CATEGORIES], dims[ITEMS])

    def forward(self, rows, batch, rng=None):
        """User vectors [N, u] of a batch.

        Parameters
        ----------
        rows : {table: [distinct, width]}, what `look_up` gave.
        batch : {name: tensor}, what `reader.make_batch` made, its ids as places in `rows`.
        rng : numpy generator for the dropout; None: no dropout.
        """
        return self.hidden_layer(self.embedding_layer(rows, batch), batch, rng)

    def look_up(self, distinct):
        """Rows of the tables, {table: [distinct, width]}, of their distinct ids {table: int64 array [distinct]}.

        With `content` those of videos are whole: own row + mean of the attributes'.
        """
        rows = {name: layer(paddle.to_tensor(distinct[name])) for name, layer in self.tables().items()
                if name in distinct}
        if hasattr(self, "content"):
            rows[VIDEO_TABLE] = self.with_attributes(rows[VIDEO_TABLE], distinct[VIDEO_TABLE])
        return rows

    def with_attributes(self, own, videos):
        """Own rows of some videos [distinct, width], each with the mean of its attributes' rows added to it."""
        places, owner = ragged(self.attributes.offsets, videos)
        shares = 1 / np.bincount(owner)[owner]
        # In front a row that adds nothing: paddle cannot look up an empty list of ids, and a table without a gradient
        # in the first step would have no moments in the checkpoint.
        ids, place = np.unique(np.append(0, self.attributes.ids[places]), return_inverse=True)
        owner = np.append(0, owner)  # [K + 1]
        shares = np.append(0, shares).astype(np.float32)
        of_attributes = F.embedding(paddle.to_tensor(place), self.content(paddle.to_tensor(ids)))  # [K + 1, width]
        return paddle.scatter_nd_add(own, paddle.to_tensor(owner[:, None]),
                                     of_attributes * paddle.to_tensor(shares[:, None]))

    def embedding_layer(self, rows, batch):
        """{feature: embeddings}: [S, width] of the profile, [T, S, width] of clicks; tags are summed per video."""
        embeddings = {feature: F.embedding(batch[feature], rows[f"_proj_{feature}"])
                      for feature in self.config.embedding_dims if feature != TAGS}
        tags = F.embedding(batch[TAGS], rows[f"_proj_{TAGS}"])  # [K, 64], to be added to its video's [U, 64]
        of_videos = paddle.zeros([int(batch["tag_video"][-1]) + 1, tags.shape[1]])
        of_videos = paddle.scatter_nd_add(of_videos, batch["tag_video"].unsqueeze(1), tags)
        embeddings[TAGS] = F.embedding(batch["video"], of_videos)  # [T, S, 64]
        return embeddings

    def hidden_layer(self, embeddings, batch, rng=None):
        """User vectors [N, u] of the N targets: max and averages over all that precedes each, then two ReLUs.

        What stands at a position may depend on those before it alone: several targets share a stretch.
        """
        states, _ = self.lstm(embeddings[ITEMS])  # [T, S, lstm]
        window = paddle.concat([at_targets(running_max(states), batch),
                                at_targets(paddle.cumsum(embeddings[CATEGORIES], 0), batch) / batch["clicks"],
                                at_targets(paddle.cumsum(embeddings[TAGS], 0), batch) / batch["tag_counts"]], 1)
        profile = paddle.concat([embeddings[name] for name in PROFILE_FEATURES if name in embeddings], 1)
        of_window, of_profile = self.relu1_w[:window.shape[1]], self.relu1_w[window.shape[1]:]
        hidden = F.linear(self.drop(window, rng), of_window, self.relu1_b)  # [N, 136] -> [N, 256]
        hidden += paddle.gather(paddle.matmul(self.drop(profile, rng), of_profile), batch["stretch"])  # [S, 104] before
        return F.relu(F.linear(self.drop(F.relu(hidden), rng), self.relu2_w, self.relu2_b))  # [N, 31]

    def output_layer(self, users, rows, batch, loss):
        """Costs [N] of user vectors [N, u] by `nce_loss` or `ranking_nce_loss`."""
        return loss(users, batch["target"], batch["negatives"], rows[self.output_table()], rows["nce_b"],
                    batch["log_noise"])

    def drop(self, values, rng):
        """Dropout by numbers of a generator of its own: paddle's is one, which threads reach in any order."""
        if rng is None or not self.dropout:
            return values
        kept = rng.random(values.shape, np.float32) >= self.dropout
        return values * paddle.to_tensor(kept.astype(np.float32) / np.float32(1 - self.dropout))

    def tables(self):
        """{name: Embedding} of the tables, of which a batch needs few rows."""
        return {name: layer for name, layer in self.named_sublayers() if isinstance(layer, nn.Embedding)}

    def table_ids(self, training=True):
        """{table: names of the arrays of a batch that hold ids of its rows}, for `reader.share_rows`."""
        found = {f"_proj_{feature}": [feature] for feature in self.config.embedding_dims}
        if training:
            found.setdefault(self.output_table(), []).extend(["target", "negatives"])
        return found

    def output_table(self):
        """Name of the table that holds the vectors of the recommended videos."""
        return VIDEO_TABLE if self.config.tie_embeddings else "nce_w"

    def named(self):
        """{name: parameter}, named as in a model's archive: "lstm.weight_ih_l0" is lstm_weight_ih there."""
        return {path.removesuffix(".weight").removesuffix("_l0").replace(".", "_"): parameter
                for path, parameter in self.named_parameters()}

    def dense_parameters(self):
        """Parameters of all layers that are no tables."""
        tables = self.tables()
        return [parameter for name, parameter in self.named().items() if name not in tables]

    def replica(self):
        """A network with the same tables and a copy of everything else, for another thread."""
        shared = [*self.tables().values(), self.attributes]
        return copy.deepcopy(self, {id(each): each for each in shared})

    def arrays(self):
        """{name: float32 array} of all parameters."""
        found = {name: parameter.numpy() for name, parameter in self.named().items()}
        found["nce_b"] = found["nce_b"].T
        return {**found, "nce_w": found[VIDEO_TABLE]} if self.config.tie_embeddings else found

    def folded(self):
        """`arrays` as they stand in a model's archive.

        A video's own row and its attributes are one vector there; videos that are `unclicked` have vectors and biases
        by their neighbours (`place_unclicked`).
        """
        own = self.arrays()
        found = dict(own)
        if found.pop("content", None) is not None:
            ids = np.arange(self.config.dictionary_sizes[ITEMS])
            with paddle.no_grad():
                found[VIDEO_TABLE] = found["nce_w"] = np.concatenate([
                    self.look_up({VIDEO_TABLE: ids[start:start + FOLDED]})[VIDEO_TABLE].numpy()
                    for start in range(0, len(ids), FOLDED)])
        if self.unclicked is not None:
            place_unclicked(found, own, self.unclicked, self.attributes)
        return found

    def set_arrays(self, arrays):
        """Take over parameters from `arrays`; ValueError if one is missing or has another shape or type."""
        for name, parameter in self.named().items():
            value = arrays.get(name, np.zeros(0))
            value = value.T if name == "nce_b" else value
            if list(value.shape) != list(parameter.shape) or value.dtype != np.float32:
                raise ValueError(f"{name} is {value.dtype} {value.shape} in place of {parameter.shape}")
            parameter.set_value(value)


def of_neighbours(values, content, known):
    """Mean, over the attributes of each video, of the mean `values` of the known videos that share the attribute.

    float [V, w], Content of V videos, bool [V] -> float64 [V, w]; nan for a video without such neighbours.
    """
    places, owner = ragged(content.offsets, np.arange(len(values)))
    attribute, sums = content.ids[places], np.zeros((int(content.ids.max(initial=0)) + 1, values.shape[1] + 1))
    shown = known[owner]
    np.add.at(sums, attribute[shown], np.hstack([values, np.ones((len(values), 1))])[owner[shown]])
    sums /= np.maximum(sums[:, -1:], 1)  # the last column: 1 if there is any
    found = np.zeros((len(values), sums.shape[1]))
    np.add.at(found, owner, sums[attribute])
    with np.errstate(invalid="ignore"):
        return found[:, :-1] / found[:, -1:]


def place_unclicked(found, own, unclicked, content):
    """Give vectors and biases to the videos of a catalogue that nobody has clicked on, from their neighbours.

    A vector is the mean of the neighbours' own rows, and what content adds to it, at the mean length of the tenth of
    the clicked videos with the lowest biases: a mean is too short to be recommended to anyone. A bias is the
    neighbours' mean. A video without neighbours stays as it is.

    Parameters
    ----------
    found : {name: array} of a model, changed.    own : {name: array}, before content was added.
    unclicked : bool [V].    content : reader.Content of the V videos.
    """
    bias, clicked = found["nce_b"].T, np.flatnonzero(~unclicked)[1:]  # [V, 1]; without <unk>
    rare = clicked[np.argsort(bias[clicked, 0], kind="stable")[:-(-len(clicked) // 10)]]
    for name in {VIDEO_TABLE, "nce_w"} & found.keys():
        near = found[name] - own[name] + of_neighbours(own[name], content, ~unclicked)
        near *= np.linalg.norm(found[name][rare], axis=1).mean() / np.linalg.norm(near, axis=1, keepdims=True)
        found[name] = np.where(unclicked[:, None] & np.isfinite(near), near, found[name]).astype(np.float32)
    near = of_neighbours(bias, content, ~unclicked)
    found["nce_b"] = np.where(unclicked[:, None] & np.isfinite(near), near, bias).astype(np.float32).T


class DirectModel(DNNmodel):
    """With a direct path from the clicks to the user vector: u = ReLU layer + last A + mean B.

    last: vector of the last click; mean: of all clicks of the window, each weighing DECAY times the one after it. The
    user vector may then be negative, and it begins near the videos of the last clicks.
    """

    def __init__(self, config, is_infer=False, dropout=0.0):
        super().__init__(config, is_infer, dropout)
        shape = [config.embedding_dims[ITEMS], config.dnn_layer_dims[1]]
        self.direct_last_w, self.direct_mean_w = self.create_parameter(shape), self.create_parameter(shape)

    def hidden_layer(self, embeddings, batch, rng=None):
        """User vectors [N, u] of the N targets."""
        users = super().hidden_layer(embeddings, batch, rng)
        clicks = embeddings[ITEMS]  # [T, S, 64]
        # served: a matrix of one size, since a sum over another number of positions is rounded differently, and a
        # user's vector must not depend on the longest window in its block
        means = recent_means(clicks, clicks.shape[0] if self.training else self.config.window_size)
        for values, weight in ((clicks, self.direct_last_w), (means, self.direct_mean_w)):
            users += paddle.matmul(self.drop(at_targets(values, batch), rng), weight)
        return users


class UserTower(nn.Layer):
    """What a live service needs of a network: plain arrays -> user vectors, for `paddle.jit.save`.

    The batch may have any size; windows are padded behind their end to window_size positions.
    """

    def __init__(self, network):
        super().__init__()
        for name in ("forward", "look_up", "embedding_layer"):  # `forward` below has its own, for plain arrays
            if getattr(type(network), name) is not getattr(DNNmodel, name):
                raise InputError("--export_dir", None, f"{type(network).__name__} has its own {name}",
                                 "write the same for plain arrays into UserTower, in network_conf.py")
        self.network = network
        dims, tags = network.config.embedding_dims, network.tables()[f"_proj_{TAGS}"].weight
        self.profile = [feature for feature in PROFILE_FEATURES if feature in dims]
        self.no_tag = tags.shape[0]  # id that fills up a position with fewer tags than others: a row of zeros
        self.tag_rows = self.create_parameter([tags.shape[0] + 1, tags.shape[1]])
        self.tag_rows.set_value(paddle.concat([tags, paddle.zeros([1, tags.shape[1]])]))
        self.eval()

    def forward(self, profile, items, categories, tags, length):
        """User vectors [B, u] from int64 profile [B, P], items and categories [B, T], tags [B, T, K], length [B]."""
        rows, users = self.network.tables(), paddle.shape(items)[0]
        embeddings = {feature: F.embedding(profile[:, column], rows[f"_proj_{feature}"].weight)
                      for column, feature in enumerate(self.profile)}
        embeddings[ITEMS] = F.embedding(items.t(), rows[VIDEO_TABLE].weight)  # [T, B, 64]
        embeddings[CATEGORIES] = F.embedding(categories.t(), rows[f"_proj_{CATEGORIES}"].weight)
        embeddings[TAGS] = F.embedding(tags, self.tag_rows).sum(2).transpose([1, 0, 2])
        here = paddle.arange(items.shape[1]).unsqueeze(0) < length.unsqueeze(1)  # [B, T]: no padding
        counts = ((tags != self.no_tag) & here.unsqueeze(2)).astype("float32").sum([1, 2])
        place = paddle.arange(users)
        return self.network.hidden_layer(embeddings, {
            "seen_from": (length - 1) * users + place, "stretch": place, "tag_counts": counts.unsqueeze(1),
            "clicks": length.astype("float32").unsqueeze(1)})

    def save(self, folder, fingerprints):
        """Write user_tower.json and user_tower.pdiparams for `paddle.inference`, and inputs.json, which says how to
        use them, with the fingerprints of dictionary and model. InputError if what was written is damaged."""
        width, spec = self.network.config.window_size, paddle.static.InputSpec
        specs = [spec([None, len(self.profile)], "int64", "profile"), spec([None, width], "int64", "items"),
                 spec([None, width], "int64", "categories"), spec([None, width, None], "int64", "tags"),
                 spec([None], "int64", "length")]
        paddle.jit.ignore_module([sys.modules[__name__]])  # nothing to rewrite: no loop or branch depends on numbers
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a kernel has no static form with an output given, which nobody gives
            try:
                paddle.jit.save(paddle.jit.to_static(self, input_spec=specs), f"{folder}/user_tower")
            except OSError:
                raise
            except Exception as error:  # whatever a network of one's own does that a static program cannot
                raise InputError("--export_dir", None, f"{self.network.config.network} cannot be written as a static "
                                 f"program ({said(error)})", "see docs/network.md") from error
        try:
            paddle.jit.load(f"{folder}/user_tower")
        except Exception as error:  # its writer does not look whether all has been written
            raise InputError(folder, None, f"what was written cannot be read ({said(error)})", "check the path, its "
                             "rights and the free space") from error
        with open(f"{folder}/inputs.json", "w", encoding="utf-8") as stream:
            json.dump({"inputs": [each.name for each in specs], "profile": self.profile, "window_size": width,
                       "no_tag": self.no_tag, **fingerprints}, stream, indent=1)


def earlier_ids(old, new):
    """{table: int64 [rows now]}: the earlier id of each row now, by the earlier and the new dictionary; 0 for none."""
    ids = {f"_proj_{feature}": np.array([old[feature].get(value, 0) for value in values])
           for feature, values in new.items()}
    tags, categories = ids[f"_proj_{TAGS}"], ids[f"_proj_{CATEGORIES}"]
    content = np.concatenate([tags, np.where(categories, categories + len(old[TAGS]), 0)])
    content[len(tags)] = len(old[TAGS])  # the unknown category's
    return {**ids, "nce_w": ids[VIDEO_TABLE], "nce_b": ids[VIDEO_TABLE], "content": content}


def carry_over(initial, before, dictionaries, freqs, content):
    """What an earlier run has learned, by another dictionary, in place of the initial values.

    Rows of tables go by name, with the optimiser's moments. A new user starts as the `<unk>` user, a new video where
    the videos with its tags and category stand on average; other new values start as they would. A bias keeps its
    distance to the log of its video's frequency.

    Parameters
    ----------
    initial : {name: array}, the new network's `arrays`.    before : {name: array}, the earlier `Trainer.state`.
    dictionaries : (earlier, new), {feature: {value: id}}.    freqs : (earlier, new), item_freq.
    content : reader.Content of the new dictionary's videos.

    Returns
    -------
    {name: array}, for `Trainer.restore`. KeyError, ValueError or IndexError if `before` is of another network.
    """
    ids = earlier_ids(*dictionaries)
    log_old, log_new = (log_frequencies(freq)[:, None] for freq in freqs)
    found = {}
    for name, value in before.items():
        table = next((table for table in ids if name == table or name.startswith(f"{table}_moment")), None)
        if table is None:
            found[name] = value
            continue
        rows, known = (value.T if name == "nce_b" else value)[ids[table]], ids[table][:, None] > 0
        if table in (VIDEO_TABLE, "nce_w", "nce_b"):
            known &= np.asarray(freqs[0])[ids[table], None] > 0  # others of a catalogue have learned nothing
        known[0] = True  # <unk>
        if name == "nce_b":
            offset = rows - log_old[ids[table]]
            rows = log_new + np.where(known, offset, np.nan_to_num(of_neighbours(offset, content, known[:, 0])))
        elif name in (VIDEO_TABLE, "nce_w"):
            near = of_neighbours(rows, content, known[:, 0])
            rows = np.where(known, rows, np.where(np.isnan(near), initial[name], near))
        elif name != table:
            rows = np.where(known, rows, 0)  # nothing is known of a new row's gradients
        elif name != "_proj_user_id":
            rows = np.where(known, rows, initial[name])
        found[name] = rows.astype(np.float32).T if name == "nce_b" else rows.astype(np.float32)
    return found


def use_device(name):
    """Run on this device of paddle's; None: a GPU if this paddle has one. InputError if there is no such device."""
    try:
        paddle.set_device(name or ("gpu" if paddle.device.cuda.device_count() else "cpu"))
    except (ValueError, RuntimeError) as error:
        raise InputError("--device", None, f"no such device ({said(error)})", "give cpu, gpu or gpu:1") from error
    try:
        paddle.zeros([1])
    except (ValueError, RuntimeError) as error:
        raise InputError("paddle", None, f"no memory can be allocated ({said(error)})",
                         "check the device and the environment variables FLAGS_*") from error


def table(size, width):
    """Embeddings of `size` values, zeros until `initialize` or a file fills them; gradients of the rows looked up."""
    return nn.Embedding(size, width, sparse=True, weight_attr=paddle.ParamAttr(initializer=nn.initializer.Constant(0)))


def running_max(states):
    """Max over each position and all before it: [T, S, w] -> [T, S, w]. paddle.cummax takes twice as long."""
    return paddle.stack([*accumulate(paddle.unbind(states), paddle.maximum)])


def recent_means(clicks: paddle.Tensor, size: int) -> paddle.Tensor:
    """Weighted mean of each position and all before it, each weighing DECAY times the one after it.

    Parameters
    ----------
    clicks : float [T, S, w].
    size : at least T, to which positions are filled up with zeros.

    Returns
    -------
    float [size, S, w].
    """
    if clicks.shape[0] < size:
        padding = paddle.zeros([size - clicks.shape[0], *clicks.shape[1:]])
        clicks = paddle.concat([clicks, padding])
    times = np.arange(size)
    weights = np.tril(DECAY ** np.maximum(times[:, None] - times, 0)).astype(np.float32)  # [place, click]
    weights /= weights.sum(1, keepdims=True)
    return paddle.matmul(paddle.to_tensor(weights), clicks.flatten(1)).reshape(clicks.shape)


def at_targets(sequence, batch):
    """What a sequence [T, S, w] holds at the place that each target looks back from: [N, w]."""
    return paddle.gather(sequence.reshape([-1, sequence.shape[-1]]), batch["seen_from"])


def tensors(arrays):
    """{name: array} -> {name: tensor} on paddle's device; counts as float32, to divide by."""
    return {name: paddle.to_tensor(array.astype(np.float32) if name in ("clicks", "tag_counts") else array)
            for name, array in arrays.items()}


def initialize(network, item_freq, kind="popularity"):
    """Give a network its initial parameters, by paddle's generator.

    popularity : nce_b starts at log(item_freq) and nce_w near 0, so that an untrained network ranks by
        popularity. Tables are normal with the std of INITIAL_STD, weights uniform after Glorot & Bengio 2010
        (recurrent, each gate) and He et al. 2015 (ReLU, times RELU_GAIN), biases 0 but for the LSTM's forget gate's 1
        (Jozefowicz et al. 2015).
    v0.10 : as the example of that paddle had it: tables normal with std 0.001, weights normal with std
        1 / sqrt(first dimension), all biases 0.
    """
    init, old = nn.initializer, kind == "v0.10"
    tables = network.tables()
    for name, parameter in network.named().items():
        if name in tables:
            init.Normal(0, 0.001 if old else INITIAL_STD.get(name, 0.1))(parameter)
        elif len(parameter.shape) == 1:
            if name.endswith("_b") or "bias" in name:  # the scale of a norm, say, stays as its layer made it
                init.Constant(0.0)(parameter)
        elif old:
            fan_in = parameter.shape[0 if name.startswith("relu") else 1]  # recurrent weights are [gates, in]
            init.Normal(0, fan_in ** -0.5)(parameter)
        elif name.startswith("direct"):
            parameter.set_value(np.eye(*parameter.shape, dtype=np.float32) * (0.5 if "mean" in name else 1))
        else:
            relu = name.startswith("relu")
            limit = (6 / (parameter.shape[0] if relu else parameter.shape[1] + network.config.lstm_dim)) ** 0.5
            limit *= RELU_GAIN if relu and not network.config.tie_embeddings else 1
            init.Uniform(-limit, limit)(parameter)
        gates = np.repeat(np.array([0, 1, 0, 0], np.float32), network.config.lstm_dim)  # i, f, c, o
        if name == "lstm_bias_ih" and not old and parameter.shape == list(gates.shape):
            parameter.set_value(gates)
    network.nce_b.weight.set_value(np.zeros((len(item_freq), 1), np.float32) if old else
                                   log_frequencies(item_freq)[:, None].astype(np.float32))


# ---------------------------------------------------------------- the loss
def log_odds(user, target, negatives, nce_w, nce_b, log_noise):
    """Log-odds of "data, not noise" for the target, float [N], and for each noise sample, [N, k].

    With scores s(v) = nce_w[v] . u + nce_b[v] and noise distribution q: s(v) - log(k q(v)).

    Parameters
    ----------
    user : float [N, u].   target : int64 [N].
    negatives : int64 [N, k], drawn from q for each instance, or int64 [k], shared by all of them: those
        cost one matrix product.
    nce_w : float [videos, u].   nce_b : float [videos, 1].   log_noise : float [videos, 1], log q.
    """
    offset = nce_b - (log_noise + float(np.log(negatives.shape[-1])))  # [videos, 1]: log-odds at u = 0
    of_target = (F.embedding(target, nce_w) * user).sum(1) + F.embedding(target, offset).squeeze(1)
    if negatives.ndim == 1:
        noise = paddle.matmul(user, F.embedding(negatives, nce_w), transpose_y=True)  # [N, k]
        return of_target, noise + F.embedding(negatives, offset).squeeze(1)
    noise = (F.embedding(negatives, nce_w) * user.unsqueeze(1)).sum(2)  # [N, k, u] -> [N, k]
    return of_target, noise + F.embedding(negatives, offset).squeeze(2)


def nce_loss(user, target, negatives, nce_w, nce_b, log_noise):
    r"""Noise-contrastive estimation with k noise samples per instance, [N]; parameters as in `log_odds`.

    Each instance is k + 1 yes-or-no questions, "data or noise?", decided by the log-odds x(v) = s(v) - log(k q(v)):

        cost = -log sigmoid(x(target)) - sum over noise n of log sigmoid(-x(n))

    At the optimum s(v) = log P(v | u): the scores normalise themselves, so that a softmax of them serves.
    Gutmann & Hyvarinen 2010, eq. 8; Mnih & Teh 2012, eq. 8.
    """
    of_target, noise = log_odds(user, target, negatives, nce_w, nce_b, log_noise)
    return F.softplus(-of_target) + F.softplus(noise).sum(1)


def ranking_nce_loss(user, target, negatives, nce_w, nce_b, log_noise):
    r"""Ranking NCE, [N]; parameters as in `log_odds`: softmax over target and noise, corrected for the sampling.

        cost = -log( exp x(target) / (exp x(target) + sum over noise n != target of exp x(n)) )

    With x(v) = s(v) - log q(v), up to a constant; noise that hits the target is left out. Consistent for the
    softmax of the scores (Jean et al. 2015, eq. 8; Ma & Collins 2018, eq. 6), and the importance weighting that
    Covington et al. 2016 describe.
    """
    of_target, noise = log_odds(user, target, negatives, nce_w, nce_b, log_noise)
    hit = (negatives if negatives.ndim == 2 else negatives.unsqueeze(0)) == target.unsqueeze(1)  # [N, k]
    noise = paddle.where(hit, paddle.full([1], -1e9, noise.dtype), noise)
    return paddle.logsumexp(paddle.concat([of_target.unsqueeze(1), noise], 1), 1) - of_target


LOSSES = {"nce": nce_loss, "ranking_nce": ranking_nce_loss}


def log_frequencies(item_freq):
    """log of the probabilities of item_freq, float64 [videos]; zeros (`<unk>`, mostly) get the smallest other."""
    freq = np.asarray(item_freq, np.float64)
    return np.log(np.maximum(freq, freq[1:][freq[1:] > 0].min()))


class NoiseSampler:
    """Draws videos from item_freq without `<unk>`; `log_probability`, float32 [videos], tells how often."""

    def __init__(self, item_freq):
        freq = np.array(item_freq, np.float64)
        freq[0] = 0  # <unk> is no video
        self._reached = np.cumsum(freq)
        self._reached /= self._reached[-1]  # exactly 1 at the end: what is drawn is below, so that no draw is beyond it
        self.log_probability = (log_frequencies(freq) - np.log(freq.sum())).astype(np.float32)

    def draw(self, shape, rng):
        """Independent draws, int64 of `shape`."""
        return np.searchsorted(self._reached, rng.random(shape), side="right")


# ---------------------------------------------------------------- the file of a model
def save_model(path, network, item_freq):
    """Write model.json and one .npy per parameter; item_freq goes along: what a user unknown to the model is served."""
    utils.write_archive(path, {"format_version": utils.FORMAT_VERSION, **network.config._asdict()},
                        {**network.folded(), "item_freq": np.asarray(item_freq, np.float32)})


def network_class(name):
    """DNNmodel, or the subclass of it that is called `name`; ValueError if there is none."""
    classes = [DNNmodel]
    for each in classes:  # grows: subclasses of subclasses
        classes += each.__subclasses__()
    known = {each.__name__: each for each in classes}
    if name not in known:
        raise ValueError(f"no network is called {name!r:.60}: network_conf.py has {', '.join(known)}")
    return known[name]


def load_network(path, told, parameters):
    """The network of a model that `infer.load_model` read, ready to infer; InputError if its parts do not fit."""
    try:
        removed = [flag for flag in ("last_click", "last_state") if told.pop(flag, False)]
        if removed:
            raise ValueError(f"it was trained with --{removed[0]}, which is gone")
        config = ModelConfig(**told)._replace(dnn_layer_dims=tuple(told["dnn_layer_dims"]))
        widths = [*config.dnn_layer_dims, *config.embedding_dims.values(), config.lstm_dim]
        if not all(type(width) is int and 0 < width <= utils.MAX_WIDTH for width in widths) or not (
                type(config.window_size) is int and config.window_size > 0):
            raise ValueError("a size that no network has")
        for feature, width in config.embedding_dims.items():  # before memory is taken for tables of that size
            if parameters[f"_proj_{feature}"].shape != (config.dictionary_sizes[feature], width):
                raise ValueError(f"_proj_{feature} has another shape")
        network = network_class(config.network)(config, is_infer=True)
        network.set_arrays(parameters)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(path, None, f"its parameters do not fit model.json ({said(error)})", "give a model_"
                         "pass_*.tar.gz of train.py, and the network_conf.py that it was trained with") from error
    network.eval()
    return network
