"""Tomorrow's log, and videos that nobody has clicked on: a warm start against training on everything.

    python benchmarks/nightly.py --log_dir=./data/ml-100k
    python benchmarks/nightly.py --log_dir=./data/beauty --preset=classic
    python benchmarks/nightly.py --log_dir=./data/beauty --held_out=0.05

--log_dir holds train.txt and test.txt (or .txt.gz). Each user's history is cut: the first four fifths of the clicks are
the log of before, the others the new part. Rows: the model of before; some passes over the new part from there, without
and with --context_set_path, the log of before; a cold one, five passes over everything. With --held_out that share of
the videos loses all clicks in the training log and is given as a catalogue. Prints Markdown, on the last clicks of the
test log: metrics, share of new videos in the lists of ten and among the targets, recall@10 of such targets.
"""

import argparse
import gzip
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from candgen.data.dictionary import ITEMS
from candgen.data.logs import HISTORY
from candgen.model.model_file import load_model, start_network
from candgen.serving.evaluation import evaluate_model
from candgen.serving.topn import TopN
from reader import Reader

import numpy as np
from quality import ROOT, log_of

METRICS = ("recall@10", "ndcg@10", "recall@50", "coverage@10")


def lines_of(path):
    """[[columns, [video-info, ...]], ...] of a log."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as stream:
        rows = [line.rstrip("\n").split("\t") for line in stream]
    return [
        [columns, [] if columns[HISTORY] == "NULL" else columns[HISTORY].split(";")]
        for columns in rows
    ]


def write_log(path, lines):
    path.write_text(
        "".join(
            "\t".join([*columns[:HISTORY], ";".join(infos) or "NULL", *columns[HISTORY + 1 :]])
            + "\n"
            for columns, infos in lines
        ),
        encoding="utf-8",
    )


def run(script, *flags):
    command = [sys.executable, ROOT / script, *flags]
    print("$", " ".join(map(str, command)), file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)


def train(args, folder, output, log, dictionary, passes, *flags):
    """Train and return the path of the last model."""
    run(
        "train.py",
        f"--train_set_path={log}",
        f"--test_set_path={log_of(args.log_dir, 'test')}",
        f"--seed={args.seed}",
        f"--model_output_dir={folder}/{output}",
        f"--feature_dict={folder}/{dictionary}/feature_dict.pkl",
        "--no-rules",
        f"--item_freq={folder}/{dictionary}/item_freq.pkl",
        f"--preset={args.preset}",
        f"--num_passes={passes}",
        *flags,
    )
    return folder / output / f"model_pass_{passes - 1:05d}.tar.gz"


def row(args, name, model, dictionary, new, pool):
    """A row of the table; `new` are names of videos."""
    side = SimpleNamespace(
        model_path=str(model), feature_dict=f"{dictionary}/feature_dict.pkl", device=None
    )
    metadata, parameters, _, feature_dict = load_model(side)
    [log] = Reader(feature_dict).encode(log_of(args.log_dir, "test"))
    metrics, ids = evaluate_model(
        start_network(side, metadata, parameters),
        TopN(parameters["nce_w"], parameters["nce_b"]),
        log,
        pool.map,
    )
    is_new = np.array([video in new for video in feature_dict[ITEMS]])
    targets = [
        infos[-1].rsplit(":", 2)[0] for _, infos in lines_of(log_of(args.log_dir, "test")) if infos
    ]
    wanted = np.array([feature_dict[ITEMS].get(target, 0) for target in targets])
    among = np.array([target in new for target in targets])
    hits = (ids == wanted[:, None]).any(1) & (wanted > 0)
    print(
        f"| {name} | {' | '.join(f'{metrics[metric]:.4f}' for metric in METRICS)} | {is_new[ids].mean():.4f} | "
        f"{among.mean():.4f} | {hits[among].mean() if among.any() else 0:.4f} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--log_dir", required=True, type=Path, help="folder of train.txt and test.txt, or .txt.gz"
    )
    parser.add_argument(
        "--work_dir", default="output/nightly", type=Path, help="where logs and models go"
    )
    parser.add_argument("--preset", default="best", help="of train.py")
    parser.add_argument("--passes", default=8, type=int, help="of the model of before")
    parser.add_argument(
        "--warm_rate", default=0.001, type=float, help="learning rate of the warm start"
    )
    parser.add_argument(
        "--warm_passes", default=3, type=int, help="over the new part, of the warm start"
    )
    parser.add_argument(
        "--held_out", default=0.0, type=float, help="share of the videos without clicks in training"
    )
    parser.add_argument("--seed", default=0, type=int)
    args = parser.parse_args()
    folder = args.work_dir / f"{args.log_dir.name}-{args.preset}"
    folder.mkdir(parents=True, exist_ok=True)
    lines, limit = lines_of(log_of(args.log_dir, "train")), "--feat_appear_limit=1"
    print(
        f"| {args.log_dir.name}, {args.preset} | {' | '.join(METRICS)} | new videos in lists | among targets | their "
        f"recall@10 |\n|---{'|---' * (len(METRICS) + 3)}|",
        flush=True,
    )
    with ThreadPoolExecutor(2) as pool:
        if args.held_out:
            infos = sorted({info for _, history in lines for info in history})
            videos = sorted({info.rsplit(":", 2)[0] for info in infos})
            rng = np.random.default_rng(args.seed)
            new = set(rng.choice(videos, int(args.held_out * len(videos)), replace=False).tolist())
            write_log(
                folder / "kept.txt",
                [
                    [columns, [info for info in history if info.rsplit(":", 2)[0] not in new]]
                    for columns, history in lines
                ],
            )
            (folder / "catalogue.txt").write_text("\n".join(infos), encoding="utf-8")
            for name, flags in (
                ("without", ()),
                ("with", (f"--catalogue_path={folder}/catalogue.txt",)),
            ):
                run(
                    "data_processor.py",
                    f"--train_set_path={folder}/kept.txt",
                    f"--output_dir={folder}/{name}",
                    limit,
                    *flags,
                )
                model = train(
                    args, folder, f"{name}-model", f"{folder}/kept.txt", name, args.passes, *flags
                )
                row(args, f"{name} a catalogue", model, folder / name, new, pool)
            return
        cut = [(columns, infos, 4 * len(infos) // 5) for columns, infos in lines]
        write_log(
            folder / "before.txt", [(columns, infos[:place]) for columns, infos, place in cut]
        )
        write_log(folder / "new.txt", [(columns, infos[place:]) for columns, infos, place in cut])
        logs = [f"{folder}/before.txt", f"{folder}/new.txt"]
        run(
            "data_processor.py",
            f"--train_set_path={logs[0]}",
            f"--output_dir={folder}/before",
            limit,
        )
        run(
            "data_processor.py",
            "--train_set_path",
            *logs,
            f"--output_dir={folder}/now",
            limit,
            f"--base_feature_dict={folder}/before/feature_dict.pkl",
        )
        run("data_processor.py", "--train_set_path", *logs, f"--output_dir={folder}/cold", limit)
        seen = [
            {info.rsplit(":", 2)[0] for _, infos in lines_of(Path(log)) for info in infos}
            for log in logs
        ]
        new = seen[1] - seen[0]
        clicks = [
            info.rsplit(":", 2)[0] in new for _, infos in lines_of(Path(logs[1])) for info in infos
        ]
        print(
            f"{len(new)} new videos, {np.mean(clicks):.4f} of the clicks of the new part",
            file=sys.stderr,
        )
        before = train(args, folder, "before-model", logs[0], "before", args.passes)
        row(args, "before", before, folder / "before", new, pool)
        for name, flags in (
            ("alone", ()),
            ("with the clicks before it", (f"--context_set_path={logs[0]}",)),
        ):
            warm = train(
                args,
                folder,
                "warm-model",
                logs[1],
                "now",
                args.warm_passes,
                f"--learning_rate={args.warm_rate}",
                f"--init_model_path={folder}/before-model/checkpoint.tar.gz",
                f"--init_feature_dict={folder}/before/feature_dict.pkl",
                *flags,
            )
            row(
                args,
                f"warm, {args.warm_passes} passes over the new part {name}",
                warm,
                folder / "now",
                new,
                pool,
            )
        cold = train(args, folder, "cold-model", str(log_of(args.log_dir, "train")), "cold", 5)
        row(args, "cold, five passes over everything", cold, folder / "cold", new, pool)


if __name__ == "__main__":
    main()
