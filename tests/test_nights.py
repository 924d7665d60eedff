"""What nights bring: strange logs, bad lines, full disks, dead processes, costs that explode, mixed-up parts."""
import contextlib
import gzip
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys

from conftest import ROOT, run, run_ok, small_log, train_command
from infer import write_vectors
from reader import BadLines, Reader, make_batch, sliding_windows
from utils import dictionary_fingerprint, load_feature_dict, read_archive, write_archive

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
    """Dictionary, frequencies, summary, and what the network is given, are those of the plain file."""
    plain = (small / "log.txt").read_bytes()
    assert dictionary_of(tmp_path, change(plain)) == dictionary_of(tmp_path, plain, name="plain")
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    encoded = [list(Reader(feature_dict).encode(str(tmp_path / f"{name}.txt"), 7)) for name in ("plain", "new")]
    assert [log.users for log in encoded[0]] == [log.users for log in encoded[1]]
    assert [log.fingerprint() for log in encoded[0]] == [log.fingerprint() for log in encoded[1]]


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
    run_ok(train_command("output/long", "--train_set_path=long.txt --instances=sequence --shared_negatives "
                         "--num_passes=1 --batch_size=20000 --dnn_layer_dims 8 8 --lstm_dim=8"), small)
    assert json.loads((small / "output/long/metrics.jsonl").read_text())["instances"] == 10 ** 6 + 3


def test_bad_lines_are_left_out(small, tmp_path):
    """With --max_bad_lines the results are those of the good lines; the bad ones are named, each with a reason, and no
    file is written for them."""
    good = (small / "log.txt").read_bytes().splitlines(keepends=True)
    mixed = list(good)
    for number, bad in enumerate(BAD.values()):
        mixed.insert(10 + 20 * number, bad)
    (small / "mixed.txt").write_bytes(b"".join(mixed))
    (small / "bad_lines.txt").write_text("of somebody else")
    flags = f"--max_bad_lines={len(BAD)}"
    assert dictionary_of(tmp_path, b"".join(mixed), flags, "mixed") == dictionary_of(tmp_path, b"".join(good))
    plain = run_ok(f"python infer.py --infer_set_path=log.txt {MODEL_FLAGS}", small)
    files = set(os.listdir(small))
    served = run(f"python infer.py --infer_set_path=mixed.txt {MODEL_FLAGS} {flags}", small)
    *named, last = served.stderr.splitlines()
    assert [line.split(": ")[:3] for line in named] == [
        ["infer.py", "left out", f"mixed.txt:{11 + 20 * number}"] for number in range(len(BAD))]
    assert last == "infer.py: mixed.txt: 300 users, 300 of them known; 6126 clicks, 6126 of them on known videos"
    assert served.stdout == plain and set(os.listdir(small)) == files
    assert (small / "bad_lines.txt").read_text() == "of somebody else"
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    [sifted] = Reader(feature_dict, BadLines(len(BAD))).encode(str(small / "mixed.txt"))
    [whole] = Reader(feature_dict).encode(str(small / "log.txt"))
    batches = [make_batch(log, sliding_windows(log.lengths, 5)) for log in (sifted, whole)]  # what train.py is given
    for name in ("user_id", "history_clicked_items", "history_clicked_categories", "tag_counts", "target"):
        np.testing.assert_array_equal(batches[0][name], batches[1][name])


def test_printed_vectors_are_as_many_as_lines(small):
    """Without ids nobody could tell which line was left out: that takes a file."""
    result = run(f"python user_vector.py --infer_set_path=log.txt {MODEL_FLAGS} --max_bad_lines=1", small)
    assert (result.returncode, result.stdout) == (2, "") and "--max_bad_lines needs --output_path" in result.stderr


