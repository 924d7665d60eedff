"""TODO"""

from conftest import run


def test_evaluate_needs_a_click(nights):
    (nights / "nobody.txt").write_text("u\t\t\tNULL\t\n")
    result = run(
        "python infer.py --infer_set_path=nobody.txt --model_path=output/model/model_pass_00000.tar.gz "
        "--feature_dict=output/feature_dict.pkl --evaluate",
        nights,
    )
    assert result.returncode == 2 and "no line with a click" in result.stderr
