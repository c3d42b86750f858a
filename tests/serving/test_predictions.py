"""Over HTTP a picture gets the very answer that `Predictor` gives to its file."""

from __future__ import annotations

import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketcxr.imaging.reading import read_image_bytes
from pocketcxr.inference.batch import score
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle
from pocketcxr.serving.api.uploads import shown_name


def _expected(predictor, data, name):
    return predictor.predict_image(read_image_bytes(data, name), name).record()


def test_large_pictures_are_read_reduced_as_predict_reads_them(service, predictor, pictures, tmp_path):
    large = (2400, 2000)
    # the third lies within the tolerance of the conformal limit, so that all its pixels decide
    for name, data in (
        ("a.jpg", pictures.raster(0.8, "JPEG", large)),
        ("b.png", pictures.raster(0.2, "PNG", large)),
        ("c.jpg", pictures.raster(0.5847, "JPEG", large)),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        prediction, radiograph = predictor.read_and_predict(path, name)
        assert predictor.read_bytes_and_predict(data, name)[0].record() == prediction.record()
        assert (radiograph.region is None) == (name == "c.jpg")
        assert service.post_files([(name, data)]).json()["predictions"] == [prediction.record()]


@pytest.fixture(scope="module")
def samples(pictures):
    """Media type and bytes: bright, dark, uncertain, refused, in all formats."""
    return {
        "bright.png": ("image/png", pictures.raster(0.8)),
        "dark.jpg": ("image/jpeg", pictures.raster(0.2, "JPEG")),
        "between.bmp": ("image/bmp", pictures.raster(0.5, "BMP")),
        "novel.tif": ("image/tiff", pictures.raster(0.93, "TIFF")),
        "small.webp": ("image/webp", pictures.raster(0.8, "WEBP", shape=(40, 40))),
        "film.dcm": ("application/dicom", pictures.dicom(0.8)),
        "film-j2k.dcm": ("application/dicom", pictures.dicom(0.2, jpeg2000=True)),
        "knee.dcm": ("application/dicom", pictures.dicom(0.2, BodyPartExamined="KNEE")),
    }


def test_bare_bytes_of_every_format_give_the_record_of_the_predictor(service, predictor, samples):
    for media_type, data in samples.values():
        for said in (media_type, "application/octet-stream"):
            response = service.post(data, said)
            assert response.status_code == 200, response.text
            assert response.json() == {"predictions": [_expected(predictor, data, "picture")]}


def test_a_form_gives_one_record_per_file_in_order_and_by_name(service, predictor, samples):
    response = service.post_files([(name, data) for name, (_, data) in samples.items()])
    assert response.status_code == 200
    records = response.json()["predictions"]
    assert records == [_expected(predictor, data, name) for name, (_, data) in samples.items()]
    assert [record["decision"] for record in records] == [
        "bright", "dark", "uncertain", "refused", "refused", "bright", "dark", "refused",
    ]  # fmt: skip


def test_real_films_get_the_record_of_predict(service, predictor):
    folder = os.environ.get("POCKETCXR_DATA")
    if not folder:
        pytest.skip("POCKETCXR_DATA names no folder of real X-rays")
    files = [path for name in ("dicom", "full_size") for path in sorted((Path(folder) / name).iterdir())]
    files = [path for path in files if path.is_file()]
    assert files
    for path in files:
        expected = score(predictor, path).prediction
        (record,) = service.post_files([(path.name, path.read_bytes()), ("b.png", b"")]).json()["predictions"][:1]
        assert record["decision"] == expected.decision
        assert record["probabilities"] == expected.probabilities
        assert [reason["code"] for reason in record["reasons"]] == [reason.code for reason in expected.reasons]


def test_one_bad_file_fails_alone(service, pictures):
    files = [
        ("a.png", pictures.raster(0.8)),
        ("empty.png", b""),
        ("text.dcm", b"text"),
        ("b.png", pictures.raster(0.2)),
    ]
    response = service.post_files(files)
    assert response.status_code == 200
    records = response.json()["predictions"]
    assert [record["decision"] for record in records] == ["bright", "error", "error", "dark"]
    assert [reason["code"] for record in records for reason in record["reasons"]] == ["unreadable", "unreadable"]
    assert set(records[1]) == set(records[0])


def test_file_names_lose_their_folders_and_may_be_absent_or_not_latin(service, pictures):
    data = pictures.raster(0.8)
    names = ["/etc/x-rays/a.png", "C:\\films\\b.png", "浅野 ۷.png", "tab\there.png"]
    records = service.post_files([(name, data) for name in names]).json()["predictions"]
    assert [record["path"] for record in records[:3]] == ["a.png", "b.png", "浅野 ۷.png"]
    assert records[3]["path"].isprintable()
    boundary = "XX"
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="files"\r\n\r\n'.encode()
    response = service.post(
        body + data + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
    )
    assert response.json()["predictions"][0]["path"] == "picture 1"


def test_heatmap_comes_in_the_record_or_as_the_answer_itself(service, pictures):
    data = pictures.dicom(0.8)
    (record,) = service.post(data, "application/dicom", "?heatmap=true").json()["predictions"]
    response = service.client.post("/v1/heatmaps", content=data, headers={"content-type": "application/dicom"})
    assert response.headers["content-type"] == "image/png"
    assert base64.b64decode(record["heatmap"]) == response.content
    image = Image.open(io.BytesIO(response.content))
    assert image.size == (320, 220)  # the image, and lines below that need this width
    assert pictures.patient_name not in str(image.info)
    red, _, blue = image.split()
    assert red.tobytes() != blue.tobytes()  # it has colour, so evidence was drawn


def test_records_have_no_heatmap_where_none_was_asked_for_or_nothing_was_scored(service, pictures):
    assert "heatmap" not in service.post(pictures.raster(0.8), "image/png").json()["predictions"][0]
    refused = service.post(pictures.raster(0.93), "image/png", "?heatmap=true").json()["predictions"][0]
    assert refused["decision"] == "refused"
    assert "heatmap" not in refused
    response = service.client.post("/v1/heatmaps", content=pictures.raster(0.93), headers={"content-type": "image/png"})
    assert (response.status_code, response.json()["code"]) == (422, "not-scored")
    assert [reason["code"] for reason in response.json()["reasons"]] == ["novel"]


def test_many_at_once_get_each_their_own_answer(service, predictor, pictures):
    brightnesses = [0.15 + 0.7 * step / 39 for step in range(40)]
    files = [pictures.raster(brightness) for brightness in brightnesses]

    def ask(data):
        while (response := service.post(data, "image/png")).status_code == 503:
            assert int(response.headers["retry-after"]) >= 1
        return response.json()["predictions"][0]

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(ask, files))
    assert found == [_expected(predictor, data, "picture") for data in files]


