"""Whatever is sent, the service answers in the words of its interface: no 500, no hang, no worker lost, memory bounded.

Everything is drawn from seeds; a failure names the seed. The many are marked ``slow``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import socket
import string
import struct
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from corrupted_files import mutant, whole_pictures
from dicom_files import bytes_of, dataset_of
from invalid_inputs import CHEST, encoded, png_of, radiograph, soft
from pocketcxr.serving.api.problems import KINDS
from pocketcxr.serving.api.schemas import Predictions, Problem

FILES = 16  # of one form
HANG_S = 60
MOST_MB = 1000  # of one worker, whatever it is sent
LOST = {"internal", "decoder-crash", "picture-timeout"}


@pytest.fixture(scope="module")
def target(start):
    """A service of its own, so that what the others count stays what it is."""
    running = start(limits={"picture_timeout_s": HANG_S, "pixels": 16_000_000})
    running.client.timeout = 2 * HANG_S
    return running


@pytest.fixture(scope="module")
def whole():
    return whole_pictures()


def checked(response, *, name=""):
    """Assert that an answer is one of the interface's; return its codes."""
    assert response.status_code in {200, *(kind.status for kind in KINDS.values())}, name
    assert response.status_code < 500, f"{name}: {response.text}"
    if response.status_code == 200:
        records = Predictions.model_validate(response.json()).predictions
        codes = {reason.code for record in records for reason in record.reasons}
    else:
        assert response.headers["content-type"] == "application/problem+json", name
        problem = Problem.model_validate(response.json())
        assert KINDS[problem.code].status == problem.status == response.status_code
        codes = {problem.code}
    assert not codes & LOST, f"{name}: {response.text}"
    return codes


def unharmed(service):
    """Assert that the service is what it was before."""
    assert service.client.get("/health/ready").status_code == 200
    assert service.metric("pocketcxr_worker_restarts") == 0
    assert service.metric("pocketcxr_pictures_held") == service.metric("pocketcxr_bytes_held") == 0
    assert not [line for line in service.lines() if line.get("status") == 500]
    assert max(peak_mb(pid) for pid in processes(service.process.pid)) < MOST_MB


def processes(pid):
    children = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid, *(int(child) for found in children for child in found)]


