"""The documented commands, verbatim, on the sample; and what holds between their outputs."""
import json
import math
import pickle

from conftest import COMMANDS, MODEL, run, run_ok, small_log, train_command
from data_processor import load_feature_dict

import numpy as np
import pytest

SMALL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def lists_of(out):
    """[(user, [(video, probability), ...]), ...] of the output of infer.py and infer_user.py."""
    pairs = [line.split("\t") for line in out.splitlines()]
    return [(user, [(pair.rsplit(":", 1)[0], float(pair.rsplit(":", 1)[1])) for pair in row.split(",")])
            for user, row in pairs]


def vectors_of(out):
    return np.array([[float(number) for number in line.split(",")] for line in out.splitlines()])


def read_tsv(path):
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [row[0] for row in rows], np.array([[float(value) for value in row[1:]] for row in rows])


def test_every_documented_command(sample):
    """Each ran and printed what it should, in the order that it should."""
    folder, outputs = sample
    out = dict(zip(COMMANDS, outputs))
    by_script = {command.split()[1]: out[command] for command in COMMANDS if command.startswith("python")}
    feature_dict = load_feature_dict(folder / "output" / "feature_dict.pkl")
    videos = list(feature_dict["history_clicked_items"])[1:]
    users = [line.split("\t")[0] for line in (folder / "data" / "infer.txt").read_text(encoding="utf-8").splitlines()]
    assert any(user not in feature_dict["user_id"] for user in users)

    passes = [json.loads(line) for line in (folder / "output" / "model" / "metrics.jsonl").read_text().splitlines()]
    assert [line.split("  ")[0] for line in by_script["train.py"].splitlines()] == [
        f"pass {number:05d}" for number in range(10)]
    assert sorted(path.name for path in (folder / "output" / "model").iterdir()) == [
        "metrics.jsonl", *(f"model_pass_{number:05d}.tar.gz" for number in range(10))]
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


def test_only_training_needs_paddle(small, tmp_path):
    """All other commands run where importing paddle fails."""
    (tmp_path / "paddle.py").write_text("raise SystemExit('paddle was imported')")
    model = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"
    for command in ("data_processor.py --train_set_path=log.txt --output_dir=counted", f"item_vector.py {model}",
                    f"infer.py --infer_set_path=log.txt {model}", f"user_vector.py --infer_set_path=log.txt {model}",
                    f"infer_user.py {model}"):
        assert run_ok(f"python {command}", small, env={"PYTHONPATH": str(tmp_path)})
    training = run(train_command("output/no-paddle"), small, env={"PYTHONPATH": str(tmp_path)})
    assert "paddle was imported" in training.stderr


def test_cosine_order_is_softmax_order_for_every_user(sample):
    """All videos for the users of infer.txt, the top 30 for every other user, from the printed vectors."""
    folder, outputs = sample
    item_vectors = vectors_of(dict(zip(COMMANDS, outputs))[COMMANDS[-2]])
    item_vectors /= np.linalg.norm(item_vectors, axis=1, keepdims=True)
    videos = np.array(list(load_feature_dict(folder / "output" / "feature_dict.pkl")["history_clicked_items"])[1:])
    for log, top_n in (("infer.txt", len(videos)), ("test.txt", 30), ("train.txt", 30)):
        flags = f"--infer_set_path=data/{log} --model_path={MODEL} --feature_dict=output/feature_dict.pkl"
        lists = lists_of(run_ok(f"python infer.py {flags} --top_n={top_n}", folder))
        user_vectors = vectors_of(run_ok(f"python user_vector.py {flags}", folder))
        assert len(lists) == len(user_vectors) >= 300
        order = videos[np.argsort(-(user_vectors @ item_vectors.T), axis=1, kind="stable")[:, :top_n]]
        for row, (_, pairs) in enumerate(lists):
            assert [video for video, _ in pairs] == order[row].tolist()
            if log == "infer.txt":  # six digits printed of each of more than a thousand probabilities
                assert sum(share for _, share in pairs) == pytest.approx(1, abs=1e-5)


