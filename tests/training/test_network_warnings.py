"""Warnings about a network that does not go with the preset or the log."""

from candgen.data.dictionary import PROFILE_FEATURES
from candgen.training.network_warnings import (
    warn_of_preset,
    warn_of_unused_columns,
    warn_of_unused_tables,
    warn_of_user_ids,
)
from network_conf import DirectModel, DNNmodel

import pytest


@pytest.mark.parametrize(
    "preset, network, is_warned",
    [
        ("best", DirectModel, False),
        ("best", DNNmodel, True),
        ("best", type("Sub", (DirectModel,), {}), False),
        ("best", type("Own", (DNNmodel,), {"has_direct_path": True}), False),
        ("classic", DNNmodel, False),
        ("v0.10", DNNmodel, False),
    ],
)
def test_a_preset_for_direct_paths(capsys, preset, network, is_warned):
    warn_of_preset(preset, network.__name__, network.has_direct_path)
    errors = capsys.readouterr().err
    assert errors.count("\n") == is_warned
    assert ("make it a subclass of DirectModel, or give --preset=classic" in errors) == is_warned


def test_unused_columns(capsys):
    """Named in one line, whatever their number."""
    warn_of_unused_columns("Net", PROFILE_FEATURES)
    warn_of_unused_tables("Net", [])
    assert capsys.readouterr().err == ""
    warn_of_unused_columns("Net", {"user_id", "city", "province"})
    warn_of_unused_columns("Net", {"user_id": 8, "phone": 8})
    one, two = capsys.readouterr().err.splitlines()
    assert "Net does not use the column phone of the log: " in one and "embedding_dims" in one
    assert "Net does not use the columns province, city of the log: " in two


@pytest.mark.parametrize(
    "remembers, dropout, window, what",
    [
        (True, 1.0, 50, ""),
        (True, 0.5, 2, ""),
        (True, 1.0, 1, "cannot tell a window of one click from none"),
        (False, 0.9, 1, ""),
        (False, 1.0, 20, "--user_dropout=1 hides all user ids"),
    ],
)
def test_warn_of_user_ids(remembers, dropout, window, what, capsys):
    """Where lists from ids alone would be the same for all users."""
    network = type("Own", (), {"remembers_users": remembers})
    warn_of_user_ids(network, dropout, window)
    errors = capsys.readouterr().err
    assert errors.count("\n") == bool(what) and what in errors
