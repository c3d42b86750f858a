"""The model audit: all probes of one model, taken through its `Predict` callable alone.

Titles and meanings of all measures are in ``audit/measures.toml``, by the keys that criteria name. What cannot be
measured on the given data is there with value None and the reason.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from pocketcxr.audit.describing import NotMeasurable, missing_section
from pocketcxr.audit.model.audited_model import make_audited_model
from pocketcxr.audit.model.config import AuditConfig
from pocketcxr.audit.model.lungs import find_lungs
from pocketcxr.audit.model.ood_images import load_ood
from pocketcxr.audit.model.probes import (
    boxed_saliency,
    calibration,
    conformal,
    novelty,
    robustness,
    saliency,
    scorecard,
    selective_prediction,
    shortcuts,
    source_probe,
    unseen_sources,
)
from pocketcxr.evaluation.intervals import not_measurable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.report.types import Measure, Section

__all__ = ["AuditConfig", "audit_model", "load_ood"]

_LOGGER = logging.getLogger("pocketcxr")


def audit_model(
    predict: Predict,
    dataset: Dataset,
    *,
    rivals: Mapping[str, Predict],
    ood: Mapping[str, NDArray[np.float32]],
    config: AuditConfig | None = None,
    seed: int = 0,
    progress: bool = False,
    name: str = "student",
    calibrated: bool = False,
    without_source: Mapping[str, Predict] | None = None,
    randomised: Callable[[], Iterable[tuple[str, Predict]]] | None = None,
    boxes: Mapping[str, NDArray[np.float64]] | None = None,
) -> tuple[Section, ...]:
    """Audit one model on the test split of a data set.

    Args:
        predict: the model under audit; a bundle, or a network behind `models.predict.as_predict`.
        dataset: with train, calibration and test split at the model's size; rows with source, and view, sex, age and
            patient where the sets say them.
        rivals: other models by name whose embeddings are read too; `roles.TEACHER` and ``BASELINE`` are the names by
            which the inheritance of shortcuts is told.
        ood: kind to images that should be refused, from `load_ood`; may be empty.
        config: sizes; None takes the thorough ones.
        seed: of all sampling; the same seed gives the same sections.
        progress: show progress bars on standard error.
        name: what the model is called in sentences.
        calibrated: take the model's probabilities as they are; see `audited_model.make_audited_model`.
        without_source: source to a model that was trained without it, for the figures at unseen sources.
        randomised: gives (what was randomised, model) from the last layer down, for the saliency sanity check; see
            `export.randomised`.
        boxes: path of an image to the boxes that somebody drew [k, 4], from `data.boxes`.

    Returns:
        Eleven sections; what a model cannot give, such as an embedding, is named in them as the reason.

    Raises:
        DataError: no labelled test image, or a model whose outputs do not fit the task.
        BundleError: the lung segmenter cannot be loaded.
    """
    config = config or AuditConfig()
    model = make_audited_model(
        name, predict, dataset, config=config, seed=seed, calibrated=calibrated, progress=progress
    )
    places = model.sample(config.probe_images)
    lungs = find_lungs(dataset.images(model.test.positions[places]))
    probes: dict[str, Callable[[], Section]] = {
        "scorecard": lambda: scorecard.describe(scorecard.measure(model)),
        "unseen": lambda: unseen_sources.describe(unseen_sources.measure(model, without_source)),
        "shortcuts": lambda: shortcuts.describe(shortcuts.measure(model, lungs, places)),
        "sources": lambda: source_probe.describe(source_probe.measure(model, rivals)),
        "saliency": lambda: saliency.describe(saliency.measure(model, lungs, places, randomised)),
        "boxes": lambda: boxed_saliency.describe(boxed_saliency.measure(model, boxes or {}, rivals, randomised)),
        "robustness": lambda: robustness.describe(robustness.measure(model)),
        "calibration": lambda: calibration.describe(calibration.measure(model)),
        "conformal": lambda: conformal.describe(conformal.measure(model)),
        "selective": lambda: selective_prediction.describe(selective_prediction.measure(model)),
        "novelty": lambda: novelty.describe(novelty.measure(model, ood)),
    }
    sections = []
    for key, probe in probes.items():
        begun = time.monotonic()
        try:
            sections.append(probe())
        except NotMeasurable as error:
            more = _rivals_missing(model, rivals, str(error)) if key == "sources" else ()
            sections.append(missing_section(key, str(error), more))
        _LOGGER.info("model audit, %s: %.1f s", key, time.monotonic() - begun)
    return tuple(sections)


def _rivals_missing(model: AuditedModel, rivals: Mapping[str, Predict], why: str) -> list[Measure]:
    return [source_probe.less_measure(model.name, rival, not_measurable(why)) for rival in rivals]
