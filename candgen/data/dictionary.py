"""Columns of the log and features; feature_dict.pkl and item_freq.pkl."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from candgen.archives import bounded_read, fingerprint, load_plain_pickle
from candgen.console import InputError, logger
from candgen.files import atomic_write_set

import numpy as np

# The columns of the log, in their order. Every column but the history is a feature of the profile.
LOG_COLUMNS = ("user_id", "province", "city", "history", "phone")
PROFILE_FEATURES = tuple(column for column in LOG_COLUMNS if column != "history")
USER_COLUMN = PROFILE_FEATURES.index("user_id")
# The features of a click
ITEMS = "history_clicked_items"
CATEGORIES = "history_clicked_categories"
TAGS = "history_clicked_tags"
CLICK_FEATURES = (ITEMS, CATEGORIES, TAGS)
FEATURES = PROFILE_FEATURES + CLICK_FEATURES
UNKNOWN = "<unk>"  # the value with id 0 of each feature
NO_VALUE = frozenset({"", "NULL", UNKNOWN})  # values of a log that mean that nothing is known

PICKLE_PROTOCOL = 4
# The file beside feature_dict.pkl and item_freq.pkl that shows that they are of one run
FINGERPRINTS = "fingerprint.json"


def load_feature_dict(path: str) -> dict[str, dict[str, int]]:
    """Read and check feature_dict.pkl.

    Returns
    -------
    dict of str to dict of str to int
        {feature: {value: id}} in order of the ids 0 .. n-1; 0 is `<unk>`.

    Raises
    ------
    InputError
        If the file is missing, or is not a feature dictionary.
    """
    hint = "give the feature_dict.pkl that data_processor.py wrote"
    with bounded_read(path, hint) as stream:
        feature_dict = load_plain_pickle(stream)
        for feature in FEATURES:
            values = feature_dict.get(feature) if isinstance(feature_dict, dict) else None
            if not _is_dictionary(values):
                problem = f"no dictionary of {feature} with ids from 0 (= {UNKNOWN})"
                raise InputError(path, problem, hint=hint)
            feature_dict[feature] = dict(sorted(values.items(), key=lambda item: item[1]))
    return feature_dict


def _is_dictionary(values: Any) -> bool:
    """Whether this is {value: id} as made from a log.

    Ids are 0 .. n-1; values are UTF-8 without tabs and newlines.
    """
    if not isinstance(values, dict) or values.get(UNKNOWN) != 0:
        return False
    if {*map(type, values)} != {str} or {*map(type, values.values())} != {int}:
        return False
    if sorted(values.values()) != list(range(len(values))):
        return False
    text = "\n".join(values)
    text.encode()  # UnicodeEncodeError for half of a surrogate pair
    return "\t" not in text and text.count("\n") == len(values) - 1


def load_item_freq(path: str, feature_dict: Mapping[str, Mapping[str, int]]) -> list[float]:
    """Read and check item_freq.pkl: one probability a video of the dictionary, with sum 1.

    If a fingerprint.json lies beside it, it must show that both files are of one run.

    Raises
    ------
    InputError
        If the file is missing, or does not belong to the dictionary.
    """
    hint = "give the item_freq.pkl that data_processor.py wrote together with the dictionary"
    with bounded_read(path, hint) as stream:
        freq = load_plain_pickle(stream)
        problem = _frequency_problem(freq, len(feature_dict[ITEMS]))
        if problem:
            raise InputError(path, problem, hint=hint)
    fingerprints = os.path.join(os.path.dirname(path), FINGERPRINTS)
    if os.path.exists(fingerprints):
        with bounded_read(fingerprints, "make it again with data_processor.py") as stream:
            expected = {name: str(value) for name, value in json.load(stream).items()}
            if expected["item_freq"] != fingerprint(freq):
                problem = f"not the one that the {FINGERPRINTS} beside it was written with"
                raise InputError(path, problem, hint=hint)
            if expected["feature_dict"] != dictionary_fingerprint(feature_dict):
                problem = "made with another dictionary than --feature_dict"
                raise InputError(path, problem, hint=hint)
    return freq


def _frequency_problem(freq: Any, videos: int) -> str | None:
    """What is wrong with frequencies of so many videos; None if nothing is."""
    if not isinstance(freq, list) or not all(isinstance(share, float) for share in freq):
        return "not a list of floats"
    if len(freq) != videos:
        return f"{len(freq)} frequencies for {videos} videos of the dictionary"
    is_distribution = all(share >= 0 for share in freq) and math.isclose(sum(freq), 1, abs_tol=1e-6)
    if not is_distribution or not any(freq[1:]):  # all clicks on <unk>
        return "not probabilities that sum to 1"
    return None


def write_dictionary(
    folder: str,
    feature_dict: Mapping[str, Mapping[str, int]],
    item_freq: Sequence[float],
    further_files: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write feature_dict.pkl, item_freq.pkl, fingerprint.json and further text files, or none.

    fingerprint.json is replaced last: beside the files of an interrupted run the earlier one shows
    that they do not belong together.

    Parameters
    ----------
    folder : str
    feature_dict : dict
    item_freq : list of float
    further_files : dict of str to str
        {name: text}
    settings : dict, optional
        For fingerprint.json, see candgen/data/counting_settings.py.
    """
    fingerprints = {
        "feature_dict": dictionary_fingerprint(feature_dict),
        "item_freq": fingerprint(item_freq),
        "settings": dict(settings or {}),
    }
    files = {
        "feature_dict.pkl": pickle.dumps(feature_dict, PICKLE_PROTOCOL),
        "item_freq.pkl": pickle.dumps(item_freq, PICKLE_PROTOCOL),
    }
    files.update({name: text.encode() for name, text in further_files.items()})
    files[FINGERPRINTS] = json.dumps(fingerprints, indent=1).encode()
    with atomic_write_set([os.path.join(folder, name) for name in files]) as streams:
        for stream, content in zip(streams, files.values()):
            stream.write(content)
    logger.info(f"dictionary {fingerprints['feature_dict'][:16]}")


