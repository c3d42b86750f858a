"""Atomic writes: a file is whole or as it was, and no temporary file stays."""

import errno
import json
import math
import os
import stat

import pytest

from pocketcxr.errors import ConfigError
from pocketcxr.files import (
    cannot_write,
    check_output,
    copy_file,
    named_path,
    open_atomic,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)


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


@pytest.mark.parametrize("before", [None, 0o644, 0o666])
def test_a_private_file_is_for_its_owner_only_whatever_was_there(tmp_path, before):
    path = tmp_path / "a.csv"
    if before is not None:
        path.touch()
        path.chmod(before)
    write_csv(path, ("a",), [(1,)], private=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_name_that_is_no_utf_8_ends_no_write(tmp_path):
    write_json(tmp_path / "a.json", {"path": "r\udcf6ntgen.png"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["path"] == "r\udcf6ntgen.png"
    write_text(tmp_path / "a.html", "r\udcf6ntgen.png")
    write_csv(tmp_path / "a.csv", ("path",), [("r\udcf6ntgen.png",)])
    assert "r\\xf6ntgen.png" in (tmp_path / "a.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", [True, False])
def test_an_output_that_can_be_written_is_left_as_it_was(tmp_path, folder):
    check_output(tmp_path / "new" / "out", folder=folder)
    assert [path.name for path in tmp_path.rglob("*")] == (["new", "out"] if folder else ["new"])


@pytest.mark.parametrize("name, folder", [("file", True), ("file/a", True), ("file/a", False), ("folder", False)])
def test_an_output_with_something_in_its_way_is_refused(tmp_path, name, folder):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=r"a file where a folder is needed|a folder where a file is needed"):
        check_output(tmp_path / name, folder=folder)


@pytest.mark.parametrize(
    "code, advice",
    [
        (errno.EROFS, "the disk is read-only: name a place on another"),
        (errno.ENOSPC, "the disk is full: make room"),
        (errno.EACCES, "ask its owner for permission"),
        (errno.ENOTDIR, "a file where a folder is needed"),
        (errno.ENAMETOOLONG, "name a shorter one"),
        (errno.EIO, "check the place, or name another"),
    ],
)
def test_the_advice_fits_the_cause(tmp_path, code, advice):
    told = cannot_write(tmp_path / "a", OSError(code, os.strerror(code), str(tmp_path / "a")))
    assert advice in told
    assert told.count(str(tmp_path / "a")) == 1


@pytest.mark.parametrize("given", ["", " ", "\t"])
def test_an_empty_path_is_no_name(given):
    with pytest.raises(ConfigError, match="found an empty one"):
        named_path(given)
