"""Passes over the log -> model_pass_00000.tar.gz, model_pass_00001.tar.gz, ... and metrics.jsonl.

    python train.py --train_set_path='./data/train.txt' --test_set_path='./data/test.txt' \\
        --model_output_dir='./output/model/' --feature_dict='./output/feature_dict.pkl' \\
        --item_freq='./output/item_freq.pkl'

After each pass the last click of each line of the test log is predicted from the clicks before it, and
the pass gets a line on stdout and an object in metrics.jsonl: cost, test cost, speed, ranking metrics,
and the same metrics of a ranking by popularity. Two runs with one --seed on one machine write
identical models. Where this paddle is one for GPUs, all layers are paddle's own (--engine=paddle).
"""
import contextlib
import gc
import json
import math
import mmap
import os
import signal
import sys
import time
import zlib
from collections import deque
from importlib import metadata

from data_processor import (
    SPARE_MEMORY,
    add_max_bad_lines,
    argument_parser,
    bad_lines_of,
    bounded_memory,
    fingerprint,
    frequencies_fingerprint,
    load_feature_dict,
    load_item_freq,
    number_type,
    run_script,
)
from infer import evaluate_ranking, model_scores, user_vectors
from network_conf import (
    DNN_LAYER_DIMS,
    EMBEDDING_DIMS,
    ENGINES,
    LOSSES,
    LSTM_DIM,
    NUM_NEGATIVES,
    WINDOW_SIZE,
    DNNmodel,
    ModelConfig,
    Sampling,
    initial_parameters,
    is_table,
    load_paddle,
    parameter_shapes,
    save_model,
    sum_gradients,
    table_rows,
    tied,
)
from reader import (
    InputError,
    Reader,
    atomic_write,
    hide_users,
    make_batch,
    next_click_windows,
    said,
    sequence_stretches,
    shuffled_batches,
    sliding_windows,
)

import numpy as np

INSTANCES = {"window": sliding_windows, "sequence": sequence_stretches}
BETA1, BETA2, EPSILON, TINY = np.float32(0.9), np.float32(0.999), np.float32(1e-8), np.float32(1e-30)  # of Adam
ADAGRAD_EPSILON = np.float32(1e-6)
NOT_OF_THE_RUN = {"train_set_path", "test_set_path", "valid_set_path", "model_output_dir", "feature_dict", "item_freq",
                  "resume", "checkpoint_minutes", "max_bad_lines"}  # may change when a run is resumed
FINAL_RATE = 0.1  # the learning rate at the end of a run, as a share of that at its start


