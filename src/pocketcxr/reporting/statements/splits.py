"""What a run's record says of its splits: how they were dealt out, who is in them, what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.reporting import cohort
from pocketcxr.reporting.statement import Statement, listed
from pocketcxr.reporting.statements.data import exclusions, label_words

if TYPE_CHECKING:
    from pocketcxr.reporting.run_record import RunRecord


def partition(record: RunRecord) -> Statement | None:
    """How images were dealt out."""
    if not cohort.used_rows(record.rows):
        return None
    data = record.settings.get("data", {})
    if record.folds:
        return Statement(
            f"{record.folds}-fold cross-validation; folds dealt out by {record.fold_level}, evenly by class and "
            "source, "
            f"seed {data.get('seed', 'not on record')}; in each fold a tenth of the other images calibrates.",
            f"{record.rows_file}; evaluation/crossval.json",
            complete=record.fold_level != "image",
        )
    if record.own_splits:
        return Statement("The split came from a table of the authors' own.", "sources.json", complete=False)
    if not data:
        return None
    shares = " / ".join(f"{100 * share:g}" for share in data["fractions"])
    return Statement(
        "Dealt out by patient and near-duplicate group, evenly by class and source (greedy iterative stratification): "
        f"{shares} % for training, calibration (tuning) and test, seed {data['seed']}.",
        "experiment.json",
    )


def split_sizes(record: RunRecord) -> Statement | None:
    """Images, patients and classes of each split."""
    parts = cohort.parts(record.rows)
    if not parts:
        return None
    return Statement(listed("Numbers by split:", (_line(record, one) for one in parts)), record.rows_file)


def disjoint(record: RunRecord) -> Statement | None:
    """What the splits share, and how sure that is."""
    used = cohort.used_rows(record.rows)
    if not used:
        return None
    if record.fold_level == "image":
        return Statement(
            "By image only: pictures of one patient stand on both sides, which flatters every figure.",
            record.rows_file,
            complete=False,
        )
    found = ", ".join(f"{n:,} {words}" for words, n in cohort.shared(used).items())
    anonymous = sum(not (row.patient_id or row.study_id) for row in used)
    text = f"By patient, study and near-duplicate picture. In more than one split stand: {found}."
    if anonymous:
        text += (
            f" For {anonymous:,} of {len(used):,} images the data set names neither patient nor study: for these only "
            "the comparison of pictures guards against one patient on two sides."
        )
    return Statement(text, record.rows_file, complete=not anonymous)


def sample_size(record: RunRecord) -> Statement | None:
    """Size of the test split and the number of positive images in it."""
    parts = cohort.parts(record.rows)
    if not parts:
        return None
    return Statement(
        listed("No sample size was calculated by the program. Images on hand:", (_line(record, one) for one in parts)),
        record.rows_file,
        complete=False,
    )


def flow(record: RunRecord) -> Statement | None:
    """From files to splits in numbers."""
    parts, out = cohort.parts(record.rows), exclusions(record)
    if not parts or out is None:
        return None
    lines = (_line(record, one) for one in parts)
    return Statement(f"{out.text}\n\n{listed('Used, by split:', lines)}", out.source)


def events(record: RunRecord) -> Statement | None:
    """Patients and classes in each analysis."""
    parts = cohort.parts(record.rows)
    if not parts:
        return None
    uses = {
        "train": "fitting weights",
        "calibration": "choice of weights, temperature, thresholds",
        "test": "evaluation",
    }
    lines = (f"{uses[one.name]}: {_line(record, one)}" for one in parts if one.name in uses)
    return Statement(listed("Numbers by analysis:", lines), record.rows_file)


def demographics(record: RunRecord) -> Statement | None:
    """Sex, age and view of each split, as far as the tables say."""
    parts = cohort.parts(record.rows)
    if not parts:
        return None
    lines = [
        f"{one.name}: sex {cohort.counted_words(one.sexes)}; age {cohort.age_words(one.ages)}; "
        f"view {cohort.counted_words(one.views, most=4)}"
        for one in parts
    ]
    return Statement(listed("Images, not patients, are counted:", lines), record.rows_file, complete=False)


def split_differences(record: RunRecord) -> Statement | None:
    """Sources and mix of classes in development and in test."""
    parts = cohort.parts(record.rows)
    by_name = {one.name: one for one in parts}
    if "train" not in by_name or "test" not in by_name:
        return None
    train, test = by_name["train"], by_name["test"]
    fresh = cohort.new_sources(record.rows)
    return Statement(
        f"Training: {label_words(record, train)}; {cohort.counted_words(train.sources)}. "
        f"Test: {label_words(record, test)}; {cohort.counted_words(test.sources)}. "
        f"Sources only in test: {', '.join(fresh) or 'none'}.",
        record.rows_file,
        complete=False,
    )


def external(record: RunRecord) -> Statement | None:
    """Whether any test image comes from a source that gave none for training."""
    used = cohort.used_rows(record.rows)
    if {"train", "test"} - {row.split for row in used}:
        return None
    fresh = cohort.new_sources(used)
    if not fresh:
        return Statement(
            "No outside data: every source of the test split also gave training images, so the figures say nothing "
            "of other "
            "hospitals.",
            record.rows_file,
            complete=False,
        )
    count = sum(row.source in fresh and row.split == "test" for row in used)
    return Statement(
        f"{count:,} test images from sources that gave no training image: {', '.join(fresh)}.", record.rows_file
    )


def _line(record: RunRecord, one: cohort.Part) -> str:
    return f"{one.name}: {one.images:,} images ({label_words(record, one)}); {cohort.people_words(one)}"
