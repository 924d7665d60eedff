"""TODO"""

import json

from candgen.data.dictionary import load_feature_dict
from conftest import (
    clicked,
    lists_of,
    run,
    run_ok,
)

import numpy as np
import pytest

SMALL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def vectors_of(out):
    return np.array([[float(number) for number in line.split(",")] for line in out.splitlines()])


def read_tsv(path):
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [row[0] for row in rows], np.array([[float(value) for value in row[1:]] for row in rows])


def videos_of(folder):
    """Videos in the order of the dictionary."""
    return list(load_feature_dict(folder / "output" / "feature_dict.pkl")["history_clicked_items"])[
        1:
    ]


def test_batch_size_and_threads_change_nothing(small):
    """The same lists and vectors, to 1e-6: there is less than that between two orders of a sum."""
    lists, vectors = ([], [])
    for flags in ("--batch_size=1 --threads=1", "--batch_size=200 --threads=3"):
        lists.append(
            lists_of(run_ok(f"python infer.py --infer_set_path=log.txt {SMALL} {flags}", small))
        )
        vectors.append(
            vectors_of(
                run_ok(f"python user_vector.py --infer_set_path=log.txt {SMALL} {flags}", small)
            )
        )
        assert [[video for video, _ in pairs] for _, pairs in lists[-1]] == [
            [video for video, _ in pairs] for _, pairs in lists[0]
        ]
        np.testing.assert_allclose(
            [[share for _, share in pairs] for _, pairs in lists[-1]],
            [[share for _, share in pairs] for _, pairs in lists[0]],
            rtol=1e-5,
        )
        np.testing.assert_allclose(vectors[-1], vectors[0], atol=1e-6)
    assert [user for user, _ in lists[0]] == [f"U{user}" for user in range(300)] and vectors[
        0
    ].shape == (300, 33)


def test_remove_seen(small):
    out = run_ok(
        f"python infer.py --infer_set_path=log.txt {SMALL} --top_n=40 --remove_seen", small
    )
    log = (small / "log.txt").read_text()
    for (user, pairs), line, seen in zip(lists_of(out), log.splitlines(), clicked(log)):
        assert user == line.split("\t")[0]
        assert {video for video, _ in pairs} == {f"V{video}" for video in range(40)} - set(seen)


def test_user_ids(small):
    (small / "ids.txt").write_text("U7\nstranger\nU3\n\nU7\n", encoding="utf-8")
    result = run(f"python infer_user.py {SMALL} --user_ids=ids.txt --top_n=5", small)
    lists = lists_of(result.stdout)
    assert [user for user, _ in lists] == ["U7", "stranger", "U3", "U7"]
    assert result.stderr == (
        "infer_user.py: stranger: not known to the model; served the most clicked videos\n"
        "infer_user.py: ids.txt: 1 of its users are not known to the model\n"
    )
    counts = {}
    for video in (
        video for history in clicked((small / "log.txt").read_text()) for video in history
    ):
        counts[video] = counts.get(video, 0) + 1
    best = sorted(counts, key=lambda video: (-counts[video], video))[:5]
    assert [video for video, _ in lists[1][1]] == best
    assert lists[1][1][0][1] == pytest.approx(counts[best[0]] / sum(counts.values()), rel=1e-5)
    everybody = dict(lists_of(run_ok(f"python infer_user.py {SMALL} --top_n=5", small)))
    assert everybody["U7"] == lists[0][1] == lists[3][1] and len(everybody) == 300


def test_vector_files(small):
    """Three formats, the same numbers, ids in the right places; users and videos tell that they belong together."""
    metadata = []
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
        assert (
            head == f"{len(ids)} {printed.shape[1]}" and [row.split(" ")[0] for row in rows] == ids
        )
        np.testing.assert_array_equal(
            [[float(v) for v in row.split(" ")[1:]] for row in rows], printed
        )
        metadata.append((small / "out.tsv.json").read_bytes())
    assert ids == videos_of(small)
    assert metadata[0] == metadata[1] and set(json.loads(metadata[0])) == {"feature_dict", "model"}


def test_logs_from_pipes(small):
    """Of more lines than are read between two looks at how far it is."""
    (small / "long.txt").write_text(5 * (small / "log.txt").read_text(), encoding="utf-8")
    plain = run_ok(f"python infer.py --infer_set_path=long.txt {SMALL}", small)
    for command in (
        f"cat long.txt | python infer.py --infer_set_path=- {SMALL}",
        f"python infer.py --infer_set_path=<(cat long.txt) {SMALL}",
        f"python infer.py --infer_set_path=<(gzip -c long.txt) {SMALL}",
    ):
        assert run_ok(command, small) == plain
