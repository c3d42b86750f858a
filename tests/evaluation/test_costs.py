import sys

import pytest
from onnx import TensorProto, helper, save

from pocketcxr.errors import PocketCxrError
from pocketcxr.evaluation.costs import ONNX_PROGRAM, measure_latency, measure_peak_memory, peak_memory_of


class Clock:
    """A clock that models push forward by their own cost, with a slow machine in the second half."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def model(self, name, cost_s):
        def call():
            self.calls.append(name)
            self.now += cost_s * (10 if len(self.calls) > 30 else 1)

        return call


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("pocketcxr.evaluation.costs.time.perf_counter", lambda: made.now)
    return made


def test_latency_takes_turns_so_that_a_slow_spell_hits_all_models_alike(clock):
    found = measure_latency(
        {"teacher": clock.model("t", 0.05), "student": clock.model("s", 0.001)}, rounds=25, warmup=5
    )
    assert clock.calls[:4] == ["t", "s", "t", "s"]
    assert clock.calls[10:14] == ["t", "s", "s", "t"]  # after warm-up the order alternates
    assert found["teacher"].median_ms / found["student"].median_ms == pytest.approx(50)
    assert found["teacher"].runs == found["student"].runs == 25
    assert found["student"].p10_ms == pytest.approx(1.0)
    assert found["student"].p90_ms == pytest.approx(10.0)


def test_latency_stops_at_its_budget_but_measures_three_rounds(clock):
    assert measure_latency({"slow": clock.model("x", 100.0)}, rounds=50, warmup=0, budget_s=1)["slow"].runs == 3


def test_peak_memory_is_that_of_the_new_process_and_not_of_this_one():
    ballast = bytearray(200_000_000)  # would show in ru_maxrss of the child
    small = measure_peak_memory("pass")
    large = measure_peak_memory("import sys; block = b'x' * int(sys.argv[1])", ["80000000"])
    assert 2_000_000 < small < 100_000_000
    assert large - small == pytest.approx(80_000_000, rel=0.1)
    assert len(ballast) == 200_000_000


def test_a_program_that_fails_says_how():
    with pytest.raises(PocketCxrError, match="status 1: ValueError: no such model"):
        measure_peak_memory("raise ValueError('no such model')")
    with pytest.raises(PocketCxrError, match="no result after"):
        measure_peak_memory("import time; time.sleep(30)", timeout_s=0.2)


def test_a_figure_that_is_not_had_in_time_is_missing_and_named(caplog):
    missing: list[str] = []
    assert peak_memory_of("teacher", "import time; time.sleep(30)", [], missing, timeout_s=0.2) is None
    assert missing == [
        "Peak memory of the teacher: not measured (measuring memory: no result after 0.2 s; give it more time)."
    ]
    assert missing[0] in caplog.text
    assert peak_memory_of("student", "pass", [], missing) > 1_000_000
    assert len(missing) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_counts_what_was_freed_again():
    assert measure_peak_memory("block = b'x' * 80_000_000; del block") > 80_000_000


def test_peak_memory_of_an_exported_file_is_measured_on_its_own_runtime(tmp_path):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, 8, 8]) for name in ("image", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["same"])], "g", ends[:1], ends[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    assert measure_peak_memory(ONNX_PROGRAM, [str(tmp_path / "m.onnx"), "8"]) > 10_000_000
    with pytest.raises(PocketCxrError, match=r"status 1.*none\.onnx"):
        measure_peak_memory(ONNX_PROGRAM, [str(tmp_path / "none.onnx"), "8"])
