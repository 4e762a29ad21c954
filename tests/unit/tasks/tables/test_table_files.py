"""Files as tables: what is read, and what is said of files that hold none."""

import gzip
from pathlib import Path

import pandas as pd
import pytest

from hpo.errors import SpecError
from hpo.tasks.tables.table_files import read_table, say_once

PLAIN = "a,b,c\n1,x,2.5\n2,y,3.5\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", PLAIN),
        ("T.CSV", PLAIN),
        ("t.txt", PLAIN.replace(",", ";")),
        ("t.tsv", PLAIN.replace(",", "\t")),
        ("t.csv", PLAIN.replace(",", "|")),
        ("t.csv", PLAIN.replace(",", ", ")),
        ("t.csv", PLAIN.replace(",", ";").replace(".", ",")),
        ("t.csv", PLAIN.replace("\n", "\r\n")),
        ("t.csv", "\n" + PLAIN),
        ("t.csv", PLAIN.encode("utf-8-sig")),
        ("t.csv", PLAIN.encode("utf-16")),
        ("t.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
    ],
)
def test_text_files(tmp_path: Path, name: str, content: str | bytes) -> None:
    frame = read_table(write(tmp_path, name, content))
    assert list(frame.columns) == ["a", "b", "c"]
    # Where the comma may be a decimal mark, numbers stay text until the columns are known.
    assert [float(value) for value in frame["a"]] == [1, 2]
    assert frame["b"].tolist() == ["x", "y"]
    assert [str(value).replace(",", ".") for value in frame["c"]] == ["2.5", "3.5"]


def test_separators_within_quotes_do_not_count(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path, "t.csv", '"a,1,2,3,4";b\n1;2\n'))
    assert list(frame.columns) == ["a,1,2,3,4", "b"]


def test_a_given_separator(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path, "t.csv", "a,x:b\n1:2\n"), ":")
    assert list(frame.columns) == ["a,x", "b"]


def test_only_an_empty_cell_is_missing(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path, "t.csv", "a,b\n,?\nNA,n/a\n1,x\n"))
    assert frame["a"].tolist()[1:] == ["NA", "1"]
    assert frame["b"].tolist() == ["?", "n/a", "x"]
    assert frame.notna().sum().tolist() == [2, 3]


def test_cells_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "a,b\n01,1.0\n,True\n")
    assert read_table(path, as_text=True)["b"].tolist() == ["1.0", "True"]
    assert read_table(path, as_text=True)["a"].tolist()[0] == "01"
    assert read_table(path)["a"].tolist()[0] == 1.0


def test_columns_without_a_name(tmp_path: Path) -> None:
    frame = read_table(write(tmp_path, "t.csv", ',a," ",self\n1,2,3,4\n'))
    assert list(frame.columns) == ["Unnamed: 0", "a", "Unnamed: 2", "self"]


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], 5: ["x", None]})
    frame.columns = frame.columns.astype(str)
    frame.to_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert list(read.columns) == ["a", "5"]
    frame.set_index("a").to_parquet(tmp_path / "t.pq")
    assert list(read_table(tmp_path / "t.pq").columns) == ["a", "5"]


def test_other_encodings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    say_once.cache_clear()
    path = write(tmp_path, "t.csv", "a,b\nMünchen,1 €\n".encode("cp1252"))
    for _ in range(2):
        assert read_table(path)["a"].tolist() == ["München"]
    assert read_table(path)["b"].tolist() == ["1 €"]
    assert caplog.text.count("t.csv is not UTF-8 text; read as Windows-1252") == 1
    path = write(tmp_path, "j.csv", "a,b\n東京,1\n".encode("shift-jis"))
    assert read_table(path, encoding="shift-jis")["a"].tolist() == ["東京"]
    with pytest.raises(SpecError, match="no encoding is called 'utf-9'"):
        read_table(path, encoding="utf-9")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", " \n\n", "t.csv is empty"),
        ("t.csv", "a,b\n", "t.csv has no rows"),
        ("t.csv", "a,b,a\n1,2,3\n", "t.csv has several columns called 'a'"),
        ("t.csv", "a;b;a \n1;2;3\n", "t.csv has several columns called 'a'"),
        ("t.csv", "a,b\n1,2,3\n", "more fields than its header"),
        ("t.csv", "a,b\n1,2\n1,2,3,4\n", "t.csv cannot be read: "),
        ("t.csv", b"a,b\nM\xfcnchen,1\n\0,2\n", "t.csv is not UTF-8 text"),
        ("t.csv", b"a,b\nM\x81nchen,1\n", "t.csv is not UTF-8 text"),
        ("t.csv", "5,0,0\n1,2,3\n", "several columns called '0'; is its first line no header?"),
        ("t.csv.gz", PLAIN, "t.csv.gz cannot be read: "),
        ("t.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)[:-12], "t.csv.gz cannot be read: "),
        ("t.parquet", PLAIN, "t.parquet cannot be read: "),
        ("t.parquet", b"", "t.parquet cannot be read: "),
        ("t.xlsx", "", "t.xlsx must be one of .csv, .tsv, .txt, .parquet by its name"),
        ("t", PLAIN, "must be one of"),
    ],
)
def test_files_that_hold_no_table(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read_table(write(tmp_path, name, content))
    (problem,) = caught.value.problems
    assert problem.key == "task_options.data"
    assert message in problem.message
    assert "\n" not in problem.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chrun.csv", "did you mean churn.csv?"),
        ("nowhere/churn.csv", "nowhere, which is no folder either"),
        ("", "is a folder"),
    ],
)
def test_files_that_are_not_there(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path, "churn.csv", PLAIN)
    with pytest.raises(SpecError) as caught:
        read_table(tmp_path / name)
    assert message in caught.value.problems[0].message


def test_separators_of_several_characters(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read_table(write(tmp_path, "t.csv", PLAIN), "::")
    assert caught.value.problems[0].key == "task_options.separator"
