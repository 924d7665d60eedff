"""TODO"""

from conftest import run

import pytest


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
