"""TODO"""

import gzip
import json
import os
import re
import shutil
import sys
from candgen.archives import read_archive
from candgen.data.dictionary import (
    CATEGORIES,
    FEATURES,
    ITEMS,
    TAGS,
    build_dictionary,
    load_feature_dict,
    load_item_freq,
)
from candgen.data.items import ItemAttributes
from candgen.model.cold_items import neighbor_mean, place_cold_items
from candgen.model.layers import VIDEO_TABLE
from candgen.model.warm_start import carry_over, previous_ids
from conftest import ROOT, clicked, feature_dict_of, lists_of, run, run_ok, small_log, train_command
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("line", ["v1:a", "v1:a:b;v2:a:b", "v1\t:a:b", ":a:b", b"\xff:a:b"])
def test_a_catalogue_with_another_line(small, tmp_path, line):
    content = b"v0:a:b\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n"
    (tmp_path / "catalogue.txt").write_bytes(content)
    result = run(
        f"python data_processor.py --train_set_path=log.txt --output_dir={tmp_path}/out "
        f"--catalogue_path={tmp_path}/catalogue.txt",
        small,
    )
    assert (
        result.returncode == 2
        and "catalogue.txt:2: " in result.stderr
        and result.stderr.count("\n") == 1
    )
