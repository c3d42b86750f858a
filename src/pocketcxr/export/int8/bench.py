"""A float bundle and its data set: what becomes of its graph in int8, fitted and measured.

Everything that is fitted on outputs (temperature, conformal quantile, operating points, novelty) is fitted anew on the
int8 graph: it is that graph that ships. Pictures of the train split calibrate, those of the calibration split choose;
the test split takes no part here.
"""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.bundle.format import sha256_of
from pocketcxr.data.dataset import evenly
from pocketcxr.evaluation.calibration import conformal_quantile, conformal_sets, fit_temperature, softmax
from pocketcxr.evaluation.scoring import calibration_positions
from pocketcxr.export.int8.candidate import Candidate, GraphOutputs, Limits, compared, misses
from pocketcxr.export.int8.core import clipped_tensors, constants, equalised, float_core, session, trunk
from pocketcxr.export.int8.distil import BATCH, STEPS
from pocketcxr.export.int8.recipe import Quantiser, Recipe, portable
from pocketcxr.export.novelty import (
    CUT_OFF_PERCENTILE,
    FILTERED_CUT_OFF_PERCENTILE,
    NoveltyReference,
    fit_novelty,
    with_cut_off,
)
from pocketcxr.export.onnx_tail import attach_tail, halve_weights
from pocketcxr.models.stored_weights import widened

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig

UNCERTAIN, NOVEL = -1, -2
_PIXELS = 3_400_000  # of all calibration pictures together: 66 of 224 pixels take about 1.5 GB while rounding
_PICTURES = (32, 192)
_SWEEP_IMAGES = 96
_ROUNDS = 40
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Fitted:
    """An int8 graph with its tail, and what was fitted on its outputs on the calibration split."""

    model: onnx.ModelProto
    temperature: float
    quantile: float
    reference: NoveltyReference
    probabilities: NDArray[np.float64]


