"""What models learn from small logs of a known structure; metrics are those of the lists."""

import re

from conftest import (
    checkout,
    click_counts,
    lists_of,
    metrics_of,
    metrics_of_ranks,
    run,
    run_ok,
    train_command,
    without_last_clicks,
)

import numpy as np
import pytest

MODEL = "--feature_dict=output/feature_dict.pkl --model_path=output/model/model_pass"


def prepare(folder, log, limit=1):
    """A checkout with a log and its dictionary."""
    checkout(folder)
    (folder / "log.txt").write_text(log, encoding="utf-8")
    run_ok(
        "python data_processor.py --train_set_path=log.txt --output_dir=output "
        f"--feat_appear_limit={limit}",
        folder,
    )
    return folder


def log_of(histories):
    """A log of users of whom nothing is known but the videos they clicked."""
    lines = []
    for number, history in enumerate(histories):
        infos = ";".join(f"{video}:NULL:NULL" for video in history) or "NULL"
        lines.append(f"U{number}\tP\tC\t{infos}\tPH\n")
    return "".join(lines)


def test_metrics_are_those_of_the_lists_that_are_served(tmp_path):
    """Users who click again and again on the 15 songs of an album; metrics of the printed lists."""
    rng = np.random.default_rng(0)
    train, test = (
        [[f"S{user % 10 * 15 + song}" for song in rng.integers(0, 15, 20)] for user in range(200)]
        for _ in range(2)
    )
    folder = prepare(tmp_path / "clone", log_of(train))
    (folder / "test.txt").write_text(log_of([*test, []]), encoding="utf-8")
    (folder / "before.txt").write_text(without_last_clicks(log_of(test)), encoding="utf-8")
    result = run(train_command("output/model", "--test_set_path=test.txt --num_passes=4"), folder)
    assert "select_metric: seen_kept_ndcg@10\n" in result.stderr  # most last clicks are repeats
    row = metrics_of(folder / "output" / "model")[-1]
    targets = [history[-1] for history in test]
    for prefix, flags in (("", "--remove_seen"), ("seen_kept_", "")):
        flags = f"{MODEL}_00003.tar.gz --top_n=50 {flags}"
        lists = lists_of(run_ok(f"python infer.py --infer_set_path=before.txt {flags}", folder))
        served = [[video for video, _ in pairs] for _, pairs in lists]
        ranks = [
            videos.index(target) + 1 if target in videos else np.inf
            for videos, target in zip(served, targets)
        ]
        expected = metrics_of_ranks(ranks, prefix)
        recommended = {video for videos in served for video in videos[:10]}
        expected[prefix + "coverage@10"] = len(recommended) / 150
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    repeats = np.mean([history[-1] in history[:-1] for history in test])
    assert 0.6 < repeats < row["seen_kept_recall@50"] and row["recall@50"] <= 1 - repeats


def chain_log(rng):
    """Seven in ten of about 3,000 clicks are on the next video of a chain of 60."""
    histories = []
    for _ in range(300):
        history = [rng.integers(60)]
        for _ in range(rng.integers(1, 19)):
            history.append((history[-1] + 1) % 60 if rng.random() < 0.7 else rng.integers(60))
        histories.append([f"V{video}" for video in history])
    return log_of(histories)


def with_metadata(log):
    """The log with a category and a tag of each video."""

    def info(match):
        video = int(match[1])
        return f"V{video}:C{video % 5}:T{video % 7}"

    return re.sub(r"V(\d+):NULL:NULL", info, log)


@pytest.mark.parametrize("change", [str, with_metadata], ids=["ids alone", "metadata"])
def test_defaults_learn_a_small_log(tmp_path, change):
    """As many steps as that takes."""
    rng = np.random.default_rng(0)
    folder = prepare(tmp_path / "clone", change(chain_log(rng)), 5)
    (folder / "test.txt").write_text(change(chain_log(rng)), encoding="utf-8")
    flags = "--test_set_path=test.txt --num_passes=10"  # the default
    result = run(train_command("output/model", flags), folder)
    assert result.returncode == 0 and "batch_size: 32\n" in result.stderr
    row = metrics_of(folder / "output" / "model")[-1]
    assert row["recall@10"] > 0.35 > 2 * row["popularity_recall@10"]
    assert row["ndcg@10"] > 2 * row["popularity_ndcg@10"]
    verdict = result.stderr.splitlines()[-1]
    assert "worse than popularity" not in verdict and "difference from popularity" not in verdict


@pytest.fixture(scope="module")
def cycle(tmp_path_factory):
    """(folder, verdict of training): 8 videos clicked in a fixed order; no user is known."""
    starts = np.random.default_rng(0).integers(0, 8, 400)
    log = log_of([[f"B{(start + step) % 8}" for step in range(5)] for start in starts])
    folder = prepare(tmp_path_factory.mktemp("cycle") / "clone", log, 6)
    others = "".join("W" + line[1:] for line in log.splitlines(keepends=True)[:200])
    (folder / "others.txt").write_text(others, encoding="utf-8")
    flags = "--num_passes=4 --no-rules --test_set_path=others.txt"
    result = run(train_command("output/model", flags), folder)
    assert result.returncode == 0, result.stderr
    return folder, result.stderr.splitlines()[-1]


def test_a_small_catalogue_causes_no_warning(cycle):
    """In a top 10 of 8 videos every ranking has a recall of 1: ndcg is compared."""
    folder, verdict = cycle
    row = metrics_of(folder / "output" / "model")[-1]
    assert row["recall@10"] == row["popularity_recall@10"] == 1
    assert row["ndcg@10"] > 0.95 > row["popularity_ndcg@10"] + 0.1
    assert verdict.startswith("train.py: model_pass_00003.tar.gz (the last pass): ndcg@10 ")
    assert ": better than popularity; " in verdict


def test_no_known_user(cycle):
    """Without any known user there is nothing to mine; named users get the most clicked videos."""
    folder, _ = cycle
    flags = f"{MODEL}_00000.tar.gz"
    result = run(f"python infer_user.py {flags}", folder)
    assert (result.returncode, result.stdout) == (2, "") and "Traceback" not in result.stderr
    assert result.stderr.startswith("infer_user.py: output/feature_dict.pkl: it knows no user; ")
    (folder / "ids.txt").write_text("U1\n")
    result = run(f"python infer_user.py {flags} --user_ids=ids.txt --top_n=3", folder)
    [(user, pairs)] = lists_of(result.stdout)
    counts = click_counts((folder / "log.txt").read_text())
    best = sorted(counts, key=lambda video: (-counts[video], video))[:3]
    assert (user, [video for video, _ in pairs]) == ("U1", best)
    expected = [counts[video] / 2000 for video in best]
    assert [share for _, share in pairs] == pytest.approx(expected, rel=1e-5)
