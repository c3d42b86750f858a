"""The model audit: one call that asks a model everything its critics would, through its `Predict` callable alone.

Sections, in order, and the keys of their measures (stable: gates name them)::

    scorecard    .auroc_same_source .auroc_across_sources .source_flattery .auroc .auroc_macro .accuracy
                 .balanced_accuracy .worst_source_auroc .worst_view_auroc .worst_sex_auroc .worst_age_auroc
    unseen       .auroc .accuracy .accuracy_drop (need models trained without a source) .probe_accuracy_drop
    shortcuts    lungs.trusted  .untouched_auroc .lungs_out_auroc .box_out_auroc .border_only_auroc .lungs_only_auroc
                 .shuffled_auroc .kept_without_lungs .kept_without_box .marker_changed .look_changed .look_followed
                 .source_share
    sources      .readable .readable_within_class .chance .less_teacher .less_baseline_student .less_<other rival>
    saliency     .in_lungs .focus .pointing .randomised_similarity
    robustness   .worst_drop .noise_drop .blur_drop .jpeg_drop .gamma_drop .rotation_drop .crop_drop .resolution_drop
                 .inversion_drop
    calibration  .ece .ece_positive .worst_source_ece .shifted_ece .adjusted_ece
    conformal    .coverage .single .worst_class_coverage .other_source_coverage
    selective    .aurc .risk_at_80 .gain_at_80 .aurc_excess
    novelty      .auroc .refused .least_refused .answered_confidently .false_refusals .refused.<kind>

A dot at the start stands for the section's own key (``shortcuts.box_out_auroc``). What cannot be measured on the given
data is there with value None and the reason.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pocketcxr.audit.model.audited_model import make_subject
from pocketcxr.audit.model.calibration import calibration
from pocketcxr.audit.model.config import AuditConfig
from pocketcxr.audit.model.conformal import conformal
from pocketcxr.audit.model.lungs import find_lungs
from pocketcxr.audit.model.novelty import novelty
from pocketcxr.audit.model.ood_images import load_strangers
from pocketcxr.audit.model.robustness import robustness
from pocketcxr.audit.model.saliency import saliency
from pocketcxr.audit.model.scorecard import scorecard
from pocketcxr.audit.model.selective_prediction import selective
from pocketcxr.audit.model.shortcuts import shortcuts
from pocketcxr.audit.model.source_probe import sources
from pocketcxr.audit.model.unseen_sources import unseen

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.report.types import Section

__all__ = ["AuditConfig", "audit_model", "load_strangers"]


def audit_model(
    predict: Predict,
    dataset: Dataset,
    *,
    rivals: Mapping[str, Predict],
    strangers: Mapping[str, NDArray[np.float32]],
    config: AuditConfig | None = None,
    seed: int = 0,
    progress: bool = False,
    name: str = "student",
    without_source: Mapping[str, Predict] | None = None,
    randomised: Callable[[], Iterable[tuple[str, Predict]]] | None = None,
    logger: logging.Logger | None = None,
) -> tuple[Section, ...]:
    """Audit one model on the test split of a data set.

    Args:
        predict: the model under audit; a bundle, or a network behind `models.predict.as_predict`.
        dataset: with train, calibration and test split at the model's size; rows with source, and view, sex, age and
            patient where the sets say them.
        rivals: other models by name whose embeddings are read too; `roles.TEACHER` and ``BASELINE``
            are the names that the inheritance of shortcuts is told by.
        strangers: kind to images that should be refused, from `load_strangers`; may be empty.
        config: sizes; None takes the thorough ones.
        seed: of everything drawn by lot; the same seed gives the same sections.
        progress: show progress bars on standard error.
        name: what the model is called in sentences.
        without_source: source to a model that was trained without it, for the unseen-source scorecard.
        randomised: gives (what was randomised, model) from the last layer down, for the saliency sanity check; see
            `pipeline.randomised`.
        logger: told which question is being asked and how long it took.

    Returns:
        Ten sections; the module's head lists the keys of their measures.

    Raises:
        DataError: no labelled test image, or a model whose answers do not fit the task.
        BundleError: the lung segmenter cannot be loaded.
    """
    config = AuditConfig() if config is None else config
    subject = make_subject(name, predict, dataset, config=config, seed=seed, progress=progress)
    places = subject.sample(config.probe_images)
    lungs = find_lungs(dataset.images(subject.test.positions[places]))
    questions: dict[str, Callable[[], Section]] = {
        "scorecard": lambda: scorecard(subject),
        "unseen sources": lambda: unseen(subject, without_source),
        "shortcuts": lambda: shortcuts(subject, lungs, places),
        "sources in the embedding": lambda: sources(subject, rivals),
        "saliency": lambda: saliency(subject, lungs, places, randomised),
        "robustness": lambda: robustness(subject),
        "calibration": lambda: calibration(subject),
        "conformal sets": lambda: conformal(subject),
        "selective prediction": lambda: selective(subject),
        "novelty": lambda: novelty(subject, strangers),
    }
    answered = []
    for what, question in questions.items():
        begun = time.monotonic()
        answered.append(question())
        if logger is not None:
            logger.info("model audit, %s: %.1f s", what, time.monotonic() - begun)
    return tuple(answered)
