"""The distillation study: every network of it can be configured, narrow students stand beside the b of their width."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

pytest.importorskip("timm", reason="needs the extra train")

from pocketcxr.errors import ConfigError
from pocketcxr.run_folder import RunFolder, checkpoint
from pocketcxr.training.config import load_experiment

PATIENTS = 120


@pytest.fixture
def module(script, tmp_path, monkeypatch):
    study = script("distillation")
    monkeypatch.setattr(study, "SCORES", tmp_path / "scores")
    return study


def keep(module, name, *, strength, fingerprint="one"):
    """Logits that tell the classes apart as well as `strength` says."""
    module.SCORES.mkdir(exist_ok=True)
    found = {"fingerprint": np.array(fingerprint)}
    for split in ("calibration", "test"):
        truth = np.arange(PATIENTS) % 2
        noise = np.random.default_rng(len(split)).normal(0, 1, PATIENTS)
        margin = strength * (2 * truth - 1) + noise
        found |= {
            f"{split}_logits": np.stack([-margin, margin], axis=1).astype(np.float32) / 2,
            f"{split}_truth": truth.astype(np.int8),
            f"{split}_members": np.arange(PATIENTS).astype(np.int16),
        }
    np.savez(module.SCORES / f"{name}.npz", **found)
    return roc_auc_score(
        found["calibration_truth"], found["calibration_logits"][:, 1] - found["calibration_logits"][:, 0]
    )


def test_every_teacher_and_student_can_be_configured(module, tmp_path):
    def settings(variant, width):
        return module._settings(variant, 4, width, out=tmp_path)

    with pytest.raises(ConfigError, match="train it first"):
        settings("b", "050")
    wide = checkpoint(RunFolder(tmp_path / "b-w100-s4").student_baseline)
    wide.parent.mkdir(parents=True)
    wide.touch()
    for fitted in module.CROSS_FITTED.values():
        teacher = load_experiment(module.HERE / "distillation.toml", fitted).teacher
        assert teacher.folds == 3
    for width in module.WIDTHS:
        taught = [
            load_experiment(module.HERE / "distillation.toml", settings(variant, width)).student
            for variant in module.TAUGHT_BY
        ]
        assert {student.backbone for student in taught} == {f"mobilenetv2_{width}"}
        assert {student.seed for student in taught} == {4}
        alone = load_experiment(module.HERE / "distillation.toml", settings("b", width)).student
        assert alone.losses == {"ce": 1.0}
        assert alone.auxiliary == taught[0].auxiliary
    assert load_experiment(module.HERE / "common_practice.toml", settings("a", "100")).student.epochs == 8


def test_a_narrow_student_is_compared_with_the_baseline_of_its_width(module, tmp_path):
    for seed in range(2):
        keep(module, f"b-w100-s{seed}", strength=1.5)
        keep(module, f"d-w100-s{seed}", strength=1.5)
        narrow = keep(module, f"b-w050-s{seed}", strength=0.5)
        taught = keep(module, f"d-w050-s{seed}", strength=1.0)
    module.tabulate(tmp_path / "table.json", open_test=False, bootstrap=50)
    found = json.loads((tmp_path / "table.json").read_text())["splits"]
    assert set(found) == {"calibration"}  # the test split stays closed
    metric = next(iter(found["calibration"]["050"]["metrics"]))
    assert found["calibration"]["050"]["differences"]["d"][metric]["mean"] == pytest.approx(taught - narrow)
    assert found["calibration"]["100"]["differences"]["d"][metric]["mean"] == 0


def test_students_of_two_splits_are_not_compared(module, tmp_path):
    keep(module, "b-w100-s0", strength=1.0)
    keep(module, "d-w100-s0", strength=1.0, fingerprint="other")
    with pytest.raises(ConfigError, match="2 different splits"):
        module.tabulate(tmp_path / "table.json", open_test=False, bootstrap=50)
