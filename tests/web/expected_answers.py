"""Write what Python answers for files, as JSON lines: what the browser client must answer, too.

    python tests/web/expected_answers.py OUT [FOLDER ...]

Draws pictures in all formats that are read, and broken ones, into OUT/files; then scores those and the files of each
FOLDER, reading every pixel (``pocketcxr predict --exact``). One line per file: its address under OUT or FOLDER, and the
record with the file's name for its path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import drawn_files

from pocketcxr.inference.batch import score
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

if TYPE_CHECKING:
    from pocketcxr.imaging.radiograph import Radiograph

SAMPLED = 500


def answers(folders: list[Path]) -> list[dict[str, object]]:
    """Score the files that stand in the folders themselves, reading every pixel."""
    predictor = Predictor(load_bundle(threads=1), exact=True)
    found: list[dict[str, object]] = []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if not path.is_file():
                continue
            scored = score(predictor, path)
            text = json.dumps(scored.prediction.record()).replace(json.dumps(str(path))[1:-1], path.name)
            found.append({"file": str(path), "expected": json.loads(text), "picture": picture_of(scored.radiograph)})
    return found


def picture_of(radiograph: Radiograph | None) -> dict[str, object] | None:
    """What was read, whether or not it is scored: size, notes, and pixels here and there."""
    if radiograph is None:
        return None
    pixels = radiograph.pixels.ravel()
    step = max(1, pixels.size // SAMPLED)
    facts = radiograph.facts
    size = {"width": facts.width, "height": facts.height}
    return {**size, "notes": list(facts.notes), "bits": facts.bits, "step": step, "pixels": pixels[::step].tolist()}


def main() -> None:
    """Draw, score, write."""
    out, *folders = map(Path, sys.argv[1:])
    drawn = out / "files"
    drawn.mkdir(parents=True, exist_ok=True)
    drawn_files.draw(drawn)
    lines = [json.dumps(answer) for answer in answers([drawn, *folders])]
    (out / "expected.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
