"""The images of a run: those without a class are decoded where an auxiliary output can learn from them, with boxes."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from pocketcxr.data.rows import IndexRow, write_rows
from pocketcxr.pipeline.prepare import prepare
from pocketcxr.pipeline.run import Run
from pocketcxr.training.auxiliary.targets import auxiliary_targets
from pocketcxr.training.config import load_experiment

FINDINGS = ("no_pneumonia", "typical_appearance", "indeterminate_appearance", "")
SPLITS = ("train", "train", "calibration", "test")
BOXES = "image,x_min,y_min,x_max,y_max,width,height\n"


@pytest.fixture
def table(tmp_path):
    """A split table of 32 images: two of each finding and split, all of other patients, each study with two images."""
    generator, rows = np.random.default_rng(0), []
    for number in range(32):
        path = tmp_path / f"i{number:02d}.png"
        Image.fromarray(generator.integers(0, 255, (40, 40), dtype=np.uint8)).save(path)
        rows.append(
            IndexRow(str(path), "own", FINDINGS[number % 4], patient_id=f"p{number // 8}-{number % 4}",
                     study_id=f"s{number // 8}-{number % 4}", view="PA", width=40, height=40,
                     sha256=hashlib.sha256(path.read_bytes()).hexdigest(), split=SPLITS[number // 8])
        )  # fmt: skip
    write_rows(rows, tmp_path / "table.csv")
    lines = [f"i{n:02d},10,0,30,20,40,40" for n in (1, 2, 3)] + [f"i{n:02d},,,,,," for n in (0, 4, 5, 8, 12, 16)]
    (tmp_path / "boxes.csv").write_text(BOXES + "\n".join(lines) + "\n")
    return tmp_path / "table.csv"


def opened(table, *overrides):
    experiment = load_experiment(None, ["data.task=siim-appearance", "data.image_size=32", *overrides])
    (table.parent / "run").mkdir(exist_ok=True)
    run = Run(table.parent / "run", experiment, progress=False)
    return prepare(run, splits=table)


def held(dataset):
    return {row.path[-7:-4] for row, label in zip(dataset.rows, dataset.labels, strict=True) if label < 0}


def test_images_of_no_class_are_decoded_only_where_an_auxiliary_output_learns_from_them(table):
    boxes = f"data.boxes='{table.with_name('boxes.csv')}'"
    plain = opened(table)
    assert (held(plain), dict(plain.boxes)) == (set(), {})
    findings = opened(table, "teacher.auxiliary={findings = 0.5}")
    assert held(findings) == {"i02", "i06", "i10", "i14"}  # indeterminate, training split
    assert dict(findings.boxes) == {}
    boxed = opened(table, boxes, "student.auxiliary={boxes = 1.0}")
    assert held(boxed) == {"i02", "i03"}
    assert (boxed.positions("train") >= 0).sum() == (plain.positions("train") >= 0).sum() == 8
    known = {path[-7:-4] for path in boxed.boxes}
    assert known == {"i00", "i01", "i02", "i03", "i04", "i08", "i12", "i16"}  # not i05, whose study has a box in i01
    targets = auxiliary_targets(boxed, {"boxes": 1.0})
    named = {row.path[-7:-4]: value for row, value in zip(boxed.rows, targets.opacity.tolist(), strict=True)}
    assert {name for name, value in named.items() if value == 1} == {"i01", "i02", "i03"}
    assert named["i05"] == -1


def test_the_loss_on_heatmaps_needs_boxes_and_no_image_without_a_class(table):
    found = opened(table, f"data.boxes='{table.with_name('boxes.csv')}'", "student.auxiliary={evidence = 1.0}")
    assert held(found) == set()
    assert "i01" in {path[-7:-4] for path in found.boxes}


def test_boxes_are_those_of_the_square_that_a_network_takes(table):
    own = [f"data.boxes='{table.with_name('boxes.csv')}'", "teacher.auxiliary={boxes = 1.0}"]
    squashed = opened(table, *own)
    found = {path[-7:-4]: value.tolist() for path, value in squashed.boxes.items()}
    assert found["i01"] == [[0.25, 0.0, 0.75, 0.5]]
    both = opened(table, *own, "student.unlabelled=true")
    assert len(held(both)) == 16
