"""candgen.training.options"""

import argparse

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
from candgen.training.dashboard import SHOWN_VIDEOS

PRESETS = {
    "classic": {},
    "best": {
        "network": "DirectModel",
        "dnn_layer_dims": (512, 64),
        "tie_embeddings": True,
        "content": True,
        "instances": "sequence",
        "loss": "ranking_nce",
        "num_negatives": 2048,
        "shared_negatives": True,
        "table_rate": 3.0,
        "user_dropout": 0.9,
        "dropout": 0.5,
        "num_passes": 8,
    },
    "v0.10": {
        "initial_values": "v0.10",
        "optimizer": "adagrad",
        "learning_rate": 0.1,
        "l2_rate": 0.001,
        "batch_size": 50,
        "user_dropout": 0.0,
        "history_dropout": 0.0,
        "num_passes": 1,
    },
}
# when a run is resumed
FREE_TO_CHANGE = {
    "train_set_path",
    "context_set_path",
    "test_set_path",
    "valid_set_path",
    "model_output_dir",
    "feature_dict",
    "item_freq",
    "num_passes",
    "patience",
    "resume",
    "checkpoint_minutes",
    "rules",
    "preset",
    "max_bad_lines",
    "threads",
    "init_feature_dict",
    "compare_with",
    "compare_feature_dict",
    "min_ratio",
    "visualdl_dir",
}


def add_run_arguments(parser):
    """The flags that say what is read and written, how long and how often."""
    add, path, folder, positive = parser.add_argument, path_type, folder_type, number_type(int, 1)
    add(
        "--train_set_path",
        **PATHS,
        required=True,
        help="the training log: files, folders of part files or patterns (- for standard input)",
    )
    add(
        "--context_set_path",
        **PATHS,
        help="a log of earlier clicks, not trained on: what a user, by "
        "id, has clicked there stands in front of the clicks to learn, as when the model serves",
    )
    add(
        "--test_set_path",
        **PATHS,
        required=True,
        help="the test log: its last clicks are predicted",
    )
    add(
        "--valid_set_path",
        **PATHS,
        help="log by whose last clicks the best pass is chosen, for model_best.tar.gz",
    )
    add(
        "--model_output_dir",
        type=folder,
        required=True,
        help="folder for models and metrics, made if missing",
    )
    add("--feature_dict", type=path, required=True, help="feature_dict.pkl of data_processor.py")
    add("--item_freq", type=path, required=True, help="item_freq.pkl of data_processor.py")
    add(
        "--catalogue_path",
        **PATHS,
        help="the video-infos that data_processor.py was given: videos that "
        "nobody has clicked on get the vectors of videos with the same tags and category",
    )
    add(
        "--init_model_path",
        type=path,
        help="an earlier run's checkpoint.tar.gz, or a model, to go on from: what both "
        "dictionaries know is carried over, with the optimiser's state; --num_passes then count anew",
    )
    add("--init_feature_dict", type=path, help="the feature_dict.pkl of --init_model_path")
    add(
        "--compare_with",
        type=path,
        help="an earlier model to compare the new one with, on the same test log, at the "
        "end; model_best.tar.gz is written only then",
    )
    add("--compare_feature_dict", type=path, help="the feature_dict.pkl of --compare_with")
    add(
        "--min_ratio",
        type=number_type(float, 0),
        default=0.0,
        help="with --compare_with: end with exit code 3 "
        "and write no model_best.tar.gz if --select_metric is below this share of the earlier model's, or is 0 "
        "(%(default)s)",
    )
    add("--num_passes", type=positive, default=10, help="passes over the log (%(default)s)")
    add(
        "--patience",
        type=positive,
        help="stop after so many passes without a better one on --valid_set_path; "
        "as long as its metric is 0 they do not count",
    )
    add(
        "--select_metric",
        choices=METRICS,
        help="by which the best pass is chosen, and compared with baselines "
        "(ndcg@10; seen_kept_ndcg@10 where most last clicks are on videos that the user has clicked before)",
    )
    add(
        "--rules",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare with co-occurrence rules as "
        "well, once a run: this takes a while on a large test log; counted in the first --shuffle_lines (%(default)s)",
    )
    add(
        "--resume",
        action="store_true",
        help="go on from the checkpoint of a run that was stopped, or that is done, "
        "to more --num_passes; start anew if there is none",
    )
    add(
        "--checkpoint_minutes",
        type=number_type(float, 0),
        default=10.0,
        help="time between checkpoints within a pass; there is one after each pass (%(default)s)",
    )
    add(
        "--shuffle_lines",
        type=positive,
        default=500_000,
        help="lines of the training log that are read and shuffled "
        "together; of a longer log no more are in memory, and it is read in each pass (%(default)s)",
    )
    add(
        "--visualdl_dir",
        type=folder,
        help="folder for what VisualDL shows: cost, learning rate, metrics, vectors of "
        f"the {SHOWN_VIDEOS} most clicked videos (pip install visualdl; visualdl --logdir=FOLDER)",
    )
    add("--seed", type=number_type(int, 0), default=0, help="of all that is random (%(default)s)")
    add_max_user_clicks(parser)
    add_max_bad_lines(parser)
    add_device(parser)


