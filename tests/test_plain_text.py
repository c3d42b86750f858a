"""Names and headers of others steer no terminal, forge no line of a log and run in no spreadsheet program."""

import csv
import io
import json
import logging
from pathlib import Path

import pytest

from pocketcxr.files import write_csv
from pocketcxr.plain_text import (
    PlainFormatter,
    cell_value,
    json_text,
    lines,
    one_line,
    path_of_text,
    path_text,
    table_cell,
)

HOSTILE = "a\x1b[31m\r\nERROR forged\u202egnp.exe\x9b2J\u2028b"


def test_a_line_holds_no_character_that_breaks_colours_or_reorders_it():
    shown = one_line(HOSTILE)
    assert shown == r"a\x1b[31m\r\nERROR forged\u202egnp.exe\x9b2J\u2028b"
    assert shown.isprintable()


def test_accents_and_spaces_of_any_width_stay_as_they_are():
    assert one_line("Müller 胸部\u00a0\u3000x") == "Müller 胸部\u00a0\u3000x"


def test_text_of_several_lines_keeps_its_line_breaks_only():
    assert lines("a\nb\x1b[2J\rc") == "a\nb\\x1b[2J\\rc"


def test_a_log_keeps_a_path_and_an_error_on_one_line():
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s: %s\n%d", (Path("a\nb"), OSError("c\nd"), 3), None)
    assert PlainFormatter("%(message)s").format(record) == "a\\nb: c\\nd\n3"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\uff1d"])
@pytest.mark.parametrize("before", ["", "'", "''", "x;", "x,", "x\n"])
def test_no_cell_begins_a_formula_in_any_dialect_and_each_comes_back(sign, before):
    text = f"{before}{sign}HYPERLINK(A1)"
    cell = table_cell(text)
    for separator in ",;\t|\r\n":
        for part in cell.split(separator):
            assert not part.startswith(("=", "+", "-", "@", "\uff1d")), (cell, separator)
    assert cell_value(cell) == text


@pytest.mark.parametrize("value", ["-0.53", "+1e-5", 3, -2.5, None, "x-y.png", "a=b", "'quoted'"])
def test_numbers_and_harmless_text_stay_as_they_are(value):
    assert table_cell(value) == value
    assert value is None or cell_value(str(value)) == str(value)


def test_a_written_table_holds_no_formula(tmp_path):
    write_csv(tmp_path / "t.csv", ("path", "n"), [("=cmd|' /C calc'!A0", -1), ("@SUM(1)", 2)])
    text = (tmp_path / "t.csv").read_text()
    assert [row["path"] for row in csv.DictReader(io.StringIO(text))] == ["'=cmd|' /C calc'!A0", "'@SUM(1)"]


@pytest.mark.parametrize("text", [HOSTILE, "Müller 胸部", "\U000e0001tag", "r\udcf6ntgen.png", "\u2028"])
def test_json_holds_no_sign_that_steers_a_screen_and_says_the_same(text):
    written = json_text({text: [text, 1.5]})
    assert all(one.isprintable() or one == "\n" for one in written)
    assert json.loads(written) == {text: [text, 1.5]}
    assert "Müller" in written or "Müller" not in text


def test_a_name_that_is_no_utf_8_is_text_and_a_path_again(tmp_path):
    path = tmp_path / "r\udcf6ntgen.png"
    path.touch()
    assert path_text(path) == f"{tmp_path}/r\\xf6ntgen.png"
    assert path_of_text(path_text(path)) == str(path)


def test_a_name_with_a_backslash_of_its_own_stays(tmp_path):
    path = tmp_path / r"r\xf6ntgen.png"
    path.touch()
    assert path_of_text(path_text(path)) == str(path)
