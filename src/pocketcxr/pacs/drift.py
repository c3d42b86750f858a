"""Drift: how results of each device change from week to week, computed from the reports that the archive holds.

A bundle carries no distribution to compare with, and a hospital's own patients would differ from it at once. So each
week of a device is compared with all earlier weeks of the same device: shares by the test of two proportions, means by
Welch's test, both as standard errors.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pydicom

from pocketcxr.pacs.client import value_of
from pocketcxr.pacs.results.identity import REPORT, series_uid
from pocketcxr.pacs.results.report import DEVICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydicom.dataset import Dataset

    from pocketcxr.pacs.client import Archive

ALARM = 4.0
"""Standard errors: by chance once in 16,000 comparisons."""

FEWEST = 30
"""Images in the week, and before it: with fewer nothing is compared."""

NOT_APPLICABLE = "not applicable"
NOVELTY = "novelty"


@dataclass(frozen=True)
class Reported:
    """What one report says: the device and study date of the image, and values by name (shares are 0 or 1)."""

    device: str
    study_date: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """A value of one device in one ISO week, with that of all its earlier weeks.

    `errors` is the difference in standard errors, None where there are too few images.
    """

    device: str
    week: str
    name: str
    images: int
    value: float
    before: float | None
    errors: float | None

    @property
    def alarm(self) -> bool:
        """Whether the difference is larger than chance explains."""
        return self.errors is not None and abs(self.errors) > ALARM


def reported(archive: Archive, bundle_sha256: str, *, first: str, last: str) -> Iterator[Reported]:
    """What the reports by this bundle say, of studies dated from `first` to `last` (YYYYMMDD, "" is open).

    Raises:
        ArchiveError: the archive cannot be asked.
    """
    matching = {"StudyDate": f"{first}-{last}"} if first or last else {}
    for row in archive.studies(**matching):
        study_uid = value_of(row, "StudyInstanceUID")
        ours = series_uid(study_uid, bundle_sha256, REPORT)
        for one in archive.instances(study_uid, Modality="SR", SeriesInstanceUID=ours):
            if value_of(one, "SeriesInstanceUID") == ours:
                found = read_report(archive.retrieve(study_uid, ours, value_of(one, "SOPInstanceUID")))
                if found is not None:
                    yield found


def read_report(data: bytes) -> Reported | None:
    """Read a report of ours; None where it is none."""
    try:
        report = pydicom.dcmread(BytesIO(data))
        device, values = "unknown", {NOT_APPLICABLE: 0.0}
        for item in _items(report):
            _take(item, values)
            text = str(item.get("TextValue", ""))
            device = text.removeprefix(DEVICE) if text.startswith(DEVICE) else device
        return Reported(device, str(report.get("StudyDate") or ""), values)
    except Exception:  # noqa: BLE001  # whatever else lies there under our series
        return None


def changes(found: Sequence[Reported]) -> list[Change]:
    """Every value of every device and week, oldest first."""
    weeks: dict[str, dict[str, list[Reported]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        weeks[one.device][_week(one.study_date)].append(one)
    result: list[Change] = []
    for device, by_week in sorted(weeks.items()):
        before: list[Reported] = []
        for week, now in sorted(by_week.items()):
            names = sorted({name for one in now for name in one.values})
            result += [_change(device, week, name, _values(now, name), _values(before, name)) for name in names]
            before += now
    return result


def _change(device: str, week: str, name: str, now: list[float], before: list[float]) -> Change:
    compared = min(len(now), len(before)) >= FEWEST
    return Change(
        device,
        week,
        name,
        images=len(now),
        value=statistics.fmean(now),
        before=statistics.fmean(before) if before else None,
        errors=_standard_errors(now, before, share=name == NOT_APPLICABLE or name.startswith("above "))
        if compared
        else None,
    )


def _standard_errors(now: list[float], before: list[float], *, share: bool) -> float:
    """Difference of the means in standard errors; infinite where neither varies."""
    difference = statistics.fmean(now) - statistics.fmean(before)
    if share:
        variance = statistics.pvariance(now + before) * (1 / len(now) + 1 / len(before))
    else:
        variance = statistics.variance(now) / len(now) + statistics.variance(before) / len(before)
    if variance > 0:
        return difference / math.sqrt(variance)
    return math.copysign(math.inf, difference) if difference else 0.0


def _values(found: Sequence[Reported], name: str) -> list[float]:
    return [one.values[name] for one in found if name in one.values]


def _week(study_date: str) -> str:
    try:
        year, week, _ = date.fromisoformat(study_date).isocalendar()
    except ValueError:
        return "undated"
    return f"{year}-W{week:02d}"


def _items(item: Dataset) -> Iterator[Dataset]:
    for inner in item.get("ContentSequence") or []:
        yield inner
        yield from _items(inner)


def _take(item: Dataset, values: dict[str, float]) -> None:
    """Note what one content item says: a code that says "not attempted", a number, or a group with a finding."""
    if _code(item, "ConceptCodeSequence") == "111225":
        values[NOT_APPLICABLE] = 1.0
    name = _code(item, "ConceptNameCodeSequence")
    if name == "novelty":
        values[NOVELTY] = _number(item)
    if name != "125007":  # Measurement Group
        return
    inner = {_code(one, "ConceptNameCodeSequence"): one for one in item.get("ContentSequence") or []}
    label, probability = inner.get("112039"), inner.get("122157")  # Tracking Identifier, Probability
    if label is not None and probability is not None:
        values[f"probability of {label.TextValue}"] = _number(probability) / 100
    for code, one in inner.items():
        if code.startswith("above-"):
            values[code.replace("-", " ", 1)] = float(_code(one, "ConceptCodeSequence") == "373066001")  # Yes


def _code(item: Dataset, keyword: str) -> str:
    sequence = item.get(keyword)
    return str(sequence[0].get("CodeValue") or sequence[0].get("LongCodeValue") or "") if sequence else ""


def _number(item: Dataset) -> float:
    value: Any = item.MeasuredValueSequence[0].NumericValue
    return float(value)
