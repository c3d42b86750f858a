"""The interface for a browser at ``/v1/docs``: a page that shows the OpenAPI document and sends requests.

Its three files lie in the folder `docs` beside this module: nothing comes from elsewhere, and its content policy allows
no more than the page does. Why no library draws it: docs/decisions/0018-interface-page.md.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCS_PATH = "/v1/docs"
DOCS_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob:; "
            "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-cache",
    }
)
"""What differs from the headers of every other answer: images are heatmaps that the page itself has received."""

_FOLDER = Path(__file__).parent / "docs"
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}


def docs_routes() -> APIRouter:
    """Return the routes of the page and its two files; they hold no data and need no token."""
    router = APIRouter(prefix=DOCS_PATH, include_in_schema=False)

    def add(address: str, name: str, media_type: str) -> None:
        @router.get(address)
        async def file() -> Response:
            return Response((_FOLDER / name).read_bytes(), media_type=media_type, headers=dict(DOCS_HEADERS))

    for address, (name, media_type) in _FILES.items():
        add(address, name, media_type)
    return router
