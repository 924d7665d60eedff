"""item_vector.py: similar videos."""

from candgen.archives import read_archive
from candgen.data.dictionary import ITEMS, load_feature_dict
from conftest import lists_of, run, run_ok

import numpy as np

MODEL = "--model_path=output/model/model_pass_00001.tar.gz --feature_dict=output/feature_dict.pkl"


def test_similar_videos(small):
    """By the cosine of the weights, the video itself left out, against a plain computation."""
    _, arrays = read_archive(str(small / "output/model/model_pass_00001.tar.gz"), "")
    names = list(load_feature_dict(small / "output/feature_dict.pkl")[ITEMS])
    unit = arrays["nce_w"][1:].astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    lists = lists_of(run_ok(f"python item_vector.py {MODEL} --similar=7", small))
    assert [video for video, _ in lists] == names[1:]
    for row, (_, pairs) in zip(cosines, lists):
        best = np.argsort(-row)[:7]
        assert [video for video, _ in pairs] == [names[1 + id_] for id_ in best]
        np.testing.assert_allclose([cosine for _, cosine in pairs], row[best], rtol=1e-4, atol=1e-6)
    assert (
        run(f"python item_vector.py {MODEL} --similar=7 --output_path=x.npz", small).returncode == 2
    )
