"""Every preset on logs with little to learn: one user, one video, one click each, no metadata.

Each example is counted, trained on for a pass, evaluated, saved, loaded, exported and served.
"""

import json
import tempfile
from pathlib import Path

import data_processor
import infer
import infer_user
import item_vector
import train
import user_vector
from candgen.data.dictionary import ITEMS, load_feature_dict
from candgen.serving.metrics import METRICS
from candgen.training.options import PRESETS
from conftest import lists_of, output_of

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TINY = ["--lstm_dim=4", "--dnn_layer_dims", "6", "6", "--threads=2"]
VIDEOS = st.integers(1, 6).map("v{}".format)
UNKNOWN_VIDEOS = st.sampled_from(["x1", "x2", "x3", "x4"])  # not in the dictionary
METADATA = st.sampled_from(["NULL:NULL", ":", "c1:NULL", "NULL:t1", "c1:t1_t2", "c2:t2"])
KINDS = {  # of logs: users at most, clicks of each at most, their videos, metadata of these
    "any": (6, 30, VIDEOS | UNKNOWN_VIDEOS, METADATA),
    "no metadata": (6, 30, VIDEOS | UNKNOWN_VIDEOS, st.just("NULL:NULL")),
    "one user": (1, 30, VIDEOS | UNKNOWN_VIDEOS, METADATA),
    "one video": (4, 5, st.just("v1"), METADATA),
    "one click each": (6, 1, VIDEOS, METADATA),
}


@st.composite
def logs(draw, kind, users="u"):
    """The text of a log with at least one click on a video of VIDEOS."""
    most_users, most_clicks, videos, metadata = KINDS[kind]
    infos = st.builds("{}:{}".format, videos, metadata)
    histories = draw(
        st.lists(st.lists(infos, max_size=most_clicks), min_size=1, max_size=most_users)
    )
    histories[0] = [*histories[0][1:], "v1:" + draw(metadata)]
    return log_of(histories, users)


def log_of(histories, users="u"):
    """The text of a log of users u0, u1, ... with these video-infos."""
    return "".join(
        f"{users}{number}\tp{number % 2}\tNULL\t{';'.join(infos) or 'NULL'}\tNULL\n"
        for number, infos in enumerate(histories)
    )


@st.composite
def one_known_click(draw):
    """The text of a log in which a single click is on a video of the dictionary."""
    unknown = st.lists(st.builds("{}:{}".format, UNKNOWN_VIDEOS, METADATA), min_size=1, max_size=5)
    histories = draw(st.lists(unknown, min_size=1, max_size=5))
    place = draw(st.integers(0, len(histories[0])))
    histories[0] = [*histories[0][:place], "v1:c1:t1", *histories[0][place:]]
    return log_of(histories)


def check_all(folder, preset, counted, trained_on, tested_on, flags=(), export=False):
    """Count, train, evaluate, save, load, export and serve; check the number of results."""
    for name, text in (
        ("counted.txt", counted),
        ("train.txt", trained_on),
        ("test.txt", tested_on),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    output_of(
        data_processor.main,
        f"--train_set_path={folder}/counted.txt",
        f"--output_dir={folder}",
        "--feat_appear_limit=1",
        "--processes=1",
    )
    dictionary = f"--feature_dict={folder}/feature_dict.pkl"
    output_of(
        train.main,
        f"--preset={preset}",
        f"--train_set_path={folder}/train.txt",
        "--num_passes=1",
        *TINY,
        f"--test_set_path={folder}/test.txt",
        f"--model_output_dir={folder}/model",
        dictionary,
        f"--item_freq={folder}/item_freq.pkl",
        *flags,
    )
    [row] = map(json.loads, (folder / "model/metrics.jsonl").read_text().splitlines())
    numbers = [value for value in row.values() if value is not None]
    assert np.isfinite(numbers).all() and all(0 <= row[name] <= 1 for name in METRICS)

    model = [f"--model_path={folder}/model/model_pass_00000.tar.gz", dictionary]
    log, feature_dict = (
        f"--infer_set_path={folder}/test.txt",
        load_feature_dict(folder / "feature_dict.pkl"),
    )
    videos, users = len(feature_dict[ITEMS]) - 1, tested_on.count("\n")
    served = lists_of(output_of(infer.main, log, *model))
    assert len(served) == users
    for _, videos_of_user in served:
        assert len(videos_of_user) == min(30, videos)
        assert sum(share for _, share in videos_of_user) == pytest.approx(1, abs=1e-4)
    assert len(lists_of(output_of(infer.main, log, "--remove_seen", *model))) == users
    evaluated = json.loads(output_of(infer.main, log, "--evaluate", *model))
    assert {name: evaluated[name] for name in METRICS} == {name: row[name] for name in METRICS}
    assert len(lists_of(output_of(infer_user.main, *model))) == len(feature_dict["user_id"]) - 1
    (folder / "users.txt").write_text("unknown\nu0\n", encoding="utf-8")
    assert len(lists_of(output_of(infer_user.main, f"--user_ids={folder}/users.txt", *model))) == 2
    assert len(lists_of(output_of(infer_user.main, log, "--remove_seen", *model))) == users
    assert output_of(user_vector.main, log, f"--output_path={folder}/users.npz", *model) == ""
    files = [f"--output_path={folder}/videos.npz", f"--check={folder}/users.npz"]
    assert output_of(item_vector.main, *files, *model).startswith(
        f"{users} users: 100.00% of the model's top 30"
    )
    shapes = [np.load(folder / f"{name}.npz")["vectors"].shape for name in ("users", "videos")]
    assert shapes == [(users, 8), (videos, 8)]
    assert output_of(item_vector.main, "--similar=3", *model).count("\n") == videos
    if export:  # which takes half a second
        output_of(user_vector.main, f"--export_dir={folder}/tower", *model)
        assert (folder / "tower/inputs.json").exists()


FEW = settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "batch_size": st.sampled_from([1, 2, 3]),
        "shuffle_lines": st.sampled_from([1, 2]),
        "window_size": st.sampled_from([1, 2, 3]),
    },
)


