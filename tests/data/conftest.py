"""Tiny real images for the tests of index, splits and pixel store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def draw(seed: int, size: int = 96) -> np.ndarray:
    """A smooth random image with fine structure, float [size, size] in [0, 1]; other seeds look quite different."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.random((8, 8)).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.random((32, 32)).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    return np.clip(0.6 * np.asarray(coarse) + 0.4 * np.asarray(fine), 0, 1)


@pytest.fixture(scope="session")
def picture() -> Callable[..., Path]:
    """Writes image number `seed` to a path, in the format of its suffix, making folders; returns the path."""

    def write(path: Path, seed: int, *, size: int = 96) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((draw(seed, size) * 255).astype(np.uint8))
        if path.suffix == ".dcm":
            write_dicom(path, np.asarray(image))
        else:
            image.save(path)
        return path

    return write


def write_dicom(path: Path, pixels: np.ndarray, **elements: str) -> None:
    """A secondary capture of an 8-bit image, with chest headers unless told otherwise."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    said = {
        "PatientID": "4711",
        "StudyInstanceUID": "1.2.3",
        "PatientSex": "F",
        "PatientAge": "061Y",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PhotometricInterpretation": "MONOCHROME2",
    }
    for keyword, value in (said | elements).items():
        setattr(data, keyword, value)
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = pixels.astype(np.uint8).tobytes()
    data.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="session")
def dicom() -> Callable[..., Path]:
    """Writes image number `seed` as DICOM with the header elements given; returns the path."""

    def write(path: Path, seed: int, **elements: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dicom(path, (draw(seed) * 255).astype(np.uint8), **elements)
        return path

    return write
