"""Files that are written together, folders that one run at a time writes to, and what a kill at any moment leaves."""
import errno
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import data_processor
import infer
import train
import utils
from conftest import feature_dict_of, run, small_log, train_command
from utils import InputError, atomic_write, atomic_write_set, output_folder

import pytest
from paddle.utils import unique_name
from test_resume import files_of


def contents(folder):
    """{name: text} of the files in a folder."""
    return {path.name: path.read_text() for path in Path(folder).iterdir()}


def write_set(folder, text, names="abc", absent=None):
    """Write files of these names together, each with the same text."""
    paths = [str(folder / name) for name in names]
    with atomic_write_set(paths, absent and str(folder / absent)) as streams:
        for stream in streams:
            stream.write(text.encode())


def fail_at(monkeypatch, function, name):
    """Let a function of `os` fail where it is about to write this path."""
    original = getattr(os, function)

    def failing(*paths, **options):
        if os.path.basename(paths[-1]) == name:
            raise PermissionError(errno.EPERM, "Operation not permitted", *paths)
        return original(*paths, **options)
    monkeypatch.setattr(os, function, failing)


# ---------------------------------------------------------------- sets of files
@pytest.mark.parametrize("there", ["", "ab", "abc"])
@pytest.mark.parametrize("links", [True, False])
def test_a_set_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch, there, links):
    """One of three renames fails, whichever it is, with and without hard links and earlier files: all is as before."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: os.stat("/nowhere"))
    for name in there:
        (tmp_path / name).write_text("old " + name)
    before = contents(tmp_path)
    for name in "abc":
        with monkeypatch.context() as patched:
            fail_at(patched, "replace", name)
            with pytest.raises(PermissionError) as raised:
                write_set(tmp_path, "new")
        assert raised.value.filename == str(tmp_path / name)  # not that of a temporary file
        assert contents(tmp_path) == before
    write_set(tmp_path, "new")
    assert contents(tmp_path) == dict.fromkeys("abc", "new")


def test_an_error_in_the_middle_of_a_set(tmp_path):
    """The second of three cannot be written: it is the one that is named, and none is replaced."""
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError) as raised, atomic_write_set([str(tmp_path / name) for name in "abc"]) as streams:
        streams[0].write(b"new")
        streams[2].write(b"new")
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), streams[1].fileno())
        streams[1].write(bytes(1 << 20))
    assert raised.value.filename == str(tmp_path / "b") and raised.value.errno == errno.ENOSPC
    assert contents(tmp_path) == {"a": "old"}


def test_errors_of_other_files_keep_their_names(tmp_path):
    """A log that cannot be read while vectors are written is not taken for the file of vectors."""
    with pytest.raises(FileNotFoundError) as raised, atomic_write(str(tmp_path / "a")):
        (tmp_path / "log.txt").read_text()
    assert raised.value.filename == str(tmp_path / "log.txt") and contents(tmp_path) == {}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_are_kept(tmp_path, mode):
    """Those of the file that is replaced, whatever the umask; nobody else can open the temporary file either."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    earlier = os.umask(0o027)
    try:
        with atomic_write(str(path)) as stream:
            [temporary] = set(os.listdir(tmp_path)) - {"file"}
            assert stat.S_IMODE((tmp_path / temporary).stat().st_mode) == mode
            stream.write(b"new")
        assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_text() == "new"
        write_set(tmp_path, "new", ["file", "fresh"])
    finally:
        os.umask(earlier)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


# ---------------------------------------------------------------- kills
class Kills:
    """Takes a picture of a folder after each operation on files: what a kill at that moment would leave."""

    def __init__(self, monkeypatch, folder, pictures):
        self._folder, self._pictures, self._lock = folder, pictures, threading.RLock()
        self.count, self._busy = 0, False
        for function in ("replace", "rename", "unlink", "remove", "link", "open", "mkdir", "rmdir", "fsync"):
            monkeypatch.setattr(os, function, self._watched(getattr(os, function)))

    def _watched(self, operation):
        def watched(*arguments, **options):
            result = operation(*arguments, **options)
            with self._lock:
                if not self._busy and self._folder.exists():
                    self._busy = True  # copying works by such operations too
                    shutil.copytree(self._folder, self._pictures / f"{self.count:03d}")
                    self.count, self._busy = self.count + 1, False
            return result
        return watched

    def pictures(self):
        """The folders, in the order of time, those that differ from the one before."""
        found, before = [], None
        for picture in sorted(self._pictures.iterdir()):
            now = {path.name: path.read_bytes() for path in picture.iterdir()}
            if now != before:
                found.append(picture)
            before = now
        return found


