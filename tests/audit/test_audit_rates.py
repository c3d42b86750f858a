"""Rates of the audit: counted as by hand, and the page in the documentation is that of the JSON beside it."""

import json
from pathlib import Path

import pytest

import audit_rates
from planted_faults import FAULTS

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_a_fault_counts_as_caught_only_by_a_criterion_that_names_it():
    runs = {
        "0": {"blur": ["confounding.worst_file", "cues.lines"], "clean": []},
        "1": {"blur": ["cues.lines"], "clean": ["cues.file"]},
        "2": {"blur": ["confounding.worst_file"]},
    }
    table = audit_rates.rates(runs)
    assert (table["blur"]["hits"], table["blur"]["sets"], table["blur"]["target_met"]) == (2, 3, False)
    assert table["blur"]["other_criteria_that_failed"] == "cues.lines"
    assert (table["clean"]["hits"], table["clean"]["sets"], table["clean"]["target_met"]) == (1, 2, False)


@pytest.mark.parametrize("caught, met", [(19, True), (18, False)])
def test_the_target_is_nineteen_of_twenty(caught, met):
    runs = {str(i): {"device": ["confounding.worst_device"] if i < caught else []} for i in range(20)}
    assert audit_rates.rates(runs)["device"]["target_met"] is met
    page = audit_rates.markdown(runs)
    row = next(line for line in page.splitlines() if line.startswith("| manufacturer"))
    assert f"caught in {caught} of 20" in row
    assert ("| met |" in row) is met


@pytest.mark.parametrize("alarms, met", [(1, True), (2, False)])
def test_one_false_alarm_in_twenty_is_allowed(alarms, met):
    runs = {str(i): {"clean": ["cues.file"] if i < alarms else []} for i in range(20)}
    assert audit_rates.rates(runs)["clean"]["target_met"] is met


def test_every_fault_is_named_with_the_criteria_that_catch_it_and_its_test():
    assert set(audit_rates.KINDS) == set(audit_rates.SETS) == {*audit_rates.CLEAN, *FAULTS, "confounded"}
    assert set(audit_rates.NAMED_BY) == set(audit_rates.SETS) - set(audit_rates.CLEAN)
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for named in audit_rates._TESTS.values():
        file, _, function = named.strip("`").partition("::")
        assert (Path(__file__).parent / file).is_file()
        assert not function or f"def {function}(" in text


def test_the_page_in_the_documentation_is_that_of_the_figures():
    kept = json.loads((RESULTS / "audit_rates.json").read_text(encoding="utf-8"))
    page = (RESULTS / "audit_rates.md").read_text(encoding="utf-8")
    assert page == audit_rates.markdown(kept["failed_criteria"]), "write it: audit_rates.py --seeds 0 --out JSON"
    assert kept["rates"] == audit_rates.rates(kept["failed_criteria"])
