"""Keep the figures of a run in the repository, and write the README's tables from them, so that they cannot go stale.

python research/summarise.py runs/siim siim_cpu    # the run's evaluation.json -> docs/results/siim_cpu.json
python research/summarise.py                       # docs/results/*.json -> README.md, between its markers
python research/summarise.py audit runs/shipped    # the run's audit.json -> docs/results/audit_shipped.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pocketcxr.audit.criteria import criteria_tables
from pocketcxr.audit.stored_record import headline_of

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
BEGIN, END = "<!-- results: written by research/summarise.py -->", "<!-- results end -->"
_AUDIT_HEAD = """# What the audit found in the student that ships

Written by `research/summarise.py audit` from the `audit.json` of
`pocketcxr audit runs/shipped --strangers $POCKETCXR_DATA/not_cxr`, on the run of
[shipped_distilled.toml](../../research/shipped_distilled.toml).
"""
_FIGURES = ("auroc", "auroc_macro", "accuracy", "balanced_accuracy", "brier", "ece")


def keep(run: Path, name: str) -> None:
    """Keep of a run's evaluation what the README and a reviewer need; patients and files stay out."""
    whole = json.loads((run / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    models = {
        model: {
            "figures": {figure: table["figures"].get(figure) for figure in _FIGURES},
            "per_source": {
                source: {figure: figures.get(figure) for figure in _FIGURES}
                for source, figures in table["per_source"].items()
            },
            "costs": table["costs"],
        }
        for model, table in whole["models"].items()
    }
    kept = {key: whole[key] for key in ("headline", "task", "verdicts", "cautions", "data", "environment")}
    settings = whole["settings"]
    kept |= {"models": models, "experiment": f"research/{name}.toml", "image_size": settings["data"]["image_size"]}
    kept["epochs"] = {stage: settings[stage]["epochs"] for stage in ("teacher", "student")}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def keep_audit(run: Path) -> None:
    """Keep the outcome of an audit as a page: gates, and each question with its answer."""
    audit = json.loads((run / "audit" / "audit.json").read_text(encoding="utf-8"))
    gates = [f"| {g['title']} | {g['scope']} | {g['outcome']} | {g['words']} |" for g in criteria_tables(audit)]
    answers = [
        f"- **{section['title']}** {section['summary']}"
        for section in audit["sections"]
        if section["key"] not in ("composition", "checklists")
    ]
    lines = [_AUDIT_HEAD, f"**{headline_of(audit)}**", "", "| gate | of | outcome | found |"]
    lines += ["| --- | --- | --- | --- |", *gates, "", "## In a sentence each", "", *answers, ""]
    (RESULTS / "audit_shipped.md").write_text("\n".join(lines), encoding="utf-8")


def render(record: dict[str, Any]) -> str:
    """One experiment as a headline and a table, in Markdown."""
    area = "auroc" if len(record["task"]["labels"]) == 2 else "auroc_macro"  # noqa: PLR2004
    positive = record["task"]["positive"]
    title = f"AUROC, {positive}" if area == "auroc" else "AUROC, mean of classes"
    head = (
        f"**{record['task']['name']}** ({record['experiment']}; {record['image_size']} px, "
        f"{record['epochs']['teacher']} epochs a teacher backbone, {record['epochs']['student']} a student). "
        f"{record['headline']}"
    )
    lines = [
        head,
        "",
        f"| | {title} | accuracy | calibration error | parameters | MB | ms, one thread |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model, table in record["models"].items():
        figures, costs = table["figures"], table["costs"] or {}
        cells = [_figure(figures[area]), _figure(figures["accuracy"]), _figure(figures["ece"])]
        lines.append(f"| {model} | {' | '.join(cells)} | {_costs(costs)} |")
    lines += _by_source(record)
    lines += [
        "",
        *(f"- {verdict['question']} **{verdict['answer']}.** {verdict['words']}" for verdict in record["verdicts"]),
    ]
    return "\n".join(lines)


def _by_source(record: dict[str, Any]) -> list[str]:
    """Accuracy within each source, where there are several: a merged figure flatters."""
    sources = sorted({source for table in record["models"].values() for source in table["per_source"]})
    if len(sources) < 2:  # noqa: PLR2004
        return []
    lines = ["", f"| accuracy within | {' | '.join(sources)} |", f"| --- |{' --- |' * len(sources)}"]
    for model, table in record["models"].items():
        cells = [_figure(table["per_source"].get(source, {}).get("accuracy")) for source in sources]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def readme_block() -> str:
    """All kept experiments, as they stand in the README between the markers."""
    kept = [path for path in sorted(RESULTS.glob("*.json"), reverse=True) if _experiment(path.stem).is_file()]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in kept]
    return "\n\n".join([BEGIN, *(render(record) for record in records), END])


def _experiment(name: str) -> Path:
    """The experiment file of a kept result; other files in the folder are other commands' own."""
    return ROOT / "research" / f"{name}.toml"


def write_readme() -> None:
    """Replace the README's results by the kept ones."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    path.write_text(before + readme_block() + rest.split(END)[1], encoding="utf-8")


def _figure(figure: dict[str, Any] | None) -> str:
    if not figure or figure.get("value") is None:
        return "not measurable"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _costs(costs: dict[str, Any]) -> str:
    latency = (costs.get("latency") or {}).get("median_ms")
    cells = [
        f"{costs['parameters'] / 1e6:.1f} M" if costs.get("parameters") else "",
        f"{costs['bytes'] / 1e6:.1f}" if costs.get("bytes") else "",
        f"{latency:.1f}" if latency else "",
    ]
    return " | ".join(cells)


if __name__ == "__main__":
    if sys.argv[1:2] == ["audit"]:
        keep_audit(Path(sys.argv[2]))
    elif len(sys.argv) == 3:  # noqa: PLR2004
        keep(Path(sys.argv[1]), sys.argv[2])
    write_readme()
