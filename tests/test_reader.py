"""Parsing, encoding, instances and batches, against a plain reading of the documentation."""
import gzip
import io
import os
import stat
import sys

import reader
from conftest import INFOS, LINES, SMALL_DICT, feature_dict_of, log_text
from reader import InputError, Reader

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def write(tmp_path):
    def write(content, name="log.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
    return write


def plain_instances(feature_dict, window_size, lines, training):
    """The instances of random lines, word by word from the documentation."""
    def lookup(feature, value):
        return feature_dict[feature].get(value, 0)
    for user, province, city, infos, phone in lines:
        clicks = []
        for info in infos:
            video, category, tags = info.rsplit(":", 2)
            if lookup("history_clicked_items", video):
                clicks.append((lookup("history_clicked_items", video), lookup("history_clicked_categories", category),
                               [lookup("history_clicked_tags", tag) for tag in tags.split("_")]))
        sequence = [(0, 0, [0]), *clicks]
        n = len(clicks)
        for i in range(1, n + 1) if training else [n + 1]:
            window = sequence[max(0, i - window_size):i]
            instance = (lookup("user_id", user), lookup("province", province), lookup("city", city),
                        [c[0] for c in window], [c[1] for c in window], [tag for c in window for tag in c[2]],
                        lookup("phone", phone))
            yield (*instance, clicks[i - 1][0]) if training else instance


def instances_of_batch(batch):
    """The instances that a batch stands for: one a target, in its order."""
    for n, (row, position) in enumerate(zip(batch.stretch, batch.position)):
        seen = slice(0, position + 1)
        tags = [int(t) for v in batch.video[seen, row] for t in batch.tags[batch.tag_video == v]]
        assert len(tags) == batch.tag_counts[position, row]
        user, province, city, phone = (int(value) for value in batch.profile[row])
        instance = (user, province, city, batch.items[seen, row].tolist(), batch.categories[seen, row].tolist(),
                    tags, phone)
        yield instance if batch.target_item is None else (*instance, int(batch.target_item[n]))


def test_the_documented_example(write):
    feature_dict = feature_dict_of(history_clicked_items=["a", "b", "c"], history_clicked_categories=["k"],
                                   history_clicked_tags=["x", "y"], user_id=["u"])
    path = write("u\tNULL\t\ta:k:x_y;b:NULL:y;gone:k:x;c:k:z\tNULL\n")
    two = Reader(feature_dict, window_size=2)
    assert list(two.train(path)) == [
        (1, 0, 0, [0], [0], [0], 0, 1),
        (1, 0, 0, [0, 1], [0, 1], [0, 1, 2], 0, 2),
        (1, 0, 0, [1, 2], [1, 0], [1, 2, 2], 0, 3)]
    assert list(two.test(path)) == list(two.train(path))
    assert list(two.infer(path)) == [(1, 0, 0, [2, 3], [0, 1], [2, 0], 0)]
    assert list(two.infer_user(["u", "stranger"])) == [(1, 0, 0, [0], [0], [0], 0), (0, 0, 0, [0], [0], [0], 0)]


@given(lines=st.lists(LINES, max_size=8), window_size=st.integers(1, 6))
def test_generators_and_batches_give_the_documented_instances(tmp_path_factory, lines, window_size):
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    source = Reader(SMALL_DICT, window_size)
    expected = list(plain_instances(SMALL_DICT, window_size, lines, training=True))
    to_serve = list(plain_instances(SMALL_DICT, window_size, lines, training=False))
    assert list(source.train(path)) == expected
    assert list(source.infer(path)) == to_serve
    [log] = source.encode(path)
    stretches = reader.sliding_windows(log.lengths, window_size)
    assert stretches.targets.sum() == len(expected)
    if expected:
        assert list(instances_of_batch(reader.make_batch(log, stretches))) == expected
    if lines:
        windows = reader.next_click_windows(log.lengths, window_size)
        assert list(instances_of_batch(reader.make_batch(log, windows, with_targets=False))) == to_serve


@given(lines=st.lists(LINES, min_size=1, max_size=8), window_size=st.integers(1, 6))
def test_sequences_see_suffixes_of_the_history(tmp_path_factory, lines, window_size):
    """Every click a target once, in order; it sees the clicks right before it: half a window or more, or all."""
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    everything = list(plain_instances(SMALL_DICT, 10 ** 6, lines, training=True))
    [log] = Reader(SMALL_DICT, window_size).encode(path)
    stretches = reader.sequence_stretches(log.lengths, window_size)
    assert (stretches.length <= window_size).all()
    found = list(instances_of_batch(reader.make_batch(log, stretches))) if everything else []
    assert len(found) == len(everything)
    for instance, whole in zip(found, everything):
        seen = len(instance[3])
        assert instance[-1] == whole[-1] and instance[3] == whole[3][-seen:]
        assert seen >= min(len(whole[3]), window_size // 2 + 1)


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 12), st.integers(1, 40), st.integers(0, 5))
def test_shuffled_batches_hold_every_target_once(lengths, window_size, batch_size, seed):
    stretches = reader.sliding_windows(np.array(lengths, int), window_size)
    batches = list(reader.shuffled_batches(stretches, batch_size, np.random.default_rng(seed)))
    rows = sorted(row for batch in batches for row in zip(*batch))
    assert rows == sorted(zip(*stretches))
    for batch in batches[:-1]:
        assert batch_size <= batch.targets.sum() < batch_size + window_size
    if batches:
        assert 0 < batches[-1].targets.sum() < batch_size + window_size


