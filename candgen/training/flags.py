"""Flags of train.py, in the groups of its ``--help``. Imports no paddle."""

from __future__ import annotations

import argparse
from typing import Any

from candgen.data.batches import INSTANCES
from candgen.options import (
    MAX_WIDTH,
    PATHS,
    add_device,
    add_max_bad_lines,
    add_max_user_clicks,
    folder_type,
    number_type,
    path_type,
)
from candgen.serving.metrics import METRICS
from candgen.training.dashboard import MAX_VIDEOS
from candgen.training.defaults import FEWEST_PASSES, MIN_STEPS, MOST_PASSES
from candgen.training.presets import PRESETS

SWITCH = argparse.BooleanOptionalAction
POSITIVE_INT = number_type(int, 1)
POSITIVE_FLOAT = number_type(float, 0, above=True)
NOT_NEGATIVE = number_type(float, 0)
SHARE = number_type(float, 0, 1)
WIDTH = number_type(int, 1, MAX_WIDTH)


class RecordedFlags:
    """Adds flags to a group, and records the settings that `--resume` requires to be equal."""

    def __init__(self):
        self.names: list[str] = []

    def add(self, group: argparse._ArgumentGroup, flag: str, **options: Any) -> None:
        """Add a flag that may not change when a run is resumed."""
        self.names.append(group.add_argument(flag, **options).dest)


def add_preset(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """The flag --preset."""
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="classic",
        help="defaults of the settings below, which --help after it shows: classic is the network "
        "of the original example, best gives the best recommendations, v0.10 trains as the "
        "example of that version did (default: %(default)s)",
    )


def add_important_flags(group: argparse._ArgumentGroup, fixed: RecordedFlags) -> None:
    """The flags that every run needs."""
    group.add_argument(
        "--train_set_path",
        **PATHS,
        required=True,
        metavar="LOG",
        help="training log: files, folders of part files or patterns (- for standard input)",
    )
    group.add_argument(
        "--test_set_path",
        **PATHS,
        required=True,
        metavar="LOG",
        help="test log, whose last clicks are predicted",
    )
    group.add_argument(
        "--model_output_dir",
        type=folder_type,
        required=True,
        metavar="DIR",
        help="folder for models and metrics, created if missing",
    )
    add_preset(group)
    group.add_argument(
        "--num_passes",
        type=POSITIVE_INT,
        default=PRESETS["classic"]["num_passes"],
        metavar="N",
        help="passes over the log (default: 10; v0.10: 1; best: as many as make "
        f"{MIN_STEPS:,} steps, from {FEWEST_PASSES} to {MOST_PASSES})",
    )


def add_data_flags(group: argparse._ArgumentGroup, fixed: RecordedFlags) -> None:
    """Flags of what is read."""
    group.add_argument(
        "--feature_dict",
        type=path_type,
        required=True,
        metavar="FILE",
        help="feature_dict.pkl of data_processor.py",
    )
    group.add_argument(
        "--item_freq",
        type=path_type,
        required=True,
        metavar="FILE",
        help="item_freq.pkl of data_processor.py",
    )
    group.add_argument(
        "--valid_set_path",
        **PATHS,
        metavar="LOG",
        help="validation log, by whose last clicks the best pass is chosen (model_best.tar.gz)",
    )
    group.add_argument(
        "--context_set_path",
        **PATHS,
        metavar="LOG",
        help="log of earlier clicks, which are not trained on: those of a user are put in front "
        "of the user's clicks in the training log",
    )
    fixed.add(
        group,
        "--catalogue_path",
        **PATHS,
        metavar="FILE",
        help="video-infos, as given to data_processor.py: videos without a click get the "
        "vectors of videos with the same tags and category",
    )
    fixed.add(
        group,
        "--shuffle_lines",
        type=POSITIVE_INT,
        default=500_000,
        metavar="N",
        help="lines of the training log that are read and shuffled together; a longer log is read "
        "in each pass, N lines in memory at a time (default: %(default)s)",
    )
    add_max_user_clicks(group)
    fixed.names.append("max_user_clicks")
    add_max_bad_lines(group)


