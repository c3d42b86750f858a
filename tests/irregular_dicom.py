"""DICOM files with irregularities that writers make: those that every viewer shows, and those whose fault is named.

The Python package and the page read the same files. One that is read has a regular file beside it that shows the same;
one that is refused has the code of its cause, and words that stand in its message.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_files import bytes_of, compressed, dataset_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ABOUT = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
DELIMITER = b"\xfe\xff\xdd\xe0" + bytes(4)
SYNTAXES = {
    "jpeg": JPEGBaseline8Bit, "jpeg-lossless": JPEGLosslessSV1, "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless, "rle": RLELossless,
}  # fmt: skip


@dataclass(frozen=True)
class Irregular:
    """A file; `plain` is the regular one that shows the same, if it is read; else `code` and `words` of its refusal."""

    name: str
    data: bytes
    plain: bytes = b""
    code: str = ""
    words: str = ""


def picture(bits: int = 12) -> np.ndarray:
    """[120, 130] unsigned values of so many bits: a smooth picture with a little noise and no symmetry."""
    y, x = np.mgrid[0:120, 0:130] / 120
    grey = 0.5 + 0.35 * np.sin(5 * x + 2 * y) * np.cos(4 * y) + np.random.default_rng(3).normal(0, 0.01, x.shape)
    grey[4:12, 5:9] = 0.97
    return np.round(np.clip(grey, 0, 1) * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def whole(pixels: np.ndarray | None = None, **elements: Any) -> Dataset:
    """A regular data set of `picture()`."""
    pixels = picture() if pixels is None else pixels
    stored = {} if pixels.dtype.itemsize == 1 else {"BitsStored": 12}
    return dataset_of(pixels, **{**ABOUT, **stored, **elements})


def irregular_files() -> Iterator[Irregular]:
    """All of them."""
    for group in GROUPS:
        yield from files_of(group)


def files_of(group: str) -> list[Irregular]:
    """The files of one of the `GROUPS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom minds what is written here
        return list(GROUPS[group]())


# --- containers ------------------------------------------------------------------------------------------------------


def _compressed(name: str) -> bytes:
    dataset = whole(picture(8)) if name == "jpeg" else whole(**WINDOW)
    return compressed(dataset, SYNTAXES[name])


def _open_sequences() -> Iterator[Irregular]:
    for name in SYNTAXES:
        data = _compressed(name)
        assert data.endswith(DELIMITER)
        yield Irregular(f"no-delimiter-{name}.dcm", data[:-8], plain=data)
        yield Irregular(f"zeros-for-delimiter-{name}.dcm", data[:-8] + bytes(8), plain=data)
        yield Irregular(f"half-a-delimiter-{name}.dcm", data[:-5], plain=data)
        yield Irregular(f"cut-in-pixels-{name}.dcm", data[: len(data) * 3 // 4], code="damaged", words="ends early")
    data = _compressed("jpeg")
    start = data.index(b"\xe0\x7f\x10\x00OB")
    yield Irregular("cut-at-the-pixels.dcm", data[: start + 12], code="damaged", words="ends early")
    yield Irregular("cut-at-the-offsets.dcm", data[: start + 20], code="damaged", words="ends early")
    yield Irregular("cut-in-an-element.dcm", data[: start - 3], code="damaged", words="ends early, within its header")
    yield Irregular("cut-between-elements.dcm", data[:start], code="no-pixel-data", words="cut short, or its pixels")
    native = bytes_of(whole(**WINDOW))
    yield Irregular("native-cut.dcm", native[:-500], code="damaged", words="500 bytes short")
    inside = whole(**WINDOW)
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "272479007", "postero-anterior"
    inside.ViewCodeSequence = [item]
    inside["ViewCodeSequence"].is_undefined_length = item.is_undefined_length_sequence_item = True
    plain = bytes_of(inside)
    yield Irregular("sequence-of-undefined-length.dcm", plain, plain=native)
    end = plain.index(b"\xfe\xff\x0d\xe0")
    # without the item's end the rest of the header belongs to the item
    no_item_end = plain[:end] + plain[end + 8 :]
    yield Irregular("no-item-delimiter.dcm", no_item_end, code="damaged", words="damaged or ends early")
    yield Irregular("cut-in-a-sequence.dcm", plain[: end - 4], code="damaged", words="ends early")


def _with_pixels(value: bytes, dataset: Dataset, syntax: str) -> bytes:
    """The file with raw bytes for the value of its pixel data of undefined length."""
    dataset.file_meta.TransferSyntaxUID = syntax
    del dataset.PixelData
    return bytes_of(dataset) + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + value


def _item(content: bytes, length: int | None = None) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(content) if length is None else length) + content


def frame_of(data: bytes) -> bytes:
    """The frame in a file with one."""
    return get_frame(dcmread(io.BytesIO(data)).PixelData, 0, number_of_frames=1)


def _fragments() -> Iterator[Irregular]:
    for name, syntax in SYNTAXES.items():
        plain = _compressed(name)
        frame = frame_of(plain)
        cut = len(frame) // 3 | 1
        offsets = struct.pack("<L", 0)
        variants = {
            "no-offset-table": _item(frame),
            "offset-table": _item(offsets) + _item(frame),
            "wrong-offset-table": _item(struct.pack("<LL", 999_999, 3)) + _item(frame),
            "three-fragments": _item(b"") + _item(frame[:1000]) + _item(frame[1000:2000]) + _item(frame[2000:]),
            "odd-fragments": _item(b"") + _item(frame[:cut]) + _item(frame[cut:]),
            "odd-and-padded": _item(b"") + _item(frame[:cut]) + b"\0" + _item(frame[cut:]),
            "empty-fragment": _item(b"") + _item(b"") + _item(frame),
            "too-long-a-fragment": _item(b"") + _item(frame, len(frame) + 5000),
        }
        for variant, items in variants.items():
            data = _with_pixels(items + DELIMITER, dcmread(io.BytesIO(plain)), syntax)
            yield Irregular(f"{variant}-{name}.dcm", data, plain=plain)
        extended = dcmread(io.BytesIO(plain))
        extended.ExtendedOffsetTable = struct.pack("<Q", 12345)
        extended.ExtendedOffsetTableLengths = struct.pack("<Q", 5)
        yield Irregular(f"extended-offset-table-{name}.dcm", bytes_of(extended), plain=plain)
        twice = _with_pixels(_item(b"") + _item(frame) * 2 + DELIMITER, dcmread(io.BytesIO(plain)), syntax)
        yield Irregular(f"two-frames-{name}.dcm", twice, code="several-frames", words="found several")
        nothing = _with_pixels(_item(b"") + DELIMITER, dcmread(io.BytesIO(plain)), syntax)
        yield Irregular(f"no-fragment-{name}.dcm", nothing, code="damaged", words="ends early")
    for name in ("jpeg", "jpeg-lossless", "jpeg-ls"):
        plain = _compressed(name)
        frame = frame_of(plain).rstrip(b"\0")
        for variant, tail in {
            "zeros": bytes(700),
            "fill": b"\xff" * 301,
            "spaces": b" " * 90,
            "stale": frame[99:400],
        }.items():
            data = _with_pixels(
                _item(b"") + _item(frame + tail) + DELIMITER, dcmread(io.BytesIO(plain)), SYNTAXES[name]
            )
            yield Irregular(f"{variant}-after-the-end-{name}.dcm", data, plain=plain)
    for name in ("jpeg-2000", "jpeg-ls", "jpeg-lossless", "jpeg"):
        plain = _compressed(name)
        frame = frame_of(plain).rstrip(b"\0")
        ended = frame[: len(frame) // 2] + b"\xff\xd9"
        if name == "jpeg-2000":  # what is shorter than its tile-parts say
            data = _with_pixels(_item(b"") + _item(ended) + DELIMITER, dcmread(io.BytesIO(plain)), SYNTAXES[name])
            yield Irregular(f"half-with-an-end-{name}.dcm", data, code="damaged", words="ends early")
        no_end = frame[: len(frame) // 2]
        data = _with_pixels(_item(b"") + _item(no_end) + DELIMITER, dcmread(io.BytesIO(plain)), SYNTAXES[name])
        yield Irregular(f"half-{name}.dcm", data, code="damaged", words="ends early")


def _around_the_pixels() -> Iterator[Irregular]:
    native = bytes_of(whole(**WINDOW))
    padding = b"\xfc\xff\xfc\xffOB\0\0\x0a\0\0\0" + bytes(10)
    random = np.random.default_rng(8).integers(0, 256, 999, dtype=np.uint8).tobytes()
    open_sequence = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    tails = {
        "zeros": bytes(2_000_000), "padding-element": padding, "bytes": random, "one-byte": b"\x1a",
        "open-sequence": open_sequence,
    }  # fmt: skip
    for name, tail in tails.items():
        yield Irregular(f"{name}-behind-native.dcm", native + tail, plain=native)
        jpeg = _compressed("jpeg")
        yield Irregular(f"{name}-behind-jpeg.dcm", jpeg + tail, plain=jpeg)
    # an element out of order, behind the pixels, still says how they are shown
    late = whole()
    window = b"\x28\0\x50\x10DS\x04\x002048\x28\0\x51\x10DS\x04\x004096"
    yield Irregular("window-behind-native.dcm", bytes_of(late) + window, plain=native)
    odd = whole(picture(8)[:119, :129].copy())
    yield Irregular("odd-length.dcm", bytes_of(odd)[:-1], plain=bytes_of(odd))
    open_length = bytes_of(whole(**WINDOW))
    start = open_length.index(b"\xe0\x7f\x10\x00OW") + 8
    data = open_length[:start] + b"\xff\xff\xff\xff" + open_length[start + 4 :] + DELIMITER
    yield Irregular("native-of-undefined-length.dcm", data, code="header-mismatch", words="come in fragments")
    called_native = _compressed("jpeg").replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.1\0\0\0")
    yield Irregular("jpeg-called-native.dcm", called_native, code="header-mismatch", words="come in fragments")
    called_jpeg = bytes_of(whole(picture(8))).replace(
        b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.4.50"
    )
    yield Irregular("native-called-jpeg.dcm", called_jpeg, code="damaged", words="before its pixels")


def _encodings() -> Iterator[Irregular]:
    native = bytes_of(whole(**WINDOW))
    start = 144 + int.from_bytes(native[140:144], "little")
    yield Irregular("without-preamble.dcm", native[132:], plain=native)
    yield Irregular("without-meta.dcm", native[:132] + native[start:], plain=native)
    yield Irregular("neither-preamble-nor-meta.dcm", native[start:], plain=native)
    yield Irregular("wrong-meta-length.dcm", native[:140] + struct.pack("<L", 4000) + native[144:], plain=native)
    yield Irregular("no-meta-length.dcm", native[:132] + native[144:], plain=native)
    implicit = bytes_of(whole(syntax=ImplicitVRLittleEndian, **WINDOW))
    at = 144 + int.from_bytes(implicit[140:144], "little")
    yield Irregular("implicit-called-explicit.dcm", native[:start] + implicit[at:], plain=native)
    yield Irregular("explicit-called-implicit.dcm", implicit[:at] + native[start:], plain=native)
    big = whole(syntax=ExplicitVRBigEndian, **WINDOW)
    big.PixelData = picture().astype(">u2").tobytes()
    yield Irregular("big-endian.dcm", bytes_of(big), plain=native)
    private = whole(**WINDOW)
    block = private.private_block(0x0029, "MAKER", create=True)
    inner = Dataset()
    inner.add_new(0x00290010, "LO", "MAKER")
    inner.add_new(0x00291001, "UN", b"\x01\x02\x03\x04")
    block.add_new(0x02, "SQ", [inner])
    block.add_new(0x03, "UN", b"\xfe\xff\x00\xe0\xff\xff\xff\xff")
    yield Irregular("private-sequence.dcm", bytes_of(private), plain=native)
    deflated = bytes_of(whole(syntax=DeflatedExplicitVRLittleEndian, **WINDOW))
    head = 144 + int.from_bytes(deflated[140:144], "little")
    inflated = zlib.decompress(deflated[head:], -15)
    yield Irregular(
        "deflated-with-zeros-behind.dcm", deflated[:head] + _deflate(inflated + bytes(3 << 20)), plain=native
    )
    yield Irregular("deflated-cut.dcm", deflated[: len(deflated) * 3 // 4], code="damaged", words="bytes short")
    stored = zlib.compressobj(0, zlib.DEFLATED, -15)
    plain_blocks = stored.compress(inflated) + stored.flush()
    yield Irregular("deflated-in-stored-blocks.dcm", deflated[:head] + plain_blocks, plain=native)
    padding = b"\xfc\xff\xfc\xffOB\0\0\x0a\0\0\0" + bytes(10)
    padded = deflated[:head] + _deflate(inflated + padding)
    yield Irregular("deflated-with-padding-behind.dcm", padded, plain=native)
    random = np.random.default_rng(8).integers(1, 256, 999, dtype=np.uint8).tobytes()
    followed = deflated[:head] + _deflate(inflated + random)
    yield Irregular("deflated-with-bytes-behind.dcm", followed, code="damaged", words="deflated data set is damaged")
    middle = len(deflated) // 2  # there is no checksum: what follows becomes other pixels, and more of them
    for name, block in {"zeros": bytes(200), "ones": b"\xff" * 200}.items():
        changed = deflated[:middle] + block + deflated[middle + 200 :]
        yield Irregular(f"deflated-with-{name}-within.dcm", changed, code="damaged", words="ends early")


def _deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(data) + deflater.flush()


# --- codestreams -----------------------------------------------------------------------------------------------------

SEGMENTS = {
    "fill-bytes": b"\xff\xff",
    "short-adobe": b"\xff\xee\x00\x0cAdobe" + bytes(5),
    "adobe-transform-2": b"\xff\xee\0\x0eAdobe\0d\0\0\0\0\2",
    "jfif-2": b"\xff\xe0\0\x10JFIF\0\2\1\1\0\1\0\1\0\0",
    "stray-bytes": b"\0\0\0",
    "stuffed": b"\xff\0\0\x04ab",
    "remark": b"\xff\xfe\0\x08remark",
    "reserved": b"\xff\xf2\0\x04ab",
    "empty-segment": b"\xff\xe5\0\x02",
    "exif": b"\xff\xe1\0\x0aExif\0\0\0\0",
    "thumbnail": b"\xff\xe1\0\x08\xff\xd8\xff\xd9\0\0",
}


def _jpeg_segments() -> Iterator[Irregular]:
    for name in ("jpeg", "jpeg-lossless", "jpeg-ls"):
        plain = _compressed(name)
        frame = frame_of(plain)
        scan = frame.index(b"\xff\xda")
        for kind, segment in SEGMENTS.items():
            for place, at in {"": 2, "-before-the-scan": scan}.items():
                changed = dcmread(io.BytesIO(plain))
                value = _item(b"") + _item(frame[:at] + segment + frame[at:]) + DELIMITER
                yield Irregular(f"{kind}{place}-{name}.dcm", _with_pixels(value, changed, SYNTAXES[name]), plain=plain)


def _other_processes() -> Iterator[Irregular]:
    """A codestream of another process than the transfer syntax says is read as what it is."""
    files = {name: _compressed(name) for name in ("jpeg", "jpeg-lossless", "jpeg-ls", "jpeg-2000")}
    for name, plain in files.items():
        for stated in files:
            if stated != name:
                changed = dcmread(io.BytesIO(plain))
                value = _item(b"") + _item(frame_of(plain)) + DELIMITER
                data = _with_pixels(value, changed, SYNTAXES[stated])
                yield Irregular(f"{name}-called-{stated}.dcm", data, plain=plain)
    twelve = dcmread(io.BytesIO(files["jpeg"]))
    frame = bytearray(frame_of(files["jpeg"]))
    at = frame.index(b"\xff\xc0")
    frame[at + 1], frame[at + 4] = 0xC1, 12  # a frame of 12 bits (T.81 table B.1)
    twelve.BitsAllocated, twelve.BitsStored, twelve.HighBit = 16, 12, 11
    data = _with_pixels(_item(b"") + _item(bytes(frame)) + DELIMITER, twelve, "1.2.840.10008.1.2.4.51")
    yield Irregular("jpeg-of-12-bits.dcm", data, code="unsupported-compression", words="JPEG of 12 bits")


def _signs() -> Iterator[Irregular]:
    for signed in (False, True):
        # values below the sign bit are the same either way, others are not
        for name, values in {"low": picture() >> 1, "high": picture()}.items():
            pixels = values.astype(np.int16) - (2048 if not signed and name == "high" else 0)
            pixels = pixels if not signed else values
            # `pixels` go in with their own sign, and the header states the other one
            dataset = whole(pixels, **WINDOW)
            file = dcmread(io.BytesIO(compressed(dataset, JPEG2000Lossless)))
            file.PixelRepresentation = 1 - file.PixelRepresentation
            stem = f"jpeg-2000-{'un' if signed else ''}signed-{name}.dcm"
            if name == "low":
                yield Irregular(stem, bytes_of(file), plain=bytes_of(whole(values, **WINDOW)))
            else:
                yield Irregular(stem, bytes_of(file), code="undefined-grey-scale", words="PixelRepresentation says")
    # JPEG with losses is unsigned whatever the header says; eight bits have a range of their own for each sign
    for name in ("jpeg", "jpeg-2000"):
        file = dcmread(io.BytesIO(compressed(whole(picture(8) // 3), SYNTAXES[name])))
        file.PixelRepresentation = 1
        words = f"the {name.upper().replace('-', ' ')} codestream says unsigned ones"
        yield Irregular(f"{name}-of-8-bits-called-signed.dcm", bytes_of(file), code="undefined-grey-scale", words=words)


# --- grey scale ------------------------------------------------------------------------------------------------------


def curve(bits: int = 12) -> np.ndarray:
    """A rising S of 4096 entries up to 2 to the power of `bits`, less one."""
    return np.round((2**bits - 1) / (1 + np.exp(-(np.arange(4096) - 2048) / 500))).astype(int)


def lut(
    entries: Any, *, first: int = 0, bits: int = 12, vr: str = "US", count: int | None = None, data_vr: str = "OW"
) -> Dataset:
    """An item of a Modality or VOI LUT sequence."""
    item = Dataset()
    entries = [int(entry) for entry in entries]
    stated = (len(entries) if count is None else count) % 65536
    item.add_new("LUTDescriptor", vr, [stated - (65536 if vr == "SS" and stated > 32767 else 0), first, bits])
    value: Any = entries if data_vr in {"US", "SS"} else np.array(entries, dtype="<u2").tobytes()
    item.add_new("LUTData", data_vr, value)
    return item


def _look_up_tables() -> Iterator[Irregular]:
    twelve = curve()
    plain = bytes_of(whole(VOILUTSequence=[lut(twelve)]))
    for stated, shift in (
        (16, 0),
        (16, 1),
        (16, 2),
        (16, 3),
        (16, 4),
        (10, 0),
        (8, 0),
        (15, 0),
        (12, 0),
        (0, 0),
        (40, 0),
    ):
        used = 12 + shift
        fitting = bytes_of(whole(VOILUTSequence=[lut(twelve << shift, bits=used)]))
        data = bytes_of(whole(VOILUTSequence=[lut(twelve << shift, bits=stated)]))
        yield Irregular(f"voi-lut-says-{stated}-uses-{used}.dcm", data, plain=fitting)
    # the end of the range that is stated: 4096 of 12 bits
    over = twelve.copy()
    over[-1] = 4096
    yield Irregular("voi-lut-one-above.dcm", bytes_of(whole(VOILUTSequence=[lut(over)])), plain=plain)
    for data_vr in ("US", "OW", "UN"):
        data = bytes_of(whole(VOILUTSequence=[lut(twelve, data_vr=data_vr)]))
        yield Irregular(f"voi-lut-data-{data_vr}.dcm", data, plain=plain)
    implicit = bytes_of(whole(syntax=ImplicitVRLittleEndian, VOILUTSequence=[lut(twelve)]))
    yield Irregular("voi-lut-implicit.dcm", implicit, plain=plain)
    big = whole(syntax=ExplicitVRBigEndian, VOILUTSequence=[lut(twelve, data_vr="US")])
    big.PixelData = picture().astype(">u2").tobytes()
    yield Irregular("voi-lut-big-endian.dcm", bytes_of(big), plain=plain)
    big.VOILUTSequence[0].add_new("LUTData", "OW", twelve.astype(">u2").tobytes())
    yield Irregular("voi-lut-big-endian-words.dcm", bytes_of(big), plain=plain)
    eight = curve(8)
    of_bytes = bytes_of(whole(VOILUTSequence=[lut(eight, bits=8)]))
    packed = lut(eight, bits=8)
    packed.add_new("LUTData", "OW", eight.astype(np.uint8).tobytes())
    yield Irregular("voi-lut-of-packed-bytes.dcm", bytes_of(whole(VOILUTSequence=[packed])), plain=of_bytes)
    packed.add_new("LUTData", "US", eight.astype(np.uint8).view("<u2").astype(int).tolist())
    yield Irregular("voi-lut-of-packed-words.dcm", bytes_of(whole(VOILUTSequence=[packed])), plain=of_bytes)
    yield Irregular(
        "voi-lut-of-bytes-says-16.dcm", bytes_of(whole(VOILUTSequence=[lut(eight, bits=16)])), plain=of_bytes
    )
    full = np.arange(65536)
    deep = picture(16)
    for first, pixels in ((0, deep), (-32768, (deep.astype(int) - 32768).astype(np.int16))):
        vr = "SS" if first else "US"
        stem = "signed" if first else "unsigned"
        elements = {"BitsStored": 16, "HighBit": 15}
        data = bytes_of(whole(pixels, VOILUTSequence=[lut(full, first=first, bits=16, vr=vr)], **elements))
        window = {"WindowCenter": first + 32768, "WindowWidth": 65536}
        yield Irregular(f"voi-lut-of-65536-{stem}.dcm", data, plain=bytes_of(whole(pixels, **elements, **window)))
    # behind items that hold nothing
    empty = Dataset()
    empty.add_new("LUTDescriptor", "US", None)
    empty.add_new("LUTData", "US", None)
    empty.LUTExplanation = ""
    windowed = bytes_of(whole(**WINDOW))
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        for name, items in {
            "empty-item": [empty],
            "blank-item": [Dataset()],
            "no-item": [],
            "two": [Dataset(), empty],
        }.items():
            data = bytes_of(whole(**WINDOW, **{keyword: items}))
            yield Irregular(f"{name}-{keyword}.dcm", data, plain=windowed)
    second = bytes_of(whole(VOILUTSequence=[empty, lut(twelve)]))
    yield Irregular("voi-lut-behind-an-empty-one.dcm", second, plain=plain)
    no_voi = bytes_of(whole(VOILUTSequence=[empty]))
    yield Irregular("empty-voi-lut-and-no-window.dcm", no_voi, plain=bytes_of(whole()))
    eight_bits = bytes_of(whole(picture(8), ModalityLUTSequence=[empty]))
    yield Irregular("empty-modality-lut-of-8-bits.dcm", eight_bits, plain=bytes_of(whole(picture(8))))


def _descriptors() -> Iterator[Irregular]:
    twelve = curve()
    signed = picture().astype(np.int16) - 2048
    plain = bytes_of(whole(signed, VOILUTSequence=[lut(twelve, first=-2048, vr="SS")]))
    data = bytes_of(whole(signed, VOILUTSequence=[lut(twelve, first=63488)]))
    yield Irregular("voi-lut-first-value-unsigned.dcm", data, plain=plain)
    modality = [lut(twelve, first=63488)]
    data = bytes_of(whole(signed, ModalityLUTSequence=modality, **WINDOW))
    modality = [lut(twelve, first=-2048, vr="SS")]
    plain = bytes_of(whole(signed, ModalityLUTSequence=modality, **WINDOW))
    yield Irregular("modality-lut-first-value-unsigned.dcm", data, plain=plain)
    rescaled = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    plain = bytes_of(whole(**rescaled, VOILUTSequence=[lut(twelve, first=-1024, vr="SS")]))
    data = bytes_of(whole(**rescaled, VOILUTSequence=[lut(twelve, first=64512)]))
    yield Irregular("voi-lut-first-value-of-rescaled-unsigned.dcm", data, plain=plain)
    deep = picture(16) // 8 + 50_000
    elements = {"BitsStored": 16, "HighBit": 15}
    plain = bytes_of(whole(deep, **elements, VOILUTSequence=[lut(np.arange(9000) // 4, first=50_000)]))
    data = bytes_of(whole(deep, **elements, VOILUTSequence=[lut(np.arange(9000) // 4, first=50_000 - 65536, vr="SS")]))
    yield Irregular("voi-lut-first-value-signed.dcm", data, plain=plain)
    padded = signed.copy()
    padded[:9] = -2048
    plain = bytes_of(whole(padded, PixelPaddingValue=-2048))
    unsigned = whole(padded)
    unsigned.add_new("PixelPaddingValue", "US", 63488)
    yield Irregular("padding-unsigned.dcm", bytes_of(unsigned), plain=plain)
    deep = picture(16) // 2 + 20_000
    deep[:9] = 65535
    plain = bytes_of(whole(deep, **elements, PixelPaddingValue=65535))
    negative = whole(deep, **elements)
    negative.add_new("PixelPaddingValue", "SS", -1)
    yield Irregular("padding-signed.dcm", bytes_of(negative), plain=plain)
    # smallest and largest value are not read
    extremes = whole(signed)
    extremes.add_new("SmallestImagePixelValue", "US", 63488)
    extremes.add_new("LargestImagePixelValue", "US", 7)
    yield Irregular("extremes-unsigned.dcm", bytes_of(extremes), plain=bytes_of(whole(signed)))

    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):

        def refused(stem: str, item: Dataset, words: str, keyword: str = keyword) -> Irregular:
            data = bytes_of(whole(**WINDOW, **{keyword: [item]}))
            return Irregular(f"{stem}-{keyword}.dcm", data, code="undefined-grey-scale", words=words)

        without = lut(twelve)
        del without.LUTData
        yield refused("no-data", without, f"4096 entries in {keyword}, found 0")
        without = lut(twelve)
        del without.LUTDescriptor
        yield refused("no-descriptor", without, f"three numbers in {keyword}, found none")
        short = lut(twelve)
        short.LUTDescriptor = [4096, 0]
        yield refused("two-numbers", short, f"three numbers in {keyword}, found 2")
        yield refused("too-few", lut(twelve[:1000], count=4096), f"4096 entries in {keyword}, found 1000")


def raw_text(data: bytes, keyword_tag: bytes, text: bytes) -> bytes:
    """The file with the text of a DS or IS element replaced by one that pydicom would not write."""
    at = data.index(keyword_tag)
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    text += b" " * (len(text) % 2)
    return data[: at + 6] + struct.pack("<H", len(text)) + text + data[at + 8 + length :]


CENTRE, WIDTH, INTERCEPT, SLOPE = b"\x28\0\x50\x10DS", b"\x28\0\x51\x10DS", b"\x28\0\x52\x10DS", b"\x28\0\x53\x10DS"
FRAMES = b"\x28\0\x08\0IS"


def _windows() -> Iterator[Irregular]:
    plain = bytes_of(whole(**WINDOW, RescaleSlope=1, RescaleIntercept=0, NumberOfFrames=1))

    def text(stem: str, tag: bytes, value: bytes, words: str, code: str = "undefined-grey-scale") -> Irregular:
        return Irregular(f"{stem}.dcm", raw_text(plain, tag, value), code=code, words=words)

    for name, value in {
        "comma": b"2047,5",
        "slash": b"2048/1000",
        "nan": b"NaN",
        "word": b"AUTO",
        "inf": b"1e999",
        "underscore": b"1_000",
    }.items():
        shown = "another value" if name in {"word", "underscore"} else f"'{value.decode()}'"
        yield text(f"centre-{name}", CENTRE, value, f"expected a number as WindowCenter, found {shown}")
        yield text(f"width-{name}", WIDTH, value, f"expected a number as WindowWidth, found {shown}")
        yield text(f"slope-{name}", SLOPE, value, f"expected a number as RescaleSlope, found {shown}")
        yield text(f"intercept-{name}", INTERCEPT, value, f"expected a number as RescaleIntercept, found {shown}")
    yield text(
        "frames-word", FRAMES, b"one", "expected a number as NumberOfFrames, found another value", "unsupported-header"
    )
    yield text("second-centre-word", CENTRE, b"2048\\SOFT", "expected a number as WindowCenter")
    yield text("width-zero", WIDTH, b"0", "positive WindowWidth, found 0")
    yield text("width-negative", WIDTH, b"-100", "positive WindowWidth, found -100")
    yield text("two-centres", CENTRE, b"2048\\1000", "as many WindowCenter as WindowWidth values, found 2 and 1")
    yield text("slope-zero", SLOPE, b"0", "RescaleSlope 0")
    yield text("two-slopes", SLOPE, b"1\\2", "expected one number as RescaleSlope, found 2")
    yield text("centre-empty", CENTRE, b"", "as many WindowCenter as WindowWidth values, found 0 and 1")
    yield text("slope-empty", SLOPE, b"", "belong together")
    for name, value in {"spaces": b" 2048 ", "point": b"2048.", "exponent": b"2.048E+03", "plus": b"+2048"}.items():
        yield Irregular(f"centre-{name}.dcm", raw_text(plain, CENTRE, value), plain=plain)
    both = raw_text(raw_text(plain, CENTRE, b"2048\\300"), WIDTH, b"4096\\200")
    yield Irregular("two-windows.dcm", both, plain=plain)
    neither = raw_text(raw_text(plain, CENTRE, b""), WIDTH, b"")
    yield Irregular("window-empty.dcm", neither, plain=bytes_of(whole()))
    unscaled = raw_text(raw_text(plain, SLOPE, b""), INTERCEPT, b"")
    yield Irregular("rescale-empty.dcm", unscaled, plain=plain)


def _elements() -> Iterator[Irregular]:
    several = whole(**WINDOW)
    several.add_new("Rows", "US", [120, 120])
    yield Irregular("two-rows.dcm", bytes_of(several), code="unsupported-header", words="expected one number as Rows")
    sign = whole(**WINDOW, PixelRepresentation=2)
    yield Irregular("sign-of-2.dcm", bytes_of(sign), code="unsupported-header", words="PixelRepresentation 0 or 1")
    for keyword, term in {"PhotometricInterpretation": "MONOCHROME2", "VOILUTFunction": "SIGMOID"}.items():
        padded = bytes_of(whole(**WINDOW, **{keyword: f" {term} "}))
        yield Irregular(f"blanks-around-{keyword}.dcm", padded, plain=bytes_of(whole(**WINDOW, **{keyword: term})))
    palette = whole(picture(8), PhotometricInterpretation="PALETTE COLOR")
    yield Irregular("palette-without-tables.dcm", bytes_of(palette), code="undefined-grey-scale", words="PALETTE COLOR")


GROUPS = {
    "open sequences": _open_sequences, "fragments": _fragments, "around the pixels": _around_the_pixels,
    "encodings": _encodings, "segments of JPEG": _jpeg_segments, "other processes": _other_processes,
    "look-up tables": _look_up_tables, "descriptors": _descriptors, "windows": _windows, "signs": _signs,
    "elements": _elements,
}  # fmt: skip
