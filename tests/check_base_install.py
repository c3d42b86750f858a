"""Install the wheel into an empty environment and predict there: no training framework, how light it is; then serve.

Run by ``make test-base``; prints seconds, megabytes and the prediction, and exits non-zero when a promise is broken.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
FORBIDDEN = ("torch", "torchvision", "timm", "onnx", "tensorflow", "scipy", "sklearn", "matplotlib")


def main() -> int:
    """Build, install, predict, measure."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        uv = Path(sys.executable).parent / "uv"
        _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place / "dist"), str(ROOT))
        (wheel,) = (place / "dist").glob("*.whl")
        started = time.perf_counter()
        _run(str(uv), "venv", "--quiet", "--python", sys.executable, str(place / "env"))
        python = place / "env" / "bin" / "python"
        base = ["--require-hashes", "-r", str(ROOT / "requirements" / "base.txt")]
        _run(str(uv), "pip", "install", "--quiet", "--python", str(python), *base)
        _run(str(uv), "pip", "install", "--quiet", "--python", str(python), "--no-deps", str(wheel))
        installed_s = time.perf_counter() - started
        size_mb = sum(f.stat().st_size for f in (place / "env").rglob("*") if f.is_file() and not f.is_symlink()) / 1e6
        probe = f"import importlib.util as u; print([m for m in {FORBIDDEN!r} if u.find_spec(m)])"
        present = _run(str(python), "-c", probe).strip()
        ramp = np.add.outer(np.arange(256), np.arange(256)) // 2
        Image.fromarray(ramp.astype(np.uint8)).save(place / "ramp.png")
        started = time.perf_counter()
        answer = _run(str(python), "-m", "pocketcxr.cli", "predict", str(place / "ramp.png"), "--format", "json")
        predicted_s = time.perf_counter() - started
        record = json.loads(answer)
        record = record[0] if isinstance(record, list) else record
        print(f"wheel {wheel.stat().st_size / 1e6:.1f} MB; installed in {installed_s:.1f} s, {size_mb:.0f} MB in all")
        print(f"training frameworks present: {present}; process start to answer {predicted_s:.2f} s")
        print(answer)
        _run(str(uv), "pip", "install", "--quiet", "--python", str(python), f"pocketcxr[serve] @ {wheel.as_uri()}")
        page = _served_page(python, place)
        print(f"page of pocketcxr serve: {page[:60]!r}")
        keys = {"path", "decision", "probabilities", "novelty", "reasons", "bundle"}
        return 0 if present == "[]" and keys == set(record) and "<title>pocketcxr" in page else 1


def _served_page(python: Path, place: Path) -> str:
    """What ``/`` answers: the page that the wheel brings, without anything else being installed."""
    command = [str(python), "-m", "pocketcxr.cli", "serve", "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=place) as service:
        assert service.stderr is not None
        try:
            found = next(line for line in service.stderr if '"url"' in line)
            with urllib.request.urlopen(json.loads(found)["url"]) as answer:
                return answer.read().decode()
        finally:
            service.terminate()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
