"""A log of any size for the benchmarks, always the same for a seed.

    python benchmarks/make_log.py --users=200000 --videos=100000 --output_path=log.txt

Videos follow a Zipf distribution with exponent 0.8, histories a geometric one (--mean_history); a video has 1 to 3
tags.
"""

import argparse

import numpy as np

EXPONENT, CATEGORIES, TAGS = 0.8, 50, 2000
USERS_AT_ONCE = 20_000


def video_infos(videos, rng):
    """video-info strings of `videos` videos, most clicked first."""
    categories = rng.integers(1, CATEGORIES + 1, videos)
    tags = rng.integers(1, TAGS + 1, (videos, 3))
    counts = rng.integers(1, 4, videos)
    return [
        f"VIDEO_{video}:CATEGORY_{category}:{'_'.join(f'TAG{tag}' for tag in row[:count])}"
        for video, (category, row, count) in enumerate(zip(categories, tags.tolist(), counts))
    ]


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
        done = 0
        for user, (length, (province, city, phone)) in enumerate(zip(lengths, profile), start):
            history = ";".join([infos[video] for video in clicks[done : done + length]])
            done += length
            yield f"USER_{user}\tPROVINCE_{province}\tCITY_{city}\t{history}\tPHONE_{phone}\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument(
        "--mean_history", type=float, default=40, help="clicks per user (%(default)s)"
    )
    parser.add_argument("--output_path", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with open(args.output_path, "w", encoding="utf-8") as stream:
        stream.writelines(lines(args.users, args.videos, args.mean_history, args.seed))


if __name__ == "__main__":
    main()
