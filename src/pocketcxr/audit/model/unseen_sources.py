"""What happens at a hospital it has never seen: models trained without a source, and a cheap stand-in for them.

The real answer needs one training per source. Where those models are given, each is measured on the source that it
never saw, beside the model under audit on the same images. The stand-in refits only the last layer: a linear probe on
the frozen embedding, without one source, asked about that source. Its embedding has seen the source, so it flatters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import ask, even_sample, figures_with_intervals
from pocketcxr.audit.model.linear_probe import components, linear_probe_chances
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.evaluation.metrics import ranking
from pocketcxr.evaluation.model_result import MIN_IMAGES, MIN_PER_CLASS
from pocketcxr.report.formatting import number, with_interval
from pocketcxr.report.types import Measure, Section, Table, measure, missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.evaluation.intervals import Estimate

    Chances = dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]

_TITLE = "What happens at a hospital it has never seen?"
_AUROC = "AUROC at sources that took no part in training"
_ACCURACY = "Accuracy at sources that took no part in training"
_DROP = "Accuracy lost at a source that took no part in training"
_PROBE_DROP = "Accuracy a refitted last layer loses at a source it did not learn from"


def unseen(subject: AuditedModel, without: Mapping[str, Predict] | None) -> Section:
    """Scorecard of unseen sources.

    Args:
        subject: the model under audit, which has seen all sources.
        without: source to a model trained without it; None or empty where nobody trained any.
    """
    measures: list[Measure] = []
    tables: list[Table] = []
    if without:
        measures, table = _measured(subject, _scored_without(subject, without))
        tables.append(table)
    else:
        why = "no models trained without a source were given; train one per source and give them to the audit"
        meaning = "The figure that outside hospitals would see."
        measures += [
            missing("unseen.auroc", _AUROC, why, meaning, unit="auroc"),
            missing("unseen.accuracy", _ACCURACY, why, meaning),
            missing("unseen.accuracy_drop", _DROP, why, meaning),
        ]
    probe, table = _stand_in(subject)
    measures += probe
    tables += [table] if table else []
    return Section("unseen", _TITLE, _summary(measures), tuple(measures), tuple(tables))


def _scored_without(subject: AuditedModel, without: Mapping[str, Predict]) -> Chances:
    found: Chances = {}
    for source, predict in without.items():
        places = np.flatnonzero(subject.sources == source)
        if len(places) >= MIN_IMAGES:
            outputs = ask(
                predict,
                subject.dataset,
                batch_size=subject.config.batch_size,
                what=f"without {source}",
                progress=subject.progress,
                which=subject.test.positions[places],
            )
            found[source] = (places, outputs.probabilities.astype(np.float64))
    return found


def _measured(subject: AuditedModel, chances: Chances) -> tuple[list[Measure], Table]:
    if not chances:
        why = f"no source that a model was trained without has {MIN_IMAGES} test images"
        lost = [missing(key, t, why) for key, t in (("unseen.auroc", _AUROC), ("unseen.accuracy", _ACCURACY))]
        return [*lost, missing("unseen.accuracy_drop", _DROP, why)], Table(_TITLE, (), ())
    figures = _compared(subject, chances, subject.test.probabilities)
    measures = [
        measure(
            "unseen.auroc",
            _AUROC,
            figures["auroc"],
            "Mean over the sources that hold both sides: each scored by the model that never saw it.",
            advice="This is the figure to expect elsewhere; quote it beside the headline.",
            unit="auroc",
        ),
        measure(
            "unseen.accuracy",
            _ACCURACY,
            figures["accuracy"],
            "All images, each scored by the model that never saw its source.",
        ),
        measure(
            "unseen.accuracy_drop",
            _DROP,
            figures["drop"],
            "Accuracy of the model that saw the source less that of the one that did not, on the same images.",
            advice="Above 0.1: the model learned this collection's hospitals; more sources help more than more images.",
        ),
    ]
    return measures, _table("Each source, scored by a model trained without it", chances, figures)


def _stand_in(subject: AuditedModel) -> tuple[list[Measure], Table | None]:
    """Refit the last layer without a source, and with it, and ask both about that source's test images."""
    key, meaning = (
        "unseen.probe_accuracy_drop",
        (
            "Only the last layer was refitted without the source; the embedding below it has seen the "
            "source, so the real "
            "loss is larger. Accuracy of a last layer that learned from all sources less that of one that did not."
        ),
    )
    dataset = subject.dataset
    train = dataset.positions("train")
    names = np.array([dataset.rows[i].source for i in train])
    cells = [f"{name} {dataset.labels[i]}" for name, i in zip(names, train, strict=True)]
    chosen = even_sample(cells, subject.config.embedding_images, seed=subject.seed) if len(train) else train
    train, names = train[chosen], names[chosen]
    labels = dataset.labels[train]
    usable = [
        source
        for source in np.unique(subject.sources).tolist()
        if (subject.sources == source).sum() >= MIN_IMAGES
        and (names == source).any()
        and len(np.unique(labels[names != source])) == len(subject.task.labels)
    ]
    if not usable:
        why = (
            "leaving any source out leaves a class without training images" if len(train) else "no training images here"
        )
        return [missing(key, _PROBE_DROP, why, meaning)], None
    outputs = ask(
        subject.predict,
        dataset,
        batch_size=subject.config.batch_size,
        what="embedding of train",
        progress=subject.progress,
        which=train,
    )
    reduced = components(np.concatenate([outputs.embedding, subject.test.outputs.embedding]), subject.config.width)
    learnt, asked = reduced[: len(train)], reduced[len(train) :]
    chances: Chances = {}
    saw = np.zeros_like(subject.test.probabilities)
    for source in usable:
        places, other = np.flatnonzero(subject.sources == source), names != source
        chances[source] = (places, linear_probe_chances(learnt[other], labels[other], asked[places]))
        saw[places] = linear_probe_chances(learnt, labels, asked[places])
    figures = _compared(subject, chances, saw)
    drop = measure(
        key,
        _PROBE_DROP,
        figures["drop"],
        meaning,
        advice="Above 0.1 already here: train without each source in turn before believing any figure.",
        images=sum(len(places) for places, _ in chances.values()),
    )
    return [drop], _table("Stand-in: a last layer refitted without the source", chances, figures)


