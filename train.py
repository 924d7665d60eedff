"""Passes over the log -> model_pass_00000.tar.gz, model_pass_00001.tar.gz, ... and metrics.jsonl.

    python train.py --train_set_path='./data/train.txt' --test_set_path='./data/test.txt' \\
        --model_output_dir='./output/model/' --feature_dict='./output/feature_dict.pkl' \\
        --item_freq='./output/item_freq.pkl'

After each pass the last click of each line of the test log is predicted from the clicks before it, and
the pass gets a line on stdout and an object in metrics.jsonl: cost, test cost, speed, ranking metrics,
and the same metrics of a ranking by popularity. Two runs with one --seed on one machine write
identical models. Trains on the GPU where this paddle has one.
"""
import json
import os
import sys
import time

import numpy as np

from data_processor import argument_parser, fingerprint, load_feature_dict, load_item_freq, number_type, run_script
from infer import evaluate_ranking, model_scores, user_vectors
from network_conf import (
    DNN_LAYER_DIMS,
    EMBEDDING_DIMS,
    LOSSES,
    LSTM_DIM,
    NUM_NEGATIVES,
    WINDOW_SIZE,
    DNNmodel,
    ModelConfig,
    Sampling,
    initial_parameters,
    load_paddle,
    save_model,
)
from reader import (
    InputError,
    Reader,
    atomic_write,
    hide_users,
    make_batch,
    next_click_windows,
    sequence_stretches,
    shuffled_batches,
    sliding_windows,
)

INSTANCES = {"window": sliding_windows, "sequence": sequence_stretches}
FINAL_RATE = 0.1  # the learning rate at the end of a run, as a share of that at its start


