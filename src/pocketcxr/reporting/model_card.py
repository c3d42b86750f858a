"""A model card in the Hugging Face format, made from a run's record and its audit; where they are silent, it is open.

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
from pocketcxr.reporting.statement import sources_of
from pocketcxr.reporting.statements.lookup import fact
from pocketcxr.reporting.statements.model import teacher_name
from pocketcxr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pocketcxr.report.types import Section
    from pocketcxr.reporting.run_record import RunRecord

OUT_OF_SCOPE = (
    "Diagnosis, treatment, triage or screening of people; any decision about a person's care.",
    "Ruling out COVID-19 or any other disease: a clear film does not.",
    "Children, lateral views, CT slices, other body parts, photographs of films, drawings.",
    "Other diseases than the classes named above: every picture is divided among these classes.",
)
"""What no model of this project is for, in every card and in the README."""


def model_card(record: RunRecord, sections: Sequence[Section] = ()) -> str:
    """Write a model card as Markdown with the hub's metadata on top.

    Args:
        record: of a run, or of a bundle alone; what it does not know is left open, visibly.
        sections: of the audit, where there was one.
    """
    say = _Speaker(record, sections)
    size = record.manifest.preprocessing.size if record.manifest else None
    return render(
        "reporting/model_card.md.j2",
        front=front_matter(record),
        open=open_place,
        name=plain(model_name(record)),
        drawn=record.drawn,
        version=__version__,
        summary=say("headline", otherwise="say in a sentence how good the model is, on whom, and against what"),
        description=say("technology", "task", otherwise="describe the model"),
        details=_details(record),
        direct_use=say("intended_use", otherwise="say for what, on whom and by whom it may be used"),
        out_of_scope="\n".join(f"- {line}" for line in OUT_OF_SCOPE),
        limits=say("limits", otherwise="say what the model cannot be trusted with"),
        cautions=say("cautions"),
        bundle_name=record.bundle.name if record.bundle else "model.onnx",
        input_words=f": input `image` float32 [n, 1, {size}, {size}] in [0, 1], outputs as listed below"
        if size
        else "",
        training_data=_training_data(record, say),
        preprocessing=say("preprocessing", "augmentation", otherwise="say what is done to the images"),
        hyperparameters=say(
            "training", "distillation", "initialisation", "selection", otherwise="describe the training"
        ),
        speeds=card_tables.speeds(record) or open_place("give time, size and speed"),
        testing_data=say("internal", "external", "disjoint", otherwise="say on which images the model was tested"),
        factors=_factors(record, say),
        metrics=say("metrics", "statistics", otherwise="name figures, intervals and tests"),
        results=card_tables.results(record, classes(record)[1])
        or open_place("evaluate the model: no figure is on record"),
        results_summary=say("comparison", otherwise="say what the figures mean together"),
        examination=_examination(record, sections),
        environment=_environment(record),
        architecture=say("architecture", "teacher", "outputs", "thresholds", otherwise="describe the network"),
        hardware=_hardware(record),
        software=say("software", otherwise="name programs and versions"),
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
    """A gap that nobody can overlook."""
    return f"**[Open: {' '.join(what.split())}]**"


class _Speaker:
    """Says facts of one record by name, with their sources below; an open place where none is known."""

    def __init__(self, record: RunRecord, sections: Sequence[Section]) -> None:
        self.record, self.sections = record, sections

    def __call__(self, *names: str, otherwise: str = "") -> str:
        found = [one for name in names if (one := fact(name, self.record, self.sections)) is not None]
        if not found:
            return open_place(otherwise) if otherwise else ""
        paragraphs = [plain(one.text) for one in found]
        return "\n\n".join([*paragraphs, card_tables.source(self.record, sources_of(found))])


def _details(record: RunRecord) -> str:
    bundle = record.bundle
    known: dict[str, str] = {
        "Developed by": open_place("name people and institutions"),
        "Funded by": open_place("name them and their role"),
        "Model type": "image classifier" + (", one ONNX file" if bundle else ""),
        "Language": "images; labels and documents in English",
        "Licence": plain(bundle.manifest.licence) if bundle else open_place("terms of the weights"),
        "Distilled from": plain(teacher_name(record)) if record.taught else "no teacher on record",
        "Data sets": plain(", ".join(source_names(record))) or open_place("name them"),
    }
    if bundle is not None:
        known |= {
            "Version": plain(bundle.manifest.version),
            "Made": plain(bundle.manifest.created),
            "File": f"`{bundle.name}`, {amount(bundle.bytes)}B, SHA-256 `{bundle.sha256}`",
        }
    return "\n".join(f"- **{name}:** {words}" for name, words in known.items())


def _training_data(record: RunRecord, say: _Speaker) -> str:
    counts = card_tables.data_table(record)
    if counts:
        return f"{counts}\n\n{say('partition', 'reference', 'licences')}"
    if record.bundle is None:
        return open_place("name the data")
    data = record.bundle.manifest.data
    images = ", ".join(f"{name} {n:,}" for name, n in data.get("images", {}).items())
    text = f"Sources: {', '.join(data.get('sources', ()))}. Images: {images or 'not on record'}."
    return f"{plain(text)}\n\n{card_tables.source(record, f'manifest of {record.bundle.name}')}"


def _factors(record: RunRecord, say: _Speaker) -> str:
    return say("clusters", "demographics", otherwise="name the groups by which figures are given") + (
        "\n\nFigures by sex and age stand below only where the audit measured them." if record.rows else ""
    )


def _examination(record: RunRecord, sections: Sequence[Section]) -> str:
    if not sections:
        return open_place("run the audit: shortcuts, robustness, saliency and groups have not been examined")
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
        return open_place("name the machine")
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
