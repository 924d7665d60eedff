"""Training: its threads, optimisers and schedule; what follows from the log; what a run says and leaves behind."""
import argparse
import contextlib
import json
import re

import data_processor
import infer
import network_conf
import train
from conftest import feature_dict_of, log_text, output_of, run, run_ok, small_log, train_command
from reader import Reader, sequence_stretches, shuffled_batches, sliding_windows
from utils import FEATURES, InputError, load_feature_dict, load_item_freq, write_archive

import numpy as np
import paddle
import pytest
from test_network_conf import members_of

SETTINGS = {"threads": 2, "loss": "nce", "learning_rate": 0.01, "optimizer": "adam", "l2_rate": 0.0,
            "num_negatives": 5, "shared_negatives": False, "dropout": 0.2, "tie_embeddings": False, "table_rate": 1.0}
QUICK = "--batch_size=512"  # a dozen steps a pass of the small log
CUTS = {"window": sliding_windows, "sequence": sequence_stretches}


@pytest.fixture(scope="module")
def inputs(small):
    """(feature dictionary, frequencies, encoded log) of the small log."""
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    [log] = Reader(feature_dict).encode(str(small / "log.txt"))
    return feature_dict, load_item_freq(str(small / "output" / "item_freq.pkl"), feature_dict), log


@pytest.fixture(scope="module")
def one_pass(small):
    """(what a run of one pass printed, its folder)."""
    return run(train_command("output/one-pass", "--num_passes=1"), small), small / "output" / "one-pass"


def trainer_of(inputs, steps=10, freq=None, **settings):
    """A `Trainer` of a fresh network, always with the same initial values."""
    settings = {**SETTINGS, **settings}
    dims, user = dict(network_conf.DNNmodel.embedding_dims), 31
    if settings["tie_embeddings"]:
        dims["history_clicked_items"] = user
    config = network_conf.ModelConfig({name: len(inputs[0][name]) for name in FEATURES}, dims,
                                      tie_embeddings=settings["tie_embeddings"])
    paddle.seed(0)
    network = network_conf.DNNmodel(config, dropout=settings["dropout"])
    network_conf.initialize(network, inputs[1])
    return train.Trainer(argparse.Namespace(**settings), network, freq or inputs[1], steps)


