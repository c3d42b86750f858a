"""From one image to one prediction: a label, "uncertain" or "refused", always with the reasons.

Files are read reduced (`imaging.scaled_decoding`): the same decision several times faster. Probabilities stay within
`TOLERANCE` of what all pixels would give; where that leaves a decision open, all pixels are read.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.errors import BundleError, ConfigError
from pocketcxr.imaging.input_checks import Reason, refusal_reasons
from pocketcxr.imaging.reading import read_image, read_image_bytes, read_reduced
from pocketcxr.imaging.resize import resize
from pocketcxr.imaging.scaled_decoding import side_for
from pocketcxr.inference.deciding import combined, decide, decide_findings, limits_of
from pocketcxr.inference.prediction import REFUSED, Origin, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pocketcxr.bundle.contract import ModelOutputs
    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.imaging.reading import Radiograph
    from pocketcxr.inference.inputs import ImageInput
    from pocketcxr.inference.loading import LoadingBundle
    from pocketcxr.inference.session import Bundle

TOLERANCE = 0.005
"""Largest difference of probabilities between a reduced image and the whole one; tested on real files."""

_NOVELTY_TOLERANCE = 0.05
_FILTER_TOLERANCE = 0.05  # of the input filter's probability, which is steep where images are doubtful
_NOVELTY_CUT_OFF = 1.0  # the graph divides by the bundle's cut-off

_SYNTHETIC = Reason("synthetic", "synthetic image: the file says that it shows no patient; the result means nothing")
"""Beside any decision: the mark of a drawing (`ImageMetadata.synthetic`)."""


class Predictor:
    """Reads, checks, scores and decides with one bundle; holds nothing that changes, so threads may share it."""

    def __init__(self, bundle: Bundle | LoadingBundle, *, exact: bool = False, smallest_side: int = 0) -> None:
        """Take a bundle from `inference.session.load_bundle`; `pocketcxr.load` does both.

        Args:
            bundle: the model.
            exact: read every pixel of every file, several times slower: the reference of the fast path.
            smallest_side: pixels that a reduced image keeps on each axis at least, for whoever wants to show it.
        """
        self.bundle, self._exact = bundle, exact
        self._side = max(smallest_side, side_for(bundle.manifest.preprocessing.size))

    def __repr__(self) -> str:
        """Model, labels and image size."""
        manifest = self.bundle.manifest
        size = manifest.preprocessing.size
        return f"<Predictor {self.bundle.identity}: {', '.join(manifest.labels)}; {size} x {size} pixels>"

    def predict(self, image: ImageInput, /) -> Prediction:
        """Score one image.

        Args:
            image: a path, the bytes of a DICOM, PNG, JPEG, BMP, TIFF or WebP file, a binary file object, a pydicom data
                set, or a NumPy array [rows, columns] with bright as dense (MONOCHROME2): uint8 from 0 to 255, uint16
                from 0 to 65535 or float in [0, 1].

        Raises:
            InputError: another type, or an image that cannot be read as a grey-scale image.
        """
        from pocketcxr.inference.inputs import source_of

        source = source_of(image)
        prediction, _ = self._answer(source.read, source.name)
        return self._with_origin(prediction, source.read)

    def predict_many(
        self, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, workers: int | None = None
    ) -> Iterator[Prediction]:
        """Score files and folders in order; a file that cannot be read becomes a prediction with `error` set.

        Args:
            paths: a file, a folder, which is searched recursively, or several of them.
            workers: processes; None takes this one for a few files and otherwise one per core.

        Returns:
            An iterator that scores as it is read and holds no images; see `inference.batch.find_images` for the order.

        Raises:
            ConfigError: something else than paths, or less than one process.
        """
        from pocketcxr.files import named_path
        from pocketcxr.inference.batch import find_images, predict_files, score
        from pocketcxr.inference.inputs import read_path

        given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        try:
            files = [named_path(path) for path in given]
        except TypeError as error:
            raise ConfigError(f"paths: expected a file, a folder or several of them, found {error}") from error
        if workers is not None and workers < 1:
            raise ConfigError(f"workers: expected at least 1, found {workers}")
        scored: deque[Path] = deque()

        def noted() -> Iterator[Path]:
            for path in find_images(files):
                scored.append(path)
                yield path

        found = predict_files(
            noted(),
            start_here=lambda: lambda path: score(self, path).prediction,
            bundle=(self.bundle.path, self.bundle.identity),
            exact=self._exact,
            workers=workers,
        )
        return (self._with_origin(one, partial(read_path, scored.popleft())) for one in found)

    def _with_origin(self, prediction: Prediction, read: Callable[[int | None], Radiograph]) -> Prediction:
        def score_again() -> tuple[Prediction, Radiograph]:
            from pocketcxr.inference.saliency import LONGEST_SIDE

            shown = Predictor(self.bundle, exact=self._exact, smallest_side=LONGEST_SIDE)
            return shown._answer(read, prediction.path)  # its own class

        return replace(prediction, origin=Origin(self.bundle.manifest, score_again))

    def predict_file(self, path: Path) -> Prediction:
        """Score one file; `predict` does the same and takes other kinds of input too.

        Raises:
            InputError: the file cannot be read as a grey-scale image.
        """
        return self.read_and_predict(path, str(path))[0]

    def read_and_predict(self, path: Path, name: str) -> tuple[Prediction, Radiograph]:
        """Read and score one file, and return the image too; `name` becomes the prediction's `path`.

        Raises:
            InputError: the file cannot be read as a grey-scale image.
        """
        return self._answer(lambda side: read_image(path) if side is None else read_reduced(path, side=side), name)

    def read_bytes_and_predict(
        self, data: bytes, name: str, *, max_pixels: int | None = None
    ) -> tuple[Prediction, Radiograph]:
        """As `read_and_predict`, from memory; `max_pixels` as for `read_image_bytes`.

        Raises:
            InputError: the bytes cannot be read as a grey-scale image.
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
        """Score an image that was read already; `name` becomes the prediction's `path`."""
        return self.score_image(radiograph, name)[0]

    def score_image(self, radiograph: Radiograph, name: str) -> tuple[Prediction, ModelOutputs | None]:
        """As `predict_image`, with the network's outputs for one image; None where the input checks refused it."""
        prediction, outputs = self._scored(radiograph, name)
        if radiograph.metadata.synthetic:
            prediction = replace(prediction, reasons=(*prediction.reasons, _SYNTHETIC))
        return prediction, outputs

    def _scored(self, radiograph: Radiograph, name: str) -> tuple[Prediction, ModelOutputs | None]:
        refusals = refusal_reasons(radiograph)
        if refusals:
            return Prediction(name, REFUSED, {}, None, refusals, self.bundle.identity), None
        preprocessing = self.bundle.manifest.preprocessing
        image = resize(  # [size, size]
            radiograph.samples, size=preprocessing.size, aspect=preprocessing.aspect, region=radiograph.region
        )
        outputs = self.bundle(image[None, None])
        assert outputs.novelty is not None  # every bundle has all five outputs; checked when it was loaded
        assert outputs.saliency is not None
        novelty, row = float(outputs.novelty[0]), outputs.probabilities[0]
        accepted, reasons = self._kind(outputs)
        whole = bool(np.isfinite(novelty) and np.isfinite(row).all())
        if not whole or novelty > _NOVELTY_CUT_OFF:
            reasons = (*reasons, _novelty_reason(novelty if whole else None))
        if reasons:
            return Prediction(name, REFUSED, {}, novelty, reasons, self.bundle.identity, accepted=accepted), outputs
        probabilities = dict(zip(self.bundle.manifest.labels, map(float, row), strict=True))
        findings = decide_findings(probabilities, self.bundle.manifest)
        decision, reasons = decide(probabilities, self.bundle.manifest) if not findings else combined(findings)
        return Prediction(
            name,
            decision,
            probabilities,
            novelty,
            reasons,
            self.bundle.identity,
            outputs.saliency[0],
            accepted,
            findings=findings,
        ), outputs

    def _kind(self, outputs: ModelOutputs) -> tuple[float | None, tuple[Reason, ...]]:
        """The input filter's probability of an image to score, and its reason against this one, if any."""
        input_filter = self.bundle.manifest.input_filter
        if input_filter is None:
            return None, ()
        assert outputs.input_kind is not None  # checked when the bundle was loaded
        kinds = dict(zip(input_filter.kinds, map(float, outputs.input_kind[0]), strict=True))
        accepted = kinds.pop(input_filter.accept)
        if accepted >= input_filter.threshold:
            return accepted, ()
        likeliest = max(kinds, key=lambda kind: kinds[kind])  # also where all are NaN
        return accepted, (Reason(likeliest, input_filter.words[likeliest]),)