def _compared(subject: AuditedModel, chances: Chances, saw: NDArray[np.float64]) -> dict[str, Estimate]:
    """Figures of answers that have not seen a source beside `saw` [n, classes], which has."""
    truth, positive = subject.test.truth, subject.task.positive_index
    places = np.concatenate([where for where, _ in chances.values()])
    starts = np.cumsum([0, *(len(where) for where, _ in chances.values())])

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found: dict[str, NDArray[np.float64]] = {}
        right_all, right_seen = np.zeros(len(weights)), np.zeros(len(weights))
        aurocs = []
        for place, (source, (where, probabilities)) in enumerate(chances.items()):
            own = weights[:, starts[place] : starts[place + 1]]
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
        found["drop"] = (right_seen - right_all) / everything
        found["auroc"] = np.mean(aurocs, axis=0) if aurocs else np.full(len(weights), np.nan)
        return found

    found = figures_with_intervals(figures, subject.members[places], config=subject.config, seed=subject.seed)
    if found["auroc"].value is None:
        found["auroc"] = not_measurable("no unseen source holds both sides")
    return found


def _table(title: str, chances: Chances, figures: dict[str, Estimate]) -> Table:
    rows = tuple(
        (
            source,
            len(places),
            with_interval(figures[f"{source} accuracy"]),
            with_interval(figures[f"{source} seen"]),
            with_interval(figures[f"{source} auroc"]) if f"{source} auroc" in figures else None,
        )
        for source, (places, _) in chances.items()
    )
    return Table(title, ("source", "test images", "accuracy, not seen", "accuracy, seen", "AUROC, not seen"), rows)


def _summary(measures: list[Measure]) -> str:
    by_key = {one.key: one for one in measures}
    real, probe = by_key["unseen.accuracy_drop"], by_key["unseen.probe_accuracy_drop"]
    words = (
        f"Models that never saw a source lose {number(real.value, 2)} of accuracy there."
        if real.value is not None
        else f"Not measured: {real.why}."
    )
    if probe.value is not None:
        words += f" As a stand-in, a last layer refitted without a source loses {with_interval(probe)}."
    return words
