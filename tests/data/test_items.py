"""Distinct video-infos, and the categories and tags of videos with several."""

from candgen.data.dictionary import (
    CATEGORIES,
    ITEMS,
    TAGS,
)
from candgen.data.logs import split_video_info
from candgen.data.training_log import TrainingLog
from conftest import (
    INFOS,
    LINES,
    SMALL_DICT,
    log_text,
)
from reader import Reader

import numpy as np
import pytest
from data_helpers import (
    cut_of,
)
from hypothesis import given
from hypothesis import strategies as st


def test_every_distinct_video_info_is_decoded_once(write, monkeypatch):
    calls = []
    split = split_video_info
    monkeypatch.setattr(
        "candgen.data.items.split_video_info", lambda info: calls.append(info) or split(info)
    )
    path = write("u\t\t\tv1:a:s;v1:a:s;new:a:s;v1:a:t\t\nw\t\t\tnew:a:s;v1:a:s\t\n")
    source = Reader(SMALL_DICT)
    for _ in range(2):
        list(source.encode(path, block_lines=1))
    assert sorted(calls) == ["new:a:s", "v1:a:s", "v1:a:t"]


def attributes_of(training):
    """{video: (category, [tags])} by name, of the videos that have any."""
    tags = len(SMALL_DICT[TAGS])
    names = [*SMALL_DICT[TAGS], *SMALL_DICT[CATEGORIES]]
    content, found = training.content(len(SMALL_DICT[ITEMS]), tags), {}
    for video, start, end in zip(SMALL_DICT[ITEMS], content.offsets, content.offsets[1:]):
        ids = content.ids[start:end]
        if len(ids):
            categories = [names[id_] for id_ in ids if id_ >= tags]
            found[video] = (
                categories[0] if categories else None,
                [names[id_] for id_ in ids if id_ < tags],
            )
    return found


@pytest.mark.parametrize(
    "clicks, catalogue, earlier, expected",
    [
        # one NULL before or after changes nothing, and many of them do not either
        (["v1:NULL:NULL", "v1:a:s"], [], [], ("a", ["s"])),
        (["v1:NULL:NULL"] * 9 + ["v1:a:s"], [], [], ("a", ["s"])),
        # the most clicked one; of equal ones the first by text
        (["v1:a:s", "v1:b:t", "v1:b:t"], [], [], ("b", ["t"])),
        (["v1:b:s", "v1:a:t"], [], [], ("a", ["t"])),
        # a category may be known by one video-info and tags by another
        (["v1:NULL:t", "v1:NULL:t", "v1:b:NULL"], [], [], ("b", ["t"])),
        (["v1:a:NULL", "v1:a:NULL", "v1:b:t"], [], [], ("a", ["t"])),
        # what the dictionary does not have is unknown
        (["v1:z:q", "v1:z:q", "v1:a:s_q"], [], [], ("a", ["s"])),
        # the catalogue before all clicks, as far as it says something
        (["v1:a:s"] * 3, ["v1:b:t"], [], ("b", ["t"])),
        (["v1:a:s"] * 3, ["v1:b:NULL"], [], ("b", ["s"])),
        (["v1:a:s"] * 3, ["v2:b:NULL"], [], ("a", ["s"])),
        ([], ["v1:b:t"], ["v1:a:s"], ("b", ["t"])),
        # the log before an earlier one, however many clicks that has
        (["v1:a:s"], [], ["v1:b:t"] * 3, ("a", ["s"])),
        (["v1:NULL:s"], [], ["v1:b:t"] * 3, ("b", ["s"])),
        (["v2:a:s"], [], ["v1:b:t", "v1:a:s", "v1:b:t"], ("b", ["t"])),
        (["v1:a:s", "v1:b:t"], [], ["v1:b:t"], ("b", ["t"])),
        (["v1:NULL:NULL", "v1:z:q"], [], [], None),
    ],
)
@pytest.mark.parametrize("block", [1, 99])
def test_video_infos_that_differ(write, block, clicks, catalogue, earlier, expected):
    """Category and tags of v1, whatever the order of the clicks, over lines and blocks."""
    for order in (clicks, clicks[::-1]):
        source = Reader(SMALL_DICT)
        source.register(catalogue)
        # u1's earlier clicks stand in front of each of the lines, and are not counted again
        source.prepend_context(write(log_text([("u1", "", "", earlier, "")]), "earlier.txt"), 9)
        path = write(
            log_text([("u1", "", "", [info], "") for info in order] + [("u1", "", "", [], "")])
        )
        training = TrainingLog(source, [path], block, cut_of())
        assert attributes_of(training).get("v1") == expected
        list(
            training.batches(2, np.random.default_rng(0))
        )  # reads the log again, and counts nothing
        assert attributes_of(training).get("v1") == expected
        category = training.categories(len(SMALL_DICT[ITEMS]))[SMALL_DICT[ITEMS]["v1"]]
        assert category == (SMALL_DICT[CATEGORIES][expected[0]] if expected else 0)


@given(
    lines=st.lists(LINES, max_size=6),
    earlier=st.lists(LINES, max_size=3),
    catalogue=st.lists(INFOS, max_size=4),
    block=st.integers(1, 7),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_lines_does_not_matter(
    tmp_path_factory, lines, earlier, catalogue, block, random
):
    """Lines, clicks and a catalogue in any order give the same categories and tags."""
    folder, found = tmp_path_factory.mktemp("logs"), []
    for _ in range(2):
        source = Reader(SMALL_DICT, progress=False)
        source.register(catalogue)
        for name, drawn in (("earlier.txt", earlier), ("new.txt", lines)):
            (folder / name).write_text(log_text(drawn), encoding="utf-8")
            random.shuffle(drawn)
            for line in drawn:
                random.shuffle(line[3])
        random.shuffle(catalogue)
        source.prepend_context(str(folder / "earlier.txt"), 2)
        training = TrainingLog(source, [str(folder / "new.txt")], block, cut_of())
        found.append(attributes_of(training))
    assert found[0] == found[1]
