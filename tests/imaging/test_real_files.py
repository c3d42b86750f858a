"""Real DICOM files and originals as published, from the folder that POCKETCXR_DATA names."""

import os
from pathlib import Path

import numpy as np
import pytest

from pocketcxr.imaging.input_checks import refusal_reasons
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize

FOLDER = Path(os.environ.get("POCKETCXR_DATA", "/nowhere"))
pytestmark = pytest.mark.skipif(
    not (FOLDER / "dicom").is_dir(), reason="POCKETCXR_DATA names no folder with dicom/ and full_size/"
)

DICOM = {
    "test1": [],
    "test2": [],
    "test3": [],
    "test4": ["body-part"],
    "test5": ["modality"],
    "test6": ["view"],
    "RG1_J2KI": [],
    "CR-MONO1-10-chest": [],
    "RG3_J2KI": ["body-part", "orientation"],  # its R marker is mirrored, as the header says
    # teeth, but its header names neither body part nor view: for the novelty score to find
    "CR-ModalitySequenceLUT": [],
}


@pytest.mark.parametrize(("stem", "expected"), DICOM.items(), ids=DICOM)
def test_dicom_files_pass_or_are_refused_by_their_headers(stem, expected):
    result = read_image(FOLDER / "dicom" / f"{stem}.dcm")
    assert result.metadata.format == "DICOM"
    assert result.pixels.shape == (result.metadata.height, result.metadata.width)
    assert [reason.code for reason in refusal_reasons(result)] == expected


@pytest.mark.parametrize("stem", ["test1", "test2", "test3", "RG1_J2KI", "CR-MONO1-10-chest"])
def test_chests_have_dark_lungs_and_a_bright_spine(stem):
    pixels = resize(read_image(FOLDER / "dicom" / f"{stem}.dcm").pixels, size=64)
    spine, lungs = pixels[20:40, 28:36], np.concatenate([pixels[18:34, 12:20], pixels[18:34, 44:52]])
    assert np.median(spine) > np.median(lungs) + 0.05


def test_the_black_frame_around_the_teeth_is_black():
    pixels = read_image(FOLDER / "dicom" / "CR-ModalitySequenceLUT.dcm").pixels
    assert pixels[:400].max() < 0.05
    assert pixels.max() > 0.9


def test_originals_as_published_are_read_and_may_be_scored():
    paths = sorted((FOLDER / "full_size").iterdir())
    assert len(paths) == 12
    formats = {}
    for path in paths:
        result = read_image(path)
        assert refusal_reasons(result) == (), path.name
        assert 0 <= result.pixels.min() <= result.pixels.max() <= 1
        formats[path.name] = result.metadata.format
    assert formats["000001-19.jpg"] == "PNG"  # as published


def test_frontal_films_are_not_refused():
    paths = sorted((FOLDER / "kermany").rglob("*.jpeg"))[::40] + sorted((FOLDER / "siim" / "train").iterdir())[::60]
    refused = [path.name for path in paths if refusal_reasons(read_image(path))]
    assert len(paths) > 100
    assert len(refused) <= len(paths) * 0.005


def test_photographs_are_refused():
    paths = sorted((FOLDER / "not_cxr" / "photograph").iterdir())[::5]
    assert sum(bool(refusal_reasons(read_image(path))) for path in paths) > 0.9 * len(paths)
