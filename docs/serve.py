"""An online recommender: user tower, index of video vectors, a user's last clicks. Needs paddle, numpy and faiss.

    python user_vector.py --export_dir=serving --model_path=... --feature_dict=...
    python item_vector.py --output_path=serving/videos.npz --model_path=... --feature_dict=...
    python docs/serve.py serving < data/infer.txt

On AMD set MKL_DEBUG_CPU_TYPE=5 (and OMP_NUM_THREADS=1 where requests come together): a third more users a second.

Reads lines of a log, prints `user-id tab video,video,...` (of ids without commas), one line for each request, in
order. A malformed or empty request gets an empty list, and its error goes to stderr. Nothing of this project is
imported.
"""
import argparse
import json
import os
import pickle
import sys
import warnings

import numpy as np

COLUMNS = {"user_id": 0, "province": 1, "city": 2, "history": 3, "phone": 4}  # of the log, as LOG_COLUMNS in utils.py
COLUMN_COUNT = max(COLUMNS.values()) + 1


class UserTower:
    """User vectors for an engine from profiles and last clicks, as user_vector.py has them."""

    def __init__(self, folder):
        warnings.filterwarnings("ignore", message="No ccache found")
        import paddle
        from paddle import inference
        self.tensor = paddle.to_tensor
        with open(f"{folder}/inputs.json") as told, open(f"{folder}/feature_dict.pkl", "rb") as dictionary:
            self.told, self.ids = json.load(told), pickle.load(dictionary)
        program, parameters = f"{folder}/user_tower.json", f"{folder}/user_tower.pdiparams"
        os.stat(parameters)  # without them paddle would compute with arbitrary values
        config = inference.Config(program, parameters)
        config.disable_glog_info()
        self.predictor = inference.create_predictor(config)

    def __call__(self, lines):
        """float32 [B, u + 2] of B lines of a log, as lists of columns."""
        users = self.run(self.inputs(lines))
        vectors = np.hstack([np.ones((len(users), 1)), users, np.zeros((len(users), 1))])  # SIMPLE-LSH
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def run(self, inputs):
        """User vectors, float32 [B, u], of what `inputs` gave."""
        return self.predictor.run([self.tensor(each) for each in inputs])[0].numpy()

    def inputs(self, lines):
        """The five int64 arrays that inputs.json names, of B lines of a log."""
        width, users = self.told["window_size"], len(lines)
        video_of, category_of, tag_of = (self.ids[f"history_clicked_{name}"].get
                                         for name in ("items", "categories", "tags"))
        profile = [[self.ids[name].get(line[COLUMNS[name]], 0) for name in self.told["profile"]] for line in lines]
        windows = []  # of each user: [(video, category, [tag, ...]), ...], <unk> in front
        for line in lines:
            history = line[COLUMNS["history"]]
            infos = [] if history in ("", "NULL") else [info.rsplit(":", 2) for info in history.split(";")]
            clicks = [(video_of(video), category_of(category, 0), [tag_of(tag, 0) for tag in tags.split("_")])
                      for video, category, tags in infos if video_of(video)]
            windows.append([(0, 0, [0]), *clicks][-width:])
        most = max(len(tags) for window in windows for *_, tags in window)
        items, categories = np.zeros((2, users, width), np.int64)
        tags = np.full((users, width, most), self.told["no_tag"])
        for row, window in enumerate(windows):
            for place, (video, category, of_video) in enumerate(window):
                items[row, place], categories[row, place], tags[row, place, :len(of_video)] = video, category, of_video
        lengths = [len(window) for window in windows]
        return [np.array(each, np.int64) for each in (profile, items, categories, tags, lengths)]


def columns(request):
    """Columns, list of str, of a request: bytes of a line of a log. ValueError for a malformed one."""
    line = request.decode("utf-8-sig").rstrip("\r\n").split("\t")
    if len(line) != COLUMN_COUNT:
        raise ValueError(f"{len(line)} columns instead of {COLUMN_COUNT}, with tabs between")
    history = line[COLUMNS["history"]]
    if not history:
        raise ValueError("empty history; write NULL for a user without clicks")
    if history != "NULL" and min(info.count(":") for info in history.split(";")) < 2:
        raise ValueError("a video-info that is not video-id:category:tags")
    return line


def load(folder):
    """The user tower, the video-ids [V] and the index of their vectors. ValueError if they do not belong together."""
    import faiss
    tower, found = UserTower(folder), np.load(f"{folder}/videos.npz")
    with open(f"{folder}/videos.npz.json") as prints:
        if json.load(prints)["model"] != tower.told["model"]:
            raise ValueError("user tower and videos.npz are of different models")
    names, videos = found["ids"], found["vectors"]
    index = faiss.IndexFlatIP(videos.shape[1])  # exact; for millions of videos: IndexHNSWFlat, efSearch 200
    index.add((videos / np.linalg.norm(videos, axis=1, keepdims=True)).astype(np.float32))
    return tower, names, index


def serve(tower, names, index):
    """Answer each line of standard input."""
    for request in sys.stdin.buffer:
        try:
            line = columns(request)
            _, [best] = index.search(tower([line]), min(30, len(names)))
            print(line[0], ",".join(names[best]), sep="\t", flush=True)
        except ValueError as error:
            print(f"serve.py: {request[:80]!r}: {error}", file=sys.stderr, flush=True)
            print(request.rstrip(b"\r\n").split(b"\t")[0].decode(errors="replace"), "", sep="\t", flush=True)


def failed(message):
    """Print a message; returns the exit code."""
    print(f"serve.py: {message}", file=sys.stderr)
    return 2


def main():
    """Returns the exit code: 2, after one line on stderr, if it cannot start or cannot write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="with the user tower, videos.npz and videos.npz.json")
    folder = parser.parse_args().folder
    try:
        loaded = load(folder)
    except ImportError as error:
        return failed(f"{error}; pip install paddlepaddle numpy faiss-cpu")
    except Exception as error:  # whatever paddle and numpy raise for files that are missing or damaged
        reason = " ".join(str(error).split())[-200:]
        return failed(f"{folder}: {type(error).__name__}: {reason}; export both as --help says")
    # buffered, so that a line is complete or an error, with PYTHONUNBUFFERED=1 too
    sys.stdout = open(1, "w", encoding="utf-8", newline="\n", closefd=False)  # noqa: SIM115
    try:
        serve(*loaded)
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where the rest of the buffer goes
        return 0 if isinstance(error, BrokenPipeError) else failed(f"output: {error.strerror}")


if __name__ == "__main__":
    sys.exit(main())