def test_exported_vectors_rank_as_the_report_says(sample):
    """All metrics of the last pass, from the two vector files and the raw log alone, to the last digit."""
    folder, _ = sample
    row = json.loads((folder / "output" / "model" / "metrics.jsonl").read_text().splitlines()[-1])
    lines = [line.split("\t") for line in (folder / "data" / "test.txt").read_text(encoding="utf-8").splitlines()]
    histories = [[] if line[3] == "NULL" else line[3].split(";") for line in lines]
    with open(folder / "before.txt", "w", encoding="utf-8") as log:
        for line, infos in zip(lines, histories):
            log.write("\t".join([*line[:3], ";".join(infos[:-1]) or "NULL", line[4]]) + "\n")
    flags = "--model_path=output/model/model_pass_00009.tar.gz --feature_dict=output/feature_dict.pkl --output_path"
    run_ok(f"python user_vector.py --infer_set_path=before.txt {flags}=users.tsv", folder)
    run_ok(f"python item_vector.py {flags}=videos.tsv", folder)
    _, users = read_tsv(folder / "users.tsv")
    names, videos = read_tsv(folder / "videos.tsv")
    place = {name: number for number, name in enumerate(names)}
    videos /= np.linalg.norm(videos, axis=1, keepdims=True)
    ranks = {"": [], "seen_kept_": []}
    for user, infos in zip(users, histories):
        if not infos:
            continue
        seen = [info.rsplit(":", 2)[0] for info in infos]
        target = place.get(seen[-1])
        cosine = videos @ user
        for prefix, values in ranks.items():
            if prefix == "" and target is not None:
                own = cosine[target]
                cosine[[place[name] for name in seen[:-1] if name in place]] = -2
                cosine[target] = own
            values.append(math.inf if target is None else int((cosine >= cosine[target]).sum()))
            if prefix == "":
                cosine = videos @ user
    for prefix, values in ranks.items():
        values = np.array(values, float)
        within = values <= 10
        assert row[prefix + "recall@10"] == pytest.approx(within.mean(), abs=1e-12)
        assert row[prefix + "recall@50"] == pytest.approx((values <= 50).mean(), abs=1e-12)
        assert row[prefix + "ndcg@10"] == pytest.approx(np.where(within, 1 / np.log2(1 + values), 0).mean(), abs=1e-12)
        assert row[prefix + "mrr@10"] == pytest.approx(np.where(within, 1 / values, 0).mean(), abs=1e-12)


def test_popularity_figures(sample):
    """popularity_recall@10 from the raw logs: seen removed, ties against it."""
    folder, _ = sample
    row = json.loads((folder / "output" / "model" / "metrics.jsonl").read_text().splitlines()[0])
    counts, histories = {}, []
    for name in ("train.txt", "test.txt"):
        for line in (folder / "data" / name).read_text(encoding="utf-8").splitlines():
            history = line.split("\t")[3]
            seen = [] if history == "NULL" else [info.rsplit(":", 2)[0] for info in history.split(";")]
            if name == "test.txt":
                histories.append(seen)
            for video in seen if name == "train.txt" else []:
                counts[video] = counts.get(video, 0) + 1
    counts = {video: count for video, count in counts.items() if count >= 20}
    hits, unknown = [], []
    for *seen, target in (history for history in histories if history):
        unknown.append(target not in counts)
        hits.append(target in counts and sum(count >= counts[target] for video, count in counts.items()
                                             if video == target or video not in seen) <= 10)
    assert row["popularity_recall@10"] == pytest.approx(np.mean(hits), abs=1e-12)
    assert row["unknown_target_share"] == pytest.approx(np.mean(unknown), abs=1e-12)


# ---------------------------------------------------------------- the rest on a small log
def test_batch_size_changes_nothing(small):
    for script in ("infer.py", "user_vector.py"):
        outputs = {run_ok(f"python {script} --infer_set_path=log.txt {SMALL} --batch_size={size}", small)
                   for size in (1, 50, 1000)}
        assert len(outputs) == 1 and len(outputs.pop().splitlines()) == 300


def test_remove_seen(small):
    out = run_ok(f"python infer.py --infer_set_path=log.txt {SMALL} --top_n=40 --remove_seen", small)
    for (user, pairs), line in zip(lists_of(out), (small / "log.txt").read_text().splitlines()):
        seen = {info.split(":")[0] for info in line.split("\t")[3].split(";")}
        assert user == line.split("\t")[0]
        assert {video for video, _ in pairs} == {f"V{video}" for video in range(40)} - seen