def add_output_flags(group: argparse._ArgumentGroup, fixed: RecordedFlags) -> None:
    """Flags of what is written and reported."""
    fixed.add(
        group,
        "--select_metric",
        choices=METRICS,
        metavar="METRIC",
        help=f"metric by which the best pass is chosen and compared with baselines: one of "
        f"{', '.join(METRICS)} (default: ndcg@10, or seen_kept_ndcg@10 where most last clicks are "
        "on videos that the user has clicked before)",
    )
    group.add_argument(
        "--patience",
        type=POSITIVE_INT,
        metavar="N",
        help="stop after N passes without a better one on --valid_set_path; passes do not count "
        "while its metric is 0",
    )
    group.add_argument(
        "--rules",
        action=SWITCH,
        default=True,
        help="compare with co-occurrence rules too, counted in the first --shuffle_lines, which "
        "takes a while on a large test log (default: %(default)s)",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="continue from the checkpoint in --model_output_dir, or run further --num_passes; "
        "start from the beginning if there is none",
    )
    group.add_argument(
        "--checkpoint_minutes",
        type=NOT_NEGATIVE,
        default=10.0,
        metavar="MINUTES",
        help="time between checkpoints within a pass; there is one after each pass "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--visualdl_dir",
        type=folder_type,
        metavar="DIR",
        help=f"folder for VisualDL: loss, learning rate, metrics, vectors of the {MAX_VIDEOS} most "
        "clicked videos (pip install visualdl; visualdl --logdir=DIR)",
    )


def add_network_flags(group: argparse._ArgumentGroup, fixed: RecordedFlags) -> None:
    """Flags of the network and its instances."""
    fixed.add(
        group,
        "--network",
        default="DNNmodel",
        metavar="CLASS",
        help="class of network_conf.py (default: %(default)s)",
    )
    fixed.add(
        group,
        "--window_size",
        type=POSITIVE_INT,
        default=20,
        metavar="N",
        help="positions that a target looks back on at most (default: 20; best: 50)",
    )
    fixed.add(
        group,
        "--dnn_layer_dims",
        type=WIDTH,
        nargs=2,
        default=(256, 31),
        metavar=("HIDDEN", "USER"),
        help="widths of the two ReLU layers (default: 256 31; best: 512 128)",
    )
    fixed.add(
        group,
        "--lstm_dim",
        type=WIDTH,
        default=64,
        metavar="N",
        help="width of the LSTM (default: %(default)s)",
    )
    fixed.add(
        group,
        "--tie_embeddings",
        action=SWITCH,
        default=False,
        help="one table for clicked and recommended videos, as wide as the user vector "
        "(default: %(default)s)",
    )
    fixed.add(
        group,
        "--content",
        action=SWITCH,
        default=False,
        help="a video's vector is its own row plus the mean of its tags' and category's vectors, "
        "stored as one vector; needs --tie_embeddings (default: %(default)s)",
    )
    fixed.add(
        group,
        "--lift_rare",
        action=SWITCH,
        default=False,
        help="raise the biases of videos with 1 to 4 clicks by as much as such videos are more "
        "frequent among the users' last clicks; without effect with --context_set_path or "
        "--init_model_path, where the training log lacks clicks (default: %(default)s)",
    )
    fixed.add(
        group,
        "--initial_values",
        choices=["popularity", "v0.10"],
        default="popularity",
        help="start as a popularity ranking, or as the v0.10 example did (default: %(default)s)",
    )
    fixed.add(
        group,
        "--instances",
        choices=sorted(INSTANCES),
        default="window",
        help="window: each window on its own; sequence: histories in overlapping segments, each "
        "click a target once (default: %(default)s)",
    )