TINY = "--no-rules --threads=1 --device=cpu --dnn_layer_dims 8 4 --lstm_dim=4 --batch_size=300 --valid_set_path=log.txt"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder with a log of 30 users and its dictionary, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.txt").write_text(small_log(30), encoding="utf-8")
    counted, counts = data_processor.count_log(["log.txt"])
    assert counted.clicks
    feature_dict = {name: data_processor.build_dictionary(counts[name], 1) for name in utils.FEATURES}
    (tmp_path / "output").mkdir()
    data_processor.write_files("output", feature_dict, data_processor.item_frequencies(
        counts[utils.ITEMS], feature_dict[utils.ITEMS]))
    return tmp_path


@pytest.fixture
def train_here(monkeypatch):
    """train.main in this process: paddle takes as long to load as such a run."""
    monkeypatch.setattr(train.Run, "catch_signals", lambda run: None)
    monkeypatch.setattr(train.Run, "_took", property(lambda run: 0.0, lambda run, value: None), raising=False)

    def train_main(output, flags):
        monkeypatch.setattr("sys.argv", train_command(output, f"{TINY} {flags}").split()[1:])
        with unique_name.guard():  # names of the optimiser's state, as in a process of its own
            train.main()
    return train_main


def progress(folder):
    """(seed, passes, batches of the next one) of the checkpoint in a folder."""
    told, _ = utils.read_archive(str(folder / "checkpoint.tar.gz"), "")
    return told["identity"]["seed"], len(told["rows"]), told["batches"]


def test_a_run_that_is_killed_after_any_operation(tiny, train_here, monkeypatch, tmp_path):
    """In a folder with the models of an earlier run, with a checkpoint after each step. Whatever moment it is killed
    at, the checkpoint is there, never an earlier one than before, and --resume ends as a run that nobody disturbs."""
    train_here("quiet", "--seed=1")
    train_here("run", "--seed=0 --num_passes=3 --checkpoint_minutes=10")
    shutil.copy("run/model_pass_00002.tar.gz", "run/model_pass_00007.tar.gz")
    (tmp_path / "pictures").mkdir()
    with monkeypatch.context() as patched:
        kills = Kills(patched, tmp_path / "run", tmp_path / "pictures")
        train_here("run", "--seed=1 --checkpoint_minutes=0")
    expected = files_of(tmp_path / "quiet")
    assert files_of(tmp_path / "run") == expected and kills.count > 40
    pictures = kills.pictures()
    found = [progress(picture) for picture in pictures]
    own = found.index((1, 0, 1))  # before its first checkpoint that of the earlier run is there
    assert all(seed == 0 for seed, *_ in found[:own]) and found[own:] == sorted(found[own:])
    assert len({*found[own:]}) > 4 and found[-1] == (1, 2, 0)
    resumed = [picture for number, picture in enumerate(pictures[own:], own)
               if number == own or contents_differ(picture, pictures[number - 1])]
    assert len(resumed) > 8
    for picture in resumed:
        shutil.copytree(picture, tmp_path / "killed")
        train_here("killed", "--seed=1 --checkpoint_minutes=10 --resume")
        assert files_of(tmp_path / "killed") == expected, picture
        shutil.rmtree(tmp_path / "killed")


def contents_differ(picture, before):
    """Whether two pictures differ in more than temporary files and checkpoints within a pass."""
    def seen(folder):
        files = {path.name: path.read_bytes() for path in folder.iterdir()
                 if path.name != "checkpoint.tar.gz" and not path.name.endswith(".tmp")}
        return files, progress(folder)[:2]
    return seen(picture) != seen(before)


