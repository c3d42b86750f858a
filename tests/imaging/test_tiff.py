"""TIFF: every combination of samples, layout, byte order and compression is read right or refused by its name."""

import itertools
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pocketcxr.errors import InputError, UnreadableImageError, UnusableImageError
from pocketcxr.imaging import tiff
from pocketcxr.imaging.reading import read_image_bytes

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = 0, 1, 2, 3
HEIGHT, WIDTH = 40, 37
DEFLATE, PACKBITS = 8, 32773
SIZES = {1: "B", 2: "s", 3: "H", 4: "I", 16: "Q"}  # by field type


def picture(bits):
    """[H, W] whole numbers that use the whole range; no row, column or byte order is like another."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    values = (y * WIDTH + x) / (HEIGHT * WIDTH - 1)
    return np.round((0.7 * values + 0.3 * values[::-1, ::-1] ** 2) * (2**bits - 1)).astype(np.uint16)


def packed(rows, bits, order):
    """[h, w * samples] -> bytes of each row."""
    if bits == 16:
        return [row.astype(f"{order}u2").tobytes() for row in rows]
    if bits == 8:
        return [row.astype(np.uint8).tobytes() for row in rows]
    digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in digits]


def packbits(row):
    return b"".join(bytes([len(row[at : at + 128]) - 1]) + row[at : at + 128] for at in range(0, len(row), 128))


def tiff_of(
    samples, *, bits=8, photometric=BLACK_IS_ZERO, order="<", planes=1, extra=(), compression=1, predictor=1,
    rows=13, tile=None, big=False, changed=None,
):  # fmt: skip
    """A TIFF written by hand; samples [H, W, S]; `changed` replaces fields by (type, values) or removes them (None)."""
    height, width, count = samples.shape
    layers = [samples] if planes == 1 else [samples[..., index : index + 1] for index in range(count)]
    down, across = tile or (rows, width)
    parts = []
    for layer in layers:
        for top, left in itertools.product(range(0, height, down), range(0, width, across)):
            part = layer[top : top + down, left : left + across].astype(np.int64)
            if tile:
                part = np.pad(part, ((0, down - part.shape[0]), (0, across - part.shape[1]), (0, 0)))
            if predictor == 2:
                part = np.diff(part, axis=1, prepend=0) % 2**bits
            lines = packed(part.reshape(len(part), -1), bits, order)
            body = b"".join(packbits(line) for line in lines) if compression == PACKBITS else b"".join(lines)
            parts.append(zlib.compress(body) if compression in {DEFLATE, 32946} else body)
    offsets = list(itertools.accumulate((len(part) for part in parts), initial=16))
    fields = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * count), 259: (3, [compression]),
        262: (3, [photometric]), 277: (3, [count]), 284: (3, [planes]), 317: (3, [predictor]),
    }  # fmt: skip
    where, sizes = (324, 325) if tile else (273, 279)
    fields |= {322: (4, [tile[1]]), 323: (4, [tile[0]])} if tile else {278: (4, [rows])}
    fields |= {where: (4, offsets[:-1]), sizes: (4, [len(part) for part in parts])}
    if extra:
        fields[338] = (3, list(extra))
    if photometric == PALETTE:
        ramp = np.linspace(65535, 0, 2**bits).round().astype(int).tolist()
        fields[320] = (3, ramp * 3)
    for tag, field in (changed or {}).items():
        fields.pop(tag, None)
        if field is not None:
            fields[tag] = field
    return assembled(fields, b"".join(parts), offsets[-1], order, big)


def assembled(fields, body, end, order, big):
    room, wide = (8, "Q") if big else (4, "I")
    size = (20 if big else 12) * len(fields) + (16 if big else 6)
    behind, entries = b"", b""
    for tag, (kind, values) in sorted(fields.items()):
        value = struct.pack(f"{order}{len(values)}{SIZES[kind]}", *values)
        if len(value) > room:
            value, behind = struct.pack(f"{order}{wide}", end + size + len(behind)), behind + value
        entries += struct.pack(f"{order}HH{wide}", tag, kind, len(values)) + value.ljust(room, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(f"{order}HHHQ", 43, 8, 0, end) if big else struct.pack(f"{order}HI", 42, end) + bytes(8))
    directory = struct.pack(f"{order}{'Q' if big else 'H'}", len(fields)) + entries + bytes(room)
    return head + body + directory + behind


def read(data, side=None):
    return read_image_bytes(data, "film.tif", side=side)


def with_alpha(samples, bits, alpha, kind):
    """Samples [H, W, S] with alpha behind; associated alpha (1) has been multiplied into them."""
    whole = 2**bits - 1
    plane = np.full(samples.shape[:2], whole, np.int64)
    plane[:, :11] = round(alpha * whole)
    colours = np.round(samples * (plane[..., None] / whole)) if kind == 1 else samples
    return np.concatenate([colours, plane[..., None]], axis=2).astype(np.uint16), plane / whole


KINDS = ("grey", "white", "palette", "rgb", "grey alpha", "rgb alpha")
MATRIX = [
    (kind, bits, order, planes, compression, predictor, tile)
    for kind, bits, order, planes, (compression, predictor), tile in itertools.product(
        KINDS, (1, 2, 4, 8, 16), "<>", (1, 2), ((1, 1), (PACKBITS, 1), (DEFLATE, 1), (DEFLATE, 2)), (None, (16, 32))
    )
    if not (planes == 2 and kind in {"grey", "white", "palette"}) and not (predictor == 2 and bits < 8)
]


def is_read(kind, bits, planes):
    """What the documentation says that is read."""
    if planes == 2:
        return (kind, bits) == ("rgb", 8)
    depths = {
        "grey": {1, 2, 4, 8, 16}, "white": {1, 2, 4, 8, 16}, "palette": {1, 2, 4, 8},
        "rgb": {8, 16}, "rgb alpha": {8, 16}, "grey alpha": {8},
    }  # fmt: skip
    return bits in depths[kind]


def check_reduced(reduced, whole):
    """Reading at a smaller size gives the means of cells of 3 x 3, or the whole picture."""
    if reduced.shape == whole.shape:
        np.testing.assert_array_equal(reduced, whole)
    else:
        cells = whole[:39, :36].reshape(13, 3, 12, 3).mean((1, 3))
        np.testing.assert_allclose(reduced[:13, :12], cells, atol=1 / 255)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_every_combination_is_read_right_or_refused_by_its_name(kind, bits):
    seen = 0
    for combination in MATRIX:
        if combination[:2] != (kind, bits):
            continue
        _, _, order, planes, compression, predictor, tile = combination
        grey, whole, extra, alpha = picture(bits), 2**bits - 1, (), 1.0
        samples = grey[..., None] if "rgb" not in kind else np.stack([grey] * 3, axis=-1)
        samples = whole - samples if kind in {"white", "palette"} else samples
        for extra_kind in (0, 1, 2) if "alpha" in kind else (None,):
            stored = samples
            if extra_kind is not None:
                stored, alpha = with_alpha(samples, bits, 0.4 if extra_kind else 1, extra_kind)
                extra = (extra_kind,)
            photometric = {"white": WHITE_IS_ZERO, "palette": PALETTE}.get(kind, RGB if "rgb" in kind else 1)
            data = tiff_of(
                stored, bits=bits, photometric=photometric, order=order, planes=planes, extra=extra,
                compression=compression, predictor=predictor, tile=tile,
            )  # fmt: skip
            seen += 1
            if is_read(kind, bits, planes):
                found = read(data)
                tolerance = 0.5 / 65535 if bits == 16 and kind in {"grey", "white"} else 1.6 / 255
                np.testing.assert_allclose(found.pixels, grey / whole * alpha, atol=tolerance, err_msg=str(combination))
                assert not found.metadata.colour
                assert found.metadata.bits == bits
                check_reduced(read(data, side=10).pixels, found.pixels)
            else:
                with pytest.raises(UnusableImageError, match="is not read; export it as") as caught:
                    read(data)
                assert caught.value.code == "unsupported-header"
    assert seen >= 12


TURNED = {
    1: lambda grey: grey, 2: np.fliplr, 3: lambda grey: np.rot90(grey, 2), 4: np.flipud, 5: np.transpose,
    6: lambda grey: np.rot90(grey, 1), 7: lambda grey: np.rot90(grey, 2).T, 8: lambda grey: np.rot90(grey, 3),
}  # fmt: skip
"""How an upright picture is stored under each Orientation (TIFF 6.0, section 8)."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("bits", "photometric"), [(8, BLACK_IS_ZERO), (16, BLACK_IS_ZERO), (16, WHITE_IS_ZERO)])
def test_the_orientation_tag_turns_the_picture_once(orientation, bits, photometric):
    grey, whole = picture(bits), 2**bits - 1
    stored = TURNED[orientation](grey).astype(np.int64)
    stored = whole - stored if photometric == WHITE_IS_ZERO else stored
    data = tiff_of(stored[..., None], bits=bits, photometric=photometric, changed={274: (3, [orientation])})
    np.testing.assert_allclose(read(data).pixels, grey / whole, atol=1e-6)


