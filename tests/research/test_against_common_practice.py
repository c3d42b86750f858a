"""The bundle beside common practice: means over seeds, paired differences that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the extra evaluate")
pytest.importorskip("torch", reason="needs the extra train")


@pytest.fixture
def module(script):
    return script("against_common_practice")


@pytest.fixture
def answers(module):
    truth = np.arange(200) % 2
    noise = np.random.default_rng(0).normal(0, 1, (3, 200))

    def two(name, strength, seed):
        logit = strength * (2 * truth - 1) + noise[seed]
        positive = 1 / (1 + np.exp(-logit))
        return module.Answers(name, np.stack([1 - positive, positive], 1), truth, ("normal", "covid19"), "covid19")

    def three(strength):
        of = two("bundle", strength, 0)
        spread = np.stack([of.probabilities[:, 0], np.zeros(200), of.probabilities[:, 1]], 1)
        labels = ("normal", "pneumonia", "covid19")
        return module.Answers("bundle", spread, 2 * truth, labels, "covid19")

    return two, three


def test_a_better_bundle_is_shown_to_be_better(module, answers):
    two, three = answers
    rivals = [two("s0", 0.5, 0), two("s1", 0.5, 1)]
    found = module.compare(three(2.0), rivals, np.arange(200), count=300)
    gap = found["differences"]["auroc"]
    each = found["models"]["common_practice"]["auroc"]["each"]
    assert len(each) == 2
    assert found["models"]["common_practice"]["auroc"]["value"] == pytest.approx(np.mean(each))
    assert gap["value"] == pytest.approx(found["models"]["bundle"]["auroc"]["value"] - np.mean(each))
    assert gap["low"] > 0
    assert gap["p"] == pytest.approx(2 / 301)


def test_the_same_answers_among_three_classes_and_between_two_do_not_differ(module, answers):
    two, three = answers
    found = module.compare(three(1.0), [two("s0", 1.0, 0)], np.arange(200), count=50)
    for name in module.METRICS:
        assert found["differences"][name]["value"] == pytest.approx(0, abs=1e-12)
    assert found["differences"]["auroc"]["p"] == 1.0


def test_a_folder_without_a_run_is_one_line_and_not_a_traceback(module, tmp_path, capsys):
    bundle = tmp_path / "b.onnx"
    bundle.write_bytes(b"no bundle")
    status = module.main([str(bundle), str(tmp_path), "-o", str(tmp_path / "out.json")])
    assert status == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out.json").exists()
