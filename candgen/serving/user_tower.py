"""The user tower: a network from plain arrays to user vectors, exported for `paddle.inference`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from types import ModuleType

from candgen.console import InputError, describe_error
from candgen.data.dictionary import CATEGORIES, ITEMS, LOG_COLUMNS, PROFILE_FEATURES, TAGS
from candgen.files import Replacement, naming, remove_leftovers, replace_all
from candgen.model import layers
from candgen.model.layers import VIDEO_TABLE
from candgen.model.model_file import Model
from candgen.model.network import EmbeddingNetwork

import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.static import InputSpec

PROGRAM = "user_tower"  # user_tower.json and user_tower.pdiparams
INPUTS_FILE = "inputs.json"
DICTIONARY_FILE = "feature_dict.pkl"
FILE_PATTERN = rf"{PROGRAM}\..*|feature_dict\.pkl|inputs\.json"  # names of all files of an export


class UserTower(nn.Layer):
    """User vectors of plain arrays, for `paddle.jit.save`.

    The batch may have any size; windows are padded at their end to window_size positions.

    Parameters
    ----------
    network : EmbeddingNetwork
    base_class : type
        Class whose methods `forward`, `look_up` and `embedding_layer` the network must have:
        `UserTower.forward` does their work on plain arrays.

    Raises
    ------
    InputError
        If the network overrides one of these methods.
    """

    def __init__(self, network: EmbeddingNetwork, base_class: type[EmbeddingNetwork]):
        super().__init__()
        for name in ("forward", "look_up", "embedding_layer"):
            if getattr(type(network), name) is not getattr(base_class, name):
                raise InputError(
                    "--export_dir",
                    f"{type(network).__name__} has its own {name}",
                    hint="write the same for plain arrays into UserTower.forward, in "
                    "candgen/serving/user_tower.py",
                )
        self.network = network
        self.profile = [name for name in PROFILE_FEATURES if name in network.config.embedding_dims]
        tags = network.tables()[f"_proj_{TAGS}"].weight
        # Positions have different numbers of tags: this id, of a row of zeros, fills them up.
        self.no_tag = tags.shape[0]
        self.tag_rows = self.create_parameter([tags.shape[0] + 1, tags.shape[1]])
        self.tag_rows.set_value(paddle.concat([tags, paddle.zeros([1, tags.shape[1]])]))
        self.eval()

    def forward(self, profile, items, categories, tags, length):
        """User vectors of B users.

        Parameters
        ----------
        profile : int64 [B, P], in the order of ``self.profile``.
        items, categories : int64 [B, T]
        tags : int64 [B, T, K], filled up with ``self.no_tag``.
        length : int64 [B], of the windows.

        Returns
        -------
        float32 [B, u]
        """
        rows, users = self.network.tables(), paddle.shape(items)[0]
        embeddings = {
            feature: F.embedding(profile[:, column], rows[f"_proj_{feature}"].weight)
            for column, feature in enumerate(self.profile)
        }
        embeddings[ITEMS] = F.embedding(items.t(), rows[VIDEO_TABLE].weight)  # [T, B, 64]
        embeddings[CATEGORIES] = F.embedding(categories.t(), rows[f"_proj_{CATEGORIES}"].weight)
        embeddings[TAGS] = F.embedding(tags, self.tag_rows).sum(2).transpose([1, 0, 2])
        positions = paddle.arange(items.shape[1])
        is_click = positions.unsqueeze(0) < length.unsqueeze(1)  # [B, T], False for padding
        is_tag = (tags != self.no_tag) & is_click.unsqueeze(2)  # [B, T, K]
        tag_counts = is_tag.astype("float32").sum([1, 2])
        user = paddle.arange(users)
        batch = {
            "context_index": (length - 1) * users + user,  # of the last click, in [T * B]
            "segment": user,
            "tag_counts": tag_counts.unsqueeze(1),
            "clicks": length.astype("float32").unsqueeze(1),
            "is_click": (positions.reshape([-1, 1, 1]) < length.reshape([1, -1, 1])).astype(
                "float32"
            ),
        }
        vectors = self.network.hidden_layer(embeddings, batch)
        return self.network.or_remembered(vectors, embeddings, batch)

    def input_specs(self) -> list[InputSpec]:
        """Names, shapes and types of the arguments of `forward`."""
        window_size = self.network.config.window_size
        return [
            InputSpec([None, len(self.profile)], "int64", "profile"),
            InputSpec([None, window_size], "int64", "items"),
            InputSpec([None, window_size], "int64", "categories"),
            InputSpec([None, window_size, None], "int64", "tags"),
            InputSpec([None], "int64", "length"),
        ]

    def save(self, folder: str, fingerprints: dict[str, str]) -> None:
        """Write the program, its parameters, and inputs.json, which describes its inputs.

        Parameters
        ----------
        folder : str
        fingerprints : of dictionary and model, for inputs.json.

        Raises
        ------
        InputError
            If the network cannot be written as a static program, or what was written is damaged.
        """
        path = f"{folder}/{PROGRAM}"
        paddle.jit.ignore_module(self._modules_without_control_flow())
        with warnings.catch_warnings():
            # A kernel has no static form when an output is given, which is not the case here.
            warnings.simplefilter("ignore")
            try:
                paddle.jit.save(paddle.jit.to_static(self, input_spec=self.input_specs()), path)
            except OSError:
                raise
            except Exception as error:  # anything that a subclass may do and a program cannot
                raise InputError(
                    "--export_dir",
                    f"{self.network.config.network} cannot be written as a static "
                    f"program ({describe_error(error)})",
                    hint="see docs/network.md",
                ) from error
        try:
            paddle.jit.load(path)
        except Exception as error:  # paddle does not check whether all has been written
            raise InputError(
                folder,
                f"what was written cannot be read ({describe_error(error)})",
                hint="check the path, its permissions and the free space",
            ) from error
        inputs = {
            "inputs": [spec.name for spec in self.input_specs()],
            "profile": self.profile,
            "window_size": self.network.config.window_size,
            "no_tag": self.no_tag,
            "columns": LOG_COLUMNS,
            **fingerprints,
        }
        with open(f"{folder}/{INPUTS_FILE}", "w", encoding="utf-8") as stream:
            json.dump(inputs, stream, indent=1)

    def _modules_without_control_flow(self) -> list[ModuleType]:
        """Modules whose functions are traced as they are.

        No loop or branch in them depends on values of a batch, so paddle need not rewrite their
        source for a static program.
        """
        networks = [
            each for each in type(self.network).__mro__ if issubclass(each, EmbeddingNetwork)
        ]
        names = {__name__, layers.__name__, *(network.__module__ for network in networks)}
        return [sys.modules[name] for name in sorted(names)]


def export(
    folder: str,
    network: EmbeddingNetwork,
    base_class: type[EmbeddingNetwork],
    model: Model,
    feature_dict_path: str,
) -> None:
    """Write the user tower of a network, with its dictionary and inputs.json, to a folder.

    inputs.json is removed first and written last: an export that has it is complete.

    Parameters
    ----------
    folder : str
    network, base_class : as for `UserTower`.
    model : Model
    feature_dict_path : file that is copied.
    """
    temporary = os.path.join(folder, ".partial")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    try:
        with naming(folder):
            os.makedirs(temporary)
            UserTower(network, base_class).save(temporary, model.fingerprints())
            shutil.copy(feature_dict_path, os.path.join(temporary, DICTIONARY_FILE))
        replacements = []
        for name in os.listdir(temporary):
            target = os.path.join(folder, name)
            remove_leftovers(target)
            replacements.append(Replacement(os.path.join(temporary, name), target, target))
        replace_all(replacements, manifest=os.path.join(folder, INPUTS_FILE))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
