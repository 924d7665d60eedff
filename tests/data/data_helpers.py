"""Small logs, and instances as the documentation describes them and as a batch holds them."""

import functools
import io

from candgen.data.batches import (
    make_batch,
    next_click_windows,
    sliding_windows,
)
from candgen.data.dictionary import (
    CATEGORIES,
    ITEMS,
    PROFILE_FEATURES,
    TAGS,
)

LOG = (
    "u1\tp1\tc1\tv1:a:s_t;v2:a:t;v1:a:s_t;v3::NULL\tm1\n"
    "u2\tp1\tNULL\tNULL\tm1\n"
    "u1\tp2\t\tv2:b:t;北:b:t\tm2\n"
)
LIMITED = "u1\tp1\t\tv1:a:s;v2:a:s;v3:a:s\t\nu2\tp2\t\tv1:a:s\t\nu1\tp2\t\tv4:b:t\t\n"


def stdin_of(content):
    """Standard input with this content."""
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))


def users_of(lines, bot_clicks=0):
    """A log of so many lines of one user each, and of BOT."""
    text = "".join(f"x{user}\t\t\tv1:a:s;v2:a:s\t\n" for user in range(lines))
    return text + ("BOT\t\t\t" + ";".join(["v3:a:s"] * bot_clicks) + "\t\n" if bot_clicks else "")


def cut_of(window_size=3):
    return functools.partial(sliding_windows, window_size=window_size)


def plain_instances(feature_dict, window_size, lines, training):
    """Yield the instances of lines drawn from LINES, as the documentation describes them."""

    def lookup(feature, value):
        return feature_dict[feature].get(value, 0)

    for user, province, city, infos, phone in lines:
        clicks = []
        for info in infos:
            video, category, tags = info.rsplit(":", 2)
            if lookup("history_clicked_items", video):
                clicks.append(
                    (
                        lookup("history_clicked_items", video),
                        lookup("history_clicked_categories", category),
                        [lookup("history_clicked_tags", tag) for tag in tags.split("_")],
                    )
                )
        sequence = [(0, 0, [0]), *clicks]
        n = len(clicks)
        for i in range(1, n + 1) if training else [n + 1]:
            window = sequence[max(0, i - window_size) : i]
            instance = (
                lookup("user_id", user),
                lookup("province", province),
                lookup("city", city),
                lookup("phone", phone),
                [c[0] for c in window],
                [c[1] for c in window],
                [tag for c in window for tag in c[2]],
            )
            yield (*instance, clicks[i - 1][0]) if training else instance


def instances_of_batch(batch):
    """Yield the instances of a batch, one for each target, in its order."""
    steps, rows = batch[ITEMS].shape
    for n, (place, row, clicks) in enumerate(
        zip(batch["context_index"], batch["segment"], batch["clicks"][:, 0])
    ):
        assert divmod(place, rows) == (clicks - 1, row) and clicks <= steps
        tags = [
            int(tag)
            for video in batch["video"][:clicks, row]
            for tag in batch[TAGS][batch["tag_video"] == video]
        ]
        assert len(tags) == batch["tag_counts"][n, 0]
        profile = (int(batch[feature][row]) for feature in PROFILE_FEATURES)
        instance = (
            *profile,
            batch[ITEMS][:clicks, row].tolist(),
            batch[CATEGORIES][:clicks, row].tolist(),
            tags,
        )
        yield (*instance, int(batch["target"][n])) if "target" in batch else instance


def served_and_trained(log, window_size):
    """Instances of a whole log: those to serve, and those to train on."""
    windows = next_click_windows(log.lengths, window_size)
    segments = sliding_windows(log.lengths, window_size)
    return (
        list(instances_of_batch(make_batch(log, windows, with_targets=False))),
        list(instances_of_batch(make_batch(log, segments))) if len(log.clicks) else [],
    )