def test_it_learns_what_follows_what(small):
    """In the small log the next video is the one after the last, nine times in ten."""
    run_ok(train_command("output/longer", "--num_passes=12 --instances=sequence"), small)
    row = json.loads((small / "output" / "longer" / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["seen_kept_recall@10"] > 0.8 > 2 * row["popularity_seen_kept_recall@10"]
    assert row["seen_kept_mrr@10"] > 0.35 > 2 * row["popularity_seen_kept_mrr@10"]


def test_user_ids(small):
    (small / "ids.txt").write_text("U7\nstranger\nU3\n\nU7\n", encoding="utf-8")
    result = run(f"python infer_user.py {SMALL} --user_ids=ids.txt --top_n=5", small)
    lists = lists_of(result.stdout)
    assert [user for user, _ in lists] == ["U7", "stranger", "U3", "U7"]
    assert result.stderr == "infer_user.py: stranger: not known to the model; served the most clicked videos\n"
    counts = {}
    for line in (small / "log.txt").read_text().splitlines():
        for info in line.split("\t")[3].split(";"):
            counts[info.split(":")[0]] = counts.get(info.split(":")[0], 0) + 1
    best = sorted(counts, key=lambda video: (-counts[video], video))[:5]
    assert [video for video, _ in lists[1][1]] == best
    assert lists[1][1][0][1] == pytest.approx(counts[best[0]] / sum(counts.values()), rel=1e-5)
    everybody = dict(lists_of(run_ok(f"python infer_user.py {SMALL} --top_n=5", small)))
    assert everybody["U7"] == lists[0][1] == lists[3][1] and len(everybody) == 300


def test_vector_files(small):
    """Three formats, the same numbers, ids in the right places."""
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
        assert head == f"{len(ids)} {printed.shape[1]}" and [row.split(" ")[0] for row in rows] == ids
        np.testing.assert_array_equal([[float(v) for v in row.split(" ")[1:]] for row in rows], printed)
    assert ids == list(load_feature_dict(small / "output" / "feature_dict.pkl")["history_clicked_items"])[1:]


def test_seed_decides_everything(small):
    content = []
    for seed, hash_seed in ((3, "1"), (3, "2"), (4, "1")):
        run_ok(train_command(f"output/seed{len(content)}", f"--seed={seed} --dropout=0.2"), small,
               env={"PYTHONHASHSEED": hash_seed})
        content.append((small / "output" / f"seed{len(content)}" / "model_pass_00001.tar.gz").read_bytes())
    assert content[0] == content[1] != content[2]


@pytest.mark.parametrize("flags", [
    "--loss=ranking_nce --num_negatives=20 --shared_negatives --instances=sequence --last_click --last_state "
    "--tie_embeddings --dropout=0.3 --average_passes=2",
    "--loss=ranking_nce --processes=3 --window_size=7 --dnn_layer_dims 20 9 --lstm_dim=10 --user_dropout=0",
    "--shared_negatives --initial_values=v0.10 --optimizer=adagrad --l2_rate=0.001 --batch_size=50",
])
def test_settings_reach_the_model(small, flags):
    """Every way of training runs, is reported, and its model serves without being told anything again."""
    result = run(train_command("output/other", flags), small)
    assert result.returncode == 0, result.stderr
    name, value = flags.split()[0].strip("-").partition("=")[::2]
    assert f"{name}: {value or True}\n" in result.stderr
    out = run_ok("python infer.py --infer_set_path=log.txt --model_path=output/other/model_pass_00001.tar.gz "
                 "--feature_dict=output/feature_dict.pkl", small)
    assert len(out.splitlines()) == 300


def test_validation_log_and_warning(small):
    (small / "valid.txt").write_text(small_log(300, seed=1), encoding="utf-8")
    result = run(train_command("output/valid", "--valid_set_path=valid.txt --num_passes=30 --patience=1 "
                                               "--learning_rate=0.05"), small)
    rows = [json.loads(line) for line in (small / "output" / "valid" / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["valid_ndcg@10"])
    assert result.stdout.splitlines()[-1].startswith("best pass by valid_ndcg@10")
    assert len(rows) == best["pass"] + 2 < 30 and "no better valid_ndcg@10 for 1 passes" in result.stderr
    folder = small / "output" / "valid"
    best_pass = folder / f"model_pass_{best['pass']:05d}.tar.gz"
    assert (folder / "model_best.tar.gz").read_bytes() == best_pass.read_bytes()
    worse = run(train_command("output/worse", "--initial_values=v0.10 --learning_rate=0.0000001"), small)
    assert worse.returncode == 0 and "warning: this model ranks no better than popularity" in worse.stderr
    assert "warning" not in result.stderr


def test_help_is_short_work(small):
    for script in ("data_processor", "train", "infer", "user_vector", "item_vector", "infer_user"):
        code = f"import sys, runpy; sys.argv = ['{script}.py', '--help']; " \
               f"__import__('atexit').register(lambda: print('paddle' in sys.modules)); " \
               f"runpy.run_path('{script}.py', run_name='__main__')"
        out = run_ok(f'python -c "{code}"', small)
        assert out.endswith("False\n") and "options:" in out.replace("optional arguments:", "options:")


def test_a_closed_pipe_is_quiet(small):
    result = run(f"python infer.py --infer_set_path=log.txt {SMALL} | head -n 1 | wc -l", small)
    assert (result.stdout.strip(), result.stderr) == ("1", "")


def test_logs_from_pipes(small):
    plain = run_ok(f"python infer.py --infer_set_path=log.txt {SMALL}", small)
    assert run_ok(f"cat log.txt | python infer.py --infer_set_path=- {SMALL}", small) == plain
    assert run_ok(f"python infer.py --infer_set_path=<(gzip -c log.txt) {SMALL}", small) == plain


# ---------------------------------------------------------------- errors
INFER = "python infer.py --infer_set_path=log.txt "
VECTOR = "python item_vector.py "


@pytest.mark.parametrize("command, what", [
    (train_command("output/x", log="gone.txt"), "train.py: gone.txt: No such file or directory; "),
    (train_command("output/x", log="short.txt"), "train.py: short.txt:2: 4 columns instead of 5; "),
    (train_command("output/x", log="parts.txt"), "train.py: parts.txt:2: video-info 'V1:C1' is not "),
    (train_command("output/x", log="empty.txt"), "train.py: empty.txt:1: empty history; "),
    (train_command("output/x", log="strange.txt"), "train.py: strange.txt: no click on a video of the dictionary; "),
    (train_command("output/x", log="none.txt"), "train.py: none.txt: no click on a video of the dictionary; "),
    (train_command("output/x", "--test_set_path=none.txt"), "train.py: none.txt: no line with a click; "),
    (train_command("output/x", "--item_freq=other.freq"), "train.py: other.freq: 2 frequencies for 41 videos"),
    (train_command("output/x", "--feature_dict=log.txt"), "train.py: log.txt: not a plain pickle"),
    (train_command("output/x", "--l2_rate=1"), "train.py: --l2_rate goes with --optimizer=adagrad"),
    (train_command("output/x", "--patience=1"), "train.py: --patience needs --valid_set_path"),
    (train_command("output/x", "--batch_size=0"), "train.py: argument --batch_size: 0 is out of range"),
    (train_command("output/x", "--learning_rate=nan"), "train.py: argument --learning_rate: nan is out of range"),
    (train_command("output/x", "--loss=x"), "train.py: argument --loss: invalid choice: 'x'"),
    (INFER + SMALL + " --infer_set_path=short.txt", "infer.py: short.txt:2: 4 columns"),
    (INFER + SMALL + " --feature_dict=other.pkl", "model_pass_00001.tar.gz: trained with another dictionary"),
    (INFER + SMALL + " --model_path=cut.tar.gz", "infer.py: cut.tar.gz: damaged or truncated"),
    (INFER + SMALL + " --model_path=gone.tar.gz", "infer.py: gone.tar.gz: No such file or directory; "),
    (INFER + SMALL + " --model_path=output", "infer.py: output: Is a directory; "),
    (INFER + SMALL + " --top_n=0", "infer.py: argument --top_n: 0 is out of range"),
    (INFER, "infer.py: the following arguments are required: --model_path, --feature_dict; "),
    (VECTOR + SMALL + " --output_path=x.csv", "item_vector.py: x.csv: unknown kind of file; "),
    (VECTOR + SMALL + " --output_path=no/x.tsv", "item_vector.py: no/x.tsv: its folder does not exist; "),
    (f"python infer_user.py {SMALL} --user_ids=short.txt", "infer_user.py: short.txt:1: more than one column; "),
    (f"python user_vector.py {SMALL} --infer_set_path=empty.txt --output_path=x.tsv", "user_vector.py: empty.txt:1: "),
])
def test_errors(small, command, what):
    """Exit code 2, nothing on stdout, one line that names file (and line), and nothing half-written."""
    good = "U1\tP1\tNULL\tV1:C1:T1\tM1\n"
    for name, text in (("short.txt", good + "U2\tP1\tV1:C1:T1\tM1\n"), ("parts.txt", good + good[:-7] + "\tM1\n"),
                       ("empty.txt", "U1\tP1\tNULL\t\tM1\n"), ("none.txt", "U1\t\t\tNULL\t\n"),
                       ("strange.txt", "U1\t\t\tstrange:C1:T1\t\n")):
        (small / name).write_text(text, encoding="utf-8")
    (small / "cut.tar.gz").write_bytes((small / "output" / "model" / "model_pass_00001.tar.gz").read_bytes()[:9999])
    if not (small / "other.pkl").exists():
        run_ok("sed s/V1:/W1:/g log.txt > other.txt; python data_processor.py --train_set_path=other.txt "
               "--output_dir=other --feat_appear_limit=2; cp other/feature_dict.pkl other.pkl", small)
        (small / "other.freq").write_bytes(pickle.dumps([0.5, 0.5]))
    before = sorted(small.rglob("*"))
    result = run(command, small)
    assert (result.returncode, result.stdout) == (2, ""), result
    assert what in result.stderr and result.stderr.count("\n") == 1
    assert sorted(small.rglob("*")) == before
