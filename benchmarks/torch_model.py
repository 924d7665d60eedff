"""The same network in idiomatic PyTorch: the peer of the benchmarks.

Sparse tables with SparseAdam, the fused LSTM, EmbeddingBag for averages of tags. Batches are
converted from those of `candgen.data.batches.make_batch`.
"""

from __future__ import annotations

from candgen.data.dictionary import CATEGORIES, ITEMS, PROFILE_FEATURES, TAGS

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, embedding, embedding_bag, softplus

DECAY = 0.7  # of DirectModel


class Network(nn.Module):
    """The network, with the parameters of a model file; batches are {name: tensor}.

    Parameters
    ----------
    parameters : {name: float32 array}
    item_freq : [videos]
    """

    def __init__(self, parameters, item_freq):
        super().__init__()
        self.tables = {}
        self.dense = nn.ParameterDict()
        for name, value in parameters.items():
            value = torch.from_numpy(np.array(value.T if name == "nce_b" else value))
            if name.startswith(("_proj_", "nce_")):
                self.tables[name] = nn.Parameter(value)
            elif not name.startswith("lstm_"):
                self.dense[name] = nn.Parameter(value)
        input_dim = parameters["lstm_weight_ih"].shape[1]
        lstm_dim = parameters["lstm_weight_hh"].shape[1]
        self.lstm = nn.LSTM(input_dim, lstm_dim, batch_first=True)  # gates i, f, g, o, as in paddle
        with torch.no_grad():
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(self.lstm, name + "_l0").copy_(torch.from_numpy(parameters["lstm_" + name]))
        freq = np.array(item_freq, np.float64)
        freq[0] = 0
        self.noise = torch.from_numpy(freq / freq.sum())
        self.log_noise = torch.from_numpy(
            np.log(np.maximum(self.noise.numpy(), 1e-300)).astype(np.float32)
        )

    def optimizers(self, rate):
        """One optimizer for the tables, one for the other layers."""
        return [
            torch.optim.SparseAdam(list(self.tables.values()), lr=rate),
            torch.optim.Adam([*self.dense.values(), *self.lstm.parameters()], lr=rate),
        ]

    def look_up(self, name, ids):
        """Embeddings of a feature."""
        return embedding(ids, self.tables["_proj_" + name], sparse=True)

    def relu_layers(self, inputs):
        """User vectors of the concatenated inputs."""
        for layer in ("relu1", "relu2"):
            weight, bias = self.dense[layer + "_w"], self.dense[layer + "_b"]
            inputs = torch.relu(torch.addmm(bias, inputs, weight))
        return inputs

    profile_features = PROFILE_FEATURES

    def profile(self, batch):
        """Concatenated embeddings of the profile."""
        return torch.cat([self.look_up(name, batch[name]) for name in self.profile_features], 1)

    def window_users(self, batch):
        """User vectors of the windows [N, T] of `window_batch`."""
        states, _ = self.lstm(self.look_up(ITEMS, batch[ITEMS]))
        is_click = (torch.arange(states.shape[1]) < batch["clicks"])[:, :, None]  # no padding
        pooled = states.masked_fill(~is_click, -2).amax(1)  # states are above -1
        categories = (self.look_up(CATEGORIES, batch[CATEGORIES]) * is_click).sum(1)
        tags = embedding_bag(
            batch[TAGS], self.tables["_proj_" + TAGS], batch["offsets"], mode="mean", sparse=True
        )
        inputs = [pooled, categories / batch["clicks"], tags, self.profile(batch)]
        return self.relu_layers(torch.cat(inputs, 1))

    def sequence_users(self, batch):
        """User vectors of all targets of the segments [S, T] of `sequence_batch`.

        Running maximum and sums over time, then the position of each target.
        """
        states, _ = self.lstm(self.look_up(ITEMS, batch[ITEMS]))
        rows, columns = batch["segment"], batch["clicks"][:, 0] - 1
        pooled = states.cummax(1).values[rows, columns]
        categories = self.look_up(CATEGORIES, batch[CATEGORIES]).cumsum(1)[rows, columns]
        tags = embedding_bag(
            batch[TAGS], self.tables["_proj_" + TAGS], batch["offsets"], mode="sum", sparse=True
        )
        tags = tags.view(*batch[ITEMS].shape, -1).cumsum(1)[rows, columns]
        inputs = [
            pooled,
            categories / batch["clicks"],
            tags / batch["tag_counts"],
            self.profile(batch)[rows],
        ]
        return self.relu_layers(torch.cat(inputs, 1))

    def cost(self, batch, negatives):
        """Mean NCE loss, with negatives [N, K] or shared ones [K]."""
        user = self.sequence_users(batch) if "segment" in batch else self.window_users(batch)
        target = batch["target"]
        log_count = np.log(negatives.shape[-1])

        def offset(ids):  # log-odds where the user vector is 0
            biases = embedding(ids, self.tables["nce_b"], sparse=True)[..., 0]
            return biases - self.log_noise[ids] - log_count

        target_w = embedding(target, self.tables["nce_w"], sparse=True)
        target_odds = (user * target_w).sum(1) + offset(target)
        noise_w = embedding(negatives, self.tables["nce_w"], sparse=True)
        if negatives.ndim == 1:
            noise_scores = user @ noise_w.T
        else:
            noise_scores = (noise_w @ user[:, :, None])[:, :, 0]
        noise_odds = noise_scores + offset(negatives)
        return (softplus(-target_odds) + softplus(noise_odds).sum(1)).mean()


