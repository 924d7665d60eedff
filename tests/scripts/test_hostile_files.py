"""Files made to do harm, or that came to harm: each ends in one line and exit code 2, in little memory and time."""

import argparse
import bz2
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from types import SimpleNamespace

import infer_user
from candgen.archives import read_archive
from candgen.console import InputError
from candgen.data.dictionary import FEATURES
from candgen.model.model_file import load_model, start_network

import numpy as np
import pytest

MEMORY = 700 << 20  # bytes that a refusal may take; the interpreter with numpy takes some 40 MB
PADDLE = 300 << 20  # what paddle takes more
SECONDS = 60
# runs a command from a small process: the peak of one forked from the tests' own would begin with their size
WATCH = """
import pathlib, resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
pathlib.Path("peak").write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
MODEL = "output/model/model_pass_00001.tar.gz"
MODEL_FLAGS = f"--model_path={MODEL} --feature_dict=output/feature_dict.pkl"
TRAIN = (
    "train.py --train_set_path=log.txt --test_set_path=log.txt --model_output_dir=hostile-out "
    "--feature_dict=output/feature_dict.pkl --item_freq=output/item_freq.pkl"
)


def refused(folder, command, memory=MEMORY):
    """The line on stderr of a command that must refuse: exit code 2, nothing on stdout, bounded memory and time."""
    result = subprocess.run(
        [sys.executable, "-c", WATCH, sys.executable, *command.split()],
        cwd=folder,
        capture_output=True,
        timeout=SECONDS,
    )
    errors = result.stderr.decode()
    assert (result.returncode, result.stdout, errors.count("\n")) == (2, b"", 1), errors[-2000:]
    assert int((folder / "peak").read_text()) << 10 < memory
    assert not (folder / "pwned").exists() and not (folder / "hostile-out").exists()
    return errors


# ---------------------------------------------------------------- pickles
class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


class Persistent(pickle.Pickler):
    def persistent_id(self, obj):
        return "x" if obj == "persistent" else None


def persistent():
    stream = io.BytesIO()
    Persistent(stream, 4).dump({"user_id": "persistent"})
    return stream.getvalue()


def changed_error(feature, values):
    """A dictionary with one feature replaced."""
    return lambda good: pickle.dumps({**good, feature: values})


def doubling():
    """Lists of lists: 2 ** 60 elements in some hundred bytes, were they ever counted."""
    level = []
    for _ in range(60):
        level = [level, level]
    return pickle.dumps({"user_id": level}, 4)


def with_itself(good):
    good["user_id"] = good
    return pickle.dumps(good)


SHELL = "touch pwned"
DICTIONARIES = {
    "code: os.system": lambda _: pickle.dumps(Call(os.system, SHELL)),
    "code: eval": lambda _: pickle.dumps(Call(eval, f"__import__('os').system('{SHELL}')")),
    "code: subprocess, protocol 0": lambda _: pickle.dumps(Call(subprocess.call, SHELL, -1), 0),
    "code: within a dictionary": lambda good: pickle.dumps(
        {**good, "more": Call(os.system, SHELL)}
    ),
    "an array": lambda _: pickle.dumps(np.zeros(3)),
    "a class": lambda _: pickle.dumps(io.BytesIO),
    "persistent id": lambda _: persistent(),
    "extension code": lambda _: b"\x80\x04\x82\x01.",
    "memo of 32 GB": lambda _: b"\x80\x04]r" + struct.pack("<I", 0xFFFFFFFE) + b".",
    "frame of an exabyte": lambda _: b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"}.",
    "string of an exabyte": lambda _: b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.",
    "string of 8 GB": lambda _: b"\x80\x04\x8d" + struct.pack("<Q", 8 << 30) + b"a.",
    "bytes of 8 GB": lambda _: b"\x80\x04\x8e" + struct.pack("<Q", 8 << 30) + b"a.",
    "bytearray that is cut off": lambda _: b"\x80\x05\x96" + struct.pack("<Q", 100) + b"abc",
    "number of a million digits": lambda _: b"I" + b"9" * 10**6 + b"\n.",
    "long of two million digits": lambda _: b"L" + b"9" * (2 * 10**6) + b"L\n.",
    "deeply nested": lambda _: b"\x80\x04" + b"]" * 500000 + b"a" * 499999 + b".",
    "doubling": lambda _: doubling(),
    "contains itself": with_itself,
    "empty": lambda _: b"",
    "text": lambda _: b"user_id\t1\n",
    "truncated": lambda good: pickle.dumps(good)[:-20],
    "nothing but a stop": lambda _: b".",
    "a list": lambda _: pickle.dumps(["<unk>"]),
    "a feature is missing": lambda good: pickle.dumps({key: good[key] for key in list(good)[1:]}),
    "a feature is a list": changed_error("city", ["<unk>"]),
    "without <unk>": changed_error("city", {"a": 0}),
    "ids with a gap": changed_error("city", {"<unk>": 0, "a": 2}),
    "an id twice": changed_error("city", {"<unk>": 0, "a": 1, "b": 1}),
    "a negative id": changed_error("city", {"<unk>": 0, "a": -1}),
    "ids are booleans": changed_error("city", {"<unk>": 0, "a": True}),
    "ids are floats": changed_error("city", {"<unk>": 0, "a": 1.0}),
    "values are numbers": changed_error("city", {"<unk>": 0, 7: 1}),
    "of another run": changed_error("city", {"<unk>": 0, "elsewhere": 1}),
}


@pytest.mark.parametrize("name", DICTIONARIES)
def test_dictionaries(small, name):
    good = pickle.loads((small / "output" / "feature_dict.pkl").read_bytes())
    (small / "hostile.pkl").write_bytes(DICTIONARIES[name](good))
    line = refused(small, f"item_vector.py {MODEL_FLAGS} --feature_dict=hostile.pkl")
    assert line.startswith(
        f"item_vector.py: {MODEL if name == 'of another run' else 'hostile.pkl'}: "
    )


FREQUENCIES = {
    "code": lambda _: pickle.dumps([Call(os.system, SHELL)]),
    "NaN": lambda freq: pickle.dumps([float("nan"), *freq[1:]]),
    "infinite": lambda freq: pickle.dumps([float("inf"), *freq[1:]]),
    "negative": lambda freq: pickle.dumps([-freq[1], 2 * freq[1], *freq[2:]]),
    "too few": lambda freq: pickle.dumps(freq[:-1]),
    "sum of 2": lambda freq: pickle.dumps([2 * share for share in freq]),
    "all on <unk>": lambda freq: pickle.dumps([1.0] + [0.0] * (len(freq) - 1)),
    "whole numbers": lambda freq: pickle.dumps([1] + [0] * (len(freq) - 1)),
    "a tuple": lambda freq: pickle.dumps(tuple(freq)),
    "an array": lambda freq: pickle.dumps(np.array(freq)),
    "a huge number": lambda freq: pickle.dumps([1e308, 1e308, *freq[2:]]),
}


@pytest.mark.parametrize("name", FREQUENCIES)
def test_frequencies(small, name):
    good = pickle.loads((small / "output" / "item_freq.pkl").read_bytes())
    (small / "hostile.pkl").write_bytes(FREQUENCIES[name](good))
    assert refused(small, f"{TRAIN} --item_freq=hostile.pkl").startswith("train.py: hostile.pkl: ")


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 50000,
        b'{"feature_dict": 1, "item_freq": 2}',
        b'{"feature_dict": NaN',
    ],
)
def test_fingerprints(small, metadata):
    folder = small / "hostile-fingerprint"
    folder.mkdir(exist_ok=True)
    (folder / "item_freq.pkl").write_bytes((small / "output" / "item_freq.pkl").read_bytes())
    (folder / "fingerprint.json").write_bytes(metadata)
    line = refused(small, f"{TRAIN} --item_freq=hostile-fingerprint/item_freq.pkl")
    assert line.startswith("train.py: hostile-fingerprint/")


# ---------------------------------------------------------------- models
def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header(text, version=1):
    """A .npy of that header, followed by some zeros."""
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + bytes(1000)


def member(name, content=b"", **fields):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry, content


def pack(members, compress=gzip.compress):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry, content in members:
            tar.addfile(entry, io.BytesIO(content))
    return compress(stream.getvalue())


def members_of(folder):
    """[(entry, content), ...] of the archive of the small model."""
    with tarfile.open(folder / MODEL, "r:gz") as tar:
        return [(entry, tar.extractfile(entry).read()) for entry in tar]


def with_member(name, content):
    """The archive with one member's content replaced."""
    return lambda good: pack(
        [(entry, old) if entry.name != name else member(name, content) for entry, old in good]
    )


