"""Are the maps maps of this network? With its weights made random they must change (Adebayo et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import ask
from pocketcxr.inference.saliency import evidence_map
from pocketcxr.report.types import Measure, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.bundle.contract import Predict

    Randomised = Callable[[], Iterable[tuple[str, Predict]]]

SANITY_KEY = "saliency.randomised_similarity"
SANITY_TITLE = "Likeness of the maps once all weights are random"
_IMAGES = 60


def map_likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Spearman's rank correlation and structural similarity (Wang et al. 2004, one window) of two maps.

    Both maps are brought to [0, 1] first, for the similarity; a map without any structure is like nothing (0).
    """
    from scipy.stats import rankdata

    if np.ptp(one) <= 0 or np.ptp(other) <= 0:
        return 0.0, 0.0
    ranks = [rankdata(table.ravel()) for table in (one, other)]
    correlation = float(np.corrcoef(*ranks)[0, 1])
    a, b = ((table - table.min()) / np.ptp(table) for table in (one.astype(np.float64), other.astype(np.float64)))
    c1, c2 = 0.01**2, 0.03**2
    covariance = float(((a - a.mean()) * (b - b.mean())).mean())
    light = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
    structure = (2 * covariance + c2) / (a.var() + b.var() + c2)
    return correlation, float(light * structure)


def randomised_steps(
    subject: AuditedModel, randomised: Randomised | None, places: NDArray[np.int64]
) -> list[tuple[str, float, float]]:
    """What was randomised, and rank correlation and structural similarity with the real maps, means over images.

    Empty where no randomised models were given or they give no maps.
    """
    if randomised is None:
        return []
    places = places[:_IMAGES]
    maps = subject.test.outputs.saliency
    assert maps is not None
    steps = []
    for what, predict in randomised():
        outputs = ask(
            predict,
            subject.dataset,
            batch_size=subject.config.batch_size,
            what=f"randomised: {what}",
            progress=subject.progress,
            which=subject.test.positions[places],
        )
        if outputs.saliency is None:
            return []
        likeness = []
        for place, spoilt in zip(places, outputs.saliency, strict=True):
            position = int(subject.test.predicted[place])
            likeness.append(
                map_likeness(
                    evidence_map(maps[place], position, temperature=1.0),
                    evidence_map(spoilt, position, temperature=1.0),
                )
            )
        correlation, similarity = np.mean(likeness, axis=0).tolist()
        steps.append((what, correlation, similarity))
    return steps


def sanity(steps: list[tuple[str, float, float]]) -> Measure:
    """Likeness of the maps at the last step, where all weights are random."""
    if not steps:
        why = "no models with randomised weights were given (a bundle's can be made where the extra train is installed)"
        return missing(SANITY_KEY, SANITY_TITLE, why, unit="correlation")
    return Measure(
        SANITY_KEY,
        SANITY_TITLE,
        abs(steps[-1][1]),
        "Mean rank correlation, sign left out, between maps of the model and of the same network with "
        "random weights. Near 0: the maps "
        "depend on what was learned.",
        advice="Above 0.5: the maps show edges of the picture, whatever was learned; do not show them.",
        unit="correlation",
    )
