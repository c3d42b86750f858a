"""Write copies of files with bytes changed, cut out or doubled at random, for two readers to disagree about.

    python tests/web/damaged_copies.py SEED COUNT FILES OUT

FILES is a folder of whole files (`drawn_files` draws one). Compare with
``POCKETCXR_PARITY_FOLDERS=OUT PARITY_ONLY=OUT make web-test``.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

LARGEST = 400_000  # bytes: large files take longer and break in no other way


def damaged(data: bytes, generator: random.Random, *, header: int) -> bytes:
    """One of five kinds of damage; `header` is how many bytes count as the header."""
    changed = bytearray(data)
    kind = generator.choice(["flip", "flip", "header", "header", "cut", "hole", "doubled"])
    if kind == "flip":
        for _ in range(generator.choice([1, 3, 10])):
            changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    elif kind == "header":
        for _ in range(generator.choice([1, 2])):
            changed[generator.randrange(min(len(changed), header))] = generator.randrange(256)
    elif kind == "cut":
        del changed[generator.randrange(4, len(changed)) :]
    else:
        start, length = generator.randrange(len(changed)), generator.choice([2, 16, 64, 1000])
        part = changed[start : start + length]
        changed[start : start + length] = part * 2 if kind == "doubled" else b""
    return bytes(changed)


def main() -> None:
    """Draw from the files at random, damage, write."""
    generator, count, source, out = random.Random(int(sys.argv[1])), int(sys.argv[2]), *map(Path, sys.argv[3:5])
    files = [
        path
        for path in sorted(source.iterdir())
        if path.suffix in {".png", ".jpg", ".dcm"} and not path.name.startswith(("cut", "damaged"))
        if 300 < path.stat().st_size < LARGEST
    ]
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = generator.choice(files)
        copy = damaged(path.read_bytes(), generator, header=900 if path.suffix == ".dcm" else 200)
        (out / f"{number:03d}-{path.name}").write_bytes(copy)


if __name__ == "__main__":
    main()
