"""The decisions by which an int8 file is compared are those that a prediction makes of the same outputs."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import recomputed

pytest.importorskip("torch", reason="needs the extra train")

from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.bundle.manifest import InputFilter
from pocketcxr.export.int8.bench import NOVEL, UNCERTAIN, Bench
from pocketcxr.imaging.radiograph import ImageMetadata, Radiograph
from pocketcxr.inference.predictor import Predictor

IMAGES = 400
KINDS = ("frontal", "lateral", "ct")


@pytest.mark.parametrize("filtered", [False, True])
def test_both_decide_alike(tiny_manifest, filtered):
    rng = np.random.default_rng(6)
    table = recomputed.probabilities(rng.normal(0, 1.5, (IMAGES, 2)), 1).astype(np.float32)
    novelty = rng.uniform(0.2, 1.2, IMAGES).astype(np.float32)
    novelty[:20] = 1  # at the cut-off
    kinds = recomputed.probabilities(rng.normal(0, 1, (IMAGES, 3)) + np.array([1, 0, 0]), 1).astype(np.float32)
    input_filter = InputFilter(KINDS, "frontal", 0.25, {"lateral": "a side view", "ct": "a slice"})
    manifest = dataclasses.replace(
        tiny_manifest, conformal_quantile=0.4, input_filter=input_filter if filtered else None
    )
    arrays = {"probabilities": table, "novelty": novelty, "input_kind": kinds}
    bench = SimpleNamespace(
        manifest=manifest,
        dataset=SimpleNamespace(labels=rng.integers(0, 2, IMAGES)),
        run=lambda _graph, positions, *names: [arrays[name][positions] for name in names],
        _filter_output=lambda _graph: ["input_kind"] if filtered else [],
    )
    positions = np.arange(IMAGES)
    found = Bench.outputs(bench, None, 0.4, positions)
    np.testing.assert_array_equal(found.probabilities, table)
    np.testing.assert_array_equal(found.labels, bench.dataset.labels)

    ramp = np.linspace(0, 1, 96 * 96, dtype=np.float32).reshape(96, 96)
    radiograph = Radiograph(ramp, ImageMetadata("PNG", 96, 96, 8))
    names = {"dark": 0, "bright": 1, "uncertain": UNCERTAIN}
    seen = set()
    for i in positions:
        maps = np.zeros((1, 2, 4, 4), np.float32)
        kind = kinds[i : i + 1] if filtered else None
        one = ModelOutputs(table[i : i + 1], table[i : i + 1], table[i : i + 1], maps, novelty[i : i + 1], kind)
        predictor = Predictor(_Answers(manifest, one))
        prediction = predictor.predict_image(radiograph, "x")
        codes = [reason.code for reason in prediction.reasons]
        if prediction.decision != "refused":
            expected = names[prediction.decision]
        elif codes[0] in KINDS:
            expected = NOVEL - 1 - int(kinds[i].argmax())
        else:
            expected = NOVEL
        assert found.decisions[i] == expected, (table[i], novelty[i], kinds[i], codes)
        seen.add(expected)
    assert {0, 1, UNCERTAIN, NOVEL} <= seen


class _Answers:
    """A bundle that gives the same outputs to every image."""

    def __init__(self, manifest, outputs):
        self.manifest, self.identity, self.outputs = manifest, "x", outputs

    def __call__(self, images):
        return self.outputs
