"""Markdown of README's table, MODEL_CARD.md and the pages of docs/results, made of the kept JSON; see results.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import speed
import tables
from tables import NOT_MEASURED, bullets, figure, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SAME_SOURCE = "siim"
LICENCE = "src/pocketcxr/bundle/weights/LICENSE-WEIGHTS.md"
_WARNING = """\
> **Research use only. Not a medical device.** Not cleared by any authority, not validated for care, and not to be the
> ground for a diagnosis, a treatment, or the absence of one."""
_APPENDIX = """\
Figures by source and the whole record of training: [appendix](docs/results/shipped_student.md). Every measure of the
audit, by sex and age too: [audit](docs/results/audit_shipped.md)."""
_TERMS = f"""\
Weights: [for research only]({LICENCE}), under the terms of the images. Code: Apache-2.0.
Method: BabaAhmadi, Khalafi, ShariatPanahi and Ayati, arXiv 2301.02735; none of its figures is claimed here."""
CARD_PARTS = (
    *("Model description", "Direct use", "Training data", "Preprocessing", "Training hyperparameters"),
    *("Speeds, sizes, times", "Testing data", "Factors", "Metrics", "Results", "Model architecture and objective"),
    *("Hardware", "Software", "Environmental impact", "How these figures were made"),
)
"""Headings of a run's model card whose text is kept."""

_CARD_IN_BRIEF = ("Training data", "Training hyperparameters", "Testing data", "Metrics")
_OUTCOMES = {"passed": "PASS", "failed": "**FAIL**", "not measurable": "not measurable"}
_TITLES = {
    "index": ("Results", "what was measured; `make reproduce` measures again"),
    "shipped_student": (
        "The student that ships",
        "figures by source and at unseen sources; appendix to the model card",
    ),
    "audit_shipped": ("Audit of the student that ships", "criteria, and every measure of every section"),
    "distillation": (
        "Gain from distillation",
        "students with and without a teacher, over seeds",
    ),
    "benchmarks": (
        "Benchmarks",
        "how many times faster than the usual ways, side by side, cost as the work grows, and history",
    ),
    "efficiency": ("Costs, int8 and smaller students", "parameters, arithmetic, bytes and milliseconds"),
    "input_filter": ("Input filter", "what is refused, by kind of image"),
    "input_faults": ("Faults of inputs", "damaged and unusual files, folders, names and tables, before and after"),
    "attacks": ("Attacks", "on files, service and bundles, before and after; memory of files that would fill it"),
    "audit_rates": ("Planted faults", "how many of them the data audit finds, and its false alarms"),
    "mutants": ("Mutants", "changes of the modules that decide, and how many of them the tests notice"),
}


_BENCHMARKS = """\
All ratios are of processor time, but distillation's, which is of elapsed time; both sides took turns in one run, and
the median over its rounds counts. `make bench` and the scripts of `benchmarks/` measure again; `make bench-compare
BASE=commit` sets one commit beside another and fails where one is more than 10 % slower. Memory, and answers of 100,000
files after `kill -9`: [predict](../reference/predict.md); a service under four times its capacity:
[serve](../how-to/serve.md)."""


@dataclass(frozen=True)
class Kept:
    """The JSON files of docs/results by name, `history` a list of its lines; one that is not there is empty."""

    files: Mapping[str, Any]

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self.files.get(name, {})

    @property
    def audit(self) -> dict[str, Any]:
        """The audit of the student that ships."""
        return self["shipped_student"].get("audit", {})

    def criterion(self, key: str) -> tuple[str, str]:
        """Value of a criterion of the audit, and limit with outcome."""
        one = next((one for one in self.audit.get("criteria", ()) if one["key"] == key), None)
        value, _, limit = one["words"].partition(", ") if one else (NOT_MEASURED, "", "")
        return value, f"{limit}: {_OUTCOMES[one['outcome']]}" if one else ""

    def measure(self, key: str) -> dict[str, Any] | None:
        """A measure of the audit."""
        sections = self.audit.get("sections", {}).values()
        return next((one for section in sections for one in section["measures"] if one.get("key") == key), None)


# ------------------------------------------------------------------------------------------- README and model card


