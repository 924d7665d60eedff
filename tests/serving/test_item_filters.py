"""Files of videos that may, and that must not, be recommended."""

import re

from candgen.console import InputError
from candgen.data.dictionary import ITEMS
from candgen.serving.item_filters import allowed_videos, listed_videos

import pytest

UNKNOWN_IDS = "are not known to the model, such as"


@pytest.mark.parametrize(
    "allow, deny, what",
    [
        (
            None,
            ['"V1"\n"V2"\n'],
            f"deny0: 2 of its 2 videos {UNKNOWN_IDS} '\"V1\"'; write ids as in the log, one a line",
        ),
        (None, ["V1\n", "v2\n"], f"deny1: 1 of its 1 videos {UNKNOWN_IDS} 'v2'"),
        (["V1,x\n"], None, f"allow0: 1 of its 1 videos {UNKNOWN_IDS} 'V1,x'"),
        (["<unk>\n"], None, f"allow0: 1 of its 1 videos {UNKNOWN_IDS} '<unk>'"),
        ([""], None, "leaves no video to recommend"),
        (["V1\n"], ["V2\nV1\n"], "leaves no video to recommend"),
        (None, ["V1\n new\nV2\n"], {"V0", "V3", "a%3Bb", "c,d"}),
        (None, [""], {"V0", "V1", "V2", "V3", "a%3Bb", "c,d"}),
        (["V1\nV3\n", "V2\n"], ["V3\n"], {"V1", "V2"}),
        (["a;b\nc%2Cd\nV1\n"], ["V%31\n"], {"a%3Bb", "c,d"}),
    ],
)
def test_files_of_videos(tmp_path, capsys, allow, deny, what):
    """A file without any known id is an error, one with some unknown ids a warning."""
    paths = {}
    for name, texts in (("allow", allow), ("deny", deny)):
        for number, text in enumerate(texts or []):
            (tmp_path / f"{name}{number}").write_text(text)
        paths[f"{name}_items"] = texts and [
            str(tmp_path / f"{name}{number}") for number in range(len(texts))
        ]
    names = ["<unk>", "V0", "V1", "V2", "V3", "a%3Bb", "c,d"]
    dictionary = {ITEMS: {name: id_ for id_, name in enumerate(names)}}
    if isinstance(what, str):
        with pytest.raises(InputError, match=re.escape(what)):
            allowed_videos(**paths, feature_dict=dictionary)
        return
    allowed = allowed_videos(**paths, feature_dict=dictionary)
    err = capsys.readouterr().err
    assert ("videos are known" in err) == any([*(allow or []), *(deny or [])])
    assert {name for name, kept in zip(names, allowed) if kept} == what
    warned = [line for line in err.splitlines() if "warning" in line]
    assert len(warned) == ("new" in str(deny)) and all(
        f"1 of its 3 videos {UNKNOWN_IDS} ' new'" in line for line in warned
    )


def test_listed_videos_in_the_order_of_the_files(write):
    """Also several times."""
    videos = {"<unk>": 0, "a": 1, "b": 2, "c,d": 3}
    paths = [write("c%2Cd\nnew\na\n", "first"), write("", "empty"), write("b\na\n", "last")]
    assert listed_videos(paths, videos).tolist() == [3, 1, 2, 1]
    assert listed_videos(paths[1:2], videos).tolist() == []
