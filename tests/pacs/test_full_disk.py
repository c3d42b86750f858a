"""An archive whose disk is full: Orthanc answers "200", and only its list of what is stored tells the truth."""

import subprocess

import pytest

from pacs_archive import Orthanc, xray
from pocketcxr.dicomweb.client import Archive
from pocketcxr.dicomweb.settings import ArchiveSettings
from pocketcxr.errors import ArchiveError
from pocketcxr.pacs.results.identity import REPORT, Instance, result_uid
from pocketcxr.pacs.scorer import Results
from pocketcxr.pacs.worker import process

pytestmark = [pytest.mark.pacs, pytest.mark.usefixtures("installed")]
BUNDLE = "ab" * 32


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=False).returncode == 0
    )
    if not mounted:
        pytest.skip("needs the right to mount a small disk (root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Scored:
    """Stands for the scoring process: results that are there already."""

    def __init__(self, *files):
        self.files = files

    def score(self, data, instance):
        return Results("bright", self.files)


def test_results_that_found_no_room_are_an_error_and_are_stored_when_there_is_room(small_disk, tmp_path):
    orthanc = Orthanc(tmp_path / "orthanc", StorageDirectory=str(small_disk), IndexDirectory=str(small_disk)).start()
    archive = Archive(ArchiveSettings(url=f"{orthanc.url}/dicom-web"), "")
    try:
        orthanc.send(xray(tmp_path / "image.dcm", 1))
        instance = Instance("1.2.3.1", "1.2.3.1.1", "1.2.840.10008.5.1.4.1.1.1", "1.2.3.1.1.1")
        picture = xray(tmp_path / "picture.dcm", 1, SOPInstanceUID="1.2.3.1.1.2").read_bytes()
        uid = result_uid(instance.sop_instance_uid, BUNDLE, REPORT)
        report = xray(tmp_path / "report.dcm", 1, SOPInstanceUID=uid).read_bytes()
        filler = small_disk / "filler"
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], check=False, capture_output=True)
        for scored in (Scored(picture, report), Scored(report)):
            with pytest.raises(ArchiveError, match="is its disk full"):
                process(archive, scored, instance, BUNDLE)
        filler.unlink()
        assert process(archive, Scored(picture, report), instance, BUNDLE) == "bright"
        assert {one["SOPInstanceUID"] for one in orthanc.objects()} == {"1.2.3.1.1.1", "1.2.3.1.1.2", uid}
    finally:
        archive.close()
        orthanc.end()
