"""train.py: what a run prints, writes and leaves behind."""

import re

from candgen.archives import read_archive
from candgen.serving.metrics import METRICS
from conftest import clicked, metrics_of, run, run_ok, small_log, train_command

import numpy as np
import pytest

QUICK = "--batch_size=512 --no-rules"  # a dozen steps a pass of the small log
SMALL_NETWORK = "--dnn_layer_dims 16 8 --lstm_dim=8"


@pytest.fixture(scope="module")
def one_pass(small):
    """(result of a run of one pass, its folder)."""
    result = run(train_command("output/one-pass", "--num_passes=1 --no-rules"), small)
    return result, small / "output" / "one-pass"


def test_the_learning_rate_falls_to_a_tenth(one_pass):
    """At the end of the last pass, however many targets the batches had."""
    metadata, _ = read_archive(str(one_pass[1] / "checkpoint.tar.gz"), "")
    assert metadata["rate"]["last_lr"] == pytest.approx(0.0002, rel=0.05)


def test_a_validation_log_of_unknown_videos(small):
    """The last pass is kept; --min_ratio publishes nothing, and without it everything."""
    (small / "unknown.txt").write_text(small_log(5).replace("V", "X"))
    flags = f"{QUICK} {SMALL_NETWORK}"
    result = run(
        train_command(
            "output/unknown", f"{flags} --valid_set_path=unknown.txt --patience=1 --num_passes=3"
        ),
        small,
    )
    assert result.stdout.count("\n") == 3
    assert (
        "warning: model_best.tar.gz (the last pass, since valid_ndcg@10 is 0 in every pass): "
        in result.stderr.splitlines()[-1]
    )
    folder = small / "output" / "unknown"
    best = folder / "model_best.tar.gz"
    assert best.read_bytes() == (folder / "model_pass_00002.tar.gz").read_bytes()
    best.rename(small / "earlier.tar.gz")
    flags += (
        " --test_set_path=unknown.txt --compare_with=earlier.tar.gz "
        "--compare_feature_dict=output/feature_dict.pkl --num_passes=1"
    )
    result = run(train_command("output/unknown", f"{flags} --min_ratio=0.5"), small)
    assert result.returncode == 3 and not best.exists()
    last = result.stderr.splitlines()[-1]  # the gate's
    assert last == "train.py: ndcg@10 is 0, which --min_ratio cannot compare: not published"
    result = run(train_command("output/unknown", flags), small)
    verdict, last = result.stderr.splitlines()[-2:]
    assert verdict.startswith("train.py: warning: model_pass_00000.tar.gz (the last pass): ")
    assert last == "train.py: model_pass_00000.tar.gz is published as model_best.tar.gz"
    assert result.returncode == 0 and best.exists()


def test_settings_are_printed(small, one_pass):
    """All of them before the first pass, resolved defaults too."""
    result, _ = one_pass
    clicks = sum(map(len, clicked((small / "log.txt").read_text())))
    for line in (
        "num_passes: 1",
        "learning_rate: 0.002",
        f"batch_size: {clicks // 100}",
        f"clicks: {clicks}",
        "lines: 300",
        "select_metric: ndcg@10",
        "network: DNNmodel",
        "device: cpu",
    ):
        assert f"\n{line}\n" in result.stderr, line
    assert result.stdout.startswith("pass 00000") and result.stdout.count("\n") == 1


def models_of(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("model_"))


def test_a_collapsed_network(small):
    """All ReLUs are dead: one vector for all users; training and serving say what to do."""
    result = run(
        train_command("output/dead", "--learning_rate=30 --no-rules --num_passes=1"), small
    )
    assert result.returncode == 0, result.stderr
    [row] = metrics_of(small / "output" / "dead")
    assert row["distinct_users"] == 1 and row["live_units"] == 0
    assert re.search(
        r"warning: the network collapses: 1 different vectors for 300 test users, 0 of 31 units "
        r".* alive; train it with a lower --learning_rate\n",
        result.stderr,
    )
    for script in ("infer.py", "user_vector.py"):
        served = run(
            f"python {script} --infer_set_path=log.txt --feature_dict=output/feature_dict.pkl "
            "--model_path=output/dead/model_pass_00000.tar.gz",
            small,
        )
        assert served.returncode == 0 and len(served.stdout.splitlines()) == 300
        assert len({line.split("\t")[-1] for line in served.stdout.splitlines()}) == 1
        last = served.stderr.splitlines()[-1]
        assert last.startswith(f"{script}: warning: all 300 users have the same vector; ")


