"""Summary of an index or split: what was found, what was left out and why, how many of each class in each part."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from pocketcxr.data.multilabel import contradict, held
from pocketcxr.data.rows import SPLITS, is_frontal_xray
from pocketcxr.data.splits.leakage import IMAGE_FOLD
from pocketcxr.plain_text import one_line
from pocketcxr.vocabulary import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pocketcxr.data.index import Index
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task


_SHOWN = 5  # groups of near duplicates with different classes that are named


def describe_index(index: Index) -> str:
    """Counts per source and finding, the notes, and what was rejected, by reason."""
    counts = Counter(
        (row.source, finding, "" if is_frontal_xray(row) else "CT or lateral")
        for row in index.rows
        for finding in _findings(row)
    )
    lines = _table(("source", "finding", "", "images"), [(*key, str(n)) for key, n in sorted(counts.items())])
    groups = Counter(row.duplicate_group for row in index.rows if row.duplicate_group)
    repeated = [n for n in groups.values() if n > 1]
    several = sum(SEPARATOR in row.finding for row in index.rows)
    uncertain = sum(bool(row.uncertain) for row in index.rows)
    lines += ["", f"{len(index.rows)} images, {len(index.rejected)} rejected"]
    lines += [f"{several} images have several findings and count under each"] if several else []
    lines += [f"{uncertain} images have findings that the set calls uncertain"] if uncertain else []
    lines += [f"{sum(repeated)} images stand in {len(repeated)} groups of near duplicates"] if repeated else []
    lines += [one_line(note) for note in (*index.notes, *_without_patient(index.rows))]
    reasons = Counter((line.source, line.reason) for line in index.rejected)
    lines += [
        f"rejected {n} of {one_line(source) or 'no source'}: {one_line(reason)}"
        for (source, reason), n in reasons.most_common(20)
    ]
    hidden = len(reasons) - 20
    return "\n".join([*lines, f"… and {hidden} other reasons"] if hidden > 0 else lines)


def _findings(row: IndexRow) -> list[str]:
    if row.finding:
        return row.finding.split(SEPARATOR)
    return ["unlabelled" if row.is_unlabelled else "none present"]


def left_out_of(index: Index) -> str:
    """One line that counts what an index leaves out, with the commonest reason; "" where that is nothing."""
    told = [one_line(note) for note in index.notes if "passed over" in note]
    if index.rejected:
        ((reason, count),) = Counter(line.reason for line in index.rejected).most_common(1)
        told.insert(0, f"{len(index.rejected)} files rejected, {count} of them: {one_line(reason)}")
    return "; ".join(told)


def describe(rows: Sequence[IndexRow], task: Task) -> str:
    """Counts per class, source and split (or fold), with findings left out and images that have two classes."""
    folds = sorted({row.fold for row in rows if row.fold})
    parts = [part for part in SPLITS if any(row.split == part for row in rows)]
    use_folds = bool(folds) and not parts
    counts: Counter[tuple[str, str, str]] = Counter()
    every = "all"
    for row in rows:
        for label in (*held(row.label), *([every] if row.label else [])):
            counts[label, row.source, row.fold if use_folds else row.split] += 1
    columns = folds if use_folds else parts
    order = [one for label in task.labels for one in (label, f"no {label}", f"{label} uncertain")]
    pairs = sorted(
        {(label, source) for label, source, _ in counts if label != every}, key=lambda p: (order.index(p[0]), p[1])
    )
    body = [(label, source, *_cells(counts, columns, [(label, source)])) for label, source in pairs]
    body.append((every, "", *_cells(counts, columns, sorted({(every, source) for _, source, _ in counts}))))
    lines = _table(("class", "source", *columns, "images"), body)
    lines += ["", *_left_out(rows), *_contradictions(rows), *_without_patient([row for row in rows if row.label])]
    if any(fold.startswith(IMAGE_FOLD) for fold in folds):
        lines.append(
            "Folds were assigned by image: patients and copies LEAK between them, as in the published protocol."
        )
    return "\n".join(lines)


def _cells(
    counts: Counter[tuple[str, str, str]], columns: Sequence[str], pairs: Iterable[tuple[str, str]]
) -> list[str]:
    cells = [sum(counts[label, source, column] for label, source in pairs) for column in columns]
    return [*map(str, cells), str(sum(cells))]


def _left_out(rows: Sequence[IndexRow]) -> list[str]:
    """What stands in the table without a class, and why."""
    why: Counter[str] = Counter()
    for row in rows:
        if row.label:
            continue
        if not is_frontal_xray(row):
            why["CT slices and laterals"] += 1
        elif row.finding:
            several = "in several classes, or in none" if SEPARATOR in row.finding else "in no class of the task"
            why[f"{row.finding}: {several}"] += 1
        elif not row.is_unlabelled:
            why["in which no finding is certainly present"] += 1
        else:
            why["without a label"] += 1
    return [f"left out {n} {reason}" for reason, n in why.most_common()]


def _contradictions(rows: Sequence[IndexRow]) -> list[str]:
    """Groups of near duplicates whose members bear different classes: their truth is doubtful."""
    groups: dict[str, list[IndexRow]] = defaultdict(list)
    for row in rows:
        if row.label and row.duplicate_group:
            groups[row.duplicate_group].append(row)
    mixed = [group for group in groups.values() if contradict(row.label for row in group)]
    shown = [
        "near duplicates with different classes: "
        + ", ".join(f"{one_line(row.path)} ({row.label})" for row in group[:3])
        for group in mixed[:_SHOWN]
    ]
    if len(mixed) > len(shown):
        shown.append(
            f"near duplicates with different classes: {len(mixed) - len(shown)} groups more, see duplicate_group"
        )
    return shown


def _without_patient(rows: Iterable[IndexRow]) -> list[str]:
    """Per source, how many images have no patient: figures that rest on them cannot be by patient."""
    total, unknown = Counter[str](), Counter[str]()
    for row in rows:
        total[row.source] += 1
        unknown[row.source] += not row.patient_id
    return [
        f"{source}: patient unknown for {unknown[source]} of {n} images; each is a patient of its own"
        for source, n in sorted(total.items())
        if unknown[source]
    ]


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Columns aligned by blanks, numbers to the right."""
    lines = [[one_line(cell) for cell in line] for line in (head, *body)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    numeric = [all(line[i].isdigit() for line in lines[1:]) for i in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    ]
