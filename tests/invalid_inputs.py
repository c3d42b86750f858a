"""Invalid input files, made here, that command line, HTTP service and page must refuse alike."""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_files import bytes_of, compressed, dataset_of
from pocketcxr.errors import InputError
from pocketcxr.imaging.input_checks import refusal_reasons
from pocketcxr.imaging.reading import read_image_bytes

RASTERS = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp"}
COMPRESSED = {
    "jpeg": JPEGBaseline8Bit, "jpeg-lossless": JPEGLosslessSV1, "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless, "rle": RLELossless,
}  # fmt: skip
CHEST = {"Modality": "CR", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
PATIENT = {"PatientName": "Pocketova^Zuzana", "PatientID": "ZZ-4711-0815"}
BYTES_BEHIND = 32 * 2**20  # that may follow the pixels of a deflated file
CAUSES = {
    "empty-file": ("empty.png",),
    "unknown-format": (
        *("text.png", "page.dcm", "report.pdf", "study.zip", "scan.dcm.gz", "animation.gif", "phone.heic", "bare.jp2"),
        *("bare.j2k", "zeros.dcm", "unknown.dcm"),
    ),
    "too-many-pixels": ("bomb.png", "too-many-pixels.dcm"),
    "no-pixels": ("no-pixels.png", "no-rows.dcm"),
    "header-mismatch": tuple(f"other-size-{name}.dcm" for name in COMPRESSED if name != "rle"),
    "too-many-bytes": ("inflates-to-one-byte-too-many.dcm",),
    "unsupported-compression": ("unsupported-transfer-syntax.dcm",),
    "several-frames": (
        *("three-pages.png", "three-pages.tif", "three-pages.webp", "two-frames.dcm", "more-frames-than-said.dcm"),
    ),
    "no-pixel-data": ("structured-report.dcm", "encapsulated-pdf.dcm", "no-pixel-data.dcm"),
    "enhanced-dicom": ("enhanced.dcm",),
    "for-processing": ("for-processing.dcm",),
    "incomplete-header": ("no-photometric-interpretation.dcm",),
    "unsupported-header": (
        *("unknown-photometric-interpretation.dcm", "three-samples-of-grey.dcm", "bits-that-contradict.dcm"),
        "high-bit-elsewhere.dcm",
    ),
    "no-transfer-syntax": ("no-transfer-syntax.dcm",),
}
"""Codes of causes; all other files that cannot be read are damaged or, where unusable, without a defined grey scale."""


@dataclass(frozen=True)
class InvalidFile:
    """A file and the codes of its reasons; `decision` is ``error`` (not read) or ``refused`` (by the input checks)."""

    name: str
    data: bytes
    decision: str
    codes: tuple[str, ...]

    @property
    def cause(self):
        """Code of the cause for which the file cannot be read."""
        default = "damaged" if self.codes == ("unreadable",) else "undefined-grey-scale"
        return next((code for code, names in CAUSES.items() if self.name in names), default)


def soft(shape=(100, 110), dtype=np.uint8, low=0.1, high=0.9):
    """A smooth picture that the input checks accept: grey rows from dark to bright, and a little to the right."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    values = low + (high - low) * (0.9 * rows / max(1, shape[0] - 1) + 0.1 * columns / max(1, shape[1] - 1))
    largest = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    return (values * largest).round().astype(dtype) if largest > 1 else values.astype(dtype)


def encoded(pixels, picture_format, **options):
    """Bytes of a picture file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, picture_format, **options)
    return stream.getvalue()


def radiograph(pixels=None, **elements):
    """Bytes of a chest radiograph that names a patient; elements by keyword, None removes one."""
    pixels = soft() if pixels is None else pixels
    return bytes_of(dataset_of(pixels, **{**CHEST, **PATIENT, **elements}))


def compressed_radiograph(syntax, pixels=None):
    """The same, compressed."""
    return compressed(dataset_of(soft() if pixels is None else pixels, **CHEST, **PATIENT), syntax)


