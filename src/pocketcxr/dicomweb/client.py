"""DICOMweb client: query, retrieve and store, with every answer bounded in size and time.

A client of our own, because bytes are wanted: dicomweb-client parses every object in the process that holds the
password, reads answers of any size, and its messages quote addresses with the UIDs in them.
"""

from __future__ import annotations

import io
import json
import time
import uuid
from email.message import Message
from typing import TYPE_CHECKING, Any

import requests

from pocketcxr.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pocketcxr.dicomweb.settings import ArchiveSettings

DICOM, JSON = "application/dicom", "application/dicom+json"
_LARGEST_LIST = 64 * 2**20
_PIECE = 2**16
_PAGE = 200
_MOST_PAGES = 100_000
_SHORT = 20  # an archive with a limit of its own below `_PAGE` has none below this
_CONNECT_TIMEOUT_S = 10.0
_SUCCESS = 200
_LONGEST_UID = 64
_BUSY = frozenset({429, 500, 502, 503, 504})
_AWAY = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_KEYWORDS = {  # of the answers: keyword to tag
    "ModalitiesInStudy": "00080061", "Modality": "00080060", "StudyDate": "00080020", "PatientID": "00100020",
    "StudyInstanceUID": "0020000D", "SeriesInstanceUID": "0020000E", "SOPClassUID": "00080016",
    "SOPInstanceUID": "00080018", "InstanceCount": "00201208", "Manufacturer": "00080070",
}  # fmt: skip


