"""Tomorrow's run: ids that stay, rows that are carried over, a catalogue, comparison with the model before, a gate."""
import gzip
import json
import os
import re
import shutil
import sys

import data_processor
import network_conf
from conftest import ROOT, clicked, feature_dict_of, lists_of, run, run_ok, small_log, train_command
from reader import Content
from utils import CATEGORIES, FEATURES, ITEMS, TAGS, load_feature_dict, load_item_freq, read_archive

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 5))


# ---------------------------------------------------------------- the dictionary
@given(VALUES, VALUES, st.integers(1, 4), st.sets(st.sampled_from("abxyz")))
def test_ids_stay_where_values_live_on(before, now, limit, listed):
    """The same values as without a base, without gaps; no value that could keep its id has another one."""
    base = data_processor.build_dictionary(before, limit)
    plain = data_processor.build_dictionary(now, limit, listed=listed)
    found = data_processor.build_dictionary(now, limit, base, listed)
    assert found.keys() == plain.keys() and list(found.values()) == list(range(len(plain)))
    assert {value for value in now if now[value] >= limit} | listed | {"<unk>"} == found.keys()
    for value, id_ in found.items():
        if base.get(value, len(found)) < len(found):
            assert id_ == base[value]
    others = [value for value in found if value not in base]
    assert [now.get(value, 0) for value in others] == sorted((now.get(value, 0) for value in others), reverse=True)


# ---------------------------------------------------------------- rows of another dictionary
def content_of(*attributes):
    """`Content` of videos with these attributes; the first is <unk>."""
    lengths = [len(each) for each in attributes]
    return Content(np.array([id_ for each in attributes for id_ in each], int), np.cumsum([0, *lengths]))


def test_neighbours_by_hand():
    """Attribute 1 is that of videos 1 and 2 (mean 2), attribute 2 that of video 2 alone (3); video 5 has none."""
    content = content_of([], [1], [1, 2], [1, 2], [2, 7], [], [7])
    values, known = np.array([[0.0], [1], [3], [90], [90], [90], [90]]), np.array([True, True, True, *4 * [False]])
    found = network_conf.of_neighbours(values, content, known)
    np.testing.assert_allclose(found[:, 0], [np.nan, 2, 2.5, 2.5, 3, np.nan, np.nan])


def test_places_of_the_unclicked_by_hand():
    """Own rows [2, 0] and [0, 2], to which content adds [0, 1]; video 3 shares an attribute with both, 4 nothing."""
    own = {name: np.float32([[9, 9], [2, 0], [0, 2], [7, 7], [5, 5]]) for name in (network_conf.VIDEO_TABLE, "nce_w")}
    own["nce_b"] = np.float32([[0, -3, -1, -9, -9]])
    found = {name: value + (np.float32([0, 1]) if name != "nce_b" else 0) for name, value in own.items()}
    unclicked = np.array([False, False, False, True, True])
    network_conf.place_unclicked(found, own, unclicked, content_of([], [1], [1], [1], []))
    length = 5 ** 0.5  # of video 1, [2, 1], the one with the lowest bias
    for name in (network_conf.VIDEO_TABLE, "nce_w"):
        np.testing.assert_allclose(found[name][:3], [[9, 10], [2, 1], [0, 3]])
        np.testing.assert_allclose(found[name][3], length * np.array([1, 2]) / 5 ** 0.5, rtol=1e-6)  # along [1, 1 + 1]
        np.testing.assert_allclose(found[name][4], [5, 6])
    np.testing.assert_allclose(found["nce_b"], [[0, -3, -1, -2, -9]])


OLD = feature_dict_of(user_id=["u1", "u2"], city=["c1"], history_clicked_items=["v1", "v2", "v3"],
                      history_clicked_tags=["s", "t"], history_clicked_categories=["a"])
NEW = feature_dict_of(user_id=["u2", "u3"], city=["c2", "c1"], history_clicked_items=["v3", "new", "v1", "odd"],
                      history_clicked_tags=["t", "w"], history_clicked_categories=["b", "a"])


