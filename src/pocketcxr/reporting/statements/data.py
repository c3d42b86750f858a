"""Statements on images and splits that need more than one text: sources, choice, sizes, separation, demographics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pocketcxr.reporting import cohort
from pocketcxr.reporting.reported_metrics import classes
from pocketcxr.reporting.statements.known import items, reasons
from pocketcxr.reporting.statements.statement import Statement
from pocketcxr.vocabulary import FINDINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pocketcxr.reporting.run_record import RunRecord

_USES = {
    "train": "fitting weights",
    "calibration": "choice of weights, temperature, thresholds",
    "test": "evaluation",
}


def sources(record: RunRecord) -> Statement | None:
    """Sources with images and patients of each."""
    used = cohort.used_rows(record.rows)
    named = sorted({row.source for row in used})
    parts = [cohort.part(source, [row for row in used if row.source == source]) for source in named]
    lines = items(_line(record, one) for one in parts)
    made = "The images are SYNTHETIC, made by the program; they show no patient. " if record.synthetic else ""
    return Statement(f"{made}Sources of the images used:{lines}", record.rows_file) if lines else None


def licences(record: RunRecord) -> Statement | None:
    """Licences that the sources' tables state for the images in use."""
    stated = cohort.licences(cohort.used_rows(record.rows))
    lines = items(f"{source}: {cohort.counted_words(counts, most=4)}" for source, counts in stated.items())
    text = f"Licences of the images, as the sources' tables state them:{lines}"
    return Statement(text, record.rows_file) if lines else None


def places(record: RunRecord) -> Statement | None:
    """Hospitals or places, where the table names them."""
    used = cohort.used_rows(record.rows)
    named = [row.location for row in used if row.location]
    text = "The table names no hospital or place; the sources are all it knows."
    if named:
        text = f"{len(set(named)):,} different places are named, for {len(named):,} of {len(used):,} images."
    return Statement(text, record.rows_file, complete=False) if used else None


def exclusions(record: RunRecord) -> Statement | None:
    """The program's own rules, and how many images each left out."""
    if not record.rows_file:
        return None
    lines = [f"of {len(record.rows):,} indexed images left out: {reasons(cohort.left_out(record.rows))}"]
    if "index.rejected.csv" in record.files:
        told: Counter[str] = Counter()
        for (source, reason), n in record.rejected.items():  # without the advice that follows a reason
            told[f"{reason.partition(';')[0]} ({source or 'no source'})"] += n
        lines.append(f"of the files found not indexed: {reasons(told)}")
    rule = "Taken in: readable frontal (PA, AP) X-rays whose finding belongs to a class of the task. Of the rest:"
    return Statement(f"{rule}{items(lines)}", f"{record.rows_file}; index.rejected.csv")


def reference(record: RunRecord) -> Statement | None:
    """From which findings of the data sets each class was made."""
    lines = items(
        f"{label}: "
        + ", ".join(f"{finding} ({n:,}; {FINDINGS.get(finding, 'own finding')})" for finding, n in parts.items())
        for label, parts in cohort.classes_from(record.rows).items()
    )
    return Statement(f"Classes are made of the data sets' own labels:{lines}", record.rows_file) if lines else None


def partition(record: RunRecord) -> Statement | None:
    """How images were assigned to splits or folds."""
    data = record.settings.get("data", {})
    if not cohort.used_rows(record.rows):
        return None
    if record.folds:
        text = (
            f"{record.folds}-fold cross-validation; folds assigned by {record.fold_level}, evenly by class and source, "
            f"seed {data.get('seed', 'not on record')}; in each fold a tenth of the other images calibrates."
        )
        where = f"{record.rows_file}; evaluation/crossval.json"
        return Statement(text, where, complete=record.fold_level != "image")
    if record.own_splits:
        return Statement("The split was read from a table of the authors.", "sources.json", complete=False)
    if not data:
        return None
    shares = " / ".join(f"{100 * share:g}" for share in data["fractions"])
    text = (
        "Assigned by patient and near-duplicate group, evenly by class and source (greedy iterative stratification): "
        f"{shares} % for training, calibration (tuning) and test, seed {data['seed']}."
    )
    return Statement(text, "experiment.json")


