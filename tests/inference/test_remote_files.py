"""Addresses are told from paths, listed in the order of a folder, and copied, here from fsspec's store in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketcxr.errors import ConfigError
from pocketcxr.imaging.folders import PassedOver
from pocketcxr.inference.batch import find_images
from pocketcxr.inference.remote_files import address_of, fetch, find_files


@pytest.fixture
def stored():
    fsspec = pytest.importorskip("fsspec", reason="needs the extra evaluate or cluster")
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("path, address", [
    ("s3://bucket/a b/1.png", "s3://bucket/a b/1.png"),
    ("gs+x://b/k", "gs+x://b/k"),
    ("in/1.png", ""),
    ("/data/s3:/1.png", ""),
    ("C:/data/1.png", ""),
    ("s3:", ""),
])  # fmt: skip
def test_an_address_survives_being_a_path(path, address):
    assert address_of(Path(path)) == address == address_of(address)


def test_remote_files_come_in_the_order_of_a_folder_without_what_is_no_image(stored, tmp_path):
    names = ["10.png", "2.png", "B/1.dcm", "a/1.2.840.113619.2", "a/IM000", "a/c.dcm.gz", "9.jpg"]
    for name in [*names, ".hidden.png", "notes.txt", "a/.cache/3.png"]:
        stored.pipe(f"/films/{name}", b"\x89PNG\r\n\x1a\n")
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"just text" if name.endswith(".txt") else b"\x89PNG\r\n\x1a\n")
    passed_over = PassedOver()
    found = list(find_files([Path("memory://films"), tmp_path], passed_over=passed_over))
    expected = list(find_images([tmp_path], passed_over=PassedOver()))
    assert found == [*(f"memory://films/{one.relative_to(tmp_path).as_posix()}" for one in expected), *expected]
    assert len(expected) == len(names)
    assert "1 not named as an image" in passed_over.reasons()
    assert "4 hidden" in passed_over.reasons()  # two in memory, two in the folder


def test_what_was_passed_over_is_in_the_log(stored, caplog):
    stored.pipe("/films/notes.txt", b"text")
    stored.pipe("/films/1.png", b"pixels")
    assert list(find_files([Path("memory://films/")])) == ["memory://films/1.png"]
    assert caplog.messages == ["passed over 1 entry that is no image: 1 not named as an image"]


def test_one_file_and_a_place_without_files_are_themselves(stored):
    stored.pipe("/films/notes.txt", b"text")
    for address in ("memory://films/notes.txt", "memory://nothing"):
        assert list(find_files([Path(address)])) == [address]


def test_a_kind_of_address_without_a_driver_is_refused(stored):
    with pytest.raises(ConfigError, match="nosuch://x/y: no driver for this kind of address"):
        list(find_files([Path("nosuch://x/y")]))


def test_a_file_is_copied_and_a_missing_one_is_said_to_be_missing(stored, tmp_path):
    stored.pipe("/films/1.png", b"pixels")
    fetch("memory://films/1.png", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"pixels"
    with pytest.raises(FileNotFoundError):
        fetch("memory://films/2.png", tmp_path / "none")
