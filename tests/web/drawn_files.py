"""Draws one chest in every format that is read, with odd headers and with damage: files for two readers to agree on."""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, PngImagePlugin
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script like this one has no test runner to find it

from dicom_files import bytes_of, compressed, dataset_of
from irregular_dicom import irregular_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JPEG_FILES = ("grey.jpg", "progressive.jpg")
JPEG_LOSSLESS_SV1, JPEG_LS, JPEG_LS_LOSSY = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"


def chest(height: int = 340, width: int = 300) -> np.ndarray:
    """A drawn chest in [0, 1], float64 [height, width]: dark ovals, ribs, noise, a bright marker; no symmetry."""
    y, x = np.mgrid[0:height, 0:width] / (height - 1)
    x = x * (height - 1) / (width - 1)
    picture = 0.72 - 0.1 * y + 0.05 * np.sin(28 * y + 3 * x)
    for centre in (0.3, 0.71):
        distance = ((x - centre) / 0.16) ** 2 + ((y - 0.48) / 0.33) ** 2
        picture -= 0.5 / (1 + np.exp(np.clip(9 * (distance - 1), -50, 50)))
    picture += np.random.default_rng(5).normal(0, 0.02, picture.shape)
    picture[12:30, 14:24] = 0.98
    return np.clip(picture, 0, 1)


