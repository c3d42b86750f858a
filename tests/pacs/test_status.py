"""The status page and metrics of a worker."""

import time
import urllib.error
import urllib.request

import pytest

from pacs_archive import free_port
from pocketcxr.errors import ConfigError
from pocketcxr.pacs.settings import StatusSettings
from pocketcxr.pacs.status import served
from pocketcxr.pacs.worker import Failure, Progress


def test_the_page_and_metrics_tell_counts_and_reasons():
    progress = Progress(waiting=3, reachable=False)
    progress.outcomes.update({"scored": 5, "failed": 2})
    progress.failures["1.2.3"] = Failure(1, "the archive <did not> answer in time", time.monotonic() + 30)
    progress.stored_at.append(time.time())
    progress.last.append((time.time(), "scored", 1.25))
    with served(StatusSettings(port=free_port()), progress, "tiny 0.0.1") as address:
        with urllib.request.urlopen(address, timeout=10) as answer:
            page, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
        with urllib.request.urlopen(address + "metrics", timeout=10) as answer:
            metrics = answer.read().decode().splitlines()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + "etc/passwd", timeout=10)
    assert policy.startswith("default-src 'none'")
    for expected in ("cannot be reached", "&lt;did not&gt;", "tiny 0.0.1", "1.2 s", "Next try in"):
        assert expected in page
    assert "1.2.3" not in page
    assert 'pocketcxr_pacs_images_total{outcome="scored"} 5' in metrics
    assert {"pocketcxr_pacs_waiting 3", "pocketcxr_pacs_archive_reachable 0"} <= set(metrics)


def test_a_port_that_is_taken_is_told():
    settings = StatusSettings(port=free_port())
    with (
        served(settings, Progress(), "tiny"),
        pytest.raises(ConfigError, match=r"status\.port"),
        served(settings, Progress(), "tiny"),
    ):
        pass
