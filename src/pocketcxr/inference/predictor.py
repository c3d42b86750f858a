"""From one picture to one answer: a label, "uncertain" or "refused", always with the reasons in plain words.

Files are read reduced (`imaging.scaled_decoding`): the same answer several times faster. Probabilities stay within
`TOLERANCE` of what all pixels would give; where that leaves a decision open, all pixels are read after all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.imaging.input_checks import Reason, refusal_reasons
from pocketcxr.imaging.reading import read_image, read_image_bytes, read_reduced
from pocketcxr.imaging.resize import resize
from pocketcxr.imaging.scaled_decoding import side_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import ModelOutputs
    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.imaging.reading import Radiograph
    from pocketcxr.inference.loading import LoadingBundle
    from pocketcxr.inference.session import Bundle

UNCERTAIN, REFUSED, ERROR = "uncertain", "refused", "error"
"""The decisions that are no label; ``error`` is a file that could not be read (see `pocketcxr.inference.batch`)."""

TOLERANCE = 0.005
"""Most by which probabilities from a reduced picture may differ from those of the whole one; tested on real files."""

_NOVELTY_TOLERANCE = 0.05
_GATE_TOLERANCE = 0.05  # of the learned gate's probability, which is steep where pictures are doubtful
_NOVELTY_CUT_OFF = 1.0  # the graph divides by the bundle's cut-off


@dataclass(frozen=True, eq=False)
class Prediction:
    """One answer.

    `decision` is a label of the bundle, ``uncertain``, ``refused`` or ``error``. `probabilities` (0 to 1, calibrated)
    are empty where the picture was refused or not read: a number that must not be used is not given. `novelty` is 1.0
    at the bundle's cut-off, None where the picture was not scored. `saliency` float32 [classes, rows, columns] in logit
    units, None without probabilities. `accepted` is the learned gate's probability that this is a picture to answer,
    None where there is no such gate or the picture was not scored. `bundle` names the model that answered.
    """

    path: str
    decision: str
    probabilities: dict[str, float]
    novelty: float | None
    reasons: tuple[Reason, ...]
    bundle: str
    saliency: NDArray[np.float32] | None = field(default=None, repr=False)
    accepted: float | None = field(default=None, repr=False)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Prediction:
        """Make an answer of what `record` returned; saliency and `accepted` are not in it."""
        reasons = tuple(Reason(reason["code"], reason["words"]) for reason in record["reasons"])
        fields = dict(record, reasons=reasons)
        return cls(**fields)

    def record(self) -> dict[str, Any]:
        """Return the answer as plain values for JSON; these keys are part of the public contract."""
        return {
            "path": self.path,
            "decision": self.decision,
            "probabilities": self.probabilities,
            "novelty": self.novelty,
            "reasons": [{"code": reason.code, "words": reason.words} for reason in self.reasons],
            "bundle": self.bundle,
        }


class Predictor:
    """Reads, checks, scores and decides with one bundle; holds nothing that changes, so threads may share it."""

    def __init__(self, bundle: Bundle | LoadingBundle, *, exact: bool = False, smallest_side: int = 0) -> None:
        """Take a bundle from `pocketcxr.load_bundle`.

        Args:
            bundle: the model.
            exact: read every pixel of every file, several times slower: the yardstick of the fast path.
            smallest_side: pixels that a reduced picture keeps on each axis at least, for whoever wants to show it.
        """
        self.bundle, self._exact = bundle, exact
        self._side = max(smallest_side, side_for(bundle.manifest.preprocessing.size))

    def predict_file(self, path: Path) -> Prediction:
        """Read and score one DICOM, PNG or JPEG file.

        Raises:
            InputError: the file cannot be read as a grey-scale picture.
        """
        return self.read_and_predict(path, str(path))[0]

    def read_and_predict(self, path: Path, name: str) -> tuple[Prediction, Radiograph]:
        """Read and score one file, and return the picture too; `name` becomes the answer's `path`.

        Raises:
            InputError: the file cannot be read as a grey-scale picture.
        """
        return self._answer(lambda side: read_image(path) if side is None else read_reduced(path, side=side), name)

    def read_bytes_and_predict(
        self, data: bytes, name: str, *, max_pixels: int | None = None
    ) -> tuple[Prediction, Radiograph]:
        """As `read_and_predict`, from memory; `max_pixels` as for `read_image_bytes`.

        Raises:
            InputError: the bytes cannot be read as a grey-scale picture.
        """
        return self._answer(lambda side: read_image_bytes(data, name, side=side, max_pixels=max_pixels), name)

    def _answer(self, read: Callable[[int | None], Radiograph], name: str) -> tuple[Prediction, Radiograph]:
        """Read reduced and score, and read all pixels (None) where that leaves the decision open."""
        if not self._exact:
            radiograph = read(self._side)
            prediction = self.predict_image(radiograph, name)
            if radiograph.region is None or not _in_doubt(prediction, self.bundle.manifest):
                return prediction, radiograph
        radiograph = read(None)
        return self.predict_image(radiograph, name), radiograph

    def predict_image(self, radiograph: Radiograph, name: str) -> Prediction:
        """Score a picture that was read already; `name` becomes the answer's `path`."""
        refusals = refusal_reasons(radiograph)
        if refusals:
            return Prediction(name, REFUSED, {}, None, refusals, self.bundle.identity)
        preprocessing = self.bundle.manifest.preprocessing
        image = resize(  # [size, size]
            radiograph.samples, size=preprocessing.size, aspect=preprocessing.aspect, region=radiograph.region
        )
        outputs = self.bundle(image[None, None])
        assert outputs.novelty is not None  # every bundle has all five outputs; checked when it was loaded
        assert outputs.saliency is not None
        novelty, row = float(outputs.novelty[0]), outputs.probabilities[0]
        accepted, reasons = self._kind(outputs)
        if not (novelty <= _NOVELTY_CUT_OFF and np.isfinite(row).all()):  # written so that NaN is refused too
            reasons = (*reasons, _novelty_reason(novelty))
        if reasons:
            return Prediction(name, REFUSED, {}, novelty, reasons, self.bundle.identity, accepted=accepted)
        probabilities = dict(zip(self.bundle.manifest.labels, map(float, row), strict=True))
        decision, reasons = decide(probabilities, self.bundle.manifest)
        return Prediction(
            name, decision, probabilities, novelty, reasons, self.bundle.identity, outputs.saliency[0], accepted
        )

    def _kind(self, outputs: ModelOutputs) -> tuple[float | None, tuple[Reason, ...]]:
        """The learned gate's probability of a picture to answer, and its reason against this one, if any."""
        gate = self.bundle.manifest.input_gate
        if gate is None:
            return None, ()
        assert outputs.input_kind is not None  # checked when the bundle was loaded
        kinds = dict(zip(gate.kinds, map(float, outputs.input_kind[0]), strict=True))
        accepted = kinds.pop(gate.accept)
        if accepted >= gate.threshold:
            return accepted, ()
        likeliest = max(kinds, key=lambda kind: kinds[kind])  # also where all are NaN
        return accepted, (Reason(likeliest, gate.words[likeliest]),)