def invalid_files():
    """All of them, in a fixed order; every name once."""
    found = [
        *(InvalidFile(name, data, "error", ("unreadable",)) for name, data in {**_foreign(), **_damaged()}.items()),
        *(
            InvalidFile(name, data, "error", ("unusable",))
            for name, data in {**_undefined(), **_undefined_dicom()}.items()
        ),
        *(
            InvalidFile(name, data, "refused", codes)
            for name, (data, codes) in {**_refused(), **_refused_dicom()}.items()
        ),
    ]
    assert len({bad.name for bad in found}) == len(found)
    return found


def _foreign():
    return {
        "empty.png": b"",
        "text.png": b"patient seen on Monday\n" * 20,
        "page.dcm": b"<!doctype html><html><body>404</body></html>",
        "report.pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "study.zip": b"PK\x03\x04" + bytes(60),
        "scan.dcm.gz": b"\x1f\x8b\x08" + bytes(60),
        "animation.gif": b"GIF89a" + bytes(60),
        "phone.heic": b"\x00\x00\x00\x18ftypheic" + bytes(60),
        "bare.jp2": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(60),
        "bare.j2k": b"\xff\x4f\xff\x51" + bytes(60),
        "zeros.dcm": bytes(3000),
        "unknown.dcm": b"\x93\x01\x02\x80" * 60,
    }


