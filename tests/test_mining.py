"""What may be recommended, the weight of popularity, similar and hottest videos, mining that is stopped."""
import json
import re
import shutil
from argparse import Namespace
from collections import Counter

import infer
import item_vector
from conftest import clicked, lists_of, run, run_ok
from utils import ITEMS, InputError, load_feature_dict, read_archive

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


# ---------------------------------------------------------------- filters and popularity
@given(seed=st.integers(0, 99), videos=st.integers(2, 200), n=st.integers(1, 250), share=st.floats(0, 1))
def test_top_n_of_what_is_allowed(seed, videos, n, share):
    """The best of a softmax over the allowed videos alone."""
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=(videos, 5)).astype(np.float32), rng.normal(size=(1, videos)).astype(np.float32)
    users, allowed = rng.normal(size=(3, 5)).astype(np.float32), rng.random(videos) < share
    allowed[0] = False
    if not allowed.any():
        allowed[1] = True
    ids, scores, shares = infer.TopN(w, b, allowed)(users, n)
    kept = np.flatnonzero(allowed)
    plain = users.astype(float) @ w[kept].T.astype(float) + b[0, kept]
    softmax = np.exp(plain) / np.exp(plain).sum(1, keepdims=True)
    order = np.argsort(-plain, axis=1, kind="stable")[:, :n]
    np.testing.assert_array_equal(ids, kept[order])
    np.testing.assert_allclose(scores, np.take_along_axis(plain, order, 1))
    np.testing.assert_allclose(shares, np.take_along_axis(softmax, order, 1), rtol=1e-4)


def test_allow_and_deny(small):
    """Lists are those without a filter, less what is left out; shares grow alike; what is unknown is counted."""
    (small / "allow.txt").write_text("".join(f"V{video}\n" for video in range(0, 40, 2)) + "NOBODY\n")
    (small / "deny.txt").write_text("V0\n\nV6\n")
    for script, source in (("infer.py", "--infer_set_path=log.txt"), ("infer_user.py", "")):
        full = lists_of(run_ok(f"python {script} {source} {MODEL} --top_n=99", small))
        result = run(f"python {script} {source} {MODEL} --top_n=9 --allow_items allow.txt --deny_items deny.txt", small)
        assert "allow.txt: 20 of its 21 videos are known\n" in result.stderr
        expected = {f"V{video}" for video in range(0, 40, 2)} - {"V0", "V6"}
        for (user, pairs), (other, found) in zip(full, lists_of(result.stdout)):
            pairs = [(video, share) for video, share in pairs if video in expected]
            assert user == other and [video for video, _ in found] == [video for video, _ in pairs][:9]
            total = sum(share for _, share in pairs)
            shares = [share / total for _, share in pairs][:9]
            np.testing.assert_allclose([share for _, share in found], shares, rtol=1e-3)
    result = run(f"python infer_user.py {MODEL} --allow_items deny.txt --deny_items deny.txt", small)
    assert result.returncode == 2 and "leaves no video" in result.stderr.splitlines()[-1]
    (small / "strangers.txt").write_text("nobody\n")
    out = run_ok(f"python infer_user.py {MODEL} --user_ids=strangers.txt --allow_items deny.txt", small)
    [(_, pairs)] = lists_of(out)
    assert sorted(video for video, _ in pairs) == ["V0", "V6"]


UNKNOWN_IDS = "are not known to the model, such as"


