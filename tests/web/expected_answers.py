"""Write what Python answers for files, as JSON lines: what the browser client must answer, too.

    python tests/web/expected_answers.py BUNDLE OUT [FOLDER ...]

Draws pictures in all formats that are read, and broken ones, into OUT/files; then scores those and the files of each
FOLDER with the bundle, reading every pixel (``pocketcxr predict --exact``), into OUT/expected.jsonl: one line per file
with its path, the record with the file's name for a path, and some pixels. The bundle's golden vectors go into
OUT/golden.json; OUT/findings.onnx is a bundle of several findings, OUT/expected-findings.jsonl its answers to the
pictures that were drawn and to synthetic X-rays.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import drawn_files
from findings_bundle import findings_bundle

from pocketcxr.bundle.golden import golden_path, read_golden
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import InputError
from pocketcxr.imaging.reading import read_image
from pocketcxr.inference.batch import score
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

if TYPE_CHECKING:
    from pocketcxr.imaging.radiograph import Radiograph

SAMPLED = 500


def answers(bundle: Path, folders: list[Path]) -> list[dict[str, object]]:
    """Score the files that stand in the folders themselves, reading every pixel."""
    predictor = Predictor(load_bundle(bundle, threads=1), exact=True)
    found: list[dict[str, object]] = []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if not path.is_file():
                continue
            scored = score(predictor, path)
            text = json.dumps(scored.prediction.record()).replace(json.dumps(str(path))[1:-1], path.name)
            expected = json.loads(text)
            if expected["decision"] == "error":
                expected["reasons"][0]["cause"] = cause_of(path)
            found.append({"file": str(path), "expected": expected, "picture": picture_of(scored.radiograph)})
    return found


def cause_of(path: Path) -> str:
    """Code of the cause for which a file cannot be read."""
    try:
        read_image(path)
    except InputError as error:
        return error.code
    raise AssertionError(path)


def picture_of(radiograph: Radiograph | None) -> dict[str, object] | None:
    """What was read, whether or not it is scored: size, notes, and pixels here and there."""
    if radiograph is None:
        return None
    pixels = radiograph.pixels.ravel()
    step = max(1, pixels.size // SAMPLED)
    metadata = radiograph.metadata
    size = {"width": metadata.width, "height": metadata.height}
    return {
        **size,
        "notes": list(metadata.notes),
        "bits": metadata.bits,
        "step": step,
        "pixels": pixels[::step].tolist(),
    }


def golden(bundle: Path) -> dict[str, list[list[float]]]:
    """The golden inputs and those outputs that the browser uses, one flat list per picture."""
    vectors = read_golden(golden_path(bundle))
    arrays = {
        name: getattr(vectors.outputs, name, None) for name in ("probabilities", "novelty", "saliency", "input_kind")
    }
    flat = {name: array.reshape(len(array), -1).tolist() for name, array in arrays.items() if array is not None}
    flat["novelty"] = vectors.outputs.novelty.tolist()
    return {"inputs": vectors.inputs.reshape(len(vectors.inputs), -1).tolist(), **flat}


def main() -> None:
    """Draw, score, write."""
    import invalid_inputs  # stands beside the tests; drawn_files has put that folder on the path

    bundle, out, *folders = map(Path, sys.argv[1:])
    drawn = out / "files"
    drawn.mkdir(parents=True, exist_ok=True)
    drawn_files.draw(drawn)
    for bad in invalid_inputs.invalid_files():  # the set that goes through the command line and HTTP, too
        (drawn / f"bad-{bad.name}").write_bytes(bad.data)
    several = out / "findings.onnx"
    several.write_bytes(findings_bundle(bundle.read_bytes(), bundle.name))
    synthetic = out / "synthetic"
    shutil.rmtree(synthetic, ignore_errors=True)
    draw_synthetic_xrays(synthetic, patients=6, size=320, seed=0)  # unlike the other pictures they get answers
    for name, model, read in (
        ("expected", bundle, [drawn, *folders]),
        ("expected-findings", several, [drawn, synthetic / "images"]),
    ):
        lines = [json.dumps(answer) for answer in answers(model, read)]
        (out / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (out / "golden.json").write_text(json.dumps(golden(bundle)))


if __name__ == "__main__":
    main()
