"""A million videos and five million users: time, peak memory and file sizes of each step.

    python benchmarks/large.py --work_dir=/data/large [--users=5000000] [--videos=1000000]

Generates a log (mean of 6 clicks per user) and a folder of four parts, each of which is that log.
Counts both; trains one pass over a tenth of the users with all parameters; makes lists of 30 for
100,000 users; exports both kinds of vectors; trains on the folder for --seconds and measures
memory. Prints Markdown. Needs some 20 GB of disk space.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time
from itertools import islice
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
    """MB of memory of a process and all its children; shared memory counts for each of them."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(map(resident, children))


def measured(name, *command, made=None, seconds=None):
    """Print the row of a command: seconds, peak MB, GB of its files.

    Parameters
    ----------
    made : path of the files that the command writes.
    seconds : kill the command after this time, and print the peak of each quarter of it.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    started = time.perf_counter()
    peaks = [0.0] * (4 if seconds else 1)
    while process.poll() is None:
        elapsed = time.perf_counter() - started
        if seconds and elapsed >= seconds:
            process.send_signal(signal.SIGKILL)
            break
        quarter = int(4 * elapsed / seconds) if seconds else 0
        peaks[quarter] = max(peaks[quarter], resident(process.pid))
        time.sleep(0.2)
    process.wait()
    is_complete = seconds or not process.returncode
    taken = f"{time.perf_counter() - started:.0f}" if is_complete else "failed"
    peak = ", ".join(f"{peak:.0f}" for peak in peaks)
    written = f"{size(made):.2f}" if made else "-"
    print(f"| {name} | {taken} | {peak} | {written} |", flush=True)


@dataclasses.dataclass(frozen=True)
class Logs:
    """The logs of the work folder.

    Attributes
    ----------
    whole : the log.
    parts : folder of four hard links to it.
    tenth : its first tenth.
    served : 100,000 lines.
    tested : 1,000 lines.
    """

    whole: Path
    parts: Path
    tenth: Path
    served: Path
    tested: Path


def make_logs(folder, users, videos):
    """Generate the logs; an existing log is used again."""
    logs = Logs(
        folder / "log.txt",
        folder / "parts",
        folder / "tenth.txt",
        folder / "some.txt",
        folder / "few.txt",
    )
    logs.parts.mkdir(parents=True, exist_ok=True)
    if not logs.whole.exists():
        output(
            "benchmarks/make_log.py",
            f"--users={users}",
            f"--videos={videos}",
            "--mean_history=6",
            f"--output_path={logs.whole}",
        )
    for number in range(4):
        part = logs.parts / f"part-{number:05d}"
        if not part.exists():
            os.link(logs.whole, part)  # a symbolic link would be the same file given twice
    for path, lines in ((logs.tenth, users // 10), (logs.served, 100_000), (logs.tested, 1000)):
        with logs.whole.open() as whole, path.open("w") as stream:
            stream.writelines(islice(whole, lines))
    return logs


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
    logs = make_logs(folder, args.users, args.videos)
    gigabytes = size(logs.whole)
    print("| step | seconds | peak MB | GB written |\n|---|---|---|---|")
    counted = folder / "counted"
    limit = "--feat_appear_limit=1"
    measured(
        f"data_processor.py, {gigabytes:.1f} GB",
        "data_processor.py",
        f"--train_set_path={logs.whole}",
        f"--output_dir={counted}",
        limit,
        made=counted,
    )
    measured(
        f"data_processor.py, {4 * gigabytes:.1f} GB in four parts",
        "data_processor.py",
        f"--train_set_path={logs.parts}",
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
        f"--train_set_path={logs.tenth}",
        f"--test_set_path={logs.tested}",
        f"--model_output_dir={trained}",
        *dictionary,
        *TRAIN,
        made=trained,
    )
    print((trained / "metrics.jsonl").read_text(), file=sys.stderr)
    model = (f"--model_path={trained}/model_pass_00000.tar.gz", dictionary[0])
    measured(
        "infer.py, top 30 of 100,000 users", "infer.py", f"--infer_set_path={logs.served}", *model
    )
    measured(
        "user_vector.py, 100,000 users",
        "user_vector.py",
        f"--infer_set_path={logs.served}",
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
        f"train.py, {4 * gigabytes:.1f} GB in four parts, ended in its first pass",
        "train.py",
        f"--train_set_path={logs.parts}",
        f"--test_set_path={logs.tested}",
        f"--model_output_dir={folder}/streamed",
        *dictionary,
        *TRAIN,
        "--checkpoint_minutes=1000",
        seconds=args.seconds,
    )


if __name__ == "__main__":
    main()
