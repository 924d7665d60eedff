"""Defaults of settings that follow the logs. Imports no paddle."""

from __future__ import annotations

from candgen.data.encoding import EncodedLog

import numpy as np


def default_metric(held_out: EncodedLog) -> str:
    """Metric to choose passes by: where most last clicks repeat earlier ones, those are kept."""
    lines = np.flatnonzero(held_out.last_item >= 0)
    before = held_out.before_last()
    repeats = [held_out.last_item[line] in held_out.items(line, before[line]) for line in lines]
    return "seen_kept_ndcg@10" if np.mean(repeats) > 0.5 else "ndcg@10"


def default_batch_size(num_clicks: int) -> int:
    """512 instances; on a small log as many as make 100 steps a pass, at least 32."""
    return min(512, max(32, num_clicks // 100))
