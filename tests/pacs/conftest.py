"""A real Orthanc for the tests marked `pacs`; skipped only where it cannot be installed."""

import pytest

from pacs_archive import Orthanc, install


@pytest.fixture(scope="session")
def installed():
    absent = install()
    if absent:
        pytest.skip(f"needs Orthanc and DCMTK, and cannot install them here: apt-get install orthanc dcmtk ({absent})")


@pytest.fixture
def orthanc(installed, tmp_path):
    archive = Orthanc(tmp_path / "orthanc").start()
    yield archive
    archive.end()
