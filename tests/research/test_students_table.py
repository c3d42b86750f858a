"""The comparison of students: figures that can be checked by hand, a test split that is not opened lightly."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the extra evaluate")

from pocketcxr.errors import ConfigError


@pytest.fixture
def module(script):
    return script("students_table")


@pytest.fixture
def made(module):
    """Three seeds of three variants on 240 images: ``both`` sees more than ``imagenet``, ``soft`` is its very equal."""
    generator = np.random.default_rng(0)
    truth = np.arange(240) % 2
    split = module.Split(
        name="calibration",
        truth=truth,
        sources=np.where(np.arange(240) < 160, "siim", "other"),
        members=np.arange(240),
        labels=("negative", "typical"),
        positive=1,
    )
    scores = []
    for seed in range(3):
        noise = generator.normal(0, 1, 240)
        for variant, strength in (("imagenet", 1.0), ("both", 2.0), ("soft", 1.0)):
            logit = strength * (2 * truth - 1) + noise
            scores.append(module.Scores(variant, seed, np.stack([-logit, logit], axis=1) / 2, 1.0))
    return module.table(scores, split, bootstrap=200)


def test_a_better_student_is_shown_and_an_equal_one_is_not(made):
    both, soft = made["differences"]["both"], made["differences"]["soft"]
    assert made["against"] == "imagenet"
    assert both["auroc_same_source"]["mean"] > 0.05
    assert both["auroc_same_source"]["patients"][0] > 0
    assert both["auroc_same_source"]["p_holm"] == pytest.approx(2 * 2 / 201)
    assert soft["auroc_same_source"]["mean"] == 0
    assert soft["auroc_same_source"]["p_holm"] == 1


def test_means_and_intervals_over_seeds_are_those_of_the_figures(made):
    row = made["variants"]["imagenet"]["accuracy"]
    assert row["mean"] == pytest.approx(np.mean(row["each"]))
    half = 4.302653 * np.std(row["each"], ddof=1) / 3**0.5  # t, two degrees of freedom
    assert row["seeds"] == pytest.approx((row["mean"] - half, row["mean"] + half), abs=1e-6)
    assert row["patients"][0] < row["mean"] < row["patients"][1]


def test_variants_stand_in_the_order_of_the_comparison(made):
    assert list(made["variants"]) == ["imagenet", "soft", "both"]


def test_holm_corrects_step_by_step(script):
    assert script("seeds").holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_without_a_source_that_has_both_classes_the_mean_over_classes_leads(module):
    truth = np.arange(40) % 2
    split = module.Split("calibration", truth, np.array(["other"] * 40), np.arange(40), ("a", "b"), 1)
    logit = (2 * truth - 1) + np.linspace(-1, 1, 40)
    found = module.table([module.Scores("imagenet", 0, np.stack([-logit, logit], 1), 1.0)], split, bootstrap=50)
    assert next(iter(found["metrics"])) == "auroc_macro"
    assert found["variants"]["imagenet"]["auroc_macro"]["seeds"] is None
    assert "| imagenet |" in module.students_of(found)


def test_table_and_plot_are_made_of_it(module, made, tmp_path):
    text = module.students_of(made)
    assert text.count("\n") == 4
    assert "| both |" in text
    module.plot(made, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 5000


def test_bad_input_gets_one_line_and_leaves_the_test_split_closed(module, tmp_path, capsys):
    with pytest.raises(ConfigError, match="VARIANT-sSEED"):
        module.name_of(tmp_path / "mine")
    folder = tmp_path / "imagenet-s0"
    folder.mkdir()
    assert module.main([str(folder), "-o", str(tmp_path / "t.json"), "--open-test"]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert not (tmp_path / "test_split_opened.log").exists()


def test_students_are_held_against_the_teacher_too(module):
    generator = np.random.default_rng(1)
    truth = np.arange(200) % 2
    split = module.Split("calibration", truth, np.array(["siim"] * 200), np.arange(200), ("a", "b"), 1)
    scores = []
    for variant, strength in (("imagenet", 1.0), ("both", 2.0), ("teacher", 2.0)):
        noise = generator.normal(0, 1, 200) if variant != "teacher" else noise  # noqa: F821  # the teacher errs as `both`
        logit = strength * (2 * truth - 1) + noise
        scores += [module.Scores(variant, seed, np.stack([-logit, logit], 1), 1.0) for seed in (0, 1)]
    found = module.table(scores, split, bootstrap=50)
    assert found["differences_from_teacher"]["both"]["auroc_same_source"]["mean"] == 0
    assert found["differences_from_teacher"]["imagenet"]["auroc_same_source"]["mean"] < -0.05
    assert "teacher" not in found["differences_from_teacher"]
