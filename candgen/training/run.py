"""candgen.training.run"""

import contextlib
import functools
import json
import math
import os
import sys
import time

from candgen.archives import fingerprint
from candgen.console import InputError, Progress, logger
from candgen.data.batches import INSTANCES, next_click_windows
from candgen.data.dictionary import (
    CLICK_FEATURES,
    FEATURES,
    ITEMS,
    TAGS,
    dictionary_fingerprint,
    load_feature_dict,
    load_item_freq,
)
from candgen.data.logs import BadLines, read_catalogue
from candgen.model.initialization import initialize
from candgen.model.layers import use_device
from candgen.model.model_file import save_model
from candgen.model.warm_start import start_warm
from candgen.options import MAX_WIDTH
from candgen.serving.baselines import CooccurrenceBaseline, popularity
from candgen.serving.evaluation import evaluate_model, evaluate_ranking
from candgen.serving.topn import TopN
from candgen.training.checkpoint import Checkpointer, write_metrics
from candgen.training.dashboard import SHOWN_STEPS
from candgen.training.held_out import FEW_USERS, warn_of_held_out
from candgen.training.options import FREE_TO_CHANGE
from candgen.training.publish import publish, served
from candgen.training.report import BASELINES, best_of, out_of_patience, pass_line, print_result
from candgen.training.trainer import Trainer
from network_conf import ModelConfig, network_class
from reader import Reader, TrainingLog

import numpy as np
import paddle

EXPLODED = "lower --learning_rate; the models of earlier passes are as they were"


def train_pass(args, trainer, run, training, rng):
    """One pass over all instances in random order, from where the run stands; returns their mean cost."""
    done, started, steps = 0, time.perf_counter(), sum(training.steps(args.batch_size))
    with Progress(f"pass {len(run.rows):05d}", training.clicks, not trainer.ranks.rank) as bar:
        for number, (log, part, generator) in enumerate(training.batches(args.batch_size, rng)):
            done += int(part.targets.sum())
            if number < run.batches:
                started = time.perf_counter()
                continue  # taken before the run was stopped
            targets, *batch = trainer.prepare(
                log, part, generator, args.user_dropout, args.history_dropout
            )
            cost = trainer.step(targets, *batch)
            run.batches, run.total = number + 1, run.total + cost * targets
            run.seconds += time.perf_counter() - started
            if not math.isfinite(cost):
                raise InputError(
                    "training", f"the cost became {cost} at instance {done}", hint=EXPLODED
                )
            bar.at(done, f"cost {run.total / done:.4f}")
            if not number % SHOWN_STEPS:
                run.board.curves(
                    len(run.rows) * steps + number,
                    {"cost": cost, "learning_rate": trainer.rate.get_lr()},
                )
            run.after_step(trainer)
            started = time.perf_counter()
    arrays = trainer.network.arrays().values()
    if not all(np.isfinite(value).all() for value in arrays):
        raise InputError("training", "a parameter became infinite", hint=EXPLODED)
    if trainer.ranks.world > 1 and len(set(trainer.ranks.gather(fingerprint(*arrays)))) > 1:
        raise InputError(
            "training",
            "the ranks have come to different parameters",
            hint=("run them on processors of one kind"),
        )
    return run.total / training.clicks


def evaluate(args, trainer, log):
    """{metric: value} on the last clicks of a log: cost, ranking metrics, signs of a network that has collapsed."""
    arrays = trainer.network.folded()
    trainer.network.eval()
    metrics, _ = evaluate_model(
        trainer.network,
        TopN(arrays["nce_w"], arrays["nce_b"]),
        log,
        trainer.ranks.distributed_map(trainer.pool),
    )
    known, total = np.flatnonzero(log.last_item > 0), 0.0
    windows = next_click_windows(log.before_last(), args.window_size)
    rng = np.random.default_rng(
        args.seed
    )  # always the same noise: costs of two passes differ by what was learned
    for start in range(0, len(known), args.batch_size):
        targets, *batch = trainer.prepare(
            log, windows.take(known[start : start + args.batch_size]), rng
        )
        total += trainer.cost(targets, *batch) * targets
    return {"test_cost": total / len(known) if len(known) else None, **metrics}


def baseline_metrics(args, training, test, item_freq, run):
    """{baseline_metric: value} on the last clicks of the test log, of what a network has to beat."""
    rankings = {"popularity_": popularity(item_freq)}
    if args.rules:
        rankings["rules_"] = CooccurrenceBaseline(training.first, item_freq).ranking_of(test)
    return {
        baseline + name: value
        for baseline, ranked in rankings.items()
        for name, value in evaluate_ranking(ranked, test, len(item_freq) - 1, run)[0].items()
    }


