"""A second archive, tiny_pacs, written in Python by others. It offers less than Orthanc: no feed, no deletion."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pydicom
import pytest

from pacs_archive import free_port, wait_for, xray
from pocketcxr.errors import ArchiveError
from pocketcxr.inference.archive_files import ArchiveFiles
from pocketcxr.pacs.commands import backfill, drift, export, once, retry

pytest.importorskip("tiny_pacs_dicomweb", reason="needs the group dev")
pytestmark = [pytest.mark.pacs, pytest.mark.usefixtures("installed")]


@pytest.fixture
def tiny_pacs(tmp_path):
    dicom, http = free_port(), free_port()
    components = {
        "Database": {"on": True, "driver": "sqlite", "db_name": str(tmp_path / "index"), "mode": "rwc"},
        "Devices": {"on": True},
        "PACS": {"on": True},
        "InMemoryStorage": {"on": False},
        "FileStorage": {"on": True, "storage_dir": str(tmp_path)},
        "HttpServer": {"on": True, "host": "127.0.0.1", "port": http},
        "DICOMWeb": {"on": True},
    }
    settings = {"ae": {"port": dicom, "ae_title": ["TINY"], "dump_ds": False}, "components": components}
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(settings))
    with (tmp_path / "log").open("wb") as log:
        command = [str(Path(sys.executable).with_name("tiny-pacs")), "run", "-c", str(path)]
        archive = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(http, lambda: archive.poll() is None)
        yield dicom, f"http://127.0.0.1:{http}/dicomweb"
    finally:
        archive.terminate()
        archive.wait(60)


def test_images_get_their_results_once_from_an_archive_without_a_feed(tiny_pacs, tiny_bundle_path, tmp_path):
    dicom, url = tiny_pacs
    settings = tmp_path / "worker.toml"
    work = f'[work]\ndays = 36500\nprocesses = 1\nbundle = "{tiny_bundle_path}"\n'
    settings.write_text(f'[archive]\nurl = "{url}"\n{work}')
    files = [xray(tmp_path / "a.dcm", 1), xray(tmp_path / "b.dcm", 2, ViewPosition="LL", StudyDate="20200101")]
    command = ["storescu", "-R", "-aec", "TINY", "127.0.0.1", str(dicom), *map(str, files)]
    subprocess.run(command, check=True, timeout=60)
    assert once(settings)[1] == ["scored 1, not applicable 1, failed 0"]
    assert once(settings)[1] == backfill(settings, quiet=True)[1] == ["scored 0, not applicable 0, failed 0"]
    assert export(settings, output=tmp_path / "out.csv", first="20260101", quiet=True)[1][0].endswith("1 results")
    assert len(drift(settings)[1]) == 6
    with pytest.raises(ArchiveError, match="status 405"):  # it cannot delete
        retry(settings)
    root = f"dicomweb+{url}"
    with closing(ArchiveFiles()) as images:  # for a cluster: the radiographs without our results
        found = sorted(images.find(root))
        assert found == [f"{root}/studies/1.2.3.{n}/series/1.2.3.{n}.1/instances/1.2.3.{n}.1.1" for n in (1, 2)]
        images.fetch(found[0], tmp_path / "copy.dcm")
    assert pydicom.dcmread(tmp_path / "copy.dcm").PixelData == pydicom.dcmread(files[0]).PixelData
