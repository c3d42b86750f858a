"""The reference set of the preprocessing is what the package does today, and its table is as the page describes it."""

from __future__ import annotations

import csv
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketcxr.imaging.reading import read_image
from pocketcxr.inference.predictor import load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "reference"
AGAIN = "run  python examples/reference/write_reference_set.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("write_reference_set", FOLDER / "write_reference_set.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, spec.name, module)  # its data classes look for it there
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def again(script, tmp_path_factory):
    """The set written anew, from the pictures that the repository holds."""
    folder = tmp_path_factory.mktemp("reference")
    student = load()
    script.write(folder, script.checks(FOLDER / "pictures", student), student.bundle.manifest)
    return folder


def _rows(folder):
    with (folder / "reference.tsv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def _numbers(folder, row):
    if row["expected"].startswith("expected/"):
        return np.frombuffer((folder / row["expected"]).read_bytes(), "<f4")
    return np.array(row["expected"].split(), np.float32)


def test_every_line_is_what_the_package_does_today(again):
    held, now = _rows(FOLDER), _rows(again)
    assert (FOLDER / "manifest.json").read_bytes() == (again / "manifest.json").read_bytes(), AGAIN
    shape = ("picture", "step", "height", "width", "stride", "tolerance")
    assert [[row[name] for name in shape] for row in held] == [[row[name] for name in shape] for row in now], AGAIN
    for before, after in zip(held, now, strict=True):
        if before["step"] in {"bundle", "refusals", "decision"}:
            assert before["expected"] == after["expected"], f"{before['picture']} {before['step']}: {AGAIN}"
            continue
        difference = np.abs(_numbers(FOLDER, before) - _numbers(again, after)).max()
        assert difference <= float(before["tolerance"]) / 4, f"{before['picture']} {before['step']}: {AGAIN}"


def test_the_pictures_are_those_that_the_script_draws(script, tmp_path):
    script.draw(tmp_path)
    held = FOLDER / "pictures"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in held.iterdir()}, AGAIN
    for path in tmp_path.iterdir():
        found, expected = read_image(path), read_image(held / path.name)
        assert found.metadata == expected.metadata, path.name
        step = 0 if path.suffix in {".png", ".dcm"} else 2 / 255  # another libjpeg encodes a little differently
        assert np.abs(found.pixels - expected.pixels).max() <= step, path.name


def test_files_hold_as_many_numbers_as_the_table_says_and_there_is_no_other(again):
    named = set()
    for row in _rows(FOLDER):
        if row["expected"].startswith("expected/"):
            named.add(FOLDER / row["expected"])
            height, width, stride = (int(row[name]) for name in ("height", "width", "stride"))
            assert len(_numbers(FOLDER, row)) == -(-height // stride) * -(-width // stride), row
    assert named == set((FOLDER / "expected").iterdir())
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 1_000_000


def test_wrong_preprocessing_is_far_outside_the_tolerance(script):
    """What ports get wrong: another resampling, exchanged axes, the wrong full scale."""
    row = next(one for one in _rows(FOLDER) if (one["picture"], one["step"]) == ("grey-8-bit.png", "input"))
    stride, side = int(row["stride"]), int(row["width"])
    expected = _numbers(FOLDER, row).reshape(-(-side // stride), -1)
    with Image.open(FOLDER / "pictures" / "grey-8-bit.png") as image:
        size = (int(row["width"]), int(row["height"]))
        near, axes = image.resize(size, Image.Resampling.NEAREST), image.transpose(Image.Transpose.TRANSPOSE)
        right = np.asarray(image.convert("F").resize(size, Image.Resampling.BILINEAR), np.float64) / 255
    wrong = (np.asarray(near) / 255, np.asarray(axes.resize(size, Image.Resampling.BILINEAR)) / 255, right * 255 / 256)
    assert np.abs(right[::stride, ::stride] - expected).max() <= float(row["tolerance"])
    for pixels in wrong:
        assert np.abs(pixels[::stride, ::stride] - expected).max() > 100 * float(row["tolerance"])


def test_the_page_describes_the_steps_and_the_limits(script):
    from pocketcxr.imaging import input_checks, resize

    page = (ROOT / "docs" / "reference" / "preprocessing.md").read_text(encoding="utf-8")
    rows = _rows(FOLDER)
    for step in {row["step"] for row in rows}:
        assert re.search(rf"^\| .*`{step}`", page, flags=re.MULTILINE), step
    pictures = {row["picture"] for row in rows} - {"-"}
    assert f"{len(pictures)} pictures" in page
    for name in pictures:
        assert name in page or name.startswith(("refused-", "golden-")), name
    for limit in (
        f"fewer than {input_checks.MIN_SIDE} pixels",
        f"{input_checks.MAX_ASPECT} times the shorter",
        f"contrast below {input_checks.MIN_CONTRAST} |",
        f"contrast below {input_checks.BLANK_CONTRAST} (",
        f"smallest grey value below {input_checks.MIN_DEEP_RANGE};",
        f"width / {input_checks._SAMPLED_PIXELS}",
    ):
        assert limit in page, limit
    for line in ("first  = max(0, floor(centre - reach + 0.5))", "last   = min(n, floor(centre + reach + 0.5))"):
        assert line in page
        assert line in resize.__doc__