def gpu_wheel():
    """Whether the installed paddle is the one for GPUs, which one process keeps busy."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version("paddlepaddle-gpu"))
    return False


def parse_args():
    """The settings of this run, from the command line."""
    parser = argument_parser(__doc__)
    positive = number_type(int, 1)
    parser.add_argument("--train_set_path", required=True, help="the training log (- for standard input)")
    parser.add_argument("--test_set_path", required=True, help="the test log: its last clicks are predicted")
    parser.add_argument("--valid_set_path", help="validation log: the pass with the best ndcg@10 on its last clicks "
                        "is kept as model_best.tar.gz")
    parser.add_argument("--model_output_dir", required=True, help="folder for models and metrics, made if missing")
    parser.add_argument("--feature_dict", required=True, help="feature_dict.pkl of data_processor.py")
    parser.add_argument("--item_freq", required=True, help="item_freq.pkl of data_processor.py")
    settings = parser.add_argument_group("settings, with defaults")
    settings.add_argument("--num_passes", type=positive, default=10, help="passes over the log (%(default)s)")
    settings.add_argument("--patience", type=number_type(int, 0), default=0,
                          help="stop after this many passes without a better one on --valid_set_path; 0: never "
                               "(%(default)s)")
    settings.add_argument("--average_passes", type=positive, default=1,
                          help="a pass's model is the mean of the parameters after this many last passes "
                          "(%(default)s)")
    settings.add_argument("--batch_size", type=positive, default=512, help="instances per step (%(default)s)")
    settings.add_argument("--learning_rate", type=number_type(float, 0, above=True), default=0.002,
                          help="at the start; it falls to a tenth along a cosine (%(default)s)")
    settings.add_argument("--window_size", type=positive, default=WINDOW_SIZE,
                          help="positions that an instance looks back on at most (%(default)s)")
    settings.add_argument("--dnn_layer_dims", type=positive, nargs=2, default=DNN_LAYER_DIMS,
                          metavar=("HIDDEN", "USER"), help="widths of the two ReLU layers (%(default)s)")
    settings.add_argument("--lstm_dim", type=positive, default=LSTM_DIM, help="width of the LSTM (%(default)s)")
    settings.add_argument("--last_click", action="store_true",
                          help="give the last video's embedding to the first ReLU layer as well")
    settings.add_argument("--last_state", action="store_true",
                          help="give the LSTM's last state to it as well, beside the max over time")
    settings.add_argument("--tie_embeddings", action="store_true",
                          help="one table for clicked and recommended videos, as wide as the user vector")
    settings.add_argument("--initial_values", choices=["popularity", "v0.10"], default="popularity",
                          help="start as a popularity ranking, or as the v0.10 example did (%(default)s)")
    settings.add_argument("--optimizer", choices=["adam", "adagrad"], default="adam", help="(%(default)s)")
    settings.add_argument("--l2_rate", type=number_type(float, 0), default=0.0,
                          help="L2 regularisation of all parameters, with adagrad (%(default)s)")
    settings.add_argument("--instances", choices=sorted(INSTANCES), default="window",
                          help="window: every window on its own; sequence: histories in overlapping stretches, each "
                               "click a target once (%(default)s)")
    settings.add_argument("--loss", choices=sorted(LOSSES), default="nce",
                          help="noise-contrastive estimation, or its ranking form: a sampled softmax (%(default)s)")
    settings.add_argument("--num_negatives", type=positive, default=NUM_NEGATIVES,
                          help="noise samples (%(default)s)")
    settings.add_argument("--shared_negatives", action="store_true",
                          help="draw them once a batch, for all its instances, not once an instance")
    settings.add_argument("--user_dropout", type=number_type(float, 0, 1), default=0.5,
                          help="share of training stretches whose user id is hidden (%(default)s)")
    settings.add_argument("--dropout", type=number_type(float, 0, 0.99), default=0.0,
                          help="share of the inputs of both ReLU layers set to 0 in training (%(default)s)")
    settings.add_argument("--processes", type=positive, default=1 if gpu_wheel() else min(2, os.cpu_count() or 1),
                          help="that train together, each on its part of every batch (%(default)s)")
    settings.add_argument("--engine", choices=sorted(ENGINES), default="paddle" if gpu_wheel() else "numpy",
                          help="what computes the layers up to the user vector: numpy, for processors, or paddle's own "
                          "operations, for GPUs (%(default)s)")
    add_max_bad_lines(settings)
    settings.add_argument("--resume", action="store_true",
                          help="go on from the checkpoint of a run that was stopped, if there is one")
    settings.add_argument("--checkpoint_minutes", type=number_type(float, 0), default=10.0,
                          help="time between checkpoints within a pass; there is one after each pass (%(default)s)")
    settings.add_argument("--seed", type=number_type(int, 0), default=0, help="of all that is random (%(default)s)")
    args = parser.parse_args()
    if args.l2_rate and args.optimizer != "adagrad":
        parser.error("--l2_rate goes with --optimizer=adagrad: paddle's Adam has none for sparse tables")
    if args.patience and not args.valid_set_path:
        parser.error("--patience needs --valid_set_path")
    return args


# ---------------------------------------------------------------- optimisers
def adam(rows, gradient, state, rate, step, l2_rate):
    """One step of Adam (Kingma & Ba 2015, algorithm 1) on rows of a parameter.

    Parameters
    ----------
    rows : float32 [U, width] or any shape, changed in place. Rows that a batch does not touch rest, moments and
        all ("lazy").
    gradient : in the shape of rows.    state : (mean, square) of the same rows, changed in place.
    rate : learning rate.    step : number of this step, from 1.    l2_rate : not used.
    """
    mean, square = state
    change = (1 - BETA1) * gradient
    mean *= BETA1
    mean += change
    # what has faded to nothing becomes 0: numbers below 1e-38 (denormal) take a processor 100 times as long
    mean += TINY
    mean -= TINY
    square *= BETA2
    np.multiply(gradient, gradient, out=change)
    change *= 1 - BETA2
    square += change
    np.maximum(square, TINY, out=square)
    np.multiply(square, np.float32(1 / (1 - BETA2 ** step)), out=change)
    np.sqrt(change, out=change)
    change += EPSILON
    np.divide(mean, change, out=change)
    change *= np.float32(rate / (1 - BETA1 ** step))
    rows -= change


def adagrad(rows, gradient, state, rate, step, l2_rate):
    """One step of AdaGrad (Duchi et al. 2011) with L2 regularisation; parameters as in `adam`, state : (sum,)."""
    [total] = state
    gradient = gradient + l2_rate * rows
    total += gradient * gradient
    rows -= rate * gradient / (np.sqrt(total) + ADAGRAD_EPSILON)


OPTIMIZERS = {"adam": (adam, 2), "adagrad": (adagrad, 1)}  # with the number of arrays in a state


def cosine_rate(start, step, steps):
    """Learning rate of a step (from 0) of `steps`: from `start` along half a cosine to FINAL_RATE of it."""
    return start * (FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * step / steps)) / 2)


# ---------------------------------------------------------------- training on several processes
def shared_array(shape, dtype=np.float32):
    """Zeros in memory that processes forked from this one share; pages that nobody touches take none."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(1, size)), dtype, int(np.prod(shape))).reshape(shape)


