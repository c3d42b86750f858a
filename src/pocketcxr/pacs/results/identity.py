"""What identifies results: UIDs derived from input and bundle, the program as their maker, the patient's header.

The same image and bundle always give the same UIDs, so an archive that is given a result twice holds it once.
"""

from __future__ import annotations

import hashlib
import uuid
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pydicom
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

from pocketcxr.version import __version__

REPORT, CAPTURE, MAP = "report", "capture", "map"
KINDS = (REPORT, CAPTURE, MAP)
"""What is stored of a scored image; one that is not scored gets a report only."""

RESULT_FORMAT = "1"
"""Enters the UIDs: raised when objects change so that archives should hold the new ones beside the old."""

MANUFACTURER = "pocketcxr founders"
_SERIES_NUMBERS = {REPORT: 9801, CAPTURE: 9802, MAP: 9803}
_DESCRIPTIONS = {REPORT: "pocketcxr report", CAPTURE: "pocketcxr heatmap", MAP: "pocketcxr saliency map"}
# Those that decide in which study an archive files an object stay as they are, whatever they hold.
_FILING = ("StudyInstanceUID", "PatientID")
_COPIED = {
    "PatientID": "LO", "PatientName": "PN", "PatientBirthDate": "DA", "PatientSex": "CS", "StudyDate": "DA",
    "StudyTime": "TM", "AccessionNumber": "SH", "StudyID": "SH", "ReferringPhysicianName": "PN",
}  # fmt: skip
_SPACING_MM = (0.01, 10.0)
_SEXES = ("M", "F", "O", "")


@dataclass(frozen=True)
class Instance:
    """An image in the archive, as the archive's index has it."""

    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    patient_id: str = ""


def derived_uid(*parts: str) -> str:
    """A UID that depends on nothing but `parts`: ``2.25.`` and a UUID (PS3.5 B.2) from their SHA-256."""
    digest = hashlib.sha256("\0".join(("pocketcxr", RESULT_FORMAT, *parts)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def result_uid(sop_instance_uid: str, bundle_sha256: str, kind: str) -> str:
    """SOP instance UID of one kind of result for one image."""
    return derived_uid(sop_instance_uid, bundle_sha256, kind)


def series_uid(study_uid: str, bundle_sha256: str, kind: str) -> str:
    """Series instance UID of one kind of result for all images of a study."""
    return derived_uid(study_uid, bundle_sha256, "series", kind)


def maker(instance: Instance, bundle_sha256: str, bundle_version: str, kind: str) -> dict[str, Any]:
    """Arguments that every object of highdicom takes: UIDs, numbers, and the program as the device."""
    return {
        "series_instance_uid": series_uid(instance.study_uid, bundle_sha256, kind),
        "series_number": _SERIES_NUMBERS[kind],
        "sop_instance_uid": result_uid(instance.sop_instance_uid, bundle_sha256, kind),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": "pocketcxr",
        "software_versions": f"{__version__}, bundle {bundle_version}"[:64],
        "device_serial_number": bundle_sha256[:16],
        "series_description": f"{_DESCRIPTIONS[kind]} (research only)",
    }


def read_header(data: bytes) -> Dataset:
    """The header of a file without its pixels; an empty one where it cannot be read.

    Results of such a file carry only what the archive's index says of it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(BytesIO(data), stop_before_pixels=True, force=True)
    except Exception:  # noqa: BLE001  # pydicom raises nearly everything on damaged files
        return Dataset()


def evidence_of(header: Dataset, instance: Instance) -> Dataset:
    """A header with what results copy: patient and study as the file has them, UIDs as the archive has them.

    Values that the standard does not allow are left empty, so that one bad element of the input does not make every
    result invalid; those that decide where an archive files the object are kept.
    """
    evidence = Dataset()
    evidence.SpecificCharacterSet = "ISO_IR 192"
    for keyword, vr in _COPIED.items():
        evidence.add(DataElement(tag_for_keyword(keyword) or 0, vr, _valid(header, keyword, vr)))
    if instance.patient_id and not evidence.PatientID:
        evidence.PatientID = instance.patient_id
    evidence.StudyInstanceUID, evidence.SeriesInstanceUID = instance.study_uid, instance.series_uid
    evidence.SOPClassUID, evidence.SOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    evidence.Modality = _valid(header, "Modality", "CS") or "OT"
    spacing = _spacing(header)
    if spacing:
        evidence.ImagerPixelSpacing = spacing
    evidence.Rows = evidence.Columns = 1  # highdicom looks for them; no result holds them
    return evidence


def _spacing(header: Dataset) -> list[float]:
    """Millimetres between rows and columns at the detector; empty where the header does not say or makes no sense."""
    try:
        found = header.get("ImagerPixelSpacing") or header.get("PixelSpacing") or ()
        values = [float(value) for value in found]
    except Exception:  # noqa: BLE001  # pydicom's converters raise nearly everything on invalid text
        return []
    plausible = len(values) == 2 and all(_SPACING_MM[0] <= value <= _SPACING_MM[1] for value in values)  # noqa: PLR2004
    return values if plausible else []


def _valid(header: Dataset, keyword: str, vr: str) -> Any:
    try:
        value = header.get(keyword)
        if value is None or (keyword == "PatientSex" and str(value) not in _SEXES):
            return ""
        if keyword in _FILING:
            return str(value)
        if isinstance(value, MultiValue) or not str(value).isprintable():
            return ""
        validate_value(vr, str(value), config.RAISE)
        return value if vr == "PN" else str(value)
    except Exception:  # noqa: BLE001  # pydicom's converters raise nearly everything on invalid text
        return ""
