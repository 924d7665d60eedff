"""What nights bring: strange logs, bad lines, full disks, dead processes, costs that explode, mixed-up parts."""
import gzip
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time

from conftest import ROOT, run, run_ok, small_log, train_command
from data_processor import ordered_map
from reader import InputError, atomic_write

import numpy as np
import pytest

MODEL_FLAGS = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"
GOOD = "U1\tP1\tNULL\tV1:C1:T1;V2:C2:T2_T3\tM1\n"
BAD = {"three columns": b"U1\tP1\tNULL\n", "empty history": b"U1\tP1\tNULL\t\tM1\n",
       "no tags": b"U1\tP1\tNULL\tV1:C1\tM1\n", "an empty click": b"U1\tP1\tNULL\tV1:C1:T1;\tM1\n",
       "not UTF-8": b"U\xff\tP1\tNULL\tV1:C1:T1\tM1\n", "NUL": b"U1\tP\x001\tNULL\tV1:C1:T1\tM1\n",
       "no tabs": b"   \n"}


def dictionary_of(folder, log, flags="", name="new"):
    """What data_processor.py makes of a log: (feature_dict.pkl, item_freq.pkl, stdout)."""
    (folder / f"{name}.txt").write_bytes(log)
    out = run_ok(f"python {ROOT}/data_processor.py --train_set_path={name}.txt --output_dir={name} "
                 f"--feat_appear_limit=1 {flags}", folder)
    return *((folder / name / file).read_bytes() for file in ("feature_dict.pkl", "item_freq.pkl")), out


# ---------------------------------------------------------------- logs
@pytest.mark.parametrize("change", [
    lambda log: log.replace(b"\n", b"\r\n"), lambda log: b"\xef\xbb\xbf" + log, lambda log: log.replace(b"\n", b"\n\n"),
    lambda log: log[:-1], gzip.compress, lambda log: gzip.compress(log[:999]) + gzip.compress(log[999:]),
    lambda log: b"\n\r\n" + log + b"\n",
], ids=["CRLF", "byte-order mark", "empty lines", "no last newline", "gzip", "gzip in two parts", "empty lines around"])
def test_the_same_log_in_other_clothes(small, tmp_path, change):
    """Dictionary, frequencies, summary, and the lists served, are those of the plain file."""
    plain = (small / "log.txt").read_bytes()
    assert dictionary_of(tmp_path, change(plain)) == dictionary_of(tmp_path, plain, name="plain")
    (small / "clothes.txt").write_bytes(change(plain))
    served = [run_ok(f"python infer.py --infer_set_path={path} {MODEL_FLAGS}", small)
              for path in ("log.txt", "clothes.txt")]
    assert served[0] == served[1]


def test_strange_names(tmp_path):
    """Colons, equals signs, spaces, quotes and foreign letters in names; underscores in all but tags."""
    names = ["a:b", "a=b", "a_b", "a b", "'\"", "\u5317\u4eac", "\U0001f600", "\u2028", "-", "../x", "<unk", "NULLS",
             "\x01"]
    tags = {name: name.replace("_", "").replace(":", "") for name in names}
    infos = ";".join(f"{name}:{name.replace(':', '')}:{tags[name]}" for name in names)
    log = "".join(f"{name}\t{name}\t{name}\t{infos}\t{name}\n" for name in names)
    content = pickle.loads(dictionary_of(tmp_path, log.encode())[0])
    assert set(content["user_id"]) == set(content["history_clicked_items"]) == {"<unk>", *names}
    assert set(content["province"]) == set(content["city"]) == set(content["phone"]) == {"<unk>", *names}
    assert set(content["history_clicked_tags"]) == {"<unk>", *tags.values()}


