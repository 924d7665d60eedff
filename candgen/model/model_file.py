"""The file of a model: model.json and one .npy per parameter, in a gzip tar. Imports no paddle."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Callable

from candgen.archives import fingerprint, read_archive, write_archive
from candgen.console import InputError, describe_error
from candgen.data.dictionary import ITEMS, dictionary_fingerprint, load_feature_dict
from candgen.options import MAX_WIDTH

import numpy as np

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Model:
    """What `load_model` returns.

    Attributes
    ----------
    path : str, of the file.
    metadata : dict, model.json without the format version: the fields of network_conf.ModelConfig.
    parameters : {name: float32 array}, ``nce_w`` [videos, user_dim] and ``nce_b`` [1, videos] among
        them.
    item_freq : float32 [videos], the frequencies it was trained with.
    feature_dict : {feature: {value: id}}
    """

    path: str
    metadata: dict
    parameters: dict[str, np.ndarray]
    item_freq: np.ndarray
    feature_dict: dict[str, dict[str, int]]

    @property
    def nce_w(self) -> np.ndarray:
        """Vectors of the videos, float32 [videos, user_dim]."""
        return self.parameters["nce_w"]

    @property
    def nce_b(self) -> np.ndarray:
        """Biases of the videos, float32 [1, videos]."""
        return self.parameters["nce_b"]

    def scaled_biases(self, popularity: float) -> np.ndarray:
        """Biases times a factor, [1, videos]: below 1 popular videos come later in the lists."""
        return popularity * self.nce_b

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of dictionary and model, by which exported files belong together."""
        arrays = [self.parameters[name] for name in sorted(self.parameters)]
        return {
            "feature_dict": self.metadata["dictionary_fingerprint"],
            "model": fingerprint(json.dumps(self.metadata, sort_keys=True), *arrays),
        }


def save_model(path: str, network: Any, item_freq: list[float] | np.ndarray) -> None:
    """Write a model.

    Parameters
    ----------
    path : of the file, which appears whole or not at all.
    network : EmbeddingNetwork
    item_freq : list of float [videos], what a user unknown to the model is served.
    """
    metadata = {"format_version": FORMAT_VERSION, **vars(network.config)}
    arrays = {**network.folded(), "item_freq": np.asarray(item_freq, np.float32)}
    write_archive(path, metadata, arrays)


def load_model(path: str, feature_dict_path: str) -> Model:
    """Read a model and its dictionary.

    Raises
    ------
    InputError
        If one of them is damaged, or if they do not belong together.
    """
    hint = "give a model_pass_*.tar.gz that train.py wrote"
    feature_dict = load_feature_dict(feature_dict_path)
    metadata, parameters = read_archive(path, hint)
    if "identity" in metadata:
        raise InputError(path, "the checkpoint of a run, not a model", hint=hint)
    if metadata.pop("format_version", None) != FORMAT_VERSION:
        raise InputError(path, f"not of format version {FORMAT_VERSION}", hint=hint)
    if metadata.get("dictionary_fingerprint") != dictionary_fingerprint(feature_dict):
        raise InputError(
            path,
            "trained with another dictionary than --feature_dict",
            hint="give the feature_dict.pkl that this model was trained with",
        )
    sizes = {feature: len(values) for feature, values in feature_dict.items()}
    if metadata.get("dictionary_sizes") != sizes:
        raise InputError(path, "its sizes are not those of the dictionary", hint=hint)
    if sizes[ITEMS] < 2:
        raise InputError(
            feature_dict_path,
            "it knows no video",
            hint="give the feature_dict.pkl of data_processor.py",
        )
    item_freq = parameters.pop("item_freq", np.zeros(0))
    if not _has_output_layer(parameters, item_freq, sizes[ITEMS]):
        raise InputError(
            path, "nce_w, nce_b or item_freq is missing or has another shape", hint=hint
        )
    return Model(path, metadata, parameters, item_freq, feature_dict)


def _has_output_layer(parameters, item_freq, num_videos) -> bool:
    nce_w = parameters.get("nce_w", np.zeros(0))
    nce_b = parameters.get("nce_b", np.zeros(0))
    return (
        nce_w.ndim == 2
        and len(nce_w) == num_videos
        and nce_b.shape == (1, num_videos)
        and item_freq.shape == (num_videos,)
    )


def restore_network(model: Model, config_type: type, network_class: Callable[[str], type]) -> Any:
    """The network of a model, ready to infer.

    Parameters
    ----------
    model : Model
    config_type : network_conf.ModelConfig
    network_class : function of the name of a network that returns its class.

    Raises
    ------
    InputError
        If its parameters do not fit model.json.
    """
    metadata = dict(model.metadata)
    try:
        removed = [flag for flag in ("last_click", "last_state") if metadata.pop(flag, False)]
        if removed:
            raise ValueError(f"it was trained with --{removed[0]}, which is gone")
        metadata["dnn_layer_dims"] = tuple(metadata["dnn_layer_dims"])
        config = config_type(**metadata)
        _check_sizes(config, model.parameters)
        network = network_class(config.network)(config, is_infer=True)
        network.set_arrays(model.parameters)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            model.path,
            f"its parameters do not fit model.json ({describe_error(error)})",
            hint="give a model_pass_*.tar.gz of train.py, and the network_conf.py that it was "
            "trained with",
        ) from error
    network.eval()
    return network


def _check_sizes(config, parameters) -> None:
    """ValueError for impossible sizes, before memory is taken for tables of that size."""
    widths = [*config.dnn_layer_dims, *config.embedding_dims.values(), config.lstm_dim]
    if not all(type(width) is int and 0 < width <= MAX_WIDTH for width in widths):
        raise ValueError("a size that no network has")
    if not (type(config.window_size) is int and config.window_size > 0):
        raise ValueError("a size that no network has")
    for feature, width in config.embedding_dims.items():
        if parameters[f"_proj_{feature}"].shape != (config.dictionary_sizes[feature], width):
            raise ValueError(f"_proj_{feature} has another shape")
