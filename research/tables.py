"""Tables and lists of the generated documents: one function per measurement of docs/results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seeds import CONTRASTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NOT_MEASURED = "not measured"
SHIPPED, SHIPPED_WIDTH = "f", "100"
"""The student of the study of all sources that ships, and its width in percent of MobileNetV2's channels."""
TAUGHT = "c"
"""The student of that study whose difference from b is distillation's part: SHIPPED without the loss on heatmaps."""
_SIGNIFICANT = 0.05
_UNITS_SHOWN = ("Cramér's V", "risk", "share above chance")
_VARIANTS = """224 px. a: common practice. b: long schedule, averaged weights, boxes. c, d, e: b with unlabelled images
and the out-of-fold outputs of its own kind, of VGG19, of MobileNetV2 and EfficientNet-Lite2. f: c with heatmaps kept
within the radiologists' boxes. children: b with children in training too; none is in the table. Teacher of
e: mean of the networks that teach e, of each the mean of its three folds; one teacher stands beside every seed."""
_TEACHER = "teacher of "
_STUDIES = {
    "siim": "SIIM alone, typical appearance against negative",
    "all": "Three classes, adults of all sources",
}
_OOD, _SYNTHETIC = ("lateral", "ct", "other_part", "not_xray"), ("drawn", "screenshot")
_NAMES = {"drawn": "synthetic drawings", "not_xray": "not an X-ray", "other_part": "other body part", "ct": "CT slice",
          "screenshot": "screenshots", "turned": "rotated"}  # fmt: skip


def against_common_practice(studies: Mapping[str, Any]) -> str:
    """Common practice on the same images, and how far the student that ships is from it."""
    split = _shown_split(studies, "all", SHIPPED_WIDTH)
    row = split.get("variants", {}).get("a")
    rival = _mean(next(iter(row.values()))) if row else NOT_MEASURED
    return f"common practice {rival}; difference {difference(studies, 'all', SHIPPED, 'a', SHIPPED_WIDTH)}"


def by_source(shipped: Mapping[str, Any]) -> str:
    """AUROC, accuracy and calibration error of each source and of all."""
    metrics = shipped.get("metrics") or {}
    if not metrics.get("sources"):
        return f"By source: {NOT_MEASURED}."
    names = ("auroc", "accuracy", "ece")
    rows = [
        (source, *(figure(of.get(name)) for name in names))
        for source, of in {**metrics["sources"], "all": metrics["overall"]}.items()
    ]
    head = f"Test split, {metrics['images']:,} images, {metrics['interval']}. Figures over all sources flatter."
    return f"{head}\n\n{table(('source', 'AUROC, ' + shipped['positive'], 'accuracy', 'calibration error'), rows)}"


def unseen(shipped: Mapping[str, Any]) -> str:
    """Figures at sources that took no part in training, with the recipe."""
    section = shipped.get("audit", {}).get("sections", {}).get("unseen", {})
    measured = [
        one for one in section.get("measures", ()) if one["value"] is not None and one["key"] != "unseen.refit_drop"
    ]
    if not any(one["key"] == "unseen.accuracy" for one in measured):
        return f"At unseen sources: {NOT_MEASURED}."
    how = "Trained again without each source in turn"
    if stages := shipped.get("leave_one_source_out"):
        start = "ImageNet weights" if stages[0]["weights"] == "pretrained" else stages[0]["weights"]
        epochs = ", then ".join(f"{one['epochs']} epochs of {one['backbone']}" for one in stages)
        how += f", from {start}, on labels only, {epochs}: nothing that saw the source had a part"
    parts = [f"{how}.", bullets(f"{one['title']}: {figure(one)}" for one in measured)]
    return "\n\n".join([*parts, *(table(one["columns"], one["rows"]) for one in section["tables"][:1])])


