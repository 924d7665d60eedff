"""The documented commands, verbatim, on the sample; and what holds between their outputs."""

import json
import math
import os
import pickle
import pty
import re

from candgen.archives import read_archive
from candgen.data.dictionary import load_feature_dict
from conftest import (
    COMMANDS,
    MODEL,
    clicked,
    lists_of,
    metrics_of_ranks,
    run,
    run_ok,
    small_log,
    train_command,
    without_last_clicks,
)

import numpy as np
import pytest

SMALL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


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


def test_where_paddle_is_missing(small, tmp_path):
    """Preprocessing and video vectors do without it; the others say in one line how to get it."""
    (tmp_path / "paddle.py").write_text("raise ModuleNotFoundError(\"No module named 'paddle'\")")
    env = {"PYTHONPATH": str(tmp_path)}
    for command in (
        "data_processor.py --train_set_path=log.txt --output_dir=counted",
        f"item_vector.py {SMALL}",
    ):
        assert run_ok(f"python {command}", small, env=env)
    result = run(f"python infer.py --infer_set_path=log.txt {SMALL}", small, env=env)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "infer.py: No module named 'paddle'; pip install -r requirements.txt\n"


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


# ---------------------------------------------------------------- the rest on a small log
def test_batch_size_and_threads_change_nothing(small):
    """The same lists and vectors, to 1e-6: there is less than that between two orders of a sum."""
    lists, vectors = ([], [])
    for flags in ("--batch_size=1 --threads=1", "--batch_size=200 --threads=3"):
        lists.append(
            lists_of(run_ok(f"python infer.py --infer_set_path=log.txt {SMALL} {flags}", small))
        )
        vectors.append(
            vectors_of(
                run_ok(f"python user_vector.py --infer_set_path=log.txt {SMALL} {flags}", small)
            )
        )
        assert [[video for video, _ in pairs] for _, pairs in lists[-1]] == [
            [video for video, _ in pairs] for _, pairs in lists[0]
        ]
        np.testing.assert_allclose(
            [[share for _, share in pairs] for _, pairs in lists[-1]],
            [[share for _, share in pairs] for _, pairs in lists[0]],
            rtol=1e-5,
        )
        np.testing.assert_allclose(vectors[-1], vectors[0], atol=1e-6)
    assert [user for user, _ in lists[0]] == [f"U{user}" for user in range(300)] and vectors[
        0
    ].shape == (300, 33)


def test_remove_seen(small):
    out = run_ok(
        f"python infer.py --infer_set_path=log.txt {SMALL} --top_n=40 --remove_seen", small
    )
    log = (small / "log.txt").read_text()
    for (user, pairs), line, seen in zip(lists_of(out), log.splitlines(), clicked(log)):
        assert user == line.split("\t")[0]
        assert {video for video, _ in pairs} == {f"V{video}" for video in range(40)} - set(seen)


def test_user_ids(small):
    (small / "ids.txt").write_text("U7\nstranger\nU3\n\nU7\n", encoding="utf-8")
    result = run(f"python infer_user.py {SMALL} --user_ids=ids.txt --top_n=5", small)
    lists = lists_of(result.stdout)
    assert [user for user, _ in lists] == ["U7", "stranger", "U3", "U7"]
    assert result.stderr == (
        "infer_user.py: stranger: not known to the model; served the most clicked videos\n"
        "infer_user.py: ids.txt: 1 of its users are not known to the model\n"
    )
    counts = {}
    for video in (
        video for history in clicked((small / "log.txt").read_text()) for video in history
    ):
        counts[video] = counts.get(video, 0) + 1
    best = sorted(counts, key=lambda video: (-counts[video], video))[:5]
    assert [video for video, _ in lists[1][1]] == best
    assert lists[1][1][0][1] == pytest.approx(counts[best[0]] / sum(counts.values()), rel=1e-5)
    everybody = dict(lists_of(run_ok(f"python infer_user.py {SMALL} --top_n=5", small)))
    assert everybody["U7"] == lists[0][1] == lists[3][1] and len(everybody) == 300


