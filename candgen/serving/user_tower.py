"""candgen.serving.user_tower"""

import json
import os
import shutil
import sys
import warnings

from candgen.console import InputError, describe_error
from candgen.data.dictionary import CATEGORIES, ITEMS, PROFILE_FEATURES, TAGS
from candgen.files import Replacement, naming, remove_leftovers, replace_all
from candgen.model.layers import VIDEO_TABLE

import paddle
from paddle import nn
from paddle.nn import functional as F


class UserTower(nn.Layer):
    """What a live service needs of a network: plain arrays -> user vectors, for `paddle.jit.save`.

    The batch may have any size; windows are padded behind their end to window_size positions.
    """

    def __init__(self, network, base_class):
        super().__init__()
        for name in (
            "forward",
            "look_up",
            "embedding_layer",
        ):  # `forward` below has its own, for plain arrays
            if getattr(type(network), name) is not getattr(base_class, name):
                raise InputError(
                    "--export_dir",
                    f"{type(network).__name__} has its own {name}",
                    hint="write the same for plain arrays into UserTower, in network_conf.py",
                )
        self.network = network
        dims, tags = network.config.embedding_dims, network.tables()[f"_proj_{TAGS}"].weight
        self.profile = [feature for feature in PROFILE_FEATURES if feature in dims]
        self.no_tag = tags.shape[
            0
        ]  # id that fills up a position with fewer tags than others: a row of zeros
        self.tag_rows = self.create_parameter([tags.shape[0] + 1, tags.shape[1]])
        self.tag_rows.set_value(paddle.concat([tags, paddle.zeros([1, tags.shape[1]])]))
        self.eval()

    def forward(self, profile, items, categories, tags, length):
        """User vectors [B, u] from int64 profile [B, P], items and categories [B, T], tags [B, T, K], length [B]."""
        rows, users = self.network.tables(), paddle.shape(items)[0]
        embeddings = {
            feature: F.embedding(profile[:, column], rows[f"_proj_{feature}"].weight)
            for column, feature in enumerate(self.profile)
        }
        embeddings[ITEMS] = F.embedding(items.t(), rows[VIDEO_TABLE].weight)  # [T, B, 64]
        embeddings[CATEGORIES] = F.embedding(categories.t(), rows[f"_proj_{CATEGORIES}"].weight)
        embeddings[TAGS] = F.embedding(tags, self.tag_rows).sum(2).transpose([1, 0, 2])
        here = paddle.arange(items.shape[1]).unsqueeze(0) < length.unsqueeze(
            1
        )  # [B, T]: no padding
        counts = ((tags != self.no_tag) & here.unsqueeze(2)).astype("float32").sum([1, 2])
        place = paddle.arange(users)
        return self.network.hidden_layer(
            embeddings,
            {
                "context_index": (length - 1) * users + place,
                "segment": place,
                "tag_counts": counts.unsqueeze(1),
                "clicks": length.astype("float32").unsqueeze(1),
            },
        )

    def save(self, folder, fingerprints):
        """Write user_tower.json and user_tower.pdiparams for `paddle.inference`, and inputs.json, which says how to
        use them, with the fingerprints of dictionary and model. InputError if what was written is damaged."""
        width, spec = self.network.config.window_size, paddle.static.InputSpec
        specs = [
            spec([None, len(self.profile)], "int64", "profile"),
            spec([None, width], "int64", "items"),
            spec([None, width], "int64", "categories"),
            spec([None, width, None], "int64", "tags"),
            spec([None], "int64", "length"),
        ]
        paddle.jit.ignore_module(
            [sys.modules[__name__]]
        )  # nothing to rewrite: no loop or branch depends on numbers
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # that a kernel has no static form with an output given, which nobody gives
            try:
                paddle.jit.save(
                    paddle.jit.to_static(self, input_spec=specs), f"{folder}/user_tower"
                )
            except OSError:
                raise
            except (
                Exception
            ) as error:  # whatever a network of one's own does that a static program cannot
                raise InputError(
                    "--export_dir",
                    f"{self.network.config.network} cannot be written as a static "
                    f"program ({describe_error(error)})",
                    hint="see docs/network.md",
                ) from error
        try:
            paddle.jit.load(f"{folder}/user_tower")
        except Exception as error:  # its writer does not look whether all has been written
            raise InputError(
                folder,
                f"what was written cannot be read ({describe_error(error)})",
                hint=("check the path, its rights and the free space"),
            ) from error
        with open(f"{folder}/inputs.json", "w", encoding="utf-8") as stream:
            json.dump(
                {
                    "inputs": [each.name for each in specs],
                    "profile": self.profile,
                    "window_size": width,
                    "no_tag": self.no_tag,
                    **fingerprints,
                },
                stream,
                indent=1,
            )


def export(folder, network, base_class, model, dictionary):
    """Put the user tower, `dictionary` and inputs.json into a folder: what has an inputs.json is whole."""
    made = os.path.join(folder, ".partial")
    shutil.rmtree(made, ignore_errors=True)  # of a run that was killed
    try:
        with naming(folder):
            os.makedirs(made)
            UserTower(network, base_class).save(made, model.fingerprints())
            shutil.copy(dictionary, os.path.join(made, "feature_dict.pkl"))
        moves = [
            (os.path.join(made, name), os.path.join(folder, name)) for name in os.listdir(made)
        ]
        for _, place in moves:
            remove_leftovers(place)
        replace_all(
            [Replacement(source, place, place) for source, place in moves],
            manifest=os.path.join(folder, "inputs.json"),
        )
    finally:
        shutil.rmtree(made, ignore_errors=True)
