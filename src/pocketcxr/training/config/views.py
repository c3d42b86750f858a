"""The augmented views of training images, and how many of them are cached."""

from __future__ import annotations

from dataclasses import dataclass, field

from pocketcxr.errors import expect
from pocketcxr.training.config.optimisation import PRECISIONS

FOR_UNSEEN_SOURCES = (
    "noise_gaussian", "noise_speckle", "noise_poisson", "noise_salt_pepper", "style", "style_strength", "lungs",
)  # fmt: skip


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
    largest part of the way, 0 to 1. `lungs` is the probability that a view is cut out around the lungs, with some room
    around them, before anything else moves it, so that collimation tells less; images in which no plausible lungs are
    found stay whole.
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
    lungs: float = 0.0

    def __post_init__(self) -> None:
        """Refuse strengths and probabilities outside [0, 1]."""
        for name in FOR_UNSEEN_SOURCES:
            value = getattr(self, name)
            expect(0 <= value <= 1, name, "a number from 0 to 1", value)
        both = (self.style > 0) == (self.style_strength > 0)
        expect(both, "style_strength", "above 0 where style is above 0, and else 0", self.style_strength)


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
        expect(self.count >= 1, "count", "at least 1", self.count)
        expect(self.precision in PRECISIONS, "precision", f"one of {PRECISIONS}", self.precision)
