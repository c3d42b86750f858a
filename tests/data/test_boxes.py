"""Boxes of the sets' own tables and of a table of one's own, as shares of the image; a fault is one clear line."""

import os
from pathlib import Path

import numpy as np
import pytest

from pocketcxr.data.boxes import box_mask, known_boxes, on_square, read_boxes
from pocketcxr.data.rows import IndexRow
from pocketcxr.errors import DataError

COLUMNS = "image,x_min,y_min,x_max,y_max,width,height"


def _rows(folder, *names, **facts):
    return [IndexRow(str(folder / name), "own", "covid19", **facts) for name in names]


def _siim(folder, label, size="400,200"):
    (folder / "train_image_level.csv").write_text(
        f"id,boxes,label,StudyInstanceUID\na_image,,{label},s\nb_image,,none 1 0 0 1 1,s\n"
    )
    (folder / "patients.csv").write_text(
        f"image,patient,study,original_width,original_height\na,p,s,{size}\nb,p,s,10,10\n"
    )
    return _rows(folder / "train", "a.jpg", "b.jpg", "c.jpg")


def test_siims_boxes_are_shares_of_the_original_and_an_image_without_a_line_has_no_entry(tmp_path):
    rows = _siim(tmp_path, "opacity 1 40 20 200 100 opacity 1 200 100 400 200")
    found = read_boxes(rows)
    assert found[rows[0].path].tolist() == [[0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
    assert found[rows[1].path].shape == (0, 4)
    assert rows[2].path not in found


def test_an_image_without_a_box_is_unknown_where_another_of_its_study_has_some():
    none, some = np.zeros((0, 4)), np.array([[0.1, 0.1, 0.5, 0.5]])
    studies = {"a": "s:1", "b": "s:1", "c": "s:2", "d": "", "e": "", "f": "s:3"}
    rows = [IndexRow(name, "own", "", study_id=study) for name, study in studies.items()]
    boxes = {"a": some, "b": none, "c": none, "d": some, "e": none}
    assert known_boxes(boxes, rows).keys() == {"a", "c", "d", "e"}  # d and e share no study: none is named


def test_without_the_original_size_a_box_in_pixels_means_nothing_unless_the_file_is_the_original(tmp_path):
    rows = _siim(tmp_path, "opacity 1 40 20 200 100")
    (tmp_path / "patients.csv").unlink()
    assert read_boxes(rows) == {}
    dicom = _rows(tmp_path / "train" / "study", "a.dcm", width=400, height=200)
    assert read_boxes(dicom)[dicom[0].path].tolist() == [[0.1, 0.1, 0.5, 0.5]]


def test_rsnas_boxes_have_a_corner_and_an_extent_and_may_be_absent(tmp_path):
    table = tmp_path / "stage_2_train_labels.csv"
    table.write_text("patientId,x,y,width,height,Target\na,256,512,256,128,1\na,0,0,512,512,1\nb,,,,,0\n")
    rows = _rows(tmp_path / "images", "a.png", "b.png")
    found = read_boxes(rows)
    assert found[rows[0].path].tolist() == [[0.25, 0.5, 0.5, 0.625], [0, 0, 0.5, 0.5]]
    assert found[rows[1].path].shape == (0, 4)
    table.write_text("patientId,Target\na,1\nb,0\n")
    assert read_boxes(rows) == {}


def test_a_table_of_ones_own_counts_more_and_may_name_images_that_are_not_there(tmp_path):
    rows = _siim(tmp_path, "opacity 1 40 20 200 100")
    table = tmp_path / "mine.csv"
    table.write_text(f"{COLUMNS}\ntrain/a,0,0,5,10,10,20\na.jpg,5,10,10,20,10,20\nc,,,,,,\nelsewhere,1,1,2,2,10,10\n")
    found = read_boxes(rows, table)
    assert found[rows[0].path].tolist() == [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]
    assert found[rows[1].path].shape == found[rows[2].path].shape == (0, 4)


@pytest.mark.parametrize(
    ("label", "size", "message"),
    [
        ("opacity 1 40 20 200", "400,200", "line 2: expected six words per box"),
        ("opacity 1 40 20 two 100", "400,200", "line 2: expected 4 numbers"),
        ("opacity 1 40 20 40 100", "400,200", "line 2: expected a box"),
        ("opacity 1 40 20 200 100", "100,200", "inside an image of 100 x 200"),
        ("opacity 1 40 20 200 100", "0,200", "found 0 x 200"),
        ("opacity 1 40 20 200 100", "wide,200", r"patients\.csv, line 2: expected 2 numbers"),
    ],
)
def test_what_is_wrong_in_siims_tables_is_one_clear_line(label, size, message, tmp_path):
    with pytest.raises(DataError, match=message) as raised:
        read_boxes(_siim(tmp_path, label, size))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,x_min\na,1\n", "y_min"),
        (f"{COLUMNS}\nz,1,1,2,2,10,10\n", "none of its lines names an image"),
        (f"{COLUMNS}\n1.png,1,1,2,2,10,10\n", "may be 2 images"),
        (f"{COLUMNS}\na/1,1,1,2,,10,10\n", "expected 6 numbers"),
        (f"{COLUMNS}\na/1,1,1,2,nan,10,10\n", "expected 6 numbers"),
        (f"{COLUMNS}\na/1,3,1,2,2,10,10\n", "expected a box"),
    ],
)
def test_what_is_wrong_in_a_table_of_ones_own_is_one_clear_line(text, message, tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        read_boxes(_rows(tmp_path, "a/1.png", "b/1.png"), table)
    assert "\n" not in str(raised.value)


def test_boxes_of_a_padded_image_move_with_it(tmp_path):
    rows = _rows(tmp_path, "a.png", width=200, height=100)
    boxes = {rows[0].path: np.array([[0.0, 0.0, 0.5, 1.0]])}
    assert on_square(boxes, rows, aspect="pad")[rows[0].path].tolist() == [[0, 0.25, 0.5, 0.75]]
    assert on_square(boxes, rows, aspect="squash")[rows[0].path] is boxes[rows[0].path]


def test_a_mask_joins_boxes_and_keeps_the_smallest():
    mask = box_mask(np.array([[0, 0, 0.5, 0.25], [0.25, 0, 0.5, 0.5], [0.9, 0.9, 0.91, 0.91]]), 8)
    assert mask.sum() == 2 * 4 + 2 * 2 + 1
    assert mask[7, 7]
    assert not box_mask(np.zeros((0, 4)), 8).any()


def test_real_siim_boxes_fit_the_reduced_images():
    folder = Path(os.environ.get("POCKETCXR_DATA", "")) / "siim"
    if not os.environ.get("POCKETCXR_DATA") or not (folder / "patients.csv").is_file():
        pytest.skip("real X-rays: POCKETCXR_DATA names no folder with siim/patients.csv")
    rows = _rows(folder / "train", *(path.name for path in sorted((folder / "train").iterdir())))
    found = read_boxes(rows)
    with_boxes = [boxes for boxes in found.values() if len(boxes)]
    assert len(found) == len(rows)
    assert len(with_boxes) > 3000
    assert all((boxes >= 0).all() and (boxes <= 1).all() for boxes in with_boxes)
    middle = np.mean([box_mask(boxes, 32) for boxes in with_boxes], axis=0)
    assert middle[16, 6:10].mean() > 3 * middle[16, 16]  # in the lungs, not in the spine between them
