"""The audit as a command: what it finds to audit, what it writes, its exit status; and the check before export."""

import json
import logging
import re

import pytest

from pocketcxr.audit.criteria import CRITERIA_FILE
from pocketcxr.bundle.failures import MEANINGS, failure_lines
from pocketcxr.bundle.format import read_bundle, read_manifest
from pocketcxr.cli import main
from pocketcxr.data.rows import read_rows
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import ConfigError, ReleaseError
from pocketcxr.export.release_check import audit_mark
from pocketcxr.pipeline.audit import run_audit
from pocketcxr.pipeline.distill import run_distill
from pocketcxr.pipeline.load_audited import ood_of_run
from pocketcxr.pipeline.run import Run
from pocketcxr.pipeline.stages import run_export
from pocketcxr.run_folder import student_sha256
from pocketcxr.training.config import load_experiment

TINY = (
    "data.image_size=32",
    'teacher.backbones=["mobilenetv2_035"]',
    'teacher.weights=["scratch"]',
    "teacher.embedding_features=16",
    "teacher.epochs=1",
    "teacher.fusion_epochs=1",
    "views.count=1",
    'student.backbone="mobilenetv2_035"',
    'student.weights="scratch"',
    "student.epochs=1",
    "evaluation.bootstrap=50",
)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "films"
    draw_synthetic_xrays(folder, patients=45, seed=2, size=96, progress=False)
    return folder


