"""Real little pictures of every format, and ways of damaging them, all drawn from a seed."""

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
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

from dicom_files import bytes_of, dataset_of
from invalid_inputs import CHEST, PATIENT, RASTERS, compressed_radiograph, encoded, radiograph, soft

SYNTAXES = (
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian),
    *(JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless),
    "1.2.840.10008.1.2.4.201",  # HTJ2K
    "1.2.840.10008.1.2.4.103",  # MPEG-4
)
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def whole_pictures():
    """Name -> bytes of pictures that can be read, one or more of each format and transfer syntax."""
    deep = soft(dtype=np.uint16) >> 4
    noise = np.random.default_rng(5).integers(0, 4096, (100, 110), dtype=np.uint16)
    colours = np.stack([soft(), soft()[::-1], soft()[:, ::-1]], -1)
    window = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
    found = {f"{name} grey": encoded(soft(), name) for name in RASTERS}
    found |= {f"{name} colour": encoded(colours, name) for name in RASTERS}
    found["PNG 16 bits"] = encoded(soft(dtype=np.uint16), "PNG")
    found["PNG transparent"] = encoded(np.dstack([colours, soft()]), "PNG")
    found["TIFF 16 bits"] = encoded(soft(dtype=np.uint16), "TIFF", compression="tiff_lzw")
    found["TIFF deflated"] = encoded(soft(), "TIFF", compression="tiff_adobe_deflate")
    found["JPEG progressive"] = encoded(colours, "JPEG", progressive=True, quality=80)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(soft()).save(stream, "JPEG", exif=exif)
    found["JPEG turned"] = stream.getvalue()
    stream = io.BytesIO()
    Image.fromarray(soft()).convert("P").save(stream, "PNG", bits=8)
    found["PNG palette"] = stream.getvalue()
    found["DICOM native"] = radiograph(deep, **window)
    found["DICOM noise"] = radiograph(noise, **window)
    found["DICOM colour"] = radiograph(colours)
    found["DICOM inverted"] = radiograph(PhotometricInterpretation="MONOCHROME1")
    deflated = dataset_of(deep, syntax=DeflatedExplicitVRLittleEndian, **CHEST, **PATIENT, **window)
    found["DICOM deflated"] = bytes_of(deflated)
    bare = dataset_of(soft(), **CHEST, **PATIENT)
    del bare.file_meta
    stream = io.BytesIO()
    bare.save_as(stream, implicit_vr=True, little_endian=True, enforce_file_format=False)
    found["DICOM without a preamble"] = stream.getvalue()
    for syntax in (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless):
        found[f"DICOM {syntax.keyword}"] = compressed_radiograph(syntax, noise.astype(np.uint16) << 4)
        found[f"DICOM {syntax.keyword} 8 bits"] = compressed_radiograph(syntax)
    found["DICOM JPEG"] = compressed_radiograph(JPEGBaseline8Bit)
    large = soft((800, 900))  # so that it is read reduced
    found["JPEG large"] = encoded(large, "JPEG")
    found["PNG large"] = encoded(large, "PNG")
    found["DICOM JPEG large"] = compressed_radiograph(JPEGBaseline8Bit, large)
    found["DICOM JPEG 2000 large"] = compressed_radiograph(JPEG2000Lossless, large)
    found["DICOM RLE large"] = compressed_radiograph(RLELossless, large)
    return found


def mutant(pictures, seed):
    """Return the name of a picture, what was done to it, and the damaged bytes; the same for the same seed."""
    generator = random.Random(seed)
    name = generator.choice(sorted(pictures))
    data = pictures[name]
    done = []
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        way = generator.choice(_WAYS)
        data = way(generator, bytes(data), pictures)
        done.append(way.__name__.strip("_"))
    if name.startswith("PNG") and generator.random() < 0.7:
        data = with_sound_checksums(data)
        done.append("checksums")
    return f"{seed}: {name}, {' and '.join(done)}", bytes(data)


def _flip_bits(generator, data, _):
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 4, 16)) if changed else 0):
        changed[_place(generator, changed)] ^= 1 << generator.randrange(8)
    return changed


def _overwrite_bytes(generator, data, _):
    changed = bytearray(data)
    for _ in range(generator.choice((1, 2, 8)) if changed else 0):
        changed[_place(generator, changed)] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))
    return changed


def _overwrite_number(generator, data, _):
    """A length, a size or a count, wherever it may stand."""
    changed = bytearray(data)
    layout = generator.choice(("<H", ">H", "<I", ">I"))
    size = struct.calcsize(layout)
    if len(changed) > size:
        place = min(_place(generator, changed), len(changed) - size)
        struct.pack_into(layout, changed, place, generator.choice(_NUMBERS) & (256**size - 1))
    return changed


def _cut(generator, data, _):
    return data[: generator.randrange(len(data) + 1)]


def _cut_out(generator, data, _):
    start = generator.randrange(len(data) + 1)
    return data[:start] + data[start + generator.choice((1, 2, 4, 100, 1000)) :]


