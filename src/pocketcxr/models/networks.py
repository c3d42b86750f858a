"""Teacher and student: what they are made of, and the one specification they are rebuilt from.

::

    Teacher   image -> [backbone, backbone, …] -> pooled, concatenated -> Linear, BatchNorm, ReLU -> Linear -> logits
                                                        features              embedding
    Student   image -> backbone -> feature map -> average over space -> Linear -> logits
                                    features          embedding
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from pocketcxr.errors import ConfigError
from pocketcxr.models.backbones import Backbone, BackboneOutputs, build_backbone

if TYPE_CHECKING:
    from collections.abc import Sequence


KINDS = ("teacher", "student", "backbone", "ensemble")


@dataclass(frozen=True)
class NetworkSpec:
    """All that is needed to rebuild a network before its weights are loaded.

    `kind` is ``teacher`` (several backbones fused), ``student`` (one backbone, linear head on the pooled map),
    ``backbone`` (one of a teacher's with a linear head of its own) or ``ensemble`` (`members` teachers).
    `labels` in the order of the logits; `image_size` in pixels, square, of the images it is given; `inner_size` in
    pixels is what its backbones resize them to, 0 where they take them as they are (a student always does);
    `embedding_features` is the width of the teacher's fused embedding (a student's has the width of its backbone).
    `multilabel` says that each logit is of a finding by itself and not of classes that exclude each other.
    """

    kind: str
    backbones: tuple[str, ...]
    labels: tuple[str, ...]
    image_size: int
    embedding_features: int = 512
    dropout: float = 0.0
    members: int = 1
    inner_size: int = 0
    multilabel: bool = False

    def table(self) -> dict[str, Any]:
        """Plain table for records and identities; later fields only where they are used, as in earlier versions."""
        later = {"members": 1, "inner_size": 0, "multilabel": False}
        table = dataclasses.asdict(self)
        return {name: value for name, value in table.items() if name not in later or value != later[name]}

    @property
    def backbone_size(self) -> int:
        """Side in pixels of the images that the backbones see."""
        return self.inner_size or self.image_size

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        if self.kind not in KINDS:
            raise ConfigError(f"kind: expected one of {KINDS}, found {self.kind!r}")
        fused = self.kind in {"teacher", "ensemble"}
        if len(self.backbones) < 1 or (not fused and len(self.backbones) > 1):
            raise ConfigError(
                f"backbones: a {self.kind} has {'at least' if fused else 'exactly'} one, found {list(self.backbones)}"
            )
        if self.inner_size and self.kind == "student":
            raise ConfigError(
                f"inner_size: expected 0 for a student, which takes its images as they are, found {self.inner_size}"
            )


class NetworkOutputs(NamedTuple):
    """Outputs of one forward pass: logits [n, classes], embedding [n, d], features.

    `features` is the student's feature map [n, c, h, w] and the teacher's concatenated pooled features [n, c].
    `backbones` is what auxiliary heads read in training; an ensemble gives none.
    """

    logits: Tensor
    embedding: Tensor
    features: Tensor
    backbones: tuple[BackboneOutputs, ...] = ()


class Student(nn.Module):
    """One backbone whose pooled feature map feeds a linear classifier, so that activation maps cost nothing."""

    def __init__(self, backbone: Backbone, *, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(backbone.features, classes)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Score images [n, 1, s, s] in [0, 1]."""
        features = self.backbone.feature_map(images)  # [n, c, h, w]
        embedding = features.mean(dim=(2, 3))  # [n, c]
        seen = BackboneOutputs(embedding, features)
        return NetworkOutputs(self.classifier(self.dropout(embedding)), embedding, features, (seen,))

    def saliency(self, features: Tensor) -> Tensor:
        """Class activation maps [n, classes, h, w], in logit units, of feature maps [n, c, h, w].

        Their average over space is the logit without its bias.
        Zhou et al., CVPR 2016, *Learning deep features for discriminative localization*.
        """
        return torch.einsum("kc,nchw->nkhw", self.classifier.weight, features)


