"""DICOM files: encodings, colours, headers, and what is refused."""

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pocketcxr.errors import UnusableImageError
from pocketcxr.imaging.file_type import looks_like_dicom
from pocketcxr.imaging.reading import read_image_bytes

LOSSLESS = [JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless]


def read(data):
    return read_image_bytes(data, "radiograph")


def noise(dtype, stored, shape=(34, 46)):
    low, high = (0, 2**stored) if np.dtype(dtype).kind == "u" else (-(2 ** (stored - 1)), 2 ** (stored - 1))
    smooth = np.linspace(low, high - 1, shape[0] * shape[1]).reshape(shape)
    return np.clip(smooth + np.random.default_rng(7).normal(0, stored, shape), low, high - 1).astype(dtype)


# --- encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_native_encodings(syntax, make_dicom, ramp16):
    np.testing.assert_allclose(read(make_dicom(ramp16, syntax=syntax)).pixels, ramp16 / 1999, atol=1e-6)


def test_big_endian(make_dataset, to_bytes, ramp16):
    dataset = make_dataset(ramp16, syntax=ExplicitVRBigEndian)
    dataset.PixelData = ramp16.astype(">u2").tobytes()
    np.testing.assert_allclose(read(to_bytes(dataset)).pixels, ramp16 / 1999, atol=1e-6)


def test_deflated(make_dicom, ramp16):
    data = make_dicom(ramp16, syntax=DeflatedExplicitVRLittleEndian)
    np.testing.assert_allclose(read(data).pixels, ramp16 / 1999, atol=1e-6)


@pytest.mark.parametrize("trailing", [b"", b"\0", b"\0\0\0"])
def test_a_large_deflated_picture_is_read_whatever_pads_it(make_dicom, trailing):
    data = make_dicom(
        np.arange(1000 * 1100, dtype=np.uint16).reshape(1000, 1100), syntax=DeflatedExplicitVRLittleEndian
    )
    assert read(data + trailing).pixels.shape == (1000, 1100)


@pytest.mark.parametrize("stored", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.keyword)
def test_lossless_compression_gives_the_native_pixels(syntax, stored, make_dataset, to_bytes, compress):
    pixels = noise(np.uint8 if stored == 8 else np.uint16, stored)
    elements = {"BitsStored": stored, "WindowCenter": 2 ** (stored - 1), "WindowWidth": 2**stored}
    native = read(to_bytes(make_dataset(pixels, **elements)))
    compressed = read(compress(make_dataset(pixels, **elements), syntax))
    np.testing.assert_array_equal(compressed.pixels, native.pixels)
    assert np.ptp(compressed.pixels) > 0.9


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless, RLELossless], ids=lambda uid: uid.keyword)
def test_signed_compressed_pixels(syntax, make_dataset, to_bytes, compress):
    pixels = noise(np.int16, 16)
    native = read(to_bytes(make_dataset(pixels)))
    np.testing.assert_array_equal(read(compress(make_dataset(pixels), syntax)).pixels, native.pixels)


def test_jpeg_baseline(make_dataset, compress):
    pixels = noise(np.uint8, 8)
    assert np.abs(read(compress(make_dataset(pixels), JPEGBaseline8Bit)).pixels - pixels / 255).max() < 0.03


def test_a_file_without_meta_or_preamble(make_dataset, without_file_meta, ramp16):
    data = without_file_meta(make_dataset(ramp16, BitsStored=12, PhotometricInterpretation="MONOCHROME1"))
    assert data[:2] == b"\x08\x00"
    np.testing.assert_allclose(read(data).pixels, 1 - ramp16 / 1999, atol=1e-6)


def test_a_preamble_that_is_the_header_of_a_tiff_makes_no_tiff(make_dicom, ramp16):
    data = b"II*\0" + make_dicom(ramp16)[4:]
    assert read_image_bytes(data, "dual.dcm").metadata.format == "DICOM"


def test_text_and_pictures_do_not_look_like_dicom():
    assert not looks_like_dicom(b"\x08\x00 begins with a backspace")
    assert not looks_like_dicom(b"\x02\x00\x00\x00" + bytes(400))
    assert not looks_like_dicom(b"\x08\x00")
    assert looks_like_dicom(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100")


# --- colour ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stripes():
    """[32, 48, 3] uint8: red, green, blue and grey stripes."""
    samples = np.zeros((32, 48, 3), dtype=np.uint8)
    samples[:, :12, 0] = samples[:, 12:24, 1] = samples[:, 24:36, 2] = 255
    samples[:, 36:] = 128
    return samples


LUMINANCES = np.array([0.299, 0.587, 0.114, 128 / 255])


def test_rgb_secondary_capture(make_dicom, stripes):
    result = read(make_dicom(stripes))
    np.testing.assert_allclose(result.pixels[0, 6::12], LUMINANCES, atol=1e-5)
    assert result.metadata.colour


def test_rgb_by_plane(make_dataset, to_bytes, stripes):
    dataset = make_dataset(stripes, PlanarConfiguration=1)
    dataset.PixelData = np.ascontiguousarray(stripes.transpose(2, 0, 1)).tobytes()
    np.testing.assert_allclose(read(to_bytes(dataset)).pixels[0, 6::12], LUMINANCES, atol=1e-5)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless, RLELossless], ids=lambda uid: uid.keyword)
