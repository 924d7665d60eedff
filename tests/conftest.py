"""What the tests share: commands run as a user types them, small random logs, trained models.

Fixtures of a session, one for each worker: `small` (a log of 300 users, its dictionary and a
classic model), `best` (a model of ``--preset=best`` beside it) and `sample` (the documented
commands, run verbatim). Tests write into the folder of `small`, each under names of its own.
"""

import contextlib
import filecmp
import importlib
import importlib.util
import io
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

from candgen.console import run_script
from candgen.data.dictionary import FEATURES

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("data_processor", "train", "infer", "user_vector", "item_vector", "infer_user")
SLOW_FILES = (
    "test_documented_commands",
    "test_distributed",
    "test_small_logs",
    "test_resume",
    "test_learning",
)
MODEL = "./output/model/model_pass_00000.tar.gz"
COMMANDS = f"""
cd data; tar -zxvf data.tar; cd ..
mkdir output
python data_processor.py --train_set_path=./data/train.txt --output_dir=./output \
--feat_appear_limit=20
mkdir output/model
python train.py --train_set_path='./data/train.txt' --test_set_path='./data/test.txt' \
--model_output_dir='./output/model/' --feature_dict='./output/feature_dict.pkl' \
--item_freq='./output/item_freq.pkl'
python infer.py --infer_set_path='./data/infer.txt' --model_path='{MODEL}' \
--feature_dict='./output/feature_dict.pkl' --batch_size=50
python user_vector.py --infer_set_path='./data/infer.txt' --model_path='{MODEL}' \
--feature_dict='./output/feature_dict.pkl' --batch_size=50
python item_vector.py --model_path='{MODEL}' --feature_dict='./output/feature_dict.pkl'
python infer_user.py --model_path='{MODEL}' --feature_dict='./output/feature_dict.pkl'
""".strip().splitlines()

settings.register_profile(
    "offline", deadline=None, derandomize=True, database=None, max_examples=50
)
settings.load_profile("offline")


def run(command, cwd, process=False, **options):
    """Run a shell command, `python` being the one that runs the tests.

    A command that is one of the scripts with its arguments, and nothing that needs a shell, an
    environment or a process of its own, is called in this process: paddle is imported once, not
    once a command.

    Parameters
    ----------
    command : str
    cwd : folder to run it in.
    process : whether to start a process in any case: for signals, and for what happens at exit.
    options : as for `subprocess.run`; text in and out unless given otherwise.

    Returns
    -------
    subprocess.CompletedProcess
    """
    words = plain_words(command)
    if not process and not options and words and words[0] == "python":
        script = Path(cwd, words[1]) if len(words) > 1 else None
        if script and script.stem in SCRIPTS and same_code(script.parent):
            return call_script(script.stem, words[1:], cwd)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    options = {"capture_output": True, "encoding": "utf-8", **options}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=cwd,
        env={**os.environ, "PATH": path, **options.pop("env", {})},
        **options,
    )