@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_bigtiff_is_read_in_little_endian_order_and_refused_in_the_other(photometric):
    grey = picture(16)
    stored = 65535 - grey if photometric == WHITE_IS_ZERO else grey
    little, big = (
        tiff_of(stored[..., None], bits=16, photometric=photometric, order=order, big=True) for order in "<>"
    )
    np.testing.assert_allclose(read(little).pixels, grey / 65535, atol=1e-6)
    with pytest.raises(UnusableImageError, match="BigTIFF in big-endian order is not read"):
        read(big)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({339: (3, [2])}, "signed whole numbers have no defined black and white"),
        ({339: (3, [3])}, "floating-point numbers have no defined black and white"),
        ({339: (3, [4])}, "samples of an unknown kind"),
        ({258: (3, [32])}, "32-bit whole numbers have no defined black and white"),
        ({258: (3, [12])}, "TIFF with grey of 12 bits is not read"),
        ({262: (3, [8])}, "TIFF with PhotometricInterpretation 8 of 8 bits is not read"),
        ({262: None}, "TIFF with PhotometricInterpretation None"),
        ({266: (3, [2])}, "bits in reversed order"),
        ({277: (3, [200])}, "TIFF with grey of 8 bits is not read"),
        ({317: (3, [3])}, "predictor 3 of 8 bits"),
        *(({259: (3, [number])}, rf"compression {number} \(") for number in (2, 3, 4, 6, 34712, 34925, 50000, 50001)),
        ({259: (3, [777])}, "compression 777 is not read"),
    ],
)
def test_other_variants_are_refused_by_their_name(changed, words):
    with pytest.raises(UnusableImageError, match=words):
        read(tiff_of(picture(8)[..., None], changed=changed))