def window_batch(batch, window_size):
    """A batch of `make_batch` as separate windows [N, T], one for each target: {name: tensor}.

    ``clicks`` [N, 1] are their lengths. The tags of all windows follow one another in ``TAGS``;
    those of each window begin at ``offsets`` [N].
    """
    segment = batch["segment"][:, None]
    time = np.minimum(np.arange(window_size), len(batch[ITEMS]) - 1)
    is_click = np.arange(window_size) < batch["clicks"]  # no padding
    tags, _ = tags_of(batch, batch["video"][time, segment][is_click])
    counts = batch["tag_counts"][:, 0]
    return tensors(
        clicks=batch["clicks"],
        tags=tags,
        offsets=np.cumsum(counts) - counts,
        target=batch.get("target"),
        **{name: batch[name][time, segment] * is_click for name in (ITEMS, CATEGORIES)},
        **{name: batch[name][segment[:, 0]] for name in PROFILE_FEATURES},
    )


def sequence_batch(batch):
    """A batch of `make_batch` with the batch as the first axis, and the tags of each position."""
    tags, offsets = tags_of(batch, batch["video"].T.ravel())
    return tensors(
        tags=tags,
        offsets=offsets,
        **{name: batch[name].T for name in (ITEMS, CATEGORIES)},
        **{
            name: batch[name]
            for name in ("clicks", "tag_counts", "segment", "target", *PROFILE_FEATURES)
        },
    )


def tags_of(batch, videos):
    """Tags of some of the distinct videos of a batch, one after the other.

    Returns
    -------
    tags : int64 [K]
    offsets : int64 [videos], where the tags of each begin.
    """
    starts = np.searchsorted(batch["tag_video"], np.arange(batch["tag_video"][-1] + 2))
    counts = np.diff(starts)[videos]
    offsets = np.cumsum(counts) - counts
    indices = np.repeat(starts[videos] - offsets, counts) + np.arange(counts.sum())
    return batch[TAGS][indices], offsets


def tensors(tags, **arrays):
    """Tensors of arrays by name, without those that are None."""
    arrays[TAGS] = tags
    return {
        name: torch.from_numpy(np.ascontiguousarray(value))
        for name, value in arrays.items()
        if value is not None
    }


