"""An online recommender: user tower, index of video vectors, a user's last clicks.

    python user_vector.py --export_dir=serving --model_path=... --feature_dict=...
    python item_vector.py --output_path=serving/videos.npz --model_path=... --feature_dict=...
    python docs/serve.py serving < data/infer.txt

Needs paddle, numpy and faiss, and imports no module of this project. On AMD set
MKL_DEBUG_CPU_TYPE=5 (and OMP_NUM_THREADS=1 for concurrent requests): a third more users a second.

Reads lines of a log and prints `user-id tab video,video,...`, one line for each request, in order,
with video-ids as in the lists of infer.py. A malformed or empty request gets an empty list, and its
error goes to stderr.
"""

import argparse
import json
import os
import pickle
import re
import sys
import warnings

import numpy as np

DEFAULT_COLUMNS = ["user_id", "province", "city", "history", "phone"]  # of exports without columns
TOP = 30  # videos in a list


class UserTower:
    """User vectors for an engine from profiles and last clicks, equal to those of user_vector.py.

    Parameters
    ----------
    folder : str
        That user_vector.py --export_dir has written.

    Attributes
    ----------
    metadata : dict, inputs.json.
    columns : list of str, the columns of the log.
    """

    def __init__(self, folder):
        warnings.filterwarnings("ignore", message="No ccache found")
        import paddle
        from paddle import inference

        self._to_tensor = paddle.to_tensor
        with open(f"{folder}/inputs.json") as stream:
            self.metadata = json.load(stream)
        with open(f"{folder}/feature_dict.pkl", "rb") as stream:
            self._ids = pickle.load(stream)
        self.columns = self.metadata.get("columns", DEFAULT_COLUMNS)
        program, parameters = f"{folder}/user_tower.json", f"{folder}/user_tower.pdiparams"
        os.stat(parameters)  # without them paddle would compute with arbitrary values
        config = inference.Config(program, parameters)
        config.disable_glog_info()
        self._predictor = inference.create_predictor(config)

    def __call__(self, lines):
        """SIMPLE-LSH vectors, float32 [B, u + 2], of B lines of a log, each a list of columns."""
        users = self.run(self.inputs(lines))
        ones = np.ones((len(users), 1))
        vectors = np.hstack([ones, users, np.zeros_like(ones)])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def run(self, inputs):
        """User vectors, float32 [B, u], of the arrays that `inputs` returns."""
        return self._predictor.run([self._to_tensor(each) for each in inputs])[0].numpy()

    def inputs(self, lines):
        """The int64 arrays that inputs.json names, of B lines of a log.

        profile [B, P], items [B, T], categories [B, T], tags [B, T, K], length [B].
        """
        column_of = {name: column for column, name in enumerate(self.columns)}
        profile = [
            [self._ids[name].get(line[column_of[name]], 0) for name in self.metadata["profile"]]
            for line in lines
        ]
        windows = [self._window(line[column_of["history"]]) for line in lines]
        shape = len(lines), self.metadata["window_size"]
        most_tags = max(len(tags) for window in windows for _, _, tags in window)
        items = np.zeros(shape, np.int64)
        categories = np.zeros(shape, np.int64)
        tags = np.full((*shape, most_tags), self.metadata["no_tag"])
        for row, window in enumerate(windows):
            for position, (video, category, video_tags) in enumerate(window):
                items[row, position] = video
                categories[row, position] = category
                tags[row, position, : len(video_tags)] = video_tags
        lengths = np.array([len(window) for window in windows])
        return [np.array(profile, np.int64), items, categories, tags, lengths]

    def _window(self, history):
        """The last clicks of a history, [(video, category, [tag, ...]), ...], <unk> in front."""
        videos, categories, tags = (
            self._ids[f"history_clicked_{name}"] for name in ("items", "categories", "tags")
        )
        window = [(0, 0, [0])]
        for info in [] if history in ("", "NULL") else history.split(";"):
            video, category, video_tags = info.rsplit(":", 2)
            if videos.get(video, 0):
                tag_ids = [tags.get(tag, 0) for tag in video_tags.split("_")]
                window.append((videos[video], categories.get(category, 0), tag_ids))
        return window[-self.metadata["window_size"] :]


def parse_request(request, columns):
    """Columns, list of str, of a request, the bytes of a line; ValueError if it is malformed."""
    line = request.decode("utf-8-sig").rstrip("\r\n").split("\t")
    if len(line) != len(columns):
        raise ValueError(f"{len(line)} columns instead of {len(columns)}, with tabs between")
    history = line[columns.index("history")]
    if not history:
        raise ValueError("empty history; write NULL for a user without clicks")
    if history != "NULL" and min(info.count(":") for info in history.split(";")) < 2:
        raise ValueError("a video-info that is not video-id:category:tags")
    return line


def list_ids(names):
    """Video-ids, str [V], as infer.py prints them: a comma is %2C, and they can be decoded."""
    ids = [re.sub("%(?![0-9A-Fa-f]{2})", "%25", name).replace(",", "%2C") for name in names]
    return np.array(ids, object)


def load(folder):
    """The user tower, the video-ids [V] as in lists, and the index of their vectors.

    Raises ValueError if they are of different models.
    """
    import faiss

    tower = UserTower(folder)
    videos = np.load(f"{folder}/videos.npz")
    with open(f"{folder}/videos.npz.json") as stream:
        if json.load(stream)["model"] != tower.metadata["model"]:
            raise ValueError("user tower and videos.npz are of different models")
    names, vectors = videos["ids"], videos["vectors"]
    # This index is exact. For millions of videos: IndexHNSWFlat with efSearch 200.
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return tower, list_ids(names.tolist()), index


def serve(tower, names, index):
    """Answer each line of standard input."""
    for request in sys.stdin.buffer:
        try:
            line = parse_request(request, tower.columns)
            _, [best] = index.search(tower([line]), min(TOP, len(names)))
            print(line[0], ",".join(names[best]), sep="\t", flush=True)
        except ValueError as error:
            print(f"serve.py: {request[:80]!r}: {error}", file=sys.stderr, flush=True)
            user = request.rstrip(b"\r\n").split(b"\t")[0].decode(errors="replace")
            print(user, "", sep="\t", flush=True)


def fail(message):
    """Print an error message; returns the exit code."""
    print(f"serve.py: {message}", file=sys.stderr)
    return 2


def main():
    """Returns the exit code: 2, after one line on stderr, if it cannot start or cannot write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="with the user tower, videos.npz and videos.npz.json")
    folder = parser.parse_args().folder
    try:
        loaded = load(folder)
    except ImportError as error:
        return fail(f"{error}; pip install paddlepaddle numpy faiss-cpu")
    except Exception as error:  # paddle and numpy raise many for missing or damaged files
        reason = " ".join(str(error).split())[-200:]
        return fail(f"{folder}: {type(error).__name__}: {reason}; export both as --help says")
    # buffered, so that a line is complete or an error, with PYTHONUNBUFFERED=1 too
    sys.stdout = open(1, "w", encoding="utf-8", newline="\n", closefd=False)  # noqa: SIM115
    try:
        serve(*loaded)
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where the rest of the buffer goes
        return 0 if isinstance(error, BrokenPipeError) else fail(f"output: {error.strerror}")


if __name__ == "__main__":
    sys.exit(main())
