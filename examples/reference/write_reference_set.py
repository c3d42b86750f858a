"""Writes the reference set of the preprocessing: drawn pictures, and what each step makes of them.

``reference.tsv`` has one check per line, tab-separated, and large tensors stand in ``expected/`` as raw float32. Format
and steps: ``docs/reference/preprocessing.md``. Run it again whenever the bundle of the package changes::

    python examples/reference/write_reference_set.py
"""

from __future__ import annotations

import csv
import io
import struct
import sys
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from pocketcxr.bundle.contract import INPUT_KIND
from pocketcxr.bundle.format import default_bundle_path
from pocketcxr.bundle.golden import golden_path, read_golden
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.data.synthetic.hospital import HOSPITALS
from pocketcxr.imaging.input_checks import contrast_of, refusal_reasons
from pocketcxr.imaging.radiograph import DRAWING
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.inference.deciding import limits_of
from pocketcxr.inference.predictor import Predictor, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import ModelOutputs
    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.imaging.radiograph import Radiograph
    from pocketcxr.inference.prediction import Prediction

FOLDER = Path(__file__).parent
TABLE, MANIFEST, PICTURES, EXPECTED = "reference.tsv", "manifest.json", "pictures", "expected"
COLUMNS = ("picture", "step", "height", "width", "stride", "tolerance", "expected")
TOLERANCES = {
    "grey": 1e-6, "contrast": 1e-5, "squash-32": 1e-5, "pad-48": 1e-5, "input": 1e-5,
    "logits": 0.005, "probabilities": 0.001, "novelty": 0.002, "input_kind": 0.002,
}  # fmt: skip
"""Single precision, in whatever order it is summed, stays well within these."""
JPEG_TOLERANCES = {
    "grey": 0.012, "contrast": 0.008, "squash-32": 0.008, "pad-48": 0.008, "input": 0.012,
    "logits": 0.1, "probabilities": 0.02, "novelty": 0.02, "input_kind": 0.02,
}  # fmt: skip
"""Another decoder than libjpeg-turbo may round each sample by one or two steps of 255, more where it has colour."""
WHOLE = {"grey-16-bit.png", "window.dcm"}
"""Pictures whose grey tensor is written whole, for ports that leave decoding to others; of all others a part."""
_GREY, _RGB, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4  # colour types of PNG


@dataclass(frozen=True, eq=False)
class Check:
    """One line of the table: a tensor (of which every `stride`-th row and column counts), numbers, or words."""

    picture: str
    step: str
    expected: NDArray[np.float32] | str
    stride: int = 1
    tolerance: float = 0.0