def finish_pass(args, trainer, item_freq, test, valid, row, rows):
    """Evaluate what a pass has given; its `row` joins the others. The first rank saves the model and metrics.jsonl.

    Nothing is removed here that --resume may need: all of this is done again if the process is killed before the
    checkpoint that has this row is written (`Run.end_pass`).
    """

    def save(name):
        save_model(os.path.join(args.model_output_dir, name), trainer.network, item_freq)

    row.update(evaluate(args, trainer, test))
    if valid:
        row.update(
            {"valid_" + name: value for name, value in evaluate(args, trainer, valid).items()}
        )
    rows.append(row)
    if trainer.ranks.rank:
        return
    save(f"model_pass_{row['pass']:05d}.tar.gz")
    if best_of(args, rows) is row and not args.compare_with:
        save("model_best.tar.gz")
    elif len(rows) == 1:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(args.model_output_dir, "model_best.tar.gz"))
            logger.info("removed model_best.tar.gz of an earlier run")
    write_metrics(args.model_output_dir, rows)
    print_result(pass_line(row))
    users, units = int((test.last_item >= 0).sum()), args.dnn_layer_dims[1]
    if users >= FEW_USERS and (row["distinct_users"] == 1 or row["live_units"] < units / 4):
        logger.warning(
            f"the network collapses: {row['distinct_users']} different vectors for {users} test users, "
            f"{row['live_units']} of {units} units of the user vector alive; train it with a lower --learning_rate"
        )


def run_passes(args, trainer, item_freq, training, test, valid, run, bounded_read):
    """All passes that are left: train, evaluate, save, print; `reading` took that many seconds of the first.

    Returns the row of the best pass by the validation log, of the last one without.
    """
    rows = run.rows
    baselines = baseline_metrics(
        args, training, test, item_freq, trainer.ranks.distributed_map(trainer.pool)
    )
    if len(rows) >= args.num_passes:
        logger.info(f"all {args.num_passes} passes are done; a larger --num_passes goes on")
    run.catch_signals()
    while len(rows) < args.num_passes and not out_of_patience(args, rows):
        rng = np.random.default_rng(
            np.random.SeedSequence(args.seed, spawn_key=(len(rows),))
        )  # of this pass
        cost = train_pass(args, trainer, run, training, rng)
        seconds = run.seconds + (0 if rows else bounded_read)
        row = {
            "pass": len(rows),
            "cost": cost,
            "instances": training.clicks,
            "seconds": seconds,
            "instances_per_second": training.clicks / seconds,
            **baselines,
        }
        finish_pass(args, trainer, item_freq, test, valid, row, rows)
        run.board.curves(row["pass"], {f"pass/{name}": value for name, value in row.items()})
        run.end_pass(trainer)
    best, name = best_of(args, rows), args.select_metric
    if out_of_patience(args, rows):
        logger.info(f"no better valid_{name} for {args.patience} passes: stopped")
    if best:
        saved = "" if args.compare_with else ", saved as model_best.tar.gz"
        print_result(f"best pass by valid_{name}{saved}: {pass_line(best)}")
        if not best["valid_" + name]:
            logger.warning(
                f"valid_{name} is 0 in every pass: the last one counts as the best; give a larger "
                "--valid_set_path, or another --select_metric"
            )
    for baseline in BASELINES:
        if (best or rows[-1])[name] <= baselines.get(f"{baseline}_{name}", -1):
            logger.warning(
                f"by {name} this model ranks no better than {baseline}; train it longer"
                + (", or with --preset=best" if args.preset != "best" else "")
            )
    return best or rows[-1]


def encode_logs(args, feature_dict):
    """(TrainingLog, test log, validation log or None, seconds of reading the first); InputError if one has no use."""
    bad_lines, started = BadLines(args.max_bad_lines), time.perf_counter()
    cut = functools.partial(INSTANCES[args.instances], window_size=args.window_size)
    encoder = Reader(feature_dict, bad_lines)
    encoder.register(read_catalogue(args.catalogue_path or []))
    if args.context_set_path:
        encoder.prepend_context(args.context_set_path, args.window_size)
    training = TrainingLog(
        encoder, args.train_set_path, args.shuffle_lines, cut, args.max_user_clicks
    )
    seconds, others = time.perf_counter() - started, []
    if not training.clicks:
        raise InputError(
            " ".join(args.train_set_path),
            "no click on a video of the dictionary",
            hint="give the log that feature_dict.pkl was made from",
        )
    for path in (args.test_set_path, args.valid_set_path):
        others += Reader(feature_dict, bad_lines).encode(path) if path else [None]
        if path and not (others[-1].last_item >= 0).any():
            raise InputError(
                " ".join(path), "no line with a click", hint="give users with a history"
            )
    return (training, *others, seconds)


