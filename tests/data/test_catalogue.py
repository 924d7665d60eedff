"""A catalogue with a malformed line."""

from conftest import run

import pytest


@pytest.mark.parametrize("line", [b"v1:a", b"v1:a:b;v2:a:b", b"v1\t:a:b", b":a:b", b"\xff:a:b"])
def test_malformed_lines(small, tmp_path, line):
    """One line on stderr that names the place, exit code 2."""
    (tmp_path / "catalogue.txt").write_bytes(b"v0:a:b\n" + line + b"\n")
    result = run(
        f"python data_processor.py --train_set_path=log.txt --output_dir={tmp_path}/out "
        f"--catalogue_path={tmp_path}/catalogue.txt",
        small,
    )
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "catalogue.txt:2: " in result.stderr
