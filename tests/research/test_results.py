"""README.md, MODEL_CARD.md and the pages of docs/results show what the JSON files hold, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def results(script):
    pytest.importorskip("jinja2", reason="needs the extra evaluate")
    pytest.importorskip("huggingface_hub", reason="needs the extra evaluate")
    return script("results")


def _text(results, folder):
    return "\n".join(results.documents(folder).values())


def test_documents_are_those_that_the_results_give(results):
    for path, text in results.documents().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run  python research/results.py"


def test_readme_and_model_card_are_short(results):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 100
    assert readme.partition(results.BEGIN)[2].partition(results.END)[0].count("\n| ") - 2 <= 10
    card = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert len(card.splitlines()) <= 200
    assert card.split("---\n", 2)[2].lstrip().startswith("# Model card for ")


def test_kept_results_name_no_folder_of_a_machine():
    for path in (ROOT / "docs" / "results").glob("*"):
        if path.suffix in {".json", ".md"}:
            text = path.read_text(encoding="utf-8")
            assert not any(f"/{folder}/" in text for folder in ("tmp", "work", "home", "root")), path.name


def test_what_is_not_in_the_results_is_said_to_be_not_measured(results, tmp_path):
    for path, text in results.documents(tmp_path).items():
        assert path.name == "index.md" or results.pages.NOT_MEASURED in text, path.name


def test_a_figure_that_changes_changes_the_page(results, tmp_path):
    shipped = json.loads((ROOT / "docs" / "results" / "shipped_student.json").read_text(encoding="utf-8"))
    shipped["metrics"]["sources"]["siim"]["auroc"]["value"] = 0.1234
    (tmp_path / "shipped_student.json").write_text(json.dumps(shipped), encoding="utf-8")
    assert "0.123 (" in _text(results, tmp_path)
    assert "0.123 (" not in _text(results, results.RESULTS)


def test_the_criterion_of_unseen_sources_stands_in_readme_and_card_with_its_limit(results):
    shipped = json.loads((ROOT / "docs" / "results" / "shipped_student.json").read_text(encoding="utf-8"))
    one = next(one for one in shipped["audit"]["criteria"] if one["key"] == "unseen.accuracy_drop")
    shown, _, limit = one["words"].partition(", ")
    for name in ("README.md", "MODEL_CARD.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        line = next(line for line in text.splitlines() if line.startswith("| Accuracy drop at an unseen source"))
        assert shown in line
        assert limit in line
        assert ("FAIL" in line) == (one["outcome"] == "failed")


@pytest.mark.parametrize("renamed", [False, True])
def test_a_run_is_kept_with_keys_of_now_and_of_before(results, tmp_path, monkeypatch, renamed):
    figures = {"auroc": {"value": 0.9, "low": 0.8, "high": 0.95}}
    evaluation = {
        "headline": "h", "task": {}, "cautions": [], "data": {}, "environment": {},
        "models": {"teacher": {"figures": figures, "per_source": {"siim": figures}, "costs": {"parameters": 3}}},
        **(
            {"conclusions": [{"title": "q", "outcome": "shown", "text": "w", "more": 1}]}
            if renamed
            else {"verdicts": [{"question": "q", "answer": "shown", "words": "w", "more": 1}]}
        ),
        "settings": {"data": {"image_size": 64}, "teacher": {"epochs": 2}, "student": {"epochs": 3}},
    }  # fmt: skip
    run = tmp_path / "run"
    (run / "evaluation").mkdir(parents=True)
    (run / "evaluation" / "evaluation.json").write_text(json.dumps(evaluation))
    kept = results.keep(run, "siim_cpu")
    assert kept["conclusions"] == [{"title": "q", "outcome": "shown", "text": "w"}]
    assert kept["models"]["teacher"]["figures"]["auroc"]["value"] == 0.9
    assert kept["experiment"] == "research/siim_cpu.toml"
    folder, name = ("leave-one-source-out", "students.json") if renamed else ("without", "without.json")
    (run / folder).mkdir()
    recipe = dict.fromkeys(("backbone", "weights", "epochs", "learning_rate", "losses"), 1)
    (run / folder / name).write_text(json.dumps({"student": recipe, "start_from": {"student": recipe | {"epochs": 2}}}))
    assert [one["epochs"] for one in results._stages(run)] == [2, 1]


def test_a_runs_looks_at_the_test_split_are_kept_beside_the_results_once(results, tmp_path):
    log, run = tmp_path / "kept.log", tmp_path / "run"
    run.mkdir()
    log.write_text("2026-11-28T10:00:00+00:00 a\n2026-11-30T10:00:00+00:00 c\n")
    (run / "test_split_opened.log").write_text("2026-11-29T10:00:00+00:00 b\n")
    for _ in range(2):
        results.keep_log(run, log)
        assert [line[-1] for line in log.read_text().splitlines()] == ["a", "b", "c"]


def test_every_part_that_is_there_is_shown(results, tmp_path):
    difference = {"mean": 0.012, "patients": [0.001, 0.02], "p_holm": 0.04, "each": [0.012]}
    row = {"mean": 0.9, "patients": [0.88, 0.92], "each": [0.9, 0.9]}
    split = {
        "split": "test",
        "images": 12,
        "metrics": {"auroc_macro": "mean AUROC"},
        "variants": {"b": {"auroc_macro": row}, "c": {"auroc_macro": row}},
        "differences": {"b": {"c": {"auroc_macro": difference}}},
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
        "distillation_study": {"all": {"splits": {"calibration": {"050": split | {"patients": 5}}}}},
        "quantise": {
            "limits": limits,
            "candidates": [one],
            "chosen": 0,
            "test_split": tested,
            "audit": {"unchanged": True},
        },
        "input_gate": {"out_of_fold": {"ct": gate, "ct ieee8023": gate, "not_xray drawn": gate}, "rules_added": added},
        "local_calibration": {
            "draws": 20,
            "coverage": 0.9,
            "sources": {
                "siim": {
                    "calibrated_on": {
                        "50": {
                            "coverage": {
                                "before": {"mean": 0.6, "least": 0.5, "most": 0.7},
                                "after": {"mean": 0.9, "least": 0.8, "most": 1.0},
                            },
                            "ece": {
                                "before": {"mean": 0.2, "least": 0.1, "most": 0.3},
                                "after": {"mean": 0.04, "least": 0.0, "most": 0.1},
                            },
                            "sensitivity@screening": dict.fromkeys(
                                ("before", "after"), dict.fromkeys(("mean", "least", "most"))
                            ),
                        }
                    }
                }
            },
        },
        "frontier": {"machine": "here", "points": [point | {"auroc": {"value": 0.9, "low": None, "high": None}}]},
    }
    for name, table in kept.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(table), encoding="utf-8")
    text = _text(results, tmp_path)
    assert "| c | 0.900 (0.880 to 0.920) | 2 | +0.012 (+0.001 to +0.020) | 0.040 |" in text
    assert "Width 0.50, calibration split, 12 images of 5 patients:" in text
    assert "| per channel | 1.90× | 99.5% | −0.0010 | +0.0020 | 2.60 | **chosen** |" in text
    assert "Criteria of the audit: unchanged." in text
    assert "| siim | 50 | after | 0.900 (0.800 to 1.000) | 0.040 (0.000 to 0.100) | – |" in text
    assert "| CT slice | 250 | 99.6% (98.0% to 99.9%) |" in text
    assert "ct ieee8023" not in text
    assert "250 of 250 ct of ieee8023; of all laterals" in text
    assert "250 of 250 (100.0%)" in text  # synthetic images are not counted
    assert "| m, 160 px, int8 | 0.900 | – | 2.60 | 1.20 |" in text


def test_a_difference_is_shown_where_interval_and_paired_test_say_so(results):
    def said(low, p):
        one = {"mean": 0.01, "patients": [low, 0.02], "p_holm": p}
        of_width = {"100": {"differences": {"b": {"c": {"auroc": one}}}}}
        return results.pages.tables.difference({"all": {"splits": {"test": of_width}}}, "all", "c", "b")

    assert said(0.001, 0.04) == "+0.010 (+0.001 to +0.020)"
    assert said(0.001, 0.16).endswith("not shown")
    assert said(-0.001, 0.04).endswith("not shown")


def test_unseen_sources_are_told_one_by_one_with_their_recipe(results):
    figure = {"key": "unseen.accuracy", "title": "Accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "unit": "share"}
    table = {"columns": ["source", "accuracy, unseen", "AUROC"], "rows": [["there", "0.50 (0.40 to 0.60)", None]]}
    shipped = {
        "leave_one_source_out": [
            {"backbone": "wide", "weights": "pretrained", "epochs": 3},
            {"backbone": "narrow", "weights": "scratch", "epochs": 2},
        ],
        "audit": {"sections": {"unseen": {"measures": [figure], "tables": [table]}}},
    }
    text = results.pages.tables.unseen(shipped)
    assert "from ImageNet weights, on labels only, 3 epochs of wide, then 2 epochs of narrow: nothing" in text
    assert "| there | 0.50 (0.40 to 0.60) | – |" in text
    figure["value"] = None
    assert "| there |" not in results.pages.tables.unseen(shipped)  # the table is then the proxy's


def test_ratios_of_the_benchmarks_are_those_of_the_kept_rounds(results, tmp_path):
    speed = results.speed
    found = {
        "predict_speed": {
            "networks": {
                "net": {
                    "start": {"pocketcxr": {"cpu_s": [0.2, 0.2, 0.4]}, "pytorch": {"cpu_s": [3.0, 2.0, 2.0]}},
                    "folder": {"pocketcxr": {"cpu_ms": [10.0]}, "decode-scaled": {"cpu_ms": [6.0]}},
                }
            }
        },
        "against_torchdistill": {"seconds": {"pocketcxr, cached": [2.0, 3.0, 4.0], "torchdistill": [30.0, 33.0, 60.0]}},
        "teacher_costs": {},
    }
    start, folder, epoch = speed.ratios(results.pages.Kept(found))
    assert start.times == pytest.approx(10)  # the median of 15, 10 and 5
    assert start.outcome == "13: **missed**"
    assert folder.times == pytest.approx(0.6)
    assert folder.outcome == "0.75: **missed**"
    assert epoch.times == pytest.approx(11)
    assert epoch.outcome == ""
    text = results.pages.benchmarks(results.pages.Kept(found))
    assert "| predict, a folder of pictures: net | only decoding, as few pixels as predict asks for | 0.60 |" in text
    speed.plot([start, folder, epoch], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_growth_has_a_row_and_a_point_for_each_measurement(results, tmp_path):
    rows = [
        {"growing": what, "value": value, "images": images, "seconds": seconds, "processor_s": 2 * seconds, "mb": 99.6}
        for what, value, images, seconds in (
            ("images", 100, 100, 2.0),
            ("images", 400, 400, 4.0),
            ("pixels", 9, 50, 1.0),
        )
    ]
    found = {
        "date": "2026-01-01",
        "processors": 2,
        "load_average": [0.2, 1.8],
        "rounds": 3,
        "staying": {},
        "rows": rows,
    }
    shown = results.speed.growth(found)
    assert "| images | 400 | 4.0 | 100.0 | 20.0 | 100 |" in shown
    assert "| pixels | 9 | 1.0 | 50.0 | 40.0 | 100 |" in shown
    results.speed.plot_growth(found, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 5000
    assert results.pages.NOT_MEASURED in results.speed.growth({})


def test_history_shows_the_newest_comparisons_and_what_was_slower(results, tmp_path):
    figures = {"ratio": 1.2, "low": 1.1, "high": 1.3, "seconds": 2.4, "base_seconds": 2.0, "slower": True}
    lines = [
        {"date": f"2026-01-0{day}", "commit": f"new{day}", "base": "old", "measures": {"a folder": figures}}
        for day in range(1, 8)
    ]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    shown = results.speed.history(results._kept(tmp_path).files["history"])
    assert "| 2026-01-07 | new7 | old | a folder | 1.20 (1.10 to 1.30) | 2.40 | **slower** |" in shown
    assert shown.index("new7") < shown.index("new4")
    assert "new3" not in shown
    assert results.pages.NOT_MEASURED in results.speed.history([])
