"""Other networks: a subclass at the end of network_conf.py, named in train.py --network."""

import contextlib
import dataclasses
import gc
import re
import signal
import sys

import network_conf
from candgen.archives import read_archive, write_archive
from candgen.data.batches import sliding_windows
from candgen.data.dictionary import ITEMS
from candgen.model.model_file import load_model
from candgen.training.checkpoint import Checkpointer
from conftest import ROOT, checkout, lists_of, run, run_ok, serve_module, train_command
from reference import (
    BEST,
    forward,
    plain_instances,
    plain_user_vector,
    random_network,
    reference_log,
    whole_videos,
)

import numpy as np
import paddle
import pytest


def documented(beginning):
    """The block of Python of docs/network.md that begins with these words."""
    text = (ROOT / "docs" / "network.md").read_text(encoding="utf-8")
    [block] = re.findall(rf"^```python\n({beginning}\b.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return "\n" + block


GRU = documented("class GRUmodel")
AGE = documented("class AgeModel")
AGE_COLUMNS = documented("LOG_COLUMNS")
NO_PHONE = documented("class PhonelessModel")
DIRECT_GRU = documented("class DirectGRU")
SLOW = documented("class SlowModel")
MEAN = documented("class MeanModel")
DIRECT_AGE = documented("class DirectAge")
FLAGS = "--batch_size=256 --dropout=0.2 --checkpoint_minutes=0 --no-rules"


@contextlib.contextmanager
def networks(*sources):
    """Within this, network_conf.py ends with these classes."""
    names = set(vars(network_conf))
    for source in sources:
        exec(source, vars(network_conf))
    try:
        yield
    finally:
        for name in set(vars(network_conf)) - names:
            delattr(network_conf, name)
        gc.collect()  # classes are found as subclasses


def changed_checkout(folder, *sources):
    """A clone in which network_conf.py ends with these classes."""
    folder = checkout(folder)
    with open(folder / "network_conf.py", "a", encoding="utf-8") as file:
        file.write("".join("\n" + source for source in sources))
    return folder


def model_of(folder, output, number=1):
    """(model.json, {name: array}) of a pass."""
    return read_archive(str(folder / "output" / output / f"model_pass_{number:05d}.tar.gz"), "")


def served(folder, output, log="log.txt", flags=""):
    """{user: {video: probability}} as infer.py prints it."""
    out = run_ok(
        f"python infer.py --infer_set_path={log} --feature_dict=output/feature_dict.pkl "
        f"--model_path=output/{output}/model_pass_00001.tar.gz {flags}",
        folder,
    )
    return {user: dict(pairs) for user, pairs in lists_of(out)}


@pytest.fixture(scope="module")
def trained(small):
    """The folder of `small`, with models of a GRU, of a network without the phone, and of both."""
    with networks(GRU, NO_PHONE):
        for network in ("DNNmodel", "GRUmodel", "PhonelessModel"):
            run_ok(train_command(f"output/{network}", f"{FLAGS} --network={network}"), small)
        yield small


def test_a_gru(trained):
    """Its parameters are in the archive, named by attribute; lists differ from the LSTM's."""
    metadata, arrays = model_of(trained, "GRUmodel")
    _, plain = model_of(trained, "DNNmodel")
    assert metadata["network"] == "GRUmodel" and arrays.keys() == plain.keys()
    assert arrays["lstm_weight_ih"].shape == arrays["lstm_weight_hh"].shape == (192, 64)
    assert plain["lstm_weight_ih"].shape == (256, 64)
    gru, lstm = (
        served(trained, network, flags="--top_n=100") for network in ("GRUmodel", "DNNmodel")
    )
    assert len(gru) == 300 and gru.keys() == lstm.keys()
    assert all(sum(shares.values()) == pytest.approx(1, abs=1e-3) for shares in gru.values())
    differences = [
        abs(share - lstm[user][video])
        for user, shares in gru.items()
        for video, share in shares.items()
    ]
    assert max(differences) > 1e-3


def test_its_gates_are_those_of_a_gru(trained):
    """The saved layer, step by step in float64; loaded twice in one process it is the same."""
    model = load_model(
        str(trained / "output" / "GRUmodel" / "model_pass_00001.tar.gz"),
        str(trained / "output" / "feature_dict.pkl"),
    )
    x = np.linspace(-1, 1, 3 * 2 * 64, dtype=np.float32).reshape(3, 2, 64)
    states, again = (
        network_conf.load_network(model).lstm(paddle.to_tensor(x))[0].numpy() for _ in range(2)
    )
    np.testing.assert_array_equal(states, again)
    p = {name: value.astype(float) for name, value in model.parameters.items()}
    h = np.zeros((2, 64))
    for step in range(3):
        from_x = x[step] @ p["lstm_weight_ih"].T + p["lstm_bias_ih"]
        from_h = h @ p["lstm_weight_hh"].T + p["lstm_bias_hh"]
        (r, z, c), (r_h, z_h, c_h) = np.split(from_x, 3, axis=1), np.split(from_h, 3, axis=1)
        r, z = 1 / (1 + np.exp(-r - r_h)), 1 / (1 + np.exp(-z - z_h))
        h = z * h + (1 - z) * np.tanh(c + r * c_h)
        np.testing.assert_allclose(states[step], h, rtol=1e-4, atol=1e-5)


def test_a_gru_that_is_resumed(trained):
    """After one pass: bit for bit what two passes without a stop give."""
    command = train_command("output/resumed", f"{FLAGS} --network=GRUmodel --resume")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpointer, "stop_if_requested", stop_after_a_pass)
        assert run(command, trained).returncode == 128 + signal.SIGTERM
    run_ok(command, trained)
    for number in range(2):
        metadata, arrays = model_of(trained, "resumed", number)
        expected_metadata, expected = model_of(trained, "GRUmodel", number)
        assert metadata == expected_metadata and arrays.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(arrays[name], value, err_msg=name)


