"""Encoded logs, and networks with random parameters."""

from candgen.data.dictionary import ITEMS
from candgen.model.initialization import embedding_dims
from conftest import SMALL_DICT, feature_dict_of, log_text
from network_conf import DNNmodel, ModelConfig
from reader import Reader

import numpy as np

# the videos v1, v2, ..., v130
FEATURE_DICT = feature_dict_of(history_clicked_items=[f"v{number}" for number in range(1, 131)])
VIDEO_IDS = FEATURE_DICT[ITEMS]


def encode_histories(folder, histories):
    """The `EncodedLog` of a line for each list of video-ids."""
    lines = [("u", "", "", [f"{video}::" for video in history], "") for history in histories]
    path = folder / "log.txt"
    path.write_text(log_text(lines))
    [log] = Reader(FEATURE_DICT).encode(str(path))
    return log


def random_network(lstm_dim=64, window_size=6, scale=0.3, kind=DNNmodel):
    """A network over SMALL_DICT with parameters drawn at random, ready to infer."""
    rng = np.random.default_rng(0)
    user_dim = 32 if kind.has_direct_path else 31  # DirectModel divides it
    config = ModelConfig(
        {name: len(values) for name, values in SMALL_DICT.items()},
        embedding_dims(kind, user_dim, tie_embeddings=False),
        dnn_layer_dims=(256, user_dim),
        window_size=window_size,
        lstm_dim=lstm_dim,
    )
    network = kind(config, is_infer=True)
    for parameter in network.parameters():
        parameter.set_value(rng.normal(0, scale, parameter.shape).astype(np.float32))
    network.eval()
    return network


def encode_lines(folder, lines):
    """The `EncodedLog` of lines like those of conftest.LINES."""
    (folder / "log.txt").write_text(log_text(lines), encoding="utf-8")
    [log] = Reader(SMALL_DICT).encode(str(folder / "log.txt"))
    return log
