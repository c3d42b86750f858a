"""The one writer of results: README's table, MODEL_CARD.md and the pages of docs/results, from the JSON files there.

python research/results.py keep runs/shipped           # manifest, evaluation, audit, card -> shipped_student.json
python research/results.py keep runs/siim siim_cpu     # evaluation -> siim_cpu.json, after research/siim_cpu.toml
python research/results.py                             # docs/results/*.json -> the documents

What a JSON file lacks is said to be not measured. Other scripts of this folder write the other files:
distillation.py, teacher_costs.py, frontier.py, input_filter.py, local_calibration.py; `pocketcxr quantise` writes
quantise.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pages
import speed

from pocketcxr.audit.criteria import criteria_tables
from pocketcxr.audit.stored_record import headline_of
from pocketcxr.files import write_json, write_text
from pocketcxr.pipeline.documents import MODEL_CARD, write_documents
from pocketcxr.report.tables import present
from pocketcxr.reporting.run_record import shown_command
from pocketcxr.run_folder import TEST_SPLIT_LOG, RunFolder

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
BEGIN, END = "<!-- results: written by research/results.py -->", "<!-- results end -->"
_KEPT = ("auroc", "auroc_macro", "accuracy", "balanced_accuracy", "brier", "ece")
_MANIFEST = ("name", "version", "labels", "positive", "limits", "operating_points", "metrics", "conformal_coverage")


def documents(results: Path = RESULTS) -> dict[Path, str]:
    """Every generated document with its text; of the README, the text around the table stays."""
    kept = _kept(results)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    block = f"{BEGIN}\n\n{pages.summary(kept)}\n\n{END}"
    experiments = [
        name for name in sorted(kept.files, reverse=True) if (Path(__file__).parent / f"{name}.toml").is_file()
    ]
    return {
        ROOT / "README.md": before + block + rest.partition(END)[2],
        ROOT / "MODEL_CARD.md": pages.model_card(kept),
        RESULTS / "index.md": pages.index(),
        RESULTS / "shipped_student.md": pages.shipped_student(kept),
        RESULTS / "audit_shipped.md": pages.audit(kept),
        RESULTS / "distillation.md": pages.distillation(kept, experiments),
        RESULTS / "benchmarks.md": pages.benchmarks(kept),
        RESULTS / "efficiency.md": pages.efficiency(kept),
        RESULTS / "input_filter.md": pages.input_filter(kept),
    }


def _kept(results: Path) -> pages.Kept:
    history = results / "history.jsonl"
    lines = [json.loads(line) for line in _lines(history)] if history.is_file() else []
    return pages.Kept({path.stem: present(_read(path)) for path in results.glob("*.json")} | {"history": lines})


def keep(run: Path, name: str = "shipped_student") -> dict[str, Any]:
    """What documents need of a run; patients, files and folders of this machine stay out.

    Raises:
        SystemExit: a run without evaluation, or without its one float bundle where it is the student that ships.
    """
    evaluation = present(_read(run / "evaluation" / "evaluation.json"))
    if not evaluation:
        raise SystemExit(f"results: expected {run / 'evaluation' / 'evaluation.json'}: evaluate the run first")
    settings = evaluation["settings"]
    record: dict[str, Any] = {key: evaluation[key] for key in ("headline", "task", "cautions", "data", "environment")}
    record |= {
        "conclusions": [{key: one[key] for key in ("title", "outcome", "text")} for one in evaluation["conclusions"]],
        "models": {model: _model(of) for model, of in evaluation["models"].items()},
        "experiment": f"research/{name}.toml",
        "image_size": settings["data"]["image_size"],
        "epochs": {stage: settings[stage]["epochs"] for stage in ("teacher", "student")},
    }
    return record | _of_shipped(run) if name == "shipped_student" else record


def keep_log(run: Path, log: Path) -> None:
    """Bring what a run's log of looks at the test split says into the one beside the results, in the order of time."""
    lines = {line for path in (log, RunFolder(run).test_split_log) if path.is_file() for line in _lines(path)}
    write_text(log, "".join(f"{line}\n" for line in sorted(lines)))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _model(of: dict[str, Any]) -> dict[str, Any]:
    chosen = {source: {key: figures.get(key) for key in _KEPT} for source, figures in of.get("per_source", {}).items()}
    return {"figures": {k: of["figures"].get(k) for k in _KEPT}, "per_source": chosen, "costs": of["costs"]}


def _of_shipped(run: Path) -> dict[str, Any]:
    from pocketcxr.bundle.format import read_bundle, read_manifest, sha256_of

    found = [path for path in sorted((run / "bundle").glob("*.onnx")) if "int8" not in path.stem]
    if len(found) != 1:
        raise SystemExit(f"results: expected one float bundle in {run / 'bundle'}, found {len(found)}: export the run")
    data = read_bundle(found[0])
    manifest = json.loads(read_manifest(data, found[0].name).to_json())
    fusion, audit = _read(run / "teacher" / "fusion" / "config.json"), _read(run / "audit" / "audit.json")
    record = {name: manifest[name] for name in _MANIFEST} | {
        "sha256": sha256_of(data, found[0].name),
        "bytes": len(data),
        "student": manifest["run"].get("experiment", {}).get("student", {}).get("backbone", ""),
        "teachers": fusion.get("network", {}).get("backbones", []),
        "leave_one_source_out": _stages(run),
        "card": _card(run),
    }
    if audit:
        chosen = ("key", "title", "scope", "outcome", "words")
        record["audit"] = {
            "headline": headline_of(audit),
            "command": shown_command(audit.get("command", "")),
            "criteria": [{key: one.get(key) for key in chosen} for one in criteria_tables(audit)],
            "sections": {
                one["key"]: {key: one[key] for key in ("title", "summary", "measures")}
                | {"tables": one.get("tables", [])}
                for one in audit["sections"]
                if one["key"] != "checklists"
            },
        }
    return record


def _stages(run: Path) -> list[dict[str, Any]]:
    """How the students without a source were trained, first stage first."""
    stage, found = _read(RunFolder(run).left_out_record), []
    while stage:
        student = stage["student"]
        found.insert(0, {key: student[key] for key in ("backbone", "weights", "epochs", "learning_rate", "losses")})
        stage = stage.get("start_from")
    return found


def _card(run: Path) -> dict[str, str]:
    """The parts of the run's model card that pages quote, by heading; written anew, for the bundle of now."""
    with tempfile.TemporaryDirectory() as folder:
        write_documents(run, None, Path(folder))
        text = (Path(folder) / MODEL_CARD).read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in ("\n" + text).split("\n#"))
    found = {head.lstrip("# "): body.strip() for head, _, body in parts}
    return {head: found[head] for head in pages.CARD_PARTS if head in found}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def main(arguments: list[str]) -> None:
    """Keep a run where asked to, then write the documents."""
    if arguments[:1] == ["keep"] and len(arguments) in (2, 3):
        name = [*arguments, "shipped_student"][2]
        write_json(RESULTS / f"{name}.json", keep(Path(arguments[1]), name))
        keep_log(Path(arguments[1]), RESULTS / TEST_SPLIT_LOG)
    elif arguments:
        raise SystemExit(__doc__)
    for path, text in documents().items():
        write_text(path, text)
    kept = _kept(RESULTS)
    speed.plot(speed.ratios(kept), RESULTS / speed.PLOT)
    speed.plot_growth(kept["predict_growth"], RESULTS / speed.GROWTH_PLOT)


if __name__ == "__main__":
    main(sys.argv[1:])
