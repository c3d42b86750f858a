"""README.md and MODEL_CARD.md show what docs/results holds, and nothing that was not measured."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def results():
    pytest.importorskip("jinja2", reason="needs the extra evaluate")
    spec = importlib.util.spec_from_file_location("results", ROOT / "research" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_and_model_card_are_those_that_the_results_give(results):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    card = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert results.readme_block() in readme, "run  python research/results.py"
    assert results.model_card() == card, "run  python research/results.py"


def test_kept_results_name_no_folder_of_a_machine(results):
    for path in (ROOT / "docs" / "results").glob("*"):
        if path.suffix in {".json", ".md"}:
            text = path.read_text(encoding="utf-8")
            assert not any(f"/{folder}/" in text for folder in ("tmp", "work", "home", "root")), path.name


def test_what_is_not_in_the_results_is_said_to_be_not_measured(results, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    text = results.block()
    assert text.count(results.NOT_MEASURED) == 10
    assert "No audited run was kept" in results.model_card()


def test_a_figure_that_changes_changes_the_page(results, tmp_path, monkeypatch):
    shipped = json.loads((ROOT / "docs" / "results" / "shipped_student.json").read_text(encoding="utf-8"))
    before = results.block()
    shipped["metrics"]["sources"]["siim"]["auroc"]["value"] = 0.1234
    (tmp_path / "shipped_student.json").write_text(json.dumps(shipped), encoding="utf-8")
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    after = results.block()
    assert "0.123 (" in after
    assert "0.123 (" not in before


def test_every_part_that_is_there_is_shown(results, tmp_path, monkeypatch):
    difference = {"mean": 0.012, "patients": [0.001, 0.02], "p_holm": 0.04, "each": [0.012]}
    row = {"mean": 0.9, "patients": [0.88, 0.92], "each": [0.9, 0.9]}
    split = {
        "split": "test",
        "images": 12,
        "against": "imagenet",
        "metrics": {"auroc_macro": "mean AUROC"},
        "variants": {"imagenet": {"auroc_macro": row}, "both": {"auroc_macro": row}},
        "differences": {"both": {"auroc_macro": difference}},
    }
    figures = {"agreement": 0.995, "auroc_loss": 0.001, "ece_rise": 0.002}
    one = {"words": "per channel", "speed": 1.9, "bytes": 2_600_000, "passes": True, "figures": figures}
    limits = {"auroc_loss": 0.003, "ece_rise": 0.01, "agreement": 0.99, "bytes": 3_000_000}
    tested = {
        "images": 7,
        "float": {"auroc": 0.9, "ece": 0.03},
        "int8": {**figures, "auroc": 0.9, "ece": 0.03},
        "misses": [],
    }
    gate = {"images": 250, "refused": 249, "share": 0.996, "wilson": [0.98, 0.999]}
    added = {"what": "rules", "ct ieee8023": {"images": 250, "refused": 250}}
    point = {
        "name": "s",
        "backbone": "m",
        "image_size": 160,
        "int8": True,
        "bytes": 2_600_000,
        "ms": 1.2,
        "metric": "AUROC",
    }
    kept = {
        "students_table": {"splits": {"test": split, "calibration": split}, "chosen_on_calibration": "both"},
        "quantise": {
            "limits": limits,
            "candidates": [one],
            "chosen": 0,
            "test_split": tested,
            "audit": {"unchanged": True},
        },
        "input_gate": {"out_of_fold": {"ct": gate, "ct ieee8023": gate, "not_xray drawn": gate}, "rules_added": added},
        "frontier": {"machine": "here", "points": [point | {"auroc": {"value": 0.9, "low": None, "high": None}}]},
    }
    for name, table in kept.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(table), encoding="utf-8")
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    text = results.block()
    assert "| both | 0.900 (0.880 to 0.920) | 2 | +0.012 (+0.001 to +0.020) | 0.040 |" in text
    assert "| per channel | 1.90× | 99.5% | −0.0010 | +0.0020 | 2.60 | **chosen** |" in text
    assert "Gates of the audit: unchanged." in text
    assert "| ct | 250 | 99.6% (98.0% to 99.9%) |" in text
    assert "ct ieee8023" not in text
    assert "250 of 250 ct of ieee8023; of all laterals" in text
    assert "250 of 250 (100.0%)" in text  # what was drawn is no real stranger
    assert "| m, 160 px, int8 | 0.900 | – | 2.60 | 1.20 |" in text


def test_unseen_sources_are_told_one_by_one_with_their_recipe(results):
    figure = {"title": "Accuracy at them", "value": 0.5, "low": 0.4, "high": 0.6, "unit": "share"}
    table = {"columns": ["source", "accuracy, not seen", "AUROC"], "rows": [["there", "0.50 (0.40 to 0.60)", None]]}
    shipped = {
        "without": [
            {"backbone": "wide", "weights": "pretrained", "epochs": 3},
            {"backbone": "narrow", "weights": "scratch", "epochs": 2},
        ],
        "audit": {"sections": {"unseen": {"measures": {"unseen.accuracy": figure}, "tables": [table]}}},
    }
    text = results._unseen(shipped)
    assert "from ImageNet weights, on labels only, 3 epochs of wide, then 2 epochs of narrow: nothing" in text
    assert "| there | 0.50 (0.40 to 0.60) | – |" in text
    shipped["audit"]["sections"]["unseen"]["measures"]["unseen.accuracy"]["value"] = None
    assert "| there |" not in results._unseen(shipped)  # the table is then the stand-in's
