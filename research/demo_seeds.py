"""The demonstration over seeds: AUROC of teacher, baseline and distilled student, and the gains with their intervals.

python research/demo_seeds.py runs/demo-seeds --seeds 20 -o docs/results/demo_seeds.json
python research/demo_seeds.py runs/trial --seeds 2 -o trial.json --set student.epochs=20     # other settings

Each seed draws its own X-rays and gives the split, the first weights and the views of that run; drawing, training and
comparison are those of `pocketcxr demo`, without bundle and report. A seed's folder is removed once its figures stand
in the output; a second call goes on with the seeds that are missing there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr import roles
from pocketcxr.errors import ConfigError, PocketCxrError
from pocketcxr.evaluation.intervals import clusters
from pocketcxr.evaluation.model_result import calibrate, model_results
from pocketcxr.evaluation.scoring import score
from pocketcxr.files import write_json
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.predict import as_predict
from pocketcxr.pipeline.demo import GAINS, PATIENTS, PIXELS, STAGES, UNLABELLED, demo_experiment, draw_demo
from pocketcxr.pipeline.prepare import prepare
from pocketcxr.pipeline.run import open_run
from pocketcxr.pipeline.stages import student_stage, teacher_stage
from pocketcxr.report.evaluate import compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig

METRIC = "auroc_macro"


def measure_seed(folder: Path, *, seed: int, overrides: tuple[str, ...] = (), progress: bool = True) -> dict[str, Any]:
    """Draw, train and compare with one seed, in a folder of its own; resumable.

    Returns:
        `seed`, numbers of `images` and `patients` in the test split, `auroc` of every role, `gains` of the pairs of
        `GAINS` under the name of the first, and `processor_minutes` of what was computed in this call.
    """
    before = time.process_time()
    run = open_run(folder, demo_experiment(seed=seed, overrides=overrides), progress=progress)
    dataset = prepare(run, sources=[draw_demo(folder, seed=seed, progress=progress)])
    trained = {
        roles.TEACHER: teacher_stage(run, dataset),
        roles.BASELINE: student_stage(run, dataset, teacher=False),
        roles.DISTILLED: student_stage(run, dataset),
    }
    figures = compared(trained, dataset, run.experiment.evaluation)
    return {"seed": seed, **figures, "processor_minutes": round((time.process_time() - before) / 60, 2)}


def compared(trained: Mapping[str, Path], dataset: Dataset, config: EvaluationConfig) -> dict[str, Any]:
    """AUROC of each network on the test split, and the gains, with intervals over patients."""
    predicts = {name: as_predict(load_network(path)[0]) for name, path in trained.items()}
    calibration, test = (
        [score(name, one, dataset, dataset.positions(split)) for name, one in predicts.items()]
        for split in ("calibration", "test")
    )
    rows = [dataset.rows[i] for i in test[0].positions]
    members = clusters(rows)
    patients = int(members.max()) + 1
    fitted = {one.name: calibrate(one, dataset.task, config, brings_temperature=False) for one in calibration}
    sources = np.array([row.source for row in rows])
    models, replicates = model_results(test, fitted, task=dataset.task, config=config, members=members, sources=sources)
    pairs = {(one.first, one.second): one for one in compare(models, replicates, task=dataset.task, patients=patients)}
    gains = {}
    for pair in GAINS:
        found = pairs[pair].difference(METRIC)
        gains[pair[0]] = found.figure.as_json() | {"p": found.p, "shown": found.shown}
    return {
        "images": len(rows),
        "patients": patients,
        "auroc": {one.name: one.figures[METRIC].as_json() for one in models},
        "gains": gains,
    }


def settings_of(overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """What all seeds share: the drawings, and the experiment without its seeds."""
    experiment = dataclasses.asdict(demo_experiment(overrides=overrides))
    for name in ("data", "teacher", "views", "student"):
        del experiment[name]["seed"]
    drawings = {"patients": PATIENTS, "unlabelled": UNLABELLED, "pixels": PIXELS, "stages": STAGES}
    return json.loads(json.dumps({"drawings": drawings, "experiment": experiment}))


def measured(output: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Figures of the seeds that stand in the output.

    Raises:
        ConfigError: they were measured with other settings.
    """
    if not output.is_file():
        return []
    found = json.loads(output.read_text(encoding="utf-8"))
    if found["settings"] != settings:
        raise ConfigError(f"{output} holds figures of other settings: choose another -o file, or remove this one")
    return found["seeds"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the seeds that are missing; the output is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the runs, one after the other")
    parser.add_argument("--seeds", type=int, default=20, help="1 to this number (default: 20)")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.FIELD=VALUE", help="another setting")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    overrides, settings = tuple(options.set), settings_of(tuple(options.set))
    try:
        seeds = measured(options.output, settings)
        done = {one["seed"] for one in seeds}
        for seed in (one for one in range(1, options.seeds + 1) if one not in done):
            folder = options.folder / f"seed-{seed}"
            seeds = sorted([*seeds, measure_seed(folder, seed=seed, overrides=overrides)], key=lambda one: one["seed"])
            write_json(options.output, {"settings": settings, "seeds": seeds}, allow_nan=False)
            shutil.rmtree(folder)
    except PocketCxrError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