@pytest.fixture(scope="module")
def finished(films, tmp_path_factory):
    """Return the folder of a tiny run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run_distill(folder, load_experiment(None, TINY), sources=[films], progress=False)
    return folder


def test_the_audit_takes_the_out_of_distribution_images_that_the_run_was_given(tmp_path, caplog):
    (tmp_path / "ood").mkdir()
    named = json.dumps([str(tmp_path / "ood"), str(tmp_path / "gone")])
    run = Run(tmp_path, load_experiment(None, [f"input_filter.ood={named}"]))
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        assert ood_of_run(run) == (tmp_path / "ood",)
    assert "gone: these out-of-distribution images of the run are gone: name them with --ood" in caplog.text
    assert ood_of_run(None) == ()


@pytest.mark.parametrize(
    "task, name",
    [
        ("covid-binary", "covid-binary.onnx"),
        ("normal,pneumothorax", "normal-pneumothorax.onnx"),
        ("{folder}/own.toml", "effusion_or_not.onnx"),
        ("{folder}/absent.toml", "absent.onnx"),
    ],
)
def test_a_bundle_is_named_after_its_task_and_one_that_is_there_keeps_its_name(tmp_path, task, name):
    (tmp_path / "own.toml").write_text(
        'name = "effusion_or_not"\nlabels = ["normal", "effusion"]\npositive = "effusion"\n'
        '[findings]\nno_finding = "normal"\npleural_effusion = "effusion"\n'
    )
    task = task.format(folder=tmp_path)
    run = Run(tmp_path / "run", load_experiment(None, [f"data.task={json.dumps(task)}"]))
    assert run.bundle == tmp_path / "run" / "bundle" / name
    former = run.bundle.with_name(f"{task.replace('/', '-')}.onnx")
    former.parent.mkdir(parents=True)
    former.touch()
    assert run.bundle == former


def test_a_folder_of_films_is_indexed_and_audited_by_one_command(films, tmp_path, capsys):
    out = tmp_path / "audit"
    status = main(["audit", str(films), "-o", str(out), "--quiet"])
    printed = capsys.readouterr().out
    table = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert status == (1 if table["outcome"]["failed"] else 0)
    assert str(out / "report.html") in printed
    assert table["task"]["name"] == "covid-3class"
    assert table["subject"]["images"] > 45
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)  # nothing is fetched from anywhere
    for section in table["sections"]:
        assert section["title"] in page.replace("&#39;", "'")
        assert all(measure["key"] in page for measure in section["measures"])
    assert table["conclusions"]["headline"] in page.replace("&#39;", "'")
    first, rest = page.partition("<main>")[::2]  # the first screen: main figures, and what failed with its limit
    failed = [one for one in table["criteria"] if one["outcome"] == "failed"]
    assert all(one["words"] in first for one in failed[:6])
    assert "Images with a class" in first
    assert f"All {len(table['criteria'])} criteria" in first
    assert rest.count("<details>") > len(table["sections"])
    assert "<details open" not in page


def test_a_confounded_set_exits_with_one_and_a_clean_one_with_zero(tmp_path):
    for confounded, status in ((True, 1), (False, 0)):
        folder = tmp_path / f"films-{confounded}"
        draw_synthetic_xrays(folder, patients=60, seed=6, size=96, confounded=confounded, progress=False)
        assert main(["audit", str(folder), "--quiet"]) == status


def test_criteria_of_ones_own_decide(films, tmp_path):
    own = tmp_path / "gates.toml"
    own.write_text('[[gate]]\nkey = "composition.images"\ntitle = "Enough"\nscope = "data"\nat_least = 100000\n')
    result = run_audit(films, out=tmp_path / "audit", criteria=own, progress=False)
    assert [r.criterion.key for r in result.failed] == ["composition.images"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["missing"], "missing"),
        (["."], "no usable image"),
        ([".", "--gates", "none.toml"], "none.toml"),
        ([".", "--criteria", "none.toml"], "none.toml"),
    ],
)
def test_what_cannot_be_audited_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["audit", *arguments, "--quiet"]) == 2
    assert said in capsys.readouterr().err


def test_a_bundle_that_was_never_audited_says_so(finished):
    manifest = read_manifest(read_bundle(next((finished / "bundle").glob("*.onnx"))), "bundle")
    assert manifest.run["audit"]["outcome"] == "not audited"
    assert manifest.limits[0].startswith("Not audited")


def test_a_run_is_audited_with_its_model_and_leaves_documents(finished, tmp_path):
    boxes, columns = tmp_path / "boxes.csv", "path,x_min,y_min,x_max,y_max,width,height"
    paths = [row.path for row in read_rows(finished / "splits.csv")]
    boxes.write_text("\n".join([columns, *(f"{path},10,10,40,60,96,96" for path in paths)]) + "\n")
    result = run_audit(finished, quick=True, progress=False, boxes=boxes)
    table = json.loads(result.record.read_text(encoding="utf-8"))
    why = {one["key"]: one.get("why", "") for section in table["sections"] for one in section["measures"]}
    assert "too coarse" in why["boxes.pointing"] or re.match("[1-9] positive", why["boxes.pointing"])  # maps of 1 x 1
    assert re.match("[1-9]", why["gate.largest_boxes_refused"])  # few, for the run is tiny
    keys = {section["key"] for section in table["sections"]}
    assert {"leaks", "cues", "scorecard", "shortcuts", "unseen", "novelty", "checklists"} <= keys
    assert any(one["scope"] == "model" and one["outcome"] != "not measurable" for one in table["criteria"])
    assert table["subject"]["student_sha256"]
    for document in ("MODEL_CARD.md", "claim-2024.md", "tripod-ai.md"):
        assert (finished / "audit" / document).is_file()


def test_a_teacher_is_audited_by_its_checkpoint_into_a_folder_of_its_own(finished):
    result = run_audit(finished, bundle=finished / "teacher" / "teacher.safetensors", quick=True, progress=False)
    assert result.report == finished / "audit-teacher" / "report.html"
    table = json.loads(result.record.read_text(encoding="utf-8"))
    assert "student_sha256" not in table["subject"]  # so that no export takes it for the student's
    assert any(one["scope"] == "model" and one["outcome"] != "not measurable" for one in table["criteria"])


def _leave_audit(folder, *, outcome, student=None):
    run = Run(folder, load_experiment(folder / "experiment.json", []), progress=False)
    gate = {"scope": "model", "title": "Sees no source", "outcome": outcome, "meaning": "shortcut"}
    gate |= {"fault": "it sees the source", "words": "0.9, limit at most 0.7", "value": 0.9, "at_most": 0.7}
    subject = {"student_sha256": student_sha256(run) if student is None else student}
    (folder / "audit").mkdir(exist_ok=True)
    table = {"subject": subject, "created": "2026-01-01", "gates": [gate]}
    (folder / "audit" / "audit.json").write_text(json.dumps(table))
    return run


def test_a_student_that_failed_is_refused_and_by_force_marked(finished):
    run = _leave_audit(finished, outcome="failed")
    with pytest.raises(ReleaseError, match=re.escape("it sees the source: 0.9, limit at most 0.7")):
        run_export(finished, run.experiment, progress=False)
    run_export(finished, run.experiment, force=True, progress=False)
    manifest = read_manifest(read_bundle(run.bundle), "bundle")
    assert "FAILED ITS AUDIT" in manifest.name  # which every prediction carries
    assert "it sees the source: 0.9, limit at most 0.7" in manifest.limits[0]
    (failure,) = manifest.run["audit"]["failures"]
    assert (failure["title"], failure["value"], failure["at_most"]) == ("Sees no source", 0.9, 0.7)
    assert failure_lines(manifest) == ("It sees the source: 0.9, limit at most 0.7.", MEANINGS["shortcut"])


def test_a_student_that_passed_carries_the_outcome(finished):
    run = _leave_audit(finished, outcome="passed")
    run_export(finished, run.experiment, progress=False)
    manifest = read_manifest(read_bundle(run.bundle), "bundle")
    assert manifest.run["audit"]["outcome"] == "passed"
    assert "AUDIT" not in manifest.name


def test_an_audit_of_another_student_or_of_the_data_alone_does_not_count(finished):
    run = _leave_audit(finished, outcome="failed", student="0" * 64)
    assert audit_mark(run, force=False).entry["outcome"] == "not audited"
    run = _leave_audit(finished, outcome="not measurable")
    assert audit_mark(run, force=False).entry["outcome"] == "not audited"


def test_a_damaged_audit_is_named(finished):
    run = _leave_audit(finished, outcome="passed")
    (finished / "audit" / "audit.json").write_text("{")
    with pytest.raises(ConfigError, match=r"audit\.json"):
        audit_mark(run, force=True)


def test_a_run_is_audited_with_its_own_table_and_task(finished):
    result = run_audit(finished, data_only=True, progress=False)
    assert result.record == finished / "audit" / "audit.json"
    table = json.loads(result.record.read_text(encoding="utf-8"))
    assert table["subject"]["table"].endswith("splits.csv")
    assert all(one["scope"] == "data" for one in table["criteria"])
    assert CRITERIA_FILE.is_file()
