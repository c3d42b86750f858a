"""The index names every image once: in a row with all that is known, or rejected with the reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import pocketcxr.data.index as index_module
from pocketcxr.data.index import build_index
from pocketcxr.data.pseudonyms import read_key
from pocketcxr.data.rows import is_frontal_xray, read_rows, write_rows
from pocketcxr.data.summary import describe_index
from pocketcxr.errors import DataError


@pytest.fixture
def folders(tmp_path, picture):
    for seed in range(4):
        picture(tmp_path / "set" / ("normal", "covid19")[seed % 2] / f"{seed}.png", seed)
    return tmp_path / "set"


def reasons(index):
    return {line.path.rsplit("/", 1)[-1]: line.reason for line in index.rejected}


def test_a_row_has_the_files_hash_and_size_and_survives_the_table(folders, tmp_path):
    index = build_index([folders], progress=False)
    assert [(row.width, row.height) for row in index.rows] == [(96, 96)] * 4
    assert all(len(row.sha256) == 64 and len(row.perceptual_hash) == 64 and row.bytes > 0 for row in index.rows)
    assert len({row.duplicate_group for row in index.rows}) == 4
    write_rows(index.rows, tmp_path / "elsewhere" / "index.csv")
    assert tuple(read_rows(tmp_path / "elsewhere" / "index.csv")) == index.rows


def test_relative_sources_give_absolute_paths(folders, monkeypatch):
    monkeypatch.chdir(folders.parent)
    index = build_index([os.path.relpath(folders)], progress=False)
    assert all(row.path.startswith(str(folders)) for row in index.rows)


def test_unreadable_files_are_rejected_with_the_reason_and_stop_nothing(folders, picture):
    (folders / "normal" / "text.png").write_text("no picture at all")
    (folders / "normal" / "empty.png").write_bytes(b"")
    whole = picture(folders / "normal" / "cut.png", 9).read_bytes()
    (folders / "normal" / "cut.png").write_bytes(whole[: len(whole) // 2])
    index = build_index([folders], progress=False)
    assert len(index.rows) == 4
    assert set(reasons(index)) == {"text.png", "empty.png", "cut.png"}
    assert all(reason.startswith("unreadable: ") for reason in reasons(index).values())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_rejected(folders):
    (folders / "normal" / "0.png").chmod(0)
    assert "0.png" in reasons(build_index([folders], progress=False))


def test_dicom_facts_come_from_the_header_without_the_identifiers_themselves(tmp_path, dicom):
    dicom(tmp_path / "pacs" / "a.dcm", 1)
    dicom(tmp_path / "pacs" / "b.dcm", 2, ViewPosition="LL")
    dicom(tmp_path / "pacs" / "c.dcm", 3, BodyPartExamined="KNEE")
    dicom(tmp_path / "pacs" / "covid19" / "d.dcm", 4, PatientID="0815")
    index = build_index([tmp_path / "pacs"], progress=False)
    a, b, d = sorted(index.rows, key=lambda row: row.path.rsplit("/", 1)[-1])
    assert (a.sex, a.age, a.view, a.modality, a.finding) == ("F", "61", "PA", "DX", "")
    assert a.patient_id == b.patient_id != d.patient_id
    assert a.patient_id.startswith("pacs:")
    assert "4711" not in repr(index)
    assert (is_frontal_xray(a), is_frontal_xray(b), d.finding) == (True, False, "covid19")
    assert reasons(index) == {"c.dcm": "the DICOM header says body part 'KNEE', expected CHEST"}


def test_device_and_exposure_stay_in_the_table_and_the_station_as_a_pseudonym(tmp_path, dicom):
    device = {"Manufacturer": "Agfa", "ManufacturerModelName": "DX-D", "StationName": "ROOM3", "KVP": "125"}
    dicom(tmp_path / "pacs" / "a.dcm", 1, **device)
    dicom(tmp_path / "pacs" / "b.dcm", 2, **device)
    write_rows(build_index([tmp_path / "pacs"], progress=False).rows, tmp_path / "index.csv")
    a, b = read_rows(tmp_path / "index.csv")
    assert (a.manufacturer, a.device_model, a.kvp, a.exposure) == ("Agfa", "DX-D", "125", "")
    assert a.station == b.station != ""
    assert "ROOM3" not in (tmp_path / "index.csv").read_text()


def test_unlabelled_images_are_kept_and_counted(tmp_path, dicom):
    dicom(tmp_path / "pacs" / "a.dcm", 1)
    index = build_index([tmp_path / "pacs"], progress=False)
    assert index.notes == ("pacs: 1 images without a label, kept as unlabelled",)
    assert index.notes[0] in describe_index(index)


def test_copies_in_another_set_share_a_group(folders, tmp_path, picture):
    copy = picture(tmp_path / "other" / "covid19" / "copy.jpg", 1)
    index = build_index([folders, tmp_path / "other"], progress=False)
    groups = {row.path: row.duplicate_group for row in index.rows}
    assert groups[str(copy)] == groups[str(folders / "covid19" / "1.png")]
    assert len(set(groups.values())) == 4
    assert "2 images stand in 1 groups of near duplicates" in describe_index(index)


def test_two_sets_of_one_name_stay_two_sources_and_one_file_given_twice_is_one_row(tmp_path, picture):
    for place, seed in (("north", 1), ("south", 2)):
        picture(tmp_path / place / "xrays" / "normal" / "a.png", seed)
    sources = [tmp_path / "north" / "xrays", tmp_path / "south" / "xrays", tmp_path / "north" / "xrays"]
    index = build_index(sources, progress=False)
    assert sorted(row.source for row in index.rows) == ["xrays", "xrays-2"]


def test_nothing_usable_is_one_clear_line(tmp_path, picture):
    picture(tmp_path / "holiday" / "a.png", 1)
    with pytest.raises(DataError, match=r"no usable image in .*1 times: no label"):
        build_index([tmp_path / "holiday"], progress=False)
    for name in ("again", "back"):
        (tmp_path / "holiday" / name).symlink_to("..")
    with pytest.raises(DataError, match=r"no usable image in .*1 times: no label"):
        build_index([tmp_path / "holiday"], progress=False)
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="no image there"):
        build_index([tmp_path / "void"], progress=False)


@pytest.mark.parametrize("name", ["holiday/a.png", "covid19/a.png"])
def test_a_failed_index_leaves_no_key_unless_it_was_there(tmp_path, name):
    (tmp_path / "set" / name).parent.mkdir(parents=True)
    (tmp_path / "set" / name).write_bytes(b"no picture")
    memory, key = tmp_path / "out" / "index.memory.jsonl", tmp_path / "out" / "pseudonyms.key"
    with pytest.raises(DataError, match="no usable image"):
        build_index([tmp_path / "set"], memory=memory, progress=False)
    assert not list(tmp_path.glob("out/*"))
    read_key(key)
    before = key.read_bytes()
    with pytest.raises(DataError, match="no usable image"):
        build_index([tmp_path / "set"], memory=memory, progress=False)
    assert key.read_bytes() == before


def test_a_misspelt_alias_is_refused(folders):
    with pytest.raises(
        DataError, match="finding alias sick=pneumonja: there is no such finding; did you mean pneumonia"
    ):
        build_index([folders], finding_aliases={"sick": "pneumonja"}, progress=False)


def test_a_second_run_reads_only_what_changed(folders, tmp_path, picture, monkeypatch):
    memory = tmp_path / "memory.jsonl"
    first = build_index([folders], memory=memory, progress=False)
    read = []
    original = index_module.read_metadata
    monkeypatch.setattr(index_module, "read_metadata", lambda path, key: read.append(path.name) or original(path, key))
    assert build_index([folders], memory=memory, progress=False) == first
    assert read == []
    picture(folders / "normal" / "0.png", 77)
    picture(folders / "normal" / "new.png", 78)
    changed = build_index([folders], memory=memory, progress=False)
    assert sorted(read) == ["0.png", "new.png"]
    assert changed == build_index([folders], progress=False)


SLOW_INDEX = """
import sys, time
from pathlib import Path
import pocketcxr.data.index as index
original = index.read_metadata
index.read_metadata = lambda path, key: (time.sleep(0.03), original(path, key))[1]
index.build_index([Path(sys.argv[1])], memory=Path(sys.argv[2]), progress=False, workers=1)
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path, picture, monkeypatch):
    for seed in range(60):
        picture(tmp_path / "set" / "normal" / f"{seed}.png", seed)
    memory = tmp_path / "memory.jsonl"
    child = subprocess.Popen([sys.executable, "-c", SLOW_INDEX, tmp_path / "set", memory])
    deadline = time.monotonic() + 30
    while not (memory.exists() and memory.read_text().count("\n") >= 5) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    with memory.open("a") as stream:
        stream.write('{"sha256": "half a li')
    read = []
    original = index_module.read_metadata
    monkeypatch.setattr(index_module, "read_metadata", lambda path, key: read.append(path.name) or original(path, key))
    resumed = build_index([tmp_path / "set"], memory=memory, progress=False)
    assert 0 < len(read) <= 55
    assert resumed == build_index([tmp_path / "set"], progress=False)
    read.clear()
    build_index([tmp_path / "set"], memory=memory, progress=False)
    assert read == []


def test_a_memory_with_foreign_lines_is_survived(folders, tmp_path):
    memory = tmp_path / "memory.jsonl"
    memory.write_bytes(b"\xff\xfe\n[1, 2]\nnull\n" + json.dumps({"no": "key"}).encode() + b"\n")
    assert len(build_index([folders], memory=memory, progress=False).rows) == 4


def test_an_index_can_be_built_with_a_bar_on_stderr_and_nothing_on_stdout(folders, capsys):
    build_index([folders], progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "comparing the images for copies" in err


def test_hashes_do_not_depend_on_the_file_format(tmp_path, picture):
    for suffix in ("png", "bmp", "dcm"):
        picture(tmp_path / "set" / "normal" / f"a.{suffix}", 3)
    index = build_index([tmp_path / "set"], progress=False)
    bits = [np.frombuffer(bytes.fromhex(row.perceptual_hash), np.uint8) for row in index.rows]
    assert all(np.array_equal(bits[0], other) for other in bits[1:])
    assert len({row.sha256 for row in index.rows}) == 3
    assert len({row.duplicate_group for row in index.rows}) == 1
