"""Reads `ImageMetadata` from a DICOM header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.imaging.dicom.acquisition import read_acquisition
from pocketcxr.imaging.dicom.elements import text
from pocketcxr.imaging.radiograph import ImageMetadata

if TYPE_CHECKING:
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
        modality=text(dataset, "Modality"),
        body_part=_body_part(dataset),
        view=_view(dataset),
        orientation=text(dataset, "PatientOrientation"),
        patient_id=text(dataset, "PatientID"),
        study_id=text(dataset, "StudyInstanceUID"),
        sex=text(dataset, "PatientSex"),
        age=_age(text(dataset, "PatientAge")),
        notes=notes,
        acquisition=tuple(read_acquisition(dataset).items()),
        synthetic=text(dataset, "SyntheticData") == "YES",  # PS3.3 C.12.1, SOP Common
    )


def _code(dataset: Dataset, keyword: str) -> tuple[str, str]:
    """Value and meaning of the first code of a sequence."""
    sequence = dataset.get(keyword)
    return (text(sequence[0], "CodeValue"), text(sequence[0], "CodeMeaning")) if sequence else ("", "")


def _body_part(dataset: Dataset) -> str:
    value, meaning = _code(dataset, "AnatomicRegionSequence")
    return text(dataset, "BodyPartExamined") or ("CHEST" if value in _CHEST_CODES else meaning)


def _view(dataset: Dataset) -> str:
    """ViewPosition, the coded view, or a PatientPosition that is none.

    Several public sets write AP, PA or nonsense into PatientPosition, which is about lying patients; a value that the
    standard does not know there is taken for what it was meant to be.
    """
    value, meaning = _code(dataset, "ViewCodeSequence")
    position = text(dataset, "PatientPosition").upper()
    stated = text(dataset, "ViewPosition") or _FRONTAL_VIEW_CODES.get(value, meaning)
    return stated or ("" if position in _RECUMBENT_POSITIONS else position)


def _age(stated: str) -> str:
    """Years of an age string (PS3.5 AS: three digits and a unit); other forms give no age."""
    if len(stated) != 4 or not stated[:3].isdigit() or stated[3] not in _YEARS_PER_UNIT:  # noqa: PLR2004
        return ""
    return f"{int(stated[:3]) * _YEARS_PER_UNIT[stated[3]]:.3g}"
