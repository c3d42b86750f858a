"""What a run's record says of its images: sources, choice, gaps and labels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pocketcxr.labels import FINDINGS
from pocketcxr.reporting import cohort
from pocketcxr.reporting.reported_metrics import classes
from pocketcxr.reporting.statement import Statement, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketcxr.reporting.run_record import RunRecord

_MOST_REASONS = 6


def sources(record: RunRecord) -> Statement | None:
    """Sources with images and patients of each."""
    used = cohort.used_rows(record.rows)
    if not used:
        return None
    lines = []
    for source in sorted({row.source for row in used}):
        one = cohort.part(source, [row for row in used if row.source == source])
        lines.append(f"{source}: {one.images:,} images ({label_words(record, one)}); {cohort.people_words(one)}")
    drawn = "The images are DRAWINGS made by the program; they show no patient. " if record.drawn else ""
    return Statement(listed(f"{drawn}Sources of the images used:", lines), record.rows_file)


def licences(record: RunRecord) -> Statement | None:
    """Licences that the sources' tables state for the images in use."""
    used = cohort.used_rows(record.rows)
    if not used:
        return None
    stated = [f"{source}: {cohort.counted_words(counts, most=4)}" for source, counts in cohort.licences(used).items()]
    return Statement(listed("Licences of the images, as the sources' tables state them:", stated), record.rows_file)


def places(record: RunRecord) -> Statement | None:
    """Hospitals or places, where the table names them."""
    used = cohort.used_rows(record.rows)
    if not used:
        return None
    named = [row.location for row in used if row.location]
    if not named:
        return Statement(
            "The table names no hospital or place; the sources are all it knows.", record.rows_file, complete=False
        )
    return Statement(
        f"{len(set(named)):,} different places are named, for {len(named):,} of {len(used):,} images.",
        record.rows_file,
        complete=False,
    )


def exclusions(record: RunRecord) -> Statement | None:
    """The program's own rules, and how many images each left out."""
    if not record.rows_file:
        return None
    lines = [f"of {len(record.rows):,} indexed images left out: {reason_words(cohort.left_out(record.rows))}"]
    if "index.rejected.csv" in record.files:
        lines.append(f"of the files found not indexed: {reason_words(_not_indexed(record))}")
    rule = "Taken in: readable frontal (PA, AP) X-rays whose finding belongs to a class of the task. Of the rest:"
    return Statement(listed(rule, lines), f"{record.rows_file}; index.rejected.csv")


def subsets(record: RunRecord) -> Statement | None:
    """Which images and which parts of them are used."""
    if not cohort.used_rows(record.rows):
        return None
    return Statement(
        "The whole image is used, no region is selected. "
        f"Of {len(record.rows):,} indexed images {len(cohort.used_rows(record.rows)):,} are used; left out: "
        f"{reason_words(cohort.left_out(record.rows))}.",
        record.rows_file,
    )


def missing(record: RunRecord) -> Statement | None:
    """How much is missing of labels and patient data, and what the program does about it."""
    used = cohort.used_rows(record.rows)
    if not used:
        return None
    unknown = cohort.part("all", used).unknown
    gaps = ", ".join(f"{name.replace('_id', '')} for {n:,}" for name, n in unknown.items())
    unlabelled = sum(not row.finding for row in record.rows)
    return Statement(
        f"Of {len(used):,} images used the table does not state: {gaps}. Images without a label: {unlabelled:,}, "
        "which take no part in any figure. Nothing is imputed: the image is the only input, so gaps in the patient "
        "data reach no prediction; they limit what can be reported by group.",
        record.rows_file,
    )


def acquisition(record: RunRecord) -> Statement | None:
    """Views, modalities and picture sizes."""
    used = cohort.used_rows(record.rows)
    if not used:
        return None
    views = cohort.counted_words(cohort.part("all", used).views)
    sizes = sorted(max(row.width, row.height) for row in used if row.width)
    kinds = sorted({row.path.rpartition(".")[2].lower() for row in used})
    span = f"; longest side of the files {sizes[0]:,} to {sizes[-1]:,} pixels" if sizes else ""
    return Statement(f"Views: {views}. File formats: {', '.join(kinds)}{span}.", record.rows_file, complete=False)


def reference(record: RunRecord) -> Statement | None:
    """From which findings of the data sets each class was made."""
    made = cohort.classes_from(record.rows)
    if not made:
        return None
    lines = [
        f"{label}: "
        + ", ".join(f"{finding} ({n:,}; {FINDINGS.get(finding, 'own finding')})" for finding, n in parts.items())
        for label, parts in made.items()
    ]
    return Statement(listed("Classes are made of the data sets' own labels:", lines), record.rows_file)


def label_origin(record: RunRecord) -> Statement | None:
    """That labels are those of the sources."""
    used = cohort.used_rows(record.rows)
    if not used:
        return None
    named = ", ".join(sorted({row.source for row in used}))
    return Statement(
        f"Labels are those of the sources ({named}); nothing was annotated anew in this run.", record.rows_file
    )


def labels_of_test(record: RunRecord) -> Statement | None:
    """How the test split got its labels."""
    test = [row for row in cohort.used_rows(record.rows) if row.split == "test"]
    if not test:
        return None
    return Statement(
        f"The {len(test):,} test images bear the labels of their sources, set in the same way as those of the training "
        "images; they were not read again in this run.",
        record.rows_file,
    )


def label_conflicts(record: RunRecord) -> Statement | None:
    """Near duplicates that bear different classes: the one trace of disagreement that the files hold."""
    if not cohort.used_rows(record.rows):
        return None
    groups, mixed = cohort.contradictions(record.rows)
    return Statement(
        f"No second reading is on record. Of {groups:,} groups of near-duplicate images {mixed:,} bear more than one "
        "class.",
        record.rows_file,
        complete=False,
    )


def quality_checks(record: RunRecord) -> Statement | None:
    """What was checked of the files before they were used."""
    if not record.rows_file:
        return None
    hashed = sum(bool(row.perceptual_hash) for row in record.rows)
    grouped = sum(bool(row.duplicate_group) for row in record.rows)
    return Statement(
        f"Every file was decoded once; unreadable ones are in index.rejected.csv ({sum(record.rejected.values()):,}). "
        f"{hashed:,} of {len(record.rows):,} images have a perceptual hash, {grouped:,} a near-duplicate group.",
        f"{record.rows_file}; index.rejected.csv",
    )


def label_words(record: RunRecord, one: cohort.Part) -> str:
    """Images of each class, in the order of the task."""
    order = classes(record)[0] or tuple(one.labels)
    return cohort.counted_words({label: one.labels.get(label, 0) for label in order})


def reason_words(counts: Mapping[str, int]) -> str:
    """How many images for which reason; what is beyond the commonest reasons is counted together."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    shown = [f"{n:,} {reason}" for reason, n in ordered[:_MOST_REASONS]]
    hidden = sum(n for _, n in ordered[_MOST_REASONS:])
    return ", ".join([*shown, *([f"{hidden:,} for other reasons"] if hidden else [])]) or "none"


def _not_indexed(record: RunRecord) -> dict[str, int]:
    """Reasons without the advice that follows them, with the source."""
    told: Counter[str] = Counter()
    for (source, reason), n in record.rejected.items():
        told[f"{reason.partition(';')[0]} ({source or 'no source'})"] += n
    return dict(told)
