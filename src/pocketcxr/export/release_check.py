"""What an audit says of the student that is about to be exported: nothing, that it passed, or that it failed.

A student that failed is refused; by force it goes, marked where people and programs look: the bundle's name (every
prediction carries it), the first of its limits, and ``run.audit`` in its manifest (decision 0004).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pocketcxr.audit.record import read_outcome
from pocketcxr.errors import ReleaseError
from pocketcxr.files import sha256_of_file
from pocketcxr.run_folder import student_sha256

if TYPE_CHECKING:
    from pocketcxr.run_folder import RunFolder

_LOGGER = logging.getLogger("pocketcxr")


@dataclass(frozen=True)
class Mark:
    """What the bundle says of its audit: an entry for ``run.audit``, sentences for its limits, a suffix to its name."""

    entry: dict[str, Any]
    limits: tuple[str, ...] = ()
    suffix: str = ""


def audit_mark(run: RunFolder, *, force: bool) -> Mark:
    """Read the run's audit and decide whether its student may be exported, and with which mark.

    Args:
        run: whose ``audit/audit.json`` is read.
        force: export a student that failed, marked.

    Raises:
        ReleaseError: it failed and is not forced; the message names the criteria.
        ConfigError: the audit's file is damaged.
    """
    path = run.audit_record
    if not path.is_file():
        return _not_audited(run, "no audit was run")
    outcome = read_outcome(path)
    if not outcome.measured("model"):
        return _not_audited(run, "only its data were audited")
    if outcome.subject.get("student_sha256") != student_sha256(run):
        _LOGGER.warning("%s is of another student; audit again", path)
        return _not_audited(run, "the audit on file is of an older student")
    failed = outcome.failed("model")
    if failed and not force:
        raise ReleaseError(
            f"{run.folder}: the student failed {len(failed)} of {outcome.measured('model')} criteria of its audit: "
            f"{_named(failed)}; see {path.with_name('report.html')}; --force exports it all the same, marked"
        )
    entry = {
        "outcome": "failed, exported by force" if failed else "passed",
        "failures": [*failed, *outcome.failed("data")],
        "gates_measured": outcome.measured("model"),
        "created": outcome.created,
        "audit_sha256": sha256_of_file(path),
    }
    if not failed:
        return Mark(entry, _data_limits(outcome.failed("data")))
    limit = f"FAILED ITS AUDIT and was exported by force. {_named(failed)}."
    return Mark(entry, (limit, *_data_limits(outcome.failed("data"))), " (FAILED ITS AUDIT)")


def _not_audited(run: RunFolder, why: str) -> Mark:
    limit = f"Not audited ({why}): nobody has measured whether it reads the lungs or the source of the image."
    _LOGGER.info("bundle is marked as not audited (%s); run  pocketcxr audit %s  and export again", why, run.folder)
    return Mark({"outcome": "not audited", "why": why}, (limit,))


def _data_limits(failed: list[dict[str, Any]]) -> tuple[str, ...]:
    return (f"The training data failed their audit. {_named(failed)}.",) if failed else ()


def _named(failed: list[dict[str, Any]]) -> str:
    """What is wrong, with value and limit; "; " between failures."""
    return "; ".join(": ".join(filter(None, (one.get("fault") or one["title"], one.get("words")))) for one in failed)
