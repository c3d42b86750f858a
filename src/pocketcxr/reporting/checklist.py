"""CLAIM 2024 and TRIPOD+AI, filled in from a run's record where it knows the answer, visibly open where it does not.

The checklists are data in ``checklists/*.toml``: number, topic and meaning of every item in our wording, and which
statements (`statements.lookup`) answer it. An answer is made of statements of the record only.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import tomllib
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from pocketcxr.plain_text import json_text, table_cell
from pocketcxr.report.types import Section, Table
from pocketcxr.reporting.markdown import plain
from pocketcxr.reporting.statements.lookup import Statements
from pocketcxr.reporting.statements.statement import sources_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.reporting.run_record import RunRecord
    from pocketcxr.reporting.statements.statement import Statement

NAMES = ("claim-2024", "tripod-ai")
"""Checklists that come with the program."""

ANSWERED = "answered from the record"
PARTLY = "partly: a person must add to it"
OPEN = "open: a person must write this"
NOT_APPLICABLE = "not applicable"
STATUSES = (ANSWERED, PARTLY, OPEN, NOT_APPLICABLE)

_SIGNS = {ANSWERED: "☑", PARTLY: "◐", OPEN: "☐", NOT_APPLICABLE: "–"}
_COLUMNS = {"number": "item", "section": "section", "topic": "topic", "applies": "applies", "asks": "asks",
            "status": "status", "text": "answer", "source": "source", "person": "still to write"}  # fmt: skip
_PROMISE = "Nothing was answered that no file says; what is open, people must write."
_NO_PATIENT = "The images are synthetic, made by the program: there is no patient."


@dataclass(frozen=True)
class Answer:
    """One item of a checklist and what the record says to it.

    `applies` is D (development), E (evaluation) or both, where the checklist makes the difference. `asks` is its
    meaning in our words. `text` is empty while `status` is `OPEN`; `source` names the files or commands behind it.
    `person` says what people must still write, empty where nothing is left.
    """

    number: str
    section: str
    topic: str
    asks: str
    status: str
    text: str
    source: str
    person: str
    applies: str = ""


@dataclass(frozen=True)
class Checklist:
    """A checklist with an answer or an open place for each of its items; `source` cites the publication."""

    name: str
    key: str
    title: str
    source: str
    answers: tuple[Answer, ...]
    made_by: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by status, in the order of `STATUSES`."""
        found = Counter(answer.status for answer in self.answers)
        return {status: found[status] for status in STATUSES}


def fill_checklists(record: RunRecord, sections: Sequence[Section] = ()) -> tuple[Checklist, ...]:
    """Fill in every checklist that comes with the program.

    Args:
        record: of a run; an empty one leaves every item open.
        sections: of the audit, where there was one.
    """
    return tuple(fill_checklist(name, record, sections) for name in NAMES)


def fill_checklist(name: str, record: RunRecord, sections: Sequence[Section] = ()) -> Checklist:
    """Fill in one checklist of `NAMES`."""
    text = resources.files("pocketcxr.reporting").joinpath("checklists", f"{name}.toml").read_text(encoding="utf-8")
    table, statements = tomllib.loads(text), Statements(record, sections)
    return Checklist(
        name=table["name"],
        key=table["key"],
        title=table["title"],
        source=table["source"],
        answers=tuple(_answer(item, statements) for item in table["items"]),
        made_by=record.command,
    )


def checklist_markdown(checklist: Checklist) -> str:
    """A checklist as Markdown: what is left to do first, then item by item."""
    counts = checklist.counts
    lines = [
        f"# {checklist.name}",
        "",
        f"{checklist.title}. Items in our wording; the wording that counts is the publication's: {checklist.source}",
        "",
        f"Filled in by pocketcxr from the record of a run: {_counts(counts)}. {_PROMISE}",
        "",
        *(
            [f"The run was made by `{checklist.made_by}`. Files are named relative to its folder.", ""]
            * bool(checklist.made_by)
        ),
        "| No. | Item | State |",
        "| --- | --- | --- |",
        *(f"| {one.number} | {one.topic} | {_SIGNS[one.status]} {one.status} |" for one in checklist.answers),
    ]
    section = ""
    for one in checklist.answers:
        if one.section != section:
            section = one.section
            lines += ["", f"## {section}"]
        lines += ["", *_item_lines(one)]
    return "\n".join(lines) + "\n"


