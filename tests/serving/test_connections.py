"""Clients that announce, trickle or wait hold nothing that others need; real sockets against a real service."""

from __future__ import annotations

import contextlib
import socket
import time
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

LIMITS = {
    "file_bytes": 2_000_000,
    "request_bytes": 4_000_000,
    "held_bytes": 4_000_000,
    "connections": 24,
    "header_timeout_s": 1.5,
    "upload_grace_s": 1.5,
    "upload_timeout_s": 30.0,
    "upload_bytes_per_s": 100_000,
    "answer_timeout_s": 1.5,
}
LONG_S = 60  # of a busy machine; what is limited ends after seconds, what is not never does


@pytest.fixture(scope="module")
def limited(start):
    return start(limits=LIMITS)


@pytest.fixture
def opened(limited):
    """Function: a new connection to the service; all are closed at the end."""
    address = urlsplit(limited.url)
    with contextlib.ExitStack() as stack:

        def opened():
            connection = socket.create_connection((address.hostname, address.port), timeout=LONG_S)
            return stack.enter_context(connection)

        yield opened


def head(service, *more, method="POST", path="/v1/predictions"):
    host = urlsplit(service.url).netloc
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *more, "", ""]).encode()


def post_head(service, length):
    return head(service, "Content-Type: image/png", f"Content-Length: {length}")


