"""Settings that data_processor.py and train.py are to be given alike."""

from candgen.console import InputError
from candgen.data.counting_settings import counting_settings, warn_of_other_settings
from candgen.data.dictionary import write_dictionary
from conftest import feature_dict_of

import pytest

FILES = feature_dict_of(history_clicked_items=["V1"]), [0.0, 1.0], {}


@pytest.mark.parametrize(
    "limit, catalogue, differing",
    [
        (3, ["a:b:c", "d:e:f"], []),
        (3, ["d:e:f", "a:b:c", "a:b:c"], []),
        (None, ["a:b:c", "d:e:f"], ["max_user_clicks"]),
        (3, [], ["catalogue_path"]),
        (4, ["a:b:c"], ["max_user_clicks", "catalogue_path"]),
    ],
)
def test_settings_that_both_scripts_share(tmp_path, capsys, limit, catalogue, differing):
    """Recorded by data_processor.py, compared by train.py; a catalogue in any order."""
    recorded = counting_settings(3, ["a:b:c", "d:e:f"])
    write_dictionary(str(tmp_path), *FILES, recorded)
    capsys.readouterr()
    warn_of_other_settings(str(tmp_path / "item_freq.pkl"), counting_settings(limit, catalogue))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(differing)
    for line, flag in zip(lines, differing):
        assert f"item_freq.pkl: data_processor.py had another --{flag} than this run" in line


def test_files_without_a_record(tmp_path, capsys):
    """No fingerprint.json, one of an earlier version, a damaged one."""
    path = str(tmp_path / "item_freq.pkl")
    fingerprints = tmp_path / "fingerprint.json"
    for content in (None, '{"feature_dict": "1", "item_freq": "2"}'):
        if content:
            fingerprints.write_text(content)
        warn_of_other_settings(path, counting_settings(3, ["a:b:c"]))
    assert capsys.readouterr().err == ""
    fingerprints.write_text('{"settings": 3}')
    with pytest.raises(InputError, match=r"fingerprint\.json: damaged "):
        warn_of_other_settings(path, counting_settings(3, []))
