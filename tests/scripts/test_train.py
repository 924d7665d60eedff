"""TODO"""

import json
import re

import data_processor
import train
from candgen.serving.metrics import METRICS
from conftest import output_of, run, run_ok, small_log, train_command

import numpy as np
import pytest
from test_network_conf import members_of

QUICK = "--batch_size=512"  # a dozen steps a pass of the small log


@pytest.fixture(scope="module")
def one_pass(small):
    """(what a run of one pass printed, its folder)."""
    return run(
        train_command("output/one-pass", "--num_passes=1"), small
    ), small / "output" / "one-pass"


def test_the_rate_of_a_run_falls_to_a_tenth(one_pass):
    """At the end of the last pass, however many targets the batches had; as the checkpoint has it."""
    members = members_of(one_pass[1] / "checkpoint.tar.gz")
    assert json.loads(members["model.json"])["rate"]["last_lr"] == pytest.approx(0.0002, rel=0.05)


def write_logs(folder):
    """log.txt, its dictionary, and test logs of other users and of its own; a user's first clicks are no test."""
    log = small_log(100)
    lines = log.splitlines(keepends=True)
    (folder / "log.txt").write_text(log)
    (folder / "copy.txt").write_text("".join(lines[::-1]))
    (folder / "half.txt").write_text("".join(lines[:30]) + small_log(60, seed=1).replace("U", "W"))
    (folder / "others.txt").write_text(small_log(60, seed=1).replace("U", "W"))
    (folder / "few.txt").write_text(small_log(3, seed=1).replace("U", "W"))
    (folder / "strange.txt").write_text(
        small_log(60, seed=1).replace("V", "X") + "W\tP1\tNULL\tV1:C1:T1\tM1\n"
    )
    output_of(
        data_processor.main,
        f"--train_set_path={folder}/log.txt",
        f"--output_dir={folder}",
        "--feat_appear_limit=1",
        "--processes=1",
    )


def trained(folder, *flags):
    """What a run of one pass over log.txt writes to stdout; its models are in folder/model."""
    return output_of(
        train.main,
        f"--train_set_path={folder}/log.txt",
        f"--model_output_dir={folder}/model",
        f"--feature_dict={folder}/feature_dict.pkl",
        f"--item_freq={folder}/item_freq.pkl",
        "--num_passes=1",
        "--batch_size=512",
        "--no-rules",
        "--lstm_dim=8",
        *flags,
    )