def arrays_of(feature_dict, seed):
    """Random parameters and moments of the tables, and one other layer."""
    rng, found = np.random.default_rng(seed), {}
    sizes = {f"_proj_{name}": len(values) for name, values in feature_dict.items()}
    sizes.update(nce_w=sizes[network_conf.VIDEO_TABLE], nce_b=sizes[network_conf.VIDEO_TABLE],
                 content=len(feature_dict[TAGS]) + len(feature_dict[CATEGORIES]))
    for name, size in sizes.items():
        for suffix in ("", "_moment1_0", "_moment2_0"):
            found[name + suffix] = rng.random((size, 1 if name == "nce_b" else 3)).astype(np.float32)
    found["nce_b"] = found["nce_b"].T
    found["nce_b_beta1_pow_acc_0"], found["relu1_w"] = np.float32([0.5]), rng.random((4, 4)).astype(np.float32)
    return found


def test_rows_go_by_name():
    before, initial = arrays_of(OLD, 0), arrays_of(NEW, 1)
    freqs = [0.1, 0.4, 0.3, 0.2], [0.0, 0.5, 0.1, 0.4, 0.0]
    content = content_of([], [1], [1], [2], [])  # v3 and new share tag t; odd has nothing
    found = network_conf.carry_over(initial, before, (OLD, NEW), freqs, content)
    assert found.keys() == before.keys()
    for suffix, new_row in (("", None), ("_moment1_0", 0), ("_moment2_0", 0)):
        users, old_users = found[f"_proj_user_id{suffix}"], before[f"_proj_user_id{suffix}"]
        np.testing.assert_array_equal(users[:2], old_users[[0, 2]])
        np.testing.assert_array_equal(users[2], old_users[0] if new_row is None else 0)  # starts as the <unk> user
        cities, old_cities = found[f"_proj_city{suffix}"], before[f"_proj_city{suffix}"]
        np.testing.assert_array_equal(cities[[0, 2]], old_cities[[0, 1]])
        np.testing.assert_array_equal(cities[1], initial["_proj_city"][1] if new_row is None else 0)
        # <unk>, t, w, <unk>, b, a; before <unk>, s, t, <unk>, a
        rows, old_rows = found[f"content{suffix}"], before[f"content{suffix}"]
        np.testing.assert_array_equal(rows[[0, 1, 5]], old_rows[[0, 2, 4]])
        np.testing.assert_array_equal(rows[[2, 4]], initial["content"][[2, 4]] if new_row is None else 0)
        for table in (network_conf.VIDEO_TABLE, "nce_w"):
            videos, old_videos = found[table + suffix], before[table + suffix]
            np.testing.assert_array_equal(videos[[0, 1, 3]], old_videos[[0, 3, 1]])
            if new_row is None:
                np.testing.assert_array_equal(videos[2], old_videos[3])
                np.testing.assert_array_equal(videos[4], initial[table][4])
    offset = before["nce_b"][0] - np.log(freqs[0])
    expected = [np.nan, np.log(0.5) + offset[3], np.log(0.1) + offset[3], np.log(0.4) + offset[1], np.log(0.1)]
    np.testing.assert_allclose(found["nce_b"][0, 1:], expected[1:], rtol=1e-5)
    assert found["nce_b_moment1_0"].shape == (5, 1) and found["nce_b_beta1_pow_acc_0"] == 0.5
    np.testing.assert_array_equal(found["relu1_w"], before["relu1_w"])


def test_a_first_click_is_as_good_as_a_new_video():
    """A video of a catalogue that nobody has clicked on till now has learned nothing: it begins where its like is."""
    before, initial = arrays_of(OLD, 0), arrays_of(NEW, 1)
    freqs = [0.1, 0.4, 0.5, 0.0], [0.0, 0.5, 0.1, 0.4, 0.0]  # v3 had no click
    content = content_of([], [1], [], [1], [])  # v3, new, v1, odd: v3 is like v1
    found = network_conf.carry_over(initial, before, (OLD, NEW), freqs, content)
    for table in (network_conf.VIDEO_TABLE, "nce_w"):
        np.testing.assert_array_equal(found[table][[1, 3]], before[table][[1, 1]])
        np.testing.assert_array_equal(found[f"{table}_moment1_0"][1], 0)
    assert found["nce_b"][0, 1] == pytest.approx(np.log(0.5) + before["nce_b"][0, 1] - np.log(0.4), rel=1e-5)


def test_nothing_changes_with_the_same_dictionary():
    before, freq = arrays_of(OLD, 0), [0.1, 0.4, 0.3, 0.2]
    found = network_conf.carry_over(arrays_of(OLD, 1), before, (OLD, OLD), (freq, freq), content_of([], [], [], []))
    for name, value in before.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