def draw(folder: Path) -> None:
    """Write the pictures: two sizes of one drawn X-ray in every kind of file, pictures to refuse, golden inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    chest = _drawn_chest()  # [H, W] uint8
    small = chest[::3, ::3]
    y, x = np.indices(small.shape)
    deep = (small.astype(np.uint16) * 257 - (small > 0) * ((x * 7 + y * 13) % 257)).astype(np.uint16)  # uses all bits
    tinted = np.stack([small, small - np.minimum(small, x % 9), small - np.minimum(small, y % 5)], axis=2).astype(
        np.uint8
    )
    palette = np.stack([np.arange(0, 256, 4), 255 - np.arange(0, 256, 4), np.arange(64)], axis=1).astype(np.uint8)
    alpha = np.where(x < x.max() // 8, y % 256, 255).astype(np.uint8)  # a strip at the left is transparent in degrees
    pngs = {
        "grey-8-bit": _png(chest),
        "grey-16-bit": _png(deep),
        "grey-12-in-16-bit": _png((deep >> 4) << 4 | deep >> 12, extra=(b"sBIT", b"\x0c")),
        "grey-4-bit": _png(small >> 4, bits=4),
        "colour": _png(tinted, colour_type=_RGB),
        "transparent": _png(np.stack([small, alpha], axis=2), colour_type=_GREY_ALPHA),
        "refused-coloured": _png(small >> 2, colour_type=_PALETTE, extra=(b"PLTE", palette.tobytes())),
        "refused-left-in-12-bits": _png(deep >> 4),
        "refused-low-contrast": _png(small // 16 + np.uint8(100)),
        "refused-small-strip": _png(small[:36, :]),
    }
    golden = read_golden(golden_path(default_bundle_path()))
    pngs |= {f"golden-{number}": _png(picture) for number, picture in enumerate(golden.inputs)}
    for name, data in pngs.items():
        (folder / f"{name}.png").write_bytes(data)
    Image.fromarray(chest).save(folder / "grey.jpg", quality=90, comment=DRAWING)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: first row is the right edge
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(tinted)))
    turned.save(folder / "colour-turned.jpg", quality=92, exif=exif, comment=DRAWING)
    (folder / "window.dcm").write_bytes(_dicom(deep >> 4))


def checks(pictures: Path, predictor: Predictor) -> Iterator[Check]:
    """What each step makes of each picture, by the plain path: every pixel is read."""
    yield Check("-", "bundle", predictor.bundle.sha256)
    golden = read_golden(golden_path(predictor.bundle.path))
    for path in sorted(pictures.iterdir()):
        radiograph = read_image(path)
        prediction, outputs = predictor.score_image(radiograph, path.name)
        if path.stem.startswith("golden-"):
            outputs = _row(golden.outputs, int(path.stem.removeprefix("golden-")))
        tolerances = JPEG_TOLERANCES if path.suffix == ".jpg" else TOLERANCES
        for one in _checks_of(path.name, radiograph, predictor, outputs):
            yield replace(one, tolerance=tolerances.get(one.step, 0.0))
        if not _in_doubt(prediction, predictor, tolerances):
            codes = [reason.code for reason in prediction.reasons if reason.code != "synthetic"]
            yield Check(path.name, "decision", " ".join([prediction.decision, *codes]))


def write(folder: Path, found: Iterator[Check], manifest: Manifest) -> None:
    """Write the manifest, the table and the tensors beside it; tensors of an earlier table are removed."""
    (folder / MANIFEST).write_text(manifest.to_json() + "\n", encoding="utf-8")
    (folder / EXPECTED).mkdir(exist_ok=True)
    for former in (folder / EXPECTED).glob("*.f32"):
        former.unlink()
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        lines.writerow(COLUMNS)
        for one in found:
            height, width, text = 0, 0, one.expected
            if isinstance(text, np.ndarray) and text.ndim == 1:
                text = " ".join(f"{value:.9g}" for value in text)
            elif isinstance(text, np.ndarray):
                (height, width), kept = text.shape, text[:: one.stride, :: one.stride]
                text = f"{EXPECTED}/{Path(one.picture).stem}.{one.step}.f32"
                (folder / text).write_bytes(np.ascontiguousarray(kept, dtype="<f4").tobytes())
            lines.writerow((one.picture, one.step, height, width, one.stride, f"{one.tolerance:g}", text))


def _checks_of(
    name: str, radiograph: Radiograph, predictor: Predictor, outputs: ModelOutputs | None
) -> Iterator[Check]:
    preprocessing = predictor.bundle.manifest.preprocessing
    grey, refusals = radiograph.pixels, refusal_reasons(radiograph)
    yield Check(name, "grey", grey, stride=1 if name in WHOLE else 8)
    yield Check(name, "contrast", np.array([contrast_of(radiograph)], np.float32))
    yield Check(name, "refusals", " ".join(reason.code for reason in refusals) or "-")
    if name.startswith("refused-"):
        return
    if not name.startswith("golden-"):
        yield Check(name, "squash-32", resize(grey, size=32, aspect="squash"))
        yield Check(name, "pad-48", resize(grey, size=48, aspect="pad"), stride=2)
    yield Check(name, "input", resize(grey, size=preprocessing.size, aspect=preprocessing.aspect), stride=8)
    if outputs is None:
        raise SystemExit(f"{name}: expected a picture that the network scores, found {refusals}")
    for step in ("logits", "probabilities", "novelty", INPUT_KIND):
        value = getattr(outputs, step)
        if value is not None:
            yield Check(name, step, np.ravel(value))


def _row(outputs: ModelOutputs, number: int) -> ModelOutputs:
    return replace(
        outputs,
        **{name: array[number : number + 1] for name, array in vars(outputs).items() if array is not None},
    )


def _in_doubt(prediction: Prediction, predictor: Predictor, tolerances: dict[str, float]) -> bool:
    """Whether a port within the tolerances may decide otherwise."""
    manifest, near = predictor.bundle.manifest, []
    for label, probability in prediction.probabilities.items():
        near += [abs(probability - limit) <= tolerances["probabilities"] for limit in limits_of(manifest)[label]]
    if manifest.input_filter is not None and prediction.accepted is not None:
        near.append(abs(prediction.accepted - manifest.input_filter.threshold) <= tolerances["input_kind"])
    if prediction.novelty is not None:
        near.append(abs(prediction.novelty - 1) <= tolerances["novelty"])
    return any(near)


def _drawn_chest() -> NDArray[np.uint8]:
    hospital = replace(HOSPITALS[0], aspect=0.88)
    with tempfile.TemporaryDirectory() as folder:
        draw_synthetic_xrays(Path(folder), patients=1, seed=3, size=340, hospitals=(hospital,), progress=False)
        with Image.open(min(Path(folder, "images").rglob("*.png"))) as image:
            return np.asarray(image)


def _png(
    samples: NDArray[np.uint8 | np.uint16], *, bits: int = 0, colour_type: int = _GREY, extra: tuple[bytes, bytes] = ()
) -> bytes:
    """Encode samples [H, W] or [H, W, channels], with one more chunk before the picture's data."""
    bits = bits or samples.dtype.itemsize * 8
    height, width = samples.shape[:2]
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1)
    packed = rows.view(np.uint8) if bits >= 8 else np.pad(rows, ((0, 0), (0, width % 2)))[:, ::2] << 4  # noqa: PLR2004
    if bits < 8:  # noqa: PLR2004
        packed = packed | np.pad(rows, ((0, 0), (0, width % 2)))[:, 1::2]
    lines = b"".join(b"\0" + row.tobytes() for row in packed)
    stream = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    stream.seek(0, io.SEEK_END)
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    comment = (b"tEXt", b"Comment\0" + DRAWING.encode())
    for kind, content in (
        header,
        *((extra,) if extra else ()),
        comment,
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ):
        stream.write(struct.pack(">I", len(content)) + kind + content)
        stream.write(struct.pack(">I", zlib.crc32(kind + content)))
    return stream.getvalue()


def _dicom(values: NDArray[np.uint16]) -> bytes:
    """A chest X-ray of 12 bits, white at zero, that uses half of its range, with a window; and no patient in it."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    dataset = Dataset()
    dataset.file_meta = meta
    elements = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation, "SOPInstanceUID": "2.25.1", "Modality": "DX",
        "BodyPartExamined": "CHEST", "ViewPosition": "PA", "SyntheticData": "YES",
        "Rows": values.shape[0], "Columns": values.shape[1], "SamplesPerPixel": 1, "BitsAllocated": 16,
        "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME1",
        "RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 3000, "WindowWidth": 3600,
    }  # fmt: skip
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = (3500 - values // 2).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    student = load()
    draw(target / PICTURES)
    write(target, checks(target / PICTURES, student), student.bundle.manifest)
