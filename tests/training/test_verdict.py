"""The verdict of a run: every case, by hand."""

import logging

from candgen.training.presets import PRESETS
from candgen.training.verdict import EXAMPLES, verdict

import pytest

FLAT, RISING = [0.16, 0.16], [0.1, 0.16]  # values of two passes
RATIOS = "8.0 times popularity and 0.53 times rules"
MORE = "--resume --num_passes=8"  # as many as the preset best has
MORE_CLASSIC = "--resume --num_passes=10"
USUAL = {"best": 8, "classic": 10, "v0.10": 1}  # passes
CLASSIC = "classic is the network of the original example; try --preset=best"
SERVE = "to serve it: infer.py --model_path=out/model_pass_00001.tar.gz"
SMALL = "in a small log counts of co-occurrence are hard to beat: train on more clicks"
WHOLE = "does each line have all clicks of a user? If so, train on more clicks"
UNCLEAR = "no clear difference from rules among"
BY_VALID = "the best by valid_ndcg@10 0.3000)"
TRAINED_ON = "the clicks of the test log were trained on: give one with new clicks"


def verdict_of(values, valid=(), popularity=0.02, rules=None, users=2000, preset="best", **options):
    """The verdict on passes with these values on the test log and on the validation log."""
    rows = [{"pass": number, "ndcg@10": value} for number, value in enumerate(values)]
    for row, value in zip(rows, valid):
        row["valid_ndcg@10"] = value
    baselines = {"popularity_ndcg@10": popularity, "popularity_mrr@10": 0.9}
    if rules is not None:
        baselines.update({"rules_ndcg@10": rules, "rules_mrr@10": 0.9})
    return verdict(rows, baselines, "ndcg@10", preset, USUAL[preset], users, "out", **options)


@pytest.mark.parametrize(
    "values, options, meaning",
    [  # two standard errors of 0.16 are 0.0164 among 2,000 users, 0.0037 among 40,000
        (FLAT, {"rules": 0.3, "preset": "classic"}, f"worse than rules; {CLASSIC}"),
        (
            RISING,
            {"rules": 0.3, "preset": "classic"},
            f"worse than rules; {CLASSIC}, or {MORE_CLASSIC}",
        ),
        (RISING, {"rules": 0.3}, f"worse than rules; try {MORE}"),
        ([0.16], {"rules": 0.3}, f"worse than rules; try {MORE}"),
        ([*[0.1] * 7, 0.16], {"rules": 0.3}, "worse than rules; try --resume --num_passes=16"),
        (FLAT, {"rules": 0.3}, f"worse than rules; {SMALL}"),
        (FLAT, {"rules": 0.3, "gated": True}, f"worse than rules; {SMALL}"),
        (FLAT, {"rules": 0.3, "popularity": 0.2}, f"worse than popularity and rules; {WHOLE}"),
        (FLAT, {"popularity": 0.2}, f"worse than popularity; {WHOLE}"),
        (
            FLAT,
            {"rules": 0.3, "popularity": 0.17},
            f"worse than rules, no clear difference from popularity among 2000 test users; {SMALL}",
        ),
        (FLAT, {"rules": 0.15}, f"{UNCLEAR} 2000 test users; a test log of more users would tell"),
        (RISING, {"rules": 0.15}, f"{UNCLEAR} 2000 test users; try {MORE}"),
        (
            FLAT,
            {"rules": 0.15, "preset": "v0.10"},
            f"{UNCLEAR} 2000 test users; v0.10 trains as the original example did; "
            "try --preset=best",
        ),
        (FLAT, {"rules": 0.15, "users": 40_000}, f"better than popularity and rules; {SERVE}"),
        (FLAT, {"rules": 0.17, "users": 40_000}, f"worse than rules; {SMALL}"),
        (FLAT, {}, f"better than popularity; {SERVE}"),
        (RISING, {}, f"better than popularity; {SERVE}; {MORE} may improve it"),
        (
            RISING,
            {"preset": "classic"},
            f"better than popularity; {SERVE}; on most logs --preset=best is better still",
        ),
        (RISING, {"gated": True}, f"better than popularity; {MORE} may improve it"),
        (FLAT, {"gated": True}, "better than popularity"),
    ],
)
def test_what_the_figures_mean(values, options, meaning):
    """What follows the figures; without a validation log the last pass counts."""
    level, text = verdict_of(values, **options)
    model, figures, rest = text.split(": ", 2)
    assert model == f"model_pass_{len(values) - 1:05d}.tar.gz (the last pass)"
    assert figures.startswith("ndcg@10 0.1600 on the test log, ") and rest == meaning
    assert level == (logging.INFO if meaning.startswith("better") else logging.WARNING)
    assert len(text) <= 280