def draw(folder: Path) -> None:
    """Write all files into the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in (*_pngs(), *_jpegs(), *_others(), *_dicoms(), *_headers(), *_foreign()):
            (folder / name).write_bytes(data)
        for file in irregular_files():
            (folder / f"irregular-{file.name}").write_bytes(file.data)
        for name, data in list(_broken(folder)):
            (folder / name).write_bytes(data)


def _encoded(image: Image.Image, picture_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, picture_format, **options)
    return stream.getvalue()


def _grey(bits: int = 8) -> np.ndarray:
    return np.round(chest() * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def _png(
    samples: np.ndarray,
    bits: int,
    colour_type: int,
    *chunks: tuple[bytes, bytes],
    declared: tuple[int, int] | None = None,
) -> bytes:
    """A PNG as Pillow does not write it: any depth, any `declared` width and height; samples [H, W(, channels)]."""
    flat = samples.reshape(samples.shape[0], -1)
    if bits == 16:
        rows = flat.astype(">u2").view(np.uint8).reshape(len(flat), -1)
    else:
        digits = ((flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
        rows = np.packbits(digits.reshape(len(flat), -1), axis=1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    width, height = declared or (samples.shape[1], samples.shape[0])
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def _pngs() -> Iterator[tuple[str, bytes]]:
    grey = _grey()
    image = Image.fromarray(grey)
    rgb = np.stack([grey] * 3, axis=-1)
    tinted = np.clip(rgb.astype(int) + np.array([30, 0, -30]), 0, 255).astype(np.uint8)
    alpha = np.full(grey.shape, 255, np.uint8)
    alpha[:, :40] = 90
    yield "grey8.png", _encoded(image, "PNG")
    yield "grey16.png", _encoded(Image.fromarray(_grey(16)), "PNG")
    yield "grey12-in-16.png", _encoded(Image.fromarray(_grey(12)), "PNG")
    yield "grey12-sbit.png", _png(_grey(12).astype(np.uint16) << 4, 16, 0, (b"sBIT", b"\x0c"))
    for bits in (1, 2, 4):
        yield f"grey{bits}.png", _png(_grey(bits), bits, 0)
    yield "grey4-key.png", _png(_grey(4), 4, 0, (b"tRNS", b"\x00\x0b"))
    yield "grey8-key.png", _png(grey, 8, 0, (b"tRNS", struct.pack(">H", int(np.median(grey)))))
    yield "grey16-key.png", _png(_grey(16), 16, 0, (b"tRNS", struct.pack(">H", int(_grey(16).max()))))
    yield "rgb-grey.png", _encoded(Image.fromarray(rgb), "PNG")
    yield "rgb-tinted.png", _encoded(Image.fromarray(tinted), "PNG")
    marked = rgb.copy()
    marked[12:26, 14:24] = (255, 0, 0)
    yield "rgb-marker.png", _encoded(Image.fromarray(marked), "PNG")
    yield "rgb16.png", _png(np.stack([_grey(16)] * 3, axis=-1), 16, 2)
    yield "rgb-key.png", _png(rgb, 8, 2, (b"tRNS", struct.pack(">3H", *[int(np.median(grey))] * 3)))
    yield "rgba.png", _encoded(Image.fromarray(np.dstack([rgb, alpha])), "PNG")
    yield "rgba16.png", _png(np.dstack([*[_grey(16)] * 3, alpha.astype(np.uint16) * 257]), 16, 6)
    yield "la.png", _encoded(Image.fromarray(np.dstack([grey, alpha])), "PNG")
    yield "la16.png", _png(np.dstack([_grey(16), alpha.astype(np.uint16) * 257]), 16, 4)
    yield "palette-grey.png", _encoded(image.convert("P"), "PNG")
    yield "palette-colour.png", _encoded(Image.fromarray(tinted).quantize(64), "PNG")
    yield "palette-key.png", _encoded(image.convert("P"), "PNG", transparency=int(np.median(grey)))
    yield "interlaced.png", _interlaced(grey)
    yield "filters.png", _encoded(Image.fromarray(tinted), "PNG", compress_level=9, optimize=True)
    exif = Image.Exif()
    exif[0x0112] = 8
    yield "exif8.png", _encoded(image, "PNG", exif=exif)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
    yield "xmp6.png", _encoded(image, "PNG", pnginfo=info)


def _interlaced(grey: np.ndarray) -> bytes:
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    body = b"".join(
        b"\0" + row.tobytes() for left, top, across, down in passes for row in grey[top::down, left::across]
    )
    height, width = grey.shape
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)),
        (b"IDAT", zlib.compress(body)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def _jpegs() -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(_grey())
    rgb = image.convert("RGB")
    tinted = Image.fromarray(np.clip(np.asarray(rgb).astype(int) + np.array([30, 0, -30]), 0, 255).astype(np.uint8))
    yield "grey.jpg", _encoded(image, "JPEG", quality=90)
    yield "progressive.jpg", _encoded(image, "JPEG", quality=80, progressive=True)
    yield "rgb-grey.jpg", _encoded(rgb, "JPEG", quality=90)
    yield "rgb-444.jpg", _encoded(tinted, "JPEG", quality=95, subsampling=0)
    yield "rgb-420.jpg", _encoded(tinted, "JPEG", quality=75, subsampling=2)
    yield "cmyk.jpg", _encoded(rgb.convert("CMYK"), "JPEG", quality=90)
    yield "restart.jpg", _encoded(image, "JPEG", quality=85, restart_marker_rows=2)
    for orientation in (2, 3, 4, 5, 6, 7, 8, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"exif{orientation}.jpg", _encoded(image, "JPEG", quality=95, exif=exif)
    yield "junk-at-end.jpg", _encoded(image, "JPEG") + b"junk" * 10
    whole = _encoded(image, "JPEG", quality=90)
    yield "bad-scan.jpg", whole[: len(whole) // 2] + b"\x12\x34\x56\x78\x9a" * 3 + whole[len(whole) // 2 + 15 :]
    large = Image.fromarray(np.round(chest(2400, 2000) * 255).astype(np.uint8))
    yield "large.jpg", _encoded(large, "JPEG", quality=90)


def _others() -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(_grey())
    yield "grey.bmp", _encoded(image, "BMP")
    yield "rgb.bmp", _encoded(image.convert("RGB"), "BMP")
    yield "lossless.webp", _encoded(image.convert("RGB"), "WEBP", lossless=True)
    yield "small.png", _encoded(image.resize((90, 90)), "PNG")
    yield "pixel.png", _encoded(image.resize((1, 1)), "PNG")
    yield "strip.png", _encoded(image.resize((600, 120)), "PNG")
    yield "blank.png", _encoded(Image.new("L", (300, 300), 128), "PNG")
    yield "flat.png", _encoded(image.point(lambda value: 100 + value // 12), "PNG")


def _jpeg_dicom(samples: np.ndarray, photometric: str | None = None) -> bytes:
    dataset = dataset_of(samples, syntax=JPEGBaseline8Bit, BodyPartExamined="CHEST", ViewPosition="PA")
    dataset.PixelData = encapsulate([_encoded(Image.fromarray(samples), "JPEG", quality=95, subsampling=0)])
    dataset["PixelData"].VR = "OB"
    if photometric:
        dataset.PhotometricInterpretation = photometric
    return bytes_of(dataset)


def _dicoms() -> Iterator[tuple[str, bytes]]:
    about = {"BodyPartExamined": "CHEST", "ViewPosition": "PA"}
    grey, deep = _grey(), _grey(12)
    signed = (_grey(16).astype(np.int32) - 32768).astype(np.int16)
    signed12 = (deep.astype(np.int32) - 2048).astype(np.int16)
    rgb = np.stack([grey] * 3, axis=-1)
    twelve = {**about, "BitsStored": 12}
    for syntax, name in (
        (ImplicitVRLittleEndian, "implicit"), (ExplicitVRLittleEndian, "explicit"),
        (DeflatedExplicitVRLittleEndian, "deflated"),
    ):  # fmt: skip
        yield f"{name}.dcm", bytes_of(dataset_of(deep, syntax=syntax, **twelve))
    big = dataset_of(deep, syntax=ExplicitVRBigEndian, **twelve)
    big.PixelData = deep.astype(">u2").tobytes()
    yield "big-endian.dcm", bytes_of(big)
    big8 = dataset_of(grey, syntax=ExplicitVRBigEndian, **about)
    big8["PixelData"].VR = "OW"
    big8.PixelData = grey.view("<u2").byteswap().tobytes()
    yield "big-endian-8-bit-words.dcm", bytes_of(big8)
    yield "bare.dcm", bytes_of(dataset_of(deep, syntax=ExplicitVRLittleEndian, **twelve))[132:]
    yield "tiff-preamble.dcm", b"II*\0" + bytes_of(dataset_of(deep, **twelve))[4:]
    yield "signed16.dcm", bytes_of(dataset_of(signed, **about))
    yield "signed12.dcm", bytes_of(dataset_of(signed12, **twelve, WindowCenter=0, WindowWidth=4096))
    for syntax, name in (
        (RLELossless, "rle"), (JPEG2000Lossless, "jpeg2000"), (JPEG_LOSSLESS_SV1, "jpeg-lossless"),
        (JPEG_LS, "jpeg-ls"), (JPEG_LS_LOSSY, "jpeg-near"),
    ):  # fmt: skip
        for pixels, kind, bits in ((grey, "8", 8), (deep, "12", 12), (signed12, "signed12", 12)):
            yield f"{name}-{kind}.dcm", compressed(dataset_of(pixels, **{**about, "BitsStored": bits}), syntax)
    yield "jpeg-baseline.dcm", _jpeg_dicom(grey)
    yield "jpeg-colour.dcm", _jpeg_dicom(rgb, "YBR_FULL_422")
    yield "jpeg-colour-called-rgb.dcm", _jpeg_dicom(rgb)
    yield "rgb.dcm", bytes_of(dataset_of(rgb, **about))
    by_plane = dataset_of(rgb, **about, PlanarConfiguration=1)
    by_plane.PixelData = rgb.transpose(2, 0, 1).tobytes()
    yield "rgb-by-plane.dcm", bytes_of(by_plane)
    ybr = np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 128)], axis=-1)
    yield "ybr-full.dcm", bytes_of(dataset_of(ybr, **about, PhotometricInterpretation="YBR_FULL"))
    palette = dataset_of(grey, **about, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(palette, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(palette, f"{colour}PaletteColorLookupTableData", (np.arange(256, dtype="<u2") * 257).tobytes())
    yield "palette.dcm", bytes_of(palette)


def _lut(entries: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return item


def _headers() -> Iterator[tuple[str, bytes]]:
    deep = _grey(12)
    rising = np.round((np.arange(4096) / 4095) ** 0.7 * 4095)
    about = {"BitsStored": 12, "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399348003", "SCT", "antero-posterior"
    lung = Dataset()
    lung.CodeValue, lung.CodingSchemeDesignator, lung.CodeMeaning = "39607008", "SCT", "Lung structure"
    table: dict[str, dict[str, Any]] = {
        "monochrome1": {"PhotometricInterpretation": "MONOCHROME1"},
        "window": {"WindowCenter": 1900, "WindowWidth": 3000},
        "windows": {"WindowCenter": [1900, 2048], "WindowWidth": [3000, 4096]},
        "window-exact": {"WindowCenter": 1900, "WindowWidth": 3000, "VOILUTFunction": "LINEAR_EXACT"},
        "window-sigmoid": {"WindowCenter": 1900, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"},
        "window-threshold": {"WindowCenter": 1900, "WindowWidth": 1},
        "window-unknown": {"WindowCenter": 1900, "WindowWidth": 1500, "VOILUTFunction": "CUBIC"},
        "window-negative": {"WindowCenter": 1900, "WindowWidth": -2.5},
        "window-half": {"WindowCenter": 1900},
        "rescaled": {"RescaleSlope": "0.25", "RescaleIntercept": "-1024", "WindowCenter": -500, "WindowWidth": 900},
        "rescaled-to-nothing": {"RescaleSlope": 0, "RescaleIntercept": 1},
        "rescaled-half": {"RescaleSlope": 2},
        "modality-lut": {"ModalityLUTSequence": [_lut(rising, 0, 12)]},
        "voi-lut": {"VOILUTSequence": [_lut(rising, 0, 12)]},
        "voi-lut-short": {"VOILUTSequence": [_lut(rising[500:3500], 500, 12)]},
        "padding": {"PixelPaddingValue": int(deep.max())},
        "padding-range": {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 600},
        "inverse": {"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"},
        "contradiction": {"PresentationLUTShape": "INVERSE"},
        "lut-shape": {"PresentationLUTShape": "LIN OD"},
        "coded": {"BodyPartExamined": None, "ViewPosition": None, "ViewCodeSequence": [code],
                  "AnatomicRegionSequence": [lung]},
        "position": {"ViewPosition": None, "PatientPosition": "AP"},
        "lying": {"ViewPosition": None, "PatientPosition": "HFS"},
        "lateral": {"ViewPosition": "LATERAL"},
        "postero": {"ViewPosition": "Postero-Anterior erect"},
        "thorax": {"BodyPartExamined": "2- T\xd2RAX", "SpecificCharacterSet": "ISO_IR 100"},
        "chest-lat": {"BodyPartExamined": "CHEST LAT"},
        "quoted": {"BodyPartExamined": "O'BRIEN \"JOHN\" 19 FOLSOM"},
        "mr": {"Modality": "MR"},
        "unspecific": {"Modality": "OT", "ViewPosition": None},
        "unspecific-known": {"Modality": "SC"},
        "sideways": {"PatientOrientation": ["P", "F"]},
        "mirrored": {"PatientOrientation": ["R", "F"]},
        "upside-down": {"PatientOrientation": ["L", "H"]},
        "upright": {"PatientOrientation": ["L", "F"]},
        "frames": {"NumberOfFrames": 2},
        "no-rows": {"Rows": None},
        "zero-rows": {"Rows": 0},
        "huge": {"Rows": 60000, "Columns": 60000},
        "bits": {"BitsStored": 17},
        "high-bit": {"HighBit": 15},
        "too-few-bits": {"BitsStored": 10, "HighBit": 9},
        "photometric": {"PhotometricInterpretation": "HSV"},
        "samples": {"SamplesPerPixel": 3},
        "for-processing": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"},
        "enhanced": {"SharedFunctionalGroupsSequence": [Dataset()]},
    }  # fmt: skip
    for name, elements in table.items():
        yield f"header-{name}.dcm", bytes_of(dataset_of(deep, **{**about, **elements}))
    report = dataset_of(deep, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    del report.PixelData
    yield "report.dcm", bytes_of(report)
    yield (
        "implicit-luts.dcm",
        bytes_of(dataset_of(deep, syntax=ImplicitVRLittleEndian, **about, VOILUTSequence=[_lut(rising, 0, 12)])),
    )
    one = dataset_of(np.array([[7]], dtype=np.uint8))
    yield "pixel.dcm", bytes_of(one)
    flat = dataset_of(np.full((200, 200), 900, np.uint16), BitsStored=12)
    yield "flat.dcm", bytes_of(flat)
    yield (
        "unknown-syntax.dcm",
        bytes_of(dataset_of(deep, **about)).replace(
            b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x14\x001.2.840.10008.1.2.7\0"
        ),
    )


def _foreign() -> Iterator[tuple[str, bytes]]:
    yield "empty.png", b""
    yield "text.dcm", b"This is no picture at all.\n" * 20
    yield "zeros.dcm", bytes(4000)
    yield "page.png", b"<!doctype html><p>not found"
    yield "archive.dcm", b"PK\x03\x04" + bytes(200)
    yield "animation.gif", b"GIF89a" + bytes(100)
    yield "noise.jpg", np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    yield "photo.heic", b"\0\0\0\x18ftypheic" + bytes(100)
    yield "bare.j2k", b"\xff\x4f\xff\x51" + bytes(100)
    yield "dicm-only.dcm", bytes(128) + b"DICM"
    yield "png-bomb.png", _png(np.zeros((1, 1), np.uint8), 8, 0, declared=(90000, 90000))
    bomb = bytearray(_encoded(Image.fromarray(_grey()), "JPEG"))
    frame = bomb.index(b"\xff\xc0")
    bomb[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    yield "jpeg-bomb.jpg", bytes(bomb)


def cut_and_ended(data: bytes, part: float) -> bytes:
    """A part of a codestream with an end mark behind it, alone or in a DICOM file, as an interrupted copy leaves it."""
    if data.startswith(b"\xff\xd8"):
        return data[: int(part * len(data))] + b"\xff\xd9"
    dataset = dcmread(io.BytesIO(data))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    cut = frame[: int(part * len(frame))] + b"\xff\xd9"
    dataset.PixelData = encapsulate([cut + bytes(len(cut) % 2)])
    dataset["PixelData"].VR = "OB"
    return bytes_of(dataset)


def with_picture_data(png: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A PNG of one IDAT chunk with other contents in it, under a checksum of the chunk that fits."""
    at = png.index(b"IDAT")
    end = at + 4 + int.from_bytes(png[at - 4 : at], "big")
    body = change(png[at + 4 : end])
    checked = b"IDAT" + body
    return (
        png[: at - 4] + struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked)) + png[end + 4 :]
    )


