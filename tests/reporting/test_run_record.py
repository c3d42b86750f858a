"""A run's folder is read as it is: whole, unfinished, damaged, or of a k-fold protocol."""

import dataclasses
import json

import pytest

from pocketcxr import roles
from pocketcxr.audit.stored_record import read_audit
from pocketcxr.data.rows import read_rows, write_rows
from pocketcxr.errors import BundleError, DataError
from pocketcxr.reporting.run_record import read_run_record, shown_command, without_paths
from pocketcxr.reporting.statements.known import teacher_name


def test_a_finished_run_is_read_from_all_its_files(record):
    assert record.bundle is not None
    assert record.bundle.manifest.task == "siim-appearance"
    assert len(record.rows) == 162
    assert record.stages["student-distilled"]["weights"]["source"] == "scratch"
    assert record.finished["student-distilled"]["best_epoch"] == 5
    assert record.hours == pytest.approx(1.5)
    assert not record.own_splits
    assert {"splits.csv", "evaluation/evaluation.json", "bundle/siim-appearance.onnx"} <= set(record.files)


def test_a_given_teacher_is_named_and_no_backbones_are_claimed(record):
    assert teacher_name(record) == " ‖ ".join(record.teacher["backbones"])
    for field, value, said in (
        ("checkpoint", "/of/somebody/xrv.onnx", "a given network (xrv.onnx)"),
        ("outputs", ["tables/own.npz"], "kept outputs (own.npz)"),
    ):
        teacher = {**record.experiment["teacher"], field: value}
        given = dataclasses.replace(record, experiment={**record.experiment, "teacher": teacher})
        assert given.teacher == {}
        assert teacher_name(given) == said


def test_reasons_for_leaving_files_out_are_counted_without_their_names(record):
    assert record.rejected == {("quay", "cannot decode …"): 1}
    assert without_paths("cannot read /a/b.png: truncated") == "cannot read … truncated"


def test_an_empty_folder_gives_an_empty_record(tmp_path):
    record = read_run_record(tmp_path)
    assert record.empty
    assert not record.command
    assert record.manifest is None


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected the folder of a run"):
        read_run_record(tmp_path / "nothing")


def test_damaged_files_are_refused_by_name(tmp_path):
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(DataError, match=r"experiment\.json"):
        read_run_record(tmp_path)
    (tmp_path / "experiment.json").write_text("[1]")
    with pytest.raises(DataError, match="expected a JSON object, found list"):
        read_run_record(tmp_path)


def test_a_damaged_checkpoint_or_bundle_is_refused(tmp_path, bundle_bytes):
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "teacher.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(DataError, match=r"teacher\.safetensors"):
        read_run_record(tmp_path)
    (tmp_path / "teacher" / "teacher.safetensors").unlink()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "one.onnx").write_bytes(bundle_bytes[:-9] + b"x" + bundle_bytes[-8:])
    with pytest.raises(BundleError, match=r"one\.onnx"):
        read_run_record(tmp_path)


def test_an_evaluation_of_an_earlier_version_is_read_under_the_names_of_today(tmp_path):
    (tmp_path / "evaluation").mkdir()
    conclusion = {"question": "q", "answer": "shown", "words": "0.9 (distilled student) against 0.8 (student alone)"}
    old = {"models": {"student alone": {}, "distilled student": {}}, "verdicts": [conclusion]}
    (tmp_path / "evaluation" / "evaluation.json").write_text(json.dumps(old))
    evaluation = read_run_record(tmp_path).evaluation
    assert set(evaluation["models"]) == {roles.BASELINE, roles.DISTILLED}
    assert evaluation["conclusions"][0]["text"] == f"0.9 (distilled student) against 0.8 ({roles.BASELINE})"


def test_a_k_fold_protocol_tests_every_image_once(run_folder, tmp_path):
    rows = [
        dataclasses.replace(row, split="", fold=str(i % 5) if row.label else "")
        for i, row in enumerate(read_rows(run_folder / "splits.csv"))
    ]
    write_rows(rows, tmp_path / "folds.csv")
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "crossval.json").write_text(json.dumps({"level": "image", "folds": 5}))
    record = read_run_record(tmp_path)
    assert (record.folds, record.fold_level, record.rows_file) == (5, "image", "folds.csv")
    assert sum(row.split == "test" for row in record.rows) == 160


@pytest.mark.parametrize(
    "command,shown",
    [
        ("pocketcxr demo -o /tmp/demo1", "pocketcxr demo -o demo1"),
        ("pocketcxr distill --data=/a/b/c -o runs/mine", "pocketcxr distill --data=c -o runs/mine"),
        ("pocketcxr distill --data ~/x/y ../z -o ./r", "pocketcxr distill --data y ../z -o ./r"),
        (r"pocketcxr distill --data C:\Users\somebody\films", "pocketcxr distill --data films"),
        ("pocketcxr audit '/home/some body/my runs/mine' -o out", "pocketcxr audit mine -o out"),
        (
            """pocketcxr distill --set 'teacher.weights=["/home/x/a.pth", "scratch"]'""",
            """pocketcxr distill --set "teacher.weights=["a.pth", "scratch"]\"""",
        ),
        ("pocketcxr distill --set student.losses={hard=1.0}", "pocketcxr distill --set student.losses={hard=1.0}"),
    ],
)
def test_a_command_is_shown_without_the_folders_of_the_machine(command, shown):
    assert shown_command(command) == shown


def test_an_audit_is_read_back_from_its_file_gates_first(sections, tmp_path):
    gates = [
        {"title": "No patient on two sides", "outcome": "failed", "words": "3 patients; at most 0"},
        {"title": "Skill without lungs", "outcome": "not measurable", "words": "no lungs found"},
    ]
    table = {
        "command": "pocketcxr audit /home/somebody/mine",
        "verdicts": {"headline": "One gate failed."},
        "gates": gates,
        "sections": [dataclasses.asdict(section) for section in sections],
    }
    (tmp_path / "audit.json").write_text(json.dumps(table))
    found = read_audit(tmp_path / "audit.json")
    assert found.sections[1:] == sections
    assert found.sections[0].key == "gates"
    assert found.sections[0].summary == "One gate failed. Criteria: 0 passed, 1 failed, 1 not measurable."
    assert found.sections[0].tables[0].rows[0] == ("No patient on two sides", "failed", "3 patients; at most 0")


def test_a_file_that_is_no_audit_is_refused(tmp_path):
    (tmp_path / "audit.json").write_text('{"sections": [{"key": 1}]}')
    with pytest.raises(DataError, match=r"audit\.json"):
        read_audit(tmp_path / "audit.json")
