"""Every error is a problem document with a code that stays the same."""

from __future__ import annotations

import pytest

from pocketcxr.serving.api.problems import KINDS

LIMITS = {
    "file_bytes": 200_000,
    "request_bytes": 300_000,
    "held_bytes": 600_000,
    "files": 3,
    "upload_timeout_s": 2.0,
    "pixels": 90_000,
}
FORM = "multipart/form-data; boundary=XX"


@pytest.fixture(scope="module")
def narrow(start):
    """A service with narrow limits."""
    return start(limits=LIMITS)


def part(data, *, name="files", more=b""):
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n'.encode()
    return head + more + b"\r\n" + data + b"\r\n"


def check(response, code):
    assert response.headers["content-type"] == "application/problem+json", response.text
    document = response.json()
    assert document["code"] == code, document
    assert response.status_code == document["status"] == KINDS[code].status
    assert document["type"] == f"/v1/problems#{code}"
    assert document["title"] == KINDS[code].title
    assert document["detail"]
    assert document["request"] == response.headers["x-request-id"]
    return document


def test_unknown_address_and_wrong_method(service):
    check(service.client.get("/v2/predictions"), "not-found")
    check(service.client.get("/docs"), "not-found")
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        response = service.client.request(method, "/v1/predictions")
        check(response, "method-not-allowed")
        assert response.headers["allow"] == "POST"


def test_single_file_that_cannot_be_used_is_a_client_error(service, pictures):
    document = check(service.post(pictures.raster(0.8)[:200], "image/png"), "unreadable")
    assert document["detail"].startswith("picture: ")
    check(service.post(b"", "image/png"), "unreadable")
    check(service.post_files([("a.png", b"nothing")]), "unreadable")
    check(service.post(pictures.dicom(0.5, NumberOfFrames=2), "application/dicom"), "unusable")
    response = service.client.post("/v1/heatmaps", content=b"text", headers={"content-type": "image/png"})
    check(response, "unreadable")


@pytest.mark.parametrize("media_type", [None, "application/x-www-form-urlencoded"])
def test_without_a_content_type_the_first_bytes_decide(service, pictures, media_type):
    headers = {} if media_type is None else {"content-type": media_type}
    for data in (pictures.dicom(0.8), pictures.raster(0.8), pictures.raster(0.8, "JPEG")):
        response = service.client.post("/v1/predictions", content=data, headers=headers)
        assert response.request.headers.get("content-type") == media_type
        assert response.json()["predictions"][0]["decision"] == "bright"
    for data in (b"", b"files=scan.dcm", b"text of another kind"):
        response = service.client.post("/v1/predictions", content=data, headers=headers)
        check(response, "unsupported-media-type")
        assert "application/dicom" in response.headers["accept-post"]


def test_content_types_that_are_not_read(service, pictures):
    for media_type in ("text/plain", "application/json", "image/gif", "multipart/mixed; boundary=x"):
        response = service.post(pictures.raster(0.8), media_type)
        check(response, "unsupported-media-type")
        assert "image/png" in response.headers["accept-post"]
    check(service.post(pictures.raster(0.8), "image/png", **{"content-encoding": "gzip"}), "unsupported-media-type")
    coded = part(b"aaaa", more=b"Content-Transfer-Encoding: base64\r\n") + b"--XX--\r\n"
    check(service.post(coded, FORM), "unsupported-media-type")


def test_forms_that_are_damaged_empty_or_hold_something_else(service):
    check(service.post(b"no form at all", FORM), "malformed-request")
    check(service.post(part(b"data"), FORM), "malformed-request")
    check(service.post(part(b"data") + b"--XX--\r\n", "multipart/form-data"), "malformed-request")
    check(service.post(b"--XX--\r\n", FORM), "no-file")
    check(service.post(part(b"data", name="patient") + b"--XX--\r\n", FORM), "unexpected-field")
    check(service.post(b"--XX\r\n\r\nno header\r\n--XX--\r\n", FORM), "unexpected-field")
    check(service.post(b"--XX\r\n" + b"A" * 70_000 + b": b\r\n\r\n\r\n--XX--\r\n", FORM), "malformed-request")
    check(service.post(part(b"data"), f"multipart/form-data; boundary={'x' * 5000}"), "malformed-request")


def test_parameter_of_a_wrong_type_is_named_without_its_value(service, pictures):
    document = check(service.post(pictures.raster(0.8), "image/png", "?heatmap=Zuzana"), "invalid-parameter")
    assert "query.heatmap" in document["detail"]
    assert "Zuzana" not in document["detail"]


