"""Passes over the log -> model_pass_00000.tar.gz, model_pass_00001.tar.gz, ... and metrics.jsonl.

    python train.py --train_set_path='./data/train.txt' --test_set_path='./data/test.txt' \\
        --model_output_dir='./output/model/' --feature_dict='./output/feature_dict.pkl' \\
        --item_freq='./output/item_freq.pkl'

After each pass the last click of each line of the test log is predicted from the clicks before it, and
the pass gets a line on stdout and an object in metrics.jsonl: cost, test cost, speed, ranking metrics,
and the same metrics of a ranking by popularity. Two runs with one --seed, one log and one number of
--threads write identical models.
"""
import argparse
import contextlib
import functools
import json
import math
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import reader
import utils
from infer import Rules, TopN, evaluate_model, evaluate_ranking, load_model, popularity, start_network
from utils import CATEGORIES, CLICK_FEATURES, FEATURES, ITEMS, NO_VALUE, TAGS, UNKNOWN, InputError, note

import numpy as np

INSTANCES = {"window": reader.sliding_windows, "sequence": reader.sequence_stretches}
METRICS = [prefix + name for prefix in ("", "seen_kept_") for name in ("recall@10", "recall@50", "ndcg@10", "mrr@10")]
FINAL_RATE = 0.1  # the learning rate at the end of a run, as a share of that at its start
EXPLODED = "lower --learning_rate; the models of earlier passes are as they were"
PRESETS = {
    "classic": {},
    "best": {"network": "DirectModel", "dnn_layer_dims": (512, 64), "tie_embeddings": True, "content": True,
             "instances": "sequence", "loss": "ranking_nce", "num_negatives": 2048,
             "shared_negatives": True, "table_rate": 3.0, "user_dropout": 0.9, "dropout": 0.5, "num_passes": 8},
    "v0.10": {"initial_values": "v0.10", "optimizer": "adagrad", "learning_rate": 0.1, "l2_rate": 0.001,
              "batch_size": 50, "user_dropout": 0.0, "history_dropout": 0.0, "num_passes": 1},
}
BASELINES = ("popularity", "rules")
SHOWN_STEPS, SHOWN_VIDEOS = 20, 5000  # a dashboard gets the cost of every so manieth step, vectors of so many videos
FEW_USERS = 50  # in a test log: of so few nothing can be said
ANONYMOUS_CLICKS = 5  # histories of users without an id are alike by chance if they are shorter
CONNECT_SECONDS, FAREWELL_SECONDS = 60, 3  # ranks wait so long for a connection, and for others to end with them
LARGEST_PART = 512  # stretches that are computed together: more do not fit into the cache
OUTPUT_FILES = r"(model_(pass_\d{5}|best)|checkpoint)\.tar\.gz|metrics\.jsonl"  # what a run replaces or removes
# when a run is resumed
FREE_TO_CHANGE = {"train_set_path", "context_set_path", "test_set_path", "valid_set_path", "model_output_dir",
                  "feature_dict", "item_freq", "num_passes", "patience", "resume", "checkpoint_minutes", "rules",
                  "preset", "max_bad_lines", "threads", "init_feature_dict", "compare_with", "compare_feature_dict",
                  "min_ratio", "visualdl_dir"}


def parse_args(argv=None):
    """The settings of this run, from the command line; --preset gives those that are not there."""
    first = utils.argument_parser("", add_help=False)
    first.add_argument("--preset", default="classic")
    preset = first.parse_known_args(argv)[0].preset
    parser = utils.argument_parser(__doc__)
    add_run_arguments(parser)
    add_network_arguments(parser)
    parser.set_defaults(**PRESETS.get(preset, {}))
    args = parser.parse_args(argv)
    world, _ = utils.launched()
    if args.l2_rate and args.optimizer != "adagrad":
        parser.error("--l2_rate goes with --optimizer=adagrad: paddle's Adam has none for sparse tables")
    if args.content and not args.tie_embeddings:
        parser.error("--content goes with --tie_embeddings: one vector a video")
    if args.patience and not args.valid_set_path:
        parser.error("--patience needs --valid_set_path")
    for one, other in (("init_model_path", "init_feature_dict"), ("compare_with", "compare_feature_dict")):
        if bool(getattr(args, one)) != bool(getattr(args, other)):
            parser.error(f"--{one} and --{other} go together")
    if args.min_ratio and not args.compare_with:
        parser.error("--min_ratio needs --compare_with")
    if args.max_user_clicks and not all(map(os.path.isfile, reader.log_files(args.train_set_path))):
        parser.error("--max_user_clicks reads the training log twice: give files that are there")
    if args.compare_with and not all(map(os.path.isfile, reader.log_files(args.test_set_path))):
        parser.error("--compare_with reads the test log again: give files that are there")
    if args.compare_with and os.path.realpath(os.path.dirname(args.compare_with)) == os.path.realpath(
            args.model_output_dir):
        parser.error("--compare_with lies in --model_output_dir, whose models this run would remove")
    inputs = [args.train_set_path, args.test_set_path, args.valid_set_path, args.catalogue_path, args.context_set_path]
    from_stdin = sum(paths.count("-") for paths in inputs if paths)
    if from_stdin and world > 1:
        parser.error("several ranks cannot read one standard input (-): give files")
    if from_stdin > 1:
        parser.error("only one log can be standard input (-)")
    earlier, new = ({*map(os.path.realpath, reader.log_files(paths or []))} for paths in
                    (args.context_set_path, args.train_set_path))
    if earlier & new:
        parser.error(f"--context_set_path has {min(earlier & new)}, whose clicks are to be learned: give earlier ones")
    return args


