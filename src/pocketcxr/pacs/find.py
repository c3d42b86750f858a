"""Finds radiographs that have no result by this bundle, by asking the archive.

The query decides. Orthanc's feed of changes only tells sooner which studies to ask about: what it misses, the next
sweep over all recent studies finds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr.dicomweb.client import is_uid, value_of
from pocketcxr.errors import ConfigError
from pocketcxr.pacs.results.identity import REPORT, Instance, result_uid, series_uid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pocketcxr.dicomweb.client import Archive
    from pocketcxr.pacs.settings import WorkSettings

_DATE_DIGITS = 8
_MOST_COMPLETE = 500_000  # studies that are remembered as complete: about 100 MB


@dataclass
class Finder:
    """Asks the archive what is missing. `since`: where the feed was read up to; a hint, not a state to keep."""

    archive: Archive
    work: WorkSettings
    bundle_sha256: str
    since: int | None = None
    _complete: dict[str, str] = field(default_factory=dict)

    def recent(self) -> Iterator[Instance]:
        """What is missing in studies of the last days, the newest day included whatever this computer's clock says."""
        yield from self.between(self._first_day(), "")

    def between(self, first: str, last: str) -> Iterator[Instance]:
        """What is missing in studies dated from `first` to `last` (YYYYMMDD, "" is open)."""
        for row in self.archive.studies(**dated(first, last)):
            yield from self.missing_in(row)

    def changed(self) -> Iterator[Instance]:
        """What is missing in studies that the feed names since it was asked last.

        Older studies than the last days are left to ``backfill``, also when they are received now.
        """
        if self.since is None:
            self.since = int(self.archive.changes(None).get("Last", 0))
            return
        done = False
        while not done:
            page = self.archive.changes(self.since)
            last, done = int(page.get("Last", 0)), bool(page.get("Done", True))
            if last < self.since:  # another archive, or one that was emptied: the sweep finds what is there
                self.since = last
                return
            new = [one.get("ID", "") for one in page.get("Changes", []) if one.get("ChangeType") == "NewInstance"]
            for study_uid in dict.fromkeys(filter(None, map(self.archive.study_of, new))):
                yield from self.study(study_uid, recent=True)
            self.since = last

    def study(self, study_uid: str, *, recent: bool = False) -> Iterator[Instance]:
        """What is missing in one study."""
        for row in self.archive.studies(StudyInstanceUID=study_uid):
            if value_of(row, "StudyInstanceUID") == study_uid and not (recent and self._is_old(row)):
                yield from self.missing_in(row)

    def missing_in(self, row: dict[str, Any]) -> Iterator[Instance]:
        """What is missing in the study of a row.

        A study that was complete and holds as many instances as then is not asked about again.
        """
        study_uid, count = value_of(row, "StudyInstanceUID"), value_of(row, "InstanceCount")
        if value_of(row, "PatientID").strip() in left_out(self.work):
            return
        stated = row.get("ModalitiesInStudy") or self.work.modalities
        looked_at = [one for one in self.work.modalities if one in stated]
        if not looked_at or not is_uid(study_uid) or (count and self._complete.get(study_uid) == count):
            return
        series = {
            value_of(one, "SeriesInstanceUID"): value_of(one, "Modality") for one in self.archive.series(study_uid)
        }
        ours, missing, stored = series_uid(study_uid, self.bundle_sha256, REPORT), 0, set[str]()
        if ours in series:
            stored = {value_of(one, "SOPInstanceUID") for one in self.archive.instances(study_uid, ours)}
        for uid in [uid for uid, modality in series.items() if modality in looked_at and is_uid(uid)]:
            for found in self.archive.instances(study_uid, uid):
                instance = _instance(found, study_uid, uid)
                if instance and result_uid(instance.sop_instance_uid, self.bundle_sha256, REPORT) not in stored:
                    missing += 1
                    yield instance
        if not missing and len(self._complete) < _MOST_COMPLETE:
            self._complete[study_uid] = count

    def forget_complete(self) -> None:
        """Ask about every study again."""
        self._complete.clear()

    def _first_day(self) -> str:
        return f"{datetime.now(tz=UTC) - timedelta(days=self.work.days):%Y%m%d}"

    def _is_old(self, row: dict[str, Any]) -> bool:
        """Whether a study is dated before the last days; one without a date is not."""
        date = value_of(row, "StudyDate")
        return len(date) == _DATE_DIGITS and date.isdigit() and date < self._first_day()


def dated(first: str, last: str) -> dict[str, str]:
    """The query for studies dated from `first` to `last` (YYYYMMDD, "" is open)."""
    return {"StudyDate": f"{first}-{last}"} if first or last else {}


def left_out(work: WorkSettings) -> set[str]:
    """Patient IDs whose images are not scored: lines of a file, which may change while the worker runs.

    Raises:
        ConfigError: the file cannot be read; nothing is scored then.
    """
    if not work.left_out_file:
        return set()
    try:
        return set(map(str.strip, Path(work.left_out_file).read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"work.left_out_file: {work.left_out_file} cannot be read ({type(error).__name__})") from None


def _instance(row: dict[str, Any], study_uid: str, series_uid: str) -> Instance | None:
    uid = value_of(row, "SOPInstanceUID")
    if not is_uid(uid):
        return None
    return Instance(study_uid, series_uid, value_of(row, "SOPClassUID"), uid, value_of(row, "PatientID"))
