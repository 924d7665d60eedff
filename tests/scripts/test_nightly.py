"""Nightly runs: warm start, earlier clicks, a catalogue, comparison with the earlier model."""

import gzip
import json
import os
import re
import shutil
import sys

from candgen.archives import read_archive
from candgen.data.dictionary import FEATURES, ITEMS, load_feature_dict, load_item_freq
from conftest import (
    ROOT,
    checkout,
    clicked,
    lists_of,
    metrics_of,
    run,
    run_ok,
    small_log,
    train_command,
)

import numpy as np
import pytest


@pytest.fixture(scope="module")
def nights(best):
    """The folder of `best`, with a later log in new.txt: other users, ten new videos."""
    text = small_log(120, seed=5).replace("V3", "N3").replace("U", "W", 60)
    (best / "new.txt").write_text(text, encoding="utf-8")
    run_ok(
        "python data_processor.py --train_set_path log.txt new.txt --output_dir=new "
        "--feat_appear_limit=2 --base_feature_dict=output/feature_dict.pkl",
        best,
    )
    return best


NEW_RUN = (
    "python train.py --train_set_path=new.txt --test_set_path=new.txt --num_passes=1 --no-rules "
    "--feature_dict=new/feature_dict.pkl --item_freq=new/item_freq.pkl "
)


def later_run(folder, output, flags):
    """A run on the later log that starts from an earlier run."""
    return run(
        f"{NEW_RUN} --model_output_dir=output/{output} "
        f"--init_feature_dict=output/feature_dict.pkl {flags}",
        folder,
    )


@pytest.mark.parametrize("preset, earlier", [("classic", "model"), ("best", "best")])
def test_warm_start(nights, preset, earlier):
    """After one pass it ranks better than a cold start; ids stay; new videos are recommended."""
    old, new = (load_feature_dict(nights / name / "feature_dict.pkl") for name in ("output", "new"))
    for feature in FEATURES:
        assert all(new[feature][value] == id_ for value, id_ in old[feature].items())
    flags = f"--preset={preset} --init_model_path=output/{earlier}/checkpoint.tar.gz"
    result = later_run(nights, f"{preset}-warm", f"{flags} --num_passes=1")
    assert result.returncode == 0, result.stderr
    carried_over = f"carried over {len(old['user_id']) - 1} of {len(new['user_id']) - 1} user_id, "
    assert carried_over in result.stderr
    cold = f"--model_output_dir=output/{preset}-cold --preset={preset} --num_passes=1"
    run_ok(f"{NEW_RUN} {cold}", nights)
    [warm_row], [cold_row] = (
        metrics_of(nights / "output" / f"{preset}-{name}") for name in ("warm", "cold")
    )
    assert warm_row["seen_kept_ndcg@10"] > 1.2 * cold_row["seen_kept_ndcg@10"]
    lists = run_ok(
        "python infer.py --infer_set_path=new.txt --feature_dict=new/feature_dict.pkl --top_n=10 "
        f"--model_path=output/{preset}-warm/model_pass_00000.tar.gz",
        nights,
    )
    assert sum(video.startswith("N3") for _, pairs in lists_of(lists) for video, _ in pairs) > 100


def test_earlier_clicks(small, tmp_path):
    """With --context_set_path one click a user can be predicted; its clicks are no instances."""
    earlier, day = [], []
    for line in (small / "log.txt").read_text(encoding="utf-8").splitlines():
        user, province, city, history, phone = line.split("\t")
        *before, last = history.split(";")
        earlier.append(f"{user}\t{province}\t{city}\t{';'.join(before)}\t{phone}\n")
        day.append(f"{user}\t{province}\t{city}\t{last}\t{phone}\n")
    (tmp_path / "earlier.txt").write_text("".join(earlier), encoding="utf-8")
    (tmp_path / "day.txt").write_text("".join(day), encoding="utf-8")
    (tmp_path / "others.txt").write_text("other\t\t\tV1:C1:T1\t\n", encoding="utf-8")
    flags = (
        f"--train_set_path={tmp_path}/day.txt --init_model_path=output/model/checkpoint.tar.gz "
        "--init_feature_dict=output/feature_dict.pkl --no-rules --shuffle_lines=100"
    )
    rows = {}
    for context, users in (("others", 0), ("earlier", 300)):
        output = tmp_path / f"after-{context}"
        command = f"{flags} --context_set_path={tmp_path}/{context}.txt"
        result = run(train_command(output, command), small)
        assert result.returncode == 0, result.stderr
        prefix = "train.py: " if users else "train.py: warning: "
        line = f"{prefix}{tmp_path}/day.txt: {users} of 300 users have earlier clicks\n"
        assert line in result.stderr
        rows[context] = metrics_of(output)
        assert [row["instances"] for row in rows[context]] == [300, 300]
    assert rows["earlier"][0]["cost"] < rows["others"][0]["cost"] - 0.3
    result = run(
        train_command(tmp_path / "no", f"--context_set_path {tmp_path}/earlier.txt log.txt"), small
    )
    assert result.returncode == 2
    assert "log.txt, which is trained on: give earlier clicks" in result.stderr