def add_run_arguments(parser):
    """The flags that say what is read and written, how long and how often."""
    add, path, folder, positive = parser.add_argument, utils.path_type, utils.folder_type, utils.number_type(int, 1)
    add("--train_set_path", **utils.PATHS, required=True, help="the training log: files, folders of part files "
        "or patterns (- for standard input)")
    add("--context_set_path", **utils.PATHS, help="a log of earlier clicks, not trained on: what a user, by "
        "id, has clicked there stands in front of the clicks to learn, as when the model serves")
    add("--test_set_path", **utils.PATHS, required=True, help="the test log: its last clicks are predicted")
    add("--valid_set_path", **utils.PATHS, help="log by whose last clicks the best pass is chosen, for "
        "model_best.tar.gz")
    add("--model_output_dir", type=folder, required=True, help="folder for models and metrics, made if missing")
    add("--feature_dict", type=path, required=True, help="feature_dict.pkl of data_processor.py")
    add("--item_freq", type=path, required=True, help="item_freq.pkl of data_processor.py")
    add("--catalogue_path", **utils.PATHS, help="the video-infos that data_processor.py was given: videos that "
        "nobody has clicked on get the vectors of videos with the same tags and category")
    add("--init_model_path", type=path, help="an earlier run's checkpoint.tar.gz, or a model, to go on from: what both "
        "dictionaries know is carried over, with the optimiser's state; --num_passes then count anew")
    add("--init_feature_dict", type=path, help="the feature_dict.pkl of --init_model_path")
    add("--compare_with", type=path, help="an earlier model to compare the new one with, on the same test log, at the "
        "end; model_best.tar.gz is written only then")
    add("--compare_feature_dict", type=path, help="the feature_dict.pkl of --compare_with")
    add("--min_ratio", type=utils.number_type(float, 0), default=0.0, help="with --compare_with: end with exit code 3 "
        "and write no model_best.tar.gz if --select_metric is below this share of the earlier model's, or is 0 "
        "(%(default)s)")
    add("--num_passes", type=positive, default=10, help="passes over the log (%(default)s)")
    add("--patience", type=positive, help="stop after so many passes without a better one on --valid_set_path; "
        "as long as its metric is 0 they do not count")
    add("--select_metric", choices=METRICS, help="by which the best pass is chosen, and compared with baselines "
        "(ndcg@10; seen_kept_ndcg@10 where most last clicks are on videos that the user has clicked before)")
    add("--rules", action=argparse.BooleanOptionalAction, default=True, help="compare with co-occurrence rules as "
        "well, once a run: this takes a while on a large test log; counted in the first --shuffle_lines (%(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoint of a run that was stopped, or that is done, "
        "to more --num_passes; start anew if there is none")
    add("--checkpoint_minutes", type=utils.number_type(float, 0), default=10.0,
        help="time between checkpoints within a pass; there is one after each pass (%(default)s)")
    add("--shuffle_lines", type=positive, default=500_000, help="lines of the training log that are read and shuffled "
        "together; of a longer log no more are in memory, and it is read in each pass (%(default)s)")
    add("--visualdl_dir", type=folder, help="folder for what VisualDL shows: cost, learning rate, metrics, vectors of "
        f"the {SHOWN_VIDEOS} most clicked videos (pip install visualdl; visualdl --logdir=FOLDER)")
    add("--seed", type=utils.number_type(int, 0), default=0, help="of all that is random (%(default)s)")
    utils.add_max_user_clicks(parser)
    utils.add_max_bad_lines(parser)
    utils.add_device(parser)


def add_network_arguments(parser):
    """The flags that say what is trained and how: those that a preset gives values to."""
    add, positive, width = parser.add_argument, utils.number_type(int, 1), utils.number_type(int, 1, utils.MAX_WIDTH)
    switch = argparse.BooleanOptionalAction
    add("--preset", choices=PRESETS, default="classic", help="gives the settings below other defaults, which --help "
        "after it shows: classic is the network of the figure, best recommends best, v0.10 trains as the example of "
        "that paddle did (%(default)s)")
    add("--network", default="DNNmodel", help="a class of network_conf.py (%(default)s)")
    add("--window_size", type=positive, default=20, help="positions an instance looks back on at most (%(default)s)")
    add("--dnn_layer_dims", type=width, nargs=2, default=(256, 31), metavar=("HIDDEN", "USER"),
        help="widths of the two ReLU layers %(default)s")
    add("--lstm_dim", type=width, default=64, help="width of the LSTM (%(default)s)")
    add("--tie_embeddings", action=switch, default=False,
        help="one table for clicked and recommended videos, as wide as the user vector (%(default)s)")
    add("--content", action=switch, default=False, help="a video's vector is its own row + the mean of its tags' and "
        "its category's vectors; they become one when a model is written; needs --tie_embeddings (%(default)s)")
    add("--initial_values", choices=["popularity", "v0.10"], default="popularity",
        help="start as a popularity ranking, or as the v0.10 example did (%(default)s)")
    add("--instances", choices=sorted(INSTANCES), default="window", help="every window on its own, or histories in "
        "overlapping stretches, each click a target once (%(default)s)")
    add("--loss", choices=["nce", "ranking_nce"], default="nce",
        help="noise-contrastive estimation, or its ranking form: a sampled softmax (%(default)s)")
    add("--num_negatives", type=positive, default=5, help="noise samples (%(default)s)")
    add("--shared_negatives", action=switch, default=False,
        help="draw them once a batch, not for each of its instances (%(default)s)")
    add("--batch_size", type=positive, help="instances per step (%(default)s; None: 512, on a log of fewer than 51,200 "
        "clicks as many as make 100 steps a pass, at least 32)")
    add("--optimizer", choices=["adam", "adagrad"], default="adam", help="(%(default)s)")
    add("--learning_rate", type=utils.number_type(float, 0, above=True), default=0.002,
        help="at the start; it falls to a tenth along a cosine (%(default)s)")
    add("--table_rate", type=utils.number_type(float, 0, above=True), default=1.0,
        help="tables learn so many times as fast as the other layers (%(default)s)")
    add("--l2_rate", type=utils.number_type(float, 0), default=0.0,
        help="L2 regularisation of all parameters, with adagrad (%(default)s)")
    add("--user_dropout", type=utils.number_type(float, 0, 1), default=0.5,
        help="share of training stretches whose user id is hidden (%(default)s)")
    add("--history_dropout", type=utils.number_type(float, 0, 1), default=0.05,
        help="share of training stretches of which all but the user id is hidden, which teaches what users like from "
        "their id alone (%(default)s)")
    add("--dropout", type=utils.number_type(float, 0, 0.99), default=0.0,
        help="share of the inputs of the ReLU layers and of the direct path set to 0 in training (%(default)s)")


