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


def test_evaluate_needs_a_click(nights):
    (nights / "nobody.txt").write_text("u\t\t\tNULL\t\n")
    result = run(
        "python infer.py --infer_set_path=nobody.txt --model_path=output/model/model_pass_00000.tar.gz "
        "--feature_dict=output/feature_dict.pkl --evaluate",
        nights,
    )
    assert result.returncode == 2 and "no line with a click" in result.stderr
