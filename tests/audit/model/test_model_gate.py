"""The whole decision is asked about: what was refused, by which part, and what slipped through."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from pocketcxr.audit.criteria import evaluate_criteria, failed, load_criteria
from pocketcxr.audit.model.input_filter import MADE, gate
from pocketcxr.data.rows import IndexRow
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

FOREIGN = {
    "ct": {"modality": "CT"},
    "lateral": {"modality": "X-ray", "view": "L"},
    "other_part": {"modality": "X-ray", "view": "other part"},
    "not_xray": {"modality": "photograph"},
}


@pytest.fixture(scope="module")
def decide(tiny_gated_path):
    """The tiny bundle with a learned gate: bright pictures are CT slices to it, dark ones laterals."""
    predictor = Predictor(load_bundle(tiny_gated_path, threads=1))
    return lambda radiograph: predictor.predict_image(radiograph, "")


def _row(folder, name, brightness, *, colour=False, **facts) -> IndexRow:
    pixels = np.clip(brightness + np.linspace(-0.09, 0.09, 128) * np.ones((128, 1)), 0, 1)
    picture = Image.fromarray(np.round(pixels * 255).astype(np.uint8))
    if colour:
        picture = Image.merge("RGB", [picture, Image.new("L", picture.size, 0), picture])
    picture.save(folder / f"{name}.png")
    return IndexRow(str(folder / f"{name}.png"), "drawn", "", **facts)


@pytest.fixture
def asked(tmp_path):
    """Twelve films, twelve slices of which three look like films, twelve laterals, a photograph and a broken file."""
    films = [_row(tmp_path, f"film{i}", 0.6) for i in range(12)]
    strangers = [_row(tmp_path, f"ct{i}", 0.6 if i < 3 else 0.86, **FOREIGN["ct"]) for i in range(12)]
    strangers += [_row(tmp_path, f"lateral{i}", 0.14, **FOREIGN["lateral"]) for i in range(12)]
    strangers.append(_row(tmp_path, "photo", 0.6, colour=True, **FOREIGN["not_xray"]))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    strangers.append(dataclasses.replace(strangers[-1], path=str(tmp_path / "broken.png")))
    strangers.append(dataclasses.replace(films[0], path="never opened"))  # a film is no stranger
    return films, strangers


def test_each_part_of_the_decision_counts_and_the_worst_kind_is_named(decide, asked):
    section = gate(decide, *asked)
    found = {measure.key: measure for measure in section.measures}
    assert found["gate.films_refused"].value == 0
    assert found["gate.films_refused"].images == 12
    assert found["gate.strangers_refused"].value == pytest.approx(23 / 26)
    assert found["gate.least_refused"].value == pytest.approx(9 / 12)
    assert "ct" in found["gate.least_refused"].title
    assert found["gate.refused.lateral"].value == 1
    assert found["gate.refused.not_xray"].value == 1
    assert found["gate.refused.lateral"].low == pytest.approx(0.7575, abs=1e-3)  # Wilson, 12 of 12
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["ct"][:4] == ("ct", "drawn", 12, 0.75)
    assert rows["ct"][5] == "ct 9"
    assert "unreadable 1" in rows["not_xray"][5]
    assert "88 %" in section.summary
    assert "0 of 12" in section.summary


def test_films_made_strange_are_asked_about_too(decide, asked):
    section = gate(decide, *asked)
    found = {measure.key: measure.value for measure in section.measures}
    for kind in MADE:
        assert f"gate.refused.{kind.replace(' ', '_')}" in found
    assert found["gate.refused.turned"] == 0  # the tiny gate knows only brightness
    assert found["gate.made_refused"] is not None


def test_the_gates_fail_where_a_kind_slips_through_and_pass_where_none_does(decide, asked):
    films, strangers = asked
    gates = [one for one in load_criteria() if one.key.startswith("gate.")]
    assert {one.key for one in gates} == {"gate.films_refused", "gate.least_refused", "gate.answered_confidently"}
    bad = failed(evaluate_criteria([gate(decide, films, strangers)], gates))
    assert {result.criterion.key for result in bad} == {"gate.least_refused"}
    good = [row for row in strangers if "ct0" not in row.path and "ct1." not in row.path and "ct2" not in row.path]
    assert not failed(evaluate_criteria([gate(decide, films, good)], gates))
    refusing = [dataclasses.replace(row, path=strangers[5].path) for row in films]
    assert {r.criterion.key for r in failed(evaluate_criteria([gate(decide, refusing, good)], gates))} == {
        "gate.films_refused"
    }


def test_no_bundle_and_no_strangers_are_not_measurable(decide, asked):
    films, strangers = asked
    assert all(
        measure.value is None and "no bundle" in measure.why for measure in gate(None, films, strangers).measures
    )
    found = {measure.key: measure for measure in gate(decide, films, []).measures}
    assert found["gate.least_refused"].value is None
    assert found["gate.films_refused"].value == 0
