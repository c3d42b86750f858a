"""The same image gives the same prediction however Python holds it; anything else is one of the project's errors."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_files import bytes_of, dataset_of
from pocketcxr.errors import ConfigError, InputError, UnreadableImageError, UnusableImageError
from pocketcxr.imaging.reading import read_image


@pytest.fixture(scope="module")
def grey():
    """A bright image of 8 bits with enough contrast."""
    return np.round(np.broadcast_to(np.linspace(0.7, 0.9, 160), (160, 160)) * 255).astype(np.uint8)


@pytest.fixture
def png(grey, tmp_path):
    Image.fromarray(grey).save(tmp_path / "x.png")
    return tmp_path / "x.png"


def _stream(path):
    return io.BytesIO(path.read_bytes())


@pytest.mark.parametrize(
    "kind, name",
    [
        (lambda path: path, None),
        (str, None),
        (lambda path: path.read_bytes(), "bytes"),
        (lambda path: bytearray(path.read_bytes()), "bytes"),
        (_stream, "file"),
        (lambda path: path.open("rb"), None),
        (lambda path: np.asarray(Image.open(path)), "array"),
        (lambda path: np.asarray(Image.open(path)).astype(np.uint16) * 257, "array"),
        (lambda path: np.asarray(Image.open(path)).astype(">u2") * 257, "array"),
        (lambda path: np.asarray(Image.open(path)) / 255, "array"),
        (lambda path: (np.asarray(Image.open(path)) / 255).astype(np.float32)[::-1][::-1], "array"),
        (read_image, "radiograph"),
    ],
)
def test_every_kind_of_input_gives_the_prediction_of_the_file(predictor, png, kind, name):
    given = kind(png)
    prediction = predictor.predict(given)
    if hasattr(given, "close"):
        given.close()
    expected = predictor.predict_file(png)
    assert prediction.path == (name or str(png))
    assert (prediction.decision, prediction.novelty) == ("bright", pytest.approx(expected.novelty, abs=1e-5))
    assert prediction.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


def test_a_data_set_gives_the_prediction_of_its_file_and_stays_as_it_is(predictor, grey, tmp_path):
    data = bytes_of(dataset_of(grey))
    (tmp_path / "x.dcm").write_bytes(data)
    dataset = dcmread(io.BytesIO(data))
    before = str(dataset), str(dataset.file_meta)
    prediction = predictor.predict(dataset)
    assert prediction.path == "DICOM data set"
    assert prediction.probabilities == predictor.predict_file(tmp_path / "x.dcm").probabilities
    assert (str(dataset), str(dataset.file_meta)) == before


def test_a_data_set_made_in_memory_needs_no_file_header(predictor, grey):
    dataset = Dataset()
    for element in dataset_of(grey):
        dataset.add(element)
    assert not hasattr(dataset, "file_meta")
    assert predictor.predict(dataset).decision == "bright"


def test_data_sets_without_pixels_or_with_values_that_cannot_be_written_are_refused(predictor, grey):
    empty = Dataset()
    empty.PatientName = "Secret^Name"
    with pytest.raises(InputError) as caught:
        predictor.predict(empty)
    assert "Secret" not in str(caught.value)
    damaged = dcmread(io.BytesIO(bytes_of(dataset_of(grey))))
    del damaged.PixelData
    with pytest.raises(UnusableImageError, match="without pixel data"):
        predictor.predict(damaged)
    wrong = dcmread(io.BytesIO(bytes_of(dataset_of(grey))))
    wrong.add_new(0x00100010, "PN", "Secret^Name")
    wrong["Rows"]._value = "many"
    with pytest.raises(UnreadableImageError, match="cannot be written") as caught:
        predictor.predict(wrong)
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize("given", [None, 5, 3.5, [[0.1]], {"a": 1}, object(), Image.new("L", (200, 200))])
def test_other_types_are_refused_by_name(predictor, given):
    with pytest.raises(InputError, match=f"expected a path, bytes.*found {type(given).__name__}"):
        predictor.predict(given)


@pytest.mark.parametrize(
    "array, said",
    [
        (np.zeros((160, 160, 3), np.uint8), r"2-D array.*uint8 \[160, 160, 3\]; average or choose the colour"),
        (np.zeros(160, np.uint8), r"uint8 \[160\]"),
        (np.zeros((), np.uint8), r"uint8 \[\]"),
        (np.zeros((160, 160), np.int16), "found int16"),
        (np.zeros((160, 160), np.int64), "found int64"),
        (np.zeros((160, 160), bool), "found bool"),
        (np.zeros((160, 160), complex), "found complex128"),
        (np.full((160, 160), "x"), "found <U1"),
        (np.full((160, 160), None), "found object"),
        (np.full((160, 160), 200.0), "found values from 200 to 200"),
        (np.full((160, 160), -0.1), "found values from -0.1"),
        (np.where(np.eye(160) > 0, np.nan, 0.5), "found values from nan"),
        (np.where(np.eye(160) > 0, np.inf, 0.5), "to inf"),
    ],
)
def test_arrays_of_another_shape_type_or_range_are_refused(predictor, array, said):
    with pytest.raises(UnusableImageError, match=said):
        predictor.predict(array)


@pytest.mark.parametrize("shape", [(0, 0), (0, 160), (160, 0), (9000, 9000)])
def test_arrays_without_pixels_or_with_too_many_are_refused(predictor, shape):
    with pytest.raises(UnreadableImageError, match="array"):
        predictor.predict(np.broadcast_to(np.uint8(1), shape))


@pytest.mark.parametrize(
    "given, said",
    [
        (b"", "bytes: the file is empty"),
        (b"not an image", "bytes: expected DICOM, PNG"),
        (".", "found a folder"),
        ("absent.png", "absent.png: there is no such file"),
        ("nul\0.png", "cannot be read"),
        (io.BytesIO(b""), "the file is empty"),
    ],
)
def test_unreadable_inputs_are_the_projects_own_errors(predictor, given, said):
    with pytest.raises(InputError, match=said):
        predictor.predict(given)


@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_path_is_refused_and_never_means_the_working_folder(predictor, given):
    with pytest.raises(ConfigError, match="found an empty one"):
        predictor.predict(given)
    with pytest.raises(ConfigError, match="found an empty one"):
        predictor.predict_many([given])


def test_files_that_are_closed_or_opened_as_text_are_refused(predictor, tmp_path):
    (tmp_path / "x.txt").write_text("text")
    with (tmp_path / "x.txt").open() as stream, pytest.raises(InputError, match="opened in binary mode, found str"):
        predictor.predict(stream)
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        predictor.predict(stream)
    with pytest.raises(UnreadableImageError, match="expected the path of an image, found int"):
        read_image(5)
