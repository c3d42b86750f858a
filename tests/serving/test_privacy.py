"""Nothing that names a patient reaches the log, whatever is sent and however it fails."""

from __future__ import annotations

import json
import logging
import re
import socket
from urllib.parse import urlsplit

import pytest

from pocketcxr.serving.access_log import JsonLines
from pocketcxr.serving.worker import place_of, score

SECRETS = ("Pocketova", "Zuzana", "4711", "0815", "films")


def test_log_names_no_patient_file_address_or_header(service, pictures):
    file_name = "Pocketova Zuzana 4711.dcm"
    radiograph = pictures.dicom(0.8)
    named = radiograph.find(b"Pocketova")
    files = {
        "whole": radiograph,
        "cut": radiograph[: len(radiograph) // 2],
        "no pixels": radiograph[: named + 200],
        "header damaged at the name": radiograph[: named - 4] + b"\xff\xff\xff\x7f" + radiograph[named:],
        "odd name": radiograph.replace(b"PN", b"UI", 1),
        "frames": pictures.dicom(0.8, NumberOfFrames=3),
        "text": b"Pocketova^Zuzana 4711",
    }
    for data in files.values():
        service.post(data, "application/dicom", "?heatmap=true&patient=Zuzana", referer="http://films/Zuzana")
        service.post_files([(file_name, data), ("b.png", pictures.raster(0.8))])
    service.client.get("/v1/patients/Pocketova?number=4711")
    service.client.request("ZUZANA", "/v1/predictions")
    service.client.get("/v1/model", headers={"host": "films.example", "x-patient": "4711"})
    service.post(b"x", 'multipart/form-data; boundary="Pocketova')
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"GET /Zuzana 4711 HTTP/9\r\nPocketova\r\n\r\n")
        assert connection.recv(1000)
    # a random number, and what was measured, may hold any four digits
    measured = r'"request": "[0-9a-f]{32}"|"time": "[^"]*"|"(seconds|wait|bytes)": [0-9.e-]+'
    log = re.sub(measured, "", service.log.read_text())
    for secret in SECRETS:
        assert secret not in log
    lines = service.lines()
    assert {"time", "level", "event"} <= set.intersection(*(set(line) for line in lines))
    fields = {"request", "method", "route", "status", "seconds", "files", "bytes", "wait", "outcomes", "code", "place"}
    for line in lines:
        if line["event"] == "request":
            assert set(line) <= fields | {"time", "level", "event"}


def test_error_documents_and_records_quote_no_header(service, pictures):
    radiograph = pictures.dicom(0.8)
    named = radiograph.find(b"Pocketova")
    for data in (
        radiograph[: named + 20],
        radiograph[: named - 4] + b"\xff\xff\xff\x7f" + radiograph[named:],
        radiograph.replace(b"CS", b"PN"),
    ):
        response = service.post(data, "application/dicom")
        for secret in SECRETS:
            assert secret not in response.text


def test_messages_of_other_libraries_are_not_written():
    record = logging.LogRecord("pydicom", logging.WARNING, "/x/dataset.py", 12, "value %s", ("Zuzana",), None)
    line = json.loads(JsonLines().format(record))
    assert "Zuzana" not in json.dumps(line)
    assert line["event"] == "pydicom dataset:12"


def test_exceptions_are_logged_by_place_and_not_by_message():
    with pytest.raises(ValueError, match="Zuzana") as caught:
        int("Zuzana")
    error = caught.value
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "x", 1, "failed", (), (type(error), error, None))
    assert "Zuzana" not in JsonLines().format(record)
    assert place_of(error).startswith("ValueError < test_privacy.py:")


def test_fault_of_the_program_becomes_an_answer_with_its_place(predictor, pictures):
    class Broken:
        """A predictor whose network fails in a way that nobody foresaw."""

        bundle = predictor.bundle

        def read_bytes_and_predict(self, data, name, *, max_pixels):
            raise ZeroDivisionError("Zuzana")

    answer = score(Broken(), pictures.raster(0.8), "picture", heatmap=False)
    assert answer.failure == "internal"
    assert answer.record["reasons"] == [
        {"code": "internal", "words": "picture: the service failed on this picture; report it"}
    ]
    assert answer.place.startswith("ZeroDivisionError < test_privacy.py:")
    assert "Zuzana" not in str(answer)


@pytest.mark.parametrize("novelty", [float("nan"), float("inf")])
def test_records_are_json_even_where_the_network_gave_no_number(predictor, pictures, novelty):
    import dataclasses

    class Odd:
        bundle = predictor.bundle

        def read_bytes_and_predict(self, data, name, *, max_pixels):
            prediction, radiograph = predictor.read_bytes_and_predict(data, name, max_pixels=max_pixels)
            return dataclasses.replace(prediction, novelty=novelty), radiograph

    answer = score(Odd(), pictures.raster(0.8), "picture", heatmap=False)
    assert json.loads(json.dumps(answer.record, allow_nan=False))["novelty"] is None