class Ranks:
    """Equal processes that take every step together; this one is rank 0, the others are forked from it.

    They share all arrays made by `shared_array` beforehand, and leave when rank 0 does.
    """

    def __init__(self, count):
        self.count, self.rank = count, 0
        pipes = [(os.pipe(), os.pipe()) for _ in range(1, count)]  # to rank 0, from rank 0
        sys.stdout.flush()
        for rank, ((_, to_first), (from_first, _)) in enumerate(pipes, 1):
            if os.fork() == 0:
                self.rank = rank
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_IGN)  # rank 0 decides what happens
                keep = {to_first, from_first}
                for end in (end for pair in pipes for pipe in pair for end in pipe if end not in keep):
                    os.close(end)
                self._others = [(from_first, to_first)]
                return
        for (_, to_first), (from_first, _) in pipes:
            os.close(to_first)
            os.close(from_first)
        self._others = [(to_this, from_this) for (to_this, _), (_, from_this) in pipes]

    def meet(self):
        """Go on when all have come here."""
        if self.rank:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._others[0][1], b".")
            if not os.read(self._others[0][0], 1):
                os._exit(0)  # rank 0 is gone: the run is over
            return
        alive = all(os.read(reading, 1) for reading, _ in self._others)
        try:
            for _, writing in self._others:
                os.write(writing, b".")
        except BrokenPipeError:
            alive = False
        if not alive:
            raise InputError("training", None, "one of its processes ended", "see above; is there enough memory?")


def lay_down(parts, all_ids, all_rows, scratch):
    """Write the parts of a gradient one behind the other, where other processes see them; returns how many rows.

    Parameters
    ----------
    parts : [(ids or None, gradient)], as `DNNmodel.gradients` gives them for a parameter; those of a table with more
        rows than the table has are added up first.
    all_ids, all_rows : int64 [V] and float32 [V, ...] of a parameter with V rows, changed in place.
    scratch : as in `distinct_ids`.
    """
    if sum(len(gradient) for _, gradient in parts) > len(all_rows):
        parts = [sum_gradients(parts, scratch)]
    end = 0
    for ids, gradient in parts:
        start, end = end, end + len(gradient)
        all_rows[start:end] = gradient
        if ids is not None:
            all_ids[start:end] = ids
    return end


