"""The demonstration over seeds: one tiny seed from drawings to gains, and what a second call does."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="needs the extra train")

from pocketcxr.pipeline import demo

TINY = (
    "data.image_size=32",
    'teacher.backbones=["mobilenetv2_035"]',
    'teacher.weights=["scratch"]',
    "data.fractions=[0.3, 0.2, 0.5]",
    "teacher.image_size=32",
    "teacher.embedding_features=32",
    "teacher.epochs=1",
    "teacher.fusion_epochs=1",
    "views.count=1",
    'student.backbone="mobilenetv2_035"',
    'student.weights="scratch"',
    "student.epochs=1",
    "evaluation.bootstrap=30",
)


@pytest.fixture
def demo_seeds(script, monkeypatch):
    monkeypatch.setattr(demo, "PATIENTS", 48)
    monkeypatch.setattr(demo, "UNLABELLED", 6)
    monkeypatch.setattr(demo, "PIXELS", 96)
    return script("demo_seeds")


def test_a_seed_is_drawn_trained_compared_and_not_measured_twice(demo_seeds, tmp_path, monkeypatch):
    output = tmp_path / "seeds.json"
    changed = [part for one in TINY for part in ("--set", one)]
    assert demo_seeds.main([str(tmp_path / "runs"), "--seeds", "1", "-o", str(output), *changed]) == 0
    (found,) = json.loads(output.read_text(encoding="utf-8"))["seeds"]
    assert set(found["auroc"]) == {"teacher", "baseline student", "distilled student"}
    for name in ("teacher", "distilled student"):
        gap = found["gains"][name]
        assert gap["value"] == pytest.approx(
            found["auroc"][name]["value"] - found["auroc"]["baseline student"]["value"]
        )
        assert gap["low"] <= gap["value"] <= gap["high"]
    assert not list((tmp_path / "runs").iterdir())

    monkeypatch.setattr(demo_seeds, "measure_seed", None)  # calling it would fail
    assert demo_seeds.main([str(tmp_path / "runs"), "--seeds", "1", "-o", str(output), *changed]) == 0


def test_figures_of_other_settings_are_not_mixed(demo_seeds, tmp_path, capsys):
    output = tmp_path / "seeds.json"
    output.write_text(json.dumps({"settings": demo_seeds.settings_of(), "seeds": []}), encoding="utf-8")
    arguments = [str(tmp_path / "runs"), "-o", str(output), "--set", "student.epochs=99"]
    assert demo_seeds.main(arguments) == 2
    assert "holds figures of other settings" in capsys.readouterr().err


def test_every_stage_has_the_seed_and_nothing_else_differs(demo_seeds):
    first, second = (demo.demo_experiment(seed=seed) for seed in (1, 2))
    for stage in ("data", "teacher", "views", "student"):
        one, other = vars(getattr(first, stage)), vars(getattr(second, stage))
        assert {name for name in one if one[name] != other[name]} == {"seed"}, stage
    assert first.evaluation == second.evaluation
