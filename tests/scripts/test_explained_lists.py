"""infer.py --explain: against logs from which clicks have been removed, and on planted causes."""

from candgen.archives import read_archive
from candgen.data.dictionary import ITEMS, load_feature_dict
from conftest import lists_of, run, run_ok

import numpy as np
import pytest
from test_documented_commands import vectors_of

DICTIONARY = "--feature_dict=output/feature_dict.pkl"


def model_of(preset):
    """Flags of the model of one of the fixtures `small` and `best`."""
    folder = {"classic": "model", "best": "best"}[preset]
    return f"--model_path=output/{folder}/model_pass_00001.tar.gz {DICTIONARY}"


def info(video):
    """Video-info of a video of `small_log`, by its number."""
    return f"V{video}:C{video % 5}:" + "_".join(
        f"T{(video + i) % 11}" for i in range(1 + video % 3)
    )


def table_of(out):
    """Rows of --format=long, each {column: text}."""
    header, *rows = [line.split("\t") for line in out.split("\n")[:-1]]
    assert all(len(row) == len(header) for row in rows)
    return [dict(zip(header, row)) for row in rows]


WINDOW = {"classic": 20, "best": 50}


def histories(window):
    """Video-infos of users at the edges of a window, some repeated, some unknown."""
    rng = np.random.default_rng(3)
    lengths = [0, 1, 2, 5, *range(window - 2, window + 3), window + 15]
    clicks = [[info(video) for video in rng.integers(0, 40, length)] for length in lengths]
    clicks[3][2] = clicks[3][4]  # a video twice
    for history in clicks[4:]:
        history.insert(len(history) - 3, "new:C1:T1")
    return clicks


def log_text(rows, known_without_clicks=True):
    """A log of pairs of the number of a user and video-infos.

    Without clicks a model of `best` would give a known user the clicks of the training log.
    """
    lines = []
    for user, infos in rows:
        name = "U" if infos or known_without_clicks else "new"
        history = ";".join(infos) or "NULL"
        lines.append(f"{name}{user}\tP{user % 3}\tNULL\t{history}\tM{user % 2}\n")
    return "".join(lines)


@pytest.mark.parametrize("preset", ["classic", "best"])
def test_against_logs_without_the_click(best, preset, tmp_path):
    """The scores of the vectors that user_vector.py gives for them; lists stay as they are."""
    model = model_of(preset)
    users = list(enumerate(histories(WINDOW[preset])))
    whole, edited = tmp_path / "whole.txt", tmp_path / "edited.txt"
    whole.write_text(log_text(users))
    removals = [  # user, index of the click that is removed
        (user, position)
        for user, infos in users
        for position, click in enumerate(infos)
        if not click.startswith("new")
    ]
    edited.write_text(
        log_text(
            (
                (user, [*users[user][1][:position], *users[user][1][position + 1 :]])
                for user, position in removals
            ),
            known_without_clicks=preset == "classic",
        )
    )
    explain = f"python infer.py --infer_set_path={whole} {model} --top_n=40 --explain"
    rows = table_of(run_ok(f"{explain} --format=long", best))
    plain = run_ok(explain.replace(" --explain", ""), best)
    assert [(row["user"], row["video"], float(row["probability"])) for row in rows] == [
        (user, video, share) for user, pairs in lists_of(plain) for video, share in pairs
    ]

    _, arrays = read_archive(str(best / model.split()[0].partition("=")[2]), "")
    names = list(load_feature_dict(best / "output" / "feature_dict.pkl")[ITEMS])
    scores = []
    for log in (whole, edited):
        out = run_ok(f"python user_vector.py --infer_set_path={log} {model}", best)
        vectors = vectors_of(out)
        scores.append(vectors[:, 1:-1] / vectors[:, :1] @ arrays["nce_w"].T + arrays["nce_b"])
    causes = 0
    for row in rows:
        user, video = int(row["user"][1:]), names.index(row["video"])
        drops = {}  # {video of the click: largest drop}, of the last known clicks
        in_window = [at for at, (whose, _) in enumerate(removals) if whose == user]
        in_window = in_window[-WINDOW[preset] :]
        for at in in_window:
            click = users[user][1][removals[at][1]].partition(":")[0]
            drop = scores[0][user, video] - scores[1][at, video]
            drops[click] = max(drop, drops.get(click, 0))
        largest = max(drops.values(), default=0)
        assert float(row["drop"]) == pytest.approx(largest, rel=1e-3, abs=1e-5)
        if largest > 1e-4:
            assert drops[row["because"]] >= largest - 1e-5
            causes += 1
        elif not row["because"]:
            assert row["drop"] == "0"
    assert causes > len(rows) / 2


