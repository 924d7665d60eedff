"""How often each video is clicked in a log."""

from __future__ import annotations

from candgen.data.encoding import EncodedLog

import numpy as np


class VideoCounts:
    """Clicks on each video, of all blocks of a log.

    Parameters
    ----------
    videos : number of videos, with ``<unk>``.

    Attributes
    ----------
    clicks : int64 [videos]
    last_clicks : int64 [videos]
        Lines of which a click on the video is the last one; of lines with new clicks only.
    """

    def __init__(self, videos: int):
        self.clicks = np.zeros(videos, np.int64)
        self.last_clicks = np.zeros(videos, np.int64)

    def add(self, log: EncodedLog) -> None:
        """Count the clicks of a block."""
        items = log.videos.item[log.clicks]
        ends = log.offsets[1:][log.lengths > log.context]
        self.clicks += np.bincount(items, minlength=len(self.clicks))
        self.last_clicks += np.bincount(items[ends - 1], minlength=len(self.clicks))
