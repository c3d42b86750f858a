"""A teacher that was not trained here: any network behind one small interface, its classes matched by name.

The interface is that of our own networks: images float32 [n, 1, s, s] in [0, 1] -> `NetworkOutputs` with logits
[n, classes] in the task's order and an embedding [n, d]. `bundle.description.ModelDescription` says what lies between:
size, range, channels, normalisation, and the meaning of the output.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pocketcxr.errors import ConfigError, DataError
from pocketcxr.models.networks import NetworkOutputs
from pocketcxr.training.run.identity import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketcxr.bundle.description import ModelDescription
    from pocketcxr.labels import Task

_LEAST = 1e-6
"""Probabilities are kept this far from 0 and 1 before they become logits."""

UNNAMED = "column "
"""Begins the name of a class that a teacher's output has and does not name."""

_SUM = 1e-2
_INDEPENDENT = ("sigmoid", "independent")
_RAW = ("softmax", "sigmoid")
_CHECKED_SEED = 2301


@dataclass(frozen=True)
class GivenTeacher:
    """A teacher behind the interface of our own networks.

    `sha256` names weights and settings in the key of a cache. `embedding_features` is 0 without an embedding. `about`
    is for records: what it is and where it came from.
    """

    network: AdaptedNetwork
    sha256: str
    embedding_features: int
    about: dict[str, Any]


class AdaptedNetwork(nn.Module):
    """A network of another make, called as one of ours.

    The embedding is what the network's last linear layer reads, where that layer gives the output; a network that
    returns an `embedding` beside its `logits` gives its own; else it has no columns.

    Args:
        module: takes images as `description` says; returns a tensor [n, columns], or something with `logits`.
        description: of the module, with its classes in the order of the output.
        classes: for each of the task's labels the position in `description.labels`; None for "none of the others".
    """

    def __init__(self, module: nn.Module, description: ModelDescription, classes: Sequence[int | None]) -> None:
        super().__init__()
        self.module, self.description, self.classes = module, description, tuple(classes)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Score images [n, 1, s, s] in [0, 1]."""
        raw = self.description.activation in _RAW  # probabilities in bf16 are too coarse for logits
        with torch.autocast(images.device.type, enabled=raw and torch.is_autocast_enabled(images.device.type)):
            output, embedding = self._run(self._prepared(images.float()))
        theirs = _class_logits(output, self.description)  # [n, their classes]
        rest = torch.zeros_like(theirs[:, 0])
        logits = torch.stack([rest if place is None else theirs[:, place] for place in self.classes], dim=1)
        return NetworkOutputs(logits, embedding, embedding)

    def _prepared(self, images: Tensor) -> Tensor:
        described = self.description
        size = (described.image_size, described.image_size)
        if images.shape[-2:] != size:
            images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        low, high = described.input_range
        images = (images * (high - low) + low).expand(-1, described.channels, -1, -1)
        mean, std = (images.new_tensor(values).view(1, -1, 1, 1) for values in (described.mean, described.std))
        images = (images - mean) / std
        return images if described.layout == "NCHW" else images.permute(0, 2, 3, 1).contiguous()

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Output [n, columns] and embedding [n, d], float32."""
        seen: list[tuple[int, Tensor]] = []

        def keep(layer: nn.Linear, inputs: tuple[Tensor, ...]) -> None:
            if inputs[0].ndim == 2:  # noqa: PLR2004
                seen.append((layer.out_features, inputs[0]))

        linear = [layer for layer in self.module.modules() if isinstance(layer, nn.Linear)]
        hooks = [layer.register_forward_pre_hook(keep) for layer in linear]
        try:
            found = self.module(images)
        finally:
            for hook in hooks:
                hook.remove()
        output = getattr(found, "logits", found)
        name = type(self.module).__name__
        if not isinstance(output, Tensor) or output.ndim not in {1, 2} or len(output) != len(images):
            shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise DataError(
                f"teacher {name}: expected a tensor [{len(images)}, columns] or its `logits`, found {shape}"
            )
        output = output.float().view(len(images), -1)
        embedding = getattr(found, "embedding", None)
        if embedding is None and seen and seen[-1][0] == output.shape[1]:
            embedding = seen[-1][1]
        return output, output.new_zeros(len(images), 0) if embedding is None else embedding.float()


def adapt_teacher(
    module: nn.Module,
    description: ModelDescription,
    task: Task,
    *,
    classes: Mapping[str, str],
    about: dict[str, Any],
    sha256: str = "",
) -> GivenTeacher:
    """Put a network behind the interface, and try it on two drawn images.

    Args:
        module: in any mode; it is put into evaluation mode.
        description: of the module.
        task: whose labels it is to tell.
        classes: label of the task to the teacher's name for it, where the two differ; "" is "none of the others".
        about: for records.
        sha256: of the file that the module runs, where its weights are not its own.

    Raises:
        ConfigError: classes that do not match, no weights to tell it by, or an output that does not fit.
    """
    name = about["name"]
    places = match_classes(name, description, task, classes)
    network = AdaptedNetwork(module, description, places).eval()
    weights = sha256 or _weights_sha256(name, module)
    settings = dataclasses.asdict(description) | {"classes": places}
    with torch.inference_mode():
        width = _try_out(name, network, task)
    digest = fingerprint("given teacher", weights, settings)
    return GivenTeacher(network, digest, width, {**about, "sha256": weights, "settings": settings})