def test_a_network_that_has_not_collapsed(small):
    row = metrics_of(small / "output" / "model")[-1]
    assert row["distinct_users"] > 280 and row["live_units"] > 20
    served = run(
        "python infer.py --infer_set_path=log.txt --feature_dict=output/feature_dict.pkl "
        "--model_path=output/model/model_pass_00001.tar.gz",
        small,
    )
    assert "warning" not in served.stderr


def ring_log(users, videos, seed):
    """Users go round a ring: every last click is on a video that they have clicked before."""
    rng = np.random.default_rng(seed)
    lines = []
    for user, start in enumerate(rng.integers(0, videos, users)):
        length = rng.integers(videos + 1, 3 * videos)
        infos = [f"v{(start + step) % videos}:c:t" for step in range(length)]
        lines.append(f"u{user}\tNULL\tNULL\t{';'.join(infos)}\tNULL\n")
    return "".join(lines)


def train_on(folder, name, log, test_log, flags):
    """Train on a log in a folder of its own; returns the verdict, the last row and stdout."""
    (folder / f"{name}.txt").write_text(log)
    (folder / f"{name}-test.txt").write_text(test_log)
    run_ok(
        f"python data_processor.py --train_set_path={name}.txt --output_dir={name} "
        "--feat_appear_limit=1",
        folder,
    )
    flags += f" --test_set_path={name}-test.txt"
    command = train_command(f"{name}/model", flags, f"{name}.txt")
    result = run(command.replace("output/", f"{name}/"), folder)
    assert result.returncode == 0, result.stderr
    verdict = result.stderr.splitlines()[-1]
    return verdict, metrics_of(folder / name / "model")[-1], result.stdout


def test_baselines_are_compared_by_the_metric_that_counts(small):
    """In a catalogue of 8 videos recall@10 is 1 for all rankings, ndcg@10 is not."""
    logs = ring_log(150, 8, 0), ring_log(150, 8, 1)
    for metric, meaning in (
        ("", ": better than popularity; to serve it: infer.py --model_path=ring/model/model_pass_"),
        ("--select_metric=seen_kept_recall@10", ": no clear difference from popularity among 150 "),
    ):
        verdict, row, _ = train_on(small, "ring", *logs, f"{metric} --no-rules")
        assert meaning in verdict
        assert row["seen_kept_recall@10"] == row["popularity_seen_kept_recall@10"] == 1
        assert row["seen_kept_ndcg@10"] > row["popularity_seen_kept_ndcg@10"] + 0.2
        assert row["recall@10"] == 0  # all last clicks are among the earlier ones


def test_rules_are_a_baseline_too(small):
    """In rows, pass lines and the verdict; --no-rules leaves them out."""
    logs = ring_log(100, 40, 0), ring_log(100, 40, 1)
    for switch, rules in (("", True), ("--no-rules", False)):
        flags = f"{switch} {SMALL_NETWORK} --learning_rate=1e-7 --batch_size=2048 --num_passes=1"
        verdict, row, out = train_on(small, "chains", *logs, flags)
        assert (": worse than rules, " in verdict) == (" times rules" in verdict) == rules
        assert all(("rules_" + name in row) == rules for name in METRICS)
        [line] = out.splitlines()
        assert (", rules 0." in line or ", rules 1." in line) == rules


def test_models_of_an_earlier_run(small):
    """A fresh run removes those that it does not write; a resumed one keeps its own."""
    folder = small / "output" / "again"
    flags = f"{QUICK} {SMALL_NETWORK}"
    run_ok(train_command("output/again", f"{flags} --valid_set_path=log.txt --num_passes=3"), small)
    passes = [f"model_pass_0000{number}.tar.gz" for number in range(3)]
    assert models_of(folder) == ["model_best.tar.gz", *passes]
    for name in ("model_pass_1.tar.gz", "my_model_pass_00001.tar.gz", "notes.txt"):
        (folder / name).write_text("mine")
    result = run(train_command("output/again", f"{flags} --num_passes=1"), small)
    assert result.returncode == 0 and "removed 2 models of an earlier run" in result.stderr
    assert "removed model_best.tar.gz of an earlier run" in result.stderr
    assert models_of(folder) == ["model_pass_00000.tar.gz", "model_pass_1.tar.gz"]
    assert len(metrics_of(folder)) == 1
    result = run(train_command("output/again", f"{flags} --num_passes=2 --resume"), small)
    assert result.returncode == 0 and "removed" not in result.stderr
    assert models_of(folder) == [*passes[:2], "model_pass_1.tar.gz"]
    assert (folder / "notes.txt").exists() and (folder / "my_model_pass_00001.tar.gz").exists()