def test_vector_files(small):
    """Three formats, the same numbers, ids in the right places; users and videos tell that they belong together."""
    metadata = []
    for script, source in (("user_vector.py", "--infer_set_path=log.txt"), ("item_vector.py", "")):
        printed = vectors_of(run_ok(f"python {script} {source} {SMALL}", small))
        for kind in ("tsv", "npz", "vec"):
            run_ok(f"python {script} {source} {SMALL} --output_path=out.{kind}", small)
        ids, values = read_tsv(small / "out.tsv")
        np.testing.assert_array_equal(values, printed)
        arrays = np.load(small / "out.npz", allow_pickle=False)
        assert arrays["ids"].tolist() == ids
        np.testing.assert_allclose(arrays["vectors"], printed, rtol=1e-11, atol=1e-12)
        head, *rows = (small / "out.vec").read_text().splitlines()
        assert (
            head == f"{len(ids)} {printed.shape[1]}" and [row.split(" ")[0] for row in rows] == ids
        )
        np.testing.assert_array_equal(
            [[float(v) for v in row.split(" ")[1:]] for row in rows], printed
        )
        metadata.append((small / "out.tsv.json").read_bytes())
    assert ids == videos_of(small)
    assert metadata[0] == metadata[1] and set(json.loads(metadata[0])) == {"feature_dict", "model"}


def test_seed_decides_everything(small):
    content = [(small / "output" / "model" / "model_pass_00001.tar.gz").read_bytes()]
    for flags, hash_seed in (("--seed=0", "1"), ("--seed=4", "2")):
        run_ok(train_command("output/seed", flags), small, env={"PYTHONHASHSEED": hash_seed})
        content.append((small / "output" / "seed" / "model_pass_00001.tar.gz").read_bytes())
    assert content[0] == content[1] != content[2]


@pytest.mark.parametrize(
    "flags",
    [
        "--loss=ranking_nce --num_negatives=20 --shared_negatives --instances=sequence "
        "--tie_embeddings --dropout=0.3",
        "--loss=ranking_nce --threads=3 --window_size=7 --dnn_layer_dims 20 9 --lstm_dim=10 --user_dropout=0",
        "--shared_negatives --initial_values=v0.10 --optimizer=adagrad --l2_rate=0.001 --batch_size=50",
        "--preset=best",
        "--preset=v0.10",
        "--preset=best --network=DNNmodel --no-shared_negatives --num_negatives=20",
    ],
)
def test_settings_reach_the_model(small, flags):
    """Every way of training runs, is reported, and its model serves without being told anything again."""
    result = run(train_command("output/other", flags + " --num_passes=1"), small)
    assert result.returncode == 0, result.stderr
    name, value = flags.split()[0].strip("-").partition("=")[::2]
    assert f"{name}: {value or True}\n" in result.stderr
    out = run_ok(
        "python infer.py --infer_set_path=log.txt --model_path=output/other/model_pass_00000.tar.gz "
        "--feature_dict=output/feature_dict.pkl",
        small,
    )
    assert len(out.splitlines()) == 300


def test_validation_log_and_warning(small):
    (small / "valid.txt").write_text(small_log(300, seed=1), encoding="utf-8")
    result = run(
        train_command(
            "output/valid",
            "--valid_set_path=valid.txt --num_passes=30 --patience=1 --learning_rate=0.01",
        ),
        small,
    )
    rows = metrics_of(small / "output" / "valid")
    best = max(rows, key=lambda row: row["valid_ndcg@10"])
    assert result.stdout.splitlines()[-1].startswith("best pass by valid_ndcg@10")
    assert (
        len(rows) == best["pass"] + 2 < 30
        and "no better valid_ndcg@10 for 1 passes" in result.stderr
    )
    folder = small / "output" / "valid"
    best_pass = folder / f"model_pass_{best['pass']:05d}.tar.gz"
    assert (folder / "model_best.tar.gz").read_bytes() == best_pass.read_bytes()
    worse = run(
        train_command(
            "output/worse", "--num_passes=1 --initial_values=v0.10 --learning_rate=0.0000001"
        ),
        small,
    )
    assert worse.returncode == 0
    assert "warning: by ndcg@10 this model ranks no better than popularity" in worse.stderr
    assert "ranks no better than popularity" not in result.stderr


def test_help_is_short_work(small):
    for script in ("data_processor", "train", "infer", "user_vector", "item_vector", "infer_user"):
        code = (
            f"import sys, runpy; sys.argv = ['{script}.py', '--help']; "
            f"__import__('atexit').register(lambda: print('paddle' in sys.modules)); "
            f"runpy.run_path('{script}.py', run_name='__main__')"
        )
        out = run_ok(f'python -c "{code}"', small)
        assert out.endswith("False\n") and "options:" in out.replace(
            "optional arguments:", "options:"
        )


def test_a_closed_pipe_is_quiet(small):
    result = run(f"python infer.py --infer_set_path=log.txt {SMALL} | head -n 1 | wc -l", small)
    assert (result.returncode, result.stdout.strip()) == (0, "1")
    assert all(
        line.startswith("infer.py: log.txt: 300 users") for line in result.stderr.splitlines()
    )


