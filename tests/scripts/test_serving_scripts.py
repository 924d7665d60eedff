"""infer.py, infer_user.py, user_vector.py and item_vector.py on a small log."""

import json

from conftest import click_counts, clicked, lists_of, run, run_ok, small_log

import numpy as np
import pytest
from test_documented_commands import read_tsv, vectors_of, videos_of

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def test_batch_size_and_threads_change_nothing(small):
    """The same lists and vectors, to 1e-6: sums are taken in another order."""
    all_lists, all_vectors = [], []
    for flags in ("--batch_size=1 --threads=1", "--batch_size=200 --threads=3"):
        flags = f"--infer_set_path=log.txt {MODEL} {flags}"
        all_lists.append(lists_of(run_ok(f"python infer.py {flags}", small)))
        all_vectors.append(vectors_of(run_ok(f"python user_vector.py {flags}", small)))
    names = [[[video for video, _ in pairs] for _, pairs in lists] for lists in all_lists]
    shares = [[[share for _, share in pairs] for _, pairs in lists] for lists in all_lists]
    assert names[0] == names[1]
    np.testing.assert_allclose(shares[0], shares[1], rtol=1e-5)
    np.testing.assert_allclose(all_vectors[0], all_vectors[1], atol=1e-6)
    assert [user for user, _ in all_lists[0]] == [f"U{user}" for user in range(300)]
    assert all_vectors[0].shape == (300, 33)


def test_remove_seen(small):
    flags = f"--infer_set_path=log.txt {MODEL} --top_n=40 --remove_seen"
    lists = lists_of(run_ok(f"python infer.py {flags}", small))
    log = (small / "log.txt").read_text()
    assert [user for user, _ in lists] == [line.split("\t")[0] for line in log.splitlines()]
    videos = {f"V{video}" for video in range(40)}
    for (_, pairs), seen in zip(lists, clicked(log)):
        assert {video for video, _ in pairs} == videos - set(seen)


def test_an_empty_log(small):
    """Empty results of every kind."""
    (small / "empty.log").write_text("\n")
    flags = f"--infer_set_path=empty.log {MODEL}"
    result = run(f"python infer.py {flags}", small)
    assert (result.returncode, result.stdout) == (0, "")
    assert "warning: no line in empty.log" in result.stderr
    for suffix in ("tsv", "vec", "npz"):
        assert run_ok(f"python user_vector.py {flags} --output_path=none.{suffix}", small) == ""
    assert (small / "none.tsv").read_bytes() == b""
    assert (small / "none.vec").read_bytes() == b"0 33\n"
    arrays = np.load(small / "none.npz", allow_pickle=False)
    assert arrays["ids"].shape == (0,) and arrays["vectors"].shape == (0, 33)


def test_what_the_dictionary_knows_of_a_log(small):
    """One line: users, clicks, how many of each are known; a warning if hardly any are."""
    text = small_log(20, seed=1).replace("V", "video_").replace("U", "user_")
    (small / "others.txt").write_text(text)
    clicks = sum(map(len, clicked(text)))
    for script in ("infer.py", "user_vector.py"):
        result = run(f"python {script} --infer_set_path=others.txt {MODEL}", small)
        assert result.returncode == 0 and len(result.stdout.splitlines()) == 20
        summary, warning = result.stderr.splitlines()[:2]
        assert summary == (
            f"{script}: others.txt: 20 users, 0 of them known; "
            f"{clicks} clicks, 0 of them on known videos"
        )
        assert warning.startswith(f"{script}: warning: ") and "others.txt" in warning
    (small / "some.txt").write_text(
        "U0\t\t\tV1:a:b;new:a:b;V2:a:b\t\nU1\t\t\tNULL\t\nU2\t\t\tnew:a:b\t\nx\t\t\tV3:a:b\t\n"
    )
    result = run(f"python infer.py --infer_set_path=some.txt {MODEL}", small)
    assert result.stderr == (
        "infer.py: some.txt: 4 users, 3 of them known; 5 clicks, 3 of them on known videos\n"
    )


def test_user_ids(small):
    (small / "ids.txt").write_text("U7\nunknown\nU3\n\nU7\n", encoding="utf-8")
    result = run(f"python infer_user.py {MODEL} --user_ids=ids.txt --top_n=5", small)
    lists = lists_of(result.stdout)
    assert [user for user, _ in lists] == ["U7", "unknown", "U3", "U7"]
    one, summary = result.stderr.splitlines()
    assert one.startswith("infer_user.py: unknown: not known to the model; ")
    assert summary == "infer_user.py: ids.txt: 1 of its users are not known to the model"
    counts = click_counts((small / "log.txt").read_text())
    most_clicked = sorted(counts, key=lambda video: (-counts[video], video))[:5]
    assert [video for video, _ in lists[1][1]] == most_clicked
    share = counts[most_clicked[0]] / sum(counts.values())
    assert lists[1][1][0][1] == pytest.approx(share, rel=1e-5)
    all_users = dict(lists_of(run_ok(f"python infer_user.py {MODEL} --top_n=5", small)))
    assert all_users["U7"] == lists[0][1] == lists[3][1] and len(all_users) == 300


def test_vector_files(small):
    """Three formats, the same numbers and ids; users and videos share one .json of fingerprints."""
    fingerprints = []
    for script, source in (("user_vector.py", "--infer_set_path=log.txt"), ("item_vector.py", "")):
        printed = vectors_of(run_ok(f"python {script} {source} {MODEL}", small))
        for suffix in ("tsv", "npz", "vec"):
            run_ok(f"python {script} {source} {MODEL} --output_path=out.{suffix}", small)
        ids, values = read_tsv(small / "out.tsv")
        np.testing.assert_array_equal(values, printed)
        arrays = np.load(small / "out.npz", allow_pickle=False)
        assert arrays["ids"].tolist() == ids
        np.testing.assert_allclose(arrays["vectors"], printed, rtol=1e-11, atol=1e-12)
        head, *lines = (small / "out.vec").read_text().splitlines()
        rows = [line.split(" ") for line in lines]
        assert head == f"{len(ids)} {printed.shape[1]}" and [row[0] for row in rows] == ids
        np.testing.assert_array_equal(np.array([row[1:] for row in rows], float), printed)
        fingerprints.append((small / "out.tsv.json").read_bytes())
    assert ids == videos_of(small)
    assert fingerprints[0] == fingerprints[1]
    assert set(json.loads(fingerprints[0])) == {"feature_dict", "model"}


def test_logs_from_pipes(small):
    """Longer than one update of the progress bar, plain and gzipped."""
    (small / "long.txt").write_text(5 * (small / "log.txt").read_text(), encoding="utf-8")
    plain = run_ok(f"python infer.py --infer_set_path=long.txt {MODEL}", small)
    for command in (
        f"cat long.txt | python infer.py --infer_set_path=- {MODEL}",
        f"python infer.py --infer_set_path=<(cat long.txt) {MODEL}",
        f"python infer.py --infer_set_path=<(gzip -c long.txt) {MODEL}",
    ):
        assert run_ok(command, small) == plain