def test_long_short_and_repeated_histories(small):
    """A million clicks of one user, a user without any, a user on three lines: each line gets its own result."""
    clicks = ";".join(f"V{number % 40}:C1:T1" for number in range(10 ** 6))
    text = f"long\tP1\tNULL\t{clicks}\tM1\nnone\tP1\tNULL\tNULL\tM1\n" + "U1\tP1\tNULL\tV1:C1:T1\tM1\n" * 3
    (small / "long.txt").write_text(text, encoding="utf-8")
    out = run_ok("python data_processor.py --train_set_path=long.txt --output_dir=long --feat_appear_limit=1", small)
    assert out.startswith("5 lines, 1000003 clicks, 0.00%")
    lines = run_ok(f"python infer.py --infer_set_path=long.txt {MODEL_FLAGS}", small).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["long", "none", "U1", "U1", "U1"]
    assert len({line.split("\t")[1] for line in lines[2:]}) == 1 and len(set(lines)) == 3
    out = run_ok(train_command("output/long", "--train_set_path=long.txt --instances=sequence --shared_negatives "
                               "--num_passes=1 --batch_size=20000 --dnn_layer_dims 8 8 --lstm_dim=8"), small)
    assert json.loads((small / "output/long/metrics.jsonl").read_text())["instances"] == 10 ** 6 + 3, out


def test_bad_lines_are_set_aside(small, tmp_path):
    """With --max_bad_lines the results are those of the good lines; the bad ones lie in a file, each with a reason."""
    good = (small / "log.txt").read_bytes().splitlines(keepends=True)
    mixed = list(good)
    for number, bad in enumerate(BAD.values()):
        mixed.insert(10 + 20 * number, bad)
    expected = dictionary_of(tmp_path, b"".join(good))
    found = dictionary_of(tmp_path, b"".join(mixed), f"--max_bad_lines={len(BAD)}", "mixed")
    assert found == expected
    aside = (tmp_path / "mixed" / "bad_lines.txt").read_bytes().splitlines()
    assert [line.split(b"\t", 1)[1] + b"\n" for line in aside] == list(BAD.values())
    for number, line in enumerate(aside):
        assert line.startswith(f"mixed.txt:{11 + 20 * number}: ".encode())
    (small / "mixed.txt").write_bytes(b"".join(mixed))
    flags = f"--max_bad_lines={len(BAD)} --processes=2"
    served = run(f"python infer.py --infer_set_path=mixed.txt {MODEL_FLAGS} {flags}", small)
    assert served.stdout == run_ok(f"python infer.py --infer_set_path=log.txt {MODEL_FLAGS}", small)
    assert served.stderr == f"{len(BAD)} bad lines set aside in bad_lines.txt\n"
    run_ok(f"python user_vector.py --infer_set_path=mixed.txt {MODEL_FLAGS} {flags} --output_path=output/u.tsv", small)
    assert (small / "output" / "bad_lines.txt").read_bytes() == (small / "bad_lines.txt").read_bytes()
    run_ok(train_command("output/mixed", f"--train_set_path=mixed.txt {flags}"), small)
    run_ok(train_command("output/unmixed", "--processes=2"), small)
    models = [(small / "output" / name / "model_pass_00001.tar.gz").read_bytes() for name in ("mixed", "unmixed")]
    assert models[0] == models[1] and (small / "output" / "mixed" / "bad_lines.txt").exists()
    for path in (small / "bad_lines.txt", small / "output" / "bad_lines.txt"):
        path.unlink()


