"""Heatmaps show evidence where it is, nothing where there is none, and never overwrite one another."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from pocketcxr.imaging.reading import read_image
from pocketcxr.inference.heatmap_file import NARROWEST, RESEARCH_MARK, heatmap_png, write_heatmap
from pocketcxr.inference.saliency import LONGEST_SIDE, draw_heatmap, evidence_map, evidence_of, shown_label


def _saliency(*, row: int, column: int, height: float) -> np.ndarray:
    maps = np.zeros((2, 4, 4), dtype=np.float32)
    maps[1, row, column] = height
    return maps


def _colourfulness(overlay: np.ndarray) -> np.ndarray:
    channels = overlay.astype(int)
    return channels.max(axis=-1) - channels.min(axis=-1)


def test_colour_stands_where_the_evidence_is():
    evidence = evidence_map(_saliency(row=0, column=3, height=8.0), 1, temperature=1.0)
    colour = _colourfulness(draw_heatmap(np.full((160, 160), 0.5, dtype=np.float32), evidence))
    assert np.unravel_index(colour.argmax(), colour.shape)[0] < 60
    assert np.unravel_index(colour.argmax(), colour.shape)[1] > 100
    assert colour[100:, :60].max() == 0


def test_weak_evidence_never_reaches_full_colour():
    picture = np.full((80, 80), 0.5, dtype=np.float32)
    strong = draw_heatmap(picture, np.full((4, 4), 3.0, dtype=np.float32))
    weak = draw_heatmap(picture, np.full((4, 4), 0.1, dtype=np.float32))
    against = draw_heatmap(picture, np.full((4, 4), -3.0, dtype=np.float32))
    assert _colourfulness(strong).max() > 60
    assert _colourfulness(weak).max() < 20
    assert _colourfulness(against).max() == 0
    assert np.all(against == 128)


def test_what_all_classes_share_is_no_evidence():
    maps = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    shifted = maps + np.float32(5)
    np.testing.assert_allclose(
        evidence_map(maps, 2, temperature=2.0), evidence_map(shifted, 2, temperature=2.0), atol=1e-5
    )
    by_hand = (maps[2] - (maps[0] + maps[1]) / 2) / 2
    np.testing.assert_allclose(evidence_map(maps, 2, temperature=2.0), by_hand, atol=1e-6)


@pytest.mark.parametrize("shape, expected", [((100, 300), (100, 300)), ((4096, 2048), (LONGEST_SIDE, 512))])
def test_overlay_keeps_the_shape_and_is_never_huge(shape, expected):
    overlay = draw_heatmap(np.zeros(shape, dtype=np.float32), np.ones((4, 4), dtype=np.float32))
    assert overlay.shape == (*expected, 3)
    assert overlay.dtype == np.uint8


def test_of_a_padded_square_only_the_picture_is_coloured():
    # the square's upper quarter is border; evidence there lies outside an image twice as wide as high
    border = np.zeros((4, 4), dtype=np.float32)
    border[0] = 8
    wide = np.full((100, 200), 0.5, dtype=np.float32)
    assert _colourfulness(draw_heatmap(wide, border, aspect="squash"))[:20].max() > 60
    centre = np.zeros((4, 4), dtype=np.float32)
    centre[1] = 8  # the picture's upper half
    colour = _colourfulness(draw_heatmap(wide, centre, aspect="pad"))
    assert colour[10:40].mean() > 4 * colour[80:].mean() + 20


def test_decided_class_is_shown_and_the_positive_one_when_uncertain(predictor, save_picture, tmp_path):
    manifest = predictor.bundle.manifest
    for brightness, label in ((0.2, "dark"), (0.8, "bright"), (0.5, "bright")):
        prediction = predictor.predict_file(save_picture(tmp_path / "x.png", brightness=brightness))
        assert shown_label(prediction, manifest) == label


def test_two_inputs_of_one_stem_get_two_files_with_stable_names(predictor, save_picture, tmp_path):
    manifest = predictor.bundle.manifest
    written = []
    for path in (tmp_path / "a" / "scan.png", tmp_path / "b" / "scan.png", tmp_path / "a" / "scan.png"):
        radiograph = read_image(save_picture(path, brightness=0.8))
        prediction = predictor.predict_image(radiograph, str(path))
        written.append(write_heatmap(tmp_path / "maps", prediction, radiograph.pixels, manifest=manifest))
    assert written[0] != written[1]
    assert written[0] == written[2]
    assert all(path.name.startswith("scan-") for path in written)
    with Image.open(written[0]) as image:
        assert image.mode == "RGB"
        assert "bright" in image.text["Title"]
        assert str(tmp_path) not in "".join(image.text.values())


@pytest.mark.parametrize("shape", [(160, 160), (400, 1000), (300, 200)])
def test_file_shows_the_image_as_it_was_and_class_scale_and_mark_below(predictor, save_picture, tmp_path, shape):
    """Words and colours below the image depend on the class and on what full colour means, and on nothing else."""
    manifest = predictor.bundle.manifest
    radiograph = read_image(save_picture(tmp_path / "x.png", brightness=0.8, shape=shape))
    prediction = predictor.predict_image(radiograph, "x.png")

    def shown(prediction):
        with Image.open(io.BytesIO(heatmap_png(prediction, radiograph.pixels, manifest=manifest))) as image:
            assert image.text["Disclaimer"] == RESEARCH_MARK
            return np.asarray(image)

    image = shown(prediction)
    overlay = draw_heatmap(radiograph.pixels, evidence_of(prediction, manifest, "bright"))
    rows, columns = overlay.shape[:2]
    np.testing.assert_array_equal(image[:rows, :columns], overlay)
    assert image.shape[1] == max(columns, NARROWEST)
    assert not image[:rows, columns:].any()
    legend = image[rows:].astype(int)
    thirds = np.array_split(legend, 3)
    assert all((third.max(axis=2) > 200).sum() > 100 for third in thirds)  # words in each line
    coloured = legend.max(axis=2) - legend.min(axis=2) > 100
    assert coloured.sum(axis=1).max() > image.shape[1] / 8  # the scale
    np.testing.assert_array_equal(shown(dataclasses.replace(prediction, path="y.png"))[rows:], image[rows:])
    other = shown(dataclasses.replace(prediction, decision="dark"))
    assert (other[rows:] != image[rows:]).any()
    stronger = shown(dataclasses.replace(prediction, saliency=prediction.saliency * 9))
    changed = (stronger[rows:] != image[rows:]).any(axis=(1, 2))
    assert changed.any()
    assert not changed[: len(changed) // 4].any()  # the class is the same
    assert not changed[-len(changed) // 4 :].any()  # the mark too


def test_label_that_is_too_long_or_in_another_script_does_not_break_the_file(predictor, save_picture, tmp_path):
    radiograph = read_image(save_picture(tmp_path / "x.png", brightness=0.8))
    prediction = predictor.predict_image(radiograph, "x.png")
    for label in ("very long " * 30, "ذات‌الریه"):
        manifest = dataclasses.replace(predictor.bundle.manifest, labels=("dark", label), positive=label)
        data = heatmap_png(dataclasses.replace(prediction, decision=label), radiograph.pixels, manifest=manifest)
        with Image.open(io.BytesIO(data)) as image:
            assert image.width == NARROWEST
            assert label in image.text["Title"]


def test_picture_that_was_not_scored_has_no_heatmap(predictor, save_picture, tmp_path):
    prediction = predictor.predict_file(save_picture(tmp_path / "x.png", brightness=0.8))
    refused = dataclasses.replace(prediction, decision="refused", saliency=None)
    with pytest.raises(ValueError, match="not scored"):
        write_heatmap(tmp_path, refused, np.zeros((10, 10), dtype=np.float32), manifest=predictor.bundle.manifest)
