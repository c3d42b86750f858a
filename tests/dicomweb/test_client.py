"""Answers of a hostile or broken archive: bounded, refused, and told without what they say."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from pocketcxr.dicomweb.client import Archive, value_of
from pocketcxr.dicomweb.settings import ArchiveSettings
from pocketcxr.errors import ArchiveError

UIDS = ("1.2.3", "1.2.4", "1.2.5")


@contextmanager
def answering(respond, waits_s=()):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            respond(self)

        def log_message(self, *_):
            pass

    requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    settings = ArchiveSettings(url=f"http://127.0.0.1:{server.server_port}/dicom-web", timeout_s=1.0, largest_mb=1)
    archive = Archive(settings, "", waits_s=waits_s)
    try:
        yield archive, requests
    finally:
        archive.close()
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler, body=b"", *, status=200, kind="application/dicom+json", **headers):
    handler.send_response(status)
    for name, value in {"Content-Type": kind, **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def endless(handler):
    send(handler)
    try:
        while True:
            handler.wfile.write(bytes(2**16))
    except OSError:
        pass


def slow(handler):
    send(handler)
    try:
        for _ in range(100):
            handler.wfile.write(b"[")
            time.sleep(0.1)
    except OSError:
        pass


MULTIPART = 'multipart/related; type="application/dicom"; boundary="a-b"'


@pytest.mark.parametrize(
    ("respond", "expected"),
    [
        (endless, "the archive's answer is larger than 1,048,576 bytes (largest_mb)"),
        (slow, "the archive's answer took longer than 1 s"),
        (lambda handler: time.sleep(1.5), "the archive did not answer in time"),
        (lambda handler: send(handler, status=302, Location="http://127.0.0.1:1/"), "answered with status 302"),
        (lambda handler: send(handler, status=401), "status 401: check user and password"),
        (lambda handler: send(handler, b"SECRET", status=500), "answered with status 500"),
        (lambda handler: send(handler, b"SECRET", kind=MULTIPART), "the archive's answer holds no object"),
        (lambda handler: send(handler, b"--a-b\r\nX: y\r\n", kind=MULTIPART), "the archive's answer holds no object"),
    ],
)
def test_an_image_that_does_not_come_as_it_should_is_an_error_that_quotes_nothing(respond, expected):
    with answering(respond) as (archive, _), pytest.raises(ArchiveError) as caught:
        archive.retrieve(*UIDS)
    assert expected in str(caught.value)
    assert not any(word in str(caught.value) for word in ("SECRET", *UIDS))


@pytest.mark.parametrize("body", [b"SECRET", b"{}", b'["SECRET"]', b"[" * 100_000])
def test_a_list_that_is_none_is_an_error(body):
    with answering(lambda handler: send(handler, body)) as (archive, _), pytest.raises(ArchiveError) as caught:
        list(archive.studies())
    assert "SECRET" not in str(caught.value)


def test_the_part_of_a_multipart_answer_is_returned_whole():
    data = b"\r\n--a-\r\n\r\n" + bytes(range(256)) + b"\r\n"
    body = b"--a-b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--a-b--\r\n"
    with answering(lambda handler: send(handler, body, kind=MULTIPART)) as (archive, _):
        assert archive.retrieve(*UIDS) == data


def test_an_archive_that_heeds_no_offset_is_not_asked_for_ever():
    rows = "[" + ",".join(f'{{"0020000D": {{"vr": "UI", "Value": ["1.2.{n}"]}}}}' for n in range(200)) + "]"
    with answering(lambda handler: send(handler, rows.encode())) as (archive, requests):
        found = [value_of(row, "StudyInstanceUID") for row in archive.studies()]
    assert found == [f"1.2.{n}" for n in range(200)]
    assert len(requests) == 2


@pytest.mark.parametrize("limit", [200, 60])
def test_pages_that_an_archive_makes_shorter_than_asked_for_are_all_read(limit):
    def respond(handler):
        query = parse_qs(urlsplit(handler.path).query)
        first = int(query["offset"][0])
        numbers = range(first, min(130, first + min(limit, int(query["limit"][0]))))
        send(handler, json.dumps([{"0020000D": {"vr": "UI", "Value": [f"1.2.{n}"]}} for n in numbers]).encode())

    with answering(respond) as (archive, _):
        assert [value_of(row, "StudyInstanceUID") for row in archive.studies()] == [f"1.2.{n}" for n in range(130)]


@pytest.mark.parametrize("status, asked", [(503, 3), (500, 3), (404, 1), (401, 1)])
def test_a_busy_archive_is_asked_again_after_each_wait_and_others_are_not(status, asked):
    with answering(lambda handler: send(handler, status=status), (0.01, 0.01)) as (archive, requests):
        with pytest.raises(ArchiveError) as caught:
            archive.retrieve(*UIDS)
        assert (caught.value.status, len(requests)) == (status, asked)


def test_an_archive_that_comes_back_while_it_is_asked_again_is_no_error():
    def respond(handler):
        if len(requests) == 1:
            handler.close_connection = True  # no answer at all
        elif len(requests) == 2:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/dicom")
            handler.send_header("Content-Length", "9")
            handler.end_headers()
            handler.wfile.write(b"half")
        elif len(requests) == 3:
            time.sleep(1.2)
        else:
            send(handler, b"the whole", kind="application/dicom")

    with answering(respond, (0.01, 0.01, 0.01, 0.01)) as (archive, requests):
        assert archive.retrieve(*UIDS) == b"the whole"
        assert len(requests) == 4
