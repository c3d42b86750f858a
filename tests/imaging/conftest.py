"""Real tiny DICOM files as fixtures for the tests of the input path."""

import io

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_files import bytes_of, compressed, dataset_of


@pytest.fixture
def make_dicom():
    """Function: pixels and elements -> bytes of a DICOM file."""

    def make(pixels, **elements):
        return bytes_of(dataset_of(pixels, **elements))

    return make


@pytest.fixture
def make_dataset():
    """Function: pixels and elements -> pydicom data set, for tests that go on editing it."""
    return dataset_of


@pytest.fixture
def to_bytes():
    """Function: pydicom data set -> bytes of a DICOM file."""
    return bytes_of


@pytest.fixture
def make_lut_item():
    """Function: entries, first value, bits -> item of a Modality or VOI LUT sequence."""

    def make(entries, first, bits):
        item = Dataset()
        item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
        item.add_new("LUTData", "US", [int(entry) for entry in entries])
        item.ModalityLUTType = "US"
        return item

    return make


@pytest.fixture
def compress():
    """Function: data set, transfer syntax UID -> bytes of the file compressed by the codec at hand."""
    return compressed


@pytest.fixture
def without_file_meta():
    """Function: data set -> bytes as files from before 1996 have them: no preamble, no meta, implicit little endian."""

    def make(dataset):
        del dataset.file_meta
        stream = io.BytesIO()
        dataset.save_as(stream, implicit_vr=True, little_endian=True, enforce_file_format=False)
        return stream.getvalue()

    return make


@pytest.fixture(scope="session")
def ramp16():
    """[40, 50] uint16, every value different: an image in which any shift or swap shows."""
    return np.arange(2000, dtype=np.uint16).reshape(40, 50)
