"""Nothing of ours, nor of the runtime below us, writes or sends anything that was not asked for."""

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from pocketcxr import load_bundle
bundle = load_bundle(Path(sys.argv[1]))
size = bundle.manifest.preprocessing.size
print(bundle(np.full((1, 1, size, size), 0.5, np.float32)).probabilities.shape)
"""


def test_a_prediction_leaves_no_file_of_the_runtimes_telemetry(tiny_bundle_path, tmp_path):
    """ONNX Runtime's telemetry keeps a session file in the folder for temporary files, or where the program runs."""
    places = [tmp_path / name for name in ("tmp", "home", "here")]
    for place in places:
        place.mkdir()
    kept = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    for name in ("CI", "GITHUB_ACTIONS", "GITLAB_CI"):
        kept.pop(name, None)  # the runtime keeps quiet there by itself
    environment = {**kept, "TMPDIR": str(places[0]), "HOME": str(places[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tiny_bundle_path)],
        env=environment,
        cwd=places[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "(1, 2)" in done.stdout
    assert [str(path) for place in places for path in place.rglob("*")] == []


_TRACKS = """
import sys
reached = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        reached.append((event, str(arguments)))

sys.addaudithook(watch)
import pocketcxr, time
from pathlib import Path
from pocketcxr.training.run.tracking import Tracked, Tracking
from pocketcxr.training.run.record import Table
tables = [Table(Path(name), until=0) for name in ("metrics.csv", "epochs.csv")]
with Tracking(sys.argv[1:], Tracked(Path("stage"), {"configuration": {"epochs": 3}}), tables):
    tables[0].append({"step": 1, "epoch": 1, "loss": 0.5})
    tables[1].append({"step": 1, "epoch": 1, "best": 1, "auroc": 0.5})
time.sleep(2)  # for what a thread would send
print("reached", reached)
"""


@pytest.mark.parametrize("tracker", ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_trackers_reach_nothing_by_themselves(tmp_path, tracker):
    """MLflow's client asks its maker for what to send, and sends it, unless its telemetry is off."""
    pytest.importorskip(tracker, reason=f"needs the extra {tracker}")
    (tmp_path / "stage").mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PYTEST", "CI", "DO_NOT"))}
    done = subprocess.run(
        [sys.executable, "-c", _TRACKS, tracker],
        env={**kept, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert done.stdout.splitlines() == ["reached []"]
    assert "does not get" not in done.stderr
