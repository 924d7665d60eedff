"""What every script shares: exit codes, argument types, files that are whole, pickles and archives that are plain."""
import argparse
import errno
import io
import os
import pickle
import stat
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import utils
from conftest import FEATURES, ROOT, SMALL_DICT, run
from utils import InputError, atomic_write

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

MEND = "give another"


def save(path, content):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return str(path)


# ---------------------------------------------------------------- errors and exit codes
@pytest.mark.parametrize("raised, code, line", [
    (InputError("a.txt", 3, "broken", "mend it"), 2, "s.py: a.txt:3: broken; mend it\n"),
    (InputError("a.txt", None, "two\nlines", "mend it"), 2, "s.py: a.txt: two lines; mend it\n"),
    (KeyboardInterrupt(), 130, "s.py: interrupted\n"),
    (PermissionError(13, "Permission denied", "out"), 2, "s.py: out: Permission denied; check the path, its rights "
                                                         "and the free space\n"),
    (OSError(errno.EMFILE, "Too many open files"), 2,
     "s.py: output: Too many open files; allow this process more open files: ulimit -n 1024\n"),
    (BrokenPipeError(), 0, ""),
    (MemoryError(), 2, "s.py: out of memory; give a smaller --batch_size or a larger machine\n"),
    (ModuleNotFoundError("No module named 'paddle'"), 2, "s.py: No module named 'paddle'; pip install -r "
                                                         "requirements.txt\n"),
])
def test_exit_codes(monkeypatch, raised, code, line):
    def main():
        raise raised
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["/somewhere/s.py"])
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit) as caught:
        utils.run_script(main)
    assert caught.value.code == code and stderr.getvalue() == line


