"""The real download code of timm and its hub client, against a hub on this machine."""

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
_PROGRAM = """
import json, sys, torch
from pocketcxr.models.weights import prepare_backbone
backbone, record = prepare_backbone(sys.argv[1], "pretrained", image_size=32)
images = torch.linspace(0, 1, 2 * 32 * 32).reshape(2, 1, 32, 32)
with torch.no_grad():
    features = backbone.eval()(images)
print(json.dumps({"source": record.source, "detail": record.detail, "features": features.flatten().tolist()}))
"""


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(5)
    return timm.create_model(NAME, num_classes=1000).eval()


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs: the file's facts in headers, its bytes, and 404 for others."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body):
        content = self.server.content
        self.server.asked.append((self.command, self.path))
        if not self.path.startswith(f"/timm/{NAME}/resolve/main/") or not self.path.endswith("model.safetensors"):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", '"1234"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: self.server.cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(weights):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.content, server.asked, server.cut = save(weights.state_dict()), [], None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def prepare(hub, home, **more):
    """Run the program as a fresh process, for the hub client reads its settings once."""
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment.pop("POCKETCXR_WEIGHTS", None)
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(home), **more}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, NAME], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_weights_come_from_the_hub_and_then_from_its_cache(hub, weights, tmp_path):
    found = prepare(hub, tmp_path)
    assert found["source"] == "hub"
    assert ("GET", f"/timm/{NAME}/resolve/main/model.safetensors") in hub.asked
    mean, std = sum(weights.pretrained_cfg["mean"]) / 3, (sum(s**2 for s in weights.pretrained_cfg["std"]) / 3) ** 0.5
    images = torch.linspace(0, 1, 2 * 32 * 32).reshape(2, 1, 32, 32)
    with torch.no_grad():
        wanted = weights.forward_features(((images - mean) / std).expand(-1, 3, -1, -1)).mean(dim=(2, 3))
    assert torch.tensor(found["features"]).reshape(wanted.shape) == pytest.approx(wanted, abs=1e-4)

    offline = prepare(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert offline["source"] == "hub"
    assert offline["features"] == pytest.approx(found["features"], abs=1e-6)


def test_a_download_that_breaks_off_is_said_and_training_goes_on_from_scratch(hub, tmp_path):
    hub.cut = len(hub.content) // 2
    found = prepare(hub, tmp_path)
    assert found["source"] == "scratch"
    assert found["detail"]