def peak_mb(pid):
    """Most memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


# ---------------------------------------------------------------------------------------------------- damaged pictures


def send_mutants(service, whole, seeds):
    seeds = list(seeds)
    for start in range(0, len(seeds), FILES):
        some = [mutant(whole, seed) for seed in seeds[start : start + FILES]]
        codes = checked(service.post_files([(f"{index}", data) for index, (_, data) in enumerate(some)]), name=some)
        assert codes <= {*KINDS, "too-small", "aspect", "blank", "low-contrast", "coloured", "novel"} | {
            *("modality", "body-part", "view", "orientation", "several-classes", "no-class")
        }
    unharmed(service)


def test_damaged_pictures_of_every_format_are_answered(target, whole):
    send_mutants(target, whole, range(192))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_very_many_damaged_pictures_are_answered(target, whole, block):
    send_mutants(target, whole, range(1000 + block * 1000, 2000 + block * 1000))


def test_a_bare_damaged_picture_is_answered_whatever_its_type_is_said_to_be(target, whole):
    types = ("application/dicom", "image/png", "image/jpeg", "application/octet-stream")
    for seed in range(320, 350):
        name, data = mutant(whole, seed)
        query = "?heatmap=true" if seed % 2 else ""
        checked(target.post(data, types[seed % 4], query), name=name)
    unharmed(target)


# --------------------------------------------------------------------------------------------------------------- bombs


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks, side=100):
    """A sound PNG with chunks before its picture data."""
    data = encoded(soft((side, side)), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


@functools.cache
def bombs():
    """Small files that ask for much: pixels, text, chunks, inflated bytes, frames."""
    zeros = zlib.compress(bytes(50_000_000), 9)
    rle = dataset_of(soft(), syntax=RLELossless, **CHEST)
    rle.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + _item(
        struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 99_999
    )
    rle["PixelData"].VR = "OB"
    rle["PixelData"].is_undefined_length = True
    rle.Rows, rle.Columns = 4000, 4000
    deflated = dataset_of(soft(), syntax=DeflatedExplicitVRLittleEndian, **CHEST)
    deflated.DataSetTrailingPadding = bytes(50_000_000)
    header = radiograph(soft())
    return {
        "PNG of 3.6 thousand million pixels": png_of(60_000, 60_000, zeros),
        "PNG of the most pixels, black": png_of(4000, 4000, zlib.compress(bytes(4001 * 4000), 9)),
        "PNG with much more data than pixels": png_of(100, 100, zeros),
        "PNG with a text of 50 MB": png_with(chunk(b"zTXt", b"Comment\0\0" + zeros)),
        "PNG with a colour profile of 50 MB": png_with(chunk(b"iCCP", b"profile\0\0" + zeros)),
        "PNG with a hundred texts": png_with(*[chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(900_000)))] * 100),
        "PNG of thirty thousand chunks": png_with(*[chunk(b"teXt", b"a")] * 30_000),
        "JPEG of the most pixels without data": _jpeg_of(4000, 4000),
        "JPEG of 4 thousand million pixels": _jpeg_of(65_535, 65_535),
        "DICOM that inflates to 50 MB": bytes_of(deflated),
        "DICOM RLE of the most pixels with little data": bytes_of(rle),
        "DICOM of two thousand million frames": radiograph(NumberOfFrames=2**31 - 1),
        "DICOM with nested sequences": header[:-8]
        + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000,
        "TIFF of a huge directory": b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(200_000),
        "BMP of the most pixels": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 4000, 4000, 1, 8, 1, 0, 0, 0, 256, 0),
    }


def _item(data):
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(data)) + data + b"\xfe\xff\xdd\xe0\0\0\0\0"


def _jpeg_of(width, height):
    data = bytearray(encoded(soft(), "JPEG"))
    struct.pack_into(">HH", data, data.find(b"\xff\xc0") + 5, height, width)
    return bytes(data)


@pytest.mark.parametrize("name", sorted(bombs()))
def test_a_bomb_is_answered_and_costs_no_worker(target, name):
    checked(target.post(bombs()[name], "application/octet-stream"), name=name)
    unharmed(target)


# ----------------------------------------------------------------------------------------------------- broken requests


def form_of(whole, generator):
    """A form of several pictures, before it is damaged."""
    boundary = generator.choice(("XX", "X" * 70, "a'()+_,-./:=?"))
    parts = []
    for name in generator.sample(sorted(whole), generator.choice((1, 2, 4))):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        head += generator.choice(("", "Content-Type: image/png\r\n", "Content-Type: application/dicom\r\n"))
        parts.append(head.encode() + b"\r\n" + whole[name] + b"\r\n")
    return boundary, b"".join(parts) + f"--{boundary}--\r\n".encode()


def damaged_form(body, boundary, generator):
    heads = [place for place in range(len(body) - 4) if body[place : place + 2] == b"--"][:50] or [0]
    place = generator.choice((generator.choice(heads), generator.randrange(len(body))))
    return generator.choice(
        (
            lambda: body[:place],
            lambda: body[:place] + body[place + generator.choice((1, 2, 4, 60)) :],
            lambda: body[:place] + generator.randbytes(4) + body[place:],
            lambda: body[:place] + f"\r\n--{boundary}\r\n".encode() + body[place:],
            lambda: body[:place] + f"\r\n--{boundary}--\r\n".encode() + body[place:],
            lambda: body.replace(b"\r\n", b"\n", generator.choice((1, 3))),
            lambda: body.replace(b'name="files"', generator.choice((b'name="', b"name=", b'name="f\x00"', b"")), 1),
            lambda: body.replace(b"\r\n\r\n", b"\r\nA: " + b"b" * generator.choice((10, 10_000)) + b"\r\n\r\n", 1),
            lambda: body.replace(b"\r\n\r\n", b"\r\nA: b" * generator.choice((10, 3000)) + b"\r\n\r\n", 1),
            lambda: f"--{boundary}\r\n\r\n\r\n".encode() * generator.choice((15, 20, 500)) + body,
        )
    )()


def send_forms(service, whole, seeds):
    for seed in seeds:
        generator = random.Random(seed)
        boundary, body = form_of(whole, generator)
        media_type = f'multipart/form-data; boundary="{boundary}"'
        if generator.random() < 0.1:
            media_type = media_type[: generator.randrange(len(media_type))].strip()
        checked(service.post(damaged_form(body, boundary, generator), media_type), name=f"form {seed}")
    unharmed(service)


def test_damaged_forms_are_answered(target, whole):
    send_forms(target, whole, range(60))


@pytest.mark.slow
def test_very_many_damaged_forms_are_answered(target, whole):
    send_forms(target, whole, range(1000, 3000))


def test_odd_addresses_parameters_and_headers_are_answered(target):
    generator = random.Random(4)
    signs = string.printable[:-6] + "äßÿ"
    picture = encoded(soft(), "PNG")
    for _ in range(120):
        odd = "".join(generator.choices(signs, k=generator.choice((1, 5, 40, 400)))).strip()
        path = generator.choice(("/v1/predictions", "/v1/heatmaps", "/v1/model", "/metrics", "/health/live", f"/{odd}"))
        headers = {
            generator.choice(("content-type", "accept", "origin", "range", "cookie", "x-request-id", "expect")): odd
        }
        query = {generator.choice(("heatmap", "files", odd)): odd}
        method = generator.choice(("GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH"))
        try:
            request = target.client.build_request(
                method, httpx.URL(target.url).copy_with(path=path.split("?")[0], params=query), content=picture,
                headers={name: value.encode("latin-1") for name, value in headers.items()},
            )  # fmt: skip
        except (httpx.InvalidURL, ValueError):
            continue
        response = target.client.send(request)
        assert response.status_code < 500, (method, path, query, headers, response.text)
        assert response.headers["x-request-id"]
    unharmed(target)


_POST = b"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\n"
RAW = [
    b"\0" * 1000,
    b"GET / HTTP/1.1\r\n\r\n",
    _POST + b"Content-Length: -1\r\n\r\n",
    _POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    _POST + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n",
    _POST + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nabc",
    _POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
    b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nX: \x80\xff\x00\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
]


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
def test_bytes_that_are_no_request_are_refused_and_the_next_is_answered(target, raw):
    address = urlsplit(target.url)
    answer = b""
    with (
        socket.create_connection((address.hostname, address.port), timeout=HANG_S) as connection,
        contextlib.suppress(OSError),  # it may close before it has read all of that
    ):
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65_536):
            answer += part
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    unharmed(target)


def test_clients_that_leave_at_any_moment_cost_nothing(target):
    address = urlsplit(target.url)
    body = encoded(np.random.default_rng(1).integers(0, 256, (300, 300), dtype=np.uint8), "PNG")
    request = _POST + f"Content-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def leave(after):
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(request[:after])
        await writer.drain()
        writer.transport.abort()

    async def all_leave():
        generator = random.Random(9)
        await asyncio.gather(*(leave(generator.randrange(len(request) + 1)) for _ in range(30)))

    asyncio.run(all_leave())
    while target.metric("pocketcxr_pictures_held"):
        pass
    checked(target.post(body, "image/png"))
    unharmed(target)
    assert 'status="499"' in target.client.get("/metrics").text