@pytest.mark.parametrize(
    "value, popularity, rules, ratios",
    [
        (0.16, 0.02, 0.3, RATIOS),
        (0.16, 0.02, None, "8.0 times popularity"),
        (0.16, 0.15, 0.001, "1.07 times popularity and 160.0 times rules"),
        (0.16, 0.0, 0.16, "popularity has 0 and 1.00 times rules"),
        (0.0, 0.0, 0.3, "popularity has 0 and 0.00 times rules"),
    ],
)
def test_figures(value, popularity, rules, ratios):
    _, text = verdict_of([value], popularity=popularity, rules=rules)
    assert f": ndcg@10 {value:.4f} on the test log, {ratios}: " in text


@pytest.mark.parametrize(
    "valid, gated, chosen, value",
    [
        ((0.1, 0.3, 0.2), False, f"model_best.tar.gz (pass 00001, {BY_VALID}", 0.4),
        ((0.1, 0.3, 0.2), True, f"model_pass_00001.tar.gz (pass 00001, {BY_VALID}", 0.4),
        ((0.2, 0.2, 0.3), False, f"model_best.tar.gz (pass 00002, {BY_VALID}", 0.3),
        ((), False, "model_pass_00002.tar.gz (the last pass)", 0.3),
    ],
)
def test_the_chosen_pass(valid, gated, chosen, value):
    """By the validation log; its figures are those of the test log."""
    level, text = verdict_of([0.5, 0.4, 0.3], valid, gated=gated)
    assert text.startswith(f"{chosen}: ndcg@10 {value:.4f} on the test log, ")
    assert level == logging.INFO
    assert ("--num_passes=8 may improve it" in text) == (valid == (0.2, 0.2, 0.3))


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"trained_on": True}, TRAINED_ON),
        ({"users": 49}, "figures of 49 users are uncertain: give a test log of 50 or more users"),
        ({"users": 49, "trained_on": True}, TRAINED_ON),
    ],
)
def test_figures_that_say_little(options, problem):
    """Neither better nor worse is said."""
    assert verdict_of([0.16], rules=0.3, **options) == (
        logging.WARNING,
        f"model_pass_00000.tar.gz (the last pass): ndcg@10 0.1600 on the test log, {RATIOS}; "
        f"{problem}",
    )


def test_a_validation_log_without_a_hit():
    assert verdict_of([0.1, 0.16], (0.0, 0.0), rules=0.3) == (
        logging.WARNING,
        "model_best.tar.gz (the last pass, since valid_ndcg@10 is 0 in every pass): ndcg@10 0.1600 "
        f"on the test log, {RATIOS}; give a larger --valid_set_path, or another --select_metric",
    )


def test_rows_of_an_older_version():
    """They may lack a metric."""
    baselines = {"popularity_ndcg@10": 0.02}
    rows = [{"pass": 0}, {"pass": 1, "ndcg@10": 0.16}]
    level, text = verdict(rows, baselines, "ndcg@10", "best", 8, 2000, "out")
    assert level == logging.INFO and "--num_passes=8 may improve it" in text


@pytest.mark.parametrize(
    "value, other, users, meaning",
    [  # the larger one of the standard errors counts, twice
        (0.5, 0.399, 100, "better than popularity"),  # 2 * sqrt(0.25 / 100) = 0.1
        (0.5, 0.401, 100, "no clear difference from popularity"),
        (0.5, 0.599, 100, "no clear difference from popularity"),
        (0.5, 0.601, 100, "worse than popularity"),
        (0.0, 0.03, 100, "no clear difference from popularity"),  # 2 * sqrt(0.0291 / 100) = 0.034
        (0.0, 0.05, 100, "worse than popularity"),  # 2 * sqrt(0.0475 / 100) = 0.044
        (0.0, 0.0, 100, "no clear difference from popularity"),
    ],
)
def test_noise(value, other, users, meaning):
    _, text = verdict_of([value], popularity=other, users=users)
    assert text.split(": ", 2)[2].startswith(meaning)


def test_every_preset_is_described():
    assert {*EXAMPLES, "best"} == set(PRESETS)
