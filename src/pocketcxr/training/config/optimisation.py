"""How a network is fitted: what teacher and student share."""

from __future__ import annotations

from dataclasses import dataclass, field

from pocketcxr.errors import expect

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SAMPLINGS = ("uniform", "class", "class-source", "class-source-sqrt", "class-within-source")
SELECTIONS = ("auroc", "cross-entropy")
TRACKERS = ("tensorboard", "mlflow")
AUXILIARY = ("findings", "opacity", "boxes", "evidence")


@dataclass(frozen=True)
class OptimisationConfig:
    """How a network is fitted. Rates are per step after warm-up; `patience` counts epochs, 0 means no early stop.

    `ema_decay` 0 means no averaging. `sampling` balances classes, or classes within sources ("class-source": every
    (class, source) pair is drawn equally often within its class; "class-source-sqrt": by the root of its images), or
    the classes of each source ("class-within-source": a source tells nothing of the class; see `sampling.epoch_plan`),
    or nothing; `source_weights` multiplies a source's share where sources are balanced. `precision`
    ``auto`` is bf16 where the hardware multiplies it, else fp32. `select_by` says which figure on the calibration
    split, taken with the averaged weights, chooses the best epoch and stops early: macro AUROC or cross-entropy.

    `frozen_blocks` keeps the stem and so many early blocks of every backbone as their first weights are: blocks that
    end in a max-pool for VGG, stages for ResNet and MobileNetV2. They are not updated, keep no activations for the
    backward pass, and their batch norms stay in evaluation mode. A backbone that starts from scratch is trained whole.

    `auxiliary` maps auxiliary outputs, trained beside the task's and not kept, to the weights of their losses:
    ``findings`` (which of the training images' findings), ``opacity`` (whether radiologists drew a box), ``boxes`` (how
    much of each cell of the feature map boxes cover), and, of a student, ``evidence`` (the share of its class
    activation map's evidence that lies outside the boxes, of images with a class and boxes). Training images without a
    class of which another target is known take part in these losses; a student with a teacher also learns the
    teacher's answers on them.

    `track` names what gets the tables of steps and epochs while they grow: ``tensorboard``, ``mlflow``, or both. It is
    no part of what identifies a run.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_epochs: float = 1.0
    ema_decay: float = 0.998
    label_smoothing: float = 0.0
    gradient_clip: float = 5.0
    precision: str = "auto"
    sampling: str = "class"
    source_weights: dict[str, float] = field(default_factory=dict)
    select_by: str = "auroc"
    patience: int = 0
    checkpoint_every_steps: int = 100
    seed: int = 0
    frozen_blocks: int = 0
    auxiliary: dict[str, float] = field(default_factory=dict)
    track: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that cannot train, naming the field."""
        expect(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        expect(self.batch_size >= 2, "batch_size", "at least 2 (batch norm)", self.batch_size)  # noqa: PLR2004
        expect(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        expect(0 <= self.ema_decay < 1, "ema_decay", "in [0, 1)", self.ema_decay)
        expect(0 <= self.label_smoothing < 1, "label_smoothing", "in [0, 1)", self.label_smoothing)
        expect(self.precision in PRECISIONS, "precision", f"one of {PRECISIONS}", self.precision)
        expect(self.sampling in SAMPLINGS, "sampling", f"one of {SAMPLINGS}", self.sampling)
        even = not self.source_weights or "-source" in self.sampling
        expect(even, "source_weights", "sampling that balances sources (with -source in its name)", self.sampling)
        for source, weight in self.source_weights.items():
            expect(weight > 0, f"source_weights.{source}", "above 0", weight)
        expect(self.select_by in SELECTIONS, "select_by", f"one of {SELECTIONS}", self.select_by)
        expect(self.checkpoint_every_steps >= 1, "checkpoint_every_steps", "at least 1", self.checkpoint_every_steps)
        expect(self.frozen_blocks >= 0, "frozen_blocks", "at least 0", self.frozen_blocks)
        known = set(self.auxiliary) <= set(AUXILIARY) and all(weight >= 0 for weight in self.auxiliary.values())
        expect(known, "auxiliary", f"weights of at least 0 for some of {AUXILIARY}", self.auxiliary)
        expect(set(self.track) <= set(TRACKERS), "track", f"some of {TRACKERS}", list(self.track))
