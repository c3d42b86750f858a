"""Removes whatever identifies a patient from a DICOM file: PS3.15 annex E, basic profile with modified dates.

The table of the standard comes from dicom-anonymizer, which applies it at one level of a data set; here it is applied
at every level. It names elements, and people write names into others: so elements of kinds that hold free text, and
every element that repeats an identifier of this file, go too. Last, the bytes are searched for all identifiers.
"""

from __future__ import annotations

import re
import warnings
from datetime import date, timedelta
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pydicom
from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions, keep, replace_UID
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.pixels import decompress
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import ExplicitVRLittleEndian

from pocketcxr.data.pseudonyms import pseudonym
from pocketcxr.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydicom.dataelem import DataElement

TABLE = "dicomfields_2026c"
"""Edition of PS3.15 whose table is applied."""

_STANDARD_UIDS = "1.2.840.10008."
_FREE_TEXT = frozenset({"AE", "AS", "LT", "OB", "OD", "OF", "OL", "OV", "OW", "PN", "ST", "TM", "UC", "UN", "UR", "UT"})
_NAMED = re.compile("ID|IDs|Name|Names|Number|Address|Institution|Telephone|Physician|Station|Serial|Operator|Birth")
_NO_NAMES = re.compile("Protocol|Model|Scheme")
_PIXELS, _PICTURE_GROUP = "PixelData", 0x0028
_SHIFT_DAYS = (366, 3653)  # at least a year, so that no shifted date is an own one
_SHORTEST_IN_HEADER, _SHORTEST_IN_PIXELS = 4, 8  # bytes; shorter ones are found by chance
_METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
}


def deidentified(data: bytes, key: bytes) -> tuple[str, str, bytes]:
    """Pseudonym of the patient, that of the image, and the file without identifiers, uncompressed.

    Raises:
        DataError: no DICOM image, no patient ID, damaged pixels, or an identifier that cannot be removed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid values, most of which go
            return _deidentified(pydicom.dcmread(BytesIO(data)), key)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  # pydicom and its decoders raise nearly everything on damaged files
        raise DataError(f"expected a DICOM image that can be read whole, found {type(error).__name__}") from None


def _deidentified(dataset: Dataset, key: bytes) -> tuple[str, str, bytes]:
    patient = str(dataset.get("PatientID") or "").strip()
    if not patient:
        raise DataError("has no patient ID: pseudonym and shift of dates come from it; nothing is made up")
    if _PIXELS not in dataset:
        raise DataError("holds no picture")
    identifiers = frozenset(_identifiers(dataset))
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        decompress(dataset, generate_instance_uid=False)  # what a codec's comments say goes with them
    dataset.PixelData = dataset.PixelData[: (length := get_expected_length(dataset))]
    if len(dataset.PixelData) < length:
        raise DataError(f"expected {length} bytes of pixels, found {len(dataset.PixelData)}")
    name, first = pseudonym(patient, key), _SHIFT_DAYS[0]
    days = first + int(pseudonym(f"days of {patient}", key), 16) % (_SHIFT_DAYS[1] - first)
    clean = _clean(dataset, _rules(), lambda uid: _new_uid(uid, key), timedelta(days=days))
    _drop_what_repeats(clean, identifiers)
    clean.PatientID = clean.PatientName = name
    clean.PatientIdentityRemoved, clean.LongitudinalTemporalInformationModified = "YES", "MODIFIED"
    clean.DeidentificationMethod = f"pocketcxr deidentify, {TABLE}"
    clean.DeidentificationMethodCodeSequence = [_code(*one) for one in _METHODS.items()]
    clean.SpecificCharacterSet = "ISO_IR 192"
    written = _written(clean)
    _search(clean, written, identifiers)
    return name, pseudonym(str(clean.SOPInstanceUID), key), written


@cache
def _rules() -> dict[Any, Callable[..., None]]:
    """The standard's table; dates and UIDs are left to `_clean`, which has the key."""
    found: dict[Any, Callable[..., None]] = {}
    for tag, action in initialize_actions(TABLE).items():
        known = len(tag) == 2 and dictionary_has_tag(tag)  # noqa: PLR2004
        kind = dictionary_VR(tag) if known else ""
        found[tag] = keep if action is replace_UID or kind in {"DA", "DT", "UI"} else action
    return found


