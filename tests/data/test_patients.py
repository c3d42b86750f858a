"""A table of patients is joined to the images of any layout; unknown and ambiguous names are one clear line."""

import pytest

from pocketcxr.cli import main
from pocketcxr.data.adapters.patients import with_patients
from pocketcxr.data.index import build_index
from pocketcxr.data.rows import IndexRow, read_rows
from pocketcxr.data.summary import describe_index
from pocketcxr.errors import DataError


def _rows(folder, *names):
    return [IndexRow(str(folder / name), name.split("/")[0], "covid19", patient_id="own:1") for name in names]


def _table(folder, *lines, head="image,patient"):
    path = folder / "patients.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a/1.png", "1.png", "1", "a/1", "{folder}/a/1.png"])
def test_an_image_is_named_by_path_file_name_or_stem(name, tmp_path):
    rows = _rows(tmp_path, "a/1.png", "a/2.png")
    found = with_patients(rows, _table(tmp_path, name.format(folder=tmp_path) + ",P7"))
    assert [row.patient_id for row in found] == ["patients:P7", "own:1"]


def test_a_dot_in_a_name_is_no_suffix(tmp_path):
    rows = _rows(tmp_path, "a/1.2.840.dcm", "a/1.2.841.dcm")
    found = with_patients(rows, _table(tmp_path, "1.2.841,P7"))
    assert [row.patient_id for row in found] == ["own:1", "patients:P7"]


def test_a_patient_with_images_in_two_sources_stays_one(tmp_path):
    found = with_patients(_rows(tmp_path, "a/1.png", "b/2.png"), _table(tmp_path, "1,P7", "2,P7"))
    assert found[0].patient_id == found[1].patient_id


def test_an_empty_patient_changes_nothing(tmp_path):
    rows = _rows(tmp_path, "a/1.png")
    assert with_patients(rows, _table(tmp_path, "1,")) == rows


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1,P1", "9,P2"], "line 3: 9 is no image of these sources"),
        ([",P2"], "line 2: an empty name is no image"),
        (["2.png,P1"], "line 2: 2.png may be 2 images, such as"),
        (["1,P1", "a/1.png,P2"], "line 3: another patient for a/1.png than in line 2"),
    ],
)
def test_unknown_ambiguous_and_contradicting_lines_are_one_clear_line(lines, message, tmp_path):
    rows = _rows(tmp_path, "a/1.png", "a/2.png", "b/2.png")
    with pytest.raises(DataError, match=message) as raised:
        with_patients(rows, _table(tmp_path, *lines))
    assert "\n" not in str(raised.value)
    assert "P2" not in str(raised.value)


def test_a_path_from_the_tables_folder_is_not_ambiguous(tmp_path):
    rows = _rows(tmp_path, "2.png", "b/2.png")
    found = with_patients(rows, _table(tmp_path, "2.png,P1"))
    assert [row.patient_id for row in found] == ["patients:P1", "own:1"]


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(DataError, match="patient"):
        with_patients(_rows(tmp_path, "a/1.png"), _table(tmp_path, "1,P1", head="image,person"))


def test_the_command_joins_patients_and_the_summary_counts_images_without_one(tmp_path, picture):
    for seed in range(4):
        picture(tmp_path / "set" / ("normal", "covid19")[seed % 2] / f"{seed}.png", seed)
    (tmp_path / "set" / "normal" / "broken.png").write_bytes(b"")
    table = _table(tmp_path, "0,P1", "1,P1", "2,P2", "broken,P3")  # a file that is rejected may be named
    output = tmp_path / "index.csv"
    assert main(["index", str(tmp_path / "set"), "--patients", str(table), "-o", str(output), "--quiet"]) == 0
    assert sorted(row.patient_id for row in read_rows(output)) == ["", "patients:P1", "patients:P1", "patients:P2"]
    text = describe_index(build_index([tmp_path / "set"], patients=table, progress=False))
    assert "set: patient unknown for 1 of 4 images; each is a patient of its own" in text
