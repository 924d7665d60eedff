"""feature_dict.pkl and item_freq.pkl: read, checked, and written together."""

import pickle

from candgen.console import InputError
from candgen.data.dictionary import (
    dictionary_fingerprint,
    load_feature_dict,
    load_item_freq,
    write_dictionary,
)
from conftest import (
    FEATURES,
    SMALL_DICT,
    feature_dict_of,
)

import pytest
from kills import Kills


def save(path, content):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return str(path)


def test_round_trip_and_fingerprint(tmp_path):
    loaded = load_feature_dict(save(tmp_path / "d", SMALL_DICT))
    assert loaded == SMALL_DICT
    scrambled = {
        name: dict(reversed(values.items())) for name, values in reversed(SMALL_DICT.items())
    }
    again = load_feature_dict(save(tmp_path / "d", scrambled))
    assert list(again["history_clicked_items"]) == ["<unk>", "v1", "v2", "v3", "v4"]
    assert dictionary_fingerprint(again) == dictionary_fingerprint(loaded)
    other = {**SMALL_DICT, "city": {"<unk>": 0, "c2": 1, "c1": 2}}
    assert dictionary_fingerprint(other) != dictionary_fingerprint(loaded)
    assert load_item_freq(save(tmp_path / "f", [0.0, 0.5, 0.25, 0.25, 0.0]), loaded)[1] == 0.5


class Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps(SMALL_DICT)[:-20],
        Evil(),
        [1, 2],
        {},
        {**SMALL_DICT, "city": ["<unk>"]},
        {**SMALL_DICT, "city": {"c1": 0}},
        {**SMALL_DICT, "city": {"<unk>": 0, "a": 2}},
        {**SMALL_DICT, "city": {"<unk>": 0, "a": 1, "b": 1}},
        {**SMALL_DICT, "city": {"<unk>": 0, 5: 1}},
        {**SMALL_DICT, "city": {"<unk>": 0, "a": 1.0}},
        {**SMALL_DICT, "phone": {"<unk>": False}},
        {**SMALL_DICT, "city": {"<unk>": 0, "a\tb": 1}},
        {**SMALL_DICT, "city": {"<unk>": 0, "a\nb": 1}},
        {**SMALL_DICT, "city": {"<unk>": 0, "\ud800": 1}},
        {name: SMALL_DICT[name] for name in FEATURES[1:]},
    ],
)
def test_dictionaries_that_are_none(tmp_path, content, capsys):
    with pytest.raises(InputError, match=r"d: .*; .*data_processor.py"):
        load_feature_dict(save(tmp_path / "d", content))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        Evil(),
        {"a": 0.5},
        [0.5, 0.5],
        [0.0, 1, 0.0, 0.0, 0.0],
        [0.0, 0.5, 0.5, 0.5, 0.5],
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 1.5, -0.5, 0.0, 0.0],
        [0.0, float("nan"), 0.5, 0.5, 0.0],
        [0.0, float("inf"), 0.5, 0.5, 0.0],
    ],
)
def test_frequencies_that_are_none(tmp_path, content, capsys):
    with pytest.raises(InputError, match=r"f: .*; "):
        load_item_freq(save(tmp_path / "f", content), SMALL_DICT)
    assert capsys.readouterr().out == ""


def test_a_dictionary_that_is_killed_after_any_operation(tmp_path, monkeypatch):
    """The files are those of one run, or loading them is an error."""
    folder = tmp_path / "output"
    folder.mkdir()
    runs = [
        (feature_dict_of(history_clicked_items=videos), freq)
        for videos, freq in ((["V1", "V2"], [0.0, 0.5, 0.5]), (["V3", "V4"], [0.0, 0.75, 0.25]))
    ]
    write_dictionary(str(folder), *runs[0], {})
    (tmp_path / "pictures").mkdir()
    with monkeypatch.context() as patched:
        kills = Kills(patched, folder, tmp_path / "pictures")
        write_dictionary(str(folder), *runs[1], {})
    outcomes = []
    for picture in kills.pictures():
        feature_dict = load_feature_dict(str(picture / "feature_dict.pkl"))
        try:
            freq = load_item_freq(str(picture / "item_freq.pkl"), feature_dict)
            outcomes.append(runs.index((feature_dict, freq)))
        except InputError:
            outcomes.append("refused")
    assert outcomes == sorted(outcomes, key=[0, "refused", 1].index) and {*outcomes} == {
        0,
        "refused",
        1,
    }
    assert sorted(path.name for path in folder.iterdir()) == [
        "feature_dict.pkl",
        "fingerprint.json",
        "item_freq.pkl",
    ]
