"""The verdict of a run: the model to serve, or what to do for a better one. Imports no paddle."""

from __future__ import annotations

import logging
import math
import os

from candgen.serving.baselines import BASELINES
from candgen.serving.metrics import MIN_USERS
from candgen.training.checkpoint import BEST_MODEL, model_name
from candgen.training.report import best_row

CLEAR = 2  # standard errors between two figures that differ clearly
GROWTH = 1.01  # a last pass that is better than the earlier ones by less has nearly converged
EXAMPLES = {  # what a preset is, if it is not the one to serve
    "classic": "classic is the network of the original example",
    "v0.10": "v0.10 trains as the original example did",
}


def verdict(
    rows: list[dict],
    baselines: dict[str, float],
    metric: str,
    preset: str,
    usual_passes: int,
    num_users: int,
    folder: str,
    trained_on: bool = False,
    gated: bool = False,
) -> tuple[int, str]:
    """One line about the chosen pass: its model, its figures, what they mean, what to do next.

    The pass is chosen by the validation log if there is one, and is the last one otherwise. It is
    compared with the baselines on the test log, by which it was not chosen.

    Parameters
    ----------
    rows : list of dict
        Of metrics.jsonl, one a pass; not empty.
    baselines : dict
        {baseline_metric: value} on the test log.
    metric : str
        --select_metric.
    preset : str
    usual_passes : int
        Passes that the preset makes by default.
    num_users : int
        Users of the test log with a click.
    folder : str
        --model_output_dir.
    trained_on : bool
        Whether the clicks of the test log are in the training log.
    gated : bool
        Whether --compare_with decides about the model: then this does not advise to serve it.

    Returns
    -------
    level : int
        logging.WARNING if there is something to do before the model is served, or logging.INFO.
    text : str
    """
    best = best_row(rows, metric)
    chosen = best or rows[-1]
    model = BEST_MODEL if best and not gated else model_name(chosen)
    compared = {
        name: baselines[f"{name}_{metric}"] for name in BASELINES if f"{name}_{metric}" in baselines
    }
    shown = f"{model} ({_choice(best, metric)}): {_figures(chosen[metric], compared, metric)}"
    problem = _problem(best, metric, num_users, trained_on)
    if problem:
        return logging.WARNING, f"{shown}; {problem}"

    more = _more_passes(rows, metric, usual_passes)
    worse, unclear = _not_beaten(chosen[metric], compared, num_users)
    if worse or unclear:
        parts = [f"worse than {' and '.join(worse)}"] if worse else []
        if unclear:
            names = " and ".join(unclear)
            parts.append(f"no clear difference from {names} among {num_users} test users")
        advice = _advice(preset, more, worse)
        return logging.WARNING, f"{shown}: {', '.join(parts)}; {advice}"
    parts = [f"{shown}: better than {' and '.join(compared)}"]
    if not gated:
        parts.append(f"to serve it: infer.py --model_path={os.path.join(folder, model)}")
    if preset != "best":
        parts.append("on most logs --preset=best is better still")
    elif more:
        parts.append(f"{more} may improve it")
    return logging.INFO, "; ".join(parts)


def _choice(best, metric):
    """Why this pass: "the last pass", or "pass 00003, the best by valid_ndcg@10 0.1603"."""
    if best is None:
        return "the last pass"
    value = best["valid_" + metric]
    if not value:
        return f"the last pass, since valid_{metric} is 0 in every pass"
    return f"pass {best['pass']:05d}, the best by valid_{metric} {value:.4f}"


def _figures(value, compared, metric):
    """The value and its ratios: "ndcg@10 0.1603 on the test log, 8.8 times popularity and ..."."""
    ratios = []
    for name, other in compared.items():
        digits = 2 if value < 2 * other else 1
        ratios.append(f"{value / other:.{digits}f} times {name}" if other else f"{name} has 0")
    return f"{metric} {value:.4f} on the test log, {' and '.join(ratios)}"


def _problem(best, metric, num_users, trained_on):
    """Why the figures say little, and what to do about it; None if they can be judged by."""
    if best and not best["valid_" + metric]:
        return "give a larger --valid_set_path, or another --select_metric"
    if trained_on:
        return "the clicks of the test log were trained on: give one with new clicks"
    if num_users < MIN_USERS:
        return (
            f"figures of {num_users} users are uncertain: "
            f"give a test log of {MIN_USERS} or more users"
        )
    return None


def _not_beaten(value, compared, num_users):
    """Baselines that are clearly better, and baselines that are neither better nor worse.

    Figures differ clearly if they are more than two standard errors apart. That of a recall p of n
    users is sqrt(p (1 - p) / n), that of another metric with mean p is smaller. The larger one of
    the two figures is taken, not both: their errors cancel in part, since both rankings succeed
    for the same users more often than by chance.
    """
    worse, unclear = [], []
    for name, other in compared.items():
        variance = max(value * (1 - value), other * (1 - other))  # over the users
        margin = CLEAR * math.sqrt(variance / num_users)
        if value < other - margin:
            worse.append(name)
        elif value <= other + margin:
            unclear.append(name)
    return worse, unclear


def _more_passes(rows, metric, usual_passes):
    """The flags of a run of more passes; None if the last pass is hardly the best one.

    Twice as many, and at least the usual ones.
    """
    name = f"valid_{metric}" if f"valid_{metric}" in rows[-1] else metric
    earlier = max((row.get(name, 0) for row in rows[:-1]), default=0)
    if rows[-1][name] <= GROWTH * earlier:
        return None
    num_passes = max(usual_passes, 2 * len(rows))
    return f"--resume --num_passes={num_passes}"


def _advice(preset, more, worse):
    """What to do with a model that is not clearly better than the baselines.

    Parameters
    ----------
    preset : str
    more : str or None
        From `_more_passes`.
    worse : list of str
        Baselines that are clearly better than the model.
    """
    if preset != "best":
        return f"{EXAMPLES[preset]}; try --preset=best" + (f", or {more}" if more else "")
    if more:
        return f"try {more}"
    if not worse:
        return "a test log of more users would tell"
    if worse == ["rules"]:
        return "in a small log counts of co-occurrence are hard to beat: train on more clicks"
    return "does each line have all clicks of a user? If so, train on more clicks"
