"""An index of folders and tables of other systems: every file is a row, is rejected with its reason, or is counted."""

from __future__ import annotations

import csv
import json
import stat
import unicodedata
from pathlib import Path

import pytest

from pocketcxr.audit.model.ood_images import load_ood
from pocketcxr.data.index import build_index
from pocketcxr.data.ood_images import with_ood_images
from pocketcxr.data.pseudonyms import KEY_FILE
from pocketcxr.data.rows import read_rows, write_rows
from pocketcxr.data.splits.reuse import reuse_splits
from pocketcxr.data.summary import describe_index
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.labels import TASKS
from pocketcxr.pipeline.prepare import index_sources


def findings(index):
    return {Path(row.path).name: row.finding for row in index.rows}


def reasons(index):
    return {Path(line.path).name: line.reason for line in index.rejected}


def test_files_without_a_telling_suffix_are_rows(tmp_path, picture, dicom):
    dicom(tmp_path / "set" / "normal" / "x.dcm", 1).rename(tmp_path / "set" / "normal" / "1.2.826.0.1.1000")
    picture(tmp_path / "set" / "covid19" / "x.jpg", 2).rename(tmp_path / "set" / "covid19" / "noext")
    (tmp_path / "set" / "covid19" / "notes.txt").write_text("notes")
    index = build_index([tmp_path / "set"], progress=False)
    assert findings(index) == {"1.2.826.0.1.1000": "no_finding", "noext": "covid19"}
    assert "passed over 1 entry that is no image: 1 plain text" in describe_index(index)


def test_a_linked_class_is_in_the_index_and_a_loop_ends(tmp_path, picture):
    picture(tmp_path / "set" / "normal" / "0.png", 0)
    picture(tmp_path / "elsewhere" / "1.png", 1)
    (tmp_path / "set" / "covid19").symlink_to("../elsewhere")
    (tmp_path / "set" / "normal" / "loop").symlink_to("..")
    index = build_index([tmp_path / "set"], progress=False)
    assert findings(index) == {"0.png": "no_finding", "1.png": "covid19"}
    assert reasons(index) == {"loop": "a link to a folder around it, which is not followed"}


def test_a_link_between_whole_sets_is_named(tmp_path, picture):
    for name in ("a", "b"):
        picture(tmp_path / "all" / name / "normal" / "0.png", ord(name))
        (tmp_path / "all" / name / "images.csv").write_text("file,label\nnormal/0.png,normal\n")
    (tmp_path / "all" / "again").symlink_to("a")
    index = build_index([tmp_path / "all"], progress=False)
    assert len(index.rows) == 2
    assert "which is read by itself" in reasons(index)["again"]


def test_one_file_under_two_findings_is_rejected_by_both_names(tmp_path, picture):
    picture(tmp_path / "set" / "normal" / "0.png", 0)
    picture(tmp_path / "set" / "normal" / "1.png", 1)
    (tmp_path / "set" / "covid19").mkdir()
    (tmp_path / "set" / "covid19" / "2.png").symlink_to("../normal/1.png")
    index = build_index([tmp_path / "set"], progress=False)
    assert findings(index) == {"0.png": "no_finding"}
    same = "the same file is named as covid19 and as no_finding; keep the true one"
    assert reasons(index) == {"1.png": same, "2.png": same}


def test_images_that_the_table_of_their_folder_does_not_name_are_rejected(tmp_path, picture):
    picture(tmp_path / "set" / "0.png", 0)
    picture(tmp_path / "set" / "1.png", 1)
    (tmp_path / "set" / "images.csv").write_text("file;label\n0.png;normal\n")
    index = build_index([tmp_path / "set"], progress=False)
    assert findings(index) == {"0.png": "no_finding"}
    assert reasons(index) == {"1.png": "not in images.csv"}


def test_files_of_one_name_are_rejected_where_a_table_cannot_mean_one(tmp_path, picture):
    for name in ("a.png", "a.jpg", "b.png"):
        picture(tmp_path / "rsna" / "images" / name, len(name) + ord(name[0]))
    table = "patientId,x,y,width,height,Target\na,,,,,0\nb,,,,,1\n"
    (tmp_path / "rsna" / "stage_2_train_labels.csv").write_text(table)
    index = build_index([tmp_path / "rsna"], progress=False)
    assert findings(index) == {"b.png": "lung_opacity"}
    assert "2 files of this set have this name" in reasons(index)["a.png"]
    assert "2 files of this set have this name" in reasons(index)["a.jpg"]


