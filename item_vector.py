"""Model -> video vectors for a cosine-only ANN engine (SIMPLE-LSH). Imports no paddle.

    python item_vector.py --model_path='./output/model/model_pass_00000.tar.gz' \\
        --feature_dict='./output/feature_dict.pkl'

A video with weights w and bias b becomes [b, w_1, ..., w_31, sqrt(m^2 - |(b, w)|^2)], m being the largest
norm |(b, w)| over the videos: every video vector has norm m. The cosine with a user's [1, u, 0] is then
(w . u + b) / (m |(1, u)|), which orders the videos as their scores do, and so as the softmax does
(Neyshabur & Srebro 2014, section 4). Prints a vector a line, `,` between the numbers, videos in dictionary
order (`<unk>` is no video: line 1 is the video with id 1); --output_path writes a file with ids instead.
"""
import sys

import numpy as np

from data_processor import argument_parser, fingerprint, load_feature_dict, run_script
from network_conf import load_model
from reader import InputError, atomic_write

FORMATS = (".tsv", ".npz", ".vec")


def parse_args():
    parser = argument_parser(__doc__)
    add_model_arguments(parser)
    add_output_path(parser)
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
    vectors = np.hstack([nce_b.T, nce_w])[1:].astype(np.float64)  # [V - 1, 1 + u]
    square = (vectors ** 2).sum(axis=1, keepdims=True)
    return np.hstack([vectors, np.sqrt(square.max() - square)])


def write_vectors(path, blocks):
    """Write blocks of (ids, float64 [B, dim]) to stdout, or with ids to a .tsv, .npz or .vec file.

    Twelve decimals: the cosines of the printed vectors then differ from the exact ones by about 1e-11, which
    leaves the order as it is unless two scores agree to that many digits.
    """
    if path is None:
        for _, vectors in blocks:
            sys.stdout.writelines(",".join(row) + "\n" for row in _decimals(vectors))
        return
    if not path.endswith(FORMATS):
        raise InputError(path, None, "unknown kind of file", f"end its name in {', '.join(FORMATS)}")
    all_ids, all_vectors = zip(*blocks)
    ids, vectors = [id_ for block in all_ids for id_ in block], np.concatenate(all_vectors)
    if path.endswith(".vec"):
        spaced = next((id_ for id_ in ids if " " in id_), None)
        if spaced is not None:
            raise InputError(path, None, f"the word2vec format cannot hold the space in id {spaced!r}",
                             "write a .tsv or .npz file")
    with atomic_write(path) as stream:
        if path.endswith(".npz"):
            np.savez(stream, ids=np.array(ids), vectors=vectors)
            return
        separator = "\t" if path.endswith(".tsv") else " "
        if path.endswith(".vec"):
            stream.write(f"{vectors.shape[0]} {vectors.shape[1]}\n".encode())
        stream.writelines(separator.join([id_, *row]).encode() + b"\n" for id_, row in zip(ids, _decimals(vectors)))


def _decimals(vectors):
    """Rows of numbers as lists of strings."""
    return ([f"{value:.12g}" for value in row] for row in vectors.tolist())


def main():
    args = parse_args()
    model, feature_dict = load_trained(args)
    videos = list(feature_dict["history_clicked_items"])[1:]
    write_vectors(args.output_path, [(videos, simple_lsh_videos(model.parameters["nce_w"],
                                                                model.parameters["nce_b"]))])


if __name__ == "__main__":
    run_script(main)
