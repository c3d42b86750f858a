"""Small DICOM files that would take much memory: what reading them allocates is measured, and bounded."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from pocketcxr.errors import InputError, UnreadableImageError
from pocketcxr.imaging.reading import read_image_bytes

MEGABYTE = 2**20
ALLOWED = 150 * MEGABYTE  # beside the file itself, for pictures as small as these
ZEROS = 200 * MEGABYTE  # more than is allowed
EMPTY_ITEM = b"\xfe\xff\x00\xe0" + bytes(4)


@pytest.fixture
def peak_of():
    """Function: bytes of a file -> how it is answered, and the most that was allocated meanwhile, in bytes."""

    def measure(data):
        tracemalloc.start()
        try:
            return read_image_bytes(data, "radiograph"), tracemalloc.get_traced_memory()[1]
        except InputError as error:
            return error, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


@pytest.fixture
def deflated(make_dicom, ramp16):
    """Meta information of a deflated file, and its data set, inflated."""
    data = make_dicom(ramp16, syntax=DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(data[140:144], "little")
    return data[:start], zlib.decompress(data[start:], -15)


def deflate(data, zeros):
    """The data and so many zeros."""
    deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
    megabytes, rest = divmod(zeros, MEGABYTE)
    parts = [data, *[bytes(MEGABYTE)] * megabytes, bytes(rest)]
    return b"".join(deflater.compress(part) for part in parts) + deflater.flush()


@pytest.mark.parametrize(
    "place", ["behind the pixels", "in an element", "in the pixels", "empty elements", "an element without an end"]
)
def test_a_deflated_file_is_inflated_no_further_than_its_picture_needs(place, deflated, peak_of):
    meta, data_set = deflated
    pixels = data_set.index(b"\xe0\x7f\x10\x00OW")
    header, long_element = data_set[:pixels], b"\x29\0\x10\x10OB\0\0" + struct.pack("<L", ZEROS)
    bomb = {
        "behind the pixels": data_set,
        "in an element": header + long_element,
        "in the pixels": header + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", ZEROS),
        "empty elements": header,
        "an element without an end": header + long_element[:8] + b"\xff\xff\xff\xff",
    }[place]
    error, peak = peak_of(meta + deflate(bomb, ZEROS))
    assert isinstance(error, InputError)
    assert error.code in {"too-many-bytes", "several-frames", "damaged"}
    assert peak < ALLOWED


def test_no_padding_of_the_meta_information_lifts_the_bound(deflated, peak_of):
    meta, data_set = deflated
    # a private element of 60,000 bytes before the transfer syntax: whoever looks for it in the first bytes misses it
    padding = b"\x02\0\x02\x01OB\0\0" + struct.pack("<L", 60_000) + bytes(60_000)
    at = meta.index(b"\x02\0\x10\0UI")
    error, peak = peak_of(meta[:at] + padding + meta[at:] + deflate(data_set, ZEROS))
    assert isinstance(error, UnreadableImageError)
    assert error.code == "too-many-bytes"
    assert peak < ALLOWED


@pytest.mark.parametrize("beyond", [0, 1])
def test_as_many_bytes_as_a_header_may_follow_the_pixels(beyond, deflated):
    meta, data_set = deflated
    data = meta + deflate(data_set, 32 * MEGABYTE + beyond)
    if not beyond:
        assert read_image_bytes(data, "radiograph").metadata.width == 50
        return
    with pytest.raises(UnreadableImageError, match=f"more than the {len(data_set) + 32 * MEGABYTE:,} bytes"):
        read_image_bytes(data, "radiograph")


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ViewCodeSequence", "RequestAttributesSequence"])
@pytest.mark.parametrize("undefined", [True, False])
def test_a_sequence_of_a_million_empty_items_is_refused_or_left_alone(
    keyword, undefined, make_dataset, to_bytes, ramp16, peak_of
):
    dataset = make_dataset(ramp16)
    setattr(dataset, keyword, [])
    data = to_bytes(dataset)
    tag = {"VOILUTSequence": b"\x28\0\x10\x30", "ViewCodeSequence": b"\x54\0\x20\x02"}.get(keyword, b"\x40\0\x75\x02")
    at = data.index(tag + b"SQ") + 8
    items = EMPTY_ITEM * (8 * MEGABYTE // 8)
    length = 0xFFFFFFFF if undefined else len(items)
    answer, peak = peak_of(data[:at] + struct.pack("<L", length) + items + data[at + 4 :])
    if keyword != "RequestAttributesSequence" or undefined:
        assert isinstance(answer, UnreadableImageError)
    assert peak < ALLOWED


@pytest.mark.parametrize("levels", [300, 100_000])
def test_sequences_in_sequences_are_refused(levels, make_dicom, ramp16, peak_of):
    data = make_dicom(ramp16)
    at = data.index(b"\xe0\x7f\x10\x00OW")
    level = b"\x40\0\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    error, peak = peak_of(data[:at] + level * levels + data[at:])
    assert isinstance(error, UnreadableImageError)
    assert peak < ALLOWED


def test_zeros_are_refused_before_they_are_walked_to_their_end(make_dicom, ramp16, peak_of):
    data = make_dicom(ramp16)
    start = 144 + int.from_bytes(data[140:144], "little")
    error, peak = peak_of(data[:start] + bytes(100 * MEGABYTE))
    assert isinstance(error, UnreadableImageError)
    assert peak < ALLOWED


def test_a_million_fragments_are_refused(make_dataset, to_bytes, compress, ramp16, peak_of):
    data = compress(make_dataset(ramp16), JPEG2000Lossless)
    error, peak = peak_of(data[:-8] + EMPTY_ITEM * (8 * MEGABYTE // 8) + data[-8:])
    assert isinstance(error, UnreadableImageError)
    assert "fragments" in str(error)
    assert peak < ALLOWED


def test_rle_is_unpacked_no_further_than_the_picture(make_dataset, to_bytes, compress, ramp16, peak_of):
    whole = dcmread(io.BytesIO(compress(make_dataset(ramp16), RLELossless)))
    runs = b"\x81\x07" * MEGABYTE  # each pair stands for 128 bytes
    header = struct.pack("<16L", 2, 64, 64 + len(runs), *[0] * 13)
    whole.PixelData = encapsulate([header + runs + runs])
    answer, peak = peak_of(to_bytes(whole))
    assert not isinstance(answer, InputError) or answer.code == "undefined-grey-scale"  # one value, nothing to show
    assert peak < ALLOWED


def test_a_frame_that_announces_a_huge_picture_is_refused_before_it_is_decoded(make_dataset, compress, peak_of):
    pixels = np.arange(4000, dtype=np.uint16).reshape(50, 80)
    data = bytearray(compress(make_dataset(pixels, syntax=ExplicitVRLittleEndian), JPEG2000Lossless))
    at = data.index(b"\xff\x4f\xff\x51") + 8
    data[at : at + 8] = struct.pack(">LL", 60_000, 60_000)
    error, peak = peak_of(bytes(data))
    assert isinstance(error, UnreadableImageError)
    assert error.code == "header-mismatch"
    assert peak < ALLOWED
