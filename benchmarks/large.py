"""A million videos and five million users: time, peak memory and sizes of files of each step, as Markdown.

    python benchmarks/large.py --work_dir=/data/large [--users=5000000] [--videos=1000000]

Makes a log (mean of 6 clicks a user) and a folder of four parts that are that log; counts both; trains one pass over a
tenth of the users with all parameters; top-30 for 100,000 users; both exports; trains on the folder for --seconds and
watches memory. Wants some 20 GB of disk.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench import ROOT, output

TRAIN = (
    "--instances=sequence",
    "--loss=ranking_nce",
    "--shared_negatives",
    "--num_negatives=512",
    "--batch_size=4096",
    "--num_passes=1",
    "--no-rules",
)


def size(path):
    """GB of a file or of a folder's files."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e9


def resident(pid):
    """MB of memory of a process and all its children; what they share counts for each."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(map(resident, children))


def measured(name, *command, made=None, seconds=None):
    """Print the row of a command: seconds, peak MB, GB of what it made.

    One that is ended after some `seconds` has the peak of each quarter of them.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    started, peaks = time.perf_counter(), [0.0] * (4 if seconds else 1)
    while process.poll() is None:
        passed = time.perf_counter() - started
        if seconds and passed >= seconds:
            process.send_signal(signal.SIGKILL)
            break
        quarter = int(4 * passed / seconds) if seconds else 0
        peaks[quarter] = max(peaks[quarter], resident(process.pid))
        time.sleep(0.2)
    process.wait()
    taken = (
        f"{time.perf_counter() - started:.0f}" if seconds or not process.returncode else "failed"
    )
    written = f"{size(made):.2f}" if made else "-"
    print(
        f"| {name} | {taken} | {', '.join(f'{peak:.0f}' for peak in peaks)} | {written} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work_dir", type=lambda path: Path(path).resolve(), required=True)
    parser.add_argument("--users", type=int, default=5_000_000)
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=1500)
    args = parser.parse_args()
    folder = args.work_dir
    log, parts, tenth, some, few = (
        folder / name for name in ("log.txt", "parts", "tenth.txt", "some.txt", "few.txt")
    )
    parts.mkdir(parents=True, exist_ok=True)
    if not log.exists():
        output(
            "benchmarks/make_log.py",
            f"--users={args.users}",
            f"--videos={args.videos}",
            "--mean_history=6",
            f"--output_path={log}",
        )
    for number in range(4):
        if not (parts / f"part-{number:05d}").exists():
            (parts / f"part-{number:05d}").symlink_to(log)
    for path, lines in ((tenth, args.users // 10), (some, 100_000), (few, 1000)):
        with log.open() as whole, path.open("w") as stream:
            stream.writelines(line for line, _ in zip(whole, range(lines)))
    print("| step | seconds | peak MB | GB written |\n|---|---|---|---|")
    counted, limit = folder / "counted", "--feat_appear_limit=1"
    measured(
        f"data_processor.py, {size(log):.1f} GB",
        "data_processor.py",
        f"--train_set_path={log}",
        f"--output_dir={counted}",
        limit,
        made=counted,
    )
    measured(
        f"data_processor.py, {4 * size(log):.1f} GB in four parts",
        "data_processor.py",
        f"--train_set_path={parts}",
        f"--output_dir={folder}/counted-parts",
        limit,
    )
    dictionary = (
        f"--feature_dict={counted}/feature_dict.pkl",
        f"--item_freq={counted}/item_freq.pkl",
    )
    trained = folder / "trained"
    measured(
        "train.py, one pass over a tenth of the users, model and checkpoint",
        "train.py",
        f"--train_set_path={tenth}",
        f"--test_set_path={few}",
        f"--model_output_dir={trained}",
        *dictionary,
        *TRAIN,
        made=trained,
    )
    print((trained / "metrics.jsonl").read_text(), file=sys.stderr)
    model = (f"--model_path={trained}/model_pass_00000.tar.gz", dictionary[0])
    measured("infer.py, top 30 of 100,000 users", "infer.py", f"--infer_set_path={some}", *model)
    measured(
        "user_vector.py, 100,000 users",
        "user_vector.py",
        f"--infer_set_path={some}",
        *model,
        f"--output_path={folder}/users.npz",
        made=folder / "users.npz",
    )
    measured(
        "item_vector.py, all videos",
        "item_vector.py",
        *model,
        f"--output_path={folder}/videos.npz",
        made=folder / "videos.npz",
    )
    measured(
        f"train.py, {4 * size(log):.1f} GB in four parts, ended in its first pass",
        "train.py",
        f"--train_set_path={parts}",
        f"--test_set_path={few}",
        f"--model_output_dir={folder}/streamed",
        *dictionary,
        *TRAIN,
        "--checkpoint_minutes=1000",
        seconds=args.seconds,
    )


if __name__ == "__main__":
    main()