@pytest.mark.parametrize(
    "model, flags, what",
    [
        ("output/model/checkpoint.tar.gz", "--lstm_dim=32", "of a network that is not like this"),
        ("new/feature_dict.pkl", "", "feature_dict.pkl: "),
        (
            "output/model/checkpoint.tar.gz",
            "--init_feature_dict=new/feature_dict.pkl",
            "trained with another dictionary than --init_feature_dict",
        ),
        (
            "output/model/model_pass_00000.tar.gz",
            "--preset=best",
            "of a network that is not like this one",
        ),
        (
            "output/model/checkpoint.tar.gz",
            "--network=DirectModel --dnn_layer_dims 256 30",
            "its --network is DNNmodel",
        ),
        (
            "output/model/checkpoint.tar.gz",
            "--compare_with=missing.tar.gz --compare_feature_dict=output/feature_dict.pkl",
            "missing.tar.gz: ",
        ),
        (
            "output/model/checkpoint.tar.gz",
            "--resume --model_output_dir=output/model",
            "made by a run with another ",
        ),
    ],
)
def test_earlier_runs_that_do_not_fit(nights, model, flags, what):
    """One line; no model is written or removed."""
    result = later_run(nights, "no", f"--init_model_path={model} {flags}")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert what in result.stderr.splitlines()[-1]
    assert not list((nights / "output").glob("no/model*"))


def test_comparison(nights):
    """Metrics are those of the served lists; a model that is too bad is not published, code 3."""
    flags = (
        "--init_model_path=output/model/model_pass_00001.tar.gz "
        "--select_metric=seen_kept_recall@10 "
        "--compare_with=output/model/model_pass_00001.tar.gz "
        "--compare_feature_dict=output/feature_dict.pkl"
    )
    folder = nights / "output" / "compared"
    best = folder / "model_best.tar.gz"
    refused = later_run(nights, "compared", f"{flags} --min_ratio=1000")
    assert refused.returncode == 3 and not best.exists(), refused.stderr
    assert "train.py: seen_kept_recall@10 is below 1000.0 times that of " in refused.stderr
    passed = later_run(nights, "compared", f"{flags} --min_ratio=0.9")
    assert passed.returncode == 0
    assert best.read_bytes() == (folder / "model_pass_00000.tar.gz").read_bytes()
    assert passed.stdout.splitlines()[1:] == refused.stdout.splitlines()[1:] != []

    before, now = (
        json.loads(
            run_ok(
                f"python infer.py --infer_set_path=new.txt --model_path={model} --evaluate "
                f"--feature_dict={dictionary}/feature_dict.pkl",
                nights,
            )
        )
        for model, dictionary in (
            ("output/model/model_pass_00001.tar.gz", "output"),
            ("output/compared/model_best.tar.gz", "new"),
        )
    )
    [row] = metrics_of(folder)
    assert now == {name: row[name] for name in now}
    for name in ("seen_kept_recall@10", "ndcg@10"):
        assert f"{name}: {before[name]:.4f} before, {now[name]:.4f} now\n" in passed.stdout
    old, new = (
        set(load_feature_dict(nights / name / "feature_dict.pkl")[ITEMS])
        for name in ("output", "new")
    )
    assert f"videos: {len(new - old)} gained, {len(old - new)} lost\n" in passed.stdout
    clicks = [video for history in clicked((nights / "new.txt").read_text()) for video in history]
    unknown = [np.mean([video not in known for video in clicks]) for known in (old, new)]
    line = f"unknown clicks: {unknown[0]:.1%} before, {unknown[1]:.1%} now\n"
    assert line in passed.stdout


def test_another_optimizer(nights):
    """Parameters are carried over, Adam's state is not."""
    flags = "--init_model_path=output/model/checkpoint.tar.gz --optimizer=adagrad"
    result = later_run(nights, "adagrad", flags)
    assert result.returncode == 0 and "carried over" in result.stderr, result.stderr


