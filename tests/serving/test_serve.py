"""docs/serve.py: it gives the lists of infer.py, and answers malformed requests."""

import importlib.util
import shutil
import sys

from candgen.data.percent_encoding import encode_list_id
from conftest import ROOT, lists_of, run, run_ok, train_command

import numpy as np
import pytest

pytest.importorskip("faiss")
TOWER = """
import sys, numpy as np
import serve
assert not {"infer", "network_conf", "reader", "candgen"} & set(sys.modules)
tower = serve.UserTower("serving")
lines = [line.rstrip("\\n").split("\\t") for line in open("users.txt", encoding="utf-8")]
np.save("together.npy", tower(lines))
np.save("alone.npy", np.concatenate([tower([line]) for line in lines[:20]]))
"""


@pytest.fixture(scope="module", params=["classic", "best"])
def served(small, tmp_path_factory, request):
    """Folder with an exported tower, and a log with unknown users and videos; lists of infer.py."""
    folder = tmp_path_factory.mktemp("served")
    run_ok(
        train_command(
            "output/" + request.param, f"--preset={request.param} --num_passes=1 --window_size=12"
        ),
        small,
    )
    model = (
        f"--model_path={small}/output/{request.param}/model_pass_00000.tar.gz "
        f"--feature_dict={small}/output/feature_dict.pkl"
    )
    lines = (small / "log.txt").read_text().splitlines()[:60]
    lines += [
        "unknown\t\tnowhere\tNULL\t",
        "U1\tP1\tNULL\tV1:C1:T1_T2;new:x:y;V2::;V3:C3:T1_T2_T3_T4_T5\tM1",
    ]
    (folder / "users.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = run(
        f"python {small}/user_vector.py --export_dir=serving {model}",
        folder,
        env={"HOME": "/dev/null"},
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    run_ok(f"python {small}/item_vector.py --output_path=serving/videos.npz {model}", folder)
    run_ok(
        f"python {small}/user_vector.py --infer_set_path=users.txt --output_path=users.npz {model}",
        folder,
    )
    return folder, run_ok(f"python {small}/infer.py --infer_set_path=users.txt {model}", folder)


def test_vectors_are_those_of_user_vector(served):
    """In a process without modules of this project; one by one and all together."""
    folder, _ = served
    (folder / "tower.py").write_text(TOWER)
    run_ok(f"{sys.executable} tower.py", folder, env={"PYTHONPATH": str(ROOT / "docs")})
    wanted = np.load(folder / "users.npz")["vectors"]
    np.testing.assert_allclose(np.load(folder / "together.npy"), wanted, atol=1e-6)
    np.testing.assert_allclose(np.load(folder / "alone.npy"), wanted[:20], atol=1e-6)


def test_lists_are_those_of_infer(served):
    folder, printed = served
    out = run_ok(f"{sys.executable} {ROOT}/docs/serve.py serving < users.txt", folder)
    found = [
        (user, videos.split(","))
        for user, videos in (line.split("\t") for line in out.splitlines())
    ]
    wanted = [(user, [video for video, _ in pairs]) for user, pairs in lists_of(printed)]
    assert [user for user, _ in found] == [user for user, _ in wanted]
    same = np.mean(
        [
            one == other
            for (_, mine), (_, theirs) in zip(found, wanted)
            for one, other in zip(mine, theirs)
        ]
    )
    assert same > 0.99  # the index computes in single precision


def test_video_ids_are_those_of_lists():
    """The program is one file, and so repeats how lists encode them."""
    spec = importlib.util.spec_from_file_location("serve", ROOT / "docs" / "serve.py")
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    names = ["a", "a,b", "50% off,", "a%3Bb", "%", "%2C", "%%41", "视频"]
    assert serve.list_ids(names).tolist() == [encode_list_id(name) for name in names]


def test_videos_of_another_model(served):
    """The fingerprints of tower and videos differ."""
    folder, _ = served
    path = folder / "serving" / "videos.npz.json"
    metadata = path.read_text()
    path.write_text(metadata.replace('"model": "', '"model": "x'))
    result = run(f"{sys.executable} {ROOT}/docs/serve.py serving < users.txt", folder)
    path.write_text(metadata)
    assert (
        result.returncode == 2
        and "user tower and videos.npz are of different models" in result.stderr
    )


def test_malformed_requests(served):
    """Each gets an empty list, the error goes to stderr, and the next request is served."""
    folder, _ = served
    good = b"U1\tP1\tNULL\tV1:C1:T1_T2\tM1\n"
    bad = {
        b"": "1 columns instead of 5",
        b"U2\tP1": "2 columns instead of 5",
        b"U3\t\t\tNULL\t\t": "6 columns",
        b"U4\t\t\t\t": "empty history",
        b"U5\t\t\tV1:C1:T1;\t": "a video-info that is not video-id:category:tags",
        b"\xffU6\t\t\tNULL\t": "invalid start byte",
    }
    (folder / "requests").write_bytes(good + b"".join(line + b"\r\n" + good for line in bad))
    result = run(f"{sys.executable} {ROOT}/docs/serve.py serving < requests", folder)
    lines = result.stdout.splitlines()
    assert result.returncode == 0 and len(lines) == 2 * len(bad) + 1
    assert {*lines[::2]} == {lines[0]} and lines[0].startswith("U1\tV")
    assert lines[1::2] == ["\t", "U2\t", "U3\t", "U4\t", "U5\t", "\ufffdU6\t"]
    for line, what in zip(result.stderr.splitlines(), bad.values()):
        assert line.startswith("serve.py: b'") and what in line
    assert result.stderr.count("\n") == len(bad)


@pytest.mark.parametrize(
    "missing, what",
    [
        ("inputs.json", "No such file or directory"),
        ("user_tower.pdiparams", "No such file or directory"),
        ("videos.npz", "No such file or directory"),
        ("videos.npz.json", "No such file or directory"),
        ("faiss", "hidden; pip install paddlepaddle numpy faiss-cpu"),
    ],
)
def test_a_service_that_cannot_start(served, tmp_path, missing, what):
    """One line that says what is missing, exit code 2."""
    folder, _ = served
    shutil.copytree(folder / "serving", tmp_path / "serving")
    if missing == "faiss":
        (tmp_path / "faiss.py").write_text("raise ImportError('hidden')")
    else:
        (tmp_path / "serving" / missing).unlink()
    environment = {"PYTHONPATH": str(tmp_path)}
    result = run(
        f"{sys.executable} {ROOT}/docs/serve.py serving < /dev/null", tmp_path, env=environment
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert what in result.stderr and (missing in result.stderr or missing == "faiss")


def test_help_needs_neither_faiss_nor_paddle(tmp_path):
    for name in ("faiss", "paddle"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('hidden')")
    out = run_ok(
        f"{sys.executable} {ROOT}/docs/serve.py --help", tmp_path, env={"PYTHONPATH": str(tmp_path)}
    )
    assert "python docs/serve.py serving < data/infer.txt" in out


def test_answers_on_a_full_disk(served):
    """With PYTHONUNBUFFERED=1 too; a reader that leaves early is no error."""
    folder, _ = served
    for end, code, line in (
        ("> answers", 2, "serve.py: output: File too large\n"),
        ("| head -n 1 > answers", 0, ""),
    ):
        result = run(
            f"(ulimit -f 1; {sys.executable} {ROOT}/docs/serve.py serving < users.txt {end})",
            folder,
            env={"PYTHONUNBUFFERED": "1"},
        )
        assert (result.returncode, result.stderr) == (code, line)
