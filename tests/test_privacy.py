"""Nothing of ours, nor of the runtime below us, writes or sends anything that was not asked for."""

import os
import subprocess
import sys

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