def plain_words(command):
    """Words of a command that needs no shell; None if it does."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    if (
        any(set(word) <= set("();<>|&") or set(word) & set("$`*?~") for word in words)
        or "\n" in command
    ):
        return None
    return words


def sources():
    """The scripts and the modules of candgen, relative to the checkout."""
    files = [*ROOT.glob("*.py"), *ROOT.glob("candgen/**/*.py")]
    return [file.relative_to(ROOT) for file in files]


def same_code(folder):
    """Whether a folder holds the scripts of this checkout, unchanged."""
    return folder.resolve() == ROOT or all(
        (folder / file).is_file() and filecmp.cmp(ROOT / file, folder / file) for file in sources()
    )


def pytest_make_parametrize_id(val, argname):
    """Bytes may hold the time (gzip): two workers would not collect the same tests."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items):
    """Collect the slowest files first, so that two workers finish at about the same time."""
    order = {name: number for number, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@contextlib.contextmanager
def fresh_names():
    """Within this, paddle numbers an optimizer's state from 0, as in a process of its own."""
    import paddle

    with paddle.utils.unique_name.guard():
        yield


def call_script(name, argv, cwd):
    """Call a script's `main`; returns what a process of its own would give."""
    module = importlib.import_module(name)
    streams = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2)]  # noqa: SIM115
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = os.getcwd(), sys.argv, sys.stdin, sys.stdout, sys.stderr
    code = 0
    try:
        os.chdir(cwd)
        sys.argv, (sys.stdout, sys.stderr) = argv, streams
        sys.stdin = open(os.devnull)  # noqa: SIM115
        try:
            with fresh_names():
                run_script(lambda: module.main(argv[1:]))
        except SystemExit as end:
            code = end.code or 0
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdin.close()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os.chdir(before[0])
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before[1:]
        for number, handler in handlers.items():
            signal.signal(number, handler)
    texts = []
    for stream in streams:
        stream.seek(0)
        texts.append(stream.read())
        stream.close()
    return subprocess.CompletedProcess(argv, code, *texts)


def run_ok(command, cwd, **options):
    """stdout of a command that must succeed."""
    result = run(command, cwd, **options)
    assert result.returncode == 0, (command, result.stderr[-2000:])
    return result.stdout


def output_of(main, *flags):
    """stdout of a script's `main`; warnings of numpy, which a user would see, are errors."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings(), fresh_names():
            warnings.simplefilter("error", RuntimeWarning)
            main([*map(str, flags)])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    printed.flush()
    return printed.buffer.getvalue().decode()


def checkout(folder):
    """The scripts, beside the packed sample, as a fresh clone has them."""
    (folder / "data").mkdir(parents=True)
    for file in sources():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    shutil.copy(ROOT / "data" / "data.tar", folder / "data")
    return folder


def serve_module():
    """docs/serve.py"""
    spec = importlib.util.spec_from_file_location("serve", ROOT / "docs" / "serve.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write(tmp_path):
    """A function that writes a file, log.txt unless named otherwise, and returns its path."""

    def write_file(content, name="log.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """(folder, [stdout of each of the documented commands]), run verbatim on the sample."""
    folder = checkout(tmp_path_factory.mktemp("sample") / "clone")
    return folder, [run_ok(command, folder) for command in COMMANDS]


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Folder with a log of 300 users, its dictionary and a model of two short passes."""
    folder = checkout(tmp_path_factory.mktemp("small") / "clone")
    (folder / "log.txt").write_text(small_log(300), encoding="utf-8")
    run_ok(
        "python data_processor.py --train_set_path=log.txt --output_dir=output "
        "--feat_appear_limit=2",
        folder,
    )
    run_ok(train_command("output/model"), folder)
    return folder


@pytest.fixture(scope="session")
def best(small):
    """The folder of `small`, with a model of two passes of --preset=best in output/best."""
    run_ok(train_command("output/best", "--preset=best"), small)
    return small


def train_command(output, flags="", log="log.txt"):
    """train.py for two passes over a log, which is the test log too, in a folder like `small`."""
    return (
        f"python train.py --train_set_path={log} --test_set_path={log} "
        f"--model_output_dir={output} --feature_dict=output/feature_dict.pkl "
        f"--item_freq=output/item_freq.pkl --num_passes=2 {flags}"
    )


def lists_of(out):
    """[(user, [(video, probability), ...]), ...] of the output of infer.py and infer_user.py."""
    lists = []
    for line in out.splitlines():
        user, entries = line.split("\t")
        pairs = [entry.rpartition(":") for entry in entries.split(",")] if entries else []
        lists.append((user, [(video, float(share)) for video, _, share in pairs]))
    return lists


