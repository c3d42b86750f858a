"""The input checks on synthetic images and headers."""

import dataclasses

import numpy as np
import pytest

from pocketcxr.imaging.input_checks import contrast_in_doubt, contrast_of, refusal_reasons
from pocketcxr.imaging.reading import ImageMetadata, Radiograph, read_image_bytes

RAMP = np.linspace(0, 1, 200 * 220, dtype=np.float32).reshape(200, 220)


def picture(pixels=RAMP, **metadata):
    height, width = pixels.shape
    return Radiograph(pixels, ImageMetadata("PNG", width, height, 8, **metadata))


def header(**metadata):
    metadata = {"modality": "CR", "body_part": "CHEST", "view": "PA", **metadata}
    return Radiograph(RAMP, ImageMetadata("DICOM", 220, 200, 12, **metadata))


def codes(radiograph):
    return [reason.code for reason in refusal_reasons(radiograph)]


def test_an_ordinary_picture_may_be_scored():
    assert refusal_reasons(picture()) == ()
    assert refusal_reasons(header()) == ()


@pytest.mark.parametrize(
    ("shape", "expected"), [((96, 120), []), ((95, 120), ["too-small"]), ((120, 95), ["too-small"])]
)
def test_too_few_pixels(shape, expected):
    assert codes(picture(np.resize(RAMP, shape))) == expected


@pytest.mark.parametrize(("shape", "expected"), [((100, 250), []), ((100, 251), ["aspect"]), ((251, 100), ["aspect"])])
def test_strips(shape, expected):
    assert codes(picture(np.resize(RAMP, shape))) == expected


@pytest.mark.parametrize(
    ("contrast", "expected"), [(0.0, ["blank"]), (0.015, ["blank"]), (0.1, ["low-contrast"]), (0.15, [])]
)
def test_blank_and_flat_pictures(contrast, expected):
    assert codes(picture(RAMP * np.float32(contrast) + np.float32(0.4))) == expected


BELOW_12_PER_CENT, BELOW_2_PER_CENT = np.nextafter(0.12, 0), np.nextafter(0.02, 0)


@pytest.mark.parametrize(
    ("contrast", "expected"),
    [
        (0.12, []), (BELOW_12_PER_CENT, ["low-contrast"]),
        (0.02, ["low-contrast"]), (BELOW_2_PER_CENT, ["blank"]), (0.0, ["blank"]),
    ],
)  # fmt: skip
def test_contrast_at_its_limits_and_just_below(contrast, expected):
    assert codes(dataclasses.replace(picture(), contrast=float(contrast))) == expected


@pytest.mark.parametrize(("contrast", "doubtful"), [(0.12 + 0.05, False), (np.nextafter(0.12 + 0.05, 0), True)])
def test_contrast_is_in_doubt_below_seventeen_per_cent(contrast, doubtful):
    assert contrast_in_doubt(dataclasses.replace(picture(), contrast=float(contrast))) is doubtful


@pytest.mark.parametrize(
    ("shape", "region", "step"),
    [
        ((256, 256), None, 1), ((256, 257), None, 2), ((512, 512), None, 2), ((512, 513), None, 3),
        ((97, 101), None, 1), ((128, 128), (0, 0, 1, 1), 1), ((128, 129), (0, 0, 1, 1), 2),
    ],
)  # fmt: skip
def test_contrast_is_that_of_numpys_percentiles_of_every_so_many_pixels(shape, region, step):
    pixels = np.random.default_rng(3).beta(0.4, 0.6, shape).astype(np.float32)
    found = contrast_of(dataclasses.replace(picture(pixels), region=region))
    sample = pixels[::step, ::step].astype(np.float64)
    assert found == pytest.approx(np.percentile(sample, 99) - np.percentile(sample, 1), abs=1e-9)
    if step > 1:
        whole = pixels.astype(np.float64)
        assert found != pytest.approx(np.percentile(whole, 99) - np.percentile(whole, 1), abs=1e-9)


def test_contrast_of_bytes_is_that_of_the_same_picture_in_floating_point():
    samples = np.random.default_rng(4).integers(7, 190, (300, 280), dtype=np.uint8)
    radiograph = dataclasses.replace(picture(), samples=samples)
    assert contrast_of(radiograph) == contrast_of(picture(radiograph.pixels))


def test_contrast_of_the_fewest_pixels():
    assert contrast_of(picture(np.array([[0.25]], np.float32))) == 0
    assert contrast_of(picture(np.array([[0.0, 1.0]], np.float32))) == pytest.approx(0.98)


@pytest.mark.parametrize(("bits", "expected"), [(8, []), (9, ["low-contrast"]), (16, ["low-contrast"])])
@pytest.mark.parametrize("format_", ["PNG", "DICOM"])
def test_only_pictures_of_more_than_8_bits_without_a_window_must_use_their_range(bits, expected, format_):
    dark = RAMP * np.float32(0.0999)
    metadata = {"modality": "CR", "body_part": "CHEST", "view": "PA"} if format_ == "DICOM" else {}
    one = Radiograph(dark, ImageMetadata(format_, 220, 200, bits, **metadata), contrast=0.5)
    assert codes(one) == (expected if format_ == "PNG" else [])


@pytest.mark.parametrize(("top", "expected"), [(0.1, []), (np.nextafter(np.float32(0.1), 0), ["low-contrast"])])
def test_a_deep_picture_must_use_a_tenth_of_its_range(top, expected):
    deep = RAMP.copy() * 0
    deep[0, 0] = top
    assert codes(Radiograph(deep, ImageMetadata("PNG", 220, 200, 16), contrast=0.5)) == expected