def test_causes_among_earlier_clicks(best, tmp_path):
    """As of histories in one piece: the click that moves into the window may be an earlier one."""
    whole, earlier, last = (tmp_path / name for name in ("whole.txt", "earlier.txt", "last.txt"))
    users = list(enumerate(histories(WINDOW["best"])))
    whole.write_text(log_text(users))
    # of every second user, among them one of 35 clicks, the last log has none
    cuts = [len(infos) if user % 2 else len(infos) // 2 for user, infos in users]
    earlier.write_text(log_text((user, infos[: cuts[user]]) for user, infos in users))
    last.write_text(log_text((user, infos[cuts[user] :]) for user, infos in users))
    command = f"python infer.py {model_of('best')} --explain --format=long --infer_set_path="
    expected = run_ok(f"{command}{whole}", best)
    assert run_ok(f"{command}{last} --context_set_path={earlier}", best) == expected
    assert len(table_of(expected)) == 30 * len(users)


def test_a_planted_cause(best):
    """V(k + 1) follows Vk: in a history of two leaps, each successor is owed to its own click."""
    pairs = [(a, (a + gap) % 40) for a in range(40) for gap in (12, 20)]
    (best / "pairs.txt").write_text(log_text((a, [info(a), info(b)]) for a, b in pairs))
    command = f"python infer.py --infer_set_path=pairs.txt {model_of('best')} --top_n=40 --explain"
    rows = table_of(run_ok(f"{command} --format=long", best))
    because = [
        {row["video"]: row["because"] for row in rows[at : at + 40]} for at in range(0, 3200, 40)
    ]
    right = [
        (causes[f"V{(a + 1) % 40}"], causes[f"V{(b + 1) % 40}"]) == (f"V{a}", f"V{b}")
        for (a, b), causes in zip(pairs, because)
    ]
    assert np.mean(right) > 0.95


def test_lists_hold_what_the_table_holds(best):
    """Of infer.py and infer_user.py, whatever the batch; in lists, five fields with a title."""
    (best / "titles.tsv").write_text("".join(f"V{video}\tNo. {video}, 1:2\n" for video in range(9)))
    source = f"--infer_set_path=log.txt {model_of('best')} --top_n=3 --explain --names=titles.tsv"
    table = run_ok(f"python infer.py {source} --format=long", best)
    assert table == run_ok(
        f"python infer_user.py {source} --format=long --batch_size=128 --threads=1", best
    )
    rows = table_of(table)
    assert (
        {row["title"] for row in rows}
        >= {"", "No. 8, 1:2"}
        <= {row["because_title"] for row in rows}
    )
    lines = run_ok(f"python infer.py {source}", best).splitlines()
    entries = [
        [user, *entry.replace("%2C", ",").split(":")]
        for user, entries in (line.split("\t") for line in lines)
        for entry in entries.split(",")
    ]
    assert [[field.replace("%3A", ":") for field in entry] for entry in entries] == [
        [text for column, text in row.items() if column != "rank"] for row in rows
    ]


@pytest.mark.parametrize(
    "command, what",
    [
        ("infer.py --infer_set_path=log.txt --evaluate", "--explain does not go with --evaluate"),
        ("infer_user.py", "--explain needs --infer_set_path"),
        ("infer_user.py --user_ids=log.txt", "--explain needs --infer_set_path"),
    ],
)
def test_without_lists_of_histories(best, command, what):
    result = run(f"python {command} --explain {model_of('best')}", best)
    assert (result.returncode, result.stdout) == (2, "") and what in result.stderr
