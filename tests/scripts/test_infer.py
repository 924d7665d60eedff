"""infer.py: filters and the weight of popularity."""

import json

from candgen.archives import read_archive
from candgen.data.dictionary import ITEMS, load_feature_dict
from conftest import lists_of, run, run_ok

import numpy as np
import pytest

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def test_allow_and_deny(small):
    """Lists are those without a filter, less the excluded videos; probabilities are normalized."""
    (small / "allow.txt").write_text(
        "".join(f"V{video}\n" for video in range(0, 40, 2)) + "UNKNOWN\n"
    )
    (small / "deny.txt").write_text("V0\n\nV6\n")
    for script, source in (("infer.py", "--infer_set_path=log.txt"), ("infer_user.py", "")):
        full = lists_of(run_ok(f"python {script} {source} {MODEL} --top_n=99", small))
        result = run(
            f"python {script} {source} {MODEL} --top_n=9 --allow_items allow.txt "
            "--deny_items deny.txt",
            small,
        )
        assert "allow.txt: 20 of its 21 videos are known\n" in result.stderr
        expected = {f"V{video}" for video in range(0, 40, 2)} - {"V0", "V6"}
        for (user, pairs), (other, found) in zip(full, lists_of(result.stdout)):
            pairs = [(video, share) for video, share in pairs if video in expected]
            assert (
                user == other and [video for video, _ in found] == [video for video, _ in pairs][:9]
            )
            total = sum(share for _, share in pairs)
            shares = [share / total for _, share in pairs][:9]
            np.testing.assert_allclose([share for _, share in found], shares, rtol=1e-3)
    result = run(
        f"python infer_user.py {MODEL} --allow_items deny.txt --deny_items deny.txt", small
    )
    assert result.returncode == 2 and "leaves no video" in result.stderr.splitlines()[-1]
    (small / "unknown.txt").write_text("unknown\n")
    out = run_ok(
        f"python infer_user.py {MODEL} --user_ids=unknown.txt --allow_items deny.txt", small
    )
    [(_, pairs)] = lists_of(out)
    assert sorted(video for video, _ in pairs) == ["V0", "V6"]


def test_popularity_scales_the_bias(small):
    """In lists and in exported vectors, whose order is the same; user vectors do not change."""
    _, arrays = read_archive(str(small / "output/model/model_pass_00001.tar.gz"), "")
    feature_dict = load_feature_dict(small / "output/feature_dict.pkl")
    names = list(feature_dict[ITEMS])
    run_ok(f"python user_vector.py --infer_set_path=log.txt {MODEL} --output_path=users.npz", small)
    users = np.load(small / "users.npz")["vectors"]
    orders = set()
    for factor in (0, 0.5, 1):
        out = run_ok(
            f"python infer.py --infer_set_path=log.txt {MODEL} --top_n=5 --popularity={factor}",
            small,
        )
        lists = [[video for video, _ in pairs] for _, pairs in lists_of(out)]
        run_ok(
            f"python item_vector.py {MODEL} --popularity={factor} --output_path=videos.npz", small
        )
        videos = np.load(small / "videos.npz")["vectors"]
        scores = (
            users[:, 1:-1] / users[:, :1] @ arrays["nce_w"][1:].T + factor * arrays["nce_b"][0, 1:]
        )
        for scored in (scores, users @ videos.T):
            best = np.argsort(-scored, axis=1)[:, :5] + 1
            assert [[names[id_] for id_ in row] for row in best] == lists
        assert json.loads((small / "videos.npz.json").read_text()) == json.loads(
            (small / "users.npz.json").read_text()
        )
        orders.add(str(lists))
    assert len(orders) == 3


@pytest.mark.parametrize(
    "command, what",
    [
        (
            "infer.py --infer_set_path=log.txt --evaluate --top_n=3",
            "--top_n does not go with --evaluate",
        ),
        (
            "infer.py --infer_set_path=log.txt --popularity=1e40",
            "--popularity: 1e40 is out of range",
        ),
        ("infer_user.py --part_users=5", "--part_users needs --output_dir"),
        ("infer_user.py --max_bad_lines=5", "--max_bad_lines needs --infer_set_path"),
        ("item_vector.py --similar=3 --popularity=0", "--popularity does not go with --similar"),
        ("item_vector.py --output_path=.tsv", ".tsv: unknown kind of file"),
        (
            "user_vector.py --export_dir=x --output_path=x.npz",
            "--output_path does not go with --export_dir",
        ),
        ("user_vector.py", "give one of --infer_set_path and --export_dir"),
        (
            "user_vector.py --infer_set_path=log.txt --export_dir=x",
            "give one of --infer_set_path and --export_dir",
        ),
        ("item_vector.py --output_path=x.npz --check=x.txt", "x.txt: unknown kind of file"),
    ],
)
def test_flags_without_effect_are_refused(small, command, what):
    result = run(f"python {command} {MODEL}", small)
    assert (result.returncode, result.stdout) == (2, "") and what in result.stderr
