"""The networks, their losses and the noise sampler.

    items      -> embedding 64 -> LSTM 64 -> max over time  ─┐
    categories -> embedding  8 -> average                    ├─ concatenated
    tags       -> embedding 64 -> average                    │   -> ReLU 256 -> ReLU 31 = u
    user_id 64, province 8, city 16, phone 16 (embeddings)  ─┘
    score of video v = nce_w[v] . u + nce_b[v]
    P(v | u) = softmax of the scores over all videos but <unk>

Change a class, or write a subclass at the end and name it in ``train.py --network``:
docs/network.md has examples. Tables, parameter names, saving and loading are inherited from
`candgen.model.network.EmbeddingNetwork`.

Shapes in comments: T positions, S segments (runs of positions of one history), N targets,
U distinct videos of a batch, K negatives. Widths in comments are those of the preset `classic`.
"""

from __future__ import annotations

import dataclasses
from typing import Callable

from candgen.console import InputError
from candgen.data.dictionary import CATEGORIES, ITEMS, PROFILE_FEATURES, TAGS, log_frequencies
from candgen.model.layers import (
    at_targets,
    decayed_mean_at_targets,
    max_at_targets,
    mean_at_targets,
    product_of_parts,
)
from candgen.model.model_file import Model, restore_network
from candgen.model.network import EmbeddingNetwork

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