def local_calibration(found: Mapping[str, Any]) -> str:
    """What calibration on a few images of an unseen source changes on the rest of it, mean and range of the draws."""
    if not found:
        return f"Calibration on images of an unseen source: {NOT_MEASURED}."
    names = ("coverage", "ece", "sensitivity@screening")
    rows = [
        (source, size, side, *(_of_draws(figures[name][side]) for name in names))
        for source, of in found["sources"].items()
        for size, figures in of["calibrated_on"].items()
        for side in ("before", "after")
    ]
    head = (
        "`pocketcxr calibrate` on so many images of a source that training has not seen, measured on its other\n"
        f"patients; mean (least to most) of {found['draws']} draws, prediction sets of {found['coverage']:.0%}. Aims: "
        "coverage 0.85, calibration error at most 0.05."
    )
    columns = ("source", "images", "calibration", "coverage", "calibration error", "sensitivity at screening")
    return f"{head}\n\n{table(columns, rows)}"


def _of_draws(one: Mapping[str, Any]) -> str | None:
    return None if one["mean"] is None else figure({"value": one["mean"], "low": one["least"], "high": one["most"]})


def conclusions(found: Iterable[Mapping[str, Any]]) -> str:
    """Conclusions of an evaluation as a list."""
    return bullets(f"{one['title']}: **{one['outcome']}.** {one['text']}" for one in found)


def studies(found: Mapping[str, Any]) -> str:
    """Students of `distillation.py`, with the difference from the same student without a teacher (b)."""
    if not found:
        return f"Difference from the same student without a teacher: {NOT_MEASURED}."
    parts = [_VARIANTS]
    for study, of in found.items():
        name = "test" if "test" in of["splits"] else "calibration"
        parts.append(f"**{_STUDIES[study]}**")
        if name != "test":
            parts.append("The calibration split chose each student's epoch too, so AUROC on it is optimistic.")
        for width, split in of["splits"][name].items():
            patients = f"{split['images']:,} images of {split['patients']:,} patients"
            parts += [f"Width {int(width) / 100:.2f}, {name} split, {patients}:", students_of(split)]
            others = [metric for metric in split["metrics"] if metric in CONTRASTS]
            if others:
                rows = [(one, *(_mean(row[metric]) for metric in others)) for one, row in split["variants"].items()]
                parts.append(table(("student", *(split["metrics"][metric] for metric in others)), rows))
    return "\n\n".join(parts)


def students_of(split: Mapping[str, Any]) -> str:
    """A row per student or teacher: its first metric, seeds, and differences from (b), (a) and the student's teacher.

    A teacher is the same for every seed.
    """
    metric, rows = next(iter(split["metrics"])), []
    teachers = [name for name in split["variants"] if name.startswith(_TEACHER)]
    others = [("b", {}), ("a", {})] if "a" in split["variants"] else [("b", {})]
    pupils = {one: name for name in teachers for one in name[len(_TEACHER) :].split(" and ")}
    if pupils.keys() & split["variants"].keys():
        others.append(("its teacher", pupils))
    for variant, row in split["variants"].items():
        cells = [variant, _mean(row[metric]), 1 if variant in teachers else len(row[metric]["each"])]
        for reference, own in others:
            gap = split["differences"].get(own.get(variant, reference), {}).get(variant, {}).get(metric)
            cells += [_mean(gap, sign=True), f"{gap['p_holm']:.3f}"] if gap else [None, None]
        rows.append(cells)
    differences = [column for reference, _ in others for column in (f"difference from {reference}", "p (Holm)")]
    return table(("network", split["metrics"][metric], "seeds", *differences), rows)


def demonstration(found: Mapping[str, Any]) -> str:
    """The demonstration over seeds: teacher, baseline and distilled student, and the gains over the baseline."""
    if not found:
        return f"Teacher, baseline and distilled student of `make demo`, over seeds: {NOT_MEASURED}."
    seeds, drawn = found["seeds"], found["settings"]["drawings"]
    gains = ("teacher", "distilled student")
    counted = "; ".join(
        f"the {name} is better than the baseline student in {_of_seeds(seeds, name, 'value')}, and the interval of the "
        f"difference above 0 in {_of_seeds(seeds, name, 'low')}"
        for name in gains
    )
    head = (
        f"Each seed draws its own {drawn['patients']} synthetic patients, {drawn['unlabelled']} of them without a\n"
        "label, and trains all networks as `make demo` does with seed 1. Mean AUROC over three classes, intervals\n"
        f"over test patients. Of {len(seeds)} seeds: {counted}."
    )
    models = ("teacher", "baseline student", "distilled student")
    columns = ("seed", "test patients", *models, "teacher − baseline", "distilled − baseline")
    rows = [
        (
            one["seed"],
            one["patients"],
            *(figure(one["auroc"][name]) for name in models),
            *(figure(one["gains"][name], sign=True) for name in gains),
        )
        for one in seeds
    ]
    return f"{head}\n\n{table(columns, rows)}"


