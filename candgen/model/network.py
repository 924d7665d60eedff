"""The base class of the networks: tables, parameter names, replicas, folding and loading.

A subclass (network_conf.py) creates its layers and turns a batch into user vectors. What training,
saving and serving need of any network is here:

* Embedding tables are looked up once a batch, for its distinct ids (`look_up`), and not by the
  subclass: threads share the tables, and each id is updated once.
* Parameters are named by their attribute, as in the model file (`named`).
* A video's vector may be the sum of its own row and of the mean of its attributes' rows
  (``config.content``). Both are one row in a model file (`folded`).
"""

from __future__ import annotations

import copy

from candgen.data.dictionary import CATEGORIES, ITEMS, TAGS
from candgen.data.ragged import ragged_indices
from candgen.model.cold_items import place_cold_items
from candgen.model.layers import USER_TABLE, VIDEO_TABLE, embedding_table

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

FOLDED_AT_ONCE = 1 << 16  # videos


class EmbeddingNetwork(nn.Layer):
    """A network over embedding tables.

    Parameters
    ----------
    config : network_conf.ModelConfig
    dropout : float
        Share of the inputs of `drop` that are set to 0 in training.

    Attributes
    ----------
    remembers_users : bool, of the class
        Whether a row of the user ids' table is not trained, but is the vector that the user had at
        the end of the training log (`candgen.training.remembered_users`).
    attributes : candgen.data.items.ItemAttributes or None
        Tags and category of each video, which ``config.content`` needs.
    cold_items : bool array [videos] or None
        Which videos of a catalogue have no click.
    bias_offsets : float32 array [videos] or None
        Added to the biases in a model file, from `rare_item_offsets`.
    """

    remembers_users = False

    def __init__(self, config, dropout: float = 0.0):
        super().__init__()
        self.config = config
        self.dropout = dropout
        self.attributes = None
        self.cold_items = None
        self.bias_offsets = None
        self.content = None  # table of attributes, in training with config.content

    def add_feature_tables(self) -> None:
        """Create the table ``_proj_<feature>`` of each feature of ``config.embedding_dims``."""
        for feature, width in self.config.embedding_dims.items():
            size = self.config.dictionary_sizes[feature]
            self.add_sublayer(f"_proj_{feature}", embedding_table(size, width))

    def add_output_tables(self) -> None:
        """Create the biases ``nce_b`` and vectors ``nce_w`` of the recommended videos.

        With ``config.tie_embeddings`` the vectors are those of the clicked videos. With
        ``config.content`` there is a table of attributes, categories behind tags.
        """
        sizes = self.config.dictionary_sizes
        self.nce_b = embedding_table(sizes[ITEMS], 1)
        if not self.config.tie_embeddings:
            self.nce_w = embedding_table(sizes[ITEMS], self.config.dnn_layer_dims[1])
        if self.config.content:
            width = self.config.embedding_dims[ITEMS]
            self.content = embedding_table(sizes[TAGS] + sizes[CATEGORIES], width)

    # ------------------------------------------------------------ look-up
    def look_up(self, distinct: dict[str, np.ndarray]) -> dict[str, paddle.Tensor]:
        """Rows of the tables of some distinct ids.

        Parameters
        ----------
        distinct : {table: int64 [distinct]}

        Returns
        -------
        {table: float32 [distinct, width]}
            With ``config.content`` the rows of videos include their attributes'.
        """
        rows = {
            name: layer(paddle.to_tensor(distinct[name]))
            for name, layer in self.tables().items()
            if name in distinct
        }
        if self.content is not None:
            rows[VIDEO_TABLE] = self.add_attributes(rows[VIDEO_TABLE], distinct[VIDEO_TABLE])
        return rows

    def add_attributes(self, rows: paddle.Tensor, videos: np.ndarray) -> paddle.Tensor:
        """Add the mean of the attributes' rows to the rows of some videos.

        Parameters
        ----------
        rows : float32 [distinct, width]
        videos : int64 [distinct], their ids.
        """
        indices, row = ragged_indices(self.attributes.offsets, videos)
        share = 1 / np.bincount(row)[row]
        # The first entry adds nothing to row 0. paddle cannot look up an empty list of ids, and a
        # table without a gradient in the first step would have no moments in a checkpoint.
        ids, place = np.unique(np.append(0, self.attributes.ids[indices]), return_inverse=True)
        row = np.append(0, row)  # [K + 1]
        share = np.append(0, share).astype(np.float32)
        attributes = F.embedding(paddle.to_tensor(place), self.content(paddle.to_tensor(ids)))
        return paddle.scatter_nd_add(
            rows,
            paddle.to_tensor(row[:, None]),
            attributes * paddle.to_tensor(share[:, None]),  # [K + 1, width]
        )

    def tables(self) -> dict[str, nn.Embedding]:
        """Embedding layers by name: a batch needs few of their rows."""
        return {
            name: layer for name, layer in self.named_sublayers() if isinstance(layer, nn.Embedding)
        }

    def table_ids(self, training: bool = True) -> dict[str, list[str]]:
        """Arrays of a batch that hold ids of each table's rows, for `share_rows`.

        Returns
        -------
        {table: [name of an array of the batch]}
        """
        arrays = {f"_proj_{feature}": [feature] for feature in self.config.embedding_dims}
        if training:
            if self.remembers_users:
                arrays.pop(USER_TABLE, None)
            arrays.setdefault(self.output_table(), []).extend(["target", "negatives"])
        return arrays

    def output_table(self) -> str:
        """Name of the table of the vectors of the recommended videos."""
        return VIDEO_TABLE if self.config.tie_embeddings else "nce_w"

    def or_remembered(
        self, users: paddle.Tensor, embeddings: dict[str, paddle.Tensor], batch: dict
    ) -> paddle.Tensor:
        """User vectors, of users without a click the remembered ones, if there are any.

        Parameters
        ----------
        users : float32 [N, user_dim]
        embeddings : {feature: float32 [S, width]}, in training without the user id.
        batch : {name: tensor}, from `make_batch`.
        """
        # A window of one position may be a click.
        if not self.remembers_users or "user_id" not in embeddings or self.config.window_size == 1:
            return users
        remembered = paddle.gather(embeddings["user_id"], batch["segment"])  # [N, user_dim]
        is_empty = batch["clicks"] < 2  # [N, 1], <unk> alone
        is_remembered = (remembered != 0).any(1, keepdim=True)
        return paddle.where(is_empty & is_remembered, remembered, users)

    # ------------------------------------------------------------ training
    def drop(self, values: paddle.Tensor, rng: np.random.Generator | None) -> paddle.Tensor:
        """Dropout (Srivastava et al. 2014) by the numbers of a generator; none if it is None.

        paddle has one generator for all threads, which reach it in any order.
        """
        if rng is None or not self.dropout:
            return values
        kept = rng.random(values.shape, np.float32) >= self.dropout
        scale = np.float32(1 - self.dropout)
        return values * paddle.to_tensor(kept.astype(np.float32) / scale)

    def replica(self) -> EmbeddingNetwork:
        """A network with the same tables and a copy of the other layers, for another thread."""
        shared = [*self.tables().values(), self.attributes]
        return copy.deepcopy(self, {id(each): each for each in shared})

    # ------------------------------------------------------------ parameters
    def named(self) -> dict[str, paddle.Tensor]:
        """Parameters by the name that a model file gives them.

        ``lstm.weight_ih_l0`` is ``lstm_weight_ih``, ``nce_w.weight`` is ``nce_w``.
        """
        return {
            path.removesuffix(".weight").removesuffix("_l0").replace(".", "_"): parameter
            for path, parameter in self.named_parameters()
        }

    def dense_parameters(self) -> list[paddle.Tensor]:
        """Parameters of all layers that are not tables."""
        tables = self.tables()
        return [parameter for name, parameter in self.named().items() if name not in tables]

    def arrays(self) -> dict[str, np.ndarray]:
        """Parameters as float32 arrays; ``nce_b`` is [1, videos], ``nce_w`` is always there."""
        arrays = {name: parameter.numpy() for name, parameter in self.named().items()}
        arrays["nce_b"] = arrays["nce_b"].T
        if self.config.tie_embeddings:
            arrays["nce_w"] = arrays[VIDEO_TABLE]
        return arrays

    def folded(self) -> dict[str, np.ndarray]:
        """Parameters as a model file has them.

        A video has one row, its attributes' included. Biases have their offsets. Videos without a
        click have the vectors and biases that their neighbors give them (`place_cold_items`).
        """
        unfolded = self.arrays()
        arrays = dict(unfolded)
        if arrays.pop("content", None) is not None:
            arrays[VIDEO_TABLE] = arrays["nce_w"] = self.video_vectors()
        if self.bias_offsets is not None:
            arrays["nce_b"] = arrays["nce_b"] + self.bias_offsets
        if self.cold_items is not None:
            place_cold_items(arrays, unfolded, self.cold_items, self.attributes)
        return arrays

    def video_vectors(self) -> np.ndarray:
        """Rows of all videos, their attributes' included, float32 [videos, width]."""
        ids = np.arange(self.config.dictionary_sizes[ITEMS])
        with paddle.no_grad():
            blocks = [
                self.look_up({VIDEO_TABLE: ids[start : start + FOLDED_AT_ONCE]})[VIDEO_TABLE]
                for start in range(0, len(ids), FOLDED_AT_ONCE)
            ]
            return np.concatenate([block.numpy() for block in blocks])

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace all parameters.

        Parameters
        ----------
        arrays : as `arrays` returns them; others are ignored.

        Raises
        ------
        ValueError
            If one is missing, or has another shape or type.
        """
        for name, parameter in self.named().items():
            value = arrays.get(name, np.zeros(0))
            if name == "nce_b":
                value = value.T
            if list(value.shape) != list(parameter.shape) or value.dtype != np.float32:
                raise ValueError(
                    f"{name} is {value.dtype} {value.shape} in place of {parameter.shape}"
                )
            parameter.set_value(value)
