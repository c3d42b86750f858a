"""Results go back to an existing PACS by the shipped script, and nothing else does."""

import subprocess
import time
from collections import Counter
from pathlib import Path

import pydicom
import pytest

from pacs_archive import Orthanc, free_port, settings_file, wait_for, xray
from pocketcxr.pacs.commands import once

pytestmark = [pytest.mark.pacs, pytest.mark.usefixtures("installed")]
SHIPPED = Path(__file__).parents[2] / "docs/how-to/pacs"


def test_results_alone_go_back(tiny_bundle_path, tmp_path):
    port, folder = free_port(), tmp_path / "received"
    folder.mkdir()
    pacs = {"pacs": ["PACS", "127.0.0.1", port]}
    scripts = [str(SHIPPED / "return.lua")]
    orthanc = Orthanc(tmp_path / "orthanc", DicomModalities=pacs, LuaScripts=scripts).start()
    receiver = subprocess.Popen(["storescp", "-aet", "PACS", "-od", str(folder), str(port)])
    try:
        wait_for(port, lambda: receiver.poll() is None)
        orthanc.send(xray(tmp_path / "a.dcm", 1))
        once(settings_file(tmp_path, orthanc, tiny_bundle_path))
        ends = time.monotonic() + 120
        while len(list(folder.iterdir())) < 3 and time.monotonic() < ends:
            time.sleep(0.2)
        time.sleep(3)  # anything else would follow
        found = [pydicom.dcmread(path, force=True, stop_before_pixels=True) for path in folder.iterdir()]
    finally:
        receiver.terminate()
        receiver.wait(60)
        orthanc.end()
    assert Counter(one.Modality for one in found) == Counter(SR=1, OT=2)