LEFT_OUT = -1e9  # log-odds of what takes no part in a softmax


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What defines a network besides its parameters; stored as model.json.

    Attributes
    ----------
    dictionary_sizes : {feature: number of ids}
    embedding_dims : {feature: width of its table}
    dictionary_fingerprint : SHA-256 of the feature dictionary.
    window_size : positions that a target looks back on at most.
    dnn_layer_dims : widths of the two ReLU layers; the second is that of the user vector.
    lstm_dim : width of the LSTM.
    tie_embeddings : whether nce_w is the table of the clicked videos.
    network : name of the class in this file.
    content : whether a video's vector is, in training, its own row plus the mean of its
        attributes'.
    """

    dictionary_sizes: dict[str, int]
    embedding_dims: dict[str, int]
    dictionary_fingerprint: str = ""
    window_size: int = 20
    dnn_layer_dims: tuple[int, int] = (256, 31)
    lstm_dim: int = 64
    tie_embeddings: bool = False
    network: str = "DNNmodel"
    content: bool = False


class DNNmodel(EmbeddingNetwork):
    """The network of the figure: windows of clicks -> user vectors -> losses of their targets.

    Parameters
    ----------
    config : ModelConfig
    is_infer : bool
        True leaves out the output layer.
    dropout : float
        Share of the inputs of the ReLU layers that are set to 0 in training.

    Attributes
    ----------
    embedding_dims : {feature: width of its table}, of the class.
    has_direct_path : of the class, whether the clicks reach the user vector without passing the
        ReLU layers, as the settings of ``--preset=best`` expect.
    remembers_users : of the class, see `EmbeddingNetwork`.
    """

    has_direct_path = False
    embedding_dims = {
        "user_id": 64,
        "province": 8,
        "city": 16,
        "phone": 16,
        ITEMS: 64,
        CATEGORIES: 8,
        TAGS: 64,
    }

    def __init__(self, config: ModelConfig, is_infer: bool = False, dropout: float = 0.0):
        super().__init__(config, dropout)
        dims = config.embedding_dims
        hidden_dim, user_dim = config.dnn_layer_dims
        pooled = [CATEGORIES, TAGS, *self.profile_features()]
        concat_dim = config.lstm_dim + sum(dims[feature] for feature in pooled)
        self.add_feature_tables()
        self.lstm = nn.LSTM(dims[ITEMS], config.lstm_dim, time_major=True)
        self.relu1_w = self.create_parameter([concat_dim, hidden_dim])
        self.relu1_b = self.create_parameter([hidden_dim])
        self.relu2_w = self.create_parameter([hidden_dim, user_dim])
        self.relu2_b = self.create_parameter([user_dim])
        if not is_infer:
            self.add_output_tables()

    def forward(self, rows: dict, batch: dict, rng: np.random.Generator | None = None) -> Tensor:
        """User vectors of a batch.

        Parameters
        ----------
        rows : {table: float32 [distinct, width]}, from `look_up`.
        batch : {name: tensor}, from `make_batch`, with ids as indices into `rows`.
        rng : generator of the dropout; None for no dropout.

        Returns
        -------
        float32 [N, user_dim]
        """
        embeddings = self.embedding_layer(rows, batch)
        return self.or_remembered(self.hidden_layer(embeddings, batch, rng), embeddings, batch)

    def profile_features(self) -> list[str]:
        """Features of the profile that are inputs of the first ReLU layer; no remembered id."""
        return [
            name
            for name in PROFILE_FEATURES
            if name in self.config.embedding_dims
            and not (name == "user_id" and self.remembers_users)
        ]

    def embedding_layer(self, rows: dict, batch: dict) -> dict[str, Tensor]:
        """Embeddings of the features of `rows`: [S, width] of profiles, [T, S, width] of clicks."""
        embeddings = {
            feature: F.embedding(batch[feature], rows[f"_proj_{feature}"])
            for feature in self.config.embedding_dims
            if feature != TAGS and f"_proj_{feature}" in rows
        }
        tags = F.embedding(batch[TAGS], rows[f"_proj_{TAGS}"])  # [all tags of the U videos, 64]
        num_videos = int(batch["tag_video"][-1]) + 1
        tag_sums = paddle.scatter_nd_add(  # [U, 64]
            paddle.zeros([num_videos, tags.shape[1]]), batch["tag_video"].unsqueeze(1), tags
        )
        embeddings[TAGS] = F.embedding(batch["video"], tag_sums)  # [T, S, 64]
        return embeddings

    def hidden_layer(
        self, embeddings: dict, batch: dict, rng: np.random.Generator | None = None
    ) -> Tensor:
        """User vectors [N, user_dim]: what precedes each target, pooled, through two ReLU layers.

        A position may depend on earlier ones only, since several targets share a segment.
        """
        states, _ = self.lstm(embeddings[ITEMS])  # [T, S, 64]
        window = [
            max_at_targets(states, batch),
            mean_at_targets(embeddings[CATEGORIES], batch["clicks"], batch),
            mean_at_targets(embeddings[TAGS], batch["tag_counts"], batch),
        ]
        window = self.drop(paddle.concat(window, 1), rng)  # [N, 136]
        # ReLU 256 of [window, profile]; the product of the profile is the same for all targets of
        # a segment, so it is computed once.
        window_width = window.shape[1]
        hidden = F.linear(window, self.relu1_w[:window_width], self.relu1_b)  # [N, 256]
        profile = [embeddings[name] for name in self.profile_features()]
        if len(profile) > 0:
            profile = self.drop(paddle.concat(profile, 1), rng)  # [S, 104]
            of_profile = paddle.matmul(profile, self.relu1_w[window_width:])
            hidden += paddle.gather(of_profile, batch["segment"])
        hidden = self.drop(F.relu(hidden), rng)
        return F.relu(F.linear(hidden, self.relu2_w, self.relu2_b))  # [N, 31]

    def output_layer(self, users: Tensor, rows: dict, batch: dict, loss: Callable) -> Tensor:
        """Losses [N] of user vectors [N, user_dim] by a function of `LOSSES`."""
        target_odds, noise_odds = log_odds(
            users,
            batch["target"],
            batch["negatives"],
            rows[self.output_table()],
            rows["nce_b"],
            batch["log_noise"],
        )
        return loss(target_odds, noise_odds, batch["hits"])


class DirectModel(DNNmodel):
    """DNNmodel with a direct path from the clicks: u = ReLU layer + last A + mean B.

    ``last`` is the vector of the last click, ``mean`` that of all clicks of the window, each
    weighing `decay` times the one after it. The user vector may then be negative, and it starts
    near the videos of the last clicks.

    The vectors of users and videos consist of two parts. Each part has its own A, B and loss, as if
    it were all, and the videos are ranked by the mean of the scores: the parts err differently, and
    their mean errs less.

    The user id is no input of the ReLU layer. Its row is the user's vector at the end of the
    training log, and is served where a user comes without a click (infer_user.py).

    Raises
    ------
    InputError
        If the width of a vector is not a multiple of `parts`.
    """

    has_direct_path = True
    remembers_users = True
    decay = 0.7  # weight of a click relative to the one after it
    parts = 2

    def __init__(self, config: ModelConfig, is_infer: bool = False, dropout: float = 0.0):
        super().__init__(config, is_infer, dropout)
        widths = [config.embedding_dims[ITEMS], config.dnn_layer_dims[1]]
        for width, where in zip(widths, (f"embedding_dims[{ITEMS!r}]", "--dnn_layer_dims")):
            if width % self.parts:
                raise InputError(
                    where,
                    f"{config.network} divides vectors into {self.parts} parts, and {width} is no "
                    "multiple",
                    hint=f"give another width, such as {64 * self.parts}",
                )
        shape = [self.parts, *(width // self.parts for width in widths)]
        self.direct_last_w = self.create_parameter(shape)
        self.direct_mean_w = self.create_parameter(shape)

    def hidden_layer(
        self, embeddings: dict, batch: dict, rng: np.random.Generator | None = None
    ) -> Tensor:
        """User vectors [N, user_dim], divided by the number of parts: w . u is the mean score."""
        users = super().hidden_layer(embeddings, batch, rng)
        clicks = embeddings[ITEMS]  # [T, S, 128]
        # Served with matrices of one size: the rounding of a sum depends on its length, and a
        # user's vector must not depend on the longest window in its block.
        positions = clicks.shape[0] if self.training else self.config.window_size
        mean = decayed_mean_at_targets(clicks, self.decay, positions, batch)  # [N, 128]
        last = self.drop(at_targets(clicks, batch), rng)  # [N, 128]
        users += product_of_parts(last, self.direct_last_w)
        users += product_of_parts(self.drop(mean, rng), self.direct_mean_w)
        return users / self.parts

    def output_layer(self, users: Tensor, rows: dict, batch: dict, loss: Callable) -> Tensor:
        """Losses [N], the mean of those of the parts."""
        table = self.output_table()
        users = paddle.split(users * self.parts, self.parts, 1)
        videos = paddle.split(rows[table], self.parts, 1)
        losses = [
            super(DirectModel, self).output_layer(user, {**rows, table: video}, batch, loss)
            for user, video in zip(users, videos)
        ]
        return paddle.add_n(losses) / self.parts


def network_classes() -> dict[str, type[DNNmodel]]:
    """DNNmodel and the subclasses of it, by name."""
    classes = {}
    unvisited = [DNNmodel]
    while unvisited:
        network = unvisited.pop()
        classes[network.__name__] = network
        unvisited += network.__subclasses__()
    return classes


def network_class(name: str) -> type[DNNmodel]:
    """The network called `name`.

    Raises
    ------
    ValueError
        If there is none.
    """
    return _named(network_classes(), "network", name)


def load_network(model: Model) -> DNNmodel:
    """The network of a model, ready to infer.

    Raises
    ------
    InputError
        If its parameters do not fit its metadata.
    """
    return restore_network(model, ModelConfig, network_class)


# ---------------------------------------------------------------- losses
def log_odds(
    user: Tensor, target: Tensor, negatives: Tensor, nce_w: Tensor, nce_b: Tensor, log_noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-odds of "data, not noise" of the target and of each noise sample.

    With scores s(v) = nce_w[v] . u + nce_b[v] and noise distribution q: s(v) - log(K q(v)).

    Parameters
    ----------
    user : float32 [N, user_dim]
    target : int64 [N]
    negatives : int64 [N, K], drawn from q for each target, or int64 [K], shared by all of them,
        which costs one matrix product.
    nce_w : float32 [videos, user_dim]
    nce_b : float32 [videos, 1]
    log_noise : float32 [videos, 1], log q.

    Returns
    -------
    target_odds : float32 [N, 1]
    noise_odds : float32 [N, K]
    """
    num_negatives = negatives.shape[-1]
    offset = nce_b - (log_noise + float(np.log(num_negatives)))  # [videos, 1]: odds where u = 0
    videos = paddle.concat([nce_w, offset], 1)  # [videos, user_dim + 1], for users [u, 1]
    user = paddle.concat([user, paddle.ones([user.shape[0], 1], user.dtype)], 1)
    target_odds = (F.embedding(target, videos) * user).sum(1, keepdim=True)
    noise = F.embedding(negatives, videos)  # [N, K, user_dim + 1] or [K, user_dim + 1]
    if negatives.ndim == 1:
        return target_odds, paddle.matmul(user, noise, transpose_y=True)
    return target_odds, (noise * user.unsqueeze(1)).sum(2)


