"""Coverage-guided fuzzing of everything that reads a file. Needs no paddle.

    make fuzz                                                        # installs atheris
    python tests/fuzz.py log --corpus_dir=output/fuzz -runs=50000    # one target, libFuzzer flags

The targets are logs, dictionaries, frequencies and models. A target takes the bytes of a file.
Either they are read, and then what holds for good files must hold, or they are refused with an
InputError of one line; every other exception is a finding. atheris keeps such an input as crash-*:
once the bug is fixed it moves to tests/corpus/TARGET/, which test_fuzz.py replays.
"""

import argparse
import contextlib
import gzip
import io
import json
import math
import os
import pickle
import re
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    import atheris

    instrumented = atheris.instrument_imports(include=["candgen", "reader"])
else:
    instrumented = contextlib.nullcontext()
with instrumented:
    from candgen.archives import read_archive, write_archive
    from candgen.console import InputError
    from candgen.data.counting import count_log
    from candgen.data.dictionary import (
        FEATURES,
        dictionary_fingerprint,
        load_feature_dict,
        load_item_freq,
    )
    from candgen.data.logs import BadLines
    from candgen.data.text_files import raw_lines
    from candgen.model.model_file import load_model
    from candgen.serving.topn import TopN
    from reader import Reader

import numpy as np

CORPUS = Path(__file__).resolve().parent / "corpus"
DICTIONARY = {name: {"<unk>": 0, "a": 1, "b": 2} for name in FEATURES}
SMALLEST = {
    "format_version": 1,
    "dictionary_sizes": dict.fromkeys(FEATURES, 3),
    "embedding_dims": dict.fromkeys(FEATURES, 1),
    "window_size": 2,
    "dnn_layer_dims": [1, 2],
    "lstm_dim": 1,
    "tie_embeddings": False,
}
FOLDER = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def file_of(data, name="input"):
    """Path of a file with this content."""
    path = os.path.join(FOLDER.name, name)
    with open(path, "wb") as stream:
        stream.write(data)
    return path