@pytest.mark.parametrize("name", BAD)
def test_one_bad_line_too_many(tmp_path, name):
    """None is allowed by default; of two, one too many is named, and nothing is written."""
    (tmp_path / "log.txt").write_bytes(GOOD.encode() * 30 + BAD[name] + GOOD.encode() * 30 + BAD[name] + GOOD.encode())
    for flags, line in (("", 31), ("--max_bad_lines=1", 62)):
        result = run(f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=out {flags}", tmp_path)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert result.stderr.startswith(f"data_processor.py: log.txt:{line}: ")
        assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- disks, pipes, rights, memory
def on_a_full_disk(folder, command):
    """Run a command where `folder`/disk has 4 kB to spare: a file system of 64 kB, filled; or else, where this machine
    lets nobody mount, by a limit on the size of files. `folder`/after is what it leaves of the disk."""
    for name in ("disk", "after"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    script = f"head -c 56K /dev/zero > disk/fill; cp seed/* disk; {command}; code=$?; cp disk/* after; exit $code"
    mount = "mount -t tmpfs -o size=64k tmpfs disk"
    for own in ("unshare -m", "unshare -rm"):
        if run(f"{own} sh -c '{mount}'", folder).returncode == 0:
            return run(f"{own} sh -c '{mount} && {script}'", folder)
    return run(script.replace(command, f"(ulimit -f 4; {command})"), folder)


@pytest.mark.parametrize("command, written", [
    ("python data_processor.py --train_set_path=log.txt --output_dir=disk --feat_appear_limit=1", "feature_dict.pkl"),
    (train_command("disk"), "model_pass_00000.tar.gz"),
    (f"python user_vector.py --infer_set_path=log.txt {MODEL_FLAGS} --output_path=disk/u.tsv", "u.tsv"),
    (f"python item_vector.py {MODEL_FLAGS} --output_path=disk/v.vec --feature_dict=output/feature_dict.pkl", "v.vec"),
])
def test_a_full_disk(small, command, written):
    """One line that names the file; nothing half-written stays, and what was there before is as it was."""
    shutil.rmtree(small / "seed", ignore_errors=True)
    (small / "seed").mkdir()
    (small / "seed" / written).write_text("of yesterday")
    result = on_a_full_disk(small, command)
    assert (result.returncode, result.stdout) == (2, "") and "Traceback" not in result.stderr, result
    line = result.stderr.splitlines()[-1]
    assert re.search(r": disk/\S+: (No space left on device|File too large); check the path, its rights", line)
    assert {path.name for path in (small / "after").iterdir()} == {"fill", written}
    assert (small / "after" / written).read_text() == "of yesterday"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("command", [
    "python data_processor.py --train_set_path=log.txt --output_dir=full", f"python item_vector.py {MODEL_FLAGS}",
    f"python infer.py --infer_set_path=log.txt {MODEL_FLAGS}", train_command("output/full", "--num_passes=1")])
def test_stdout_on_a_full_disk(small, command):
    result = run(f"{command} > /dev/full", small)
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.split(": ", 1)[1].startswith("output: No space left on device; check the path")
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr


@pytest.mark.parametrize("command", [
    "python data_processor.py --train_set_path=log.txt --output_dir=/proc/no", train_command("/proc/no"),
    f"python item_vector.py {MODEL_FLAGS} --output_path=/proc/no.tsv",
    "python data_processor.py --train_set_path=log.txt --output_dir=log.txt",
    "python data_processor.py --train_set_path=. --output_dir=no"])
def test_no_place_to_write_no_file_to_read(small, command):
    result = run(command, small)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1) and "Traceback" not in result.stderr


def test_out_of_memory(small):
    with gzip.open(small / "large.gz", "wb", 1) as stream:
        stream.write(b"U1\tP1\tNULL\tV1:C1:" + b"T1_" * (60 << 20) + b"T1\tM1\n")
    result = run("ulimit -v 900000; python data_processor.py --train_set_path=large.gz --output_dir=no", small)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1) and "out of memory" in result.stderr
    (small / "large.gz").unlink()


@pytest.mark.parametrize("flags", ["--learning_rate=1e30", "--optimizer=adagrad --learning_rate=1e38"])
def test_a_cost_that_explodes(small, flags):
    """Exit code 2, one line after the settings, no model, yesterday's files as they were."""
    folder = small / "output" / "explodes"
    folder.mkdir(exist_ok=True)
    (folder / "model_pass_00000.tar.gz").write_text("of yesterday")
    result = run(train_command("output/explodes", flags), small)
    assert result.returncode == 2 and result.stdout == ""
    assert "lower --learning_rate" in result.stderr.splitlines()[-1]
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr
    assert [path.read_text() for path in folder.iterdir()] == ["of yesterday"]


# ---------------------------------------------------------------- processes
def test_a_dead_worker_is_noticed():
    with pytest.raises(InputError, match="one of its processes ended"):
        list(ordered_map(lambda item: os._exit(9) if item == 3 else item, range(100), 2))
    assert list(ordered_map(lambda item: item * 2, range(100), 3)) == list(range(0, 200, 2))


