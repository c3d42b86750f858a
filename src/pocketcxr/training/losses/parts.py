"""The parts of the distillation loss: one plain function per published method, each returning a scalar.

All are computed in float32 whatever autocast says: softened probabilities and cosines of bf16 numbers are too coarse
to be told apart. Where `n` is the batch, `c` the number of classes: logits ``[n, c]``, embeddings ``[n, d]``, labels
int64 ``[n]`` with -1 for images without a label. Means are over the batch.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")

MULTILEVEL_TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)
"""Temperatures of the "prediction augmentation" in the code of Jin et al."""


def _in_float32(function: Callable[_P, Tensor]) -> Callable[_P, Tensor]:
    """Widen floating tensors to float32 and switch autocast off, which would run matrix products in bf16."""

    def widened(value: object) -> object:
        return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*map(widened, args), **{name: widened(value) for name, value in kwargs.items()})  # pyright: ignore[reportCallIssue]  # same signature, widened

    return run


@_in_float32
def cross_entropy_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, mean over the images that have one; 0 where none has.

    Label smoothing: Szegedy et al., CVPR 2016, section 7.
    """
    total = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum", label_smoothing=label_smoothing)
    return total / (labels >= 0).sum().clamp(min=1)


@_in_float32
def binary_loss(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy with targets in [0, 1], mean over the images that are known; 0 where none is.

    Args:
        logits: [n] or [n, 1, h, w].
        targets: of the same shape.
        known: bool [n].
    """
    each = functional.binary_cross_entropy_with_logits(logits, targets.float().clamp(0, 1), reduction="none")
    per_image = each.flatten(start_dim=1).mean(dim=1) if each.ndim > 1 else each
    return (per_image * known).sum() / known.sum().clamp(min=1)


@_in_float32
def kd_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """KL divergence of softened predictions, times T² so that gradients keep their size.

    Hinton, Vinyals, Dean, arXiv 1503.02531, section 2.
    """
    return _divergence(student / temperature, teacher / temperature) * temperature**2


@_in_float32
def label_wise_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy of each label by itself, mean over the labels that are known; 0 where none is.

    Args:
        logits: [n, labels].
        labels: int64 [n, labels], 1 present, 0 absent, below 0 not known.
        label_smoothing: moves both targets towards one half.
    """
    known = labels >= 0
    targets = labels.clamp(min=0).float() * (1 - label_smoothing) + label_smoothing / 2
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


@_in_float32
def label_wise_kd_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """`kd_loss` of each label by itself: KL divergence of the softened probabilities of present and absent, times T².

    Mean over images and labels, of those too whose label is not known.
    """
    ours, theirs = student / temperature, teacher / temperature
    present = theirs.sigmoid() * (functional.logsigmoid(theirs) - functional.logsigmoid(ours))
    absent = (-theirs).sigmoid() * (functional.logsigmoid(-theirs) - functional.logsigmoid(-ours))
    return (present + absent).mean() * temperature**2


@_in_float32
def standardised_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Like `kd_loss` on z-scored logits: the student need not copy the range of the teacher's logits.

    Sun et al., CVPR 2024 (arXiv 2403.01427), algorithms 1 and 2. The standard deviation has divisor c; the authors'
    code takes c - 1, which is another temperature and weight. Refused for two classes.
    """
    return kd_loss(_z_scores(student), _z_scores(teacher), temperature=temperature)


@_in_float32
def decoupled_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float, alpha: float = 1.0, beta: float = 8.0
) -> Tensor:
    """Decoupled distillation: target against the rest (times alpha), and the rest among itself (times beta).

    Zhao et al., CVPR 2022 (arXiv 2203.08679), equation 7; alpha and beta as published for CIFAR-100. Images without a
    label have no target class and are left out. Refused for two classes.
    """
    labelled = labels >= 0
    if not bool(labelled.any()):
        return student.sum() * 0.0  # keeps the graph, so that a batch without labels still has a gradient
    student_target, student_others = _target_and_others(student[labelled] / temperature, labels[labelled])
    teacher_target, teacher_others = _target_and_others(teacher[labelled] / temperature, labels[labelled])
    target = _divergence(student_target, teacher_target)
    others = _divergence(student_others, teacher_others)
    return (alpha * target + beta * others) * temperature**2


@_in_float32
def multilevel_loss(
    student: Tensor, teacher: Tensor, *, temperatures: tuple[float, ...] = MULTILEVEL_TEMPERATURES
) -> Tensor:
    """Predictions aligned by image, by pairs of images and by pairs of classes, mean over several temperatures.

    Jin, Wang, Lin, CVPR 2023, *Multi-Level Logit Distillation*: with predictions p, q ``[n, c]``, T² KL by image,
    ``|p p' - q q'|² / n`` by pairs of images, ``|p' p - q' q|² / c`` by pairs of classes. The paper sums over
    temperatures; the mean keeps one weight meaningful beside `kd`. The authors' masks by confidence, which belong to
    their weak and strong augmentation, are left out.
    """
    total = student.new_zeros(())
    for temperature in temperatures:
        ours, theirs = (student / temperature).softmax(dim=1), (teacher / temperature).softmax(dim=1)
        pairs = (ours @ ours.T - theirs @ theirs.T).square().sum() / len(ours)  # [n, n]
        classes = (ours.T @ ours - theirs.T @ theirs).square().sum() / ours.shape[1]  # [c, c]
        total = total + kd_loss(student, teacher, temperature=temperature) + pairs + classes
    return total / len(temperatures)


@_in_float32
def correlation_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """DIST: one minus Pearson's correlation of predictions, over the classes of an image and over a class's images.

    Huang et al., NeurIPS 2022 (arXiv 2205.10536): inter-class and intra-class relation, each weighted 1 and times T² as
    in the authors' code. Refused for two classes.
    """
    ours, theirs = (student / temperature).softmax(dim=1), (teacher / temperature).softmax(dim=1)
    return ((1 - _pearson(ours, theirs)).mean() + (1 - _pearson(ours.T, theirs.T)).mean()) * temperature**2


@_in_float32
def embedding_loss(projected: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine of the student's projected embedding ``[n, d]`` and the teacher's, mean over the batch.

    The "feature insights" of BabaAhmadi et al. (arXiv 2301.02735), whose text gives no formula; the cosine leaves the
    length of the embedding, which says nothing of the class, free.
    """
    return (1 - functional.cosine_similarity(projected, teacher, dim=1, eps=1e-6)).mean()


@_in_float32
def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity-preserving distillation: images that are alike for the teacher shall be alike for the student.

    Tung, Mori, ICCV 2019 (arXiv 1907.09682), section 2: mean squared difference of the
    row-normalised Gram matrices of the batch. Needs no projection: widths may differ.
    """
    ours, theirs = (functional.normalize(each @ each.T, dim=1, eps=1e-6) for each in (student, teacher))  # [n, n]
    return (ours - theirs).square().mean()


@_in_float32
def contrastive_loss(
    projected: Tensor, teacher: Tensor, image_ids: Tensor | None = None, *, temperature: float = 0.07
) -> Tensor:
    """Find, among the batch, the teacher's embedding of the same image (and the other way round): InfoNCE.

    After contrastive representation distillation: Tian, Krishnan, Isola, ICLR 2020 (arXiv 1910.10699), section
    3.1. What differs: negatives are the other images of the batch, not 16,384 draws from a memory bank of older
    embeddings, so nothing stale is compared and no state is kept; softmax over the batch instead of CRD's
    noise-contrastive estimate; the teacher's embedding is used as it is, only the student's is projected.

    Args:
        projected: student's embedding through the projection, ``[n, d]``.
        teacher: teacher's embedding, ``[n, d]``.
        image_ids: int64 ``[n]``; an image drawn twice into one batch is then no negative of itself.
        temperature: of the cosines; 0.07 as in CRD.
    """
    cosines = functional.normalize(projected, dim=1, eps=1e-6) @ functional.normalize(teacher, dim=1, eps=1e-6).T
    cosines = cosines / temperature
    here = torch.arange(len(cosines), device=cosines.device)
    if image_ids is not None:
        twins = (image_ids[:, None] == image_ids[None, :]) & (here[:, None] != here[None, :])
        cosines = cosines.masked_fill(twins, -torch.inf)
    return (functional.cross_entropy(cosines, here) + functional.cross_entropy(cosines.T, here)) / 2


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of logits ``[n, c]``, mean over the batch."""
    ours, theirs = student.log_softmax(dim=1), teacher.log_softmax(dim=1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def _z_scores(logits: Tensor) -> Tensor:
    centred = logits - logits.mean(dim=1, keepdim=True)
    # the square root's gradient is infinite at 0, where all logits are equal
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()


def _target_and_others(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of (target, any other class) ``[n, 2]``, and of the other classes ``[n, c - 1]``."""
    is_target = functional.one_hot(labels, logits.shape[1]).bool()
    others = logits[~is_target].view(len(logits), -1)
    return torch.stack([logits[is_target], others.logsumexp(dim=1)], dim=1), others


def _pearson(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's correlation along the last axis; a floor keeps rounding noise of constant rows from counting."""
    one, other = one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True)
    return functional.cosine_similarity(one, other, dim=1, eps=1e-4)
