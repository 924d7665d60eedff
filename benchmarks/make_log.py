"""Generate a log of any size; equal for equal seeds.

    python benchmarks/make_log.py --users=200000 --videos=100000 --output_path=log.txt

Clicks follow a Zipf distribution over the videos with exponent 0.8, lengths of histories a
geometric distribution (--mean_history); a video has 1 to 3 tags. The columns are those of
LOG_COLUMNS in candgen/data/dictionary.py.
"""

from __future__ import annotations

import argparse

import numpy as np

EXPONENT = 0.8  # of the Zipf distribution
CATEGORIES = 50
TAGS = 2000
USERS_AT_ONCE = 20_000


def video_infos(videos, rng):
    """Video-infos, list of str, most clicked video first."""
    categories = rng.integers(1, CATEGORIES + 1, videos)
    tags = rng.integers(1, TAGS + 1, (videos, 3))
    counts = rng.integers(1, 4, videos)
    infos = []
    for video in range(videos):
        names = "_".join(f"TAG{tag}" for tag in tags[video, : counts[video]])
        infos.append(f"VIDEO_{video}:CATEGORY_{categories[video]}:{names}")
    return infos


def lines(users, videos, mean_history=40, seed=0):
    """Yield the lines of a log.

    The columns are those of LOG_COLUMNS in candgen/data/dictionary.py, written out: this module
    does not follow them, so that measurements stay comparable.
    """
    rng = np.random.default_rng(seed)
    infos = video_infos(videos, rng)
    cumulated = np.cumsum(np.arange(1, videos + 1) ** -EXPONENT)
    for start in range(0, users, USERS_AT_ONCE):
        count = min(USERS_AT_ONCE, users - start)
        lengths = rng.geometric(1 / mean_history, count)
        clicks = np.searchsorted(cumulated, rng.random(lengths.sum()) * cumulated[-1])
        profile = rng.integers(0, (30, 300, 500), (count, 3))
        histories = np.split(clicks, np.cumsum(lengths)[:-1])
        for user, (history, (province, city, phone)) in enumerate(zip(histories, profile), start):
            text = ";".join([infos[video] for video in history])
            yield f"USER_{user}\tPROVINCE_{province}\tCITY_{city}\t{text}\tPHONE_{phone}\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument(
        "--mean_history", type=float, default=40, help="clicks per user (default: %(default)s)"
    )
    parser.add_argument("--output_path", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with open(args.output_path, "w", encoding="utf-8") as stream:
        stream.writelines(lines(args.users, args.videos, args.mean_history, args.seed))


if __name__ == "__main__":
    main()