def stop_after_a_pass(self):
    """In place of `Checkpointer.stop_if_requested`."""
    if self.rows:
        sys.exit(128 + signal.SIGTERM)


def test_without_the_phone(trained):
    """No table of phones, a narrower first layer, and lists that the phone does not change."""
    metadata, arrays = model_of(trained, "PhonelessModel")
    _, plain = model_of(trained, "DNNmodel")
    assert "phone" not in metadata["embedding_dims"]
    assert arrays.keys() == plain.keys() - {"_proj_phone"}
    assert arrays["relu1_w"].shape == (plain["relu1_w"].shape[0] - 16, 256)
    (trained / "phones.txt").write_text(
        "".join(f"{phone}\tP1\tNULL\tV3:C3:T3\t{phone}\n" for phone in ("M0", "M1"))
    )
    for network, equal in (("PhonelessModel", True), ("DNNmodel", False)):
        lists = served(trained, network, "phones.txt")
        assert (lists["M0"] == lists["M1"]) == equal


BEST_NETWORKS = {"DirectGRU": DIRECT_GRU, "SlowModel": SLOW, "MeanModel": MEAN}


@pytest.fixture(scope="module")
def trained_best(small):
    """({network: what infer.py prints}, {network: what train.py reports}): one pass of best."""
    lists, reports = {}, {}
    with networks(*BEST_NETWORKS.values()):
        for network in ("DirectModel", *BEST_NETWORKS):
            output = f"output/best-{network}"
            flags = f"--preset=best --network={network} --no-rules --batch_size=1000"
            command = train_command(output, flags).replace("--num_passes=2", "--num_passes=1")
            result = run(command, small)
            assert result.returncode == 0, result.stderr
            reports[network] = result.stderr
            model = (
                f"--model_path={output}/model_pass_00000.tar.gz "
                "--feature_dict=output/feature_dict.pkl"
            )
            log = "--infer_set_path=log.txt"
            lists[network] = run_ok(f"python infer.py {log} --top_n=100 {model}", small)
            run_ok(f"python user_vector.py {log} {model} --output_path={output}/users.npz", small)
            run_ok(f"python user_vector.py --export_dir={output}/serving {model}", small)
    return lists, reports


def test_networks_for_the_preset_best(small, trained_best):
    """Each is trained, saved, loaded and served; it has its layers, and gives its own lists."""
    lists, reports = trained_best
    arrays = {name: model_of(small, f"best-{name}", 0)[1] for name in lists}
    assert arrays["DirectGRU"]["lstm_weight_ih"].shape == (192, 128)
    assert arrays["MeanModel"].keys() - arrays["DirectModel"].keys() == {"direct_all_w"}
    assert arrays["SlowModel"].keys() == arrays["DirectModel"].keys()
    assert len(set(lists.values())) == len(lists) == 4
    for name, text in lists.items():
        assert model_of(small, f"best-{name}", 0)[0]["network"] == name
        assert {"direct_last_w", "direct_mean_w"} <= arrays[name].keys()
        shares = [sum(share for _, share in pairs) for _, pairs in lists_of(text)]
        assert shares == pytest.approx([1] * 300, abs=1e-3)
        assert "direct path" not in reports[name]


