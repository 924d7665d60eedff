"""candgen.training.report"""

import os
import sys

BASELINES = ("popularity", "rules")


def pass_line(row):
    """The line of a pass for people; metrics.jsonl has all of it."""
    cost = "none" if row["test_cost"] is None else f"{row['test_cost']:.4f}"
    metrics = "  ".join(
        f"{name} {row[name]:.4f} ("
        + ", ".join(
            f"{baseline} {row[f'{baseline}_{name}']:.4f}"
            for baseline in BASELINES
            if f"{baseline}_{name}" in row
        )
        + ")"
        for name in ("recall@10", "ndcg@10", "recall@50")
    )
    return (
        f"pass {row['pass']:05d}  cost {row['cost']:.4f}  test_cost {cost}  {metrics}  "
        f"coverage@10 {row['coverage@10']:.4f}  {row['seconds']:.1f} s  "
        f"{row['instances_per_second']:.0f} instances/s"
    )


def print_result(line):
    """A result on stdout; training goes on when nobody reads it any more."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def best_of(args, rows):
    """The first of the rows with the best --select_metric on the validation log; None if there is no such log.

    As long as the metric is 0 it says nothing: then it is the last of them, and --patience does not count.
    """
    name = "valid_" + args.select_metric

    def rank(row):
        return (row[name], -row["pass"]) if row[name] else (0, row["pass"])

    return max((row for row in rows if name in row), key=rank, default=None)


def out_of_patience(args, rows):
    """Whether --patience is given and the best pass lies that many passes back."""
    return (
        bool(args.patience and rows)
        and rows[-1]["pass"] - best_of(args, rows)["pass"] >= args.patience
    )
