"""Start of a run from an earlier run's model, by names: its dictionary is another one."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from candgen.archives import read_archive
from candgen.console import InputError, describe_error, logger
from candgen.data.dictionary import (
    CATEGORIES,
    FEATURES,
    ITEMS,
    TAGS,
    dictionary_fingerprint,
    load_feature_dict,
    log_frequencies,
)
from candgen.data.items import ItemAttributes
from candgen.model.cold_items import neighbor_mean
from candgen.model.layers import VIDEO_TABLE

import numpy as np

HINT = "give a checkpoint.tar.gz, with moments, or a model_*.tar.gz of train.py"
OPTIMIZER_STATE = re.compile("_moment|_pow_acc")  # in the names of an optimizer's arrays


@dataclasses.dataclass(frozen=True)
class EarlierRun:
    """What is left of an earlier run.

    Attributes
    ----------
    arrays : {name: array}, parameters, and moments if it is a checkpoint.
    attributes : ItemAttributes of its videos; None of a model file.
    item_freq : float32 [videos]
    feature_dict : {feature: {value: id}}
    network : name of its class; None if unknown.
    """

    arrays: dict[str, np.ndarray]
    attributes: ItemAttributes | None
    item_freq: np.ndarray
    feature_dict: dict[str, dict[str, int]]
    network: str | None


def load_earlier_run(
    path: str, feature_dict_path: str, optimizer: str, metadata: dict, arrays: dict
) -> EarlierRun:
    """Check what was read from a checkpoint or model file.

    Parameters
    ----------
    path : of the file, for messages.
    feature_dict_path : its dictionary.
    optimizer : of the new run; the state of another one is left out.
    metadata, arrays : as `read_archive` returned them.

    Raises
    ------
    InputError
        If they do not belong together.
    """
    feature_dict = load_feature_dict(feature_dict_path)
    identity = metadata.get("identity", metadata)
    fingerprint = dictionary_fingerprint(feature_dict)
    if not isinstance(identity, dict) or identity.get("dictionary_fingerprint") != fingerprint:
        raise InputError(
            path, "trained with another dictionary than --init_feature_dict", hint="give its own"
        )
    arrays = dict(arrays)
    item_freq = arrays.pop("item_freq", np.zeros(0))
    attributes = None
    if "attribute_ids" in arrays and "attribute_offsets" in arrays:
        attributes = ItemAttributes(arrays.pop("attribute_ids"), arrays.pop("attribute_offsets"))
    if identity.get("optimizer") != optimizer:
        arrays = {name: value for name, value in arrays.items() if not OPTIMIZER_STATE.search(name)}
    return EarlierRun(arrays, attributes, item_freq, feature_dict, identity.get("network"))


def warm_start(
    trainer: Any,
    path: str,
    feature_dict_path: str,
    optimizer: str,
    feature_dict: dict,
    item_freq: list[float] | np.ndarray,
) -> None:
    """Start a trainer where an earlier run ended.

    Parameters
    ----------
    trainer : Trainer of the new network.
    path : checkpoint or model of the earlier run.
    feature_dict_path : its dictionary.
    optimizer : of the new run.
    feature_dict, item_freq : of the new run.

    Raises
    ------
    InputError
        If the file is damaged, or of another network.
    """
    metadata, arrays = trainer.ranks.broadcast_object(lambda: read_archive(path, HINT))
    earlier = load_earlier_run(path, feature_dict_path, optimizer, metadata, arrays)
    network = trainer.network
    try:
        if earlier.network not in (None, network.config.network):
            raise ValueError(f"its --network is {earlier.network:.60}")
        if earlier.item_freq.shape != (len(earlier.feature_dict[ITEMS]),):
            raise ValueError("item_freq has another shape")
        attributes = network.attributes
        if earlier.attributes is not None:
            ids = previous_ids(earlier.feature_dict, feature_dict)
            num_tags = len(feature_dict[TAGS])
            attributes = attributes.completed(
                earlier.attributes, ids[VIDEO_TABLE], ids["content"], num_tags
            )
        initial, rate = trainer.state()  # the learning rate starts again
        arrays = carry_over(
            initial,
            earlier.arrays,
            (earlier.feature_dict, feature_dict),
            (earlier.item_freq, item_freq),
            attributes,
        )
        arrays["attribute_ids"] = attributes.ids
        arrays["attribute_offsets"] = attributes.offsets
        trainer.restore(arrays, rate)
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            path,
            f"of a network that is not like this one ({describe_error(error)})",
            hint="train with its settings; with --content give its checkpoint.tar.gz",
        ) from error
    shares = []
    for feature in FEATURES:
        values = feature_dict[feature]
        kept = len(earlier.feature_dict[feature].keys() & values.keys()) - 1  # without <unk>
        shares.append(f"{kept} of {len(values) - 1} {feature}")
    logger.info(f"{path}: carried over {', '.join(shares)}")


def previous_ids(earlier: dict, feature_dict: dict) -> dict[str, np.ndarray]:
    """The earlier id of each row of a table.

    Parameters
    ----------
    earlier, feature_dict : {feature: {value: id}}, the earlier and the new dictionary.

    Returns
    -------
    {table: int64 [rows]}, 0 for a new row.
    """
    ids = {
        f"_proj_{feature}": np.array([earlier[feature].get(value, 0) for value in values])
        for feature, values in feature_dict.items()
    }
    ids["nce_w"] = ids["nce_b"] = ids[VIDEO_TABLE]
    # the table of attributes: tags, then categories
    tags = ids[f"_proj_{TAGS}"]
    categories = ids[f"_proj_{CATEGORIES}"]
    first_category = len(earlier[TAGS])
    content = np.concatenate([tags, np.where(categories, categories + first_category, 0)])
    content[len(tags)] = first_category  # the unknown category
    ids["content"] = content
    return ids


def carry_over(
    initial: dict[str, np.ndarray],
    earlier: dict[str, np.ndarray],
    dictionaries: tuple[dict, dict],
    freqs: tuple,
    attributes: ItemAttributes,
) -> dict[str, np.ndarray]:
    """Parameters and moments of an earlier run, by another dictionary.

    Rows of tables go by name, with the optimizer's moments. A new user starts as the `<unk>` user,
    a new video where the videos with its tags and category are on average; other new values keep
    their initial ones. A bias keeps its distance to the log-frequency of its video.

    Parameters
    ----------
    initial : {name: array}, `arrays` of the new network.
    earlier : {name: array}, as `Trainer.state` returned them.
    dictionaries : (earlier, new), {feature: {value: id}} each.
    freqs : (earlier, new), item_freq each.
    attributes : ItemAttributes of the new dictionary's videos.

    Returns
    -------
    {name: array}, for `Trainer.restore`.

    Raises
    ------
    KeyError, ValueError, IndexError
        If `earlier` is of another network.
    """
    ids = previous_ids(*dictionaries)
    earlier_freq, freq = freqs
    carried = {}
    for name, value in earlier.items():
        table = _table_of(name, ids)
        if table is None:
            carried[name] = value  # of a dense layer
            continue
        earlier_rows = value.T if name == "nce_b" else value
        rows = earlier_rows[ids[table]]  # [rows, width]
        is_known = ids[table] > 0
        if table in (VIDEO_TABLE, "nce_w", "nce_b"):
            # videos of a catalogue without a click have learned nothing
            is_known &= np.asarray(earlier_freq)[ids[table]] > 0
        is_known[0] = True  # <unk>
        if name == "nce_b":
            earlier_log = log_frequencies(earlier_freq)[ids[table], None]
            offsets = _from_neighbors(rows - earlier_log, is_known, attributes, 0)
            rows = log_frequencies(freq)[:, None] + offsets
        elif name in (VIDEO_TABLE, "nce_w"):
            rows = _from_neighbors(rows, is_known, attributes, initial[name])
        elif name != table:
            rows = np.where(is_known[:, None], rows, 0)  # no gradient of a new row is known
        elif name != "_proj_user_id":
            rows = np.where(is_known[:, None], rows, initial[name])
        rows = rows.astype(np.float32)
        carried[name] = rows.T if name == "nce_b" else rows
    return carried


def _table_of(name, tables):
    """The table that an array of parameters or moments belongs to; None for a dense layer."""
    for table in tables:
        if name == table or name.startswith(f"{table}_moment"):
            return table
    return None


def _from_neighbors(rows, is_known, attributes, otherwise):
    """Known rows, the neighbors' mean in place of the others, `otherwise` without neighbors."""
    means = neighbor_mean(rows, attributes, is_known)
    means = np.where(np.isnan(means), otherwise, means)
    return np.where(is_known[:, None], rows, means)
