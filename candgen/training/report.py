"""What a run reports: settings, pass lines, the choice of the best pass. Imports no paddle."""

from __future__ import annotations

import contextlib
import os
import sys

from candgen.serving.baselines import BASELINES

LINE_METRICS = ("recall@10", "ndcg@10", "recall@50")  # in the line of a pass
EXPLODED = "lower --learning_rate; the models of earlier passes are as they were"


def print_settings(settings: dict) -> None:
    """Print every setting of the run to stderr."""
    with contextlib.suppress(OSError):
        for name, value in settings.items():
            print(f"{name}: {value}", file=sys.stderr)
        sys.stderr.flush()


def pass_line(row: dict) -> str:
    """The line of a pass; metrics.jsonl has all of it.

    Rows of an older version, in a resumed run, may lack a metric.
    """
    loss = "none" if row["test_cost"] is None else f"{row['test_cost']:.4f}"
    parts = [f"pass {row['pass']:05d}", f"cost {row['cost']:.4f}", f"test_cost {loss}"]
    for metric in LINE_METRICS:
        if metric in row:
            compared = [
                f"{baseline} {row[f'{baseline}_{metric}']:.4f}"
                for baseline in BASELINES
                if f"{baseline}_{metric}" in row
            ]
            beside = f" ({', '.join(compared)})" if compared else ""
            parts.append(f"{metric} {row[metric]:.4f}{beside}")
    if "coverage@10" in row:
        parts.append(f"coverage@10 {row['coverage@10']:.4f}")
    parts.append(f"{row['seconds']:.1f} s")
    parts.append(f"{row['instances_per_second']:.0f} instances/s")
    return "  ".join(parts)


def print_result(line: str) -> None:
    """Print a result; tolerate a closed stdout, so that training continues."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def best_row(rows: list[dict], metric: str) -> dict | None:
    """The first row with the best `metric` on the validation log; None without such a log.

    A metric of 0 does not order passes: the last of them counts as the best.
    """
    name = "valid_" + metric

    def rank(row):
        return (row[name], -row["pass"]) if row[name] else (0, row["pass"])

    return max((row for row in rows if name in row), key=rank, default=None)


def out_of_patience(rows: list[dict], metric: str, patience: int | None) -> bool:
    """Whether the best pass lies `patience` passes back."""
    best = best_row(rows, metric)
    if not patience or best is None:
        return False
    return rows[-1]["pass"] - best["pass"] >= patience
