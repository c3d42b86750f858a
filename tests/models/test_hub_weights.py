"""Weights from the hub: one revision with one SHA-256, or said which; a real client against a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
from safetensors.torch import save

NAME = "test_resnet.r160_in1k"
REPOSITORY = "timm/test_resnet.r160_in1k"
OLD, NEW = "a" * 40, "b" * 40

_PROGRAM = """
import dataclasses, json, sys
from pocketcxr.models.weights import prepare_backbone
from pocketcxr.errors import PocketCxrError
try:
    backbone, record = prepare_backbone(sys.argv[1], sys.argv[2], image_size=32)
except PocketCxrError as error:
    print(json.dumps({"error": type(error).__name__, "says": str(error)}))
else:
    weight = float(next(backbone.trunk.parameters()).double().sum())
    print(json.dumps({**dataclasses.asdict(record), "weight": weight}))
"""


def weights_of(seed):
    torch.manual_seed(seed)
    return timm.create_model(NAME, num_classes=5, in_chans=3).state_dict()


class Hub:
    """Two revisions of one file; `requests` holds path and headers of all that was asked."""

    def __init__(self):
        states = {OLD: weights_of(1), NEW: weights_of(2)}
        self.files = {revision: save(state) for revision, state in states.items()}
        self.sha256 = {revision: hashlib.sha256(data).hexdigest() for revision, data in self.files.items()}
        self.weight = {revision: float(next(iter(state.values())).double().sum()) for revision, state in states.items()}
        self.requests = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(with_body=False)

            def do_GET(self):
                self.answer(with_body=True)

            def answer(self, *, with_body):
                hub.requests.append((self.path, dict(self.headers)))
                revision = self.path.removeprefix(f"/{REPOSITORY}/resolve/").removesuffix("/model.safetensors")
                revision = NEW if revision == "main" else revision
                if revision not in hub.files:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                data = hub.files[revision]
                self.send_response(200)
                self.send_header("X-Repo-Commit", revision)
                self.send_header("ETag", f'"{hub.sha256[revision]}"')
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if with_body:
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def hub():
    hub = Hub()
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()
    thread.join()


@pytest.fixture
def prepare(hub, tmp_path):
    """Function: what `weights` says -> the record or the error, and the lines on standard error; one cache for all."""

    def prepare(weights):
        dropped = ("POCKETCXR_WEIGHTS", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        endpoint = f"http://127.0.0.1:{hub.server.server_port}"
        settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hub"), "HF_TOKEN": "hf_secret", "NO_PROXY": "*"}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, NAME, weights],
            env=kept | settings, capture_output=True, text=True, timeout=240, check=True,
        )  # fmt: skip
        return json.loads(done.stdout), done.stderr

    return prepare


def test_a_pin_gives_that_revision_though_the_hub_has_a_newer_one(hub, prepare):
    pin = f"pretrained@{OLD}:{hub.sha256[OLD]}"
    record, said = prepare(pin)
    assert (record["source"], record["asked"], record["detail"]) == ("hub", pin, pin)
    assert record["weight"] == pytest.approx(hub.weight[OLD], rel=1e-5)  # summed over RGB
    assert "newest" not in said
    assert not any("/main/" in path for path, _ in hub.requests)


def test_without_a_pin_the_newest_is_taken_and_the_pin_for_it_is_said(hub, prepare):
    record, said = prepare("pretrained")
    pin = f"pretrained@{NEW}:{hub.sha256[NEW]}"
    assert (record["source"], record["detail"]) == ("hub", pin)
    assert record["weight"] == pytest.approx(hub.weight[NEW], rel=1e-5)
    assert pin in said


def test_an_exchanged_file_is_refused_from_the_hub_and_from_its_cache(hub, prepare):
    pin = f"pretrained@{OLD}:{hub.sha256[NEW]}"
    for _ in range(2):
        answer, _ = prepare(pin)
        assert answer["error"] == "CheckpointError"
        assert f"expected SHA-256 {hub.sha256[NEW]}, found {hub.sha256[OLD]}" in answer["says"]


def test_a_pinned_file_that_cannot_be_had_is_an_error_and_never_scratch(hub, prepare):
    answer, _ = prepare(f"pretrained@{'c' * 40}:{hub.sha256[OLD]}")
    assert answer["error"] == "ConfigError"
    assert "\n" not in answer["says"]


def test_the_hub_learns_nothing_but_the_file(hub, prepare):
    prepare("pretrained")
    assert hub.requests
    for path, headers in hub.requests:
        said = " ".join([path, *headers.values()])
        assert "torch" not in said
        assert "hf_secret" not in said
        assert path.startswith(f"/{REPOSITORY}/resolve/")


@pytest.mark.parametrize(
    "weights", ["pretrained@main:" + "a" * 64, "pretrained@" + OLD, "pretrained@", f"pretrained@{OLD}:short"]
)
def test_a_pin_that_is_none_is_an_error(prepare, hub, weights):
    answer, _ = prepare(weights)
    assert answer["error"] == "ConfigError"
    assert "pretrained@REVISION:SHA256" in answer["says"]
    assert hub.requests == []
