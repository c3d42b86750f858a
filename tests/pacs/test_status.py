"""The status page and metrics of a worker."""

import time
import urllib.error
import urllib.request

import pytest

from pacs_archive import free_port
from pocketcxr.errors import ConfigError
from pocketcxr.pacs.drift import Change
from pocketcxr.pacs.settings import StatusSettings
from pocketcxr.pacs.status import served
from pocketcxr.pacs.worker import Failure, Progress


def test_the_page_and_metrics_tell_counts_and_reasons():
    progress = Progress(waiting=3, reachable=False)
    progress.outcomes.update({"scored": 5, "failed": 2})
    progress.failures["1.2.3"] = Failure("1.2", 1, "the archive <did not> answer in time", time.monotonic() + 30)
    progress.stored_at.append(time.time())
    progress.last.append((time.time(), "scored", 1.25))
    progress.drift = (
        Change("<Ray> 1", "2026-W02", "novelty", 60, 0.3, None, None),
        Change("<Ray> 1", "2026-W03", "novelty", 60, 0.6, 0.3, 9.0),
    )
    with served(StatusSettings(port=free_port()), progress, "tiny 0.0.1") as address:
        with urllib.request.urlopen(address, timeout=10) as answer:
            page, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
        with urllib.request.urlopen(address + "metrics", timeout=10) as answer:
            metrics = answer.read().decode().splitlines()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + "etc/passwd", timeout=10)
    assert policy.startswith("default-src 'none'")
    for expected in (
        "cannot be reached",
        "&lt;did not&gt;",
        "tiny 0.0.1",
        "1.2 s",
        "Next try in",
        "&lt;Ray&gt; 1",
        "2026-W03: 0.600 of 60",
    ):
        assert expected in page
    assert "1.2.3" not in page
    assert 'pocketcxr_pacs_images_total{outcome="scored"} 5' in metrics
    assert {"pocketcxr_pacs_waiting 3", "pocketcxr_pacs_archive_reachable 0", "pocketcxr_pacs_drift_alarms 1"} <= set(
        metrics
    )


def test_a_port_that_is_taken_is_told():
    settings = StatusSettings(port=free_port())
    with (
        served(settings, Progress(), "tiny"),
        pytest.raises(ConfigError, match=r"status\.port"),
        served(settings, Progress(), "tiny"),
    ):
        pass


def test_its_button_tries_all_again_and_another_site_can_neither_ask_nor_read():
    progress = Progress()
    with served(StatusSettings(port=free_port()), progress, "tiny") as address:

        def asked(method, path, **headers):
            progress.failures["1.2.3"] = Failure("1.2", 1, "away", time.monotonic() + 30)
            request = urllib.request.Request(address + path, method=method, headers=headers)
            try:
                with urllib.request.build_opener().open(request, timeout=10) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
            return status, progress.failures["1.2.3"].next_try == 0.0

        assert asked("POST", "retry", Origin=address) == (200, True)  # after the redirection to the page
        assert asked("POST", "retry", Origin="http://evil.example") == (404, False)
        assert asked("POST", "retry") == (404, False)
        assert asked("POST", "", Origin=address) == (404, False)
        assert asked("GET", "", Host="evil.example") == (404, False)
