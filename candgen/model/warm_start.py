"""candgen.model.warm_start"""

import re

from candgen.archives import read_archive
from candgen.console import InputError, describe_error, logger
from candgen.data.dictionary import (
    CATEGORIES,
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


def previous_ids(old, new):
    """{table: int64 [rows now]}: the earlier id of each row now, by the earlier and the new dictionary; 0 for none."""
    ids = {
        f"_proj_{feature}": np.array([old[feature].get(value, 0) for value in values])
        for feature, values in new.items()
    }
    tags, categories = ids[f"_proj_{TAGS}"], ids[f"_proj_{CATEGORIES}"]
    content = np.concatenate([tags, np.where(categories, categories + len(old[TAGS]), 0)])
    content[len(tags)] = len(old[TAGS])  # the unknown category's
    return {**ids, "nce_w": ids[VIDEO_TABLE], "nce_b": ids[VIDEO_TABLE], "content": content}


def carry_over(initial, before, dictionaries, freqs, content):
    """What an earlier run has learned, by another dictionary, in place of the initial values.

    Rows of tables go by name, with the optimiser's moments. A new user starts as the `<unk>` user, a new video where
    the videos with its tags and category stand on average; other new values start as they would. A bias keeps its
    distance to the log of its video's frequency.

    Parameters
    ----------
    initial : {name: array}, the new network's `arrays`.    before : {name: array}, the earlier `Trainer.state`.
    dictionaries : (earlier, new), {feature: {value: id}}.    freqs : (earlier, new), item_freq.
    content : reader.Content of the new dictionary's videos.

    Returns
    -------
    {name: array}, for `Trainer.restore`. KeyError, ValueError or IndexError if `before` is of another network.
    """
    ids = previous_ids(*dictionaries)
    log_old, log_new = (log_frequencies(freq)[:, None] for freq in freqs)
    found = {}
    for name, value in before.items():
        table = next(
            (table for table in ids if name == table or name.startswith(f"{table}_moment")), None
        )
        if table is None:
            found[name] = value
            continue
        rows, known = (value.T if name == "nce_b" else value)[ids[table]], ids[table][:, None] > 0
        if table in (VIDEO_TABLE, "nce_w", "nce_b"):
            known &= (
                np.asarray(freqs[0])[ids[table], None] > 0
            )  # others of a catalogue have learned nothing
        known[0] = True  # <unk>
        if name == "nce_b":
            offset = rows - log_old[ids[table]]
            rows = log_new + np.where(
                known, offset, np.nan_to_num(neighbor_mean(offset, content, known[:, 0]))
            )
        elif name in (VIDEO_TABLE, "nce_w"):
            near = neighbor_mean(rows, content, known[:, 0])
            rows = np.where(known, rows, np.where(np.isnan(near), initial[name], near))
        elif name != table:
            rows = np.where(known, rows, 0)  # nothing is known of a new row's gradients
        elif name != "_proj_user_id":
            rows = np.where(known, rows, initial[name])
        found[name] = rows.astype(np.float32).T if name == "nce_b" else rows.astype(np.float32)
    return found


def start_warm(args, trainer, feature_dict, item_freq):
    """Begin where the run of --init_model_path ended: by names, since its dictionary is another one."""
    path, hint = (
        args.init_model_path,
        "give a checkpoint.tar.gz, with moments, or a model_*.tar.gz of train.py",
    )
    metadata, before = trainer.ranks.broadcast_object(lambda: read_archive(path, hint))
    earlier, before_freq = (
        load_feature_dict(args.init_feature_dict),
        before.pop("item_freq", np.zeros(0)),
    )
    identity = metadata.get("identity", metadata)
    if not isinstance(identity, dict) or (
        identity.get("dictionary_fingerprint") != dictionary_fingerprint(earlier)
    ):
        raise InputError(
            path, "trained with another dictionary than --init_feature_dict", hint="give its own"
        )
    if identity.get("optimizer") != args.optimizer:  # its state is of no use to this one
        before = {
            name: value for name, value in before.items() if not re.search("_moment|_pow_acc", name)
        }
    try:
        if identity.get("network") not in (None, args.network):
            raise ValueError(f"its --network is {identity['network']:.60}")
        if before_freq.shape != (len(earlier[ITEMS]),):
            raise ValueError("item_freq has another shape")
        attributes = trainer.network.attributes
        if "attribute_ids" in before:
            known = ItemAttributes(before.pop("attribute_ids"), before.pop("attribute_offsets"))
            ids = previous_ids(earlier, feature_dict)
            attributes = attributes.completed(
                known, ids[VIDEO_TABLE], ids["content"], len(feature_dict[TAGS])
            )
        initial, rate = trainer.state()  # the rate falls from its start again
        carried = carry_over(
            initial, before, (earlier, feature_dict), (before_freq, item_freq), attributes
        )
        trainer.restore(
            {**carried, "attribute_ids": attributes.ids, "attribute_offsets": attributes.offsets},
            rate,
        )
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            path,
            f"of a network that is not like this one ({describe_error(error)})",
            hint=("train with its settings; with --content give its checkpoint.tar.gz"),
        ) from error
    known = {
        feature: len(earlier[feature].keys() & values.keys()) - 1
        for feature, values in feature_dict.items()
    }
    logger.info(
        f"{path}: went on with "
        + ", ".join(
            f"{count} of {len(feature_dict[feature]) - 1} {feature}"
            for feature, count in known.items()
        )
    )