def test_an_error_of_ours_is_shown_whole(monkeypatch):
    """What no user can mend keeps its traceback."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(ZeroDivisionError):
        utils.run_script(lambda: 1 // 0)


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(InputError("a.txt", 3, "broken", "mend it")))
    assert isinstance(error, InputError) and str(error) == "a.txt:3: broken; mend it"


@pytest.mark.parametrize("locale", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"},
                                    {"PYTHONIOENCODING": "latin-1"}])
def test_results_are_utf8_whatever_the_locale_says(tmp_path, locale):
    code = "import utils; utils.run_script(lambda: print('\\u5317\\u4eac'))"
    result = run(f'python -c "{code}"', tmp_path, env={**locale, "PYTHONPATH": str(ROOT)}, encoding=None)
    assert (result.returncode, result.stdout) == (0, "\u5317\u4eac\n".encode())


@pytest.mark.parametrize("closed, code", [("<&-", 2), (">&-", 0), ("2>&-", 0)])
def test_closed_streams(tmp_path, closed, code):
    """Jobs are started with all kinds of streams closed: no traceback, and nothing but results in stdout."""
    source = "-" if closed == "<&-" else "log.txt"
    (tmp_path / "log.txt").write_text("u\tp\tc\tv:a:s\tm\n")
    result = run(f"python {ROOT}/data_processor.py --train_set_path={source} --output_dir=out --feat_appear_limit=1 "
                 f"{closed}", tmp_path)
    assert "Traceback" not in result.stderr and result.returncode == code
    assert (tmp_path / "out").exists() == (code == 0)
    assert "data_processor.py:" not in result.stdout


PRINTS = f'{sys.executable} -c "import utils; utils.run_script(lambda: print(20_000 * \'line\\n\'))"'


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("limit, code, line", [
    ("(ulimit -f 8; {} > out)", 2, "-c: output: File too large; check the path, its rights and the free space\n"),
    ("{} | head -n 1 > out", 0, "")])
def test_results_are_complete_or_the_run_fails(tmp_path, unbuffered, limit, code, line):
    """A short write ends with exit code 2, whatever PYTHONUNBUFFERED is; a reader that leaves early with 0."""
    result = run(limit.format(PRINTS), tmp_path, env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered})
    assert (result.returncode, result.stderr) == (code, line)


def test_unbuffered_results_come_at_once(tmp_path):
    """A line is there before the script has ended."""
    code = ("import os, sys, utils; utils.run_script(lambda: (print('one'), sys.stdout.write('two\\n'), "
            "os.kill(os.getpid(), 9)))")
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    assert run(f'{sys.executable} -c "{code}"', tmp_path, env=environment).stdout == "one\ntwo\n"


def test_a_stream_that_is_no_file_stays(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit):
        utils.run_script(lambda: print("line"))
    assert stream.getvalue() == "line\n"


# ---------------------------------------------------------------- the home folder
@pytest.mark.parametrize("home", ["/dev/null", "/proc/home", "relative", "read-only", "usable"])
def test_home(tmp_path, monkeypatch, home):
    """One that cannot be written to is replaced by a temporary folder; another one is kept."""
    (tmp_path / "read-only").mkdir(mode=0o500)
    if home in ("read-only", "usable"):
        home = str(tmp_path / home)
    if home.endswith("read-only") and os.access(home, os.W_OK):
        pytest.skip("this user can write everywhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", home)
    removed = []
    monkeypatch.setattr("atexit.register", lambda function, path, **_: removed.append(path))
    utils.ensure_home(".cache/a", ".b")
    found = os.environ["HOME"]
    assert (found == home) == home.endswith("usable") and removed == [found] * (found != home)
    if removed:
        os.rmdir(found)
    else:
        assert sorted(os.listdir(home)) == [".b", ".cache"] and os.listdir(f"{home}/.b") == []


def test_no_home_and_no_temporary_folder(monkeypatch):
    def nowhere(**_):
        raise FileNotFoundError("No usable temporary directory")
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr("tempfile.mkdtemp", nowhere)
    with pytest.raises(InputError, match=r"HOME=/dev/null.*there is no temporary folder; set TMPDIR or HOME"):
        utils.ensure_home(".cache")


# ---------------------------------------------------------------- the command line
@pytest.mark.parametrize("kind, minimum, maximum, above, good, bad", [
    (int, 1, 9, False, ["1", "9", " 5 "], ["0", "10", "-3", "1.5", "x", "", "1e3"]),
    (float, 0, 1, True, ["1", "0.001", "1e-9"], ["0", "1.01", "-1", "nan", "inf", "x"]),
    (float, 0, float("inf"), False, ["0", "1e300"], ["-0.1", "inf", "nan", "-inf"]),
])
def test_numbers(kind, minimum, maximum, above, good, bad):
    convert = utils.number_type(kind, minimum, maximum, above)
    assert [convert(text) for text in good] == [kind(text) for text in good]
    for text in bad:
        with pytest.raises((ValueError, argparse.ArgumentTypeError)):
            convert(text)


def test_home_in_paths(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/u")
    assert [utils.path_type(path) for path in ("~/x", "a/~", "-")] == ["/home/of/u/x", "a/~", "-"]


@pytest.mark.parametrize("text, what", [
    ("", "an empty path"), ("file:///data/log.txt", "is a URL"), ("hdfs://host/out", "is a URL"),
    ("~nobody-of-this-name/x", "no home folder is known")])
def test_what_is_no_path(text, what):
    """Refused, rather than made a folder of that name."""
    for convert in (utils.path_type, utils.folder_type):
        with pytest.raises(argparse.ArgumentTypeError, match=what):
            convert(text)


def test_a_name_that_begins_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~log").write_text("")
    assert [utils.path_type(path) for path in ("~log", "./~new")] == ["~log", "./~new"]


# ---------------------------------------------------------------- what others leave in the environment
LAUNCHED = {"PADDLE_TRAINERS_NUM": "2", "PADDLE_TRAINER_ID": "1", "PADDLE_CURRENT_ENDPOINT": "b:2",
            "PADDLE_TRAINER_ENDPOINTS": "a:1,b:2"}


@pytest.fixture
def launcher(monkeypatch):
    """A function that sets the variables of paddle's launcher to these, and no others."""
    def set_variables(variables):
        for name in (*LAUNCHED, "PADDLE_PG_TIMEOUT", "FLAGS_nccl_nrings"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    return set_variables


@pytest.mark.parametrize("variables, expected", [
    ({}, (1, 0)), (LAUNCHED, (2, 1)), ({"PADDLE_TRAINERS_NUM": "", "PADDLE_TRAINER_ID": ""}, (1, 0)),
    ({"PADDLE_TRAINERS_NUM": "1", "PADDLE_TRAINER_ENDPOINTS": "x"}, (1, 0))])
def test_ranks_of_a_launcher(launcher, variables, expected):
    launcher(variables)
    assert utils.launched() == expected


@pytest.mark.parametrize("variables, named", [
    ({"PADDLE_TRAINERS_NUM": "x"}, "PADDLE_TRAINERS_NUM=x: not a whole number"),
    ({"PADDLE_TRAINERS_NUM": "-1"}, "PADDLE_TRAINERS_NUM=-1: not a whole number"),
    ({"PADDLE_TRAINERS_NUM": "0"}, "PADDLE_TRAINER_ID=0: not below PADDLE_TRAINERS_NUM=0"),
    ({"PADDLE_TRAINER_ID": "x"}, "PADDLE_TRAINER_ID=x: not a whole number"),
    ({"PADDLE_TRAINER_ID": "3"}, "PADDLE_TRAINER_ID=3: not below PADDLE_TRAINERS_NUM=1"),
    ({"PADDLE_PG_TIMEOUT": "x"}, "PADDLE_PG_TIMEOUT=x: not a whole number"),
    ({"PADDLE_TRAINERS_NUM": "2"}, "PADDLE_TRAINERS_NUM=2: PADDLE_TRAINER_ENDPOINTS and"),
    ({**LAUNCHED, "PADDLE_TRAINERS_NUM": "3"}, "PADDLE_TRAINERS_NUM=3: PADDLE_TRAINER_ENDPOINTS and"),
    ({**LAUNCHED, "PADDLE_CURRENT_ENDPOINT": ""}, "PADDLE_TRAINERS_NUM=2: PADDLE_TRAINER_ENDPOINTS and")])
def test_variables_left_by_a_launcher(launcher, variables, named):
    launcher(variables)
    with pytest.raises(InputError, match=f"^{named}.*; unset all PADDLE_ variables, or start with "):
        utils.launched()


@pytest.mark.parametrize("given, used", [("0", "1"), ("abc", "1"), ("", "1"), ("100000", "1"), ("4", "4"),
                                         ("4,2", "4,2")])
def test_numbers_of_threads(given, used):
    """What OpenMP would warn of, or abort at, is replaced."""
    out = run(f"OMP_NUM_THREADS={given} python -c 'import os, utils; print(os.environ[\"OMP_NUM_THREADS\"])'", ROOT)
    assert (out.stdout, out.stderr) == (used + "\n", "")


# ---------------------------------------------------------------- work spread over cores
@given(st.integers(0, 20), st.integers(0, 5), st.integers(1, 3))
def test_ordered_map_is_map(items, ahead, threads):
    """In order, and never more than `ahead` items early."""
    asked, early = [], []

    def source():
        for item in range(items):
            asked.append(item)
            yield item
    with ThreadPoolExecutor(threads) as pool:
        for done, result in enumerate(utils.ordered_map(pool, lambda item: item * 2, source(), ahead)):
            assert result == 2 * done
            early.append(len(asked) - done - 1)
    assert len(early) == items and max(early, default=0) <= ahead


def test_ordered_map_raises_what_a_worker_raises():
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        list(utils.ordered_map(pool, lambda item: 1 // (item - 3), range(100), 2))


# ---------------------------------------------------------------- files: whole or not at all
def write(path, content):
    with atomic_write(path) as stream:
        stream.write(content)


def test_atomic_write_is_all_or_nothing(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as stream:
        stream.write(b"half of the new" * 9999)
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    with atomic_write(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    with pytest.raises(InputError, match="mkdir -p"):
        write(tmp_path / "no" / "file", b"")


def test_a_symbolic_link_is_written_through(tmp_path):
    """Links to links, to files and to nothing yet; the leftovers lie beside what is written."""
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("far/again")
    (tmp_path / "far" / "again").symlink_to("file")
    (tmp_path / "dangling").symlink_to("far/new")
    for name in ("link", "dangling"):
        write(tmp_path / name, name.encode())
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_bytes() == name.encode()
    assert (tmp_path / "far" / "again").is_symlink()
    assert {path.name: path.read_bytes() for path in (tmp_path / "far").iterdir()} == {
        "again": b"link", "file": b"link", "new": b"dangling"}
    assert len(os.listdir(tmp_path)) == 3


def test_what_is_no_file_is_not_replaced(tmp_path):
    """A pipe and a device get the bytes, and stay what they are."""
    pipe, link = tmp_path / "pipe", tmp_path / "null"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write(pipe, b"all of it")
    reader.join()
    link.symlink_to(os.devnull)
    write(link, b"lost")
    assert found == [b"all of it"] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode) and sorted(os.listdir(tmp_path)) == ["null", "pipe"]


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    """Not those of a living process, nor what only looks like one; a path may hold what glob takes for a pattern."""
    folder = tmp_path / "a[b]*"
    folder.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [f"file.{os.getppid()}.tmp", "file.tmp", "file.old.tmp", f"other.{dead.pid}.tmp", "file.-1.tmp",
            "file.\u00b2.tmp"]
    for name in [*kept, f"file.{dead.pid}.tmp"]:
        (folder / name).write_text("half")
    write(folder / "file", b"new")
    assert set(os.listdir(folder)) == {"file", *kept}


def test_a_leftover_of_no_process(tmp_path):
    """A number that no process can have."""
    (tmp_path / f"file.{10 ** 30}.tmp").write_text("half")
    write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


# ---------------------------------------------------------------- the dictionary and the frequencies
def test_round_trip_and_fingerprint(tmp_path):
    loaded = utils.load_feature_dict(save(tmp_path / "d", SMALL_DICT))
    assert loaded == SMALL_DICT
    scrambled = {name: dict(reversed(values.items())) for name, values in reversed(SMALL_DICT.items())}
    again = utils.load_feature_dict(save(tmp_path / "d", scrambled))
    assert list(again["history_clicked_items"]) == ["<unk>", "v1", "v2", "v3", "v4"]
    assert utils.dictionary_fingerprint(again) == utils.dictionary_fingerprint(loaded)
    other = {**SMALL_DICT, "city": {"<unk>": 0, "c2": 1, "c1": 2}}
    assert utils.dictionary_fingerprint(other) != utils.dictionary_fingerprint(loaded)
    assert utils.load_item_freq(save(tmp_path / "f", [0.0, 0.5, 0.25, 0.25, 0.0]), loaded)[1] == 0.5


class Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize("content", [
    b"", b"not a pickle", pickle.dumps(SMALL_DICT)[:-20], Evil(), [1, 2], {},
    {**SMALL_DICT, "city": ["<unk>"]}, {**SMALL_DICT, "city": {"c1": 0}}, {**SMALL_DICT, "city": {"<unk>": 0, "a": 2}},
    {**SMALL_DICT, "city": {"<unk>": 0, "a": 1, "b": 1}}, {**SMALL_DICT, "city": {"<unk>": 0, 5: 1}},
    {**SMALL_DICT, "city": {"<unk>": 0, "a": 1.0}}, {**SMALL_DICT, "phone": {"<unk>": False}},
    {**SMALL_DICT, "city": {"<unk>": 0, "a\tb": 1}}, {**SMALL_DICT, "city": {"<unk>": 0, "a\nb": 1}},
    {**SMALL_DICT, "city": {"<unk>": 0, "\ud800": 1}}, {name: SMALL_DICT[name] for name in FEATURES[1:]},
])
def test_dictionaries_that_are_none(tmp_path, content, capsys):
    with pytest.raises(InputError, match=r"d: .*; .*data_processor.py"):
        utils.load_feature_dict(save(tmp_path / "d", content))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [
    b"", Evil(), {"a": 0.5}, [0.5, 0.5], [0.0, 1, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 1.5, -0.5, 0.0, 0.0], [0.0, float("nan"), 0.5, 0.5, 0.0], [0.0, float("inf"), 0.5, 0.5, 0.0],
])
def test_frequencies_that_are_none(tmp_path, content, capsys):
    with pytest.raises(InputError, match=r"f: .*; "):
        utils.load_item_freq(save(tmp_path / "f", content), SMALL_DICT)
    assert capsys.readouterr().out == ""


def test_reading_gives_the_memory_back(tmp_path):
    """The limit that holds while a file is read is the old one again, whether it was read or refused."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    utils.load_feature_dict(save(tmp_path / "d", SMALL_DICT))
    with pytest.raises(InputError):
        utils.load_feature_dict(save(tmp_path / "d", b"\x80\x04]r\xfe\xff\xff\xff."))
    assert resource.getrlimit(resource.RLIMIT_AS) == before


# ---------------------------------------------------------------- archives of plain arrays
ARRAYS = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L", "N"]) | st.sampled_from(" _"), min_size=1, max_size=20),
    st.sampled_from([np.float32, np.float64, np.int64]).flatmap(lambda kind: arrays_of.arrays(
        kind, arrays_of.array_shapes(max_dims=3, min_side=0, max_side=5),
        elements={"allow_nan": False, "allow_infinity": False} if kind != np.int64 else None)), max_size=4)
TOLD = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=9)
                       | st.lists(st.integers(), max_size=3), max_size=4)


@given(TOLD, ARRAYS, st.booleans())
def test_archives_keep_what_is_put_in(tmp_path_factory, told, arrays, transposed):
    """Names, types, shapes and numbers to the bit, however the numbers lie in memory; the same bytes again."""
    folder = tmp_path_factory.mktemp("archive")
    if transposed:
        arrays = {name: np.asfortranarray(value) for name, value in arrays.items()}
    for name in ("one", "two"):
        utils.write_archive(folder / name, told, arrays)
    again, found = utils.read_archive(folder / "one", MEND)
    assert again == told and list(found) == list(arrays)
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
        assert found[name].shape == value.shape
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()


def test_archives_of_every_length(tmp_path):
    """A tar is filled up to whole records: its end may fall just before or after the end of one."""
    for count in range(2000, 2700, 7):
        utils.write_archive(tmp_path / "a", {}, {"x": np.arange(count, dtype=np.float32)})
        assert utils.read_archive(tmp_path / "a", MEND)[1]["x"].shape == (count,)


def test_archives_are_read_by_others(tmp_path):
    """A gzip tar of model.json and .npy files, as tar and numpy read them."""
    utils.write_archive(tmp_path / "a.tar.gz", {"b": [1]}, {"nce_w": np.ones((2, 3), np.float32)})
    with tarfile.open(tmp_path / "a.tar.gz", "r:gz") as tar:
        assert tar.getnames() == ["model.json", "nce_w.npy"]
        assert tar.extractfile("model.json").read() == b'{\n "b": [\n  1\n ]\n}'
        np.testing.assert_array_equal(np.load(io.BytesIO(tar.extractfile("nce_w.npy").read())), np.ones((2, 3)))