def disjoint(record: RunRecord) -> Statement | None:
    """What the splits share, and how sure that is."""
    used = cohort.used_rows(record.rows)
    if not used:
        return None
    if record.fold_level == "image":
        text = "By image only: images of one patient are in more than one split, which flatters every figure."
        return Statement(text, record.rows_file, complete=False)
    found = ", ".join(f"{n:,} {words}" for words, n in cohort.shared(used).items())
    anonymous = sum(not (row.patient_id or row.study_id) for row in used)
    text = f"By patient, study and near-duplicate image. In more than one split: {found}."
    if anonymous:
        text += (
            f" For {anonymous:,} of {len(used):,} images the data set names neither patient nor study: for these only "
            "the comparison of images guards against one patient in two splits."
        )
    return Statement(text, record.rows_file, complete=not anonymous)


def split_sizes(record: RunRecord) -> Statement | None:
    """Images, patients and classes of each split."""
    return _by_split(record, "Numbers by split:", lambda one: _line(record, one))


def sample_size(record: RunRecord) -> Statement | None:
    """Size of each split, where no sample size was calculated."""
    lead = "No sample size was calculated by the program. Images on hand:"
    return _by_split(record, lead, lambda one: _line(record, one), complete=False)


def flow(record: RunRecord) -> Statement | None:
    """From files to splits in numbers."""
    parts, out = _by_split(record, "Used, by split:", lambda one: _line(record, one)), exclusions(record)
    return Statement(f"{out.text}\n\n{parts.text}", out.source) if parts and out else None


def events(record: RunRecord) -> Statement | None:
    """Patients and classes in each analysis."""

    def line(one: cohort.Part) -> str:
        return f"{_USES[one.name]}: {_line(record, one)}" if one.name in _USES else ""

    return _by_split(record, "Numbers by analysis:", line)


def demographics(record: RunRecord) -> Statement | None:
    """Sex, age and projection of each split, as far as the tables say."""

    def line(one: cohort.Part) -> str:
        age, views = cohort.age_words(one.ages), cohort.counted_words(one.views, most=4)
        return f"{one.name}: sex {cohort.counted_words(one.sexes)}; age {age}; projection {views}"

    return _by_split(record, "Images, not patients, are counted:", line, complete=False)


def split_differences(record: RunRecord) -> Statement | None:
    """Sources and mix of classes in development and in test."""
    parts = {one.name: one for one in cohort.parts(record.rows)}
    if "train" not in parts or "test" not in parts:
        return None
    told = (
        f"{title}: {label_words(record, parts[name])}; {cohort.counted_words(parts[name].sources)}. "
        for name, title in (("train", "Training"), ("test", "Test"))
    )
    only = f"Sources only in test: {', '.join(cohort.new_sources(record.rows)) or 'none'}."
    return Statement(f"{''.join(told)}{only}", record.rows_file, complete=False)


def external(record: RunRecord) -> Statement | None:
    """Whether any test image comes from a source that gave none for training."""
    used = cohort.used_rows(record.rows)
    if {"train", "test"} - {row.split for row in used}:
        return None
    fresh = cohort.new_sources(used)
    text = "No outside data: every source of the test split also gave training images, so the figures say nothing of "
    text += "other hospitals."
    if fresh:
        count = sum(row.source in fresh and row.split == "test" for row in used)
        text = f"{count:,} test images from sources that gave no training image: {', '.join(fresh)}."
    return Statement(text, record.rows_file, complete=bool(fresh))


def label_words(record: RunRecord, one: cohort.Part) -> str:
    """Images of each class, in the order of the task."""
    order = classes(record)[0] or tuple(one.labels)
    return cohort.counted_words({label: one.labels.get(label, 0) for label in order})


def _by_split(
    record: RunRecord, lead: str, line: Callable[[cohort.Part], str], *, complete: bool = True
) -> Statement | None:
    parts = cohort.parts(record.rows)
    lines = items(text for one in parts if (text := line(one))) or ""
    return Statement(f"{lead}{lines}", record.rows_file, complete=complete) if parts else None


def _line(record: RunRecord, one: cohort.Part) -> str:
    return f"{one.name}: {one.images:,} images ({label_words(record, one)}); {cohort.people_words(one)}"
