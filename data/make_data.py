"""Generate the sample log, data.tar with train.txt, test.txt and infer.txt; equal on all machines.

    python data/make_data.py            # writes data/data.tar
    python data/make_data.py --check    # exit code 1 if data/data.tar differs

The log is synthetic, with a structure that can be learned. Videos belong to categories, and most of
them to a series; popularity decreases as a power of the rank. A user has a few interests
(categories), of which one is active and changes from time to time, so late clicks are more
informative than early ones. A click is on the next video of the current series, on a popular video
of the active interest, or on any popular video. Province, phone and interests are weakly
correlated. The log also has the irregularities of real logs: unknown values, users with one click
or none, rare videos, one very long history, names in several writing systems.

train.txt has the clicks of most users without the last one. test.txt has complete histories of some
of these users, and of users that are not in train.txt. infer.txt has users of both kinds, and a few
without clicks.
"""

import argparse
import gzip
import io
import itertools
import os
import random
import sys
import tarfile

SEED = 20160915
MADE = 1473897600  # timestamp of the files in the archive
USERS, VIDEOS, CATEGORIES, TAGS = 5200, 1600, 32, 220
TEST_KNOWN, TEST_NEW, INFER_KNOWN, INFER_NEW, INFER_EMPTY = 1800, 200, 240, 45, 15
MEAN_CLICKS, MAX_CLICKS, LONG_HISTORY = 33, 300, 3000
SERIES_LENGTH = 8
NEXT_OF_SERIES, OF_INTEREST = 0.30, 0.45  # the rest of the clicks are on any popular video
CHANGE_OF_INTEREST = 0.08
POPULARITY_POWER = 0.75
UNKNOWN_PROFILE = 0.04
RARE_VIDEOS = 60  # rarely clicked
FRESH_VIDEOS = 5  # come after training: in test.txt and infer.txt only
PLACES = {
    "北京市": ["朝阳区", "海淀区"],
    "上海市": ["浦东新区", "徐汇区"],
    "广东省": ["广州市", "深圳市", "佛山市"],
    "浙江省": ["杭州市", "宁波市"],
    "Île-de-France": ["Paris", "Créteil"],
    "São Paulo": ["Campinas", "Santos"],
    "Bayern": ["München", "Nürnberg"],
    "Tokyo": ["新宿区", "渋谷区"],
    "Texas": ["Austin", "Dallas", "El Paso"],
    "Zürich": ["Winterthur"],
}
PHONES = [
    "GO T5",
    "iPhone 6",
    "Redmi 4",
    "vivo X9",
    "SM-G9350",
    "MI 5",
    "华为 Mate 9",
    "OPPO R9s",
    "Nexus 5X",
    "Lumia 950",
]
TITLES = ["日出", "Café", "Über-uns", "Привет", "λόγος", "show:live"]


