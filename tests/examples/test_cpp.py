"""The C++ example, compiled here: the reference set, the answers of Python to other pictures, and damaged files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from pocketcxr.bundle.format import default_bundle_path
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.data.synthetic.hospital import HOSPITALS
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "examples" / "reference"
HEADER = "onnxruntime_cxx_api.h"
NEEDED = {
    HEADER: "libonnxruntime-dev",
    "lodepng.h": "liblodepng-dev",
    "turbojpeg.h": "libturbojpeg0-dev",
    "nlohmann/json.hpp": "nlohmann-json3-dev",
    "openssl/sha.h": "libssl-dev",
}
INCLUDED = [Path(place) for place in (os.environ.get("POCKETCXR_ONNXRUNTIME_INCLUDE", ""), "/usr/include") if place]
INCLUDED += [place / "onnxruntime" for place in INCLUDED] + [Path("/usr/local/include")]


def _place_of(header):
    return next((place for place in INCLUDED if (place / header).is_file()), None)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    absent = [one for one in ("cmake", "g++") if not shutil.which(one)]
    absent += [package for header, package in NEEDED.items() if _place_of(header) is None]
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.1.*"), None)
    if absent or library is None:
        pytest.skip(
            f"needs a C++ compiler and headers: apt-get install {' '.join(absent)} (or POCKETCXR_ONNXRUNTIME_INCLUDE)"
        )
    build = tmp_path_factory.mktemp("cpp")
    (build / "libonnxruntime.so.1").symlink_to(library)  # the wheel's library under the name that programs look for
    for step in (
        ["cmake", "-S", ROOT / "examples" / "cpp", "-B", build, f"-DONNXRUNTIME_INCLUDE={_place_of(HEADER)}",
         f"-DONNXRUNTIME_LIBRARY={build / 'libonnxruntime.so.1'}", "-DCMAKE_CXX_FLAGS=-Werror"],
        ["cmake", "--build", build],
    ):  # fmt: skip
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def run(*arguments, bundle=None):
        words = [build / "pocketcxr", bundle or default_bundle_path(), *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Drawn X-rays of other sizes than those of the reference set, in each orientation and kind of colour."""
    folder = tmp_path_factory.mktemp("pictures")
    hospital = replace(HOSPITALS[0], aspect=1.13)
    draw_synthetic_xrays(folder / "drawn", patients=2, seed=8, size=613, hospitals=(hospital,), progress=False)
    with Image.open(min((folder / "drawn").rglob("*.png"))) as image:
        grey = np.asarray(image)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(grey).save(folder / f"turned-{orientation}.jpg", quality=93, exif=exif)
        Image.fromarray(grey[::3, ::3]).save(folder / f"turned-{orientation}.png", exif=exif)
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(folder / "colour.jpg", quality=80)
    Image.fromarray(grey).quantize(90).save(folder / "palette.png")
    Image.fromarray(grey[100:130]).save(folder / "strip.png")
    Image.fromarray(grey > 120).save(folder / "one-bit.png")
    Image.fromarray(np.dstack([grey, 255 - grey, grey // 2])).save(folder / "colours.png")
    return sorted(path for path in folder.iterdir() if path.is_file())


def test_the_reference_set_passes(program):
    done = program("--reference", REFERENCE)
    assert done.returncode == 0, done.stdout
    lines = (REFERENCE / "reference.tsv").read_text(encoding="utf-8").splitlines()[2:]
    without_dicom = [line for line in lines if not line.startswith("window.dcm")]
    left_out = len(lines) - len(without_dicom)
    assert f"{len(without_dicom)} passed, 0 failed, {left_out} left out" in done.stdout


@pytest.mark.parametrize(
    ("former", "wrong", "said"),
    [
        ("\tdecision\t0\t0\t1\t0\tcovid19", "\tdecision\t0\t0\t1\t0\tnormal", "decision: expected normal"),
        ("expected/colour.squash-32.f32", "expected/colour.input.f32", "colour.png squash-32: off by"),
        ("grey-4-bit.png\tgrey\t114\t100", "grey-4-bit.png\tgrey\t100\t114", "grey-4-bit.png grey: off by"),
    ],
)
def test_a_port_that_differs_is_told(program, tmp_path, former, wrong, said):
    changed = shutil.copytree(REFERENCE, tmp_path / "reference")
    text = (changed / "reference.tsv").read_text(encoding="utf-8")
    assert former in text
    (changed / "reference.tsv").write_text(text.replace(former, wrong, 1), encoding="utf-8")
    done = program("--reference", changed)
    assert done.returncode == 1
    assert said in done.stdout
    assert " 1 failed" in done.stdout


def test_answers_to_other_pictures_are_those_of_python(program, pictures):
    done = program(*pictures)
    assert done.returncode == 0, done.stdout
    assert "Research use only" in done.stderr
    predictor = Predictor(load_bundle(), exact=True)
    for path, line in zip(pictures, done.stdout.splitlines(), strict=True):
        found, expected = json.loads(line), predictor.predict_file(path)
        assert found["decision"] == expected.decision, path.name
        assert found["reasons"] == [reason.code for reason in expected.reasons], path.name
        assert found["bundle"] == expected.bundle
        assert found["probabilities"] == pytest.approx(expected.probabilities, abs=0.001), path.name
        assert (found["novelty"] is None) == (expected.novelty is None)
        assert found["novelty"] is None or found["novelty"] == pytest.approx(expected.novelty, abs=0.002)


def test_damaged_files_are_refused(program, tmp_path):
    png, jpeg = ((REFERENCE / "pictures" / name).read_bytes() for name in ("grey-8-bit.png", "grey.jpg"))
    flipped = bytearray(png)
    flipped[png.index(b"IDAT") + 5000] ^= 1
    files = {
        "cut.png": png[:20000], "flipped.png": bytes(flipped), "cut.jpg": jpeg[:9000] + b"\xff\xd9", "empty.png": b"",
        "text.jpg": b"no picture", "huge.png": png[:16] + b"\0\1\0\0\0\1\0\0" + png[24:],
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = program(*(tmp_path / name for name in files), tmp_path / "absent.png", REFERENCE / "pictures" / "grey.jpg")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["decision"] for answer in answers[:-1]] == ["error"] * 7
    assert all(answer["error"] and "probabilities" not in answer for answer in answers[:-1])
    assert answers[-1]["decision"] != "error"
    assert done.returncode == 1
    assert program(tmp_path / "empty.png").returncode == 2


def test_a_changed_bundle_is_not_used(program, tmp_path):
    data = bytearray(default_bundle_path().read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.onnx").write_bytes(data)
    for bundle in (tmp_path / "changed.onnx", tmp_path / "absent.onnx", REFERENCE / "pictures" / "golden-2.png"):
        done = program(REFERENCE / "pictures" / "grey.jpg", bundle=bundle)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
