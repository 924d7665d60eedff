"""An online recommender: user tower, index of video vectors, a user's last clicks. Needs paddle, numpy and faiss.

    python user_vector.py --export_dir=serving --model_path=... --feature_dict=...
    python item_vector.py --output_path=serving/videos.npz --model_path=... --feature_dict=...
    python docs/serve.py serving < data/infer.txt

On AMD set MKL_DEBUG_CPU_TYPE=5 (and OMP_NUM_THREADS=1 where requests come together): a third more users a second.

Reads lines of a log, prints `user-id tab video,video,...` (of ids without commas). Nothing of this project is imported.
"""
import json
import pickle
import sys

import faiss
import numpy as np
import paddle
from paddle import inference

COLUMNS = {"user_id": 0, "province": 1, "city": 2, "phone": 4}  # of a line of the log, as LOG_COLUMNS in utils.py


class UserTower:
    """User vectors for an engine from profiles and last clicks, as user_vector.py has them."""

    def __init__(self, folder):
        with open(f"{folder}/inputs.json") as told, open(f"{folder}/feature_dict.pkl", "rb") as dictionary:
            self.told, self.ids = json.load(told), pickle.load(dictionary)
        config = inference.Config(f"{folder}/user_tower.json", f"{folder}/user_tower.pdiparams")
        config.disable_glog_info()
        self.predictor = inference.create_predictor(config)

    def __call__(self, lines):
        """float32 [B, u + 2] of B lines of a log, as lists of columns."""
        users = self.run(self.inputs(lines))
        vectors = np.hstack([np.ones((len(users), 1)), users, np.zeros((len(users), 1))])  # SIMPLE-LSH
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def run(self, inputs):
        """User vectors, float32 [B, u], of what `inputs` gave."""
        return self.predictor.run([paddle.to_tensor(each) for each in inputs])[0].numpy()

    def inputs(self, lines):
        """The five int64 arrays that inputs.json names, of B lines of a log."""
        width, users = self.told["window_size"], len(lines)
        video_of, category_of, tag_of = (self.ids[f"history_clicked_{name}"].get
                                         for name in ("items", "categories", "tags"))
        profile = [[self.ids[name].get(line[COLUMNS[name]], 0) for name in self.told["profile"]] for line in lines]
        windows = []  # of each user: [(video, category, [tag, ...]), ...], <unk> in front
        for line in lines:
            infos = [] if line[3] in ("", "NULL") else [info.rsplit(":", 2) for info in line[3].split(";")]
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


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    tower, found = UserTower(folder), np.load(f"{folder}/videos.npz")
    with open(f"{folder}/videos.npz.json") as prints:
        if json.load(prints)["model"] != tower.told["model"]:
            sys.exit(f"{folder}: user tower and videos.npz are of different models: export both again")
    names, videos = found["ids"], found["vectors"]
    index = faiss.IndexFlatIP(videos.shape[1])  # exact; for millions of videos: IndexHNSWFlat, efSearch 200
    index.add((videos / np.linalg.norm(videos, axis=1, keepdims=True)).astype(np.float32))
    for text in sys.stdin:
        line = text.rstrip("\r\n").split("\t")
        _, [best] = index.search(tower([line]), min(30, len(names)))
        print(line[0], ",".join(names[best]), sep="\t", flush=True)


if __name__ == "__main__":
    main()