@pytest.mark.parametrize("allow, deny, what", [
    (None, ['"V1"\n"V2"\n'], f"deny0: 2 of its 2 videos {UNKNOWN_IDS} '\"V1\"'; write ids as in the log, one a line"),
    (None, ["V1\n", "v2\n"], f"deny1: 1 of its 1 videos {UNKNOWN_IDS} 'v2'"),
    (["V1,x\n"], None, f"allow0: 1 of its 1 videos {UNKNOWN_IDS} 'V1,x'"),
    (["<unk>\n"], None, f"allow0: 1 of its 1 videos {UNKNOWN_IDS} '<unk>'"),
    ([""], None, "leaves no video to recommend"),
    (["V1\n"], ["V2\nV1\n"], "leaves no video to recommend"),
    (None, ["V1\n gone\nV2\n"], {"V0", "V3"}),
    (None, [""], {"V0", "V1", "V2", "V3"}),
    (["V1\nV3\n", "V2\n"], ["V3\n"], {"V1", "V2"}),
])
def test_files_of_videos(tmp_path, capsys, allow, deny, what):
    """None known is an error in a file of either kind, some unknown a warning; nothing to deny is neither."""
    paths = {}
    for name, texts in (("allow", allow), ("deny", deny)):
        for number, text in enumerate(texts or []):
            (tmp_path / f"{name}{number}").write_text(text)
        paths[f"{name}_items"] = texts and [str(tmp_path / f"{name}{number}") for number in range(len(texts))]
    names = ["<unk>", "V0", "V1", "V2", "V3"]
    dictionary = {ITEMS: {name: id_ for id_, name in enumerate(names)}}
    if isinstance(what, str):
        with pytest.raises(InputError, match=re.escape(what)):
            infer.allowed_videos(Namespace(**paths), dictionary)
        return
    allowed = infer.allowed_videos(Namespace(**paths), dictionary)
    assert {name for name, kept in zip(names, allowed) if kept} == what
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warned) == ("gone" in str(deny)) and all(f"1 of its 3 videos {UNKNOWN_IDS} ' gone'" in line
                                                        for line in warned)


def test_popularity_scales_the_bias(small):
    """In lists and in exported vectors alike, which stay in one order; the users' vectors do not change."""
    _, arrays = read_archive(str(small / "output/model/model_pass_00001.tar.gz"), "")
    feature_dict = load_feature_dict(small / "output/feature_dict.pkl")
    names = list(feature_dict[ITEMS])
    run_ok(f"python user_vector.py --infer_set_path=log.txt {MODEL} --output_path=users.npz", small)
    users = np.load(small / "users.npz")["vectors"]
    orders = set()
    for factor in (0, 0.5, 1):
        out = run_ok(f"python infer.py --infer_set_path=log.txt {MODEL} --top_n=5 --popularity={factor}", small)
        lists = [[video for video, _ in pairs] for _, pairs in lists_of(out)]
        run_ok(f"python item_vector.py {MODEL} --popularity={factor} --output_path=videos.npz", small)
        videos = np.load(small / "videos.npz")["vectors"]
        scores = users[:, 1:-1] / users[:, :1] @ arrays["nce_w"][1:].T + factor * arrays["nce_b"][0, 1:]
        for scored in (scores, users @ videos.T):
            best = np.argsort(-scored, axis=1)[:, :5] + 1
            assert [[names[id_] for id_ in row] for row in best] == lists
        assert json.loads((small / "videos.npz.json").read_text()) == json.loads((small / "users.npz.json").read_text())
        orders.add(str(lists))
    assert len(orders) == 3


# ---------------------------------------------------------------- offline mining
def test_similar_videos(small):
    """By the cosine of the weights, the video itself left out, against a plain computation."""
    _, arrays = read_archive(str(small / "output/model/model_pass_00001.tar.gz"), "")
    names = list(load_feature_dict(small / "output/feature_dict.pkl")[ITEMS])
    unit = arrays["nce_w"][1:].astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    lists = lists_of(run_ok(f"python item_vector.py {MODEL} --similar=7", small))
    assert [video for video, _ in lists] == names[1:]
    for row, (_, pairs) in zip(cosines, lists):
        best = np.argsort(-row)[:7]
        assert [video for video, _ in pairs] == [names[1 + id_] for id_ in best]
        np.testing.assert_allclose([cosine for _, cosine in pairs], row[best], rtol=1e-4, atol=1e-6)
    assert run(f"python item_vector.py {MODEL} --similar=7 --output_path=x.npz", small).returncode == 2