class BestNetwork(Network):
    """The network of the preset `best`: direct path, attributes of videos, sampled softmax.

    User ids are not trained, and are left out. Vectors have parts with losses of their own.

    Parameters
    ----------
    parameters : {name: float32 array}, of `EmbeddingNetwork.arrays`, not folded.
    item_freq : [videos]
    attributes : (ids, offsets) of `candgen.data.items.ItemAttributes`.
    dropout : share of the inputs of the ReLU layers and of the direct path that is set to 0.
    is_sparse : whether gradients of tables are sparse.
    """

    profile_features = [name for name in PROFILE_FEATURES if name != "user_id"]

    def __init__(self, parameters, item_freq, attributes, dropout=0.0, is_sparse=False):
        # nce_w is the table of the clicked videos
        separate = ("nce_w", "content", "_proj_user_id")
        super().__init__({n: v for n, v in parameters.items() if n not in separate}, item_freq)
        self.tables["content"] = nn.Parameter(torch.from_numpy(parameters["content"].copy()))
        self.dropout, self.is_sparse = dropout, is_sparse
        ids, offsets = attributes
        counts = np.diff(offsets)
        padded = np.full((len(counts), max(counts.max(), 1)), -1)
        padded[np.arange(padded.shape[1]) < counts[:, None]] = ids
        self.attribute_ids = torch.from_numpy(padded)

    def optimizers(self, rate):
        """Tables at three times the rate."""
        tables, dense = list(self.tables.values()), [*self.dense.values(), *self.lstm.parameters()]
        if self.is_sparse:
            of_tables = torch.optim.SparseAdam(tables, lr=3 * rate)
        else:
            of_tables = torch.optim.Adam(tables, lr=3 * rate, fused=True)
        return [of_tables, torch.optim.Adam(dense, lr=rate, fused=True)]

    def look_up(self, name, ids):
        """Embeddings of a feature."""
        return embedding(ids, self.tables["_proj_" + name], sparse=self.is_sparse)

    def video_vectors(self, videos):
        """Rows of videos plus the mean of their attributes' rows."""
        ids = self.attribute_ids[videos]
        is_attribute = (ids >= 0).unsqueeze(2)
        rows = embedding(ids.clamp(min=0), self.tables["content"], sparse=self.is_sparse)
        means = (rows * is_attribute).sum(1) / is_attribute.sum(1).clamp(min=1)
        return self.look_up(ITEMS, videos) + means

    def drop(self, values):
        """Dropout."""
        return nn.functional.dropout(values, self.dropout, self.dropout > 0)

    def users(self, batch, clicks):
        """User vectors [N, u] of all targets, not divided by the parts; clicks [S, T, u]."""
        states, _ = self.lstm(clicks)
        rows, columns = batch["segment"], batch["clicks"][:, 0] - 1
        pooled = states.cummax(1).values[rows, columns]
        categories = self.look_up(CATEGORIES, batch[CATEGORIES]).cumsum(1)[rows, columns]
        tags = embedding_bag(
            batch[TAGS],
            self.tables["_proj_" + TAGS],
            batch["offsets"],
            mode="sum",
            sparse=self.is_sparse,
        )
        tags = tags.view(*batch[ITEMS].shape, -1).cumsum(1)[rows, columns]
        window = [pooled, categories / batch["clicks"], tags / batch["tag_counts"]]
        window = self.drop(torch.cat(window, 1))
        inputs = torch.cat([window, self.drop(self.profile(batch))[rows]], 1)
        hidden = torch.relu(torch.addmm(self.dense["relu1_b"], inputs, self.dense["relu1_w"]))
        hidden = torch.addmm(self.dense["relu2_b"], self.drop(hidden), self.dense["relu2_w"])
        age = torch.arange(clicks.shape[1])[:, None] - torch.arange(clicks.shape[1])
        weights = torch.tril(DECAY ** age.clamp(min=0).float())
        means = (weights / weights.sum(1, keepdim=True)) @ clicks  # [S, T, u]
        last, mean = clicks[rows, columns], means[rows, columns]
        return (
            torch.relu(hidden)
            + product_of_parts(self.drop(last), self.dense["direct_last_w"])
            + product_of_parts(self.drop(mean), self.dense["direct_mean_w"])
        )

    def cost(self, batch, negatives):
        """Mean of the softmax loss over the target and shared negatives [K]."""
        target = batch["target"]
        looked_up = torch.cat([batch[ITEMS].flatten(), target, negatives])
        videos, index = torch.unique(looked_up, return_inverse=True)
        sizes = batch[ITEMS].numel(), len(target), len(negatives)
        clicks, targets, noise = index.split(sizes)
        vectors = self.video_vectors(videos)
        users = self.users(batch, embedding(clicks, vectors).view(*batch[ITEMS].shape, -1))

        def offset(ids):
            biases = embedding(ids, self.tables["nce_b"], sparse=self.is_sparse)[:, 0]
            return biases - self.log_noise[ids]

        hits = negatives == target[:, None]
        is_first = torch.zeros(len(target), dtype=torch.int64)
        parts = len(self.dense["direct_last_w"])
        costs = []
        for user, vector in zip(users.chunk(parts, 1), vectors.chunk(parts, 1)):
            target_odds = (user * embedding(targets, vector)).sum(1) + offset(target)
            noise_odds = torch.addmm(offset(negatives), user, embedding(noise, vector).T)
            noise_odds = noise_odds.masked_fill(hits, -1e9)
            odds = torch.cat([target_odds[:, None], noise_odds], 1)
            costs.append(cross_entropy(odds, is_first))
        return sum(costs) / parts


def product_of_parts(values, weights):
    """Product of each part with its own matrix: [N, P * a], [P, a, b] -> [N, P * b]."""
    parts = values.view(len(values), len(weights), -1).transpose(0, 1)
    return (parts @ weights).transpose(0, 1).flatten(1)