def test_model_tells_what_the_manifest_says(service, predictor):
    found = service.client.get("/v1/model").json()
    manifest = predictor.bundle.manifest
    assert found["sha256"] == predictor.bundle.sha256
    assert found["labels"] == list(manifest.labels)
    assert found["operating_points"][0]["threshold"] == manifest.operating_points[0].threshold
    assert found["limits"] == list(manifest.limits)
    assert found["service"]["files"] == 16
    assert found["input_gate"] is None


def test_a_learned_gate_refuses_over_http_as_in_predict(start, tiny_filter_path, pictures):
    filtered = Predictor(load_bundle(tiny_filter_path, threads=1))
    service = start(bundle=str(tiny_filter_path))
    learned = filtered.bundle.manifest.input_filter
    assert service.client.get("/v1/model").json()["input_gate"]["words"] == learned.words
    codes = set()
    for brightness in (0.15, 0.3, 0.5, 0.7, 0.85):
        data = pictures.raster(brightness)
        (record,) = service.post(data, "image/png").json()["predictions"]
        assert record == _expected(filtered, data, "picture")
        codes |= {reason["code"] for reason in record["reasons"]}
    assert codes & set(learned.words)


def test_several_findings_come_over_http_as_in_predict(start, tiny_findings_path, pictures):
    service = start(bundle=str(tiny_findings_path))
    predictor = Predictor(load_bundle(tiny_findings_path, threads=1))
    for brightness, bright in ((0.8, "present"), (0.5, "uncertain"), (0.2, "absent")):
        data = pictures.raster(brightness)
        (found,) = service.post_files([("a.png", data)]).json()["predictions"]
        assert found == predictor.read_bytes_and_predict(data, "a.png")[0].record()
        assert found["findings"]["bright"] == bright
        assert found["probabilities"]["bright"] == pytest.approx(
            1 / (1 + np.exp(-10 * (brightness - 0.5) / 4)), abs=0.01
        )
    assert service.client.get("/v1/model").json()["multilabel"] is True
    records = service.client.get("/v1/openapi.json").json()["components"]["schemas"]
    assert any("findings" in record.get("properties", {}) for record in records.values())
    assert service.client.get("/v1/docs").status_code == 200
    heatmap = service.client.post("/v1/heatmaps", content=pictures.raster(0.8), headers={"content-type": "image/png"})
    assert heatmap.headers["content-type"] == "image/png"


def test_health_and_metrics_tell_the_state(service, pictures):
    assert service.client.get("/health/live").json() == {"status": "live", "workers": 2}
    assert service.client.get("/health/ready").json() == {"status": "ready", "workers": 2}
    before = service.metric('pocketcxr_pictures_total{outcome="decided"}') or 0
    service.post(pictures.raster(0.8), "image/png")
    assert service.metric('pocketcxr_pictures_total{outcome="decided"}') == before + 1
    assert service.metric("pocketcxr_workers") == 2
    assert service.metric("pocketcxr_pictures_held") == 0
    assert service.metric("pocketcxr_bytes_held") == 0
    assert service.metric("pocketcxr_expected_wait_seconds") == 0


def test_every_answer_carries_an_id_and_headers_that_keep_browsers_careful(service):
    for response in (service.client.get("/health/live"), service.client.get("/nothing")):
        assert len(response.headers["x-request-id"]) == 32
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "server" not in response.headers


@pytest.mark.parametrize(
    "raw, shown",
    [
        (b"a.png", "a.png"),
        ("röntgen.png".encode(), "röntgen.png"),
        (b"r\xf6ntgen.png", r"r\xf6ntgen.png"),
        (b"C:\\films\\r\xe4.png", r"r\xe4.png"),
        (b"../../etc/passwd", "passwd"),
        (b"a\x1b]0;x\x07.png", "a]0;x.png"),
        ("\u202egnp.a".encode(), "gnp.a"),
        (b"films/", "picture 3"),
        (b"", "picture 3"),
    ],
)
def test_names_of_a_form_are_shown_without_folders_and_told_apart(raw, shown):
    assert shown_name(raw, 3) == shown