def _in_doubt(prediction: Prediction, manifest: Manifest) -> bool:
    """Whether the tolerance could carry the answer across a limit."""
    if prediction.novelty is None:
        return False  # refused by the input gate, whose own doubts were settled when the file was read
    needed = 1 - manifest.conformal_quantile
    close = any(abs(probability - needed) <= TOLERANCE for probability in prediction.probabilities.values())
    gate = manifest.input_gate
    if gate is not None and prediction.accepted is not None:
        close = close or not abs(prediction.accepted - gate.threshold) > _GATE_TOLERANCE
    return close or not abs(prediction.novelty - _NOVELTY_CUT_OFF) > _NOVELTY_TOLERANCE  # NaN is in doubt too


def decide(probabilities: dict[str, float], manifest: Manifest) -> tuple[str, tuple[Reason, ...]]:
    """Return a label when exactly one class stays in the conformal set, otherwise ``uncertain`` with the reason.

    A class stays when its probability is at least ``1 - conformal_quantile``. Source: Sadinle, Lei, Wasserman, Least
    ambiguous set-valued classifiers with bounded error levels, 2019 (split conformal prediction on 1 - p).
    """
    needed = 1 - manifest.conformal_quantile
    possible = [label for label, probability in probabilities.items() if probability >= needed]
    if len(possible) == 1:
        return possible[0], ()
    coverage = f"{manifest.conformal_coverage:.0%}"
    if possible:
        words = f"cannot choose between {' and '.join(possible)} and still be right {coverage} of the time"
        return UNCERTAIN, (Reason("several-classes", words),)
    words = f"no class is probable enough: {needed:.2f} is needed to be right {coverage} of the time"
    return UNCERTAIN, (Reason("no-class", words),)


def _novelty_reason(novelty: float) -> Reason:
    words = f"unlike the pictures that the model was trained on (novelty {novelty:.2f}, cut-off {_NOVELTY_CUT_OFF:.2f})"
    return Reason("novel", words)