@pytest.mark.parametrize("preset", ["classic", "best"])
def test_videos_without_clicks(small, preset):
    """In the dictionary with frequency 0, near videos with the same attributes, recommended."""
    folder = small / f"catalogue-{preset}"
    folder.mkdir()
    infos = [
        f"X{video}:C{video % 5}:" + "_".join(f"T{(video + i) % 11}" for i in range(1 + video % 3))
        for video in range(10)
    ]
    (folder / "catalogue.txt").write_text(
        "\n".join(infos) + "\n\nALONE:NULL:\nV1:C1:T1_T2\n", encoding="utf-8"
    )
    flags = f"--catalogue_path={folder}/catalogue.txt"
    run_ok(
        f"python data_processor.py --train_set_path=log.txt --output_dir={folder} "
        f"--feat_appear_limit=2 {flags}",
        small,
    )
    feature_dict = load_feature_dict(folder / "feature_dict.pkl")
    ids = feature_dict[ITEMS]
    freq = load_item_freq(folder / "item_freq.pkl", feature_dict)
    new = [ids[f"X{video}"] for video in range(10)]
    assert [freq[id_] for id_ in [*new, ids["ALONE"]]] == [0.0] * 11
    command = train_command(folder / "model", f"--preset={preset} --num_passes=3 {flags}")
    run_ok(command.replace("=output/", f"={folder}/"), small)
    _, arrays = read_archive(str(folder / "model" / "model_pass_00002.tar.gz"), "")
    w = arrays["nce_w"] / np.linalg.norm(arrays["nce_w"], axis=1, keepdims=True)
    b = arrays["nce_b"][0]
    alike = [ids[f"V{video}"] for video in range(10)]  # with the same tags and category
    assert (w[new] * w[alike]).sum(1).mean() > 0.3
    assert b[new].min() > b[1:].min() - 1
    assert b[ids["ALONE"]] < np.median(b)  # it has no neighbors
    lists = run_ok(
        f"python infer.py --infer_set_path=log.txt --top_n=20 "
        f"--model_path={folder}/model/model_pass_00002.tar.gz "
        f"--feature_dict={folder}/feature_dict.pkl",
        small,
    )
    assert any(video.startswith("X") for _, pairs in lists_of(lists) for video, _ in pairs)


def split_days(folder, lines, days):
    """clicks/2026-01-0N.gz: a fifth of each history a day; returns the number of clicks of each."""
    (folder / "clicks").mkdir()
    counts = []
    for day in range(days):
        text, clicks = "", 0
        for user, province, city, history, phone in lines:
            infos = np.array_split(history.split(";"), days)[day]
            clicks += len(infos)
            text += f"{user}\t{province}\t{city}\t{';'.join(infos) or 'NULL'}\t{phone}\n"
        path = folder / "clicks" / f"2026-01-0{day + 1}.gz"
        path.write_bytes(gzip.compress(text.encode()))
        counts.append(clicks)
    return counts


def test_the_nightly_script_of_the_documents(small, tmp_path):
    """Trains on the days since the served model, behind those before; publishes what is better."""
    document = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")
    [script] = re.findall(r"```sh\n(.*?)```", document, re.DOTALL)
    checkout(tmp_path / "clone")
    folder = tmp_path / "clone"
    (folder / "bin").mkdir()
    (folder / "bin" / "date").write_text("#!/bin/sh\necho 2026-01-04\n")
    (folder / "nightly.sh").write_text(script)
    for name in ("bin/date", "nightly.sh"):
        (folder / name).chmod(0o755)
    log = "".join((small / "log.txt").read_text(encoding="utf-8").splitlines(keepends=True)[:100])
    (folder / "test.txt").write_text(log, encoding="utf-8")
    lines = [line.split("\t") for line in log.splitlines()]
    infos = {info for line in lines for info in line[3].split(";")}
    (folder / "catalogue.txt").write_text(
        "\n".join(sorted(infos)) + "\nFRESH:C1:T1\n", encoding="utf-8"
    )
    clicks = split_days(folder, lines, 5)  # the last day is not over
    first, days = "run/2026-01-02", "--train_set_path clicks/2026-01-01.gz clicks/2026-01-02.gz"
    run_ok(
        f"python data_processor.py {days} --output_dir={first} --catalogue_path=catalogue.txt",
        folder,
    )
    run_ok(
        f"python train.py {days} --test_set_path=test.txt --feature_dict={first}/feature_dict.pkl "
        f"--item_freq={first}/item_freq.pkl --model_output_dir={first} --num_passes=1 "
        "--preset=best --catalogue_path=catalogue.txt",
        folder,
    )
    shutil.copy(folder / first / "model_pass_00000.tar.gz", folder / first / "model_best.tar.gz")
    (folder / "current").symlink_to(first)
    python = os.path.dirname(sys.executable)
    env = {"PATH": os.pathsep.join([str(folder / "bin"), python, os.environ["PATH"]])}

    (folder / "clicks" / "2026-01-04.gz").rename(folder / "late.gz")
    late = run("./nightly.sh", folder, env=env)
    assert (late.returncode, late.stderr) == (1, "clicks/2026-01-04.gz is missing\n")
    (folder / "late.gz").rename(folder / "clicks" / "2026-01-04.gz")
    worse = run("sed -i s/0.98/9/ nightly.sh; ./nightly.sh", folder, env=env)
    assert worse.returncode == 3 and os.readlink(folder / "current") == first, worse.stderr
    night = run("sed -i s/=9/=0.98/ nightly.sh; ./nightly.sh", folder, env=env)
    assert night.returncode == 0, night.stderr
    assert os.readlink(folder / "current") == "run/2026-01-04"
    rows = metrics_of(folder / "current")
    assert [row["instances"] for row in rows] == [clicks[2] + clicks[3]] * 3
    assert "FRESH" in load_feature_dict(folder / "current" / "feature_dict.pkl")[ITEMS]
    assert run("./nightly.sh", folder, env=env).stderr == ""  # done already
