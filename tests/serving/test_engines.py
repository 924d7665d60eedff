"""Exported files in nearest-neighbor engines give the lists of infer.py."""

import network_conf
from candgen.data.dictionary import dictionary_fingerprint
from candgen.model.initialization import initialize
from candgen.model.model_file import save_model
from candgen.serving.vector_files import read_vectors
from conftest import ROOT, checkout, feature_dict_of, lists_of, run, run_ok

import numpy as np
import paddle
import pytest

VIDEOS = 3000
USERS = 400
TOP = 10
MODEL = "--model_path=model.tar.gz --feature_dict=feature_dict.pkl"
ITEM_VECTOR = f"python {ROOT}/item_vector.py {MODEL}"
AGREEMENT = (
    f"{USERS} users: 100.00% of the model's top 30 found by cosine, 100.00% at their places\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose videos differ in norm and frequency, a log, and the files of both exports."""
    import pickle

    folder, rng = tmp_path_factory.mktemp("engines"), np.random.default_rng(0)
    names = [f"V{video}" for video in range(VIDEOS)]
    feature_dict = feature_dict_of(history_clicked_items=names)
    (folder / "feature_dict.pkl").write_bytes(pickle.dumps(feature_dict))
    freq = np.concatenate([[0], 1 / np.arange(1, VIDEOS + 1) ** 0.8])
    sizes = {name: len(values) for name, values in feature_dict.items()}
    network = network_conf.DNNmodel(
        network_conf.ModelConfig(
            sizes, network_conf.DNNmodel.embedding_dims, dictionary_fingerprint(feature_dict)
        )
    )
    paddle.seed(0)
    initialize(network, (freq / freq.sum()).tolist())
    lengths = rng.uniform(0.1, 0.6, (VIDEOS + 1, 1))
    network.nce_w.weight.set_value((rng.normal(size=(VIDEOS + 1, 31)) * lengths).astype(np.float32))
    save_model(str(folder / "model.tar.gz"), network, freq / freq.sum())
    histories = [
        ";".join(f"V{video}::" for video in rng.integers(0, VIDEOS, 20)) for _ in range(USERS)
    ]
    (folder / "log.txt").write_text(
        "".join(f"U{user}\t\t\t{each}\t\n" for user, each in enumerate(histories))
    )
    return exported(folder)


def exported(folder, log="log.txt", suffixes=("npz", "vec", "tsv")):
    for suffix in suffixes:
        for script, flags in (
            ("user_vector", f"--infer_set_path={log} --output_path=users.{suffix}"),
            ("item_vector", f"--output_path=videos.{suffix}"),
        ):
            run_ok(f"python {ROOT}/{script}.py {MODEL} {flags}", folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Files of a model trained on the sample, and the lists of infer.py."""
    folder = checkout(tmp_path_factory.mktemp("trained") / "clone")
    run_ok("tar -zxf data/data.tar -C data", folder)
    run_ok("python data_processor.py --train_set_path=data/train.txt --output_dir=.", folder)
    run_ok(
        "python train.py --train_set_path=data/train.txt --test_set_path=data/infer.txt "
        "--model_output_dir=. --feature_dict=feature_dict.pkl --item_freq=item_freq.pkl "
        "--preset=best --num_passes=1 --no-rules",
        folder,
    )
    (folder / "model_pass_00000.tar.gz").rename(folder / "model.tar.gz")
    out = run_ok(f"python infer.py --infer_set_path=data/infer.txt {MODEL} --top_n={TOP}", folder)
    return exported(folder, "data/infer.txt", ["npz"]), [
        [video for video, _ in pairs] for _, pairs in lists_of(out)
    ]


@pytest.fixture(scope="module")
def wanted(folder):
    """Lists of infer.py: ids of each user."""
    out = run_ok(f"python {ROOT}/infer.py --infer_set_path=log.txt {MODEL} --top_n={TOP}", folder)
    return [[video for video, _ in pairs] for _, pairs in lists_of(out)]


def cosine_vectors(folder, kind):
    """(ids, float32 vectors of norm 1) of a .npz, for engines with inner products."""
    found = np.load(folder / f"{kind}.npz")
    return found["ids"], (
        found["vectors"] / np.linalg.norm(found["vectors"], axis=1, keepdims=True)
    ).astype(np.float32)


def share_found(found, wanted):
    return np.mean([len({*one} & {*other}) / TOP for one, other in zip(found, wanted)])


def swaps(found, wanted):
    """Number of lists that differ, by rounding to single precision."""
    return sum(list(one) != list(other) for one, other in zip(found, wanted))


def test_double_precision_is_exact(folder, wanted):
    users, videos = (np.load(folder / f"{kind}.npz") for kind in ("users", "videos"))
    cosines = (
        users["vectors"]
        @ (videos["vectors"] / np.linalg.norm(videos["vectors"], axis=1, keepdims=True)).T
    )
    assert videos["ids"][np.argsort(-cosines, axis=1)[:, :TOP]].tolist() == wanted


def test_faiss(folder, wanted):
    """Exact, unlike plain weights, without SIMPLE-LSH, in an engine for cosines."""
    faiss = pytest.importorskip("faiss")
    (_, users), (ids, videos) = (cosine_vectors(folder, kind) for kind in ("users", "videos"))
    exact = faiss.IndexFlatIP(videos.shape[1])
    exact.add(videos)
    found = ids[exact.search(users, TOP)[1]]
    assert swaps(found, wanted) <= 1 and share_found(found, wanted) > 0.9999
    plain = videos[:, 1:-1] / np.linalg.norm(videos[:, 1:-1], axis=1, keepdims=True)
    of_users = users[:, 1:-1] / np.linalg.norm(users[:, 1:-1], axis=1, keepdims=True)
    unconverted = faiss.IndexFlatIP(plain.shape[1])
    unconverted.add(np.ascontiguousarray(plain))
    assert (
        share_found(ids[unconverted.search(np.ascontiguousarray(of_users), TOP)[1]], wanted) < 0.5
    )


def test_hnsw_of_faiss(trained):
    """At the setting of docs/serving.md."""
    faiss, (folder, wanted) = pytest.importorskip("faiss"), trained
    (_, users), (ids, videos) = (cosine_vectors(folder, kind) for kind in ("users", "videos"))
    index = faiss.IndexHNSWFlat(videos.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, 200
    index.add(videos)
    assert share_found(ids[index.search(users, TOP)[1]], wanted) >= 0.98


def test_hnswlib(trained):
    """At the setting of docs/serving.md."""
    hnswlib, (folder, wanted) = pytest.importorskip("hnswlib"), trained
    users, videos = (np.load(folder / f"{kind}.npz") for kind in ("users", "videos"))
    index = hnswlib.Index("cosine", videos["vectors"].shape[1])
    index.init_index(len(videos["ids"]), M=32, ef_construction=200, random_seed=0)
    index.add_items(videos["vectors"], num_threads=1)
    index.set_ef(200)
    assert share_found(videos["ids"][index.knn_query(users["vectors"], k=TOP)[0]], wanted) >= 0.98


def test_gensim(folder, wanted):
    models = pytest.importorskip("gensim.models")
    videos, users = (
        models.KeyedVectors.load_word2vec_format(folder / f"{kind}.vec")
        for kind in ("videos", "users")
    )
    found = [
        [video for video, _ in videos.similar_by_vector(users[f"U{user}"], topn=TOP)]
        for user in range(USERS)
    ]
    assert swaps(found, wanted) <= 1


@pytest.mark.parametrize("suffix", ["npz", "vec", "tsv"])
def test_check(folder, suffix):
    """--check compares the two files; a file of videos in place of users is refused."""
    command = f"{ITEM_VECTOR} --output_path=videos.{suffix}"
    out = run_ok(f"{command} --check=users.{suffix}", folder)
    assert out == AGREEMENT
    ids, vectors = read_vectors(str(folder / f"users.{suffix}"))
    assert ids == [f"U{user}" for user in range(USERS)] and vectors.shape == (USERS, 33)
    (folder / f"copy.{suffix}").write_bytes((folder / f"videos.{suffix}").read_bytes())
    refused = run(f"{command} --check=copy.{suffix}", folder)
    assert refused.returncode == 2 and "no vectors of users" in refused.stderr
    assert read_vectors(str(folder / f"videos.{suffix}"))[0] == [
        f"V{video}" for video in range(VIDEOS)
    ]


def test_videos_that_are_left_out(folder, wanted):
    """An index of the filtered file gives the filtered lists; the vectors do not change."""
    command = f"{ITEM_VECTOR} --output_path=few.npz"
    whole = np.load(folder / "videos.npz")
    weights = whole["vectors"][:, 1:-1]
    longest = np.argsort(-(weights**2).sum(1))[:20]  # one of them has the largest norm
    denied = {f"V{video}" for video in longest} | {ids[0] for ids in wanted}
    allowed = {f"V{video}" for video in range(0, VIDEOS, 2)}
    (folder / "denied").write_text("".join(f"{video}\n" for video in sorted(denied)))
    (folder / "allowed").write_text("".join(f"{video}\n" for video in sorted(allowed)))
    for flags, kept in (
        ("--deny_items=denied", lambda video: video not in denied),
        (
            "--allow_items=allowed --deny_items=denied",
            lambda video: video in allowed and video not in denied,
        ),
    ):
        out = run_ok(f"{command} {flags} --check=users.npz", folder)
        assert out == AGREEMENT
        few, rows = (
            np.load(folder / "few.npz"),
            [row for row, video in enumerate(whole["ids"]) if kept(video)],
        )
        assert few["ids"].tolist() == whole["ids"][rows].tolist()
        np.testing.assert_array_equal(few["vectors"], whole["vectors"][rows])
        videos = few["vectors"] / np.linalg.norm(few["vectors"], axis=1, keepdims=True)
        cosines = np.load(folder / "users.npz")["vectors"] @ videos.T
        found = few["ids"][np.argsort(-cosines, axis=1)[:, :TOP]].tolist()
    command = f"python {ROOT}/infer.py --infer_set_path=log.txt {MODEL} --top_n={TOP} {flags}"
    assert found == [
        [video for video, _ in pairs] for _, pairs in lists_of(run_ok(command, folder))
    ]


def test_printed_vectors_are_of_all_videos(folder):
    """They have no ids, so filters are refused."""
    refused = run(f"{ITEM_VECTOR} --deny_items=denied", folder)
    assert (
        refused.returncode == 2
        and "--allow_items and --deny_items need --output_path" in refused.stderr
    )


def test_check_of_users_of_another_model(folder):
    """The .json beside them has the fingerprint; a file is not compared with itself."""
    ids, vectors = read_vectors(str(folder / "users.npz"))
    np.savez(folder / "others.npz", ids=ids, vectors=vectors)
    (folder / "others.npz.json").write_text(
        (folder / "users.npz.json").read_text().replace('model": "', 'model": "x')
    )
    command = f"{ITEM_VECTOR} --output_path=videos.npz --check="
    refused = run(command + "others.npz", folder)
    assert refused.returncode == 2 and "others.npz: vectors of another model" in refused.stderr
    refused = run(command + "./videos.npz", folder)
    assert (
        refused.returncode == 2
        and "--check is the file that --output_path would write" in refused.stderr
    )


def test_a_damaged_file_of_vectors(folder):
    (folder / "users.bad.npz").write_bytes((folder / "users.npz").read_bytes()[:1000])
    (folder / "users.bad.tsv").write_text("a\t1\t2\nb\t1\n")
    for name in ("users.bad.npz", "users.bad.tsv", "missing.vec"):
        result = run(
            f"{ITEM_VECTOR} --output_path=videos.tsv --check={name}",
            folder,
        )
        assert result.returncode == 2 and result.stderr.count("\n") == 1 and name in result.stderr
