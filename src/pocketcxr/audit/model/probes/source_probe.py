"""Source recognition: a linear probe reads the source from the embedding of the model, the teacher and the baseline.

Logistic regression (Alain and Bengio 2016) in folds that keep patients together, on the same images for all models,
each embedding brought to the same number of principal components, so that a wide embedding has no advantage. Because
the class may reveal the source, the probe is also taken among images of one class only, and the class itself is a
reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import NotMeasurable, cells, interval_bars, measured, section
from pocketcxr.audit.model.linear_probe import (
    FEWEST,
    SourceRead,
    above_chance,
    balanced_accuracy,
    frequent,
    guess_from_class,
    read_source,
)
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.imaging.resize import resize
from pocketcxr.report.formatting import number, slug, with_interval
from pocketcxr.report.types import Table
from pocketcxr.roles import BASELINE, TEACHER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Measure, Section

_THUMBNAIL = 12
_PIXELS, _CLASS = "the pixels (12 x 12)", "the class alone"


@dataclass(frozen=True)
class SourceRecognition:
    """Figures ``everywhere M``, ``within M``, ``less M``, ``within less M`` of every model and reference M.

    `features` of what is read, by name, the model under audit (`own`) first; `sources` recognised; `images` read, and
    `images_within` among those of one class; `width` of the reduced embeddings.
    """

    own: str
    rivals: tuple[str, ...]
    estimates: dict[str, Estimate]
    features: Mapping[str, int]
    sources: tuple[str, ...]
    images: int
    images_within: int
    width: int


def measure(model: AuditedModel, rivals: Mapping[str, Predict] | None = None) -> SourceRecognition:
    """Read the source from the embeddings of the model and of its `rivals`, on the same test images.

    Raises:
        NotMeasurable: fewer than two sources have enough images, or the model has no embedding.
    """
    rivals, embedding = rivals or {}, model.embedding
    images = _images(model)
    names, source = np.unique(model.sources[images], return_inverse=True)
    if len(names) < 2:  # noqa: PLR2004
        raise NotMeasurable(f"fewer than two sources have {FEWEST} test images")
    truth, members = model.test.truth[images], np.unique(model.members[images], return_inverse=True)[1]
    embeddings = {model.name: embedding[images].astype(np.float64)} | _references(model, rivals, images)
    config = model.config
    folds = min(config.folds, len(np.unique(members)))
    reads = {
        name: read_source(table, source, truth, members, width=config.width, folds=folds, seed=model.seed)
        for name, table in embeddings.items()
    }
    reads[_CLASS] = SourceRead(guess_from_class(truth, source), np.full(len(source), -1, dtype=np.int64))
    return SourceRecognition(
        model.name,
        tuple(rivals),
        model.estimates(lambda weights: _figures(reads, source, truth, len(names), weights), images),
        {name: table.shape[1] for name, table in embeddings.items()} | {_CLASS: 1},
        tuple(names.tolist()),
        len(images),
        sum(len(frequent(np.flatnonzero(truth == label), source)) for label in np.unique(truth)),
        config.width,
    )


def describe(found: SourceRecognition) -> Section:
    """Balanced accuracy of the probe beside chance and the references."""
    figures, chance = found.estimates, 1 / len(found.sources)
    everywhere = [(name, figures[f"everywhere {name}"]) for name in found.features]
    within = figures[f"within {found.own}"]
    if within.value is None:
        within = not_measurable(f"no class has two sources with {FEWEST} test images each")
    own = [
        measured("sources.readable", everywhere[0][1], images=found.images),
        measured(
            "sources.readable_within_class",
            within,
            images=found.images_within if within.value is not None else None,
            fewest=FEWEST,
        ),
        measured("sources.chance", chance, names=", ".join(found.sources)),
        *(less_measure(found.own, rival, figures[f"less {rival}"]) for rival in found.rivals),
    ]
    table = Table(
        "The source, read by a linear probe",
        ("from", "features", "balanced accuracy", "within one class, above chance"),
        tuple(
            (name, features, *cells(figures, (f"everywhere {name}", f"within {name}")))
            for name, features in found.features.items()
        ),
        note=f"Chance {number(chance, 2)}. All brought to {found.width} principal components at most; {found.images} "
        "test images, patients kept together. “The pixels” is what any network starts from; “the class alone” is what "
        "a perfect classifier reveals.",
    )
    pictures = interval_bars(
        "Source recognition", everywhere, x="balanced accuracy of a linear probe (dotted: a guess)", level=chance
    )
    return section("sources", _summary(found, chance), own, (table,), pictures)


def less_measure(own: str, rival: str, figure: Estimate) -> Measure:
    """Source recognition of a model less that of another."""
    note = ""
    if rival == BASELINE:
        note = " An interval above 0: distillation brought the source in; below 0: it took some out."
    return measured(f"sources.less_{slug(rival)}", figure, own=own, name=rival, note=note)


def _images(model: AuditedModel) -> NDArray[np.int64]:
    keep = np.zeros(len(model.test.truth), dtype=bool)
    keep[frequent(np.arange(len(keep)), np.unique(model.sources, return_inverse=True)[1])] = True
    return model.sample(model.config.embedding_images, keep)


def _references(
    model: AuditedModel, rivals: Mapping[str, Predict], images: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    positions = model.test.positions[images]
    found = {}
    for name, predict in rivals.items():
        found[name] = model.outputs_of(predict, positions, f"embedding of {name}").embedding.astype(np.float64)
    pixels = model.dataset.images(positions)
    found[_PIXELS] = np.stack([resize(one[0], size=_THUMBNAIL).ravel() for one in pixels]).astype(np.float64)
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


def _summary(found: SourceRecognition, chance: float) -> str:
    figures = found.estimates
    words = (
        f"Balanced accuracy of a linear probe for the source: {with_interval(figures[f'everywhere {found.own}'])}, "
        f"chance {number(chance, 2)}."
    )
    if BASELINE in found.rivals:
        less, within = figures[f"less {BASELINE}"], figures[f"within less {BASELINE}"]
        words += f" Difference to the {BASELINE}: {with_interval(less)}"
        words += f", within one class {with_interval(within)}" if within.value is not None else ""
        raised, lowered = less.low is not None and less.low > 0, less.high is not None and less.high < 0
        outcome = (
            "raised by distillation" if raised else "lowered by distillation" if lowered else "no difference shown"
        )
        words += f" ({outcome})."
    if TEACHER in found.rivals:
        words += f" Teacher: {with_interval(figures[f'everywhere {TEACHER}'])}."
    return words