class Bench:
    """A float bundle and its data set: measures what becomes of it in int8."""

    def __init__(
        self,
        data: bytes,
        manifest: Manifest,
        dataset: Dataset,
        evaluation: EvaluationConfig,
        *,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        """Take the bytes of the float bundle, the data set with its splits, and what to calibrate for."""
        model = onnx.load_model_from_string(data)
        self.manifest, self.dataset, self.evaluation = manifest, dataset, evaluation
        self.sha256 = sha256_of(data, manifest.name)
        self.core = float_core(model)
        self.trunk = trunk(self.core)
        self.calibration = dataset.positions("calibration")
        self.fitted = calibration_positions(dataset, evaluation)
        self.train = dataset.positions("train")
        size = manifest.preprocessing.size
        fewest, most = _PICTURES
        pictures = evenly(self.train, max(fewest, min(most, _PIXELS // size**2)))
        images = dataset.images(pictures)
        self.core = equalised(self.core, _largest(self.core, images))
        self.quantiser = Quantiser(self.core, self.trunk, images, self._many, seed=seed, progress=progress)
        self.pictures = len(pictures)
        self.float_session = session(data)
        self.float_reference = _reference_of(model, filtered=getattr(manifest, "input_filter", None) is not None)
        self._sweep = evenly(self.calibration, _SWEEP_IMAGES)
        self._sweep_logits = self.run(self.float_session, self._sweep, "logits")[0]
        self.truth = self.outputs(self.float_session, manifest.conformal_quantile, self.calibration)

    def _many(self) -> NDArray[np.uint8]:
        """Pictures of the train split to distil on; 200 MB at 224 pixels, so only where a recipe asks for them."""
        return self.dataset.pixels[np.sort(evenly(self.train, STEPS * BATCH))]

    def run(self, graph: onnxruntime.InferenceSession, positions: NDArray[np.int64], *names: str) -> list[Any]:
        """Outputs of a graph for pictures of the data set."""
        blocks = [
            graph.run(list(names), {INPUT_NAME: self.dataset.images(positions[start : start + _BATCH])})
            for start in range(0, len(positions), _BATCH)
        ]
        return [np.concatenate(arrays) for arrays in zip(*blocks, strict=True)]

    def outputs(
        self, graph: onnxruntime.InferenceSession, quantile: float, positions: NDArray[np.int64]
    ) -> GraphOutputs:
        """Outputs of a graph with its tail, with the decisions of `pocketcxr.inference.predictor`."""
        extra = self._filter_output(graph)
        probabilities, novelty, *kinds = self.run(graph, positions, "probabilities", "novelty", *extra)
        sets = conformal_sets(probabilities, quantile)
        decisions = np.where(sets.sum(axis=1) == 1, probabilities.argmax(axis=1), UNCERTAIN)
        decisions = np.where(novelty > 1, NOVEL, decisions)
        if kinds:
            input_filter: Any = getattr(self.manifest, "input_filter", None)
            refused = kinds[0][:, list(input_filter.kinds).index(input_filter.accept)] < input_filter.threshold
            decisions = np.where(refused, NOVEL - 1 - kinds[0].argmax(axis=1), decisions)
        return GraphOutputs(probabilities.astype(np.float64), decisions, self.dataset.labels[positions])

    def _filter_output(self, graph: onnxruntime.InferenceSession) -> list[str]:
        names = {one.name for one in graph.get_outputs()}
        return ["input_kind"] if "input_kind" in names and getattr(self.manifest, "input_filter", None) else []

    def weights_of(self, group: str) -> int:
        """Number of weights in a group of layers."""
        stored, names = constants(self.core), self.trunk.groups[group]
        return sum(stored[node.input[1]].size for node in self.core.graph.node if node.name in names)

    def move(self, recipe: Recipe) -> float:
        """Root mean square change of the logits by a recipe, as part of their spread: the sweep's quick measure."""
        logits = self.run(session(self.quantiser(recipe)), self._sweep, "logits")[0]
        change = logits - self._sweep_logits
        return float(np.sqrt(np.square(change - change.mean(axis=0)).mean()) / self._sweep_logits.std())

    def fit(self, recipe: Recipe, *, reference: NDArray[np.int64] | None = None) -> Fitted:
        """Quantise, then fit temperature, conformal quantile and novelty on what comes out.

        Without train pictures for a `reference`, novelty is the float graph's with a cut-off of its own: near enough
        while searching, and the train split need not be looked at for every recipe.
        """
        core = _halved(self.quantiser(recipe))
        graph = session(core)
        logits, seen = self.run(graph, self.calibration, "logits", "embedding")
        own = np.isin(self.calibration, self.fitted)  # of the source that is calibrated on, or all
        truth = self.dataset.labels[self.fitted]
        temperature = fit_temperature(logits[own], truth)
        if reference is None:
            novelty = with_cut_off(self.float_reference, seen)
        else:
            known = self.run(graph, reference, "embedding")[0]
            novelty = fit_novelty(known, seen, percentile=self.float_reference.percentile)
        probabilities = softmax(logits[own], temperature)
        return Fitted(
            model=_with_tail(core, temperature=temperature, reference=novelty),
            temperature=temperature,
            quantile=conformal_quantile(probabilities, truth, coverage=self.evaluation.coverage),
            reference=novelty,
            probabilities=probabilities,
        )

    def measure(self, recipe: Recipe, limits: Limits) -> Candidate:
        """Evaluate a recipe on the calibration split."""
        fitted = self.fit(recipe)
        graph = session(fitted.model)
        found = self.outputs(graph, fitted.quantile, self.calibration)
        image = self.dataset.images(self.calibration[:1])
        speed, ms, float_ms = _speed(graph, self.float_session, image)
        size = len(fitted.model.SerializeToString()) + len(self.manifest.to_json().encode())
        figures = compared(self.truth, found, self.manifest)
        can_travel = portable(fitted.model)
        return Candidate(
            recipe=recipe,
            figures=figures,
            speed=speed,
            ms=ms,
            float_ms=float_ms,
            bytes=size,
            portable=can_travel,
            misses=misses(figures, limits, size=size, can_travel=can_travel),
        )


def _speed(
    graph: onnxruntime.InferenceSession, float_graph: onnxruntime.InferenceSession, image: NDArray[np.float32]
) -> tuple[float, float, float]:
    """Ratio of times, and both in milliseconds of processor time: a busy machine disturbs it least."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(_ROUNDS + 3):
        for first in (True, False) if number % 2 else (False, True):
            start = time.thread_time()
            (graph if first else float_graph).run(None, {INPUT_NAME: image})
            times[first].append((time.thread_time() - start) * 1000)
    int8, exact = times[True][3:], times[False][3:]
    ratio = statistics.median(slow / fast for slow, fast in zip(exact, int8, strict=True))
    return ratio, statistics.median(int8), statistics.median(exact)


def _reference_of(model: onnx.ModelProto, *, filtered: bool) -> NoveltyReference:
    """The novelty reference in the tail of a float bundle."""
    stored = {name.removeprefix("pocketcxr."): of for name, of in constants(widened(model)).items()}
    return NoveltyReference(
        mean=stored["mean"].ravel(),
        directions=stored["directions"].astype(np.float32),
        inverse_spread=stored["inverse_spread"].ravel(),
        inverse_rest=float(stored["inverse_rest"].ravel()[0]),
        cut_off=float(stored["cut_off"].ravel()[0]),
        percentile=FILTERED_CUT_OFF_PERCENTILE if filtered else CUT_OFF_PERCENTILE,
    )


def _largest(core: onnx.ModelProto, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Largest value of each channel behind every clip, on pictures."""
    watched = copy.deepcopy(core)
    names = clipped_tensors(core)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    graph = session(watched)
    found: dict[str, Any] = {}
    for start in range(0, len(images), _BATCH):
        for name, maps in zip(names, graph.run(names, {INPUT_NAME: images[start : start + _BATCH]}), strict=True):
            peak = np.asarray(maps).max(axis=(0, 2, 3))
            found[name] = np.maximum(found[name], peak) if name in found else peak
    return found


def _halved(core: onnx.ModelProto) -> onnx.ModelProto:
    """Weights that stayed in float go into half precision; scales do not."""
    weights = {node.input[1] for node in core.graph.node if node.op_type in {"Conv", "Gemm"}}
    return halve_weights(core, only=frozenset(weights))


def _with_tail(core: onnx.ModelProto, *, temperature: float, reference: NoveltyReference) -> onnx.ModelProto:
    """Attach the tail; outputs that it does not know, such as the input filter's, stay."""
    model = attach_tail(core, temperature=temperature, reference=reference, half_weights=True)
    present = {one.name for one in model.graph.output}
    model.graph.output.extend(one for one in core.graph.output if one.name not in present)
    return model
