"""The documented commands, verbatim, on the sample log; and relations between their outputs."""

import math

from candgen.data.dictionary import load_feature_dict
from conftest import (
    COMMANDS,
    MODEL,
    click_counts,
    clicked,
    lists_of,
    metrics_of,
    metrics_of_ranks,
    run_ok,
    without_last_clicks,
)

import numpy as np
import pytest


def vectors_of(out):
    """Vectors printed one a line."""
    return np.array([[float(number) for number in line.split(",")] for line in out.splitlines()])


def read_tsv(path):
    """(ids, vectors) of a .tsv of vectors."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [row[0] for row in rows], np.array([[float(value) for value in row[1:]] for row in rows])


def videos_of(folder):
    """Videos in the order of the dictionary."""
    feature_dict = load_feature_dict(folder / "output" / "feature_dict.pkl")
    return list(feature_dict["history_clicked_items"])[1:]


def rank_of(target, scores, removed):
    """Rank of a target among the videos of {video: score} without some; ties count against it."""
    if target not in scores or target in removed:
        return math.inf
    return sum(score >= scores[target] for video, score in scores.items() if video not in removed)


def test_every_documented_command(sample):
    """Each succeeded and printed what it should, in the right order."""
    folder, outputs = sample
    by_script = {
        command.split()[1]: out
        for command, out in zip(COMMANDS, outputs)
        if command.startswith("python")
    }
    feature_dict = load_feature_dict(folder / "output" / "feature_dict.pkl")
    videos = videos_of(folder)
    log = (folder / "data" / "infer.txt").read_text(encoding="utf-8")
    users = [line.split("\t")[0] for line in log.splitlines()]
    assert any(user not in feature_dict["user_id"] for user in users)

    rows = metrics_of(folder / "output" / "model")
    passes = [line.split("  ")[0] for line in by_script["train.py"].splitlines()]
    assert passes == [f"pass {number:05d}" for number in range(10)]
    assert sorted(path.name for path in (folder / "output" / "model").iterdir()) == [
        "checkpoint.tar.gz",
        "metrics.jsonl",
        *(f"model_pass_{number:05d}.tar.gz" for number in range(10)),
    ]
    assert rows[-1]["cost"] < rows[0]["cost"]
    for metric in ("recall@10", "recall@50", "ndcg@10", "mrr@10"):
        assert rows[-1][metric] > 2 * rows[-1]["popularity_" + metric] > 0

    lists = lists_of(by_script["infer.py"])
    assert [user for user, _ in lists] == users
    mined = lists_of(by_script["infer_user.py"])
    assert [user for user, _ in mined] == list(feature_dict["user_id"])[1:]
    known = set(videos)
    for _, pairs in lists + mined:
        assert len({video for video, _ in pairs} & known) == 30
        shares = [share for _, share in pairs]
        assert shares == sorted(shares, reverse=True) and 0 < sum(shares) < 1
    assert vectors_of(by_script["user_vector.py"]).shape == (len(users), 33)
    assert vectors_of(by_script["item_vector.py"]).shape == (len(videos), 33)


@pytest.mark.parametrize("log, top_n", [("infer.txt", None), ("test.txt", 30)])
def test_cosine_order_is_softmax_order_for_every_user(sample, log, top_n):
    """All videos for the users of infer.txt, the top 30 for those of test.txt, by printed vectors."""
    folder, outputs = sample
    item_vectors = vectors_of(outputs[-2])
    item_vectors /= np.linalg.norm(item_vectors, axis=1, keepdims=True)
    videos = np.array(videos_of(folder))
    top_n = top_n or len(videos)
    flags = (
        f"--infer_set_path=data/{log} --model_path={MODEL} --feature_dict=output/feature_dict.pkl"
    )
    lists = lists_of(run_ok(f"python infer.py {flags} --top_n={top_n}", folder))
    user_vectors = vectors_of(run_ok(f"python user_vector.py {flags}", folder))
    assert len(lists) == len(user_vectors) >= 300
    cosines = user_vectors @ item_vectors.T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :top_n]
    for expected, (_, pairs) in zip(videos[order].tolist(), lists):
        assert [video for video, _ in pairs] == expected
        if top_n == len(videos):  # six digits are printed of each probability
            assert sum(share for _, share in pairs) == pytest.approx(1, abs=1e-5)


def test_exported_vectors_rank_as_the_report_says(sample):
    """All metrics of the last pass, from the vector files and the raw log, to the last digit."""
    folder, _ = sample
    row = metrics_of(folder / "output" / "model")[-1]
    log = (folder / "data" / "test.txt").read_text(encoding="utf-8")
    (folder / "before.txt").write_text(without_last_clicks(log), encoding="utf-8")
    flags = (
        "--model_path=output/model/model_pass_00009.tar.gz "
        "--feature_dict=output/feature_dict.pkl --output_path"
    )
    run_ok(f"python user_vector.py --infer_set_path=before.txt {flags}=users.tsv", folder)
    run_ok(f"python item_vector.py {flags}=videos.tsv", folder)
    _, users = read_tsv(folder / "users.tsv")
    names, videos = read_tsv(folder / "videos.tsv")
    cosines = users @ (videos / np.linalg.norm(videos, axis=1, keepdims=True)).T
    index = {name: number for number, name in enumerate(names)}
    histories = [history for history in clicked(log) if history]
    assert len(histories) == len(users)
    for prefix, remove_seen in (("", True), ("seen_kept_", False)):
        ranks = []
        for cosine, (*seen, target) in zip(cosines, histories):
            candidates = np.ones(len(names), bool)
            if remove_seen:
                candidates[[index[name] for name in seen if name in index]] = False
            if target in index and candidates[index[target]]:
                ranks.append(int((cosine[candidates] >= cosine[index[target]]).sum()))
            else:
                ranks.append(math.inf)
        expected = metrics_of_ranks(ranks, prefix)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert row["recall@10"] != row["seen_kept_recall@10"]  # the log has repeats


def test_popularity_figures(sample):
    """Metrics of the popularity ranking, from the raw logs."""
    folder, _ = sample
    row = metrics_of(folder / "output" / "model")[0]
    train, test = (
        (folder / "data" / name).read_text(encoding="utf-8") for name in ("train.txt", "test.txt")
    )
    counts = {video: count for video, count in click_counts(train).items() if count >= 20}
    for prefix, remove_seen in (("popularity_", True), ("popularity_seen_kept_", False)):
        ranks = [
            rank_of(target, counts, set(seen) if remove_seen else ())
            for *seen, target in (history for history in clicked(test) if history)
        ]
        expected = metrics_of_ranks(ranks, prefix)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)
