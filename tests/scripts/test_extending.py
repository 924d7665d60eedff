"""Other networks, as people make them: a subclass at the end of network_conf.py, named in train.py's --network."""

import signal
import subprocess
import sys

from candgen.archives import read_archive
from conftest import ROOT, checkout, run, run_ok, small_log, train_command

import numpy as np
import pytest

# the README and docs/network.md have the same lines
GRU = '''
class GRUmodel(DNNmodel):
    """A GRU in the LSTM's place."""

    def __init__(self, config, is_infer=False, dropout=0.0):
        super().__init__(config, is_infer, dropout)
        self.lstm = nn.GRU(config.embedding_dims[ITEMS], config.lstm_dim, time_major=True)
'''
AGE = '''
class AgeModel(DNNmodel):
    """A sixth column of the log, the user's age, is one more feature."""

    embedding_dims = {**DNNmodel.embedding_dims, "age": 8}
'''
AGE_COLUMNS = """
LOG_COLUMNS = ("user_id", "province", "city", "history", "phone", "age")
PROFILE_FEATURES = ("user_id", "province", "city", "phone", "age")  # those of the columns that are features
"""
NO_PHONE = '''
class PhonelessModel(DNNmodel):
    """The column of the phone is read, and not looked at."""

    embedding_dims = {name: width for name, width in DNNmodel.embedding_dims.items() if name != "phone"}
'''
FLAGS = "--batch_size=256 --dropout=0.2 --checkpoint_minutes=0"


def changed_checkout(folder, *networks):
    """A clone in which network_conf.py ends with these classes."""
    folder = checkout(folder)
    with open(folder / "network_conf.py", "a", encoding="utf-8") as file:
        file.write("".join("\n" + network for network in networks))
    return folder


def model_of(folder, output, number=1):
    """(model.json, {name: array}) of a pass."""
    return read_archive(str(folder / "output" / output / f"model_pass_{number:05d}.tar.gz"), "")


def served(folder, output, log="log.txt", flags=""):
    """{user: {video: probability}} as infer.py prints it."""
    lines = run_ok(
        f"python infer.py --infer_set_path={log} --model_path=output/{output}/model_pass_00001.tar.gz "
        f"--feature_dict=output/feature_dict.pkl {flags}",
        folder,
    ).splitlines()
    lists = [line.split("\t") for line in lines]
    return {
        user: {
            name: float(share)
            for name, share in (entry.rsplit(":", 1) for entry in listed.split(","))
        }
        for user, listed in lists
    }


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with a GRU and a network without the phone, and what each network has learned in two passes."""
    folder = changed_checkout(tmp_path_factory.mktemp("extending") / "clone", GRU, NO_PHONE)
    (folder / "log.txt").write_text(small_log(200), encoding="utf-8")
    run_ok(
        "python data_processor.py --train_set_path=log.txt --output_dir=output --feat_appear_limit=2",
        folder,
    )
    for network in ("DNNmodel", "GRUmodel", "PhonelessModel"):
        run_ok(train_command(f"output/{network}", f"{FLAGS} --network={network}"), folder)
    return folder


def test_a_gru_in_the_lstms_place(clone):
    """Its parameters in the archive, named after their place in the network; other lists than the LSTM's."""
    (metadata, arrays), (_, plain) = (
        model_of(clone, network) for network in ("GRUmodel", "DNNmodel")
    )
    assert metadata["network"] == "GRUmodel" and arrays.keys() == plain.keys()
    assert arrays["lstm_weight_ih"].shape == arrays["lstm_weight_hh"].shape == (192, 64)
    assert plain["lstm_weight_ih"].shape == (256, 64)
    mine, others = (
        served(clone, network, flags="--top_n=100") for network in ("GRUmodel", "DNNmodel")
    )
    assert len(mine) == 200 and mine.keys() == others.keys()
    assert all(sum(shares.values()) == pytest.approx(1, abs=1e-3) for shares in mine.values())
    difference = [
        abs(share - others[user][video])
        for user, shares in mine.items()
        for video, share in shares.items()
    ]
    assert max(difference) > 1e-3


