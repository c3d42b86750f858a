"""The page at ``/``: static files that need no token, with headers that keep pictures in the browser."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

import pytest

from pocketcxr.serving.static_site import PAGE_HEADERS, is_hashed

TOKEN = "correct-horse-battery-staple"
FILES = {
    "index.html": ("text/html; charset=utf-8", "no-cache"),
    "sw.js": ("text/javascript; charset=utf-8", "no-cache"),
    "app.webmanifest": ("application/manifest+json", "no-cache"),
    "model/covid-3class.onnx": ("application/octet-stream", "no-cache"),
    "model/covid-3class.golden.npz": ("application/octet-stream", "no-cache"),
    "assets/index-P2Xu9kJm.js": ("text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
    "assets/index-a1B2c3D4.css": ("text/css; charset=utf-8", "public, max-age=31536000, immutable"),
    "assets/ort-wasm-simd-threaded.mjs": ("text/javascript; charset=utf-8", "no-cache"),
    "assets/ort-wasm-simd-threaded-DkQ_9x1z.wasm": ("application/wasm", "public, max-age=31536000, immutable"),
    "icon.svg": ("image/svg+xml", "no-cache"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside") / "page"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    (folder.parent / "secret.txt").write_text("not part of the page")
    return folder


@pytest.fixture(scope="module")
def paged(start, folder):
    """A service with a page and a token."""
    return start(page=str(folder), token=TOKEN)


@pytest.fixture(scope="module")
def pageless(start):
    """A service without a page, also where `make web` has built one into this tree."""
    return start()


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_its_media_type_its_cache_and_all_headers(paged, name):
    media_type, cache = FILES[name]
    response = paged.client.get(f"/{name}")
    assert (response.status_code, response.text) == (200, f"content of {name}")
    assert response.headers["content-type"] == media_type
    assert response.headers["cache-control"] == cache
    for header, value in PAGE_HEADERS.items():
        assert response.headers[header] == value
        assert response.headers.get_list(header) == [value]


def test_the_address_itself_is_the_page_and_is_open_with_a_token_set(paged):
    response = paged.client.get("/")
    assert response.text == "content of index.html"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["cross-origin-embedder-policy"] == "require-corp"
    assert "authorization" not in paged.client.headers


def test_an_unchanged_file_is_not_sent_again_and_keeps_its_headers(paged):
    tag = paged.client.get("/").headers["etag"]
    response = paged.client.get("/", headers={"if-none-match": tag})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["cross-origin-embedder-policy"] == "require-corp"
    assert response.headers["cache-control"] == "no-cache"


def directives(policy):
    return dict(part.strip().split(" ", 1) for part in policy.split(";"))


def test_the_header_is_as_strict_as_the_pages_own_policy_and_forbids_frames(paged):
    """The page's source says its policy once, `web/src/policy.ts`."""
    source = (Path(__file__).parents[2] / "web" / "src" / "policy.ts").read_text(encoding="utf-8")
    table = source.partition("DIRECTIVES")[2].partition("};")[0]
    own = dict(re.findall(r'"([a-z-]+)": "([^"]*)"', table))
    assert {"default-src", "script-src", "connect-src"} <= set(own)
    sent = directives(paged.client.get("/").headers["content-security-policy"])
    assert sent == own | {"frame-ancestors": "'none'"}
    assert not any("http" in value or "*" in value or "unsafe-inline" in value for value in sent.values())
    headers = dict(re.findall(r'"([A-Z][A-Za-z-]+)": "([^"]*)"', source.partition("HEADERS")[2]))
    assert headers == {name: value for name, value in PAGE_HEADERS.items() if name != "Content-Security-Policy"}


def test_no_answer_of_the_interface_may_be_framed_or_run(paged):
    for path in ("/v1/openapi.json", "/v1/nothing", "/health/live"):
        policy = directives(paged.client.get(path).headers["content-security-policy"])
        assert policy == {"default-src": "'none'", "frame-ancestors": "'none'"}


def test_the_interface_stays_what_it_is_beside_a_page(paged):
    response = paged.client.get("/v1/predictions")
    assert (response.status_code, response.json()["code"]) == (405, "method-not-allowed")
    assert response.headers["allow"] == "POST"
    assert paged.client.get("/v1/nothing").json()["code"] == "not-found"
    assert paged.client.post("/index.html").json()["code"] == "method-not-allowed"
    response = paged.client.get("/v1/model")
    assert (response.status_code, response.headers["cache-control"]) == (401, "no-store")
    assert paged.client.get("/health/ready").status_code == 200


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/../../secret.txt", "//etc/passwd"])
def test_nothing_outside_the_folder_is_reached(paged, path):
    response = paged.client.get(path)
    assert response.status_code == 404
    assert "not part" not in response.text


def test_without_a_page_the_address_says_how_to_get_one_and_where_the_interface_is(pageless):
    response = pageless.client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    told = ("make web", "pip install", "Node.js 20.19", "/v1/predictions", "/v1/docs", "Research use only")
    for word in told:
        assert word in response.text
    assert pageless.client.head("/").status_code == 200
    assert pageless.client.post("/").json()["code"] == "not-found"
    assert pageless.client.get("/index.html").json()["code"] == "not-found"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("assets/index-P2Xu9kJm.js", True),
        ("assets/worker-________.js", True),
        ("assets/ort-wasm-simd-threaded.wasm", False),
        ("assets/index.js", False),
        ("sw-P2Xu9kJm.js", False),
        ("assets/decoder-wasm1.js", False),
    ],
)
def test_only_names_made_of_content_are_kept_for_ever(name, expected):
    assert is_hashed(PurePath(name)) is expected
