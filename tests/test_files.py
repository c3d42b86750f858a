"""Atomic writes: a file is whole or as it was, and no temporary file stays."""

import json
import math

import pytest

from pocketcxr.files import copy_file, open_atomic, write_bytes, write_csv, write_json, write_text


def _stop_half_way(path):
    with open_atomic(path) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt


def test_an_interrupted_write_leaves_the_older_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"whole")
    with pytest.raises(KeyboardInterrupt):
        _stop_half_way(path)
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_first_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _stop_half_way(tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())


def test_folders_are_made_and_line_ends_are_kept(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "é\nb\r\n")
    assert path.read_bytes() == "é\nb\r\n".encode()


def test_json_reads_back_and_other_values_become_text(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"né": [1, math.nan], "path": tmp_path})
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["path"] == str(tmp_path)
    assert math.isnan(found["né"][1])


def test_json_for_other_programs_refuses_nan_and_keeps_the_older_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, [1], allow_nan=False)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, [math.nan], allow_nan=False)
    assert json.loads(path.read_text(encoding="utf-8")) == [1]


def test_a_table_whose_rows_fail_is_not_written(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_csv(tmp_path / "a.csv", ("x",), ([1 / x] for x in (1, 0)))
    assert not list(tmp_path.iterdir())
    write_csv(tmp_path / "a.csv", ("x", "y"), [(1, "a,b")])
    assert (tmp_path / "a.csv").read_bytes() == b'x,y\r\n1,"a,b"\r\n'


def test_a_copy_of_a_missing_file_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "none", tmp_path / "b")
    assert not list(tmp_path.iterdir())
    write_bytes(tmp_path / "a", b"x")
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"x"
