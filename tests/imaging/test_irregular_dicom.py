"""Irregular DICOM files: what every viewer shows is read like its regular twin, anything else is named."""

import numpy as np
import pytest

from irregular_dicom import GROUPS, files_of
from pocketcxr.errors import InputError
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
