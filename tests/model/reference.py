"""Reference implementation of networks and losses: numpy, float64, one instance at a time.

The log of `LINES` is small enough to follow by hand, and has windows of all kinds: unknown users,
videos, categories and tags, a user without clicks, histories longer than a window.
"""

import dataclasses

import network_conf
from candgen.data.batches import (
    make_batch,
    share_rows,
)
from candgen.data.dictionary import (
    CATEGORIES,
    ITEMS,
    PROFILE_FEATURES,
    TAGS,
    dictionary_fingerprint,
)
from candgen.data.items import ItemAttributes
from candgen.model.layers import to_tensors
from candgen.training.settings import TrainerSettings
from candgen.training.trainer import Trainer
from conftest import SMALL_DICT, log_text
from network_conf import ModelConfig
from reader import Reader

import numpy as np

FREQ = [0.1, 0.4, 0.2, 0.2, 0.1]


DIMS = {"user_id": 3, "province": 2, "city": 2, "phone": 2, ITEMS: 4, CATEGORIES: 2, TAGS: 3}


CONFIG = ModelConfig(
    {name: len(SMALL_DICT[name]) for name in DIMS},
    DIMS,
    dictionary_fingerprint(SMALL_DICT),
    window_size=4,
    dnn_layer_dims=(6, 5),
    lstm_dim=4,
)


TIED = dataclasses.replace(CONFIG, tie_embeddings=True, dnn_layer_dims=(6, 4))


BEST = dataclasses.replace(
    TIED, network="DirectModel", content=True, embedding_dims={**DIMS, "user_id": 4}
)


LINES = [
    (
        "u1",
        "p1",
        "c1",
        ["v1:a:s_t", "v2:b:t", "v1:a:s_t", "v3:z:q_s_t", "v4:a:s", "v2:b:t", "v3:b:t"],
        "m1",
    ),
    ("u9", "p9", "c2", ["v4:NULL:NULL", "new:a:s", "v2:b:t"], "m9"),
    ("u2", "p1", "", [], "m1"),
    ("u2", "p1", "c1", ["v3:a:s_t_t"], "m1"),
]


# Of <unk>, v1 to v4: tags s is 1, t is 2; categories follow the three tags: a is 3 + 1, b is 3 + 2.
# Of the two video-infos of v3, v3:a:s_t_t comes first in the order of text.
ATTRIBUTES = [[], [1, 2, 4], [2, 5], [1, 2, 2, 4], [1, 4]]


def reference_log(folder):
    """The `EncodedLog` of LINES."""
    path = folder / "log.txt"
    path.write_text(log_text(LINES), encoding="utf-8")
    [log] = Reader(SMALL_DICT).encode([str(path)])
    return log


def random_network(config, **options):
    """A network whose parameters are so large that every part matters and some ReLUs are closed."""
    network = network_conf.network_class(config.network)(config, **options)
    rng = np.random.default_rng(0)
    for parameter in network.parameters():
        parameter.set_value(rng.normal(0, 0.7, parameter.shape).astype(np.float32))
    ids = np.concatenate(ATTRIBUTES).astype(int)
    network.attributes = ItemAttributes(ids, np.cumsum([0, *map(len, ATTRIBUTES)]))
    return network


def trainer_of(network, threads, freq=FREQ, loss="nce", **settings):
    """A `Trainer` of a network."""
    settings = {"num_negatives": 3, "user_dropout": 0.0, "history_dropout": 0.0, **settings}
    settings = TrainerSettings(
        loss=network_conf.loss_function(loss), learning_rate=0.01, threads=threads, **settings
    )
    return Trainer(network, network_conf.NoiseSampler(freq), settings, total_steps=10)


def forward(network, log, segments, rng=None):
    """User vectors of some segments of a log."""
    batch = make_batch(log, segments)
    distinct = share_rows([batch], network.table_ids(training=False))
    return network(network.look_up(distinct), to_tensors(batch), rng).numpy()


