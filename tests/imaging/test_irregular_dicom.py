"""Irregular DICOM files: what every viewer shows is read like its regular twin, anything else is named."""

import zlib

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_files import bytes_of
from irregular_dicom import GROUPS, files_of, whole
from pocketcxr.errors import InputError, UnreadableImageError
from pocketcxr.imaging.reading import read_image_bytes

ROUNDED = 2e-4  # of entries that were stored with more bits


def answer(data, side):
    try:
        return read_image_bytes(data, "radiograph", side=side)
    except InputError as error:
        return error


@pytest.mark.parametrize("side", [None, 32], ids=["every pixel", "reduced"])
@pytest.mark.parametrize("group", GROUPS)
def test_an_irregular_file_is_read_like_its_regular_twin_or_named(group, side):
    files = files_of(group)
    faults = []
    for file in files:
        found, twin = answer(file.data, side), answer(file.plain, side) if file.plain else None
        if isinstance(found, InputError):
            if not file.code or found.code != file.code or file.words not in str(found):
                faults.append(f"{file.name}: {found.code}: {found}")
        elif twin is None or found.pixels.shape != twin.pixels.shape:
            faults.append(f"{file.name}: read")
        elif not np.abs(found.pixels - twin.pixels).max() <= ROUNDED or np.ptp(found.pixels) < 0.3:
            faults.append(f"{file.name}: pixels differ by {np.abs(found.pixels - twin.pixels).max()}")
    assert len(files) > 2
    assert not faults, "\n".join(faults)


def test_a_deflated_file_must_end_where_its_stream_does():
    data = bytes_of(whole(syntax=DeflatedExplicitVRLittleEndian))
    head = 144 + int.from_bytes(data[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    held = deflater.compress(zlib.decompress(data[head:], -15))
    unended = data[:head] + held + deflater.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(UnreadableImageError, match="the deflated data set is damaged or ends early"):
        read_image_bytes(unended, "radiograph")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    ended = data[:head] + deflater.compress(zlib.decompress(data[head:], -15)) + deflater.flush()
    np.testing.assert_array_equal(read_image_bytes(ended, "r").pixels, read_image_bytes(data, "r").pixels)