def test_a_dictionary_that_is_killed_after_any_operation(tmp_path, monkeypatch):
    """The files are those of one run, or train.py is told that they are not."""
    folder = tmp_path / "output"
    folder.mkdir()
    runs = [(feature_dict_of(history_clicked_items=videos), freq)
            for videos, freq in ((["V1", "V2"], [0.0, 0.5, 0.5]), (["V3", "V4"], [0.0, 0.75, 0.25]))]
    data_processor.write_files(str(folder), *runs[0])
    (tmp_path / "pictures").mkdir()
    with monkeypatch.context() as patched:
        kills = Kills(patched, folder, tmp_path / "pictures")
        data_processor.write_files(str(folder), *runs[1])
    outcomes = []
    for picture in kills.pictures():
        feature_dict = utils.load_feature_dict(str(picture / "feature_dict.pkl"))
        try:
            freq = utils.load_item_freq(str(picture / "item_freq.pkl"), feature_dict)
            outcomes.append(runs.index((feature_dict, freq)))
        except InputError:
            outcomes.append("refused")
    assert outcomes == sorted(outcomes, key=[0, "refused", 1].index) and {*outcomes} == {0, "refused", 1}
    assert sorted(path.name for path in folder.iterdir()) == ["feature_dict.pkl", "fingerprint.json", "item_freq.pkl"]


def test_vectors_that_are_killed_after_any_operation(tmp_path, monkeypatch):
    """The fingerprints beside vectors are never those of another model."""
    folder = tmp_path / "output"
    folder.mkdir()
    path = str(folder / "v.tsv")
    (tmp_path / "pictures").mkdir()

    def write(model):
        monkeypatch.setattr(infer, "fingerprints", lambda _: {"model": model})
        infer.write_vectors(path, (None, None), [(["V1"], utils.np.full((1, 2), len(model), float))])
    write("old")
    with monkeypatch.context() as patched:
        kills = Kills(patched, folder, tmp_path / "pictures")
        write("newer")
    seen = []
    for picture in kills.pictures():
        width = float((picture / "v.tsv").read_text().split("\t")[1])
        beside = picture / "v.tsv.json"
        seen.append((width, beside.exists() and json.loads(beside.read_text())["model"]))
    assert [*dict.fromkeys(seen)] == [(3, "old"), (3, False), (5, False), (5, "newer")]
    assert sorted(os.listdir(folder)) == ["v.tsv", "v.tsv.json"]
    with monkeypatch.context() as patched:
        fail_at(patched, "unlink", "v.tsv.json")
        with pytest.raises(PermissionError) as raised:
            write("old")
    assert raised.value.filename == path + ".json"
    assert json.loads((folder / "v.tsv.json").read_text()) == {"model": "newer"}
    assert (folder / "v.tsv").read_text().startswith("V1\t5.0")


# ---------------------------------------------------------------- output folders
def test_one_run_at_a_time_writes_to_a_folder(tmp_path):
    """Whoever reads is not affected; the lock goes with the process that holds it, however that ends."""
    folder = tmp_path / "made" / "output"
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(utils.__file__).parent)!r})
import utils
with utils.output_folder({str(folder)!r}):
    print("locked", flush=True)
    time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match=f"^{folder}: another run is writing there; "), output_folder(str(folder)):
            pass
        assert folder.is_dir() and os.listdir(folder) == []
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
        process.communicate()
    with output_folder(str(folder)):
        (folder / "file").write_text("kept")
    assert contents(folder) == {"file": "kept"}


@pytest.mark.parametrize("command", [
    train_command("locked"), "python data_processor.py --train_set_path=log.txt --output_dir=locked",
    "python infer_user.py --model_path=output/model/model_pass_00000.tar.gz --feature_dict=output/feature_dict.pkl "
    "--output_dir=locked"])
def test_a_second_run_is_refused(small, command):
    """Before it reads or writes anything."""
    folder = small / "locked"
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    result = run(command, small)
    os.close(descriptor)
    assert (result.returncode, result.stdout, os.listdir(folder)) == (2, "", [])
    assert result.stderr.split(".py: ", 1)[1] == (
        "locked: another run is writing there; wait until it has ended, or give another folder\n")


def test_a_folder_that_cannot_be_locked(tmp_path, monkeypatch, capsys):
    """As on some network file systems: said, and no reason to refuse."""
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")
    monkeypatch.setattr(fcntl, "flock", flock)
    with output_folder(str(tmp_path / "new")):
        (tmp_path / "new" / "file").write_text("")
    assert f"warning: {tmp_path}/new cannot be locked (No locks available)" in capsys.readouterr().err