# ---------------------------------------------------------------- ranks
class Ranks:
    """The processes that train one model: those that `python -m paddle.distributed.launch` started, or this one alone.

    Each has the whole network and makes the same steps; what they exchange is sums of gradients.

    A context manager: whatever ends one rank within it ends all of them, each with the same line. For this
    there is a TCP connection between rank 0 and each other rank beside paddle's collectives, which do not
    tell why another rank has gone, and which wait for 30 seconds only (Gloo). It carries lines of text:
    `here` (see `meet`), `failed REASON`, and `done`, after which it may be closed. A connection that is
    closed without `done` belongs to a process that was killed or has crashed.
    """

    def __init__(self):
        self.world, self.rank = utils.launched()
        self.asked = self._agreed = False  # whether this one, whether any rank is to stop
        self._links, self._threads = {}, []  # of rank 0 to all others, of another rank to rank 0
        self._arrived, self._ending = threading.Semaphore(0), threading.Lock()

    def __enter__(self):
        return self

    def connect(self, device):
        """Meet the other ranks, on this device."""
        if self.world == 1:
            return
        import network_conf
        network_conf.use_device(device)
        # so that a run that has found the variables of an earlier job does not wait without a word
        note(f"waiting for all {self.world} processes (PADDLE_TRAINERS_NUM); this one is rank {self.rank}")
        self._initialize()
        if self.rank:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - results are the first rank's

    def _initialize(self):
        """Set up paddle's process group and the connections beside it."""
        from paddle import distributed
        self._distributed = distributed
        try:
            distributed.init_parallel_env()
            self._link()
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(None, None, f"the other ranks cannot be reached ({utils.said(error)})", "see their logs, "
                             "and open all ports between the hosts") from error

    def _link(self):
        """Connect rank 0 with all others; the port goes through paddle, and a word that only these ranks know."""
        if not self.rank:
            server = socket.create_server(("", 0), backlog=self.world)
            server.settimeout(CONNECT_SECONDS)
        box = [None if self.rank else (server.getsockname()[1], secrets.token_hex())]
        self._distributed.broadcast_object_list(box, 0)
        port, word = box[0]
        if self.rank:
            link = socket.create_connection((host_of_first_rank(), port), CONNECT_SECONDS)
            link.sendall(f"{word} {self.rank}\n".encode())
            self._attach(0, link, link.makefile("rb"))
        while len(self._links) < (1 if self.rank else self.world - 1):
            link, _ = server.accept()
            link.settimeout(CONNECT_SECONDS)
            stream = link.makefile("rb")
            given, _, rank = stream.readline(100).strip().partition(b" ")
            if given == word.encode():
                self._attach(int(rank), link, stream)

    def _attach(self, rank, link, stream):
        """From now on listen to another rank."""
        link.settimeout(None)
        self._links[rank] = link
        self._threads.append(threading.Thread(target=self._listen, args=(rank, stream), daemon=True))
        self._threads[-1].start()

    def _listen(self, rank, stream):
        """Read what another rank has to tell, in a thread of its own."""
        reason = f"rank {rank} is gone: killed, or crashed; see its log; --resume goes on"
        with contextlib.suppress(OSError):  # the connection is reset: that rank is gone
            for line in stream:
                kind, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
                if kind == "done":
                    return
                if kind == "failed":
                    reason = text
                    break
                self._arrived.release()
        if self._ending.acquire(blocking=False):  # never released: this process ends here
            note(reason)
            self._tell(f"failed {reason}")
            self._wait_for_others()
            utils.exit_at_once(2)

    def _tell(self, line):
        for link in self._links.values():
            with contextlib.suppress(OSError):
                link.sendall(f"{line}\n".encode())

    def _wait_for_others(self):
        """Until they have closed their connections, for some seconds: a launcher ends them if this one ends first."""
        until = time.monotonic() + FAREWELL_SECONDS
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0, until - time.monotonic()))

    def __exit__(self, kind, error, _):
        if self.world == 1:
            return
        failed = error is not None and not (kind is SystemExit and error.code != 2)  # 2: of argparse
        if failed and not self._links:  # not connected yet: the others wait
            with contextlib.suppress(InputError):
                self._initialize()
        self._ending.acquire()  # another rank may have ended this one already
        if not failed:
            self._tell("done")
            for link in self._links.values():
                with contextlib.suppress(OSError):  # closed by the other
                    link.shutdown(socket.SHUT_RDWR)  # our thread ends too, before the interpreter does
            self._wait_for_others()
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of the launcher, as soon as another rank has ended
        found, reason = utils.user_error(error), f"{kind.__name__}: {utils.said(error)}"
        if found:
            found = found.within(f"rank {self.rank}")
            reason = str(found)
        else:
            reason = f"rank {self.rank}: {'interrupted' if kind is KeyboardInterrupt else reason}; see its log"
        self._tell("failed " + " ".join(reason.split()))
        self._wait_for_others()
        if found:
            raise found from error

    def meet(self):
        """Wait until all ranks are here, however long that takes."""
        if self.rank:
            self._tell("here")
        for _ in self._links:
            self._arrived.acquire()
        if not self.rank:
            self._tell("here")

    def _call(self, collective, *arguments):
        self.meet()
        try:
            collective(*arguments)
        except RuntimeError as error:
            time.sleep(FAREWELL_SECONDS)  # if a rank is gone its connection tells, and ends this process
            raise InputError(None, None, f"another rank is gone or cannot be reached ({utils.said(error)[-80:]})",
                             "see its log; --resume goes on") from error

    @property
    def stop(self):
        """Whether a rank is to stop, as all of them have learned from the last `add_up`: they leave together."""
        return self.asked if self.world == 1 else self._agreed

    def add_up(self, cost, tensors):
        """Sums over all ranks of a number and of some tensors, in one exchange; tells them if one is asked to stop."""
        if self.world == 1:
            return cost, tensors
        import paddle
        flat = paddle.concat([*(tensor.flatten() for tensor in tensors),
                              paddle.to_tensor([cost, self.asked], paddle.float32)])
        self._call(self._distributed.all_reduce, flat)
        *sums, (cost, stop) = paddle.split(flat, [*(tensor.size for tensor in tensors), 2])
        self._agreed = float(stop) > 0
        return float(cost), [total.reshape(tensor.shape) for total, tensor in zip(sums, tensors)]

    def gather(self, value):
        """What each rank has, a list in their order."""
        if self.world == 1:
            return [value]
        found = []
        self._call(self._distributed.all_gather_object, found, value)
        return found

    def of_first(self, make):
        """What `make()` gives the first rank."""
        box = [None if self.rank else make()]
        if self.world > 1:
            self._call(self._distributed.broadcast_object_list, box, 0)
        return box[0]

    def share(self, network):
        """Give all ranks the parameters of the first: processors may have come to other initial values."""
        if self.world > 1:
            for parameter in network.parameters():
                self._call(self._distributed.broadcast, parameter, 0)

    def run_on(self, pool):
        """A function like `pool.map` that spreads the work over the ranks too."""
        def run(work, items):
            items = list(items)
            found = self.gather(list(pool.map(work, items[self.rank::self.world])))
            return [found[place % self.world][place // self.world] for place in range(len(items))]
        return run


def host_of_first_rank():
    """The address at which paddle too looks for rank 0."""
    given = filter(None, map(os.environ.get, ("MASTER_ADDR", "PADDLE_MASTER", "PADDLE_TRAINER_ENDPOINTS")))
    return next(given).split(",")[0].partition(":")[0]


# ---------------------------------------------------------------- steps
class Trainer:
    """Takes training steps: threads compute parts of a batch, their gradients are added, one update follows.

    The parts, all that is random in them and the order of the sums do not depend on which thread is first. Several
    `ranks` compute parts of their own; each makes the whole update, so that their parameters stay equal.
    Two threads must not add to the gradient of one tensor: each part has leaves of the rows that were looked
    up, and a copy of the dense layers.
    """

    def __init__(self, args, network, item_freq, steps, ranks=None):
        import network_conf as conf

        from paddle import optimizer
        self._args, self.network, self._copies, self.ranks = args, network, [network], ranks or Ranks()
        self._noise, self._loss = conf.NoiseSampler(item_freq), conf.LOSSES[args.loss]
        self.pool = ThreadPoolExecutor(args.threads)
        self.rate = optimizer.lr.CosineAnnealingDecay(args.learning_rate, steps, FINAL_RATE * args.learning_rate)
        groups = [[], []]  # for two threads: the largest table is as much work as all the rest
        for name, parameter in network.named().items():
            parameter.optimize_attr["learning_rate"] = args.table_rate if name in network.tables() else 1.0
            parameter.name = name  # by which an optimiser writes down its state
            groups[name == conf.VIDEO_TABLE].append(parameter)
        if args.optimizer == "adam":
            self._optimizers = [optimizer.Adam(self.rate, parameters=group, lazy_mode=True) for group in groups]
        else:
            self._optimizers = [optimizer.Adagrad(self.rate, parameters=group, weight_decay=args.l2_rate or None)
                                for group in groups]

    def prepare(self, log, stretches, rng, user_dropout=0.0, history_dropout=0.0):
        """A batch of some stretches: hides shares of them, draws noise, cuts it into parts, finds distinct ids.

        All of it is drawn for the whole batch, so that the number of parts changes nothing. All ranks do this alike,
        so that they need not tell each other what a batch is made of.

        Returns
        -------
        targets : int, of the whole batch.    distinct : {table: ids that it needs}, of all ranks.
        parts : list of {name: array}, what this rank's threads compute.
        rngs : a generator for the dropout of each of these parts.
        """
        args, lines, targets, world = self._args, len(stretches.line), int(stretches.targets.sum()), self.ranks.world
        workers = args.threads * world
        rounds = max(1, math.ceil(lines / (workers * LARGEST_PART)))
        count = min(rounds * workers, lines)  # as many parts for each of them
        # of some all but the user id is hidden, which trains the ids alone, by which infer_user.py mines; of others the
        # id, which trains `<unk>` for whoever is new, and keeps the network from leaning on the id alone
        bare = rng.random(lines) < history_dropout
        nobody = (rng.random(lines) < user_dropout) & ~bare
        noise = self._noise.draw(args.num_negatives if args.shared_negatives else (targets, args.num_negatives), rng)
        parts, done = [], 0
        for chosen in np.array_split(np.arange(lines), count):
            part = reader.make_batch(log, stretches.take(chosen), bare=bare[chosen])
            part["user_id"][nobody[chosen]] = 0
            part["negatives"] = noise if args.shared_negatives else noise[done:done + len(part["target"])]
            done += len(part["target"])
            parts.append(part)
        distinct = reader.share_rows(parts, self.network.table_ids())
        distinct["nce_b"] = distinct[self.network.output_table()]
        for part in parts:
            part["log_noise"] = self._noise.log_probability[distinct["nce_b"], None]
        ours = slice(self.ranks.rank, None, world)
        return targets, distinct, parts[ours], rng.spawn(count)[ours]

    def cost(self, targets, distinct, parts, rngs, train=False):
        """Mean cost of the targets of a batch (`prepare`); with `train` gradients of all parameters are left behind."""
        from network_conf import tensors

        import paddle
        while len(self._copies) < len(parts):
            self._copies.append(self.network.replica())
        networks = self._copies[:max(1, len(parts))]
        for each in networks:
            if train:
                each.train()
            else:
                each.eval()
        dense = list(zip(*(each.dense_parameters() for each in networks)))  # (ours, copies ...) of each
        for ours, *copies in dense:
            for copy in copies:
                copy.copy_(ours, True)
        with paddle.set_grad_enabled(train):
            rows = self.network.look_up(distinct)
        leaves = [{name: value.detach() for name, value in rows.items()} for _ in networks]

        def part_cost(network, leaf, part, rng):
            """Cost of a part; its gradients are left in the leaves and in this copy's dense layers."""
            for value in leaf.values():
                value.stop_gradient = not train
            with paddle.set_grad_enabled(train):
                part = tensors(part)
                users = network(leaf, part, rng if train else None)
                cost = network.output_layer(users, leaf, part, self._loss).sum() / targets
                if train:
                    cost.backward()
            return float(cost)
        cost = sum(self.pool.map(part_cost, networks, leaves, parts, rngs))
        if not train:
            return self.ranks.add_up(cost, [])[0]
        sums = [sum_of_gradients([leaf[name] for leaf in leaves]) for name in rows] + [*map(sum_of_gradients, dense)]
        cost, sums = self.ranks.add_up(cost, sums)
        paddle.autograd.backward(list(rows.values()), sums[:len(rows)])
        for (parameter, *copies), gradient in zip(dense, sums[len(rows):]):
            parameter.grad = gradient
            for copy in copies:
                copy.clear_gradient(set_to_zero=False)
        return cost

    def step(self, *batch):
        """Train on a batch (`prepare`); returns the mean cost of its targets."""
        cost = self.cost(*batch, train=True)
        list(self.pool.map(lambda optimizer: optimizer.step(), self._optimizers))
        for optimizer in self._optimizers:
            optimizer.clear_grad(set_to_zero=False)
        self.rate.step()
        return cost

    def state(self):
        """({name: array}, rate): all that training changes, and the videos' attributes, to be written down."""
        arrays = self.network.arrays()
        for optimizer in self._optimizers:
            arrays.update({name: value for name, value in optimizer.state_dict().items()
                           if name != "LR_Scheduler"})
        if self.network.attributes:
            arrays["attribute_ids"], arrays["attribute_offsets"] = self.network.attributes
        return arrays, self.rate.state_dict()

    def restore(self, arrays, rate):
        """Go on from what `state` gave."""
        import paddle
        self.network.set_arrays(arrays)
        if "attribute_ids" in arrays:
            self.network.attributes = reader.Content(arrays["attribute_ids"], arrays["attribute_offsets"])
        if not any("_moment" in name for name in arrays):
            return  # a model's archive has parameters alone
        state = {name: paddle.to_tensor(value) for name, value in arrays.items()}
        for optimizer in self._optimizers:
            optimizer.set_state_dict({**state, "LR_Scheduler": rate})


def sum_of_gradients(tensors):
    """Sum, in order, of the gradients of tensors of one shape; zeros if none has one."""
    import paddle
    gradients = [each.grad for each in tensors if each.grad is not None]
    return sum(gradients[1:], gradients[0]) if gradients else paddle.zeros_like(tensors[0])


# ---------------------------------------------------------------- checkpoints
class Run:
    """Where a run stands: written down now and then, in model_output_dir/checkpoint.tar.gz, for --resume.

    `rows` are those of metrics.jsonl; `batches`, `total` and `seconds` tell how far the pass is, the sum of its costs,
    and the time it took.
    """

    def __init__(self, args, identity, item_freq, ranks):
        self._folder, self._identity = args.model_output_dir, identity
        self._path = os.path.join(self._folder, "checkpoint.tar.gz")
        self._between, self._written, self._took = 60 * args.checkpoint_minutes, time.monotonic(), 0.0
        self._ranks, self._signal, self.rows = ranks, signal.SIGTERM, []
        self._item_freq = np.asarray(item_freq, np.float32)  # for a run that begins where this one ends
        self.batches, self.total, self.seconds = 0, 0.0, 0.0
        self.board = Dashboard(args, ranks.rank)

    def catch_signals(self):
        """From now on SIGTERM and Ctrl-C wait for the end of a step, then leave a checkpoint; a second Ctrl-C kills.

        A second SIGTERM does not: paddle's launcher sends some, a fifth of a second apart.
        """
        def stop(number, _):
            self._ranks.asked, self._signal = True, signal.Signals(number)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def end_pass(self, trainer):
        """A pass is done, its row among the `rows`."""
        self.batches, self.total, self.seconds = 0, 0.0, 0.0
        self.write(trainer)
        self._tidy()
        self.stop_if_asked()

    def _tidy(self):
        """Make the folder what the checkpoint says; only now are the models of an earlier run of no use any more."""
        if self.rows and not self._ranks.rank:
            write_metrics(self._folder, self.rows)
            remove_earlier_models(self._folder, self.rows)

    def after_step(self, trainer):
        """Write it if the last one is old, and they do not take more than 5% of the time; stop if asked to."""
        if self._ranks.stop or time.monotonic() - self._written > max(self._between, 20 * self._took):
            self.write(trainer)
        self.stop_if_asked()

    def stop_if_asked(self):
        """Leave, if a signal has come."""
        if self._ranks.stop:
            note(f"stopped by {self._signal.name}; --resume goes on")
            sys.exit(128 + self._signal)

    def write(self, trainer):
        """Write the checkpoint."""
        if self._ranks.rank:
            return
        started = time.monotonic()
        arrays, rate = trainer.state()
        arrays["item_freq"] = self._item_freq
        utils.write_archive(self._path, {"identity": self._identity, "rows": self.rows, "batches": self.batches,
                                         "total": self.total, "seconds": self.seconds, "rate": rate}, arrays)
        self._written = time.monotonic()
        self._took = self._written - started

    def read(self, trainer):
        """Go on from the last one; False if there is none."""
        mend = "restore it, or train into another --model_output_dir"
        told, arrays = self._ranks.of_first(lambda: utils.read_archive(self._path, mend) if os.path.exists(self._path)
                                            else (None, None))
        if told is None:
            return False
        before, now = told.get("identity"), self._identity
        before = before if isinstance(before, dict) else {}
        other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if other:  # a setting that there was not yet is one that was not given
            raise InputError(self._path, None, f"made by a run with another {', '.join(other)}", "give the "
                             "settings it was made with, or another --model_output_dir")
        try:
            trainer.restore(arrays, told["rate"])
            self.rows, self.batches, self.total, self.seconds = (
                told[name] for name in ("rows", "batches", "total", "seconds"))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(self._path, None, f"damaged ({utils.said(error)})", mend) from error
        self._tidy()
        return True


# ---------------------------------------------------------------- what VisualDL shows
class Dashboard:
    """What VisualDL shows of a run, in --visualdl_dir; without it, and on other ranks, nothing is written."""

    def __init__(self, args, rank):
        self._writer = None
        if args.visualdl_dir and not rank:
            utils.ensure_home(".visualdl")  # written by the import
            try:
                from visualdl import LogWriter
            except ImportError as error:
                raise InputError("--visualdl_dir", None, f"no VisualDL ({utils.said(error)})",
                                 "pip install visualdl") from error
            os.makedirs(args.visualdl_dir, exist_ok=True)  # which it would not say if it cannot
            self._writer = LogWriter(args.visualdl_dir)

    def curves(self, step, values):
        """A point, at `step`, of the curve of each of the {name: number}."""
        for name, value in values.items() if self._writer else ():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(name.replace("@", "_at_"), value, step)

    def videos(self, feature_dict, log, network):
        """The most clicked videos with the categories that a log gives them; the end of what is shown."""
        if self._writer:
            videos, categories = (np.array(list(feature_dict[name])) for name in (ITEMS, CATEGORIES))
            categories, shown = categories[log.categories(len(videos))], slice(1, SHOWN_VIDEOS + 1)
            self._writer.add_embeddings("videos", network.folded()["nce_w"][shown].tolist(), [
                videos[shown].tolist(), categories[shown].tolist()], ["video", "category"])
            self._writer.close()


# ---------------------------------------------------------------- an earlier run's end
def start_warm(args, trainer, feature_dict, item_freq):
    """Begin where the run of --init_model_path ended: by names, since its dictionary is another one."""
    from network_conf import VIDEO_TABLE, carry_over, earlier_ids
    path, mend = args.init_model_path, "give a checkpoint.tar.gz, with moments, or a model_*.tar.gz of train.py"
    told, before = trainer.ranks.of_first(lambda: utils.read_archive(path, mend))
    earlier, before_freq = utils.load_feature_dict(args.init_feature_dict), before.pop("item_freq", np.zeros(0))
    identity = told.get("identity", told)
    if not isinstance(identity, dict) or (
            identity.get("dictionary_fingerprint") != utils.dictionary_fingerprint(earlier)):
        raise InputError(path, None, "trained with another dictionary than --init_feature_dict", "give its own")
    if identity.get("optimizer") != args.optimizer:  # its state is of no use to this one
        before = {name: value for name, value in before.items() if not re.search("_moment|_pow_acc", name)}
    try:
        if identity.get("network") not in (None, args.network):
            raise ValueError(f"its --network is {identity['network']:.60}")
        if before_freq.shape != (len(earlier[ITEMS]),):
            raise ValueError("item_freq has another shape")
        attributes = trainer.network.attributes
        if "attribute_ids" in before:
            known = reader.Content(before.pop("attribute_ids"), before.pop("attribute_offsets"))
            ids = earlier_ids(earlier, feature_dict)
            attributes = attributes.completed(known, ids[VIDEO_TABLE], ids["content"], len(feature_dict[TAGS]))
        initial, rate = trainer.state()  # the rate falls from its start again
        carried = carry_over(initial, before, (earlier, feature_dict), (before_freq, item_freq), attributes)
        trainer.restore({**carried, "attribute_ids": attributes.ids, "attribute_offsets": attributes.offsets}, rate)
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(path, None, f"of a network that is not like this one ({utils.said(error)})", "train with its "
                         "settings; with --content give its checkpoint.tar.gz") from error
    known = {feature: len(earlier[feature].keys() & values.keys()) - 1 for feature, values in feature_dict.items()}
    note(f"{path}: went on with " + ", ".join(f"{count} of {len(feature_dict[feature]) - 1} {feature}"
                                              for feature, count in known.items()))


# ---------------------------------------------------------------- passes
def train_pass(args, trainer, run, training, rng):
    """One pass over all instances in random order, from where the run stands; returns their mean cost."""
    done, started, steps = 0, time.perf_counter(), sum(training.steps(args.batch_size))
    with utils.Progress(f"pass {len(run.rows):05d}", training.clicks, not trainer.ranks.rank) as bar:
        for number, (log, part, generator) in enumerate(training.batches(args.batch_size, rng)):
            done += int(part.targets.sum())
            if number < run.batches:
                started = time.perf_counter()
                continue  # taken before the run was stopped
            targets, *batch = trainer.prepare(log, part, generator, args.user_dropout, args.history_dropout)
            cost = trainer.step(targets, *batch)
            run.batches, run.total = number + 1, run.total + cost * targets
            run.seconds += time.perf_counter() - started
            if not math.isfinite(cost):
                raise InputError("training", None, f"the cost became {cost} at instance {done}", EXPLODED)
            bar.at(done, f"cost {run.total / done:.4f}")
            if not number % SHOWN_STEPS:
                run.board.curves(len(run.rows) * steps + number, {"cost": cost, "learning_rate": trainer.rate.get_lr()})
            run.after_step(trainer)
            started = time.perf_counter()
    arrays = trainer.network.arrays().values()
    if not all(np.isfinite(value).all() for value in arrays):
        raise InputError("training", None, "a parameter became infinite", EXPLODED)
    if trainer.ranks.world > 1 and len(set(trainer.ranks.gather(utils.fingerprint(*arrays)))) > 1:
        raise InputError("training", None, "the ranks have come to different parameters", "run them on processors of "
                         "one kind")
    return run.total / training.clicks


def evaluate(args, trainer, log):
    """{metric: value} on the last clicks of a log: cost, ranking metrics, signs of a network that has collapsed."""
    arrays = trainer.network.folded()
    trainer.network.eval()
    metrics, _ = evaluate_model(trainer.network, TopN(arrays["nce_w"], arrays["nce_b"]), log,
                                trainer.ranks.run_on(trainer.pool))
    known, total = np.flatnonzero(log.last_item > 0), 0.0
    windows = reader.next_click_windows(log.before_last(), args.window_size)
    rng = np.random.default_rng(args.seed)  # always the same noise: costs of two passes differ by what was learned
    for start in range(0, len(known), args.batch_size):
        targets, *batch = trainer.prepare(log, windows.take(known[start:start + args.batch_size]), rng)
        total += trainer.cost(targets, *batch) * targets
    return {"test_cost": total / len(known) if len(known) else None, **metrics}


def baseline_metrics(args, training, test, item_freq, run):
    """{baseline_metric: value} on the last clicks of the test log, of what a network has to beat."""
    rankings = {"popularity_": popularity(item_freq)}
    if args.rules:
        rankings["rules_"] = Rules(training.first, item_freq).ranking_of(test)
    return {baseline + name: value for baseline, ranked in rankings.items()
            for name, value in evaluate_ranking(ranked, test, len(item_freq) - 1, run)[0].items()}


def pass_line(row):
    """The line of a pass for people; metrics.jsonl has all of it."""
    cost = "none" if row["test_cost"] is None else f"{row['test_cost']:.4f}"
    metrics = "  ".join(f"{name} {row[name]:.4f} (" + ", ".join(
        f"{baseline} {row[f'{baseline}_{name}']:.4f}" for baseline in BASELINES if f"{baseline}_{name}" in row) + ")"
        for name in ("recall@10", "ndcg@10", "recall@50"))
    return (f"pass {row['pass']:05d}  cost {row['cost']:.4f}  test_cost {cost}  {metrics}  "
            f"coverage@10 {row['coverage@10']:.4f}  {row['seconds']:.1f} s  "
            f"{row['instances_per_second']:.0f} instances/s")


def tell(line):
    """A result on stdout; training goes on when nobody reads it any more."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def finish_pass(args, trainer, item_freq, test, valid, row, rows):
    """Evaluate what a pass has given; its `row` joins the others. The first rank saves the model and metrics.jsonl.

    Nothing is removed here that --resume may need: all of this is done again if the process is killed before the
    checkpoint that has this row is written (`Run.end_pass`).
    """
    from network_conf import save_model

    def save(name):
        save_model(os.path.join(args.model_output_dir, name), trainer.network, item_freq)
    row.update(evaluate(args, trainer, test))
    if valid:
        row.update({"valid_" + name: value for name, value in evaluate(args, trainer, valid).items()})
    rows.append(row)
    if trainer.ranks.rank:
        return
    save(f"model_pass_{row['pass']:05d}.tar.gz")
    if best_of(args, rows) is row and not args.compare_with:
        save("model_best.tar.gz")
    elif len(rows) == 1:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(args.model_output_dir, "model_best.tar.gz"))
            note("removed model_best.tar.gz of an earlier run")
    write_metrics(args.model_output_dir, rows)
    tell(pass_line(row))
    users, units = int((test.last_item >= 0).sum()), args.dnn_layer_dims[1]
    if users >= FEW_USERS and (row["distinct_users"] == 1 or row["live_units"] < units / 4):
        note(f"warning: the network collapses: {row['distinct_users']} different vectors for {users} test users, "
             f"{row['live_units']} of {units} units of the user vector alive; train it with a lower --learning_rate")


def write_metrics(folder, rows):
    """Write metrics.jsonl, unless it has these rows already."""
    path, text = os.path.join(folder, "metrics.jsonl"), "".join(json.dumps(row) + "\n" for row in rows)
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        if stream.read() == text.encode():
            return
    with utils.atomic_write(path) as stream:
        stream.write(text.encode())


def remove_earlier_models(folder, rows):
    """Remove the models of passes that are not among the rows: an earlier run has left them."""
    written = {f"model_pass_{row['pass']:05d}.tar.gz" for row in rows}
    left = [name for name in os.listdir(folder)
            if name not in written and re.fullmatch(r"model_pass_\d{5}\.tar\.gz", name)]
    for name in left:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    if left:
        note(f"removed {len(left)} models of an earlier run")


def best_of(args, rows):
    """The first of the rows with the best --select_metric on the validation log; None if there is no such log.

    As long as the metric is 0 it says nothing: then it is the last of them, and --patience does not count.
    """
    name = "valid_" + args.select_metric

    def rank(row):
        return (row[name], -row["pass"]) if row[name] else (0, row["pass"])
    return max((row for row in rows if name in row), key=rank, default=None)


def out_of_patience(args, rows):
    """Whether --patience is given and the best pass lies that many passes back."""
    return bool(args.patience and rows) and rows[-1]["pass"] - best_of(args, rows)["pass"] >= args.patience


def run_passes(args, trainer, item_freq, training, test, valid, run, reading):
    """All passes that are left: train, evaluate, save, print; `reading` took that many seconds of the first.

    Returns the row of the best pass by the validation log, of the last one without.
    """
    rows = run.rows
    baselines = baseline_metrics(args, training, test, item_freq, trainer.ranks.run_on(trainer.pool))
    if len(rows) >= args.num_passes:
        note(f"all {args.num_passes} passes are done; a larger --num_passes goes on")
    run.catch_signals()
    while len(rows) < args.num_passes and not out_of_patience(args, rows):
        rng = np.random.default_rng(np.random.SeedSequence(args.seed, spawn_key=(len(rows),)))  # of this pass
        cost = train_pass(args, trainer, run, training, rng)
        seconds = run.seconds + (0 if rows else reading)
        row = {"pass": len(rows), "cost": cost, "instances": training.clicks, "seconds": seconds,
               "instances_per_second": training.clicks / seconds, **baselines}
        finish_pass(args, trainer, item_freq, test, valid, row, rows)
        run.board.curves(row["pass"], {f"pass/{name}": value for name, value in row.items()})
        run.end_pass(trainer)
    best, name = best_of(args, rows), args.select_metric
    if out_of_patience(args, rows):
        note(f"no better valid_{name} for {args.patience} passes: stopped")
    if best:
        saved = "" if args.compare_with else ", saved as model_best.tar.gz"
        tell(f"best pass by valid_{name}{saved}: {pass_line(best)}")
        if not best["valid_" + name]:
            note(f"warning: valid_{name} is 0 in every pass: the last one counts as the best; give a larger "
                 "--valid_set_path, or another --select_metric")
    for baseline in BASELINES:
        if (best or rows[-1])[name] <= baselines.get(f"{baseline}_{name}", -1):
            note(f"warning: by {name} this model ranks no better than {baseline}; train it longer"
                 + (", or with --preset=best" if args.preset != "best" else ""))
    return best or rows[-1]


# ---------------------------------------------------------------- the model of before
def served(args, model_path, dictionary_path):
    """(metrics, names of videos, lists of ten of them, share of unknown clicks, of unknown users) on the test log."""
    side = argparse.Namespace(model_path=model_path, feature_dict=dictionary_path, device=args.device)
    told, parameters, _, feature_dict = load_model(side)
    network = start_network(side, told, parameters)
    [(log, clicks)] = reader.Reader(feature_dict).blocks(args.test_set_path, reader.BadLines(args.max_bad_lines, True))
    with ThreadPoolExecutor(args.threads) as pool:
        metrics, ids = evaluate_model(network, TopN(parameters["nce_w"], parameters["nce_b"]), log, pool.map)
    names = np.array(list(feature_dict[ITEMS]), object)
    return metrics, names, names[ids], 1 - len(log.clicks) / max(clicks, 1), (log.profile[:, 0] == 0).mean()


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
    for name in dict.fromkeys([args.select_metric, "recall@10", "ndcg@10", "recall@50", "coverage@10"]):
        tell(f"{name}: {before[name]:.4f} before, {now[name]:.4f} now")
    tell(f"top 10: {changed_share(old_lists, lists):.1%} of the videos are others")
    tell(f"videos: {len({*names} - {*old_names})} gained, {len({*old_names} - {*names})} lost")
    for what, old, new in zip(("clicks", "users"), old_unknown, unknown):
        tell(f"unknown {what}: {old:.1%} before, {new:.1%} now")
    metric = args.select_metric
    reason = refusal(before[metric], now[metric], args.min_ratio, args.compare_with)
    if reason:
        note(f"{metric} {reason}: not published")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(best)  # of the passes before a --resume
        sys.exit(3)
    with open(path, "rb") as model, utils.atomic_write(best) as stream:
        shutil.copyfileobj(model, stream)


# ---------------------------------------------------------------- the run
def encode_logs(args, feature_dict):
    """(TrainingLog, test log, validation log or None, seconds of reading the first); InputError if one has no use."""
    bad_lines, started = reader.BadLines(args.max_bad_lines), time.perf_counter()
    cut = functools.partial(INSTANCES[args.instances], window_size=args.window_size)
    encoder = reader.Reader(feature_dict, bad_lines)
    encoder.learn(reader.read_catalogue(args.catalogue_path or []))
    if args.context_set_path:
        encoder.look_back(args.context_set_path, args.window_size)
    training = reader.TrainingLog(encoder, args.train_set_path, args.shuffle_lines, cut, args.max_user_clicks)
    seconds, others = time.perf_counter() - started, []
    if not training.clicks:
        raise InputError(" ".join(args.train_set_path), None, "no click on a video of the dictionary",
                         "give the log that feature_dict.pkl was made from")
    for path in (args.test_set_path, args.valid_set_path):
        others += reader.Reader(feature_dict, bad_lines).encode(path) if path else [None]
        if path and not (others[-1].last_item >= 0).any():
            raise InputError(" ".join(path), None, "no line with a click", "give users with a history")
    return (training, *others, seconds)


def settle(args, clicks, held_out):
    """Give the settings that follow the logs their values."""
    again = [held_out.last_item[line] in held_out.items(line, count) for line, count in
             enumerate(held_out.before_last()) if held_out.last_item[line] >= 0]
    args.select_metric = args.select_metric or ("seen_kept_" if np.mean(again) > 0.5 else "") + "ndcg@10"
    args.batch_size = args.batch_size or min(512, max(32, clicks // 100))


def shared_lines(training: reader.EncodedLog, held_out: reader.EncodedLog) -> tuple[int, int]:
    """How many lines of a held-out log are in the training log as well: same user, same clicks on known videos.

    Returns
    -------
    shared, compared : lines that are in both, and lines that were looked at: those with a known last click whose user
        has an id, or at least ANONYMOUS_CLICKS clicks.
    """
    def keys(log, lines):
        for line in lines:
            user, clicks = log.users[line], log.items(line)[log.context[line]:]
            if user not in NO_VALUE or len(clicks) >= ANONYMOUS_CLICKS:
                yield user, clicks.tobytes()

    wanted = Counter(keys(held_out, np.flatnonzero(held_out.last_item > 0)))
    users = {user for user, _ in wanted}
    found = set(keys(training, (line for line, user in enumerate(training.users) if user in users)))
    return sum(count for key, count in wanted.items() if key in found), sum(wanted.values())


def warn_of_held_out(args, training, name, paths, log):
    """Say on stderr if metrics on a test or validation log (its `name`) will say little."""
    path, lines, known = reader.named(paths), (log.last_item >= 0).sum(), (log.last_item > 0).sum()
    both = {*map(os.path.realpath, reader.log_files(paths))}
    both &= {*map(os.path.realpath, reader.log_files(args.train_set_path))}
    shared, compared = shared_lines(training.first, log)
    expected = compared * len(training.first.users) / training.lines  # if all of them were in the training log
    if both or shared > expected / 2:
        reason = f"{min(both)} is in the training log" if both else f"most lines of {path} are in the training log"
        note(f"warning: {reason}: the metrics on the {name} log are of clicks that were trained on, and say nothing "
             "about new ones; give a log whose last clicks are not in --train_set_path")
    if lines < FEW_USERS:
        note(f"warning: {path}: {lines} lines with a click are too few to compare passes or models by")
    if known <= lines / 2:
        note(f"warning: {path}: {lines - known} of {lines} last clicks are on videos that the dictionary does not know "
             "and count as misses; make the dictionary from a newer log, or with a lower --feat_appear_limit")


def make_network(args, feature_dict, item_freq):
    """A network of --network, with its initial parameters."""
    import network_conf

    import paddle
    try:
        network_class = network_conf.network_class(args.network)
    except ValueError as error:
        raise InputError("--network", None, str(error), "write it there, or name one of these") from error
    dims = {**network_class.embedding_dims, **({ITEMS: args.dnn_layer_dims[1]} if args.tie_embeddings else {})}
    if not {*CLICK_FEATURES} < dims.keys() <= {*FEATURES} or max(dims.values()) > utils.MAX_WIDTH:
        raise InputError("--network", None, f"embedding_dims of {args.network} lacks a feature of clicks or all of the "
                         f"profile, or has one that the log has not, or a width above {utils.MAX_WIDTH}",
                         "see LOG_COLUMNS and PROFILE_FEATURES in utils.py")
    config = network_conf.ModelConfig(
        {name: len(feature_dict[name]) for name in FEATURES}, dims, utils.dictionary_fingerprint(feature_dict),
        args.window_size, tuple(args.dnn_layer_dims), args.lstm_dim, args.tie_embeddings, args.network, args.content)
    paddle.seed(args.seed)  # of the initial values; all else is drawn by numpy
    network = network_class(config, dropout=args.dropout)
    strange = network.tables().keys() - network.table_ids().keys() - {"nce_b", "content"}
    if strange:  # their gradients would be added by two threads at once
        raise InputError("--network", None, f"{', '.join(sorted(strange))}: an Embedding of its own", "add it to "
                         "embedding_dims, or make it a parameter")
    network_conf.initialize(network, item_freq, args.initial_values)
    return network


def main(argv=None):
    """Train as the command line says: alone, or as one of several ranks."""
    with Ranks() as ranks:
        args = parse_args(argv)
        ranks.connect(args.device)
        folder = contextlib.nullcontext() if ranks.rank else utils.output_folder(args.model_output_dir, OUTPUT_FILES)
        with folder:
            train(args, ranks)


def train(args, ranks):
    """Read, train, report each pass."""
    feature_dict = utils.load_feature_dict(args.feature_dict)
    item_freq = utils.load_item_freq(args.item_freq, feature_dict)
    training, test, valid, reading = encode_logs(args, feature_dict)
    settle(args, training.clicks, valid or test)
    for name, paths, log in (("test", args.test_set_path, test), ("validation", args.valid_set_path, valid)):
        if log:
            warn_of_held_out(args, training, name, paths, log)
    import network_conf

    import paddle
    network_conf.use_device(args.device)
    before = None  # what the earlier model serves; what is wrong with it is told now, not when all passes are done
    if args.compare_with and not ranks.rank:
        before = served(args, args.compare_with, args.compare_feature_dict)
    network = make_network(args, feature_dict, item_freq)
    network.attributes = training.content(len(feature_dict[ITEMS]), len(feature_dict[TAGS]))
    if args.catalogue_path:
        network.unclicked = np.array(item_freq) == 0
        network.unclicked[0] = False  # <unk> is no video
    shown = {**vars(args), **network.config._asdict(), "lines": training.lines, "clicks": training.clicks,
             "ranks": ranks.world, "device": paddle.device.get_device(), "paddle": paddle.__version__}
    with contextlib.suppress(OSError):
        print("\n".join(f"{name}: {value}" for name, value in shown.items()), file=sys.stderr, flush=True)
    steps = sum(training.steps(args.batch_size))  # a pass
    trainer = Trainer(args, network, item_freq, args.num_passes * steps, ranks)
    settings = {name: value for name, value in vars(args).items() if name not in FREE_TO_CHANGE}
    settings.update({name: bool(settings[name]) for name in ("init_model_path", "catalogue_path")})  # may have moved
    files = {name: log.fingerprint() for name, log in
             (("training log or --context_set_path", training), ("test log", test), ("validation log", valid)) if log}
    identity = {**settings, **network.config._asdict(), **files, "item_freq": utils.fingerprint(item_freq)}
    given = [json.loads(each) for each in ranks.gather(json.dumps(identity))]
    differing = sorted(name for name in set().union(*given) if len({json.dumps(each.get(name)) for each in given}) > 1)
    if differing:
        raise InputError("training", None, f"the ranks have different logs or settings ({', '.join(differing)})",
                         "give all the same")
    run = Run(args, json.loads(json.dumps(identity)), item_freq, ranks)  # as it will be read: tuples are lists there
    if not (args.resume and run.read(trainer)) and args.init_model_path:
        start_warm(args, trainer, feature_dict, item_freq)
    ranks.share(network)
    chosen = run_passes(args, trainer, item_freq, training, test, valid, run, reading)
    run.board.videos(feature_dict, training, network)
    if before:
        publish(args, before, os.path.join(args.model_output_dir, f"model_pass_{chosen['pass']:05d}.tar.gz"))


if __name__ == "__main__":
    utils.run_script(main)
