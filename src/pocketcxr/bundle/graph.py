"""What an ONNX graph may hold, so that a file's bytes decide its answers: no numbers from other files, no chance.

ONNX Runtime reads tensors with external data from files beside the model, relative to the working folder where a model
comes from memory. Functions, subgraphs and training information are places where such tensors can hide, and no bundle
needs them.

Source: onnx.proto3 (numbers of fields); ONNX Runtime, "ONNX external data".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.bundle.protobuf import walk
from pocketcxr.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Field = tuple[int, memoryview]

_MESSAGES = {
    "model": {7: "graph", 8: "operator set", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
}
"""Message to its fields that hold messages: every way from a model to its tensors."""

_TOP_LEVEL = {"graph", "operator set"}  # of a bundle's model
_DEEPEST = 32
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # TensorProto
_OP_TYPE, _NODE_DOMAIN, _SET_DOMAIN = 4, 7, 1  # NodeProto, OperatorSetIdProto
_STANDARD_DOMAINS = {"", "ai.onnx"}
_RANDOM = {
    "Bernoulli",
    "Dropout",  # an input switches it on
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


def check_graph(model: bytes, name: str) -> None:
    """Refuse a bundle whose graph runs what its seal does not cover.

    Args:
        model: an ONNX model, sealed or not.
        name: of its file, for messages.

    Raises:
        BundleError: external data, a function, a subgraph, sparse or training data, an operator outside the standard
            domain or one that draws random numbers, or a damaged message.
    """
    for parent, kind, fields in _messages(model, name):
        if parent == "model" and kind not in _TOP_LEVEL:
            raise BundleError(_words(name, f"a model without {kind}s", f"a {kind}"))
        if kind == "sparse tensor" or (parent == "attribute" and kind == "graph"):
            raise BundleError(_words(name, "one graph of dense tensors", f"a {kind} inside it"))
        if kind in {"node", "operator set"}:
            _check_operator(name, kind, fields)
        elif kind == "tensor":
            _check_tensor(name, fields)


def refuse_external_data(model: bytes, name: str) -> None:
    """Refuse any ONNX model that keeps numbers in other files.

    Raises:
        BundleError: external data anywhere in it, or a damaged message.
    """
    for _, kind, fields in _messages(model, name):
        if kind == "tensor":
            _check_tensor(name, fields)


def _messages(model: bytes, name: str) -> Iterator[tuple[str, str, list[Field]]]:
    """Kind of the parent, kind, and fields of every message of `_MESSAGES` in a model, parents first."""
    try:
        waiting = [("model", list(walk(memoryview(model))), 0)]
        while waiting:
            parent, fields, depth = waiting.pop()
            kinds = _MESSAGES.get(parent, {})
            for number, content in fields:
                if number not in kinds:
                    continue
                inner = list(walk(content)) if len(content) else []
                yield parent, kinds[number], inner
                if depth >= _DEEPEST:
                    raise BundleError(_words(name, f"at most {_DEEPEST} levels in the graph", "more"))
                waiting.append((kinds[number], inner, depth + 1))
    except IndexError as error:
        raise BundleError(
            f"{name}: not a complete ONNX file (another format, cut short or damaged): get it again"
        ) from error


def _check_operator(name: str, kind: str, fields: list[Field]) -> None:
    place = _NODE_DOMAIN if kind == "node" else _SET_DOMAIN
    domains = {bytes(value).decode(errors="replace") for number, value in fields if number == place}
    if foreign := domains - _STANDARD_DOMAINS:
        raise BundleError(_words(name, "standard ONNX operators", f"the domain {min(foreign)!r}"))
    operators = {bytes(value).decode(errors="replace") for number, value in fields if number == _OP_TYPE}
    if drawn := operators & _RANDOM:
        raise BundleError(_words(name, "a graph that always gives the same answer", f"the operator {min(drawn)}"))


def _check_tensor(name: str, fields: list[Field]) -> None:
    for number, value in fields:
        if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and any(value)):
            raise BundleError(_words(name, "all weights inside the file", "external data"))


def _words(name: str, expected: str, found: str) -> str:
    return f"{name}: expected {expected}, found {found}: export it again as one ONNX file"