def _of_seeds(seeds: Sequence[Mapping[str, Any]], name: str, bound: str) -> int:
    """In how many seeds the gain of a model, or the lower bound of its interval, lies above 0."""
    return sum((one["gains"][name][bound] or 0.0) > 0 for one in seeds)


def experiment(record: Mapping[str, Any]) -> list[str]:
    """Headline, table of models and conclusions of one experiment."""
    two = len(record["task"]["labels"]) == 2  # noqa: PLR2004
    title = f"AUROC, {record['task']['positive']}" if two else "AUROC, mean of classes"
    names = ("auroc" if two else "auroc_macro", "accuracy", "ece")
    head = f"[{record['experiment'].rpartition('/')[2]}](../../{record['experiment']}): {record['image_size']} px, "
    head += f"{record['epochs']['teacher']} epochs per teacher backbone, {record['epochs']['student']} per student. "
    head += record["headline"]
    rows = [
        (model, *(figure(of["figures"][name]) for name in names), *_cost_cells(of["costs"] or {}))
        for model, of in record["models"].items()
    ]
    parts = [head, table(("", title, "accuracy", "calibration error", "parameters", "MB", "ms, one thread"), rows)]
    sources = sorted({source for of in record["models"].values() for source in of["per_source"]})
    if len(sources) > 1:
        rows = [
            (model, *(figure(of["per_source"].get(one, {}).get("accuracy")) for one in sources))
            for model, of in record["models"].items()
        ]
        parts.append(table(("accuracy within", *sources), rows))
    return [*parts, conclusions(record["conclusions"])]


def _cost_cells(costs: Mapping[str, Any]) -> tuple[str, str, str]:
    latency = (costs.get("latency") or {}).get("median_ms")
    return (
        f"{costs['parameters'] / 1e6:.1f} M" if costs.get("parameters") else "",
        f"{costs['bytes'] / 1e6:.1f}" if costs.get("bytes") else "",
        f"{latency:.1f}" if latency else "",
    )


def costs(found: Mapping[str, Any]) -> str:
    """Parameters, arithmetic, bytes and milliseconds beside the teacher."""
    if not found:
        return f"Costs against the teacher: {NOT_MEASURED}."
    heavy, light = found["teacher"], found["student"]
    exact = next(one for one in found["bundles"] if not one["int8"])
    pairs = [
        ("parameters, millions", heavy["parameters"] / 1e6, light["parameters"] / 1e6, ".1f"),
        ("multiply-accumulates, millions", heavy["macs"] / 1e6, light["macs"] / 1e6, ",.0f"),
        ("file, MB", heavy["bytes"] / 1e6, exact["bytes"] / 1e6, ".1f"),
        ("milliseconds, teacher in PyTorch", heavy["ms_pytorch"], exact["ms"], ".1f"),
        ("milliseconds, teacher in ONNX Runtime", heavy["ms_onnxruntime"], exact["ms"], ".1f"),
    ]
    for small in (one for one in found["bundles"] if one["int8"]):
        pairs.append(("int8 file, MB", heavy["bytes"] / 1e6, small["bytes"] / 1e6, ".1f"))
        pairs.append(("int8 file, milliseconds, teacher in PyTorch", heavy["ms_pytorch"], small["ms"], ".1f"))
    rows = [(title, f"{one:{form}}", f"{two:{form}}", f"1/{one / two:.0f}") for title, one, two, form in pairs]
    head = f"VGG19 ‖ ResNet50V2 at {found['image_size']} px, one image, one thread."
    return f"{head}\n\n{table(('', 'teacher', 'student', 'ratio'), rows)}"


