"""From C-STORE to stored results, against a real Orthanc."""

import subprocess
from collections import Counter
from io import BytesIO

import highdicom as hd
import numpy as np
import pydicom
import pytest

from pacs_archive import counts, settings_file, worker_command, xray
from pocketcxr.pacs.commands import backfill, check, once

pytestmark = pytest.mark.pacs


def read(archive, modality, class_name=""):
    found = [one for one in archive.objects() if one["Modality"] == modality]
    datasets = [pydicom.dcmread(BytesIO(archive.file(one["id"]))) for one in found]
    return [one for one in datasets if class_name in one.SOPClassUID.name]


def invalid(data, tmp_path):
    path = tmp_path / "object.dcm"
    path.write_bytes(data)
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def test_an_image_sent_by_a_modality_gets_its_results_once(orthanc, tiny_bundle_path, tmp_path):
    settings = settings_file(tmp_path, orthanc, tiny_bundle_path)
    orthanc.send(xray(tmp_path / "a.dcm", 1), xray(tmp_path / "b.dcm", 2))
    assert once(settings) == (0, ["scored 2, not applicable 0, failed 0"])
    assert counts(orthanc) == Counter(CR=2, SR=2, OT=4)
    assert once(settings) == (0, ["scored 0, not applicable 0, failed 0"])
    assert counts(orthanc) == Counter(CR=2, SR=2, OT=4)
    assert len(orthanc.get("/studies")) == 2
    for one in orthanc.objects():
        assert not invalid(orthanc.file(one["id"]), tmp_path)


def test_the_report_says_what_predict_says(orthanc, tiny_bundle_path, tmp_path):
    from pocketcxr.inference.predictor import load

    path = xray(tmp_path / "a.dcm", 1)
    orthanc.send(path)
    once(settings_file(tmp_path, orthanc, tiny_bundle_path, calibration_site="St. Elsewhere"))
    predicted = load(tiny_bundle_path).predict(path)
    report = hd.sr.Comprehensive3DSR.from_dataset(read(orthanc, "SR")[0])
    groups = report.content.get_image_measurement_groups()
    values = {group.tracking_identifier: group.get_measurements()[0].value for group in groups}
    assert {label: pytest.approx(values[label] / 100, abs=1e-6) for label in ("dark", "bright")} == (
        pytest.approx(predicted.probabilities, abs=1e-5)
    )
    text = report.to_json()
    for expected in ("For research only", "St. Elsewhere", "screening", "sha256", "ACME, Ray 1", "1.2.3.1.1.1"):
        assert expected in text
    assert (report.PatientID, report.StudyInstanceUID) == ("PAT1", "1.2.3.1")
    assert report.CompletionFlag == "COMPLETE"
    assert report.VerificationFlag == "UNVERIFIED"


def test_pictures_show_the_evidence_where_it_is(orthanc, tiny_bundle_path, tmp_path):
    orthanc.send(xray(tmp_path / "a.dcm", 1, side=320))
    once(settings_file(tmp_path, orthanc, tiny_bundle_path))
    (capture,) = read(orthanc, "OT", "Secondary Capture")
    (saliency,) = read(orthanc, "OT", "Parametric Map")
    pixels = capture.pixel_array
    assert pixels.shape[1:] == (320, 3)
    assert pixels.shape[0] > 320  # the band of text
    assert int(np.ptp(pixels[320:])) > 200
    assert capture.BurnedInAnnotation == "YES"
    assert saliency.ContentQualification == "RESEARCH"
    values = np.frombuffer(saliency.FloatPixelData, np.float32).reshape(2, 4, 4)
    assert values[1, 3, 3] > values[1, 0, 0]  # the drawing is brightest below on the right
    assert np.allclose(values[0], -values[1], atol=1e-5)
    shared = saliency.SharedFunctionalGroupsSequence[0]
    assert [float(one) for one in shared.PixelMeasuresSequence[0].PixelSpacing] == [16.0, 16.0]  # 320 x 0.2 mm / 4


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"BodyPartExamined": "KNEE"}, "body-part"),
        ({"ViewPosition": "LL"}, "view"),
        ({"BitsStored": 12, "HighBit": 14}, "unsupported-header"),
        ({"NumberOfFrames": 2}, "several-frames"),
    ],
)
def test_what_must_not_be_scored_gets_one_report_with_the_reason(orthanc, tiny_bundle_path, tmp_path, elements, code):
    settings = settings_file(tmp_path, orthanc, tiny_bundle_path)
    orthanc.send(xray(tmp_path / "a.dcm", 1, **elements))
    assert once(settings)[1] == ["scored 0, not applicable 1, failed 0"]
    assert once(settings)[1] == ["scored 0, not applicable 0, failed 0"]
    assert counts(orthanc) == Counter(CR=1, SR=1)
    (report,) = read(orthanc, "SR")
    text = report.to_json()
    assert code in text
    assert "Not Attempted" in text
    assert "Probability" not in text


def test_two_workers_at_once_store_one_set(orthanc, tiny_bundle_path, tmp_path):
    settings = settings_file(tmp_path, orthanc, tiny_bundle_path)
    orthanc.send(*(xray(tmp_path / f"{n}.dcm", n) for n in range(1, 7)))
    workers = [subprocess.Popen(worker_command("once", settings), stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [worker.wait(600) for worker in workers] == [0, 0]
    assert counts(orthanc) == Counter(CR=6, SR=6, OT=12)


def test_backfill_takes_the_studies_between_two_dates_and_once_the_last_days(orthanc, tiny_bundle_path, tmp_path):
    settings = settings_file(tmp_path, orthanc, tiny_bundle_path, days=10)
    dates = {1: "20100101", 2: "20150101", 3: "20200101"}
    orthanc.send(*(xray(tmp_path / f"{n}.dcm", n, StudyDate=date) for n, date in dates.items()))
    assert once(settings)[1][0].startswith("scored 0")
    assert backfill(settings, first="20140101", last="20160101", quiet=True)[1] == [
        "scored 1, not applicable 0, failed 0"
    ]
    assert [report.StudyInstanceUID for report in read(orthanc, "SR")] == ["1.2.3.2"]
    assert once(settings, study="1.2.3.1")[1][0].startswith("scored 1")
    assert any("valid" in line for line in check(settings)[1])
