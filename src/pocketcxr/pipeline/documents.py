"""Documents of a run: model card and reporting checklists, written from its folder and its audit."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pocketcxr.audit.stored_record import AuditFile, read_audit
from pocketcxr.files import write_text
from pocketcxr.reporting.checklist import (
    checklist_csv,
    checklist_markdown,
    checklists_json,
    checklists_section,
    fill_checklists,
)
from pocketcxr.reporting.front_matter import LICENCE_FILE
from pocketcxr.reporting.model_card import weights_licence, write_model_card
from pocketcxr.reporting.run_record import read_run_record, shown_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pocketcxr.report.types import Section

MODEL_CARD = "MODEL_CARD.md"


def write_documents(run_folder: Path, sections: Sequence[Section] | None, out: Path, *, command: str = "") -> Section:
    """Write the documents of a run and return the checklists as a section for the audit's report.

    Writes ``MODEL_CARD.md`` with the terms of the weights beside it (``LICENSE.md``), each checklist as Markdown and
    CSV (``claim-2024.md``, ``tripod-ai.csv``, …), and all of them as ``checklists.json``. Files that stand there are
    replaced.

    Args:
        run_folder: of a run that `pocketcxr distill` made, finished or not; it is only read.
        sections: of the audit, with the gates as `audit.audit_file.gates_section`; None takes those of the run's
            ``audit/audit.json``. Without an audit the documents say so.
        out: folder, made where it is missing.
        command: the command line that made the sections, to be named beside their figures.

    Raises:
        DataError: no such run, or a file in it that cannot be read.
        BundleError: a damaged bundle.
    """
    audit = run_folder / "audit" / "audit.json"
    if sections is None:
        found = read_audit(audit) if audit.is_file() else AuditFile((), "")
        sections, command = found.sections, command or found.command
    record = dataclasses.replace(read_run_record(run_folder), audit_command=shown_command(command))
    write_model_card(record, out / MODEL_CARD, sections)
    write_text(out / LICENCE_FILE, weights_licence(record))
    checklists = fill_checklists(record, sections)
    for one in checklists:
        write_text(out / f"{one.key}.md", checklist_markdown(one))
        write_text(out / f"{one.key}.csv", checklist_csv(one))
    write_text(out / "checklists.json", checklists_json(checklists))
    return checklists_section(checklists)
