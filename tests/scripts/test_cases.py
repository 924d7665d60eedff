"""TODO"""

import json
import re
import urllib.parse

from conftest import (
    checkout,
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

MODEL = "--model_path=output/model/model_pass_00000.tar.gz --feature_dict=output/feature_dict.pkl"


SMALL = MODEL.replace("00000", "00001")


def prepare(folder, log, limit=1):
    """The scripts, a log and its dictionary."""
    checkout(folder)
    (folder / "log.txt").write_text(log, encoding="utf-8")
    run_ok(
        f"python data_processor.py --train_set_path=log.txt --output_dir=output --feat_appear_limit={limit}",
        folder,
    )
    return folder


def last_metrics(folder):
    """Those of the last pass of a run."""
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


def log_of(histories, users="U{}"):
    """A log of users of whom nothing is known but their clicks."""
    infos = [";".join(f"{video}:NULL:NULL" for video in history) or "NULL" for history in histories]
    return "".join(
        f"{users.format(number)}\tP\tC\t{history}\tPH\n" for number, history in enumerate(infos)
    )


def test_metrics_are_those_of_the_lists_that_are_served(tmp_path):
    """Listeners who click again and again on the 15 songs of an album: recall is counted in the printed lists."""
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
    row, repeats = (
        last_metrics(folder / "output" / "model"),
        [history[-1] in history[:-1] for history in test],
    )
    for prefix, flags in (("", "--remove_seen"), ("seen_kept_", "")):
        lists = lists_of(
            run_ok(
                "python infer.py --infer_set_path=before.txt --top_n=50 "
                f"{MODEL.replace('00000', '00003')} {flags}",
                folder,
            )
        )
        served = [[video for video, _ in pairs] for _, pairs in lists]
        expected = metrics_of_ranks(
            [
                videos.index(history[-1]) + 1 if history[-1] in videos else np.inf
                for videos, history in zip(served, test)
            ],
            prefix,
        )
        expected[prefix + "coverage@10"] = (
            len({video for videos in served for video in videos[:10]}) / 150
        )
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert 0.6 < np.mean(repeats) < row["seen_kept_recall@50"] and row["recall@50"] <= 1 - np.mean(
        repeats
    )


def test_a_dead_network_is_told(small):
    """All ReLUs dead: one vector for everybody; training and serving say so, and what to do."""
    result = run(train_command("output/dead", "--learning_rate=30"), small)
    assert result.returncode == 0, result.stderr
    row = last_metrics(small / "output" / "dead")
    assert row["distinct_users"] == 1 and row["live_units"] == 0
    assert re.search(
        r"warning: the network collapses: 1 different vectors for 300 test users, 0 of 31 units .* alive; "
        "train it with a lower --learning_rate\n",
        result.stderr,
    )
    for script in ("infer.py", "user_vector.py"):
        served = run(
            f"python {script} --infer_set_path=log.txt {SMALL.replace('model/', 'dead/', 1)}", small
        )
        assert served.returncode == 0 and len(served.stdout.splitlines()) == 300
        assert len({line.split("\t")[-1] for line in served.stdout.splitlines()}) == 1
        assert served.stderr.splitlines()[-1].startswith(
            f"{script}: warning: all 300 users have the same vector; "
        )


def test_a_live_network_is_not(small):
    row = last_metrics(small / "output" / "model")
    assert row["distinct_users"] > 280 and row["live_units"] > 15
    assert "warning" not in run(f"python infer.py --infer_set_path=log.txt {SMALL}", small).stderr


def test_what_is_known_of_a_log_is_told(small):
    """One line: users, clicks, how many of each the dictionary knows; a warning when it is hardly any."""
    (small / "strangers.txt").write_text(
        small_log(20, seed=1).replace("V", "video_").replace("U", "user_")
    )
    clicks = sum(map(len, clicked((small / "strangers.txt").read_text())))
    for script in ("infer.py", "user_vector.py"):
        metadata, warning = run(
            f"python {script} --infer_set_path=strangers.txt {SMALL}", small
        ).stderr.splitlines()[:2]
        assert metadata == (
            f"{script}: strangers.txt: 20 users, 0 of them known; "
            f"{clicks} clicks, 0 of them on known videos"
        )
        assert warning.startswith(
            f"{script}: warning: the dictionary knows hardly anything in strangers.txt; "
        )
    result = run(
        train_command("output/other", "--test_set_path=strangers.txt --num_passes=1"), small
    )
    assert (
        "\ntrain.py: warning: the dictionary knows hardly anything in strangers.txt; "
        in result.stderr
    )
    assert "hardly anything in log.txt" not in result.stderr
    (small / "some.txt").write_text(
        log_of([["V1", "new", "V2"], [], ["new"]]) + log_of([["V3"]], "stranger{}")
    )
    result = run(f"python infer.py --infer_set_path=some.txt {SMALL}", small)
    assert result.stderr == (
        "infer.py: some.txt: 4 users, 3 of them known; 5 clicks, 3 of them on known videos\n"
    )


ODD = [
    "http://x.com/a?b=1,2",
    "a,b",
    "100%",
    "%2C",
    "%",
    ",",
    "c d",
    '"q"',
    "a:b",
    "+",
    "视频7",
    "é",
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """(folder with a model of videos and users with strange names, the bytes that infer.py prints)."""
    folder = prepare(
        tmp_path_factory.mktemp("odd") / "clone", log_of([ODD, ODD[::-1], ODD[3:]], "用户{}")
    )
    run_ok(train_command("output/model", "--num_passes=1"), folder)
    return folder, run_ok(f"python infer.py --infer_set_path=log.txt {MODEL}", folder)


def test_lists_can_be_split_at_commas(odd):
    """A comma in an id is written as %2C, a percent sign as %25: any URL decoder gives the ids back."""
    folder, out = odd
    for lists in (out, run_ok(f"python infer_user.py {MODEL}", folder)):
        assert sorted(user for user, _ in lists_of(lists)) == ["用户0", "用户1", "用户2"]
        for _, pairs in lists_of(lists):
            assert sorted(urllib.parse.unquote(video) for video, _ in pairs) == sorted(ODD)
            assert sum(share for _, share in pairs) == pytest.approx(1, abs=1e-4)
    assert "http://x.com/a?b=1%2C2:" in out and "视频7:" in out


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_results_are_utf_8_whatever_the_locale_says(odd, env):
    folder, out = odd
    result = run(
        f"python infer.py --infer_set_path=log.txt {MODEL}", folder, env=env, encoding=None
    )
    assert (result.returncode, result.stdout) == (0, out.encode()), result.stderr
    (folder / "ids.txt").write_text("用户2\n陌生人\n", encoding="utf-8")
    result = run(f"python infer_user.py --user_ids=ids.txt {MODEL}", folder, env=env, encoding=None)
    assert result.returncode == 0 and b"Traceback" not in result.stderr
    assert [line.split("\t")[0] for line in result.stdout.decode().splitlines()] == [
        "用户2",
        "陌生人",
    ]


@pytest.mark.parametrize("told", ["ids", "tags"])
def test_defaults_learn_a_small_log(tmp_path, metadata):
    """About 3,000 clicks, seven in ten of them on the next video of a chain of 60: as many steps as that takes.

    With nothing but the ids of the videos, or with categories and tags as well.
    """
    rng, logs = np.random.default_rng(0), []
    for _ in range(2):
        histories = []
        for _ in range(300):
            history = [rng.integers(60)]
            for _ in range(rng.integers(1, 19)):
                history.append((history[-1] + 1) % 60 if rng.random() < 0.7 else rng.integers(60))
            histories.append([f"V{video}" for video in history])
        log = log_of(histories)
        logs.append(
            log
            if metadata == "ids"
            else re.sub(
                r"V(\d+):NULL:NULL",
                lambda found: f"{found[0][:-10]}:C{int(found[1]) % 5}:T{int(found[1]) % 7}",
                log,
            )
        )
    folder = prepare(tmp_path / "clone", logs[0], 5)
    (folder / "test.txt").write_text(logs[1], encoding="utf-8")
    result = run(
        train_command("output/model", "--test_set_path=test.txt").replace("--num_passes=2", ""),
        folder,
    )
    assert result.returncode == 0 and "batch_size: 32\n" in result.stderr
    row = last_metrics(folder / "output" / "model")
    assert row["recall@10"] > 0.35 > 2 * row["popularity_recall@10"]
    assert (
        row["ndcg@10"] > 2 * row["popularity_ndcg@10"]
        and "better than popularity" not in result.stderr
    )


@pytest.fixture(scope="module")
def cycle(tmp_path_factory):
    """(folder, stderr of training): 8 videos clicked in a fixed order by users of whom the dictionary knows none."""
    rng = np.random.default_rng(0)
    log = log_of(
        [[f"B{(start + step) % 8}" for step in range(5)] for start in rng.integers(0, 8, 400)]
    )
    folder = prepare(tmp_path_factory.mktemp("cycle") / "clone", log, 6)
    result = run(train_command("output/model", "--num_passes=4"), folder)
    assert result.returncode == 0, result.stderr
    return folder, result.stderr


def test_a_small_catalogue_is_no_reason_to_warn(cycle):
    """In a top 10 of 8 videos every ranking has a recall of 1: the better one is known by its ndcg."""
    folder, stderr = cycle
    row = last_metrics(folder / "output" / "model")
    assert row["recall@10"] == row["popularity_recall@10"] == 1
    assert row["ndcg@10"] > 0.95 > row["popularity_ndcg@10"] + 0.1
    assert "better than popularity" not in stderr


def test_no_known_user(cycle):
    """Nobody to serve is an error, not an empty answer; who is named is served the most clicked videos."""
    folder, _ = cycle
    result = run(f"python infer_user.py {MODEL}", folder)
    assert (result.returncode, result.stdout) == (2, "") and "Traceback" not in result.stderr
    assert result.stderr.startswith("infer_user.py: output/feature_dict.pkl: it knows no user; ")
    result = run(f"echo U1 | python infer_user.py {MODEL} --user_ids=- --top_n=3", folder)
    [(user, pairs)] = lists_of(result.stdout)
    counts = {}
    for video in (
        video for history in clicked((folder / "log.txt").read_text()) for video in history
    ):
        counts[video] = counts.get(video, 0) + 1
    best = sorted(counts, key=lambda video: (-counts[video], video))[:3]
    assert (user, [video for video, _ in pairs]) == ("U1", best)
    assert [share for _, share in pairs] == pytest.approx(
        [counts[video] / 2000 for video in best], rel=1e-5
    )
