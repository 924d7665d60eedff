"""Tables of every kind as columns of text."""

import gzip

from candgen.console import InputError

import pytest

pl = pytest.importorskip("polars")
from candgen.data.tables import read_table

CSV = 'id,name\r\n007,"a,""b"\r\n8,\r\n"9","two\nlines"\r\n'
ROWS = [("007", 'a,"b'), ("8", None), ("9", "two\nlines")]


def rows_of(*paths, **columns):
    return read_table(list(paths), columns or {"id": "id", "name": "name"}).rows()


def test_csv_is_text(write):
    """No id is taken for a number; a byte-order mark and CRLF are no text."""
    assert rows_of(write(CSV, "t.csv")) == ROWS
    assert rows_of(write("\ufeff" + CSV, "bom.CSV")) == ROWS
    assert rows_of(write(gzip.compress(CSV.encode()), "t.csv.gz")) == ROWS
    assert rows_of(write('id\tname\n007\t"a,""b"\n8\t\n', "t.tsv")) == ROWS[:2]


def test_zstd(tmp_path):
    try:
        pl.DataFrame({"id": ["007"]}).write_csv(tmp_path / "t.csv.zst", compression="zstd")
    except TypeError:
        pytest.skip("this polars does not write it")
    assert rows_of(str(tmp_path / "t.csv.zst"), id="id") == [("007",)]


def test_json_lines(write):
    """Numbers keep all their digits; a column may first be named late in the file."""
    text = '{"id":"007"}\n{"id":12345678901234567890}\n{"id":8.0,"name":true}\n'
    expected = [("007", None), ("12345678901234567890", None), ("8", "true")]
    assert rows_of(write(text, "t.jsonl")) == expected
    assert rows_of(write(gzip.compress(text.encode()), "t.ndjson.gz")) == expected
    late = '{"id":1}\n' * 10_000 + '{"id":2,"name":"x"}\n'
    assert rows_of(write(late, "late.jsonl")) == [("1", None), ("2", "x")]
    path = write(
        late.replace('{"id":1}', '{"id":1,"name":null}').replace('"x"', '["x",3]'), "l.jsonl"
    )
    table = read_table(path, {"id": "id", "name": "name"}, lists=["name"])
    assert table.rows() == [("1", None), ("2", ["x", "3"])]


def test_parquet(tmp_path):
    """Whole numbers have no decimals, NaN is nothing; categories and bytes are text."""
    table = pl.DataFrame(
        {
            "id": pl.Series([7.0, float("nan"), 123456789.0]),
            "cat": pl.Series(["a", "b", "c"], dtype=pl.Categorical),
            "bytes": [b"x", b"y", "ü".encode()],
        }
    )
    table.write_parquet(tmp_path / "t.parquet")
    path = str(tmp_path / "t.parquet")
    assert rows_of(path, id="id", a="cat", b="bytes") == [("7", "a", "x"), ("123456789", "c", "ü")]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["12.0", "7", "-3.0"], ["12", "7", "-3"]),
        (["12.0", "7.5"], ["12.0", "7.5"]),
        (["12.0", "x"], ["12.0", "x"]),
        (["007", "7"], ["007", "7"]),
    ],
)
def test_whole_numbers_with_decimals(write, ids, expected):
    """As pandas writes integers with gaps: only if all values are whole numbers."""
    path = write("id\n" + "".join(f"{value}\n" for value in ids), "t.csv")
    assert rows_of(path, id="id") == [(value,) for value in expected]


def test_files_may_differ_in_columns_and_types(write, tmp_path):
    """Their names are no patterns."""
    pl.DataFrame({"x": [0], "id": [5.0]}).write_parquet(tmp_path / "[b].parquet")
    first, second = write("id\n007\n", "[a]*.csv"), write('{"id":6}\n', "[c]?.jsonl")
    assert rows_of(first, str(tmp_path / "[b].parquet"), second, id="id") == [
        ("007",),
        ("5",),
        ("6",),
    ]


def test_equal_rows_count_once_and_rows_without_an_id_are_left_out(write, capfd):
    path = write("id,name,other\n1,a,x\n,b,y\n1,a,z\n2,c,\n", "t.csv")
    assert rows_of(path) == [("1", "a"), ("2", "c")]
    assert "t.csv: 1 rows without id left out" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", "id,name\n1,a\n1,b\n", "several rows with id '1' that differ"),
        ("t.csv", "id,nom,x\n1,a,b\n", "no column 'name'; there are id, nom, x; "),
        ("t.csv", "id;name\n1;a\n", "seems to be separated by semicolons, not by commas; write"),
        ("t.csv", "id\tname\n1\ta\n", "seems to be separated by tabs, not by commas; write a"),
        ("t.tsv", "id,name\n1,a\n", "seems to be separated by commas, not by tabs; write a .csv"),
        ("t.csv", "id,name,id\n1,a,2\n", "several columns 'id'; rename one of them"),
        ("t.jsonl", "", "no row in it; give a table of one row or more"),
        ("t.jsonl", " \n\n", "no row in it; give a table of one row or more"),
        ("t.csv", "", "cannot be read (empty CSV)"),
        ("t.csv", "id,name\n1,a,b\n", "cannot be read (found more fields"),
        ("t.csv", "id,name\n1,\xe9\n".encode("latin-1"), "cannot be read (invalid utf-8"),
        ("t.csv.gz", gzip.compress(CSV.encode())[:-12], "cannot be read ("),
        ("t.parquet", b"no parquet", "cannot be read ("),
        ("t.jsonl", '{"id":1,"name":"a"}\n{"id":\n', "cannot be read ("),
        ("t.jsonl", '{"id":1,"name":["a"]}\n', "column 'name' has values of several parts"),
        ("t.xlsx", b"PK", "a table of unknown kind; name it .csv, .tsv, .jsonl or .parquet"),
        ("csv", "id,name\n1,a\n", "a table of unknown kind"),
    ],
)
def test_errors_name_the_file(write, name, content, problem):
    good, bad = write("id,name\n0,x\n", "good.csv"), write(content, name)
    with pytest.raises(InputError) as raised:
        rows_of(good, bad)
    assert str(raised.value).startswith(bad if "differ" not in problem else f"{good} {bad}")
    assert problem in str(raised.value) and "\n" not in str(raised.value)


def test_names_that_look_like_other_separators_and_repeats(write):
    """One column may be named so, and a column that is not used may be repeated."""
    assert rows_of(write("a;b\n1\n", "t.csv"), id="a;b") == [("1",)]
    path = write("id,id_duplicated_0,x,x\n1,2,3,4\n", "t.csv")
    assert rows_of(path, id="id", other="id_duplicated_0") == [("1", "2")]


def test_a_missing_column_names_its_flag(write):
    path, columns = write("id,name\n1,a\n", "t.csv"), {"id": "id", "name": "nom"}
    with pytest.raises(InputError, match="there are id, name; name one of them by --title_column"):
        read_table(path, columns, flags={"name": "--title_column"})
    with pytest.raises(InputError, match="name one of them by its flag, see --help"):
        read_table(path, columns)
