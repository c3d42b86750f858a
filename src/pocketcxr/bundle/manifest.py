"""The manifest inside a bundle: metadata that a prediction, a reader and a regulator need beside the weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from pocketcxr.errors import BundleError

FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1 had no input filter; it is read as a bundle without one."""
_JSON_KEYS = {"input_filter": "input_gate"}
"""Attributes whose key in the file has another name: the file format keeps its keys."""


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
class InputFilter:
    """The learned input filter: an image whose probability of the kind `accept` is below `threshold` is refused.

    `kinds` fixes the order of the graph's output ``input_kind``. The reason of a refusal has the most probable other
    kind as its code and that kind's `words`, a sentence for a person.
    """

    kinds: tuple[str, ...]
    accept: str
    threshold: float
    words: dict[str, str]

    def __post_init__(self) -> None:
        """Refuse a filter that contradicts itself, naming the field.

        Raises:
            BundleError: fewer than two kinds, `accept` not among them, a threshold outside 0 to 1, or words missing.
        """
        if len(self.kinds) < 2 or len(set(self.kinds)) != len(self.kinds) or self.accept not in self.kinds:  # noqa: PLR2004
            raise BundleError(
                f"input filter: expected two or more different kinds with {self.accept!r} among them, "
                f"found {list(self.kinds)}"
            )
        if not 0 < self.threshold < 1:
            raise BundleError(f"input filter: expected a threshold between 0 and 1, found {self.threshold}")
        missing = [kind for kind in self.kinds if kind != self.accept and not self.words.get(kind)]
        if missing:
            raise BundleError(f"input filter: expected words for every kind that is refused, none for {missing}")


@dataclass(frozen=True)
class Manifest:
    """Metadata of a bundle. `labels` fixes the order of classes in every output.

    `temperature` divides the logits (already inside the graph). A class is in the conformal set when its probability
    is at least ``1 - conformal_quantile``; these prediction sets contain the true class with probability
    `conformal_coverage` on data like the calibration split. `input_filter` is None where the graph has no output
    ``input_kind``. `metrics`, `data`, `teacher`, `run` are records for readers and take no part in a prediction.
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
    input_filter: InputFilter | None = None
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Serialise with sorted keys, so that equal manifests have equal bytes."""
        table = {_JSON_KEYS.get(name, name): value for name, value in dataclasses.asdict(self).items()}
        return json.dumps(table, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest; a missing or unknown field is refused rather than guessed.

        Raises:
            BundleError: no manifest, another format version, or fields that do not fit.
        """
        try:
            table: dict[str, Any] = json.loads(text)
            version = table.get("format_version")
            if version not in READABLE_VERSIONS:
                raise BundleError(f"bundle has format version {version!r}, expected {FORMAT_VERSION}: export it again")
            table["labels"] = tuple(table["labels"])
            table["limits"] = tuple(table["limits"])
            table["preprocessing"] = Preprocessing(**table["preprocessing"])
            table["operating_points"] = tuple(OperatingPoint(**point) for point in table["operating_points"])
            attributes = {key: name for name, key in _JSON_KEYS.items()}
            fields: dict[str, Any] = {attributes.get(key, key): value for key, value in table.items()}
            learned: dict[str, Any] | None = fields.get("input_filter")
            if learned is not None:
                learned["kinds"] = tuple(learned["kinds"])
                fields["input_filter"] = InputFilter(**learned)
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"bundle manifest cannot be read ({error}): export the bundle again") from error