def test_its_gates_are_those_of_a_gru(clone):
    """The saved layer, step by step in float64; loaded twice in one process it is the same."""
    _, arrays = model_of(clone, "GRUmodel")
    code = (
        "import network_conf, numpy as np, paddle\n"
        "from utils import read_archive\n"
        "told, arrays = read_archive('output/GRUmodel/model_pass_00001.tar.gz', '')\n"
        "told.pop('format_version')\n"
        "networks = [network_conf.load_network('it', dict(told), arrays) for _ in range(2)]\n"
        "x = paddle.to_tensor(np.linspace(-1, 1, 3 * 2 * 64, dtype=np.float32).reshape(3, 2, 64))\n"
        "first, again = (network.lstm(x)[0].numpy() for network in networks)\n"
        "assert np.array_equal(first, again)\n"
        "print(' '.join(str(value) for value in first.ravel().tolist()))\n"
    )
    (clone / "ask.py").write_text(code)
    found = np.array(run_ok("python ask.py", clone).split(), float).reshape(3, 2, 64)
    x, h = (
        np.linspace(-1, 1, 3 * 2 * 64, dtype=np.float32).astype(float).reshape(3, 2, 64),
        np.zeros((2, 64)),
    )
    for step in range(3):
        r, z, c = np.split(x[step] @ arrays["lstm_weight_ih"].T + arrays["lstm_bias_ih"], 3, axis=1)
        of_r, of_z, of_c = np.split(
            h @ arrays["lstm_weight_hh"].T + arrays["lstm_bias_hh"], 3, axis=1
        )
        r, z = 1 / (1 + np.exp(-r - of_r)), 1 / (1 + np.exp(-z - of_z))
        h = z * h + (1 - z) * np.tanh(c + r * of_c)
        np.testing.assert_allclose(found[step], h, rtol=1e-4, atol=1e-5)


def test_a_gru_that_is_stopped_and_resumed(clone):
    """Bit for bit what it becomes when left alone."""
    command = train_command("output/stopped", f"{FLAGS} --network=GRUmodel --resume").split()
    process = subprocess.Popen(
        [sys.executable, *command[1:]],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()  # a pass is done
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=100)
    assert process.returncode in (0, 128 + signal.SIGTERM), errors
    run_ok(" ".join(command), clone)
    for number in range(2):
        (metadata, arrays), (quiet_told, quiet) = (
            model_of(clone, output, number) for output in ("stopped", "GRUmodel")
        )
        assert metadata == quiet_told and arrays.keys() == quiet.keys()
        for name, value in quiet.items():
            np.testing.assert_array_equal(arrays[name], value, err_msg=name)


def test_without_the_phone(clone):
    """No table of phones, a narrower first layer, and a list that the phone does not change."""
    (metadata, arrays), (_, plain) = (
        model_of(clone, network) for network in ("PhonelessModel", "DNNmodel")
    )
    assert "phone" not in metadata["embedding_dims"] and arrays.keys() == plain.keys() - {
        "_proj_phone"
    }
    assert arrays["relu1_w"].shape == (plain["relu1_w"].shape[0] - 16, 256)
    (clone / "phones.txt").write_text(
        "".join(f"{phone}\tP1\tNULL\tV3:C3:T3\t{phone}\n" for phone in ("M0", "M1"))
    )
    for network, equal in (("PhonelessModel", True), ("DNNmodel", False)):
        lists = served(clone, network, "phones.txt")
        assert (lists["M0"] == lists["M1"]) == equal


def test_a_model_needs_the_network_it_was_trained_with(clone, tmp_path):
    """Without the class, or with one whose layers are others: one line."""
    lstm = GRU.replace("nn.GRU", "nn.LSTM")
    for networks, what in (
        ((), "no network is called 'GRUmodel'"),
        ((lstm,), "lstm_weight_ih is float32 (192, 64)"),
    ):
        folder = changed_checkout(tmp_path / f"clone{len(networks)}", *networks)
        output = clone / "output"
        result = run(
            f"python infer.py --infer_set_path={clone}/log.txt --feature_dict={output}/feature_dict.pkl "
            f"--model_path={output}/GRUmodel/model_pass_00001.tar.gz",
            folder,
        )
        assert result.returncode == 2 and not result.stdout
        assert what in result.stderr and "Traceback" not in result.stderr