class Archive:
    """A connection to the archive; one per thread."""

    def __init__(self, settings: ArchiveSettings, password: str, *, waits_s: Sequence[float] = ()) -> None:
        """Take addresses, account and certificates; nothing is asked yet.

        `waits_s`: an archive that is away or busy is asked again after each of them; without, the caller's errors.
        """
        self._settings, self._waits_s = settings, waits_s
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc: images go to the archive and nowhere else
        # Orthanc compresses every answer that may be: 0.33 s of processor time for a radiograph, 0.02 s without
        self._session.headers["Accept-Encoding"] = "identity"
        if settings.user:
            self._session.auth = (settings.user, password)
        self._session.verify = settings.ca_file or True
        if settings.certificate_file:
            pair = (settings.certificate_file, settings.key_file)
            self._session.cert = pair if settings.key_file else settings.certificate_file

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def studies(self, **matching: str) -> Iterator[dict[str, Any]]:
        """Rows of studies that match, page by page (QIDO-RS, PS3.18 10.6)."""
        return self._search("studies", {**matching, "includefield": "ModalitiesInStudy,NumberOfStudyRelatedInstances"})

    def series(self, study_uid: str) -> Iterator[dict[str, Any]]:
        """Rows of a study's series."""
        return self._search(f"studies/{study_uid}/series", {"includefield": "Manufacturer"})

    def instances(self, study_uid: str, series_uid: str) -> Iterator[dict[str, Any]]:
        """Rows of a series' instances. Not every archive lists those of a study."""
        return self._search(f"studies/{study_uid}/series/{series_uid}/instances", {})

    def retrieve(self, study_uid: str, series_uid: str, sop_instance_uid: str) -> bytes:
        """The file of one instance as the archive holds it (WADO-RS, PS3.18 10.4)."""
        where = f"studies/{study_uid}/series/{series_uid}/instances/{sop_instance_uid}"
        headers = {"Accept": f'multipart/related; type="{DICOM}"; transfer-syntax=*'}
        kind, body = self._ask("GET", self._address(where), headers=headers, most=self._settings.largest_bytes)
        return _only_part(kind, body)

    def store(self, files: Sequence[bytes]) -> set[str]:
        """Store files and return the SOP instance UIDs that the archive holds now (STOW-RS, PS3.18 10.5)."""
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
        body = b"".join(head + data + b"\r\n" for data in files) + f"--{boundary}--\r\n".encode()
        headers = {"Accept": JSON, "Content-Type": f'multipart/related; type="{DICOM}"; boundary={boundary}'}
        _, answer = self._ask("POST", self._address("studies"), headers=headers, data=body)
        stored = _json(answer).get("00081199", {}).get("Value", [])
        return {uid for item in stored for uid in item.get("00081155", {}).get("Value", [])}

    def remove(self, study_uid: str, series_uid: str, sop_instance_uid: str = "") -> None:
        """Delete a series, or one instance of it, where the account may.

        DICOMweb has no deletion: it is Orthanc's own, else the DELETE at DICOMweb addresses that some archives add.
        """
        if not (root := self._settings.changes_url.rstrip("/")):
            where = f"studies/{study_uid}/series/{series_uid}"
            self._ask("DELETE", self._address(where + (f"/instances/{sop_instance_uid}" if sop_instance_uid else "")))
            return
        kind, uid = ("instances", sop_instance_uid) if sop_instance_uid else ("series", series_uid)
        for found in _json(self._ask("POST", f"{root}/tools/lookup", data=uid)[1], list):
            if set(str(found["ID"])) <= set("0123456789abcdef-"):
                self._ask("DELETE", f"{root}/{kind}/{found['ID']}")

    def changes(self, since: int | None) -> dict[str, Any]:
        """A page of Orthanc's feed of changes; None asks only where the feed ends."""
        query = "last" if since is None else f"since={since}&limit=500"
        return _json(self._ask("GET", f"{self._settings.changes_url.rstrip('/')}/changes?{query}")[1])

    def study_of(self, orthanc_id: str) -> str:
        """Study instance UID of an instance that Orthanc's feed names; "" where it is gone again."""
        try:
            _, body = self._ask("GET", f"{self._settings.changes_url.rstrip('/')}/instances/{orthanc_id}/study")
        except ArchiveError:
            return ""
        return str(_json(body).get("MainDicomTags", {}).get("StudyInstanceUID", ""))

    def _address(self, where: str) -> str:
        return f"{self._settings.url.rstrip('/')}/{where}"

    def _search(self, where: str, matching: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Ask page by page until nothing new comes: not every archive says how many there are, or heeds the offset.

        A page, with the one before, has each UID once: Orthanc lists one that it has of two patients twice.
        """
        seen: set[str] = set()
        offset = 0
        for _ in range(_MOST_PAGES):
            query = {**matching, "limit": str(_PAGE), "offset": str(offset)}
            _, body = self._ask("GET", self._address(where), headers={"Accept": JSON}, params=query)
            rows = [_row(item) for item in (_json(body, list) if body else [])]
            page = {_identity(row): row for row in rows}
            new = [row for uid, row in page.items() if uid not in seen]
            yield from new
            seen = set(page)
            if not new or len(rows) < _SHORT:
                return
            offset += len(rows)

    def _ask(self, method: str, address: str, *, most: int = _LARGEST_LIST, **given: Any) -> tuple[str, bytes]:
        """Send a request until it succeeds or `waits_s` are over; what is asked here can be asked again."""
        for wait_s in self._waits_s:
            try:
                return self._ask_now(method, address, most=most, **given)
            except ArchiveError as error:
                if not error.passing:
                    raise
            time.sleep(wait_s)
        return self._ask_now(method, address, most=most, **given)

    def _ask_now(self, method: str, address: str, *, most: int, **given: Any) -> tuple[str, bytes]:
        """Send a request, once more where a kept connection had been closed."""
        try:
            return self._ask_once(method, address, most=most, **given)
        except requests.ConnectionError:
            pass
        except requests.RequestException as error:
            raise _failure(error) from None
        try:
            return self._ask_once(method, address, most=most, **given)
        except requests.RequestException as error:
            raise _failure(error) from None

    def _ask_once(self, method: str, address: str, *, most: int, **given: Any) -> tuple[str, bytes]:
        ends = time.monotonic() + self._settings.timeout_s
        timeouts = (min(_CONNECT_TIMEOUT_S, self._settings.timeout_s), self._settings.timeout_s)
        with self._session.request(
            method, address, timeout=timeouts, stream=True, allow_redirects=False, **given
        ) as answer:
            body, status = io.BytesIO(), answer.status_code
            for piece in answer.iter_content(_PIECE):
                body.write(piece)
                if body.tell() > most:
                    words = f"the archive's answer is larger than {most:,} bytes (largest_mb)"
                    raise ArchiveError(words, status=status)
                if time.monotonic() > ends:
                    words = f"the archive's answer took longer than {self._settings.timeout_s:g} s"
                    raise ArchiveError(words, passing=True)
            if not _SUCCESS <= status < _SUCCESS + 100:
                words = f"the archive answered with status {status}{_hint(status)}"
                raise ArchiveError(words, status=status, passing=status in _BUSY)
            return answer.headers.get("Content-Type", ""), body.getvalue()


def value_of(row: Mapping[str, Any], keyword: str) -> str:
    """First value of a row's field as text; "" where there is none."""
    values = row.get(keyword) or [""]
    return str(values[0] if values[0] is not None else "")


def is_uid(text: str) -> bool:
    """Whether this is a UID that may stand in an address; anything else was not put there by an archive's index."""
    return 0 < len(text) <= _LONGEST_UID and all((one.isdecimal() and one.isascii()) or one == "." for one in text)


def _row(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ArchiveError("the archive answered a query with something that is no list of data sets")
    return {keyword: item.get(tag, {}).get("Value", []) for keyword, tag in _KEYWORDS.items()}


def _identity(row: Mapping[str, Any]) -> str:
    return next(filter(None, (value_of(row, f"{level}InstanceUID") for level in ("SOP", "Series", "Study"))), "")


def _json(body: bytes, kind: type = dict) -> Any:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise ArchiveError("the archive answered with something that is no JSON: is this its DICOMweb address?")
    return found


def _only_part(content_type: str, body: bytes) -> bytes:
    """The one part of a multipart answer (RFC 2046); a plain object is taken, too."""
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_maintype() != "multipart":
        return body
    boundary = b"--" + str(header.get_param("boundary", "")).encode("latin-1", "replace")
    start = body.find(boundary)
    content = body.find(b"\r\n\r\n", start)
    end = body.rfind(b"\r\n" + boundary)
    if start < 0 or content < 0 or end < content + 4:
        words = "the archive's answer holds no object: expected one part of multipart/related"
        raise ArchiveError(words, status=_SUCCESS)
    return body[content + 4 : end]


def _failure(error: requests.RequestException) -> ArchiveError:
    """What went wrong, without the address that requests puts into its messages: it holds UIDs."""
    if isinstance(error, requests.exceptions.SSLError):
        return ArchiveError("the archive's certificate, or ours, was not accepted: check ca_file and certificate_file")
    words = f"the archive could not be asked ({type(error).__name__})"
    if isinstance(error, requests.Timeout):
        words = "the archive did not answer in time"
    elif isinstance(error, requests.ConnectionError):
        words = "the archive cannot be reached: does it run at the address?"
    return ArchiveError(words, passing=isinstance(error, _AWAY))


def _hint(status: int) -> str:
    return {401: ": check user and password", 403: ": the account may not do this"}.get(status, "")