@pytest.mark.parametrize("network", BEST_NETWORKS)
def test_their_exports(small, trained_best, network):
    """docs/serve.py gives the vectors of user_vector.py."""
    folder = small / "output" / f"best-{network}"
    lines = [line.split("\t") for line in (small / "log.txt").read_text().splitlines()]
    vectors = serve_module().UserTower(str(folder / "serving"))(lines)
    np.testing.assert_allclose(vectors, np.load(folder / "users.npz")["vectors"], atol=1e-6)


@pytest.mark.parametrize("name, decay", [("DirectModel", 0.7), ("SlowModel", 0.95)])
def test_another_weighting_of_the_direct_path(tmp_path, name, decay):
    """Against the reference in float64, by a mean whose weights are written out."""
    log = reference_log(tmp_path)
    segments = sliding_windows(log.lengths, 4)
    with networks(SLOW, MEAN):
        network = random_network(dataclasses.replace(BEST, network=name))
        table = network.tables()["_proj_user_id"].weight
        table.set_value(np.zeros(table.shape, np.float32))  # no user is remembered
        found = forward(network, log, segments)
        p = whole_videos({key: value.astype(float) for key, value in network.arrays().items()})
        with_mean = random_network(dataclasses.replace(BEST, network="MeanModel"))
        with_mean.set_arrays({**network.arrays(), "direct_all_w": np.eye(4, dtype=np.float32)})
        found_with_mean = forward(with_mean, log, segments)
    instances = plain_instances(segments)
    users = np.array([plain_user_vector(p, instance, decay) for instance in instances])
    np.testing.assert_allclose(found, users, rtol=1e-4, atol=1e-5)
    if name == "DirectModel":
        videos = p[f"_proj_{ITEMS}"]
        means = [
            np.mean([videos[item] for item, _, _ in clicks], axis=0) for _, clicks, _ in instances
        ]
        np.testing.assert_allclose(found_with_mean, users + means, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name, source, what",
    [
        ("Gone", "", "no network is called 'Gone': network_conf.py has DNNmodel"),
        ("Again", GRU.replace("nn.GRU", "nn.LSTM"), "lstm_weight_ih is float32 (192, 64)"),
    ],
    ids=["no class", "another class"],
)
def test_a_model_needs_the_network_it_was_trained_with(trained, tmp_path, name, source, what):
    """Without the class, or with a class of other layers: one line."""
    path = str(tmp_path / "model.tar.gz")
    metadata, arrays = model_of(trained, "GRUmodel")
    write_archive(path, {**metadata, "network": name}, arrays)
    with networks(source.replace("GRUmodel", name)):
        result = run(
            f"python infer.py --infer_set_path=log.txt --model_path={path} "
            "--feature_dict=output/feature_dict.pkl",
            trained,
        )
    assert result.returncode == 2 and not result.stdout
    assert what in result.stderr and "Traceback" not in result.stderr


AGES = 8


