"""Tables as spreadsheet programs save them are read, or one line names the cause."""

import pytest

from pocketcxr.data.tables import damaged_age, damaged_number, read_table, rounded_numbers, table_columns
from pocketcxr.errors import DataError

ROWS = [{"file": "Müller1.png", "label": "covid"}, {"file": "Ärzte 2.png", "label": "normal"}]


def text(separator=",", end="\n", head="file", tail=""):
    lines = [f"{head}{separator}label{tail}", *(f"{row['file']}{separator}{row['label']}{tail}" for row in ROWS)]
    return end.join([*lines, ""])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_separator_and_encoding_of_spreadsheets_is_read(tmp_path, separator, encoding, end):
    (tmp_path / "t.csv").write_bytes(text(separator, end).encode(encoding))
    table = read_table(tmp_path / "t.csv", "file", "label")
    assert [line for _, line in table.lines] == ROWS
    assert table_columns(tmp_path / "t.csv") == ("file", "label")


def test_a_table_of_excel_for_mac_is_read(tmp_path):
    (tmp_path / "t.csv").write_bytes(text(";", "\r").encode("mac_roman"))
    assert [line for _, line in read_table(tmp_path / "t.csv").lines] == ROWS


def test_a_supposed_encoding_is_said(tmp_path, caplog):
    (tmp_path / "t.csv").write_bytes(text(";").encode("cp1252"))
    table = read_table(tmp_path / "t.csv")
    assert "Windows-1252" in table.doubt
    assert "Windows-1252" in caplog.text
    (tmp_path / "u.csv").write_text(text())
    assert read_table(tmp_path / "u.csv").doubt == ""


def test_a_line_that_names_the_separator_counts(tmp_path):
    (tmp_path / "t.csv").write_text("sep=;\r\nfile;label,x\r\na.png;1,5\r\n")
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("file", "label,x")
    assert table.lines == ((3, {"file": "a.png", "label,x": "1,5"}),)
    assert table.number("1,5") == "1.5"


def test_commas_inside_cells_of_a_semicolon_table_are_no_separators(tmp_path):
    (tmp_path / "t.csv").write_text("file;note\na.png;1,5\nb.png;2,5\n")
    assert read_table(tmp_path / "t.csv").columns == ("file", "note")


def test_empty_columns_and_lines_at_the_end_are_left_out(tmp_path):
    (tmp_path / "t.csv").write_text(text(";", tail=";;;") + ";;;;\n;;;;\n\n")
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("file", "label")
    assert [line for _, line in table.lines] == ROWS


def test_line_breaks_in_quotes_count_for_the_number_of_a_line(tmp_path):
    (tmp_path / "t.csv").write_text('file,label\n"a.png","two\nlines"\nb.png,x\n')
    assert read_table(tmp_path / "t.csv").lines == (
        (2, {"file": "a.png", "label": "two\nlines"}),
        (4, {"file": "b.png", "label": "x"}),
    )


@pytest.mark.parametrize(
    "data, message",
    [
        (b"PK\x03\x04rest", "an Excel workbook"),
        (b"\xd0\xcf\x11\xe0rest", "an old Excel workbook"),
        (b"<html>", "a web page"),
        (
            "file,label\nü.png,a\n".encode() + b"\xfc.png,b\n",
            "line 3 holds bytes that are no UTF-8, though other lines",
        ),
        (b"file,label\n\x81\x8d.png,b\n", "line 2 holds bytes that are no UTF-8 and no Windows-1252 either"),
        (b"file,label\na,b,c\n", "line 2: 3 cells, but 2 columns"),
        (b"file,label,label\na,b,c\n", "stand there twice"),
        (b"file,name\na,b\n", r"\['label'\] missing"),
        (b"", "expected CSV with a line of column names"),
        (b"file,la\0bel\n", "no text"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_cause(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_table(tmp_path / "t.csv", "file", "label")
    assert "\n" not in str(caught.value)


def test_numbers_and_ages_that_a_spreadsheet_program_changed_are_recognised():
    assert "shortened" in damaged_number("1.23457E+11")
    assert "shortened" in damaged_number("1,23457E+11")
    assert not any(map(damaged_number, ("123457", "1e5", "E+11", "p1.2")))
    assert "date" in damaged_age("05. Mai")
    assert "date" in damaged_age("1.5.1926")
    assert "date" in damaged_age("May-05")
    assert not any(map(damaged_age, ("", "61", "0.5", "60-69", "12 months", "061Y")))
    assert "rounded" in rounded_numbers(["1234567890123450", "1234567890123460", "1234567890123470"])
    assert not rounded_numbers(["1234567890123456", "1234567890123460", "1234567890123470"])
    assert not rounded_numbers(["1234567890123450", "12"])