def match_classes(
    name: str, description: ModelDescription, task: Task, classes: Mapping[str, str]
) -> tuple[int | None, ...]:
    """Position of each of the task's labels among the teacher's, compared without case, spaces and signs.

    Raises:
        ConfigError: a label that the teacher does not have, or has twice; "none of the others" of a teacher whose
            probabilities sum to 1, or for two labels; or such a teacher for several findings per image.
    """
    labels = task.labels
    if task.multilabel and description.activation not in _INDEPENDENT:
        raise ConfigError(
            f"teacher {name}: expected a sigmoid for each class, for the task gives an image several findings; found "
            f"{description.activation}, whose classes exclude each other"
        )
    unknown = [label for label in classes if label not in labels]
    if unknown:
        raise ConfigError(f"teacher.classes: expected labels of the task ({', '.join(labels)}), found {unknown[0]!r}")
    named = [one for one in description.labels if not one.startswith(UNNAMED)]
    found: list[int | None] = []
    for label in labels:
        theirs = classes.get(label, label)
        same = [i for i, one in enumerate(description.labels) if _plain(one) == _plain(theirs)]
        if theirs and len(same) != 1:
            raise ConfigError(
                f"teacher {name}: {'knows no class' if not same else 'has twice the class'} {theirs!r}; it knows "
                f"{', '.join(named)}; say which is which, such as teacher.classes={{{label}={named[0]!r}}}, or, where "
                f"its classes have a sigmoid each, {label}='' for none of the others"
            )
        found.append(same[0] if theirs else None)
    rest = found.count(None)
    if rest > 1 or (rest and (task.multilabel or description.activation not in _INDEPENDENT)):
        raise ConfigError(
            "teacher.classes: one label may be '', none of the others, of a teacher whose classes have a sigmoid each, "
            f"where an image has one class; {name} has {description.activation}, found {dict(classes)}"
        )
    return tuple(found)


def _class_logits(output: Tensor, described: ModelDescription) -> Tensor:
    """Logits [n, classes of the teacher].

    Those of independent classes are their log odds: the softmax over some of them, and 0 for "none of them", is their
    distribution given that at most one of them holds.
    """
    if described.column is not None:
        output = output[:, described.column : described.column + 1]
    binary = len(described.labels) == 2 and output.shape[1] == 1  # noqa: PLR2004
    if not binary and output.shape[1] != len(described.labels):
        raise DataError(
            f"teacher: expected an output of {len(described.labels)} columns, one for each of its classes, "
            f"found {output.shape[1]}"
        )
    if described.activation in {"none", "independent"}:
        if bool((output < 0).any() | (output > 1).any()):
            raise DataError(f"teacher: activation {described.activation!r} means probabilities, found others")
        if described.activation == "none" and not binary and bool(((output.sum(dim=1) - 1).abs() > _SUM).any()):
            raise DataError("teacher: activation 'none' means probabilities that sum to 1; 'independent' is one by one")
        output = output.clamp(_LEAST, 1 - _LEAST)
        output = output.log() if described.activation == "none" and not binary else output.logit()
    if not binary:
        return output
    pair = [torch.zeros_like(output), output]
    return torch.cat(pair if described.labels[1] == described.positive else pair[::-1], dim=1)


def _try_out(name: str, network: AdaptedNetwork, task: Task) -> int:
    """Width of the embedding; refuses what would fail, or teach nothing, after hours.

    Raises:
        ConfigError: outputs that are not finite, or do not depend on the image.
    """
    generator = torch.Generator().manual_seed(_CHECKED_SEED)
    size = network.description.image_size
    images = torch.rand(3, 1, size, size, generator=generator) * torch.tensor([0.2, 0.6, 1.0]).view(3, 1, 1, 1)
    first = next(network.parameters(), torch.zeros(0))
    try:
        outputs = network(images.to(first.device))
    except (RuntimeError, ValueError, TypeError, DataError) as error:
        raise ConfigError(f"teacher {name}: cannot score an image of {size} px: {error}") from error
    if not bool(outputs.logits.isfinite().all()):
        raise ConfigError(f"teacher {name}: expected finite outputs, found NaN or infinity for a drawn image")
    raw = (
        network.description.activation in _RAW
    )  # probabilities of drawn noise may all be 0 or 1; 0.5 means no training
    constant = [
        label
        for label, place, logits in zip(task.labels, network.classes, outputs.logits.T, strict=True)
        if place is not None and bool((logits == logits[0]).all()) and (raw or logits[0] == 0)
    ]
    binary = len(network.description.labels) == 2 and not task.multilabel  # noqa: PLR2004
    if len(constant) > binary:  # of two classes, one may stand for the other
        raise ConfigError(
            f"teacher {name}: its output for {constant[0]!r} is the same for every image, so it was never trained for "
            "this class; choose a teacher that was"
        )
    return outputs.embedding.shape[1]


def _weights_sha256(name: str, module: nn.Module) -> str:
    digest = hashlib.sha256(f"{type(module).__module__}.{type(module).__qualname__}".encode())
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    if not state:
        raise ConfigError(
            f"teacher {name}: expected a module with weights, by which its cached outputs are told from another's, "
            "found none; keep its network in an attribute"
        )
    for key, tensor in sorted(state.items()):
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())
