"""Folders are searched in natural order, and one bad file stops no other."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from pocketcxr.inference.batch import find_images, predict_paths


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_searched_in_natural_order(tmp_path):
    _touch(tmp_path, "scan10.png", "scan2.png", "Scan1.PNG", "b/7.jpg", "b/a/1.dcm", "b/10.jpg")
    found = [str(path.relative_to(tmp_path)) for path in find_images([tmp_path])]
    assert found == ["b/7.jpg", "b/10.jpg", "b/a/1.dcm", "Scan1.PNG", "scan2.png", "scan10.png"]


def test_hidden_files_and_other_formats_are_passed_over(tmp_path):
    _touch(tmp_path, "a.png", "notes.txt", ".hidden.png", ".git/x.png", "table.csv", "README")
    assert [path.name for path in find_images([tmp_path])] == ["a.png"]


def test_dicom_and_pictures_without_a_suffix_are_found_by_their_first_bytes(tmp_path):
    (tmp_path / "1.2.840.113619").write_bytes(bytes(128) + b"DICM" + bytes(20))
    (tmp_path / "IM000001").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    (tmp_path / "LICENSE").write_text("not an image, but long enough to be looked at " * 20)
    assert [path.name for path in find_images([tmp_path])] == ["1.2.840.113619", "IM000001"]


def test_named_files_are_taken_as_they_are_and_twice_if_named_twice(tmp_path):
    named = [tmp_path / "z.txt", tmp_path / "absent.png", tmp_path / "z.txt"]
    assert list(find_images(named)) == named


def test_linked_folders_do_not_lead_in_circles(tmp_path):
    _touch(tmp_path, "a/1.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "2.png").symlink_to(tmp_path / "a" / "1.png")
    assert [path.name for path in find_images([tmp_path])] == ["1.png", "2.png"] or [
        path.name for path in find_images([tmp_path])
    ] == ["2.png", "1.png"]


def test_one_bad_file_stops_no_other(predictor, save_picture, tmp_path):
    save_picture(tmp_path / "1.png", brightness=0.8)
    (tmp_path / "2.png").write_text("a text file")
    (tmp_path / "3.png").touch()
    save_picture(tmp_path / "4.png", brightness=0.2)
    whole = (tmp_path / "4.png").read_bytes()
    (tmp_path / "5.png").write_bytes(whole[: len(whole) // 2])
    save_picture(tmp_path / "6.png", brightness=0.8)
    predictions = [scored.prediction for scored in predict_paths(predictor, [tmp_path, tmp_path / "absent.png"])]
    decisions = [prediction.decision for prediction in predictions]
    assert decisions == ["bright", "error", "error", "dark", "error", "bright", "error"]
    for prediction in predictions:
        if prediction.decision == "error":
            assert prediction.probabilities == {}
            assert prediction.novelty is None
            assert prediction.reasons[0].code == "unreadable"
            assert Path(prediction.path).name in prediction.reasons[0].words
            assert prediction.bundle == predictor.bundle.identity


def test_empty_folder_is_reported_and_not_silent(predictor, tmp_path):
    (tmp_path / "empty").mkdir()
    (prediction,) = [scored.prediction for scored in predict_paths(predictor, [tmp_path / "empty"])]
    assert prediction.decision == "error"
    assert "expected pictures" in prediction.reasons[0].words


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_without_permission_is_reported(predictor, save_picture, tmp_path):
    save_picture(tmp_path / "ok.png", brightness=0.8)
    (tmp_path / "locked").mkdir(mode=0)
    decisions = [scored.prediction.decision for scored in predict_paths(predictor, [tmp_path])]
    (tmp_path / "locked").chmod(0o700)
    assert sorted(decisions) == ["bright", "error"]


def test_file_name_that_is_no_text_gets_a_printable_path(predictor, save_picture, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    save_picture(odd, brightness=0.8)
    (scored,) = predict_paths(predictor, [odd])
    assert scored.prediction.decision == "bright"
    assert scored.prediction.path.encode("utf-8").endswith(rb"\xff.png")


def test_memory_does_not_grow_with_the_number_of_pictures(predictor, save_picture, tmp_path):
    for number in range(24):
        save_picture(tmp_path / f"{number}.png", brightness=0.8, shape=(400, 400))
    predictions = predict_paths(predictor, [tmp_path])
    next(predictions)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = [next(predictions).prediction.decision for _ in range(23)]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held == ["bright"] * 23
    assert grown < 2 * 400 * 400 * 4  # two images' worth; 23 would be 15 MB
