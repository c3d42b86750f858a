"""The doctor finds what is there, what is not and what is wrong, and its status says whether predictions can be had."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pocketcxr.bundle.golden import drawn_inputs, golden_path, read_golden, write_golden
from pocketcxr.cli import main
from pocketcxr.inference.doctor import examine as doctor
from pocketcxr.inference.doctor import machine
from pocketcxr.inference.doctor.examine import EXIT_FAULT, EXIT_HEALTHY, run_doctor


@pytest.fixture
def healthy(tiny_bundle_path, bundle, tmp_path):
    """A bundle with its golden vectors beside it."""
    path = tmp_path / "tiny.onnx"
    shutil.copy(tiny_bundle_path, path)
    write_golden(golden_path(path), bundle, drawn_inputs(32), sha256=bundle.sha256)
    return path


def _examined(path):
    stream = io.StringIO()
    status = run_doctor(bundle=path, as_json=True, stream=stream)
    record = json.loads(stream.getvalue())
    assert record["healthy"] == (status == EXIT_HEALTHY)
    return status, {check["name"]: check for check in record["checks"]}


def test_a_sound_machine_is_ready_and_its_speed_told(healthy):
    status, checks = _examined(healthy)
    assert status == EXIT_HEALTHY
    assert checks["bundle"]["found"].startswith("tiny 0.0.1 sha256:")
    assert checks["golden vectors"]["state"] == "ok"
    assert "6 inputs" in checks["golden vectors"]["found"]
    assert "ms to read" in checks["speed"]["found"]
    assert checks["runtime"]["state"] == checks["DICOM"]["state"] == "ok"


def test_a_hostile_path_steers_no_terminal(capsys, tmp_path):
    assert main(["doctor", "--bundle", str(tmp_path / "\x1b[31m\nok forged.onnx")]) == 1
    said = "".join(capsys.readouterr())
    assert all(one.isprintable() or one == "\n" for one in said)
    assert not any(line.startswith("ok forged") for line in said.splitlines())


def test_the_command_prints_a_line_for_each_and_exits_by_them(healthy, capsys, tmp_path):
    assert main(["doctor", "--bundle", str(healthy)]) == 0
    assert capsys.readouterr().out.endswith("ready to predict\n")
    assert main(["doctor", "--bundle", str(tmp_path / "none.onnx")]) == 1
    printed = capsys.readouterr().out
    assert "fault   bundle" in printed
    assert printed.endswith("not ready: see the lines marked fault\n")


def test_other_predictions_than_the_golden_ones_are_a_fault(healthy, bundle):
    golden = read_golden(golden_path(healthy))
    arrays = {name: getattr(golden.outputs, name) for name in ("logits", "embedding", "saliency", "novelty")}
    probabilities = golden.outputs.probabilities + np.float32([0.01, -0.01])
    np.savez(golden_path(healthy), inputs=golden.inputs, sha256=golden.sha256, probabilities=probabilities, **arrays)
    status, checks = _examined(healthy)
    assert status == EXIT_FAULT
    assert checks["golden vectors"]["state"] == "fault"
    assert "do not use its predictions" in checks["golden vectors"]["advice"]


def test_golden_vectors_of_another_bundle_are_a_fault_and_none_is_a_note(healthy, bundle):
    write_golden(golden_path(healthy), bundle, drawn_inputs(32), sha256="0" * 64)
    assert _examined(healthy)[1]["golden vectors"]["state"] == "fault"
    golden_path(healthy).unlink()
    status, checks = _examined(healthy)
    assert (status, checks["golden vectors"]["state"]) == (EXIT_HEALTHY, "note")
    assert checks["golden vectors"]["advice"]


@pytest.mark.parametrize(
    "free, state, advice",
    [(None, "note", "150 MB"), (20, "fault", "free 150 MB"), (400, "note", "--workers 2"), (9000, "ok", "")],
)
def test_memory_decides_how_many_processes_fit(monkeypatch, free, state, advice):
    monkeypatch.setattr(machine, "available_memory_mb", lambda: free)
    monkeypatch.setattr(machine, "processors", lambda: (8, 8))
    check = doctor._memory()
    assert check.state == state
    assert advice in check.advice


def test_rationed_processors_are_told_with_the_number_to_use(monkeypatch):
    monkeypatch.setattr(machine, "processors", lambda: (1, 64))
    monkeypatch.setattr(machine, "default_workers", lambda: 64)
    check = doctor._processors()
    assert (check.state, check.advice.rpartition(" ")[2]) == ("note", "1")


def test_extras_name_what_is_missing(monkeypatch):
    requirements = [
        "numpy>=2",
        'numpy>=2; extra == "here"',
        "no-such-thing>=1; extra == 'gone'",
        'pocketcxr[here]; extra == "gone"',
        'numpy; python_version > "3" and extra == "gone"',
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: requirements)
    assert machine.extras() == {"here": [], "gone": ["no-such-thing"]}
    here, gone, _ = doctor._extras()
    assert (here.state, gone.state) == ("ok", "missing")
    assert gone.advice == "pip install 'pocketcxr[gone]'"


def test_instruction_sets_are_those_that_numpy_sees_too():
    found = set(machine.instruction_sets())
    assert ("AVX2" in found) == ("avx2" in machine._numpy_features())
    assert machine.processors()[0] >= 1
    assert machine.processor_name()


@pytest.mark.parametrize(
    "outcome, state, words",
    [("passed", "ok", "passed"), ("failed, exported by force", "note", "failed"), (None, "note", "nothing says")],
)
def test_a_bundle_s_audit_is_told(tiny_manifest, outcome, state, words):
    run = {} if outcome is None else {"audit": {"outcome": outcome}}
    check = doctor._audit(dataclasses.replace(tiny_manifest, run=run))
    assert check.state == state
    assert words in check.found
    assert bool(check.advice) == (state == "note")


@pytest.mark.parametrize("load, told", [(None, False), (1.5, False), (6.0, True)])
def test_other_programs_at_work_are_told_with_what_to_expect(monkeypatch, load, told):
    monkeypatch.setattr(machine, "processors", lambda: (2, 2))
    monkeypatch.setattr(machine, "load_average", lambda: load)
    checks = list(doctor._load())
    assert bool(checks) == told
    assert not told or "4 times as long" in checks[0].advice


def test_the_web_page_is_told_where_this_copy_has_it(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_WEB_PAGE", tmp_path)
    assert list(doctor._extras())[-1].state == "missing"
    (tmp_path / "index.html").write_text("<!doctype html>")
    assert list(doctor._extras())[-1].state == "ok"


def test_every_extra_says_what_it_is_for():
    table = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(doctor._PURPOSE_OF_EXTRA) == set(table["project"]["optional-dependencies"])
