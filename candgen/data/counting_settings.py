"""Settings that data_processor.py and train.py are to be given alike: in fingerprint.json."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from typing import Any

from candgen.archives import bounded_read
from candgen.console import logger
from candgen.data.dictionary import FINGERPRINTS


def counting_settings(max_user_clicks: int | None, catalogue: Collection[str]) -> dict[str, Any]:
    """The settings by which clicks are counted: {flag: value}.

    Parameters
    ----------
    max_user_clicks : int or None
    catalogue : collection of str
        Video-infos of the catalogue; their order has no effect.
    """
    digest = hashlib.sha256("\n".join(sorted(set(catalogue))).encode()).hexdigest()
    return {
        "max_user_clicks": max_user_clicks,
        "catalogue_path": digest if catalogue else None,
    }


def warn_of_other_settings(path: str, settings: Mapping[str, Any]) -> None:
    """Warn if data_processor.py had other settings when it wrote the item_freq.pkl at `path`.

    Parameters
    ----------
    path : str
    settings : dict
        From `counting_settings`. A fingerprint.json of an earlier version has none.
    """
    recorded = os.path.join(os.path.dirname(path), FINGERPRINTS)
    if not os.path.exists(recorded):
        return
    with bounded_read(recorded, "make it again with data_processor.py") as stream:
        counted = {**json.load(stream).get("settings", {})}
    for flag, value in counted.items():
        if settings.get(flag, value) != value:
            logger.warning(
                f"{path}: data_processor.py had another --{flag} than this run, or only one of "
                "them has it; give both the same"
            )
