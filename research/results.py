"""What is known of the student that ships, written into README.md and MODEL_CARD.md from docs/results, nothing by hand.

python research/results.py keep runs/shipped    # bundle, evaluation, audit -> docs/results/shipped_student.json
python research/results.py                      # docs/results -> README.md (its markers) and MODEL_CARD.md

Read from docs/results; what is not there is said to be not measured:

  shipped_student.json     `keep`: manifest, the evaluation's models and verdicts, the audit's gates and answers
  shipped_student_card.md  `keep`: the model card that ``pocketcxr audit`` wrote; MODEL_CARD.md is built upon it
  students_table.json  research/students_table.py: distillation's gain over seeds
  quantise.json        ``pocketcxr quantise``: int8 candidates, the chosen one, the test split, the audit's gates
  input_gate.json      research/input_filter.py: what the input gate refuses, out of fold
  against_common_practice.json  research/against_common_practice.py: the same films asked of common practice
  teacher_costs.json   research/teacher_costs.py: parameters, arithmetic, bytes, milliseconds of the heavy teacher
  frontier.json        research/frontier.py: accuracy, bytes and milliseconds of several bundles (with frontier.png)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pocketcxr.audit.criteria import criteria_tables
from pocketcxr.audit.stored_record import headline_of
from pocketcxr.run_folder import RunFolder

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
BEGIN, END = "<!-- shipped: written by research/results.py -->", "<!-- shipped end -->"
NOT_MEASURED = "not measured"
SAME_SOURCE = "siim"
CARD = "shipped_student_card.md"

_KEPT_SECTIONS = ("scorecard", "unseen", "shortcuts", "novelty", "calibration", "conformal")
_AS_GOOD = -0.005
_STRANGERS = ("lateral", "ct", "other_part", "not_xray")
_MADE_UP = ("drawn", "screenshot")
_OF_ITS_LESSON = ("Did distillation help the student?", "How close does the student come to its teacher?")
_COMMON_PRACTICE = {
    "auroc": 0.930,
    "accuracy": 0.85,
    "words": "MobileNetV2 from ImageNet weights, 224 px, 8 epochs, no teacher",
}


def keep(run: Path) -> None:
    """Keep of a run what README and card need; patients, files and folders of this machine stay out."""
    from pocketcxr.bundle.format import read_bundle, read_manifest, sha256_of

    bundle = _one(run / "bundle")
    data = read_bundle(bundle)
    manifest = json.loads(read_manifest(data, bundle.name).to_json())
    record: dict[str, Any] = {
        name: manifest[name]
        for name in ("name", "version", "task", "labels", "positive", "limits", "operating_points", "metrics")
    }
    record |= {
        "sha256": sha256_of(data, bundle.name),
        "bytes": len(data),
        "image_size": manifest["preprocessing"]["size"],
        "conformal_coverage": manifest["conformal_coverage"],
        "students": manifest["run"].get("experiment", {}).get("student", {}).get("backbone", ""),
        "teachers": (_read(run / "teacher" / "fusion" / "config.json") or {}).get("network", {}).get("backbones", []),
    }
    evaluation = _read(run / "evaluation" / "evaluation.json")
    if evaluation:
        record["models"] = {
            name: {"figures": _chosen(of["figures"]), "costs": of["costs"]} for name, of in evaluation["models"].items()
        }
        record["verdicts"] = [
            {key: one[key] for key in ("question", "answer", "words")} for one in evaluation["verdicts"]
        ]
    without = _read(RunFolder(run).left_out_record)
    if without:
        chosen = ("backbone", "weights", "epochs", "learning_rate", "losses")
        stages = [without["student"]]
        first = without.get("start_from")
        while first:
            stages.insert(0, first["student"])
            first = first["start_from"]
        record["without"] = [{key: stage[key] for key in chosen} for stage in stages]
    audit = _read(run / "audit" / "audit.json")
    if audit:
        record["audit"] = {
            "headline": headline_of(audit),
            "gates": [
                {key: gate[key] for key in ("title", "scope", "outcome", "words")} for gate in criteria_tables(audit)
            ],
            "sections": {
                section["key"]: {
                    "title": section["title"],
                    "summary": section["summary"],
                    "measures": {
                        m["key"]: {k: m[k] for k in ("title", "value", "low", "high", "unit")}
                        for m in section["measures"]
                    },
                    "tables": section.get("tables", []) if section["key"] == "unseen" else [],
                }
                for section in audit["sections"]
                if section["key"] in _KEPT_SECTIONS
            },
        }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "shipped_student.json").write_text(
        json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    card = run / "audit" / "MODEL_CARD.md"
    if card.is_file():
        (RESULTS / CARD).write_text(card.read_text(encoding="utf-8"), encoding="utf-8")


def block() -> str:
    """The results as they stand in README.md and MODEL_CARD.md."""
    shipped = _read(RESULTS / "shipped_student.json") or {}
    table, quantised = _read(RESULTS / "students_table.json"), _read(RESULTS / "quantise.json")
    parts = [
        _headline(shipped),
        _by_source(shipped),
        _unseen(shipped),
        _own_teacher(shipped),
        _gain(table),
        _costs(_read(RESULTS / "teacher_costs.json")),
        _int8(quantised),
        _gate(_read(RESULTS / "input_gate.json")),
        _frontier(_read(RESULTS / "frontier.json")),
        _not_for(shipped),
    ]
    return "\n\n".join(parts)


def readme_block() -> str:
    """The results between their markers."""
    return f"{BEGIN}\n\n{block()}\n\n{END}"


def model_card() -> str:
    """The audit's card of the run with the results above it, or the results alone where no run was audited."""
    path = RESULTS / CARD
    results = f"## Results of the file that ships\n\n{block()}\n"
    if not path.is_file():
        return f"# Model card\n\nNo audited run was kept in docs/results.\n\n{results}"
    card = path.read_text(encoding="utf-8").replace(
        "](LICENSE.md)", "](src/pocketcxr/bundle/weights/LICENSE-WEIGHTS.md)"
    )
    card = card.replace("license_link: LICENSE.md", "license_link: src/pocketcxr/bundle/weights/LICENSE-WEIGHTS.md")
    before, heading, after = card.partition("## Model details\n")
    return f"{before}{results}\n{heading}{after}"


