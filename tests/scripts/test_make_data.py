"""The sample log: what its archive promises, and that its script makes it."""

import collections
import gzip
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="module")
def logs():
    """{file name: [[user, province, city, [video-info, ...], phone], ...]}"""
    with tarfile.open(DATA / "data.tar", "r:gz") as tar:
        texts = {entry.name: tar.extractfile(entry).read().decode("utf-8") for entry in tar}
    read = {}
    for name, text in texts.items():
        assert text.endswith("\n")
        lines = [line.split("\t") for line in text[:-1].split("\n")]
        assert {len(fields) for fields in lines} == {5}
        read[name] = [[*f[:3], [] if f[3] == "NULL" else f[3].split(";"), f[4]] for f in lines]
    return read


def test_the_script_makes_the_archive(tmp_path):
    """Byte for byte once unpacked; another zlib may pack the same bytes differently."""
    script = DATA / "make_data.py"
    assert subprocess.run([sys.executable, script, "--check"]).returncode == 0
    other = tmp_path / "other.tar"
    other.write_bytes(gzip.compress(b"something else"))
    assert subprocess.run([sys.executable, script, "--check", f"--output={other}"]).returncode == 1
    made = tmp_path / "data.tar"
    subprocess.run([sys.executable, script, f"--output={made}"], check=True)
    with tarfile.open(made) as tar:
        assert tar.getnames() == ["train.txt", "test.txt", "infer.txt"]


def test_size():
    assert (DATA / "data.tar").stat().st_size <= 3_000_000


def test_three_logs_of_thousands_of_users(logs):
    assert set(logs) == {"train.txt", "test.txt", "infer.txt"}
    assert len({fields[0] for fields in logs["train.txt"]}) == len(logs["train.txt"]) > 3000


def test_videos(logs):
    """More than a thousand, each with one category and tags; skewed popularity; some are rare."""
    clicks = [info for lines in logs.values() for fields in lines for info in fields[3]]
    split = [info.rsplit(":", 2) for info in clicks]
    assert {len(parts) for parts in split} == {3}
    about = collections.defaultdict(set)
    for video, category, tags in split:
        about[video].add((category, tags))
    assert len(about) > 1000
    assert {len(values) for values in about.values()} == {1}
    counts = collections.Counter(
        info for fields in logs["train.txt"] for info in fields[3]
    ).most_common()
    total = sum(count for _, count in counts)
    assert sum(count for _, count in counts[: len(counts) // 10]) > 0.25 * total
    assert sum(count < 20 for _, count in counts) > 10
    assert {info for info, _ in counts} < set(clicks)  # some are in test or infer only


def test_oddities(logs):
    train, everything = logs["train.txt"], [fields for lines in logs.values() for fields in lines]
    lengths = collections.Counter(len(fields[3]) for fields in train)
    assert lengths[1] > 10 and lengths[0] > 0 and max(lengths) > 2000
    for column in (1, 2, 4):
        assert {"", "NULL"} <= {fields[column] for fields in everything}
    assert any(info.endswith(":NULL") for fields in everything for info in fields[3])
    assert any(not info.isascii() for fields in everything for info in fields[3])
    assert any(info.count(":") == 3 for fields in everything for info in fields[3])
    assert any(not fields[1].isascii() for fields in everything)


def test_test_users_have_one_click_more_than_in_training(logs):
    trained = {fields[0]: fields for fields in logs["train.txt"]}
    new = [fields for fields in logs["test.txt"] if fields[0] not in trained]
    assert 100 < len(new) < len(logs["test.txt"]) / 5
    for fields in logs["test.txt"]:
        if fields[0] in trained:
            before = trained[fields[0]]
            assert fields[3][:-1] == before[3] and len(fields[3]) == len(before[3]) + 1
            assert (fields[1], fields[2], fields[4]) == (before[1], before[2], before[4])


def test_infer_has_users_that_training_never_saw_and_users_without_clicks(logs):
    trained = {fields[0] for fields in logs["train.txt"]}
    assert sum(fields[0] not in trained and bool(fields[3]) for fields in logs["infer.txt"]) >= 30
    assert sum(not fields[3] for fields in logs["infer.txt"]) >= 10


def test_the_last_click_tells_more_than_the_first(logs):
    """Frequent successors in training follow the last click far more often than the first."""
    after = collections.defaultdict(collections.Counter)
    for fields in logs["train.txt"]:
        for one, other in zip(fields[3], fields[3][1:]):
            after[one][other] += 1
    tested = [fields[3] for fields in logs["test.txt"] if len(fields[3]) > 10]

    def hits(position):
        return sum(
            clicks[-1] in dict(after[clicks[position]].most_common(10)) for clicks in tested
        ) / len(tested)

    assert hits(-2) > 0.15 and hits(-2) > 3 * hits(0)
