"""Export of the audit's own small networks, as `pocketcxr.audit.model.packaged_network` reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pathlib import Path


def export(network: torch.nn.Module, path: Path, *, size: int, output: str) -> None:
    """Write a network as ONNX with weights in half precision: input ``image`` [n, 1, size, size], one output."""
    from pocketcxr.export.onnx_export import OPSET, strip
    from pocketcxr.export.onnx_tail import halve_weights

    program = torch.onnx.export(
        network.eval(),
        (torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0)),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=[output],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        optimize=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    strip(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(halve_weights(model).SerializeToString())