def add_network_arguments(parser):
    """The flags that say what is trained and how: those that a preset gives values to."""
    add, positive, width = parser.add_argument, number_type(int, 1), number_type(int, 1, MAX_WIDTH)
    switch = argparse.BooleanOptionalAction
    add(
        "--preset",
        choices=PRESETS,
        default="classic",
        help="gives the settings below other defaults, which --help "
        "after it shows: classic is the network of the figure, best recommends best, v0.10 trains as the example of "
        "that paddle did (%(default)s)",
    )
    add("--network", default="DNNmodel", help="a class of network_conf.py (%(default)s)")
    add(
        "--window_size",
        type=positive,
        default=20,
        help="positions an instance looks back on at most (%(default)s)",
    )
    add(
        "--dnn_layer_dims",
        type=width,
        nargs=2,
        default=(256, 31),
        metavar=("HIDDEN", "USER"),
        help="widths of the two ReLU layers %(default)s",
    )
    add("--lstm_dim", type=width, default=64, help="width of the LSTM (%(default)s)")
    add(
        "--tie_embeddings",
        action=switch,
        default=False,
        help="one table for clicked and recommended videos, as wide as the user vector (%(default)s)",
    )
    add(
        "--content",
        action=switch,
        default=False,
        help="a video's vector is its own row + the mean of its tags' and "
        "its category's vectors; they become one when a model is written; needs --tie_embeddings (%(default)s)",
    )
    add(
        "--initial_values",
        choices=["popularity", "v0.10"],
        default="popularity",
        help="start as a popularity ranking, or as the v0.10 example did (%(default)s)",
    )
    add(
        "--instances",
        choices=sorted(INSTANCES),
        default="window",
        help="every window on its own, or histories in "
        "overlapping stretches, each click a target once (%(default)s)",
    )
    add(
        "--loss",
        choices=["nce", "ranking_nce"],
        default="nce",
        help="noise-contrastive estimation, or its ranking form: a sampled softmax (%(default)s)",
    )
    add("--num_negatives", type=positive, default=5, help="noise samples (%(default)s)")
    add(
        "--shared_negatives",
        action=switch,
        default=False,
        help="draw them once a batch, not for each of its instances (%(default)s)",
    )
    add(
        "--batch_size",
        type=positive,
        help="instances per step (%(default)s; None: 512, on a log of fewer than 51,200 "
        "clicks as many as make 100 steps a pass, at least 32)",
    )
    add("--optimizer", choices=["adam", "adagrad"], default="adam", help="(%(default)s)")
    add(
        "--learning_rate",
        type=number_type(float, 0, above=True),
        default=0.002,
        help="at the start; it falls to a tenth along a cosine (%(default)s)",
    )
    add(
        "--table_rate",
        type=number_type(float, 0, above=True),
        default=1.0,
        help="tables learn so many times as fast as the other layers (%(default)s)",
    )
    add(
        "--l2_rate",
        type=number_type(float, 0),
        default=0.0,
        help="L2 regularisation of all parameters, with adagrad (%(default)s)",
    )
    add(
        "--user_dropout",
        type=number_type(float, 0, 1),
        default=0.5,
        help="share of training stretches whose user id is hidden (%(default)s)",
    )
    add(
        "--history_dropout",
        type=number_type(float, 0, 1),
        default=0.05,
        help="share of training stretches of which all but the user id is hidden, which teaches what users like from "
        "their id alone (%(default)s)",
    )
    add(
        "--dropout",
        type=number_type(float, 0, 0.99),
        default=0.0,
        help="share of the inputs of the ReLU layers and of the direct path set to 0 in training (%(default)s)",
    )
