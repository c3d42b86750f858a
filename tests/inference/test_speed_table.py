"""The tables of speed and memory in the reference are those that the kept measurement gives."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def predict_table():
    return benchmark("predict_table")


@pytest.fixture(scope="module")
def record():
    return json.loads((ROOT / "docs" / "results" / "predict_speed.json").read_text(encoding="utf-8"))


def test_the_reference_shows_what_was_measured(predict_table, record):
    page = (ROOT / "docs" / "reference" / "predict.md").read_text(encoding="utf-8")
    shown = page.partition("predict_speed.json -->\n")[2].partition("\n<!-- speed end -->")[0]
    assert shown.strip() == predict_table.tables(record)


def test_a_bar_is_judged_by_the_median_ratio_of_processor_time(predict_table, record):
    (name, found), *_ = record["networks"].items()
    slow = json.loads(json.dumps(found))
    slow["start"]["pytorch"]["cpu_s"] = [12.9 * own for own in slow["start"]["pocketcxr"]["cpu_s"]]
    fast = json.loads(json.dumps(found))
    fast["start"]["pytorch"]["cpu_s"] = [13.1 * own for own in fast["start"]["pocketcxr"]["cpu_s"]]
    texts = [predict_table.tables({**record, "networks": {name: one}}) for one in (slow, fast)]
    assert "13: missed" in texts[0]
    assert "13: met" in texts[1]


def test_the_record_of_runtimes_shows_what_was_measured():
    found = json.loads((ROOT / "docs" / "results" / "network_runtimes.json").read_text(encoding="utf-8"))
    page = next((ROOT / "docs" / "decisions").glob("0013-*.md")).read_text(encoding="utf-8")
    shown = page.partition("network_runtimes.json -->\n")[2].partition("\n<!-- runtimes end -->")[0]
    assert shown.strip() == benchmark("network_runtimes").tables(found)


def test_the_table_of_runtimes_shows_what_was_measured():
    found = json.loads((ROOT / "docs" / "results" / "runtimes.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "how-to" / "other-runtimes.md").read_text(encoding="utf-8")
    shown = page.partition("runtimes.json -->\n")[2].partition("\n<!-- runtimes end -->")[0]
    assert shown.strip() == benchmark("runtimes").table(found)


def test_the_page_of_the_cluster_shows_what_the_simulation_gives():
    found = json.loads((ROOT / "docs" / "results" / "cluster_on_paper.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "how-to" / "score-on-a-cluster.md").read_text(encoding="utf-8")
    shown = page.partition("cluster_on_paper.json -->\n")[2].partition("\n<!-- simulation end -->")[0]
    assert shown.strip() == benchmark("cluster_on_paper").page(found)
