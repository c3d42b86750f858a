"""A run's folder as the program leaves it, made in seconds: real tables, a real evaluation, a sealed bundle."""

import csv
import dataclasses
import json
import logging

import numpy as np
import pytest

from pocketcxr import roles
from pocketcxr.bundle.format import MANIFEST_KEY, seal
from pocketcxr.bundle.manifest import Manifest, OperatingPoint, Preprocessing
from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow, write_rows
from pocketcxr.evaluation.calibration import softmax
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.costs import Costs
from pocketcxr.evaluation.scoring import Predictions
from pocketcxr.labels import TASKS
from pocketcxr.report.evaluate import evaluate_models
from pocketcxr.report.types import Measure, Section, Table
from pocketcxr.reporting.run_record import read_run_record
from pocketcxr.training.config import load_experiment

TASK = TASKS["siim-appearance"]
COMMAND = "pocketcxr distill --data /somewhere/private/x-rays --task siim-appearance -o /home/somebody/runs/mine"
SKILLS = {roles.TEACHER: 2.0, roles.BASELINE: 1.0, roles.DISTILLED: 1.5, roles.EXPORTED: 1.5}
SIDE = 16


def _rows(folder):
    rows = []
    for i in range(160):
        patient = i // 2
        rows.append(
            IndexRow(
                path=str(folder / "x-rays" / f"{i:04}.png"),
                source="hillside" if (patient // 2) % 3 else "quay",
                finding="typical_appearance" if patient % 2 else "no_pneumonia",
                patient_id=f"hillside:secret-name-{patient}" if i > 3 else "",
                view="AP" if patient % 3 else "PA",
                sex=("F", "M", "")[patient % 3],
                age=str(30 + patient) if patient % 4 else "",
                licence="CC-BY-4.0" if (patient // 2) % 3 else "",
                sha256=f"{i:064x}",
                perceptual_hash=f"{i:064x}",
                width=300 + i,
                height=200,
                duplicate_group=f"group-{i // 3}" if i < 9 else "",
                label=TASK.labels[patient % 2],
                split=("train", "train", "calibration", "test", "test")[(patient // 2) % 5],
            )
        )
    left = {"finding": "typical_appearance", "sha256": "f" * 64}
    rows.append(IndexRow(path=str(folder / "side.png"), source="quay", view="L", **left))
    rows.append(IndexRow(path=str(folder / "other.png"), source="quay", finding="tuberculosis"))
    return rows


def _scored(name, signal, dataset, split):
    positions = dataset.positions(split)
    noise = np.random.default_rng(len(name)).normal(size=(len(dataset.labels), len(TASK.labels)))
    logits = (signal * np.eye(len(TASK.labels))[dataset.labels] + noise)[positions].astype(np.float32)
    return Predictions(
        name=name,
        positions=positions,
        labels=dataset.labels[positions],
        probabilities=softmax(logits, 1.0),
        logits=logits,
    )


def _manifest():
    return Manifest(
        name="pocketcxr siim-appearance",
        version="0.1.0",
        created="2026-01-01T00:00:00+00:00",
        task=TASK.name,
        labels=TASK.labels,
        positive=TASK.positive,
        preprocessing=Preprocessing(size=SIDE),
        temperature=1.3172,
        conformal_quantile=0.6128,
        conformal_coverage=0.9,
        operating_points=(
            OperatingPoint("screening", TASK.positive, 0.2347, 0.9512, 0.4371, "calibration split, 32 images"),
        ),
        licence="research only",
        intended_use="Research. Not a medical device.",
        limits=("Adults only.", "Two classes only."),
        metrics={
            "split": "test",
            "images": 64,
            "interval": "95 % bootstrap by patient",
            "overall": {"auroc": {"value": 0.7654, "low": 0.6543, "high": 0.8765}},
            "sources": {},
        },
        data={"sources": ["hillside", "quay"], "images": {"train": 64, "calibration": 32}, "fingerprint": "feedc0de"},
    )


@pytest.fixture(scope="session")
def bundle_bytes():
    onnx = pytest.importorskip("onnx", reason="needs the extra train, to write an ONNX model")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    entry = model.metadata_props.add()
    entry.key, entry.value = MANIFEST_KEY, _manifest().to_json()
    return seal(model.SerializeToString())


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory, bundle_bytes):
    """A finished run on two sources, with gaps in its table; only the weights are missing from its checkpoints."""
    safetensors = pytest.importorskip("safetensors.numpy", reason="needs the extra train")
    folder = tmp_path_factory.mktemp("runs") / "mine"
    rows = _rows(folder)
    write_rows(rows, folder / "splits.csv")
    with (folder / "index.rejected.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [
                ("path", "source", "reason"),
                ("/private/secret-name.png", "quay", "cannot decode /private/secret-name.png"),
            ]
        )
    experiment = load_experiment(None, ["data.task=siim-appearance", f"data.image_size={SIDE}", "student.epochs=7"])
    (folder / "experiment.json").write_text(json.dumps(dataclasses.asdict(experiment)))
    labelled = tuple(row for row in rows if row.label)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labelled), SIDE, SIDE), dtype=np.uint8)
    dataset = Dataset(TASK, labelled, pixels, np.array([TASK.labels.index(row.label) for row in labelled]), "feedc0de")
    evaluate_models(
        [_scored(name, signal, dataset, "calibration") for name, signal in SKILLS.items()],
        [_scored(name, signal, dataset, "test") for name, signal in SKILLS.items()],
        dataset,
        config=EvaluationConfig(bootstrap=60),
        costs={name: Costs(parameters=2_225_858, macs=23_861_248, bytes=4_505_406) for name in SKILLS},
        out=folder / "evaluation",
        title="test",
        command=COMMAND,
    )
    (folder / "bundle").mkdir()
    (folder / "bundle" / "siim-appearance.onnx").write_bytes(bundle_bytes)
    record = {
        "weights": {"backbone": "mobilenetv2_100", "asked": "pretrained", "source": "scratch", "detail": ""},
        "precision": "fp32",
    }
    (folder / "student-distilled").mkdir()
    safetensors.save_file(
        {"one": np.zeros(1, np.float32)},
        folder / "student-distilled" / "best.safetensors",
        metadata={"pocketcxr.record": json.dumps(record)},
    )
    (folder / "student-distilled" / "finished.json").write_text(json.dumps({"best_epoch": 5}))
    (folder / "student-distilled" / "environment.json").write_text(
        json.dumps({"pocketcxr": "0.1.0", "python": "3.11.7", "processor": "Some CPU", "packages": {"torch": "2.15.0"}})
    )
    (folder / "run.log").write_text("2026-01-01 10:00:00,000 [1/7] images\n2026-01-01 11:30:00,000 [7/7] report\n")
    logging.getLogger("pocketcxr").handlers.clear()
    return folder


@pytest.fixture(scope="session")
def record(run_folder):
    return read_run_record(run_folder)


@pytest.fixture(scope="session")
def sections():
    """What a model audit might find; figures that occur nowhere else."""
    return (
        Section(
            "robustness",
            "How much does an everyday film's journey cost?",
            "Blur costs most.",
            (
                Measure(
                    "robustness.blur",
                    "AUROC under blur",
                    0.71239,
                    "m",
                    unit="auroc",
                    low=0.68123,
                    high=0.74345,
                    images=641,
                ),
            ),
        ),
        Section(
            "scorecard",
            "How good is it, and for whom?",
            "Women 0.81342, men 0.80211.",
            (
                Measure("scorecard.accuracy", "Accuracy", 0.76543, "m"),
                Measure("scorecard.worst_sex_auroc", "Lowest AUROC of any sex: M", 0.80211, "m", unit="auroc"),
                Measure("scorecard.worst_age_auroc", "Lowest AUROC of any age", None, "m", why="7 images"),
            ),
            (Table("By sex", ("group", "AUROC", "images"), (("F", 0.81342, 1205), ("M", 0.80211, None))),),
        ),
        Section("gates", "Does it pass?", "Two of three gates passed."),
    )