def test_similar_videos_that_may_be_recommended():
    """Each video has a line, what is left out stands in none."""
    weights = np.float32([[9, 9], [0, 0], [1, 0], [2, 0], [1, 1]])
    names, allowed = ["<unk>", "a", "b", "c", "d"], np.array([False, False, True, False, True])
    text = "".join(item_vector.similar_lists(weights, 3, names, allowed))
    assert lists_of(text) == [("a", [("b", 0), ("d", 0)]), ("b", [("d", pytest.approx(0.5 ** 0.5, abs=1e-6))]),
                              ("c", [("b", 1), ("d", pytest.approx(0.5 ** 0.5, abs=1e-6))]),
                              ("d", [("b", pytest.approx(0.5 ** 0.5, abs=1e-6))])]


def test_similar_to_nothing():
    """Weights of 0 have no direction: they are like nothing, and nothing fails."""
    text = "".join(item_vector.similar_lists(np.float32([[9, 9], [0, 0], [1, 0], [2, 0]]), 2, ["<unk>", "a", "b", "c"]))
    assert lists_of(text)[1:] == [("b", [("c", 1.0), ("a", 0.0)]), ("c", [("b", 1.0), ("a", 0.0)])]


@pytest.mark.parametrize("by", [None, "province", "category"])
def test_hottest_videos(small, by):
    log = (small / "log.txt").read_text()
    counts = {}
    for line, videos in zip(log.splitlines(), clicked(log)):
        for video in videos:
            value = {None: "all", "province": line.split("\t")[1], "category": f"C{int(video[1:]) % 5}"}[by]
            counts.setdefault(value, Counter())[video] += 1
    run_ok(f"python data_processor.py --train_set_path=log.txt --output_dir=hottest --hottest=3 "
           f"{f'--hottest_by={by}' if by else ''}", small)
    found = lists_of((small / "hottest" / "hottest.tsv").read_text())
    assert found == [(value, [(video, float(count)) for video, count in
                              sorted(counts[value].items(), key=lambda item: (-item[1], item[0]))[:3]])
                     for value in sorted(counts)]


def test_hottest_of_merged_counts(small):
    """What is counted already is enough, but for columns of the profile."""
    run_ok("python data_processor.py --train_set_path=log.txt --output_dir=counts --counts_only", small)
    run_ok("python data_processor.py --train_set_path=log.txt --output_dir=whole --hottest=3 --hottest_by=category",
           small)
    command = "python data_processor.py --merge_counts counts/counts.pkl --output_dir=merged --hottest=3 --hottest_by="
    run_ok(command + "category", small)
    assert (small / "merged" / "hottest.tsv").read_text() == (small / "whole" / "hottest.tsv").read_text() != ""
    for again in (command + "city", "python data_processor.py --train_set_path <(cat log.txt) --output_dir=merged "
                  "--hottest=3 --hottest_by=city"):
        refused = run(again, small)
        assert refused.returncode == 2 and "reads the log again" in refused.stderr
    refused = run("python data_processor.py --train_set_path=log.txt --output_dir=no --counts_only --hottest=3", small)
    assert refused.returncode == 2 and "--hottest goes with the run that merges the counts" in refused.stderr