class FusionHead(nn.Module):
    """Concatenated pooled features -> embedding (Linear, BatchNorm, ReLU) -> classifier: the teacher's upper part.

    Features of unlike backbones differ in scale by orders of magnitude; the first batch norm levels them.
    """

    def __init__(self, features: int, *, embedding_features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.level = nn.BatchNorm1d(features)
        self.fuse = nn.Linear(features, embedding_features, bias=False)
        self.norm = nn.BatchNorm1d(embedding_features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(embedding_features, classes)

    def forward(self, features: Tensor) -> NetworkOutputs:
        """Score concatenated pooled features [n, c]."""
        embedding = torch.relu(self.norm(self.fuse(self.dropout(self.level(features)))))
        return NetworkOutputs(self.classifier(self.dropout(embedding)), embedding, features)


class Teacher(nn.Module):
    """Several strong backbones side by side, fused into one embedding and classified."""

    def __init__(self, backbones: Sequence[Backbone], *, embedding_features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.head = FusionHead(
            sum(backbone.features for backbone in backbones),
            embedding_features=embedding_features,
            classes=classes,
            dropout=dropout,
        )

    def pooled(self, images: Tensor) -> Tensor:
        """Concatenated pooled features [n, c] of all backbones, in their order, of images [n, 1, s, s]."""
        return torch.cat([backbone(images) for backbone in self.backbones], dim=1)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Score images [n, 1, s, s] in [0, 1]."""
        seen = tuple(backbone.outputs(images) for backbone in self.backbones)  # pyright: ignore[reportCallIssue]
        return self.head(torch.cat([one.pooled for one in seen], dim=1))._replace(backbones=seen)


class PooledClassifier(nn.Module):
    """One backbone of a teacher with a linear head of its own: what a stage of staged training fits."""

    def __init__(self, backbone: Backbone, *, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(backbone.features, classes)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Score images [n, 1, s, s] in [0, 1]."""
        seen = self.backbone.outputs(images)
        return NetworkOutputs(self.classifier(self.dropout(seen.pooled)), seen.pooled, seen.pooled, (seen,))


class Ensemble(nn.Module):
    """Several teachers of the same backbones: the mean of their logits, their embeddings side by side."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Score images [n, 1, s, s] in [0, 1]."""
        outputs: list[NetworkOutputs] = [member(images) for member in self.members]
        logits = torch.stack([one.logits for one in outputs]).mean(dim=0)
        embedding = torch.cat([one.embedding for one in outputs], dim=1)
        features = torch.cat([one.features for one in outputs], dim=1)
        return NetworkOutputs(logits, embedding, features)


Network = Teacher | Student | PooledClassifier | Ensemble


def embedding_width(network: Network) -> int:
    """Width d of the embedding [n, d] that a network gives."""
    if isinstance(network, Ensemble):
        return sum(embedding_width(member) for member in network.members)  # pyright: ignore[reportArgumentType]
    classifier = network.head.classifier if isinstance(network, Teacher) else network.classifier
    return classifier.in_features


def build_network(spec: NetworkSpec) -> Network:
    """Build a network with fresh weights.

    Raises:
        ConfigError: an unknown backbone, or a student whose backbone ends in no feature map.
    """
    if spec.kind == "ensemble":
        one = dataclasses.replace(spec, kind="teacher", members=1)
        return Ensemble([build_network(one) for _ in range(spec.members)])
    backbones = [build_backbone(name, image_size=spec.backbone_size) for name in spec.backbones]
    return assemble(spec, backbones)


def assemble(spec: NetworkSpec, backbones: Sequence[Backbone]) -> Network:
    """Put given backbones (with whatever weights they have) under fresh heads.

    Raises:
        ConfigError: a student whose backbone ends in no feature map.
    """
    for backbone in backbones:
        backbone.inner_size = spec.inner_size
    if spec.kind == "teacher":
        return Teacher(
            backbones,
            embedding_features=spec.embedding_features,
            classes=len(spec.labels),
            dropout=spec.dropout,
        )
    (backbone,) = backbones
    if spec.kind == "backbone":
        return PooledClassifier(backbone, classes=len(spec.labels), dropout=spec.dropout)
    if not backbone.has_map:
        raise ConfigError(
            f"backbone {backbone.name!r} ends in no feature map [n, c, h, w], which a student needs for its activation "
            "maps: choose a convolutional network such as mobilenetv2_100"
        )
    return Student(backbone, classes=len(spec.labels), dropout=spec.dropout)