def nce_loss(target_odds: Tensor, noise_odds: Tensor, hits: Tensor) -> Tensor:
    """Noise-contrastive estimation with K noise samples for each target.

    Each target is K + 1 binary questions, "data or noise?", decided by the log-odds
    x(v) = s(v) - log(K q(v)):

        loss = -log sigmoid(x(target)) - sum over noise n of log sigmoid(-x(n))

    At the optimum s(v) = log P(v | u): the scores are normalized, so that their softmax can be
    served. Gutmann & Hyvarinen 2010, eq. 8; Mnih & Teh 2012, eq. 8.

    Parameters
    ----------
    target_odds, noise_odds : float32 [N, 1] and [N, K], from `log_odds`.
    hits : bool [N, K], where the noise is the target; NCE lets noise be any video.

    Returns
    -------
    float32 [N]
    """
    return F.softplus(-target_odds).squeeze(1) + F.softplus(noise_odds).sum(1)


def ranking_nce_loss(target_odds: Tensor, noise_odds: Tensor, hits: Tensor) -> Tensor:
    """Ranking NCE: softmax over target and noise, corrected for the sampling.

        loss = -log( exp x(target) / (exp x(target) + sum over noise n != target of exp x(n)) )

    With x(v) = s(v) - log q(v), up to a constant; noise that hits the target is left out.
    Consistent for the softmax of the scores (Jean et al. 2015, eq. 8; Ma & Collins 2018, eq. 6),
    and the importance weighting that Covington et al. 2016 describe.

    Parameters
    ----------
    target_odds, noise_odds : float32 [N, 1] and [N, K], from `log_odds`.
    hits : bool [N, K], where the noise is the target.

    Returns
    -------
    float32 [N]
    """
    noise_odds = paddle.where(hits, paddle.full([1], LEFT_OUT, noise_odds.dtype), noise_odds)
    odds = paddle.concat([target_odds, noise_odds], 1)  # [N, 1 + K]
    is_first = paddle.zeros([odds.shape[0], 1], "int64")  # the class of each row: the target
    return F.cross_entropy(odds, is_first, reduction="none").squeeze(1)