def age_log(users, seed):
    """One click each, on a video that depends on the age and on nothing else."""
    rng = np.random.default_rng(seed)
    lines = []
    for user, age in enumerate(rng.integers(0, AGES, users)):
        province, city, phone = rng.integers((3, 3, 2))
        lines.append(f"U{seed}-{user}\tP{province}\tC{city}\tV{age}:C:T\tM{phone}\tA{age}\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def aged(tmp_path_factory):
    """A clone with a sixth column, {network: stderr of train.py} of networks with it and without.

    They are trained on `age_log`; new.txt has a new user of each age.
    """
    folder = changed_checkout(tmp_path_factory.mktemp("aged") / "clone", AGE, DIRECT_AGE)
    dictionary = folder / "candgen" / "data" / "dictionary.py"
    text = dictionary.read_text(encoding="utf-8")
    [line] = [line for line in text.splitlines() if line.startswith("LOG_COLUMNS = ")]
    dictionary.write_text(text.replace(line, AGE_COLUMNS.strip()), encoding="utf-8")
    (folder / "log.txt").write_text(age_log(1500, seed=0))
    (folder / "new.txt").write_text(
        "".join(f"new{age}\tNULL\tNULL\tNULL\tNULL\tA{age}\n" for age in range(AGES))
    )
    out = run_ok(
        "python data_processor.py --train_set_path=log.txt --output_dir=output "
        "--feat_appear_limit=5",
        folder,
    )
    assert f"age: {AGES + 1} of {AGES + 1} values" in out
    reports = {}
    for network, preset in (
        ("AgeModel", "classic"),
        ("DNNmodel", "classic"),
        ("DirectAge", "best"),
    ):
        flags = f"--preset={preset} --learning_rate=0.02 --user_dropout=0.9 --no-rules"
        command = train_command(f"output/{network}", f"{flags} --network={network} --batch_size=32")
        result = run(command, folder)
        assert result.returncode == 0, result.stderr
        reports[network] = result.stderr
    return folder, reports


@pytest.mark.parametrize("network", ["AgeModel", "DirectAge"])
def test_a_sixth_column(aged, network):
    """One line of candgen/data/dictionary.py and a class: new users are served by their age."""
    folder, reports = aged
    assert model_of(folder, network)[1]["_proj_age"].shape == (AGES + 1, 8)
    assert "column" not in reports[network]
    lists = served(folder, network, "new.txt")
    for age in range(AGES):
        video, share = next(iter(lists[f"new{age}"].items()))
        assert video == f"V{age}" and share > 2 / AGES


def test_a_sixth_column_that_is_not_used(aged):
    """Without the class all new users are alike, and train.py warns of that."""
    folder, reports = aged
    plain = served(folder, "DNNmodel", "new.txt")
    assert len({tuple(shares.items()) for shares in plain.values()}) == 1
    assert (
        "train.py: warning: DNNmodel does not use the column age of the log: "
        in (reports["DNNmodel"])
    )


def test_a_sixth_column_in_a_live_service(aged):
    """docs/serve.py, unchanged, takes the columns from the export."""
    folder, _ = aged
    model = (
        "--model_path=output/DirectAge/model_pass_00001.tar.gz "
        "--feature_dict=output/feature_dict.pkl"
    )
    log = "--infer_set_path log.txt new.txt"
    run_ok(f"python user_vector.py {log} {model} --output_path=users.npz", folder)
    run_ok(f"python user_vector.py --export_dir=serving {model}", folder)
    serve = serve_module()
    tower = serve.UserTower(str(folder / "serving"))
    requests = (folder / "log.txt").read_bytes() + (folder / "new.txt").read_bytes()
    lines = [serve.parse_request(request, tower.columns) for request in requests.splitlines()]
    assert tower.columns == ["user_id", "province", "city", "history", "phone", "age"]
    vectors = tower(lines)
    np.testing.assert_allclose(vectors, np.load(folder / "users.npz")["vectors"], atol=1e-6)
    assert len(np.unique(vectors[-AGES:].round(4), axis=0)) == AGES
    with pytest.raises(ValueError, match="5 columns instead of 6"):
        serve.parse_request(b"U1\tP1\tC1\tNULL\tM1", tower.columns)


OWN_TABLE = """
class OwnTable(DNNmodel):
    def __init__(self, config, is_infer=False, dropout=0.0):
        super().__init__(config, is_infer, dropout)
        self.place = nn.Embedding(20, 4)
"""


TAGLESS = """
class Tagless(DNNmodel):
    embedding_dims = {name: 8 for name in DNNmodel.embedding_dims if name != TAGS}
"""


@pytest.mark.parametrize(
    "source, name, what",
    [
        (TAGLESS, "Tagless", "lacks a feature of clicks"),
        (OWN_TABLE, "OwnTable", "place: an Embedding of its own"),
        (AGE, "AgeModel", "has one that the log has not"),
        ("", "NoSuchModel", "no network is called 'NoSuchModel': network_conf.py has DNNmodel"),
    ],
    ids=["no tags", "a table of its own", "not in the log", "no class"],
)
def test_networks_that_cannot_be_trained(small, source, name, what):
    """One line that says why, and exit code 2, before anything is trained."""
    with networks(source):
        result = run(train_command("output/untrained", f"--network={name} --no-rules"), small)
    assert (result.returncode, result.stdout) == (2, "")
    assert what in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr


UNUSED = """
class Unused(DNNmodel):
    def hidden_layer(self, embeddings, batch, rng=None):
        city = paddle.zeros_like(embeddings["city"])
        return super().hidden_layer({**embeddings, "city": city}, batch, rng)
"""


def test_networks_that_do_not_go_with_the_log_or_the_preset(small):
    """A warning each, and the run goes on."""
    expected = {
        "DNNmodel --preset=best": "the settings of --preset=best (shared negatives, ",
        "PhonelessModel": "PhonelessModel does not use the column phone of the log: to use it, set",
        "Unused": "Unused looks up the embeddings of city and does not use them: ",
        "DNNmodel": None,
    }
    with networks(NO_PHONE, UNUSED):
        for network, what in expected.items():
            flags = f"--network={network} --no-rules --batch_size=2000"
            command = train_command("output/warned", flags)
            result = run(command.replace("--num_passes=2", "--num_passes=1"), small)
            assert result.returncode == 0, result.stderr
            about = "direct path|does not use|do(es)? not use them"
            warnings = [line for line in result.stderr.splitlines() if re.search(about, line)]
            assert all(f"train.py: warning: {what}" in line for line in warnings)
            assert len(warnings) == (what is not None)