def summary(kept: Kept) -> str:
    """README's table: ten rows, failures included."""
    sources = kept["shipped_student"].get("metrics", {}).get("sources", {})
    within, worst = sources.get(SAME_SOURCE, {}), sources.get("ieee8023", {})
    gains = kept["distillation_study"]
    over_seeds = tables.each_seed(gains, "siim", "e", "b")
    usual = tables.difference(gains, "siim", "e", "a")
    all_sources = tables.difference(gains, "all", tables.TAUGHT, "b", tables.SHIPPED_WIDTH)
    rows = [
        (
            "AUROC within one source (SIIM, typical against negative)",
            within.get("auroc"),
            tables.against_common_practice(gains),
        ),
        ("Calibration error there", within.get("ece"), f"accuracy {figure(within.get('accuracy'))}"),
        ("AUROC at the worst source (ieee8023)", worst.get("auroc"), f"accuracy {figure(worst.get('accuracy'))}"),
        (
            "AUROC at unseen sources",
            kept.measure("unseen.auroc"),
            f"accuracy {figure(kept.measure('unseen.accuracy'))}",
        ),
        ("Accuracy drop at an unseen source", *kept.criterion("unseen.accuracy_drop")),
        ("Coverage of prediction sets at another source", *kept.criterion("conformal.other_source_coverage")),
        (
            "Maximum of the heatmap in a radiologist's box (SIIM), which it was trained for",
            kept.measure("boxes.pointing"),
            f"centre of the image {figure(kept.measure('boxes.centre'))}",
        ),
        ("Share of the skill kept with the lungs masked", *kept.criterion("shortcuts.kept_without_lungs")),
        (
            "AUROC gained by distillation, SIIM alone, two classes",
            tables.difference(gains, "siim", "e", "b"),
            f"{over_seeds}. Against common practice {usual}. Three classes, one seed: {all_sources}",
        ),
        ("Size and time beside VGG19 ‖ ResNet50V2", *_size_and_time(kept["teacher_costs"])),
    ]
    cells = [(title, value if isinstance(value, str) else figure(value), beside) for title, value, beside in rows]
    return table(("quantity", "value (95 % interval)", "beside it"), cells)


def _size_and_time(costs: Mapping[str, Any]) -> tuple[str, str]:
    if not costs:
        return NOT_MEASURED, ""
    heavy, light = costs["teacher"], costs["student"]
    exact = next(one for one in costs["bundles"] if not one["int8"])
    ratios = {"parameters": heavy["parameters"] / light["parameters"], "arithmetic": heavy["macs"] / light["macs"]}
    ratios |= {"bytes": heavy["bytes"] / exact["bytes"], "time": heavy["ms_pytorch"] / exact["ms"]}
    shares = ", ".join(f"{name} 1/{ratio:.0f}" for name, ratio in ratios.items())
    return f"{exact['bytes'] / 1e6:.1f} MB, {exact['ms']:.1f} ms on one core", shares


def model_card(kept: Kept) -> str:
    """MODEL_CARD.md of the project: what a reader must know; the rest is in the appendix."""
    from pocketcxr.reporting.model_card import OUT_OF_SCOPE

    shipped = kept["shipped_student"]
    if not shipped:
        return f"# Model card\n\nThe student that ships: {NOT_MEASURED}.\n"
    card = shipped.get("card", {})
    limits = [one for one in shipped["limits"] if not one.startswith(("FAILED", "The training data failed"))]
    parts = [
        _metadata(shipped),
        f"# Model card for {shipped['name']}",
        _WARNING,
        _APPENDIX,
        "## Model",
        card.get("Model description", NOT_MEASURED),
        _operating_points(shipped),
        "## Uses",
        "### Direct use",
        card.get("Direct use", NOT_MEASURED),
        "### Out-of-scope use",
        bullets(OUT_OF_SCOPE),
        "## Results",
        summary(kept),
        "### Failed criteria of the audit",
        bullets(
            f"{one['title']}: {one['words']}: FAIL"
            for one in kept.audit.get("criteria", ())
            if one["outcome"] == "failed"
        )
        or NOT_MEASURED,
        "## Limits",
        bullets([*limits, *shipped.get("cautions", ())]),
        *_headed({name: card.get(name, NOT_MEASURED) for name in _CARD_IN_BRIEF}),
        "## Licence and citation",
        _TERMS,
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(shipped: Mapping[str, Any]) -> str:
    """Front matter as the Hugging Face hub reads it, with the figures within one source."""
    from huggingface_hub import EvalResult, ModelCardData

    from pocketcxr.reporting.front_matter import LICENCE_NAME, fenced

    names = {"auroc": ("roc_auc", f"AUROC for {shipped['positive']}"), "accuracy": ("accuracy", "accuracy")}
    figures = shipped["metrics"]["sources"][SAME_SOURCE]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=SAME_SOURCE,
            dataset_name=f"{SAME_SOURCE}, split by patient",
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=figures[key]["value"],
            metric_args={bound: figures[key][bound] for bound in ("low", "high")},
        )
        for key, (kind, name) in names.items()
    ]
    data = ModelCardData(
        language=["en"],
        license="other",
        license_name=LICENCE_NAME,
        license_link=LICENCE,
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["chest-x-ray", "covid-19", "knowledge-distillation", "research-only"],
        datasets=sorted(shipped["metrics"]["sources"]),
        model_name=shipped["name"],
        eval_results=results,
    )
    return fenced(data)