def test_workers_go_with_their_parent(tmp_path):
    """Even when it is killed by force, between blocks and in the middle of one."""
    code = ("import sys, time; sys.path.insert(0, %r); from data_processor import ordered_map\n"
            "for _ in ordered_map(lambda item: time.sleep(1000 if item == 5 else 0), range(6), 2): print(flush=True)")
    process = subprocess.Popen([sys.executable, "-c", code % str(ROOT)], stdout=subprocess.PIPE)
    process.stdout.readline()
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as listing:
        children = listing.read().split()
    assert len(children) == 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 30
    while any(os.path.isdir(f"/proc/{child}") for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_atomic_write_leaves_nothing(tmp_path):
    """A failure leaves the old file; what a dead process left is removed, what a living one writes is not."""
    path = tmp_path / "file"
    path.write_text("old")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"file.{dead.pid}.tmp").write_text("half")
    (tmp_path / f"file.{os.getppid()}.tmp").write_text("in the making")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as stream:
        stream.write(b"new" * 9999)
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert {each.name for each in tmp_path.iterdir()} == {"file", f"file.{os.getppid()}.tmp"}
    with atomic_write(path) as stream:
        stream.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


# ---------------------------------------------------------------- parts of two runs
def test_parts_of_two_runs(small):
    """Same number of videos, other names: only fingerprints can tell."""
    other = small_log(300).replace("V3:", "W3:")
    (small / "two.txt").write_text(other, encoding="utf-8")
    run_ok("python data_processor.py --train_set_path=two.txt --output_dir=two --feat_appear_limit=2", small)
    mixed = {
        train_command("output/x", "--item_freq=two/item_freq.pkl"):
            "train.py: two/item_freq.pkl: made with another dictionary than --feature_dict; ",
        train_command("output/x", "--feature_dict=two/feature_dict.pkl"):
            "train.py: output/item_freq.pkl: made with another dictionary than --feature_dict; ",
        f"python item_vector.py {MODEL_FLAGS} --feature_dict=two/feature_dict.pkl":
            "item_vector.py: output/model/model_pass_00001.tar.gz: trained with another dictionary than --feature_dict",
    }
    for command, line in mixed.items():
        result = run(command, small)
        assert (result.returncode, result.stdout) == (2, "") and result.stderr.startswith(line)
    shutil.copy(small / "two" / "item_freq.pkl", small / "two" / "kept.pkl")
    freq = pickle.loads((small / "two" / "item_freq.pkl").read_bytes())
    freq[1], freq[2] = freq[2] / 2, freq[1] + freq[2] / 2
    (small / "two" / "item_freq.pkl").write_bytes(pickle.dumps(freq))
    result = run(train_command("output/x", "--item_freq=two/item_freq.pkl --feature_dict=two/feature_dict.pkl "
                               "--train_set_path=two.txt"), small)
    assert result.returncode == 2
    assert "not the one that the fingerprint.json beside it was written with" in result.stderr


def test_vectors_say_what_they_belong_to(small):
    run_ok(f"python user_vector.py --infer_set_path=log.txt {MODEL_FLAGS} --output_path=u.tsv", small)
    run_ok(f"python item_vector.py {MODEL_FLAGS} --output_path=v.npz", small)
    other = MODEL_FLAGS.replace("00001", "00000")
    run_ok(f"python item_vector.py {other} --output_path=o.vec", small)
    told = {name: json.loads((small / f"{name}.json").read_text()) for name in ("u.tsv", "v.npz", "o.vec")}
    assert told["u.tsv"] == told["v.npz"] != told["o.vec"]
    assert told["v.npz"]["feature_dict"] == told["o.vec"]["feature_dict"]
    assert told["v.npz"]["feature_dict"] == json.loads((small / "output/fingerprint.json").read_text())["feature_dict"]


def test_nobody_to_serve(small):
    """An empty log gives empty results of every kind."""
    (small / "nobody.txt").write_text("\n")
    flags = f"--infer_set_path=nobody.txt {MODEL_FLAGS}"
    assert run_ok(f"python infer.py {flags}", small) == run_ok(f"python user_vector.py {flags}", small) == ""
    for kind in ("tsv", "npz", "vec"):
        run_ok(f"python user_vector.py {flags} --output_path=nobody.{kind}", small)
    assert (small / "nobody.tsv").read_bytes() == b"" and (small / "nobody.vec").read_bytes() == b"0 33\n"
    arrays = np.load(small / "nobody.npz", allow_pickle=False)
    assert arrays["ids"].shape == (0,) and arrays["vectors"].shape == (0, 33)
