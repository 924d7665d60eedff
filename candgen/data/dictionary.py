"""candgen.data.dictionary"""

import hashlib
import json
import math
import os

from candgen.archives import bounded_read, fingerprint, load_plain_pickle
from candgen.console import InputError

import numpy as np

LOG_COLUMNS = ("user_id", "province", "city", "history", "phone")
PROFILE_FEATURES = (
    "user_id",
    "province",
    "city",
    "phone",
)  # those of the columns that are features
CLICK_FEATURES = ITEMS, CATEGORIES, TAGS = (
    "history_clicked_items",
    "history_clicked_categories",
    "history_clicked_tags",
)
FEATURES = PROFILE_FEATURES + CLICK_FEATURES
UNKNOWN = "<unk>"
NO_VALUE = {"", "NULL", UNKNOWN}  # never in a dictionary: they mean that nothing is known
FINGERPRINTS = "fingerprint.json"  # lies beside feature_dict.pkl and item_freq.pkl and ties them


def load_feature_dict(path):
    """Read and check feature_dict.pkl: {feature: {value: id}}, ids 0..n-1, 0 for `<unk>`; values in id order."""
    hint = "give the feature_dict.pkl that data_processor.py wrote"
    with bounded_read(path, hint) as stream:
        feature_dict = load_plain_pickle(stream)
        for feature in FEATURES:
            values = feature_dict.get(feature) if isinstance(feature_dict, dict) else None
            if not _is_dictionary(values):
                raise InputError(
                    path, f"no dictionary of {feature} with ids from 0 (= {UNKNOWN})", hint=hint
                )
            feature_dict[feature] = dict(sorted(values.items(), key=lambda item: item[1]))
    return feature_dict


def _is_dictionary(values):
    """Whether these are {value: id} as made from a log: ids from 0 without a gap, values of UTF-8 without tabs."""
    if (
        not isinstance(values, dict)
        or values.get(UNKNOWN) != 0
        or {*map(type, values)} != {str}
        or {*map(type, values.values())} != {int}
        or sorted(values.values()) != list(range(len(values)))
    ):
        return False
    text = "\n".join(values)
    text.encode()  # an error: half of a surrogate pair
    return "\t" not in text and text.count("\n") == len(values) - 1


def load_item_freq(path, feature_dict):
    """Read and check item_freq.pkl against its dictionary: one probability a video, summing to 1.

    The two must come from one run if there is a fingerprint.json beside item_freq.pkl, which says so.
    """
    hint = "give the item_freq.pkl that data_processor.py wrote together with the dictionary"
    with bounded_read(path, hint) as stream:
        freq = load_plain_pickle(stream)
        if not isinstance(freq, list) or not all(isinstance(share, float) for share in freq):
            raise InputError(path, "not a list of floats", hint=hint)
        if len(freq) != len(feature_dict[ITEMS]):
            raise InputError(
                path,
                f"{len(freq)} frequencies for {len(feature_dict[ITEMS])} videos of the dictionary",
                hint=hint,
            )
        if (
            not all(share >= 0 for share in freq)
            or not math.isclose(sum(freq), 1, abs_tol=1e-6)
            or not any(freq[1:])
        ):
            raise InputError(path, "not probabilities that sum to 1", hint=hint)
    beside = os.path.join(os.path.dirname(path), FINGERPRINTS)
    if os.path.exists(beside):
        with bounded_read(beside, "make it again with data_processor.py") as stream:
            metadata = {name: str(value) for name, value in json.load(stream).items()}
            if metadata["item_freq"] != fingerprint(freq):
                raise InputError(
                    path,
                    f"not the one that the {FINGERPRINTS} beside it was written with",
                    hint=hint,
                )
            if metadata["feature_dict"] != dictionary_fingerprint(feature_dict):
                raise InputError(
                    path, "made with another dictionary than --feature_dict", hint=hint
                )
    return freq


def dictionary_fingerprint(feature_dict):
    """SHA-256, as hex, of the values of a feature dictionary in id order: ties models to their dictionary."""
    digest = hashlib.sha256()
    for feature in FEATURES:
        digest.update(f"{feature}\t{len(feature_dict[feature])}\n".encode())
        digest.update("\n".join(feature_dict[feature]).encode())
    return digest.hexdigest()


def log_frequencies(item_freq):
    """log of the probabilities of item_freq, float64 [videos]; zeros (`<unk>`, mostly) get the smallest other."""
    freq = np.asarray(item_freq, np.float64)
    return np.log(np.maximum(freq, freq[1:][freq[1:] > 0].min()))


def build_dictionary(counts, limit, base=None, listed=()):
    """{value: id} of the values of {value: count} seen at least `limit` times, and of those that are `listed`.

    0 is `<unk>`, then they go by falling count, then by value; values of a `base`, an earlier dictionary, keep their
    ids, as long as ids have no gaps, and the others take what is free in that order.
    """
    kept = {value for value, count in counts.items() if count >= limit} | set(listed)
    kept = sorted(kept - NO_VALUE)
    kept.sort(
        key=lambda value: counts.get(value, 0), reverse=True
    )  # stable: equal counts stay in the order of values
    if base:
        stay = {value: base[value] for value in kept if base.get(value, len(kept) + 1) <= len(kept)}
        free = iter(sorted(set(range(1, len(kept) + 1)) - set(stay.values())))
        ids = {value: stay[value] if value in stay else next(free) for value in kept}
        kept.sort(key=ids.__getitem__)
    return {value: id_ for id_, value in enumerate([UNKNOWN, *kept])}


def item_frequencies(counts, dictionary):
    """Share of all clicks on each video of the dictionary, in its order; index 0: on all the others. Sums to 1."""
    total = sum(counts.values())
    kept = [counts.get(video, 0) for video in dictionary if video != UNKNOWN]
    return [(total - sum(kept)) / total, *(count / total for count in kept)]
