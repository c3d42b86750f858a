"""Authorises requests: by the token, or, where the service has none, from this computer only."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pocketcxr.addresses import is_loopback
from pocketcxr.serving.api.problems import ProblemError

if TYPE_CHECKING:
    from starlette.datastructures import Headers


def check_token(headers: Headers, token: str) -> None:
    """Refuse a request without the token; the comparison takes as long for a near miss as for any other.

    Raises:
        ProblemError: ``unauthorised``.
    """
    if not token:
        return
    scheme, _, found = headers.get("authorization", "").partition(" ")
    # hashes, so that not even the length of the token shows in the time
    expected_hash, found_hash = (hashlib.sha256(text.encode()).digest() for text in (token, found.strip()))
    if not hmac.compare_digest(expected_hash, found_hash) or scheme.lower() != "bearer":
        raise ProblemError(
            "unauthorised",
            "expected the token of this service in the header Authorization",
            headers={"WWW-Authenticate": 'Bearer realm="pocketcxr"'},
        )


def check_origin(headers: Headers, token: str, *, scheme: str = "http") -> None:
    """Refuse web sites that use a browser on this computer to reach a service without a token.

    A site can point its own name at 127.0.0.1 (the header Host then gives that name away), or have the browser post a
    form across sites (the header Origin does).

    Args:
        headers: of the request.
        token: of the service; with one, any origin may ask.
        scheme: of the request: a page from https is another origin.

    Raises:
        ProblemError: ``wrong-host``, ``cross-origin``.
    """
    if token:
        return
    host = headers.get("host", "")
    if not is_loopback(_host_name(f"//{host}")):
        raise ProblemError("wrong-host", "without a token this service answers to localhost and 127.0.0.1 only")
    origin = headers.get("origin")
    if origin is not None and origin != f"{scheme}://{host}":
        raise ProblemError("cross-origin", "without a token this service answers to its own pages only")


def _host_name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
