"""The same network in PyTorch, as somebody who knows PyTorch well would write it: the peer of the benchmarks.

Sparse tables with SparseAdam, the fused LSTM, EmbeddingBag for averages of tags, all threads. `instances` is a list
of arrays that are ready before the clock starts.
"""
import numpy as np
import torch
from torch import nn
from torch.nn.functional import embedding, embedding_bag, softplus

PROFILE = ("user_id", "province", "city", "phone")


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
        self.log_noise = torch.from_numpy(np.log(np.maximum(self.noise.numpy(), 1e-300)).astype(np.float32))

    def optimizers(self, rate):
        return [torch.optim.SparseAdam(list(self.tables.values()), lr=rate),
                torch.optim.Adam([*self.dense.values(), *self.lstm.parameters()], lr=rate)]

    def look_up(self, name, ids):
        return embedding(ids, self.tables["_proj_" + name], sparse=True)

    def relu_layers(self, joined):
        for layer in ("relu1", "relu2"):
            joined = torch.relu(torch.addmm(self.dense[layer + "_b"], joined, self.dense[layer + "_w"]))
        return joined

    def profile(self, ids):
        return torch.cat([self.look_up(name, ids[:, column]) for column, name in enumerate(PROFILE)], 1)

    def window_users(self, batch):
        """User vectors of windows [N, T]: `length` [N], tags flat with the offset of each window."""
        states, _ = self.lstm(self.look_up("history_clicked_items", batch["items"]))
        real = torch.arange(states.shape[1]) < batch["length"][:, None]
        top = states.masked_fill(~real[:, :, None], -2).amax(1)
        categories = self.look_up("history_clicked_categories", batch["categories"]) * real[:, :, None]
        tags = embedding_bag(batch["tags"], self.tables["_proj_history_clicked_tags"], batch["tag_offsets"],
                             mode="mean", sparse=True)
        return self.relu_layers(torch.cat([top, categories.sum(1) / batch["length"][:, None], tags,
                                           self.profile(batch["profile"])], 1))

    def sequence_users(self, batch):
        """User vectors of all targets of stretches [S, T]: running max and sums, then the rows of the targets."""
        states, _ = self.lstm(self.look_up("history_clicked_items", batch["items"]))
        rows, columns = batch["stretch"], batch["position"]
        top = states.cummax(1).values[rows, columns]
        categories = self.look_up("history_clicked_categories", batch["categories"]).cumsum(1)[rows, columns]
        tags = embedding_bag(batch["tags"], self.tables["_proj_history_clicked_tags"], batch["tag_offsets"],
                             mode="sum", sparse=True).view(*batch["items"].shape, -1).cumsum(1)[rows, columns]
        counts = batch["tag_counts"][rows, columns][:, None]
        return self.relu_layers(torch.cat([top, categories / (columns[:, None] + 1), tags / counts,
                                           self.profile(batch["profile"])[rows]], 1))

    def cost(self, batch, negatives):
        """Mean NCE cost, with negatives [N, k] or shared ones [k]."""
        user = self.sequence_users(batch) if "stretch" in batch else self.window_users(batch)
        targets, k = batch["target_item"], negatives.shape[-1]

        def offset(ids):
            return embedding(ids, self.tables["nce_b"], sparse=True)[..., 0] - self.log_noise[ids] - np.log(k)
        real = (user * embedding(targets, self.tables["nce_w"], sparse=True)).sum(1) + offset(targets)
        weights = embedding(negatives, self.tables["nce_w"], sparse=True)
        noise = user @ weights.T if negatives.ndim == 1 else (weights @ user[:, :, None])[:, :, 0]
        return (softplus(-real) + softplus(noise + offset(negatives)).sum(1)).mean()


def window_batch(batch, window_size):
    """A reader.Batch as separate windows, each computed on its own: {name: tensor}."""
    rows, last = batch.stretch, batch.position
    seen = np.arange(window_size) <= last[:, None]  # [N, T]
    pick = (np.minimum(np.arange(window_size), len(batch.items) - 1), rows[:, None])
    starts = np.searchsorted(batch.tag_video, np.arange(batch.video.max() + 2))
    videos = batch.video[pick][seen]
    counts = np.diff(starts)[videos]
    flat = np.repeat(starts[videos], counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    per_window = batch.tag_counts[last, rows]
    return tensors(profile=batch.profile[rows], items=batch.items[pick] * seen,
                   categories=batch.categories[pick] * seen, length=last + 1, tags=batch.tags[flat],
                   tag_offsets=np.cumsum(per_window) - per_window, target_item=batch.target_item)


def sequence_batch(batch):
    """A reader.Batch as it is, tags flat for every position of every stretch."""
    starts = np.searchsorted(batch.tag_video, np.arange(batch.video.max() + 2))
    videos = batch.video.T.ravel()
    counts = np.diff(starts)[videos]
    flat = np.repeat(starts[videos], counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return tensors(profile=batch.profile, items=batch.items.T, categories=batch.categories.T, tags=batch.tags[flat],
                   tag_offsets=np.cumsum(counts) - counts, tag_counts=batch.tag_counts.T, stretch=batch.stretch,
                   position=batch.position, target_item=batch.target_item)


def tensors(**arrays):
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