def shapes_of(config):
    """{name: shape} of the arrays of a model, as the README has them."""
    dims = config.embedding_dims
    hidden, user = config.dnn_layer_dims
    remembers = config.network == "DirectModel"
    pooled = set(dims) - {ITEMS} - ({"user_id"} if remembers else set())
    concatenated = config.lstm_dim + sum(dims[name] for name in pooled)
    videos = config.dictionary_sizes[ITEMS]
    tables = {
        f"_proj_{name}": (config.dictionary_sizes[name], width) for name, width in dims.items()
    }
    return {
        **tables,
        "lstm_weight_ih": (4 * config.lstm_dim, dims[ITEMS]),
        "lstm_weight_hh": (4 * config.lstm_dim, config.lstm_dim),
        "lstm_bias_ih": (4 * config.lstm_dim,),
        "lstm_bias_hh": (4 * config.lstm_dim,),
        "relu1_w": (concatenated, hidden),
        "relu1_b": (hidden,),
        "relu2_w": (hidden, user),
        "relu2_b": (user,),
        "nce_w": (videos, user),
        "nce_b": (1, videos),
    }


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_instance(line, start, end):
    """The instance whose window is positions start .. end - 1 of [<unk>, c1, c2, ...].

    Returns
    -------
    profile : ids.
    clicks : [(item, category, tags)] of the window.
    target : item at position `end`; None behind the history.
    """
    user, province, city, infos, phone = LINES[line]
    profile = [
        SMALL_DICT[name].get(value, 0)
        for name, value in zip(PROFILE_FEATURES, (user, province, city, phone))
    ]
    clicks = [(0, 0, [0])]
    for info in infos:
        video, category, tags = info.split(":")
        item = SMALL_DICT[ITEMS].get(video, 0)
        if item:
            tag_ids = [SMALL_DICT[TAGS].get(tag, 0) for tag in tags.split("_")]
            clicks.append((item, SMALL_DICT[CATEGORIES].get(category, 0), tag_ids))
    target = clicks[end][0] if end < len(clicks) else None
    return profile, clicks[start:end], target


def plain_instances(segments):
    """The instances of some segments: for each target all that precedes it in its segment."""
    instances = []
    columns = (segments.line, segments.start, segments.length, segments.targets)
    for line, start, length, targets in zip(*(column.tolist() for column in columns)):
        for end in range(length - targets + 1, length + 1):
            instances.append(plain_instance(line, start, start + end))
    return instances


def plain_user_vector(p, instance, decay=0.7):
    """u of one instance, step by step in float64, from {name: array}.

    With a direct path, a user without clicks has the remembered vector, unless that is 0.

    decay : weight of a click relative to the one after it, in the direct path.
    """
    profile, clicks, _ = instance
    names = list(PROFILE_FEATURES)
    if "direct_last_w" in p:
        remembered = p["_proj_user_id"][profile[0]]
        if len(clicks) == 1 and remembered.any():
            return remembered
        names.remove("user_id")
        profile = profile[1:]
    h = c = np.zeros(p["lstm_weight_hh"].shape[1])
    states = []
    for item, _, _ in clicks:
        gates = (
            p["lstm_weight_ih"] @ p[f"_proj_{ITEMS}"][item]
            + p["lstm_bias_ih"]
            + p["lstm_weight_hh"] @ h
            + p["lstm_bias_hh"]
        )
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    concatenated = [
        np.max(states, axis=0),
        np.mean([p[f"_proj_{CATEGORIES}"][category] for _, category, _ in clicks], axis=0),
        np.mean([p[f"_proj_{TAGS}"][tag] for _, _, tags in clicks for tag in tags], axis=0),
        *(p[f"_proj_{name}"][id_] for name, id_ in zip(names, profile)),
    ]
    hidden = np.maximum(0, np.concatenate(concatenated) @ p["relu1_w"] + p["relu1_b"])
    u = np.maximum(0, hidden @ p["relu2_w"] + p["relu2_b"])
    if "direct_last_w" in p:
        videos = np.array([p[f"_proj_{ITEMS}"][item] for item, _, _ in clicks])
        weights = decay ** np.arange(len(videos))[::-1]
        mean = weights @ videos / weights.sum()
        u = (
            u
            + product_of_parts(videos[-1], p["direct_last_w"])
            + product_of_parts(mean, p["direct_mean_w"])
        ) / len(p["direct_last_w"])
    return u


def product_of_parts(vector, matrices):
    """Each part of a vector times its own matrix."""
    parts = np.split(vector, len(matrices))
    return np.concatenate([part @ matrix for part, matrix in zip(parts, matrices)])


def whole_videos(p):
    """The parameters, with the mean of their attributes' rows added to the rows of the videos."""
    if "content" not in p:
        return p
    means = [
        np.mean([p["content"][id_] for id_ in ids], axis=0) if ids else 0 for ids in ATTRIBUTES
    ]
    return {
        **p,
        f"_proj_{ITEMS}": np.array([own + mean for own, mean in zip(p[f"_proj_{ITEMS}"], means)]),
    }


def plain_losses(kind, users, targets, negatives, w, b, freq):
    """Losses, instance by instance, from the formulas."""
    q = np.array(freq, np.float64)
    q[0] = 0
    q /= q.sum()
    losses = []
    for n, (u, target) in enumerate(zip(users, targets)):
        noise = negatives[n] if np.ndim(negatives) == 2 else negatives
        k = len(noise)
        if kind == "nce":

            def is_data(v, u=u, k=k):
                return np.exp(w[v] @ u + b[v]) / (np.exp(w[v] @ u + b[v]) + k * q[v])

            losses.append(-np.log(is_data(target)) - sum(np.log(1 - is_data(v)) for v in noise))
        else:
            weight = {v: np.exp(w[v] @ u + b[v]) / q[v] for v in range(1, len(q))}
            total = weight[target] + sum(weight[v] for v in noise if v != target)
            losses.append(-np.log(weight[target] / total))
    return losses
