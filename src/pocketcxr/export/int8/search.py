"""Search for the fastest int8 graph of a bundle that still answers as the float graph does, and seal it.

Everything that is fitted on outputs (temperature, conformal quantile, operating points, novelty) is fitted anew on the
int8 graph: it is that graph that ships. Pictures of the train split calibrate, those of the calibration split choose;
the test split takes no part here.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import logging
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from tqdm import tqdm

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.bundle.format import sha256_of
from pocketcxr.data.dataset import evenly
from pocketcxr.evaluation.calibration import (
    conformal_quantile,
    conformal_sets,
    expected_calibration_error,
    fit_temperature,
    softmax,
)
from pocketcxr.evaluation.metrics import auroc
from pocketcxr.evaluation.scoring import calibration_positions
from pocketcxr.export.int8.core import clipped_tensors, constants, equalised, float_core, session, trunk
from pocketcxr.export.int8.distil import BATCH, STEPS
from pocketcxr.export.int8.recipe import Quantiser, Recipe, layers_in_float, portable
from pocketcxr.export.novelty import (
    CUT_OFF_PERCENTILE,
    GATED_CUT_OFF_PERCENTILE,
    NoveltyReference,
    fit_novelty,
    with_cut_off,
)
from pocketcxr.export.onnx_tail import attach_tail, halve_weights
from pocketcxr.models.stored_weights import widened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime
    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig

_LOGGER = logging.getLogger("pocketcxr")

UNCERTAIN, NOVEL = -1, -2
_PIXELS = 3_400_000  # of all calibration pictures together: 66 of 224 pixels take about 1.5 GB while rounding
_PICTURES = (32, 192)
_AS_FAST = 0.95
_SWEEP_IMAGES = 96
_ROUNDS = 40
_SLOWEST = 1.15  # times as fast as float: with more layers in float int8 no longer pays
_BATCH = 16


@dataclass(frozen=True)
class Limits:
    """What an int8 graph may cost against the float one, on the same pictures; `portable_only` see `quantise_rounding`.

    `auroc_loss` of the positive class and of the mean over classes, `ece_rise` of the calibration error,
    `agreement` of the decisions (a class, uncertain, refused), `bytes` of the file.
    """

    auroc_loss: float = 0.003
    ece_rise: float = 0.01
    agreement: float = 0.99
    bytes: int = 3_000_000
    portable_only: bool = True


@dataclass(frozen=True, eq=False)
class Answers:
    """What a graph says of labelled pictures: `probabilities` [n, classes], `decisions` [n] (class, -1, -2)."""

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
        return dataclasses.asdict(self) | {"words": self.recipe.words, "passes": self.passes}


@dataclass(frozen=True, eq=False)
class Fitted:
    """An int8 graph with its tail, and what was fitted on its outputs on the calibration split."""

    model: onnx.ModelProto
    temperature: float
    quantile: float
    reference: NoveltyReference
    probabilities: NDArray[np.float64]


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
        self.float_reference = _reference_of(model, gated=getattr(manifest, "input_filter", None) is not None)
        self._sweep = evenly(self.calibration, _SWEEP_IMAGES)
        self._sweep_logits = self.run(self.float_session, self._sweep, "logits")[0]
        self.truth = self.answers(self.float_session, manifest.conformal_quantile, self.calibration)

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

    def answers(self, graph: onnxruntime.InferenceSession, quantile: float, positions: NDArray[np.int64]) -> Answers:
        """What a graph with its tail answers, decisions included: those of `pocketcxr.inference.predictor`."""
        extra = self._gate_output(graph)
        probabilities, novelty, *kinds = self.run(graph, positions, "probabilities", "novelty", *extra)
        sets = conformal_sets(probabilities, quantile)
        decisions = np.where(sets.sum(axis=1) == 1, probabilities.argmax(axis=1), UNCERTAIN)
        decisions = np.where(novelty > 1, NOVEL, decisions)
        if kinds:
            gate: Any = getattr(self.manifest, "input_filter", None)
            refused = kinds[0][:, list(gate.kinds).index(gate.accept)] < gate.threshold
            decisions = np.where(refused, NOVEL - 1 - kinds[0].argmax(axis=1), decisions)
        return Answers(probabilities.astype(np.float64), decisions, self.dataset.labels[positions])

    def _gate_output(self, graph: onnxruntime.InferenceSession) -> list[str]:
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
        """Judge a recipe on the calibration split."""
        fitted = self.fit(recipe)
        graph = session(fitted.model)
        found = self.answers(graph, fitted.quantile, self.calibration)
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


def compared(truth: Answers, found: Answers, manifest: Manifest) -> dict[str, float]:
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


def search(bench: Bench, limits: Limits, *, quick: bool = False, progress: bool = True) -> Search:
    """Try recipes: settings one by one, fitted rounding, that distilled, then more and more layers in float.

    Args:
        bench: the bundle and its data.
        limits: that a recipe must keep.
        quick: leave out the settings that never won on real films; for tests and demonstrations.
        progress: show a bar on stderr.
    """
    tried: list[Candidate] = []
    bar = tqdm(desc="int8 search", unit="recipe", disable=not progress, leave=False)

    def measure(recipe: Recipe) -> Candidate:
        candidate = bench.measure(recipe, limits)
        tried.append(candidate)
        bar.update()
        _LOGGER.info("%s", line(candidate))
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


def line(candidate: Candidate) -> str:
    """A candidate in a line."""
    figures = candidate.figures
    return (
        f"{candidate.recipe.words}: {candidate.speed:.2f} times as fast, {figures['agreement']:.2%} of decisions "
        f"agree, {candidate.bytes / 1e6:.2f} MB: {'passes' if candidate.passes else '; '.join(candidate.misses)}"
    )


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


def _reference_of(model: onnx.ModelProto, *, gated: bool) -> NoveltyReference:
    """The novelty reference in the tail of a float bundle."""
    stored = {name.removeprefix("pocketcxr."): of for name, of in constants(widened(model)).items()}
    return NoveltyReference(
        mean=stored["mean"].ravel(),
        directions=stored["directions"].astype(np.float32),
        inverse_spread=stored["inverse_spread"].ravel(),
        inverse_rest=float(stored["inverse_rest"].ravel()[0]),
        cut_off=float(stored["cut_off"].ravel()[0]),
        percentile=GATED_CUT_OFF_PERCENTILE if gated else CUT_OFF_PERCENTILE,
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
    """Attach the tail; outputs that it does not know, such as the input gate's, stay."""
    model = attach_tail(core, temperature=temperature, reference=reference, half_weights=True)
    present = {one.name for one in model.graph.output}
    model.graph.output.extend(one for one in core.graph.output if one.name not in present)
    return model