def _broken(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in ("grey8.png", "interlaced.png", "grey.jpg", "progressive.jpg", "explicit.dcm", "implicit.dcm",
                 "deflated.dcm", "rle-12.dcm", "jpeg2000-12.dcm", "jpeg-ls-8.dcm", "jpeg-lossless-12.dcm",
                 "jpeg-baseline.dcm", "header-coded.dcm"):  # fmt: skip
        data, (stem, suffix) = (folder / name).read_bytes(), name.rsplit(".", 1)
        for part in (0.002, 0.02, 0.5, 0.97):
            yield f"cut-{part}-{stem}.{suffix}", data[: max(4, int(len(data) * part))]
        yield f"cut-last-{stem}.{suffix}", data[:-1]
        if name == "jpeg-baseline.dcm":
            continue  # bytes that changed inside the scan may leave a stream of the right length
        damaged = bytearray(data)
        middle = len(data) * 2 // 3
        damaged[middle : middle + 40] = bytes((value * 7 + 31) % 256 for value in damaged[middle : middle + 40])
        yield f"damaged-{stem}.{suffix}", bytes(damaged)
    for name in (*JPEG_FILES, "jpeg-baseline.dcm", "jpeg-lossless-12.dcm", "jpeg-ls-8.dcm", "jpeg2000-12.dcm"):
        data = (folder / name).read_bytes()
        for part in (0.1, 0.5, 0.9, 0.99):
            yield f"ended-{part}-{name}", cut_and_ended(data, part)
    sound = _png(_grey(), 8, 0)
    yield "wrong-sum.png", with_picture_data(sound, lambda body: body[:-4] + b"sum!")
    yield "no-sum.png", with_picture_data(sound, lambda body: body[:-4])
    yield "bytes-behind-the-sum.png", with_picture_data(sound, lambda body: body + bytes(9))
    yield "rows-behind.png", with_picture_data(sound, lambda body: zlib.compress(zlib.decompress(body) * 2))
    # rows are missing, yet all checksums fit
    yield "missing-rows.png", _png(_grey()[:200], 8, 0, declared=(300, 340))
