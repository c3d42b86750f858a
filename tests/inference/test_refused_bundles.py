"""A sealed bundle that cannot be used is one line through every door; see `refused_bundles`."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra train, to write ONNX models")

import pocketcxr
from pocketcxr.cli import main
from pocketcxr.errors import BundleError
from refused_bundles import REFUSED, write_refused

IMAGE = np.tile(np.linspace(0.2, 0.9, 160), (160, 1))


@pytest.fixture
def path(request, tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime looks for external data of a model from memory
    return write_refused(request.param, tiny_model, tmp_path)


CASES = pytest.mark.parametrize(
    "path, words", [(case, words) for case, (_, words) in REFUSED.items()], indirect=["path"]
)


@CASES
def test_python(path, words):
    with pytest.raises(BundleError, match=rf"odd\.onnx.*({words})") as caught:
        pocketcxr.load(path).predict(IMAGE)
    assert "\n" not in str(caught.value)


@CASES
def test_command_line(path, words, save_picture, tmp_path, capfd):
    pictures = [str(save_picture(tmp_path / f"{number}.png", brightness=0.8)) for number in range(2)]
    status = main(["predict", *pictures, "--bundle", str(path)])
    out, err = capfd.readouterr()
    assert status == 2
    assert re.search(words, err)
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert ".png" not in out


@pytest.mark.parametrize("path", ["fails on images"], indirect=True)
def test_command_line_with_processes(path, save_picture, tmp_path, capfd):
    pictures = [str(save_picture(tmp_path / f"{number}.png", brightness=0.8)) for number in range(2)]
    assert main(["predict", *pictures, "--bundle", str(path), "--workers", "2"]) == 2
    err = capfd.readouterr().err
    assert "fails on an image" in err
    assert "Traceback" not in err


@CASES
def test_doctor(path, words, capfd):
    assert main(["doctor", "--bundle", str(path)]) != 0
    out, err = capfd.readouterr()
    assert re.search(words, out + err)
    assert "Traceback" not in out + err
