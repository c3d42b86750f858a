"""Reads device and exposure of a radiograph from a DICOM header: what tells hospitals apart, and names no person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from pydicom.multival import MultiValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.dataset import Dataset

FIELDS: dict[str, tuple[str, ...]] = {
    "manufacturer": ("Manufacturer",),
    "device_model": ("ManufacturerModelName",),
    "station": ("StationName", "DeviceSerialNumber"),
    "software": ("SoftwareVersions",),
    "detector": ("DetectorType", "DetectorDescription", "DetectorManufacturerModelName"),
    "kvp": ("KVP",),
    "exposure": ("Exposure", "ExposureInuAs"),
    "pixel_spacing": ("ImagerPixelSpacing", "PixelSpacing"),
}
"""Field to the elements that may hold it, the first that is filled counts (PS3.3 C.7.5.1, C.8.11.2, C.8.11.4)."""

NUMBERS = ("kvp", "exposure", "pixel_spacing")
"""Fields that hold a number: kilovolts, milliampere seconds, millimetres between rows."""

_PERSONAL = ("PatientName", "PatientID", "PatientBirthDate", "OtherPatientNames", "AccessionNumber")
_LONGEST = 64  # characters of VR LO, PS3.5 table 6.2-1
_SHORTEST_NAME = 3


def read_acquisition(dataset: Dataset) -> dict[str, str]:
    """Device and exposure of a header; fields that are not filled are left out.

    Text that holds a part of the patient's name, number or date of birth is left out too: the fields are kept in tables
    that travel with the images, and people type anything into a header.
    """
    personal = _personal_words(dataset)
    found: dict[str, str] = {}
    for name, keywords in FIELDS.items():
        filled = ((text, keyword) for keyword in keywords if (text := _text(dataset, keyword)))
        text, keyword = next(filled, ("", ""))
        text = _number(text, keyword=keyword) if name in NUMBERS else text
        if text and not any(word in text.casefold() for word in personal):
            found[name] = text
    return found


def _text(dataset: Dataset, keyword: str) -> str:
    """First value as printable text without outer or repeated blanks, cut to what the standard allows."""
    value = cast("object", dataset.get(keyword))
    if isinstance(value, MultiValue):
        value = next(iter(cast("Iterable[object]", value)), None)
    if value is None:
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())[:_LONGEST]


def _number(text: str, *, keyword: str) -> str:
    """A number in the field's unit with four digits; text that is none is not said."""
    try:
        value = float(text)
    except ValueError:
        return ""
    value = value / 1000 if keyword == "ExposureInuAs" else value
    return f"{value:.4g}" if 0 < value < float("inf") else ""


def _personal_words(dataset: Dataset) -> set[str]:
    texts = [str(dataset.get(keyword) or "") for keyword in _PERSONAL]
    words = {word.casefold() for text in texts for word in re.split(r"[^\w]+", text)}
    return {word for word in words if len(word) >= _SHORTEST_NAME}
