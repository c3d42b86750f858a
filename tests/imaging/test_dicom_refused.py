"""DICOM files that are refused: what would need guessing, and what is damaged."""

import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pocketcxr.errors import UnreadableImageError, UnusableImageError
from pocketcxr.imaging import radiograph
from pocketcxr.imaging.reading import read_image_bytes

LOSSLESS = [JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless]


def read(data):
    return read_image_bytes(data, "radiograph")


def noise(dtype, stored, shape=(34, 46)):
    low, high = (0, 2**stored) if np.dtype(dtype).kind == "u" else (-(2 ** (stored - 1)), 2 ** (stored - 1))
    smooth = np.linspace(low, high - 1, shape[0] * shape[1]).reshape(shape)
    return np.clip(smooth + np.random.default_rng(7).normal(0, stored, shape), low, high - 1).astype(dtype)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"NumberOfFrames": 2}, "found 2 frames"),
        ({"Rows": None}, "lacks Rows"),
        ({"PhotometricInterpretation": None, "BitsStored": None}, "lacks BitsStored, PhotometricInterpretation"),
        ({"HighBit": 15, "BitsStored": 12}, "expected HighBit 11, found 15"),
        ({"BitsStored": 17}, "16 with 17 stored"),
        ({"PhotometricInterpretation": "ARGB"}, "'ARGB' is not read"),
        ({"SamplesPerPixel": 3}, "MONOCHROME2 has 1 samples per pixel"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, "for processing"),
        ({"SharedFunctionalGroupsSequence": []}, "enhanced"),
    ],
)
def test_what_would_need_guessing_is_refused(elements, words, make_dicom, ramp16):
    with pytest.raises(UnusableImageError, match=words):
        read(make_dicom(ramp16, **elements))


@pytest.mark.parametrize(
    ("sop_class", "words"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF"),
        ("", "without pixel data"),
    ],
)
def test_objects_without_a_picture_are_named(sop_class, words, make_dataset, to_bytes, ramp16):
    dataset = make_dataset(ramp16, SOPClassUID=sop_class)
    del dataset.PixelData
    with pytest.raises(UnusableImageError, match=words):
        read(to_bytes(dataset))


def test_frames_that_the_header_does_not_mention_are_refused(make_dataset, to_bytes, ramp16):
    dataset = make_dataset(ramp16)
    dataset.PixelData = dataset.PixelData * 2
    with pytest.raises(UnusableImageError, match="export one picture"):
        read(to_bytes(dataset))


def test_a_padding_byte_too_many_is_no_reason_and_no_warning(make_dataset, to_bytes, ramp16):
    dataset = make_dataset(ramp16)
    dataset.PixelData += b"\0" * 6
    np.testing.assert_allclose(read(to_bytes(dataset)).pixels, ramp16 / 1999, atol=1e-6)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("syntax", [None, *LOSSLESS, JPEGBaseline8Bit], ids=str)
def test_a_truncated_file_is_never_scored(syntax, part, make_dataset, to_bytes, compress):
    dataset = make_dataset(noise(np.uint8, 8, (64, 64)))
    data = to_bytes(dataset) if syntax is None else compress(dataset, syntax)
    with pytest.raises((UnreadableImageError, UnusableImageError)):
        read(data[: int(len(data) * part)])


