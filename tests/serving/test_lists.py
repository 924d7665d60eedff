"""Lists as text."""

from candgen.serving.lists import listed_names, lists_text
from conftest import feature_dict_of

import numpy as np


def test_lists_text():
    names = listed_names(feature_dict_of(history_clicked_items=["a", "b,1", "100%"]))
    text = lists_text(
        ["u", "v", "w"],
        np.array([[2, 1], [1, 3], [1, 0]]),
        np.array([[0.75, 0.25], [1.0, 0.0], [1 / 3, 0]]),
        names,
    )
    assert text == "u\tb%2C1:0.75,a:0.25\nv\ta:1,100%25:0\nw\ta:0.333333\n"
