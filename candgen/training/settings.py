"""How a network is trained. Imports no paddle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

FINAL_RATE = 0.1  # the learning rate at the end of a run, as a share of that at its start


@dataclasses.dataclass(frozen=True)
class TrainerSettings:
    """How a network is trained; the flags of train.py of the same names.

    Attributes
    ----------
    loss : function of network_conf.LOSSES.
    optimizer : "adam" or "adagrad".
    learning_rate : at the start; it falls to `FINAL_RATE` of it along a cosine.
    table_rate : learning rate of the tables relative to the other layers.
    l2_rate : L2 regularization of all parameters, with adagrad.
    num_negatives : noise samples for each target.
    shared_negatives : whether all targets of a batch share them.
    user_dropout : share of training segments whose user id is hidden.
    history_dropout : share of training segments of which all but the user id is hidden.
    threads : worker threads.
    """

    loss: Callable
    optimizer: str = "adam"
    learning_rate: float = 0.002
    table_rate: float = 1.0
    l2_rate: float = 0.0
    num_negatives: int = 5
    shared_negatives: bool = False
    user_dropout: float = 0.5
    history_dropout: float = 0.05
    threads: int = 2
