"""How strongly a property of the images goes with their class: Cramér's V without the bias that chance gives it."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.evaluation.intervals import Estimate, not_measurable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RESAMPLES = 500
_MOST_BINS = 6
_FEWEST_IMAGES = 20


def cramers_v(
    levels: Sequence[str], classes: Sequence[str], members: NDArray[np.int64], *, seed: int, what: str = "class"
) -> Estimate:
    """Bias-corrected Cramér's V (Bergsma 2013, doi:10.1016/j.jkss.2012.10.002) with a 95 % interval by patient.

    0: the property tells nothing of the class. 1: it tells the class. Images of one patient are no independent
    observations: the bias is computed with the effective number of patients, the interval from resampled patients, in
    which the bias counts twice.

    Args:
        levels: of the property, per image.
        classes: of the images.
        members: patient of each image, 0 to patients - 1.
        seed: of the resampling.
        what: the classes are, in a word.
    """
    if len(levels) < _FEWEST_IMAGES:
        return not_measurable(f"{len(levels) or 'no'} images say it; at least {_FEWEST_IMAGES} are needed")
    rows, columns = _codes(levels), _codes(classes)
    if rows.max() == 0:
        return not_measurable(f"all images are alike in it ({levels[0]})")
    if columns.max() == 0:
        return not_measurable(f"all images are of one {what}")
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    _, patients = np.unique(members, return_inverse=True)
    sizes = np.bincount(patients)
    cells = np.zeros((len(sizes), shape[0] * shape[1]))
    np.add.at(cells, (patients, rows * shape[1] + columns), 1)
    effective = float(sizes.sum() ** 2 / (sizes**2).sum())
    value = _v(cells.sum(axis=0, keepdims=True).reshape(1, *shape), effective, bias=1)[0]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=RESAMPLES)
    replicates = _v((drawn @ cells).reshape(-1, *shape), effective, bias=2)
    low, high = np.quantile(replicates, [0.025, 0.975])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def binned(values: Sequence[float]) -> list[str]:
    """Numbers as levels: each a level of its own where they are few, else bins with about equally many images."""
    numbers = np.asarray(values, dtype=float)
    different = np.unique(numbers)
    if len(different) <= _MOST_BINS:
        return [_short(value) for value in numbers]
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _MOST_BINS + 1)[1:-1]))
    place = np.searchsorted(edges, numbers, side="right")
    names = [f"below {_short(edges[0])}"]
    names += [f"{_short(a)} to {_short(b)}" for a, b in itertools.pairwise(edges)]
    names.append(f"{_short(edges[-1])} or more")
    return [names[i] for i in place]


def binned_where_known(values: Sequence[float]) -> list[str]:
    """As `binned`; an empty string where the value is NaN."""
    known = [value for value in values if not math.isnan(value)]
    levels = iter(binned(known)) if known else iter(())
    return ["" if math.isnan(value) else next(levels) for value in values]


def lumped(levels: Sequence[str], *, most: int = 12, least: int = 5) -> list[str]:
    """Levels with few images, and those beyond the commonest, become one: ``others``."""
    names, counts = np.unique(np.asarray(levels, dtype=object), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = {str(names[i]) for i in order[:most] if counts[i] >= least}
    return [level if level in kept else "others" for level in levels]


def _v(tables: NDArray[np.float64], effective: float, *, bias: int) -> NDArray[np.float64]:
    """Corrected V of contingency tables [m, levels, classes]."""
    total = tables.sum(axis=(1, 2), keepdims=True)
    expected = tables.sum(axis=2, keepdims=True) * tables.sum(axis=1, keepdims=True) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(expected > 0, (tables - expected) ** 2 / expected, 0.0)
    phi2 = terms.sum(axis=(1, 2)) / total[:, 0, 0]
    r, k = tables.shape[1:]
    phi2 = np.maximum(0, phi2 - bias * (r - 1) * (k - 1) / max(effective - 1, 1))
    rows, columns = (n - (n - 1) ** 2 / max(effective - 1, 1) for n in (r, k))
    return np.sqrt(np.clip(phi2 / max(min(rows, columns) - 1, 1e-9), 0, 1))


def _codes(names: Sequence[Any]) -> NDArray[np.int64]:
    return np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def _short(value: float) -> str:
    return f"{value:.3g}"
