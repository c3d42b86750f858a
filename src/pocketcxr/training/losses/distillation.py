"""The distillation loss as named parts, so that each can be weighted, logged and compared alone.

The parts themselves stand in `loss_parts`; here they are chosen, checked against the task and put together.

How a training loop uses this module::

    check_losses(config.losses, len(task.labels))  # once, before any work
    projection = build_projection(1280, 512) if needs_projection(config.losses) else None
    optimiser = AdamW([*student.parameters(), *(projection.parameters() if projection else ())])
    parts = distillation_losses(config.losses, student_logits=..., labels=..., ...)
    loss = torch.stack(list(parts.values())).sum()

The projection is a training aid: it is optimised and checkpointed with the student and never exported.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pocketcxr.errors import ConfigError
from pocketcxr.training.losses.own import BuiltLoss, OwnLoss, own_loss
from pocketcxr.training.losses.parts import (
    contrastive_loss,
    correlation_loss,
    cross_entropy_loss,
    decoupled_loss,
    embedding_loss,
    kd_loss,
    label_wise_kd_loss,
    label_wise_loss,
    multilevel_loss,
    similarity_loss,
    standardised_loss,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LOSSES: Mapping[str, str] = {
    "ce": "cross-entropy on the labels",
    "kd": "softened predictions (Hinton 2015)",
    "standardised": "softened predictions of z-scored logits (Sun 2024)",
    "dkd": "target and non-target classes apart (Zhao 2022)",
    "multilevel": "predictions by image, batch and class (Jin 2023)",
    "dist": "correlation within images and within classes (Huang 2022)",
    "embedding": "cosine to the teacher's embedding, through a projection",
    "similarity": "similarities between the images of a batch (Tung & Mori 2019)",
    "contrastive": "same image found among the batch, through a projection (after Tian 2020)",
}
"""Names of the parts with what each is."""

_CLASSIFYING = frozenset({"ce", "kd", "standardised", "dkd", "multilevel", "dist"})
_PROJECTED = frozenset({"embedding", "contrastive"})
_EMBEDDED = _PROJECTED | {"similarity"}
_TWO_CLASSES = {
    "standardised": "the z-scores of two logits are always +1 and -1, so only the teacher's decision is left; use kd",
    "dkd": "there is one non-target class, whose share of the non-target probability is always 1, so that term is "
    "constant and the rest is plain distillation; use kd",
    "dist": "the correlation of two probabilities that sum to 1 is always +1 or -1, so its inter-class term has no "
    "gradient; use kd, with similarity for relations between images",
}


_EXCLUSIVE = {
    "standardised": "it z-scores the logits of an image over classes, which several findings do not share out",
    "dkd": "it sets one target class against the others",
    "multilevel": "it compares probabilities that sum to 1 over the classes",
    "dist": "it correlates probabilities that sum to 1 over the classes",
}


def check_losses(losses: Mapping[str, float] | Iterable[str], classes: int, *, multilabel: bool = False) -> None:
    """Refuse, before any work, names and combinations that cannot teach a classifier of so many classes.

    `multilevel` is allowed for two classes: its class-level term then aligns the first two moments of the predicted
    probability over the batch, which `kd` does not ask for in the same measure. Its image-level term is `kd` at
    other temperatures; both together only weigh that term more.

    Args:
        losses: names of parts, or names with their weights (parts of weight 0 are left out).
        classes: how many classes the task has.
        multilabel: an image may have several of them.

    Raises:
        ConfigError: an unknown name, a weight that is negative or not finite, a part that degenerates for two classes
            or needs classes that exclude each other (with the reason and what to use instead), or no part that trains
            the classifier (losses of one's own are tried out by `own.check_own`).
    """
    names = active_losses(losses)
    own = own_losses(losses)
    senseless, where = ({}, "")
    if multilabel:
        senseless, where = _EXCLUSIVE, "for several findings per image"
    elif classes == 2:  # noqa: PLR2004
        senseless, where = _TWO_CLASSES, "for two classes"
    for name in names:
        if name in senseless:
            instead = "; use kd" if multilabel else ""
            raise ConfigError(f"losses: {name!r} makes no sense {where}: {senseless[name]}{instead}")
    if not own and not trains_classifier(names):
        raise ConfigError(
            f"losses: {', '.join(names) or 'nothing'} leaves the classifier untrained: "
            f"add one of {', '.join(name for name in LOSSES if name in _CLASSIFYING)}"
        )


def active_losses(losses: Mapping[str, float] | Iterable[str]) -> tuple[str, ...]:
    """Names of the parts that count: those whose weight is not 0.

    Raises:
        ConfigError: a weight that is negative or not finite.
    """
    if not isinstance(losses, Mapping):
        return tuple(losses)
    for name, weight in losses.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"losses: expected a weight of at least 0 for {name!r}, found {weight}")
    return tuple(name for name, weight in losses.items() if weight > 0)


def own_losses(losses: Mapping[str, float] | Iterable[str]) -> tuple[OwnLoss, ...]:
    """Those parts that do not come with the program: of installed packages, or given in Python.

    Raises:
        ConfigError: an unknown name, or a loss that takes what cannot be given.
    """
    return tuple(own_loss(name, known=LOSSES) for name in active_losses(losses) if name not in LOSSES)


def trains_classifier(losses: Mapping[str, float] | Iterable[str]) -> bool:
    """Whether one of our own parts trains the classifier."""
    return not _CLASSIFYING.isdisjoint(active_losses(losses))


def needs_teacher(losses: Mapping[str, float] | Iterable[str]) -> bool:
    """Whether any part compares with a teacher; `ce` alone does not."""
    named = any(name != "ce" for name in active_losses(losses) if name in LOSSES)
    return named or any(one.needs_teacher for one in own_losses(losses))


def needs_projection(losses: Mapping[str, float] | Iterable[str]) -> bool:
    """Whether any part needs `build_projection`."""
    return not _PROJECTED.isdisjoint(active_losses(losses))


def check_without_embedding(losses: Mapping[str, float] | Iterable[str]) -> None:
    """Refuse parts that compare embeddings, for a teacher that has none to compare.

    Raises:
        ConfigError: naming the part and those to use instead.
    """
    own = [one.name for one in own_losses(losses) if "teacher_embedding" in one.takes]
    name = next((name for name in active_losses(losses) if name in _EMBEDDED or name in own), None)
    if name is not None:
        raise ConfigError(
            f"losses: {name!r} cannot be used with teacher.folds or teacher.outputs, nor with a teacher that gives no "
            "embedding: each fold's teacher has an embedding of its own, and embeddings of different networks cannot "
            "be compared; a table of outputs holds logits only; use parts that compare predictions, "
            "such as student.losses={ce=0.5, kd=1.0}"
        )


def build_projection(student_features: int, teacher_features: int) -> nn.Module:
    """Linear map from the student's embedding to the width of the teacher's (CRD and FitNets do the same).

    Made once per run, before the optimiser, under the run's seed; `embedding` and `contrastive` share it.
    """
    return nn.Linear(student_features, teacher_features)


def distillation_losses(
    losses: Mapping[str, float],
    *,
    student_logits: Tensor,
    labels: Tensor,
    student_embedding: Tensor | None = None,
    teacher_logits: Tensor | None = None,
    teacher_embedding: Tensor | None = None,
    projection: nn.Module | None = None,
    image_ids: Tensor | None = None,
    temperature: float = 4.0,
    label_smoothing: float = 0.0,
    own: Iterable[BuiltLoss] = (),
) -> dict[str, Tensor]:
    """All parts of the loss by name, each a float32 scalar already times its weight; their sum is the loss.

    Teacher tensors may be None when no active part needs them, and `projection` when `needs_projection` says so; `own`
    are the losses of one's own among the parts (`own.build_own`).
    Labels [n, labels] are those of images that may have several findings (`label_wise_loss`): ``ce`` and ``kd`` are
    then taken for each label by itself. `check_losses` is meant to have passed; a tensor that is missing here is a
    mistake of the caller (TypeError).
    """
    active = active_losses(losses)
    logits, several = student_logits, labels.ndim == 2  # noqa: PLR2004
    ce, kd = (label_wise_loss, label_wise_kd_loss) if several else (cross_entropy_loss, kd_loss)

    def embedding() -> Tensor:
        return _given(student_embedding, "student_embedding")

    def their_embedding() -> Tensor:
        return _given(teacher_embedding, "teacher_embedding").detach()

    def theirs() -> Tensor:
        return _given(teacher_logits, "teacher_logits").detach()

    @functools.cache
    def projected() -> Tensor:
        if projection is None:
            raise TypeError("projection is missing: see build_projection")
        with torch.autocast(logits.device.type, enabled=False):
            return projection(embedding().float())

    parts: dict[str, Callable[[], Tensor]] = {
        "ce": lambda: ce(logits, labels, label_smoothing=label_smoothing),
        "kd": lambda: kd(logits, theirs(), temperature=temperature),
        "standardised": lambda: standardised_loss(logits, theirs(), temperature=temperature),
        "dkd": lambda: decoupled_loss(logits, theirs(), labels, temperature=temperature),
        "multilevel": lambda: multilevel_loss(logits, theirs()),
        "dist": lambda: correlation_loss(logits, theirs(), temperature=temperature),
        "embedding": lambda: embedding_loss(projected(), their_embedding()),
        "similarity": lambda: similarity_loss(embedding(), their_embedding()),
        "contrastive": lambda: contrastive_loss(projected(), their_embedding(), image_ids),
    }
    offered = {
        "student_logits": logits,
        "labels": labels,
        "student_embedding": student_embedding,
        "teacher_logits": None if teacher_logits is None else teacher_logits.detach(),
        "teacher_embedding": None if teacher_embedding is None else teacher_embedding.detach(),
        "image_ids": image_ids,
        "temperature": temperature,
    }
    parts |= {one.own.name: functools.partial(one, offered) for one in own}
    return {name: parts[name]() * losses[name] for name in active}


def _given(tensor: Tensor | None, name: str) -> Tensor:
    if tensor is None:
        raise TypeError(f"{name} is missing, and a part of the loss needs it")
    return tensor
