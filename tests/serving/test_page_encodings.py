"""Compressed forms of the page's files, by what the client takes; asked byte by byte, so that no client inflates."""

from __future__ import annotations

import gzip
import http.client
import zlib
from urllib.parse import urlsplit

import pytest

from pocketcxr.serving.static_site import IDENTITY, PAGE_HEADERS, chosen_encoding

SCRIPT, RUNTIME, MODEL = "assets/index-P2Xu9kJm.js", "assets/runtime-DkQ_9x1z.wasm", "model.onnx"
BY_BROTLI = b"the bytes of the form by Brotli: the service sends them as they are"
PLAIN = {name: f"content of {name} ".encode() * 50_000 for name in (SCRIPT, RUNTIME, MODEL)}


@pytest.fixture(scope="module")
def paged(start, tmp_path_factory):
    """A script with its forms, a runtime of which only forms are kept, a model without any."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("the page")
    for name, content in PLAIN.items():
        if name != RUNTIME:
            (folder / name).write_bytes(content)
        if name != MODEL:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            (folder / f"{name}.br").write_bytes(BY_BROTLI)
    return start(page=str(folder))


@pytest.fixture
def ask(paged):
    """Function: file, headers -> status, headers by small letters, body as sent."""

    def ask(name, method="GET", **headers):
        connection = http.client.HTTPConnection(urlsplit(paged.url).netloc, timeout=60)
        try:
            connection.request(method, f"/{name}", headers={key.replace("_", "-"): v for key, v in headers.items()})
            response = connection.getresponse()
            return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    return ask


@pytest.mark.parametrize("name", [SCRIPT, RUNTIME])
@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("identity", None),
        ("zstd, deflate", None),
        ("gzip;q=0", None),
        (None, None),
    ],
)
def test_the_client_gets_the_form_it_takes_under_the_type_of_the_file(ask, name, accept, encoding):
    status, headers, body = ask(name, **({"Accept_Encoding": accept} if accept else {}))
    assert status == 200
    assert headers.get("content-encoding") == encoding
    assert {"br": bytes, "gzip": zlib_inflated, None: bytes}[encoding](body) == (
        BY_BROTLI if encoding == "br" else PLAIN[name]
    )
    assert int(headers["content-length"]) == len(body)
    assert headers["content-type"] == ("application/wasm" if name == RUNTIME else "text/javascript; charset=utf-8")
    assert headers["vary"] == "Accept-Encoding"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert {key: headers[key.lower()] for key in PAGE_HEADERS} == dict(PAGE_HEADERS)


def zlib_inflated(data):
    return zlib.decompress(data, wbits=31)  # one whole gzip member, nothing after it


@pytest.mark.parametrize("name", [SCRIPT, RUNTIME])
def test_each_form_has_a_tag_of_its_own_which_answers_for_no_other(ask, name):
    tags = {accept: ask(name, Accept_Encoding=accept)[1]["etag"] for accept in ("br", "gzip", "identity")}
    assert len(set(tags.values())) == 3
    for accept, tag in tags.items():
        for sent, known in tags.items():
            status, headers, body = ask(name, Accept_Encoding=accept, If_None_Match=known)
            assert (status, not body) == ((304, True) if sent == accept else (200, False))
            assert headers["etag"] == tag
            assert headers["vary"] == "Accept-Encoding"
            assert headers["cross-origin-embedder-policy"] == "require-corp"


@pytest.mark.parametrize("name", [SCRIPT, RUNTIME, MODEL])
@pytest.mark.parametrize("accept", ["br", "gzip", "identity"])
def test_head_says_what_get_would_and_sends_nothing(ask, name, accept):
    _, headers, body = ask(name, Accept_Encoding=accept)
    status, alone, nothing = ask(name, "HEAD", Accept_Encoding=accept)
    assert (status, nothing) == (200, b"")
    varying = {"date", "x-request-id"}
    assert {k: v for k, v in alone.items() if k not in varying} == {
        k: v for k, v in headers.items() if k not in varying
    }
    assert int(alone["content-length"]) == len(body)


def test_a_part_is_a_part_of_the_plain_file(ask):
    status, headers, body = ask(SCRIPT, Accept_Encoding="br, gzip", Range="bytes=100-299")
    assert (status, body) == (206, PLAIN[SCRIPT][100:300])
    assert headers["content-range"] == f"bytes 100-299/{len(PLAIN[SCRIPT])}"
    assert "content-encoding" not in headers
    compressed = ask(SCRIPT, Accept_Encoding="br")[1]
    assert compressed["accept-ranges"] == "none"
    status, _, body = ask(SCRIPT, Accept_Encoding="br", Range="bytes=100-", If_Range=compressed["etag"])
    assert (status, body) == (200, PLAIN[SCRIPT])  # what the client has is the start of another form


def test_of_what_is_kept_compressed_only_a_part_is_the_whole(ask):
    status, headers, body = ask(RUNTIME, Accept_Encoding="br", Range="bytes=100-299")
    assert (status, body) == (200, PLAIN[RUNTIME])
    assert (headers["accept-ranges"], headers.get("content-encoding")) == ("none", None)


def test_a_download_of_the_model_can_go_on(ask):
    _, headers, _ = ask(MODEL, Accept_Encoding="br, gzip")
    assert (headers["accept-ranges"], headers.get("content-encoding"), headers.get("vary")) == ("bytes", None, None)
    status, _, body = ask(MODEL, Accept_Encoding="br, gzip", Range="bytes=400000-", If_Range=headers["etag"])
    assert (status, body) == (206, PLAIN[MODEL][400_000:])


@pytest.mark.parametrize("name", [f"{SCRIPT}.br", f"{SCRIPT}.gz", f"{RUNTIME}.gz", "assets/none.js", "none.br"])
def test_forms_are_no_files_of_their_own(ask, name):
    assert ask(name, Accept_Encoding="br, gzip")[0] == 404


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", IDENTITY),
        ("BR", "br"),
        ("x-gzip", "gzip"),
        ("*", "br"),
        ("br;q=0, *", "gzip"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("gzip; q=0.5 , br ; q=0.8", "br"),
        ("identity;q=0.5, gzip;q=0.2", IDENTITY),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("*;q=0", IDENTITY),  # nothing would be right; RFC 9110 lets a server send the plain form all the same
        ("br;q=much, gzip;q=2", IDENTITY),
        (",,;q=1", IDENTITY),
    ],
)
def test_weights_and_stars_are_heeded(accept, expected):
    assert chosen_encoding(accept, {"br", "gzip"}) == expected


def test_what_is_not_at_hand_is_not_chosen():
    assert chosen_encoding("br, gzip;q=0.1", {"gzip"}) == "gzip"
    assert chosen_encoding("br, gzip", ()) == IDENTITY
