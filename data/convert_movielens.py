"""MovieLens download -> train.txt, valid.txt, test.txt, truth.txt in the log format.

    python data/convert_movielens.py --input_dir=ml-100k --output_dir=./data/ml-100k
    python data/convert_movielens.py --input_dir=ml-1m   --output_dir=./data/ml-1m

Reads the unpacked public download: u.data, u.item, u.user (MovieLens-100k) or ratings.dat,
movies.dat, users.dat (MovieLens-1M). Each rating counts as a click, ordered by timestamp; equal
timestamps keep the order of the file. Occupation becomes the province, the first three characters
of the ZIP code the city, gender and decade of age the phone. The decade of release is the category
of a film, its genres are its tags. The columns are those of LOG_COLUMNS in
candgen/data/dictionary.py.

train.txt has the clicks of each user without the last two, valid.txt without the last one, test.txt
all of them; truth.txt has the last one. A model trained on train.txt is validated on the last click
of valid.txt and tested on that of test.txt.
"""

import argparse
import os
import re
import sys

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


def video_info(movie, year, genres):
    """A video-info such as `MOVIE_1:Y1990s:Animation_Comedy`; unknown year or genres: NULL."""
    decade = f"Y{int(year) // 10 * 10}s" if year else "NULL"
    return f"MOVIE_{movie}:{decade}:{'_'.join(genres) or 'NULL'}"


def user_profile(gender, age, occupation, zip_code):
    """(province, city, phone) of a user."""
    return occupation, f"ZIP{zip_code[:3]}", f"{gender}{int(age) // 10 * 10}s"


def read_rows(folder, name, separator):
    """Yield the fields of each line of a file of the download; both downloads are Latin-1."""
    with open(os.path.join(folder, name), encoding="latin-1") as stream:
        for line in stream:
            if line.strip():
                yield line.rstrip("\r\n").split(separator)


def read_100k(folder):
    """Ratings [(user, movie, timestamp)], video-infos and profiles of MovieLens-100k."""
    ratings = [
        (user, movie, int(time)) for user, movie, _, time in read_rows(folder, "u.data", "\t")
    ]
    movies = {}
    for movie, _, date, _, _, *flags in read_rows(folder, "u.item", "|"):
        movies[movie] = video_info(
            movie, date[-4:], [genre for genre, flag in zip(GENRES, flags) if flag == "1"]
        )
    users = {
        user: user_profile(gender, age, occupation, zip_code)
        for user, age, gender, occupation, zip_code in read_rows(folder, "u.user", "|")
    }
    return ratings, movies, users


def read_1m(folder):
    """Ratings [(user, movie, timestamp)], video-infos and profiles of MovieLens-1M."""
    ratings = [
        (user, movie, int(time)) for user, movie, _, time in read_rows(folder, "ratings.dat", "::")
    ]
    movies = {}
    for movie, title, genres in read_rows(folder, "movies.dat", "::"):
        year = re.search(r"\((\d{4})\)\s*$", title)
        movies[movie] = video_info(movie, year and year.group(1), genres.split("|"))
    users = {
        user: user_profile(gender, age, OCCUPATIONS[int(occupation)], zip_code)
        for user, gender, age, occupation, zip_code in read_rows(folder, "users.dat", "::")
    }
    return ratings, movies, users


def histories(ratings):
    """{user: [movie, ...]}, movies by time, users by number."""
    by_user = {}
    by_time = sorted(ratings, key=lambda rating: rating[2])  # stable: equal times keep their order
    for user, movie, _ in by_time:
        by_user.setdefault(user, []).append(movie)
    return {user: by_user[user] for user in sorted(by_user, key=int)}


def write_logs(folder, ratings, movies, users):
    """Write the four files that the docstring of the module describes."""
    os.makedirs(folder, exist_ok=True)
    held_out = {"train.txt": 2, "valid.txt": 1, "test.txt": 0}
    lines = {name: [] for name in (*held_out, "truth.txt")}
    for user, clicked in histories(ratings).items():
        # The columns of LOG_COLUMNS in candgen/data/dictionary.py, written out: a further one needs
        # a further property of the users.
        province, city, phone = users[user]
        for name, left_out in held_out.items():
            history = (
                ";".join(movies[movie] for movie in clicked[: len(clicked) - left_out]) or "NULL"
            )
            lines[name].append(f"USER_{user}\t{province}\t{city}\t{history}\t{phone}\n")
        lines["truth.txt"].append(f"USER_{user}\tMOVIE_{clicked[-1]}\n")
    for name, content in lines.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(content)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input_dir", required=True, help="the unpacked download")
    parser.add_argument("--output_dir", required=True, help="folder for the four files")
    args = parser.parse_args()
    try:
        read = read_100k if os.path.exists(os.path.join(args.input_dir, "u.data")) else read_1m
        write_logs(args.output_dir, *read(args.input_dir))
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