@pytest.mark.parametrize("signed", [8, 16])
def test_signed_samples_are_not_read_as_unsigned_ones(signed):
    with pytest.raises(UnusableImageError, match="signed whole numbers"):
        read(tiff_of(picture(signed)[..., None], bits=signed, changed={339: (3, [2])}))


def test_two_samples_without_a_meaning_are_refused():
    two = np.stack([picture(8)] * 2, axis=-1)
    with pytest.raises(UnusableImageError, match="1 samples of unknown meaning"):
        read(tiff_of(two))


@pytest.mark.parametrize(
    "changed",
    [
        {273: None},  # no strips
        {273: (4, [0] * 4)},  # the first bytes of the file
        {273: (4, [10**6] * 4)},  # beyond its end
        {273: (4, [16] * 3)},  # one strip is missing: Pillow left those rows black
        {279: (4, [10**6] * 4)},
        {278: (4, [5])},  # more strips than there are
        {257: (4, [400])},
        {278: (4, [2**32 - 1])},  # one strip, of four that are there
    ],
)
def test_strips_that_do_not_make_the_picture_are_refused(changed):
    data = tiff_of(picture(8)[..., None])
    assert read(data).metadata.height == HEIGHT
    with pytest.raises(UnreadableImageError) as caught:
        read(tiff_of(picture(8)[..., None], changed=changed))
    assert caught.value.code == "damaged"


def test_rows_per_strip_and_lengths_may_be_left_out():
    whole = tiff_of(picture(8)[..., None], rows=HEIGHT)
    for changed in ({278: None}, {278: (4, [2**32 - 1])}, {279: None}):
        other = tiff_of(picture(8)[..., None], rows=HEIGHT, changed=changed)
        np.testing.assert_array_equal(read(other).pixels, read(whole).pixels)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("compression", [1, DEFLATE, PACKBITS])