class Trainer:
    """Takes training steps: each batch is cut into one part a process, the gradients are added, one update follows.

    The parts, and all that is random in them, are the same however the processes run, and so is the result.
    """

    def __init__(self, args, parameters, rng):
        optimizer, arrays = OPTIMIZERS[args.optimizer]
        self._args, self._optimizer, self._step = args, optimizer, 0
        self._rows = {name: table_rows(name, value) if is_table(name) else value for name, value in parameters.items()
                      if name != "nce_w" or not args.tie_embeddings}
        self._state = {name: [shared_array(rows.shape) for _ in range(arrays)] for name, rows in self._rows.items()}
        self._scratch = {name: np.empty(len(rows), np.int32) for name, rows in self._rows.items()}
        # where each process lays down its gradients for the others: ids and rows of each parameter, and how many
        self._found = [{name: (shared_array(len(rows), np.int64), shared_array(rows.shape))
                        for name, rows in self._rows.items()} for _ in range(args.processes)]
        self._counts = shared_array((args.processes, len(self._rows)), np.int64)
        self._costs = shared_array(args.processes, np.float64)
        self._rngs = rng.spawn(args.processes)
        self._rng_states = shared_array((args.processes, 6), np.uint64)
        self._rng_states[:] = [rng_state(each) for each in self._rngs]

    def start(self, config, parameters, item_freq, steps):
        """Fork the other processes, load paddle in each. Returns the number of this one."""
        self._steps = steps
        self._ranks = Ranks(self._args.processes)
        load_paddle()
        sampling = Sampling(self._args.loss, self._args.num_negatives, self._args.shared_negatives)
        self._network = DNNmodel(config=config, parameters=parameters, item_freq=item_freq, sampling=sampling,
                                 dropout=self._args.dropout, engine=self._args.engine)
        gc.freeze()  # lest the collector look through all of paddle's modules again and again
        return self._ranks.rank

    @property
    def reports(self):
        """Whether this is the process that talks to the user."""
        return self._ranks.rank == 0

    def step(self, log, stretches):
        """Train on some stretches; returns the mean cost of their targets."""
        rank, ranks = self._ranks.rank, self._ranks.count
        self._gradients(log, stretches.take(slice(rank, None, ranks)), stretches.targets.sum())
        self._ranks.meet()
        cost = self._costs.sum()
        rate = cosine_rate(self._args.learning_rate, self._step, self._steps)
        self._step += 1
        for name in self._share(rank, ranks):
            self._update(name, rate)
        self._rng_states[rank] = rng_state(self._rngs[rank])
        self._ranks.meet()
        self._network.refresh()
        return cost

    def _gradients(self, log, stretches, targets):
        """Lay down this process's part of the gradients."""
        rank = self._ranks.rank
        self._costs[rank], self._counts[rank] = 0, 0
        if not len(stretches.line):
            return
        rng = self._rngs[rank]
        batch = hide_users(make_batch(log, stretches), self._args.user_dropout, rng)
        self._costs[rank], found = self._network.gradients(batch, rng, targets)
        for place, (name, (all_ids, all_rows)) in enumerate(self._found[rank].items()):
            self._counts[rank, place] = lay_down(found[name], all_ids, all_rows, self._scratch[name])

    def _share(self, rank, ranks):
        """Names of the parameters that a process updates: about as much work for each."""
        work = [0] * ranks
        sizes = self._counts.sum(axis=0) * [rows[:1].size for rows in self._rows.values()]
        for place in np.argsort(-sizes, kind="stable"):
            least = work.index(min(work))
            work[least] += sizes[place]
            if least == rank:
                yield list(self._rows)[place]

    def _update(self, name, rate):
        place = list(self._rows).index(name)
        parts = [(ids[:count] if is_table(name) else None, rows[:count])
                 for (ids, rows), count in zip((each[name] for each in self._found), self._counts[:, place]) if count]
        rows, state = self._rows[name], self._state[name]
        ids, gradient = sum_gradients(parts, self._scratch[name])
        touched = [rows, *state] if ids is None else [array.take(ids, axis=0) for array in (rows, *state)]
        with np.errstate(all="ignore"):  # what is not finite is looked for in the cost, and after each pass
            self._optimizer(touched[0], gradient, touched[1:], rate, self._step, self._args.l2_rate)
        if ids is not None:
            for array, new in zip((rows, *state), touched):
                array[ids] = new

    def arrays(self):
        """{name: array} of all that training changes; a checkpoint holds them, `restore` puts them back."""
        return {"rng_states": self._rng_states, "step": np.array([self._step]),
                **{f"parameter {name}": rows for name, rows in self._rows.items()},
                **{f"state {number} {name}": array for name, state in self._state.items()
                   for number, array in enumerate(state)}}

    def restore(self, arrays):
        """Go on from the `arrays` of another run; before `start`."""
        for name, array in self.arrays().items():
            array[...] = same_kind(arrays[name], array)
        self._step = int(arrays["step"][0])
        for rng, state in zip(self._rngs, self._rng_states):
            set_rng_state(rng, state)


