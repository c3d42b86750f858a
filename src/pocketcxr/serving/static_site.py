"""The web page at ``/``: static files with the security headers that the page needs.

Cross-origin isolation (COOP and COEP) gives the page threads; the content policy allows nothing but the page's own
files, so that no script could send an image elsewhere. `make web` puts compressed forms beside the files (`.br`,
`.gz`), and those are sent to clients that accept them.
"""

from __future__ import annotations

import gzip
import mimetypes
import re
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.staticfiles import NotModifiedResponse, StaticFiles

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

PAGE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            # that of the page itself (web/src/policy.ts), and no frames, which only a header can forbid
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
            "img-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; "
            "frame-ancestors 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
)

# Not left to the system's table, which lacks the newer ones and on Windows may be wrong for the old.
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".npz": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

IDENTITY = "identity"
SUFFIXES: Mapping[str, str] = MappingProxyType({"br": ".br", "gzip": ".gz"})
"""Encodings, the smallest first, and what the name of a file in it ends in: the names that web hosts look for, too."""

_ALIASES = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3

# What Vite names by its content: eight signs after a hyphen. A word of small letters is taken for a word.
_HASHED = re.compile(r"-(?=[\w-]*[A-Z0-9_])[\w-]{8}\.\w+$")
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_BLOCK_BYTES = 1 << 18

_NOT_BUILT = (
    "pocketcxr scores chest X-rays over HTTP: POST a DICOM, PNG or JPEG file to /v1/predictions; the interface is "
    "described at /v1/docs. The web page is not part of this copy: it is built where Node.js 20.19 or newer is there, "
    "by  pip install  and by  make web  in a clone; then start the service again. Research use only, not a medical "
    "device.\n"
)


def site_at(folder: Path | None) -> ASGIApp:
    """Return the application for all addresses that are none of the API's; None where the page was not built."""
    return _site_not_built if folder is None else StaticSite(directory=folder, html=True)


class StaticSite(StaticFiles):
    """Static files with the headers above, compressed where the client wants it, caches that never show an old page."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return a file's place; of one that is kept compressed only, the place where it would be."""
        if path.endswith(tuple(SUFFIXES.values())):  # forms of files, not files
            return "", None
        found, status = super().lookup_path(path)
        if status is not None:
            return found, status
        found, status = super().lookup_path(f"{path}{SUFFIXES['gzip']}")
        return found.removesuffix(SUFFIXES["gzip"]), status

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the file in the form that the client wants, or that it has not changed."""
        file, headers = Path(full_path), Headers(scope=scope)
        forms = {name: place for name, suffix in SUFFIXES.items() if (place := Path(f"{file}{suffix}")).is_file()}
        # a part of a file is a part of the file itself
        encoding = IDENTITY if "range" in headers else chosen_encoding(headers.get("accept-encoding"), forms)
        if encoding == IDENTITY:
            response = self._plain(file, stat_result, status_code, head=scope["method"] == "HEAD")
        else:
            response = FileResponse(forms[encoding], status_code=status_code)
            response.set_stat_headers(forms[encoding].stat())
            response.headers.update({"Content-Encoding": encoding, "Accept-Ranges": "none"})
            response.headers["ETag"] = _tag_of(response, encoding)
        response.headers["Cache-Control"] = _FOR_EVER if is_hashed(file) and status_code == 200 else _ASK_AGAIN  # noqa: PLR2004
        response.headers["Content-Type"] = _media_type(file)
        if forms:
            response.headers["Vary"] = "Accept-Encoding"
        if self.is_not_modified(response.headers, headers):
            response = NotModifiedResponse(response.headers)
        response.headers.update(PAGE_HEADERS)
        return response

    @staticmethod
    def _plain(file: Path, status: os.stat_result, status_code: int, *, head: bool) -> Response:
        if file.is_file():
            return FileResponse(file, status_code=status_code, stat_result=status)
        packed = Path(f"{file}{SUFFIXES['gzip']}")
        stored = FileResponse(packed, stat_result=status)
        headers = {
            "Content-Length": str(_inflated_size(packed)),
            "Accept-Ranges": "none",
            "Last-Modified": stored.headers["last-modified"],
            "ETag": _tag_of(stored, IDENTITY),
        }
        if head:
            return Response(status_code=status_code, headers=headers)
        return StreamingResponse(_inflated(packed), status_code=status_code, headers=headers)


def _tag_of(response: Response, encoding: str) -> str:
    plain = response.headers["etag"].strip('"')
    return f'"{plain}-{encoding}"'


def _media_type(file: PurePath) -> str:
    known = _MEDIA_TYPES.get(file.suffix.lower())
    return known or mimetypes.guess_type(file.name)[0] or "application/octet-stream"


def _inflated_size(packed: Path) -> int:
    with packed.open("rb") as stream:  # RFC 1952, section 2.3.1: ISIZE, the last four bytes
        stream.seek(-4, 2)
        return int.from_bytes(stream.read(4), "little")


def _inflated(packed: Path) -> Iterator[bytes]:
    """Bytes of a file that is kept compressed only; Starlette reads them in a thread."""
    with gzip.open(packed) as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block


def chosen_encoding(accept: str | None, at_hand: Collection[str]) -> str:
    """Return the encoding to answer in: the client's most wanted of those at hand, of equals the smallest.

    Args:
        accept: the header's value; None where the client sent none and therefore may not know any encoding.
        at_hand: encodings of `SUFFIXES` in which the file exists; `IDENTITY` always is, and is what remains.
    """
    weights = _weights(accept or "")
    others = weights.get("*", 0.0)
    offers = [(weights.get(name, others), name) for name in SUFFIXES if name in at_hand]
    best, name = max(offers, key=lambda offer: offer[0], default=(0.0, IDENTITY))  # of equals, max takes the first
    # identity is wanted less than any encoding that is named, unless it is named itself
    return name if best > 0 and best >= weights.get(IDENTITY, 0.0) else IDENTITY


def _weights(accept: str) -> dict[str, float]:
    """Weight of each named encoding, 0 to 1; one that cannot be read counts as a refusal."""
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                weight = _number(value)
        found[_ALIASES.get(name, name)] = weight
    return found


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0


def is_hashed(file: PurePath) -> bool:
    """Whether a file's name changes with its content, so that it may be kept for ever."""
    return file.parent.name == "assets" and _HASHED.search(file.name) is not None


async def _site_not_built(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] != "/" or scope["method"] not in {"GET", "HEAD"}:
        raise HTTPException(404)
    await PlainTextResponse(_NOT_BUILT)(scope, receive, send)