def write() -> None:
    """Replace the README's block and the whole of MODEL_CARD.md."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    readme.write_text(before + readme_block() + rest.split(END)[1], encoding="utf-8")
    (ROOT / "MODEL_CARD.md").write_text(model_card(), encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------ parts


def _headline(shipped: dict[str, Any]) -> str:
    metrics = shipped.get("metrics") or {}
    within = metrics.get("sources", {}).get(SAME_SOURCE, {})
    name = shipped.get("name", "the student that ships")
    if not _has(within.get("auroc")):
        return f"**{name}**: AUROC within one source, typical against negative: {NOT_MEASURED}."
    said = [
        f"**{name}** ({shipped['image_size']} px, {shipped['bytes'] / 1e6:.1f} MB).",
        "The figure to quote, SIIM typical against negative, both from the same hospitals, studies never seen before:",
        f"**AUROC {_figure(within['auroc'])}**, accuracy {_figure(within.get('accuracy'))},",
        f"calibration error {_figure(within.get('ece'))}.",
    ]
    return f"{' '.join(said)}\n\n{_against(_read(RESULTS / 'against_common_practice.json'))}"


def _against(found: dict[str, Any] | None) -> str:
    words = f"**Against common practice** ({_COMMON_PRACTICE['words']})"
    reported = f"Reported for it on other studies of the same set: AUROC {_COMMON_PRACTICE['auroc']:.3f}"
    if found is None:
        return f"{words}, on the same films: {NOT_MEASURED}. {reported}."
    bundle, rival, gaps = found["models"]["bundle"], found["models"]["common_practice"], found["differences"]
    seeds = len(rival["auroc"]["each"])
    said = (
        f"{words}, trained here on the same split, {seeds} seed{'' if seeds == 1 else 's'}, and asked for the same "
        f"{found['images']} test films. {reported} (accuracy {_COMMON_PRACTICE['accuracy']:.2f})."
    )
    lines = [
        said,
        "",
        "| | this student | common practice | difference | p |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, title in (("auroc", "AUROC"), ("accuracy", "accuracy"), ("ece", "calibration error")):
        gap = gaps[name]
        spread = f"{gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})".replace("-", "−")
        lines.append(f"| {title} | {_figure(bundle[name])} | {_figure(rival[name])} | {spread} | {gap['p']:.3f} |")
    return "\n".join(lines)


def _by_source(shipped: dict[str, Any]) -> str:
    metrics = shipped.get("metrics") or {}
    if not metrics.get("sources"):
        return f"By source: {NOT_MEASURED}."
    lines = [
        f"Test split, {metrics['images']:,} images, {metrics['interval']}; a merged figure flatters, read the rows:",
        "",
        f"| source | AUROC, {shipped['positive']} | accuracy | calibration error |",
        "| --- | --- | --- | --- |",
    ]
    for source, figures in {**metrics["sources"], "all": metrics["overall"]}.items():
        cells = [_figure(figures.get(name)) for name in ("auroc", "accuracy", "ece")]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _unseen(shipped: dict[str, Any]) -> str:
    section = shipped.get("audit", {}).get("sections", {}).get("unseen")
    if section is None:
        return f"At sources that took no part in training: {NOT_MEASURED}."
    told = [
        f"{one['title'][0].lower()}{one['title'][1:]}: {_figure(one)}"
        for key, one in section["measures"].items()
        if key in {"unseen.auroc", "unseen.accuracy", "unseen.accuracy_drop"} and one["value"] is not None
    ]
    words = "; ".join(told) if told else NOT_MEASURED
    how = "trained again without each in turn"
    if stages := shipped.get("without"):
        start = "ImageNet weights" if stages[0]["weights"] == "pretrained" else stages[0]["weights"]
        epochs = ", then ".join(f"{one['epochs']} epochs of {one['backbone']}" for one in stages)
        how += f", from {start}, on labels only, {epochs}: nothing that saw the source had a part"
    lines = [f"**Sources it never saw** ({how}). {words[0].upper()}{words[1:]}."]
    for table in section.get("tables", [])[:1] if told else []:
        lines += ["", f"| {' | '.join(table['columns'])} |", f"|{' --- |' * len(table['columns'])}"]
        lines += [f"| {' | '.join('–' if cell is None else str(cell) for cell in row)} |" for row in table["rows"]]
    return "\n".join(lines)


def _own_teacher(shipped: dict[str, Any]) -> str:
    """The student that ships against the network that taught it, and against itself untaught where that was trained."""
    said = [one for one in shipped.get("verdicts", []) if one["question"] in _OF_ITS_LESSON]
    if not said:
        return f"**The student that ships against its own teacher**: {NOT_MEASURED}."
    teacher = " ‖ ".join(shipped.get("teachers", [])) or "not told"
    head = (
        f"**The student that ships against its own teacher** ({teacher}, embeddings fused) **and against the same last "
        "stage without one** (“student alone”), test split, all sources:"
    )
    return "\n".join([head, "", *(f"- {one['question']} **{one['answer']}.** {one['words']}" for one in said)])


def _gain(table: dict[str, Any] | None) -> str:
    if table is None:
        return f"**What distillation gains** over the same student alone, over seeds: {NOT_MEASURED}."
    split = table["splits"].get("test") or table["splits"]["calibration"]
    metric = next(iter(split["metrics"]))
    words = (
        f"**What distillation gains** (64 px, SIIM alone), {split['split']} split, {split['images']:,} images; "
        "intervals over patients; paired bootstrap, p after Holm. The student starts from ImageNet weights or, where "
        "it says so, from scratch, and is held against the same student that nobody taught. Chosen on the calibration "
        "split: "
        f"{table['chosen_on_calibration']}."
    )
    lines = [
        words,
        "",
        f"| student | {split['metrics'][metric]} | seeds | gain over the same student alone | p |",
        "| --- | --- | --- | --- | --- |",
    ]
    for variant, row in split["variants"].items():
        against = "differences_from_scratch" if variant.startswith("scratch") else "differences"
        difference = split.get(against, {}).get(variant, {}).get(metric)
        gain = _spread(difference, sign=True) if difference else "–"
        p = f"{difference['p_holm']:.3f}" if difference else "–"
        seeds = "one network" if variant in table.get("teachers", ()) else len(row[metric]["each"])
        lines.append(f"| {variant} | {_spread(row[metric])} | {seeds} | {gain} | {p} |")
    return "\n".join([*lines, *_from_teacher(table, split, metric)])


def _from_teacher(table: dict[str, Any], split: dict[str, Any], metric: str) -> list[str]:
    """How the chosen student stands to the teacher VGG19 ‖ ResNet50V2, in a sentence."""
    chosen = table["chosen_on_calibration"]
    row = split.get("differences_from_teacher", {}).get(chosen, {}).get(metric)
    if row is None:
        return []
    low = row["patients"][0] if row["patients"] else None
    equal = low is not None and low > _AS_GOOD
    said = "at least its equal" if equal else "not shown to be its equal"
    limit = f"{_AS_GOOD:.3f}".replace("-", "−")
    words = (
        f"Against the teacher (VGG19 ‖ ResNet50V2), “{chosen}” differs by {_spread(row, sign=True)}: {said} "
        f"(a lower bound above {limit} is wanted)."
    )
    return ["", words]


def _costs(found: dict[str, Any] | None) -> str:
    if found is None:
        return f"**Costs against the teacher**: {NOT_MEASURED}."
    heavy, light = found["teacher"], found["student"]
    exact = next(one for one in found["bundles"] if not one["int8"])
    rows: list[tuple[str, float, float, str]] = [
        ("parameters, millions", heavy["parameters"] / 1e6, light["parameters"] / 1e6, "{:.1f}"),
        ("multiply-accumulates, millions", heavy["macs"] / 1e6, light["macs"] / 1e6, "{:,.0f}"),
        ("file, MB", heavy["bytes"] / 1e6, exact["bytes"] / 1e6, "{:.1f}"),
        ("milliseconds, teacher in PyTorch", heavy["ms_pytorch"], exact["ms"], "{:.1f}"),
        ("milliseconds, teacher in ONNX Runtime", heavy["ms_onnxruntime"], exact["ms"], "{:.1f}"),
    ]
    for small in (one for one in found["bundles"] if one["int8"]):
        rows += [
            ("int8 file, MB", heavy["bytes"] / 1e6, small["bytes"] / 1e6, "{:.1f}"),
            ("int8 file, milliseconds, teacher in PyTorch", heavy["ms_pytorch"], small["ms"], "{:.1f}"),
        ]
    lines = [
        f"**Costs against the teacher** (VGG19 ‖ ResNet50V2 at {found['image_size']} px), one picture, one thread:",
        "",
        "| | teacher | student | ratio |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {words} | {form.format(one)} | {form.format(two)} | 1/{one / two:.0f} |" for words, one, two, form in rows
    ]
    return "\n".join(lines)


def _int8(quantised: dict[str, Any] | None) -> str:
    if quantised is None:
        return f"**int8**: {NOT_MEASURED}."
    limits = quantised["limits"]
    words = (
        f"**int8**, chosen on the calibration split by speed within the limits: AUROC −{limits['auroc_loss']:g}, "
        f"calibration error +{limits['ece_rise']:g}, {limits['agreement']:.0%} of decisions as in float, "
        f"{limits['bytes'] / 1e6:.0f} MB, no saturation on x86 without VNNI:"
    )
    lines = [
        words,
        "",
        "| recipe | speed | decisions as in float | AUROC | calibration error | MB | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, one in enumerate(quantised["candidates"]):
        figures = one["figures"]
        outcome = "**chosen**" if number == quantised["chosen"] else "passes" if one["passes"] else "misses"
        cells = [
            one["words"],
            f"{one['speed']:.2f}×",
            f"{figures['agreement']:.1%}",
            f"{-figures['auroc_loss']:+.4f}",
            f"{figures['ece_rise']:+.4f}",
            f"{one['bytes'] / 1e6:.2f}",
            outcome,
        ]
        lines.append(f"| {' | '.join(cells).replace('-', '−')} |")
    tested = quantised.get("test_split") or {}
    if tested.get("images"):
        lines += ["", _tested(tested, quantised)]
    elif quantised["chosen"] is None:
        lines += ["", "No recipe keeps all limits: the float file ships."]
    return "\n".join(lines)


def _tested(tested: dict[str, Any], quantised: dict[str, Any]) -> str:
    figures = tested["int8"]
    said = (
        f"Test split ({tested['images']:,} images), looked at once: AUROC {tested['float']['auroc']:.4f} in float and "
        f"{figures['auroc']:.4f} in int8, calibration error {tested['float']['ece']:.4f} and {figures['ece']:.4f}, "
        f"{figures['agreement']:.1%} of decisions alike."
    )
    if tested["misses"]:
        said += f" Beyond the limits there: {'; '.join(tested['misses'])}."
    audit = quantised.get("audit")
    gates = NOT_MEASURED if not audit else "unchanged" if audit["unchanged"] else "differ, none for the worse"
    return f"{said} Gates of the audit: {gates}."


def _gate(gate: dict[str, Any] | None) -> str:
    found = (gate or {}).get("out_of_fold") or {}
    if not found:
        return f"**Input gate**: {NOT_MEASURED}."
    head = "**Input gate**, the learned one alone, pictures it never saw:"
    lines = [head, "", "| pictures | images | refused |", "| --- | --- | --- |"]
    for name, one in found.items():
        if " " in name:  # by source: in the file
            continue
        low, high = one["wilson"]
        lines.append(f"| {name} | {one['images']:,} | {one['share']:.1%} ({low:.1%} to {high:.1%}) |")
    if added := {name: one for name, one in gate.get("rules_added", {}).items() if name != "what"}:
        kinds = {name: name.split() for name in found if " " in name}
        real = [name for name, (kind, source) in kinds.items() if kind in _STRANGERS and source not in _MADE_UP]
        whole = {name: found[name] for name in real} | added
        images, refused = (sum(one[key] for one in whole.values()) for key in ("images", "refused"))
        words = ", ".join(
            f"{one['refused']} of {one['images']} {name.replace(' ', ' of ')}" for name, one in added.items()
        )
        total = (
            f"With the plain rules before it (colour, size): {words}; of all laterals, CT slices, other parts and "
            f"photographs {refused} of {images} ({refused / images:.1%})."
        )
        lines += ["", total]
    return "\n".join(lines)


def _frontier(frontier: dict[str, Any] | None) -> str:
    if not frontier or not frontier.get("points"):
        return f"**Smaller still**, accuracy against bytes and milliseconds: {NOT_MEASURED}."
    lines = [
        f"**Smaller still** ({frontier['machine']}; ![plot](docs/results/frontier.png)):",
        "",
        f"| student | {frontier['points'][0]['metric']} | mean of classes, all sources (flatters) | MB | ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for point in frontier["points"]:
        name = f"{point['backbone'] or point['name']}, {point['image_size']} px, {'int8' if point['int8'] else 'float'}"
        on_all = _figure(point["auroc_macro"]) if point.get("auroc_macro") else "–"
        cost = f"{point['bytes'] / 1e6:.2f} | {point['ms']:.2f}"
        lines.append(f"| {name} | {_figure(point['auroc'])} | {on_all} | {cost} |")
    return "\n".join(lines)


def _not_for(shipped: dict[str, Any]) -> str:
    from pocketcxr.reporting.model_card import OUT_OF_SCOPE

    lines = ["**What it must not be used for**", "", *(f"- {words}" for words in OUT_OF_SCOPE)]
    audit = shipped.get("audit")
    if audit is None:
        return "\n".join([*lines, "", f"Its audit: {NOT_MEASURED}."])
    for scope, subject in (("model", "The model"), ("data", "The data it learnt from")):
        gates = [
            gate for gate in criteria_tables(audit) if gate["scope"] == scope and gate["outcome"] != "not measurable"
        ]
        bad = [
            f"{gate['title'][0].lower()}{gate['title'][1:]} ({gate['words']})"
            for gate in gates
            if gate["outcome"] == "failed"
        ]
        said = (
            f"{subject} failed {len(bad)} of {len(gates)} gates of the audit" if gates else f"{subject}: {NOT_MEASURED}"
        )
        lines += ["", f"{said}{': ' + '; '.join(bad) if bad else ''}."]
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------- figures


def _figure(figure: dict[str, Any] | None) -> str:
    if not _has(figure):
        return NOT_MEASURED
    assert figure is not None
    percent = figure.get("unit") == "share"
    form = "{:.1%}" if percent else "{:.3f}"
    text = form.format(figure["value"])
    if figure.get("low") is not None:
        text += f" ({form.format(figure['low'])} to {form.format(figure['high'])})"
    return text.replace("-", "−")


def _spread(row: dict[str, Any], *, sign: bool = False) -> str:
    form = "{:+.3f}" if sign else "{:.3f}"
    text = form.format(row["mean"])
    if row["patients"]:
        text += " ({} to {})".format(*(form.format(bound) for bound in row["patients"]))
    return text.replace("-", "−")


def _has(figure: dict[str, Any] | None) -> bool:
    return bool(figure) and figure.get("value") is not None


def _chosen(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: figures.get(name) for name in ("auroc", "auroc_macro", "accuracy", "ece")}


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _one(folder: Path) -> Path:
    found = [path for path in sorted(folder.glob("*.onnx")) if "int8" not in path.stem]
    if len(found) != 1:
        raise SystemExit(f"results: expected one float bundle in {folder}, found {len(found)}: export the run first")
    return found[0]


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"] and len(sys.argv) == 3:  # noqa: PLR2004
        keep(Path(sys.argv[2]))
    elif len(sys.argv) > 1:
        raise SystemExit(__doc__)
    write()
