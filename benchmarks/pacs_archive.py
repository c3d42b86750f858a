"""A real Orthanc in a temporary folder, for the tests of ``pocketcxr pacs`` and its benchmarks."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import requests

if TYPE_CHECKING:
    from collections.abc import Callable

ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PACKAGES = ("orthanc", "orthanc-dicomweb", "dcmtk", "dicom3tools", "stunnel4", "openssl")
_START_S = 120.0  # a busy machine takes long


def missing() -> str:
    """What of the archive and the tools around it is not installed; "" where all is there."""
    absent = [name for name in ("storescu", "dciodvfy", "stunnel", "openssl") if not shutil.which(name)]
    absent += [str(path) for path in (Path(ORTHANC), PLUGIN) if not path.exists()]
    return ", ".join(absent)


def install() -> str:
    """Install what is missing where that can be done (Debian or Ubuntu, as root or by sudo); what is missing then."""
    with (Path(tempfile.gettempdir()) / "pocketcxr-apt.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of a test run come here at once
        if missing() and shutil.which("apt-get"):
            rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for words in (["update", "-qq"], ["install", "-y", "-qq", *PACKAGES]):
                with contextlib.suppress(OSError):
                    subprocess.run([*rights, "apt-get", *words], env=environment, capture_output=True, check=False)
    return missing()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(port: int, runs: Callable[[], bool] = lambda: True) -> None:
    """Wait until somebody listens on a port of this computer, or the program that should no longer runs."""
    ends = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if not runs() or time.monotonic() > ends:
            raise RuntimeError(f"nobody listens on port {port}")
        time.sleep(0.05)


class Orthanc:
    """An archive that can be killed and started again on the same data."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.http, self.dicom = folder, free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **settings,
        }
        self.process = None

    @property
    def url(self) -> str:
        """Root of its REST interface."""
        return f"http://127.0.0.1:{self.http}"

    def start(self, *, wait: bool = True) -> Orthanc:
        """Start it, and wait until it answers."""
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(self.settings))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([ORTHANC, str(path)], stdout=log, stderr=log, start_new_session=True)
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Wait until the ports are open."""
        for port in (self.http, self.dicom):
            wait_for(port, lambda: self.process.poll() is None)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it, by SIGKILL as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)

    def get(self, where: str) -> Any:
        """JSON of its REST interface."""
        return requests.get(self.url + where, timeout=60).json()

    def send(self, *paths: Path, check: bool = True) -> bool:
        """Send files by C-STORE, as a modality does: with `check`, again where it fails, and an error after that."""
        command = ["storescu", "-R", "-aec", "ORTHANC", "127.0.0.1", str(self.dicom), *map(str, paths)]
        for attempt in range(3 if check else 1):
            time.sleep(attempt)
            sent = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
            if sent.returncode == 0:
                return True
        if check:
            raise RuntimeError(f"storescu: {sent.stdout}{sent.stderr}")
        return False

    def objects(self) -> list[dict]:
        """Main tags of every instance, with the modality of its series."""
        found = []
        for series in self.get("/series?expand"):
            for one in series["Instances"]:
                tags = self.get(f"/instances/{one}")["MainDicomTags"]
                found.append({**series["MainDicomTags"], **tags, "id": one, "study": series["ParentStudy"]})
        return found

    def file(self, one: str) -> bytes:
        """The file of an instance by Orthanc's own identifier."""
        return requests.get(f"{self.url}/instances/{one}/file", timeout=60).content


def settings_file(folder: Path, archive: Orthanc, bundle: Path, *, feed: bool = True, **work: Any) -> Path:
    """Write settings of a worker beside an archive."""
    lines = ["[archive]", f'url = "{archive.url}/dicom-web"']
    lines += [f'changes_url = "{archive.url}"'] if feed else []
    fields = {"bundle": str(bundle), "processes": 1, "days": 36500, **work}
    lines += ["[work]", *(f"{name} = {json.dumps(value)}" for name, value in fields.items())]
    path = folder / "worker.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def xray(path: Path, number: int, *, side: int = 160, pixels: Any = None, **elements: Any) -> Path:
    """Write a drawn CR image: study, series, instance and patient are numbered."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from dicom_files import dataset_of

    rng = np.random.default_rng(number)
    ramp = np.linspace(0, 1, side)[None, :] * np.linspace(0.4, 1, side)[:, None]
    drawn = (4095 * (0.8 * ramp + 0.2 * rng.random((side, side)))).astype(np.uint16)
    uid = elements.pop("SOPInstanceUID", f"1.2.3.{number}.1.1")
    values = {
        "BitsStored": 12, "SOPInstanceUID": uid, "StudyInstanceUID": f"1.2.3.{number}", "PatientID": f"PAT{number}",
        "SeriesInstanceUID": f"1.2.3.{number}.1", "PatientName": "Doe^Jane", "PatientBirthDate": "19700101",
        "PatientSex": "F", "StudyDate": "20260102", "StudyTime": "101112", "AccessionNumber": f"A{number}",
        "StudyID": "S1", "SeriesNumber": 1, "InstanceNumber": 1, "BodyPartExamined": "CHEST", "ViewPosition": "PA",
        "Manufacturer": "ACME", "ManufacturerModelName": "Ray 1", "ReferringPhysicianName": "",
        "PatientOrientation": ["L", "F"], "ImagerPixelSpacing": [0.2, 0.2], **elements,
    }  # fmt: skip
    dataset = dataset_of(drawn if pixels is None else pixels, **values)
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.save_as(path, enforce_file_format=True)
    return path


def worker_command(*words: object) -> list[str]:
    """The command line of ``pocketcxr pacs`` in this environment."""
    return [sys.executable, "-m", "pocketcxr.cli", "pacs", *map(str, words)]


def counts(archive: Orthanc) -> Counter:
    """How many objects of each modality the archive holds."""
    return Counter(one["Modality"] for one in archive.objects())
