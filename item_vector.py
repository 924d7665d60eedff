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
from infer import add_output_path, load_model, write_vectors
from utils import ITEMS, add_model_arguments, argument_parser, run_script

import numpy as np

VIDEOS_AT_ONCE = 10_000


def parse_args():
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    add_model_arguments(parser)
    add_output_path(parser)
    return parser.parse_args()


def simple_lsh_videos(nce_w, nce_b):
    """[b, w, sqrt(m^2 - |(b, w)|^2)] of every video but `<unk>`. [V, u], [1, V] -> float64 [V - 1, u + 2]."""
    videos = np.hstack([nce_b.T, nce_w])[1:].astype(np.float64)
    squares = (videos ** 2).sum(axis=1, keepdims=True)
    return np.hstack([videos, np.sqrt(squares.max() - squares)])


def main():
    """Print or write the vector of each video."""
    args = parse_args()
    model = _, parameters, _, feature_dict = load_model(args)
    videos = list(feature_dict[ITEMS])[1:]
    vectors = simple_lsh_videos(parameters["nce_w"], parameters["nce_b"])
    write_vectors(args.output_path, model, (
        (videos[start:start + VIDEOS_AT_ONCE], vectors[start:start + VIDEOS_AT_ONCE])
        for start in range(0, len(videos), VIDEOS_AT_ONCE)))


if __name__ == "__main__":
    run_script(main)
