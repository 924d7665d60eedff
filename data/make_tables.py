"""Generate tables as a video site would export them: events, items and users; an example to try.

    python data/make_tables.py --output_dir=site

    events.csv    user, item, time, event: clicks ("view"), some of them followed by a "like" of the
                  same item, and "impression" rows, which are not clicks
    next_day.csv  the same, for the day after
    items.csv     item, title, genre, tags (separated by |)
    users.csv     user, country, city, device

Users and videos are those of data/make_data.py, equal on all machines; times spread the clicks over
30 days, and next_day.csv has the last of them. The parts of a series follow each other in many
histories, so that lists can be judged by their titles.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import random

from make_data import SERIES_LENGTH, VIDEOS, Catalogue, make_user

SEED = 20261101
FIRST_DAY = datetime.datetime(2026, 11, 1)
DAYS = 30
FIRST_USER = 8  # the one before has a history of thousands of clicks
SECONDS_A_DAY = 24 * 60 * 60
LIKED, SHOWN = 0.1, 0.1  # shares of clicks followed by a like, and by an impression
FIRST_WORDS = """
    Silent Golden Broken Hidden Northern Crimson Endless Paper Winter Velvet
    Iron Distant Hollow Burning Painted Frozen Secret Wild Lost Quiet
"""
SECOND_WORDS = "Harbor Orchard Mirror Railway Garden Letters Empire Canyon Theater Voyage"
GENRES = """
    action adventure animation anime ballet baking biography comedy cooking crime
    dance documentary drama fantasy fitness gaming gardening history horror jazz
    music musical mystery nature news opera romance science sport thriller travel war
"""


def title_of(video: int) -> str:
    """Such as "Silent Harbor 3": the series and the part."""
    series, part = divmod(video, SERIES_LENGTH)
    first_words, second_words = FIRST_WORDS.split(), SECOND_WORDS.split()
    second, first = divmod(series, len(first_words))
    return f"{first_words[first]} {second_words[second % len(second_words)]} {part + 1}"


def item_row(catalogue: Catalogue, video: int) -> list[str]:
    """A row of items.csv."""
    item, _, tags = catalogue.info[video].rsplit(":", 2)
    tags = "" if tags == "NULL" else tags.lower().replace("_", "|")
    return [item, title_of(video), GENRES.split()[catalogue.category[video]], tags]


def user_row(user: tuple) -> list[str]:
    """A row of users.csv; unknown values are empty."""
    user_id, *profile = user[0], user[1], user[2], user[4]
    return [user_id, *("" if value == "NULL" else value for value in profile)]


def event_rows(
    rng: random.Random, catalogue: Catalogue, user: str, history: list[int]
) -> list[list[str]]:
    """Rows of the events of a user, in order of time."""
    times = sorted(rng.random() * DAYS * SECONDS_A_DAY for _ in history)
    rows = []
    for video, seconds in zip(history, times):
        item = catalogue.info[video].rsplit(":", 2)[0]
        time = (FIRST_DAY + datetime.timedelta(seconds=int(seconds))).isoformat()
        if rng.random() < SHOWN:
            shown = int(rng.random() * VIDEOS)
            rows.append([user, catalogue.info[shown].rsplit(":", 2)[0], time, "impression"])
        rows.append([user, item, time, "view"])
        if rng.random() < LIKED:
            rows.append([user, item, time, "like"])
    return rows


def write_table(path: str, header: list[str], rows: list[list[str]]) -> None:
    """Write a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


def main(argv: list[str] | None = None) -> None:
    """Write the four tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output_dir", required=True, help="folder, created if missing")
    parser.add_argument(
        "--users", type=int, default=2000, help="number of users (default: %(default)s)"
    )
    args = parser.parse_args(argv)

    rng = random.Random(SEED)
    catalogue = Catalogue(rng)
    numbers = range(FIRST_USER, FIRST_USER + args.users)
    users = [make_user(rng, catalogue, number) for number in numbers]
    events = []
    for user, _, _, history, _ in users:
        events += event_rows(rng, catalogue, user, history)
    events.sort(key=lambda row: row[2])  # as a site writes them
    last_day = (FIRST_DAY + datetime.timedelta(days=DAYS - 1)).isoformat()

    os.makedirs(args.output_dir, exist_ok=True)
    header = ["user", "item", "time", "event"]
    for name, rows in (
        ("events.csv", [row for row in events if row[2] < last_day]),
        ("next_day.csv", [row for row in events if row[2] >= last_day]),
    ):
        write_table(os.path.join(args.output_dir, name), header, rows)
    write_table(
        os.path.join(args.output_dir, "items.csv"),
        ["item", "title", "genre", "tags"],
        [item_row(catalogue, video) for video in range(VIDEOS)],
    )
    write_table(
        os.path.join(args.output_dir, "users.csv"),
        ["user", "country", "city", "device"],
        [user_row(user) for user in users],
    )


if __name__ == "__main__":
    main()