def test_attributes_are_remembered():
    """v1 had s and a, v3 had t and a; today's log gives v3 w and no category, and says nothing of v1: s is gone, a has
    another id."""
    earlier = content_of([], [1, 4], [2], [2, 4])
    ids = network_conf.earlier_ids(OLD, NEW)
    today = content_of([], [2], [1], [], [])
    found = today.completed(earlier, ids[network_conf.VIDEO_TABLE], ids["content"], len(NEW[TAGS]))
    assert [found.ids[start:end].tolist() for start, end in zip(found.offsets, found.offsets[1:])] == [
        [], [2, 5], [1], [5], []]


def test_attributes_of_today_come_first():
    """v1 had s, t and a, v3 had t; today v1 has w and b, v3 has b alone: nothing is added to what is known today."""
    earlier = content_of([], [1, 2, 4], [], [2])
    ids = network_conf.earlier_ids(OLD, NEW)
    today = content_of([], [4], [], [2, 4], [])
    found = today.completed(earlier, ids[network_conf.VIDEO_TABLE], ids["content"], len(NEW[TAGS]))
    assert [found.ids[start:end].tolist() for start, end in zip(found.offsets, found.offsets[1:])] == [
        [], [1, 4], [], [2, 4], []]


# ---------------------------------------------------------------- whole runs
@pytest.fixture(scope="module")
def nights(small):
    """Folder with a run of yesterday, `old`, and today's log and dictionary, `new`: other users, ten new videos."""
    text = small_log(120, seed=5).replace("V3", "N3").replace("U", "W", 60)
    (small / "new.txt").write_text(text, encoding="utf-8")
    run_ok("python data_processor.py --train_set_path log.txt new.txt --output_dir=new --feat_appear_limit=2 "
           "--base_feature_dict=output/feature_dict.pkl", small)
    return small


def tomorrow(folder, output, flags, preset="classic"):
    return run(f"python train.py --train_set_path=new.txt --test_set_path=new.txt --model_output_dir=output/{output} "
               f"--feature_dict=new/feature_dict.pkl --item_freq=new/item_freq.pkl --preset={preset} --num_passes=1 "
               f"--init_feature_dict=output/feature_dict.pkl {flags}", folder)


@pytest.mark.parametrize("preset", ["classic", "best"])
def test_a_warm_start_goes_on(nights, preset):
    """After one pass it ranks far better than a cold start; old ids stay; new videos are recommended."""
    run_ok(train_command(f"output/{preset}-old", f"--preset={preset} --num_passes=4"), nights)
    old, new = (load_feature_dict(nights / name / "feature_dict.pkl") for name in ("output", "new"))
    assert all(new[feature][value] == id_ for feature in FEATURES for value, id_ in old[feature].items())
    model = f"output/{preset}-old/checkpoint.tar.gz"
    result = tomorrow(nights, f"{preset}-warm", f"--init_model_path={model}", preset)
    assert result.returncode == 0, result.stderr
    assert f"went on with {len(old['user_id']) - 1} of {len(new['user_id']) - 1} user_id" in result.stderr
    run_ok("python train.py --train_set_path=new.txt --test_set_path=new.txt --feature_dict=new/feature_dict.pkl "
           f"--item_freq=new/item_freq.pkl --model_output_dir=output/{preset}-cold --preset={preset} --num_passes=1",
           nights)
    warm, cold = (json.loads((nights / "output" / f"{preset}-{name}" / "metrics.jsonl").read_text())
                  for name in ("warm", "cold"))
    assert warm["seen_kept_ndcg@10"] > 1.2 * cold["seen_kept_ndcg@10"]
    lists = run_ok("python infer.py --infer_set_path=new.txt --feature_dict=new/feature_dict.pkl --top_n=10 "
                   f"--model_path=output/{preset}-warm/model_pass_00000.tar.gz", nights)
    assert sum(video.startswith("N3") for _, pairs in lists_of(lists) for video, _ in pairs) > 100