def _operating_points(shipped: Mapping[str, Any]) -> str:
    keys = ("name", "threshold", "sensitivity", "specificity", "chosen_on")
    columns = ("operating point", f"threshold, {shipped['positive']}", "sensitivity", "specificity", "chosen on")
    return table(columns, ([one[key] for key in keys] for one in shipped["operating_points"]))


# --------------------------------------------------------------------------------------------- pages of docs/results


def index() -> str:
    """The list of the pages."""
    lines = [f"[{title}]({name}.md): {about}" for name, (title, about) in _TITLES.items() if name != "index"]
    return _page("index", bullets(lines), "```{toctree}\n:hidden:\n:glob:\n\n*\n```")


def shipped_student(kept: Kept) -> str:
    """Figures of the student that ships, and what its record says of training and test."""
    shipped = kept["shipped_student"]
    card = shipped.get("card", {})
    named = {
        "By source": tables.by_source(shipped),
        "Leave-one-source-out": tables.unseen(shipped),
        "Local calibration": tables.local_calibration(kept["local_calibration"]),
    } | {name: card[name] for name in CARD_PARTS if name in card}
    return _page("shipped_student", *_headed(named))


def audit(kept: Kept) -> str:
    """Criteria and sections of the audit."""
    found = kept.audit
    if not found:
        return _page("audit_shipped", f"The audit: {NOT_MEASURED}.")
    rows = [(one["title"], one["scope"], one["words"], _OUTCOMES[one["outcome"]]) for one in found["criteria"]]
    parts = [
        f"Run of [shipped.toml](../../research/shipped.toml), `{found['command']}`.",
        f"**{found['headline']}**",
        "## Criteria",
        table(("quantity", "of", "value (95 % interval), limit", "outcome"), rows),
    ]
    for section in found["sections"].values():
        parts += [f"## {section['title']}", section["summary"]]
        if section["measures"]:
            cells = ((one["title"], figure(one), one.get("images")) for one in section["measures"])
            parts.append(table(("measure", "value (95 % interval)", "images"), cells))
        for one in section["tables"]:
            note = [one["note"]] if one.get("note") else []
            parts += [f"**{one['title']}**", table(one["columns"], one["rows"]), *note]
    return _page("audit_shipped", *parts)


def distillation(kept: Kept, experiments: Iterable[str]) -> str:
    """Students with and without a teacher, the demonstration, a section per experiment of teacher and students."""
    parts = ["## Students over seeds", tables.studies(kept["distillation_study"])]
    parts += ["## The demonstration over seeds", tables.demonstration(kept["demo_seeds"])]
    for name in experiments:
        parts += [f"## {kept[name]['task']['name']}", *tables.experiment(kept[name])]
    return _page("distillation", *parts)


def efficiency(kept: Kept) -> str:
    """Costs against the teacher, the search for an int8 file, the frontier of smaller students."""
    named = {
        "Costs against the teacher": tables.costs(kept["teacher_costs"]),
        "Time of an epoch of distillation": tables.epochs(kept["against_torchdistill"]),
        "int8": tables.int8(kept["quantise"]),
        "Smaller students": tables.frontier(kept["frontier"]),
    }
    return _page("efficiency", *_headed(named))


def benchmarks(kept: Kept) -> str:
    """Every ratio of the benchmarks, the plot, the share of the processor's peak, growth, and history."""
    rows = speed.ratios(kept)
    if not rows:
        return _page("benchmarks", f"Ratios: {NOT_MEASURED}.")
    cells = [(one.group, one.beside, f"{one.times:.2f}", one.outcome) for one in rows]
    columns = ("what", "beside", "times faster", "aim")
    parts = [_BENCHMARKS, table(columns, cells), f"![Times faster]({speed.PLOT})"]
    parts += ["## Share of this processor's peak", speed.peak(kept["network_runtimes"])]
    parts += ["## Cost as images, processes and pixels grow", speed.growth(kept["predict_growth"])]
    parts += ["## This commit and earlier ones", speed.history(kept.files.get("history", ()))]
    return _page("benchmarks", *parts)


def input_filter(kept: Kept) -> str:
    """Share refused by kind of image, of images that took no part in training."""
    found = kept["input_gate"]
    return _page("input_filter", tables.refused(found) if found else f"The input filter: {NOT_MEASURED}.")


def _page(name: str, *parts: str) -> str:
    title, about = _TITLES[name]
    written = f"{about[0].upper()}{about[1:]}. Written by `research/results.py` from the JSON files beside this page."
    return "\n\n".join([f"# {title}", written, *parts]) + "\n"


def _headed(parts: Mapping[str, str]) -> Iterable[str]:
    return (text for title, part in parts.items() for text in (f"## {title}", part))
