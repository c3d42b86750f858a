"""The bundle that ships, or the one in POCKETCXR_BUNDLE, refuses real OOD images and scores real chest X-rays."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from pocketcxr.bundle.format import default_bundle_path
from pocketcxr.errors import BundleError
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

FOLDER = Path(os.environ.get("POCKETCXR_DATA", "/nowhere"))

pytestmark = pytest.mark.skipif(
    not (FOLDER / "not_cxr").is_dir(), reason="real X-rays: POCKETCXR_DATA names no folder with not_cxr/"
)


@pytest.fixture(scope="module")
def real():
    """Predictor of a bundle that has a learned input filter."""
    named = os.environ.get("POCKETCXR_BUNDLE")
    try:
        bundle = load_bundle(Path(named) if named else default_bundle_path(), threads=1)
    except BundleError as error:
        pytest.skip(f"no bundle: {error}")
    if bundle.manifest.input_filter is None:
        pytest.skip("the bundle has no learned input filter")
    return Predictor(bundle)


def _refused(predictor, paths) -> float:
    return sum(predictor.predict_file(path).decision == "refused" for path in paths) / len(paths)


@pytest.mark.parametrize("kind", ["knee_xray", "chest_ct_slice", "photograph"])
def test_strangers_are_refused(real, kind):
    paths = sorted((FOLDER / "not_cxr" / kind).iterdir())[::5]
    assert len(paths) >= 24
    assert _refused(real, paths) >= 0.95


def test_laterals_are_refused_and_frontal_images_are_not(real):
    with (FOLDER / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    laterals = [FOLDER / row["path"] for row in rows if row["finding"] == "lateral"][::3]
    images = [FOLDER / row["path"] for row in rows if row["source"] in ("siim", "radiography")][::150]
    assert _refused(real, laterals) >= 0.9
    assert _refused(real, images) <= 0.05
