"""Can the hospital be read from the embedding, and did distillation inherit that from the teacher or lose it?

A linear probe (Alain and Bengio 2016): logistic regression from the embedding to the source, in folds that keep
patients together, over the same images for all models, each embedding brought to the same number of principal
components, so that a wide embedding has no advantage. Because the class may give the source away, the probe is also
asked among images of one class only, and the class itself is asked as a rival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import ask, even_sample, figures_with_intervals
from pocketcxr.audit.model.linear_probe import (
    FEWEST,
    SourceRead,
    above_chance,
    balanced_accuracy,
    frequent,
    guess_from_class,
    read_source,
)
from pocketcxr.imaging.resize import resize
from pocketcxr.report.formatting import number, slug, with_interval
from pocketcxr.report.panels import bars
from pocketcxr.report.types import Measure, Section, Table, measure, missing
from pocketcxr.roles import BASELINE, TEACHER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.evaluation.intervals import Estimate

_THUMBNAIL = 12
_PIXELS, _CLASS = "the pixels (12 x 12)", "the class alone"


def sources(subject: AuditedModel, rivals: Mapping[str, Predict]) -> Section:
    """Read the source from the embeddings of the model under audit and of its rivals, on the same test images."""
    title = "Can the hospital be read from the embedding?"
    images = _images(subject)
    names, source = np.unique(subject.sources[images], return_inverse=True)
    if len(names) < 2:  # noqa: PLR2004
        why = f"fewer than two sources have {FEWEST} test images"
        keys = {"sources.readable": _TITLE, "sources.readable_within_class": _WITHIN, "sources.chance": _CHANCE}
        keys |= {_rival_key(rival): f"{_TITLE}, less from the {rival}" for rival in rivals}
        return Section(
            "sources",
            title,
            f"Not measurable: {why}.",
            tuple(missing(key, t, why, _MEANING) for key, t in keys.items()),
        )
    truth, members = subject.test.truth[images], np.unique(subject.members[images], return_inverse=True)[1]
    embeddings = _embeddings(subject, rivals, images)
    folds = min(subject.config.folds, len(np.unique(members)))
    reads = {
        name: read_source(table, source, truth, members, width=subject.config.width, folds=folds, seed=subject.seed)
        for name, table in embeddings.items()
    }
    reads[_CLASS] = SourceRead(guess_from_class(truth, source), np.full(len(source), -1, dtype=np.int64))
    figures = figures_with_intervals(
        lambda weights: _figures(reads, source, truth, len(names), weights),
        members,
        config=subject.config,
        seed=subject.seed,
    )
    own, chance = figures[f"everywhere {subject.name}"], 1 / len(names)
    measures = [
        measure("sources.readable", _TITLE, own, _MEANING, advice=_ADVICE, images=len(images)),
        _within(subject, figures, truth, source),
        Measure(
            "sources.chance",
            _CHANCE,
            chance,
            f"One over the number of sources with enough test images: {', '.join(map(str, names))}.",
        ),
    ]
    measures += [_rival(subject.name, name, figures) for name in rivals]
    rows = tuple(
        (
            name,
            embeddings[name].shape[1] if name in embeddings else 1,
            with_interval(figures[f"everywhere {name}"]),
            with_interval(figures[f"within {name}"]),
        )
        for name in reads
    )
    table = Table(
        "The source, read by a linear probe",
        ("from", "numbers", "balanced accuracy", "among images of one class"),
        rows,
        note=f"Chance {number(chance, 2)}. All brought to {subject.config.width} principal components at "
        f"most; {len(images)} "
        "test images, patients kept together. “The pixels” is what any network starts from; “the class "
        "alone” is what a "
        "perfect classifier gives away.",
    )
    drawn = [(name, f.value, f.low, f.high) for name in reads if (f := figures[f"everywhere {name}"]).value is not None]
    picture = bars(
        "How well the source can be read",
        drawn,
        x="balanced accuracy of a linear probe (dotted: a guess)",
        alt="; ".join(f"{name} {number(value, 2)}" for name, value, *_ in drawn),
        level=chance,
    )
    return Section("sources", title, _summary(subject, rivals, figures, chance), tuple(measures), (table,), (picture,))


_TITLE = "Source read from the embedding"
_WITHIN = "Source read among images of one class"
_CHANCE = "What guessing the source would reach"
_MEANING = "Balanced accuracy of a linear probe from the embedding to the source, on patients it did not learn from."
_ADVICE = (
    "Well above chance, also among images of one class: the embedding holds the hospital. It need not use it (see the "
    "shortcut probes), but it can."
)


def _images(subject: AuditedModel) -> NDArray[np.int64]:
    keep = np.zeros(len(subject.test.truth), dtype=bool)
    keep[frequent(np.arange(len(keep)), np.unique(subject.sources, return_inverse=True)[1])] = True
    cells = [f"{row.source} {label}" for row, label in zip(subject.rows, subject.test.truth, strict=True)]
    return even_sample(cells, subject.config.embedding_images, seed=subject.seed, keep=keep)


def _embeddings(
    subject: AuditedModel, rivals: Mapping[str, Predict], images: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    positions = subject.test.positions[images]
    found = {subject.name: subject.test.outputs.embedding[images].astype(np.float64)}
    for name, predict in rivals.items():
        outputs = ask(
            predict,
            subject.dataset,
            batch_size=subject.config.batch_size,
            what=f"embedding of {name}",
            progress=subject.progress,
            which=positions,
        )
        found[name] = outputs.embedding.astype(np.float64)
    films = subject.dataset.images(positions)
    found[_PIXELS] = np.stack([resize(film[0], size=_THUMBNAIL).ravel() for film in films]).astype(np.float64)
    return found


def _figures(
    reads: dict[str, SourceRead],
    source: NDArray[np.int64],
    truth: NDArray[np.int64],
    count: int,
    weights: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    found = {}
    for name, read in reads.items():
        found[f"everywhere {name}"] = balanced_accuracy(read.everywhere, source, count, weights)
        per_class = []
        for label in np.unique(truth[read.within >= 0]):
            inside = (truth == label) & (read.within >= 0)
            per_class.append(above_chance(read.within[inside], source[inside], weights[:, inside]))
        found[f"within {name}"] = np.mean(per_class, axis=0) if per_class else np.full(len(weights), np.nan)
    own = next(iter(reads))
    for name in reads:
        found[f"less {name}"] = found[f"everywhere {own}"] - found[f"everywhere {name}"]
        found[f"within less {name}"] = found[f"within {own}"] - found[f"within {name}"]
    return found


def _within(
    subject: AuditedModel, figures: dict[str, Estimate], truth: NDArray[np.int64], source: NDArray[np.int64]
) -> Measure:
    key, title = "sources.readable_within_class", _WITHIN
    meaning = (
        "The same among images of one class, so that the class cannot give the source away; 0 is a "
        "guess, 1 perfect, mean "
        f"over the classes with two sources of {FEWEST} images."
    )
    figure = figures[f"within {subject.name}"]
    if figure.value is None:
        return missing(key, title, f"no class has two sources with {FEWEST} test images each", meaning)
    images = sum(len(frequent(np.flatnonzero(truth == label), source)) for label in np.unique(truth))
    return measure(key, title, figure, meaning, advice=_ADVICE, unit="share above chance", images=images)


def _rival_key(name: str) -> str:
    return f"sources.less_{slug(name)}"


def _rival(own: str, name: str, figures: dict[str, Estimate]) -> Measure:
    meaning = f"Balanced accuracy for the {own} less that for the {name}: above 0 the {own} holds more of the hospital."
    advice = ""
    if name == BASELINE:
        advice = (
            "An interval above 0: distillation brought the hospital in, clean the teacher's data. "
            "Below 0: it took some out."
        )
    return measure(
        _rival_key(name),
        f"Source read from the {own}, less from the {name}",
        figures[f"less {name}"],
        meaning,
        advice=advice,
        unit="difference of shares",
    )


def _summary(subject: AuditedModel, rivals: Mapping[str, Predict], figures: dict[str, Estimate], chance: float) -> str:
    own = figures[f"everywhere {subject.name}"]
    words = (
        "A linear probe reads the source from the embedding with balanced accuracy "
        f"{with_interval(own)}; a guess reaches {number(chance, 2)}."
    )
    if BASELINE in rivals:
        less, within = figures[f"less {BASELINE}"], figures[f"within less {BASELINE}"]
        verdict = "No more and no less than from the student trained alone"
        if less.low is not None and less.low > 0:
            verdict = "Distillation inherited some of the shortcut: more than from the student trained alone"
        elif less.high is not None and less.high < 0:
            verdict = "Distillation lost some of the shortcut: less than from the student trained alone"
        words += f" {verdict} (difference {with_interval(less)}"
        words += f"; among images of one class {with_interval(within)})." if within.value is not None else ")."
    if TEACHER in rivals:
        words += f" The teacher: {with_interval(figures[f'everywhere {TEACHER}'])}."
    return words
