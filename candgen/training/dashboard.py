"""candgen.training.dashboard"""

import os

from candgen.console import InputError, describe_error
from candgen.data.dictionary import CATEGORIES, ITEMS
from candgen.environment import ensure_home

import numpy as np

SHOWN_STEPS, SHOWN_VIDEOS = (
    20,
    5000,
)  # a dashboard gets the cost of every so manieth step, vectors of so many videos


class Dashboard:
    """What VisualDL shows of a run, in --visualdl_dir; without it, and on other ranks, nothing is written."""

    def __init__(self, args, rank):
        self._writer = None
        if args.visualdl_dir and not rank:
            ensure_home(".visualdl")  # written by the import
            try:
                from visualdl import LogWriter
            except ImportError as error:
                raise InputError(
                    "--visualdl_dir",
                    f"no VisualDL ({describe_error(error)})",
                    hint="pip install visualdl",
                ) from error
            os.makedirs(args.visualdl_dir, exist_ok=True)  # which it would not say if it cannot
            self._writer = LogWriter(args.visualdl_dir)

    def curves(self, step, values):
        """A point, at `step`, of the curve of each of the {name: number}."""
        for name, value in values.items() if self._writer else ():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(name.replace("@", "_at_"), value, step)

    def videos(self, feature_dict, log, network):
        """The most clicked videos with the categories that a log gives them; the end of what is shown."""
        if self._writer:
            videos, categories = (
                np.array(list(feature_dict[name])) for name in (ITEMS, CATEGORIES)
            )
            categories, shown = categories[log.categories(len(videos))], slice(1, SHOWN_VIDEOS + 1)
            self._writer.add_embeddings(
                "videos",
                network.folded()["nce_w"][shown].tolist(),
                [videos[shown].tolist(), categories[shown].tolist()],
                ["video", "category"],
            )
            self._writer.close()
