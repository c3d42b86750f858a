"""JPEG streams, alone and inside DICOM: what is damaged is refused, what is only odd is read as the whole."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from dicom_files import bytes_of, compressed, dataset_of
from pocketcxr.errors import UnreadableImageError
from pocketcxr.imaging import jpeg
from pocketcxr.imaging.reading import read_image_bytes

END, SCAN = b"\xff\xd9", b"\xff\xda"


def picture(height=203, width=171):
    """Grey uint8: waves and a little noise, so that every block of 8 x 8 has coefficients of its own."""
    y, x = np.mgrid[0:height, 0:width]
    waves = 128 + 60 * np.sin(y / 17) + 40 * np.cos(x / 11 + y / 40)
    return np.clip(waves + np.random.default_rng(8).normal(0, 4, (height, width)), 0, 255).astype(np.uint8)


def encoded(samples, mode=None, **options):
    stream = io.BytesIO()
    image = Image.fromarray(samples)
    (image.convert(mode) if mode else image).save(stream, "JPEG", quality=88, **options)
    return stream.getvalue()


GREY = picture()
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
WHOLE = {
    "grey": encoded(GREY),
    "optimised": encoded(GREY, optimize=True),
    "progressive": encoded(GREY, progressive=True),
    "restarts": encoded(GREY, restart_marker_blocks=11),
    "colour": encoded(COLOUR),
    "colour progressive": encoded(COLOUR, progressive=True),
    "four inks": encoded(COLOUR, "CMYK"),
}
each_kind = pytest.mark.parametrize("kind", WHOLE)


def in_dicom(frame, like=GREY, **elements):
    about = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA", **elements}
    dataset = dcmread(io.BytesIO(compressed(dataset_of(like, **about), JPEGBaseline8Bit)))
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    return bytes_of(dataset)


def positions(data, *marks):
    return [at for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] in marks]


def coded_from(data):
    """Where the coded data of the first scan begin."""
    start = data.index(SCAN)
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


def refused(data, words="damaged or ends early"):
    for side in (None, 32):
        with pytest.raises(UnreadableImageError, match=words) as caught:
            read_image_bytes(data, "film.jpg", side=side)
        assert str(caught.value).startswith("film.jpg: ")
        assert "\n" not in str(caught.value)
        assert caught.value.code == "damaged"


# --- damage ----------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("part", [0, 0.02, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("end", [b"", END])
def test_a_jpeg_cut_short_is_refused_with_and_without_an_end_mark(kind, part, end):
    data = WHOLE[kind]
    start = coded_from(data)
    refused(data[: start + int(part * (len(data) - start))] + end)


@each_kind
def test_picture_data_that_became_zeros_are_refused(kind):
    data = WHOLE[kind]
    start = coded_from(data)
    middle = (start + len(data)) // 2
    refused(data[:middle] + bytes(len(data) - middle - 2) + END)


@each_kind
def test_a_hole_in_the_picture_data_is_refused(kind):
    data = WHOLE[kind]
    start = coded_from(data)
    at = start + (len(data) - start) // 3
    refused(data[:at] + data[at + 1000 :])


@each_kind
def test_a_part_of_the_picture_data_that_stands_there_twice_is_refused(kind):
    data = WHOLE[kind]
    start = coded_from(data)
    at = start + (len(data) - start) // 3
    refused(data[: at + 400] + data[at:])


@pytest.mark.parametrize("kind", ["progressive", "colour progressive"])
def test_a_progressive_jpeg_that_lacks_scans_is_refused(kind):
    data = WHOLE[kind]
    scans = positions(data, 0xDA)
    assert len(scans) > 5
    for scan in scans[1:]:
        refused(data[:scan] + END, "scans are missing")


def test_a_jpeg_that_lacks_the_scan_of_a_component_is_refused():
    """One scan a component, as some encoders write colours; the last one is left out."""
    frame = bytes.fromhex("ffc00011080010001003") + bytes.fromhex("011100 021100 031100")
    tables = WHOLE["grey"][2 : WHOLE["grey"].index(b"\xff\xc0")]
    huffman = WHOLE["grey"][positions(WHOLE["grey"], 0xC4)[0] : WHOLE["grey"].index(SCAN)]
    flat = grey_of_one_value()
    coded = flat[coded_from(flat) : -2]
    scans = [b"\xff\xda\x00\x08\x01" + bytes([component]) + b"\x00\x00\x3f\x00" + coded for component in (1, 2, 3)]
    whole = b"\xff\xd8" + tables + frame + huffman + b"".join(scans) + END
    assert read_image_bytes(whole, "film.jpg").pixels.shape == (16, 16)
    refused(b"\xff\xd8" + tables + frame + huffman + b"".join(scans[:2]) + END, "scans are missing")


def grey_of_one_value():
    return encoded(np.full((16, 16), 128, np.uint8))


RESTARTS = positions(WHOLE["restarts"], *range(0xD0, 0xD8))


@pytest.mark.parametrize(
    "damage",
    {
        "an interval is missing": lambda data, at: data[: at[5]] + data[at[6] :],
        "eight intervals are missing, so that the numbers go on": lambda data, at: data[: at[5]] + data[at[13] :],
        "two intervals are exchanged": lambda data, at: (
            data[: at[5]] + data[at[6] : at[7]] + data[at[5] : at[6]] + data[at[7] :]
        ),
        "a mark is missing": lambda data, at: data[: at[5]] + data[at[5] + 2 :],
        "an interval is cut": lambda data, at: data[: at[6] - 20] + data[at[6] :],
        "the last interval is empty": lambda data, at: data[: at[-1] + 2] + END,
        "a mark became another": lambda data, at: data[: at[5] + 1] + b"\x7f" + data[at[5] + 2 :],
    }.items(),
    ids=lambda pair: pair[0],
)
def test_damage_between_restart_marks_is_refused(damage):
    assert len(RESTARTS) > 14
    refused(damage[1](WHOLE["restarts"], RESTARTS))


def test_bytes_between_the_picture_data_and_the_end_mark_are_refused_unless_they_are_padding():
    refused(WHOLE["grey"][:-2] + b"twenty bytes of text" + END, "extraneous")


def test_no_jpeg_may_ask_for_endless_scans():
    """Each scan is a pass over the whole picture, and a few bytes long."""
    data = WHOLE["progressive"]
    first, second = positions(data, 0xDA)[:2]
    scan = data[first:second]
    assert jpeg._MOST_SCANS == 128
    refused(data[:first] + scan * 129 + data[second:], "more than 128 scans")


# --- what is odd, and no damage --------------------------------------------------------------------------------------

COMMENT = b"\xff\xfe\x00\x06text"
ODD = {
    "no end mark": lambda data: data[:-2],
    "half an end mark": lambda data: data[:-1],
    "bytes behind the end": lambda data: data + b"more" * 50,
    "another picture behind the end": lambda data: data + data,
    "another picture, and no end mark before it": lambda data: data[:-2] + data,
    "zeros before the end mark": lambda data: data[:-2] + bytes(300) + END,
    "zeros to the end": lambda data: data[:-2] + bytes(300),
    "fill bytes before the end mark": lambda data: data[:-2] + b"\xff" * 9 + END,
    "fill bytes before segments": lambda data: data[:2] + b"\xff\xff" + COMMENT + b"\xff\xff\xff" + data[2:],
    "stray bytes between segments": lambda data: data[:2] + COMMENT + bytes(3) + data[2:],
    "restart mark between segments": lambda data: data[:2] + COMMENT + b"\xff\xd0" + data[2:],
    "an Adobe segment of ten bytes": lambda data: data[:2] + b"\xff\xee\x00\x0cAdobe\x00\x64\x00\x00\x00" + data[2:],
    "an unknown version of JFIF": lambda data: data.replace(b"JFIF\x00\x01", b"JFIF\x00\x07"),
}


@each_kind
@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_but_whole_gives_the_same_pixels(kind, odd):
    data = WHOLE[kind]
    for side in (None, 32):
        expected = read_image_bytes(data, "film.jpg", side=side)
        found = read_image_bytes(ODD[odd](data), "film.jpg", side=side)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        assert found.metadata == expected.metadata


def test_a_sequential_scan_may_say_anything_of_progression():
    data = bytearray(WHOLE["grey"])
    last = coded_from(bytes(data))
    data[last - 3 : last] = b"\x01\x02\x03"
    np.testing.assert_array_equal(
        read_image_bytes(bytes(data), "x").pixels, read_image_bytes(WHOLE["grey"], "x").pixels
    )


def test_an_unknown_colour_transform_counts_as_the_usual_one():
    data = encoded(COLOUR)
    start = data.index(b"\xff\xdb")
    marked, unknown = (
        data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + transform + data[start:]
        for transform in (b"\x01", b"\x09")
    )
    np.testing.assert_array_equal(read_image_bytes(unknown, "x").pixels, read_image_bytes(marked, "x").pixels)


@each_kind
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_pixels_are_those_of_pillow_at_every_reduction(kind, factor):
    """Both bring libjpeg-turbo; 203 x 171 pixels are no multiple of anything."""
    image = Image.open(io.BytesIO(WHOLE[kind]))
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))
    expected = np.asarray(image)
    found = jpeg.decode_jpeg(WHOLE[kind], "film.jpg", factor=factor)
    np.testing.assert_array_equal(255 - found if kind == "four inks" else found, expected)


@each_kind
@pytest.mark.parametrize("part", [1, 2, 7, 64])
def test_marks_are_found_wherever_the_data_is_divided_for_the_search(kind, part, monkeypatch):
    expected = jpeg.decode_jpeg(WHOLE[kind], "film.jpg")
    monkeypatch.setattr(jpeg, "_SEARCHED_AT_ONCE", part)
    np.testing.assert_array_equal(jpeg.decode_jpeg(WHOLE[kind], "film.jpg"), expected)


# --- inside DICOM ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grey", "optimised", "progressive", "restarts"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_a_frame_cut_short_is_refused(kind, part):
    data = WHOLE[kind]
    start = coded_from(data)
    refused(in_dicom(data[: start + int(part * (len(data) - start))] + END))


def test_a_colour_frame_cut_short_is_refused():
    data = encoded(COLOUR)
    start = coded_from(data)
    assert read_image_bytes(in_dicom(data, COLOUR), "x").pixels.shape == GREY.shape
    refused(in_dicom(data[: (start + len(data)) // 2] + END, COLOUR))


@pytest.mark.parametrize("kind", ["grey", "progressive", "restarts"])
def test_a_whole_frame_gives_the_pixels_of_the_file(kind):
    for side in (None, 40):
        alone, wrapped = (
            read_image_bytes(data, "film", side=side).pixels for data in (WHOLE[kind], in_dicom(WHOLE[kind]))
        )
        np.testing.assert_array_equal(alone, wrapped)
