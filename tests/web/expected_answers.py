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

import drawn_files

from pocketcxr.inference.batch import score
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle


def answers(folders: list[Path]) -> list[dict[str, object]]:
    """Score the files that stand in the folders themselves, reading every pixel."""
    predictor = Predictor(load_bundle(threads=1), exact=True)
    found: list[dict[str, object]] = []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            scored = score(predictor, path)
            facts = scored.radiograph.facts if scored.radiograph else None
            text = json.dumps(scored.prediction.record()).replace(json.dumps(str(path))[1:-1], path.name)
            about = {"notes": list(facts.notes), "bits": facts.bits} if facts else None
            found.append({"file": str(path), "expected": json.loads(text), "about": about})
    return found


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