def test_logs_from_pipes(small):
    """Of more lines than are read between two looks at how far it is."""
    (small / "long.txt").write_text(5 * (small / "log.txt").read_text(), encoding="utf-8")
    plain = run_ok(f"python infer.py --infer_set_path=long.txt {SMALL}", small)
    for command in (
        f"cat long.txt | python infer.py --infer_set_path=- {SMALL}",
        f"python infer.py --infer_set_path=<(cat long.txt) {SMALL}",
        f"python infer.py --infer_set_path=<(gzip -c long.txt) {SMALL}",
    ):
        assert run_ok(command, small) == plain


# ---------------------------------------------------------------- errors
INFER = "python infer.py --infer_set_path=log.txt "
VECTOR = "python item_vector.py "


@pytest.mark.parametrize(
    "command, what",
    [
        (
            train_command("output/x", log="gone.txt"),
            "train.py: gone.txt: No such file or directory; ",
        ),
        (
            train_command("output/x", log="short.txt"),
            "train.py: short.txt:2: 4 columns instead of 5; ",
        ),
        (
            train_command("output/x", log="parts.txt"),
            "train.py: parts.txt:2: video-info 'V1:C1' is not ",
        ),
        (train_command("output/x", log="empty.txt"), "train.py: empty.txt:1: empty history; "),
        (
            train_command("output/x", log="strange.txt"),
            "train.py: strange.txt: no click on a video of the dictionary; ",
        ),
        (
            train_command("output/x", log="none.txt"),
            "train.py: none.txt: no click on a video of the dictionary; ",
        ),
        (
            train_command("output/x", "--test_set_path=none.txt"),
            "train.py: none.txt: no line with a click; ",
        ),
        (
            train_command("output/x", "--item_freq=other.freq"),
            "train.py: other.freq: 2 frequencies for 41 videos",
        ),
        (train_command("output/x", "--feature_dict=log.txt"), "train.py: log.txt: damaged ("),
        (
            train_command("output/x", "--l2_rate=1"),
            "train.py: --l2_rate goes with --optimizer=adagrad",
        ),
        (train_command("output/x", "--patience=1"), "train.py: --patience needs --valid_set_path"),
        (
            train_command("output/x", "--batch_size=0"),
            "train.py: argument --batch_size: 0 is out of range",
        ),
        (
            train_command("output/x", "--learning_rate=nan"),
            "train.py: argument --learning_rate: nan is out of range",
        ),
        (train_command("output/x", "--loss=x"), "train.py: argument --loss: invalid choice: 'x'"),
        (INFER + SMALL + " --infer_set_path=short.txt", "infer.py: short.txt:2: 4 columns"),
        (
            INFER + SMALL + " --feature_dict=other.pkl",
            "model_pass_00001.tar.gz: trained with another dictionary",
        ),
        (INFER + SMALL + " --model_path=cut.tar.gz", "infer.py: cut.tar.gz: damaged ("),
        (
            INFER + SMALL + " --model_path=gone.tar.gz",
            "infer.py: gone.tar.gz: No such file or directory; ",
        ),
        (INFER + SMALL + " --model_path=output", "infer.py: output: Is a directory; "),
        (INFER + SMALL + " --top_n=0", "infer.py: argument --top_n: 0 is out of range"),
        (INFER + SMALL + " --device=nowhere", "infer.py: --device: no such device ("),
        (INFER, "infer.py: the following arguments are required: --model_path, --feature_dict; "),
        (
            VECTOR + SMALL + " --output_path=x.csv",
            "item_vector.py: argument --output_path: x.csv: unknown kind of file",
        ),
        (
            VECTOR + SMALL + " --output_path=no/x.tsv",
            "item_vector.py: no/x.tsv: its folder does not exist; ",
        ),
        (
            f"python infer_user.py {SMALL} --user_ids=short.txt",
            "infer_user.py: short.txt:1: more than one column; ",
        ),
        (
            f"python user_vector.py {SMALL} --infer_set_path=empty.txt --output_path=x.tsv",
            "user_vector.py: empty.txt:1: ",
        ),
    ],
)
def test_errors(small, command, what):
    """Exit code 2, nothing on stdout, a last line that names file (and line), and nothing half-written."""
    good = "U1\tP1\tNULL\tV1:C1:T1\tM1\n"
    for name, text in (
        ("short.txt", good + "U2\tP1\tV1:C1:T1\tM1\n"),
        ("parts.txt", good + good[:-7] + "\tM1\n"),
        ("empty.txt", "U1\tP1\tNULL\t\tM1\n"),
        ("none.txt", "U1\t\t\tNULL\t\n"),
        ("strange.txt", "U1\t\t\tstrange:C1:T1\t\n"),
    ):
        (small / name).write_text(text, encoding="utf-8")
    (small / "cut.tar.gz").write_bytes(
        (small / "output" / "model" / "model_pass_00001.tar.gz").read_bytes()[:9999]
    )
    if not (small / "other.pkl").exists():
        run_ok(
            "sed s/V1:/W1:/g log.txt > other.txt; python data_processor.py --train_set_path=other.txt "
            "--output_dir=other --feat_appear_limit=2; cp other/feature_dict.pkl other.pkl",
            small,
        )
        (small / "other.freq").write_bytes(pickle.dumps([0.5, 0.5]))
    before = sorted(small.rglob("*"))
    result = run(command, small)
    assert (result.returncode, result.stdout) == (2, ""), result
    *lines, last = result.stderr.splitlines()
    assert what in last and all(
        ": warning: " in line or " of them known; " in line for line in lines
    )
    assert sorted(small.rglob("*")) == before


