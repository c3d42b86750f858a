"""From a PyTorch student to an ONNX graph: logits, embedding and class activation maps from one pass.

The exporter is PyTorch's `torch.export`-based one: it folds batch norm and warns of nothing; the older is deprecated.
Opset 18, plain float operators only, so that ONNX Runtime, its web build, OpenVINO and LiteRT's converters load it.
The calibrated outputs are added by `pocketcxr.export.onnx_tail`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from pocketcxr.bundle.contract import INPUT_KIND, INPUT_NAME
from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    import onnx

    from pocketcxr.models.input_filter import InputKindNetwork
    from pocketcxr.models.networks import Student

OPSET = 18
CORE_OUTPUTS = ("logits", "embedding", "saliency")


class _Core(nn.Module):
    """The student with its class activation maps: the classifier applied to every place of the last feature map.

    The input filter, where there is one, stands beside it. In the graph its weights are named ``input_gate.…``, as in
    bundles of earlier versions.
    """

    def __init__(self, network: Student, classifier: nn.Linear, input_filter: InputKindNetwork | None) -> None:
        super().__init__()
        self.network, self.classifier, self.input_gate = network, classifier, input_filter

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.network(image)
        # without the bias, as `Student.saliency`: the mean of a map over its places is the logit less the bias
        weight = self.classifier.weight[:, :, None, None]  # [classes, features, 1, 1]
        saliency = nn.functional.conv2d(outputs.features, weight)
        core = (outputs.logits, outputs.embedding, saliency)
        return core if self.input_gate is None else (*core, self.input_gate(image))


def cpu_copy(network: Student) -> Student:
    """Return a float32 copy on the CPU in evaluation mode; the network that was given stays as it is."""
    return copy.deepcopy(network).cpu().float().eval()


def core_graph(network: Student, *, image_size: int, input_filter: InputKindNetwork | None = None) -> onnx.ModelProto:
    """Export logits [n, classes], embedding [n, features] and saliency [n, classes, rows, columns].

    Args:
        network: gives `NetworkOutputs` for images [n, 1, size, size]; its linear layer `classifier` takes the
            global average of `features`.
        image_size: of the square input, in pixels.
        input_filter: adds the output ``input_kind`` [n, kinds].

    Raises:
        ConfigError: the network has no linear `classifier` on the global average of its features.
    """
    network = cpu_copy(network)
    classifier = linear_classifier(network, image_size)
    input_filter = None if input_filter is None else copy.deepcopy(input_filter).cpu().float().eval()
    program = torch.onnx.export(
        _Core(network, classifier, input_filter).eval(),
        (torch.rand(2, 1, image_size, image_size, generator=torch.Generator().manual_seed(0)),),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT_NAME],
        output_names=[*CORE_OUTPUTS, *([INPUT_KIND] if input_filter else [])],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        optimize=True,
        verbose=False,
    )
    assert program is not None  # only None when written straight to a file
    model = program.model_proto
    strip(model)
    return model


def linear_classifier(network: Student, image_size: int) -> nn.Linear:
    """Return the linear classifier, after checking that it really takes the global average of the feature map.

    Raises:
        ConfigError: it does not, or there is none; class activation maps would then explain nothing.
    """
    classifier = getattr(network, "classifier", None)
    if not isinstance(classifier, nn.Linear):
        raise ConfigError(f"expected a student whose `classifier` is a linear layer, found {type(classifier).__name__}")
    with torch.no_grad():
        outputs = network(torch.full((1, 1, image_size, image_size), 0.5))
        pooled = classifier(outputs.features.mean(dim=(2, 3)))
    if not torch.allclose(pooled, outputs.logits, rtol=1e-3, atol=1e-4):
        raise ConfigError("expected a student whose logits are its `classifier` on the global average of its features")
    return classifier


def strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes for debugging: stack traces with this machine's paths, types in between."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]
    graph.name = model.producer_name = "pocketcxr"
    model.producer_version = ""
