"""An image gets a label, "uncertain" or "refused", with reasons that a person can read."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from pocketcxr.data.synthetic.hospital import write_8bit
from pocketcxr.errors import UnreadableImageError
from pocketcxr.imaging.reading import read_image
from pocketcxr.inference.deciding import decide


def test_bright_and_dark_get_their_label_without_reasons(predictor, save_picture, tmp_path):
    bright = predictor.predict_file(save_picture(tmp_path / "b.png", brightness=0.8))
    assert (bright.decision, bright.reasons) == ("bright", ())
    assert bright.probabilities["bright"] == pytest.approx(1 / (1 + np.exp(-3)), abs=0.01)
    assert predictor.predict_file(save_picture(tmp_path / "d.png", brightness=0.2)).decision == "dark"


def test_between_the_classes_it_is_uncertain_and_says_why(predictor, save_picture, tmp_path):
    # both probabilities are about 0.5, each class needs 0.7 to stay possible: none does
    prediction = predictor.predict_file(save_picture(tmp_path / "u.png", brightness=0.5))
    assert prediction.decision == "uncertain"
    assert prediction.probabilities["bright"] == pytest.approx(0.5, abs=0.02)
    assert [reason.code for reason in prediction.reasons] == ["no-class"]
    assert "0.70" in prediction.reasons[0].words


def test_unlike_the_training_pictures_is_refused_without_probabilities(predictor, save_picture, tmp_path):
    prediction = predictor.predict_file(save_picture(tmp_path / "n.png", brightness=0.93))
    assert prediction.decision == "refused"
    assert prediction.probabilities == {}
    assert prediction.saliency is None
    assert prediction.novelty > 1
    assert [reason.code for reason in prediction.reasons] == ["novel"]


def test_what_the_input_checks_refuse_is_not_scored(predictor, save_picture, tmp_path):
    prediction = predictor.predict_file(save_picture(tmp_path / "s.png", brightness=0.8, shape=(20, 20)))
    assert prediction.decision == "refused"
    assert prediction.probabilities == {}
    assert prediction.novelty is None
    assert "too-small" in {reason.code for reason in prediction.reasons}


@pytest.mark.parametrize("brightness, code, words", [(0.15, "lateral", "a side view"), (0.85, "ct", "a CT slice")])
def test_the_input_filter_refuses_with_the_likeliest_other_kind(gated, save_picture, tmp_path, brightness, code, words):
    prediction = gated.predict_file(save_picture(tmp_path / "x.png", brightness=brightness))
    assert (prediction.decision, prediction.probabilities, prediction.saliency) == ("refused", {}, None)
    assert [(reason.code, reason.words) for reason in prediction.reasons] == [(code, words)]
    assert prediction.accepted < 0.5
    assert prediction.novelty < 1


def test_the_input_filter_lets_its_own_kind_through_as_it_was(gated, predictor, save_picture, tmp_path):
    path = save_picture(tmp_path / "x.png", brightness=0.7)
    prediction, without = gated.predict_file(path), predictor.predict_file(path)
    assert prediction.accepted > 0.5
    assert without.accepted is None
    assert (prediction.decision, prediction.probabilities) == (without.decision, without.probabilities)
    assert list(prediction.record()) == list(without.record())  # the input filter changes predictions, not their form


def test_input_filter_and_novelty_both_say_why(gated, save_picture, tmp_path):
    prediction = gated.predict_file(save_picture(tmp_path / "x.png", brightness=0.95))
    assert [reason.code for reason in prediction.reasons] == ["ct", "novel"]


def test_a_probability_that_is_no_number_is_refused(gated, save_picture, tmp_path):
    class Broken:
        manifest, identity = gated.bundle.manifest, "broken"

        def __call__(self, images):
            outputs = gated.bundle(images)
            return dataclasses.replace(outputs, input_kind=np.full_like(outputs.input_kind, np.nan))

    prediction = type(gated)(Broken()).predict_file(save_picture(tmp_path / "x.png", brightness=0.7))
    assert prediction.decision == "refused"


def answering(predictor, **arrays):
    """The predictor of a bundle that gives these outputs, whatever the image."""

    class Fixed:
        manifest, identity = predictor.bundle.manifest, "fixed"

        def __call__(self, images):
            outputs = predictor.bundle(images)
            changed = {name: np.array([value], np.float32) for name, value in arrays.items()}
            return dataclasses.replace(outputs, **changed)

    return type(predictor)(Fixed())


ONE = np.float32(1)


@pytest.mark.parametrize("novelty, refused", [(ONE, False), (np.nextafter(ONE, np.float32(2)), True), (0.0, False)])
def test_novelty_at_its_cut_off_is_scored_and_beyond_it_refused(predictor, save_picture, tmp_path, novelty, refused):
    path = save_picture(tmp_path / "x.png", brightness=0.7)
    prediction = answering(predictor, novelty=novelty).predict_file(path)
    assert (prediction.decision == "refused") is refused
    assert [reason.code for reason in prediction.reasons if reason.code == "novel"] == ["novel"] * refused


def test_the_input_filter_takes_an_image_at_its_limit_and_refuses_one_below(gated, save_picture, tmp_path):
    path = save_picture(tmp_path / "x.png", brightness=0.7)
    input_filter = gated.bundle.manifest.input_filter
    place = input_filter.kinds.index(input_filter.accept)
    limit = np.float32(input_filter.threshold)
    limit = limit if limit >= input_filter.threshold else np.nextafter(limit, ONE)  # the least that is not below
    for accepted, refused in ((limit, False), (np.nextafter(limit, np.float32(0)), True)):
        kinds = np.full(len(input_filter.kinds), (1 - accepted) / (len(input_filter.kinds) - 1), np.float32)
        kinds[place] = accepted
        assert (answering(gated, input_kind=kinds).predict_file(path).decision == "refused") is refused


@pytest.mark.parametrize("quantile", [0.25, 0.5, 0.75])
def test_a_class_at_the_limit_is_possible_and_one_below_it_is_not(tiny_manifest, quantile):
    manifest = dataclasses.replace(tiny_manifest, conformal_quantile=quantile)
    needed = 1 - quantile
    below = float(np.nextafter(needed, 0))
    assert decide({"dark": needed, "bright": 0.0}, manifest)[0] == "dark"
    assert decide({"dark": below, "bright": 0.0}, manifest)[1][0].code == "no-class"
    assert decide({"dark": needed, "bright": needed}, manifest)[1][0].code == "several-classes"
    assert decide({"dark": below, "bright": needed}, manifest)[0] == "bright"


@pytest.mark.parametrize("output", ["novelty", "probabilities"])
def test_an_image_that_gets_no_numbers_is_refused_and_says_so(predictor, save_picture, tmp_path, output):
    class Broken:
        manifest, identity = predictor.bundle.manifest, "broken"

        def __call__(self, images):
            outputs = predictor.bundle(images)
            return dataclasses.replace(outputs, **{output: np.full_like(getattr(outputs, output), np.nan)})

    prediction = type(predictor)(Broken()).predict_file(save_picture(tmp_path / "x.png", brightness=0.7))
    assert (prediction.decision, [reason.code for reason in prediction.reasons]) == ("refused", ["novel"])
    assert "no numbers for it" in prediction.reasons[0].words
    json.dumps(prediction.record(), allow_nan=False)


def test_unreadable_file_raises(predictor, tmp_path):
    path = tmp_path / "text.png"
    path.write_text("not an image")
    with pytest.raises(UnreadableImageError):
        predictor.predict_file(path)


def test_predict_image_names_the_prediction_as_asked(predictor, save_picture, tmp_path):
    radiograph = read_image(save_picture(tmp_path / "b.png", brightness=0.8))
    assert predictor.predict_image(radiograph, "upload 1").path == "upload 1"


def test_record_has_exactly_the_public_keys_and_is_json(predictor, save_picture, tmp_path):
    path = save_picture(tmp_path / "u.png", brightness=0.5)
    record = json.loads(json.dumps(predictor.predict_file(path).record()))
    assert list(record) == ["path", "decision", "probabilities", "novelty", "reasons", "bundle"]
    assert record["path"] == str(path)
    assert list(record["probabilities"]) == ["dark", "bright"]
    assert sum(record["probabilities"].values()) == pytest.approx(1)
    assert [list(reason) for reason in record["reasons"]] == [["code", "words"]]
    assert record["bundle"] == f"tiny 0.0.1 sha256:{predictor.bundle.sha256[:12]}"


@pytest.mark.parametrize(
    "quantile, probabilities, decision, code",
    [
        (0.3, (0.69, 0.31), "uncertain", "no-class"),
        (0.3, (0.70001, 0.29999), "dark", None),
        (0.6, (0.59, 0.41), "uncertain", "several-classes"),
        (0.6, (0.61, 0.39), "dark", None),
        (1.0, (1.0, 0.0), "uncertain", "several-classes"),
        (0.0, (1.0, 0.0), "dark", None),
    ],
)
def test_decision_follows_the_conformal_set(tiny_manifest, quantile, probabilities, decision, code):
    manifest = dataclasses.replace(tiny_manifest, conformal_quantile=quantile)
    found, reasons = decide(dict(zip(("dark", "bright"), probabilities, strict=True)), manifest)
    assert found == decision
    assert [reason.code for reason in reasons] == ([code] if code else [])


def test_padding_bundle_sees_black_borders_where_a_squashing_one_does_not(predictor, save_picture, tmp_path):
    manifest = predictor.bundle.manifest
    padding = dataclasses.replace(manifest, preprocessing=dataclasses.replace(manifest.preprocessing, aspect="pad"))
    other = type(predictor)(dataclasses.replace(predictor.bundle, manifest=padding))
    path = save_picture(tmp_path / "wide.png", brightness=0.8, shape=(120, 240))
    assert predictor.predict_file(path).decision == "bright"
    assert other.predict_file(path).probabilities["bright"] == pytest.approx(1 / (1 + np.exp(1)), abs=0.02)


def test_colour_photograph_is_refused(predictor, tmp_path):
    pixels = np.zeros((128, 128, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, 128)
    pixels[..., 2] = np.linspace(255, 0, 128)[:, None]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    assert predictor.predict_file(tmp_path / "photo.png").decision == "refused"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_drawing_is_told_beside_its_decision_and_a_copy_without_the_mark_is_not(predictor, tmp_path, suffix):
    image = Image.fromarray(np.linspace(150, 255, 300 * 300).reshape(300, 300).astype(np.uint8))
    write_8bit(image, tmp_path / f"drawn{suffix}")
    image.save(tmp_path / f"plain{suffix}")
    drawn, plain = (predictor.predict_file(tmp_path / f"{name}{suffix}") for name in ("drawn", "plain"))
    assert drawn.decision == plain.decision
    assert [reason.code for reason in drawn.reasons] == [*(reason.code for reason in plain.reasons), "synthetic"]
    assert "synthetic" in repr(drawn)