def test_progress_on_a_terminal(small, tmp_path):
    """Long work tells a terminal how far it is and when it will end, and takes that away again; a pipe gets nothing."""
    (tmp_path / "log.txt").write_text(small_log(1200), encoding="utf-8")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-0").write_text("")  # as Spark leaves some
    (tmp_path / "parts" / "part-1").write_text(small_log(1200), encoding="utf-8")
    log, output = tmp_path / "log.txt", f"--output_dir={tmp_path}"
    for command in (
        f"python data_processor.py --train_set_path={log} {output}",
        train_command(tmp_path / "model", "--num_passes=1 --no-rules", log=log),
        f"python user_vector.py --infer_set_path={tmp_path}/parts {SMALL} "
        f"--output_path={tmp_path}/users.tsv",
        f"python item_vector.py {SMALL}",
        f"python infer_user.py {SMALL}",
        f"python infer.py --infer_set_path={log} {SMALL} --batch_size=128",
    ):
        ours, theirs = pty.openpty()
        shown = run(command, small, capture_output=False, stdout=-1, stderr=theirs)
        os.close(theirs)
        text = os.read(ours, 1 << 20).decode()
        os.close(ours)
        assert shown.returncode == 0 and re.search(r"\r[^\r]+: +\d+%, \d+:\d\d left", text), (
            command,
            text,
        )
        assert "\033[K" in text and "left" not in re.sub(r"\r[^\r]*\033\[K", "", text), (
            command,
            text,
        )
    quiet = run(command, small)
    assert (
        shown.stdout == quiet.stdout and "\033" not in quiet.stderr and "left" not in quiet.stderr
    )


def test_visualdl(small, tmp_path):
    """VisualDL finds the curves of a run, the numbers of metrics.jsonl, and vector, name and category of each video."""
    visualdl = pytest.importorskip("visualdl")
    run_ok(train_command(tmp_path / "model", f"--visualdl_dir={tmp_path}/board"), small)
    [file] = (tmp_path / "board").iterdir()
    reader, passes = visualdl.LogReader(file_path=str(file)), metrics_of(tmp_path / "model")
    for name in ("cost", "recall@10", "live_units", "popularity_ndcg@10"):
        points = reader.get_data("scalar", f"pass/{name.replace('@', '_at_')}")
        assert [(point.id, pytest.approx(point.value, rel=1e-6)) for point in points] == [
            (number, row[name]) for number, row in enumerate(passes)
        ], name
    rates = [point.value for point in reader.get_data("scalar", "learning_rate")]
    assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(0.002, rel=1e-3)
    [record] = reader.get_data("embeddings", "videos")
    found = record.embeddings.embeddings
    assert [item.label[0] for item in found] == videos_of(small)
    assert all(item.label[1] == f"C{int(item.label[0][1:]) % 5}" for item in found)
    nce_w = read_archive(str(tmp_path / "model" / "model_pass_00001.tar.gz"), "")[1]["nce_w"]
    np.testing.assert_allclose([item.vectors for item in found], nce_w[1:], rtol=1e-6)


def test_without_visualdl(small, tmp_path):
    """Whoever asks for it and has not installed it is told how in one line, before anything is trained."""
    (tmp_path / "visualdl.py").write_text("raise ImportError('not here')")
    result = run(
        train_command(tmp_path / "model", f"--visualdl_dir={tmp_path}/board"),
        small,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        "train.py: --visualdl_dir: no VisualDL (not here); pip install visualdl"
    )
