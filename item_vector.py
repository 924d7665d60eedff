"""Model -> video vectors for a cosine-only ANN engine (SIMPLE-LSH). Imports no paddle.

    python item_vector.py --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl'

A video with weights w and bias b becomes [b, w_1, ..., w_31, sqrt(m^2 - |(b, w)|^2)], m being the largest
norm |(b, w)| over the videos: every video vector has norm m. The cosine with a user's [1, u, 0] is then
(w . u + b) / (m |(1, u)|), which orders the videos as their scores do, and so as the softmax does
(Neyshabur & Srebro 2014, section 4). Prints a vector a line, `,` between the numbers, videos in dictionary
order (`<unk>` is no video: line 1 is the video with id 1); --output_path writes a file with ids instead, and
beside it FILE.json with the fingerprints of dictionary and model: those of users and videos must be equal.
"""
import json
import os
import shutil
import sys
import tempfile

from data_processor import (
    add_processes,
    argument_parser,
    fingerprint,
    load_feature_dict,
    ordered_map,
    run_script,
)
from network_conf import load_model, model_fingerprint
from reader import InputError, atomic_write

import numpy as np

FORMATS = (".tsv", ".npz", ".vec")
SEPARATORS = ",\t "
VIDEOS_AT_ONCE = 1024


def parse_args():
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    add_model_arguments(parser)
    add_output_path(parser)
    add_processes(parser)
    return parser.parse_args()


def add_model_arguments(parser):
    """The flags of every script that opens a model."""
    parser.add_argument("--model_path", required=True, help="a model_pass_*.tar.gz of train.py")
    parser.add_argument("--feature_dict", required=True, help="the feature_dict.pkl it was trained with")


def add_output_path(parser):
    """The flag of both scripts that export vectors."""
    parser.add_argument("--output_path", help="file with ids and vectors, in place of stdout: .tsv (id and numbers "
                        "between tabs), .npz (arrays ids, vectors) or .vec (word2vec text)")


def load_trained(args):
    """(Model, feature_dict) of --model_path and --feature_dict; InputError if they do not belong together."""
    feature_dict = load_feature_dict(args.feature_dict)
    return load_model(args.model_path, fingerprint(feature_dict)), feature_dict


def simple_lsh_videos(nce_w, nce_b):
    """[b, w, sqrt(m^2 - |(b, w)|^2)] of every video but `<unk>`. [V, u], [1, V] -> float64 [V - 1, u + 2]."""
    videos = with_bias(nce_w, nce_b)
    return completed(videos, largest_square(videos))


def with_bias(nce_w, nce_b):
    """[b, w] of every video but `<unk>`. [V, u], [1, V] -> float32 [V - 1, 1 + u]."""
    return np.hstack([nce_b.T[1:], nce_w[1:]])


def squares(videos):
    """Square of the norm of each row. [B, w] -> float64 [B, 1]."""
    return (videos.astype(np.float64) ** 2).sum(axis=1, keepdims=True)


def largest_square(videos):
    """m^2, the largest square of a norm |(b, w)|, of [b, w] of all videos."""
    return max(squares(videos[block]).max() for block in video_blocks(len(videos)))


def completed(videos, largest):
    """[b, w] with the component that makes all norms m, from m^2. [B, 1 + u] -> float64 [B, u + 2]."""
    return np.hstack([videos, np.sqrt(largest - squares(videos))])


def video_blocks(videos):
    """Slices of VIDEOS_AT_ONCE videos, few enough for their digits to stay in the cache."""
    return (slice(start, start + VIDEOS_AT_ONCE) for start in range(0, videos, VIDEOS_AT_ONCE))


def decimals(vectors, separator, names=None):
    """Rows of numbers with twelve decimals as lines of text, each after its name if there are names; bytes.

    Twelve decimals: the cosines of the printed vectors then differ from the exact ones by about 1e-11, which
    leaves the order as it is unless two scores agree to that many digits. Digits are made for all numbers at once,
    four of them by one look-up, as words of four bytes in which a NUL stands for nothing.
    """
    rows, width = vectors.shape
    if rows and not np.abs(vectors).max() < 10 ** 4:
        raise InputError("the model", None, "a component of a vector is 10,000 or more",
                         "train it with a lower --learning_rate, or write a .npz file")
    fixed = np.rint(np.abs(vectors) * 1e12).astype(np.int64)
    first = fixed // 10 ** 8  # dividing by a constant is fast, numpy.divmod is not
    last = (fixed - first * 10 ** 8).astype(np.uint32)  # 8 decimals
    first = first.astype(np.uint32)
    whole = first // TEN_THOUSAND
    negative = (vectors < 0) & (fixed > 0)
    # before the decimals: ",-1." or, where there are larger numbers, ",  -" "  12" "   ."
    head = 1 if (whole < 10).all() else 3
    words = np.empty((rows, width, head + 3), np.uint32)
    if head == 1:
        words[:, :, 0] = STARTS[separator].take(whole + negative * TEN)
    else:
        words[:, :, 0], words[:, :, 1], words[:, :, 2] = SIGNS[separator].take(negative), WHOLE.take(whole), POINT
    words[:, :, head] = DIGITS.take(first - whole * TEN_THOUSAND)
    middle = last // TEN_THOUSAND
    words[:, :, head + 1] = DIGITS.take(middle)
    words[:, :, head + 2] = DIGITS.take(last - middle * TEN_THOUSAND)
    words.view(np.uint8)[:, 0, 0] = ord("\n")  # in place of the first separator of a line
    text = words.tobytes().translate(None, b"\0")[1:] + b"\n"
    if names is None or not rows:
        return text if rows else b""
    lines = text.split(b"\n")
    return b"".join(b"%b%b%b\n" % (name.encode(), separator.encode(), line) for name, line in zip(names, lines))


