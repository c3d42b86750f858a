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
def module(script):
    return script("distillation")


def keep(kept, name, *, strength, fingerprint="one", study="siim"):
    """Logits that tell the classes apart as well as `strength` says."""
    folder, others = kept / "scores" / study, {"siim": 0, "all": 1}[study]  # classes between the first and the positive
    folder.mkdir(parents=True, exist_ok=True)
    found = {"fingerprint": np.array(fingerprint)}
    for split in ("calibration", "test"):
        truth = np.arange(PATIENTS) % 2
        noise = np.random.default_rng(len(split)).normal(0, 1, PATIENTS)
        margin = strength * (2 * truth - 1) + noise
        found |= {
            f"{split}_logits": np.stack([-margin, *(others * [margin - 9]), margin], axis=1).astype(np.float32) / 2,
            f"{split}_truth": (truth * (others + 1)).astype(np.int8),
            f"{split}_members": np.arange(PATIENTS).astype(np.int16),
            f"{split}_sources": np.full(PATIENTS, "siim"),
        }
    np.savez(folder / f"{name}.npz", **found)
    return roc_auc_score(
        found["calibration_truth"], found["calibration_logits"][:, -1] - found["calibration_logits"][:, 0]
    )


@pytest.mark.parametrize("study", ["siim", "all"])
def test_every_teacher_and_student_can_be_configured(module, tmp_path, study):
    of = module.STUDIES[study]

    def student(variant, width="100"):
        recipe = "common_practice.toml" if variant == "a" else of.recipe
        return load_experiment(module.HERE / recipe, module._settings(study, variant, 4, width, out=tmp_path))

    with pytest.raises(ConfigError, match="train it first"):
        student("b", "050")
    wide = RunFolder(tmp_path / "b-w100-s4").student_baseline
    wide.mkdir(parents=True)
    checkpoint(wide).touch()
    with pytest.raises(ConfigError, match="train it first"):  # still in training
        student("b", "050")
    (wide / "finished.json").write_text("{}")
    for fitted in module.CROSS_FITTED.values():
        assert load_experiment(module.HERE / of.recipe, fitted).teacher.folds == 3
    for width in module.WIDTHS:
        taught = [student(variant, width).student for variant in of.taught_by]
        assert {one.backbone for one in taught} == {f"mobilenetv2_{width}"}
        assert {one.seed for one in taught} == {4}
        alone = student("b", width).student
        assert alone.losses == {"ce": 1.0}
        assert alone.auxiliary == taught[0].auxiliary
    assert student("a").student.epochs == 8
    children = {variant: not student(variant).data.adults_only for variant in of.variants}
    assert {variant for variant, kept in children.items() if kept} == set(of.others)


def test_a_narrow_student_is_compared_with_the_baseline_of_its_width_and_with_common_practice(module, tmp_path):
    for seed in range(2):
        usual = keep(tmp_path, f"a-w100-s{seed}", strength=0.8)
        keep(tmp_path, f"b-w100-s{seed}", strength=1.5)
        keep(tmp_path, f"d-w100-s{seed}", strength=1.5)
        narrow = keep(tmp_path, f"b-w050-s{seed}", strength=0.5)
        taught = keep(tmp_path, f"d-w050-s{seed}", strength=1.0)
    module.tabulate(tmp_path / "table.json", open_test=(), bootstrap=50, keep=tmp_path)
    found = json.loads((tmp_path / "table.json").read_text())["siim"]["splits"]
    assert set(found) == {"calibration"}  # the test split stays closed
    metric = next(iter(found["calibration"]["050"]["metrics"]))
    assert found["calibration"]["050"]["differences"]["b"]["d"][metric]["mean"] == pytest.approx(taught - narrow)
    assert found["calibration"]["050"]["differences"]["a"]["d"][metric]["mean"] == pytest.approx(taught - usual)
    assert found["calibration"]["100"]["differences"]["b"]["d"][metric]["mean"] == 0


def test_a_teacher_is_the_mean_of_its_networks_and_stands_beside_every_seed(module, script, tmp_path):
    for seed in range(2):
        keep(tmp_path, f"a-w100-s{seed}", strength=0.8)
        keep(tmp_path, f"b-w100-s{seed}", strength=1.0)
        pupil = keep(tmp_path, f"e-w100-s{seed}", strength=1.2)
        keep(tmp_path, f"b-w050-s{seed}", strength=0.5)
    keep(tmp_path, "teacher_lite2-w100-s0", strength=2.0)
    module.tabulate(tmp_path / "table.json", open_test=(), bootstrap=50, keep=tmp_path)
    assert "teacher" not in (tmp_path / "table.json").read_text()  # of its two networks one is missing
    own = keep(tmp_path, "teacher_own-w100-s0", strength=1.0)
    mean = keep(tmp_path / "other", "teacher_own-w100-s0", strength=1.5)
    module.tabulate(tmp_path / "table.json", open_test=(), bootstrap=50, keep=tmp_path)
    found = json.loads((tmp_path / "table.json").read_text())["siim"]["splits"]["calibration"]
    for table in found.values():
        metric = next(iter(table["metrics"]))
        assert table["variants"]["teacher of e"][metric]["each"] == pytest.approx([mean, mean])
        assert table["variants"]["teacher of c"][metric]["each"] == pytest.approx([own, own])
    assert found["100"]["differences"]["teacher of e"]["e"][metric]["mean"] == pytest.approx(pupil - mean)
    shown = script("tables").students_of(found["100"])
    columns, _, *rows = ([cell.strip() for cell in row.split("|")[1:-1]] for row in shown.splitlines())
    own = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    assert own["teacher of e"]["seeds"] == "1"
    assert own["e"]["difference from its teacher"].startswith(f"−{mean - pupil:.3f}")
    assert own["b"]["difference from its teacher"] == "–"


def test_students_of_two_splits_are_not_compared(module, tmp_path):
    keep(tmp_path, "b-w100-s0", strength=1.0)
    keep(tmp_path, "d-w100-s0", strength=1.0, fingerprint="other")
    with pytest.raises(ConfigError, match="2 different splits"):
        module.tabulate(tmp_path / "table.json", open_test=(), bootstrap=50, keep=tmp_path)


def test_each_study_has_its_own_tables(module, tmp_path):
    keep(tmp_path, "b-w100-s0", strength=1.0)
    keep(tmp_path, "b-w100-s0", strength=1.0, fingerprint="other", study="all")
    shown = module.tabulate(tmp_path / "table.json", open_test=(), bootstrap=50, keep=tmp_path)
    assert set(json.loads((tmp_path / "table.json").read_text())) == {"siim", "all"}
    assert "all, calibration, width 100" in shown
    module.tabulate(tmp_path / "table.json", open_test=["all"], bootstrap=50, keep=tmp_path)
    found = json.loads((tmp_path / "table.json").read_text())
    assert {study: set(of["splits"]) for study, of in found.items()} == {
        "siim": {"calibration"},
        "all": {"calibration", "test"},
    }
    assert len((tmp_path / "test_split_opened.log").read_text().splitlines()) == 1
