"""Curves and video vectors for VisualDL. Imports no paddle."""

from __future__ import annotations

import os
from typing import Any

from candgen.console import InputError, describe_error
from candgen.data.dictionary import CATEGORIES, ITEMS
from candgen.environment import ensure_home

import numpy as np

STEPS_PER_POINT = 20  # of the curves of loss and learning rate
MAX_VIDEOS = 5000  # whose vectors are written


class Dashboard:
    """Writes what VisualDL shows of a run.

    Parameters
    ----------
    folder : str or None, of ``--visualdl_dir``; None writes nothing.

    Raises
    ------
    InputError
        If VisualDL is not installed.
    """

    def __init__(self, folder: str | None):
        self._writer = None
        if folder:
            ensure_home(".visualdl")  # its import writes there
            try:
                from visualdl import LogWriter
            except ImportError as error:
                raise InputError(
                    "--visualdl_dir",
                    f"no VisualDL ({describe_error(error)})",
                    hint="pip install visualdl",
                ) from error
            os.makedirs(folder, exist_ok=True)  # LogWriter does not report that it cannot
            self._writer = LogWriter(folder)

    def add_step(self, step: int, loss: float, learning_rate: float) -> None:
        """Add a point to the curves of loss and learning rate, every `STEPS_PER_POINT` steps."""
        if step % STEPS_PER_POINT == 0:
            self._add_scalars(step, {"cost": loss, "learning_rate": learning_rate})

    def add_pass(self, row: dict) -> None:
        """Add a point to the curve of each number of a row of metrics.jsonl."""
        self._add_scalars(row["pass"], {f"pass/{name}": value for name, value in row.items()})

    def _add_scalars(self, step, values):
        if self._writer is None:
            return
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(name.replace("@", "_at_"), value, step)

    def add_videos(self, feature_dict: dict, categories: np.ndarray, network: Any) -> None:
        """Write the vectors of the most clicked videos, and close the dashboard.

        Parameters
        ----------
        feature_dict : {feature: {value: id}}
        categories : int64 [videos], category id of each video.
        network : EmbeddingNetwork
        """
        if self._writer is None:
            return
        most_clicked = slice(1, MAX_VIDEOS + 1)  # ids follow the number of clicks; 0 is <unk>
        video_names = list(feature_dict[ITEMS])[most_clicked]
        category_names = np.array(list(feature_dict[CATEGORIES]))[categories[most_clicked]]
        self._writer.add_embeddings(
            "videos",
            network.folded()["nce_w"][most_clicked].tolist(),
            [video_names, category_names.tolist()],
            ["video", "category"],
        )
        self._writer.close()
