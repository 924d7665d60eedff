"""candgen.training.publish"""

import argparse
import contextlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

from candgen.console import logger
from candgen.data.dictionary import ITEMS, UNKNOWN
from candgen.data.logs import BadLines
from candgen.files import atomic_write
from candgen.model.model_file import load_model, start_network
from candgen.serving.evaluation import evaluate_model
from candgen.serving.topn import TopN
from candgen.training.report import print_result
from reader import Reader

import numpy as np


def served(args, model_path, dictionary_path):
    """(metrics, names of videos, lists of ten of them, share of unknown clicks, of unknown users) on the test log."""
    side = argparse.Namespace(
        model_path=model_path, feature_dict=dictionary_path, device=args.device
    )
    metadata, parameters, _, feature_dict = load_model(side)
    network = start_network(side, metadata, parameters)
    [(log, clicks)] = Reader(feature_dict).blocks(
        args.test_set_path, BadLines(args.max_bad_lines, True)
    )
    with ThreadPoolExecutor(args.threads) as pool:
        metrics, ids = evaluate_model(
            network, TopN(parameters["nce_w"], parameters["nce_b"]), log, pool.map
        )
    names = np.array(list(feature_dict[ITEMS]), object)
    return (
        metrics,
        names,
        names[ids],
        1 - len(log.clicks) / max(clicks, 1),
        (log.profile[:, 0] == 0).mean(),
    )


def changed_share(before, now):
    """Mean share, over the users, of the videos of a list now that were not in the list before; 0 if all are empty.

    before, now : names of videos [L, n] each, UNKNOWN where a list is shorter.
    """
    lists = [({*old}, {*new} - {UNKNOWN}) for old, new in zip(before, now)]
    return float(np.mean([len(new - old) / len(new) for old, new in lists if new] or [0]))


def refusal(before, now, min_ratio, path):
    """Why a model is not to be published, by its metric now and that of the model at `path`; None if it may be."""
    if min_ratio and not now:
        return "is 0, which --min_ratio cannot compare"
    return f"is below {min_ratio} of that of {path}" if now < min_ratio * before else None


def publish(args, earlier, path):
    """Compare a model with the `earlier` one (`served`); it becomes model_best.tar.gz, or the run ends with code 3."""
    before, old_names, old_lists, *old_unknown = earlier
    now, names, lists, *unknown = served(args, path, args.feature_dict)
    best = os.path.join(args.model_output_dir, "model_best.tar.gz")
    for name in dict.fromkeys(
        [args.select_metric, "recall@10", "ndcg@10", "recall@50", "coverage@10"]
    ):
        print_result(f"{name}: {before[name]:.4f} before, {now[name]:.4f} now")
    print_result(f"top 10: {changed_share(old_lists, lists):.1%} of the videos are others")
    print_result(
        f"videos: {len({*names} - {*old_names})} gained, {len({*old_names} - {*names})} lost"
    )
    for what, old, new in zip(("clicks", "users"), old_unknown, unknown):
        print_result(f"unknown {what}: {old:.1%} before, {new:.1%} now")
    metric = args.select_metric
    reason = refusal(before[metric], now[metric], args.min_ratio, args.compare_with)
    if reason:
        logger.info(f"{metric} {reason}: not published")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(best)  # of the passes before a --resume
        sys.exit(3)
    with open(path, "rb") as model, atomic_write(best) as stream:
        shutil.copyfileobj(model, stream)
