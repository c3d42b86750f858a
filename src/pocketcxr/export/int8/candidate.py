"""Limits that an int8 graph must keep, what was measured of one, and of all that a search tried."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.evaluation.calibration import expected_calibration_error
from pocketcxr.evaluation.metrics import auroc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.export.int8.recipe import Recipe


@dataclass(frozen=True)
class Limits:
    """What an int8 graph may cost against the float one, on the same pictures; `portable_only` see `int8.rounding`.

    `auroc_loss` of the positive class and of the mean over classes, `ece_rise` of the calibration error,
    `agreement` of the decisions (a class, uncertain, refused), `bytes` of the file.
    """

    auroc_loss: float = 0.003
    ece_rise: float = 0.01
    agreement: float = 0.99
    bytes: int = 3_000_000
    portable_only: bool = True


@dataclass(frozen=True, eq=False)
class GraphOutputs:
    """Outputs of a graph for labelled pictures: `probabilities` [n, classes], `decisions` [n] (class, -1, -2)."""

    probabilities: NDArray[np.float64]
    decisions: NDArray[np.int64]
    labels: NDArray[np.int64]

    def figures(self, positive: int) -> dict[str, float]:
        """AUROC of the positive class, mean AUROC over classes, calibration error."""
        areas = [auroc(self.probabilities[:, i], self.labels == i) for i in range(self.probabilities.shape[1])]
        return {
            "auroc": areas[positive],
            "auroc_macro": float(np.mean(areas)),
            "ece": expected_calibration_error(self.probabilities, self.labels),
        }


@dataclass(frozen=True, eq=False)
class Candidate:
    """One recipe and what became of it; `misses` say which limits it breaks and by how much.

    `speed`: time of the float graph by time of this one, median of interleaved pairs, one thread, one picture;
    `ms` and `float_ms` are processor time on this machine.
    """

    recipe: Recipe
    figures: dict[str, float]
    speed: float
    ms: float
    float_ms: float
    bytes: int
    portable: bool
    misses: tuple[str, ...]

    @property
    def passes(self) -> bool:
        """Whether it keeps all limits."""
        return not self.misses

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self) | {"words": self.recipe.summary, "passes": self.passes}


@dataclass(frozen=True, eq=False)
class Search:
    """All candidates in the order tried, the one chosen (None: none keeps the limits), and the sweep's table."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    float_figures: dict[str, float]
    sensitivity: dict[str, float]
    pictures: int

    @property
    def closest(self) -> Candidate:
        """The chosen one, else the candidate that breaks the fewest limits, of those the one that agrees most."""
        return self.chosen or min(self.candidates, key=lambda one: (len(one.misses), -one.figures["agreement"]))


def compared(truth: GraphOutputs, found: GraphOutputs, manifest: Manifest) -> dict[str, float]:
    """Figures of an int8 graph, each with its distance from the float graph's, and how far the two agree."""
    positive = manifest.labels.index(manifest.positive)
    before, after = truth.figures(positive), found.figures(positive)
    same_class = truth.probabilities.argmax(axis=1) == found.probabilities.argmax(axis=1)
    return {
        **after,
        "auroc_loss": max(before[name] - after[name] for name in ("auroc", "auroc_macro")),
        "ece_rise": after["ece"] - before["ece"],
        "agreement": float((truth.decisions == found.decisions).mean()),
        "class_agreement": float(same_class.mean()),
        "mean_move": float(np.abs(truth.probabilities - found.probabilities).mean()),
    }


def misses(figures: dict[str, float], limits: Limits, *, size: int, can_travel: bool) -> tuple[str, ...]:
    """Which limits are broken and by how much, in words."""
    said = []
    if not figures["auroc_loss"] <= limits.auroc_loss:
        said.append(f"AUROC falls by {figures['auroc_loss']:.4f}, at most {limits.auroc_loss:g} allowed")
    if not figures["ece_rise"] <= limits.ece_rise:
        said.append(f"calibration error rises by {figures['ece_rise']:.4f}, at most {limits.ece_rise:g} allowed")
    if not figures["agreement"] >= limits.agreement:
        said.append(f"{figures['agreement']:.2%} of decisions agree, at least {limits.agreement:.0%} wanted")
    if size > limits.bytes:
        said.append(f"{size:,} bytes, at most {limits.bytes:,} allowed")
    if limits.portable_only and not can_travel:
        said.append("saturates on x86 processors without VNNI")
    return tuple(said)


def summary_line(candidate: Candidate) -> str:
    """A candidate in a line."""
    figures = candidate.figures
    return (
        f"{candidate.recipe.summary}: {candidate.speed:.2f} times as fast, {figures['agreement']:.2%} of decisions "
        f"agree, {candidate.bytes / 1e6:.2f} MB: {'passes' if candidate.passes else '; '.join(candidate.misses)}"
    )
