"""Reads `ImageMetadata` from a DICOM header."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydicom.multival import MultiValue

from pocketcxr.imaging.dicom.acquisition import read_acquisition
from pocketcxr.imaging.radiograph import ImageMetadata

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.dataset import Dataset

# PS3.16 CID 4010 (DX View), SNOMED CT and the retired SRT codes; all others keep their meaning as text
_FRONTAL_VIEW_CODES = {"272479007": "PA", "R-10214": "PA", "399348003": "AP", "R-10206": "AP"}
# PS3.16 CID 4009 and 4030, current, former and SRT codes
_CHEST_CODES = {"816094009", "51185008", "43799004", "T-D3000", "39607008", "T-28000"}
# PS3.3 C.7.3.1.1.2: how the patient lies, and which side is down
_RECUMBENT_POSITIONS = {
    *("HFP", "HFS", "HFDR", "HFDL", "HFV", "FFDR", "FFDL", "FFP", "FFS", "FFV"),
    *("LFP", "LFS", "RFP", "RFS", "AFDR", "AFDL", "PFDR", "PFDL"),
}
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def read_metadata(dataset: Dataset, shape: tuple[int, ...], *, colour: bool, notes: tuple[str, ...]) -> ImageMetadata:
    """Collect the header's metadata; `shape` is of the pixels, [H, W]."""
    return ImageMetadata(
        format="DICOM",
        width=shape[1],
        height=shape[0],
        bits=int(dataset.BitsStored),
        colour=colour,
        modality=_text(dataset, "Modality"),
        body_part=_body_part(dataset),
        view=_view(dataset),
        orientation=_text(dataset, "PatientOrientation"),
        patient_id=_text(dataset, "PatientID"),
        study_id=_text(dataset, "StudyInstanceUID"),
        sex=_text(dataset, "PatientSex"),
        age=_age(_text(dataset, "PatientAge")),
        notes=notes,
        acquisition=tuple(read_acquisition(dataset).items()),
    )


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    if value is None:
        return ""
    if isinstance(value, list | tuple | MultiValue):
        return "\\".join(str(part).strip() for part in cast("Iterable[object]", value))
    return str(value).strip()


def _code(dataset: Dataset, keyword: str) -> tuple[str, str]:
    """Value and meaning of the first code of a sequence."""
    sequence = dataset.get(keyword)
    return (_text(sequence[0], "CodeValue"), _text(sequence[0], "CodeMeaning")) if sequence else ("", "")


def _body_part(dataset: Dataset) -> str:
    value, meaning = _code(dataset, "AnatomicRegionSequence")
    return _text(dataset, "BodyPartExamined") or ("CHEST" if value in _CHEST_CODES else meaning)


def _view(dataset: Dataset) -> str:
    """ViewPosition, the coded view, or a PatientPosition that is none.

    Several public sets write AP, PA or nonsense into PatientPosition, which is about lying patients; a value that the
    standard does not know there is taken for what it was meant to be.
    """
    value, meaning = _code(dataset, "ViewCodeSequence")
    position = _text(dataset, "PatientPosition").upper()
    stated = _text(dataset, "ViewPosition") or _FRONTAL_VIEW_CODES.get(value, meaning)
    return stated or ("" if position in _RECUMBENT_POSITIONS else position)


def _age(text: str) -> str:
    """Years of an age string (PS3.5 AS: three digits and a unit); other forms give no age."""
    if len(text) != 4 or not text[:3].isdigit() or text[3] not in _YEARS_PER_UNIT:  # noqa: PLR2004
        return ""
    return f"{int(text[:3]) * _YEARS_PER_UNIT[text[3]]:.3g}"