def add_optimization_flags(group: argparse._ArgumentGroup, fixed: RecordedFlags) -> None:
    """Flags of the loss, the optimizer and the regularization."""
    fixed.add(
        group,
        "--loss",
        default="nce",
        metavar="NAME",
        help="loss of network_conf.py: nce (noise-contrastive estimation) or ranking_nce (its "
        "ranking form, a sampled softmax) (default: %(default)s)",
    )
    fixed.add(
        group,
        "--num_negatives",
        type=POSITIVE_INT,
        default=5,
        metavar="K",
        help="noise samples (default: %(default)s)",
    )
    fixed.add(
        group,
        "--shared_negatives",
        action=SWITCH,
        default=False,
        help="draw them once for each batch, not for each target (default: %(default)s)",
    )
    fixed.add(
        group,
        "--batch_size",
        type=POSITIVE_INT,
        metavar="N",
        help="instances per step (default: 512; on a log of fewer than 51,200 clicks as many as "
        "make 100 steps a pass, at least 32; v0.10: 50)",
    )
    fixed.add(
        group,
        "--optimizer",
        choices=["adam", "adagrad"],
        default="adam",
        help="(default: %(default)s)",
    )
    fixed.add(
        group,
        "--learning_rate",
        type=POSITIVE_FLOAT,
        default=0.002,
        metavar="RATE",
        help="at the start; it falls to a tenth along a cosine (default: %(default)s)",
    )
    fixed.add(
        group,
        "--table_rate",
        type=POSITIVE_FLOAT,
        default=1.0,
        metavar="F",
        help="learning rate of the embedding tables, relative to the other layers "
        "(default: %(default)s)",
    )
    fixed.add(
        group,
        "--l2_rate",
        type=NOT_NEGATIVE,
        default=0.0,
        metavar="RATE",
        help="L2 regularization of all parameters, with adagrad (default: %(default)s)",
    )
    fixed.add(
        group,
        "--user_dropout",
        type=SHARE,
        default=0.5,
        metavar="SHARE",
        help="share of training segments whose user id is hidden; without effect for a network "
        "that remembers users, as that of best (default: %(default)s)",
    )
    fixed.add(
        group,
        "--history_dropout",
        type=SHARE,
        default=0.05,
        metavar="SHARE",
        help="share of training segments of which all but the user id is hidden, which trains "
        "recommendations from the id alone (default: %(default)s)",
    )
    fixed.add(
        group,
        "--dropout",
        type=number_type(float, 0, 0.99),
        metavar="SHARE",
        help="share of the inputs of the ReLU layers and of the direct path set to 0 in training "
        "(default: 0, or 0.1 where videos have fewer than 20 clicks on average; best: 0.5)",
    )


def add_nightly_flags(group: argparse._ArgumentGroup, fixed: RecordedFlags) -> None:
    """Flags of a run that continues or replaces an earlier model."""
    fixed.add(
        group,
        "--init_model_path",
        type=path_type,
        metavar="FILE",
        help="checkpoint.tar.gz or model of an earlier run to start from: what both dictionaries "
        "know is carried over, with the optimizer's state; --num_passes then starts again from "
        "zero",
    )
    group.add_argument(
        "--init_feature_dict",
        type=path_type,
        metavar="FILE",
        help="feature_dict.pkl of --init_model_path",
    )
    group.add_argument(
        "--compare_with",
        type=path_type,
        metavar="FILE",
        help="earlier model to compare the new one with at the end, on the same test log; "
        "model_best.tar.gz is written only then",
    )
    group.add_argument(
        "--compare_feature_dict",
        type=path_type,
        metavar="FILE",
        help="feature_dict.pkl of --compare_with",
    )
    group.add_argument(
        "--min_ratio",
        type=NOT_NEGATIVE,
        default=0.0,
        metavar="F",
        help="with --compare_with: exit with code 3, and without model_best.tar.gz, if "
        "--select_metric is below F times the earlier model's, or is 0 (default: %(default)s)",
    )


def add_process_flags(group: argparse._ArgumentGroup, fixed: RecordedFlags) -> None:
    """Flags of the random seed, the device and the threads."""
    fixed.add(
        group,
        "--seed",
        type=number_type(int, 0),
        default=0,
        metavar="N",
        help="random seed (default: %(default)s)",
    )
    add_device(group)
    fixed.names.append("device")
