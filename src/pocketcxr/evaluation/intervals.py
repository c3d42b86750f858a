"""Confidence intervals by patient: two images of one person are not two independent observations.

Patients are resampled with replacement, with all their images (cluster bootstrap, percentile interval). A figure that
does not exist in a resample, because a class is missing from it, is skipped there and counted.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow

LEVEL = 0.95
FEWEST_PATIENTS = 5
"""With fewer, resamples hold the same few again and again, and an interval says nothing (0.000 to 0.000 for two)."""

MOST_SKIPPED = 0.05
"""Share of resamples that may lack a class: it is reached with three patients of the rarest class."""

_CELLS = 1_000_000  # weights held at once: 8 MB, stays in cache and bounds memory for any number of images

# A resample holds some images several times, which alone looks like miscalibration: replicates of these lie too high by
# about as much as the figure itself does, so their interval is moved back by the mean excess.
_CENTRED = frozenset({"ece", "ece_positive"})


@dataclass(frozen=True)
class Estimate:
    """One figure with its 95 % interval, or the reason why it cannot be measured.

    `value`, `low`, `high` are None where not measurable, and `why` then says so in words; a `value` without an interval
    has its reason there too. `skipped` counts the resamples in which the figure did not exist.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""
    skipped: int = 0

    def as_json(self) -> dict[str, Any]:
        """Fields that hold something, for JSON; a value or bound of 0 holds something."""
        empty = {"why": "", "skipped": 0}
        return {
            key: value for key, value in dataclasses.asdict(self).items() if key not in empty or value != empty[key]
        }


def not_measurable(why: str) -> Estimate:
    """A figure that does not exist, with the reason."""
    return Estimate(None, why=why)


def clusters(rows: Sequence[IndexRow]) -> NDArray[np.int64]:
    """Number the patients of images [n], 0 to patients - 1.

    Where a data set names no patient, the study stands for it, then the group of near-duplicates; a row with none of
    them is a patient of its own.
    """
    numbers: dict[tuple[str, str], int] = {}
    found = np.empty(len(rows), dtype=np.int64)
    for place, row in enumerate(rows):
        names = (("patient", row.patient_id), ("study", row.study_id), ("duplicates", row.duplicate_group))
        key = next(((kind, name) for kind, name in names if name), ("row", str(place)))
        found[place] = numbers.setdefault(key, len(numbers))
    return found


def known_patients(rows: Sequence[IndexRow]) -> int | None:
    """How many patients the images show; None where the data set does not name the patient of every image."""
    names = {row.patient_id for row in rows}
    return None if "" in names else len(names)


def resamples(members: NDArray[np.int64], *, count: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Weights of resampled patients, in blocks [at most a few hundred, n], `count` rows in all.

    The same `members`, `count` and `seed` give the same resamples, so that models are compared on the same ones.
    """
    rng = np.random.default_rng(seed)
    patients = int(members.max()) + 1
    block = max(1, min(count, _CELLS // max(1, len(members))))
    for start in range(0, count, block):
        size = min(block, count - start)
        drawn = rng.integers(0, patients, (size, patients)) + np.arange(size)[:, None] * patients
        times = np.bincount(drawn.ravel(), minlength=size * patients).reshape(size, patients)
        yield times[:, members].astype(np.float64)


Replicates = dict[str, "NDArray[np.float64]"]


def bootstrap(
    measure: Mapping[str, Callable[[NDArray[np.float64]], Replicates]],
    members: NDArray[np.int64],
    *,
    count: int,
    seed: int,
) -> dict[str, Replicates]:
    """Replicates of every figure of several models on the same resamples of patients.

    Args:
        measure: model name to a function from weights [resamples, n] to figures [resamples].
        members: patient number [n], from `clusters`.
        count: number of resamples.
        seed: of the resampling.

    Returns:
        Model name to figure name to replicates [count].
    """
    blocks: dict[str, dict[str, list[NDArray[np.float64]]]] = {name: {} for name in measure}
    for weights in resamples(members, count=count, seed=seed):
        for name, function in measure.items():
            for key, values in function(weights).items():
                blocks[name].setdefault(key, []).append(values)
    return {name: {key: np.concatenate(parts) for key, parts in table.items()} for name, table in blocks.items()}


def interval(name: str, value: float, replicates: NDArray[np.float64], *, patients: int, together: int = 1) -> Estimate:
    """Percentile interval of one figure.

    Args:
        name: of the figure; calibration errors are corrected for the excess of their replicates.
        value: on the images themselves.
        replicates: [resamples], NaN where it does not exist.
        patients: number of clusters; see `FEWEST_PATIENTS`.
        together: number of figures whose intervals shall all hold with 95 % (Bonferroni), where the most striking of
            them is picked out.
    """
    exist = replicates[np.isfinite(replicates)]
    skipped = len(replicates) - len(exist)
    if math.isnan(value):
        return not_measurable("not defined on these images")
    if patients < FEWEST_PATIENTS:
        found = f"{patients} {'is' if patients == 1 else 'are'} too few patients, or images without a known one"
        return Estimate(value, why=f"no interval: {found}", skipped=skipped)
    if skipped > MOST_SKIPPED * len(replicates) or len(exist) == 0:
        return Estimate(
            value,
            why=f"no interval: a class was missing from {skipped} of {len(replicates)} resamples",
            skipped=skipped,
        )
    if name in _CENTRED:
        exist = np.maximum(exist - max(0.0, float(exist.mean()) - value), 0.0)
    outside = (1 - LEVEL) / together
    low, high = np.quantile(exist, [outside / 2, 1 - outside / 2])
    return Estimate(value, float(low), float(high), skipped=skipped)