def _in_doubt(prediction: Prediction, manifest: Manifest) -> bool:
    """Whether the tolerance could change the decision."""
    if prediction.novelty is None:
        return False  # refused by the input checks, whose own doubts were settled when the file was read
    needed = limits_of(manifest)
    close = any(
        abs(probability - limit) <= TOLERANCE
        for label, probability in prediction.probabilities.items()
        for limit in needed[label]
    )
    input_filter = manifest.input_filter
    if input_filter is not None and prediction.accepted is not None:
        close = close or not abs(prediction.accepted - input_filter.threshold) > _FILTER_TOLERANCE
    return close or not abs(prediction.novelty - _NOVELTY_CUT_OFF) > _NOVELTY_TOLERANCE  # NaN is in doubt too


def _novelty_reason(novelty: float | None) -> Reason:
    """Reason against an image beyond the cut-off, or None: one that the network gives no numbers for."""
    found = "no numbers for it" if novelty is None else f"novelty {novelty:.2f}, cut-off {_NOVELTY_CUT_OFF:.2f}"
    return Reason("novel", f"unlike the pictures that the model was trained on ({found})")


def load(path: str | os.PathLike[str] | None = None, *, threads: int | None = None) -> Predictor:
    """Load a bundle and return a predictor.

    Args:
        path: the bundle's file; None takes the student that comes with the package.
        threads: threads inside one forward pass; None takes the processors this process may use, 4 at most.

    Raises:
        BundleError: missing, damaged, changed, of another format version, or a model that does not fit its manifest.
    """
    from pocketcxr.inference.session import load_bundle

    if path is not None and not isinstance(path, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BundleError(f"expected the path of a bundle, found {type(path).__name__}")
    return Predictor(load_bundle(None if path is None else Path(path), threads=threads))
