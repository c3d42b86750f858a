"""Coded concepts of results: SNOMED CT and DICOM where those have a term, else codes of our own (99POCKETCXR)."""

from __future__ import annotations

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

SCHEME = "99POCKETCXR"
_LONGEST_MEANING = 64  # VR LO

_CLASSES = {
    "normal": ("17621005", "SCT", "Normal"),
    "covid19": ("840539006", "SCT", "COVID-19"),
    "pneumonia": ("233604007", "SCT", "Pneumonia"),
    "tuberculosis": ("56717001", "SCT", "Tuberculosis"),
}


def own(value: str, meaning: str) -> CodedConcept:
    """A code of our own scheme."""
    return CodedConcept(value, SCHEME, meaning[:_LONGEST_MEANING])


def scheme_item() -> Dataset:
    """What the scheme of our own codes is (PS3.3 C.12.1, Coding Scheme Identification Sequence)."""
    item = Dataset()
    item.CodingSchemeDesignator, item.CodingSchemeName = SCHEME, "pocketcxr"
    item.CodingSchemeResponsibleOrganization = "pocketcxr founders"
    return item


def class_code(label: str) -> CodedConcept:
    """The concept that a label of the bundle stands for."""
    return CodedConcept(*_CLASSES[label]) if label in _CLASSES else own(label, label)


PROBABILITY = codes.DCM.Probability
SALIENCY = codes.DCM.Saliency
PERCENT = codes.UCUM.Percent
NO_UNITS = codes.UCUM.NoUnits
CHEST = codes.SCT.Chest
YES, NO = codes.SCT.Yes, codes.SCT.No
COMMENT = codes.DCM.Comment
ANALYSIS = codes.DCM.SummaryOfAnalyses
SUCCEEDED, NOT_ATTEMPTED = codes.DCM.Succeeded, codes.DCM.NotAttempted
DECISION = own("decision", "Decision")
REASON = own("reason", "Reason for decision")
UNCERTAIN = own("uncertain", "Uncertain: no single class is probable enough")
IN_PREDICTION_SET = own("prediction-set", "Member of the conformal prediction set")
NOVELTY = own("novelty", "Novelty (1 is the limit)")
PROCEDURE = CodedConcept("399208008", "SCT", "Plain chest X-ray")


def above(point: str) -> CodedConcept:
    """Name of the evaluation at one operating point."""
    return own(f"above-{point}", f"Above the operating point {point}")
