"""Defaults of settings that follow the logs. Imports no paddle."""

from __future__ import annotations

import argparse
import math

from candgen.data.encoding import EncodedLog
from candgen.data.training_log import TrainingLog
from candgen.training.presets import PRESETS

import numpy as np

MIN_STEPS = 2400  # of a run of the preset best
FEWEST_PASSES = 8
MOST_PASSES = 24
SPARSE_CLICKS = 20  # a video; with fewer the log is sparse
SPARSE_DROPOUT = 0.1


def fill_in_defaults(
    args: argparse.Namespace, training: TrainingLog, num_videos: int, held_out: EncodedLog
) -> int:
    """Set what the command line leaves to the logs; returns the usual passes of the preset.

    Parameters
    ----------
    args : the flags of train.py, changed in place.
    training : the training log.
    num_videos : of the dictionary, without ``<unk>``.
    held_out : the validation log, or the test log if there is none.
    """
    args.select_metric = args.select_metric or default_metric(held_out)
    args.batch_size = args.batch_size or default_batch_size(training.clicks)
    if args.dropout is None:
        args.dropout = default_dropout(training.clicks, num_videos)
    usual_passes = default_num_passes(args.preset, sum(training.steps(args.batch_size)))
    args.num_passes = args.num_passes or usual_passes
    return usual_passes


def default_metric(held_out: EncodedLog) -> str:
    """Metric to choose passes by: where most last clicks repeat earlier ones, those are kept."""
    lines = np.flatnonzero(held_out.last_item >= 0)
    before = held_out.before_last()
    repeats = [held_out.last_item[line] in held_out.items(line, before[line]) for line in lines]
    return "seen_kept_ndcg@10" if np.mean(repeats) > 0.5 else "ndcg@10"


def default_num_passes(preset: str, steps_per_pass: int) -> int:
    """Passes of a preset; of ``best`` as many as make `MIN_STEPS`: a small log needs more."""
    passes = PRESETS[preset]["num_passes"]
    if passes is None:
        passes = min(MOST_PASSES, max(FEWEST_PASSES, math.ceil(MIN_STEPS / steps_per_pass)))
    return passes


def default_dropout(num_clicks: int, num_videos: int) -> float:
    """0.1 for videos with fewer than 20 clicks on average, which are overfitted; 0 otherwise."""
    return SPARSE_DROPOUT if num_clicks < SPARSE_CLICKS * num_videos else 0.0


def default_batch_size(num_clicks: int) -> int:
    """512 instances; on a small log as many as make 100 steps a pass, at least 32."""
    return min(512, max(32, num_clicks // 100))
