"""What a service may be started with; who may ask it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from starlette.datastructures import Headers

from pocketcxr.addresses import is_loopback
from pocketcxr.cli import main
from pocketcxr.errors import ConfigError
from pocketcxr.serving.api.problems import ProblemError
from pocketcxr.serving.auth import check_origin, check_token
from pocketcxr.serving.settings import Limits, Settings, read_token

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host)
    assert Settings(host=host).token == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "clinic.example", "localhost.example", ""])
def test_beyond_loopback_a_token_is_needed(host):
    with pytest.raises(ConfigError, match="a token is needed"):
        Settings(host=host)
    assert Settings(host=host, token=TOKEN).token == TOKEN


def test_token_never_shows_where_settings_are_printed():
    assert TOKEN not in repr(Settings(token=TOKEN))


@pytest.mark.parametrize("token", ["short", "with some spaces in it", "Ümläute-sind-nicht-erlaubt"])
def test_weak_and_odd_tokens_are_refused(token):
    with pytest.raises(ConfigError, match="token: expected"):
        Settings(token=token)


def test_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("POCKETCXR_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text("another-token-of-length\n")
    assert read_token(tmp_path / "token") == "another-token-of-length"
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError, match="found nothing"):
        read_token(tmp_path / "empty")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "missing")


@pytest.mark.parametrize(
    "limits",
    [
        *({"files": 0}, {"file_bytes": 0}, {"picture_timeout_s": 0}, {"request_bytes": 1}, {"held_bytes": 1}),
        *({"files": 129}, {"pixels": 0}, {"pixels": 64_000_001}, {"wait_s": 0}, {"wait_s": float("nan")}),
    ],
)
def test_limits_that_contradict_themselves_are_refused(limits):
    with pytest.raises(ConfigError, match="expected"):
        Limits(**limits)


def test_command_line_refuses_in_one_line(tiny_bundle_path, capsys, monkeypatch):
    monkeypatch.delenv("POCKETCXR_TOKEN", raising=False)
    for options, words in (
        (["--host", "0.0.0.0"], "a token is needed"),
        (["--port", "70000"], "port: expected 0 to 65535"),
        (["--workers", "0"], "workers: expected at least 1"),
        (["--bundle", "/nowhere.onnx"], "nowhere.onnx"),
    ):
        assert main(["serve", "--bundle", str(tiny_bundle_path), *options]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_port_in_use_is_one_line(service, tiny_bundle_path, capsys):
    port = service.url.rpartition(":")[2]
    assert main(["serve", "--bundle", str(tiny_bundle_path), "--port", port]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err
    program = (
        "import sys; from pocketcxr.cli import main; "
        f"print(main(['serve', '--port', '{port}']), *{{name.partition('.')[0] for name in sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    status, *loaded = done.stdout.split()
    assert status == "2"
    assert not set(loaded) & {"fastapi", "uvicorn", "pydantic", "onnxruntime"}  # told before a second of imports


def test_serving_loads_no_training_framework(tiny_bundle_path):
    probe = "import sys, pocketcxr.serving.server; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "timm", "onnx", "scipy", "sklearn", "onnxruntime", "pydicom"}


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer x", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é"],
)
def test_wrong_tokens_are_refused(authorization):
    headers = Headers({} if authorization is None else {"authorization": authorization})
    with pytest.raises(ProblemError, match="unauthorised"):
        check_token(headers, TOKEN)


def test_right_token_and_no_token_asked_for_pass():
    check_token(Headers({"authorization": f"bearer {TOKEN}"}), TOKEN)
    check_token(Headers({}), "")


@pytest.mark.parametrize(
    "headers, code",
    [
        ({"host": "localhost:8000"}, None),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, None),
        ({"host": "[::1]:8000"}, None),
        ({"host": "evil.example"}, "wrong-host"),
        ({"host": "127.0.0.1.evil.example"}, "wrong-host"),
        ({"host": "[::1"}, "wrong-host"),
        ({}, "wrong-host"),
        ({"host": "localhost:8000", "origin": "https://evil.example"}, "cross-origin"),
        ({"host": "localhost:8000", "origin": "http://localhost:9000"}, "cross-origin"),
        ({"host": "localhost:8000", "origin": "null"}, "cross-origin"),
        ({"host": "localhost:8000", "origin": "localhost:8000"}, "cross-origin"),
        ({"host": "localhost:8000", "origin": "https://localhost:8000"}, "cross-origin"),
        ({"host": "localhost:8000", "origin": "ftp://localhost:8000"}, "cross-origin"),
        ({"host": "localhost:8000", "origin": "http://localhost"}, "cross-origin"),
        ({"host": "localhost:8000", "origin": "http://localhost:8000/"}, "cross-origin"),
        ({"host": "localhost:8000", "origin": ""}, "cross-origin"),
        ({"host": "localhost:8000", "origin": "http://[::1"}, "cross-origin"),
    ],
)
def test_web_sites_cannot_reach_a_service_without_token(headers, code):
    if code is None:
        check_origin(Headers(headers), "")
        return
    with pytest.raises(ProblemError, match=code):
        check_origin(Headers(headers), "")
    check_origin(Headers(headers), TOKEN)  # a site does not know the token


def test_a_page_from_https_is_at_home_where_the_request_is_https():
    headers = Headers({"host": "localhost:8000", "origin": "https://localhost:8000"})
    check_origin(headers, "", scheme="https")
    with pytest.raises(ProblemError, match="cross-origin"):
        check_origin(headers, "", scheme="http")


def test_token_guards_pictures_model_and_metrics_but_not_health(start, pictures):
    guarded = start(token=TOKEN)
    body = {"content": pictures.raster(0.8), "headers": {"content-type": "image/png"}}
    for method, path, options in (
        ("POST", "/v1/predictions", body),
        ("POST", "/v1/heatmaps", body),
        ("GET", "/v1/model", {}),
        ("GET", "/metrics", {}),
    ):
        response = guarded.client.request(method, path, **options)
        assert (response.status_code, response.json()["code"]) == (401, "unauthorised")
        assert response.headers["www-authenticate"].startswith("Bearer")
        guarded.client.headers["authorization"] = f"Bearer {TOKEN}"
        assert guarded.client.request(method, path, **options).status_code == 200
        del guarded.client.headers["authorization"]
    assert guarded.client.get("/health/ready").status_code == 200
    assert "securitySchemes" in guarded.client.get("/v1/openapi.json").json()["components"]
    assert TOKEN not in guarded.log.read_text()