def test_parameter_that_an_address_does_not_have_is_refused_with_the_nearest(service, pictures):
    for query, hint in (("?heatmaps=1", "did you mean heatmap?"), ("?x%0Ay=1", "no parameter x\\ny; expected heatmap")):
        assert hint in check(service.post(pictures.raster(0.8), "image/png", query), "invalid-parameter")["detail"]
    response = service.client.get("/v1/model?verbose=1")
    assert (response.status_code, response.json()["code"]) == (422, "invalid-parameter")
    assert "no parameter verbose; expected none" in response.json()["detail"]
    assert service.client.get("/?lang=fa").status_code == service.client.get("/").status_code
    assert service.client.get("/health/ready?probe=1").status_code == 200


def test_too_much_is_refused_whether_or_not_the_length_is_told(narrow):
    large, middle = bytes(200_001), bytes(150_000)

    def chunks(data):
        for start in range(0, len(data), 30_000):
            yield data[start : start + 30_000]

    check(narrow.post(large, "image/png"), "file-too-large")
    check(narrow.post(chunks(large), "image/png"), "file-too-large")
    check(narrow.post(part(large) + b"--XX--\r\n", FORM), "file-too-large")
    check(narrow.post(part(middle) * 2 + b"--XX--\r\n", FORM), "request-too-large")
    check(narrow.post(chunks(part(middle) * 2 + b"--XX--\r\n"), FORM), "request-too-large")
    check(narrow.post(part(b"x") * 4 + b"--XX--\r\n", FORM), "too-many-files")
    body = part(b"x") * 2 + b"--XX--\r\n"
    check(narrow.client.post("/v1/heatmaps", content=body, headers={"content-type": FORM}), "too-many-files")
    assert narrow.metric("pocketcxr_bytes_held") == 0


def test_pictures_beyond_the_pixel_limit_are_refused_in_every_format(narrow, pictures):
    for picture_format, media_type in (("PNG", "image/png"), ("JPEG", "image/jpeg"), ("BMP", "image/bmp")):
        assert narrow.post(pictures.raster(0.8, picture_format, (300, 300)), media_type).status_code == 200
        document = check(narrow.post(pictures.raster(0.8, picture_format, (300, 301)), media_type), "unreadable")
        assert "301 x 300 pixels are more than the 90,000" in document["detail"]
    radiograph = pictures.dicom(0.8, Rows=400, Columns=400)
    assert "more than the 90,000" in check(narrow.post(radiograph, "application/dicom"), "unreadable")["detail"]
    assert narrow.client.get("/v1/model").json()["service"]["pixels"] == 90_000


def test_closing_clients_still_read_why_they_were_refused(narrow):
    """A client that closes after one answer, as urllib does, is not reset while it is sending."""
    for _ in range(5):
        response = narrow.post(bytes(5_000_000), "image/png", connection="close")
        check(response, "file-too-large")


def test_slow_upload_is_given_up(narrow):
    def drip():
        import time

        yield b"a"
        time.sleep(4)
        yield b"b"

    check(narrow.post(drip(), "image/png"), "upload-timeout")


def test_more_than_all_may_hold_is_told_to_come_back(narrow):
    """600,000 bytes in all; three unfinished uploads hold all but three of them."""
    import socket
    from urllib.parse import urlsplit

    address = urlsplit(narrow.url)
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: image/png\r\n"
    held = [socket.create_connection((address.hostname, address.port)) for _ in range(3)]
    for connection in held:
        connection.sendall(f"{head}Content-Length: 200000\r\n\r\n".encode() + bytes(199_999))
    deadline_tries = 200
    while narrow.metric("pocketcxr_bytes_held") < 599_997 and deadline_tries:
        deadline_tries -= 1
    response = narrow.post(b"four", "image/png")
    for connection in held:
        connection.close()
    check(response, "busy")
    assert int(response.headers["retry-after"]) >= 1
    while narrow.metric("pocketcxr_bytes_held"):  # what left clients held is free again
        pass


def test_every_problem_that_can_be_met_is_listed(service):
    listed = {kind["code"]: kind for kind in service.client.get("/v1/problems").json()}
    assert set(listed) == set(KINDS)
    document = service.client.get("/v1/openapi.json").json()
    responses = document["paths"]["/v1/predictions"]["post"]["responses"]
    assert {"200", "400", "403", "408", "413", "415", "421", "422", "500", "503"} == set(responses)
    for status, response in responses.items():
        assert set(response["content"]) == {"application/json" if status == "200" else "application/problem+json"}
