"""Search for the fastest int8 graph of a bundle that decides as the float graph does, within limits."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.export.int8.candidate import Candidate, Limits, Search, summary_line
from pocketcxr.export.int8.core import session
from pocketcxr.export.int8.recipe import Recipe, layers_in_float
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.export.int8.bench import Bench, Fitted

_LOGGER = logging.getLogger("pocketcxr")

_AS_FAST = 0.95
_SLOWEST = 1.15  # times as fast as float: with more layers in float int8 no longer pays


def search(bench: Bench, limits: Limits, *, quick: bool = False, progress: bool = True) -> Search:
    """Try recipes: settings one by one, fitted rounding, that distilled, then more and more layers in float.

    Args:
        bench: the bundle and its data.
        limits: that a recipe must keep.
        quick: leave out the settings that never won on real X-rays; for tests and demonstrations.
        progress: show a bar on stderr.
    """
    tried: list[Candidate] = []
    bar = Bar(desc="int8 search", unit="recipe", disable=not progress, leave=False)

    def measure(recipe: Recipe) -> Candidate:
        candidate = bench.measure(recipe, limits)
        tried.append(candidate)
        bar.update()
        _LOGGER.info("%s", summary_line(candidate))
        return candidate

    with bar:
        plain = [measure(recipe) for recipe in _settings(quick=quick)]
        usable = [one for one in plain if one.recipe.weights == "channel" and one.recipe.activations == "unsigned"]
        usable = [one for one in usable if not one.recipe.symmetric and not one.recipe.reduce_range]
        best = min(usable, key=lambda one: one.figures["mean_move"]).recipe
        fitted = dataclasses.replace(best, rounding="fitted", portable=limits.portable_only)
        candidates = [measure(fitted)]
        if limits.portable_only and not quick:
            measure(dataclasses.replace(fitted, portable=False))
        if not candidates[0].passes:
            measure(dataclasses.replace(fitted, rounding="distilled"))
        sensitivity = {} if quick and candidates[0].passes else _sensitivity(bench, fitted)
        recipe, size = fitted, candidates[0].bytes
        for group in sensitivity:
            if any(one.passes for one in tried):
                break
            if size + bench.weights_of(group) > limits.bytes:  # half precision takes a byte more each
                continue
            wider = measure(layers_in_float(recipe, group))
            if wider.speed >= _SLOWEST:
                recipe, size = wider.recipe, wider.bytes
    passing = [one for one in tried if one.passes]
    return Search(
        candidates=tuple(tried),
        chosen=_chosen(passing),
        float_figures=bench.truth.figures(bench.manifest.labels.index(bench.manifest.positive)),
        sensitivity=sensitivity,
        pictures=bench.pictures,
    )


def _chosen(passing: Sequence[Candidate]) -> Candidate | None:
    """The fastest; of those that are as fast within what timing can tell, the one that decides most like float."""
    if not passing:
        return None
    fastest = max(one.speed for one in passing)
    return max((one for one in passing if one.speed >= fastest * _AS_FAST), key=lambda one: one.figures["agreement"])


def refitted_manifest(
    fitted: Fitted, bench: Bench, *, search_record: dict[str, Any], operating_points: Any, reference_images: int
) -> Manifest:
    """The float bundle's manifest with all that depends on the graph replaced; metrics are left empty."""
    manifest = bench.manifest
    novelty = dict(manifest.data.get("novelty", {})) | {"reference_images": reference_images}
    novelty["directions"] = fitted.reference.directions.shape[1]
    return dataclasses.replace(
        manifest,
        name=f"{manifest.name}, int8",
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        temperature=fitted.temperature,
        conformal_quantile=fitted.quantile,
        conformal_coverage=bench.evaluation.coverage,
        operating_points=operating_points,
        metrics={},
        data=manifest.data | {"novelty": novelty},
        run=manifest.run | {"quantisation": search_record},
    )


def golden_tolerance(fitted: Fitted, images: NDArray[np.float32]) -> dict[str, float]:
    """How far another correct runtime may differ: the same graph computed in float, without ONNX Runtime's fusions.

    Integer products are exact everywhere once nothing saturates; what differs between runtimes is a value that falls
    on the edge between two levels. The largest difference over the pictures, doubled.
    """
    graphs = [session(fitted.model, fused=fused) for fused in (True, False)]
    names = [output.name for output in graphs[0].get_outputs()]
    outputs = [graph.run(names, {INPUT_NAME: images}) for graph in graphs]
    return {
        name: float(2 * np.abs(np.asarray(one) - np.asarray(other)).max())
        for name, one, other in zip(names, *outputs, strict=True)
    }


def _settings(*, quick: bool) -> Sequence[Recipe]:
    plain = Recipe()
    if quick:
        return [plain]
    return [
        plain,
        Recipe(weights="tensor"),
        Recipe(calibration="percentile"),
        Recipe(calibration="entropy"),
        Recipe(activations="signed"),
        Recipe(symmetric=True),
        Recipe(reduce_range=True),
    ]


def _sensitivity(bench: Bench, recipe: Recipe) -> dict[str, float]:
    """By how much the logits' change shrinks when a group of layers stays in float; the most helpful first."""
    recipe = dataclasses.replace(recipe, rounding="nearest", portable=False)  # fitted layers make up for one another
    whole = bench.move(recipe)
    gains = {group: whole - bench.move(layers_in_float(recipe, group)) for group in bench.trunk.groups}
    return dict(sorted(gains.items(), key=lambda item: -item[1]))