def parse_args():
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
    settings.add_argument("--num_passes", type=positive, default=5, help="passes over the log (%(default)s)")
    settings.add_argument("--patience", type=number_type(int, 0), default=0,
                          help="stop after this many passes without a better one on --valid_set_path; 0: never "
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
    settings.add_argument("--noise_power", type=number_type(float, 0), default=1.0,
                          help="the noise follows item_freq to this power (%(default)s)")
    settings.add_argument("--user_dropout", type=number_type(float, 0, 1), default=0.5,
                          help="share of training stretches whose user id is hidden (%(default)s)")
    settings.add_argument("--dropout", type=number_type(float, 0, 0.99), default=0.0,
                          help="share of the inputs of both ReLU layers set to 0 in training (%(default)s)")
    settings.add_argument("--seed", type=number_type(int, 0), default=0, help="of all that is random (%(default)s)")
    args = parser.parse_args()
    if args.l2_rate and args.optimizer != "adagrad":
        parser.error("--l2_rate goes with --optimizer=adagrad: paddle's Adam has none for sparse tables")
    if args.patience and not args.valid_set_path:
        parser.error("--patience needs --valid_set_path")
    return args


def train_pass(network, optimizer, schedule, log, stretches, args, rng):
    """One pass over all instances in random order; returns (mean cost, instances, seconds)."""
    from paddle.hapi.progressbar import ProgressBar
    started = time.perf_counter()
    instances = int(stretches.targets.sum())
    bar = ProgressBar(instances, file=sys.stderr, name="instance") if sys.stderr.isatty() else None
    done, total = 0, 0.0
    for part in shuffled_batches(stretches, args.batch_size, rng):
        batch = hide_users(make_batch(log, part), args.user_dropout, rng)
        cost = network(batch)
        cost.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
        size = len(batch.target_item)
        done, total = done + size, total + float(cost) * size
        if bar:
            bar.update(done, [("cost", total / done)])
    return total / instances, instances, time.perf_counter() - started


def mean_cost(network, log, batch_size):
    """Mean cost of predicting the last click of each line; lines whose last click is unknown are left out."""
    import paddle
    lines = np.flatnonzero(log.last_item > 0)
    windows = next_click_windows(log.before_last(), network.config.window_size)
    state, total = paddle.get_rng_state(), 0.0
    with paddle.no_grad():
        for start in range(0, len(lines), batch_size):
            batch = make_batch(log, windows.take(lines[start:start + batch_size]))
            total += float(network(batch)) * len(batch.target_item)
    paddle.set_rng_state(state)  # training draws the same noise whether or not it is tested
    return total / len(lines) if len(lines) else None


def evaluate(network, log, item_freq, batch_size):
    """{metric: value} on the last clicks of a log: cost, ranking of the model and of popularity, unknown targets.

    Prefix `seen_kept_`: earlier clicks kept in the ranking; `popularity_`: everybody gets the most clicked videos.
    """
    parameters = network.numpy_parameters()
    network.layer.eval()
    cost = mean_cost(network, log, batch_size)
    network.is_infer = True
    users = user_vectors(network, log, log.before_last())
    network.is_infer = False
    network.layer.train()
    popularity = np.array(item_freq)
    popularity[0] = -np.inf  # <unk> is no video
    rankings = {"": lambda lines: model_scores(users[lines], parameters["nce_w"], parameters["nce_b"]),
                "popularity_": lambda lines: np.tile(popularity, (len(lines), 1))}
    row = {"test_cost": cost, "unknown_target_share": float((log.last_item[log.last_item >= 0] == 0).mean())}
    for prefix, scores_of in rankings.items():
        removed, kept = evaluate_ranking(scores_of, log, len(popularity))
        row.update({prefix + name: value for name, value in removed.items()})
        row.update({prefix + "seen_kept_" + name: value for name, value in kept.items()})
    return row


def pass_line(row):
    """The line of a pass for people; metrics.jsonl has all of it."""
    cost = "none" if row["test_cost"] is None else f"{row['test_cost']:.4f}"
    metrics = "  ".join(f"{name} {row[name]:.4f} (popularity {row['popularity_' + name]:.4f})"
                        for name in ("recall@10", "ndcg@10", "recall@50"))
    return (f"pass {row['pass']:05d}  cost {row['cost']:.4f}  test_cost {cost}  {metrics}  "
            f"coverage@10 {row['coverage@10']:.4f}  {row['seconds']:.1f} s  "
            f"{row['instances_per_second']:.0f} instances/s")


def encode_logs(args, feature_dict):
    """(train log, test log, validation log or None, seconds of reading the first); InputError if one has no use."""
    reader = Reader(feature_dict, args.window_size)
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
    return (log, *held_out, seconds)


def build(args, feature_dict, item_freq, steps, rng):
    """(network, optimizer, schedule) as the settings say; `steps` is how many the whole run takes."""
    import paddle
    config = ModelConfig({name: len(feature_dict[name]) for name in EMBEDDING_DIMS}, fingerprint(feature_dict),
                         args.window_size, tuple(args.dnn_layer_dims), args.lstm_dim,
                         last_click=args.last_click, last_state=args.last_state)
    network = DNNmodel(config=config, item_freq=item_freq,
                       parameters=initial_parameters(config, item_freq, rng, args.initial_values),
                       sampling=Sampling(args.loss, args.num_negatives, args.shared_negatives, args.noise_power),
                       dropout=args.dropout)
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(args.learning_rate, steps, args.learning_rate * FINAL_RATE)
    if args.optimizer == "adam":
        optimizer = paddle.optimizer.Adam(schedule, parameters=network.parameters(), lazy_mode=True)
    else:
        decay = paddle.regularizer.L2Decay(args.l2_rate) if args.l2_rate else None
        optimizer = paddle.optimizer.Adagrad(schedule, parameters=network.parameters(), weight_decay=decay)
    return network, optimizer, schedule


def write_metrics(args, rows):
    """metrics.jsonl: one object a pass."""
    with atomic_write(os.path.join(args.model_output_dir, "metrics.jsonl")) as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def main():
    args = parse_args()
    feature_dict = load_feature_dict(args.feature_dict)
    item_freq = load_item_freq(args.item_freq, feature_dict)
    log, test_log, valid_log, reading = encode_logs(args, feature_dict)
    stretches = INSTANCES[args.instances](log.lengths, args.window_size)
    os.makedirs(args.model_output_dir, exist_ok=True)

    paddle = load_paddle()
    paddle.seed(args.seed)  # noise samples, on whichever device
    rng = np.random.default_rng(args.seed)  # initial values, order, hidden users
    steps = args.num_passes * -(-len(log.clicks) // args.batch_size)
    network, optimizer, schedule = build(args, feature_dict, item_freq, steps, rng)
    for name, value in {**vars(args), **network.config._asdict(), "lines": len(log.users),
                        "clicks": len(log.clicks), "device": paddle.device.get_device(),
                        "paddle": paddle.__version__}.items():
        print(f"{name}: {value}", file=sys.stderr)

    rows, best = [], None
    for number in range(args.num_passes):
        cost, instances, seconds = train_pass(network, optimizer, schedule, log, stretches, args, rng)
        seconds += reading if number == 0 else 0
        row = {"pass": number, "cost": cost, "instances": instances, "seconds": seconds,
               "instances_per_second": instances / seconds,
               **evaluate(network, test_log, item_freq, args.batch_size)}
        model = (network.config, network.numpy_parameters(), item_freq)
        save_model(os.path.join(args.model_output_dir, f"model_pass_{number:05d}.tar.gz"), *model)
        if valid_log:
            row.update({"valid_" + name: value
                        for name, value in evaluate(network, valid_log, item_freq, args.batch_size).items()})
            if best is None or row["valid_ndcg@10"] > best["valid_ndcg@10"]:
                best = row
                save_model(os.path.join(args.model_output_dir, "model_best.tar.gz"), *model)
        rows.append(row)
        write_metrics(args, rows)
        print(pass_line(row), flush=True)
        if best and args.patience and number - best["pass"] >= args.patience:
            print(f"no better valid_ndcg@10 for {args.patience} passes: stopped", file=sys.stderr)
            break
    if best:
        print(f"best pass by valid_ndcg@10, saved as model_best.tar.gz: {pass_line(best)}")
    if (best or row)["recall@10"] <= row["popularity_recall@10"]:
        print("warning: this model ranks no better than popularity; train it longer, or serve the top list",
              file=sys.stderr)


if __name__ == "__main__":
    run_script(main)