def test_a_name_that_is_no_utf_8_comes_back_from_every_table(tmp_path, picture):
    picture(tmp_path / "set" / "normal" / "0.png", 0)
    picture(tmp_path / "set" / "normal" / "1.png", 1).rename(tmp_path / "set" / "normal" / "r\udcf6ntgen.png")
    index_sources([tmp_path / "set"], tmp_path / "index.csv", progress=False)
    assert r"r\xf6ntgen.png" in (tmp_path / "index.csv").read_text(encoding="utf-8")
    assert [Path(row.path).exists() for row in read_rows(tmp_path / "index.csv")] == [True, True]
    assert not list(tmp_path.glob("*.partial"))


def test_an_alias_typed_with_composed_accents_means_a_folder_with_decomposed_ones(tmp_path, picture):
    picture(tmp_path / "set" / "normal" / "0.png", 0)
    picture(tmp_path / "set" / unicodedata.normalize("NFD", "neumonía") / "1.png", 1)
    aliases = {unicodedata.normalize("NFC", "neumonía"): "pneumonia"}
    assert findings(build_index([tmp_path / "set"], finding_aliases=aliases, progress=False))["1.png"] == "pneumonia"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_an_index_that_a_spreadsheet_program_saved_again_still_works(tmp_path, picture, encoding):
    picture(tmp_path / "Müller" / "normal" / "=1+1.png", 0)
    picture(tmp_path / "Müller" / "covid19" / "1.png", 1)
    index_sources([tmp_path / "Müller"], tmp_path / "index.csv", progress=False)
    before = read_rows(tmp_path / "index.csv")
    with (tmp_path / "index.csv").open(newline="", encoding="utf-8") as stream:
        cells = list(csv.reader(stream))
    with (tmp_path / "saved.csv").open("w", newline="", encoding=encoding) as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerows([*cells, [""] * len(cells[0])])
    assert read_rows(tmp_path / "saved.csv") == before


def test_damaged_identifiers_and_ages_are_refused_with_the_cause(tmp_path):
    head = "path,source,finding,patient_id,age\n"
    (tmp_path / "t.csv").write_text(head + "a.png,s,normal,1.23457E+11,\n")
    with pytest.raises(DataError, match=r"line 2: 1\.23457E\+11 is a number that a spreadsheet program has shortened"):
        read_rows(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(head + "a.png,s,normal,p,05. Mai\n")
    with pytest.raises(DataError, match=r"line 2: age '05\. Mai' is a date"):
        read_rows(tmp_path / "t.csv")


def test_a_row_with_a_shortened_patient_is_rejected_with_the_cause(tmp_path, picture):
    picture(tmp_path / "0.png", 0)
    picture(tmp_path / "1.png", 1)
    (tmp_path / "t.csv").write_text("file;label;patient\n0.png;normal;1,23457E+11\n1.png;normal;17\n")
    index = build_index([tmp_path / "t.csv"], progress=False)
    assert findings(index) == {"1.png": "no_finding"}
    assert "shortened" in reasons(index)["0.png"]


def test_what_holds_identifiers_is_for_its_owner_only(tmp_path, dicom):
    dicom(tmp_path / "pacs" / "covid19" / "a.dcm", 1)
    (tmp_path / "index.csv").write_text("from before, readable by all")
    (tmp_path / "index.csv").chmod(0o644)
    index_sources([tmp_path / "pacs"], tmp_path / "index.csv", progress=False)
    made = [path for path in tmp_path.iterdir() if path.is_file()]
    assert {path.name for path in made} == {"index.csv", "index.rejected.csv", "index.memory.jsonl", KEY_FILE}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}


def test_pseudonyms_are_the_same_with_one_key_and_others_with_another(tmp_path, dicom):
    dicom(tmp_path / "pacs" / "covid19" / "a.dcm", 1)
    (row,) = build_index([tmp_path / "pacs"], memory=tmp_path / "1" / "m", progress=False).rows
    (again,) = build_index([tmp_path / "pacs"], memory=tmp_path / "1" / "m2", progress=False).rows
    (shared,) = build_index([tmp_path / "pacs"], key=tmp_path / "1" / KEY_FILE, progress=False).rows
    (other,) = build_index([tmp_path / "pacs"], memory=tmp_path / "2" / "m", progress=False).rows
    assert row == again == shared
    assert other.patient_id != row.patient_id != ""
    assert other.study_id != row.study_id != ""


def test_what_was_remembered_under_another_key_is_forgotten(tmp_path, dicom):
    dicom(tmp_path / "pacs" / "covid19" / "a.dcm", 1)
    memory = tmp_path / "memory.jsonl"
    memory.write_text(json.dumps({"patient_id": "f00dfeed", "key": json.dumps([1, "/a.dcm", 1, 1])}) + "\n")
    (first,) = build_index([tmp_path / "pacs"], memory=memory, progress=False).rows
    assert "f00dfeed" not in memory.read_text()
    (tmp_path / KEY_FILE).unlink()
    (second,) = build_index([tmp_path / "pacs"], memory=memory, progress=False).rows
    assert second.patient_id != first.patient_id
    assert first.patient_id.partition(":")[2] not in memory.read_text()