class Catalogue:
    """All videos.

    Attributes
    ----------
    info : video-info of each video.
    weight : popularity of each.
    category : category of each.
    following : the next video of the series of each, or None.
    """

    def __init__(self, rng):
        order = shuffled(rng, range(VIDEOS))
        self.weight = [0.0] * VIDEOS
        for rank, video in enumerate(order):
            self.weight[video] = (
                (rank + 12) ** -POPULARITY_POWER if rank < VIDEOS - RARE_VIDEOS else 1e-5
            )
        self.category = [
            category
            for _ in range(VIDEOS // SERIES_LENGTH)
            for category in [int(rng.random() ** 1.5 * CATEGORIES)] * SERIES_LENGTH
        ]
        self.following = [v + 1 if (v + 1) % SERIES_LENGTH else None for v in range(VIDEOS)]
        self.info = [self._info(rng, video) for video in range(VIDEOS)]
        self.info += [f"VIDEO_{VIDEOS + number}:CATEGORY_0:TAG0" for number in range(FRESH_VIDEOS)]
        self.everything = Chooser(range(VIDEOS), self.weight)
        self.of_category = {}
        for category in range(CATEGORIES):
            members = [v for v in range(VIDEOS) if self.category[v] == category]
            if members:
                self.of_category[category] = Chooser(members, [self.weight[v] for v in members])

    def _info(self, rng, video):
        category = self.category[video]
        series_tag = video // SERIES_LENGTH % (TAGS - CATEGORIES) + CATEGORIES
        tags = {category: None, series_tag: None} if rng.random() < 0.7 else {category: None}
        while rng.random() < 0.35:
            tags[int(rng.random() * TAGS)] = None
        tag_names = "_".join(f"TAG{tag}" for tag in tags) if video % 200 else "NULL"
        name = f"VIDEO_{video}" if video % 97 else f"{TITLES[video // 97 % len(TITLES)]}_{video}"
        return f"{name}:CATEGORY_{category}:{tag_names}"


class Chooser:
    """Draws from `values` with given weights, by bisection of the cumulative weights."""

    def __init__(self, values, weights):
        self.values, self.reach = list(values), list(itertools.accumulate(weights))

    def draw(self, rng):
        """One value."""
        wanted, low, high = rng.random() * self.reach[-1], 0, len(self.reach) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.reach[middle] > wanted else (middle + 1, high)
        return self.values[low]


def shuffled(rng, values):
    """`values` in random order, by random() only, which is the same in all Python versions."""
    values = list(values)
    for last in range(len(values) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        values[last], values[other] = values[other], values[last]
    return values


def make_history(rng, catalogue, interests, length, repeats=False):
    """`length` videos of a user, oldest first; a video is repeated often only if `repeats`."""
    history, seen, active = [], set(), interests[0]
    while len(history) < length:
        if rng.random() < CHANGE_OF_INTEREST:
            active = interests[int(rng.random() * len(interests))]
        kind = rng.random()
        video = catalogue.following[history[-1]] if history else None
        if video is None or kind > NEXT_OF_SERIES:
            of_interest = kind < NEXT_OF_SERIES + OF_INTEREST
            video = (catalogue.of_category[active] if of_interest else catalogue.everything).draw(
                rng
            )
        if video in seen and not repeats and rng.random() < 0.97:
            continue
        seen.add(video)
        history.append(video)
    return history


def make_user(rng, catalogue, number):
    """(user-id, province, city, history as video numbers, phone) of one user."""
    home = int(rng.random() * len(PLACES))
    province, cities = list(PLACES.items())[home]
    city = cities[int(rng.random() * len(cities))]
    phone = PHONES[(home + int(rng.random() ** 2 * len(PHONES))) % len(PHONES)]
    categories = list(catalogue.of_category)
    interests = [
        categories[(home * 3 + int(rng.random() ** 2 * len(categories))) % len(categories)]
        for _ in range(1 + int(rng.random() * 3))
    ]
    length = LONG_HISTORY if number == 7 else 1
    while length < MAX_CLICKS and rng.random() > 1 / MEAN_CLICKS:
        length += 1
    length = 2 if number % 60 == 1 else length  # one click is left for training
    unknown = ("NULL", "")[number % 2]
    fields = [
        value if rng.random() > UNKNOWN_PROFILE else unknown for value in (province, city, phone)
    ]
    history = make_history(rng, catalogue, interests, length, repeats=length == LONG_HISTORY)
    return (f"USER_ID_{number}", fields[0], fields[1], history, fields[2])


def line(user, catalogue, clicks=None):
    """The log line of a user, with the first `clicks` of the history (None: all).

    The columns are written out and do not follow LOG_COLUMNS in candgen/data/dictionary.py, since
    the archive must not change.
    """
    user_id, province, city, history, phone = user
    infos = ";".join(catalogue.info[video] for video in history[:clicks]) or "NULL"
    return "\t".join((user_id, province, city, infos, phone)) + "\n"


def make_logs():
    """{file name: text} of the three logs."""
    rng = random.Random(SEED)
    catalogue = Catalogue(rng)
    users = [make_user(rng, catalogue, number) for number in range(USERS)]
    new = TEST_NEW + INFER_NEW
    known, unseen = users[:-new], users[-new:]
    for number, user in enumerate(unseen[::20]):
        user[3][-1] = VIDEOS + number % FRESH_VIDEOS
    tested = sorted(shuffled(rng, range(len(known)))[:TEST_KNOWN])
    served = sorted(shuffled(rng, range(len(known)))[:INFER_KNOWN])
    empty = [
        (f"NEW_{number}", *users[number][1:3], [], users[number][4])
        for number in range(INFER_EMPTY)
    ]
    train = [line(user, catalogue, len(user[3]) - 1) for user in known]
    train[11] = line((*known[11][:3], [], known[11][4]), catalogue)  # a user without a click
    tested = [number for number in tested if number != 11]
    return {
        "train.txt": "".join(train),
        "test.txt": "".join(
            line(user, catalogue) for user in [*(known[n] for n in tested), *unseen[:TEST_NEW]]
        ),
        "infer.txt": "".join(
            line(user, catalogue)
            for user in shuffled(rng, [*(known[n] for n in served), *unseen[TEST_NEW:], *empty])
        ),
    }


def make_tar(logs):
    """The bytes of data.tar: a gzip tar that does not depend on time and machine."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 9, packed, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, text in logs.items():
            entry = tarfile.TarInfo(name)
            content = text.encode("utf-8")
            entry.size, entry.mode, entry.mtime = len(content), 0o644, MADE
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data.tar")
    parser.add_argument(
        "--output", default=here, help="output file (default: data.tar beside this script)"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare the unpacked content with the existing file; write nothing",
    )
    args = parser.parse_args()
    made = make_tar(make_logs())
    if args.check:
        with open(args.output, "rb") as stream:
            same = gzip.decompress(stream.read()) == gzip.decompress(made)
        print(f"{args.output}: {'as' if same else 'NOT as'} this script makes it", file=sys.stderr)
        return 0 if same else 1
    with open(args.output + ".tmp", "wb") as stream:
        stream.write(made)
    os.replace(args.output + ".tmp", args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