def received(connection):
    """All bytes until the service closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while block := connection.recv(1 << 16):
            found += block
    return found


def newcomer(service, data):
    """Ask over a connection of its own; one that is kept from an earlier request may have had to make room."""
    return httpx.post(
        f"{service.url}/v1/predictions", content=data, headers={"content-type": "image/png"}, timeout=LONG_S
    )


def seconds_until_closed(connection, parts, pause_s):
    """Send one part after the other, the last one again and again, until the service ends the connection."""
    began, parts = time.monotonic(), iter(parts)
    part = next(parts)
    with contextlib.suppress(OSError):
        while time.monotonic() - began < LONG_S:
            connection.sendall(part)
            part = next(parts, part)
            time.sleep(pause_s)
    return time.monotonic() - began


def test_what_is_announced_and_never_sent_takes_nobodys_place(limited, opened, pictures):
    """Ten requests announce five times the bytes that all may hold; the eleventh is answered at once."""
    held = [opened() for _ in range(10)]
    for connection in held:
        connection.sendall(post_head(limited, LIMITS["file_bytes"]))
    response = limited.post(pictures.raster(0.8), "image/png")
    assert response.status_code == 200
    assert limited.metric("pocketcxr_bytes_held") == 0
    assert limited.metric("pocketcxr_pictures_held") == 0
    for connection in held:
        answer = received(connection)  # after the grace, long before the longest time
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"upload-timeout"' in answer


def test_bytes_count_from_when_they_arrive_until_the_request_ends(limited, opened):
    first, second = opened(), opened()
    for connection in (first, second):
        connection.sendall(post_head(limited, 2_000_000) + bytes(1_999_999))
    until = time.monotonic() + LONG_S
    while limited.metric("pocketcxr_bytes_held") < 3_999_998:
        assert time.monotonic() < until
    response = limited.post(bytes(10), "image/png")
    assert response.status_code == 503
    assert response.json()["code"] == "busy"
    first.close()
    second.close()
    while limited.metric("pocketcxr_bytes_held"):
        assert time.monotonic() < until
    assert limited.post(bytes(10), "image/png").json()["code"] == "unreadable"


def test_a_body_that_trickles_is_given_up_and_a_steady_one_is_not(limited, opened, pictures):
    slow = opened()
    slow.sendall(post_head(limited, 1_000_000))
    assert seconds_until_closed(slow, [b"x"], 0.3) < LONG_S / 2
    data = pictures.raster(0.8, "BMP", shape=(600, 900))  # 541 kB: 2.7 s at twice the least pace, beyond the grace
    steady = opened()
    steady.sendall(head(limited, "Content-Type: image/bmp", f"Content-Length: {len(data)}", "Connection: close"))
    for start in range(0, len(data), 60_000):
        steady.sendall(data[start : start + 60_000])
        time.sleep(0.3)
    assert received(steady).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", b"GET /v1/mo", b"GET /v1/model HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "])
def test_a_header_that_is_never_finished_closes_the_connection(limited, opened, sent):
    connection = opened()
    connection.sendall(sent)
    assert received(connection) == b""


def test_a_header_that_trickles_closes_the_connection(limited, opened):
    connection = opened()
    parts = [b"GET /v1/model HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X-More: a\r\n"]
    assert seconds_until_closed(connection, parts, 0.2) < LONG_S / 2


def test_a_second_header_and_a_body_after_the_answer_have_the_same_limit(limited, opened):
    # refused from its header alone; the body may follow or not
    refused = head(limited, "Content-Type: text/plain", "Content-Length: 1000000")
    answered = head(limited, method="GET", path="/v1/model")
    for first, later in ((answered, [b"GET /v1/model HTTP/1.1\r\n", b"X-More: a\r\n"]), (refused, [b"x"])):
        connection = opened()
        connection.sendall(first)
        assert connection.recv(1 << 16).startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 415 "))
        assert seconds_until_closed(connection, later, 0.2) < LONG_S / 2


def test_connections_that_only_wait_make_room_for_others_and_a_served_one_stays(limited, opened, pictures):
    served = opened()
    served.sendall(head(limited, "Content-Type: image/png", "Content-Length: 2000000", "Expect: 100-continue"))
    assert served.recv(1 << 16).startswith(b"HTTP/1.1 100 ")  # its header has been read: it no longer only waits
    served.sendall(bytes(1_900_000))  # 19 s of patience at the least pace
    waiting = [opened() for _ in range(LIMITS["connections"] * 2)]
    assert newcomer(limited, pictures.raster(0.8)).status_code == 200
    ended = 0
    for connection in waiting:
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            ended += received(connection) == b""
    assert ended >= LIMITS["connections"]
    served.sendall(bytes(100_000))
    assert served.recv(1 << 16).startswith(b"HTTP/1.1 422 ")  # received whole, and no image


def test_more_senders_of_nothing_than_connections_leave_room_for_others(limited, opened, pictures):
    held = [opened() for _ in range(LIMITS["connections"] * 2)]
    for connection in held:
        with contextlib.suppress(OSError):  # it had to make room already
            connection.sendall(post_head(limited, LIMITS["file_bytes"]))
    assert newcomer(limited, pictures.raster(0.8)).status_code == 200


def test_a_client_that_does_not_read_its_answers_is_let_go(limited, opened):
    connection = opened()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = head(limited, method="GET", path="/v1/openapi.json")
    connection.settimeout(LONG_S / 2)  # of a send that the service does not take
    # all at once: later ones may wait in this system until the answers are taken, which they are not
    assert seconds_until_closed(connection, [request * 600, request], 0.01) < LONG_S / 2


def test_idle_connections_between_requests_stay_open(limited):
    """Longer than the header's time: a client that reuses its connection finds it open."""
    assert limited.client.get("/v1/model").status_code == 200
    before = limited.client.get("/metrics")
    time.sleep(2 * LIMITS["header_timeout_s"])
    assert before.status_code == limited.client.get("/v1/model").status_code == 200


def test_the_limits_that_ship_leave_a_slow_hospital_line_its_time():
    """64 MB at 2 MB/s take half a minute; the least pace is below 1 Mbit/s."""
    from pocketcxr.serving.settings import Limits

    limits = Limits()
    assert limits.file_bytes / 2e6 < limits.upload_timeout_s
    assert limits.header_timeout_s <= limits.upload_grace_s <= limits.upload_timeout_s
    assert limits.upload_bytes_per_s <= 125_000
    assert limits.connections >= 735  # those at once in docs/how-to/serve.md
    assert limits.connections <= 900  # a process may usually open 1024 files
