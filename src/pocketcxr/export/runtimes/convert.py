"""A bundle converted for LiteRT, ExecuTorch or OpenVINO, run on the golden vectors, and only then written."""
# Converters are optional, and installed only where they are asked for:
# pyright: reportMissingImports=false

from __future__ import annotations

import logging
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.bundle.contract import INPUT_KIND, INPUT_NAME, OUTPUT_NAMES, ModelOutputs
from pocketcxr.bundle.verified import read_verified
from pocketcxr.errors import BundleError, ConfigError, require_extra
from pocketcxr.files import check_output, copy_file, sha256_of_file
from pocketcxr.inference.runtimes.checks import differences_from_golden, too_different
from pocketcxr.inference.runtimes.converted import SUFFIXES, ConvertedRecord, write_record
from pocketcxr.inference.runtimes.sessions import OneByOne, import_openvino, litert_scorer, openvino_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from pocketcxr.bundle.verified import VerifiedFile
    from pocketcxr.inference.runtimes.sessions import Session

_NEEDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "litert": ("litert", ("torch", "onnx", "litert_torch", "ai_edge_litert")),
    "executorch": ("executorch", ("torch", "onnx", "executorch")),
    "openvino": ("runtimes", ("openvino",)),
}
_LOGGER = logging.getLogger("pocketcxr")


def convert_bundle(bundle: Path | None, output_format: str, *, folder: Path | None = None) -> Path:
    """Convert a bundle, float or int8, and write it with a record beside it where its answers are the bundle's.

    Args:
        bundle: its file, with its golden vectors beside it; None takes the one that comes with the package.
        output_format: one of `converted.SUFFIXES`.
        folder: to write in; None takes the bundle's own.

    Returns:
        The converted file, named for the bundle.

    Raises:
        ConfigError: an unknown format.
        MissingExtraError: the converter is not installed.
        BundleError: no usable bundle, a graph that cannot be converted, or answers beyond the tolerance of
            `inference.runtimes.checks`; nothing was written.
    """
    if output_format not in SUFFIXES:
        raise ConfigError(f"format: expected one of {', '.join(SUFFIXES)}, found {output_format!r}")
    extra, modules = _NEEDS[output_format]
    require_extra(extra, *modules)
    file = read_verified(bundle)
    target = (file.path.parent if folder is None else folder) / file.path.name
    outputs: list[str] = list(OUTPUT_NAMES if file.manifest.input_filter is None else (*OUTPUT_NAMES, INPUT_KIND))
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / f"{file.path.stem}{SUFFIXES[output_format][0]}"
        session = _CONVERTERS[output_format](file, outputs, made)

        def predict(images: NDArray[np.float32], /) -> ModelOutputs:
            return ModelOutputs(**dict(zip(outputs, session.run(outputs, {INPUT_NAME: images}), strict=True)))

        found = differences_from_golden(predict, file.path, file.sha256)
        words = too_different(found)
        if words:
            raise BundleError(f"{file.path} as {output_format}: {words}; nothing was written")
        check_output(target, folder=False)
        parts = [made.with_suffix(suffix) for suffix in SUFFIXES[output_format]]
        for part in parts:
            copy_file(part, target.with_name(part.name))
        record = ConvertedRecord(
            format=output_format,
            bundle_sha256=file.sha256,
            files={part.name: sha256_of_file(part) for part in parts},
            outputs=outputs,
            differences=found,
            software={one: version(one.replace("_", "-")) for one in modules},
        )
    write_record(target.with_name(parts[0].name), record)
    _LOGGER.info("%s: probabilities within %.2g of the bundle's", output_format, found["probabilities"])
    return target.with_name(parts[0].name)


def _torch_program(file: VerifiedFile, outputs: list[str], *, float_weights: bool) -> tuple[Any, Any]:
    """The graph as a module, and an image to trace it with."""
    import onnx
    import torch

    from pocketcxr.export.runtimes.torch_graph import GraphModule

    size = file.manifest.preprocessing.size
    model = onnx.load_from_string(file.data)
    module = GraphModule(model, names=tuple(outputs), float_weights=float_weights).eval()
    return module, torch.zeros(1, 1, size, size)


def _litert(file: VerifiedFile, outputs: list[str], path: Path) -> Session:
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig

    module, image = _torch_program(file, outputs, float_weights=True)
    static = None
    if module.quantised:  # the numbers are in the graph; this only says what its pairs of operators mean
        static = QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(get_symmetric_quantization_config()))
    litert_torch.convert(module, (image,), quant_config=static).export(str(path))
    return OneByOne(litert_scorer(Interpreter(model_path=str(path), num_threads=1), outputs))


def _executorch(file: VerifiedFile, outputs: list[str], path: Path) -> Session:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    module, image = _torch_program(file, outputs, float_weights=False)
    program = torch.export.export(module, (image,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)
    method = Runtime.get().load_program(str(path)).load_method("forward")

    def score(image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {
            name: np.array(one) for name, one in zip(outputs, method.execute([torch.from_numpy(image)]), strict=True)
        }

    return OneByOne(score)


def _openvino(file: VerifiedFile, outputs: list[str], path: Path) -> Session:  # noqa: ARG001
    openvino = import_openvino()
    openvino.save_model(openvino.Core().read_model(file.data), str(path), compress_to_fp16=False)
    return openvino_session(openvino.Core().read_model(str(path)), file, threads=1)


_CONVERTERS: dict[str, Callable[[VerifiedFile, list[str], Path], Session]] = {
    "litert": _litert,
    "executorch": _executorch,
    "openvino": _openvino,
}
