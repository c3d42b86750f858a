"""The manifest inside a bundle: all that a prediction, a reader and a regulator need beside the weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from pocketcxr.errors import BundleError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Preprocessing:
    """How a grey-scale picture in [0, 1] becomes the network's input; see `pocketcxr.imaging.resize`.

    `size` in pixels (square); `aspect` is ``squash`` (each axis scaled on its own) or ``pad`` (black borders);
    `resampling` names the one filter of the project.
    """

    size: int = 224
    aspect: str = "squash"
    resampling: str = "triangle-antialias"
    polarity: str = "MONOCHROME2"


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on the probability of `label`, the set it was chosen on, and what it reached there (0 to 1)."""

    name: str
    label: str
    threshold: float
    sensitivity: float
    specificity: float
    chosen_on: str


@dataclass(frozen=True)
class Manifest:
    """All facts of a bundle. `labels` fixes the order of classes in every output.

    `temperature` divides the logits (already inside the graph). A class is in the conformal set when its probability
    is at least ``1 - conformal_quantile``; the sets hold the truth with probability `conformal_coverage` on data like
    the calibration split. `metrics`, `data`, `teacher`, `run` are records for readers and take no part in a prediction.
    """

    name: str
    version: str
    created: str
    task: str
    labels: tuple[str, ...]
    positive: str
    preprocessing: Preprocessing
    temperature: float
    conformal_quantile: float
    conformal_coverage: float
    operating_points: tuple[OperatingPoint, ...]
    licence: str
    intended_use: str
    limits: tuple[str, ...]
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Serialise with sorted keys, so that equal manifests have equal bytes."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest; a missing or unknown field is refused rather than guessed.

        Raises:
            BundleError: no manifest, another format version, or fields that do not fit.
        """
        try:
            table = json.loads(text)
            version = table.get("format_version")
            if version != FORMAT_VERSION:
                raise BundleError(f"bundle has format version {version!r}, expected {FORMAT_VERSION}: export it again")
            table["labels"] = tuple(table["labels"])
            table["limits"] = tuple(table["limits"])
            table["preprocessing"] = Preprocessing(**table["preprocessing"])
            table["operating_points"] = tuple(OperatingPoint(**point) for point in table["operating_points"])
            return cls(**table)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"bundle manifest cannot be read ({error}): export the bundle again") from error
