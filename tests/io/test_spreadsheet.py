"""CSV files: no cell is a formula, and tables survive a round trip."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import AuditError
from audit.io.spreadsheet import csv_text, guard, read_csv, unguard

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =cmd|'/c calc'!A0", "\uff1d1", "'=1", "''=1", '=HYPERLINK("http://x","y")']


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_guarded_and_unguarded(text):
    assert guard(text).startswith("'")
    assert unguard(guard(text)) == text


@given(st.text())
def test_unguard_inverts_guard(text):
    assert unguard(guard(text)) == text
    assert guard(text).lstrip()[:1] not in tuple("=+-@")


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1).filter(str.strip)


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_table_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text(csv_text(["verdict", "note"], [{"verdict": a, "note": b} for a, b in rows]), encoding="utf-8", newline="")
    assert [tuple(cells.values()) for _, cells in read_csv(path)] == rows


def test_missing_values_are_empty_and_numbers_unguarded():
    text = csv_text(["a", "b", "c", "d"], [{"a": None, "b": float("nan"), "c": -1.5, "d": "x,y\nz"}])
    assert list(csv.reader(io.StringIO(text, newline="")))[1] == ["", "", "-1.5", "x,y\nz"]


@pytest.mark.parametrize(("delimiter", "mark", "encoding"), [(";", "", "utf-8"), ("\t", "", "utf-8"), (",", "\ufeff", "utf-8"), ("\t", "", "utf-16")])
def test_reads_spreadsheet_encodings_and_delimiters(tmp_path, delimiter, mark, encoding):
    text = f"{mark}Verdict{delimiter} Note\r\nkeep{delimiter}ok\r\n{delimiter}\r\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert list(read_csv(tmp_path / "t.csv")) == [(2, {"verdict": "keep", "note": "ok"})]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"\xff\xfe", "is empty"),
        (b"a,b\n1,2\ncaf\xe9,3\n", r":3: is not UTF-8; save it as CSV UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "is not text"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], "has a UTF-16 byte order mark"),
        (b"a,b\n1,2,3\n", r":2: has 3 cells, but the header has 2"),
        (None, "no such file"),
    ],
)
def test_refuses_invalid_tables(tmp_path, data, problem):
    path = tmp_path / "t.csv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(AuditError, match=problem):
        list(read_csv(path))
