"""The index table: what it holds comes back, and what cannot be read or written says so in one line."""

from __future__ import annotations

import pytest

from pocketcxr.data.rows import IndexRow, is_frontal_xray, read_rows, write_rows
from pocketcxr.errors import DataError


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [IndexRow(str(tmp_path / "ä, b.png"), "s", "covid19", view="PA", width=3, location="Hanoi, Vietnam")]
    write_rows(rows, tmp_path / "new" / "index.csv")
    assert read_rows(tmp_path / "new" / "index.csv") == rows


def test_relative_paths_start_at_the_tables_folder(tmp_path):
    (tmp_path / "t.csv").write_text("path,source,finding\nx/a.png,s,normal\n")
    assert read_rows(tmp_path / "t.csv")[0].path == str(tmp_path / "x" / "a.png")


@pytest.mark.parametrize(
    "text, message",
    [
        ("a,b\n1,2\n", "expected an index with columns path, source, finding"),
        ("path,source,finding\na.png,s,x\na.png,s,y\n", "lines 2 and 3 both name"),
        ("path,source,finding,width\na.png,s,x,wide\n", "line 2: expected a whole number in column width"),
        ("", "expected CSV with a line of column names"),
    ],
)
def test_a_table_that_is_no_index_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / "t.csv")


def test_a_missing_table_is_one_clear_line(tmp_path):
    with pytest.raises(DataError, match="cannot read table"):
        read_rows(tmp_path / "gone.csv")


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path):
    old = [IndexRow(str(tmp_path / "a.png"), "s", "covid19")]
    write_rows(old, tmp_path / "t.csv")
    (tmp_path / "t.csv.partial").mkdir()  # what stands in the way, for root may write anywhere
    with pytest.raises(DataError, match=r"cannot write .*t\.csv"):
        write_rows([], tmp_path / "t.csv")
    assert read_rows(tmp_path / "t.csv") == old


@pytest.mark.parametrize(
    "modality, view, frontal",
    [
        ("", "", True),
        ("X-ray", "PA", True),
        ("X-ray", "AP Supine", True),
        ("DX", "AP", True),
        ("CR", "", True),
        ("X-ray", "L", False),
        ("DX", "LL", False),
        ("DX", "RLD", False),
        ("CT", "Axial", False),
        ("CT", "", False),
        ("", "Coronal", False),
        ("MR", "AP", False),
    ],
)
def test_one_rule_keeps_ct_and_laterals_out(modality, view, frontal):
    assert is_frontal_xray(IndexRow("a", "s", "", modality=modality, view=view)) is frontal