def epochs(found: Mapping[str, Any]) -> str:
    """Seconds of an epoch with cached and with online teacher outputs, and in torchdistill."""
    if not found:
        return f"Time of an epoch of distillation: {NOT_MEASURED}."
    options, least = found["options"], min(found["median"].values())
    rows = [(name, f"{seconds:.1f}", f"{seconds / least:.1f}") for name, seconds in found["median"].items()]
    head = f"{options['images']} synthetic images of {options['size']} px, median of {options['rounds']} rounds; "
    head += f"the cache of {found['views']} augmented views is computed once, in {found['cache_s']:.0f} s."
    return f"{head}\n\n{table(('', 'seconds per epoch', 'times the fastest'), rows)}"


def int8(found: Mapping[str, Any]) -> str:
    """Candidates of the int8 search with their limits."""
    if not found:
        return f"int8: {NOT_MEASURED}."
    limits, rows = found["limits"], []
    for number, one in enumerate(found["candidates"]):
        of = one["figures"]
        outcome = "within the limits" if one["passes"] else "outside the limits"
        row = (one["words"], f"{one['speed']:.2f}×", f"{of['agreement']:.1%}", f"{-of['auroc_loss']:+.4f}",
               f"{of['ece_rise']:+.4f}", f"{one['bytes'] / 1e6:.2f}",
               "**chosen**" if number == found["chosen"] else outcome)  # fmt: skip
        rows.append([cell.replace("-", "−") for cell in row])
    loss, rise = limits["auroc_loss"], limits["ece_rise"]
    head = (
        f"Chosen on the calibration split by speed within the limits: AUROC −{loss:g}, calibration error +{rise:g},\n"
        f"{limits['agreement']:.0%} of decisions as in float, {limits['bytes'] / 1e6:.0f} MB, no saturation on x86 "
        "without VNNI."
    )
    columns = ("recipe", "speed", "decisions as in float", "AUROC", "calibration error", "MB", "outcome")
    parts = [head, table(columns, rows)]
    tested = found.get("test_split") or {}
    if tested.get("images"):
        parts.append(_int8_tested(tested, found.get("audit")))
    elif found["chosen"] is None:
        parts.append("No recipe keeps all limits: the float file ships.")
    return "\n\n".join(parts)


def _int8_tested(tested: Mapping[str, Any], audited: Mapping[str, Any] | None) -> str:
    one, two = tested["float"], tested["int8"]
    said = (
        f"Test split ({tested['images']:,} images), evaluated once: AUROC {one['auroc']:.4f} in float and "
        f"{two['auroc']:.4f} in int8, calibration error {one['ece']:.4f} and {two['ece']:.4f}, "
        f"{two['agreement']:.1%} of decisions alike."
    )
    beyond = f" Outside the limits there: {'; '.join(tested['misses'])}." if tested["misses"] else ""
    outcome = NOT_MEASURED if not audited else "unchanged" if audited["unchanged"] else "changed, none for the worse"
    return f"{said}{beyond} Criteria of the audit: {outcome}."


def refused(found: Mapping[str, Any]) -> str:
    """Images refused by kind, and with the rules."""
    kinds = found.get("out_of_fold", {})
    rows = []
    for name, one in kinds.items():
        if " " not in name:  # with a space: by source, in the JSON
            low, high = one["wilson"]
            rows.append((_NAMES.get(name, name), one["images"], f"{one['share']:.1%} ({low:.1%} to {high:.1%})"))
    head = "The learned input filter without the rules, on images that took no part in its training."
    parts = [head, table(("kind", "images", "refused"), rows)]
    if added := {name: one for name, one in found.get("rules_added", {}).items() if name != "what"}:
        real = [name for name in kinds if " " in name and name.split()[0] in _OOD and name.split()[1] not in _SYNTHETIC]
        whole = ({name: kinds[name] for name in real} | added).values()
        images, refusals = (sum(one[key] for one in whole) for key in ("images", "refused"))
        names = ((name.replace(" ", " of "), one) for name, one in added.items())
        said = ", ".join(f"{one['refused']} of {one['images']} {name}" for name, one in names)
        total = "of all laterals, CT slices, other body parts and photographs"
        share = f"{refusals} of {images} ({refusals / images:.1%})"
        parts.append(f"With the rules before it (colour, size): {said}; {total} {share}.")
    if left := found.get("left_out_of_training"):
        said = "; ".join(f"{name} {one['refused']} of {one['images']}" for name, one in left.items())
        parts.append(f"Kinds left out of training, refused: {said}.")
    return "\n\n".join([*parts, "![Share refused by kind and source](../images/input_gate.png)"])


