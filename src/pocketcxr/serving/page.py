"""The web page at ``/``: static files without any data, with the headers that a browser needs to keep pictures inside.

Cross-origin isolation (COOP and COEP) gives the page threads; the content policy allows nothing but the page's own
files, so that no script could send a picture elsewhere.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

PAGE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; img-src 'self' blob:; "
            "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
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

# What Vite names by its content: eight signs after a hyphen. A word of small letters is taken for a word.
_HASHED = re.compile(r"-(?=[\w-]*[A-Z0-9_])[\w-]{8}\.\w+$")
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"

_NOT_BUILT = (
    "pocketcxr scores chest X-rays over HTTP: POST a DICOM, PNG or JPEG file to /v1/predictions; the interface is "
    "described at /v1/openapi.json. The web page is not part of this copy: build it with  make web  in the source "
    "tree, then start the service again. Research use only, not a medical device.\n"
)


def page_at(folder: Path | None) -> ASGIApp:
    """Return the application for all addresses that are none of the API's; None where the page was not built."""
    return _no_page if folder is None else Page(directory=folder, html=True)


class Page(StaticFiles):
    """Static files with the headers above, caches that never show an old page, and media types of our own."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the file, or that it has not changed."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        file = PurePath(full_path)
        response.headers.update(PAGE_HEADERS)
        response.headers["Cache-Control"] = _FOR_EVER if is_hashed(file) and status_code == 200 else _ASK_AGAIN  # noqa: PLR2004
        if "content-type" in response.headers and file.suffix.lower() in _MEDIA_TYPES:
            response.headers["Content-Type"] = _MEDIA_TYPES[file.suffix.lower()]
        return response


def is_hashed(file: PurePath) -> bool:
    """Whether a file's name changes with its content, so that it may be kept for ever."""
    return file.parent.name == "assets" and _HASHED.search(file.name) is not None


async def _no_page(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] != "/" or scope["method"] not in {"GET", "HEAD"}:
        raise HTTPException(404)
    await PlainTextResponse(_NOT_BUILT)(scope, receive, send)
