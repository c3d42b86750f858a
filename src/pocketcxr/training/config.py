"""Configuration of every stage: one frozen dataclass each, checked once, read from a TOML experiment file.

An experiment file holds the tables ``[data] [teacher] [views] [student] [input_filter] [evaluation]``; what it does not
name keeps the default below. ``--set student.epochs=40`` overrides one field. The effective whole is saved in the run's
folder.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import ConfigError
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.former_names import with_current_names
from pocketcxr.training.tables import apply_override, build

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SAMPLINGS = ("uniform", "class", "class-source", "class-source-sqrt", "class-within-source")
SELECTIONS = ("auroc", "cross-entropy")
NOISE_AND_STYLE = ("noise_gaussian", "noise_speckle", "noise_poisson", "noise_salt_pepper", "style", "style_strength")


@dataclass(frozen=True)
class DataConfig:
    """Which images, which task, how split.

    `image_size` in pixels; `fractions` of patients: train, calibration, test. `adults_only` leaves out patients under
    18 years and sources that hold children only (Kermany); patients whose age is not stated are kept.
    """

    task: str = "covid-3class"
    layout: str = "auto"
    image_size: int = 224
    aspect: str = "squash"
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = 0
    adults_only: bool = False


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

    def __post_init__(self) -> None:
        """Refuse values that cannot train, naming the field."""
        _expect(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _expect(self.batch_size >= 2, "batch_size", "at least 2 (batch norm)", self.batch_size)  # noqa: PLR2004
        _expect(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        _expect(0 <= self.ema_decay < 1, "ema_decay", "in [0, 1)", self.ema_decay)
        _expect(0 <= self.label_smoothing < 1, "label_smoothing", "in [0, 1)", self.label_smoothing)
        _expect(self.precision in PRECISIONS, "precision", f"one of {PRECISIONS}", self.precision)
        _expect(self.sampling in SAMPLINGS, "sampling", f"one of {SAMPLINGS}", self.sampling)
        even = not self.source_weights or "-source" in self.sampling
        _expect(even, "source_weights", "sampling that balances sources (with -source in its name)", self.sampling)
        for source, weight in self.source_weights.items():
            _expect(weight > 0, f"source_weights.{source}", "above 0", weight)
        _expect(self.select_by in SELECTIONS, "select_by", f"one of {SELECTIONS}", self.select_by)
        _expect(self.checkpoint_every_steps >= 1, "checkpoint_every_steps", "at least 1", self.checkpoint_every_steps)
        _expect(self.frozen_blocks >= 0, "frozen_blocks", "at least 0", self.frozen_blocks)


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of the replayable augmentation; 0 switches a part off. Degrees, fractions of the side, log2 units.

    `flip` is the probability of a mirror image; `crop` the smallest fraction of the area kept; `shift` of the side;
    `gamma` and `contrast` the largest log2 factor; `brightness` and `noise` on the [0, 1] scale; `erase` the
    probability of one grey rectangle over a corner or border, where marks and laterality letters stand.

    For unseen sources, off unless set: one of the kinds of noise whose `noise_` field is above 0 is drawn per view, its
    strength from 0 to the field: `noise_gaussian` the standard deviation, `noise_speckle` that of a factor about 1,
    `noise_poisson` the standard deviation at white (at grey value x its root of x), all on the [0, 1] scale;
    `noise_salt_pepper` the share of pixels made black or white. They come on top of `noise`. `style` is the probability
    that the grey values are moved towards the histogram of a training image of another source, `style_strength` the
    largest part of the way, 0 to 1.
    """

    flip: float = 0.5
    rotation_degrees: float = 10.0
    crop: float = 0.7
    shift: float = 0.05
    stretch: float = 0.1
    gamma: float = 0.4
    contrast: float = 0.3
    brightness: float = 0.1
    noise: float = 0.02
    erase: float = 0.25
    noise_gaussian: float = 0.0
    noise_speckle: float = 0.0
    noise_poisson: float = 0.0
    noise_salt_pepper: float = 0.0
    style: float = 0.0
    style_strength: float = 0.0

    def __post_init__(self) -> None:
        """Refuse strengths and probabilities outside [0, 1]."""
        for name in NOISE_AND_STYLE:
            value = getattr(self, name)
            _expect(0 <= value <= 1, name, "a number from 0 to 1", value)
        both = (self.style > 0) == (self.style_strength > 0)
        _expect(both, "style_strength", "above 0 where style is above 0, and else 0", self.style_strength)