@pytest.fixture(scope="module")
def logs_to_test_on(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    write_logs(folder)
    return folder


@pytest.mark.parametrize(
    "flags, warnings",
    [
        (["others.txt"], []),
        (["half.txt"], []),
        (
            ["log.txt"],
            [
                "log.txt is in the training log: the metrics on the test log are of clicks that were trained on"
            ],
        ),
        (["others.txt", "log.txt"], ["log.txt is in the training log"]),
        (["copy.txt"], ["most lines of {}/copy.txt are in the training log"]),
        (["copy.txt", "--shuffle_lines=10"], ["most lines of {}/copy.txt are in the training log"]),
        (
            ["others.txt", "--valid_set_path={}/copy.txt"],
            ["the metrics on the validation log are of clicks"],
        ),
        (["few.txt"], ["few.txt: 3 lines with a click are too few to compare passes or models by"]),
        (
            ["strange.txt"],
            ["strange.txt: 60 of 61 last clicks are on videos that the dictionary does not know"],
        ),
    ],
)
def test_logs_that_say_little(logs_to_test_on, capsys, flags, warnings):
    """A test log that is trained on, that is short, or whose last clicks nobody could predict."""
    folder = logs_to_test_on
    paths = [f"{folder}/{flag}" for flag in flags if not flag.startswith("--")]
    trained(
        folder,
        "--test_set_path",
        *paths,
        *(flag.format(folder) for flag in flags if flag.startswith("--")),
    )
    found = [
        line
        for line in capsys.readouterr().err.splitlines()
        if "warning: " in line and ": by ndcg@10" not in line and "hardly anything" not in line
    ]
    assert len(found) == len(warnings), found
    assert all(wanted.format(folder) in line for wanted, line in zip(warnings, found)), found


def test_nothing_to_choose_by(logs_to_test_on, capsys):
    """All last clicks of the validation log are unknown: the last pass is kept, and the gate lets nothing through."""
    folder = logs_to_test_on
    (folder / "unknown.txt").write_text(small_log(5).replace("V", "X"))
    out = trained(
        folder,
        f"--test_set_path={folder}/others.txt",
        f"--valid_set_path={folder}/unknown.txt",
        "--patience=1",
        "--num_passes=3",
    )
    assert (
        out.count("\n") == 4
        and "best pass by valid_ndcg@10, saved as model_best.tar.gz: pass 00002 " in out
    )
    assert (
        "warning: valid_ndcg@10 is 0 in every pass: the last one counts as the best"
        in capsys.readouterr().err
    )
    best, last = (folder / "model" / f"model_{name}.tar.gz" for name in ("best", "pass_00002"))
    assert best.read_bytes() == last.read_bytes()
    best.rename(folder / "earlier.tar.gz")
    flags = [
        f"--test_set_path={folder}/unknown.txt",
        f"--compare_with={folder}/earlier.tar.gz",
        f"--compare_feature_dict={folder}/feature_dict.pkl",
    ]
    with pytest.raises(SystemExit) as stopped:
        trained(folder, *flags, "--min_ratio=0.5")
    assert stopped.value.code == 3 and not best.exists()
    assert (
        "ndcg@10 is 0, which --min_ratio cannot compare: not published" in capsys.readouterr().err
    )
    trained(folder, *flags)  # without a gate
    assert best.exists()


def test_settings_are_printed(small, one_pass):
    """All of them, resolved ones too, before the first pass; a metric of one's choice chooses."""
    result, _ = one_pass
    clicks = len((small / "log.txt").read_text().split(";")) - 1 + 300
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


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def models_of(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("model_"))


def test_a_collapsed_network_is_told(small):
    """Of a learning rate so high that all ReLUs die: users have one vector, and stderr says what to do."""
    result = run(
        train_command("output/collapsed", f"--learning_rate=3 --num_passes=1 {QUICK}"), small
    )
    assert result.returncode == 0, result.stderr
    [row] = rows_of(small / "output" / "collapsed")
    assert row["distinct_users"] == 1
    found = re.search(
        r"warning: the network collapses: (\d+) different vectors for (\d+) test users, (\d+) of (\d+) "
        "units .*--learning_rate",
        result.stderr,
    )
    assert [int(number) for number in found.groups()] == [1, 300, row["live_units"], 31]
    healthy = rows_of(small / "output" / "model")[-1]
    assert healthy["distinct_users"] > 250 and healthy["live_units"] > 20


def ring_log(users, videos, seed):
    """Histories that go round a ring again and again: every last click is on a video clicked before."""
    rng = np.random.default_rng(seed)
    return "".join(
        f"u{user}\tNULL\tNULL\t"
        + ";".join(
            f"v{(start + step) % videos}:c:t"
            for step in range(rng.integers(videos + 1, 3 * videos))
        )
        + "\tNULL\n"
        for user, start in enumerate(rng.integers(0, videos, users))
    )


def test_popularity_is_compared_by_the_metric_that_counts(small):
    """A catalogue of 8: everything is in a top 10, so recall@10 is 1 for both, ndcg@10 shows what was learned."""
    (small / "ring.txt").write_text(ring_log(150, 8, 0))
    run_ok(
        "python data_processor.py --train_set_path=ring.txt --output_dir=ring --feat_appear_limit=1",
        small,
    )
    warning = "this model ranks no better than popularity"
    for metric, warned in (("", False), ("--select_metric=seen_kept_recall@10", True)):
        command = train_command("ring/model", metric, "ring.txt").replace("output/", "ring/")
        result = run(command, small)
        row = rows_of(small / "ring" / "model")[-1]
        assert result.returncode == 0 and (warning in result.stderr) == warned, result.stderr
        assert row["seen_kept_recall@10"] == row["popularity_seen_kept_recall@10"] == 1
        assert row["seen_kept_ndcg@10"] > row["popularity_seen_kept_ndcg@10"] + 0.2
        assert row["recall@10"] == 0  # all last clicks are among the earlier ones


def test_rules_are_a_baseline_too(small):
    """In every row and pass line, and in the warning where they win: a ring, by a network that learns nothing."""
    (small / "chains.txt").write_text(ring_log(150, 40, 0))
    run_ok(
        "python data_processor.py --train_set_path=chains.txt --output_dir=chains --feat_appear_limit=1",
        small,
    )
    for flags, there in (("", True), ("--no-rules", False)):
        flags += " --learning_rate=1e-7 --batch_size=2048 --num_passes=1"
        command = train_command("chains/model", flags, "chains.txt")
        result = run(command.replace("output/", "chains/"), small)
        [*_, row] = rows_of(small / "chains" / "model")
        assert result.returncode == 0, result.stderr
        assert ("ranks no better than rules; train it longer" in result.stderr) == there
        assert all(("rules_" + name in row) == there for name in METRICS)
        assert all(
            (", rules 0." in line or ", rules 1." in line) == there
            for line in result.stdout.splitlines()
            if line.startswith("pass ")
        )


def test_models_of_an_earlier_run(small):
    """A fresh run removes those that it does not write and says so; a resumed one keeps its own; other files stay."""
    folder = small / "output" / "again"
    run_ok(train_command("output/again", f"{QUICK} --valid_set_path=log.txt --num_passes=3"), small)
    assert models_of(folder) == [
        "model_best.tar.gz",
        *(f"model_pass_0000{number}.tar.gz" for number in range(3)),
    ]
    for name in ("model_pass_1.tar.gz", "my_model_pass_00001.tar.gz", "notes.txt"):
        (folder / name).write_text("mine")
    result = run(train_command("output/again", f"{QUICK} --num_passes=1"), small)
    assert result.returncode == 0 and "removed 2 models of an earlier run" in result.stderr
    assert "removed model_best.tar.gz of an earlier run" in result.stderr
    assert models_of(folder) == ["model_pass_00000.tar.gz", "model_pass_1.tar.gz"]
    assert len(rows_of(folder)) == 1
    result = run(train_command("output/again", f"{QUICK} --num_passes=2 --resume"), small)
    assert result.returncode == 0 and "removed" not in result.stderr
    assert models_of(folder) == [
        "model_pass_00000.tar.gz",
        "model_pass_00001.tar.gz",
        "model_pass_1.tar.gz",
    ]
    assert (folder / "notes.txt").exists() and (folder / "my_model_pass_00001.tar.gz").exists()


def test_the_best_pass(small):
    """By the validation log: kept as model_best.tar.gz, told, and training stops when no better one follows."""
    (small / "valid.txt").write_text(small_log(100, seed=5))
    flags = "--valid_set_path=valid.txt --patience=2 --num_passes=60 --learning_rate=0.03 --select_metric=mrr@10"
    output = run(train_command("output/best", f"{flags} {QUICK}"), small)
    assert output.returncode == 0, output.stderr
    folder = small / "output" / "best"
    rows = rows_of(folder)
    values = [row["valid_mrr@10"] for row in rows]
    best = values.index(max(values))
    assert len(rows) == best + 3 < 60  # two more, in vain
    assert models_of(folder) == [
        "model_best.tar.gz",
        *(f"model_pass_{row['pass']:05d}.tar.gz" for row in rows),
    ]
    assert (folder / "model_best.tar.gz").read_bytes() == (
        folder / f"model_pass_{best:05d}.tar.gz"
    ).read_bytes()
    assert "no better valid_mrr@10 for 2 passes: stopped" in output.stderr
    *lines, last = output.stdout.splitlines()
    assert last == f"best pass by valid_mrr@10, saved as model_best.tar.gz: {lines[best]}"
    assert all(
        {"valid_recall@10", "valid_seen_kept_ndcg@10", "valid_test_cost"} <= row.keys()
        for row in rows
    )


@pytest.mark.parametrize(
    "flags, what",
    [
        ("--patience=2", "--patience needs --valid_set_path"),
        ("--l2_rate=0.1", "goes with --optimizer=adagrad"),
        ("--network=Mine", "no network is called 'Mine': network_conf.py has DNNmodel"),
        ("--select_metric=ndcg", "--select_metric"),
        ("--batch_size=0", "--batch_size"),
        ("--num_passes=0", "--num_passes"),
        ("--valid_set_path=- --test_set_path=-", "only one log can be standard input"),
        ("--device=tpu", "--device"),
        ("--learning_rate=1e30", "lower --learning_rate"),
    ],
)
def test_one_line_for_what_cannot_be(small, flags, what):
    result = run(train_command("output/refused", flags), small)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert what in result.stderr.splitlines()[-1] and result.stderr.splitlines()[-1].startswith(
        "train.py: "
    )


def test_training_goes_on_when_nobody_reads(small):
    """stdout or stderr may go away, as with `| head`: all passes are trained all the same."""
    for number, streams in enumerate(("| head -n 0", "2> >(true)")):
        result = run(train_command(f"output/unread{number}", f"{QUICK} {streams}"), small)
        assert result.returncode == 0 and "Traceback" not in result.stderr
        rows = (small / "output" / f"unread{number}" / "metrics.jsonl").read_text().splitlines()
        assert len(rows) == 2


def test_clicks_of_a_user_are_limited(small):
    """The last ten of each are the instances of a pass; a run with another limit is not gone on with."""
    lengths = [line.count(";") + 1 for line in small_log(300).splitlines()]
    run_ok(
        train_command("output/limited", f"{QUICK} --num_passes=1 --no-rules --max_user_clicks=10"),
        small,
    )
    [row] = rows_of(small / "output" / "limited")
    assert row["instances"] == sum(min(10, length) for length in lengths)
    result = run(
        train_command("output/limited", f"{QUICK} --no-rules --max_user_clicks=11 --resume"), small
    )
    assert result.returncode == 2 and "made by a run with another max_user_clicks" in result.stderr


# MOREIMPORTS
import pytest


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


# MOREIMPORTS
import pytest


@pytest.mark.parametrize(
    "flags", ["--learning_rate=1e30", "--optimizer=adagrad --learning_rate=1e38"]
)
def test_a_cost_that_explodes(small, flags):
    """Exit code 2, the last line says why, no model, yesterday's files as they were."""
    folder = small / "output" / "explodes"
    folder.mkdir(exist_ok=True)
    (folder / "model_pass_00000.tar.gz").write_text("of yesterday")
    result = run(train_command("output/explodes", flags), small)
    assert result.returncode == 2 and result.stdout == ""
    assert "lower --learning_rate" in result.stderr.splitlines()[-1]
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr
    assert [path.read_text() for path in folder.iterdir()] == ["of yesterday"]