def accepted(read, *arguments):
    """(True, the result of `read`), or (False, None) if it refuses the file in one line."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # lines left out are named there
            return True, read(*arguments)
    except InputError as error:
        message = str(error)
        assert message.startswith(FOLDER.name) and "\n" not in message and "; " in message, message
        assert len(message) < 1000, message
        return False, None


def log(data):
    """Counting and encoding accept the same logs, and the same lines if bad ones are left out."""

    def encode(path, bad_lines=None):
        [block] = Reader(DICTIONARY, bad_lines).encode(path)
        return block

    path = file_of(data)
    counted, result = accepted(count_log, path)
    encoded, block = accepted(encode, path)
    assert counted == encoded
    if counted:
        counts, by_feature = result
        items = by_feature["history_clicked_items"]
        assert (counts.lines, counts.clicks) == (len(block.users), sum(items.values()))
        assert sum(by_feature["user_id"].values()) == counts.clicks
        assert len(block.clicks) == items.get("a", 0) + items.get("b", 0)
    bad_lines, again = BadLines(len(data) + 1), BadLines(len(data) + 1)
    readable, sifted = accepted(count_log, path, 1, bad_lines)
    assert (readable, readable and bad_lines.count) == (
        accepted(encode, path, again)[0],
        readable and again.count,
    )
    if readable:  # every line of it is either good or left out
        assert counted == (bad_lines.count == 0)
        lines = [
            re.sub(b"^(\xef\xbb\xbf)*", b"", raw.rstrip(b"\r\n")) for _, _, raw in raw_lines(path)
        ]
        assert sifted[0].lines + bad_lines.count == sum(map(bool, lines))
        assert not counted or vars(sifted[0]) == vars(result[0])


def dictionary(data):
    """An accepted dictionary has a fingerprint, serves a Reader, and survives a round trip."""
    good, feature_dict = accepted(load_feature_dict, file_of(data))
    if good:
        assert len(dictionary_fingerprint(feature_dict)) == 64
        Reader(feature_dict).encode_users(["a"])
        assert load_feature_dict(file_of(pickle.dumps(feature_dict))) == feature_dict


def frequencies(data):
    """Accepted frequencies are a distribution, not all of it on <unk>."""
    good, freq = accepted(load_item_freq, file_of(data), DICTIONARY)
    if good:
        assert (
            len(freq) == 3
            and min(freq) >= 0 < max(freq[1:])
            and math.isclose(sum(freq), 1, abs_tol=1e-6)
        )


def model(data):
    """An accepted archive holds finite numbers, and survives a round trip.

    A model that is accepted fits its dictionary, and can be ranked with.
    """
    path, again = file_of(data, "model.tar.gz"), os.path.join(FOLDER.name, "again.tar.gz")
    good, archive = accepted(read_archive, path, "fix it")
    if good:
        metadata, arrays = archive
        assert isinstance(metadata, dict) and all(
            np.isfinite(value).all() for value in arrays.values()
        )
        if all(name.isascii() and 0 < len(name) < 90 for name in arrays):
            write_archive(again, metadata, arrays)
            metadata_again, arrays_again = read_archive(again, "fix it")
            assert json.dumps(metadata_again) == json.dumps(metadata)
            assert arrays_again.keys() == arrays.keys()
            for name, value in arrays.items():
                assert np.array_equal(arrays_again[name], np.atleast_1d(value))
    feature_dict = file_of(pickle.dumps(DICTIONARY), "feature_dict.pkl")
    fits, loaded = accepted(load_model, path, feature_dict)
    assert good or not fits
    if fits:
        assert loaded.item_freq.shape == (3,)
        assert loaded.nce_b.shape == (1, 3)
        assert len(loaded.nce_w) == 3
        if loaded.nce_w.dtype == np.float32 == loaded.nce_b.dtype:
            users = np.zeros((1, loaded.nce_w.shape[1]))
            ids, *_ = TopN(loaded.nce_w, loaded.nce_b)(users, 2)
            assert sorted(ids[0]) == [1, 2]


def archive(data):
    """As `model`, for the tar within: a change is not hidden by the checksum of gzip."""
    model(gzip.compress(data, 0))


TARGETS = {target.__name__: target for target in (log, dictionary, frequencies, model, archive)}


def tar_of(name, content):
    """The bytes of a tar with one member."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def seeds():
    """{target: [good files to start from]}"""
    path = os.path.join(FOLDER.name, "seed.tar.gz")
    shapes = {"relu1_b": (1,), "nce_w": (3, 2), "nce_b": (1, 3), "item_freq": (3,)}
    metadata = {**SMALLEST, "dictionary_fingerprint": dictionary_fingerprint(DICTIONARY)}
    write_archive(
        path, metadata, {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    )
    good_model = Path(path).read_bytes()
    good_log = (
        "\ufeffa\tb\tc\ta:b:a_b;b:a:NULL\tNULL\n\nü\t\t\tNULL\t\r\nx\ty\tz\ta:b:c:d\t \n".encode()
    )
    json_only = tar_of("model.json", json.dumps(metadata).encode())
    return {
        "log": [
            good_log,
            gzip.compress(good_log),
            b"a\tb\tc\td\n",
            b"a\tb\tc\ta:b\te\na\tb\tc\t\te\n",
        ],
        "dictionary": [pickle.dumps(DICTIONARY, protocol) for protocol in (0, 2, 4)],
        "frequencies": [pickle.dumps([0.0, 0.5, 0.5], protocol) for protocol in (0, 2, 4)],
        "model": [good_model, gzip.compress(json_only)],
        "archive": [gzip.decompress(good_model), json_only],
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument(
        "--corpus_dir", type=Path, default=Path("output/fuzz"), help="where inputs are kept"
    )
    args, of_libfuzzer = parser.parse_known_args()
    corpus = args.corpus_dir / args.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds()[args.target]):
        (corpus / f"seed-{number}").write_bytes(content)
    (CORPUS / args.target).mkdir(parents=True, exist_ok=True)
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            str(CORPUS / args.target),
            f"-artifact_prefix={args.corpus_dir}/",
            "-timeout=10",
            "-rss_limit_mb=4096",
            *of_libfuzzer,
        ],
        TARGETS[args.target],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
