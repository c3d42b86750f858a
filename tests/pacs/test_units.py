"""The unit for systemd and the files for containers, as far as they can be checked without either."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHIPPED = Path(__file__).parents[2] / "docs/how-to/pacs"


def test_systemd_finds_no_fault_in_the_unit(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze of Debian's systemd")
    text = (SHIPPED / "pocketcxr-pacs.service").read_text()
    assert text.count("/opt/pocketcxr/bin/pocketcxr ") == 1
    unit = tmp_path / "pocketcxr-pacs.service"
    text = text.replace("/opt/pocketcxr/bin/pocketcxr", sys.executable).replace("User=pocketcxr", "User=root")
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(text.replace("NoNewPrivileges", "NoNewPrivilege"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "NoNewPrivilege" in done.stderr  # such a fault would be told
