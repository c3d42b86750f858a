"""The student, and what it learns from."""

from __future__ import annotations

from dataclasses import dataclass, field

from pocketcxr.errors import expect
from pocketcxr.training.config.optimisation import OptimisationConfig


@dataclass(frozen=True)
class StudentConfig(OptimisationConfig):
    """The student and what it learns from.

    `backbone` is a network of timm or an entry point ``pocketcxr.students`` of an installed package. `weights` as a
    teacher's; also ``bundled`` (the student that comes with pocketcxr) or a bundle's file. `losses` maps a part's name
    to its weight; see `training.losses`; an entry point ``pocketcxr.losses`` adds a part. ``ce`` is cross-entropy on
    the labels; ``kd`` the teacher's softened predictions (Hinton 2015); ``embedding`` cosine to the teacher's fused
    embedding through a projection. With ``ce`` alone no teacher is needed. With a teacher, training images without a
    label take part too, if `unlabelled`; a student without a teacher then sees those with a label more often, so that
    both take as many steps.
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
        expect(self.temperature > 0, "temperature", "above 0", self.temperature)
        expect(max(self.losses.values(), default=0) > 0, "losses", "at least one weight above 0", self.losses)
