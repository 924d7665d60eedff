"""Presets of train.py: named defaults of its flags."""

PRESETS = {
    "classic": {
        "dropout": None,  # `default_dropout`
        "num_passes": 10,
    },
    "best": {
        "network": "DirectModel",
        "dnn_layer_dims": (512, 128),
        "tie_embeddings": True,
        "content": True,
        "lift_rare": True,
        "instances": "sequence",
        "loss": "ranking_nce",
        "num_negatives": 2048,
        "shared_negatives": True,
        "table_rate": 3.0,
        "user_dropout": 1.0,
        "history_dropout": 0.0,
        "dropout": 0.5,
        "window_size": 50,
        "num_passes": None,  # `default_num_passes`
    },
    "v0.10": {
        "initial_values": "v0.10",
        "optimizer": "adagrad",
        "learning_rate": 0.1,
        "l2_rate": 0.001,
        "batch_size": 50,
        "user_dropout": 0.0,
        "history_dropout": 0.0,
        "dropout": 0.0,
        "num_passes": 1,
    },
}