@pytest.mark.parametrize(
    "syntax",
    [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless],
    ids=lambda u: u.keyword,
)
def test_a_codestream_cut_off_before_it_was_wrapped_is_refused(syntax, make_dataset, compress, to_bytes):
    whole = dcmread(io.BytesIO(compress(make_dataset(noise(np.uint8, 8, (64, 64))), syntax)))
    frame = get_frame(whole.PixelData, 0, number_of_frames=1)
    whole.PixelData = encapsulate([frame[: len(frame) * 3 // 4]])
    with pytest.raises(UnreadableImageError, match="radiograph"):
        read(to_bytes(whole))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [one for one in LOSSLESS if one != RLELossless])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_codestream_cut_short_with_an_end_mark_behind_it_is_refused(syntax, bits, part, make_dataset, compress):
    pixels = noise(np.uint8 if bits == 8 else np.uint16, bits, shape=(64, 80))
    whole = dcmread(io.BytesIO(compress(make_dataset(pixels, BitsStored=bits), syntax)))
    frame = get_frame(whole.PixelData, 0, number_of_frames=1)
    cut = frame[: int(part * len(frame))] + b"\xff\xd9"
    assert read(rewrapped(whole, frame)).metadata.width == 80
    for side in (None, 20):
        with pytest.raises(UnreadableImageError) as caught:
            read_image_bytes(rewrapped(whole, cut), "radiograph", side=side)
        assert caught.value.code == "damaged"


def rewrapped(dataset, frame):
    dataset.PixelData = encapsulate([frame + bytes(len(frame) % 2)])
    dataset["PixelData"].VR = "OB"
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_the_pixel_limit_holds_before_decoding(make_dicom, monkeypatch, ramp16):
    data = make_dicom(ramp16)
    monkeypatch.setattr(radiograph, "MAX_PIXELS", ramp16.size - 1)
    with pytest.raises(UnreadableImageError, match="more than"):
        read(data)


@pytest.mark.parametrize("rows", [0, 50, 65535])
def test_rows_that_the_pixels_do_not_fill_are_refused(rows, make_dicom, ramp16):
    with pytest.raises(UnreadableImageError, match="radiograph"):
        read(make_dicom(ramp16, Rows=rows))


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless, JPEGBaseline8Bit], ids=lambda uid: uid.keyword)
def test_a_codestream_of_another_size_than_the_header_is_refused(syntax, make_dataset, compress, to_bytes):
    dataset = dcmread(io.BytesIO(compress(make_dataset(noise(np.uint8, 8)), syntax)))
    dataset.Rows = 20
    with pytest.raises(UnreadableImageError, match="expected 46 x 20 pixels, found a codestream of 46 x 34"):
        read(to_bytes(dataset))


@pytest.mark.parametrize(("offset", "value"), [(0, 128), (0, 8), (0, 0), (5, 3)])
def test_a_codestream_of_other_samples_than_the_header_is_refused(offset, value, make_dataset, compress):
    # a depth of 128 bits crashes GDCM, and with it the whole process
    data = bytearray(compress(make_dataset(noise(np.uint16, 16)), JPEGLosslessSV1))
    start_of_frame = data.find(b"\xff\xc3")
    data[start_of_frame + 4 + offset] = value
    with pytest.raises(UnreadableImageError, match="found a codestream of"):
        read(bytes(data))


def test_compressed_values_beyond_bits_stored_are_refused(make_dataset, compress, to_bytes):
    dataset = dcmread(io.BytesIO(compress(make_dataset(noise(np.uint16, 16)), JPEG2000Lossless)))
    dataset.BitsStored, dataset.HighBit = 12, 11
    with pytest.raises(UnusableImageError, match="exceed the 12 bits"):
        read(to_bytes(dataset))


def test_an_unknown_transfer_syntax_is_named(make_dataset, to_bytes, ramp16):
    dataset = make_dataset(ramp16, syntax="1.2.840.10008.1.2.4.103")  # MPEG-4
    dataset.PixelData = encapsulate([b"\0" * 100])
    with pytest.raises(UnreadableImageError, match=r"no decoder for .MPEG-4"):
        read(to_bytes(dataset))


def test_compressed_pixels_without_a_transfer_syntax_are_refused(make_dataset, compress, to_bytes):
    data = compress(make_dataset(noise(np.uint8, 8)), JPEG2000Lossless)
    start = 144 + int.from_bytes(data[140:144], "little")
    with pytest.raises(UnusableImageError, match="without a transfer syntax"):
        read(data[start:])


def test_messages_hold_no_patient_identifier(make_dicom, ramp16):
    elements = {"PatientName": "Doe^John", "PatientID": "4711-ABC", "PatientBirthDate": "19500101"}
    with pytest.raises(UnusableImageError) as refusal:
        read(make_dicom(ramp16, WindowCenter=1, WindowWidth=-1, **elements))
    assert not any(text in str(refusal.value) for text in ("Doe", "4711", "1950"))
