"""candgen.serving.lists"""

import collections

from candgen.console import InputError, logger
from candgen.data.dictionary import ITEMS
from candgen.data.logs import text_lines

import numpy as np


def escape_id(video):
    """A video-id as it stands in lists, which are split at commas: `,` and `%` as %2C and %25."""
    return video.replace("%", "%25").replace(",", "%2C")


def ordered_map(pool, work, items, ahead):
    """Yield work(item) of each item, in order, computed by an executor's workers up to `ahead` items early."""
    waiting = collections.deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def allowed_videos(allow_items, deny_items, feature_dict):
    """bool [V], by --allow_items and --deny_items; InputError if nothing is left."""
    allowed = np.arange(len(feature_dict[ITEMS])) > 0  # <unk> is no video
    if allow_items:
        allowed &= listed_videos(allow_items, feature_dict[ITEMS])
    if deny_items:
        allowed &= ~listed_videos(deny_items, feature_dict[ITEMS])
    if not allowed.any():
        raise InputError(
            " ".join([*(allow_items or []), *(deny_items or [])]),
            "leaves no video to recommend",
            hint="give ids of the dictionary, one a line",
        )
    return allowed


def listed_videos(paths, videos):
    """Which videos of the dictionary some files of ids name.

    Parameters
    ----------
    paths : list of str, files with a video-id a line.    videos : {video-id: id}, V of them.

    Returns
    -------
    bool [V].

    Raises
    ------
    InputError
        If none of a file's ids is known: a list of banned videos with, say, quoted ids must not pass. An empty file
        may.
    """
    listed = np.zeros(len(videos), bool)
    for path in paths:
        names = [name for _, _, name in text_lines(path)]
        unknown = [name for name in names if videos.get(name, 0) == 0]
        listed[[videos[name] for name in names if name in videos]] = True
        logger.info(f"{path}: {len(names) - len(unknown)} of its {len(names)} videos are known")
        if unknown:
            error = InputError(
                path,
                f"{len(unknown)} of its {len(names)} videos are not known to the model, "
                f"such as {unknown[0][:80]!r}",
                hint="write ids as in the log, one a line, without quotes, spaces or further columns",
            )
            if len(unknown) == len(names):
                raise error
            logger.warning(f"{error}")
    return listed


def lists_text(users, ids, probabilities, videos):
    """A line a user: `user-id \\t video:probability,...`; `videos` are the names by id, commas escaped."""
    return "".join(
        user
        + "\t"
        + ",".join([f"{videos[id_]}:{share:.6g}" for id_, share in zip(row, shares) if id_])
        + "\n"
        for user, row, shares in zip(users, ids.tolist(), probabilities.tolist())
    )


def listed_names(feature_dict):
    """Names of the videos in id order, as lists have them: a list is split at commas, a name has none."""
    return list(map(escape_id, feature_dict[ITEMS]))


def warn_if_collapsed(served):
    """Yield the result of each (user vectors, result); at the end say so if many users had one and the same vector."""
    vectors, count = set(), 0
    for users, result in served:
        yield result
        count += len(users)
        if len(vectors) < 2:
            vectors.update(row.tobytes() for row in users)
    if count > 1 and len(vectors) == 1:
        logger.warning(
            f"all {count} users have the same vector; if their histories differ, the network has collapsed: "
            "train it with a lower --learning_rate"
        )