def test_the_best_pass(small):
    """By the validation log: kept as model_best.tar.gz; training stops if no better one follows."""
    (small / "valid.txt").write_text(small_log(100, seed=5))
    flags = (
        f"--valid_set_path=valid.txt --patience=2 --num_passes=60 --learning_rate=0.03 "
        f"--select_metric=mrr@10 {QUICK}"
    )
    result = run(train_command("output/chosen", flags), small)
    assert result.returncode == 0, result.stderr
    folder = small / "output" / "chosen"
    rows = metrics_of(folder)
    values = [row["valid_mrr@10"] for row in rows]
    best = values.index(max(values))
    assert len(rows) == best + 3 < 60  # two more without success
    passes = [f"model_pass_{row['pass']:05d}.tar.gz" for row in rows]
    assert models_of(folder) == ["model_best.tar.gz", *passes]
    assert (folder / "model_best.tar.gz").read_bytes() == (folder / passes[best]).read_bytes()
    assert "no better valid_mrr@10 for 2 passes: stopped" in result.stderr
    lines = result.stdout.splitlines()
    assert [line[:10] for line in lines] == [f"pass {row['pass']:05d}" for row in rows]
    chosen = f"pass {best:05d}, the best by valid_mrr@10 {values[best]:.4f}"
    assert f"train.py: warning: model_best.tar.gz ({chosen}): mrr@10 " in result.stderr
    expected = {"valid_recall@10", "valid_seen_kept_ndcg@10", "valid_test_cost"}
    assert all(expected <= row.keys() for row in rows)


@pytest.mark.parametrize("streams", ["| head -n 0", "2> >(true)"], ids=["stdout", "stderr"])
def test_training_continues_when_a_stream_is_closed(small, streams):
    output = f"unread{len(streams)}"
    command = train_command(f"output/{output}", f"{QUICK} {SMALL_NETWORK} {streams}")
    result = run(command, small)
    assert result.returncode == 0 and "Traceback" not in result.stderr
    assert len(metrics_of(small / "output" / output)) == 2


def test_the_seed_decides_everything(small):
    """Processes with different hashes of strings write the same bytes."""
    contents = []
    for seed, hash_seed in ((0, "1"), (0, "2"), (4, "2")):
        flags = f"--seed={seed} {QUICK} {SMALL_NETWORK}"
        run_ok(train_command("output/seed", flags), small, env={"PYTHONHASHSEED": hash_seed})
        contents.append((small / "output" / "seed" / "model_pass_00001.tar.gz").read_bytes())
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize(
    "flags",
    [
        "--loss=ranking_nce --num_negatives=20 --shared_negatives --instances=sequence "
        "--tie_embeddings --dropout=0.3",
        "--loss=ranking_nce --threads=3 --window_size=7 --dnn_layer_dims 20 9 --lstm_dim=10 "
        "--user_dropout=0",
        "--shared_negatives --initial_values=v0.10 --optimizer=adagrad --l2_rate=0.001 "
        "--batch_size=50",
        "--preset=v0.10 --batch_size=256",
        "--preset=best --network=DNNmodel --no-shared_negatives --num_negatives=20",
    ],
)
def test_a_model_has_its_settings(small, flags):
    """Every way of training runs, is reported, and its model serves without further flags."""
    result = run(train_command("output/other", f"{flags} --num_passes=1 --no-rules"), small)
    assert result.returncode == 0, result.stderr
    name, _, value = flags.split()[0].strip("-").partition("=")
    assert f"{name}: {value or True}\n" in result.stderr
    out = run_ok(
        "python infer.py --infer_set_path=log.txt --feature_dict=output/feature_dict.pkl "
        "--model_path=output/other/model_pass_00000.tar.gz",
        small,
    )
    assert len(out.splitlines()) == 300


