"""TODO"""

import json
import math

from candgen.data.dictionary import load_feature_dict
from conftest import (
    COMMANDS,
    MODEL,
    clicked,
    lists_of,
    metrics_of_ranks,
    run_ok,
    without_last_clicks,
)

import numpy as np
import pytest


def vectors_of(out):
    return np.array([[float(number) for number in line.split(",")] for line in out.splitlines()])


def read_tsv(path):
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [row[0] for row in rows], np.array([[float(value) for value in row[1:]] for row in rows])


def metrics_of(folder):
    """Rows of a metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def videos_of(folder):
    """Videos in the order of the dictionary."""
    return list(load_feature_dict(folder / "output" / "feature_dict.pkl")["history_clicked_items"])[
        1:
    ]


def test_every_documented_command(sample):
    """Each ran and printed what it should, in the order that it should."""
    folder, outputs = sample
    out = dict(zip(COMMANDS, outputs))
    by_script = {
        command.split()[1]: out[command] for command in COMMANDS if command.startswith("python")
    }
    feature_dict = load_feature_dict(folder / "output" / "feature_dict.pkl")
    videos = list(feature_dict["history_clicked_items"])[1:]
    users = [
        line.split("\t")[0]
        for line in (folder / "data" / "infer.txt").read_text(encoding="utf-8").splitlines()
    ]
    assert any(user not in feature_dict["user_id"] for user in users)

    passes = metrics_of(folder / "output" / "model")
    assert [line.split("  ")[0] for line in by_script["train.py"].splitlines()] == [
        f"pass {number:05d}" for number in range(10)
    ]
    assert sorted(path.name for path in (folder / "output" / "model").iterdir()) == [
        "checkpoint.tar.gz",
        "metrics.jsonl",
        *(f"model_pass_{number:05d}.tar.gz" for number in range(10)),
    ]
    assert passes[-1]["cost"] < passes[0]["cost"]
    for metric in ("recall@10", "recall@50", "ndcg@10", "mrr@10"):
        assert passes[-1][metric] > 2 * passes[-1]["popularity_" + metric] > 0

    lists = lists_of(by_script["infer.py"])
    assert [user for user, _ in lists] == users
    mined = lists_of(by_script["infer_user.py"])
    assert [user for user, _ in mined] == list(feature_dict["user_id"])[1:]
    for _, pairs in lists + mined:
        assert len({video for video, _ in pairs} & set(videos)) == 30
        shares = [share for _, share in pairs]
        assert shares == sorted(shares, reverse=True) and 0 < sum(shares) < 1
    assert vectors_of(by_script["user_vector.py"]).shape == (len(users), 33)
    assert vectors_of(by_script["item_vector.py"]).shape == (len(videos), 33)


def test_cosine_order_is_softmax_order_for_every_user(sample):
    """All videos for the users of infer.txt, the top 30 for those of test.txt, from the printed vectors."""
    folder, outputs = sample
    out = dict(zip(COMMANDS, outputs))
    item_vectors = vectors_of(out[COMMANDS[-2]])
    item_vectors /= np.linalg.norm(item_vectors, axis=1, keepdims=True)
    videos = np.array(videos_of(folder))
    for log, top_n, printed in (
        ("infer.txt", len(videos), out[COMMANDS[-3]]),
        ("test.txt", 30, None),
    ):
        flags = f"--infer_set_path=data/{log} --model_path={MODEL} --feature_dict=output/feature_dict.pkl"
        lists = lists_of(run_ok(f"python infer.py {flags} --top_n={top_n}", folder))
        user_vectors = vectors_of(printed or run_ok(f"python user_vector.py {flags}", folder))
        assert len(lists) == len(user_vectors) >= 300
        order = videos[
            np.argsort(-(user_vectors @ item_vectors.T), axis=1, kind="stable")[:, :top_n]
        ]
        for row, (_, pairs) in enumerate(lists):
            assert [video for video, _ in pairs] == order[row].tolist()
            if (
                log == "infer.txt"
            ):  # six digits printed of each of more than a thousand probabilities
                assert sum(share for _, share in pairs) == pytest.approx(1, abs=1e-5)


def test_exported_vectors_rank_as_the_report_says(sample):
    """All metrics of the last pass, from the two vector files and the raw log alone, to the last digit."""
    folder, _ = sample
    row = metrics_of(folder / "output" / "model")[-1]
    log = (folder / "data" / "test.txt").read_text(encoding="utf-8")
    (folder / "before.txt").write_text(without_last_clicks(log), encoding="utf-8")
    flags = "--model_path=output/model/model_pass_00009.tar.gz --feature_dict=output/feature_dict.pkl --output_path"
    run_ok(f"python user_vector.py --infer_set_path=before.txt {flags}=users.tsv", folder)
    run_ok(f"python item_vector.py {flags}=videos.tsv", folder)
    _, users = read_tsv(folder / "users.tsv")
    names, videos = read_tsv(folder / "videos.tsv")
    place = {name: number for number, name in enumerate(names)}
    cosines = users @ (videos / np.linalg.norm(videos, axis=1, keepdims=True)).T
    histories = [history for history in clicked(log) if history]
    assert len(histories) == len(users)
    for prefix, remove in (("", True), ("seen_kept_", False)):
        ranks = []
        for cosine, (*seen, target) in zip(cosines, histories):
            left = np.ones(len(names), bool)
            if remove:
                left[[place[name] for name in seen if name in place]] = False
            there = target in place and left[place[target]]
            ranks.append(int((cosine[left] >= cosine[place[target]]).sum()) if there else math.inf)
        expected = metrics_of_ranks(ranks, prefix)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert row["recall@10"] != row["seen_kept_recall@10"]  # the log has repeats


def test_popularity_figures(sample):
    """Those of the popularity ranking from the raw logs: in both modes, ties against it."""
    folder, _ = sample
    row = metrics_of(folder / "output" / "model")[0]
    train, test = (
        clicked((folder / "data" / name).read_text(encoding="utf-8"))
        for name in ("train.txt", "test.txt")
    )
    counts = {}
    for video in (video for history in train for video in history):
        counts[video] = counts.get(video, 0) + 1
    counts = {video: count for video, count in counts.items() if count >= 20}
    for prefix, remove in (("popularity_", True), ("popularity_seen_kept_", False)):
        ranks = []
        for *seen, target in (history for history in test if history):
            gone = set(seen) if remove else set()
            ranks.append(
                sum(count >= counts[target] for video, count in counts.items() if video not in gone)
                if target in counts and target not in gone
                else math.inf
            )
        expected = metrics_of_ranks(ranks, prefix)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)