def test_compressed_colour(syntax, make_dataset, compress, stripes):
    result = read(compress(make_dataset(stripes), syntax))
    assert np.abs(result.pixels[8, 6::12] - LUMINANCES).max() < 0.02
    assert result.metadata.colour


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless], ids=lambda uid: uid.keyword)
def test_colour_in_codecs_of_grey_pictures_is_refused(syntax, make_dataset, compress, stripes):
    with pytest.raises(UnusableImageError, match="export it grey or uncompressed"):
        read(compress(make_dataset(stripes), syntax))


def test_native_ybr(make_dataset, to_bytes, stripes):
    from pydicom.pixels.processing import convert_color_space

    ybr = convert_color_space(stripes, "RGB", "YBR_FULL")
    result = read(to_bytes(make_dataset(ybr, PhotometricInterpretation="YBR_FULL")))
    assert np.abs(result.pixels[0, 6::12] - LUMINANCES).max() < 0.01


def test_grey_rgb_is_not_coloured(make_dicom):
    grey = noise(np.uint8, 8)
    result = read(make_dicom(np.stack([grey] * 3, axis=-1)))
    np.testing.assert_allclose(result.pixels, grey / 255, atol=1e-6)
    assert not result.metadata.colour


@pytest.mark.parametrize("coloured", [False, True])
def test_palette_colour(coloured, make_dataset, to_bytes):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    dataset = make_dataset(pixels, PhotometricInterpretation="PALETTE COLOR")
    ramp = np.arange(256, dtype="<u2") * 257
    for channel in ("Red", "Green", "Blue"):
        setattr(dataset, f"{channel}PaletteColorLookupTableDescriptor", [256, 0, 16])
        entries = ramp if channel == "Red" or not coloured else ramp * 0
        setattr(dataset, f"{channel}PaletteColorLookupTableData", entries.tobytes())
    result = read(to_bytes(dataset))
    np.testing.assert_allclose(result.pixels, pixels / 255 * (0.299 if coloured else 1), atol=1e-5)
    assert result.metadata.colour == coloured


# --- metadata of the header ---------------------------------------------------------------------------------------


def test_the_header_is_handed_on(make_dicom, ramp16):
    metadata = read(make_dicom(
        ramp16, Modality="DX", BodyPartExamined="CHEST ", ViewPosition="PA", PatientID="12 34",
        StudyInstanceUID="1.2.9", PatientSex="F", PatientAge="081Y", PatientOrientation=["L", "F"],
    )).metadata  # fmt: skip
    assert (metadata.modality, metadata.body_part, metadata.view, metadata.orientation) == ("DX", "CHEST", "PA", "L\\F")
    assert (metadata.patient_id, metadata.study_id, metadata.sex, metadata.age) == ("12 34", "1.2.9", "F", "81")
    assert (metadata.format, metadata.width, metadata.height) == ("DICOM", 50, 40)


@pytest.mark.parametrize(("age", "years"), [("006M", "0.5"), ("003W", "0.0575"), ("000D", "0"), ("81", ""), ("", "")])
def test_ages_are_given_in_years(age, years, make_dicom, ramp16):
    assert read(make_dicom(ramp16, PatientAge=age)).metadata.age == years


def test_coded_view_and_region_stand_in_for_the_plain_ones(make_dataset, to_bytes, ramp16):
    from pydicom.dataset import Dataset

    def coded(value, meaning):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
        return [item]

    dataset = make_dataset(ramp16)
    dataset.ViewCodeSequence, dataset.AnatomicRegionSequence = coded("272479007", "x"), coded("816094009", "y")
    metadata = read(to_bytes(dataset)).metadata
    assert (metadata.view, metadata.body_part) == ("PA", "CHEST")
    dataset.ViewCodeSequence, dataset.AnatomicRegionSequence = (
        coded("399173006", "left lateral"),
        coded("72696002", "Knee"),
    )
    metadata = read(to_bytes(dataset)).metadata
    assert (metadata.view, metadata.body_part) == ("left lateral", "Knee")


def test_a_view_written_into_patient_position_is_found_and_a_lying_position_is_none(make_dicom, ramp16):
    assert read(make_dicom(ramp16, PatientPosition="AP")).metadata.view == "AP"
    assert read(make_dicom(ramp16, PatientPosition="HFS")).metadata.view == ""
