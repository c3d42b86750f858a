"""A manifest with a field of another type or outside its range is refused in one line that names the field.

`manifest_cases.json` has the cases; the page's tests read the same list.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pocketcxr.bundle.format import default_bundle_path, read_bundle, read_manifest
from pocketcxr.bundle.manifest import Manifest
from pocketcxr.bundle.manifest_checks import LONGEST_MANIFEST
from pocketcxr.errors import BundleError

CASES = json.loads((Path(__file__).parent / "manifest_cases.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shipped() -> Manifest:
    return read_manifest(read_bundle(default_bundle_path()), "student.onnx")


def place_of(table, path):
    """The table or list that holds the last name of a path, and that name."""
    *folders, last = [int(name) if name.isdigit() else name for name in path.split(".")]
    for name in folders:
        table = table[name]
    return table, last


def text_of(case, shipped):
    """JSON of the shipped manifest with the changes of a case."""
    if "text" in case:
        return case["text"]
    table = copy.deepcopy(json.loads(shipped.to_json()))
    for path, value in case.get("set", {}).items():
        holder, last = place_of(table, path)
        holder[last] = value
    if "remove" in case:
        holder, last = place_of(table, case["remove"])
        del holder[last]
    if "long" in case:
        table[case["long"]] = "x" * case["characters"]
    if "nested" in case:
        inner = {}
        for _ in range(case["levels"] - 1):  # the manifest itself is the first level
            inner = {"deeper": inner}
        table[case["nested"]] = inner
    return json.dumps(table)


@pytest.mark.parametrize("case", CASES["refused"], ids=json.dumps)
def test_refused(case, shipped):
    with pytest.raises(BundleError, match=case["field"]) as caught:
        Manifest.from_json(text_of(case, shipped))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("case", CASES["accepted"], ids=json.dumps)
def test_accepted(case, shipped):
    manifest = Manifest.from_json(text_of(case, shipped))
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("opening, closing", ["[]", ('{"a":', "}")])
def test_nesting_beyond_the_parsers_own_limit_is_one_line(opening, closing, shipped):
    deep = f"{opening * 100_000}1{closing * 100_000}"
    text = shipped.to_json().replace('"run": {', f'"run": {{"deep": {deep}, ', 1)
    with pytest.raises(BundleError, match=r"cannot be read|levels"):
        Manifest.from_json(text)


def test_the_length_of_the_text_is_limited_on_both_sides(shipped):
    text = shipped.to_json()
    padded = text + " " * (LONGEST_MANIFEST - len(text))
    assert Manifest.from_json(padded) == shipped
    with pytest.raises(BundleError, match="characters"):
        Manifest.from_json(padded + " ")


def test_a_number_with_too_many_digits_is_one_line(shipped):
    text = shipped.to_json().replace('"format_version": 2', f'"format_version": {"9" * 5000}', 1)
    with pytest.raises(BundleError, match="cannot be read"):
        Manifest.from_json(text)


def test_figures_that_could_not_be_worked_out_are_null_and_not_nan(shipped):
    odd = replace(shipped, metrics={"auroc": math.nan, "deeper": [{"f1": math.inf}, 0.5]})
    again = json.loads(odd.to_json(), parse_constant=pytest.fail)
    assert again["metrics"] == {"auroc": None, "deeper": [{"f1": None}, 0.5]}