def test_a_directory_before_a_body_that_ends_early_is_refused(part, compression):
    """Files are written the other way round as well: then all tags are there, and the picture is not."""
    data = tiff_of(picture(8)[..., None], rows=HEIGHT, compression=compression)
    end = struct.unpack_from("<I", data, 4)[0]
    moved = bytearray(data[:16] + data[end:] + data[16:end])
    shift = len(data) - end
    struct.pack_into("<I", moved, 4, 16)
    entries = struct.unpack_from("<H", moved, 16)[0]
    for entry in range(18, 18 + 12 * entries, 12):
        if struct.unpack_from("<H", moved, entry)[0] == 273:
            struct.pack_into("<I", moved, entry + 8, 16 + shift)
    assert read(bytes(moved)).metadata.width == WIDTH
    with pytest.raises(InputError, match="ends early"):
        read(bytes(moved[: 16 + shift + int(part * (end - 16))]))


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [45_056, 2**31])
def test_a_tile_that_dwarfs_the_picture_is_refused_before_it_is_decoded(side):
    data = tiff_of(
        picture(8)[..., None], compression=DEFLATE, tile=(48, 48), changed={322: (4, [side]), 323: (4, [side])}
    )
    with pytest.raises(
        UnreadableImageError, match=f"tiles of {side} x {side} pixels in a picture of 37 x 40"
    ) as caught:
        read(data)
    assert caught.value.code == "too-many-pixels"


def test_the_largest_tile_that_a_small_picture_may_have():
    assert tiff._SMALL_TILE == 4096 * 4096
    kept, refused = (
        tiff_of(picture(8)[..., None], tile=(48, 48), changed={322: (4, [4096]), 323: (4, [height])})
        for height in (4096, 4097)
    )
    with pytest.raises(UnreadableImageError) as caught:
        read(kept)  # its tile is not there as a whole
    assert caught.value.code == "damaged"
    with pytest.raises(UnreadableImageError) as caught:
        read(refused)
    assert caught.value.code == "too-many-pixels"


def test_tiles_larger_than_the_picture_are_read():
    data = tiff_of(picture(8)[..., None], tile=(64, 128))
    np.testing.assert_allclose(read(data).pixels, picture(8) / 255, atol=1e-6)


def saved(image, **options):
    stream = BytesIO()
    image.save(stream, "tiff", **options)
    return stream.getvalue()


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("bits", [8, 16])
def test_lzw_is_read_right(bits, predictor):
    grey = picture(bits).astype(np.uint8 if bits == 8 else np.uint16)
    data = saved(Image.fromarray(grey), compression="tiff_lzw", tiffinfo={317: predictor})
    assert np.abs(read(data).pixels - grey / (2**bits - 1)).max() < 1e-6


def test_black_ink_alone_is_grey():
    ink = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    ink[..., 3] = picture(8)
    data = saved(Image.fromarray(ink, mode="CMYK"), compression="tiff_lzw")
    assert np.abs(read(data).pixels - (255 - picture(8).astype(int)) / 255).max() <= 1 / 255


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_in_tiff_is_read_as_near_as_jpeg_is_and_refused_where_it_is_cut(mode):
    grey = Image.fromarray(picture(8).astype(np.uint8)).convert(mode)
    data = saved(grey, compression="jpeg", quality=95)
    found = read(data).pixels
    assert np.abs(found - picture(8) / 255).mean() < 0.01
    with Image.open(BytesIO(data)) as image:
        offset, length = image.tag_v2[273][0], image.tag_v2[279][0]
    cut = data[: offset + length // 2] + bytes(length - length // 2 - 2) + b"\xff\xd9" + data[offset + length :]
    with pytest.raises(UnreadableImageError):
        read(cut)


@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_deflated_pixels_that_were_changed_or_are_too_many_are_refused(tile):
    """libtiff decodes them into another picture: it never looks at the checksum."""
    grey = picture(8)
    data = tiff_of(grey[..., None], compression=DEFLATE, tile=tile)
    end, seen = struct.unpack_from("<I", data, 4)[0], 0
    for at in range(16, end, 7):
        changed = bytearray(data)
        changed[at : min(at + 60, end)] = bytes(min(60, end - at))
        if changed == data:
            continue
        seen += 1
        with pytest.raises(UnreadableImageError) as caught:
            read(bytes(changed))
        assert caught.value.code == "damaged"
    assert seen > 30


def test_a_deflated_strip_may_be_filled_up_to_its_rows_and_no_further():
    grey = picture(8)[..., None]
    filled = tiff_of(grey, compression=DEFLATE, rows=HEIGHT, changed={257: (4, [HEIGHT - 3])})
    np.testing.assert_allclose(read(filled).pixels, picture(8)[:-3] / 255, atol=1e-6)
    many = tiff_of(grey, compression=DEFLATE, rows=HEIGHT, changed={257: (4, [30]), 278: (4, [30])})
    with pytest.raises(UnreadableImageError, match="deflated strip or tile and its checksum or size differ"):
        read(many)