def rng_state(rng):
    """State of a generator (PCG64) as six numbers, uint64 [6]."""
    state = rng.bit_generator.state
    numbers = [state["state"]["state"], state["state"]["inc"]]
    return np.array([part for number in numbers for part in (number >> 64, number & (1 << 64) - 1)]
                    + [state["has_uint32"], state["uinteger"]], np.uint64)


def set_rng_state(rng, numbers):
    """Put a generator into a state that `rng_state` gave."""
    high, low, inc_high, inc_low, has, value = map(int, numbers)
    rng.bit_generator.state = {"bit_generator": "PCG64", "state": {"state": high << 64 | low,
                               "inc": inc_high << 64 | inc_low}, "has_uint32": has, "uinteger": value}


# ---------------------------------------------------------------- checkpoints
class Checkpoint:
    """Where a run stands, in model_output_dir: written now and then, read by --resume, removed when the run is done.

    `told` is what the user has been told (the rows of metrics.jsonl); `order` the generator of the order of the
    instances as the pass began, `batches` and `total` how far it is and the sum of its costs.
    """

    def __init__(self, args, config, log, item_freq, rng):
        self._path = os.path.join(args.model_output_dir, "checkpoint.npz")
        same = {name: value for name, value in vars(args).items() if name not in NOT_OF_THE_RUN}
        self._run = json.dumps({**same, **config._asdict(), "clicks": zlib.crc32(log.clicks.tobytes()),
                                "item_freq": frequencies_fingerprint(item_freq)}, sort_keys=True, default=str)
        self._shapes = parameter_shapes(config)
        self._between, self._written, self._took = 60 * args.checkpoint_minutes, time.monotonic(), 0.0
        self._stopped, self._before, self._began = [], 0.0, time.monotonic()
        self.told, self.order, self.batches, self.total = [], rng_state(rng), 0, 0.0

    def catch_signals(self):
        """From now on SIGTERM and Ctrl-C wait for the end of a step, then leave a checkpoint; a second one kills."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: (self._stopped.append(number),
                                                     signal.signal(number, signal.SIG_DFL)))

    def begin_pass(self, rng):
        """A pass begins, in the order that `rng` will give."""
        self.order, self.batches, self.total, self._before = rng_state(rng), 0, 0.0, 0.0
        self.start_clock()

    def start_clock(self):
        """Training begins, or goes on: what came before was loading, evaluating, saving."""
        self._began = time.monotonic()

    def seconds(self):
        """Time spent on this pass, before the run was stopped and since."""
        return self._before + time.monotonic() - self._began

    def after(self, between, trainer, recent):
        """Write one if the last is `between` seconds old, and they do not take more than 5% of the time."""
        if self._stopped or time.monotonic() - self._written > max(between, 20 * self._took):
            self._write(trainer, recent)
        if self._stopped:
            print(f"train.py: stopped by {signal.Signals(self._stopped[0]).name}; --resume goes on", file=sys.stderr)
            sys.exit(128 + self._stopped[0])

    def after_step(self, trainer, recent):
        """Write one if it is time, or the run is to stop."""
        self.after(self._between, trainer, recent)

    def _write(self, trainer, recent):
        started = time.monotonic()
        told = {"run": self._run, "told": self.told, "batches": self.batches, "total": self.total,
                "seconds": self.seconds(), "recent": len(recent)}
        arrays = {"told": np.frombuffer(json.dumps(told).encode(), np.uint8), "order": self.order, **trainer.arrays()}
        for number, snapshot in enumerate(recent):
            arrays.update({f"recent {number} {name}": value for name, value in snapshot.items()})
        with atomic_write(self._path) as stream:
            np.savez(stream, **arrays)
        self._written = time.monotonic()
        self._took = self._written - started

    def read(self, trainer):
        """Go on from the last one: restores the trainer, returns the snapshots; [] if there is none."""
        try:
            with bounded_memory(SPARE_MEMORY + 4 * os.path.getsize(self._path)), \
                    np.load(self._path, allow_pickle=False) as arrays:
                told = json.loads(arrays["told"].tobytes())
                if told["run"] != self._run:
                    raise InputError(self._path, None, "made by a run with other settings or another log",
                                     "give the settings it was made with, or train without --resume")
                trainer.restore(arrays)
                recent = [{name: same_kind(arrays[f"recent {number} {name}"], np.empty(shape, np.float32))
                           for name, shape in self._shapes.items()} for number in range(told["recent"])]
                self.order = same_kind(arrays["order"], self.order)
                self.told, self.batches, self.total = told["told"], int(told["batches"]), float(told["total"])
                self._before = float(told["seconds"])
        except FileNotFoundError:
            return []
        except InputError:
            raise
        except Exception as error:  # a damaged archive can raise almost anything
            raise InputError(self._path, None, f"damaged ({said(error)})",
                             "remove it, or train without --resume") from error
        return recent

    def remove(self):
        """The run is done."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


