"""Figures of students over seeds: means, intervals over seeds and patients, paired differences from a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.evaluation.calibration import softmax
from pocketcxr.evaluation.intervals import interval, resamples
from pocketcxr.evaluation.metrics import figures, ranking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SAME_SOURCE = "siim"
"""The source in which both classes come from the same hospitals: the headline is taken on it, where it is present."""

WORDS = {
    "auroc_same_source": f"AUROC of the positive class against the negative, within {SAME_SOURCE}",
    "auroc_macro": "mean AUROC over classes, all sources",
    "accuracy": "accuracy, all sources",
    "ece": "calibration error, all sources",
}
CONTRASTS = {
    "auroc_rsna": ("rsna", "pneumonia", "normal"),
    "auroc_ieee8023": ("ieee8023", "covid19", "pneumonia"),
}
"""Two classes within one source, beside SIIM's: its place in the file cannot tell them apart."""
WORDS |= {name: f"AUROC of {one} against {other}, within {source}" for name, (source, one, other) in CONTRASTS.items()}


@dataclass(frozen=True, eq=False)
class Scores:
    """Logits [n, classes] of one run on one split."""

    variant: str
    seed: int
    logits: NDArray[np.float64]
    temperature: float


@dataclass(frozen=True, eq=False)
class Split:
    """The images that all runs are asked about."""

    name: str
    truth: NDArray[np.int64]
    sources: NDArray[np.str_]
    members: NDArray[np.int64]
    labels: tuple[str, ...]
    positive: int


def table(
    scores: Sequence[Scores], split: Split, *, references: Sequence[str], bootstrap: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Figures of every variant on one split, and its differences from each of the references.

    Of each figure: the value of every seed; the mean; ``seeds``, the 95 % t interval of the mean over seeds;
    ``patients``, the 95 % percentile interval of the mean over resampled patients. Differences are paired by seed and
    by resample; `p` is two-sided from the bootstrap over patients, `p_holm` corrected for the number of comparisons.
    """
    metrics = [name for name in WORDS if name != "auroc_same_source" or _same_source(split).any()]
    metrics = [name for name in metrics if name not in CONTRASTS or _contrast(split, name) is not None]
    values = {(one.variant, one.seed): _measured(one, split, metrics, _ones(split))[0] for one in scores}
    draws = {key: {name: [] for name in metrics} for key in values}
    for weights in resamples(split.members, count=bootstrap, seed=seed):
        for one in scores:
            found = _measured(one, split, metrics, weights)[1]
            for name in metrics:
                draws[one.variant, one.seed][name].append(found[name])
    replicates = {key: {n: np.concatenate(parts) for n, parts in of.items()} for key, of in draws.items()}
    variants = sorted({one.variant for one in scores})
    seeds = {v: sorted(one.seed for one in scores if one.variant == v) for v in variants}
    patients = int(split.members.max()) + 1
    rows = {v: {n: _row(v, n, seeds[v], values, replicates, patients) for n in metrics} for v in variants}
    measured = (variants, seeds, metrics, values, replicates, patients)
    return {
        "split": split.name,
        "images": len(split.truth),
        "patients": patients,
        "bootstrap": bootstrap,
        "metrics": {name: WORDS[name] for name in metrics},
        "seeds": seeds,
        "variants": rows,
        "differences": {one: _differences(*measured, reference=one) for one in references if one in variants},
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction of several p-values (Holm 1979)."""
    found, largest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - place)))
        found[name] = largest
    return found


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of a few seeds; None with one."""
    from scipy.stats import t

    if len(values) < 2:  # noqa: PLR2004
        return None
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _differences(
    variants: Sequence[str],
    seeds: Mapping[str, list[int]],
    metrics: Sequence[str],
    values: Mapping[tuple[str, int], dict[str, float]],
    replicates: Mapping[tuple[str, int], dict[str, NDArray[np.float64]]],
    patients: int,
    *,
    reference: str,
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {variant: {} for variant in variants if variant != reference}
    for name in metrics:
        for variant, of in found.items():
            shared = [one for one in seeds[variant] if one in seeds[reference]]
            if not shared:
                continue
            each = [values[variant, one][name] - values[reference, one][name] for one in shared]
            moved = np.mean([replicates[variant, s][name] - replicates[reference, s][name] for s in shared], axis=0)
            exist = moved[np.isfinite(moved)]
            figure = interval("difference", float(np.mean(each)), moved, patients=patients)
            tail = min(int((exist <= 0).sum()), int((exist >= 0).sum()))
            of[name] = {
                "each": each,
                "mean": float(np.mean(each)),
                "seeds": t_interval(each),
                "patients": _bounds(figure),
                "p": min(1.0, 2 * (tail + 1) / (len(exist) + 1)),
            }
        corrected = holm({variant: of[name]["p"] for variant, of in found.items() if name in of})
        for variant, p in corrected.items():
            found[variant][name]["p_holm"] = p
    return found


def _row(
    variant: str,
    metric: str,
    seeds: Sequence[int],
    values: Mapping[tuple[str, int], dict[str, float]],
    replicates: Mapping[tuple[str, int], dict[str, NDArray[np.float64]]],
    patients: int,
) -> dict[str, Any]:
    each = [values[variant, seed][metric] for seed in seeds]
    draws = np.mean([replicates[variant, seed][metric] for seed in seeds], axis=0)
    figure = interval(metric, float(np.mean(each)), draws, patients=patients)
    return {"each": each, "mean": float(np.mean(each)), "seeds": t_interval(each), "patients": _bounds(figure)}


def _bounds(figure: Any) -> tuple[float, float] | None:
    return None if figure.low is None else (figure.low, figure.high)


def _measured(
    one: Scores, split: Split, metrics: Sequence[str], weights: NDArray[np.float64]
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Figures for every resample: the first of each, and all."""
    probabilities = softmax(one.logits, one.temperature)
    found = figures(
        probabilities,
        split.truth,
        labels=split.labels,
        positive=split.labels[split.positive],
        thresholds={},
        weights=weights,
    )
    if "auroc_same_source" in metrics:
        within = _same_source(split)
        scores, is_positive = probabilities[within, split.positive], split.truth[within] == split.positive
        found["auroc_same_source"] = ranking(scores, is_positive, weights[:, within])[0]
    for name in set(CONTRASTS) & set(metrics):
        within, first, second = _contrast(split, name) or (np.empty(0, dtype=bool), 0, 0)
        odds = np.log(probabilities[within, first]) - np.log(probabilities[within, second])
        found[name] = ranking(odds, split.truth[within] == first, weights[:, within])[0]
    chosen = {name: found[name] for name in metrics}
    return {name: float(values[0]) for name, values in chosen.items()}, chosen


def _contrast(split: Split, name: str) -> tuple[NDArray[np.bool_], int, int] | None:
    """Images of the source that are of the two classes, and the classes' places; None where one has no image."""
    source, *labels = CONTRASTS[name]
    if not set(labels) <= set(split.labels):
        return None
    first, second = (split.labels.index(label) for label in labels)
    within = (split.sources == source) & np.isin(split.truth, (first, second))
    return (within, first, second) if len(set(split.truth[within])) > 1 else None


def _same_source(split: Split) -> NDArray[np.bool_]:
    """Images of the one source that has the positive class and another."""
    within = split.sources == SAME_SOURCE
    return within if len(set(split.truth[within])) > 1 else np.zeros_like(within)


def _ones(split: Split) -> NDArray[np.float64]:
    return np.ones((1, len(split.truth)))
