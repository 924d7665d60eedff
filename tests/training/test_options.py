"""Presets, and settings that do not go together."""

from candgen.training.options import parse_args
from candgen.training.presets import PRESETS

import pytest

FILES = [
    f"--{name}=x"
    for name in ("train_set_path", "test_set_path", "model_output_dir", "feature_dict", "item_freq")
]


def settings_of(*flags):
    """Settings that a command line results in."""
    return vars(parse_args("", [*FILES, *flags])[0])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_defaults_and_nothing_else(preset):
    """Of existing flags; flags of the command line come first, before the preset or after it."""
    plain = settings_of()
    settings = settings_of(f"--preset={preset}")
    assert settings == {**plain, **PRESETS[preset], "preset": preset}
    assert (settings == plain) == (preset == "classic")
    given = ("--num_negatives=7", "--no-content", "--window_size=9")
    expected = {**settings, "num_negatives": 7, "content": False, "window_size": 9}
    assert settings_of(f"--preset={preset}", *given) == expected
    assert settings_of(*given, f"--preset={preset}") == expected


def test_a_limit_of_clicks_needs_files(capsys, tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("")
    limited = settings_of(f"--train_set_path={path}", "--max_user_clicks=5")
    assert limited["max_user_clicks"] == 5
    with pytest.raises(SystemExit):
        settings_of("--train_set_path=-", "--max_user_clicks=5")
    assert "--max_user_clicks reads the training log twice" in capsys.readouterr().err


@pytest.mark.parametrize("preset, default", [("classic", 5), ("best", 2048)])
def test_help_shows_the_defaults_of_a_preset(capsys, preset, default):
    with pytest.raises(SystemExit):
        settings_of(f"--preset={preset}", "--help")
    assert f"noise samples (default: {default})" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, what",
    [
        ("--content", "--content needs --tie_embeddings"),
        ("--patience=2", "--patience needs --valid_set_path"),
        ("--l2_rate=0.1", "--l2_rate needs --optimizer=adagrad"),
        ("--min_ratio=1", "--min_ratio needs --compare_with"),
        ("--init_model_path=x", "--init_model_path and --init_feature_dict go together"),
        ("--compare_with=x", "--compare_with and --compare_feature_dict go together"),
        ("--compare_with=x/m --compare_feature_dict=y", "--compare_with is in --model_output_dir"),
        ("--valid_set_path=- --test_set_path=-", "only one input can be standard input"),
        ("--train_set_path=- --valid_set_path=-", "only one input can be standard input"),
        ("--context_set_path=x", "--context_set_path has "),
        ("--select_metric=ndcg", "argument --select_metric: invalid choice: 'ndcg'"),
        ("--batch_size=0", "argument --batch_size: 0 is out of range"),
        ("--num_passes=0", "argument --num_passes: 0 is out of range"),
        ("--learning_rate=nan", "argument --learning_rate: nan is out of range"),
        ("--optimizer=sgd", "argument --optimizer: invalid choice: 'sgd'"),
    ],
)
def test_flags_that_cannot_be(capsys, monkeypatch, tmp_path, flags, what):
    """One line on stderr, exit code 2."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        settings_of(*flags.split())
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert what in line


def test_settings_that_a_resumed_run_shares():
    """Those that the result depends on; not paths, and not what may change from run to run."""
    fixed = parse_args("", FILES)[1]
    assert {"seed", "device", "loss", "learning_rate", "max_user_clicks"} <= set(fixed)
    free = {"train_set_path", "threads", "num_passes", "patience", "checkpoint_minutes", "rules"}
    assert not free & set(fixed) and len(fixed) == len(set(fixed))
    assert set(fixed) <= settings_of().keys()