def train_steps(trainer, log, steps=10, cut="window", user_dropout=0.5):
    """Parameters after some steps, and the cost of each."""
    rng, costs = np.random.default_rng(0), []
    batches = shuffled_batches(CUTS[cut](log.lengths, 20), len(log.clicks) // 64, rng)
    for part, _ in zip(batches, range(steps)):
        costs.append(trainer.step(*trainer.prepare(log, part, rng, user_dropout)))
    assert len(costs) == steps
    return trainer.network.arrays(), costs


class OneByOne:
    """In a pool's place: does what threads share one after the other, in that order or the other way round."""

    def __init__(self, backwards):
        self._backwards = backwards

    def map(self, work, *items):
        tasks = list(enumerate(zip(*items)))
        done = {number: work(*task) for number, task in (reversed(tasks) if self._backwards else tasks)}
        return [done[number] for number in sorted(done)]


@pytest.mark.parametrize("settings", [
    {}, {"loss": "ranking_nce", "shared_negatives": True, "num_negatives": 50, "tie_embeddings": True},
    {"optimizer": "adagrad", "l2_rate": 0.001}], ids=["defaults", "recipe", "adagrad"])
def test_whichever_thread_is_first(inputs, settings):
    """Three parts computed first to last, last to first, or by threads: equal parameters, bit for bit."""
    found = []
    for pool in (OneByOne(False), OneByOne(True), None):
        trainer = trainer_of(inputs, threads=3, **settings)
        trainer.pool = pool or trainer.pool
        arrays, costs = train_steps(trainer, inputs[2], 6)
        found.append({**arrays, **dict(enumerate(costs))})
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert np.abs(found[0]["relu1_w"] - trainer_of(inputs, **settings).network.arrays()["relu1_w"]).max() > 1e-3


@pytest.mark.parametrize("cut, settings", [
    ("window", {}), ("sequence", {"tie_embeddings": True, "loss": "ranking_nce"}),
    ("sequence", {"optimizer": "adagrad"})])
def test_the_number_of_threads_changes_rounding_alone(inputs, cut, settings):
    """With nothing random in the parts (all noise is one video, nothing is dropped), one thread or three."""
    freq = [0.0, 1.0] + [0.0] * (len(inputs[1]) - 2)
    trainers = [trainer_of(inputs, freq=freq, threads=threads, dropout=0.0, **settings) for threads in (1, 3)]
    start = trainers[0].network.arrays()
    one, three = (train_steps(trainer, inputs[2], 10, cut, user_dropout=0) for trainer in trainers)
    np.testing.assert_allclose(one[1], three[1], rtol=1e-3)
    for name, value in one[0].items():
        moved = np.abs(value - start[name]).mean()
        assert moved > 1e-5, name
        assert np.abs(value - three[0][name]).mean() < 0.01 * moved, name


def test_layers_know_whether_they_train(inputs):
    """All layers of all threads' copies, in steps, in the cost of a test log, and in its user vectors."""
    trainer = trainer_of(inputs)
    train_steps(trainer, inputs[2], 1)
    assert all(layer.training for each in trainer._copies for layer in each.sublayers(include_self=True))
    args = argparse.Namespace(window_size=20, batch_size=64, seed=0)
    train.evaluate(args, trainer, inputs[2])
    assert len(trainer._copies) > 1
    assert not any(layer.training for each in trainer._copies for layer in each.sublayers(include_self=True))


def test_a_large_batch_is_computed_in_parts(inputs, monkeypatch):
    """Parts of at most LARGEST_PART stretches, as many for each thread: the cost stays what it is."""
    log, costs, counts = inputs[2], [], []
    for largest in (train.LARGEST_PART, 40):
        monkeypatch.setattr(train, "LARGEST_PART", largest)
        trainer = trainer_of(inputs, shared_negatives=True)
        batch = trainer.prepare(log, sliding_windows(log.lengths, 20).take(slice(0, 200)), np.random.default_rng(0))
        counts.append(len(batch[2]))
        costs.append(trainer.cost(*batch))
        assert max(len(part["user_id"]) for part in batch[2]) <= largest
    assert counts == [2, 6] and costs[0] == pytest.approx(costs[1], rel=1e-5)


def test_hidden_users(inputs):
    """--user_dropout hides that share of the user ids and nothing else."""
    log = inputs[2]
    stretches = sliding_windows(log.lengths, 20)
    for share in (0, 0.3, 1):
        _, distinct, parts, _ = trainer_of(inputs).prepare(log, stretches, np.random.default_rng(0), share)
        users = np.concatenate([distinct["_proj_user_id"][part["user_id"]] for part in parts])
        phones = np.concatenate([distinct["_proj_phone"][part["phone"]] for part in parts])
        assert abs((users == 0).mean() - share) < 0.05
        assert phones.all()


@pytest.mark.parametrize("cut", CUTS)
def test_hidden_histories(inputs, cut):
    """--history_dropout: all targets of such a stretch are predicted as infer_user.py serves, from the id alone."""
    log, trainer = inputs[2], trainer_of(inputs)
    stretches = CUTS[cut](log.lengths, 20)
    _, distinct, parts, _ = trainer.prepare(log, stretches, np.random.default_rng(0), 1, 1)
    users = paddle.concat([trainer.network(trainer.network.look_up(distinct), network_conf.tensors(part))
                           for part in parts]).numpy()
    nothing = Reader(inputs[0]).encode_users(log.users)
    line = np.repeat(stretches.line, stretches.targets)
    np.testing.assert_allclose(users, infer.user_vectors(trainer.network, nothing)[line], rtol=1e-5, atol=1e-6)
    plain = trainer.prepare(log, stretches, np.random.default_rng(0))
    for table, targets in (("nce_w", "target"), ("_proj_user_id", "user_id")):  # the id stays, though user is 1
        one, other = (np.concatenate([distinct[table][part[targets]] for part in batch])
                      for distinct, batch in ((distinct, parts), plain[1:3]))
        assert (one == other).all()
    few = trainer.prepare(log, stretches, np.random.default_rng(0), history_dropout=0.1)
    bare = np.concatenate([(few[1]["_proj_history_clicked_items"][part["history_clicked_items"]] == 0).all(0)
                           for part in few[2]])
    always = stretches.start + stretches.length == 1  # first clicks alone
    assert abs(bare[~always].mean() - 0.1) < 0.02


@pytest.mark.parametrize("name", ["adam", "adagrad"])
def test_optimisers(inputs, name):
    """One step of all parameters against the formulas; rows of tables that no instance needs stay as they were."""
    trainer = trainer_of(inputs, optimizer=name, l2_rate=0.1 * (name == "adagrad"))
    before, rng = trainer.network.arrays(), np.random.default_rng(0)
    stretches = sliding_windows(inputs[2].lengths, 20).take(slice(0, 5))
    _, distinct, *_ = batch = trainer.prepare(inputs[2], stretches, rng)
    trainer.cost(*batch, train=True)
    gradients = {parameter: value.grad.numpy() for parameter, value in trainer.network.named().items()
                 if not value.grad.is_selected_rows()}
    for optimizer in trainer._optimizers:
        optimizer.step()
    after = trainer.network.arrays()
    for parameter, gradient in gradients.items():
        if name == "adam":  # the first step: both moments are the gradient's own
            expected = before[parameter] - 0.01 * gradient / (np.abs(gradient) + 1e-8)
            expected = np.where(np.abs(gradient) < 1e-6, after[parameter], expected)
        else:
            gradient = gradient + 0.1 * before[parameter]
            expected = before[parameter] - 0.01 * gradient / (np.abs(gradient) + 1e-6)
        np.testing.assert_allclose(after[parameter], expected, rtol=1e-3, atol=2e-5, err_msg=parameter)
    assert len(gradients) == 8
    for table, ids in distinct.items():
        changed = {int(place) for place in np.nonzero(after[table] != before[table])[table == "nce_b"]}
        assert changed and (changed <= set(ids.tolist()) or name == "adagrad"), table  # L2 is for all of them
    assert len(distinct["_proj_user_id"]) < 10 < len(before["_proj_user_id"])


def test_cosine_rate(inputs):
    """From --learning_rate along half a cosine to a tenth of it."""
    trainer, rates = trainer_of(inputs, steps=8, learning_rate=2.0), []
    stretches = sliding_windows(inputs[2].lengths, 20).take(slice(0, 3))
    batch = trainer.prepare(inputs[2], stretches, np.random.default_rng(0))
    for _ in range(9):
        rates.append({optimizer.get_lr() for optimizer in trainer._optimizers})
        trainer.step(*batch)
    expected = [2.0 * (0.1 + 0.9 * (1 + np.cos(np.pi * step / 8)) / 2) for step in range(9)]
    assert all(len(rate) == 1 for rate in rates)
    np.testing.assert_allclose([rate.pop() for rate in rates], expected)
    assert expected[0] == 2.0 and expected[4] == pytest.approx(1.1) and expected[8] == pytest.approx(0.2)


def test_the_rate_of_a_run_falls_to_a_tenth(one_pass):
    """At the end of the last pass, however many targets the batches had; as the checkpoint has it."""
    members = members_of(one_pass[1] / "checkpoint.tar.gz")
    assert json.loads(members["model.json"])["rate"]["last_lr"] == pytest.approx(0.0002, rel=0.05)


def test_the_clock_of_a_pass(inputs, monkeypatch):
    """Seconds of the steps themselves: checkpoints, and what came before, do not count."""
    now = [100.0]
    monkeypatch.setattr(train.time, "perf_counter", lambda: now[0])

    class Steps:
        network, ranks, rate = trainer_of(inputs).network, train.Ranks(), 0.1

        def prepare(self, log, stretches, rng, user_dropout, history_dropout):
            now[0] += 1
            return int(stretches.targets.sum()), "batch"

        def step(self, targets, batch):
            now[0] += 2
            return 0.5

    class Stand:
        batches, total, seconds = 2, 0.0, 30.0  # two steps were taken before the run was stopped
        rows, board = [], train.Dashboard(argparse.Namespace(visualdl_dir=None), 0)

        def after_step(self, trainer):
            now[0] += 1000

    class Log:
        clicks = 100

        def steps(self, batch_size):
            return [5]

        def batches(self, batch_size, rng):
            stretches = sliding_windows(np.full(5, 20), 20)
            return [(inputs[2], stretches.take(slice(k, k + 1)), rng) for k in range(5)]

    stand, args = Stand(), argparse.Namespace(batch_size=20, user_dropout=0.5, history_dropout=0)
    train.train_pass(args, Steps(), stand, Log(), np.random.default_rng(0))
    assert stand.batches == 5 and stand.seconds == 30 + 3 * 3 and stand.total == 3 * 20 * 0.5


# ---------------------------------------------------------------- defaults that follow the logs
def log_of(*histories):
    """An encoded log of users with these videos."""
    videos = sorted({video for history in histories for video in history})
    feature_dict = {name: {"<unk>": 0} for name in FEATURES}
    feature_dict["history_clicked_items"].update({video: id_ for id_, video in enumerate(videos, 1)})
    reader = Reader(feature_dict)
    log = reader._log([[f"u{number}", "", "", "", ""] for number in range(len(histories))],
                      [[reader._videos[f"{video}:a:b"] for video in history] for history in histories])
    return log._replace(videos=reader._videos.columns())


def settled(clicks, held_out, **settings):
    args = argparse.Namespace(**{"select_metric": None, "batch_size": None, **settings})
    train.settle(args, clicks, held_out)
    return args


@pytest.mark.parametrize("clicks, batch_size", [
    (1, 32), (3057, 32), (3299, 32), (3300, 33), (30000, 300), (51199, 511), (51200, 512), (10 ** 5, 512)])
def test_batches_follow_the_number_of_clicks(clicks, batch_size):
    """About a hundred steps a pass on small logs; a flag has the last word."""
    assert settled(clicks, log_of(["v"])).batch_size == batch_size
    assert settled(clicks, log_of(["v"]), batch_size=7).batch_size == 7


def test_the_metric_follows_the_last_clicks():
    """Where most of them are on videos clicked before, the ranking with nothing removed counts."""
    again, new, never = list("aba"), list("abc"), []
    assert settled(3, log_of(again, again, new, never)).select_metric == "seen_kept_ndcg@10"
    assert settled(3, log_of(again, new, new, never)).select_metric == "ndcg@10"
    assert settled(3, log_of(again, new)).select_metric == "ndcg@10"  # no majority
    assert settled(3, log_of(again), select_metric="mrr@10").select_metric == "mrr@10"


# ---------------------------------------------------------------- logs that say little
def log_of_users(folder, **histories):
    """The encoded log of these users; videos are one letter each, `?` is not in the dictionary."""
    lines = [(user, "", "", [f"{video}:c:t" for video in history], "") for user, history in histories.items()]
    (folder / "users.txt").write_text(log_text(lines), encoding="utf-8")
    [log] = Reader(feature_dict_of(history_clicked_items=[*"abcdefgh"])).encode(str(folder / "users.txt"))
    return log


def test_lines_that_are_in_both_logs(tmp_path):
    """Same user and same clicks; unknown last clicks and short histories of users without an id do not count."""
    training = log_of_users(tmp_path, u="abc", v="ab", w="abcd", NULL="ab", x="a")

    def shared(training, **held_out):
        return train.shared_lines(training, log_of_users(tmp_path, **held_out))
    assert train.shared_lines(training, training) == (4, 4)
    assert shared(training, u="abc", v="abc", w="abc", x="b", y="a") == (1, 5)
    assert shared(training, u="abc?", NULL="ab") == (0, 0)
    assert shared(training, u="?abc") == (1, 1)
    assert shared(log_of_users(tmp_path, NULL="abcde"), NULL="abcde") == (1, 1)
    later = training._replace(context=np.array([1, 0, 0, 0, 0]))  # u's first click is of --context_set_path
    assert shared(later, u="abc") == (0, 1) and shared(later, u="bc") == (1, 1)


def write_logs(folder):
    """log.txt, its dictionary, and test logs of other users and of its own; a user's first clicks are no test."""
    log = small_log(100)
    lines = log.splitlines(keepends=True)
    (folder / "log.txt").write_text(log)
    (folder / "copy.txt").write_text("".join(lines[::-1]))
    (folder / "half.txt").write_text("".join(lines[:30]) + small_log(60, seed=1).replace("U", "W"))
    (folder / "others.txt").write_text(small_log(60, seed=1).replace("U", "W"))
    (folder / "few.txt").write_text(small_log(3, seed=1).replace("U", "W"))
    (folder / "strange.txt").write_text(small_log(60, seed=1).replace("V", "X") + "W\tP1\tNULL\tV1:C1:T1\tM1\n")
    output_of(data_processor.main, f"--train_set_path={folder}/log.txt", f"--output_dir={folder}",
              "--feat_appear_limit=1", "--processes=1")


def trained(folder, *flags):
    """What a run of one pass over log.txt writes to stdout; its models are in folder/model."""
    return output_of(train.main, f"--train_set_path={folder}/log.txt", f"--model_output_dir={folder}/model",
                     f"--feature_dict={folder}/feature_dict.pkl", f"--item_freq={folder}/item_freq.pkl",
                     "--num_passes=1", "--batch_size=512", "--no-rules", "--lstm_dim=8", *flags)


@pytest.fixture(scope="module")
def logs_to_test_on(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    write_logs(folder)
    return folder


@pytest.mark.parametrize("flags, warnings", [
    (["others.txt"], []),
    (["half.txt"], []),
    (["log.txt"], ["log.txt is in the training log: the metrics on the test log are of clicks that were trained on"]),
    (["others.txt", "log.txt"], ["log.txt is in the training log"]),
    (["copy.txt"], ["most lines of {}/copy.txt are in the training log"]),
    (["copy.txt", "--shuffle_lines=10"], ["most lines of {}/copy.txt are in the training log"]),
    (["others.txt", "--valid_set_path={}/copy.txt"], ["the metrics on the validation log are of clicks"]),
    (["few.txt"], ["few.txt: 3 lines with a click are too few to compare passes or models by"]),
    (["strange.txt"], ["strange.txt: 60 of 61 last clicks are on videos that the dictionary does not know"]),
])
def test_logs_that_say_little(logs_to_test_on, capsys, flags, warnings):
    """A test log that is trained on, that is short, or whose last clicks nobody could predict."""
    folder = logs_to_test_on
    paths = [f"{folder}/{flag}" for flag in flags if not flag.startswith("--")]
    trained(folder, "--test_set_path", *paths, *(flag.format(folder) for flag in flags if flag.startswith("--")))
    found = [line for line in capsys.readouterr().err.splitlines()
             if "warning: " in line and ": by ndcg@10" not in line and "hardly anything" not in line]
    assert len(found) == len(warnings), found
    assert all(wanted.format(folder) in line for wanted, line in zip(warnings, found)), found


def rows_with(*values):
    return [{"pass": number, "valid_ndcg@10": value} for number, value in enumerate(values)]


@pytest.mark.parametrize("values, best, stopped", [
    ([0.0], 0, False), ([0.0, 0.0, 0.0], 2, False), ([0.0, 0.0, 0.1], 2, False), ([0.0, 0.1, 0.1], 1, False),
    ([0.2, 0.1, 0.0], 0, True), ([0.0, 0.1, 0.0, 0.0], 1, True), ([0.1, 0.3, 0.2], 1, False)])
def test_the_best_pass_where_the_metric_is_0(values, best, stopped):
    """As long as nothing is found, later passes are better, and --patience has no reason to stop."""
    args = argparse.Namespace(select_metric="ndcg@10", patience=2)
    assert train.best_of(args, rows_with(*values))["pass"] == best
    assert train.out_of_patience(args, rows_with(*values)) == stopped


@pytest.mark.parametrize("before, now, min_ratio, reason", [
    (0.2, 0.19, 0.9, None), (0.2, 0.18, 0.95, "is below 0.95 of that of old.tar.gz"), (0.2, 0.0, 0.0, None),
    (0.2, 0.0, 0.1, "is 0, which --min_ratio cannot compare"), (0.0, 0.1, 0.98, None), (0.0, 0.1, 1000, None),
    (0.0, 0.0, 0.98, "is 0, which --min_ratio cannot compare"), (0.0, 0.0, 0.0, None)])
def test_the_gate_by_hand(before, now, min_ratio, reason):
    """A model of metric 0 passes no gate, whatever the earlier one had; any other passes after one of 0."""
    assert train.refusal(before, now, min_ratio, "old.tar.gz") == reason


def test_share_of_changed_videos():
    """Places without a video count neither before nor now; users without any list now do not count."""
    before = [["a", "b", "c"], ["a", "b", "<unk>"], ["<unk>"] * 3, ["a", "b", "c"]]
    now = [["c", "b", "d"], ["b", "<unk>", "<unk>"], ["a", "b", "c"], ["<unk>"] * 3]
    assert train.changed_share(before, now) == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert train.changed_share(before, before) == train.changed_share(before[2:3], now[3:]) == 0


def test_nothing_to_choose_by(logs_to_test_on, capsys):
    """All last clicks of the validation log are unknown: the last pass is kept, and the gate lets nothing through."""
    folder = logs_to_test_on
    (folder / "unknown.txt").write_text(small_log(5).replace("V", "X"))
    out = trained(folder, f"--test_set_path={folder}/others.txt", f"--valid_set_path={folder}/unknown.txt",
                  "--patience=1", "--num_passes=3")
    assert out.count("\n") == 4 and "best pass by valid_ndcg@10, saved as model_best.tar.gz: pass 00002 " in out
    assert "warning: valid_ndcg@10 is 0 in every pass: the last one counts as the best" in capsys.readouterr().err
    best, last = (folder / "model" / f"model_{name}.tar.gz" for name in ("best", "pass_00002"))
    assert best.read_bytes() == last.read_bytes()
    best.rename(folder / "earlier.tar.gz")
    flags = [f"--test_set_path={folder}/unknown.txt", f"--compare_with={folder}/earlier.tar.gz",
             f"--compare_feature_dict={folder}/feature_dict.pkl"]
    with pytest.raises(SystemExit) as stopped:
        trained(folder, *flags, "--min_ratio=0.5")
    assert stopped.value.code == 3 and not best.exists()
    assert "ndcg@10 is 0, which --min_ratio cannot compare: not published" in capsys.readouterr().err
    trained(folder, *flags)  # without a gate
    assert best.exists()


def test_settings_are_printed(small, one_pass):
    """All of them, resolved ones too, before the first pass; a metric of one's choice chooses."""
    result, _ = one_pass
    clicks = len((small / "log.txt").read_text().split(";")) - 1 + 300
    for line in ("num_passes: 1", "learning_rate: 0.002", f"batch_size: {clicks // 100}", f"clicks: {clicks}",
                 "lines: 300", "select_metric: ndcg@10", "network: DNNmodel", "device: cpu"):
        assert f"\n{line}\n" in result.stderr, line
    assert result.stdout.startswith("pass 00000") and result.stdout.count("\n") == 1


# ---------------------------------------------------------------- what a run says and leaves behind
def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def models_of(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("model_"))


def test_a_collapsed_network_is_told(small):
    """Of a learning rate so high that all ReLUs die: users have one vector, and stderr says what to do."""
    result = run(train_command("output/collapsed", f"--learning_rate=3 --num_passes=1 {QUICK}"), small)
    assert result.returncode == 0, result.stderr
    [row] = rows_of(small / "output" / "collapsed")
    assert row["distinct_users"] == 1
    found = re.search(r"warning: the network collapses: (\d+) different vectors for (\d+) test users, (\d+) of (\d+) "
                      "units .*--learning_rate", result.stderr)
    assert [int(number) for number in found.groups()] == [1, 300, row["live_units"], 31]
    healthy = rows_of(small / "output" / "model")[-1]
    assert healthy["distinct_users"] > 250 and healthy["live_units"] > 20


def ring_log(users, videos, seed):
    """Histories that go round a ring again and again: every last click is on a video clicked before."""
    rng = np.random.default_rng(seed)
    return "".join(f"u{user}\tNULL\tNULL\t" + ";".join(
        f"v{(start + step) % videos}:c:t" for step in range(rng.integers(videos + 1, 3 * videos))) + "\tNULL\n"
        for user, start in enumerate(rng.integers(0, videos, users)))


def test_popularity_is_compared_by_the_metric_that_counts(small):
    """A catalogue of 8: everything is in a top 10, so recall@10 is 1 for both, ndcg@10 shows what was learned."""
    (small / "ring.txt").write_text(ring_log(150, 8, 0))
    run_ok("python data_processor.py --train_set_path=ring.txt --output_dir=ring --feat_appear_limit=1", small)
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
    run_ok("python data_processor.py --train_set_path=chains.txt --output_dir=chains --feat_appear_limit=1", small)
    for flags, there in (("", True), ("--no-rules", False)):
        flags += " --learning_rate=1e-7 --batch_size=2048 --num_passes=1"
        command = train_command("chains/model", flags, "chains.txt")
        result = run(command.replace("output/", "chains/"), small)
        [*_, row] = rows_of(small / "chains" / "model")
        assert result.returncode == 0, result.stderr
        assert ("ranks no better than rules; train it longer" in result.stderr) == there
        assert all(("rules_" + name in row) == there for name in train.METRICS)
        assert all((", rules 0." in line or ", rules 1." in line) == there
                   for line in result.stdout.splitlines() if line.startswith("pass "))


def test_models_of_an_earlier_run(small):
    """A fresh run removes those that it does not write and says so; a resumed one keeps its own; other files stay."""
    folder = small / "output" / "again"
    run_ok(train_command("output/again", f"{QUICK} --valid_set_path=log.txt --num_passes=3"), small)
    assert models_of(folder) == ["model_best.tar.gz", *(f"model_pass_0000{number}.tar.gz" for number in range(3))]
    for name in ("model_pass_1.tar.gz", "my_model_pass_00001.tar.gz", "notes.txt"):
        (folder / name).write_text("mine")
    result = run(train_command("output/again", f"{QUICK} --num_passes=1"), small)
    assert result.returncode == 0 and "removed 2 models of an earlier run" in result.stderr
    assert "removed model_best.tar.gz of an earlier run" in result.stderr
    assert models_of(folder) == ["model_pass_00000.tar.gz", "model_pass_1.tar.gz"]
    assert len(rows_of(folder)) == 1
    result = run(train_command("output/again", f"{QUICK} --num_passes=2 --resume"), small)
    assert result.returncode == 0 and "removed" not in result.stderr
    assert models_of(folder) == ["model_pass_00000.tar.gz", "model_pass_00001.tar.gz", "model_pass_1.tar.gz"]
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
    assert models_of(folder) == ["model_best.tar.gz", *(f"model_pass_{row['pass']:05d}.tar.gz" for row in rows)]
    assert (folder / "model_best.tar.gz").read_bytes() == (folder / f"model_pass_{best:05d}.tar.gz").read_bytes()
    assert "no better valid_mrr@10 for 2 passes: stopped" in output.stderr
    *lines, last = output.stdout.splitlines()
    assert last == f"best pass by valid_mrr@10, saved as model_best.tar.gz: {lines[best]}"
    assert all({"valid_recall@10", "valid_seen_kept_ndcg@10", "valid_test_cost"} <= row.keys() for row in rows)


@pytest.mark.parametrize("flags, what", [
    ("--patience=2", "--patience needs --valid_set_path"), ("--l2_rate=0.1", "goes with --optimizer=adagrad"),
    ("--network=Mine", "no network is called 'Mine': network_conf.py has DNNmodel"),
    ("--select_metric=ndcg", "--select_metric"), ("--batch_size=0", "--batch_size"), ("--num_passes=0", "--num_passes"),
    ("--valid_set_path=- --test_set_path=-", "only one log can be standard input"),
    ("--device=tpu", "--device"), ("--learning_rate=1e30", "lower --learning_rate"),
])
def test_one_line_for_what_cannot_be(small, flags, what):
    result = run(train_command("output/refused", flags), small)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert what in result.stderr.splitlines()[-1] and result.stderr.splitlines()[-1].startswith("train.py: ")


def test_training_goes_on_when_nobody_reads(small):
    """stdout or stderr may go away, as with `| head`: all passes are trained all the same."""
    for number, streams in enumerate(("| head -n 0", "2> >(true)")):
        result = run(train_command(f"output/unread{number}", f"{QUICK} {streams}"), small)
        assert result.returncode == 0 and "Traceback" not in result.stderr
        rows = (small / "output" / f"unread{number}" / "metrics.jsonl").read_text().splitlines()
        assert len(rows) == 2


# ---------------------------------------------------------------- presets
FILES = [f"--{name}=x" for name in ("train_set_path", "test_set_path", "model_output_dir", "feature_dict", "item_freq")]


def settings_of(monkeypatch, *flags):
    """What train.py makes of a command line."""
    monkeypatch.setattr("sys.argv", ["train.py", *FILES, *flags])
    return vars(train.parse_args())


@pytest.mark.parametrize("preset", train.PRESETS)
def test_a_preset_sets_defaults_and_nothing_else(monkeypatch, preset):
    """Of flags that there are; what the command line says counts more, before the preset or after it."""
    plain, found = settings_of(monkeypatch), settings_of(monkeypatch, f"--preset={preset}")
    assert found == {**plain, **train.PRESETS[preset], "preset": preset}
    assert (found == plain) == (preset == "classic")
    given = ("--num_negatives=7", "--no-content", "--window_size=9")
    for flags in ((f"--preset={preset}", *given), (*given, f"--preset={preset}")):
        assert settings_of(monkeypatch, *flags) == {**found, "num_negatives": 7, "content": False, "window_size": 9}


def test_clicks_of_a_user_are_limited(small):
    """The last ten of each are the instances of a pass; a run with another limit is not gone on with."""
    lengths = [line.count(";") + 1 for line in small_log(300).splitlines()]
    run_ok(train_command("output/limited", f"{QUICK} --num_passes=1 --no-rules --max_user_clicks=10"), small)
    [row] = rows_of(small / "output" / "limited")
    assert row["instances"] == sum(min(10, length) for length in lengths)
    result = run(train_command("output/limited", f"{QUICK} --no-rules --max_user_clicks=11 --resume"), small)
    assert result.returncode == 2 and "made by a run with another max_user_clicks" in result.stderr


def test_a_checkpoint_older_than_a_setting(tmp_path):
    """It is gone on with where the setting is not given."""
    args = argparse.Namespace(model_output_dir=str(tmp_path), checkpoint_minutes=1, visualdl_dir=None)
    told = {"identity": {"seed": 0}, "rows": [], "batches": 3, "total": 0.5, "seconds": 1.0, "rate": {}}
    write_archive(str(tmp_path / "checkpoint.tar.gz"), told, {"w": np.zeros(1)})
    trainer = argparse.Namespace(restore=lambda arrays, rate: None)
    run = train.Run(args, {"seed": 0, "max_user_clicks": None}, [0.5, 0.5], train.Ranks())
    assert run.read(trainer) and run.batches == 3
    run = train.Run(args, {"seed": 0, "max_user_clicks": 9}, [0.5, 0.5], train.Ranks())
    with pytest.raises(InputError, match="made by a run with another max_user_clicks"):
        run.read(trainer)


def test_a_limit_of_clicks_needs_files(monkeypatch, capsys, tmp_path):
    (tmp_path / "log.txt").write_text("")
    for path, refused in (("-", True), (str(tmp_path / "log.txt"), False)):
        with pytest.raises(SystemExit) if refused else contextlib.nullcontext():
            assert settings_of(monkeypatch, f"--train_set_path={path}", "--max_user_clicks=5")["max_user_clicks"] == 5
    assert "--max_user_clicks reads the training log twice" in capsys.readouterr().err


def test_help_shows_the_defaults_of_a_preset(monkeypatch, capsys):
    for preset, shown in (("classic", "noise samples (5)"), ("best", "noise samples (2048)")):
        with pytest.raises(SystemExit):
            settings_of(monkeypatch, f"--preset={preset}", "--help")
        assert shown in capsys.readouterr().out


def test_content_needs_one_vector_a_video(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        settings_of(monkeypatch, "--content")
    assert "--content goes with --tie_embeddings" in capsys.readouterr().err