def checklist_csv(checklist: Checklist) -> str:
    """A checklist as CSV, one item a row, with an empty column for the page that journals ask for."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_COLUMNS.values(), "reported on page"])
    for one in checklist.answers:  # with list signs that no spreadsheet program takes for the start of a formula
        writer.writerow([*(table_cell(getattr(one, name).replace("\n- ", "\n• ")) for name in _COLUMNS), ""])
    return stream.getvalue()


def checklists_json(checklists: Sequence[Checklist]) -> str:
    """All checklists as JSON, by key."""
    whole = {one.key: dataclasses.asdict(one) | {"counts": one.counts} for one in checklists}
    return json_text(whole)


def checklists_section(checklists: Sequence[Checklist]) -> Section:
    """The checklists as a section of the audit's report: a table of states, then one table per checklist."""
    left = sum(one.counts[PARTLY] + one.counts[OPEN] for one in checklists)
    overview = Table(
        "State of the checklists",
        ("Checklist", "Items", *(status.partition(":")[0] for status in STATUSES)),
        tuple((one.name, len(one.answers), *one.counts.values()) for one in checklists),
    )
    return Section(
        key="checklists",
        title="Reporting checklists: CLAIM 2024 and TRIPOD+AI",
        summary=f"{'; '.join(f'{one.name}: {_counts(one.counts)}' for one in checklists)}. "
        + (f"{left} items wait for a person." if left else "No item waits for a person."),
        tables=(overview, *map(_table, checklists)),
    )


def _answer(item: dict[str, Any], statements: Statements) -> Answer:
    asked = {key: item.get(key, "") for key in ("number", "section", "topic", "asks", "applies")}
    reason = (
        _NO_PATIENT if item.get("patients_only") and statements.record.synthetic else item.get("not_applicable", "")
    )
    if reason and not statements.record.empty:
        return Answer(**asked, status=NOT_APPLICABLE, text=reason, source="the program", person="")
    needed = [statements(name) for name in item["statements"]]
    found = [one for one in needed if one is not None]
    if not found:
        return Answer(**asked, status=OPEN, text="", source="", person=item["person"])
    whole = item.get("enough", True) and len(found) == len(needed) and all(one.complete for one in found)
    also = (statements(name) for name in item.get("also", ()))
    told = _distinct([*found, *(one for one in also if one is not None)])
    return Answer(
        **asked,
        status=ANSWERED if whole else PARTLY,
        text="\n\n".join(one.text for one in told),
        source=sources_of(told),
        person="" if whole else item["person"],
    )


def _distinct(told: Sequence[Statement]) -> list[Statement]:
    return list({one.text: one for one in told}.values())


def _item_lines(one: Answer) -> list[str]:
    applies = f" ({one.applies})" if one.applies else ""
    lines = [f"### {one.number}{applies} · {one.topic}", "", f"*{one.asks}*", ""]
    lines += [f"**{_SIGNS[one.status]} {one.status[0].upper()}{one.status[1:]}**", ""]
    if one.text:
        lines += [plain(one.text), "", f"<sub>Source: {plain(one.source)}</sub>", ""]
    if one.person:
        lines += [f"> **Still to write:** {one.person}", ""]
    return lines[:-1]


def _table(checklist: Checklist) -> Table:
    return Table(
        checklist.name,
        ("No.", "Item", "State", "Answer from the record", "Source", "Still to write"),
        tuple(
            (
                one.number,
                one.topic,
                f"{_SIGNS[one.status]} {one.status.partition(':')[0]}",
                " ".join(one.text.split()) or None,
                one.source or None,
                one.person or None,
            )
            for one in checklist.answers
        ),
        note=checklist.source,
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {status.partition(':')[0]}" for status, n in counts.items())