@pytest.mark.parametrize(
    "flags", ["--learning_rate=1e30", "--optimizer=adagrad --learning_rate=1e38"]
)
def test_a_loss_that_explodes(small, flags):
    """Exit code 2, the last line says why, no model; files of an earlier run stay."""
    folder = small / "output" / "explodes"
    folder.mkdir(exist_ok=True)
    (folder / "model_pass_00000.tar.gz").write_text("earlier")
    result = run(train_command("output/explodes", f"{flags} {QUICK} {SMALL_NETWORK}"), small)
    assert result.returncode == 2 and result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("train.py: training: ") and "lower --learning_rate" in last
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr
    assert [path.read_text() for path in folder.iterdir()] == ["earlier"]


def test_clicks_of_a_user_are_limited(small):
    """The last ten of each user are the instances of a pass; the dictionary counts all of them."""
    command = train_command("output/limited", f"{QUICK} --num_passes=1 --max_user_clicks=10")
    result = run(command, small)
    assert result.returncode == 0, result.stderr
    assert "train.py: warning: output/item_freq.pkl: data_processor.py had another " in (
        result.stderr
    )
    assert "another --max_user_clicks than this run" in result.stderr
    [row] = metrics_of(small / "output" / "limited")
    lengths = map(len, clicked((small / "log.txt").read_text()))
    assert row["instances"] == sum(min(10, length) for length in lengths)


def test_settings_of_both_scripts(small):
    """data_processor.py and train.py with the same limit and catalogue: no warning."""
    (small / "listed.txt").write_text("X1:C1:T1\nV1:C1:T1_T2\n")
    flags = "--max_user_clicks=10 --catalogue_path=listed.txt"
    run_ok(
        "python data_processor.py --train_set_path=log.txt --output_dir=settings "
        f"--feat_appear_limit=2 {flags}",
        small,
    )
    dictionary = "--feature_dict=settings/feature_dict.pkl --item_freq=settings/item_freq.pkl"
    command = train_command(
        "output/settings", f"{QUICK} {SMALL_NETWORK} --num_passes=1 {dictionary}"
    )
    same, other = run(f"{command} {flags}", small), run(command, small)
    assert (same.returncode, other.returncode) == (0, 0)
    assert "data_processor.py had another" not in same.stderr
    for flag in ("max_user_clicks", "catalogue_path"):
        assert f"data_processor.py had another --{flag} than this run" in other.stderr


def test_a_held_out_log_that_is_trained_on(small, one_pass):
    """The warnings about test and validation logs are printed; see test_held_out.py."""
    result, _ = one_pass
    assert "train.py: warning: " in result.stderr
    assert "log.txt is in the training log: the metrics on the test log are of" in result.stderr
    (small / "users.txt").write_text(small_log(60, seed=1).replace("U", "W"))
    flags = "--test_set_path=users.txt --valid_set_path=log.txt --num_passes=1"
    result = run(train_command("output/held-out", f"{flags} {QUICK} {SMALL_NETWORK}"), small)
    assert "the metrics on the validation log are of clicks" in result.stderr
    assert "the metrics on the test log" not in result.stderr


def test_no_better_than_popularity(small):
    """The verdict is the last line, a warning with the figures and what to do."""
    (small / "strangers.txt").write_text(small_log(100, seed=2).replace("U", "W"))
    flags = (
        f"--num_passes=1 --initial_values=v0.10 --learning_rate=1e-7 {QUICK} {SMALL_NETWORK} "
        "--test_set_path=strangers.txt"
    )
    result = run(train_command("output/worse", flags), small)
    assert result.returncode == 0
    [row] = metrics_of(small / "output" / "worse")
    value, popularity = row["ndcg@10"], row["popularity_ndcg@10"]
    assert result.stderr.splitlines()[-1] == (
        f"train.py: warning: model_pass_00000.tar.gz (the last pass): ndcg@10 {value:.4f} on the "
        f"test log, {value / popularity:.2f} times popularity: no clear difference from popularity "
        "among 100 test users; classic is the network of the original example; try --preset=best, "
        "or --resume --num_passes=10"
    )
