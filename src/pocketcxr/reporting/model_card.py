"""A model card in the Hugging Face format, made from a run's record and its audit; what they lack is left open.

Sections follow the hub's annotated model card template. No figure is typed here: each comes from a file of the record
or a section of the audit, and stands beside its interval, its number of images, its split and where it was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.report.formatting import amount
from pocketcxr.report.page import render
from pocketcxr.reporting import card_tables, cohort
from pocketcxr.reporting.front_matter import front_matter, model_name, source_names
from pocketcxr.reporting.markdown import plain
from pocketcxr.reporting.reported_metrics import classes
from pocketcxr.reporting.statements.known import teacher_name
from pocketcxr.reporting.statements.lookup import Statements
from pocketcxr.reporting.statements.statement import sources_of
from pocketcxr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pocketcxr.report.types import Section
    from pocketcxr.reporting.run_record import RunRecord

OUT_OF_SCOPE = (
    "Diagnosis, treatment, triage or screening of people; any decision about a person's care.",
    "Ruling out COVID-19 or any other disease: a clear radiograph does not.",
    "Children, lateral views, CT slices, other body parts, photographs of radiographs, drawings.",
    "Other diseases than the classes named above: every image is assigned to one of these.",
)
"""What no model of this project is for, in every card and in the README."""


def model_card(record: RunRecord, sections: Sequence[Section] = ()) -> str:
    """Write a model card as Markdown with the hub's metadata on top.

    Args:
        record: of a run, or of a bundle alone; what it does not know is left open, visibly.
        sections: of the audit, where there was one.
    """
    size = record.manifest.preprocessing.size if record.manifest else None
    return render(
        "reporting/model_card.md.j2",
        front=front_matter(record),
        open=open_place,
        say=_speaker(record, sections),
        record=record,
        name=plain(model_name(record)),
        version=__version__,
        details=_details(record),
        out_of_scope="\n".join(f"- {line}" for line in OUT_OF_SCOPE),
        bundle_name=record.bundle.name if record.bundle else "model.onnx",
        input_words=f": input `image` float32 [n, 1, {size}, {size}] in [0, 1], outputs as listed below"
        if size
        else "",
        data_table=card_tables.data_table(record),
        bundle_data=_bundle_data(record),
        speeds=card_tables.speeds(record),
        results=card_tables.results(record, classes(record)[1]),
        examination=_examination(record, sections),
        environment=_environment(record),
        hardware=_hardware(record),
        licence=_licence_words(record),
        provenance=_provenance(record, sections),
    )


def write_model_card(record: RunRecord, path: Path, sections: Sequence[Section] = ()) -> Path:
    """Write `model_card` to a file, which appears whole or not at all."""
    from pocketcxr.files import write_text

    write_text(path, model_card(record, sections))
    return path


def weights_licence(record: RunRecord) -> str:
    """The terms of the weights as a file of their own, which the card's metadata link to."""
    lines = ["# Licence of these weights", "", _licence_words(record)]
    used = cohort.used_rows(record.rows)
    if used:
        lines += ["", "Images they were trained and tested on, with the licences that the sources' tables state:", ""]
        lines += [
            f"- {plain(source)}: {plain(cohort.counted_words(counts, most=20))}"
            for source, counts in cohort.licences(used).items()
        ]
    return "\n".join(lines) + "\n"


def open_place(what: str) -> str:
    """A visible gap that people must fill in."""
    return f"**[Open: {' '.join(what.split())}]**"


def _speaker(record: RunRecord, sections: Sequence[Section]) -> Callable[..., str]:
    """A function that writes statements by name with their sources below; an open place where none is known."""
    statements = Statements(record, sections)

    def say(*names: str, otherwise: str = "") -> str:
        found = [one for name in names if (one := statements(name)) is not None]
        if not found:
            return open_place(otherwise) if otherwise else ""
        paragraphs = [plain(one.text) for one in found]
        return "\n\n".join([*paragraphs, card_tables.source(record, sources_of(found))])

    return say


def _details(record: RunRecord) -> str:
    bundle = record.bundle
    known: dict[str, str] = {
        "Developed by": open_place("name people and institutions"),
        "Funded by": open_place("name them and their role"),
        "Model type": "image classifier" + (", one ONNX file" if bundle else ""),
        "Language": "images; labels and documents in English",
        "Licence": plain(bundle.manifest.licence) if bundle else open_place("terms of the weights"),
        "Distilled from": plain(teacher_name(record)) if record.distilled else "no teacher on record",
        "Data sets": plain(", ".join(source_names(record))) or open_place("name them"),
    }
    if bundle is not None:
        known |= {
            "Version": plain(bundle.manifest.version),
            "Made": plain(bundle.manifest.created),
            "File": f"`{bundle.name}`, {amount(bundle.bytes)}B, SHA-256 `{bundle.sha256}`",
        }
    return "\n".join(f"- **{name}:** {words}" for name, words in known.items())


def _bundle_data(record: RunRecord) -> str:
    """What a bundle says of its training data; empty without a bundle."""
    if record.bundle is None:
        return ""
    data = record.bundle.manifest.data
    images = ", ".join(f"{name} {n:,}" for name, n in data.get("images", {}).items())
    text = f"Sources: {', '.join(data.get('sources', ()))}. Images: {images or 'not on record'}."
    return f"{plain(text)}\n\n{card_tables.source(record, f'manifest of {record.bundle.name}')}"


def _examination(record: RunRecord, sections: Sequence[Section]) -> str:
    first = sorted(sections, key=lambda one: "gate" not in one.key and "verdict" not in one.key)
    return "\n\n".join(f"### {plain(one.title)}\n\n{card_tables.section_words(record, one)}" for one in first)


def _environment(record: RunRecord) -> str:
    lines = []
    if record.hours is not None:
        lines.append(
            f"- **Hours used:** {record.hours:.2f}, from the first to the last line of run.log, pauses included"
        )
    if record.environment:
        gpu = record.environment.get("gpu")
        lines.append(f"- **Hardware:** {plain(str(gpu or record.environment.get('processor', 'not on record')))}")
    lines.append("- **Carbon emitted:** not measured")
    return "\n".join(lines)


def _hardware(record: RunRecord) -> str:
    environment = record.environment
    if not environment:
        return ""
    gpu = environment.get("gpu") or "none"
    text = f"Training: {environment.get('processor')}, {environment.get('cpus')} processors, GPU: {gpu}."
    return f"{plain(text)}\n\n{card_tables.source(record, 'environment.json of the last stage trained')}"


def _licence_words(record: RunRecord) -> str:
    terms = plain(record.bundle.manifest.licence) if record.bundle else open_place("terms of the weights")
    return f"{terms} The terms of the images may bind the weights further."


def _provenance(record: RunRecord, sections: Sequence[Section]) -> str:
    command = f"`{record.command}`" if record.command else "not on record"
    rows = [("Command", command), ("Files read", plain(", ".join(record.files)) or "none")]
    fingerprint = record.evaluation.get("data", {}).get("fingerprint")
    fingerprint = fingerprint or (record.manifest.data.get("fingerprint") if record.manifest else None)
    rows += [("Fingerprint of the data", f"`{fingerprint}`")] if fingerprint else []
    rows += [("Command of the audit", f"`{record.audit_command}`")] if record.audit_command else []
    rows += [("Sections of the audit", plain(", ".join(one.key for one in sections)) or "none: no audit was run")]
    return "\n".join(f"- **{name}:** {value}" for name, value in rows)
