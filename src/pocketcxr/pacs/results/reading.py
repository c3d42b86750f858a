"""Reads reports of this program back from the archive, for drift, export and a second try."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import pydicom

from pocketcxr.dicomweb.client import value_of
from pocketcxr.imaging.input_checks import Reason
from pocketcxr.inference.prediction import REFUSED, Prediction
from pocketcxr.pacs.results import codes as terms
from pocketcxr.pacs.results.identity import REPORT, series_uid
from pocketcxr.pacs.results.report import DEVICE, MARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydicom.dataset import Dataset

    from pocketcxr.bundle.verified import VerifiedFile
    from pocketcxr.dicomweb.client import Archive


@dataclass(frozen=True)
class Reported:
    """What one report says: device and study date of the image, its prediction, and which operating points it reaches.

    The prediction's path is study, series and instance UID of the report; an image that was not scored is ``refused``
    in it, also where its file could not be read.
    """

    device: str
    study_date: str
    prediction: Prediction
    above: Mapping[str, bool]


def reports(archive: Archive, bundle: VerifiedFile, **matching: str) -> Iterator[Reported]:
    """What the reports by this bundle say, of the studies that match.

    Raises:
        ArchiveError: the archive cannot be asked.
    """
    for row in archive.studies(**matching):
        study_uid = value_of(row, "StudyInstanceUID")
        ours = series_uid(study_uid, bundle.sha256, REPORT)
        if not any(value_of(one, "SeriesInstanceUID") == ours for one in archive.series(study_uid)):
            continue
        for one in archive.instances(study_uid, ours):
            found = read_report(archive.retrieve(study_uid, ours, value_of(one, "SOPInstanceUID")), bundle)
            if found is not None:
                yield found


def read_report(data: bytes, bundle: VerifiedFile) -> Reported | None:
    """Read a report by this bundle; None where it is none."""
    try:
        return _read(pydicom.dcmread(BytesIO(data)), bundle)
    except Exception:  # noqa: BLE001  # pydicom raises nearly everything on whatever else lies there under our series
        return None


def _read(report: Dataset, bundle: VerifiedFile) -> Reported:
    labels = {terms.class_code(label).value: label for label in bundle.manifest.labels}
    items = list(_items(report))
    texts = [str(item.TextValue) for item in items if "TextValue" in item]
    reasons = [_code(item, "ConceptCodeSequence") for item in items if _named(item) == terms.REASON.value]
    words = [str(item.TextValue) for item in items if _named(item) == terms.COMMENT.value and item.TextValue != MARK]
    decisions = [_code(item, "ConceptCodeSequence") for item in items if _named(item) == terms.DECISION.value]
    if not decisions and not reasons:
        raise ValueError("neither a decision nor a reason")
    inner = [{_named(one): one for one in item.get("ContentSequence") or []} for item in items]
    groups = {str(one["112039"].TextValue): one for one in inner if {"112039", terms.PROBABILITY.value} <= set(one)}
    novelty = [_number(item) for item in items if _named(item) == terms.NOVELTY.value]
    prediction = Prediction(
        path="/".join(str(report[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")),
        decision=labels.get(decisions[0], decisions[0]) if decisions else REFUSED,
        probabilities={
            label: _number(groups[label][terms.PROBABILITY.value]) / 100
            for label in bundle.manifest.labels
            if label in groups
        },
        novelty=novelty[0] if novelty else None,
        reasons=tuple(Reason(code, text) for code, text in zip(reasons, words, strict=True)),
        bundle=bundle.identity,
    )
    return Reported(
        next((text.removeprefix(DEVICE) for text in texts if text.startswith(DEVICE)), "unknown"),
        str(report.get("StudyDate") or ""),
        prediction,
        {
            name.removeprefix("above-"): _code(item, "ConceptCodeSequence") == terms.YES.value
            for item in items
            if (name := _named(item)).startswith("above-")
        },
    )


def _items(item: Dataset) -> Iterator[Dataset]:
    for inner in item.get("ContentSequence") or []:
        yield inner
        yield from _items(inner)


def _named(item: Dataset) -> str:
    return _code(item, "ConceptNameCodeSequence")


def _code(item: Dataset, keyword: str) -> str:
    sequence = item.get(keyword)
    return str(sequence[0].get("CodeValue") or sequence[0].get("LongCodeValue") or "") if sequence else ""


def _number(item: Dataset) -> float:
    return float(item.MeasuredValueSequence[0].NumericValue)