def four_bytes(texts):
    """Texts of four letters as numbers: uint32."""
    return np.frombuffer("".join(texts).encode(), np.uint32)


def four_digits(leading_zeros):
    """The numbers below 10,000 as four digits each, NULs in place of leading zeros if these are not wanted: uint32."""
    numbers, powers = np.arange(10 ** 4)[:, None], np.array([1000, 100, 10, 1])
    digits = numbers // powers % 10 + ord("0")
    if not leading_zeros:
        digits[(numbers < powers) & (powers > 1)] = 0
    return digits.astype(np.uint8).view(np.uint32)[:, 0]


TEN, TEN_THOUSAND = np.uint32(10), np.uint32(10 ** 4)
DIGITS, WHOLE = four_digits(True), four_digits(False)
POINT = four_bytes(["\0\0\0."])
STARTS = {separator: four_bytes(f"{separator}{sign}{digit}." for sign in "\0-" for digit in range(10))
          for separator in SEPARATORS}
SIGNS = {separator: four_bytes(f"{separator}\0\0{sign}" for sign in "\0-") for separator in SEPARATORS}


def as_written(path, ids, vectors):
    """(ids, what `write_vectors` wants of a block for this path): text as bytes, or the float64 [B, dim] themselves."""
    if path is None:
        return ids, decimals(vectors, ",")
    if path.endswith(".npz"):
        return ids, vectors
    return ids, decimals(vectors, "\t" if path.endswith(".tsv") else " ", ids)


def write_vectors(path, model, blocks):
    """Write blocks of `as_written` to stdout, or with ids to a .tsv, .npz or .vec file and fingerprints beside it."""
    if path is None:
        for _, text in blocks:
            sys.stdout.buffer.write(text)
        return
    if not path.endswith(FORMATS):
        raise InputError(path, None, "unknown kind of file", f"end its name in {', '.join(FORMATS)}")
    width = model.parameters["nce_w"].shape[1] + 2
    with atomic_write(path) as stream:
        if path.endswith(".npz"):
            all_ids, all_vectors = zip(([], np.zeros((0, width))), *blocks)
            np.savez(stream, ids=np.array([id_ for block in all_ids for id_ in block], str),
                     vectors=np.concatenate(all_vectors))
        elif path.endswith(".vec"):
            _write_word2vec(path, stream, width, blocks)
        else:
            stream.writelines(text for _, text in blocks)
    with atomic_write(path + ".json") as stream:
        told = {"feature_dict": model.config.dictionary_fingerprint, "model": model_fingerprint(model)}
        stream.write(json.dumps(told, indent=1).encode())


def _write_word2vec(path, stream, width, blocks):
    """The first line of a .vec says how many vectors there are: known, for users, when all are made."""
    count = 0
    with tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(path))) as body:
        for ids, text in blocks:
            for id_ in ids:
                if " " in id_:
                    raise InputError(path, None, f"the word2vec format cannot hold the space in id {id_!r}",
                                     "write a .tsv or .npz file")
            body.write(text)
            count += len(ids)
        body.seek(0)
        stream.write(f"{count} {width}\n".encode())
        shutil.copyfileobj(body, stream, 1 << 20)


def main():
    """Print or write the vector of each video."""
    args = parse_args()
    model, feature_dict = load_trained(args)
    videos = list(feature_dict["history_clicked_items"])[1:]
    vectors = with_bias(model.parameters["nce_w"], model.parameters["nce_b"])
    largest = largest_square(vectors)
    write_vectors(args.output_path, model, ordered_map(
        lambda block: as_written(args.output_path, videos[block], completed(vectors[block], largest)),
        video_blocks(len(videos)), args.processes))


if __name__ == "__main__":
    run_script(main)
