"""Unseen sources: models trained without a source on that source, and a stand-in by a refitted last layer.

The real figure needs one training per source. Where those models are given, each is evaluated on the source left out
of its training, beside the model under audit on the same images. The stand-in refits only the last layer: a linear
probe on the frozen embedding, fitted without one source and evaluated on it. Its embedding has seen the source, so the
stand-in is too good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import NotMeasurable, cells, measured, measures, section
from pocketcxr.audit.model.audited_model import even_sample
from pocketcxr.audit.model.linear_probe import components, linear_probe_chances
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.evaluation.metrics import ranking
from pocketcxr.evaluation.model_result import MIN_IMAGES, MIN_PER_CLASS
from pocketcxr.report.formatting import with_interval
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Section

    Probabilities = dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]

_NAMES = ("auroc", "accuracy", "accuracy_drop")


@dataclass(frozen=True)
class LeftOut:
    """Figures of models that have not seen a source: `_NAMES`, and ``S accuracy``, ``S seen``, ``S auroc`` by source.

    `images` by source; both empty with a reason `why` where nothing could be measured.
    """

    estimates: Mapping[str, Estimate]
    images: Mapping[str, int]
    why: str = ""


@dataclass(frozen=True)
class UnseenSources:
    """Models trained without each source, and the stand-in."""

    trained: LeftOut
    stand_in: LeftOut


def measure(model: AuditedModel, without: Mapping[str, Predict] | None = None) -> UnseenSources:
    """Evaluate models on the source left out of their training.

    Args:
        model: the model under audit, which has seen all sources.
        without: source to a model trained without it; None or empty where there are none.
    """
    trained: Probabilities = {}
    for source, predict in (without or {}).items():
        places = np.flatnonzero(model.sources == source)
        if len(places) >= MIN_IMAGES:
            outputs = model.outputs_of(predict, model.test.positions[places], f"without {source}")
            trained[source] = (places, outputs.probabilities.astype(np.float64))
    if trained:
        return UnseenSources(_compared(model, trained, model.test.probabilities), _stand_in(model))
    why = (
        f"no source that a model was trained without has {MIN_IMAGES} test images"
        if without
        else "no models trained without a source were given; train one per source and give them to the audit"
    )
    return UnseenSources(LeftOut({}, {}, why), _stand_in(model))


def describe(found: UnseenSources) -> Section:
    """Accuracy and AUROC at sources left out, and the loss against the model that has seen them."""
    real, probe = found.trained, found.stand_in
    own = measures("unseen", {name: real.estimates.get(name, not_measurable(real.why)) for name in _NAMES})
    drop = probe.estimates.get("accuracy_drop", not_measurable(probe.why))
    own.append(measured("unseen.probe_accuracy_drop", drop, images=sum(probe.images.values()) or None))
    summary = (
        f"Accuracy drop at a source left out of training: {with_interval(own[2])}."
        if own[2].value is not None
        else f"Not measured: {own[2].why}."
    )
    if drop.value is not None:
        summary += f" Stand-in, a last layer refitted without the source: {with_interval(drop)}."
    tables = [
        Table(
            title,
            ("source", "test images", "accuracy, not seen", "accuracy, seen", "AUROC, not seen"),
            tuple(
                (source, images, *cells(one.estimates, (f"{source} {name}" for name in ("accuracy", "seen", "auroc"))))
                for source, images in one.images.items()
            ),
        )
        for title, one in (
            ("Each source, with a model trained without it", real),
            ("Stand-in: a last layer refitted without the source", probe),
        )
        if one.images
    ]
    return section("unseen", summary, own, tables)


def _stand_in(model: AuditedModel) -> LeftOut:
    """Refit the last layer without a source, and with it, and evaluate both on that source's test images."""
    dataset = model.dataset
    train = dataset.positions("train")
    names = np.array([dataset.rows[i].source for i in train])
    strata = [f"{name} {dataset.labels[i]}" for name, i in zip(names, train, strict=True)]
    chosen = even_sample(strata, model.config.embedding_images, seed=model.seed) if len(train) else train
    train, names = train[chosen], names[chosen]
    labels = dataset.labels[train]
    usable = [
        source
        for source in model.sources_with(MIN_IMAGES)
        if (names == source).any() and len(np.unique(labels[names != source])) == len(model.task.labels)
    ]
    if not usable:
        left = "leaving any source out leaves a class without training images"
        return LeftOut({}, {}, left if len(train) else "no training images here")
    try:
        embedding = model.embedding
    except NotMeasurable as error:
        return LeftOut({}, {}, str(error))
    outputs = model.outputs_of(model.predict, train, "embedding of train")
    reduced = components(np.concatenate([outputs.embedding, embedding]), model.config.width)
    fitted, tested = reduced[: len(train)], reduced[len(train) :]
    left_out: Probabilities = {}
    saw = np.zeros_like(model.test.probabilities)
    for source in usable:
        places, other = np.flatnonzero(model.sources == source), names != source
        left_out[source] = (places, linear_probe_chances(fitted[other], labels[other], tested[places]))
        saw[places] = linear_probe_chances(fitted, labels, tested[places])
    return _compared(model, left_out, saw)


def _compared(model: AuditedModel, left_out: Probabilities, saw: NDArray[np.float64]) -> LeftOut:
    """Figures of probabilities from models that have not seen a source beside `saw` [n, classes], which has."""
    truth, positive = model.test.truth, model.task.positive_index
    places = np.concatenate([where for where, _ in left_out.values()])
    starts = np.cumsum([0, *(len(where) for where, _ in left_out.values())])

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found: dict[str, NDArray[np.float64]] = {}
        right_all, right_seen = np.zeros(len(weights)), np.zeros(len(weights))
        aurocs = []
        for number, (source, (where, probabilities)) in enumerate(left_out.items()):
            own = weights[:, starts[number] : starts[number + 1]]
            unseen_right = own @ (probabilities.argmax(axis=1) == truth[where])
            seen_right = own @ (saw[where].argmax(axis=1) == truth[where])
            right_all, right_seen = right_all + unseen_right, right_seen + seen_right
            total = np.maximum(own.sum(axis=1), 1e-9)
            found[f"{source} accuracy"], found[f"{source} seen"] = unseen_right / total, seen_right / total
            is_positive = truth[where] == positive
            if min(is_positive.sum(), (~is_positive).sum()) >= MIN_PER_CLASS:
                found[f"{source} auroc"] = ranking(probabilities[:, positive], is_positive, own)[0]
                aurocs.append(found[f"{source} auroc"])
        everything = weights.sum(axis=1)
        found["accuracy"] = right_all / everything
        found["accuracy_drop"] = (right_seen - right_all) / everything
        found["auroc"] = np.mean(aurocs, axis=0) if aurocs else np.full(len(weights), np.nan)
        return found

    found = model.estimates(figures, places)
    if found["auroc"].value is None:
        found["auroc"] = not_measurable("no unseen source holds both sides")
    return LeftOut(found, {source: len(where) for source, (where, _) in left_out.items()})
