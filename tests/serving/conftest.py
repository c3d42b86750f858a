"""Real services on free loopback ports, and real tiny pictures whose answers the tiny bundle makes known beforehand."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")

from typing import TYPE_CHECKING

import httpx2 as httpx
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

if TYPE_CHECKING:
    from pathlib import Path

START_S = 180  # a busy machine
REQUEST_S = 120
NAME, NUMBER = "Pocketova^Zuzana", "ZZ-4711-0815"

_START = """
import json, sys
from pathlib import Path
from pocketcxr.serving.command import run_serve
from pocketcxr.serving.settings import Limits, Settings
given = json.loads(sys.argv[1])
limits = Limits(**given.pop("limits", {}))
page = Path(given.pop("page")) if "page" in given else None
run_serve(Settings(bundle=Path(given.pop("bundle")), limits=limits, port=0, page=page, **given))
"""


@dataclass
class Running:
    """A service in a process of its own; `client` speaks to it, `folder` is all that it may call temporary."""

    url: str
    process: subprocess.Popen
    log: Path
    folder: Path
    client: httpx.Client

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def post(self, data, media_type, query="", **headers):
        return self.client.post(
            f"/v1/predictions{query}", content=data, headers={"content-type": media_type, **headers}
        )

    def post_files(self, files, query=""):
        """Post a form; `files` are pairs of name and bytes."""
        return self.client.post(f"/v1/predictions{query}", files=[("files", pair) for pair in files])

    def metric(self, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, flags=re.MULTILINE)
        return float(found[1]) if found else None


def launch(command, folder, *, token=""):
    """Start a service and wait until it says where it listens."""
    folder.mkdir(parents=True)
    temporary = folder / "tmp"
    temporary.mkdir()
    log = folder / "log"
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", "POCKETCXR_TOKEN": token}
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, cwd=folder)
    until = time.monotonic() + START_S
    while not (found := re.search(r'"url": "([^"]+)"', log.read_text())):
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise AssertionError(f"the service did not start: {log.read_text()}")
        time.sleep(0.05)
    client = httpx.Client(base_url=found[1], timeout=REQUEST_S, trust_env=False)
    return Running(found[1], process, log, temporary, client)


def end(running):
    running.client.close()
    running.process.terminate()
    try:
        running.process.wait(60)
    except subprocess.TimeoutExpired:
        running.process.kill()
        running.process.wait()
        raise


@pytest.fixture(scope="session")
def start(tiny_bundle_path, tmp_path_factory):
    """Function: settings -> running service; all are ended after the last test."""
    running = []

    def start(*, cli=None, **settings):
        folder = tmp_path_factory.mktemp("service") / "run"
        if cli is not None:
            command = [sys.executable, "-m", "pocketcxr.cli", "serve", "--bundle", str(tiny_bundle_path), *cli]
        else:
            given = {"bundle": str(tiny_bundle_path), "workers": 1, **settings}
            command = [sys.executable, "-c", _START, json.dumps(given)]
        running.append(launch(command, folder))
        return running[-1]

    yield start
    for one in running:
        one.client.close()
        if one.process.poll() is None:
            end(one)


@pytest.fixture(scope="session")
def service(start):
    """A service as the command line starts it, with two workers."""
    return start(cli=["--port", "0", "--workers", "2"])


@pytest.fixture(scope="session")
def predictor(tiny_bundle_path):
    return Predictor(load_bundle(tiny_bundle_path, threads=1))


def grey(brightness, shape=(160, 160)):
    """[H, W] in [0, 1] of a mean brightness, with enough contrast for the input checks."""
    columns = np.linspace(-0.09, 0.09, shape[1])
    return np.clip(brightness + np.broadcast_to(columns, shape), 0, 1)


def raster(brightness, picture_format="PNG", shape=(160, 160)):
    stream = io.BytesIO()
    Image.fromarray(np.round(grey(brightness, shape) * 255).astype(np.uint8)).save(stream, picture_format)
    return stream.getvalue()


def dicom(brightness, *, jpeg2000=False, **elements):
    """A chest radiograph of 12 bits that names a patient."""
    pixels = np.round(grey(brightness) * 4095).astype(np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    values = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "SOPInstanceUID": "1.2.3.4",
        "PatientName": NAME,
        "PatientID": NUMBER,
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "WindowCenter": 2048,
        "WindowWidth": 4096,
        **elements,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    if jpeg2000:
        dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture(scope="session")
def pictures():
    """Functions that make the bytes of pictures, and what the tiny bundle should say."""

    class Pictures:
        patient_name, patient_number = NAME, NUMBER
        raster, dicom = staticmethod(raster), staticmethod(dicom)

    return Pictures