def test_a_folder_made_in_vain_is_removed(tmp_path):
    """With the folders above it that were made for it; not with others."""
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), output_folder(str(tmp_path / "there" / "a" / "b")):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["there"] and os.listdir(tmp_path / "there") == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to make another user's file")
def test_another_users_files_in_a_sticky_folder(tmp_path, monkeypatch):
    """An old model_best that cannot be replaced is noticed when the run begins; root with its rights may replace it."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "model_best.tar.gz").write_text("another's")
    os.chown(folder / "model_best.tar.gz", 65534, 65534)
    os.chown(folder, 65533, 65533)
    folder.chmod(0o1777)
    monkeypatch.setattr(utils, "_may_replace_all", lambda: False)
    refusal = pytest.raises(InputError, match=r"models/model_best\.tar\.gz: Operation not permitted: it belongs to ")
    with refusal, output_folder(str(folder), train.OUTPUT_FILES):
        pass
    with output_folder(str(folder), data_processor.OUTPUT_FILES):  # replaces other files
        pass
    monkeypatch.undo()
    folder.chmod(0o777)
    monkeypatch.setattr(utils, "_may_replace_all", lambda: False)
    with output_folder(str(folder), train.OUTPUT_FILES):  # anybody may replace files there
        pass


def test_a_folder_that_cannot_be_written_names_the_folder(tmp_path, monkeypatch):
    def temporary(dir):
        raise OSError(errno.EROFS, "Read-only file system", os.path.join(dir, "tmpabcdef"))
    monkeypatch.setattr(utils.tempfile, "TemporaryFile", temporary)
    with pytest.raises(OSError) as raised, output_folder(str(tmp_path / "models")):
        pass
    assert raised.value.filename == str(tmp_path / "models") and os.listdir(tmp_path) == []


# ---------------------------------------------------------------- what else the system may lack
def raises(error):
    """A function that raises this."""
    def function(*_, **__):
        raise error
    return function


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_counting_where_no_further_process_can_be_started(tmp_path, monkeypatch, capsys, allowed):
    """With as many as there can be, in the same way; and a line on the cause. No semaphores are needed, nor threads."""
    path = tmp_path / "log.txt"
    path.write_text(small_log(50), encoding="utf-8")
    expected, _ = data_processor.count_log([str(path)])
    started = []

    def fork(real=os.fork):
        if len(started) == allowed:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(None)
        return real()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", fork)
        patched.setattr("multiprocessing.synchronize.SemLock.__init__", raises(OSError(errno.ENOSPC, "no /dev/shm")))
        patched.setattr("threading.Thread.start", raises(RuntimeError("can't start new thread")))
        found, _ = data_processor.count_log([str(path)], processes=3)
    assert vars(found) == vars(expected) and found.lines == 50
    shown = capsys.readouterr().err
    warning = "warning: no further process can be started (Resource temporarily unavailable): counting with "
    assert shown.count("\n") == (allowed < 2) and (warning + str(allowed + 1) in shown) == (allowed < 2)


def test_errors_of_the_system_name_their_cause():
    """Threads that cannot be started, processes, a lack of memory."""
    for error, text in (
            (RuntimeError("can't start new thread"), "no further process or thread can be started; raise the limit"),
            (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "no further process or thread can be started"),
            (OSError(errno.ENOSPC, "No space left on device", "m/a"), "m/a: No space left on device; check the path"),
            (OSError("not a gzip file"), "output: not a gzip file; check"), (MemoryError(), "out of memory; give")):
        assert str(utils.user_error(error)).startswith(text)
    assert utils.user_error(KeyError("a mistake")) is None


def test_a_working_directory_that_was_deleted(small, tmp_path):
    """Relative paths lead nowhere: the reason is told."""
    (tmp_path / "gone").mkdir()
    for command in (f"data_processor.py --train_set_path={small}/log.txt --output_dir=no",
                    f"item_vector.py --model_path={small}/output/model/model_pass_00000.tar.gz --output_path=v.tsv "
                    f"--feature_dict={small}/output/feature_dict.pkl"):
        result = run(f"cd gone; rmdir ../gone; python {small}/{command}; code=$?; mkdir ../gone; exit $code", tmp_path)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.stderr
        assert result.stderr.endswith("; the working directory has been deleted, which may be the cause: "
                                      "change to one that exists\n")
