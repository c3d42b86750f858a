"""Does it look at the lungs? Probes that take away what should matter, or change what should not.

A network that still tells the classes apart without lungs reads something else: the hospital's border and markers, the
body's outline, the contrast (Maguolo and Nanni 2021; DeGrave, Janizek and Lee 2021; Zech et al. 2018). Some of that is
medicine (a sick person's film is taken lying down), so a little skill without lungs is no proof of a fault; most of the
skill is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit import model_probes as probes
from pocketcxr.audit.findings import Measure, Section, Table
from pocketcxr.audit.model_charts import bars, overlay, sheet
from pocketcxr.audit.model_subject import figures_with_intervals, macro_auroc
from pocketcxr.audit.model_words import interval_words, measure, missing, percent, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.findings import Picture
    from pocketcxr.audit.lungs import Lungs
    from pocketcxr.audit.model_subject import Subject
    from pocketcxr.evaluation.intervals import Figure

LEAST_SKILL = 0.6
"""AUROC on the untouched images below which there is no skill that could come from a shortcut."""

_MARKERS = (("L", "top right"), ("R", "top left"), ("PORTABLE", "bottom left"), ("COVID", "bottom right"))
_LOOK_IMAGES = 200  # images that a source's look is taken from
_MAJORITY = 0.6  # share of a class in a source from which on the source stands for it
_FEWEST = 20


@dataclass(frozen=True)
class Probed:
    """Test images with trusted lungs, and what the model says of them untouched and under every probe."""

    subject: Subject
    places: NDArray[np.int64]
    images: NDArray[np.float32]
    masks: NDArray[np.bool_]
    plain: NDArray[np.float64]

    @property
    def truth(self) -> NDArray[np.int64]:
        """Class of each image."""
        return self.subject.test.truth[self.places]

    def ask(self, images: NDArray[np.float32], what: str) -> NDArray[np.float64]:
        """Probabilities [n, classes] that the model gives to changed images."""
        return self.subject.ask(images, f"probe: {what}").probabilities.astype(np.float64)


def shortcuts(subject: Subject, lungs: Lungs, places: NDArray[np.int64]) -> Section:
    """Ask the probes of test images at `places`, whose lungs are `lungs`."""
    title = "Does it look at the lungs, or at something else?"
    trusted = lungs.trusted
    found = Counter(lungs.reasons)
    coverage = Measure(
        "lungs.trusted",
        "Images whose lungs were found",
        float(trusted.mean()) if len(trusted) else None,
        "Share of the images asked whose lung mask is plausible (two lungs side by side, of likely "
        "size). The others are "
        "left out of all probes that need a mask.",
        advice="Below 0.8 the probes speak of the easy films only: look at the overlays.",
        images=len(trusted),
    )
    kept = places[trusted]
    if len(kept) < _FEWEST:
        why = f"only {len(kept)} of {len(places)} test images have a lung mask to trust, {_FEWEST} are needed"
        rest = [missing(key, name, why) for key, name in _KEYS.items()]
        return Section("shortcuts", title, f"Not measurable: {why}.", (coverage, *rest))
    probed = Probed(
        subject,
        kept,
        subject.dataset.images(subject.test.positions[kept]),
        lungs.masks[trusted],
        subject.test.probabilities[kept],
    )
    asked = _asked(probed)
    figures = figures_with_intervals(
        lambda weights: _figures(probed, asked, weights),
        subject.members[kept],
        config=subject.config,
        seed=subject.seed,
    )
    looks = _looks(probed)
    markers = _markers(probed)
    measures = [coverage, *_lung_measures(figures, len(kept)), *_change_measures(probed, looks, markers)]
    reasons = Table(
        "Lung masks",
        ("what became of them", "images"),
        (("trusted", int(trusted.sum())), *((reason, count) for reason, count in found.items() if reason)),
    )
    rows = tuple(
        (
            name,
            interval_words(figures[f"auroc {name}"]),
            interval_words(figures[f"accuracy {name}"]),
            interval_words(figures[f"changed {name}"]),
            float(np.abs(asked[name] - probed.plain).sum(axis=1).mean() / 2),
        )
        for name in asked
    )
    table = Table(
        "What is left when a part is taken away",
        ("probe", "AUROC, mean of classes", "accuracy", "answers changed", "probability moved"),
        rows,
        note="Probability moved: mean total variation distance, 0 (same answer) to 1 (opposite certainty).",
    )
    return Section(
        "shortcuts",
        title,
        _summary(figures),
        tuple(measures),
        (table, _look_table(looks), _marker_table(markers), reasons),
        _pictures(probed, figures, asked),
    )


_KEYS = {
    "shortcuts.lungs_out_auroc": "AUROC with the lungs blacked out",
    "shortcuts.box_out_auroc": "AUROC with the lungs' whole box blacked out",
    "shortcuts.border_only_auroc": "AUROC from the border alone",
    "shortcuts.lungs_only_auroc": "AUROC from the lungs alone",
    "shortcuts.shuffled_auroc": "AUROC with patches in another order",
    "shortcuts.kept_without_lungs": "Share of the skill that is kept without lungs",
    "shortcuts.marker_changed": "Answers changed by a marker in a corner",
    "shortcuts.look_changed": "Answers changed by another source's contrast and compression",
    "shortcuts.look_followed": "How far the answer follows the look of a source",
    "shortcuts.source_share": "Differences between answers to one class that the source explains",
}


def _asked(probed: Probed) -> dict[str, NDArray[np.float64]]:
    images, masks, seed = probed.images, probed.masks, probed.subject.seed
    changed = {
        "lungs blacked out": lambda: probes.lungs_out(images, masks),
        "lungs' box blacked out": lambda: probes.box_out(images, masks),
        "lungs only": lambda: probes.lungs_only(images, masks),
        "border only": lambda: probes.border_only(images),
        "shuffled, 4 x 4": lambda: probes.shuffled(images, patches=4, seed=seed),
        "shuffled, 8 x 8": lambda: probes.shuffled(images, patches=8, seed=seed),
    }
    return {"untouched": probed.plain} | {name: probed.ask(make(), name) for name, make in changed.items()}


def _figures(
    probed: Probed, asked: dict[str, NDArray[np.float64]], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    truth, total, found = probed.truth, weights.sum(axis=1), {}
    before = probed.plain.argmax(axis=1)
    for name, probabilities in asked.items():
        predicted = probabilities.argmax(axis=1)
        found[f"auroc {name}"] = macro_auroc(probabilities, truth, weights)
        found[f"accuracy {name}"] = weights @ (predicted == truth) / total
        found[f"changed {name}"] = weights @ (predicted != before) / total
    skill = found["auroc untouched"] - 0.5
    for name in ("lungs blacked out", "lungs' box blacked out", "border only"):
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = (found[f"auroc {name}"] - 0.5) / skill
        # a resample in which the model has no skill at all has no share of it either
        found[f"kept {name}"] = np.where(skill > LEAST_SKILL - 0.5, kept, np.nan)
    return found


def _lung_measures(figures: dict[str, Figure], images: int) -> list[Measure]:
    def auroc(key: str, probe: str, meaning: str, advice: str) -> Measure:
        name = f"auroc {probe}"
        return measure(key, _KEYS[key], figures[name], meaning, advice=advice, unit="auroc", images=images)

    untouched = figures["auroc untouched"]
    kept = figures["kept lungs' box blacked out"]
    share = (
        measure(
            "shortcuts.kept_without_lungs",
            _KEYS["shortcuts.kept_without_lungs"],
            kept,
            "(AUROC without the lungs' box − 0.5) over (AUROC untouched − 0.5); untouched it is "
            f"{shown(untouched.value)}. "
            "0: nothing is left, 1: the lungs are not needed.",
            advice="Above 0.5 the model is not reading lungs in the main: find what it reads before anything else.",
            images=images,
        )
        if kept.value is not None
        else missing(
            "shortcuts.kept_without_lungs",
            _KEYS["shortcuts.kept_without_lungs"],
            f"untouched AUROC is {shown(untouched.value)}, below {LEAST_SKILL}: there is no skill to lose",
        )
    )
    return [
        measure(
            "shortcuts.untouched_auroc",
            "AUROC on the same images untouched",
            untouched,
            "What the probes are compared with; mean of the classes against the rest.",
            unit="auroc",
            images=images,
        ),
        auroc(
            "shortcuts.lungs_out_auroc",
            "lungs blacked out",
            "What the model still knows when it sees no lung, only its outline. 0.5 is a guess.",
            "Well above 0.5: a shortcut is likely; the border-only and look probes say where it lies.",
        ),
        auroc(
            "shortcuts.box_out_auroc",
            "lungs' box blacked out",
            "The same with the whole box around the lungs gone: heart and outline too. What is left is "
            "shoulders, belly, "
            "borders and markers.",
            "Well above 0.5: the class is told by what surrounds the chest; crop to the lungs and train again, or "
            "balance the sources.",
        ),
        auroc(
            "shortcuts.border_only_auroc",
            "border only",
            f"What the model knows from the outer {100 * probes.BORDER:.0f} % of each side: collimator, markers, tags.",
            "Well above 0.5: crop borders and blank markers, then train again.",
        ),
        auroc(
            "shortcuts.lungs_only_auroc",
            "lungs only",
            "What is left with everything but the lungs gone: a model that reads lungs should keep most of its skill.",
            "Near 0.5 although the untouched AUROC is high: the model needs something outside the lungs.",
        ),
        auroc(
            "shortcuts.shuffled_auroc",
            "shuffled, 8 x 8",
            "What is left when pieces lie in another order: grey values and texture without anatomy.",
            "Near the untouched AUROC: the model reads contrast or texture of the film, not where something is.",
        ),
        share,
    ]


def _looks(probed: Probed) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_], int | None, str]]:
    """Per source: answers under its look, which images are from elsewhere, JPEG quality, its commonest class or ""."""
    subject, dataset = probed.subject, probed.subject.dataset
    train = dataset.positions("train")
    by_source: dict[str, list[int]] = {}
    for position in (train if len(train) else subject.test.positions).tolist():
        by_source.setdefault(dataset.rows[position].source, []).append(position)
    own = subject.sources[probed.places]
    found = {}
    for source, positions in sorted(by_source.items()):
        if len(positions) < _FEWEST or len(by_source) < 2:  # noqa: PLR2004
            continue
        rng = np.random.default_rng(subject.seed)
        chosen = rng.choice(np.array(positions), min(_LOOK_IMAGES, len(positions)), replace=False)
        images = dataset.images(np.sort(chosen))
        cost = [
            dataset.rows[i].bytes / (dataset.rows[i].width * dataset.rows[i].height)
            for i in chosen
            if dataset.rows[i].width
        ]
        quality = probes.quality_like(float(np.median(cost)), images[:10]) if cost and min(cost) > 0 else None
        counts = np.bincount(dataset.labels[positions], minlength=len(dataset.task.labels))
        common = dataset.task.labels[int(counts.argmax())] if counts.max() >= _MAJORITY * counts.sum() else ""
        answers = probed.ask(
            probes.with_look(probed.images, probes.look_of(images), quality=quality), f"look of {source}"
        )
        found[source] = (answers, own != source, quality, common)
    return found


def _markers(probed: Probed) -> dict[str, NDArray[np.float64]]:
    return {
        f"“{letters}”, {corner}": probed.ask(
            probes.with_marker(probed.images, letters=letters, corner=corner), f"marker {letters}"
        )
        for letters, corner in _MARKERS
    }


def _change_measures(
    probed: Probed,
    looks: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_], int | None, str]],
    markers: dict[str, NDArray[np.float64]],
) -> list[Measure]:
    before, task = probed.plain.argmax(axis=1), probed.subject.task
    flips = {name: float((answer.argmax(axis=1) != before).mean()) for name, answer in markers.items()}
    worst = max(flips, key=lambda name: flips[name])
    measures = [
        Measure(
            "shortcuts.marker_changed",
            _KEYS["shortcuts.marker_changed"],
            flips[worst],
            f"Share of images whose class changes when letters are written into a corner; the worst is {worst}.",
            advice="Above 0.05: blank the corners in training at random, or mask them.",
            images=len(before),
        )
    ]
    if not looks:
        why = "all images come from one source, or no source has enough of them"
        measures += [missing(key, _KEYS[key], why) for key in ("shortcuts.look_changed", "shortcuts.look_followed")]
    else:
        moved = {
            source: float((answer.argmax(axis=1) != before)[away].mean())
            for source, (answer, away, *_) in looks.items()
            if away.any()
        }
        worst = max(moved, key=lambda name: moved[name])
        measures.append(
            Measure(
                "shortcuts.look_changed",
                _KEYS["shortcuts.look_changed"],
                moved[worst],
                "Share of images from elsewhere whose class changes when they are given a source's contrast and "
                f"compression; the worst look is that of {worst}.",
                advice="Above 0.2: train with stronger contrast and compression changes.",
                images=len(before),
            )
        )
        pulls = {source: _pull(probed, look) for source, look in looks.items()}
        known = {source: pull for source, pull in pulls.items() if pull is not None}
        title = _KEYS["shortcuts.look_followed"]
        if known:
            strongest = max(known, key=lambda name: known[name])
            measures.append(
                Measure(
                    "shortcuts.look_followed",
                    title,
                    known[strongest],
                    "Mean rise of the probability of a source's commonest class, in images of other "
                    "classes and sources, "
                    f"when they are given its look; strongest for {strongest} ({looks[strongest][3]}).",
                    advice="Above 0.1: the look of that source pulls answers to its class; balance or normalise it.",
                    unit="probability",
                    images=len(before),
                )
            )
        else:
            why = "no source stands for a class, or no image of another class comes from elsewhere"
            measures.append(missing("shortcuts.look_followed", title, why))
    return [*measures, source_share(probed.subject, task.positive_index)]


def _pull(probed: Probed, look: tuple[NDArray[np.float64], NDArray[np.bool_], int | None, str]) -> float | None:
    answer, away, _, common = look
    if not common:
        return None
    place = probed.subject.task.labels.index(common)
    others = away & (probed.truth != place)
    return float((answer - probed.plain)[others, place].mean()) if others.sum() >= _FEWEST // 2 else None


def source_share(subject: Subject, positive: int) -> Measure:
    """Share of the variance of the positive's probability, among images of one class, that their source explains.

    Omega squared (Hays 1963), which is 0 on average where sources do not matter; within classes, so that the class
    itself explains nothing. Classes of one source are left out.
    """
    key, title = "shortcuts.source_share", _KEYS["shortcuts.source_share"]
    chance = subject.test.probabilities[:, positive]
    between = within = error = 0.0
    images = 0
    for label in range(len(subject.task.labels)):
        inside = subject.test.truth == label
        sources = subject.sources[inside]
        names, place, counts = np.unique(sources, return_inverse=True, return_counts=True)
        keep = counts[place] >= 5  # noqa: PLR2004
        if len(names[counts >= 5]) < 2:  # noqa: PLR2004
            continue
        values, groups = chance[inside][keep], place[keep]
        means = np.bincount(groups, values)[groups]
        sizes = np.bincount(groups)[groups]
        fitted = means / sizes
        degrees, rest = len(np.unique(groups)) - 1, len(values) - len(np.unique(groups))
        noise = float(((values - fitted) ** 2).sum()) / max(rest, 1)
        between += float(((fitted - values.mean()) ** 2).sum()) - degrees * noise
        within += float(((values - values.mean()) ** 2).sum())
        error += noise
        images += len(values)
    if images == 0 or within <= 0:
        return missing(key, title, "no class has images of two sources in the test split")
    return Measure(
        key,
        title,
        max(0.0, between / (within + error)),
        f"Of the variance of the probability of “{subject.task.positive}” among images of one class, the "
        "share that goes "
        "with their source. 0: the source says nothing beyond the class.",
        advice="Above 0.2: answers differ by hospital more than they should; compare calibration and "
        "recall per source.",
        images=images,
    )


def _look_table(looks: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_], int | None, str]]) -> Table:
    rows = []
    for source, (answer, away, quality, common) in looks.items():
        called = float(answer[away].max(axis=1).mean()) if away.any() else None
        rows.append((source, common or "mixed", quality, int(away.sum()), called))
    return Table(
        "Looks given to images from elsewhere",
        ("look of", "its class", "JPEG quality", "images", "mean confidence"),
        tuple(rows),
        note="Grey levels matched to the source's mean histogram; JPEG at the quality whose files are as "
        "large as the source's.",
    )


def _marker_table(markers: dict[str, NDArray[np.float64]]) -> Table:
    rows = tuple((name, float(answer.max(axis=1).mean())) for name, answer in markers.items())
    return Table("Markers", ("letters and corner", "mean confidence"), rows)


def _summary(figures: dict[str, Figure]) -> str:
    plain, box = figures["auroc untouched"].value, figures["auroc lungs' box blacked out"].value
    only, kept = figures["auroc lungs only"].value, figures["kept lungs' box blacked out"].value
    words = (
        f"AUROC {shown(plain)} untouched, {shown(figures['auroc lungs blacked out'].value)} with the "
        "lungs blacked out, "
        f"{shown(box)} with their whole box gone, {shown(only)} from the lungs alone"
    )
    if kept is None:
        return f"{words}; the model has too little skill for a shortcut to show."
    return f"{words}: {percent(max(kept, 0.0))} of the skill does not need the lungs."


def _pictures(probed: Probed, figures: dict[str, Figure], asked: dict[str, NDArray[np.float64]]) -> tuple[Picture, ...]:
    drawn = [
        (name, figure.value, figure.low, figure.high)
        for name in asked
        if (figure := figures[f"auroc {name}"]).value is not None
    ]
    pictures = []
    if drawn:
        pictures.append(
            bars(
                "AUROC under each probe",
                drawn,
                x="AUROC, mean of classes, 95 % interval by patient (dotted: a guess)",
                alt="; ".join(f"{name} {shown(value)}" for name, value, *_ in drawn),
                low=0.2,
                level=0.5,
            )
        )
    shown_places = [int(np.flatnonzero(probed.truth == label)[0]) for label in np.unique(probed.truth)][:4]
    take = np.array(shown_places)
    images, masks = probed.images[take], probed.masks[take]
    changed = (
        probes.lungs_out(images, masks),
        probes.box_out(images, masks),
        probes.lungs_only(images, masks),
        probes.border_only(images),
        probes.shuffled(images, patches=8, seed=probed.subject.seed),
        probes.with_marker(images, letters="L", corner="top right"),
    )
    rows = [
        [images[i, 0], overlay(images[i, 0], masks[i], colour=(1.0, 0.45, 0.1)), *(kind[i, 0] for kind in changed)]
        for i in range(len(take))
    ]
    pictures.append(
        sheet(
            "What the model was shown",
            rows,
            columns=("film", "lungs found", "lungs out", "box out", "lungs only", "border only", "shuffled", "marker"),
            names=[probed.subject.task.labels[int(probed.truth[i])] for i in take],
            alt="One test image of each class under every probe, with the lung mask that was found.",
        )
    )
    return tuple(pictures)
