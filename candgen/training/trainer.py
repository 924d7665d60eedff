"""One training step: a batch is split into micro-batches, threads and ranks compute them.

`BatchPreparation` (candgen/training/preparation.py) makes the arrays of the micro-batches. A step
has four parts: `share_distinct` agrees with the other ranks on the ids to look up,
`forward_backward` computes the micro-batches on threads, `reduce_gradients` adds their gradients up
over threads and ranks, `apply_gradients` updates the parameters.

Why micro-batches have leaf tensors and copies of the dense layers
    paddle's kernels release the GIL, so threads run in parallel. But two threads must not
    accumulate into the gradient of one tensor. Each micro-batch therefore has its own leaves,
    the looked-up rows of the tables cut from the graph (`detach`), and its own copy of the dense
    layers (LSTM, ReLU).

What is summed, and in which order
    The losses and gradients of micro-batches are summed in the order of the micro-batches, first
    within a rank, then over the ranks by one all_reduce of one flat buffer. The sums of the leaves'
    gradients go backward through the look-up into the tables.

Why a result does not depend on the number of threads and ranks
    Everything random (negatives, hidden ids, one dropout generator for each micro-batch) is drawn
    for the whole batch before it is split, and sums do not depend on which thread is first. All
    ranks draw and split alike; each makes the arrays of its own micro-batches only. As many ranks
    with one thread as one process has threads give the same bytes. Another number of micro-batches
    changes the order of the sums, that is, the rounding, and the dropout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from candgen.archives import fingerprint
from candgen.console import InputError
from candgen.data.items import ItemAttributes
from candgen.model.layers import VIDEO_TABLE, to_tensors
from candgen.model.network import EmbeddingNetwork
from candgen.serving.blocks import ordered_map
from candgen.training.network_warnings import warn_of_unused_tables
from candgen.training.preparation import BatchPreparation, PreparedBatch, with_hits
from candgen.training.ranks import Ranks
from candgen.training.report import EXPLODED
from candgen.training.settings import FINAL_RATE, TrainerSettings

import numpy as np
import paddle
from paddle import optimizer


class Trainer:
    """Takes training steps.

    Parameters
    ----------
    network : EmbeddingNetwork
    sampler : network_conf.NoiseSampler
    settings : TrainerSettings
    total_steps : of the run, over which the learning rate falls.
    ranks : Ranks, the processes that train together.

    Attributes
    ----------
    pool : ThreadPoolExecutor of ``settings.threads`` threads.
    lr_scheduler : paddle.optimizer.lr.LRScheduler
    prepare : `BatchPreparation.prepare`
    """

    def __init__(
        self,
        network: EmbeddingNetwork,
        sampler: Any,
        settings: TrainerSettings,
        total_steps: int,
        ranks: Ranks | None = None,
    ):
        self.network = network
        self.settings = settings
        self.ranks = ranks or Ranks()
        self.pool = ThreadPoolExecutor(settings.threads)
        self.lr_scheduler = optimizer.lr.CosineAnnealingDecay(
            settings.learning_rate, total_steps, FINAL_RATE * settings.learning_rate
        )
        self._preparation = BatchPreparation(
            sampler, settings, network.table_ids(), network.output_table(), self.ranks
        )
        self.prepare = self._preparation.prepare
        self._replicas = [network]  # one for each micro-batch; the first is the network itself
        self._dense = [network.dense_parameters()]  # of each; finding them takes a millisecond
        self._is_checked = False  # whether the network uses all its tables
        self._optimizers = self._make_optimizers()

    def _make_optimizers(self):
        """Two optimizers for two threads: the largest table is as much work as all the rest."""
        settings = self.settings
        video_table, others = [], []
        tables = self.network.tables()
        for name, parameter in self.network.named().items():
            parameter.name = name  # by which an optimizer's state is saved
            rate = settings.table_rate if name in tables else 1.0
            parameter.optimize_attr["learning_rate"] = rate
            (video_table if name == VIDEO_TABLE else others).append(parameter)
        if settings.optimizer == "adam":
            return [
                optimizer.Adam(self.lr_scheduler, parameters=group, lazy_mode=True)
                for group in (others, video_table)
            ]
        return [
            optimizer.Adagrad(
                self.lr_scheduler, parameters=group, weight_decay=settings.l2_rate or None
            )
            for group in (others, video_table)
        ]

    def prepare_ahead(self, batches: Iterable[tuple]) -> Iterator[PreparedBatch]:
        """Prepare batches, the arguments of `prepare`, each while the one before it is computed."""
        with ThreadPoolExecutor(1) as preparing:
            yield from ordered_map(preparing, lambda batch: self.prepare(*batch), batches, 1)

    # ------------------------------------------------------------ a step
    def step(self, batch: PreparedBatch) -> float:
        """Train on a batch; returns the mean loss of its targets."""
        batch = self._preparation.share_distinct(batch)
        rows = self.network.look_up(batch.distinct)
        loss, leaves = self.forward_backward(batch, rows)
        if not self._is_checked and batch.micro_batches:
            self._warn_of_unused_tables(leaves)
            self._is_checked = True
        loss, row_gradients, dense_gradients = self.reduce_gradients(loss, leaves)
        self.apply_gradients(rows, row_gradients, dense_gradients)
        return loss

    def _warn_of_unused_tables(self, leaves):
        """A table whose looked-up rows get no gradient has no part in the forward pass."""
        unused = [table for table in leaves[0] if all(leaf[table].grad is None for leaf in leaves)]
        features = [
            feature
            for feature in self.network.config.embedding_dims
            if f"_proj_{feature}" in unused
        ]
        warn_of_unused_tables(type(self.network).__name__, features)

    def evaluate_loss(
        self, users: np.ndarray, targets: np.ndarray, rng: np.random.Generator
    ) -> float:
        """Sum of the losses of some targets, without training.

        Parameters
        ----------
        users : float32 [N, user_dim], vectors before the targets.
        targets : int64 [N], ids of videos.
        rng : generator of the negatives.
        """
        distinct, arrays = self._preparation.prepare_targets(targets, rng)
        with paddle.no_grad():
            rows = self.network.look_up(distinct)
            tensors = to_tensors(arrays)
            users = paddle.to_tensor(users)
            return float(self.network.output_layer(users, rows, tensors, self.settings.loss).sum())

    def forward_backward(
        self, batch: PreparedBatch, rows: dict[str, paddle.Tensor]
    ) -> tuple[float, list[dict[str, paddle.Tensor]]]:
        """Losses and gradients of this rank's micro-batches, on the threads.

        Parameters
        ----------
        batch : PreparedBatch
        rows : {table: float32 [distinct, width]}, what `look_up` returned.

        Returns
        -------
        loss : this rank's contribution to the mean loss of the batch.
        leaves : [{table: float32 [distinct, width]}], the rows as each micro-batch saw them, with
            their gradients. Gradients of the dense layers are left in the replicas.
        """
        networks = self._replicas_for(len(batch.micro_batches))
        leaves = [{name: value.detach() for name, value in rows.items()} for _ in networks]

        def run_micro_batch(network, leaf, micro_batch, rng):
            """Loss of a micro-batch, whose gradients are left in `leaf` and `network`."""
            for value in leaf.values():
                value.stop_gradient = False
            tensors = to_tensors(with_hits({**micro_batch, "log_noise": batch.log_noise}))
            users = network(leaf, tensors, rng)
            losses = network.output_layer(users, leaf, tensors, self.settings.loss)
            loss = losses.sum() / batch.num_targets
            loss.backward()
            return float(loss)

        losses = self.pool.map(run_micro_batch, networks, leaves, batch.micro_batches, batch.rngs)
        return sum(losses), leaves

    def _replicas_for(self, count):
        """Replicas of the network for `count` micro-batches, with its present dense parameters.

        One at least: a rank may have no micro-batch of the last batch.
        """
        while len(self._replicas) < count:
            self._replicas.append(self.network.replica())
            self._dense.append(self._replicas[-1].dense_parameters())
        replicas = self._replicas[: max(1, count)]
        for replica in replicas:
            replica.train()
        originals, *copies = self._dense[: len(replicas)]
        for parameters in copies:
            for original, parameter in zip(originals, parameters):
                parameter.copy_(original, True)  # blocking
        return replicas

    def reduce_gradients(
        self, loss: float, leaves: list[dict[str, paddle.Tensor]]
    ) -> tuple[float, dict[str, paddle.Tensor], list[paddle.Tensor]]:
        """Sums of the loss and of the gradients over micro-batches and ranks.

        Returns
        -------
        loss : float
        row_gradients : {table: float32 [distinct, width]}
        dense_gradients : gradients of ``network.dense_parameters()``.
        """
        names = list(leaves[0])
        row_gradients = [sum_gradients([leaf[name] for leaf in leaves]) for name in names]
        dense = list(zip(*self._dense[: len(leaves)]))
        dense_gradients = [sum_gradients(parameters) for parameters in dense]
        for _, *copies in dense:
            for copy in copies:
                copy.clear_gradient(set_to_zero=False)
        loss, sums = self.ranks.all_reduce(loss, row_gradients + dense_gradients)
        return loss, dict(zip(names, sums)), sums[len(names) :]

    def apply_gradients(
        self,
        rows: dict[str, paddle.Tensor],
        row_gradients: dict[str, paddle.Tensor],
        dense_gradients: list[paddle.Tensor],
    ) -> None:
        """Update all parameters, and advance the learning rate.

        Parameters
        ----------
        rows : what `look_up` returned: the gradients go backward through it into the tables.
        row_gradients, dense_gradients : from `reduce_gradients`.
        """
        paddle.autograd.backward(list(rows.values()), [row_gradients[name] for name in rows])
        for parameter, gradient in zip(self._dense[0], dense_gradients):
            parameter.grad = gradient
        list(self.pool.map(lambda each: each.step(), self._optimizers))
        for each in self._optimizers:
            each.clear_grad(set_to_zero=False)
        self.lr_scheduler.step()

    def check_parameters(self) -> None:
        """Check that parameters are finite, and equal on all ranks.

        Raises
        ------
        InputError
            If they are not.
        """
        arrays = self.network.arrays().values()
        if not all(np.isfinite(value).all() for value in arrays):
            raise InputError("training", "a parameter became infinite", hint=EXPLODED)
        if self.ranks.world > 1 and len(set(self.ranks.gather(fingerprint(*arrays)))) > 1:
            raise InputError(
                "training",
                "the ranks have come to different parameters",
                hint="run them on processors of one kind",
            )

    # ------------------------------------------------------------ checkpoints
    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """Everything that training changes, to be saved.

        Returns
        -------
        arrays : {name: array}, parameters, the optimizers' moments, the videos' attributes.
        rate : state of the learning rate.
        """
        arrays = self.network.arrays()
        for each in self._optimizers:
            state = each.state_dict()
            state.pop("LR_Scheduler", None)
            arrays.update(state)
        if self.network.attributes is not None:
            arrays["attribute_ids"] = self.network.attributes.ids
            arrays["attribute_offsets"] = self.network.attributes.offsets
        return arrays, self.lr_scheduler.state_dict()

    def restore(self, arrays: dict[str, np.ndarray], rate: dict) -> None:
        """Continue from what `state` returned, or from the parameters of a model file alone."""
        self.network.set_arrays(arrays)
        if "attribute_ids" in arrays:
            self.network.attributes = ItemAttributes(
                arrays["attribute_ids"], arrays["attribute_offsets"]
            )
        if not any("_moment" in name for name in arrays):
            return  # of a model file
        state = {name: paddle.to_tensor(value) for name, value in arrays.items()}
        for each in self._optimizers:
            each.set_state_dict({**state, "LR_Scheduler": rate})


def sum_gradients(tensors: list[paddle.Tensor]) -> paddle.Tensor:
    """Sum, in order, of the gradients of tensors of one shape; zeros if none has one."""
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    if not gradients:
        return paddle.zeros_like(tensors[0])
    return sum(gradients[1:], gradients[0])