def same_kind(found, wanted):
    """The array `found`; ValueError if its shape or type is not that of `wanted`, or it is not finite."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype or not np.isfinite(found).all():
        raise ValueError(f"{found.dtype} {found.shape} in place of finite {wanted.dtype} {wanted.shape}")
    return found


# ---------------------------------------------------------------- passes
def train_pass(trainer, log, stretches, batch_size, rng, checkpoint, after_step=None):
    """One pass over all instances in random order, from where the checkpoint stands; returns their mean cost.

    `after_step` is called after each step, when nobody changes the parameters.
    """
    from paddle.hapi.progressbar import ProgressBar
    instances = int(stretches.targets.sum())
    bar = ProgressBar(instances, file=sys.stderr, name="instance") if trainer.reports and sys.stderr.isatty() else None
    done = 0
    for number, part in enumerate(shuffled_batches(stretches, batch_size, rng)):
        size = int(part.targets.sum())
        done += size
        if number < checkpoint.batches:
            continue  # taken before the run was stopped
        cost = trainer.step(log, part)
        if not math.isfinite(cost):
            if not trainer.reports:
                os._exit(0)  # the first process sees the same, and says so
            raise InputError("training", None, f"the cost became {cost} at instance {done}",
                             "lower --learning_rate; the models of earlier passes are as they were")
        checkpoint.total += cost * size
        checkpoint.batches += 1
        if bar:
            bar.update(done, [("cost", checkpoint.total / done)])
        if after_step:
            after_step()
    return checkpoint.total / instances


def mean_cost(network, log, batch_size, rng):
    """Mean cost of predicting the last click of each line; lines whose last click is unknown are left out."""
    lines = np.flatnonzero(log.last_item > 0)
    windows = next_click_windows(log.before_last(), network.config.window_size)
    total = 0.0
    for start in range(0, len(lines), batch_size):
        total += float(network(make_batch(log, windows.take(lines[start:start + batch_size])), rng).sum())
    return total / len(lines) if len(lines) else None


def evaluate(args, config, parameters, log, item_freq):
    """{metric: value} on the last clicks of a log: cost, share of unknown targets, ranking metrics."""
    sampling = Sampling(args.loss, args.num_negatives, args.shared_negatives)
    network = DNNmodel(config=config, parameters=parameters, item_freq=item_freq, sampling=sampling)
    # always the same noise: the test costs of two passes differ by what was learned alone
    cost = mean_cost(network, log, args.batch_size, np.random.default_rng(args.seed))
    network.is_infer = True
    users = user_vectors(network, log, log.before_last())
    return {"test_cost": cost, "unknown_target_share": float((log.last_item[log.last_item >= 0] == 0).mean()),
            **ranking_of(lambda lines: model_scores(users[lines], parameters["nce_w"], parameters["nce_b"]), log,
                         len(item_freq))}


def ranking_of(scores_of, log, videos, prefix=""):
    """{prefix + metric: value} of a ranking, and with `seen_kept_` those with earlier clicks kept in it."""
    removed, kept = evaluate_ranking(scores_of, log, videos)
    return {**{prefix + name: value for name, value in removed.items()},
            **{prefix + "seen_kept_" + name: value for name, value in kept.items()}}


def popularity_metrics(log, item_freq):
    """{popularity_metric: value} on the last clicks of a log: everybody gets the most clicked videos."""
    popularity = np.array(item_freq)
    popularity[0] = -np.inf  # <unk> is no video
    return ranking_of(lambda lines: np.tile(popularity, (len(lines), 1)), log, len(popularity), "popularity_")


def pass_line(row):
    """The line of a pass for people; metrics.jsonl has all of it."""
    cost = "none" if row["test_cost"] is None else f"{row['test_cost']:.4f}"
    metrics = "  ".join(f"{name} {row[name]:.4f} (popularity {row['popularity_' + name]:.4f})"
                        for name in ("recall@10", "ndcg@10", "recall@50"))
    return (f"pass {row['pass']:05d}  cost {row['cost']:.4f}  test_cost {cost}  {metrics}  "
            f"coverage@10 {row['coverage@10']:.4f}  {row['seconds']:.1f} s  "
            f"{row['instances_per_second']:.0f} instances/s")


def mean_parameters(snapshots):
    """Mean of several {name: array} of parameters, each one after another pass (Izmailov et al. 2018)."""
    return {name: sum((each[name] for each in snapshots[1:]), snapshots[0][name]) / np.float32(len(snapshots))
            for name in snapshots[0]} if len(snapshots) > 1 else snapshots[0]


def embedding_dims(args):
    """{feature: width}; that of a video is the user vector's if one table serves for both."""
    return {**EMBEDDING_DIMS, **({"history_clicked_items": args.dnn_layer_dims[1]} if args.tie_embeddings else {})}