@pytest.mark.parametrize("name", BAD)
def test_one_bad_line_too_many(tmp_path, name):
    """None is allowed by default; of two, one too many is named, and nothing is written."""
    (tmp_path / "log.txt").write_bytes(GOOD.encode() * 30 + BAD[name] + GOOD.encode() * 30 + BAD[name] + GOOD.encode())
    for flags, told in (("", ["log.txt:31: "]), ("--max_bad_lines=1", ["left out: log.txt:31: ", "log.txt:62: "])):
        result = run(f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=out {flags}", tmp_path)
        lines = result.stderr.splitlines()
        assert result.returncode == 2 and len(lines) == len(told)
        assert all(line.startswith("data_processor.py: " + start) for line, start in zip(lines, told))
        assert not (tmp_path / "out").exists()


def test_a_log_with_other_ids(small):
    """Nothing in it is known: it is served all the same, and said."""
    (small / "strange.txt").write_text((small / "log.txt").read_text().replace("V", "video-").replace("U", "user-"))
    result = run(f"python infer.py --infer_set_path=strange.txt {MODEL_FLAGS}", small)
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 300
    lines = result.stderr.splitlines()
    assert lines[0] == "infer.py: strange.txt: 300 users, 0 of them known; 6126 clicks, 0 of them on known videos"
    assert lines[1].startswith("infer.py: warning: the dictionary knows hardly anything in strange.txt; ")


def test_two_logs_from_one_standard_input(small):
    for flags in ("--train_set_path=- --test_set_path=-", "--train_set_path=- --valid_set_path=-"):
        result = run(f"{train_command('output/stdin', flags)} < log.txt", small)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert "only one log can be standard input" in result.stderr and not (small / "output/stdin").exists()


def test_a_long_id_and_vectors(small):
    """In a .npz each id would take as much place as the longest: refused, and a .tsv has no such limit."""
    feature_dict = load_feature_dict(small / "output" / "feature_dict.pkl")
    for letters in (256, 257):
        videos = {"L" * letters if video == "V7" else video: id_
                  for video, id_ in feature_dict["history_clicked_items"].items()}
        long = {**feature_dict, "history_clicked_items": videos}
        (small / "long.pkl").write_bytes(pickle.dumps(long))
        told, arrays = read_archive(small / "output/model/model_pass_00001.tar.gz", "")
        write_archive(small / "long.tar.gz", {**told, "dictionary_fingerprint": dictionary_fingerprint(long)}, arrays)
        flags = "--model_path=long.tar.gz --feature_dict=long.pkl --output_path"
        result = run(f"python item_vector.py {flags}=long.npz", small)
        if letters == 256:
            assert result.returncode == 0 and "L" * 256 in np.load(small / "long.npz")["ids"]
            (small / "long.npz").unlink()
            (small / "long.npz.json").unlink()
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("item_vector.py: long.npz: an id of more than 256 letters")
    assert not list(small.glob("long.npz*"))
    run_ok(f"python item_vector.py {flags}=long.tsv", small)
    ids = [line.split("\t")[0] for line in (small / "long.tsv").read_text().splitlines()]
    assert ids == list(videos)[1:]


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
    (f"python user_vector.py --export_dir=disk {MODEL_FLAGS}", "user_tower.json"),
])
def test_a_full_disk(small, command, written):
    """One line that names the file; nothing half-written stays, and what was there before is as it was."""
    shutil.rmtree(small / "seed", ignore_errors=True)
    (small / "seed").mkdir()
    (small / "seed" / written).write_text("of yesterday")
    result = on_a_full_disk(small, command)
    assert (result.returncode, result.stdout) == (2, "") and "Traceback" not in result.stderr, result
    line = result.stderr.splitlines()[-1]
    what = "No space left on device|File too large|what was written cannot be read .*"
    assert re.search(rf": disk\S*: ({what}); check the path, its rights", line)
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
    "python data_processor.py --train_set_path=log.txt --output_dir=/proc/no",
    f"python item_vector.py {MODEL_FLAGS} --output_path=/proc/no.tsv",
    f"python user_vector.py --infer_set_path=log.txt {MODEL_FLAGS} --output_path=log.txt/no.tsv",
    "python data_processor.py --train_set_path=log.txt --output_dir=log.txt",
    "python data_processor.py --train_set_path=. --output_dir=no"])
def test_no_place_to_write_no_file_to_read(small, command):
    result = run(command, small)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1) and "Traceback" not in result.stderr


@pytest.mark.parametrize("folder", ["/proc/no", "/proc/self", "log.txt/no"])
def test_no_place_for_models(small, folder):
    """Noticed before anything is read."""
    result = run(train_command(folder), small)
    [line] = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (2, "") and line.startswith(f"train.py: {folder}"), result.stderr
    assert line.endswith("check the path, its rights and the free space")


def test_out_of_memory(small):
    with gzip.open(small / "large.gz", "wb", 1) as stream:
        stream.write(b"U1\tP1\tNULL\tV1:C1:" + b"T1_" * (60 << 20) + b"T1\tM1\n")
    result = run("ulimit -v 900000; python data_processor.py --train_set_path=large.gz --output_dir=no", small)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1) and "out of memory" in result.stderr
    (small / "large.gz").unlink()


@pytest.mark.parametrize("flags", ["--learning_rate=1e30", "--optimizer=adagrad --learning_rate=1e38"])
def test_a_cost_that_explodes(small, flags):
    """Exit code 2, the last line says why, no model, yesterday's files as they were."""
    folder = small / "output" / "explodes"
    folder.mkdir(exist_ok=True)
    (folder / "model_pass_00000.tar.gz").write_text("of yesterday")
    result = run(train_command("output/explodes", flags), small)
    assert result.returncode == 2 and result.stdout == ""
    assert "lower --learning_rate" in result.stderr.splitlines()[-1]
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr
    assert [path.read_text() for path in folder.iterdir()] == ["of yesterday"]


