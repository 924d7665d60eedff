"""TODO"""

import gzip
import json
import pickle

from candgen.archives import read_archive
from candgen.data.dictionary import load_feature_dict
from candgen.serving.vector_files import write_vectors
from conftest import ROOT, run, run_ok, train_command
from reader import Reader

import numpy as np
import pytest

MODEL_FLAGS = (
    "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"
)


def dictionary_of(folder, log, flags="", name="new"):
    """What data_processor.py makes of a log: (feature_dict.pkl, item_freq.pkl, stdout)."""
    (folder / f"{name}.txt").write_bytes(log)
    out = run_ok(
        f"python {ROOT}/data_processor.py --train_set_path={name}.txt --output_dir={name} "
        f"--feat_appear_limit=1 {flags}",
        folder,
    )
    return *(
        (folder / name / file).read_bytes() for file in ("feature_dict.pkl", "item_freq.pkl")
    ), out


@pytest.mark.parametrize(
    "change",
    [
        lambda log: log.replace(b"\n", b"\r\n"),
        lambda log: b"\xef\xbb\xbf" + log,
        lambda log: log.replace(b"\n", b"\n\n"),
        lambda log: log[:-1],
        gzip.compress,
        lambda log: gzip.compress(log[:999]) + gzip.compress(log[999:]),
        lambda log: b"\n\r\n" + log + b"\n",
    ],
    ids=[
        "CRLF",
        "byte-order mark",
        "empty lines",
        "no last newline",
        "gzip",
        "gzip in two parts",
        "empty lines around",
    ],
)
def test_the_same_log_in_other_clothes(small, tmp_path, change):
    """Dictionary, frequencies, summary, and what the network is given, are those of the plain file."""
    plain = (small / "log.txt").read_bytes()
    assert dictionary_of(tmp_path, change(plain)) == dictionary_of(tmp_path, plain, name="plain")
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    encoded = [
        list(Reader(feature_dict).encode(str(tmp_path / f"{name}.txt"), 7))
        for name in ("plain", "new")
    ]
    assert [log.users for log in encoded[0]] == [log.users for log in encoded[1]]
    assert [log.fingerprint() for log in encoded[0]] == [log.fingerprint() for log in encoded[1]]


def test_strange_names(tmp_path):
    """Colons, equals signs, spaces, quotes and foreign letters in names; underscores in all but tags."""
    names = [
        "a:b",
        "a=b",
        "a_b",
        "a b",
        "'\"",
        "\u5317\u4eac",
        "\U0001f600",
        "\u2028",
        "-",
        "../x",
        "<unk",
        "NULLS",
        "\x01",
    ]
    tags = {name: name.replace("_", "").replace(":", "") for name in names}
    infos = ";".join(f"{name}:{name.replace(':', '')}:{tags[name]}" for name in names)
    log = "".join(f"{name}\t{name}\t{name}\t{infos}\t{name}\n" for name in names)
    content = pickle.loads(dictionary_of(tmp_path, log.encode())[0])
    assert set(content["user_id"]) == set(content["history_clicked_items"]) == {"<unk>", *names}
    assert (
        set(content["province"])
        == set(content["city"])
        == set(content["phone"])
        == {"<unk>", *names}
    )
    assert set(content["history_clicked_tags"]) == {"<unk>", *tags.values()}


def test_long_short_and_repeated_histories(small):
    """A million clicks of one user, a user without any, a user on three lines: each line gets its own result."""
    clicks = ";".join(f"V{number % 40}:C1:T1" for number in range(10**6))
    text = (
        f"long\tP1\tNULL\t{clicks}\tM1\nnone\tP1\tNULL\tNULL\tM1\n"
        + "U1\tP1\tNULL\tV1:C1:T1\tM1\n" * 3
    )
    (small / "long.txt").write_text(text, encoding="utf-8")
    out = run_ok(
        "python data_processor.py --train_set_path=long.txt --output_dir=long --feat_appear_limit=1",
        small,
    )
    assert out.startswith("5 lines, 1000003 clicks, 0.00%")
    lines = run_ok(f"python infer.py --infer_set_path=long.txt {MODEL_FLAGS}", small).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["long", "none", "U1", "U1", "U1"]
    assert len({line.split("\t")[1] for line in lines[2:]}) == 1 and len(set(lines)) == 3
    run_ok(
        train_command(
            "output/long",
            "--train_set_path=long.txt --instances=sequence --shared_negatives "
            "--num_passes=1 --batch_size=20000 --dnn_layer_dims 8 8 --lstm_dim=8",
        ),
        small,
    )
    assert json.loads((small / "output/long/metrics.jsonl").read_text())["instances"] == 10**6 + 3


def test_a_log_with_other_ids(small):
    """Nothing in it is known: it is served all the same, and said."""
    (small / "strange.txt").write_text(
        (small / "log.txt").read_text().replace("V", "video-").replace("U", "user-")
    )
    result = run(f"python infer.py --infer_set_path=strange.txt {MODEL_FLAGS}", small)
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 300
    lines = result.stderr.splitlines()
    assert (
        lines[0]
        == "infer.py: strange.txt: 300 users, 0 of them known; 6126 clicks, 0 of them on known videos"
    )
    assert lines[1].startswith(
        "infer.py: warning: the dictionary knows hardly anything in strange.txt; "
    )


def test_two_logs_from_one_standard_input(small):
    for flags in ("--train_set_path=- --test_set_path=-", "--train_set_path=- --valid_set_path=-"):
        result = run(f"{train_command('output/stdin', flags)} < log.txt", small)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert (
            "only one log can be standard input" in result.stderr
            and not (small / "output/stdin").exists()
        )


def test_nobody_to_serve(small):
    """An empty log gives empty results of every kind."""
    (small / "nobody.txt").write_text("\n")
    flags = f"--infer_set_path=nobody.txt {MODEL_FLAGS}"
    assert run_ok(f"python infer.py {flags}", small) == ""
    assert run_ok(f"python user_vector.py {flags} --output_path=nobody.npz", small) == ""
    model = read_archive(small / "output/model/model_pass_00001.tar.gz", "")
    for kind in ("tsv", "vec"):
        write_vectors(str(small / f"nobody.{kind}"), model, iter([]))
    assert (small / "nobody.tsv").read_bytes() == b"" and (
        small / "nobody.vec"
    ).read_bytes() == b"0 33\n"
    arrays = np.load(small / "nobody.npz", allow_pickle=False)
    assert arrays["ids"].shape == (0,) and arrays["vectors"].shape == (0, 33)
