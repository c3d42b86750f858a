"""The demonstration: the whole run on synthetic chest X-rays, small enough for two cores and minutes."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr import roles
from pocketcxr.data.rows import read_rows
from pocketcxr.data.synthetic.generate import TABLE, draw_synthetic_xrays
from pocketcxr.inference.command import run_predict
from pocketcxr.pipeline.distill import RunResult, run_distill
from pocketcxr.report.formatting import number
from pocketcxr.training.config import load_experiment

if TYPE_CHECKING:
    from pocketcxr.training.config import Experiment

_LOGGER = logging.getLogger("pocketcxr")

PATIENTS = 800
UNLABELLED = 460  # patients whose finding is not stated: there the student learns from the teacher alone
PIXELS = 320
STAGES = (0.2, 1.0)
SEED = 1
SETTINGS = (
    'data.task="covid-3class"',
    "data.image_size=64",
    "data.fractions=[0.13, 0.13, 0.74]",  # few labels to learn from, and enough patients to show a difference
    'teacher.backbones=["mobilenetv2_100"]',  # VGG19 and ResNet50V2 from scratch learn little in minutes: AUROC 0.78
    'teacher.weights=["bundled"]',
    "teacher.image_size=192",
    "teacher.staged=false",  # there is one backbone, nothing to fuse
    "teacher.epochs=24",  # after 12, one teacher in four was no better than the baseline student
    "teacher.batch_size=16",
    "teacher.learning_rate=1e-3",
    "teacher.ema_decay=0.95",
    "views.count=3",
    'student.weights="bundled"',  # from scratch a MobileNetV2 learns nothing in 700 steps: AUROC 0.50
    "student.unlabelled=true",
    "student.epochs=6",
    "student.batch_size=16",
    "student.ema_decay=0.9",
    "student.temperature=2.0",
    "evaluation.bootstrap=500",
)
NOTE = (
    "Demonstration on synthetic chest X-rays (DRAWINGS): they show no patient. The figures say that the program works; "
    "they say nothing about COVID-19 in people. Teacher and students start from the student that ships with pocketcxr. "
    "The teacher sees images of 192 pixels, the students of 64. Both students take the same steps: the baseline "
    "student on the few labelled images, the distilled student on those and on images without a label, with the "
    "teacher's answers."
)
GAINS = ((roles.TEACHER, roles.BASELINE), (roles.DISTILLED, roles.BASELINE))
"""Pairs of roles whose difference the demonstration states."""


def run_demo(folder: Path, *, progress: bool = True) -> RunResult:
    """Run every stage on synthetic X-rays, then predict test images, one of each file type, with the new bundle.

    Called again, it goes on where it stopped.
    """
    drawings = draw_demo(folder, progress=progress)
    (folder / "notes.txt").write_text(NOTE + "\n", encoding="utf-8")
    result = run_distill(folder, demo_experiment(), sources=[drawings], progress=progress)
    _LOGGER.info("predicting with the new bundle; where it looked: %s", folder / "heatmaps")
    table = io.StringIO()
    run_predict(
        _test_images(folder / "splits.csv"),
        bundle=result.bundle,
        output_format="table",
        heatmaps=folder / "heatmaps",
        stream=table,
    )
    evaluation = json.loads((folder / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    gains = "\n".join(gain_sentences(evaluation))
    return RunResult(result.report, result.bundle, f"{table.getvalue()}\n{NOTE}\n\n{result.summary}\n\n{gains}")


def draw_demo(folder: Path, *, seed: int = SEED, progress: bool = True) -> Path:
    """Draw the X-rays of the demonstration into a run's folder, unless they are there; return their folder."""
    drawings = folder / "drawings"
    if not (drawings / TABLE).is_file():
        draw_synthetic_xrays(
            drawings, patients=PATIENTS, unlabelled=UNLABELLED, seed=seed, size=PIXELS, stages=STAGES, progress=progress
        )
    return drawings


def demo_experiment(*, seed: int = SEED, overrides: tuple[str, ...] = ()) -> Experiment:
    """All settings of the demonstration; `seed` is that of the split, of every network and of the views."""
    seeds = (f"{table}.seed={seed}" for table in ("data", "teacher", "views", "student"))
    return load_experiment(None, (*SETTINGS, *seeds, *overrides))


def gain_sentences(evaluation: dict[str, Any]) -> list[str]:
    """Say in plain words by how much teacher and distilled student differ from the baseline student.

    Args:
        evaluation: what ``evaluation.json`` holds.
    """
    pairs = {(one["first"], one["second"]): one["differences"]["auroc_macro"] for one in evaluation["comparisons"]}
    values = {name: of["figures"]["auroc_macro"]["value"] for name, of in evaluation["models"].items()}
    return [_gain(first, second, pairs[first, second], values) for first, second in GAINS if (first, second) in pairs]


def _gain(first: str, second: str, difference: dict[str, Any], values: dict[str, float | None]) -> str:
    value, low, high = difference["value"], difference.get("low"), difference.get("high")
    if value is None or low is None or high is None:
        return f"The {first} and the {second} cannot be compared: {difference.get('why', 'too few test images')}."
    outcome = f"is {'better' if value > 0 else 'worse'} than" if difference["shown"] else "is not shown to differ from"
    bounds = f"95 % interval {number(low, sign=True)} to {number(high, sign=True)}"
    return (
        f"The {first} {outcome} the {second}: mean AUROC {number(values[first])} against {number(values[second])}, "
        f"difference {number(value, sign=True)} ({bounds})."
    )


def _test_images(splits: Path) -> list[Path]:
    """One test image of each class and file type."""
    found: dict[tuple[str, str], Path] = {}
    for row in read_rows(splits):
        path = Path(row.path)
        if row.split == "test":
            found.setdefault((row.label, path.suffix), path)
    return [found[key] for key in sorted(found)]