def encode_logs(args, feature_dict):
    """(train log, test log, validation log or None, seconds of reading the first); InputError if one has no use."""
    bad_lines = bad_lines_of(args, os.path.join(args.model_output_dir, ""))
    reader = Reader(feature_dict, args.window_size, bad_lines)
    started = time.perf_counter()
    [log] = reader.encode(args.train_set_path)
    seconds = time.perf_counter() - started
    if not len(log.clicks):
        raise InputError(args.train_set_path, None, "no click on a video of the dictionary",
                         "give the log that feature_dict.pkl was made from")
    held_out = []
    for path in (args.test_set_path, args.valid_set_path):
        held_out += reader.encode(path) if path else [None]
        if path and not (held_out[-1].last_item >= 0).any():
            raise InputError(path, None, "no line with a click", "give users with a history")
    if bad_lines:
        os.makedirs(args.model_output_dir, exist_ok=True)
        bad_lines.write()
    return (log, *held_out, seconds)


def write_metrics(args, rows):
    """metrics.jsonl: one object a pass."""
    with atomic_write(os.path.join(args.model_output_dir, "metrics.jsonl")) as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def finish_pass(args, config, parameters, item_freq, logs, row, rows):
    """Evaluate and save what a pass has given; its `row` joins the others, in metrics.jsonl too."""
    _, test_log, valid_log = logs
    row.update(evaluate(args, config, parameters, test_log, item_freq))
    save_model(os.path.join(args.model_output_dir, f"model_pass_{row['pass']:05d}.tar.gz"), config, parameters,
               item_freq)
    if valid_log:
        row.update({"valid_" + name: value
                    for name, value in evaluate(args, config, parameters, valid_log, item_freq).items()})
        if best_of([*rows, row]) is row:
            save_model(os.path.join(args.model_output_dir, "model_best.tar.gz"), config, parameters, item_freq)
    rows.append(row)
    write_metrics(args, rows)
    print(pass_line(row), flush=True)


def best_of(rows):
    """The first of the rows with the best ndcg@10 on the validation log; None if there is no such log, or no row."""
    return max((row for row in rows if "valid_ndcg@10" in row), key=lambda row: row["valid_ndcg@10"], default=None)


