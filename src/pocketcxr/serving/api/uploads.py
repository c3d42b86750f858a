"""Reads the files of a request in memory only: no patient data reaches a disk.

The form parser of the framework writes larger uploads to temporary files; this one uses the same library's event parser
and keeps to the limits while bytes arrive, not after.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from pocketcxr.imaging.file_type import looks_like_dicom, raster_format
from pocketcxr.serving.api.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    from python_multipart.multipart import MultipartCallbacks
    from starlette.requests import Request

    from pocketcxr.serving.settings import Limits

PICTURE_TYPES = (
    "application/dicom", "image/png", "image/jpeg", "image/bmp", "image/tiff", "image/webp", "application/octet-stream",
)  # fmt: skip
"""Content types of a bare picture. What it is, its first bytes tell; `application/octet-stream` leaves it to them."""

UNSAID_TYPES = ("", "application/x-www-form-urlencoded")
"""No content type, and what curl claims on its own: taken where the first bytes are those of a picture."""

FORM_TYPE = "multipart/form-data"
FIELDS = frozenset({"files", "file"})
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Upload:
    """One file: the name that its sender gave, or a generic one, and its bytes."""

    name: str
    data: bytes


def check_announced(request: Request, limits: Limits) -> None:
    """Refuse what a request announces beyond the limits before anything is received.

    Raises:
        ProblemError: ``request-too-large``, ``file-too-large``, ``unsupported-media-type``.
    """
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise ProblemError("unsupported-media-type", "content codings are not read; send the file as it is")
    media_type, _ = _content_type(request)
    announced = int(request.headers.get("content-length", "0"))  # the server has checked that it is a number
    if media_type == FORM_TYPE and announced > limits.request_bytes:
        raise _too_large(limits)
    if media_type != FORM_TYPE and announced > limits.file_bytes:
        raise _file_too_large(limits)


async def read_uploads(request: Request, limits: Limits, *, arrived: Callable[[int], None]) -> list[Upload]:
    """Receive the files of one request.

    Args:
        request: its body is read.
        limits: of the service.
        arrived: called with the number of bytes of each part of the body; may refuse them.

    Raises:
        ProblemError: too large, too many, too slow, another content type, or a body that is not what its type says.
    """
    media_type, parameters = _content_type(request)
    try:
        async with asyncio.timeout(min(limits.upload_grace_s, limits.upload_timeout_s)) as deadline:
            chunks = _counted(request.stream(), deadline, limits, arrived)
            if media_type == FORM_TYPE:
                return await _read_form(chunks, parameters.get(b"boundary", b""), limits)
            data = await _read_bare(chunks, limits)
            if media_type in UNSAID_TYPES and not (raster_format(data) or looks_like_dicom(data)):
                raise _unsupported()
            return [Upload("picture", data)]
    except TimeoutError:
        rate = f"{limits.upload_bytes_per_s:,} bytes a second"
        words = f"the request did not arrive within {limits.upload_timeout_s:g} s, or came slower than {rate}"
        raise ProblemError("upload-timeout", words, headers={"Connection": "close"}) from None


async def _counted(
    chunks: AsyncIterable[bytes], deadline: asyncio.Timeout, limits: Limits, arrived: Callable[[int], None]
) -> AsyncIterator[bytes]:
    """The same chunks, each counted; the deadline moves on with every byte, up to the longest time there is."""
    began, received = asyncio.get_running_loop().time(), 0
    async for chunk in chunks:
        arrived(len(chunk))
        received += len(chunk)
        allowed_s = limits.upload_grace_s + received / limits.upload_bytes_per_s
        deadline.reschedule(began + min(allowed_s, limits.upload_timeout_s))
        yield chunk


def _content_type(request: Request) -> tuple[str, dict[bytes, bytes]]:
    media_type, parameters = parse_options_header(request.headers.get("content-type"))
    name = media_type.decode("latin-1")
    if name not in {FORM_TYPE, *PICTURE_TYPES, *UNSAID_TYPES}:
        raise _unsupported()
    return name, parameters


def _unsupported() -> ProblemError:
    accepted = ", ".join((FORM_TYPE, *PICTURE_TYPES))
    return ProblemError("unsupported-media-type", f"expected one of {accepted}", headers={"Accept-Post": accepted})


async def _read_bare(chunks: AsyncIterable[bytes], limits: Limits) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limits.file_bytes:
            raise _file_too_large(limits)
    return bytes(body)


async def _read_form(chunks: AsyncIterable[bytes], boundary: bytes, limits: Limits) -> list[Upload]:
    if not boundary:
        raise ProblemError("malformed-request", "the content type multipart/form-data lacks its boundary")
    form = _Form(limits)
    received = 0
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in chunks:
            received += len(chunk)
            if received > limits.request_bytes:
                raise _too_large(limits)
            parser.write(chunk)
    except FormParserError:
        raise ProblemError("malformed-request", "the form is damaged: its parts cannot be told apart") from None
    if not form.ended:
        raise ProblemError("malformed-request", "the form ends before its last boundary")
    if not form.uploads:
        raise ProblemError("no-file", "the form holds no file")
    return form.uploads


@dataclass
class _Form:
    """Collects the parts as the parser tells of them."""

    limits: Limits
    uploads: list[Upload] = field(default_factory=list)
    ended: bool = False
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _key: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _data: bytearray = field(default_factory=bytearray)

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._key.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._check,
            "on_part_data": self._more,
            "on_part_end": self._finish,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.uploads) >= self.limits.files:
            raise ProblemError("too-many-files", f"at most {self.limits.files} files are taken in one request")
        self._headers, self._data = {}, bytearray()

    def _header(self) -> None:
        self._headers[bytes(self._key).lower()] = bytes(self._value)
        self._key, self._value = bytearray(), bytearray()

    def _check(self) -> None:
        _, parameters = parse_options_header(self._headers.get(b"content-disposition"))
        if parameters.get(b"name", b"").decode("latin-1") not in FIELDS:
            raise ProblemError("unexpected-field", "expected files in the field `files`, found a field of another name")
        coding = self._headers.get(b"content-transfer-encoding", b"binary").lower()
        if coding not in {b"binary", b"8bit", b"7bit"}:
            raise ProblemError("unsupported-media-type", "parts are read as binary only, without transfer encoding")

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if len(self._data) > self.limits.file_bytes:
            raise _file_too_large(self.limits)

    def _finish(self) -> None:
        _, parameters = parse_options_header(self._headers.get(b"content-disposition"))
        name = shown_name(parameters.get(b"filename", b""), len(self.uploads) + 1)
        self.uploads.append(Upload(name, bytes(self._data)))
        self._data = bytearray()

    def _end(self) -> None:
        self.ended = True


def shown_name(raw: bytes, number: int) -> str:
    """File name as given, without folders and control characters; ``picture N`` where there is none.

    Bytes that are no UTF-8 become escapes, as in the tables of `predict`, so that names stay different.
    """
    last = re.split(rb"[/\\]", raw)[-1].decode("utf-8", "backslashreplace")
    return "".join(character for character in last if character.isprintable())[:_LONGEST_NAME] or f"picture {number}"


def _too_large(limits: Limits) -> ProblemError:
    return ProblemError("request-too-large", f"at most {limits.request_bytes:,} bytes are taken in one request")


def _file_too_large(limits: Limits) -> ProblemError:
    return ProblemError("file-too-large", f"at most {limits.file_bytes:,} bytes are taken for one file")
