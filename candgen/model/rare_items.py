"""Biases of videos with few clicks, which are often young and will be clicked more."""

from __future__ import annotations

from candgen.data.video_counts import VideoCounts

import numpy as np

FEW_CLICKS = 4  # of a rare video, at most


def rare_item_offsets(counts: VideoCounts) -> np.ndarray:
    """What is added to the biases of rare videos, float32 [videos]; 0 for all others.

    A bias is learned from all clicks, but the next click comes after them, when young videos have
    more clicks than their share so far. How much more is estimated from the last click of each
    user: of these, what share is on videos that have few clicks besides this one (leave-one-out)?
    The offset is the logarithm of this share relative to the rare videos' share of all clicks
    (correction for a shift of the classes' frequencies: Saerens et al. 2002, eq. 2.4). One is added
    to both numbers of clicks, so that a small log has an offset near 0.

    Parameters
    ----------
    counts : VideoCounts of the training log.
    """
    is_rare = (counts.clicks >= 1) & (counts.clicks <= FEW_CLICKS)
    was_rare = (counts.clicks >= 2) & (counts.clicks <= FEW_CLICKS + 1)  # without the last click
    found = counts.last_clicks[was_rare].sum()
    share = counts.clicks[is_rare].sum() / max(counts.clicks.sum(), 1)
    expected = share * counts.last_clicks.sum()
    offset = np.log((found + 1) / (expected + 1))
    return np.where(is_rare, offset, 0).astype(np.float32)
