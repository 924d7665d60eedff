"""The comparison of a new model with an earlier one."""

from candgen.training.publish import (
    COMPARED,
    NOT_PUBLISHED,
    SavedEvaluation,
    changed_share,
    print_comparison,
    publish,
    refusal,
)

import numpy as np
import pytest


@pytest.mark.parametrize(
    "before, now, min_ratio, reason",
    [
        (0.2, 0.19, 0.9, None),
        (0.2, 0.18, 0.95, "is below 0.95 times that of old.tar.gz"),
        (0.2, 0.0, 0.0, None),
        (0.2, 0.0, 0.1, "is 0, which --min_ratio cannot compare"),
        (0.0, 0.1, 0.98, None),
        (0.0, 0.1, 1000, None),
        (0.0, 0.0, 0.98, "is 0, which --min_ratio cannot compare"),
        (0.0, 0.0, 0.0, None),
    ],
)
def test_refusal(before, now, min_ratio, reason):
    """A metric of 0 passes no gate; after a metric of 0 any other does."""
    assert refusal(before, now, min_ratio, "old.tar.gz") == reason


def test_share_of_changed_videos():
    """Users without a list now do not count; `<unk>` fills up shorter lists."""
    before = [["a", "b", "c"], ["a", "b", "<unk>"], ["<unk>"] * 3, ["a", "b", "c"]]
    now = [["c", "b", "d"], ["b", "<unk>", "<unk>"], ["a", "b", "c"], ["<unk>"] * 3]
    assert changed_share(before, now) == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert changed_share(before, before) == changed_share(before[2:3], now[3:]) == 0


def test_publish(tmp_path, capsys):
    """The model is copied, or the file of an earlier attempt is removed."""
    model, best = tmp_path / "model_pass_00003.tar.gz", tmp_path / "model_best.tar.gz"
    model.write_bytes(b"model")
    assert publish(str(model), None) == 0 and best.read_bytes() == b"model"
    published = "model_pass_00003.tar.gz is published as model_best.tar.gz\n"
    assert capsys.readouterr().err.endswith(published)
    for _ in range(2):
        assert publish(str(model), "ndcg@10 is low") == NOT_PUBLISHED and not best.exists()
        assert "ndcg@10 is low: not published\n" in capsys.readouterr().err


def test_print_comparison(capsys):
    def evaluation(metric, videos, lists, unknown_clicks):
        metrics = dict.fromkeys(("mrr@10", *COMPARED), metric)
        return SavedEvaluation(metrics, frozenset(videos), np.array(lists), unknown_clicks, 0.5)

    before = evaluation(0.25, "abc", [["a", "b"]], 0.1)
    now = evaluation(0.5, "bcdef", [["b", "c"]], 0.2)
    print_comparison(before, now, "mrr@10")
    assert capsys.readouterr().out.splitlines() == [
        *(f"{name}: 0.2500 before, 0.5000 now" for name in ("mrr@10", *COMPARED)),
        "top 10: 50.0% of the videos changed",
        "videos: 3 gained, 1 lost",
        "unknown clicks: 10.0% before, 20.0% now",
        "unknown users: 50.0% before, 50.0% now",
    ]
