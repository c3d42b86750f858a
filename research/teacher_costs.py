"""Costs of the teacher beside the file that ships: parameters, arithmetic, bytes, milliseconds.

python research/teacher_costs.py BUNDLE.onnx [INT8.onnx] -o docs/results/teacher_costs.json

VGG19 ‖ ResNet50V2 at the bundle's size, with random weights, which cost what trained ones do: its file in PyTorch
as `pocketcxr` writes it, and its time in PyTorch and in ONNX Runtime: processor time of one picture on one thread,
median of rounds in which all take turns. In each turn a call goes before that is not timed, or the small network would
pay for the caches that the teacher has just filled. It starts itself again with the allocator settings that training
uses, which spare the teacher in PyTorch a sixth of its time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.errors import PocketCxrError
from pocketcxr.files import write_json
from pocketcxr.inference.session import load_bundle
from pocketcxr.models.backbones import build_backbone
from pocketcxr.models.checkpoints import save_network
from pocketcxr.models.costs import network_costs
from pocketcxr.models.networks import NetworkSpec, assemble
from pocketcxr.training.environment import reexec_with_tuned_allocator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BACKBONES = ("vgg19_bn", "resnetv2_50")
STUDENT = "mobilenetv2_100"
_ROUNDS = 30


def measured(bundles: Sequence[Path]) -> dict[str, Any]:
    """Costs of the teacher and of each bundle at the size of the first.

    Raises:
        BundleError: a damaged bundle.
    """
    torch.set_num_threads(1)
    loaded = [load_bundle(path, threads=1) for path in bundles]
    size, labels = loaded[0].manifest.preprocessing.size, loaded[0].manifest.labels
    spec = NetworkSpec(kind="teacher", backbones=BACKBONES, labels=labels, image_size=size)
    teacher = assemble(spec, [build_backbone(name, image_size=size) for name in BACKBONES]).eval()
    student_spec = NetworkSpec(kind="student", backbones=(STUDENT,), labels=labels, image_size=size)
    student = assemble(student_spec, [build_backbone(STUDENT, image_size=size)]).eval()
    image = np.random.default_rng(0).random((1, 1, size, size), dtype=np.float32)
    tensor = torch.from_numpy(image)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "teacher.safetensors"
        save_network(kept, teacher, spec, {})
        weights = kept.stat().st_size
        graph = Path(folder) / "teacher.onnx"
        torch.onnx.export(
            _Logits(teacher).eval(), (tensor,), graph, dynamo=True, input_names=[INPUT_NAME], verbose=False
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        calls: dict[str, Callable[[], object]] = {
            "teacher, PyTorch": lambda: _run(teacher, tensor),
            "teacher, ONNX Runtime": lambda: session.run(None, {INPUT_NAME: image}),
        }
        calls |= {
            path.parent.name + "/" + path.name: (lambda b=b: b(image)) for path, b in zip(bundles, loaded, strict=True)
        }
        times = _turns(calls)
    heavy = network_costs(teacher, image_size=size)
    light = network_costs(student, image_size=size)
    names = list(calls)
    return {
        "image_size": size,
        "machine": f"{platform.machine()}, PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}",
        "teacher": {
            "backbones": list(BACKBONES),
            "parameters": heavy.parameters,
            "macs": heavy.macs,
            "bytes": weights,
            "ms_pytorch": times[names[0]],
            "ms_onnxruntime": times[names[1]],
        },
        "student": {"parameters": light.parameters, "macs": light.macs},
        "bundles": [
            {"bytes": path.stat().st_size, "int8": "quantisation" in one.manifest.run, "ms": times[name]}
            for path, one, name in zip(bundles, loaded, names[2:], strict=True)
        ],
    }


def _turns(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of processor time of each call."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(_ROUNDS):
        for name in calls if number % 2 else reversed(list(calls)):
            calls[name]()
            start = time.thread_time()
            calls[name]()
            found[name].append((time.thread_time() - start) * 1000)
    return {name: statistics.median(of) for name, of in found.items()}


class _Logits(torch.nn.Module):
    """A network whose only output are its logits."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [n, classes] of images [n, 1, size, size]."""
        return self.network(images).logits


def _run(network: torch.nn.Module, tensor: torch.Tensor) -> object:
    with torch.inference_mode():
        return network(tensor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        found = measured(options.bundles)
    except (PocketCxrError, OSError) as error:
        print(f"teacher_costs: {error}", file=sys.stderr)  # noqa: T201
        return 2
    write_json(options.output, found)
    teacher = found["teacher"]
    for one in found["bundles"]:
        print(  # noqa: T201
            f"{'int8' if one['int8'] else 'float'}: 1/{teacher['bytes'] / one['bytes']:.0f} of the bytes, "
            f"1/{teacher['ms_pytorch'] / one['ms']:.0f} of the time in PyTorch, "
            f"1/{teacher['ms_onnxruntime'] / one['ms']:.0f} in ONNX Runtime"
        )
    return 0


if __name__ == "__main__":
    reexec_with_tuned_allocator()
    sys.exit(main())
