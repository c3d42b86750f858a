"""How many copies of real X-rays are found, by what was done to them: the index's search against the audit's.

Some pictures of a folder are transformed and put among all others; a copy counts as found when it is paired with its
original. Other images paired with it are counted too.

    python benchmarks/copies_found.py index.csv --queries 100 --out runs/benchmarks/copies_found.json
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pocketcxr.data.duplicates.alignment import aligned, details
from pocketcxr.data.duplicates.hashing import MAX_HAMMING, MIN_CORRELATION, perceptual_hash, thumbnail
from pocketcxr.data.duplicates.search import find_pairs
from pocketcxr.data.rows import is_frontal_xray, read_rows
from pocketcxr.imaging.reading import read_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("L")


def _crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    )


def _framed(image: Image.Image, share: float) -> Image.Image:
    frame = Image.new("L", (round(image.width * (1 + 2 * share)), round(image.height * (1 + 2 * share))))
    frame.paste(image, (round(image.width * share), round(image.height * share)))
    return frame


def _tone(power: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: Image.eval(image, lambda value: round(255 * (value / 255) ** power))


_FLIP, _TOP, _TURN = (
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
)
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG quality 30": lambda image: _jpeg(image, 30),
    "half the size": lambda image: image.resize((max(1, image.width // 2), max(1, image.height // 2))),
    "gamma 1.5": _tone(1.5),
    "gamma 0.6": _tone(0.6),
    "contrast x 1.6": lambda image: Image.eval(image, lambda v: int(min(255, max(0, (v - 128) * 1.6 + 128)))),
    "cropped 2 %": lambda image: _crop(image, 0.02, 0.02, 0.02, 0.02),
    "cropped 5 %": lambda image: _crop(image, 0.05, 0.05, 0.05, 0.05),
    "cropped 8 %": lambda image: _crop(image, 0.08, 0.08, 0.08, 0.08),
    "cropped 8 % at two sides": lambda image: _crop(image, 0.08, 0.08, 0, 0),
    "cropped 6 % at one side": lambda image: _crop(image, 0.06, 0, 0, 0),
    "black frame of 5 %": lambda image: _framed(image, 0.05),
    "turned by 3 degrees": lambda image: image.rotate(3, Image.Resampling.BILINEAR),
    "turned by 5 degrees": lambda image: image.rotate(-5, Image.Resampling.BILINEAR),
    "mirrored": lambda image: image.transpose(_FLIP),
    "upside down": lambda image: image.transpose(_TOP),
    "turned by 180 degrees": lambda image: image.transpose(_TURN),
    "inverted": lambda image: Image.eval(image, lambda value: 255 - value),
    "mirrored, cropped 5 %, JPEG 50": lambda image: _jpeg(_crop(image.transpose(_FLIP), 0.05, 0.05, 0.05, 0.05), 50),
}


def main() -> None:
    """Transform, search, print the table, keep it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--others", type=int, default=2000, help="pictures that they stand among")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/copies_found.json"))
    options = parser.parse_args()
    groups: set[str] = set()
    rows = []
    everything = read_rows(options.index)
    for i in np.random.default_rng(options.seed).permutation(len(everything)):
        row = everything[i]
        if is_frontal_xray(row) and row.finding and row.duplicate_group not in groups:
            groups.add(row.duplicate_group)  # one of each group, so that every other pair found is a false one
            rows.append(row)
    images = [_read(Path(row.path)) for row in rows[: options.others]]
    pixels = np.stack([_small(image) for image in images])
    table = {}
    for name, change in CHANGES.items():
        copies = np.stack([_small(change(image)) for image in images[: options.queries]])
        table[name] = _found(pixels, copies)
        print(f"{name:32}", *(f"{what} {value:.3f} " for what, value in table[name].items()), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    what = {"images": len(images), "copies_of_each_kind": options.queries, "seed": options.seed}
    options.out.write_text(json.dumps({**what, "recall": table}, indent=1) + "\n", encoding="utf-8")


def _found(pixels: NDArray[np.uint8], copies: NDArray[np.uint8]) -> dict[str, float | int]:
    count = len(pixels)
    together = np.concatenate([pixels, copies])
    pairs = find_pairs(together, sha256=[str(i) for i in range(len(together))])
    own = {(i, count + i): pair for pair in pairs for i in [pair.first] if pair.second == count + i}
    others = [pair for pair in pairs if pair.second >= count and pair.second - count != pair.first and pair.sure]
    return {
        "index": float(np.mean([_by_index(pixels[i], copy) for i, copy in enumerate(copies)])),
        "audit": len(own) / len(copies),
        "audit_sure": sum(pair.sure for pair in own.values()) / len(copies),
        "paired_with_others": len(others),
    }


def _by_index(original: NDArray[np.uint8], copy: NDArray[np.uint8]) -> bool:
    """Whether the index's own search calls them one: close hashes, then fine structure."""
    pair = np.stack([original, copy]).astype(np.float32) / 255
    first, second = (np.frombuffer(bytes.fromhex(perceptual_hash(image)), np.uint8) for image in pair)
    close = int(np.bitwise_count(first ^ second).sum()) <= MAX_HAMMING
    fine = details(pair)
    return close and float(aligned(fine[:1], fine[1:])[0]) >= MIN_CORRELATION


def _read(path: Path) -> Image.Image:
    return Image.fromarray(np.round(read_image(path).pixels * 255).astype(np.uint8))


def _small(image: Image.Image) -> NDArray[np.uint8]:
    return np.round(thumbnail(np.asarray(image, np.float32) / 255) * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
