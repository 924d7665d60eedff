"""data_processor.py --hottest."""

from collections import Counter

from conftest import ROOT, clicked, lists_of, run, run_ok

import pytest

COMMAND = "python data_processor.py"


@pytest.mark.parametrize("by", [None, "province", "category"])
def test_hottest_videos(small, by):
    log = (small / "log.txt").read_text()
    counts = {}
    for line, videos in zip(log.splitlines(), clicked(log)):
        for video in videos:
            value = {
                None: "all",
                "province": line.split("\t")[1],
                "category": f"C{int(video[1:]) % 5}",
            }[by]
            counts.setdefault(value, Counter())[video] += 1
    run_ok(
        f"python data_processor.py --train_set_path=log.txt --output_dir=hottest --hottest=3 "
        f"{f'--hottest_by={by}' if by else ''}",
        small,
    )
    found = lists_of((small / "hottest" / "hottest.tsv").read_text())
    assert found == [
        (
            value,
            [
                (video, float(count))
                for video, count in sorted(
                    counts[value].items(), key=lambda item: (-item[1], item[0])
                )[:3]
            ],
        )
        for value in sorted(counts)
    ]


def test_hottest_of_merged_counts(small):
    """What is counted already is enough, but for columns of the profile."""
    run_ok(
        "python data_processor.py --train_set_path=log.txt --output_dir=counts --counts_only", small
    )
    run_ok(
        f"{COMMAND} --train_set_path=log.txt --output_dir=whole --hottest=3 --hottest_by=category",
        small,
    )
    command = (
        f"{COMMAND} --merge_counts counts/counts.pkl --output_dir=merged --hottest=3 --hottest_by="
    )
    run_ok(command + "category", small)
    assert (
        (small / "merged" / "hottest.tsv").read_text()
        == (small / "whole" / "hottest.tsv").read_text()
        != ""
    )
    for again in (
        command + "city",
        "python data_processor.py --train_set_path <(cat log.txt) --output_dir=merged "
        "--hottest=3 --hottest_by=city",
    ):
        refused = run(again, small)
        assert refused.returncode == 2 and "reads the log again" in refused.stderr
    refused = run(
        f"{COMMAND} --train_set_path=log.txt --output_dir=no --counts_only --hottest=3",
        small,
    )
    assert (
        refused.returncode == 2
        and "--hottest goes with the run that merges the counts" in refused.stderr
    )


def test_hottest_ids_are_those_of_lists(tmp_path):
    """Encoded at commas, and what the log has encoded once only."""
    log = "u\tP\tC\ta%3Bb:NULL:NULL;a,b:NULL:NULL;a,b:NULL:NULL;50% off:NULL:NULL\tPH\n"
    (tmp_path / "log.txt").write_text(log)
    run_ok(
        f"python {ROOT}/data_processor.py --train_set_path=log.txt --output_dir=. --hottest=3 "
        "--feat_appear_limit=1",
        tmp_path,
    )
    assert (tmp_path / "hottest.tsv").read_text() == "all\ta%2Cb:2,50%25 off:1,a%3Bb:1\n"