def test_earlier_clicks_stand_in_front(small, tmp_path):
    """One click a user can be foretold from those before it alone; they are no instances."""
    halves = [], []
    for line in (small / "log.txt").read_text(encoding="utf-8").splitlines(keepends=True):
        columns = line.split("\t")
        infos = columns[3].split(";")
        for half, part in zip(halves, (infos[:-1], infos[-1:])):
            half.append("\t".join([*columns[:3], ";".join(part), columns[4]]))
    for name, half in zip(("earlier", "day"), halves):
        (tmp_path / f"{name}.txt").write_text("".join(half), encoding="utf-8")
    (tmp_path / "strange.txt").write_text("nobody\t\t\tV1:C1:T1\t\n", encoding="utf-8")
    rows = []
    for name, context, told in (("alone", "strange", "warning: DAY: 0 of 300 users have earlier clicks"),
                                ("behind", "earlier", "DAY: 300 of 300 users have earlier clicks")):
        result = run(train_command(tmp_path / name, f"--train_set_path={tmp_path}/day.txt --init_model_path="
                             "output/model/checkpoint.tar.gz --init_feature_dict=output/feature_dict.pkl --no-rules "
                             f"--shuffle_lines=100 --context_set_path={tmp_path}/{context}.txt"), small)
        assert result.returncode == 0, result.stderr
        assert f"train.py: {told.replace('DAY', f'{tmp_path}/day.txt')}\n" in result.stderr
        rows.append([json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()])
    assert [row["instances"] for row in [*rows[0], *rows[1]]] == [300] * 4
    assert rows[1][0]["cost"] < rows[0][0]["cost"] - 0.3
    twice = run(train_command(tmp_path / "no", f"--context_set_path {tmp_path}/earlier.txt log.txt"), small)
    assert twice.returncode == 2 and "log.txt, whose clicks are to be learned: give earlier ones" in twice.stderr


@pytest.mark.parametrize("flags, what", [
    ("--init_model_path=output/model/checkpoint.tar.gz --lstm_dim=32", "of a network that is not like this one"),
    ("--init_model_path=new/feature_dict.pkl", "feature_dict.pkl: "),
    ("--init_model_path=output/model/checkpoint.tar.gz --init_feature_dict=new/feature_dict.pkl",
     "trained with another dictionary than --init_feature_dict"),
    ("--init_model_path=output/model/model_pass_00000.tar.gz --preset=best", "of a network that is not like this one"),
    ("", "--init_model_path and --init_feature_dict go together"),
    ("--init_model_path=output/model/checkpoint.tar.gz --network=DirectModel", "its --network is DNNmodel"),
    ("--init_model_path=output/model/checkpoint.tar.gz --compare_with=no/model_best.tar.gz --compare_feature_dict="
     "output/feature_dict.pkl --model_output_dir=no", "--compare_with lies in --model_output_dir"),
    ("--init_model_path=output/model/checkpoint.tar.gz --compare_with=missing.tar.gz --compare_feature_dict="
     "output/feature_dict.pkl", "missing.tar.gz: "),
    ("--init_model_path=output/model/checkpoint.tar.gz --min_ratio=1", "--min_ratio needs --compare_with"),
    ("--init_model_path=output/model/checkpoint.tar.gz --resume --model_output_dir=output/model",
     "made by a run with another "),
    ("--init_model_path=output/model/checkpoint.tar.gz --compare_with=x", "--compare_with and --compare_feature_dict"),
])
def test_what_cannot_be_gone_on_from(nights, flags, what):
    result = tomorrow(nights, "no", flags)
    assert result.returncode == 2 and what in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr
    assert not list((nights / "output").glob("no/model*"))