# ---------------------------------------------------------------- processes
COUNTING = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
import data_processor, utils
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where whoever runs the tests ignores it

def count_share(parts, max_user_clicks=None, progress=False):  # in place of the one that counts
    start = parts[0][1]
    print(os.getpid(), flush=True)
    return {work}

count_share.__module__ = "data_processor"
data_processor.count_share = count_share
sys.argv = ["data_processor.py", "--train_set_path=log.txt", "--output_dir=no", "--processes=2"]
utils.run_script(data_processor.main)
"""


def counting(folder, work):
    """data_processor.py at work in a group of its own, both of its workers begun."""
    (folder / "log.txt").write_text(GOOD * 100)
    code = COUNTING.format(root=str(ROOT), work=work)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    assert len({process.stdout.readline(), process.stdout.readline()}) == 2
    return process


def ended(process):
    """Its stderr, once it and all its workers are gone: each of them holds the other end of the pipe."""
    try:
        return process.communicate(timeout=30)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_dead_worker_is_noticed(tmp_path):
    """Linux ends the largest process when memory is short."""
    process = counting(tmp_path, "os._exit(9) if start else time.sleep(1) or data_processor.Counts()")
    stderr = ended(process)
    assert process.returncode == 2 and stderr.count("\n") == 1 and "out of memory" in stderr
    assert not (tmp_path / "no").exists()


def test_workers_go_with_their_parent(tmp_path):
    """Even when it is killed by force, in the middle of their work."""
    process = counting(tmp_path, "time.sleep(1000)")
    process.kill()
    assert ended(process) == "" and process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("group", [False, True], ids=["the first process", "all of them, as Ctrl-C does"])
def test_interrupted_while_counting(tmp_path, group):
    """It does not wait for its workers to get through a long log."""
    process = counting(tmp_path, "time.sleep(1000)")
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    assert ended(process) == "data_processor.py: interrupted\n" and process.returncode == 130


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
    assert run_ok(f"python infer.py {flags}", small) == ""
    assert run_ok(f"python user_vector.py {flags} --output_path=nobody.npz", small) == ""
    model = read_archive(small / "output/model/model_pass_00001.tar.gz", "")
    for kind in ("tsv", "vec"):
        write_vectors(str(small / f"nobody.{kind}"), model, iter([]))
    assert (small / "nobody.tsv").read_bytes() == b"" and (small / "nobody.vec").read_bytes() == b"0 33\n"
    arrays = np.load(small / "nobody.npz", allow_pickle=False)
    assert arrays["ids"].shape == (0,) and arrays["vectors"].shape == (0, 33)


def test_what_strangers_tried(small, tmp_path):
    """A file where a folder is wanted, before anything is read; a part counted twice; a checkpoint for a model; a run
    that is resumed without its validation log; no users at all."""
    (tmp_path / "file").write_text("")
    log, model = "--train_set_path=nowhere", "--model_path=output/model/model_pass_00001.tar.gz"
    dictionary = "--feature_dict=output/feature_dict.pkl"
    run_ok(f"python data_processor.py --train_set_path=log.txt --counts_only --output_dir={tmp_path}", small)
    run_ok(train_command(tmp_path / "valid", "--valid_set_path=log.txt --num_passes=1 --no-rules"), small)
    for command, said in (
            (f"data_processor.py {log} --output_dir={tmp_path}/file", "is a file: give a folder"),
            (train_command(f"{tmp_path}/file").removeprefix("python "), "is a file: give a folder"),
            (f"infer_user.py {model} {dictionary} --output_dir={tmp_path}/file", "is a file: give a folder"),
            (f"data_processor.py --merge_counts {tmp_path}/counts.pkl {tmp_path}/counts.pkl --output_dir=x",
             "given twice"),
            (f"infer.py --infer_set_path=log.txt --model_path={tmp_path}/valid/checkpoint.tar.gz {dictionary}",
             "the checkpoint of a run, not a model"),
            (train_command(tmp_path / "valid", "--resume --no-rules").removeprefix("python "),
             "made by a run with another validation log;")):
        result = run(f"python {command}", small)
        assert (result.returncode, result.stdout) == (2, "") and said in result.stderr.splitlines()[-1], result.stderr
    result = run(f"python infer.py --infer_set_path={tmp_path}/file {model} {dictionary}", small)
    assert (result.returncode, result.stdout) == (0, "") and f"warning: no line in {tmp_path}/file" in result.stderr
