"""Batches for the trainer: negatives, hidden ids, micro-batches, distinct ids. No paddle."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from candgen.data.batches import Segments, balanced_parts, make_batch, share_rows
from candgen.data.encoding import EncodedLog
from candgen.training.ranks import Ranks
from candgen.training.settings import TrainerSettings

import numpy as np

MICRO_BATCH_SEGMENTS = 512  # on average at most: more do not fit into the processor's cache

SPAN = 1 << 40  # number of a table * SPAN + id: the ids of all tables in one array


@dataclasses.dataclass(frozen=True)
class PreparedBatch:
    """The arrays of a batch.

    Attributes
    ----------
    num_targets : of the whole batch, over all ranks.
    distinct : {table: int64 [distinct]}, ids to look up: those of this rank's micro-batches, and
        after `BatchPreparation.share_distinct` those of all ranks.
    log_noise : float32 [distinct, 1], log of the noise distribution, of ``distinct["nce_b"]``.
    micro_batches : [{name: array}], those of this rank; ids are indices into `distinct`.
    rngs : generator of the dropout of each of them.
    """

    num_targets: int
    distinct: dict[str, np.ndarray]
    log_noise: np.ndarray
    micro_batches: list[dict[str, np.ndarray]]
    rngs: list[np.random.Generator]


class BatchPreparation:
    """Makes the arrays of batches.

    Parameters
    ----------
    sampler : network_conf.NoiseSampler
    settings : TrainerSettings
    table_ids : {table: [name of an array of the batch]}, arrays that hold ids of each table.
    output_table : name of the table of the recommended videos.
    ranks : Ranks, of which each makes the arrays of its own micro-batches.
    """

    def __init__(
        self,
        sampler: Any,
        settings: TrainerSettings,
        table_ids: Mapping[str, Sequence[str]],
        output_table: str,
        ranks: Ranks,
    ):
        self._sampler = sampler
        self._settings = settings
        self._table_ids = table_ids
        self._numbered_tables = list(enumerate(table_ids))
        self._output_table = output_table
        self._ranks = ranks

    def prepare(
        self, log: EncodedLog, segments: Segments, rng: np.random.Generator
    ) -> PreparedBatch:
        """Arrays of a batch of S segments: hides ids and histories, draws negatives, splits.

        Parameters
        ----------
        log, segments : as in `make_batch`.
        rng : generator of everything that is random in this batch.
        """
        settings = self._settings
        num_segments = len(segments)
        # Hiding all but the user id trains the ids alone, by which infer_user.py mines. Hiding the
        # user id trains `<unk>`, for new users, and keeps the network from relying on the id.
        history_mask = rng.random(num_segments) < settings.history_dropout
        user_mask = (rng.random(num_segments) < settings.user_dropout) & ~history_mask
        negatives = self._draw_negatives(int(segments.targets.sum()), rng)  # [K] or [N, K]

        parts = balanced_parts(segments, self._num_micro_batches(num_segments))
        targets_before = np.cumsum([0, *(segments.targets[part].sum() for part in parts)])
        rngs = rng.spawn(len(parts))
        micro_batches = []
        of_this_rank = range(self._ranks.rank, len(parts), self._ranks.world)
        for number in of_this_rank:
            part = parts[number]
            micro_batch = make_batch(log, segments.take(part), history_mask=history_mask[part])
            micro_batch["user_id"][user_mask[part]] = 0
            of_part = slice(targets_before[number], targets_before[number + 1])
            micro_batch["negatives"] = negatives if negatives.ndim == 1 else negatives[of_part]
            micro_batches.append(micro_batch)
        return self._with_noise(
            int(targets_before[-1]),
            share_rows(micro_batches, self._table_ids),
            micro_batches,
            [rngs[number] for number in of_this_rank],
        )

    def prepare_targets(
        self, targets: np.ndarray, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Arrays of some targets, int64 [N], for the output layer alone.

        Returns
        -------
        distinct : {table: int64 [distinct]}, ids to look up.
        arrays : {name: array}, those of a batch that the output layer needs.
        """
        arrays = {"target": targets, "negatives": self._draw_negatives(len(targets), rng)}
        distinct = share_rows([arrays], {self._output_table: list(arrays)})
        distinct, arrays["log_noise"] = self._with_biases(distinct)
        return distinct, with_hits(arrays)

    def _num_micro_batches(self, num_segments: int) -> int:
        """A multiple of threads * ranks, or one for each segment if there are fewer."""
        workers = self._settings.threads * self._ranks.world
        rounds = max(1, math.ceil(num_segments / (workers * MICRO_BATCH_SEGMENTS)))
        return min(rounds * workers, num_segments)

    def _draw_negatives(self, num_targets, rng):
        """Noise samples, int64: [K], shared by all targets, or [N, K]."""
        num_negatives = self._settings.num_negatives
        if self._settings.shared_negatives:
            return self._sampler.draw(num_negatives, rng)
        return self._sampler.draw((num_targets, num_negatives), rng)

    def _with_noise(self, num_targets, distinct, micro_batches, rngs):
        """A `PreparedBatch`, with a bias and a noise probability for each distinct video."""
        return PreparedBatch(num_targets, *self._with_biases(distinct), micro_batches, rngs)

    def _with_biases(self, distinct):
        """Distinct ids with those of the biases, and log of the noise probability of each."""
        videos = distinct[self._output_table]
        return {**distinct, "nce_b": videos}, self._sampler.log_probability[videos, None]

    def share_distinct(self, batch: PreparedBatch) -> PreparedBatch:
        """The batch with the distinct ids of all ranks, which look up and update the same rows."""
        if self._ranks.world == 1:
            return batch
        own_keys = [
            number * SPAN + batch.distinct[table] for number, table in self._numbered_tables
        ]
        keys = np.unique(np.concatenate(self._ranks.gather_ids(np.concatenate(own_keys))))
        table_number, ids = np.divmod(keys, SPAN)
        distinct = {table: ids[table_number == number] for number, table in self._numbered_tables}
        micro_batches = [dict(each) for each in batch.micro_batches]
        for table, names in self._table_ids.items():
            # where the ids of this rank are among those of all
            index = np.searchsorted(distinct[table], batch.distinct[table])
            for micro_batch in micro_batches:
                for name in names:
                    micro_batch[name] = index[micro_batch[name]]
        return self._with_noise(batch.num_targets, distinct, micro_batches, batch.rngs)


def with_hits(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays, and "hits", bool [N, K]: which negatives are the target of their row."""
    return {**arrays, "hits": arrays["negatives"] == arrays["target"][:, None]}
