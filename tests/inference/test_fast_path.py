"""The fast path gives the plain one's predictions: the same decisions, probabilities within 0.005."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketcxr.bundle.format import WEIGHTS_FOLDER
from pocketcxr.inference.predictor import TOLERANCE, Predictor
from pocketcxr.inference.session import load_bundle

FOLDER = Path(os.environ.get("POCKETCXR_DATA", "/nowhere"))
BUNDLE = os.environ.get("POCKETCXR_BUNDLE") or next(map(str, WEIGHTS_FOLDER.glob("*.onnx")), "")


def _agree(fast, exact, path):
    quick, plain = fast.predict_file(path), exact.predict_file(path)
    assert quick.decision == plain.decision, path.name
    assert [reason.code for reason in quick.reasons] == [reason.code for reason in plain.reasons], path.name
    assert quick.probabilities.keys() == plain.probabilities.keys()
    return max(
        (abs(quick.probabilities[label] - plain.probabilities[label]) for label in plain.probabilities), default=0
    )


def test_drawn_images_get_the_same_predictions(predictor, tmp_path):
    exact = Predictor(predictor.bundle, exact=True)
    generator = np.random.default_rng(0)
    reduced = 0
    for number in range(12):
        ramp = np.linspace(-60, 60, 900) + 10 * generator.normal(size=(1100, 900))
        pixels = np.clip(128 + 8 * (number - 6) + ramp, 0, 255).astype(np.uint8)
        path = tmp_path / f"{number}.{('jpg', 'png')[number % 2]}"
        Image.fromarray(pixels).save(path)
        reduced += predictor.read_and_predict(path, "x")[1].region is not None
        assert _agree(predictor, exact, path) <= TOLERANCE
    assert reduced > 6


def test_an_answer_at_a_limit_is_decided_on_all_pixels(predictor, save_picture, tmp_path):
    path = save_picture(tmp_path / "x.png", brightness=0.6, shape=(1000, 1000))
    probability = predictor.predict_file(path).probabilities["bright"]
    assert predictor.read_and_predict(path, "x")[1].region is not None
    for limit, whole in ((probability + 0.001, True), (probability - 0.02, False)):
        manifest = dataclasses.replace(predictor.bundle.manifest, conformal_quantile=1 - limit)
        near = Predictor(dataclasses.replace(predictor.bundle, manifest=manifest))
        assert (near.read_and_predict(path, "x")[1].region is None) == whole


def test_a_picture_at_the_learned_gates_limit_is_decided_on_all_pixels(gated, save_picture, tmp_path):
    path = save_picture(tmp_path / "x.png", brightness=0.74, shape=(1000, 1000))
    accepted = gated.predict_file(path).accepted
    for threshold, whole in ((accepted - 0.01, True), (accepted + 0.01, True), (accepted - 0.2, False)):
        input_filter = dataclasses.replace(gated.bundle.manifest.input_filter, threshold=threshold)
        manifest = dataclasses.replace(gated.bundle.manifest, input_filter=input_filter)
        near = Predictor(dataclasses.replace(gated.bundle, manifest=manifest))
        assert (near.read_and_predict(path, "x")[1].region is None) == whole


def test_exact_reads_every_pixel(predictor, save_picture, tmp_path):
    path = save_picture(tmp_path / "x.png", brightness=0.8, shape=(1000, 1000))
    assert Predictor(predictor.bundle, exact=True).read_and_predict(path, "x")[1].pixels.shape == (1000, 1000)


def test_pictures_for_heatmaps_keep_what_these_show(predictor, save_picture, tmp_path):
    path = save_picture(tmp_path / "x.png", brightness=0.8, shape=(3000, 3000))
    kept = Predictor(predictor.bundle, smallest_side=1024).read_and_predict(path, "x")[1].pixels.shape
    assert kept == (1500, 1500)


@pytest.mark.skipif(
    not (FOLDER / "dicom").is_dir() or not BUNDLE,
    reason="POCKETCXR_DATA names no folder with dicom/ and full_size/, or POCKETCXR_BUNDLE no bundle",
)
def test_real_files_get_the_same_predictions_within_the_tolerance():
    bundle = load_bundle(Path(BUNDLE), threads=1)
    fast, exact = Predictor(bundle), Predictor(bundle, exact=True)
    paths = [*sorted((FOLDER / "full_size").iterdir()), *sorted((FOLDER / "dicom").iterdir())]
    differences = {path.name: _agree(fast, exact, path) for path in paths}
    assert len(differences) == 22
    assert max(differences.values()) <= TOLERANCE, differences
