"""Pass lines, the best pass, patience, the warning about a collapsed network."""

from candgen.serving.collapse import warn_if_network_collapses
from candgen.training.report import best_row, out_of_patience, pass_line

import pytest


@pytest.mark.parametrize(
    "values, best, stopped",
    [
        ([0.0], 0, False),
        ([0.0, 0.0, 0.0], 2, False),
        ([0.0, 0.0, 0.1], 2, False),
        ([0.0, 0.1, 0.1], 1, False),
        ([0.2, 0.1, 0.0], 0, True),
        ([0.0, 0.1, 0.0, 0.0], 1, True),
        ([0.1, 0.3, 0.2], 1, False),
    ],
)
def test_the_best_pass(values, best, stopped):
    """The first of the best; while the metric is 0, later passes count as better."""
    rows = [{"pass": number, "valid_ndcg@10": value} for number, value in enumerate(values)]
    assert best_row(rows, "ndcg@10")["pass"] == best
    assert out_of_patience(rows, "ndcg@10", 2) == stopped
    assert not out_of_patience(rows, "ndcg@10", None)
    assert best_row(rows, "mrr@10") is None and not out_of_patience(rows, "mrr@10", 2)


ROW = {
    "pass": 3,
    "cost": 1.5,
    "test_cost": 2.25,
    "instances": 500,
    "seconds": 2.0,
    "instances_per_second": 250.0,
    "recall@10": 0.5,
    "popularity_recall@10": 0.25,
    "ndcg@10": 0.125,
    "popularity_ndcg@10": 0.0625,
    "rules_ndcg@10": 0.03125,
    "coverage@10": 0.75,
}


def test_pass_line():
    """Metrics that a row of an older version lacks are left out, and so is a missing test loss."""
    assert pass_line(ROW) == (
        "pass 00003  cost 1.5000  test_cost 2.2500  recall@10 0.5000 (popularity 0.2500)  "
        "ndcg@10 0.1250 (popularity 0.0625, rules 0.0312)  coverage@10 0.7500  2.0 s  "
        "250 instances/s"
    )
    older = {name: value for name, value in ROW.items() if "@" not in name}
    assert pass_line({**older, "test_cost": None}) == (
        "pass 00003  cost 1.5000  test_cost none  2.0 s  250 instances/s"
    )


@pytest.mark.parametrize(
    "vectors, units, users, warned",
    [
        (50, 31, 50, False),
        (1, 31, 50, True),
        (50, 7, 50, True),
        (50, 8, 50, False),
        (1, 0, 49, False),  # too few users to judge by
    ],
)
def test_warning_about_a_collapsed_network(capsys, vectors, units, users, warned):
    row = {"distinct_users": vectors, "live_units": units}
    warn_if_network_collapses(row, users, 31)
    text = f"warning: the network collapses: {vectors} different vectors for {users} test users, "
    assert (text + f"{units} of 31 units" in capsys.readouterr().err) == warned