LOSSES = {"nce": nce_loss, "ranking_nce": ranking_nce_loss}  # the choices of --loss


def loss_function(name: str) -> Callable:
    """The loss called `name`.

    Raises
    ------
    ValueError
        If there is none.
    """
    return _named(LOSSES, "loss", name)


def _named(choices: dict, kind: str, name: str):
    if name not in choices:
        known = ", ".join(sorted(choices))
        raise ValueError(f"no {kind} is called {name!r:.60}: network_conf.py has {known}")
    return choices[name]


class NoiseSampler:
    """Draws videos from item_freq, without `<unk>`.

    Parameters
    ----------
    item_freq : list of float [videos]

    Attributes
    ----------
    log_probability : float32 [videos], log of the probability of each draw.
    """

    def __init__(self, item_freq: list[float] | np.ndarray):
        freq = np.array(item_freq, np.float64)
        freq[0] = 0  # <unk> is not a video
        self._cumulative = np.cumsum(freq)
        self._cumulative /= self._cumulative[-1]  # ends at exactly 1, above any random number
        log_freq = log_frequencies(freq) - np.log(freq.sum())
        self.log_probability = log_freq.astype(np.float32)

    def draw(self, shape: int | tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Independent draws, int64 of `shape`."""
        return np.searchsorted(self._cumulative, rng.random(shape), side="right")