def test_splits_of_an_index_with_another_key_are_refused(tmp_path, dicom):
    for number in range(2):
        dicom(tmp_path / "pacs" / "covid19" / f"{number}.dcm", number)
    one, other = (build_index([tmp_path / "pacs"], progress=False).rows for _ in range(2))
    placed = [type(row)(**{**row.__dict__, "split": "train"}) for row in other]
    with pytest.raises(DataError, match="one key of pseudonyms"):
        reuse_splits(one, TASKS["covid-binary"], placed, name="splits.csv")


def test_free_text_of_a_header_reaches_no_table(tmp_path, dicom):
    dicom(tmp_path / "pacs" / "covid19" / "a.dcm", 1, ViewPosition="PA MUELLER", PatientSex="MUELLER", Modality="DX")
    dicom(tmp_path / "pacs" / "covid19" / "b.dcm", 2, BodyPartExamined="MUELLER HANS", ViewPosition="PA")
    dicom(tmp_path / "pacs" / "covid19" / "c.dcm", 3, BodyPartExamined="THORAX MUELLER", ViewPosition="MUELLER")
    index = build_index([tmp_path / "pacs"], memory=tmp_path / "memory.jsonl", progress=False)
    assert {Path(row.path).name: row.view for row in index.rows} == {"a.dcm": "PA", "c.dcm": "another value"}
    assert reasons(index) == {"b.dcm": "the DICOM header says body part another value, expected CHEST"}
    assert "MUELLER" not in repr(index) + (tmp_path / "memory.jsonl").read_text()


def test_hostile_names_stay_on_one_line_of_the_summary_and_are_no_formula(tmp_path, picture):
    picture(tmp_path / "=cmd" / "\x1b[31mx\ny" / "0.png", 0)
    picture(tmp_path / "=cmd" / "normal" / "1.png", 1)
    index = build_index([tmp_path / "=cmd"], progress=False)
    text = describe_index(index)
    assert "\x1b" not in text
    assert sum("x\\ny" in line for line in text.splitlines()) == 1
    write_rows(index.rows, tmp_path / "index.csv")
    assert ",'=cmd," in (tmp_path / "index.csv").read_text()
    assert read_rows(tmp_path / "index.csv") == list(index.rows)


@pytest.mark.parametrize("name, cause", [("file/i.csv", "a file where a folder is needed"), ("dir", "name a file")])
def test_an_output_that_cannot_be_written_is_found_before_any_image_is_read(tmp_path, picture, name, cause):
    picture(tmp_path / "set" / "normal" / "0.png", 0).write_bytes(b"would be rejected")
    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    with pytest.raises(ConfigError, match=cause):
        index_sources([tmp_path / "set"], tmp_path / name, progress=False)


def test_lists_of_a_public_set_are_read_as_another_program_saved_them(tmp_path, picture):
    picture(tmp_path / "covidx" / "train" / "müller.png", 0)
    (tmp_path / "covidx" / "train.txt").write_bytes("1 müller.png positive cohen\n".encode("cp1252"))
    index = build_index([tmp_path / "covidx"], layout="covidx", progress=False)
    assert findings(index) == {"müller.png": "covid19"}


def test_folders_of_images_to_refuse_say_what_they_leave_out(tmp_path, picture, caplog):
    picture(tmp_path / "ood" / "knee_xray" / "0.png", 0)
    (tmp_path / "ood" / "knee_xray" / "1.png").write_text("no image")
    (tmp_path / "ood" / "readme.md").write_text("about")
    assert len(with_ood_images([], [tmp_path / "ood"])) == 1
    assert "1 files rejected, 1 of them: unreadable: 1.png" in caplog.text
    assert "passed over 1 entry that is no image: 1 plain text" in caplog.text


def test_a_model_audit_reads_images_to_refuse_by_their_bytes_at_any_depth(tmp_path, picture, caplog):
    picture(tmp_path / "ood" / "photograph" / "a" / "0.png", 0).rename(tmp_path / "ood" / "photograph" / "a" / "1.2.3")
    (tmp_path / "ood" / "photograph" / "notes.txt").write_text("about")
    found = load_ood([tmp_path / "ood"], size=32)
    assert {kind: images.shape for kind, images in found.items()} == {"photograph": (1, 1, 32, 32)}
    assert "1 plain text" in caplog.text
