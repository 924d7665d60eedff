"""Titles of the videos of the sample log, made up: series, part and category.

    python data/make_titles.py > output/titles.tsv     # id, tab, title

The parts of a series follow each other in many histories, and users prefer a few categories, so
that lists of recommendations can be judged by these titles.
"""

import random

from make_data import SEED, VIDEOS, Catalogue
from make_tables import title_of


def titles():
    """[(video-id, title), ...] in order of the number of the video."""
    catalogue = Catalogue(random.Random(SEED))  # as make_data.make_logs begins
    pairs = []
    for video in range(VIDEOS):
        video_id, category, _ = catalogue.info[video].rsplit(":", 2)
        pairs.append((video_id, f"{title_of(video)} ({category.capitalize().replace('_', ' ')})"))
    return pairs


if __name__ == "__main__":
    for pair in titles():
        print(*pair, sep="\t")
