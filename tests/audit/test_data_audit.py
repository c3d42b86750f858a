"""Planted faults are caught and a clean set is not blamed: one seed each; `benchmarks/audit_rates.py` counts many."""

import dataclasses
import re
from functools import partial

import numpy as np
import pytest

from planted_faults import plant_fault
from pocketcxr.audit.criteria import NOT_MEASURABLE, evaluate_criteria, failed, load_criteria
from pocketcxr.audit.data.data_audit import SIZE, audit_data, find_copies
from pocketcxr.audit.data.file_properties import jpeg_quality, read_file_facts
from pocketcxr.audit.data.leaks import leak_section
from pocketcxr.audit.data.persons import find_persons
from pocketcxr.audit.data.reidentification import embed_rows
from pocketcxr.data.index import build_index
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.data.splits.assign import assign_splits
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import ConfigError, DataError, LeakError
from pocketcxr.labels import TASKS

TASK = TASKS["covid-3class"]
SECTIONS = ["composition", "duplicates", "leaks", "persons", "splits", "confounding", "cues", "labels", "scope"]
VERDICT = re.compile(r"fault\b(?!s? .*outside)|beyond doubt|no .* found|PASS|FAIL", re.IGNORECASE)
"""Words of a verdict, which only the outcome of a section may give."""


def _drawn(folder, *, confounded, patients=75, size=96):
    draw_synthetic_xrays(folder, patients=patients, seed=4, size=size, confounded=confounded, progress=False)
    return assign_splits(build_index([folder], progress=False).rows, TASK)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    return folder, _drawn(folder / "films", confounded=False)


def _dataset(rows, folder):
    return open_dataset(rows, TASK, size=SIZE, cache=folder / "cache", unlabelled=True, leaks=True, progress=False)


def _results(sections):
    return evaluate_criteria(sections, [one for one in load_criteria() if one.scope == "data"])


def _failed(rows, folder, *only):
    sections = audit_data(rows, _dataset(rows, folder), only=only, progress=False)
    assert not [section.summary for section in sections if VERDICT.search(section.summary)]
    return {r.criterion.key for r in failed(_results(sections))}


def test_a_clean_set_raises_no_alarm_and_every_gate_is_measured(clean):
    folder, rows = clean
    persons = find_persons(rows, partial(embed_rows, cache=folder, progress=False))
    sections = audit_data(rows, _dataset(rows, folder), persons=persons, progress=False)
    results = _results(sections)
    assert not failed(results)
    unmeasured = {r.criterion.key for r in results if r.outcome == NOT_MEASURABLE}
    # The files name no device, and so few images teach a classifier too little to doubt their labels.
    assert {"confounding.worst_device"} <= unmeasured <= {"confounding.worst_device", "labels.worst_source"}
    assert [section.key for section in sections] == SECTIONS
    assert not [section.summary for section in sections if VERDICT.search(section.summary)]
    measures = [measure for section in sections for measure in section.measures]
    assert all(measure.meaning for measure in measures)
    assert all(measure.why for measure in measures if measure.value is None)
    assert len({measure.key for measure in measures}) == len(measures)


def test_a_confounded_hospital_is_caught(tmp_path):
    rows = _drawn(tmp_path / "films", confounded=True)
    assert "confounding.source" in _failed(rows, tmp_path)


@pytest.mark.parametrize(
    "fault, section, key",
    [
        ("corner-marker", "cues", "cues.corners"),
        ("border", "cues", "cues.border"),
        ("blur", "cues", "cues.spectrum"),
        ("grid", "cues", "cues.spectrum"),
        ("lung-lines", "cues", "cues.lines"),
        ("grey-levels", "confounding", "confounding.worst_file"),
        ("device", "confounding", "confounding.worst_device"),
        ("test-only-source", "splits", "splits.untrained"),
    ],
)
def test_what_equals_the_class_or_the_split_is_caught(fault, section, key, clean, tmp_path):
    _, rows = clean
    found = _failed(plant_fault(rows, fault, out=tmp_path / "films", seed=0), tmp_path, section)
    assert key in found
    assert "confounding.source" not in found


def test_what_is_not_looked_for_is_listed(clean):
    folder, rows = clean
    (scope,) = audit_data(rows, _dataset(rows, folder), only=("scope",), progress=False)
    named = {row[0] for row in scope.tables[0].rows}
    assert {"one patient under two numbers, in one split", "label errors that all sources share"} <= named
    assert not scope.measures


@pytest.mark.parametrize(
    "fault, key",
    [
        ("leaked-patient", "leaks.patients"),
        ("re-encoded-copy", "leaks.near_duplicates"),
        ("turned-copy", "leaks.near_duplicates"),
    ],
)
def test_a_leak_is_caught_and_nothing_else_is_blamed(fault, key, clean, tmp_path):
    _, rows = clean
    if fault == "re-encoded-copy":  # in larger images: copies are compared by fine structure
        rows = _drawn(tmp_path / "large", confounded=False, patients=20, size=320)
    planted = plant_fault(rows, fault, out=tmp_path / "films", seed=0)
    dataset = _dataset(planted, tmp_path)
    section = leak_section(dataset.rows, dataset.pixels, find_copies(dataset))
    assert {r.criterion.key for r in failed(_results([section]))} == {key}
    across = {table.title.split(":")[0]: table for table in section.tables}
    shown = across["By patient or study" if fault == "leaked-patient" else "By picture (same file or sure copy)"]
    test_row = next(row for row in shown.rows if row[0] == "test")
    assert test_row[1] == 1  # one test film stands in train too
    if fault != "leaked-patient":
        assert section.pictures  # the pair can be looked at, and is named
        assert any("another-collection.jpg" in str(row) for row in across["Pairs on both sides"].rows)


def test_the_pixel_store_refuses_a_leak_unless_it_is_to_be_audited(clean, tmp_path):
    _, rows = clean
    planted = plant_fault(rows, "leaked-patient", out=tmp_path, seed=0)
    with pytest.raises(LeakError):
        open_dataset(planted, TASK, size=SIZE, cache=tmp_path / "cache", progress=False)


def test_the_same_seed_gives_the_same_figures(clean):
    folder, rows = clean
    some = [row for row in rows if row.split == "test"]
    first, second = (audit_data(some, _dataset(some, folder), seed=3, progress=False) for _ in range(2))
    assert [section.measures for section in first] == [section.measures for section in second]


def test_pictures_of_another_size_are_refused(clean):
    folder, rows = clean
    dataset = dataclasses.replace(_dataset(rows, folder), pixels=np.zeros((len(rows), 32, 32), np.uint8))
    with pytest.raises(DataError, match="96"):
        audit_data(rows, dataset, progress=False)


def test_an_unknown_fault_is_refused(clean, tmp_path):
    with pytest.raises(ConfigError, match="leaked-patient"):
        plant_fault(clean[1], "typo", out=tmp_path, seed=0)


def test_headers_are_read_without_pixels(tmp_path):
    from PIL import Image

    picture = Image.fromarray(np.arange(4096, dtype=np.uint32).reshape(64, 64).astype(np.uint8))
    picture.save(tmp_path / "a.jpg", quality=42)
    picture.save(tmp_path / "b.png")
    rows = [IndexRow(str(tmp_path / name), "s", "f") for name in ("a.jpg", "b.png", "gone.png")]
    jpeg, png, gone = read_file_facts(rows)
    assert (jpeg.format, jpeg.bits, jpeg.quality) == ("JPEG", 8, 42)
    assert (png.format, png.quality) == ("PNG", 0)
    assert gone.format == ""
    assert jpeg_quality({}) == 0