def _insert(generator, data, _):
    start = generator.randrange(len(data) + 1)
    return data[:start] + generator.randbytes(generator.choice((1, 2, 4, 100))) + data[start:]


def _repeat(generator, data, _):
    start = generator.randrange(len(data) + 1)
    return data[:start] + data[max(0, start - 400) : start] * generator.choice((2, 20)) + data[start:]


def _splice(generator, data, pictures):
    other = pictures[generator.choice(sorted(pictures))]
    return data[: generator.randrange(len(data) + 1)] + other[generator.randrange(len(other)) :]


def _enlarge(generator, data, _):
    """Say another size, where the format says it."""
    sizes = (0, 1, 99, 101, 4000, 8000, 16_000, 65_535)
    high, wide = generator.choice(sizes), generator.choice(sizes)
    changed = bytearray(data)
    png, jpeg, jpeg_2000 = data.find(b"IHDR"), _start_of_frame(data), data.find(b"\xff\x4f\xff\x51")
    rows, columns = data.find(b"\x28\x00\x10\x00US\x02\x00"), data.find(b"\x28\x00\x11\x00US\x02\x00")
    if png > 0 and len(data) > png + 12:
        struct.pack_into(">II", changed, png + 4, wide, high)
    if 0 <= jpeg < len(data) - 9:
        struct.pack_into(">HH", changed, jpeg + 5, high, wide)
    if 0 <= jpeg_2000 < len(data) - 40:
        struct.pack_into(">II", changed, jpeg_2000 + 8, wide, high)
    if rows > 0 and columns > 0 and len(data) > columns + 10:
        struct.pack_into("<H", changed, rows + 8, high)
        struct.pack_into("<H", changed, columns + 8, wide)
    return changed


def _say_another_syntax(generator, data, _):
    return _edit(data, lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", generator.choice(SYNTAXES)))


def _edit_header(generator, data, _):
    """Values that contradict the pixels or each other."""
    elements = {
        "NumberOfFrames": (0, 2, 10_000, 2**31 - 1),
        "BitsAllocated": (0, 1, 8, 16, 32, 64),
        "BitsStored": (0, 1, 7, 8, 12, 16, 17),
        "HighBit": (0, 7, 11, 15, 16),
        "PixelRepresentation": (0, 1, 2),
        "SamplesPerPixel": (0, 1, 3, 4),
        "PhotometricInterpretation": ("MONOCHROME1", "RGB", "YBR_FULL", "YBR_ICT", "PALETTE COLOR", "YBR_PARTIAL_420"),
        "PlanarConfiguration": (0, 1, 2),
        "Rows": (1, 99, 65_535),
        "Columns": (1, 99, 65_535),
        "WindowCenter": ("NaN", "1e308", "-5", "128"),
        "WindowWidth": ("NaN", "inf", "0", "1e-300", "256"),
        "RescaleSlope": ("NaN", "1e308", "0", "-1"),
        "RescaleIntercept": ("inf", "-1e308", "0"),
        "PixelPaddingValue": (0, 65_535),
    }

    def change(dataset):
        for keyword in generator.sample(sorted(elements), generator.choice((1, 1, 2, 3))):
            setattr(dataset, keyword, generator.choice(elements[keyword]))

    return _edit(data, change)


def _frames(generator, data, _):
    """Many frames or fragments in the pixel data, told or not."""

    def change(dataset):
        pixel_data, count = dataset.PixelData, generator.choice((2, 3, 50))
        if dataset["PixelData"].is_undefined_length:
            parts = [pixel_data[:-8][index::count] for index in range(count)]
            dataset.PixelData = encapsulate([part or b"\0\0" for part in parts], has_bot=generator.random() < 0.5)
        else:
            dataset.PixelData = pixel_data * min(count, 3)
        if generator.random() < 0.5:
            dataset.NumberOfFrames = count

    return _edit(data, change)


_WAYS = (
    _flip_bits, _flip_bits, _overwrite_bytes, _overwrite_number, _overwrite_number, _cut, _cut_out, _insert, _repeat,
    _splice, _enlarge, _say_another_syntax, _edit_header, _edit_header, _frames,
)  # fmt: skip


def _place(generator, data):
    """Any place, half of the time near the beginning, where headers are."""
    return generator.randrange(min(len(data), 700) if generator.random() < 0.5 else len(data))


def _edit(data, change):
    """Change elements where the bytes are a DICOM file that can still be parsed and written."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(io.BytesIO(data))
            change(dataset)
            stream = io.BytesIO()
            dataset.save_as(stream)
            return stream.getvalue()
    except Exception:  # noqa: BLE001  # not DICOM, or damaged already
        return data


def _start_of_frame(data):
    places = [data.find(bytes((0xFF, marker, 0))) for marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7)]
    return min((place for place in places if place >= 0), default=-1)


def with_sound_checksums(data):
    """Recompute a PNG's checksums as far as its chunks can be followed."""
    result, position = bytearray(data[:8]), 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        body = data[position + 4 : position + 8 + length]
        if len(body) < 4 + length:
            break
        result += data[position : position + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        position += 12 + length
    return bytes(result + data[position:])
