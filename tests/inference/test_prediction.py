"""A prediction shows itself: heatmap as an array, overlay as an image, one line, and HTML that is safe."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from pocketcxr.errors import ConfigError, InputError, UnreadableImageError, UnusableImageError
from pocketcxr.inference.prediction import Prediction
from pocketcxr.inference.saliency import draw_heatmap, evidence_map


def test_heatmap_has_the_images_size_and_the_values_of_the_overlay(predictor, save_picture, tmp_path):
    path = save_picture(tmp_path / "x.png", brightness=0.8, shape=(300, 500))
    prediction = predictor.predict(path)
    heatmap = prediction.heatmap()
    assert (heatmap.shape, heatmap.dtype) == ((300, 500), np.float32)
    assert 0 <= heatmap.min() < heatmap.max() <= 1
    overlay = prediction.overlay()
    assert (overlay.mode, overlay.size) == ("RGB", (500, 300))
    scored, radiograph = predictor.read_and_predict(path, "x")
    evidence = evidence_map(scored.saliency, 1, temperature=predictor.bundle.manifest.temperature)
    np.testing.assert_array_equal(np.asarray(overlay), draw_heatmap(radiograph.pixels, evidence))


def test_heatmaps_of_two_labels_exclude_each_other(predictor, save_picture, tmp_path):
    prediction = predictor.predict(save_picture(tmp_path / "x.png", brightness=0.8))
    bright, dark = prediction.heatmap("bright"), prediction.heatmap("dark")
    np.testing.assert_array_equal(bright, prediction.heatmap())
    assert not np.any((bright > 0) & (dark > 0))
    assert np.any(bright > 0)


@pytest.mark.parametrize("label", ["", "nothing", 5])
def test_a_label_that_the_bundle_has_not_is_refused(predictor, save_picture, tmp_path, label):
    prediction = predictor.predict(save_picture(tmp_path / "x.png", brightness=0.8))
    for method in (prediction.heatmap, prediction.overlay):
        with pytest.raises(ConfigError, match="expected one of dark, bright"):
            method(label)


def test_what_was_not_scored_has_no_heatmap(predictor, save_picture, tmp_path):
    refused = predictor.predict(save_picture(tmp_path / "small.png", brightness=0.8, shape=(20, 20)))
    (failed,) = predictor.predict_many(tmp_path / "absent.png")
    record = Prediction.from_record(predictor.predict(save_picture(tmp_path / "x.png", brightness=0.8)).record())
    for prediction, said in ((refused, "decision refused"), (failed, "decision error"), (record, "holds no image")):
        with pytest.raises(UnusableImageError, match=said):
            prediction.heatmap()


def test_a_file_that_is_gone_or_has_changed_is_said(predictor, save_picture, tmp_path):
    path = save_picture(tmp_path / "x.png", brightness=0.8)
    prediction = predictor.predict(path)
    save_picture(path, brightness=0.8, shape=(20, 20))
    with pytest.raises(InputError, match="has changed"):
        prediction.heatmap()
    path.unlink()
    with pytest.raises(UnreadableImageError, match="no such file"):
        prediction.overlay()
    assert "<img" not in prediction._repr_html_()
    assert "<b>bright</b>" in prediction._repr_html_()


def test_an_array_can_be_changed_afterwards(predictor):
    array = np.broadcast_to(np.linspace(0.7, 0.9, 160), (160, 160)).copy()
    prediction = predictor.predict(array)
    before = prediction.heatmap()
    array[:] = 0
    np.testing.assert_array_equal(prediction.heatmap(), before)


def test_repr_is_one_readable_line(predictor, save_picture, tmp_path):
    shown = repr(predictor.predict(save_picture(tmp_path / "u.png", brightness=0.5)))
    assert re.fullmatch(r"<Prediction '.*u\.png': uncertain; dark 0\.\d{3}, bright 0\.\d{3}; novelty .*>", shown)
    assert "no class is probable enough" in shown
    assert repr(predictor).startswith(f"<Predictor tiny 0.0.1 sha256:{predictor.bundle.sha256[:12]}: dark, bright;")


def test_html_is_self_contained_and_escaped(predictor, save_picture, tmp_path):
    folder = tmp_path / "<script>alert(1)<"
    prediction = predictor.predict(save_picture(folder / "b&'\".png", brightness=0.8, shape=(1200, 1000)))
    html = prediction._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "Research use only; not a medical device." in html
    assert "<b>bright</b>" in html
    assert f"{prediction.probabilities['bright']:.3f}" in html
    assert not re.search(r"https?:|src='(?!data:)", html)
    (encoded,) = re.findall(r"base64,([A-Za-z0-9+/=]+)'", html)
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert max(picture.size) <= 384
    assert picture.mode == "RGB"


def test_html_of_a_refusal_says_why_without_an_image(predictor, save_picture, tmp_path):
    refused = predictor.predict(save_picture(tmp_path / "small.png", brightness=0.8, shape=(20, 20)))
    html = refused._repr_html_()
    assert "<b>refused</b>" in html
    assert "at least 96 a side" in html
    assert "<img" not in html
