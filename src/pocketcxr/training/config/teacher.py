"""The teacher: its backbones, and the way they are trained."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from pocketcxr.errors import expect
from pocketcxr.training.config.optimisation import OptimisationConfig


@dataclass(frozen=True)
class TeacherConfig(OptimisationConfig):
    """The teacher: pooled features of several timm backbones, concatenated, fused into one embedding.

    `weights` per backbone: ``scratch``, ``pretrained`` (a file in $POCKETCXR_WEIGHTS, else timm's hub),
    ``pretrained@REVISION:SHA256`` (that file of the hub), or a file.
    `staged` trains each backbone with its own head first, then the fusion for `fusion_epochs` on the pooled features
    of `fusion_views` views, which the frozen backbones give once; `finetune_backbones` then trains the whole for as
    many epochs at a tenth of the rate. `frozen_backbones` takes the backbones as their files in `weights` have them and
    trains the fusion alone: large backbones may have learnt from a small pretrained one with ``train-student``.

    `image_size` above 0 is the side in pixels that the backbones resize every view to, inside the network: a VGG19 at
    192 px teaches a student at 224 px on the same views, for its answers are asked with the student's images.

    `progressive_sizes` are the sides in pixels of the first epochs of the stages that train backbones from their first
    weights, rising: with (96, 128) and `image_size` 192, a third of the epochs each. What is evaluated and what teaches
    has the last size.

    `folds` above 0 cross-fits: so many teachers, each trained without one fold of the patients of the training split;
    what a student learns of a training image comes from the teacher that never saw its patient.

    `checkpoint` names a trained network that teaches instead: a checkpoint or bundle of this project, another ONNX file
    with its description beside it, a folder with an image classifier of Hugging Face, or an entry point
    ``pocketcxr.teachers`` of an installed package. `classes` maps labels of the task to the names that the network has
    for them, where they differ; an empty name is "none of the others", of a network whose classes have a sigmoid each.
    `outputs` names a table of some teacher's outputs, from ``cache-views --save`` or any other program, or several
    tables, whose logits are averaged.

    `auxiliary` outputs are trained where backbones are, each with heads of its own; the fusion is fitted on the task
    alone.
    """

    backbones: tuple[str, ...] = ("vgg19_bn", "resnetv2_50")
    weights: tuple[str, ...] = ("pretrained", "pretrained")
    embedding_features: int = 512
    dropout: float = 0.2
    staged: bool = True
    fusion_epochs: int = 10
    fusion_views: int = 2
    finetune_backbones: bool = False
    frozen_backbones: bool = False
    checkpoint: str = ""
    classes: dict[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    folds: int = 0
    image_size: int = 0
    progressive_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the teacher's own fields too."""
        super().__post_init__()
        expect(len(self.backbones) >= 1, "backbones", "at least one timm model", list(self.backbones))
        expect(
            len(self.weights) == len(self.backbones),
            "weights",
            f"one entry per backbone ({len(self.backbones)})",
            list(self.weights),
        )
        files = self.staged and not {"scratch", "pretrained"} & set(self.weights)
        expect(
            files or not self.frozen_backbones,
            "frozen_backbones",
            "a file of trained weights for every backbone, and staged = true",
            list(self.weights),
        )
        expect(self.fusion_epochs >= 1, "fusion_epochs", "at least 1", self.fusion_epochs)
        expect(self.folds == 0 or self.folds >= 2, "folds", "0, or at least 2", self.folds)  # noqa: PLR2004
        expect(not (self.folds and self.checkpoint), "folds", "0 where checkpoint names a teacher", self.folds)
        trained = self.folds or self.checkpoint or self.image_size
        expect(
            not (self.outputs and trained),
            "outputs",
            "no folds, checkpoint or image_size beside it",
            list(self.outputs),
        )
        expect(self.image_size == 0 or self.image_size >= 32, "image_size", "0, or at least 32", self.image_size)  # noqa: PLR2004
        sizes = self.progressive_sizes
        rising = all(32 <= size < after for size, after in itertools.pairwise((*sizes, self.image_size or math.inf)))  # noqa: PLR2004
        expect(rising, "progressive_sizes", "rising sides of at least 32, below image_size", list(sizes))
        expect(
            not sizes or self.epochs > len(sizes),
            "progressive_sizes",
            f"fewer than the {self.epochs} epochs",
            list(sizes),
        )
        expect(
            not (sizes and (self.frozen_backbones or self.checkpoint or self.outputs)),
            "progressive_sizes",
            "none where backbones are not trained (frozen_backbones, checkpoint, outputs)",
            list(sizes),
        )
        expect(
            not (self.image_size and self.checkpoint),
            "image_size",
            "0 where checkpoint names a teacher",
            self.image_size,
        )
        expect(
            not (self.auxiliary and (self.frozen_backbones or self.checkpoint or self.outputs)),
            "auxiliary",
            "none where backbones are not trained (frozen_backbones, checkpoint, outputs)",
            self.auxiliary,
        )
        expect(
            "evidence" not in self.auxiliary,
            "auxiliary",
            "no evidence, which is of a student's class activation map",
            self.auxiliary,
        )
        expect(self.fusion_views >= 1, "fusion_views", "at least 1", self.fusion_views)