def with_more(*members):
    """The archive with members added after model.json, where they are met first."""
    return lambda good: pack([good[0], *members, *good[1:]])


def config_with(**changes):
    def change(good):
        return with_member(
            "model.json", json.dumps({**json.loads(good[0][1]), **changes}).encode()
        )(good)

    return change


def swapped(good):
    by_name = {entry.name: content for entry, content in good}
    by_name["_proj_province.npy"], by_name["_proj_city.npy"] = (
        by_name["_proj_city.npy"],
        by_name["_proj_province.npy"],
    )
    return pack([member(name, content) for name, content in by_name.items()])


def zeros(entry, size):
    """An archive that begins with the header of a member, and then has `size` zeros, a thousandth when packed."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as packed:
        packed.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _ in range(size >> 20):
            packed.write(bytes(1 << 20))
    return stream.getvalue()


def zipped(good):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for entry, content in good:
            archive.writestr(entry.name, content)
    return stream.getvalue()


def sized(name, size, kind=tarfile.REGTYPE):
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry


def declared(name, size):
    """model.json, and then a member whose header speaks of more than there is."""

    def change(good):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.addfile(good[0][0], io.BytesIO(good[0][1]))
            written = tar.offset
        return gzip.compress(
            stream.getvalue()[:written]
            + sized(name, size).tobuf(tarfile.GNU_FORMAT)
            + npy(np.zeros(999, np.float32))
        )

    return change


MODELS = {
    "out of the folder": with_more(member("../../pwned", b"x")),
    "an absolute path": with_more(member("/tmp/pwned.npy", b"x")),
    "a path in front of a name": with_more(member("x/../nce_w.npy", b"x")),
    "a symbolic link": with_more(member("nce_w.npy", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "a hard link": with_more(member("nce_w.npy", type=tarfile.LNKTYPE, linkname="model.json")),
    "a folder": with_more(member("nce_w.npy", type=tarfile.DIRTYPE)),
    "a device": with_more(member("nce_w.npy", type=tarfile.CHRTYPE)),
    "a pipe": with_more(member("nce_w.npy", type=tarfile.FIFOTYPE)),
    "a member twice": lambda good: pack([*good, good[-1]]),
    "a member missing": lambda good: pack(good[:-1]),
    "no member": lambda _: pack([]),
    "model.json is not first": lambda good: pack(good[::-1]),
    "model.json is large": with_member("model.json", b" " * (2 << 20)),
    "model.json is deep": with_member("model.json", b"[" * 100000),
    "model.json is a list": with_member("model.json", b"[]"),
    "model.json is no JSON": with_member("model.json", b"{'a'}"),
    "model.json is not UTF-8": with_member("model.json", b"\xff\xfe{"),
    "model.json with a huge number": with_member(
        "model.json", b'{"format_version": ' + b"9" * 100000 + b"}"
    ),
    "another version": config_with(format_version=99),
    "huge tables declared": config_with(dictionary_sizes=dict.fromkeys(FEATURES, 1 << 30)),
    "no video": config_with(dictionary_sizes=dict.fromkeys(FEATURES, 1)),
    "sizes that are text": config_with(dictionary_sizes="41"),
    "sizes that are no object": config_with(dictionary_sizes=[1, 2, 3]),
    "another dictionary's": config_with(dictionary_fingerprint="0" * 64),
    "no dictionary's": config_with(dictionary_fingerprint=None),
    "vectors of fewer videos": with_member("nce_w.npy", npy(np.zeros((40, 31), np.float32))),
    "vectors in three dimensions": with_member("nce_w.npy", npy(np.zeros((41, 31, 1), np.float32))),
    "a single number for all vectors": with_member("nce_w.npy", npy(np.float32(1))),
    "biases that stand upright": with_member("nce_b.npy", npy(np.zeros((41, 1), np.float32))),
    "frequencies of fewer videos": with_member("item_freq.npy", npy(np.zeros(40, np.float32))),
    "complex numbers": with_member("relu1_b.npy", npy(np.zeros(256, np.complex64))),
    "text in an array": with_member("relu1_b.npy", npy(np.full(256, "a"))),
    "dates in an array": with_member("relu1_b.npy", npy(np.zeros(256, "M8[s]"))),
    "records in an array": with_member("relu1_b.npy", npy(np.zeros(256, [("a", "<f4")]))),
    "NaN": with_member("relu1_b.npy", npy(np.full(256, np.nan, np.float32))),
    "infinite": with_member("relu1_b.npy", npy(np.full(256, np.inf, np.float32))),
    "a pickled array": with_member(
        "relu1_b.npy", npy(np.array([Call(os.system, SHELL)] * 256), allow_pickle=True)
    ),
    "too short": with_member("relu1_b.npy", npy(np.zeros(256, np.float32))[:-4]),
    "empty member": with_member("relu1_b.npy", b""),
    "header: deep": with_member("relu1_b.npy", header(b"(" * 60000)),
    "header: code": with_member("relu1_b.npy", header(b"__import__('os').system('touch pwned')\n")),
    "header: huge shape": with_member(
        "relu1_b.npy",
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }\n"),
    ),
    "header: of Python 2": with_member(
        "relu1_b.npy", header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (256L,), }\n")
    ),
    "header: version 3": with_member("relu1_b.npy", header(b"{}", version=3)),
    "a member of 8 GB, of zeros": lambda good: zeros(sized("model.json", 8 << 30), 1 << 30),
    "a name of 1 GB": lambda good: zeros(
        sized("././@LongLink", 1 << 30, tarfile.GNUTYPE_LONGNAME), 1 << 30
    ),
    "declared with a negative size": declared("_proj_user_id.npy", -1),
    "declared and not there": declared("_proj_user_id.npy", 1 << 40),
    "gzip: truncated": lambda good: pack(good)[:-3000],
    "gzip: without its end": lambda good: pack(good)[:-8],
    "gzip: wrong checksum": lambda good: pack(good)[:-8] + bytes(4) + pack(good)[-4:],
    "gzip: a changed byte": lambda good: pack(good)[:5000] + b"!?" + pack(good)[5002:],
    "gzip: something follows": lambda good: pack(good) + b"more",
    "gzip: another archive follows": lambda good: pack(good) * 2,
    "not packed": lambda good: pack(good, compress=bytes),
    "a zip": zipped,
    "text": lambda _: b"nothing of the kind\n",
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("name", MODELS)
def test_models(small, name):
    (small / "hostile.tar.gz").write_bytes(MODELS[name](members_of(small)))
    line = refused(small, f"item_vector.py {MODEL_FLAGS} --model_path=hostile.tar.gz")
    assert line.startswith("item_vector.py: hostile.tar.gz: ") and len(line) < 600
    assert not os.path.exists("/tmp/pwned.npy")


STRANGERS = ("../../pwned.npy", "/tmp/pwned.npy", "x/../nce_w.npy", "./nce_w.npy", "surprise.npy")


def test_the_model_unharmed(small):
    """What the cases above were made from is accepted when put together again; arrays under other names, whatever
    paths they look like, change nothing and are written nowhere."""
    good = members_of(small)
    (small / "harmless.tar.gz").write_bytes(pack(good))
    array = npy(np.zeros((41, 31), np.float32))
    (small / "strangers.tar.gz").write_bytes(
        with_more(*(member(name, array) for name in STRANGERS))(good)
    )
    outputs = {
        subprocess.run(
            [sys.executable, "item_vector.py", *MODEL_FLAGS.split(), f"--model_path={path}"],
            cwd=small,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        for path in (MODEL, "harmless.tar.gz", "strangers.tar.gz")
    }
    assert len(outputs) == 1 and outputs.pop().count(b"\n") == 40
    for pwned in ("surprise.npy", "pwned.npy", "../pwned.npy", "../../pwned.npy", "/tmp/pwned.npy"):
        assert not (small / pwned).exists()


# ---------------------------------------------------------------- models whose network cannot be built
def without(name):
    return lambda good: pack([(entry, content) for entry, content in good if entry.name != name])


def dims_with(**changes):
    def change(good):
        return config_with(embedding_dims={**json.loads(good[0][1])["embedding_dims"], **changes})(
            good
        )

    return change


NETWORKS = {
    "a huge layer declared": config_with(dnn_layer_dims=[1 << 40, 31]),
    "a huge LSTM declared": config_with(lstm_dim=1 << 40),
    "a huge embedding declared": dims_with(user_id=1 << 40),
    "a negative size": config_with(lstm_dim=-64),
    "a size of 0": config_with(lstm_dim=0),
    "a size that is text": config_with(lstm_dim="64"),
    "a size that is a float": config_with(lstm_dim=64.0),
    "a size that is true": config_with(lstm_dim=True),
    "an embedding of no width": dims_with(city=0),
    "an embedding of a strange feature": dims_with(**{"a.b": 8}),
    "no embeddings": config_with(embedding_dims={}),
    "embeddings that are a list": config_with(embedding_dims=[64, 8]),
    "a window of 0": config_with(window_size=0),
    "a window that is text": config_with(window_size="20"),
    "one layer": config_with(dnn_layer_dims=[31]),
    "three layers": config_with(dnn_layer_dims=[8, 8, 8]),
    "layers that are text": config_with(dnn_layer_dims="ab"),
    "no layers": config_with(dnn_layer_dims=None),
    "a strange setting": config_with(surprise=1),
    "an old setting": config_with(last_click=True),
    "a network of another name": config_with(network="Surprise"),
    "a network that is a path": config_with(network="os.system"),
    "a network that is a list": config_with(network=["DNNmodel"]),
    "a network with a long name": config_with(network="N" * 10**6),
    "wider than its parameters": config_with(lstm_dim=65),
    "swapped parameters": swapped,
    "a parameter missing": without("lstm_bias_hh.npy"),
    "float64": with_member("relu1_b.npy", npy(np.zeros(256))),
    "big-endian": with_member("relu1_b.npy", npy(np.zeros(256, ">f4"))),
    "whole numbers": with_member("relu1_b.npy", npy(np.zeros(256, np.int32))),
}


def loaded(folder, content):
    """The network of an archive, as infer.py loads it."""
    (folder / "hostile.tar.gz").write_bytes(content)
    args = SimpleNamespace(
        model_path=str(folder / "hostile.tar.gz"),
        device="cpu",
        feature_dict=str(folder / "output" / "feature_dict.pkl"),
    )
    metadata, parameters, *_ = load_model(args)
    return start_network(args, metadata, parameters)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(small, name):
    with pytest.raises(InputError) as caught:
        loaded(small, NETWORKS[name](members_of(small)))
    message = str(caught.value)
    assert (
        message.startswith(f"{small}/hostile.tar.gz: its parameters do not fit model.json (")
        and "; " in message
    )
    assert "\n" not in message and len(message) < 600


def test_a_network_that_cannot_be_built(small):
    """One line from the command as well, and none of it is served."""
    (small / "hostile.tar.gz").write_bytes(NETWORKS["a huge layer declared"](members_of(small)))
    line = refused(
        small,
        f"infer.py {MODEL_FLAGS} --model_path=hostile.tar.gz --infer_set_path=log.txt",
        MEMORY + PADDLE,
    )
    assert line.startswith(
        "infer.py: hostile.tar.gz: its parameters do not fit model.json (a size that no network "
    )


@pytest.mark.parametrize("name", ["relu1_w", "nce_w", "_proj_history_clicked_tags"])
def test_the_order_of_numbers_in_a_file(small, name):
    """A parameter that lies column by column (Fortran order) is the same parameter."""
    good = members_of(small)
    [stored] = [
        np.load(io.BytesIO(content)) for entry, content in good if entry.name == f"{name}.npy"
    ]
    content = npy(np.asfortranarray(stored))
    assert b"'fortran_order': True" in content
    network = loaded(small, with_member(f"{name}.npy", content)(good))
    np.testing.assert_array_equal(read_archive(str(small / "hostile.tar.gz"), "")[1][name], stored)
    if name != "nce_w":  # the output layer is no part of a network that infers
        np.testing.assert_array_equal(network.named()[name].numpy(), stored)


# ---------------------------------------------------------------- logs
def bomb(size):
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as packed:
        for _ in range(size >> 20):
            packed.write(b"a" * (1 << 20))
    return stream.getvalue()


LOGS = {
    "a line of a gigabyte, packed": lambda: bomb(1 << 30),
    "gzip: truncated": lambda: gzip.compress(b"U1\tP1\tC1\tV1:C1:T1\tM1\n" * 2000)[:-20],
    "gzip: nothing but the header": lambda: gzip.compress(b"")[:5],
    "gzip: a changed byte": lambda: gzip.compress(np.random.default_rng(0).bytes(9999))[:500]
    + b"!",
    "zeros": lambda: bytes(1 << 20),
    "zeros in the middle": lambda: b"U1\tP1\tC1\tV1:C1:T1\tM1\nU2\tP1\t"
    + bytes(4096)
    + b"\tV1:C1:T1\tM1\n",
    "noise": lambda: bytes(range(256)) * 99,
}


@pytest.mark.parametrize("name", LOGS)
def test_logs(small, name):
    (small / "hostile.log").write_bytes(LOGS[name]())
    for script in (
        "data_processor.py --output_dir=hostile-out --feat_appear_limit=1 --train_set_path=hostile.log",
        f"{TRAIN} --train_set_path=hostile.log",
    ):
        assert refused(small, script).startswith(f"{script.split()[0]}: hostile.log:")


@pytest.mark.parametrize("name", ["a line of a gigabyte, packed", "gzip: truncated"])
def test_logs_of_users_to_serve(small, name):
    (small / "hostile.log").write_bytes(LOGS[name]())
    line = refused(small, f"infer.py {MODEL_FLAGS} --infer_set_path=hostile.log", MEMORY + PADDLE)
    assert line.startswith("infer.py: hostile.log:")


@pytest.mark.parametrize(
    "script",
    [
        "data_processor.py --output_dir=hostile-out --feat_appear_limit=1 --processes=1 --train_set_path=hostile.log",
        f"{TRAIN} --train_set_path=hostile.log",
    ],
)
def test_a_plain_line_of_a_gigabyte(small, script):
    with open(small / "hostile.log", "wb") as stream:
        stream.truncate(1 << 30)  # zeros that take no place on the disk
    try:
        assert refused(small, script).startswith(
            f"{script.split()[0]}: hostile.log:1: a line of 268435456 bytes "
        )
    finally:
        (small / "hostile.log").unlink()


# ---------------------------------------------------------------- limits, and what others leave in the environment
INFER = f"infer.py {MODEL_FLAGS} --infer_set_path=log.txt"
COUNT = "data_processor.py --train_set_path=log.txt --output_dir=counted --feat_appear_limit=2"


def limited(folder, limits, command, **env):
    """What a command gives after `ulimit` with each of these flags."""
    limits = "".join(f"ulimit {flags} && " for flags in limits.split(", "))
    return subprocess.run(
        ["bash", "-c", f"{limits}exec {sys.executable} {command}"],
        cwd=folder,
        encoding="utf-8",
        capture_output=True,
        timeout=SECONDS,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize(
    "command",
    [
        INFER,
        INFER.replace("infer.py", "user_vector.py"),
        f"infer_user.py {MODEL_FLAGS}",
        TRAIN.replace("hostile-out", "limited-out"),
    ],
)
@pytest.mark.parametrize("kilobytes", [600_000, 900_000])
def test_too_little_address_space_for_paddle(small, kilobytes, command):
    """A line, where paddle would abort, or wait in OpenMP for ever."""
    result = limited(small, f"-v {kilobytes}", command)
    assert (result.returncode, result.stdout) == (2, "")
    script = command.split()[0]
    [line] = [line for line in result.stderr.splitlines() if f"{script}: paddle:" in line]
    assert line == result.stderr.splitlines()[-1]
    assert (
        "it takes 1024 MB of address space, and the limit of this process (ulimit -v) leaves "
        in line
    )
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [COUNT, f"item_vector.py {MODEL_FLAGS}"])
def test_little_address_space_is_enough_without_paddle(small, command):
    """600 MB are; of 100 MB the one line is about numpy."""
    plain, result = limited(small, "-c 0", command), limited(small, "-v 600000", command)
    assert (result.returncode, result.stdout, result.stderr) == (0, plain.stdout, plain.stderr)
    result = limited(small, "-v 100000", command)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert (
        ": numpy cannot be imported: the limit of memory, ulimit -v, is too low; " in result.stderr
    )


def test_few_open_files(small):
    """Sixteen are enough for all; with too few for another process the counting goes on with one."""
    plain = limited(small, "-n 1024", COUNT)
    for files in (12, 16):
        assert limited(small, f"-n {files}", f"{COUNT} --processes=2").stdout == plain.stdout != ""
    result = limited(small, "-n 16", INFER)
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 300
    result = limited(small, "-n 6", INFER)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "Too many open files" in result.stderr


@pytest.mark.parametrize(
    "variable, value, command, what",
    [
        (
            "PADDLE_TRAINER_ID",
            "x",
            INFER,
            "paddle: it cannot be loaded (invalid literal for int() ",
        ),
        ("FLAGS_allocator_strategy", "nonsense", INFER, "paddle: no memory can be allocated ("),
        ("PADDLE_TRAINERS_NUM", "x", TRAIN, "PADDLE_TRAINERS_NUM=x: not a whole number; "),
        ("PADDLE_TRAINERS_NUM", "2", TRAIN, "PADDLE_TRAINERS_NUM=2: PADDLE_TRAINER_ENDPOINTS and "),
    ],
)
def test_variables_that_paddle_reads(small, variable, value, command, what):
    result = limited(small, "-c 0", command, **{variable: value})
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"{command.split()[0]}: {what}")


@pytest.fixture(scope="module")
def served(small):
    """What infer.py gives without any limit or variable."""
    return limited(small, "-c 0", INFER)


@pytest.mark.parametrize(
    "variables",
    [
        {
            "OMP_NUM_THREADS": "0",
            "COLUMNS": "x",
            "CUDA_VISIBLE_DEVICES": "7",
            "FLAGS_unknown": "1",
            "LC_ALL": "C",
        },
        {
            "OMP_NUM_THREADS": "100000",
            "PADDLE_TRAINERS_NUM": "2",
            "PYTHONIOENCODING": "ascii",
            "COLUMNS": "0",
        },
    ],
)
def test_variables_that_change_nothing(small, served, variables):
    """Those of an earlier job, of a terminal, of a machine with other devices."""
    result = limited(small, "-c 0", INFER, **variables)
    assert (result.returncode, result.stdout, result.stderr) == (0, served.stdout, served.stderr)


USER_IDS = {
    "gzip: truncated": lambda: gzip.compress(b"U1\n" * 99)[:-9],
    "bzip2": lambda: bz2.compress(b"U1\n"),
    "gzip: a changed byte": lambda: gzip.compress(b"U1\nU2\n")[:10]
    + b"!!"
    + gzip.compress(b"U1\nU2\n")[12:],
    "not UTF-8": lambda: b"U1\nU\xff\n",
    "a log": lambda: b"U1\tP1\tC1\tNULL\tM1\n",
}


@pytest.mark.parametrize("name", USER_IDS)
def test_user_ids(tmp_path, name):
    (tmp_path / "ids").write_bytes(USER_IDS[name]())
    with pytest.raises(InputError) as caught:
        list(infer_user.read_user_ids(argparse.Namespace(user_ids=str(tmp_path / "ids"))))
    assert str(caught.value).startswith(f"{tmp_path}/ids:") and "; " in str(caught.value)


def test_user_ids_that_are_damaged(small):
    (small / "hostile.ids").write_bytes(USER_IDS["gzip: truncated"]())
    line = refused(small, f"infer_user.py {MODEL_FLAGS} --user_ids=hostile.ids", MEMORY + PADDLE)
    assert line.startswith("infer_user.py: hostile.ids:") and "damaged gzip data" in line