@dataclass(frozen=True)
class TeacherConfig(OptimisationConfig):
    """The teacher: pooled features of several timm backbones, concatenated, fused into one embedding.

    `weights` per backbone: ``scratch``, ``pretrained`` (a file in $POCKETCXR_WEIGHTS, else timm's hub), or a file.
    `staged` trains each backbone with its own head first, then the fusion for `fusion_epochs` on the pooled features
    of `fusion_views` views, which the frozen backbones give once; `finetune_backbones` then trains the whole for as
    many epochs at a tenth of the rate. `frozen_backbones` takes the backbones as their files in `weights` have them and
    trains the fusion alone: large backbones may have learnt from a small pretrained one with ``train-student``.

    `folds` above 0 cross-fits: so many teachers, each trained without one fold of the patients of the training split;
    what a student learns of a training image comes from the teacher that never saw its patient.

    `checkpoint` names a trained network (teacher or student, same classes and image size) that teaches instead.
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
    folds: int = 0

    def __post_init__(self) -> None:
        """Check the teacher's own fields too."""
        super().__post_init__()
        _expect(len(self.backbones) >= 1, "backbones", "at least one timm model", list(self.backbones))
        _expect(
            len(self.weights) == len(self.backbones),
            "weights",
            f"one entry per backbone ({len(self.backbones)})",
            list(self.weights),
        )
        files = self.staged and not {"scratch", "pretrained"} & set(self.weights)
        _expect(
            files or not self.frozen_backbones,
            "frozen_backbones",
            "a file of trained weights for every backbone, and staged = true",
            list(self.weights),
        )
        _expect(self.fusion_epochs >= 1, "fusion_epochs", "at least 1", self.fusion_epochs)
        _expect(self.folds == 0 or self.folds >= 2, "folds", "0, or at least 2", self.folds)  # noqa: PLR2004
        _expect(not (self.folds and self.checkpoint), "folds", "0 where checkpoint names a teacher", self.folds)
        _expect(self.fusion_views >= 1, "fusion_views", "at least 1", self.fusion_views)


@dataclass(frozen=True)
class ViewsConfig:
    """Cached teacher views: `count` augmented views of every training image, replayed from `seed`."""

    count: int = 8
    seed: int = 0
    batch_size: int = 64
    precision: str = "auto"
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        """Refuse an empty cache."""
        _expect(self.count >= 1, "count", "at least 1", self.count)
        _expect(self.precision in PRECISIONS, "precision", f"one of {PRECISIONS}", self.precision)


@dataclass(frozen=True)
class StudentConfig(OptimisationConfig):
    """The student and what it learns from.

    `weights` as a teacher's; also ``bundled`` (the student that comes with pocketcxr) or a bundle's file. `losses` maps
    a part's name to its weight; see `training.losses`. ``ce`` is cross-entropy on the labels; ``kd`` the teacher's
    softened predictions (Hinton 2015); ``embedding`` cosine to the teacher's fused embedding through a projection.
    With ``ce`` alone no teacher is needed. With a teacher, training images without a label take part too, if
    `unlabelled`.
    """

    backbone: str = "mobilenetv2_100"
    weights: str = "pretrained"
    dropout: float = 0.2
    losses: dict[str, float] = field(default_factory=lambda: {"ce": 0.5, "kd": 1.0, "embedding": 1.0})
    temperature: float = 4.0
    unlabelled: bool = False

    def __post_init__(self) -> None:
        """Check the student's own fields too."""
        super().__post_init__()
        _expect(self.temperature > 0, "temperature", "above 0", self.temperature)
        _expect(max(self.losses.values(), default=0) > 0, "losses", "at least one weight above 0", self.losses)


@dataclass(frozen=True)
class InputFilterConfig:
    """How the learned input filter is fitted.

    `ood` are folders of out-of-distribution images that must be refused, a folder per kind (``knee_xray``,
    ``photograph``), beside what the index holds; `refused_frontal` is the share of frontal calibration radiographs that
    the limit refuses. `pixels` a side that images are decoded to, at least the student's.
    """

    ood: tuple[str, ...] = ()
    refused_frontal: float = 0.005
    steps: int = 800
    batch_size: int = 96
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.02
    ema_decay: float = 0.99
    pixels: int = 160
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        _expect(0 <= self.refused_frontal < 0.1, "refused_frontal", "a share between 0 and 0.1", self.refused_frontal)  # noqa: PLR2004
        _expect(
            self.steps >= 1 and self.batch_size >= 1, "steps", "a positive number of steps of 1 or more", self.steps
        )
        _expect(self.learning_rate > 0, "learning_rate", "a positive number", self.learning_rate)
        _expect(0 <= self.ema_decay < 1, "ema_decay", "a number from 0 to below 1", self.ema_decay)
        _expect(self.pixels >= 32, "pixels", "at least 32", self.pixels)  # noqa: PLR2004


@dataclass(frozen=True)
class Experiment:
    """All stages of one run."""

    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    input_filter: InputFilterConfig = field(default_factory=InputFilterConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def load_experiment(path: Path | None = None, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment file (TOML, or the JSON of an earlier run) and apply ``table.field=value`` overrides.

    Values of overrides are TOML: ``student.epochs=40``, ``student.losses={ce=1.0}``, ``data.task=siim-appearance``.
    Names of earlier versions are read too (`pocketcxr.former_names`).

    Raises:
        ConfigError: naming the file, table and field that is unknown or does not fit.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise ConfigError(f"cannot read experiment file {path}: {error}") from error
    table = with_current_names(table)
    for override in overrides:
        apply_override(table, override)
    return build(Experiment, table)


def _expect(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise ConfigError(f"{name}: expected {expected}, found {found!r}")