def as_flags(values):
    return [f"--{name}={value}" for name, value in values.items()]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(data=st.data())
def test_small_logs(preset, kind, data):
    trained_on = data.draw(logs(kind))
    tested_on = data.draw(logs(data.draw(st.sampled_from([kind, "one click each"])), "w"))
    with tempfile.TemporaryDirectory() as folder:
        check_all(
            Path(folder), preset, trained_on, trained_on, tested_on, as_flags(data.draw(FLAGS))
        )


@pytest.mark.parametrize("preset", PRESETS)
@FEW
@given(log=one_known_click(), tested_on=logs("any", "w") | one_known_click(), flags=FLAGS)
def test_one_known_click(preset, log, tested_on, flags):
    """The dictionary is of another log."""
    counted = log_of([["v1:c1:t1", "v2:c2:t2_t3", "v3:NULL:NULL"]])
    with tempfile.TemporaryDirectory() as folder:
        check_all(Path(folder), preset, counted, log, tested_on, as_flags(flags))


@pytest.mark.parametrize("preset", ["classic", "best"])
@pytest.mark.parametrize("kind", ["no metadata", "one click each"])
def test_export(preset, kind, tmp_path):
    """The user tower of such a network gives the vectors of the network."""
    log = log_of(
        [["v1:NULL:NULL"], ["v2:NULL:NULL"]]
        if kind == "no metadata"
        else [["v1:c1:t1"], ["v2:NULL:NULL"]]
    )
    check_all(tmp_path, preset, log, log, log, export=True)


@FEW
@given(data=st.data())
def test_everything_at_once(data):
    """`best` with a catalogue, earlier clicks and a validation log, resumed for another pass.

    A second run starts from it and is compared with it.
    """
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    listed = st.builds("{}:{}".format, VIDEOS | st.just("new"), METADATA)
    catalogue = data.draw(st.lists(listed, min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in ("train", "context", "test", "valid"):
            (folder / f"{path}.txt").write_text(data.draw(logs(kind)), encoding="utf-8")
        (folder / "catalogue.txt").write_text("\n".join(catalogue), encoding="utf-8")
        given = f"--catalogue_path={folder}/catalogue.txt"
        output_of(
            data_processor.main,
            "--train_set_path",
            folder / "train.txt",
            folder / "context.txt",
            given,
            f"--output_dir={folder}",
            "--feat_appear_limit=1",
            "--processes=1",
        )
        flags = [
            "--preset=best",
            f"--feature_dict={folder}/feature_dict.pkl",
            f"--item_freq={folder}/item_freq.pkl",
            f"--train_set_path={folder}/train.txt",
            f"--context_set_path={folder}/context.txt",
            given,
            *TINY,
            f"--test_set_path={folder}/test.txt",
            f"--valid_set_path={folder}/valid.txt",
            "--patience=1",
        ]
        for passes in (1, 2):
            output_of(
                train.main,
                *flags,
                f"--model_output_dir={folder}/one",
                f"--num_passes={passes}",
                "--resume",
            )
        before = [
            f"--init_model_path={folder}/one/checkpoint.tar.gz",
            f"--init_feature_dict={folder}/feature_dict.pkl",
            f"--compare_with={folder}/one/model_best.tar.gz",
            f"--compare_feature_dict={folder}/feature_dict.pkl",
        ]
        report = output_of(
            train.main, *flags, *before, f"--model_output_dir={folder}/two", "--num_passes=1"
        )
        assert "recall@10: " in report and "top 10: " in report and "nan" not in report
        assert (folder / "two/model_best.tar.gz").exists()