def _clean(dataset: Dataset, rules: dict, new_uid: Callable[[str], str], shift: timedelta) -> Dataset:
    """Apply the table at this level, then to each level below; returns the same data set."""
    anonymize_dataset(dataset, None, True, lambda: dict(rules))
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                _clean(item, rules, new_uid, shift)
        elif element.VR == "UI":
            element.value = _each(element.value, new_uid)
        elif element.VR in {"DA", "DT"}:
            element.value = (
                "" if "Birth" in element.keyword else _each(element.value, lambda text: _shifted(text, shift))
            )
        elif element.keyword != _PIXELS and (_is_free(element) or not dictionary_has_tag(element.tag)):
            _empty(dataset, element)
    return dataset


def _is_free(element: DataElement) -> bool:
    """Whether an element may hold any text or bytes; tables of grey levels and colours (group 0028) are kept."""
    return element.VR in _FREE_TEXT and not (element.VR == "OW" and element.tag.group == _PICTURE_GROUP)


def _empty(dataset: Dataset, element: DataElement) -> None:
    """Empty what a data set may have to have, such as a time; remove the rest."""
    if element.VR in {"TM", "PN"}:
        element.value = ""
    else:
        del dataset[element.tag]


def _each(value: Any, change: Callable[[str], str]) -> Any:
    return [change(str(one)) for one in value] if isinstance(value, MultiValue) else change(str(value or ""))


def _new_uid(uid: str, key: bytes) -> str:
    """A UID of the standard itself stays; every other one is replaced by the same one each time."""
    if not uid or uid.startswith(_STANDARD_UIDS):
        return uid
    return f"2.25.{UUID(hex=pseudonym(uid, key) + pseudonym(f'{uid} ', key), version=4).int}"


def _shifted(text: str, shift: timedelta) -> str:
    """A date, or the date of a time stamp, so many days earlier; "" where it is none."""
    try:
        return f"{date.fromisoformat(text[:8]) - shift:%Y%m%d}" if text[:8].isdigit() else ""
    except (ValueError, OverflowError):
        return ""


def _identifiers(dataset: Dataset) -> Iterator[str]:
    """What identifies in this file: names and their parts, numbers, places, dates, UIDs of all levels."""
    for element in dataset.iterall():
        if element.VR in {"SQ", "OB", "OW", "US", "SS", "UL", "SL", "FL", "FD", "AT"}:
            continue
        values = element.value if isinstance(element.value, MultiValue) else [element.value]
        for value in filter(None, (str(one).strip() for one in values)):
            if element.VR == "PN":
                yield from (part for part in re.split(r"[\^=\s,]+", value) if part)
            named = element.VR in {"SH", "LO", "AE", "UC"} and _NAMED.search(element.keyword)
            named = named and not _NO_NAMES.search(element.keyword)
            if (
                element.VR in {"PN", "DA", "DT"}
                or named
                or (element.VR == "UI" and not value.startswith(_STANDARD_UIDS))
            ):
                yield value


def _drop_what_repeats(dataset: Dataset, identifiers: frozenset[str]) -> None:
    """Remove elements of text that contain an identifier, at every level."""
    words = [one.casefold() for one in identifiers if len(one) >= _SHORTEST_IN_HEADER]

    def drop(level: Dataset, element: DataElement) -> None:
        if element.VR in {"CS", "DS", "IS", "LO", "SH"} and any(one in str(element.value).casefold() for one in words):
            del level[element.tag]

    dataset.walk(drop)


def _search(dataset: Dataset, written: bytes, identifiers: frozenset[str]) -> None:
    """Refuse a file that still holds an identifier, in any of the usual encodings, in header or pixels."""
    end = len(written) - len(dataset.PixelData)  # nothing stands behind the pixels
    header, pixels = written[:end].lower(), written[end:]
    own = {str(element.value) for element in dataset.iterall() if element.VR in {"DA", "DT", "UI"}}
    for one in identifiers - own:
        for spelled in {one, one.casefold(), one.upper()}:
            for encoding in ("utf-8", "latin-1", "utf-16-le"):
                found = spelled.encode(encoding, "ignore")
                in_header = len(found) >= _SHORTEST_IN_HEADER and found.lower() in header
                if in_header or (len(found) >= _SHORTEST_IN_PIXELS and found in pixels):
                    place = "header" if in_header else "pixels"
                    raise DataError(
                        f"an identifier remains in its {place}, which cannot be removed; nothing is written"
                    )


def _written(dataset: Dataset) -> bytes:
    """The file, with a preamble and file meta information of its own."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.preamble = bytes(128)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