@pytest.mark.parametrize("source", ["", "--infer_set_path=log.txt --remove_seen"])
def test_mining_goes_on_after_the_parts_that_are_there(small, source):
    """Together the parts are what is printed; a part that is there is not made again; another model is refused."""
    command = (f"python infer_user.py {MODEL} {source} --batch_size=128 --part_users=256 --deny_items=no "
               "--output_dir=parts")
    (small / "no").write_text("V3\n")
    shutil.rmtree(small / "parts", ignore_errors=True)
    assert run_ok(command, small) == ""
    parts = sorted((small / "parts").glob("part-*"))
    assert [path.name for path in parts] == ["part-00000", "part-00001"]
    printed = run_ok(f"python infer_user.py {MODEL} {source} --deny_items=no", small)
    assert "".join(path.read_text() for path in parts) == printed
    parts[1].unlink()
    parts[0].write_text("as it was\n")
    run_ok(command, small)
    assert parts[0].read_text() == "as it was\n" and printed.endswith(parts[1].read_text()) and parts[1].stat().st_size
    for other in (command.replace("00001", "00000"), f"printf 'V4\\nV5\\n' > no; {command}"):
        refused = run(other, small)
        assert refused.returncode == 2 and "has parts of another model, of other settings or of" in refused.stderr
    assert not list((small / "parts").glob("*.tmp"))


def test_parts_that_are_somebody_elses(small):
    """What no run.json speaks of is no part; what moved or is done in other batches goes on; a pipe cannot."""
    command = f"python infer_user.py {MODEL} --part_users=256 --output_dir=theirs --deny_items="
    shutil.rmtree(small / "theirs", ignore_errors=True)
    (small / "theirs").mkdir()
    (small / "theirs" / "part-00000").write_text("theirs\n")
    (small / "no").write_text("V3\n")
    gone = run(f"{command}gone", small)
    assert gone.returncode == 2 and "gone: No such file" in gone.stderr
    refused = run(f"{command}no", small)
    assert refused.returncode == 2 and "theirs: has parts of another model" in refused.stderr
    assert (small / "theirs" / "part-00000").read_text() == "theirs\n"
    (small / "theirs" / "part-00000").unlink()
    run_ok(f"{command}no --batch_size=128", small)
    (small / "theirs" / "part-00001").unlink()
    (small / "no").rename(small / "moved")
    result = run(f"{command}moved --batch_size=256", small)
    assert result.returncode == 0 and "1 parts are there already" in result.stderr
    for pipe in ("-", "<(cat moved)"):
        refused = run(f"{command[:-1]} {pipe} < moved", small)
        assert refused.returncode == 2 and "pipes cannot: give files" in refused.stderr


@pytest.mark.parametrize("command, what", [
    ("infer.py --infer_set_path=log.txt --evaluate --top_n=3", "--top_n does not go with --evaluate"),
    ("infer.py --infer_set_path=log.txt --popularity=1e40", "--popularity: 1e40 is out of range"),
    ("infer_user.py --part_users=5", "--part_users needs --output_dir"),
    ("infer_user.py --max_bad_lines=5", "--max_bad_lines needs --infer_set_path"),
    ("item_vector.py --similar=3 --popularity=0", "--popularity does not go with --similar"),
    ("item_vector.py --output_path=.tsv", ".tsv: unknown kind of file"),
    ("user_vector.py --export_dir=x --output_path=x.npz", "--output_path does not go with --export_dir")])
def test_what_would_do_nothing_is_refused(small, command, what):
    result = run(f"python {command} {MODEL}", small)
    assert (result.returncode, result.stdout) == (2, "") and what in result.stderr


def test_parts_have_no_holes(small):
    """Of fewer users than a batch has, too."""
    shutil.rmtree(small / "small-parts", ignore_errors=True)
    run_ok(f"python infer_user.py {MODEL} --part_users=100 --output_dir=small-parts", small)
    parts = sorted(path for path in (small / "small-parts").glob("part-*"))
    assert [path.name for path in parts] == [f"part-{number:05d}" for number in range(len(parts))] and len(parts) == 3


def test_history_counts_in_mining(small):
    """With a log the lists are those of infer.py; without one there is nothing to remove."""
    source = "--infer_set_path=log.txt --remove_seen --top_n=4"
    assert (run_ok(f"python infer_user.py {MODEL} {source}", small)
            == run_ok(f"python infer.py {MODEL} {source}", small) != "")
    result = run(f"python infer_user.py {MODEL} --remove_seen", small)
    assert result.returncode == 2 and "--remove_seen needs --infer_set_path" in result.stderr