def test_the_gate(nights):
    """The report is of the lists that both models serve; what is too bad is not published, and ends with code 3."""
    flags = ("--init_model_path=output/model/model_pass_00001.tar.gz --select_metric=seen_kept_recall@10 "
             "--compare_with=output/model/model_pass_00001.tar.gz --compare_feature_dict=output/feature_dict.pkl ")
    best = nights / "output" / "gate" / "model_best.tar.gz"
    refused = tomorrow(nights, "gate", flags + "--min_ratio=1000")
    assert refused.returncode == 3 and not best.exists(), refused.stderr
    assert "train.py: seen_kept_recall@10 is below 1000.0 of that of " in refused.stderr
    passed = tomorrow(nights, "gate", flags + "--min_ratio=0.9")
    assert passed.returncode == 0 and best.read_bytes() == (best.parent / "model_pass_00000.tar.gz").read_bytes()
    assert passed.stdout.splitlines()[1:] == refused.stdout.splitlines()[1:] != []
    row = json.loads((best.parent / "metrics.jsonl").read_text())
    sides = [("output/model/model_pass_00001.tar.gz", "output"), ("output/gate/model_best.tar.gz", "new")]
    before, now = (json.loads(run_ok(f"python infer.py --infer_set_path=new.txt --model_path={model} --evaluate "
                                     f"--feature_dict={folder}/feature_dict.pkl", nights)) for model, folder in sides)
    assert now == {name: row[name] for name in now}
    for name in ("seen_kept_recall@10", "ndcg@10"):
        assert f"{name}: {before[name]:.4f} before, {now[name]:.4f} now\n" in passed.stdout
    old, new = ({video for _, video in enumerate(load_feature_dict(nights / folder / "feature_dict.pkl")[ITEMS])}
                for folder in ("output", "new"))
    assert f"videos: {len(new - old)} gained, {len(old - new)} lost\n" in passed.stdout
    clicks = [video for history in clicked((nights / "new.txt").read_text()) for video in history]
    unknown = [np.mean([video not in known for video in clicks]) for known in (old, new)]
    assert f"unknown clicks: {unknown[0]:.1%} before, {unknown[1]:.1%} now\n" in passed.stdout


def test_evaluate_needs_a_click(nights):
    (nights / "nobody.txt").write_text("u\t\t\tNULL\t\n")
    result = run("python infer.py --infer_set_path=nobody.txt --model_path=output/model/model_pass_00000.tar.gz "
                 "--feature_dict=output/feature_dict.pkl --evaluate", nights)
    assert result.returncode == 2 and "no line with a click" in result.stderr


def test_another_optimiser_starts_without_the_state(nights):
    """Parameters are carried over; what Adam has noted is of no use to Adagrad."""
    result = tomorrow(nights, "adagrad", "--init_model_path=output/model/checkpoint.tar.gz --optimizer=adagrad")
    assert result.returncode == 0 and "went on with" in result.stderr, result.stderr


# ---------------------------------------------------------------- a catalogue
@pytest.mark.parametrize("preset", ["classic", "best"])
def test_videos_that_nobody_has_clicked_on(small, tmp_path_factory, preset):
    """They are in the dictionary with frequency 0, get the vector of their like, and are recommended where it fits."""
    folder = small / f"catalogue-{preset}"
    folder.mkdir()
    infos = {f"X{video}:C{video % 5}:" + "_".join(f"T{(video + i) % 11}" for i in range(1 + video % 3))
             for video in range(10)}
    (folder / "catalogue.txt").write_text("\n".join(sorted(infos)) + "\n\nALONE:NULL:\nV1:C1:T1_T2\n", encoding="utf-8")
    flags = f"--catalogue_path={folder}/catalogue.txt"
    run_ok(f"python data_processor.py --train_set_path=log.txt --output_dir={folder} --feat_appear_limit=2 {flags}",
           small)
    feature_dict = load_feature_dict(folder / "feature_dict.pkl")
    freq = load_item_freq(folder / "item_freq.pkl", feature_dict)
    new = [*(f"X{video}" for video in range(10)), "ALONE"]
    assert [freq[feature_dict[ITEMS][video]] for video in new] == [0.0] * 11
    command = train_command(folder / "model", f"--preset={preset} --num_passes=3 {flags}")
    run_ok(command.replace("=output/", f"={folder}/"), small)
    _, arrays = read_archive(str(folder / "model" / "model_pass_00002.tar.gz"), "")
    w, b = arrays["nce_w"], arrays["nce_b"][0]
    ids = [feature_dict[ITEMS][video] for video in new]
    like = [feature_dict[ITEMS][f"V{video}"] for video in range(10)]  # each has just the tags and the category of one
    cosine = (w[ids[:10]] * w[like]).sum(1) / np.linalg.norm(w[ids[:10]], axis=1) / np.linalg.norm(w[like], axis=1)
    assert cosine.mean() > 0.3 and b[ids[:10]].min() > b[1:].min() - 1
    assert b[ids[10]] < np.median(b)  # ALONE is like nothing
    lists = run_ok(f"python infer.py --infer_set_path=log.txt --model_path={folder}/model/model_pass_00002.tar.gz "
                   f"--feature_dict={folder}/feature_dict.pkl --top_n=20", small)
    shown = [video for _, pairs in lists_of(lists) for video, _ in pairs]
    assert any(video.startswith("X") for video in shown)
    shutil.rmtree(folder)