def test_order_is_random_and_follows_the_generator():
    stretches = reader.sliding_windows(np.full(50, 10), 3)

    def order(seed):
        return [batch.line.tolist() for batch in reader.shuffled_batches(stretches, 64, np.random.default_rng(seed))]
    assert order(1) == order(1) != order(2)
    assert order(1)[0] != sorted(order(1)[0])


@given(lines=st.lists(LINES, max_size=9), block=st.integers(1, 4))
def test_blocks_are_the_log_in_pieces(tmp_path_factory, lines, block):
    path = tmp_path_factory.mktemp("log") / "log.txt"
    path.write_text(log_text(lines), encoding="utf-8")
    [whole] = Reader(SMALL_DICT).encode(path)
    pieces = list(Reader(SMALL_DICT).encode(path, block_lines=block))
    assert all(len(piece.users) <= block for piece in pieces)
    assert [user for piece in pieces for user in piece.users] == whole.users == [line[0] for line in lines]
    last = [int(item) for piece in pieces for item in piece.last_item]
    assert last == whole.last_item.tolist() == [
        SMALL_DICT["history_clicked_items"].get(line[3][-1].rsplit(":", 2)[0], 0) if line[3] else -1 for line in lines]
    assert [items for piece in pieces for row in range(len(piece.users)) for items in piece.items(row)] == [
        items for row in range(len(whole.users)) for items in whole.items(row)]


def test_every_distinct_video_info_is_decoded_once(write, monkeypatch):
    calls = []
    split = reader.split_video_info
    monkeypatch.setattr(reader, "split_video_info", lambda info: calls.append(info) or split(info))
    path = write("u\t\t\tv1:a:s;v1:a:s;new:a:s;v1:a:t\t\nw\t\t\tnew:a:s;v1:a:s\t\n")
    source = Reader(SMALL_DICT)
    for _ in range(2):
        list(source.encode(path, block_lines=1))
    assert sorted(calls) == ["new:a:s", "v1:a:s", "v1:a:t"]


# ---------------------------------------------------------------- log lines
@given(INFOS)
def test_video_info_round_trip(info):
    video, category, tags = reader.split_video_info(info)
    assert f"{video}:{category}:{'_'.join(tags)}" == info


@pytest.mark.parametrize("content", [
    b"u\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm\n",
    b"u\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm",  # no newline at the end
    b"u\tp\tc\tv1:a:s\tm\r\n\r\n\nw\tp\tc\tNULL\tm\r\n",
    b"\xef\xbb\xbfu\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm\n",
    gzip.compress(b"u\tp\tc\tv1:a:s\tm\nw\tp\tc\tNULL\tm\n"),
])
def test_the_same_log_in_other_clothes(write, content):
    lines = list(reader.read_log(write(content)))
    assert [line[1:] for line in lines] == [("u", "p", "c", "v1:a:s", "m"), ("w", "p", "c", "NULL", "m")]
    assert [line.infos for line in lines] == [["v1:a:s"], []]


def test_standard_input(monkeypatch):
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(b"u\tp\tc\tv1:a:s\tm\n"))
    monkeypatch.setattr(sys, "stdin", Stdin)
    assert [line.user_id for line in reader.read_log("-")] == ["u"]


@pytest.mark.parametrize("content, number, what", [
    (b"u\tp\tc\tNULL\tm\nu\tp\tNULL\tm\n", 2, "4 columns instead of 5"),
    (b"u\tp\tc\tNULL\tm\textra\n", 1, "6 columns"),
    (b"\n\nu\tp\tc\t\tm\n", 3, "empty history"),
    (b"u\tp\tc\tv1:a:\xff\tm\n", 1, "not UTF-8"),
    (b"u\tp\tc\tv1:a\tm\n", 1, "'v1:a' is not video-id:category:tags"),
    (b"u\tp\tc\tv1:a:s;\tm\n", 1, "'' is not video-id"),
    (gzip.compress(b"u\tp\tc\tNULL\tm\n" * 9)[:-9], None, "damaged gzip"),
])
def test_malformed_lines_are_named(write, content, number, what):
    path = write(content)
    with pytest.raises(InputError) as caught:
        list(Reader(SMALL_DICT).encode(path))
    message = str(caught.value)
    assert message.startswith(f"{path}:{number}:" if number else path) and what in message and "; " in message
    assert "\n" not in message


def test_missing_log(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.txt: No such file"):
        list(reader.read_log(str(tmp_path / "nowhere.txt")))


# ---------------------------------------------------------------- the rest
def test_an_empty_log_is_an_empty_block():
    [log] = Reader(SMALL_DICT).encode(os.devnull)
    assert log.users == [] and log.profile.shape == (0, 4) and len(log.clicks) == 0
    assert len(reader.sliding_windows(log.lengths, 3).line) == 0


def test_hidden_users():
    batch = reader.Batch(np.full((4000, 4), 7), *[None] * 9)
    hidden = reader.hide_users(batch, 0.3, np.random.default_rng(0))
    assert 0.25 < (hidden.profile[:, 0] == 0).mean() < 0.35
    assert (hidden.profile[:, 1:] == 7).all() and (batch.profile == 7).all()
    assert set(hidden.profile[:, 0]) == {0, 7}


def test_atomic_write_is_all_or_nothing(tmp_path):
    path = tmp_path / "file"
    with reader.atomic_write(path) as stream:
        stream.write(b"old")
    with pytest.raises(RuntimeError), reader.atomic_write(path) as stream:
        stream.write(b"half of the new")
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    with pytest.raises(InputError, match="mkdir -p"), reader.atomic_write(tmp_path / "no" / "file"):
        pass
