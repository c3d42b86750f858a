"""Write the material of the page's tests: synthetic X-rays, invalid files, Python's answers, changed bundles.

Run by ``web/tests/page/prepare.ts`` with a folder and a bundle.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
from findings_bundle import findings_bundle, with_manifest
from PIL import Image

from pocketcxr import load_bundle
from pocketcxr.bundle.format import read_manifest
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import InputError
from pocketcxr.inference.predictor import Predictor


def main(folder: Path, bundle: Path) -> None:
    """Write everything under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_answered(folder / "synthetic", bundle)
    bad_files(folder)
    spaced_files(folder)
    variants(bundle, folder)
    answers = {name: predict(folder, name) for name in ("covid-3class.onnx", "unsure.onnx", "findings.onnx")}
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")


def draw_answered(folder: Path, bundle: Path) -> None:
    """Synthetic X-rays, without those that the model refuses as novel."""
    draw_synthetic_xrays(folder, patients=12, size=320, seed=0)
    predictor = Predictor(load_bundle(bundle))
    for path in (folder / "images").iterdir():
        if predictor.predict_file(path).decision == "refused":
            path.unlink()


def bad_files(folder: Path) -> None:
    """A preview too small, a coloured photograph, a PNG that ends early, a text, nothing."""
    drawn = min((folder / "synthetic" / "images").glob("*.png"))
    Image.open(drawn).resize((64, 64)).save(folder / "small.png")
    colours = np.random.default_rng(3).integers(0, 255, size=(8, 8, 3), dtype=np.uint8)
    Image.fromarray(colours).resize((256, 256)).save(folder / "photo.png")
    (folder / "cut.png").write_bytes(drawn.read_bytes()[:-2000])
    (folder / "letter.txt").write_text("Dear colleague, please find the radiograph attached.\n", encoding="utf-8")
    (folder / "empty.dcm").write_bytes(b"")


def spaced_files(folder: Path) -> None:
    """The same DICOM file without pixel spacing, with the detector's, with a calibrated one too, with damaged ones."""
    drawn = min((folder / "synthetic" / "images").glob("*.dcm"))
    dataset = pydicom.dcmread(drawn)
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        dataset.pop(name, None)
    dataset.save_as(folder / "plain.dcm")
    dataset.ImagerPixelSpacing = [0.2, 0.1]  # rows, columns
    dataset.save_as(folder / "detector.dcm")
    dataset.PixelSpacing = [0.16, 0.08]
    dataset.save_as(folder / "calibrated.dcm")
    whole = (folder / "calibrated.dcm").read_bytes()
    for name, value in (
        ("text", rb"wide\0.08"),
        ("zero", rb"0.00\0.08"),
        ("negative", rb"-.16\0.08"),
        ("one", b"0.16     "),
    ):
        assert whole.count(rb"0.16\0.08") == 1
        (folder / f"spacing-{name}.dcm").write_bytes(whole.replace(rb"0.16\0.08", value))


def variants(bundle: Path, folder: Path) -> None:
    """The model as it is, one that hardly ever decides and has no figures, a later one that passed, one of findings."""
    data = bundle.read_bytes()
    (folder / "covid-3class.onnx").write_bytes(data)
    manifest = json.loads(read_manifest(data, bundle.name).to_json())
    doubts = {"conformal_quantile": 0.999, "conformal_coverage": 0.999}
    unsure = {**manifest, **doubts, "metrics": {}, "operating_points": []}
    (folder / "unsure.onnx").write_bytes(with_manifest(data, unsure))
    limits = [limit for limit in manifest["limits"] if "FAILED" not in limit]
    passed = {**manifest, "name": "pocketcxr covid-3class", "version": "0.2.0", "limits": limits, "run": {}}
    (folder / "next.onnx").write_bytes(with_manifest(data, passed))
    (folder / "findings.onnx").write_bytes(findings_bundle(data, bundle.name))


def predict(folder: Path, bundle: str) -> dict[str, object]:
    """Python's answer to every drawn and bad file, by name."""
    predictor = Predictor(load_bundle(folder / bundle))
    files = [
        *sorted((folder / "synthetic" / "images").iterdir()),
        *(p for p in folder.iterdir() if p.suffix != ".onnx"),
    ]
    answers: dict[str, object] = {}
    for path in files:
        if not path.is_file() or path.suffix == ".json":
            continue
        try:
            answers[path.name] = predictor.predict_file(path).record()
        except InputError as error:
            answers[path.name] = {"decision": "error", "reasons": [{"code": error.code}]}
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