@pytest.mark.parametrize("line", ["v1:a", "v1:a:b;v2:a:b", "v1\t:a:b", ":a:b", b"\xff:a:b"])
def test_a_catalogue_with_another_line(small, tmp_path, line):
    content = b"v0:a:b\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n"
    (tmp_path / "catalogue.txt").write_bytes(content)
    result = run(f"python data_processor.py --train_set_path=log.txt --output_dir={tmp_path}/out "
                 f"--catalogue_path={tmp_path}/catalogue.txt", small)
    assert result.returncode == 2 and "catalogue.txt:2: " in result.stderr and result.stderr.count("\n") == 1


# ---------------------------------------------------------------- the script of the README
def test_the_script_for_every_night(small, tmp_path):
    """It trains on the days since the model that serves, behind those before, publishes once, and not what is worse."""
    [script] = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for path in small.glob("*.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / "clicks").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "date").write_text("#!/bin/sh\necho 2026-01-04\n")
    (tmp_path / "nightly.sh").write_text(script)
    for name in ("bin/date", "nightly.sh"):
        (tmp_path / name).chmod(0o755)
    whole = "".join((small / "log.txt").read_text(encoding="utf-8").splitlines(keepends=True)[:100])
    (tmp_path / "test.txt").write_text(whole, encoding="utf-8")
    infos = {info for line in whole.splitlines() for info in line.split("\t")[3].split(";")}
    (tmp_path / "catalogue.txt").write_text("\n".join(sorted(infos)) + "\nFRESH:C1:T1\n", encoding="utf-8")
    new_clicks, lines = 0, [line.split("\t") for line in whole.splitlines()]
    for day in range(1, 6):  # a fifth of each history; the last day is not over
        parts = [np.array_split(line[3].split(";"), 5)[day - 1] for line in lines]
        text = "".join("\t".join([*line[:3], ";".join(part) or "NULL", line[4]]) + "\n"
                       for line, part in zip(lines, parts))
        (tmp_path / "clicks" / f"2026-01-0{day}.gz").write_bytes(gzip.compress(text.encode()))
        new_clicks += sum(map(len, parts)) if day in (3, 4) else 0
    first, days = "run/2026-01-02", "--train_set_path clicks/2026-01-01.gz clicks/2026-01-02.gz"
    run_ok(f"python data_processor.py {days} --output_dir={first} --catalogue_path=catalogue.txt", tmp_path)
    run_ok(f"python train.py {days} --test_set_path=test.txt --feature_dict={first}/feature_dict.pkl --preset=best "
           f"--item_freq={first}/item_freq.pkl --model_output_dir={first} --num_passes=1 "
           "--catalogue_path=catalogue.txt", tmp_path)
    run_ok(f"cp {first}/model_pass_00000.tar.gz {first}/model_best.tar.gz; ln -s {first} current", tmp_path)
    path = os.pathsep.join([str(tmp_path / "bin"), os.path.dirname(sys.executable), os.environ["PATH"]])
    (tmp_path / "clicks" / "2026-01-04.gz").rename(tmp_path / "late.gz")
    late = run("./nightly.sh", tmp_path, env={"PATH": path})
    assert (late.returncode, late.stderr) == (1, "clicks/2026-01-04.gz is missing\n")
    (tmp_path / "late.gz").rename(tmp_path / "clicks" / "2026-01-04.gz")
    worse = run("sed -i s/0.98/9/ nightly.sh; ./nightly.sh", tmp_path, env={"PATH": path})
    assert worse.returncode == 3 and os.readlink(tmp_path / "current") == first, worse.stderr
    night = run("sed -i s/=9/=0.98/ nightly.sh; ./nightly.sh", tmp_path, env={"PATH": path})
    assert night.returncode == 0 and os.readlink(tmp_path / "current") == "run/2026-01-04", night.stderr
    rows = [json.loads(line) for line in (tmp_path / "current" / "metrics.jsonl").read_text().splitlines()]
    assert [row["instances"] for row in rows] == [new_clicks] * 3
    assert "FRESH" in load_feature_dict(tmp_path / "current" / "feature_dict.pkl")[ITEMS]
    assert run("./nightly.sh", tmp_path, env={"PATH": path}).stderr == ""  # done already
