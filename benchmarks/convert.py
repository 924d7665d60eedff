"""Time of data/convert_events.py on a generated table of events.

    python benchmarks/convert.py [--events=10000000] [--format=csv] [--folder=FOLDER]

Generates events of a tenth as many users and of 100,000 items, both with a few heavy ones, with
times as ISO text and a tenth of the rows left out by --keep, and a table of the items; converts
them with two threads (POLARS_MAX_THREADS), and prints the report, seconds and peak memory. Needs
two free cores and no other load.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

SCRIPT = Path(__file__).resolve().parents[1] / "data" / "convert_events.py"
ITEMS, TAGS, CATEGORIES = 100_000, 1000, 50
DAYS = 90


def skewed(rng: np.random.Generator, size: int, values: int) -> np.ndarray:
    """Numbers below `values`; the most frequent ones have some hundred times the median."""
    return (values * rng.random(size) ** 3).astype(np.int64)


def write_tables(folder: Path, num_events: int, kind: str) -> None:
    """Write events.KIND and items.csv."""
    rng = np.random.default_rng(0)
    seconds = pl.Series(1_790_000_000 + (DAYS * 86400 * rng.random(num_events)).astype(np.int64))
    events = pl.DataFrame(
        {
            "user": skewed(rng, num_events, num_events // 10),
            "item": skewed(rng, num_events, ITEMS),
            "time": pl.from_epoch(seconds).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "event": rng.integers(0, 10, num_events),
        }
    ).with_columns(
        user=pl.format("user-{}", "user"),
        item=pl.format("item:{}", "item"),
        event=pl.col("event").replace_strict({0: "impression", 1: "buy"}, default="view"),
    )
    write = {"csv": events.write_csv, "parquet": events.write_parquet, "jsonl": events.write_ndjson}
    write[kind](folder / f"events.{kind}")
    numbers = np.arange(ITEMS)
    items = pl.DataFrame({"item": numbers, "kind": numbers % CATEGORIES, "tag": numbers % TAGS})
    items.select(
        item=pl.format("item:{}", "item"),
        kind=pl.format("kind/{}", "kind"),
        tags=pl.format("tag_{}|tag_{}", "tag", "kind"),
    ).write_csv(folder / "items.csv")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10_000_000, help="(default: %(default)s)")
    parser.add_argument("--format", choices=["csv", "jsonl", "parquet"], default="csv")
    parser.add_argument("--folder", help="for the tables and logs (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write_tables(Path(folder), args.events, args.format)
        command = [sys.executable, SCRIPT, "--events", f"{folder}/events.{args.format}"]
        command += ["--keep", "event=view,buy", "--items", f"{folder}/items.csv"]
        command += ["--category_column=kind", "--tags_column=tags", f"--output_dir={folder}/log"]
        environment = {**os.environ, "POLARS_MAX_THREADS": "2"}
        subprocess.run(list(map(str, command)), check=True, env=environment)


if __name__ == "__main__":
    main()