def metrics_of(folder):
    """Rows of the metrics.jsonl in a folder."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def click_counts(log):
    """Counter of the clicks on each video of a log."""
    return Counter(video for history in clicked(log) for video in history)


def clicked(log):
    """Video ids of each line of a log, oldest first."""
    histories = [line.split("\t")[3] for line in log.splitlines()]
    return [
        [] if history == "NULL" else [info.rsplit(":", 2)[0] for info in history.split(";")]
        for history in histories
    ]


def without_last_clicks(log):
    """The lines of a log that have clicks, each without its last one."""
    lines = []
    for line in log.splitlines():
        columns = line.split("\t")
        if columns[3] != "NULL":
            columns[3] = ";".join(columns[3].split(";")[:-1]) or "NULL"
            lines.append("\t".join(columns) + "\n")
    return "".join(lines)


def metrics_of_ranks(ranks, prefix=""):
    """{metric: value} of the rank of each user's target, infinite for a miss."""
    return {
        prefix + "recall@10": sum(rank <= 10 for rank in ranks) / len(ranks),
        prefix + "recall@50": sum(rank <= 50 for rank in ranks) / len(ranks),
        prefix + "ndcg@10": sum(1 / math.log2(1 + rank) for rank in ranks if rank <= 10)
        / len(ranks),
        prefix + "mrr@10": sum(1 / rank for rank in ranks if rank <= 10) / len(ranks),
    }


def small_log(users, seed=0):
    """A log whose next video follows from the last one: a ring of 40 videos, with leaps."""
    rng = np.random.default_rng(seed)
    lines = []
    for user in range(users):
        video, infos = rng.integers(40), []
        for _ in range(rng.integers(2, 40)):
            video = (video + 1 + 7 * (rng.random() < 0.1)) % 40
            tags = "_".join(f"T{(video + i) % 11}" for i in range(1 + video % 3))
            infos.append(f"V{video}:C{video % 5}:{tags}")
        lines.append(f"U{user}\tP{user % 3}\tNULL\t{';'.join(infos)}\tM{user % 2}\n")
    return "".join(lines)


def feature_dict_of(**values):
    """A feature dictionary of the given values; other features have `<unk>` only."""
    return {
        name: {value: id_ for id_, value in enumerate(["<unk>", *values.get(name, [])])}
        for name in FEATURES
    }


# dictionary and logs for property tests: some of the values are in the dictionary, some are not
SMALL_DICT = feature_dict_of(
    user_id=["u1", "u2"],
    province=["p1"],
    city=["c1", "c2"],
    phone=["m1"],
    history_clicked_items=["v1", "v2", "v3", "v4"],
    history_clicked_categories=["a", "b"],
    history_clicked_tags=["s", "t"],
)
INFOS = st.builds(
    "{}:{}:{}".format,
    st.sampled_from(["v1", "v2", "v3", "v4", "v4", "new", "", "<unk>", "a:b"]),
    st.sampled_from(["a", "b", "z", "", "NULL"]),
    st.lists(st.sampled_from(["s", "t", "q", "NULL", ""]), min_size=1, max_size=4).map("_".join),
)
LINES = st.tuples(
    st.sampled_from(["u1", "u2", "u9", "NULL", ""]),
    st.sampled_from(["p1", "p9", "NULL"]),
    st.sampled_from(["c1", "c2", ""]),
    st.lists(INFOS, max_size=12),
    st.sampled_from(["m1", "北京"]),
)


def last_clicks(lines, limit):
    """Lines drawn from LINES, with the last `limit` clicks of each user alone.

    A line without a user id counts as a user of its own.
    """
    remaining, limited = {}, []
    for number, (user, province, city, infos, phone) in reversed(list(enumerate(lines))):
        key = number if user in ("", "NULL") else user
        kept = infos[max(0, len(infos) - remaining.get(key, limit)) :]
        remaining[key] = remaining.get(key, limit) - len(kept)
        limited.append((user, province, city, kept, phone))
    return limited[::-1]


def log_text(lines):
    """The log of lines drawn from LINES."""
    return "".join(
        "\t".join([user, province, city, ";".join(infos) or "NULL", phone]) + "\n"
        for user, province, city, infos, phone in lines
    )
