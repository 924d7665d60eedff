"""Passes over the log -> model_pass_00000.tar.gz, model_pass_00001.tar.gz, ... and metrics.jsonl.

    python train.py --train_set_path='./data/train.txt' --test_set_path='./data/test.txt' \\
        --model_output_dir='./output/model/' --feature_dict='./output/feature_dict.pkl' \\
        --item_freq='./output/item_freq.pkl'

After each pass the last click of each line of the test log is predicted from the clicks before it,
and the pass gets a line on stdout and an object in metrics.jsonl: loss (cost), test loss, speed,
ranking metrics, and the same metrics of the baselines. The last line, on stderr, is a verdict: the
model to serve, how it compares with the baselines, and what to do for a better one. With
--valid_set_path the best pass is model_best.tar.gz; with --compare_with it becomes that only if it
is as good as an earlier model (exit code 3 if not). Two runs with one --seed, one log and one
number of --threads write identical models.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from typing import Any, Callable

from candgen.archives import fingerprint
from candgen.console import InputError, Progress, logger, run_script
from candgen.data.batches import INSTANCES
from candgen.data.counting_settings import counting_settings, warn_of_other_settings
from candgen.data.dictionary import (
    FEATURES,
    ITEMS,
    TAGS,
    dictionary_fingerprint,
    load_feature_dict,
    load_item_freq,
)
from candgen.data.encoding import EncodedLog
from candgen.data.logs import BadLines, read_catalogue
from candgen.environment import load_paddle
from candgen.model.model_file import load_model
from candgen.output_folder import output_folder
from candgen.serving.baselines import BASELINES
from candgen.serving.collapse import warn_if_network_collapses
from candgen.training import publish, report
from candgen.training.checkpoint import OUTPUT_FILES, Checkpointer, model_name, save_pass
from candgen.training.dashboard import Dashboard
from candgen.training.defaults import fill_in_defaults
from candgen.training.held_out import warn_of_held_out
from candgen.training.network_warnings import (
    warn_of_preset,
    warn_of_unused_columns,
    warn_of_user_ids,
)
from candgen.training.options import parse_args
from candgen.training.ranks import Ranks
from candgen.training.verdict import verdict
from reader import Reader, TrainingLog

import numpy as np


def main(argv: list[str] | None = None) -> int:
    """Train a network; returns the exit code."""
    with Ranks() as ranks:  # a rank that fails ends the others
        args, fixed_settings = parse_args(__doc__, argv)
        load_paddle()
        import network_conf
        from candgen.model.initialization import build_network, embedding_dims
        from candgen.model.layers import use_device
        from candgen.model.rare_items import rare_item_offsets
        from candgen.model.warm_start import warm_start
        from candgen.serving.evaluation import evaluate_baselines, evaluate_model
        from candgen.training.evaluate import evaluate
        from candgen.training.remembered_users import remember_users
        from candgen.training.settings import TrainerSettings
        from candgen.training.trainer import Trainer

        import paddle

        use_device(args.device)
        ranks.connect()
        ranks.enter_on_first(output_folder(args.model_output_dir, OUTPUT_FILES))

        network_class = choice(network_conf.network_class, "--network", args.network)
        loss = choice(network_conf.loss_function, "--loss", args.loss)
        warn_of_preset(args.preset, args.network, network_class.has_direct_path)

        # data
        feature_dict = load_feature_dict(args.feature_dict)
        item_freq = load_item_freq(args.item_freq, feature_dict)
        reading_started = time.perf_counter()
        bad_lines = BadLines(args.max_bad_lines)
        training_reader = Reader(feature_dict, bad_lines)
        catalogue = list(read_catalogue(args.catalogue_path or []))
        warn_of_other_settings(args.item_freq, counting_settings(args.max_user_clicks, catalogue))
        training_reader.register(catalogue)
        if args.context_set_path:
            training_reader.prepend_context(args.context_set_path, args.window_size)
        cut = functools.partial(INSTANCES[args.instances], window_size=args.window_size)
        training = TrainingLog(
            training_reader, args.train_set_path, args.shuffle_lines, cut, args.max_user_clicks
        )
        reading_seconds = time.perf_counter() - reading_started
        if not training.clicks:
            raise InputError(
                " ".join(args.train_set_path),
                "no click on a video of the dictionary",
                hint="give the log that feature_dict.pkl was made from",
            )
        test = read_held_out(Reader(feature_dict, bad_lines), args.test_set_path)
        trained_on = warn_of_held_out(
            "test", args.test_set_path, test, args.train_set_path, training
        )
        valid = None
        if args.valid_set_path:
            valid = read_held_out(Reader(feature_dict, bad_lines), args.valid_set_path)
            warn_of_held_out(
                "validation", args.valid_set_path, valid, args.train_set_path, training
            )
        usual_passes = fill_in_defaults(args, training, len(item_freq) - 1, valid or test)

        def evaluate_saved(model_path, feature_dict_path):
            """What a model file does on the test log."""
            model = load_model(model_path, feature_dict_path)
            network = network_conf.load_network(model)
            quiet = BadLines(args.max_bad_lines, quiet=True)  # its lines have been named
            [block] = Reader(model.feature_dict).blocks(args.test_set_path, quiet)
            return publish.evaluate_saved_model(
                evaluate_model, network, model, block.log, block.clicks, args.threads
            )

        earlier_model = None  # evaluated first, so that its errors do not come after all passes
        if args.compare_with and not ranks.rank:
            earlier_model = evaluate_saved(args.compare_with, args.compare_feature_dict)

        # network
        dims = embedding_dims(network_class, args.dnn_layer_dims[1], args.tie_embeddings)
        warn_of_unused_columns(args.network, dims)
        if "user_id" in dims:
            warn_of_user_ids(network_class, args.user_dropout, args.window_size)
        config = network_conf.ModelConfig(
            dictionary_sizes={name: len(feature_dict[name]) for name in FEATURES},
            embedding_dims=dims,
            dictionary_fingerprint=dictionary_fingerprint(feature_dict),
            window_size=args.window_size,
            dnn_layer_dims=tuple(args.dnn_layer_dims),
            lstm_dim=args.lstm_dim,
            tie_embeddings=args.tie_embeddings,
            network=args.network,
            content=args.content,
        )
        network = build_network(
            network_class, config, args.dropout, item_freq, args.initial_values, args.seed
        )
        network.attributes = training.content(len(feature_dict[ITEMS]), len(feature_dict[TAGS]))
        if args.lift_rare and not (args.context_set_path or args.init_model_path):
            # the log has all clicks, so that few clicks mean a rare video
            network.bias_offsets = rare_item_offsets(training.video_counts)
        if args.catalogue_path:
            network.cold_items = np.array(item_freq) == 0
            network.cold_items[0] = False  # <unk> is not a video

        # trainer
        settings = TrainerSettings(
            loss=loss,
            optimizer=args.optimizer,
            learning_rate=args.learning_rate,
            table_rate=args.table_rate,
            l2_rate=args.l2_rate,
            num_negatives=args.num_negatives,
            shared_negatives=args.shared_negatives,
            user_dropout=args.user_dropout,
            history_dropout=args.history_dropout,
            threads=args.threads,
        )
        steps_per_pass = sum(training.steps(args.batch_size))
        total_steps = args.num_passes * steps_per_pass
        sampler = network_conf.NoiseSampler(item_freq)
        trainer = Trainer(network, sampler, settings, total_steps, ranks)
        report.print_settings(
            {
                **vars(args),
                **vars(config),
                "lines": training.lines,
                "clicks": training.clicks,
                "ranks": ranks.world,
                "device": paddle.device.get_device(),
                "paddle": paddle.__version__,
            }
        )

        # state: of a checkpoint, of an earlier run, or the initial one
        identity = {
            **{name: getattr(args, name) for name in fixed_settings},
            "init_model_path": bool(args.init_model_path),  # it may have moved
            "catalogue_path": bool(args.catalogue_path),
            **vars(config),
            "training log or --context_set_path": training.fingerprint(),
            "test log": test.fingerprint(),
            "item_freq": fingerprint(item_freq),
        }
        if valid is not None:
            identity["validation log"] = valid.fingerprint()
        ranks.require_equal(identity)
        checkpoint = Checkpointer(
            args.model_output_dir, identity, item_freq, args.checkpoint_minutes, ranks
        )
        if not (args.resume and checkpoint.resume(trainer)) and args.init_model_path:
            warm_start(
                trainer,
                args.init_model_path,
                args.init_feature_dict,
                args.optimizer,
                feature_dict,
                item_freq,
            )
        ranks.broadcast_parameters(network)
        dashboard = Dashboard(None if ranks.rank else args.visualdl_dir)

        # passes
        rows = checkpoint.rows
        metric = args.select_metric
        num_users = int((test.last_item >= 0).sum())
        run = ranks.distributed_map(trainer.pool)
        names = [name for name in BASELINES if name != "rules" or args.rules]
        baselines = evaluate_baselines(names, training.first, test, item_freq, run)
        if len(rows) >= args.num_passes:
            logger.info(f"all {len(rows)} passes are done; a larger --num_passes continues")
        checkpoint.catch_signals()
        while len(rows) < args.num_passes and not report.out_of_patience(
            rows, metric, args.patience
        ):
            pass_number = len(rows)
            rng = np.random.default_rng(np.random.SeedSequence(args.seed, spawn_key=(pass_number,)))
            batches = training.batches(args.batch_size, rng)
            finished = itertools.islice(batches, checkpoint.batches)  # before the run was stopped
            instances = sum(int(segments.targets.sum()) for _, segments, _ in finished)
            checkpoint.restart_clock()
            with Progress(f"pass {pass_number:05d}", training.clicks, not ranks.rank) as progress:
                prepared = trainer.prepare_ahead(batches)
                for number, batch in enumerate(prepared, checkpoint.batches):
                    batch_loss = trainer.step(batch)
                    instances += batch.num_targets
                    checkpoint.after_step(trainer, batch_loss, batch.num_targets)
                    progress.at(instances, f"cost {checkpoint.total_loss / instances:.4f}")
                    learning_rate = trainer.lr_scheduler.get_lr()
                    dashboard.add_step(
                        pass_number * steps_per_pass + number, batch_loss, learning_rate
                    )
            trainer.check_parameters()
            remember_users(network, training.blocks(), run)

            seconds = checkpoint.seconds + (0 if rows else reading_seconds)
            row = {
                "pass": pass_number,
                "cost": checkpoint.total_loss / training.clicks,
                "instances": training.clicks,
                "seconds": seconds,
                "instances_per_second": training.clicks / seconds,
                **baselines,
                **evaluate(trainer, test, args.seed),
            }
            if valid is not None:
                values = evaluate(trainer, valid, args.seed)
                row.update({"valid_" + name: value for name, value in values.items()})
            rows.append(row)
            if not ranks.rank:
                is_best = report.best_row(rows, metric) is row and not args.compare_with
                save_pass(args.model_output_dir, network, item_freq, rows, is_best)
                report.print_result(report.pass_line(row))
                warn_if_network_collapses(row, num_users, config.dnn_layer_dims[1])
            dashboard.add_pass(row)
            checkpoint.end_pass(trainer)

        # result
        if report.out_of_patience(rows, metric, args.patience):
            logger.info(f"no better valid_{metric} for {args.patience} passes: stopped")
        dashboard.add_videos(feature_dict, training.categories(len(feature_dict[ITEMS])), network)
        if ranks.rank:
            return 0
        level, text = verdict(
            rows,
            baselines,
            metric,
            args.preset,
            usual_passes,
            num_users,
            args.model_output_dir,
            trained_on=trained_on,
            gated=earlier_model is not None,
        )
        logger.log(level, text)
        if earlier_model is None:
            return 0
        chosen = report.best_row(rows, metric) or rows[-1]
        model_path = os.path.join(args.model_output_dir, model_name(chosen))
        new_model = evaluate_saved(model_path, args.feature_dict)
        publish.print_comparison(earlier_model, new_model, metric)
        reason = publish.refusal(
            earlier_model.metrics[metric],
            new_model.metrics[metric],
            args.min_ratio,
            args.compare_with,
        )
        return publish.publish(model_path, reason and f"{metric} {reason}")


def choice(find: Callable, flag: str, name: str) -> Any:
    """``find(name)``, a network or a loss of network_conf.py.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    try:
        return find(name)
    except ValueError as error:
        hint = "write it there, or name one of these"
        raise InputError(flag, str(error), hint=hint) from error


def read_held_out(reader: Reader, paths: list[str]) -> EncodedLog:
    """A test or validation log.

    Raises
    ------
    InputError
        If no line has a click.
    """
    [log] = reader.encode(paths)
    if not (log.last_item >= 0).any():
        raise InputError(" ".join(paths), "no line with a click", hint="give users with a history")
    return log


if __name__ == "__main__":
    run_script(main)
