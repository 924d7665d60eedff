"""The same network in PyTorch, as somebody who knows PyTorch well would write it: the peer of the benchmarks.

Sparse tables with SparseAdam, the fused LSTM, EmbeddingBag for averages of tags. Batches are made of those of
`reader.make_batch`.
"""

from candgen.data.dictionary import CATEGORIES, ITEMS, PROFILE_FEATURES, TAGS

import numpy as np
import torch
from torch import nn
from torch.nn.functional import embedding, embedding_bag, softplus


class Network(nn.Module):
    """Parameters under their names in a model archive; batches are {name: tensor}."""

    def __init__(self, parameters, item_freq):
        super().__init__()
        self.tables, self.dense = {}, nn.ParameterDict()
        for name, value in parameters.items():
            value = torch.from_numpy(np.array(value.T if name == "nce_b" else value))
            if name.startswith(("_proj_", "nce_")):
                self.tables[name] = nn.Parameter(value)
            elif not name.startswith("lstm_"):
                self.dense[name] = nn.Parameter(value)
        width, state = parameters["lstm_weight_ih"].shape[1], parameters["lstm_weight_hh"].shape[1]
        self.lstm = nn.LSTM(width, state, batch_first=True)  # gates i, f, g, o, as paddle has them
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
        return [
            torch.optim.SparseAdam(list(self.tables.values()), lr=rate),
            torch.optim.Adam([*self.dense.values(), *self.lstm.parameters()], lr=rate),
        ]

    def look_up(self, name, ids):
        return embedding(ids, self.tables["_proj_" + name], sparse=True)

    def relu_layers(self, joined):
        for layer in ("relu1", "relu2"):
            joined = torch.relu(
                torch.addmm(self.dense[layer + "_b"], joined, self.dense[layer + "_w"])
            )
        return joined

    def profile(self, batch):
        return torch.cat([self.look_up(name, batch[name]) for name in PROFILE_FEATURES], 1)

    def window_users(self, batch):
        """User vectors of the windows [N, T] of `window_batch`."""
        states, _ = self.lstm(self.look_up(ITEMS, batch[ITEMS]))
        real = (torch.arange(states.shape[1]) < batch["clicks"])[:, :, None]
        top = states.masked_fill(~real, -2).amax(1)
        categories = (self.look_up(CATEGORIES, batch[CATEGORIES]) * real).sum(1)
        tags = embedding_bag(
            batch[TAGS], self.tables["_proj_" + TAGS], batch["offsets"], mode="mean", sparse=True
        )
        return self.relu_layers(
            torch.cat([top, categories / batch["clicks"], tags, self.profile(batch)], 1)
        )

    def sequence_users(self, batch):
        """User vectors of all targets of the stretches [S, T] of `sequence_batch`: running max and sums, then rows."""
        states, _ = self.lstm(self.look_up(ITEMS, batch[ITEMS]))
        rows, columns = batch["segment"], batch["clicks"][:, 0] - 1
        top = states.cummax(1).values[rows, columns]
        categories = self.look_up(CATEGORIES, batch[CATEGORIES]).cumsum(1)[rows, columns]
        tags = embedding_bag(
            batch[TAGS], self.tables["_proj_" + TAGS], batch["offsets"], mode="sum", sparse=True
        )
        tags = tags.view(*batch[ITEMS].shape, -1).cumsum(1)[rows, columns]
        return self.relu_layers(
            torch.cat(
                [
                    top,
                    categories / batch["clicks"],
                    tags / batch["tag_counts"],
                    self.profile(batch)[rows],
                ],
                1,
            )
        )

    def cost(self, batch, negatives):
        """Mean NCE cost, with negatives [N, k] or shared ones [k]."""
        user = self.sequence_users(batch) if "segment" in batch else self.window_users(batch)
        target, k = batch["target"], negatives.shape[-1]

        def offset(ids):
            return (
                embedding(ids, self.tables["nce_b"], sparse=True)[..., 0]
                - self.log_noise[ids]
                - np.log(k)
            )

        real = (user * embedding(target, self.tables["nce_w"], sparse=True)).sum(1) + offset(target)
        weights = embedding(negatives, self.tables["nce_w"], sparse=True)
        noise = user @ weights.T if negatives.ndim == 1 else (weights @ user[:, :, None])[:, :, 0]
        return (softplus(-real) + softplus(noise + offset(negatives)).sum(1)).mean()


def window_batch(batch, window_size):
    """A batch of `reader.make_batch` as separate windows [N, T], one for each target: {name: tensor}.

    `clicks` [N, 1] are their lengths; `TAGS` are those of all windows, one after the other, from `offsets` [N] on.
    """
    rows, time = (
        batch["segment"][:, None],
        np.minimum(np.arange(window_size), len(batch[ITEMS]) - 1),
    )
    real = np.arange(window_size) < batch["clicks"]
    tags, _ = tags_of(batch, batch["video"][time, rows][real])
    counts = batch["tag_counts"][:, 0]
    return tensors(
        clicks=batch["clicks"],
        tags=tags,
        offsets=np.cumsum(counts) - counts,
        target=batch.get("target"),
        **{name: batch[name][time, rows] * real for name in (ITEMS, CATEGORIES)},
        **{name: batch[name][rows[:, 0]] for name in PROFILE_FEATURES},
    )


def sequence_batch(batch):
    """A batch of `reader.make_batch` as it is, but batch first, [S, T], and with the tags of every position."""
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
    """(tags of these of the batch's distinct videos, one after the other, the place where each begins)."""
    starts = np.searchsorted(batch["tag_video"], np.arange(batch["tag_video"][-1] + 2))
    counts = np.diff(starts)[videos]
    offsets = np.cumsum(counts) - counts
    return batch[TAGS][
        np.repeat(starts[videos] - offsets, counts) + np.arange(counts.sum())
    ], offsets


def tensors(tags, **arrays):
    return {
        name: torch.from_numpy(np.ascontiguousarray(value))
        for name, value in {TAGS: tags, **arrays}.items()
        if value is not None
    }
