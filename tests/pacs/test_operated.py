"""What an administrator does: try again, export, forget a patient, leave one out."""

import csv
import io
import json
from collections import Counter

import pytest

from pacs_archive import counts, settings_file, xray
from pocketcxr.bundle.verified import read_verified
from pocketcxr.cli import main
from pocketcxr.dicomweb.client import Archive
from pocketcxr.errors import ConfigError
from pocketcxr.pacs.commands import backfill, drift, export, forget, once, retry
from pocketcxr.pacs.find import Finder
from pocketcxr.pacs.settings import read_pacs_settings
from pocketcxr.pacs.worker import Failure, Progress, _try_again

pytestmark = [pytest.mark.pacs, pytest.mark.usefixtures("installed")]
NOTHING = "scored 0, not applicable 0, failed 0"


def test_images_that_were_not_scored_are_asked_again_all_or_with_one_reason(orthanc, tiny_bundle_path, tmp_path):
    settings = settings_file(tmp_path, orthanc, tiny_bundle_path)
    wrong = ({}, {"ViewPosition": "LL"}, {"BodyPartExamined": "KNEE"})
    orthanc.send(*(xray(tmp_path / f"{n}.dcm", n, **elements) for n, elements in enumerate(wrong, 1)))
    once(settings)
    held = {one["SOPInstanceUID"] for one in orthanc.objects()}
    assert retry(settings, reason="view") == (0, ["asked again: 1", "scored 0, not applicable 1, failed 0"])
    assert retry(settings) == (0, ["asked again: 2", "scored 0, not applicable 2, failed 0"])
    assert retry(settings, study="1.2.3.1") == (0, ["asked again: 0", NOTHING])
    assert {one["SOPInstanceUID"] for one in orthanc.objects()} == held
    assert once(settings)[1] == [NOTHING]


def test_results_are_exported_as_predict_writes_them(orthanc, tiny_bundle_path, tmp_path):
    from pocketcxr.inference.predictor import load

    settings = settings_file(tmp_path, orthanc, tiny_bundle_path)
    first, second = xray(tmp_path / "1.dcm", 1), xray(tmp_path / "2.dcm", 2, ViewPosition="LL", StudyDate="20250101")
    orthanc.send(first, second)
    once(settings)
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        assert export(settings, output=tmp_path / name, quiet=True)[1] == [f"{tmp_path / name}: 2 results"]
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    scored = next(one for one in lines if one["decision"] != "refused")
    predicted = load(tiny_bundle_path).predict(first)
    assert scored["probabilities"] == pytest.approx(predicted.probabilities, abs=1e-5)
    assert scored["decision"] == predicted.decision
    assert scored["bundle"] == predicted.bundle
    assert scored["path"].split("/")[0] == "1.2.3.1"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert sorted(row["reason_codes"] for row in rows) == ["", "view"]
    assert export(settings, output=tmp_path / "new.csv", first="20260101", quiet=True)[1][0].endswith("1 results")
    with pytest.raises(ConfigError, match="is there already"):
        export(settings, output=tmp_path / "out.csv", quiet=True)
    assert drift(settings)[0] == 0


def test_a_forgotten_patient_has_no_results_and_gets_none_again(orthanc, tiny_bundle_path, tmp_path, monkeypatch):
    names = tmp_path / "left-out"
    names.touch()
    settings = settings_file(tmp_path, orthanc, tiny_bundle_path, left_out_file=str(names))
    orthanc.send(*(xray(tmp_path / f"{n}.dcm", n) for n in (1, 2, 12)))
    once(settings)
    monkeypatch.setattr("sys.stdin", io.StringIO("PAT1\n"))
    assert forget(settings, patient="-") == (0, ["series of results removed: 3"])
    assert names.read_text() == "PAT1\n"
    left = Counter((one["study"], one["Modality"]) for one in orthanc.objects())
    assert sorted(left.values()) == [1, 1, 1, 1, 1, 2, 2]  # one image alone, two with report and pictures
    assert once(settings)[1] == backfill(settings, quiet=True)[1] == [NOTHING]
    assert forget(settings, patient="PAT1") == (0, ["series of results removed: 0"])
    assert names.read_text() == "PAT1\n"
    names.unlink()
    with pytest.raises(ConfigError, match="left_out_file"):
        once(settings)


def test_without_a_list_of_those_left_out_forget_says_that_images_are_scored_again(
    orthanc, tiny_bundle_path, tmp_path, capsys
):
    settings = settings_file(tmp_path, orthanc, tiny_bundle_path)
    orthanc.send(xray(tmp_path / "1.dcm", 1))
    once(settings)
    assert main(["pacs", "forget", str(settings), "PAT1"]) == 1
    assert "1 series of the patient's images are scored again" in capsys.readouterr().out
    assert counts(orthanc) == Counter(CR=1)
    for patient in ("", "PAT*", "PAT?", "PAT1\\PAT2"):
        assert main(["pacs", "forget", str(settings), patient]) == 2
    assert main(["pacs", "forget", str(settings)]) == 2
    assert "expected PATIENT" in capsys.readouterr().err


def test_an_image_that_failed_is_asked_for_by_its_study_and_dropped_where_it_is_gone(
    orthanc, tiny_bundle_path, tmp_path
):
    settings = read_pacs_settings(settings_file(tmp_path, orthanc, tiny_bundle_path))
    orthanc.send(xray(tmp_path / "1.dcm", 1), xray(tmp_path / "2.dcm", 2))
    taken = []

    class Worker:
        progress = Progress()

        def take(self, instances):
            taken.extend(one.sop_instance_uid for one in instances)

    for number, due in ((1, 0.0), (2, float("inf")), (3, 0.0)):
        Worker.progress.failures[f"1.2.3.{number}.1.1"] = Failure(f"1.2.3.{number}", 1, "away", due)
    _try_again(Worker(), Finder(Archive(settings.archive, ""), settings.work, "ab" * 32))
    assert taken == ["1.2.3.1.1.1"]
    assert set(Worker.progress.failures) == {"1.2.3.1.1.1", "1.2.3.2.1.1"}


def test_a_sweep_asks_again_only_about_studies_that_changed(orthanc, tiny_bundle_path, tmp_path):
    path = settings_file(tmp_path, orthanc, tiny_bundle_path)
    settings = read_pacs_settings(path)
    orthanc.send(xray(tmp_path / "1.dcm", 1), xray(tmp_path / "2.dcm", 2))
    once(path)
    asked = []

    class Counting(Archive):
        def series(self, study_uid):
            asked.append(study_uid)
            return super().series(study_uid)

    finder = Finder(Counting(settings.archive, ""), settings.work, read_verified(tiny_bundle_path).sha256)
    assert list(finder.recent()) == []
    assert sorted(asked) == ["1.2.3.1", "1.2.3.2"]
    asked.clear()
    assert list(finder.recent()) == []
    assert asked == []
    orthanc.send(xray(tmp_path / "3.dcm", 2, SOPInstanceUID="1.2.3.2.1.9"))
    assert [one.sop_instance_uid for one in finder.recent()] == ["1.2.3.2.1.9"]
    assert asked == ["1.2.3.2"]
    finder.forget_complete()
    assert len(list(finder.recent())) == 1
    assert len(asked) == 3