def resolve_defaults(args, clicks, held_out):
    """Give the settings that follow the logs their values."""
    again = [
        held_out.last_item[line] in held_out.items(line, count)
        for line, count in enumerate(held_out.before_last())
        if held_out.last_item[line] >= 0
    ]
    args.select_metric = (
        args.select_metric or ("seen_kept_" if np.mean(again) > 0.5 else "") + "ndcg@10"
    )
    args.batch_size = args.batch_size or min(512, max(32, clicks // 100))


def build_network(args, feature_dict, item_freq):
    """A network of --network, with its initial parameters."""
    try:
        network_class = network_class(args.network)
    except ValueError as error:
        raise InputError(
            "--network", str(error), hint="write it there, or name one of these"
        ) from error
    dims = {
        **network_class.embedding_dims,
        **({ITEMS: args.dnn_layer_dims[1]} if args.tie_embeddings else {}),
    }
    if not {*CLICK_FEATURES} < dims.keys() <= {*FEATURES} or max(dims.values()) > MAX_WIDTH:
        raise InputError(
            "--network",
            f"embedding_dims of {args.network} lacks a feature of clicks or all of the "
            f"profile, or has one that the log has not, or a width above {MAX_WIDTH}",
            hint="see LOG_COLUMNS in candgen/data/dictionary.py",
        )
    config = ModelConfig(
        {name: len(feature_dict[name]) for name in FEATURES},
        dims,
        dictionary_fingerprint(feature_dict),
        args.window_size,
        tuple(args.dnn_layer_dims),
        args.lstm_dim,
        args.tie_embeddings,
        args.network,
        args.content,
    )
    paddle.seed(args.seed)  # of the initial values; all else is drawn by numpy
    network = network_class(config, dropout=args.dropout)
    strange = network.tables().keys() - network.table_ids().keys() - {"nce_b", "content"}
    if strange:  # their gradients would be added by two threads at once
        raise InputError(
            "--network",
            f"{', '.join(sorted(strange))}: an Embedding of its own",
            hint=("add it to embedding_dims, or make it a parameter"),
        )
    initialize(network, item_freq, args.initial_values)
    return network


def train(args, ranks):
    """Read, train, report each pass."""
    feature_dict = load_feature_dict(args.feature_dict)
    item_freq = load_item_freq(args.item_freq, feature_dict)
    training, test, valid, bounded_read = encode_logs(args, feature_dict)
    resolve_defaults(args, training.clicks, valid or test)
    for name, paths, log in (
        ("test", args.test_set_path, test),
        ("validation", args.valid_set_path, valid),
    ):
        if log:
            warn_of_held_out(args, training, name, paths, log)

    use_device(args.device)
    before = None  # what the earlier model serves; what is wrong with it is told now, not when all passes are done
    if args.compare_with and not ranks.rank:
        before = served(args, args.compare_with, args.compare_feature_dict)
    network = build_network(args, feature_dict, item_freq)
    network.attributes = training.content(len(feature_dict[ITEMS]), len(feature_dict[TAGS]))
    if args.catalogue_path:
        network.cold_items = np.array(item_freq) == 0
        network.cold_items[0] = False  # <unk> is no video
    shown = {
        **vars(args),
        **network.config._asdict(),
        "lines": training.lines,
        "clicks": training.clicks,
        "ranks": ranks.world,
        "device": paddle.device.get_device(),
        "paddle": paddle.__version__,
    }
    with contextlib.suppress(OSError):
        print(
            "\n".join(f"{name}: {value}" for name, value in shown.items()),
            file=sys.stderr,
            flush=True,
        )
    steps = sum(training.steps(args.batch_size))  # a pass
    trainer = Trainer(args, network, item_freq, args.num_passes * steps, ranks)
    settings = {name: value for name, value in vars(args).items() if name not in FREE_TO_CHANGE}
    settings.update(
        {name: bool(settings[name]) for name in ("init_model_path", "catalogue_path")}
    )  # may have moved
    files = {
        name: log.fingerprint()
        for name, log in (
            ("training log or --context_set_path", training),
            ("test log", test),
            ("validation log", valid),
        )
        if log
    }
    identity = {
        **settings,
        **network.config._asdict(),
        **files,
        "item_freq": fingerprint(item_freq),
    }
    given = [json.loads(each) for each in ranks.gather(json.dumps(identity))]
    differing = sorted(
        name
        for name in set().union(*given)
        if len({json.dumps(each.get(name)) for each in given}) > 1
    )
    if differing:
        raise InputError(
            "training",
            f"the ranks have different logs or settings ({', '.join(differing)})",
            hint="give all the same",
        )
    run = Checkpointer(
        args, json.loads(json.dumps(identity)), item_freq, ranks
    )  # as it will be read: tuples are lists there
    if not (args.resume and run.read(trainer)) and args.init_model_path:
        start_warm(args, trainer, feature_dict, item_freq)
    ranks.share(network)
    chosen = run_passes(args, trainer, item_freq, training, test, valid, run, bounded_read)
    run.board.videos(feature_dict, training, network)
    if before:
        publish(
            args,
            before,
            os.path.join(args.model_output_dir, f"model_pass_{chosen['pass']:05d}.tar.gz"),
        )
