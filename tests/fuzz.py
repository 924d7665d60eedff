"""Coverage-guided fuzzing of everything that reads a file: logs, dictionaries, frequencies, models.

    make fuzz                                                        # installs atheris; 100,000 inputs and more
    python tests/fuzz.py log --corpus_dir=output/fuzz -runs=50000    # one target, flags of libFuzzer behind it

A target takes the bytes of a file. Either they are read, and then what is promised of good files holds, or they are
refused with an InputError of one line; every other exception is a find. atheris keeps an input that found something as
crash-*: once mended it moves into tests/corpus/TARGET/, which test_fuzz.py replays.
"""
import argparse
import gzip
import io
import json
import os
import pickle
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
CORPUS = Path(__file__).resolve().parent / "corpus"
FEATURES = ("user_id", "province", "city", "phone", "history_clicked_items", "history_clicked_categories",
            "history_clicked_tags")
DICTIONARY = {name: {"<unk>": 0, "a": 1, "b": 2} for name in FEATURES}
SMALLEST = {"dictionary_sizes": dict.fromkeys(FEATURES, 2), "embedding_dims": dict.fromkeys(FEATURES, 1),
            "dnn_layer_dims": (1, 1), "lstm_dim": 1}
FOLDER = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def file_of(data, name="input"):
    """Path of a file with this content."""
    path = os.path.join(FOLDER.name, name)
    with open(path, "wb") as stream:
        stream.write(data)
    return path


def accepted(read, *arguments):
    """(True, what `read` gives), or (False, None) if it refuses the file in one line that names it."""
    from reader import InputError
    try:
        return True, read(*arguments)
    except InputError as error:
        message = str(error)
        assert message.startswith(FOLDER.name) and "\n" not in message and "; " in message, message
        assert len(message) < 1000, message
        return False, None


def log(data):
    """Counting and encoding accept the same logs; with all bad lines set aside what is left counts as if alone."""
    from data_processor import count_log
    from reader import BadLines, Reader, raw_lines
    path, aside = file_of(data), os.path.join(FOLDER.name, "bad_lines.txt")

    def encode(bad_lines=None):
        return next(Reader(DICTIONARY, 3, bad_lines).encode(path))

    counted, found = accepted(count_log, path)
    encoded, block = accepted(encode)
    assert counted == encoded
    if counted:
        assert found[1] == {"lines": len(block.users), "clicks": sum(found[0]["history_clicked_items"].values())}
        assert sum(found[0]["user_id"].values()) == found[1]["clicks"]
    bad_lines = BadLines(aside, len(data) + 1)
    readable, sifted = accepted(lambda: list(raw_lines(path, bad_lines)))
    if readable:  # every line of it is either good or set aside
        bad = bad_lines.count
        assert counted == (bad == 0)
        good = b"\xef\xbb\xbf" * (data[:3] == b"\xef\xbb\xbf") + b"".join(
            raw if raw.endswith(b"\n") else raw + b"\n" for _, raw in sifted)
        again, refound = accepted(count_log, file_of(good, "good"))
        assert again and refound[1]["lines"] <= len(sifted)


def dictionary(data):
    """A dictionary that is accepted has a fingerprint, serves a Reader, and is the same when written and read again."""
    from data_processor import fingerprint, load_feature_dict
    from reader import Reader
    good, feature_dict = accepted(load_feature_dict, file_of(data))
    if good:
        assert len(fingerprint(feature_dict)) == 64
        Reader(feature_dict).encode_users(["a"])
        assert load_feature_dict(file_of(pickle.dumps(feature_dict))) == feature_dict


def frequencies(data):
    """Frequencies that are accepted can be drawn from; <unk> never is."""
    from data_processor import load_item_freq
    from network_conf import NoiseSampler
    good, freq = accepted(load_item_freq, file_of(data), DICTIONARY)
    if good:
        assert (NoiseSampler(freq).draw(50, np.random.default_rng(0)) > 0).all()


def model(data):
    """A model that is accepted is the same when written and read again."""
    from network_conf import load_model, save_model
    good, loaded = accepted(load_model, file_of(data, "model.tar.gz"))
    if good:
        path = os.path.join(FOLDER.name, "again.tar.gz")
        save_model(path, *loaded)
        again = load_model(path)
        assert again.config == loaded.config and np.array_equal(again.item_freq, loaded.item_freq)
        assert all(np.array_equal(again.parameters[name], value) for name, value in loaded.parameters.items())


def archive(data):
    """As `model`, of the tar within: what is changed is not hidden behind the checksum of gzip."""
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
    from network_conf import ModelConfig, initial_parameters, save_model
    config = ModelConfig(**SMALLEST)
    path = os.path.join(FOLDER.name, "seed.tar.gz")
    freq = [0.25, 0.75]
    save_model(path, config, initial_parameters(config, freq, np.random.default_rng(0)), freq)
    good_model = Path(path).read_bytes()
    good_log = "\ufeffa\tb\tc\ta:b:a_b;b:a:NULL\tNULL\n\nü\t\t\tNULL\t\r\nx\ty\tz\ta:b:c:d\t \n".encode()
    json_only = tar_of("model.json", json.dumps({"format_version": 1, **SMALLEST}).encode())
    return {"log": [good_log, gzip.compress(good_log), b"a\tb\tc\td\n", b"a\tb\tc\ta:b\te\na\tb\tc\t\te\n"],
            "dictionary": [pickle.dumps(DICTIONARY, protocol) for protocol in (0, 2, 4)],
            "frequencies": [pickle.dumps([0.0, 0.5, 0.5], protocol) for protocol in (0, 2, 4)],
            "model": [good_model, gzip.compress(json_only)],
            "archive": [gzip.decompress(good_model), json_only]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--corpus_dir", type=Path, default=Path("output/fuzz"), help="where inputs are kept")
    args, of_libfuzzer = parser.parse_known_args()
    import atheris
    with atheris.instrument_imports(include=["reader", "data_processor", "network_conf"]):
        import network_conf  # noqa: F401
    corpus = args.corpus_dir / args.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds()[args.target]):
        (corpus / f"seed-{number}").write_bytes(content)
    (CORPUS / args.target).mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], str(corpus), str(CORPUS / args.target), f"-artifact_prefix={args.corpus_dir}/",
                   "-timeout=10", "-rss_limit_mb=4096", *of_libfuzzer], TARGETS[args.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
