"""Losses of one's own: a function or module that names the tensors it takes, beside the parts that come with us."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pocketcxr.errors import ConfigError
from pocketcxr.own_parts import LOSSES, argument_names, load_part, provenance

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pocketcxr.models.networks import Student

OFFERED = (
    "student_logits",
    "labels",
    "student_embedding",
    "teacher_logits",
    "teacher_embedding",
    "image_ids",
    "temperature",
)
"""What a loss may take, by the name of its argument; see `OwnLoss`."""

_BUILT_WITH = ("student_features", "teacher_features", "classes")


@dataclass(frozen=True)
class OwnLoss:
    """A loss of one's own.

    `part` is a function, a module, or a class of modules, which is built with those of `student_features`,
    `teacher_features` (widths of the embeddings) and `classes` that it names, and whose weights are trained beside the
    student. It returns a scalar for a batch of n images; `takes` are the arguments it names, of `OFFERED`: logits
    float32 [n, classes], embeddings float32 [n, d], labels int64 [n] with -1 for images without one (of several
    findings per image [n, classes]: 1 present, 0 absent, -1 not known), image_ids int64 [n], temperature a number.
    """

    name: str
    part: Any
    takes: tuple[str, ...]

    @property
    def needs_teacher(self) -> bool:
        """Whether it compares with a teacher."""
        return any(name.startswith("teacher_") for name in self.takes)


class BuiltLoss(nn.Module):
    """A loss of one's own, ready to be called with everything that is offered; in float32, as our own parts."""

    def __init__(self, own: OwnLoss, function: Any) -> None:
        super().__init__()
        self.own, self.function = own, function

    def forward(self, offered: dict[str, Any]) -> Tensor:
        """The loss of a batch."""
        missing = [name for name in self.own.takes if offered[name] is None]
        if missing:
            raise TypeError(f"{missing[0]} is missing, and the loss {self.own.name} needs it")
        taken = {name: offered[name] for name in self.own.takes}
        with torch.autocast(offered["student_logits"].device.type, enabled=False):
            return self.function(**{name: _widened(value) for name, value in taken.items()})


def own_loss(name: str, *, known: Collection[str] = ()) -> OwnLoss:
    """Find a loss of one's own by its name.

    Args:
        name: of an entry point ``pocketcxr.losses``, or ``module:name`` of a loss given in Python.
        known: names of our own parts, for the message.

    Raises:
        ConfigError: no such loss, or one that takes what cannot be given.
    """
    try:
        part = load_part(LOSSES, name, known=known)
    except ConfigError as error:
        raise ConfigError(f"losses: {error}") from error
    if not callable(part):
        raise ConfigError(f"losses: {name}: expected a function, a module or a class, found {type(part).__name__}")
    if inspect.isclass(part):
        if not issubclass(part, nn.Module):
            raise ConfigError(f"losses: {name}: expected a class of torch.nn.Module, found {part.__qualname__}")
        names = argument_names(part.forward, ("self", *OFFERED), f"losses: {name}")
        return OwnLoss(name, part, tuple(one for one in names if one != "self"))
    function = part.forward if isinstance(part, nn.Module) else part
    return OwnLoss(name, part, argument_names(function, OFFERED, f"losses: {name}"))


def build_own(own: Sequence[OwnLoss], *, student_features: int, teacher_features: int, classes: int) -> nn.ModuleDict:
    """Losses of one's own by position, ready to be called; those with weights are drawn under the run's seed."""
    offered: dict[str, int] = dict(zip(_BUILT_WITH, (student_features, teacher_features, classes), strict=True))
    built = nn.ModuleDict()
    for number, one in enumerate(own):
        function = one.part
        if inspect.isclass(function):
            names = argument_names(function, _BUILT_WITH, f"losses: {one.name}")
            function = function(**{name: offered[name] for name in names})
        built[str(number)] = BuiltLoss(one, function)
    return built


def own_record(own: Sequence[OwnLoss]) -> dict[str, dict[str, str]]:
    """Where losses of one's own come from, by name: part of a run's identity and record."""
    return {one.name: provenance(one.part) for one in own}


def check_own(
    own: Sequence[OwnLoss],
    student: Student,
    *,
    image_size: int,
    teacher_features: int,
    classified: bool,
    multilabel: bool = False,
) -> None:
    """Try losses of one's own on four random images before anything is trained.

    Args:
        own: the losses.
        student: the network that is to be trained.
        image_size: of its images.
        teacher_features: width of the teacher's embedding, 0 without one.
        classified: one of our own parts trains the classifier.
        multilabel: an image may have several findings; labels are then [n, classes].

    Raises:
        ConfigError: a loss that fails, is no finite scalar or does not reach the student, or none that reaches its
            classifier.
    """
    features, classes = student.classifier.in_features, student.classifier.out_features
    built = build_own(own, student_features=features, teacher_features=teacher_features, classes=classes)
    generator = torch.Generator().manual_seed(0)
    outputs = student.train()(torch.rand(4, 1, image_size, image_size, generator=generator))
    labels = torch.tensor([0, 1, -1, classes - 1])
    offered = {
        "student_logits": outputs.logits,
        "labels": labels.clamp(max=1)[:, None].expand(-1, classes) if multilabel else labels,
        "student_embedding": outputs.embedding,
        "teacher_logits": torch.randn(4, classes, generator=generator),
        "teacher_embedding": torch.randn(4, max(teacher_features, 1), generator=generator),
        "image_ids": torch.arange(4),
        "temperature": 4.0,
    }
    parameters = [one for one in student.parameters() if one.requires_grad]
    for module in built.values():
        assert isinstance(module, BuiltLoss)
        name = module.own.name
        try:
            value = module(offered)
        except Exception as error:  # a part of others may raise anything
            raise ConfigError(f"losses: {name} fails on four random images: {error}") from error
        if not isinstance(value, Tensor) or value.ndim != 0 or not bool(value.isfinite()):
            found = f"{list(value.shape)} {value.flatten()[:3].tolist()}" if isinstance(value, Tensor) else repr(value)
            raise ConfigError(f"losses: {name}: expected a finite scalar tensor, found {found}")
        reached = (
            torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True) if value.requires_grad else ()
        )
        moved = [
            one for one, slope in zip(parameters, reached, strict=False) if slope is not None and bool(slope.any())
        ]
        if not moved:
            raise ConfigError(
                f"losses: {name}: its gradient does not reach the student, which would learn nothing of it"
            )
        classified = classified or any(one is student.classifier.weight for one in moved)
    if not classified:
        names = ", ".join(one.name for one in own)
        raise ConfigError(f"losses: {names} leaves the classifier untrained: add one that does, such as ce")


def _widened(value: object) -> object:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
