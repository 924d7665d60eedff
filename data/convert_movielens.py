"""MovieLens download -> events.csv, items.csv and users.csv for convert_events.py.

    python data/convert_movielens.py --input_dir=ml-100k --output_dir=ml-100k/tables
    python data/convert_events.py --events ml-100k/tables/events.csv --output_dir=data/ml-100k ...

docs/quality.md has the whole second command.

Reads the unpacked public download: u.data, u.item, u.user (MovieLens-100k) or ratings.dat,
movies.dat, users.dat (MovieLens-1M). Each rating counts as a click; users are ordered by number,
the ratings of a user as in the download. The decade of release becomes the category of a film, its
genres the tags. Occupation, the first three characters of the ZIP code, and gender with the decade
of age become province, city and phone.
"""

import argparse
import csv
import os
import re
import sys

EVENTS = ("user", "item", "time")
ITEMS = ("item", "title", "decade", "genres")
USERS = ("user", "occupation", "zip", "gender_age")
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
OCCUPATIONS = (
    "other",
    "academic",
    "artist",
    "clerical",
    "college",
    "customer",
    "doctor",
    "executive",
    "farmer",
    "homemaker",
    "K-12",
    "lawyer",
    "programmer",
    "retired",
    "sales",
    "scientist",
    "self-employed",
    "technician",
    "tradesman",
    "unemployed",
    "writer",
)


def film(movie, title, year, genres):
    """Row of items.csv; an unknown year or no genre is empty."""
    decade = f"Y{int(year) // 10 * 10}s" if year else ""
    return f"MOVIE_{movie}", title, decade, "|".join(genres)


def profile(user, gender, age, occupation, zip_code):
    """Row of users.csv."""
    return f"USER_{user}", occupation, f"ZIP{zip_code[:3]}", f"{gender}{int(age) // 10 * 10}s"


def events(rows):
    """Rows of events.csv from (user, movie, rating, timestamp), by the number of the user."""
    for user, movie, _, timestamp in sorted(rows, key=lambda row: int(row[0])):
        yield f"USER_{user}", f"MOVIE_{movie}", int(timestamp)


def read_rows(folder, name, separator):
    """Yield the fields of each line of a file of the download; both downloads are Latin-1."""
    with open(os.path.join(folder, name), encoding="latin-1") as stream:
        for line in stream:
            if line.strip():
                yield line.rstrip("\r\n").split(separator)


def read_100k(folder):
    """Rows of events.csv, items.csv and users.csv of MovieLens-100k."""
    films = [
        film(movie, title, date[-4:], [genre for genre, flag in zip(GENRES, flags) if flag == "1"])
        for movie, title, date, _, _, *flags in read_rows(folder, "u.item", "|")
    ]
    profiles = [
        profile(user, gender, age, occupation, zip_code)
        for user, age, gender, occupation, zip_code in read_rows(folder, "u.user", "|")
    ]
    return events(read_rows(folder, "u.data", "\t")), films, profiles


def read_1m(folder):
    """Rows of events.csv, items.csv and users.csv of MovieLens-1M."""
    films = []
    for movie, title, genres in read_rows(folder, "movies.dat", "::"):
        year = re.search(r"\((\d{4})\)\s*$", title)
        films.append(film(movie, title, year and year.group(1), genres.split("|")))
    profiles = [
        profile(user, gender, age, OCCUPATIONS[int(occupation)], zip_code)
        for user, gender, age, occupation, zip_code in read_rows(folder, "users.dat", "::")
    ]
    return events(read_rows(folder, "ratings.dat", "::")), films, profiles


def write_table(folder, name, header, rows):
    """Write a table in CSV."""
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input_dir", required=True, help="the unpacked download")
    parser.add_argument("--output_dir", required=True, help="folder for the three tables")
    args = parser.parse_args()
    try:
        read = read_100k if os.path.exists(os.path.join(args.input_dir, "u.data")) else read_1m
        ratings, films, profiles = map(list, read(args.input_dir))
        os.makedirs(args.output_dir, exist_ok=True)
        write_table(args.output_dir, "events.csv", EVENTS, ratings)
        write_table(args.output_dir, "items.csv", ITEMS, films)
        write_table(args.output_dir, "users.csv", USERS, profiles)
    except OSError as error:
        print(
            f"convert_movielens.py: {error.filename}: {error.strerror}; "
            "give the folder that holds u.data or ratings.dat",
            file=sys.stderr,
        )
        return 2
    except (KeyError, ValueError, IndexError) as error:
        print(
            f"convert_movielens.py: {args.input_dir}: not as MovieLens has it ({error!r}); "
            "download it again",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
