"""The manifest inside a bundle: metadata that a prediction, a reader and a regulator need beside the weights."""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
from dataclasses import dataclass, field
from typing import Any, cast

from pocketcxr.bundle.manifest_checks import LONGEST_MANIFEST, check_manifest
from pocketcxr.errors import BundleError

FORMAT_VERSION = 2
MULTILABEL_VERSION = 3
"""Of bundles whose images may have several findings; older programs refuse it."""
READABLE_VERSIONS = (1, 2, 3)
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
class FindingCalibration:
    """What was fitted for one finding of a bundle whose images may have several.

    `temperature` divides its logit (already inside the graph). Present and absent are each possible where their
    probability is at least ``1 - conformal_quantile``.
    """

    label: str
    temperature: float
    conformal_quantile: float


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
    ``input_kind``. Where images may have several findings (`multilabel`), `findings` holds one entry per label, in
    their order, and `positive` is "", `temperature` and `conformal_quantile` are 1. `metrics`, `data`, `teacher`,
    `run` are records for readers and take no part in a prediction.
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
    findings: tuple[FindingCalibration, ...] = ()
    format_version: int = FORMAT_VERSION

    @property
    def multilabel(self) -> bool:
        """Whether each probability is of a finding by itself, so that they do not sum to 1."""
        return bool(self.findings)

    def refuse_several(self, what: str) -> None:
        """Refuse a bundle of several findings per image where something is defined for one class per image only.

        Raises:
            BundleError: naming what cannot be done.
        """
        if self.multilabel:
            raise BundleError(
                f"{what} is defined for one class per image; bundle {self.name} gives an image any number of findings"
            )

    def to_json(self) -> str:
        """Serialise with sorted keys, so that equal manifests have equal bytes."""
        table = {_JSON_KEYS.get(name, name): _finite(value) for name, value in dataclasses.asdict(self).items()}
        if not self.findings:
            del table["findings"]
        return json.dumps(table, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest; a missing or unknown field is refused rather than guessed.

        Raises:
            BundleError: no manifest, another format version, or fields that do not fit.
        """
        if len(text) > LONGEST_MANIFEST:
            expected = f"expected at most {LONGEST_MANIFEST:,} characters, found {len(text):,}"
            raise BundleError(f"bundle manifest: {expected}: export the bundle again")
        try:
            table: Any = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"bundle manifest cannot be read ({error}): export the bundle again") from error
        read = cast("dict[str, Any]", table if isinstance(table, dict) else {})
        version: object = read.get("format_version")
        if type(version) is not int or version not in READABLE_VERSIONS:
            found = reprlib.repr(version)
            raise BundleError(f"bundle has format version {found}, expected {FORMAT_VERSION}: export it again")
        check_manifest(read)
        attributes = {key: name for name, key in _JSON_KEYS.items()}
        fields: dict[str, Any] = {attributes.get(key, key): value for key, value in read.items()}
        fields["labels"], fields["limits"] = tuple(read["labels"]), tuple(read["limits"])
        fields["preprocessing"] = Preprocessing(**read["preprocessing"])
        fields["operating_points"] = tuple(OperatingPoint(**point) for point in read["operating_points"])
        fields["findings"] = tuple(FindingCalibration(**one) for one in read.get("findings", ()))
        learned: dict[str, Any] | None = fields.get("input_filter")
        if learned is not None:
            learned["kinds"] = tuple(learned["kinds"])
            fields["input_filter"] = InputFilter(**learned)
        return cls(**fields)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _finite(value: Any) -> Any:
    """The same plain value with None in place of figures that could not be worked out: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
