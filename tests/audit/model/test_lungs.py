"""The lungs are found on drawings whose outlines are known, and implausible masks are not believed."""

import numpy as np
import pytest

from pocketcxr.audit.model.lungs import SIZE, classical_segment, clean, dice, find_lungs, iou, load_segmenter
from pocketcxr.errors import BundleError, InputError
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize


def _two_ellipses(*, left=(64, 40, 30, 14), right=(64, 88, 30, 14)):
    y, x = np.mgrid[:SIZE, :SIZE]
    chances = np.full((SIZE, SIZE), 0.02, np.float32)
    for cy, cx, ry, rx in (left, right):
        chances[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = 0.97
    return chances


def test_drawn_lungs_are_found(drawn):
    found = find_lungs(drawn.films[:, None])
    assert found.trusted.mean() > 0.9
    assert dice(found.masks, drawn.lungs).mean() > 0.93


def test_the_network_beats_thresholds(drawn):
    network = find_lungs(drawn.films[:, None])
    classical = find_lungs(drawn.films[:, None], classical_segment)
    assert dice(network.masks, drawn.lungs).mean() > dice(classical.masks, drawn.lungs).mean() + 0.05


def test_masks_have_the_size_of_the_images(drawn):
    large = np.stack([resize(film, size=150) for film in drawn.films[:2]])[:, None]
    assert find_lungs(large).masks.shape == (2, 150, 150)


def test_films_on_their_side_and_blank_ones_are_not_trusted(drawn):
    turned = np.ascontiguousarray(np.rot90(drawn.films[:30, None], 1, (2, 3)))
    assert find_lungs(turned).trusted.mean() < 0.1
    assert not find_lungs(np.full((2, 1, 96, 96), 0.5, np.float32)).trusted.any()


def test_two_plausible_lungs_are_trusted():
    mask, reason = clean(_two_ellipses())
    assert reason == ""
    assert mask[64, 40]
    assert mask[64, 88]
    assert not mask[64, 64]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"right": (64, 88, 1, 1)}, "one lung or none found"),
        ({"left": (64, 40, 14, 13), "right": (64, 88, 14, 13)}, "area implausible"),
        ({"left": (64, 36, 45, 25), "right": (64, 95, 16, 16)}, "the two lungs differ too much"),
        ({"left": (35, 64, 25, 22), "right": (95, 64, 25, 22)}, "not side by side"),
    ],
)
def test_implausible_masks_say_why(shape, reason):
    assert clean(_two_ellipses(**shape))[1] == reason


def test_an_unsure_network_is_not_trusted():
    assert clean(np.where(_two_ellipses() > 0.5, np.float32(0.6), np.float32(0.4)))[1] == "unsure"


def test_holes_are_filled_and_crumbs_dropped():
    chances = _two_ellipses()
    chances[60:66, 36:42] = 0
    chances[5:9, 5:9] = 1
    mask, _ = clean(chances)
    assert mask[63, 39]
    assert not mask[7, 7]


def test_dice_and_iou_by_hand():
    one = np.zeros((3, 4, 4), dtype=bool)
    other = one.copy()
    one[0, :2], other[0, 1:3] = True, True  # 8 and 8 pixels, 4 in common
    one[1], other[1] = True, True
    assert dice(one, other).tolist() == [0.5, 1.0, 1.0]  # the last: both empty
    assert iou(one, other).tolist() == pytest.approx([1 / 3, 1.0, 1.0])


def test_other_shapes_and_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected images"):
        find_lungs(np.zeros((2, 64, 64), np.float32))
    with pytest.raises(BundleError, match="cannot be read"):
        load_segmenter(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(BundleError, match="expected the lung segmenter"):
        load_segmenter(tmp_path / "bad.onnx")


def test_real_masks_that_the_network_did_not_learn_from_agree(real_data):
    """Held-out patients of covid-chestxray-dataset: those whose hash the training left out."""
    import csv
    import hashlib

    folder = real_data / "ieee8023"
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as stream:
        records = [record for record in csv.DictReader(stream) if record["modality"] == "X-ray"]
    images, masks = [], []
    for record in records:
        mask = folder / "annotations" / "lungVAE-masks" / f"{record['filename'].rpartition('.')[0]}_mask.png"
        if mask.is_file() and hashlib.sha256(record["patientid"].encode()).digest()[0] / 256 < 0.25:
            images.append(resize(read_image(folder / "images" / record["filename"]).pixels, size=SIZE)[None])
            masks.append(resize(read_image(mask).pixels, size=SIZE) >= 0.5)
    overlap = dice(find_lungs(np.stack(images)).masks, np.stack(masks))
    assert len(overlap) == 48
    assert overlap.mean() > 0.92
    assert np.quantile(overlap, 0.1) > 0.85


def test_the_documented_figures_are_the_measured_ones():
    import json
    from pathlib import Path

    root = Path(__file__).parents[3]
    table = json.loads((root / "docs" / "results" / "lungs.json").read_text(encoding="utf-8"))
    text = (root / "docs" / "explanation" / "model-audit.md").read_text(encoding="utf-8")
    held_out, drawings = "covid-chestxray-dataset, held-out patients", "drawings of another seed"
    for kind, words in (("network", "network"), ("thresholds", "thresholds and morphology")):
        real, drawn_ = table[kind][held_out], table[kind][drawings]
        row = f"| {words} | {real['dice']:.3f} | {real['dice_worst_tenth']:.3f} | {drawn_['dice']:.3f} |"
        assert row in text, row
    elsewhere = table["plausible elsewhere"]
    assert elsewhere["siim/train"]["trusted"] == elsewhere["siim/train"]["images"] == 200
    assert {elsewhere[name]["trusted"] for name in ("radiography", "kermany", "cxnet")} == {199}
    assert f"it trusts {elsewhere['not_cxr']['trusted']})" in text
