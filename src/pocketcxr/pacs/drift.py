"""Drift: how results of each device change from week to week, computed from the reports that the archive holds.

A bundle carries no distribution to compare with, and a hospital's own patients would differ from it at once. So each
week of a device is compared with all earlier weeks of the same device: shares by the test of two proportions, means by
Welch's test, both as standard errors. Of each week only sums are kept, so that years take little memory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from pocketcxr.inference.prediction import REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pocketcxr.pacs.results.reading import Reported

ALARM = 4.0
"""Standard errors: by chance once in 16,000 comparisons."""

FEWEST = 30
"""Images in the week, and before it: with fewer nothing is compared."""

NOT_APPLICABLE = "not applicable"


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


@dataclass
class _Sums:
    """Count, sum and sum of squares of a value; the value is a share where it is 0 or 1."""

    share: bool
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, other: _Sums) -> None:
        self.count, self.total = self.count + other.count, self.total + other.total
        self.squares += other.squares

    @property
    def mean(self) -> float:
        return self.total / self.count

    def variance(self, lost: int) -> float:
        """Of the values, with so many degrees of freedom lost."""
        return max(0.0, self.squares - self.total**2 / self.count) / (self.count - lost)


def changes(found: Iterable[Reported]) -> list[Change]:
    """Every value of every device and week, oldest first."""
    weeks: dict[str, dict[str, dict[str, _Sums]]] = defaultdict(lambda: defaultdict(dict))
    for one in found:
        sums = weeks[one.device][_week(one.study_date)]
        for name, value, share in _values(one):
            sums.setdefault(name, _Sums(share)).add(_Sums(share, 1, value, value * value))
    result: list[Change] = []
    for device, by_week in sorted(weeks.items()):
        before: dict[str, _Sums] = {}
        for week, now in sorted(by_week.items()):
            for name, sums in sorted(now.items()):
                earlier = before.setdefault(name, _Sums(sums.share))
                result.append(
                    Change(
                        device,
                        week,
                        name,
                        images=sums.count,
                        value=sums.mean,
                        before=earlier.mean if earlier.count else None,
                        errors=_standard_errors(sums, earlier) if min(sums.count, earlier.count) >= FEWEST else None,
                    )
                )
                earlier.add(sums)
    return result


def _values(one: Reported) -> Iterator[tuple[str, float, bool]]:
    """Name, value and whether it is a share, of all that is compared."""
    prediction = one.prediction
    yield NOT_APPLICABLE, float(prediction.decision == REFUSED), True
    if prediction.novelty is not None:
        yield "novelty", prediction.novelty, False
    for label, value in prediction.probabilities.items():
        yield f"probability of {label}", value, False
    for point, above in one.above.items():
        yield f"above {point}", float(above), True


def _standard_errors(now: _Sums, before: _Sums) -> float:
    """Difference of the means in standard errors; infinite where neither varies."""
    difference = now.mean - before.mean
    if now.share:
        both = _Sums(True)
        both.add(now)
        both.add(before)
        variance = both.variance(0) * (1 / now.count + 1 / before.count)
    else:
        variance = now.variance(1) / now.count + before.variance(1) / before.count
    if variance > 1e-18:  # noqa: PLR2004  # what the rounding of sums leaves of equal values
        return difference / math.sqrt(variance)
    return math.copysign(math.inf, difference) if abs(difference) > 1e-9 else 0.0  # noqa: PLR2004  # the same


def _week(study_date: str) -> str:
    try:
        year, week, _ = date.fromisoformat(study_date).isocalendar()
    except ValueError:
        return "undated"
    return f"{year}-W{week:02d}"