def test_a_bright_marker_does_not_hide_a_blank_picture():
    pixels = np.full((300, 300), 0.1, dtype=np.float32)
    pixels[5:15, 5:25] = 1
    assert codes(picture(pixels)) == ["blank"]


def test_12_bit_values_left_in_16_bits_are_refused_with_advice():
    dark = dataclasses.replace(picture(RAMP * np.float32(4095 / 65535)).metadata, bits=16)
    reasons = refusal_reasons(Radiograph(RAMP * np.float32(4095 / 65535), dark))
    assert [reason.code for reason in reasons] == ["low-contrast"]
    assert "a 16-bit picture that uses 6% of its grey scale" in reasons[0].words
    assert "stretched to the full range" in reasons[0].words


def test_12_bit_values_left_in_a_16_bit_png_are_refused():
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray((RAMP * 4095).astype(np.uint16)).save(stream, "PNG")
    assert codes(read_image_bytes(stream.getvalue(), "x")) == ["low-contrast"]


def test_coloured_pictures():
    assert codes(picture(colour=True)) == ["coloured"]


@pytest.mark.parametrize(
    ("modality", "expected"),
    [
        ("CR", []), ("DX", []), ("RG", []), ("DR", []),
        ("CT", ["modality"]), ("MG", ["modality"]), ("RF", ["modality"]), ("XA", ["modality"]), ("US", ["modality"]),
        ("OT", []), ("SC", []), ("", []),
    ],
)  # fmt: skip
def test_modalities_of_a_chest_with_a_frontal_view(modality, expected):
    assert codes(header(modality=modality)) == expected


@pytest.mark.parametrize("modality", ["OT", "SC", ""])
@pytest.mark.parametrize("metadata", [{"body_part": ""}, {"view": ""}])
def test_an_unspecific_modality_needs_both_body_part_and_view(modality, metadata):
    assert codes(header(modality=modality, **metadata)) == ["modality"]


@pytest.mark.parametrize(("modality", "said"), [("OT", "modality OT and"), ("", "modality none and")])
def test_an_unspecific_modality_is_named(modality, said):
    assert said in refusal_reasons(header(modality=modality, view=""))[0].words


@pytest.mark.parametrize(
    "body_part",
    ["CHEST", "Chest", "THORAX", "2- TÒRAX", "Pecho", "PORT CHEST", "CHEST 1 VIEW", "LUNG", "CHEST_AP", "CHEST PA", ""],
)
def test_words_for_the_chest(body_part):
    assert codes(header(body_part=body_part)) == []


@pytest.mark.parametrize(
    "body_part",
    [
        "RIBCAGE",
        "RIB",
        "ABDOMEN",
        "CHESTABDOMEN",
        "CHEST ABDOMEN",
        "EXTREMITY",
        "KNEE",
        "HEART",
        "T SPINE",
        "PORTABLE",
        "?",
    ],
)
def test_words_for_other_body_parts(body_part):
    assert codes(header(body_part=body_part)) == ["body-part"]


@pytest.mark.parametrize(
    "view",
    ["PA", "AP", "ap", "AP SUPINE", "postero-anterior", "POSTERO_ANTERIOR", "antero-posterior", "ANTEROPOSTERIOR", ""],
)
def test_frontal_views(view):
    assert codes(header(view=view)) == []


@pytest.mark.parametrize(
    "view", ["LL", "RL", "LATERAL", "left lateral", "LLD", "RLO", "XX", "AP LORDOTIC", "AP LL", "2"]
)
def test_other_views(view):
    assert codes(header(view=view)) == ["view"]


def test_a_lateral_named_in_the_body_part():
    assert codes(header(body_part="CHEST LAT", view="")) == ["view"]


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        ("L\\F", []), ("LF\\F", []), ("L\\FR", []), ("R\\F", ["orientation"]), ("", []), ("L", []), ("\\", []),
        ("A\\F", ["view"]), ("P\\F", ["view"]), ("F\\L", ["orientation"]), ("L\\H", ["orientation"]),
    ],
)  # fmt: skip
def test_patient_orientation(orientation, expected):
    assert codes(header(orientation=orientation)) == expected


def test_all_reasons_are_told_at_once_and_in_words():
    reasons = refusal_reasons(header(modality="CT", body_part="HEAD", view="LL"))
    assert [reason.code for reason in reasons] == ["modality", "body-part", "view"]
    assert "modality 'CT'; only radiographs (CR, DX, RG) are scored" in reasons[0].words
    assert "body part 'HEAD'" in reasons[1].words
    assert "only frontal views (PA or AP)" in reasons[2].words


def test_free_text_of_a_header_is_not_repeated_at_length():
    reasons = refusal_reasons(header(body_part="KNEE OF MR JOHN DOE BORN 1950"))
    assert "DOE" not in reasons[0].words


def test_a_header_read_from_a_file_reaches_the_gate(make_dicom, ramp16):
    pixels = np.resize(ramp16, (120, 120)).astype(np.uint16)
    assert codes(read_image_bytes(make_dicom(pixels, BodyPartExamined="CHEST", ViewPosition="PA"), "x")) == []
    assert codes(read_image_bytes(make_dicom(pixels, BodyPartExamined="KNEE", ViewPosition="LL"), "x")) == [
        "body-part",
        "view",
    ]
    assert codes(read_image_bytes(make_dicom(pixels, PatientOrientation=["P", "F"]), "x")) == ["view"]