def dictionary_fingerprint(feature_dict: Mapping[str, Mapping[str, int]]) -> str:
    """SHA-256, in hexadecimal, of the values in id order: ties models to their dictionary."""
    digest = hashlib.sha256()
    for feature in FEATURES:
        digest.update(f"{feature}\t{len(feature_dict[feature])}\n".encode())
        digest.update("\n".join(feature_dict[feature]).encode())
    return digest.hexdigest()


def log_frequencies(item_freq: Iterable[float]) -> np.ndarray:
    """Logarithms of item_freq, float64 [V]; zeros are replaced by the smallest other frequency."""
    freq = np.asarray(item_freq, np.float64)
    videos = freq[1:]  # without <unk>
    return np.log(np.maximum(freq, videos[videos > 0].min()))


def build_dictionary(
    counts: Mapping[str, int],
    limit: int,
    base: Mapping[str, int] | None = None,
    listed: Collection[str] = (),
) -> dict[str, int]:
    """Assign ids to values: 0 to `<unk>`, then by falling count, then by value.

    Parameters
    ----------
    counts : dict of str to int
    limit : int
        Values with fewer occurrences are left out.
    base : dict of str to int, optional
        An earlier dictionary: values keep their ids in it, as far as no ids remain unused. The
        other values take the remaining ids in the order above.
    listed : collection of str
        Values that are included whatever their count.

    Returns
    -------
    dict of str to int
        In order of the ids.
    """
    kept = {value for value, count in counts.items() if count >= limit} | set(listed)
    kept -= NO_VALUE
    ordered = sorted(kept, key=lambda value: (-counts.get(value, 0), value))
    if base:
        largest = len(ordered)
        stay = {value: base[value] for value in ordered if base.get(value, largest + 1) <= largest}
        free = iter(sorted(set(range(1, largest + 1)) - set(stay.values())))
        ids = {value: stay[value] if value in stay else next(free) for value in ordered}
        ordered.sort(key=ids.__getitem__)
    return {value: id_ for id_, value in enumerate([UNKNOWN, *ordered])}


def item_frequencies(counts: Mapping[str, int], dictionary: Mapping[str, int]) -> list[float]:
    """Share of all clicks on each video of the dictionary, in its order.

    Index 0, `<unk>`, has the share of all other videos; the sum is 1.
    """
    total = sum(counts.values())
    kept = [counts.get(video, 0) for video in dictionary if video != UNKNOWN]
    return [(total - sum(kept)) / total, *(count / total for count in kept)]