def frontier(found: Mapping[str, Any]) -> str:
    """Accuracy, bytes and milliseconds of several bundles."""
    if not found.get("points"):
        return f"Accuracy against bytes and milliseconds: {NOT_MEASURED}."
    rows = []
    for one in found["points"]:
        name = f"{one['backbone'] or one['name']}, {one['image_size']} px, {'int8' if one['int8'] else 'float'}"
        macro = figure(one["auroc_macro"]) if one.get("auroc_macro") else None
        rows.append((name, figure(one["auroc"]), macro, f"{one['bytes'] / 1e6:.2f}", f"{one['ms']:.2f}"))
    columns = ("student", found["points"][0]["metric"], "AUROC, mean of classes, all sources (flatters)", "MB", "ms")
    return f"{found['machine']}.\n\n{table(columns, rows)}\n\n![AUROC against megabytes and milliseconds](frontier.png)"


# ---------------------------------------------------------------------------------------------------------- figures


def table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; None is a dash, integers have their thousands grouped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |".replace("|  |", "| |") for line in lines)


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def figure(one: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    """Value with its interval; shares are fractions of one."""
    if not one or one.get("value") is None:
        return (one or {}).get("why") or NOT_MEASURED
    form = "{:,}" if isinstance(one["value"], int) else "{:+.3f}" if sign else "{:.3f}"
    unit = f" {one['unit']}" if one.get("unit") in _UNITS_SHOWN else ""
    around = f" ({form.format(one['low'])} to {form.format(one['high'])})" if one.get("low") is not None else ""
    return f"{form.format(one['value'])}{unit}{around}".replace("-", "−")


def _mean(row: Mapping[str, Any], *, sign: bool = False) -> str:
    low, high = row["patients"] or (None, None)
    return figure({"value": row["mean"], "low": low, "high": high}, sign=sign)


def difference(studies: Mapping[str, Any], study: str, variant: str, reference: str, width: str = "100") -> str:
    """A student's difference from another in the first metric, with its interval; shown only if the test agrees."""
    _, gap = _gap(_shown_split(studies, study, width), variant, reference)
    if not gap:
        return NOT_MEASURED
    low, high = gap["patients"] or (0.0, 0.0)
    shown = low * high > 0 and gap.get("p_holm", 0) < _SIGNIFICANT
    return _mean(gap, sign=True) + ("" if shown else ": not shown")


def each_seed(studies: Mapping[str, Any], study: str, variant: str, reference: str, width: str = "100") -> str:
    """Means of the first metric with and without a teacher, and the range of their difference over the seeds."""
    split = _shown_split(studies, study, width)
    metric, gap = _gap(split, variant, reference)
    if not gap:
        return NOT_MEASURED
    taught, alone = (split["variants"][name][metric]["mean"] for name in (variant, reference))
    low, high = (figure({"value": value}, sign=True) for value in (min(gap["each"]), max(gap["each"])))
    return f"{taught:.3f} with, {alone:.3f} without; {len(gap['each'])} seeds, each {low} to {high}"


def _gap(split: Mapping[str, Any], variant: str, reference: str) -> tuple[str, Mapping[str, Any]]:
    """The first metric's name and a student's difference in it from another; empty where there is none."""
    return next(iter(split.get("differences", {}).get(reference, {}).get(variant, {}).items()), ("", {}))


def _shown_split(studies: Mapping[str, Any], study: str, width: str) -> Mapping[str, Any]:
    """The test split of a study where it was opened, else the calibration split."""
    splits = studies.get(study, {}).get("splits", {})
    return splits.get("test", splits.get("calibration", {})).get(width, {})


def _cell(cell: object) -> str:
    if cell is None:
        return "–"
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.3f}" if isinstance(cell, float) else str(cell)