def out_of_patience(args, rows):
    """Whether --patience is given and the best pass lies that many passes back."""
    return bool(args.patience and rows) and rows[-1]["pass"] - best_of(rows)["pass"] >= args.patience


def report_passes(args, trainer, config, parameters, item_freq, logs, stretches, rng, reading, checkpoint, recent):
    """All passes, as the process sees them that talks to the user: train, evaluate, save, print."""
    popularity = popularity_metrics(logs[1], item_freq)
    rows, recent, instances = checkpoint.told, deque(recent, maxlen=args.average_passes), int(stretches.targets.sum())
    checkpoint.catch_signals()
    while len(rows) < args.num_passes and not out_of_patience(args, rows):
        checkpoint.start_clock()
        cost = train_pass(trainer, logs[0], stretches, args.batch_size, rng, checkpoint,
                          lambda: checkpoint.after_step(trainer, recent))
        seconds = checkpoint.seconds() + (0 if rows else reading)
        if not all(np.isfinite(value).all() for value in parameters.values()):
            raise InputError("training", None, "a parameter became infinite", "lower --learning_rate; the models of "
                             "earlier passes are as they were")
        if args.average_passes > 1:
            recent.append({name: value.copy() for name, value in parameters.items()})
        row = {"pass": len(rows), "cost": cost, "instances": instances, "seconds": seconds,
               "instances_per_second": instances / seconds, **popularity}
        finish_pass(args, config, mean_parameters(list(recent) or [parameters]), item_freq, logs, row, rows)
        checkpoint.begin_pass(rng)
        checkpoint.after(0, trainer, recent)
    checkpoint.remove()
    best = best_of(rows)
    if out_of_patience(args, rows):
        print(f"no better valid_ndcg@10 for {args.patience} passes: stopped", file=sys.stderr)
    if best:
        print(f"best pass by valid_ndcg@10, saved as model_best.tar.gz: {pass_line(best)}")
    if (best or rows[-1])["recall@10"] <= rows[-1]["popularity_recall@10"]:
        print("warning: this model ranks no better than popularity; train it longer, or serve the top list",
              file=sys.stderr)


def main():
    """Read, train on several processes, report each pass."""
    args = parse_args()
    feature_dict = load_feature_dict(args.feature_dict)
    item_freq = load_item_freq(args.item_freq, feature_dict)
    *logs, reading = encode_logs(args, feature_dict)
    log = logs[0]
    stretches = INSTANCES[args.instances](log.lengths, args.window_size)
    os.makedirs(args.model_output_dir, exist_ok=True)

    rng = np.random.default_rng(args.seed)  # of all that is random in the run
    config = ModelConfig({name: len(feature_dict[name]) for name in EMBEDDING_DIMS}, fingerprint(feature_dict),
                         args.window_size, tuple(args.dnn_layer_dims), args.lstm_dim,
                         embedding_dims(args), args.last_click, args.last_state, args.tie_embeddings)
    parameters = {}
    for name, value in initial_parameters(config, item_freq, rng, args.initial_values).items():
        parameters[name] = shared_array(value.shape)
        parameters[name][:] = value
    parameters = tied(config, parameters)
    trainer = Trainer(args, parameters, rng)
    checkpoint = Checkpoint(args, config, log, item_freq, rng)
    recent = checkpoint.read(trainer) if args.resume else []
    set_rng_state(rng, checkpoint.order)
    if trainer.start(config, parameters, item_freq, args.num_passes * -(-len(log.clicks) // args.batch_size)):
        for _ in range(len(checkpoint.told), args.num_passes):
            train_pass(trainer, log, stretches, args.batch_size, rng, checkpoint)
            checkpoint.begin_pass(rng)
        os._exit(0)
    import paddle
    settings = {**vars(args), **config._asdict(), "lines": len(log.users), "clicks": len(log.clicks),
                "device": paddle.device.get_device(), "paddle": paddle.__version__}
    print("\n".join(f"{name}: {value}" for name, value in settings.items()), file=sys.stderr)
    report_passes(args, trainer, config, parameters, item_freq, logs, stretches, rng, reading, checkpoint, recent)


if __name__ == "__main__":
    run_script(main)
