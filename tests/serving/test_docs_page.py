"""The interface's page at ``/v1/docs``: from the package alone, under a content policy of its own, open to readers."""

from __future__ import annotations

import re

import pytest

from pocketcxr.serving.api.docs_page import DOCS_HEADERS
from pocketcxr.serving.server import _greeting

FILES = {
    "/v1/docs": "text/html; charset=utf-8",
    "/v1/docs/docs.js": "text/javascript; charset=utf-8",
    "/v1/docs/docs.css": "text/css; charset=utf-8",
}


@pytest.mark.parametrize("address", FILES)
def test_every_file_has_its_type_and_the_narrow_policy(service, address):
    response = service.client.get(address)
    assert (response.status_code, response.headers["content-type"]) == (200, FILES[address])
    for name, value in DOCS_HEADERS.items():
        assert response.headers.get_list(name) == [value]
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in DOCS_HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in str(policy)
    assert "http" not in str(policy)


def test_nothing_comes_from_elsewhere_and_no_script_or_style_stands_in_the_page(service):
    html = service.client.get("/v1/docs").text
    assert not re.search(r"(href|src)=\"(https?:)?//", html)
    assert not re.search(r"<style|<script(?! type=\"module\" src=)| style=| on[a-z]+=", html)
    for address in re.findall(r'(?:href|src)="([^"]+)"', html):
        assert service.client.get(f"/v1/{address}").status_code == 200
    assert not re.search(r"https?://|eval\(|innerHTML", service.client.get("/v1/docs/docs.js").text)


def test_the_page_needs_no_token_and_other_addresses_below_it_are_none(start):
    guarded = start(token="correct-horse-battery-staple")
    assert guarded.client.get("/v1/docs").status_code == 200
    assert guarded.client.get("/v1/model").status_code == 401
    for address in ("/v1/docs/index.html", "/v1/docs/../docs_page.py", "/v1/docs/"):
        assert guarded.client.get(address).json()["code"] == "not-found"


def test_a_person_at_the_terminal_is_told_where_the_page_and_the_interface_are():
    told = _greeting("http://127.0.0.1:8000", page=True)
    assert told.splitlines()[:2] == [
        "The page: http://127.0.0.1:8000",
        "The interface for programs: http://127.0.0.1:8000/v1/docs",
    ]
    assert "pocketcxr doctor" in _greeting("http://127.0.0.1:8000", page=False)


def test_the_log_says_whether_the_page_is_there_and_a_pipe_gets_no_greeting(service):
    (line,) = [line for line in service.lines() if line["event"] == "listening"]
    assert line["page"] in {True, False}
    assert "The page" not in service.log.read_text()
