"""How often `pocketcxr deidentify` finds a name drawn into a film, by the size of its letters.

    python benchmarks/burned_in_text.py FOLDER           (X-rays as JPEG or PNG, such as full_size/ of $POCKETCXR_DATA)

Each film is reduced to 2,048 pixels at most, as most are archived. At each size a name, a date or a number is drawn
once, at a random place, black or white; it counts as found where four characters of it in a row are read. Black on
black is not left out. Films are also read as they are: what is found then was there before, or is a false alarm.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pocketcxr.data.deidentify.text import found_text

TEXTS = ("MUELLER ANNA", "Garcia, J.", "1964-03-12", "ID 4711882", "Smith^John")
HEIGHTS = (14, 20, 30)
IN_A_ROW = 4


def main() -> int:
    """Draw, search and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    films = [one for one in sorted(options.folder.iterdir()) if one.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not films:
        print(f"burned_in_text: {options.folder}: expected JPEG or PNG files, found none", file=sys.stderr)
        return 2
    generator = np.random.default_rng(options.seed)
    found = dict.fromkeys(HEIGHTS, 0)
    marked = 0
    for number, path in enumerate(films):
        film = Image.open(path).convert("L")
        film.thumbnail((2048, 2048))
        marked += bool(found_text(np.asarray(film) / 255))
        for height in HEIGHTS:
            text, copy = TEXTS[(number + height) % len(TEXTS)], film.copy()
            place = (int(generator.integers(10, film.width - 250)), int(generator.integers(10, film.height - 50)))
            fill = int(generator.integers(0, 2)) * 255
            ImageDraw.Draw(copy).text(place, text, fill=fill, font=ImageFont.load_default(height))
            found[height] += _read(text, found_text(np.asarray(copy) / 255))
        print(f"{number + 1} of {len(films)}", file=sys.stderr)
    print(f"| letters, pixels | found of {len(films)} |\n| --- | --- |")
    for height, count in found.items():
        print(f"| {height} | {count} |")
    print(f"\nText found in films as they are: {marked} of {len(films)}.")
    return 0


def _read(text: str, texts: list[str]) -> bool:
    parts = [text[start : start + IN_A_ROW] for start in range(len(text) - IN_A_ROW + 1)]
    return any(part in one for part in parts for one in texts)


if __name__ == "__main__":
    sys.exit(main())
