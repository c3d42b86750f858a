"""The tables of speed and memory in the reference are those that the kept measurement gives."""

from __future__ import annotations

import importlib.util
import json
import sys
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


@pytest.fixture(scope="module")
def network_runtimes():
    return benchmark("network_runtimes")


def test_a_share_is_of_the_fastest_product_of_its_precision(network_runtimes):
    found = json.loads((ROOT / "docs" / "results" / "network_runtimes.json").read_text(encoding="utf-8"))
    times = {"ONNX Runtime": (10.0, 8.0), "OpenVINO bf16": (5.0, 2.0)}
    made = {
        "macs": 250_000_000,
        "peak_gops": {"float: a, side 1": 80.0, "float: b, side 2": 100.0, "bf16: b, side 1": 400.0, "int8: a": 200.0},
        "ms": {
            f"{runtime} {kind} 224 batch {batch}": ms
            for kind in ("float", "int8")
            for runtime, both in times.items()
            for batch, ms in zip((1, 8), both, strict=True)
        },
    }
    lines = network_runtimes.peak_lines(found | made)
    assert "float 100 (b, side 2), bf16 400 (b, side 1), int8 200 (a)" in lines[0]
    assert lines[-4:] == [
        "| ONNX Runtime, float | 10.00 | 125 | 50% | 62% |",
        "| OpenVINO bf16, float | 5.00 | 500 | 25% | 62% |",
        "| ONNX Runtime, int8 | 10.00 | 125 | 25% | 31% |",
        "| OpenVINO bf16, int8 | 5.00 | 500 | 50% | 125% |",
    ]


def test_arithmetic_is_counted_as_pytorch_counts_it(network_runtimes, tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra train")
    from torch import nn

    from pocketcxr.models.costs import network_costs

    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()
    torch.onnx.export(network, (torch.zeros(1, 1, 32, 32),), tmp_path / "net.onnx", verbose=False)
    expected = network_costs(network, image_size=32).macs
    assert network_runtimes.count_macs(tmp_path / "net.onnx") == expected == 16 * 16 * 8 * 9 + 14 * 14 * 8 * 9 + 40


def test_the_products_that_stand_for_the_peak_are_products(network_runtimes, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra train")
    work = network_runtimes._products(tmp_path, 64)
    assert {name.partition(":")[0] for name in work} >= {"float", "int8"}
    for function, count in work.values():
        found = function()
        assert len(found) == count
        assert found[0].shape == (64, 64)


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


def test_the_page_of_the_cluster_shows_what_a_second_worker_gained():
    found = json.loads((ROOT / "docs" / "results" / "cluster_scaling.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "how-to" / "score-on-a-cluster.md").read_text(encoding="utf-8")
    shown = page.partition("cluster_scaling.json -->\n")[2].partition("\n<!-- scaling end -->")[0]
    assert shown.strip() == benchmark("cluster_scaling").table(found)


def test_a_second_worker_gains_by_processor_time_beyond_the_start():
    def of(elapsed, used):
        return {"all": [[elapsed, used]] * 3, "few": [[5.0, 3.0]] * 3}

    runs = {"local 1": of(105, 13), "local 2": of(105, 13), "ray 1": of(205, 23), "ray 2": of(105, 28)}
    made = {"files": 108, "few": 8, "side": 9, "date": "", "rounds": 3, "load_average": [1, 1], "same_bytes": False}
    lines = benchmark("cluster_scaling").table(made | {"runs": runs}).splitlines()
    assert "**not the same bytes**" in lines[0]
    assert lines[-4] == "| local, 1 | 1.0 | 0.10 | 100.0 | 10.0 |  |"
    assert lines[-3].endswith("| 100.0 | 20.0 | 2.00 |")
    assert lines[-1] == "| ray, 2 | 1.0 | 0.25 | 250.0 | 8.0 | 1.60 |"


def test_processor_time_is_counted_below_a_command_too():
    burn = "import time\nwhile time.process_time() < 1: pass"
    below = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {burn!r}]); time.sleep(0.5)"
    elapsed, used = benchmark("cluster_scaling").run_tree([sys.executable, "-c", below])
    assert 1 <= used < 1.6
    assert elapsed >= 1.5


@pytest.mark.parametrize(
    ("ratios", "slower"), [([1.2, 1.3, 1.25], True), ([1.2, 0.8, 1.2], False), ([1.05, 1.06, 1.07], False)]
)
def test_a_comparison_is_flagged_by_ratio_and_interval_and_can_be_kept(ratios, slower):
    row = benchmark("compare_commits")._row([(ratio * 2, 2.0) for ratio in ratios])
    assert json.loads(json.dumps(row)) == row
    assert row["slower"] is slower
    assert row["ratio"] == pytest.approx(sorted(ratios)[1])
    assert row["base_seconds"] == 2