AGES = 8


def age_log(users, seed):
    """One click each, on a video that follows from the age and from nothing else."""
    rng = np.random.default_rng(seed)
    return "".join(
        f"U{seed}-{user}\tP{rng.integers(3)}\tC{rng.integers(3)}\tV{age}:C:T\tM{rng.integers(2)}\tA{age}\n"
        for user, age in enumerate(rng.integers(0, AGES, users))
    )


def test_a_sixth_column(tmp_path):
    """Two lines of utils.py and a class of three: new users, of whom the age is known, are served by it."""
    folder = changed_checkout(tmp_path / "clone", AGE)
    utils = (folder / "utils.py").read_text(encoding="utf-8")
    for line in AGE_COLUMNS.strip().splitlines():
        name = line.split(" = ")[0]
        [old] = [each for each in utils.splitlines() if each.startswith(f"{name} = ")]
        utils = utils.replace(old, line)
    (folder / "utils.py").write_text(utils, encoding="utf-8")
    (folder / "log.txt").write_text(age_log(1500, seed=0))
    (folder / "new.txt").write_text(
        "".join(f"new{age}\tNULL\tNULL\tNULL\tNULL\tA{age}\n" for age in range(AGES))
    )
    metadata = run_ok(
        "python data_processor.py --train_set_path=log.txt --output_dir=output --feat_appear_limit=5",
        folder,
    )
    assert f"age: {AGES + 1} of {AGES + 1} values" in metadata
    flags = "--batch_size=32 --learning_rate=0.02 --user_dropout=0.9"
    for network in ("AgeModel", "DNNmodel"):
        run_ok(train_command(f"output/{network}", f"{flags} --network={network}"), folder)
    assert model_of(folder, "AgeModel")[1]["_proj_age"].shape == (AGES + 1, 8)
    lists = served(folder, "AgeModel", "new.txt")
    for age in range(AGES):
        first, *_ = lists[f"new{age}"].items()
        assert first[0] == f"V{age}" and first[1] > 2 / AGES
    plain = served(folder, "DNNmodel", "new.txt")  # which knows nothing of these users
    assert len({tuple(shares.items()) for shares in plain.values()}) == 1


@pytest.mark.parametrize(
    "lines", [GRU, AGE, AGE_COLUMNS, NO_PHONE], ids=["gru", "age", "columns", "phone"]
)
def test_the_documents_show_these_lines(lines):
    metadata = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/network.md")
    )
    assert lines.strip() in metadata


OWN_TABLE = """
class OwnTable(DNNmodel):
    def __init__(self, config, is_infer=False, dropout=0.0):
        super().__init__(config, is_infer, dropout)
        self.place = nn.Embedding(20, 4)
"""


TAGLESS = """
class Tagless(DNNmodel):
    embedding_dims = {name: width for name, width in DNNmodel.embedding_dims.items() if name != TAGS}
"""


@pytest.mark.parametrize(
    "network, name, what",
    [
        (TAGLESS, "Tagless", "lacks a feature of clicks"),
        (OWN_TABLE, "OwnTable", "place: an Embedding of its own"),
        (AGE, "AgeModel", "has one that the log has not"),
        ("", "NoSuchModel", "no network is called 'NoSuchModel': network_conf.py has DNNmodel"),
    ],
)
def test_networks_that_cannot_be_trained(tmp_path, network, name, what):
    """One line that says why, and exit code 2, before anything is trained."""
    folder = changed_checkout(tmp_path / "clone", network)
    (folder / "log.txt").write_text(small_log(30), encoding="utf-8")
    run_ok(
        "python data_processor.py --train_set_path=log.txt --output_dir=output --feat_appear_limit=1",
        folder,
    )
    result = run(train_command("output/model", f"--network={name}"), folder)
    assert (result.returncode, result.stdout) == (2, "") and what in result.stderr.splitlines()[
        -1
    ], result.stderr
    assert "Traceback" not in result.stderr
