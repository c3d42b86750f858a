"""One way to quantise, as a record, and the graph that ONNX Runtime's quantiser makes of it."""

from __future__ import annotations

import copy
import dataclasses
import io
import logging
import tempfile
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.quantize import save_tensors_data

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.export.int8.core import PADDED, attributes, constants, replace_constant
from pocketcxr.export.int8.distil import distil_rounding
from pocketcxr.export.int8.rounding import Rounded, fit_rounding, is_portable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pocketcxr.export.int8.core import Trunk

PERCENTILE = 99.99
_METHODS = {
    "min-max": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_RANGED = ["Conv", "Add", "Clip", "Relu"]
_BATCH = 8


@dataclass(frozen=True)
class Recipe:
    """One way to quantise.

    `weights` are scaled per ``channel`` or per ``tensor`` and rounded to the ``nearest`` level, ``fitted`` on pictures
    (`pocketcxr.export.int8.rounding`), or ``distilled`` after that (`pocketcxr.export.int8.distil`);
    `portable` keeps fitted weights small enough for x86 without VNNI; `calibration` of the activations' ranges is
    ``min-max``, ``percentile`` or ``entropy``; `activations` are ``unsigned`` or ``signed``, `symmetric` or not;
    `reduce_range` is ONNX Runtime's seven-bit weights; the groups
    `in_float` (see `pocketcxr.export.int8.core.Trunk`) stay in float.
    """

    weights: str = "channel"
    rounding: str = "nearest"
    portable: bool = False
    calibration: str = "min-max"
    activations: str = "unsigned"
    symmetric: bool = False
    reduce_range: bool = False
    in_float: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The recipe in a line: what differs from plain per-channel min-max with unsigned activations comes last."""
        said = [f"per {self.weights}", self.calibration, self.activations]
        said += ["symmetric"] if self.symmetric else []
        said += ["reduced range"] if self.reduce_range else []
        if self.rounding != "nearest":
            said.append(f"{self.rounding}, portable" if self.portable else self.rounding)
        said += [f"float {', '.join(self.in_float)}"] if self.in_float else []
        return "; ".join(said)


class _Reader(CalibrationDataReader):
    """Pictures in batches of one size: ONNX Runtime's histograms stumble over a smaller last one, which is left out."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._batch, self._next = min(_BATCH, len(images)), 0
        self._images = images[: len(images) // self._batch * self._batch]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give the next batch, None after the last."""
        batch = self._images[self._next : self._next + self._batch]
        self._next += self._batch
        return {INPUT_NAME: batch} if len(batch) else None


@dataclass
class Quantiser:
    """Makes int8 graphs of one float core; ranges are found once for each method and kept.

    `images` float32 [n, 1, size, size] are of the train split; `pictures` gives many more of it, uint8 [m, size, size].
    """

    core: onnx.ModelProto
    trunk: Trunk
    images: NDArray[np.float32]
    pictures: Callable[[], NDArray[np.uint8]]
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        self._ranges: dict[str, TensorsData] = {}
        self._kept: dict[Recipe, Rounded] = {}

    def __call__(self, recipe: Recipe) -> onnx.ModelProto:
        """Quantise the core; outputs keep their names, the classifier and the maps stay in float."""
        kept = {name for group in recipe.in_float for name in self.trunk.groups[group]}
        convolutions = [name for name in self.trunk.convolutions if name not in kept]
        ranges = self._ranges_of(recipe.calibration)
        core, overrides = (
            self.core,
            {PADDED: [{"scale": np.array(1 / 255, np.float32), "zero_point": np.array(0, np.uint8)}]},
        )
        if recipe.activations == "signed" or recipe.symmetric:
            overrides = {}
        if recipe.rounding != "nearest":
            core, scales = self._on_grid(recipe, frozenset(convolutions))
            for name, values in scales.items():
                overrides[name] = [
                    {
                        "axis": 0,
                        "quant_type": QuantType.QInt8,
                        "scale": np.array(scale),
                        "zero_point": np.array(0, np.int8),
                    }
                    for scale in values
                ]
        nodes = [*convolutions, *self.trunk.additions, *self.trunk.activations]
        present = {name for node in core.graph.node if node.name in nodes for name in node.input}
        overrides = {name: values for name, values in overrides.items() if name in present}
        with tempfile.TemporaryDirectory(prefix="pocketcxr-") as folder, _silent():
            cache, out = Path(folder) / "ranges.json", Path(folder) / "int8.onnx"
            save_tensors_data(ranges, cache)
            quantize_static(
                copy.deepcopy(core),  # its tensors are moved to files
                out,
                calibration_cache_path=cache,
                calibrate_method=_METHODS[recipe.calibration],
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8 if recipe.activations == "unsigned" else QuantType.QInt8,
                weight_type=QuantType.QInt8,
                per_channel=recipe.weights == "channel",
                reduce_range=recipe.reduce_range,
                nodes_to_quantize=nodes,
                extra_options={"ActivationSymmetric": recipe.symmetric, "TensorQuantOverrides": overrides},
            )
            return _tidied(onnx.load(out))

    def _ranges_of(self, method: str) -> TensorsData:
        if method not in self._ranges:
            with tempfile.TemporaryDirectory(prefix="pocketcxr-") as folder, _silent():
                source = Path(folder) / "core.onnx"
                onnx.save(self.core, source)
                calibrator = create_calibrator(
                    source,
                    _RANGED,
                    augmented_model_path=str(Path(folder) / "augmented.onnx"),
                    calibrate_method=_METHODS[method],
                    extra_options={"percentile": PERCENTILE} if method == "percentile" else {},
                )
                calibrator.collect_data(_Reader(self.images))
                self._ranges[method] = calibrator.compute_data()
        return self._ranges[method]

    def _on_grid(
        self, recipe: Recipe, convolutions: frozenset[str]
    ) -> tuple[onnx.ModelProto, dict[str, NDArray[np.float32]]]:
        """The core with weights on their grid, and the grid's scales by the name of the weight."""
        rounded = self._rounded(recipe, convolutions)
        core = copy.deepcopy(self.core)
        for name, values in (rounded.weights | rounded.biases).items():
            replace_constant(core, name, values)
        return core, rounded.scales

    def _rounded(self, recipe: Recipe, convolutions: frozenset[str]) -> Rounded:
        """Rounded weights of a recipe; kept, because the finished file asks for those of the search again."""
        if recipe not in self._kept:
            self._kept[recipe] = self._round(recipe, convolutions)
        return self._kept[recipe]

    def _round(self, recipe: Recipe, convolutions: frozenset[str]) -> Rounded:
        ranges = self._quantised_ranges(recipe, convolutions)
        if recipe.rounding == "distilled":
            start = self._rounded(dataclasses.replace(recipe, rounding="fitted"), convolutions)
            return distil_rounding(
                self.core,
                self.pictures(),
                start=start,
                ranges=ranges,
                portable=recipe.portable,
                seed=self.seed,
                progress=self.progress,
            )
        return fit_rounding(
            self.core,
            self.images,
            ranges=ranges,
            convolutions=convolutions,
            portable=recipe.portable,
            seed=self.seed,
        )

    def _quantised_ranges(self, recipe: Recipe, convolutions: frozenset[str]) -> dict[str, tuple[float, float]]:
        """Least and largest value of every activation that is rounded with these convolutions in int8."""
        data = self._ranges_of(recipe.calibration).data
        ends = {name: [float(np.ravel(value)[0]) for value in one.range_value] for name, one in data.items()}
        ranges = {name: (low, high) for name, (low, high) in ends.items()}
        ranges[PADDED] = (0.0, 1.0)
        quantised = _quantised_tensors(self.core, self.trunk, convolutions)
        return {name: bounds for name, bounds in ranges.items() if name in quantised}


def portable(model: onnx.ModelProto) -> bool:
    """Whether no product of a quantised graph can saturate on x86 without VNNI; see `int8.rounding`."""
    stored = constants(model)
    made_by = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        source = made_by.get(node.input[1]) if node.op_type == "Conv" else None
        if source is None or source.op_type != "DequantizeLinear":
            continue
        if not is_portable(stored[source.input[0]], group=attributes(node).get("group", 1)):
            return False
    return True


def layers_in_float(recipe: Recipe, *groups: str) -> Recipe:
    """The same recipe with more groups of layers in float."""
    return dataclasses.replace(recipe, in_float=tuple(dict.fromkeys((*recipe.in_float, *groups))))


def _quantised_tensors(core: onnx.ModelProto, trunk: Trunk, convolutions: frozenset[str]) -> frozenset[str]:
    """Names of the activations that a graph with these convolutions in int8 rounds."""
    found: set[str] = set()
    for node in core.graph.node:
        if node.name in convolutions:
            found |= {node.input[0], node.output[0]}
        if node.name in trunk.additions:
            found |= {*node.input, node.output[0]}
    for node in core.graph.node:  # a convolution and its activation are one
        if node.name in trunk.activations and node.input[0] in found:
            found.add(node.output[0])
    return frozenset(found)


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what the quantiser notes for debugging and what it no longer uses."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in used]
    del model.graph.initializer[:], model.graph.value_info[:], model.metadata_props[:]
    model.graph.initializer.extend(kept)
    domains = {node.domain for node in model.graph.node}
    opsets = [one for one in model.opset_import if one.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    model.producer_name, model.producer_version = "pocketcxr", ""
    for node in model.graph.node:
        node.doc_string = ""
    return model


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the quantiser's advice out of our log and output: it writes to the root logger, and prints."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger().setLevel(level)
