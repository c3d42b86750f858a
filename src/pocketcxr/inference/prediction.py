"""The result for one image, with the reasons for its decision and, on demand, a heatmap."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import UnusableImageError
from pocketcxr.imaging.input_checks import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.imaging.radiograph import Radiograph

UNCERTAIN, REFUSED, ERROR = "uncertain", "refused", "error"
PRESENT, ABSENT, NONE = "present", "absent", "none"
"""The decisions that are no label; ``error`` is a file that could not be read (see `pocketcxr.inference.batch`)."""


@dataclass(frozen=True, eq=False)
class Origin:
    """What a prediction needs to be explained: the bundle's manifest, and a way to read and score its image again."""

    manifest: Manifest
    score_again: Callable[[], tuple[Prediction, Radiograph]]


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The result for one image.

    `decision` is a label of the bundle, ``uncertain``, ``refused`` or ``error`` (then `error` says why). Of a bundle
    whose images may have several findings it names those that are present with ``|`` between them, ``uncertain`` where
    none is present and some may be, or ``none``; `findings` says of each label ``present``, ``absent`` or
    ``uncertain``, and is empty for other bundles.
    `probabilities` (0 to 1, calibrated) are empty where the image was refused or not read: a number that must not be
    used is not given.
    `novelty` is 1.0 at the bundle's limit, None where the image was not scored. `reasons` hold stable codes and
    sentences. `saliency` float32 [classes, rows, columns] in logit units, None without probabilities. `accepted` is the
    input filter's probability that this is an image to score, None without such a filter or where the image was not
    scored. `bundle` names the model. `heatmap_file` is the file that its heatmap was written to, if any. `origin` is
    there where the image can be read again, as `heatmap` does.
    """

    path: str
    decision: str
    probabilities: dict[str, float]
    novelty: float | None
    reasons: tuple[Reason, ...]
    bundle: str
    saliency: NDArray[np.float32] | None = None
    accepted: float | None = None
    origin: Origin | None = None
    heatmap_file: str | None = None
    findings: dict[str, str] = field(default_factory=dict)

    @property
    def error(self) -> str | None:
        """Why the image could not be read; None where it was read."""
        return self.reasons[0].words if self.decision == ERROR else None

    def heatmap(self, label: str | None = None) -> NDArray[np.float32]:
        """Return where the model found evidence for a label; the image is read and scored again for it.

        Args:
            label: of the bundle; None takes the decided one, or the positive one where the decision is ``uncertain``.

        Returns:
            float32 [rows, columns] of the whole image in [0, 1]; 0 is no evidence, or evidence against the label.

        Raises:
            ConfigError: no label of the bundle.
            InputError: the image was not scored, or cannot be read again.
        """
        from pocketcxr.inference.saliency import heatmap_of

        return heatmap_of(*self._scored_again(), label)

    def overlay(self, label: str | None = None) -> Image:
        """Return the image with the heatmap over it, RGB, longest side 1024 at most; arguments and errors as `heatmap`.

        Raises:
            ConfigError: no label of the bundle.
            InputError: the image was not scored, or cannot be read again.
        """
        from pocketcxr.inference.saliency import overlay_of

        return overlay_of(*self._scored_again(), label)

    def _scored_again(self) -> tuple[Prediction, Radiograph, Manifest]:
        if not self.probabilities:
            raise UnusableImageError(f"{self.path}: no heatmap, the image was not scored (decision {self.decision})")
        if self.origin is None:
            raise UnusableImageError(f"{self.path}: no heatmap, the record holds no image; predict it again")
        prediction, radiograph = self.origin.score_again()
        if prediction.saliency is None:
            raise UnusableImageError(f"{self.path}: the file has changed since it was scored; predict it again")
        return prediction, radiograph, self.origin.manifest

    def __repr__(self) -> str:
        """Path, decision, probabilities, novelty and reasons in one line."""
        parts = [f"{self.decision}"]
        if self.probabilities:
            parts.append(", ".join(f"{label} {value:.3f}" for label, value in self.probabilities.items()))
        if self.novelty is not None:
            parts.append(f"novelty {self.novelty:.2f}")
        parts += [reason.words for reason in self.reasons]
        return f"<Prediction {self.path!r}: {'; '.join(parts)}>"

    def _repr_html_(self) -> str:
        """Show the prediction in a notebook."""
        from pocketcxr.inference.notebook import prediction_html

        return prediction_html(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Prediction:
        """Make a prediction of what `record` returned; saliency and `accepted` are not in it."""
        reasons = tuple(Reason(reason["code"], reason["words"]) for reason in record["reasons"])
        fields = dict(record, reasons=reasons)
        return cls(**fields)

    def record(self) -> dict[str, Any]:
        """Return the prediction as plain values for JSON; these keys are part of the public contract.

        `heatmap_file` is among them only where one was written.
        """
        record = {
            "path": self.path,
            "decision": self.decision,
            "probabilities": self.probabilities,
            "novelty": self.novelty if self.novelty is None or math.isfinite(self.novelty) else None,  # no NaN in JSON
            "reasons": [{"code": reason.code, "words": reason.words} for reason in self.reasons],
            "bundle": self.bundle,
            **({"findings": self.findings} if self.findings else {}),
        }
        return record if self.heatmap_file is None else {**record, "heatmap_file": self.heatmap_file}