def _damaged():
    noise = np.random.default_rng(3).integers(0, 256, (40, 40), dtype=np.uint8)
    found = {}
    for picture_format, suffix in RASTERS.items():
        data = encoded(noise, picture_format)
        found[f"cut.{suffix}"] = data[: len(data) * 2 // 3]
    changed = bytearray(encoded(noise, "PNG"))
    changed[len(changed) // 2] ^= 0x10
    found["one-byte-changed.png"] = bytes(changed)
    found["bomb.png"] = png_of(60_000, 60_000, zlib.compress(bytes(1000)))
    found["rows-missing.png"] = png_of(100, 100, zlib.compress(bytes(101 * 20)))
    found["no-pixels.png"] = png_of(0, 100, zlib.compress(b""))
    native = radiograph(noise)
    found["cut-in-the-pixels.dcm"] = native[:-300]
    for name, syntax in COMPRESSED.items():
        if syntax != RLELossless:  # it says no size
            whole = dcmread(io.BytesIO(compressed_radiograph(syntax, noise)))
            whole.Rows = 50
            found[f"other-size-{name}.dcm"] = bytes_of(whole)
    found["too-many-pixels.dcm"] = radiograph(Rows=60_000, Columns=60_000)
    found["no-rows.dcm"] = radiograph(Rows=0)
    found["inflates-to-one-byte-too-many.dcm"] = followed_by(BYTES_BEHIND + 1)
    video = dataset_of(soft(), syntax="1.2.840.10008.1.2.4.103", **CHEST)
    video.PixelData = encapsulate([bytes(100)])
    found["unsupported-transfer-syntax.dcm"] = bytes_of(video)
    for name, syntax in COMPRESSED.items():
        found[f"cut-{name}.dcm"] = compressed_radiograph(syntax, noise)[: -noise.size // 2]
    found["cut-in-the-header.dcm"] = native[: native.find(b"CR") + 1]
    found["nothing-after-the-mark.dcm"] = native[:132]
    return found


def _undefined():
    pages = [Image.fromarray(np.roll(soft((20, 20)), shift)) for shift in (0, 5, 10)]
    found = {}
    for picture_format in ("PNG", "TIFF", "WEBP"):
        stream = io.BytesIO()
        pages[0].save(stream, picture_format, save_all=True, append_images=pages[1:])
        found[f"three-pages.{RASTERS[picture_format]}"] = stream.getvalue()
    found["floats.tif"] = encoded(soft(dtype=np.float32), "TIFF")
    found["32-bit.tif"] = encoded(soft().astype(np.int32), "TIFF")
    return found


def _undefined_dicom():
    report = dataset_of(soft(), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    document = dataset_of(soft(), SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")
    without = dataset_of(soft(), **CHEST)
    for dataset in (report, document, without):
        del dataset.PixelData
    document.EncapsulatedDocument = b"%PDF-1.7 "
    hidden = dataset_of(soft(), **CHEST)
    hidden.PixelData = hidden.PixelData * 2
    enhanced = dataset_of(soft(), **CHEST)
    enhanced.SharedFunctionalGroupsSequence = [Dataset()]
    raw = compressed_radiograph(JPEG2000Lossless)
    palette = dataset_of(soft(), **CHEST, PhotometricInterpretation="PALETTE COLOR")
    return {
        "palette-without-table.dcm": bytes_of(palette),
        "structured-report.dcm": bytes_of(report),
        "encapsulated-pdf.dcm": bytes_of(document),
        "no-pixel-data.dcm": bytes_of(without),
        "two-frames.dcm": radiograph(NumberOfFrames=2),
        "more-frames-than-said.dcm": bytes_of(hidden),
        "enhanced.dcm": bytes_of(enhanced),
        "for-processing.dcm": radiograph(SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1.1"),
        "no-photometric-interpretation.dcm": radiograph(PhotometricInterpretation=None),
        "unknown-photometric-interpretation.dcm": radiograph(PhotometricInterpretation="ARGB"),
        "three-samples-of-grey.dcm": radiograph(SamplesPerPixel=3),
        "bits-that-contradict.dcm": radiograph(BitsStored=17, HighBit=16),
        "high-bit-elsewhere.dcm": radiograph(soft(dtype=np.uint16) >> 4, BitsStored=12, HighBit=15),
        "window-nan.dcm": radiograph(WindowCenter="NaN", WindowWidth="100"),
        "window-of-nothing.dcm": radiograph(WindowCenter=128, WindowWidth=0),
        "window-without-width.dcm": radiograph(WindowCenter=128),
        "rescale-by-zero.dcm": radiograph(RescaleSlope=0, RescaleIntercept=0),
        "rescale-half-said.dcm": radiograph(RescaleSlope=1),
        "polarity-contradicts.dcm": radiograph(
            PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="IDENTITY"
        ),
        "one-value-without-window.dcm": radiograph(np.full((100, 100), 7, dtype=np.uint16)),
        "no-transfer-syntax.dcm": raw[144 + int.from_bytes(raw[140:144], "little") :],
    }


def _refused():
    rows, columns = np.mgrid[0:120, 0:140]
    photograph = np.stack(
        [128 + 100 * np.sin(columns / 20), 128 + 90 * np.sin(rows / 15), 128 + 80 * np.cos((rows + columns) / 25)], -1
    ).astype(np.uint8)
    screen = np.full((120, 160, 3), 255, np.uint8)
    screen[:14] = (30, 90, 200)  # a title bar
    screen[30:110, 20:90] = soft((80, 70))[..., None]
    screen[40:100:6, 100:150] = 60  # lines of text
    return {
        "one-pixel.png": (encoded(soft((1, 1)), "PNG"), ("too-small", "blank")),
        "preview.jpg": (encoded(soft((80, 90)), "JPEG"), ("too-small",)),
        "strip.png": (encoded(soft((100, 300)), "PNG"), ("aspect",)),
        "constant.png": (encoded(np.full((110, 120), 90, np.uint8), "PNG"), ("blank",)),
        "faint.png": (encoded(soft(low=0.45, high=0.52), "PNG"), ("low-contrast",)),
        "12-bit-in-16.png": (encoded(soft(dtype=np.uint16) >> 4, "PNG"), ("low-contrast",)),
        "photograph.png": (encoded(photograph, "PNG"), ("coloured",)),
        "photograph.jpg": (encoded(photograph, "JPEG"), ("coloured",)),
        "screenshot.png": (encoded(screen, "PNG"), ("coloured",)),
        "several-faults.png": (encoded(photograph[:40], "PNG"), ("too-small", "aspect", "coloured")),
    }


def _refused_dicom():
    painted = np.stack([soft(), soft()[::-1], soft()[:, ::-1]], -1)
    rainbow = dataset_of(soft(), **CHEST, PhotometricInterpretation="PALETTE COLOR")
    for colour, ramp in (("Red", range(256)), ("Green", range(255, -1, -1)), ("Blue", [90] * 256)):
        setattr(rainbow, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(rainbow, f"{colour}PaletteColorLookupTableData", struct.pack("<256H", *(257 * value for value in ramp)))
    return {
        "ct.dcm": (radiograph(Modality="CT"), ("modality",)),
        "other-modality-no-body-part.dcm": (radiograph(Modality="OT", BodyPartExamined=None), ("modality",)),
        "no-modality.dcm": (radiograph(Modality=None, BodyPartExamined=None, ViewPosition=None), ("modality",)),
        "knee.dcm": (radiograph(BodyPartExamined="KNEE"), ("body-part",)),
        "abdomen-with-chest.dcm": (radiograph(BodyPartExamined="CHEST_ABDOMEN"), ("body-part",)),
        "lateral.dcm": (radiograph(ViewPosition="LL"), ("view",)),
        "lateral-by-body-part.dcm": (radiograph(BodyPartExamined="CHEST LAT"), ("view",)),
        "side-view-by-orientation.dcm": (radiograph(PatientOrientation=["A", "F"]), ("view",)),
        "mirrored.dcm": (radiograph(PatientOrientation=["R", "F"]), ("orientation",)),
        "on-its-side.dcm": (radiograph(PatientOrientation=["F", "L"]), ("orientation",)),
        "colour.dcm": (radiograph(painted), ("coloured",)),
        "palette.dcm": (bytes_of(rainbow), ("coloured",)),
        "small.dcm": (radiograph(soft((40, 50))), ("too-small",)),
        "dark-window.dcm": (radiograph(WindowCenter=5000, WindowWidth=100), ("blank",)),
        "all-wrong.dcm": (
            radiograph(soft((30, 90)), Modality="MR", BodyPartExamined="HEAD", ViewPosition="LL"),
            ("too-small", "aspect", "modality", "body-part", "view"),
        ),
    }


def followed_by(size):
    """A deflated radiograph with `size` zeros behind its pixels."""
    whole = bytes_of(dataset_of(soft(), syntax=DeflatedExplicitVRLittleEndian, **CHEST, **PATIENT))
    start = 144 + int.from_bytes(whole[140:144], "little")
    content = zlib.decompress(whole[start:], wbits=-15)
    blocks, rest = divmod(size, 2**20)
    first, block, last = (zlib.compressobj(9, zlib.DEFLATED, -15) for _ in range(3))
    # a full flush ends a block that refers to none before it, so that it can be repeated
    return b"".join(
        [
            whole[:start],
            first.compress(content) + first.flush(zlib.Z_FULL_FLUSH),
            (block.compress(bytes(2**20)) + block.flush(zlib.Z_FULL_FLUSH)) * blocks,
            last.compress(bytes(rest)) + last.flush(),
        ]
    )


def png_of(width, height, picture_data, bits=8):
    """A grey PNG with sound checksums whatever its header says."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", picture_data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def reasons_for(name, data):
    """Decision and reasons that command line, HTTP service and page must agree on for an invalid file."""
    try:
        reasons = [{"code": reason.code, "words": reason.words} for reason in refusal_reasons(_read(name, data))]
    except InputError as error:
        return "error", [{"code": error.category, "words": str(error)}]
    return "refused", reasons


def _read(name, data):
    return read_image_bytes(data, name)
