"""The demonstration as a newcomer starts it."""

import json

import pytest

from pocketcxr.pipeline.demo import NOTE, run_demo


@pytest.mark.slow
def test_the_demonstration_learns_something_and_says_that_its_films_are_drawings(tmp_path):
    result = run_demo(tmp_path / "demo", progress=False)
    table = json.loads((tmp_path / "demo" / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    for model in ("teacher", "distilled student", "exported file"):
        assert table["models"][model]["figures"]["auroc_macro"]["value"] > 0.75, model
    assert NOTE in result.summary
    assert str(result.report) in result.summary
    assert "DRAWINGS" in result.report.read_text(encoding="utf-8")
    assert list((tmp_path / "demo" / "heatmaps").glob("*.png"))
