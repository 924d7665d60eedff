"""Logs that are unusual but good: encodings, names, long histories."""

import gzip
import pickle
import urllib.parse

from candgen.data.dictionary import load_feature_dict
from conftest import checkout, lists_of, metrics_of, run_ok, train_command
from reader import Reader

import pytest
from test_bad_lines import dictionary_of

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


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
def test_the_same_log_in_another_form(small, tmp_path, change):
    """Dictionary, frequencies, summary and encoded log are those of the plain file."""
    log = (small / "log.txt").read_bytes()
    expected = dictionary_of(tmp_path, log, name="plain")
    assert dictionary_of(tmp_path, change(log)) == expected
    reader = Reader(load_feature_dict(small / "output" / "feature_dict.pkl"))
    plain, new = (
        list(reader.encode([str(tmp_path / f"{name}.txt")], 7)) for name in ("plain", "new")
    )
    assert [block.users for block in plain] == [block.users for block in new]
    assert [block.fingerprint() for block in plain] == [block.fingerprint() for block in new]


def test_unusual_names(tmp_path):
    """Colons, spaces, quotes and foreign letters in names; underscores in all but tags."""
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
    tags = [name.replace("_", "").replace(":", "") for name in names]
    infos = ";".join(f"{name}:{name.replace(':', '')}:{tag}" for name, tag in zip(names, tags))
    log = "".join(f"{name}\t{name}\t{name}\t{infos}\t{name}\n" for name in names)
    content = pickle.loads(dictionary_of(tmp_path, log.encode())[0])
    assert set(content["user_id"]) == set(content["history_clicked_items"]) == {"<unk>", *names}
    assert (
        set(content["province"])
        == set(content["city"])
        == set(content["phone"])
        == {"<unk>", *names}
    )
    assert set(content["history_clicked_tags"]) == {"<unk>", *tags}


def test_long_short_and_repeated_histories(small):
    """A million clicks of one user, a user without any, one on three lines: a result for each."""
    clicks = ";".join(f"V{number % 40}:C1:T1" for number in range(10**6))
    text = f"long\tP1\tNULL\t{clicks}\tM1\nnone\tP1\tNULL\tNULL\tM1\n"
    text += "U1\tP1\tNULL\tV1:C1:T1\tM1\n" * 3
    (small / "long.txt").write_text(text, encoding="utf-8")
    out = run_ok(
        "python data_processor.py --train_set_path=long.txt --output_dir=long "
        "--feat_appear_limit=1",
        small,
    )
    assert out.startswith("5 lines, 1000003 clicks, 0.00%")
    lines = run_ok(f"python infer.py --infer_set_path=long.txt {MODEL}", small).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["long", "none", "U1", "U1", "U1"]
    assert len({line.split("\t")[1] for line in lines[2:]}) == 1 and len(set(lines)) == 3
    flags = (
        "--train_set_path=long.txt --instances=sequence --shared_negatives --num_passes=1 "
        "--batch_size=20000 --dnn_layer_dims 8 8 --lstm_dim=8 --no-rules"
    )
    run_ok(train_command("output/long", flags), small)
    assert metrics_of(small / "output" / "long")[0]["instances"] == 10**6 + 3


ODD = [
    "http://x.com/a?b=1,2",
    "a,b",
    "100%",
    "%2C",
    "%",
    ",",
    "c d",
    '"q"',
    "a:b",
    "+",
    "视频7",
    "é",
    "AC%3BDC",
]


def test_lists_can_be_split_at_commas(tmp_path):
    """They decode to what the ids of the log decode to, which a table has; so do files of ids."""
    folder = checkout(tmp_path / "clone")
    histories = [ODD, ODD[::-1], ODD[3:]]
    users = ["用户0", "用户1", "用户%3A2"]
    (folder / "log.txt").write_text(
        "".join(
            f"{user}\tP\tC\t{';'.join(f'{video}:NULL:NULL' for video in history)}\tPH\n"
            for user, history in zip(users, histories)
        ),
        encoding="utf-8",
    )
    run_ok(
        "python data_processor.py --train_set_path=log.txt --output_dir=output "
        "--feat_appear_limit=1",
        folder,
    )
    run_ok(train_command("output/model", "--num_passes=1"), folder)
    flags = MODEL.replace("00001", "00000")
    out = run_ok(f"python infer.py --infer_set_path=log.txt {flags}", folder)
    of_users = run_ok(f"python infer_user.py {flags}", folder)
    for lists in (out, of_users):
        assert sorted(user for user, _ in lists_of(lists)) == sorted(users)
        for _, pairs in lists_of(lists):
            found = sorted(urllib.parse.unquote(video) for video, _ in pairs)
            assert found == sorted(map(urllib.parse.unquote, ODD))
            assert sum(share for _, share in pairs) == pytest.approx(1, abs=1e-4)
    for entry in ("http://x.com/a?b=1%2C2:", "视频7:", "100%25:", "AC%3BDC:"):
        assert entry in out
    table = run_ok(f"python infer.py --infer_set_path=log.txt {flags} --format=long", folder)
    rows = [line.split("\t") for line in table.split("\n")[1:-1]]
    assert sorted(row[2] for row in rows) == sorted(3 * ODD)
    for name, text in (("list", "AC%3BDC\n100%25\n"), ("own", "AC;DC\n100%\n")):
        (folder / name).write_text(text)
        out = run_ok(f"python infer_user.py {flags} --allow_items={name}", folder)
        for _, pairs in lists_of(out):
            assert sorted(video for video, _ in pairs) == ["100%25", "AC%3BDC"]
    (folder / "users").write_text("用户:2\n用户%3A2\n%E7%94%A8户1\n用户2\n", encoding="utf-8")
    found = lists_of(run_ok(f"python infer_user.py {flags} --user_ids=users", folder))
    assert [user for user, _ in found] == ["用户%3A2", "用户%3A2", "用户1", "用户2"]
    known = dict(lists_of(of_users))
    assert all(pairs == known[user] for user, pairs in found[:3])
